// One service: its latency beside the level, forecasts and moves.

import { tenant, type Decision } from "../api";
import { Chart, type Band } from "../chart";
import { number } from "../format";
import { useRange, type World } from "../state";
import { latency, quantile } from "../telemetry";
import { DecisionList } from "./decisions";
import { level, phaseStyle } from "./overview";

/** How far back curves go, in seconds, and their step. */
const BACK_S = 3600;
const STEP_S = 15;
const WINDOW_S = 60;

export function Service({ world, name }: { world: World; name: string }) {
  const service = world.services.find((one) => one.metadata.name === name);
  const [mean] = useRange(latency(tenant, name, WINDOW_S), BACK_S, STEP_S);
  const [tail] = useRange(quantile(0.95, tenant, name, WINDOW_S), BACK_S, STEP_S);
  if (!service) return <p class="hint">There is no service `{name}`.</p>;
  const status = service.status ?? {};
  const phase = status.phase ?? "Pending";
  const sla = level(world, name);
  const own = world.decisions.filter((one) => one.spec.subject === `service/${name}`);
  const moves = own.filter((one) => one.spec.action === "migrate");
  const marks = moves.map((one) => ({ at: one.spec.at / 1000, label: moved(one) }));
  const line = sla === null ? undefined : { value: sla, label: `level ${number(sla)} ms` };
  const site = (labels: Record<string, string>) => labels.site ?? "all";
  return (
    <>
      <h1>
        {name} <span class={`state ${phaseStyle(phase)}`}>{phase}</span>
      </h1>
      <dl class="facts">
        <dt>site</dt>
        <dd>{status.migration ? `${status.migration.from} → ${status.migration.to}` : (status.site ?? "–")}</dd>
        <dt>epoch</dt>
        <dd>{number(status.epoch)}</dd>
        <dt>answered</dt>
        <dd>{number(status.requestsAnswered)}</dd>
        <dt>module</dt>
        <dd>{service.spec.module.split("@")[0]}</dd>
      </dl>
      <section>
        <h2>Mean latency, and what was forecast of it</h2>
        <Chart series={mean ?? []} name={site} unit=" ms" level={line} marks={marks} bands={own.flatMap(band)} height={260} />
      </section>
      <section>
        <h2>95th percentile</h2>
        <Chart series={tail ?? []} name={site} unit=" ms" level={line} marks={marks} height={180} />
      </section>
      <section>
        <h2>Decisions</h2>
        <DecisionList decisions={own.slice(0, 20)} open="" />
      </section>
    </>
  );
}

function moved(decision: Decision): string {
  const to = decision.spec.prediction?.to;
  return to ? `→ ${to}` : "moved";
}

/** The forecast of where the service is to be: what comes of the decision. */
function band(decision: Decision): Band[] {
  const { prediction, at } = decision.spec;
  const said = decision.spec.action === "migrate" ? prediction?.there : prediction?.here;
  if (!prediction || prediction.figure !== "latency" || !said) return [];
  const from = at / 1000 + prediction.fromS;
  return [{ from, to: at / 1000 + prediction.toS, low: said.low, high: said.high, value: said.value }];
}
