// What was measured: Prometheus' API of the control plane.

import { read } from "./api";

export interface Series {
  labels: Record<string, string>;
  /** Unix seconds. */
  times: number[];
  values: (number | null)[];
}

interface Answer {
  data: { result: { metric: Record<string, string>; values: [number, string][] }[] };
}

/** The series of an expression over the last seconds, on one grid of `step` seconds. */
export async function range(query: string, seconds: number, step: number, signal?: AbortSignal): Promise<Series[]> {
  const end = Math.floor(Date.now() / 1000 / step) * step;
  const start = end - seconds;
  const parameters = new URLSearchParams({ query, start: `${start}`, end: `${end}`, step: `${step}` });
  const answer = await read<Answer>(`/prometheus/api/v1/query_range?${parameters}`, signal);
  const count = Math.floor(seconds / step) + 1;
  const times = Array.from({ length: count }, (_, at) => start + at * step);
  return answer.data.result.map(({ metric, values }) => {
    const on = new Array<number | null>(count).fill(null);
    for (const [time, text] of values) {
      const at = Math.round((time - start) / step);
      const value = Number(text);
      if (at >= 0 && at < count && Number.isFinite(value)) on[at] = value;
    }
    return { labels: metric, times, values: on };
  });
}

const text = (value: string) => `"${value.replace(/[\\"]/g, "\\$&")}"`;

/** The mean latency of a service in milliseconds, by site. */
export function latency(tenant: string, service: string, window: number): string {
  const of = `{tenant=${text(tenant)},service=${text(service)}}[${window}s]`;
  const rate = (name: string) => `sum by (site) (rate(cloudskin_ingress_request_seconds_${name}${of}))`;
  return `1000 * ${rate("sum")} / ${rate("count")}`;
}

/** A quantile of it. */
export function quantile(q: number, tenant: string, service: string, window: number): string {
  const of = `{tenant=${text(tenant)},service=${text(service)}}[${window}s]`;
  return `1000 * histogram_quantile(${q}, sum by (site, le) (rate(cloudskin_ingress_request_seconds_bucket${of})))`;
}
