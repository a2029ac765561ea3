// Policies: what they said last, and whether they can do their work.

import type { Condition, Policy } from "../api";
import { ago } from "../format";
import type { World } from "../state";

export function Policies({ world }: { world: World }) {
  return (
    <>
      <h1>Policies</h1>
      {world.policies.length === 0 && (
        <p class="hint">
          None yet: <code>cloudskin apply -f qos-policy.yaml</code>; try it first with <code>cloudskin policy test</code>.
        </p>
      )}
      <div class="cards wide">
        {world.policies.map((one) => (
          <One key={one.metadata.name} policy={one} />
        ))}
      </div>
    </>
  );
}

function One({ policy }: { policy: Policy }) {
  const { spec, status } = policy;
  const last = status?.last;
  return (
    <article class="card">
      <h3>
        {policy.metadata.name} {spec.dryRun && <span class="state wait">dry run</span>}
      </h3>
      <p>
        <a href={`#/services/${encodeURIComponent(spec.service)}`}>{spec.service}</a> within {spec.sla} · {spec.shape ?? "proactive"} ·{" "}
        <ModelName name={spec.model ?? "ewma"} />
      </p>
      <p>
        last run {ago(status?.lastRun)}, next {ago(status?.nextRun)}
      </p>
      {last && (
        <p>
          <b>{last.go ? `go to ${last.go}` : last.alarm ? "alarm" : "stay"}</b> · {last.reason}
        </p>
      )}
      {last?.fallback && <p class="wait">The reactive rule decides in its place: {last.fallback}</p>}
      <ul class="conditions">
        {status?.conditions?.map((one) => (
          <Fact key={one.type} fact={one} />
        ))}
      </ul>
    </article>
  );
}

export const holds = (fact: Condition | undefined) => String(fact?.status).toLowerCase() === "true";

/** Models of the catalog have a page; what goes on as it was has none. */
function ModelName({ name }: { name: string }) {
  if (["ewma", "mean", "max"].includes(name)) return <>{name}</>;
  return <a href={`#/models/${encodeURIComponent(name)}`}>{name}</a>;
}

/** A condition; one that holds is good, but for an alarm. */
export function Fact({ fact }: { fact: Condition }) {
  const good = (fact.type === "Alarm") !== holds(fact);
  return (
    <li class={good ? "good" : "wait"}>
      {fact.type}: {fact.message}
    </li>
  );
}
