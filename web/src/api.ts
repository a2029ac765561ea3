// The control plane's REST: reading, and watching by server-sent events.

export interface Condition {
  type: string;
  status: string;
  reason?: string;
  message?: string;
}

export interface Resource<Spec, Status> {
  metadata: { name: string; tenant?: string; resourceVersion?: number };
  spec: Spec;
  status?: Status;
}

export interface SiteOverview {
  name: string;
  ready: boolean;
  cordoned: boolean;
  address: string | null;
  ingressPort: number;
  labels: Record<string, string>;
  services: number;
}

export interface Overview {
  version: string;
  dns: { zone: string; address: string | null };
  sites: SiteOverview[];
  services: Record<string, number>;
}

export type Service = Resource<
  { module: string },
  {
    phase?: string;
    site?: string;
    epoch?: number;
    requestsAnswered?: number;
    url?: string;
    conditions?: Condition[];
    migration?: { from: string; to: string };
  }
>;

export interface Prediction {
  value: number;
  low: number;
  high: number;
}

export interface Expected {
  figure: "latency" | "broken" | "cpu";
  slaMs: number;
  fromS: number;
  toS: number;
  at: string;
  here: Prediction | null;
  to: string | null;
  there: Prediction | null;
  /** Where who is followed will be, if anybody is. */
  next?: { site: string; share: number; passages: number; aheadS: number; nearest: string } | null;
}

export interface After {
  truth?: unknown;
  latencyMs?: (number | null)[];
  stepS?: number;
  decidedAt?: number;
  next?: { site: string; right: boolean } | null;
}

export interface Reason {
  name: string;
  value: number;
  baseline: number;
  adds: number;
}

export type Decision = Resource<
  {
    action: string;
    subject: string;
    by: string;
    reason: string;
    inputs?: Record<string, unknown>;
    alternatives?: { name: string; score: number | null; reason: string }[];
    prediction?: Expected | null;
    at: number;
  },
  {
    outcome?: string;
    observed?: { phases?: { name: string; ms: number }[]; error?: string; after?: After; bytes?: number } | null;
    ended?: number | null;
  }
>;

export type Policy = Resource<
  { service: string; sla: string; shape?: string; model?: string; dryRun?: boolean },
  {
    conditions?: Condition[];
    lastRun?: number | null;
    nextRun?: number | null;
    last?: { go: string | null; alarm: boolean; reason: string; fallback?: string } | null;
  }
>;

export interface ModelVersion {
  id: number;
  stage: "candidate" | "production" | "retired";
  kind: string;
  target: string;
  aheadS: [number, number];
  mae: number;
  rmse: number;
  naiveRmse: number | null;
  coverage80: number | null;
  moments: number;
  rows: number;
  seconds: number;
  peakBytes: number;
  modelBytes: number;
  made: number;
  parent: number | null;
  because: string;
  damage?: string;
}

export interface Watched {
  tenant: string;
  service: string;
  version: number;
  moments: number;
  mae: number;
  coverage80: number;
  until: number;
}

export type Model = Resource<
  { retrain: "off" | "candidate" | "promote"; learnFrom: string },
  {
    conditions?: Condition[];
    production?: number | null;
    versions?: ModelVersion[];
    versionsTotal?: number;
    watched?: Watched[];
    drifts?: { at: number; version: number; service: string; message: string }[];
    trained?: { at: number; version: number | null; promoted: boolean; message: string };
  }
>;

/** A prediction of a back-test beside what came. */
export interface TestPoint {
  atS: number;
  site: string;
  value: number;
  low: number | null;
  high: number | null;
  truth: number;
}

export interface TestPart {
  fromS: number;
  toS: number;
  moments: number;
  rmse: number;
  naiveRmse: number | null;
}

export interface DataSpan {
  fromS: number;
  toS: number;
  stepS: number;
  sites: string[];
  digest: string;
}

/** All that is known of a version. */
export interface Version {
  record: { id: number; trained: DataSpan; tested: DataSpan; made: { imported: string }; score: { r2: number | null; auc: number | null; width80: number | null } };
  backTest: { points: TestPoint[]; parts: TestPart[] } | null;
  figures: string[];
}

// The token stands behind the `#`, which browsers send to nobody; then the page keeps it for this tab.
const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given) {
  sessionStorage.setItem("token", given);
  history.replaceState(null, "", location.pathname + location.search + "#/");
}
export const token = given ?? sessionStorage.getItem("token") ?? "";
export const tenant = new URLSearchParams(location.search).get("tenant") ?? "default";

/** How long an answer may take. */
const ANSWER_MS = 8000;

const headers = { Authorization: `Bearer ${token}` };

export async function read<T>(path: string, signal?: AbortSignal): Promise<T> {
  // A control plane that hangs is as good as gone.
  const late = AbortSignal.timeout(ANSWER_MS);
  const answer = await fetch(path, { headers, cache: "no-store", signal: signal ? AbortSignal.any([signal, late]) : late });
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(body.message ?? body.error ?? answer.statusText);
  return body as T;
}

export function resources(kind: string): string {
  return `/apis/v1/tenants/${encodeURIComponent(tenant)}/${kind}`;
}

interface WatchEvent<R> {
  type: "APPLIED" | "DELETED";
  resource: R;
}

/** Tells all resources of a kind whenever one changes, and whether the stream lives; until the signal. */
export async function watch<R extends Resource<unknown, unknown>>(
  kind: string,
  told: (all: R[]) => void,
  alive: (problem: string | null) => void,
  signal: AbortSignal,
): Promise<void> {
  for (let pause = 500; !signal.aborted; pause = Math.min(pause * 2, 10_000)) {
    try {
      const list = await read<{ items: R[]; resourceVersion: number }>(resources(kind), signal);
      const known = new Map(list.items.map((one) => [one.metadata.name, one]));
      told([...known.values()]);
      alive(null);
      pause = 500;
      const path = `${resources(kind)}?watch=1&from=${list.resourceVersion}`;
      for await (const event of events<WatchEvent<R>>(path, signal)) {
        const name = event.resource.metadata.name;
        if (event.type === "DELETED") known.delete(name);
        else known.set(name, event.resource);
        told([...known.values()]);
      }
    } catch (error) {
      if (!signal.aborted) alive(error instanceof Error ? error.message : String(error));
    }
    if (!signal.aborted) await new Promise((done) => setTimeout(done, pause));
  }
}

/** The events of a stream; `EventSource` cannot send a token. */
async function* events<E>(path: string, signal: AbortSignal): AsyncGenerator<E> {
  const answer = await fetch(path, { headers: { ...headers, Accept: "text/event-stream" }, signal });
  if (!answer.ok || !answer.body) throw new Error(answer.statusText);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let left = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (left + value).split("\n\n");
    left = parts.pop() ?? "";
    for (const part of parts) {
      const lines = part.split("\n");
      // The history reaches back no more: list again.
      if (lines.includes("event: error") || lines.includes("event:error")) return;
      const data = lines
        .filter((line) => line.startsWith("data:"))
        .map((line) => line.slice(5).trimStart())
        .join("\n");
      if (data) yield JSON.parse(data) as E;
    }
  }
}
