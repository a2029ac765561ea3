// Decisions with all that they were taken on, and what came of them.

import { useState } from "preact/hooks";
import type { Decision, Prediction, Reason } from "../api";
import { clock, figure, number } from "../format";
import type { World } from "../state";
import { Outcome } from "./timeline";

const SHOWN_MAX = 200;

export function Decisions({ world, open }: { world: World; open: string }) {
  const [wanted, setWanted] = useState("");
  const matches = (one: Decision) =>
    [one.metadata.name, one.spec.subject, one.spec.by, one.spec.action, one.spec.reason].some((text) => text.includes(wanted));
  const shown = world.decisions.filter(matches).slice(0, SHOWN_MAX);
  return (
    <>
      <h1>Decisions</h1>
      <input
        type="search"
        placeholder="service, policy, action or word"
        aria-label="Filter"
        value={wanted}
        onInput={(event) => setWanted(event.currentTarget.value)}
      />
      <DecisionList decisions={shown} open={open} />
    </>
  );
}

export function DecisionList({ decisions, open }: { decisions: Decision[]; open: string }) {
  if (decisions.length === 0) return <p class="hint">None.</p>;
  return (
    <div class="decisions">
      {decisions.map((one) => (
        <details key={one.metadata.name} open={one.metadata.name === open}>
          <summary>
            <time>{clock(one.spec.at)}</time>
            <b>{one.spec.action}</b>
            <span>{one.spec.subject}</span>
            <span class="reason">{one.spec.reason}</span>
            <Outcome decision={one} />
          </summary>
          <Detail decision={one} />
        </details>
      ))}
    </div>
  );
}

function Detail({ decision }: { decision: Decision }) {
  const { spec, status } = decision;
  const reasons = (spec.inputs?.reasons ?? []) as Reason[];
  return (
    <div class="detail">
      <p>
        <code>cloudskin why decision/{decision.metadata.name}</code>, by {spec.by}
        {status?.observed?.error && <span class="bad"> · {status.observed.error}</span>}
      </p>
      {spec.prediction && <Expected decision={decision} />}
      {spec.alternatives && spec.alternatives.length > 0 && (
        <table>
          <caption>Alternatives</caption>
          <thead>
            <tr>
              <th>place</th>
              <th>score</th>
              <th>why</th>
            </tr>
          </thead>
          <tbody>
            {spec.alternatives.map((one) => (
              <tr key={one.name}>
                <td>{one.name}</td>
                <td class="number">{one.score === null ? "ruled out" : number(one.score)}</td>
                <td>{one.reason}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      {reasons.length > 0 && <Reasons reasons={reasons} />}
      <Curve decision={decision} />
    </div>
  );
}

function Expected({ decision }: { decision: Decision }) {
  const expected = decision.spec.prediction!;
  const [what, unit] = figure(expected.figure);
  const tell = (said: Prediction | null) =>
    said ? `${number(said.value)} (${number(said.low)} to ${number(said.high)}) ${unit}` : "not known";
  return (
    <p>
      Expected {what} from {expected.fromS} to {expected.toS} s ahead: at {expected.at} {tell(expected.here)}
      {expected.to && `, at ${expected.to} ${tell(expected.there)}`}. <Next decision={decision} />
    </p>
  );
}

/** Where who is followed was said to go, and went. */
function Next({ decision }: { decision: Decision }) {
  const said = decision.spec.prediction?.next;
  if (!said) return null;
  const was = decision.status?.observed?.after?.next;
  return (
    <span>
      Nearest in {said.aheadS} s: {said.site} with {Math.round(100 * said.share)} % of {said.passages} passages, {said.nearest} as it was
      said
      {was && (was.right ? "; so it was" : `; it was ${was.site}`)}.
    </span>
  );
}

function Reasons({ reasons }: { reasons: Reason[] }) {
  const most = Math.max(...reasons.map((one) => Math.abs(one.adds)), 1e-12);
  return (
    <table>
      <caption>What says most of the forecast</caption>
      <tbody>
        {reasons.slice(0, 6).map((one) => (
          <tr key={one.name}>
            <td>{one.name}</td>
            <td class="number">
              {number(one.value)} <small>usually {number(one.baseline)}</small>
            </td>
            <td class="bar">
              <i class={one.adds > 0 ? "up" : "down"} style={{ width: `${(100 * Math.abs(one.adds)) / most}%` }} />
            </td>
            <td class="number">
              {one.adds > 0 ? "+" : ""}
              {number(one.adds)}
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** The latency before and after the decision, and the level. */
function Curve({ decision }: { decision: Decision }) {
  const after = decision.status?.observed?.after;
  const values = after?.latencyMs ?? [];
  if (values.length < 2) return null;
  const sla = decision.spec.prediction?.slaMs;
  const [width, height] = [600, 120];
  const top = 1.1 * Math.max(sla ?? 0, ...values.map((value) => value ?? 0), 1);
  const x = (at: number) => (at / (values.length - 1)) * width;
  const y = (value: number) => height - (value / top) * height;
  let pen = "M";
  const path = values
    .map((value, at) => {
      if (value === null) {
        pen = "M";
        return "";
      }
      const step = `${pen}${x(at).toFixed(1)} ${y(value).toFixed(1)}`;
      pen = "L";
      return step;
    })
    .join("");
  return (
    <figure>
      <svg viewBox={`0 0 ${width} ${height}`} role="img" aria-label="Latency before and after the decision">
        {sla !== undefined && <line class="sla" x1={0} x2={width} y1={y(sla)} y2={y(sla)} />}
        {after?.decidedAt !== undefined && <line class="decided" x1={x(after.decidedAt)} x2={x(after.decidedAt)} y1={0} y2={height} />}
        <path d={path} />
      </svg>
      <figcaption>
        Latency where the service was, each {after?.stepS} s; the dashed line is the level of {number(sla)} ms, the upright one the decision.
      </figcaption>
    </figure>
  );
}
