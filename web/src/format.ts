// Numbers and times as people read them.

export function number(value: number | null | undefined, digits = 3): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const text = Math.abs(value) >= 1000 ? Math.round(value).toLocaleString("en") : value.toPrecision(digits);
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

export function clock(ms: number | null | undefined): string {
  return ms ? new Date(ms).toLocaleTimeString([], { hour12: false }) : "–";
}

export function ago(ms: number | null | undefined): string {
  if (!ms) return "–";
  const seconds = Math.round((Date.now() - ms) / 1000);
  const past = Math.abs(seconds);
  const [count, unit] =
    past < 120 ? [past, "s"] : past < 7200 ? [Math.round(past / 60), "min"] : past < 172_800 ? [Math.round(past / 3600), "h"] : [Math.round(past / 86_400), "d"];
  return seconds < 0 ? `in ${count} ${unit}` : `${count} ${unit} ago`;
}

/** A share as percent. */
export function percent(share: number | null | undefined, digits = 1): string {
  return share === null || share === undefined || !Number.isFinite(share) ? "–" : `${(100 * share).toFixed(digits)} %`;
}

export function bytes(size: number | null | undefined): string {
  if (!size) return "–";
  const steps = ["B", "KiB", "MiB", "GiB"];
  const step = Math.min(Math.floor(Math.log2(size) / 10), steps.length - 1);
  return `${number(size / 1024 ** step)} ${steps[step]}`;
}

export function seconds(count: number | null | undefined): string {
  if (count === null || count === undefined) return "–";
  if (count < 1) return `${Math.max(1, Math.round(1000 * count))} ms`;
  return count < 120 ? `${number(count)} s` : `${number(count / 60)} min`;
}

/** `10 min`, or `5 to 10 min`, of seconds. */
export function stretch([from, to]: [number, number]): string {
  const minutes = (count: number) => number(count / 60);
  const before = (text: string) => (from > 0 ? `${text} to ` : "");
  return to < 120 ? `${before(`${from}`)}${to} s` : `${before(minutes(from))}${minutes(to)} min`;
}

/** A day and a time, of Unix seconds. */
export function moment(at: number): string {
  return new Date(1000 * at).toLocaleString([], { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", hour12: false });
}

/** A period of the API (`120ms`, `5m`) in milliseconds. */
export function period(text: string): number {
  const units: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
  let total = 0;
  for (const [, count, unit] of text.matchAll(/([\d.]+)(ms|s|m|h|d)/g)) total += Number(count) * (units[unit!] ?? 0);
  return total;
}

const FIGURES: Record<string, [string, string]> = {
  latency: ["latency", "ms"],
  broken: ["broken share", ""],
  cpu: ["processors", ""],
};

/** What a prediction is of, and its unit. */
export function figure(name: string): [string, string] {
  return FIGURES[name] ?? [name, ""];
}
