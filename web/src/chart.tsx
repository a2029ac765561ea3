// Curves over time.

import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import type { Series } from "./telemetry";

/** A line that does not move with time: a service level. */
export interface Level {
  value: number;
  label: string;
}

/** Something that happened. */
export interface Mark {
  /** Unix seconds. */
  at: number;
  label: string;
}

/** What was expected of a stretch of time. */
export interface Band {
  /** Unix seconds. */
  from: number;
  to: number;
  low: number;
  high: number;
  value: number;
}

interface Props {
  series: Series[];
  name: (labels: Record<string, string>) => string;
  unit: string;
  level?: Level;
  marks?: Mark[];
  bands?: Band[];
  height?: number;
}

const COLOURS = ["--curve-1", "--curve-2", "--curve-3", "--curve-4", "--curve-5"];

const colour = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export function Chart({ series, name, unit, level, marks = [], bands = [], height = 220 }: Props) {
  const place = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot | null>(null);
  const latest = useRef({ level, marks, bands });
  latest.current = { level, marks, bands };
  const names = series.map((one) => name(one.labels));
  const key = names.join("\n");

  useEffect(() => {
    const at = place.current!;
    const make = () => {
      chart.current?.destroy();
      chart.current = new uPlot(options(names, unit, at.clientWidth, height, latest), data(series), at);
    };
    make();
    const sized = new ResizeObserver(() => chart.current?.setSize({ width: at.clientWidth, height }));
    sized.observe(at);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", make);
    return () => {
      sized.disconnect();
      dark.removeEventListener("change", make);
      chart.current?.destroy();
      chart.current = null;
    };
  }, [key]);
  useEffect(() => chart.current?.setData(data(series)), [series]);
  return <div class="chart" ref={place} />;
}

const data = (series: Series[]): uPlot.AlignedData => [
  series[0]?.times ?? [],
  ...series.map((one) => one.values),
];

function options(
  names: string[],
  unit: string,
  width: number,
  height: number,
  latest: { current: { level?: Level; marks: Mark[]; bands: Band[] } },
): uPlot.Options {
  const axis = { stroke: colour("--dim"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false } };
  return {
    width,
    height,
    cursor: { drag: { x: true, y: false } },
    legend: { live: true },
    scales: {
      y: {
        range: (_, low, high) => {
          const top = Math.max(high ?? 0, latest.current.level?.value ?? 0);
          return [Math.min(0, low ?? 0), top > 0 ? top * 1.15 : 1];
        },
      },
    },
    axes: [{ ...axis, values: (_, times) => times.map(clock) }, { ...axis, size: 60, values: (_, values) => values.map((value) => `${value}${unit}`) }],
    series: [
      { value: (_, seconds) => (seconds === null ? "–" : clock(seconds)) },
      ...names.map((label, at) => ({
        label,
        stroke: colour(COLOURS[at % COLOURS.length]!),
        width: 2,
        points: { show: false },
        value: (_: uPlot, value: number | null) => (value === null ? "–" : `${value.toPrecision(4)} ${unit}`),
      })),
    ],
    hooks: { drawClear: [(plot) => bandsOf(plot, latest.current.bands)], draw: [(plot) => linesOf(plot, latest.current)] },
  };
}

const clock = (seconds: number) => new Date(1000 * seconds).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false });

/** Forecasts lie behind the curves. */
function bandsOf(plot: uPlot, bands: Band[]) {
  const { ctx } = plot;
  ctx.save();
  ctx.beginPath();
  ctx.rect(plot.bbox.left, plot.bbox.top, plot.bbox.width, plot.bbox.height);
  ctx.clip();
  for (const band of bands) {
    const [left, right] = [plot.valToPos(band.from, "x", true), plot.valToPos(band.to, "x", true)];
    const [low, high, value] = [band.low, band.high, band.value].map((one) => plot.valToPos(one, "y", true));
    ctx.fillStyle = colour("--band");
    ctx.fillRect(left, high!, right - left, low! - high!);
    ctx.fillStyle = colour("--accent");
    ctx.fillRect(left, value! - 1, right - left, 2);
  }
  ctx.restore();
}

function linesOf(plot: uPlot, { level, marks }: { level?: Level; marks: Mark[] }) {
  const { ctx, bbox } = plot;
  const ratio = devicePixelRatio;
  ctx.save();
  ctx.font = `${11 * ratio}px system-ui, sans-serif`;
  ctx.textAlign = "left";
  ctx.textBaseline = "alphabetic";
  if (level) {
    const y = plot.valToPos(level.value, "y", true);
    ctx.strokeStyle = ctx.fillStyle = colour("--bad");
    ctx.setLineDash([6 * ratio, 4 * ratio]);
    line(ctx, bbox.left, y, bbox.left + bbox.width, y);
    ctx.fillText(level.label, bbox.left + 4 * ratio, y - 4 * ratio);
  }
  ctx.setLineDash([]);
  for (const mark of marks) {
    const x = plot.valToPos(mark.at, "x", true);
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    ctx.strokeStyle = ctx.fillStyle = colour("--accent");
    line(ctx, x, bbox.top, x, bbox.top + bbox.height);
    const room = bbox.left + bbox.width - x;
    const size = ctx.measureText(mark.label).width + 8 * ratio;
    ctx.fillText(mark.label, room < size ? x - size : x + 4 * ratio, bbox.top + 12 * ratio);
  }
  ctx.restore();
}

function line(ctx: CanvasRenderingContext2D, x1: number, y1: number, x2: number, y2: number) {
  ctx.beginPath();
  ctx.moveTo(x1, y1);
  ctx.lineTo(x2, y2);
  ctx.stroke();
}
