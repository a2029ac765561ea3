// Migrations: when, where to, why, and how long each step took.

import type { Decision } from "../api";
import { ago, number } from "../format";

const COLOURS = 7;

export function Timeline({ decisions }: { decisions: Decision[] }) {
  if (decisions.length === 0) return <p class="hint">Nothing has moved yet.</p>;
  return (
    <ol class="timeline">
      {decisions.map((one) => (
        <li key={one.metadata.name}>
          <a class="when" href={`#/decisions/${encodeURIComponent(one.metadata.name)}`} title={new Date(one.spec.at).toLocaleString()}>
            {ago(one.spec.at)}
          </a>
          <span>
            <b>{one.spec.subject.replace("service/", "")}</b> · {one.spec.reason} <small>by {one.spec.by}</small>
          </span>
          <Outcome decision={one} />
          <Phases decision={one} />
        </li>
      ))}
    </ol>
  );
}

export function Outcome({ decision }: { decision: Decision }) {
  const outcome = decision.status?.outcome ?? "pending";
  const style = { done: "good", stayed: "good", pending: "wait" }[outcome] ?? "bad";
  return <span class={`state ${style}`}>{outcome}</span>;
}

function Phases({ decision }: { decision: Decision }) {
  const phases = decision.status?.observed?.phases ?? [];
  if (phases.length === 0) return null;
  const total = phases.reduce((sum, phase) => sum + phase.ms, 0);
  return (
    <div class="phases" title={`${number(total)} ms`}>
      {phases.map((phase, at) => (
        <i
          key={phase.name}
          class={`step-${at % COLOURS}`}
          style={{ flexGrow: Math.max(0.5, Math.log2(1 + phase.ms)) }}
          title={`${phase.name} ${number(phase.ms)} ms`}
        />
      ))}
      <small>
        {phases.map((phase) => `${phase.name} ${number(phase.ms)}`).join(" · ")} ms
      </small>
    </div>
  );
}
