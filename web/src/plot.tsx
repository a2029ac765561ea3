// Pictures of back-tests, as vectors: they follow the page's colours and width by themselves.

import { useEffect, useRef, useState } from "preact/hooks";
import type { ComponentChildren } from "preact";
import type { TestPart, TestPoint } from "./api";
import { moment, number } from "./format";

/** Room for the axes, in pixels. */
const [LEFT, RIGHT, TOP, BOTTOM] = [56, 8, 8, 24];

interface Frame {
  width: number;
  height: number;
  x: (value: number) => number;
  y: (value: number) => number;
}

/** What came, beside what was said of it and the interval around that. */
export function Predicted({ points, unit }: { points: TestPoint[]; unit: string }) {
  if (points.length < 2) return <p class="hint">Too few moments for a curve.</p>;
  const values = points.flatMap((one) => [one.truth, one.value, one.high ?? one.value, one.low ?? one.value]);
  const times: [number, number] = [points[0]!.atS, points.at(-1)!.atS];
  return (
    <Axes times={times} values={values} unit={unit} height={280} label="Predicted beside what came">
      {({ x, y }) => {
        const line = (of: (one: TestPoint) => number) => points.map((one, at) => `${at ? "L" : "M"}${x(one.atS).toFixed(1)} ${y(of(one)).toFixed(1)}`).join("");
        const held = points.filter((one) => one.low !== null && one.high !== null);
        const edge = (some: TestPoint[], of: (one: TestPoint) => number) => some.map((one) => `${x(one.atS).toFixed(1)} ${y(of(one)).toFixed(1)}`).join("L");
        return (
          <>
            {held.length > 1 && <path class="interval" d={`M${edge(held, (one) => one.high!)}L${edge([...held].reverse(), (one) => one.low!)}Z`} />}
            <path class="truth" d={line((one) => one.truth)} />
            <path class="said" d={line((one) => one.value)} />
          </>
        );
      }}
    </Axes>
  );
}

/** Errors of each part of the time, beside those of the naive forecast. */
export function Parts({ parts, unit }: { parts: TestPart[]; unit: string }) {
  const times: [number, number] = [parts[0]!.fromS, parts.at(-1)!.toS];
  const values = [0, ...parts.flatMap((one) => [one.rmse, one.naiveRmse ?? 0])];
  return (
    <Axes times={times} values={values} unit={unit} height={180} label="Error by part of the back-test">
      {({ x, y }) =>
        parts.map((one) => {
          const [from, to] = [x(one.fromS), x(one.toS)];
          const width = Math.max(1, (to - from) * 0.36);
          const middle = (from + to) / 2;
          const bar = (style: string, left: number, value: number) => (
            <rect class={style} x={left} width={width} y={y(value)} height={Math.max(0, y(0) - y(value))} rx={Math.min(3, width / 3)} />
          );
          return (
            <g key={one.fromS}>
              <title>{`${moment(one.fromS)}: ${number(one.rmse)} ${unit}, naive ${number(one.naiveRmse)} ${unit}, ${one.moments} moments`}</title>
              {one.naiveRmse !== null && bar("naive", middle - width, one.naiveRmse)}
              {bar("model", middle, one.rmse)}
            </g>
          );
        })
      }
    </Axes>
  );
}

function Axes({
  times,
  values,
  unit,
  height,
  label,
  children,
}: {
  times: [number, number];
  values: number[];
  unit: string;
  height: number;
  label: string;
  children: (frame: Frame) => ComponentChildren;
}) {
  const place = useRef<HTMLDivElement>(null);
  const width = useWidth(place);
  const finite = values.filter(Number.isFinite);
  const [low, high] = [Math.min(...finite), Math.max(...finite)];
  const ticks = steps(low, high, 5);
  const [bottom, top] = [Math.min(low, ticks[0] ?? low), Math.max(high, ticks.at(-1) ?? high)];
  const [from, to] = times;
  const x = (time: number) => LEFT + ((time - from) / Math.max(1, to - from)) * (width - LEFT - RIGHT);
  const y = (value: number) => TOP + (1 - (value - bottom) / Math.max(1e-9, top - bottom)) * (height - TOP - BOTTOM);
  const marks = Math.max(2, Math.min(6, Math.floor(width / 150)));
  const moments = Array.from({ length: marks }, (_, at) => from + ((to - from) * (at + 0.5)) / marks);
  return (
    <div class="plot" ref={place}>
      {width > 0 && (
        <svg width={width} height={height} role="img" aria-label={label}>
          {ticks.map((tick) => (
            <g key={tick}>
              <line class="grid" x1={LEFT} x2={width - RIGHT} y1={y(tick)} y2={y(tick)} />
              <text x={LEFT - 8} y={y(tick) + 4} text-anchor="end">
                {number(tick)}
                {tick === ticks.at(-1) && unit && ` ${unit}`}
              </text>
            </g>
          ))}
          {moments.map((time) => (
            <text key={time} x={x(time)} y={height - 6} text-anchor="middle">
              {moment(time)}
            </text>
          ))}
          {children({ width, height, x, y })}
        </svg>
      )}
    </div>
  );
}

function useWidth(place: { current: HTMLDivElement | null }): number {
  const [width, setWidth] = useState(0);
  useEffect(() => {
    const at = place.current!;
    const sized = new ResizeObserver(() => setWidth(at.clientWidth));
    sized.observe(at);
    return () => sized.disconnect();
  }, []);
  return width;
}

/** Round numbers between two, some `count` of them. */
function steps(low: number, high: number, count: number): number[] {
  if (!(high > low)) return [low];
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= rough)!;
  const first = Math.floor(low / step);
  const last = Math.ceil(high / step);
  return Array.from({ length: last - first + 1 }, (_, at) => Number(((first + at) * step).toPrecision(12)));
}
