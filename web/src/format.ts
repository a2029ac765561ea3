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
