// What the page knows, kept up to date while it is open.

import { useEffect, useState } from "preact/hooks";
import { read, resources, watch, type Decision, type Overview, type Policy, type Resource, type Service } from "./api";
import { range, type Series } from "./telemetry";

/** All resources of a kind, and why they are not up to date if they are not. */
export function useWatch<R extends Resource<unknown, unknown>>(kind: string): [R[], string | null] {
  const [all, setAll] = useState<R[]>([]);
  const [problem, setProblem] = useState<string | null>(null);
  const visible = useVisible();
  useEffect(() => {
    // Browsers open few connections to a server: a page that nobody sees holds none.
    if (!visible) return;
    const stop = new AbortController();
    void watch<R>(kind, setAll, setProblem, stop.signal);
    return () => stop.abort();
  }, [kind, visible]);
  return [all, problem];
}

function useVisible(): boolean {
  const [visible, setVisible] = useState(!document.hidden);
  useEffect(() => {
    const changed = () => setVisible(!document.hidden);
    document.addEventListener("visibilitychange", changed);
    return () => document.removeEventListener("visibilitychange", changed);
  }, []);
  return visible;
}

/** What an act gives, again and again; what it gave last while it fails. */
export function usePoll<T>(act: (signal: AbortSignal) => Promise<T>, everyMs: number, key: string): [T | null, string | null] {
  const [value, setValue] = useState<T | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  useEffect(() => {
    const stop = new AbortController();
    const run = async () => {
      while (!stop.signal.aborted) {
        try {
          setValue(await act(stop.signal));
          setProblem(null);
        } catch (error) {
          if (!stop.signal.aborted) setProblem(error instanceof Error ? error.message : String(error));
        }
        await new Promise((done) => setTimeout(done, document.hidden ? 5 * everyMs : everyMs));
      }
    };
    void run();
    return () => stop.abort();
  }, [key]);
  return [value, problem];
}

export const useOverview = () => usePoll((signal) => read<Overview>("/apis/v1/status", signal), 2000, "status");

/** An expression over the last seconds. */
export const useRange = (query: string, seconds: number, step: number): [Series[] | null, string | null] =>
  usePoll((signal) => range(query, seconds, step, signal), 1000 * step, `${query} ${seconds}`);

/** Services with their counters as of now: counters alone change no resource, so that a watch does not tell them. */
function useCounted(services: Service[]): Service[] {
  const [list] = usePoll((signal) => read<{ items: Service[] }>(resources("service"), signal), 5000, "counters");
  const counted = new Map(list?.items.map((one) => [one.metadata.name, one.status?.requestsAnswered]));
  return services.map((one) => {
    const answered = counted.get(one.metadata.name);
    return answered === undefined ? one : { ...one, status: { ...one.status, requestsAnswered: answered } };
  });
}

export interface World {
  overview: Overview | null;
  services: Service[];
  decisions: Decision[];
  policies: Policy[];
  problem: string | null;
}

export function useWorld(): World {
  const [overview, down] = useOverview();
  const [services, first] = useWatch<Service>("service");
  const [decisions, second] = useWatch<Decision>("decision");
  const [policies, third] = useWatch<Policy>("policy");
  const latest = [...decisions].sort((one, other) => other.spec.at - one.spec.at);
  return { overview, services: useCounted(services), decisions: latest, policies, problem: down ?? first ?? second ?? third };
}
