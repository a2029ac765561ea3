// Sites, services with their latency, and what moved lately.

import { tenant, type Service, type SiteOverview } from "../api";
import { Chart } from "../chart";
import { number, period } from "../format";
import { useRange, type World } from "../state";
import { latency } from "../telemetry";
import { Timeline } from "./timeline";

export function Overview({ world }: { world: World }) {
  const { overview, services } = world;
  return (
    <>
      <section>
        <h2>Sites</h2>
        <div class="cards">{overview?.sites.map((site) => <Site key={site.name} site={site} />)}</div>
      </section>
      <section>
        <h2>Services</h2>
        {services.length === 0 && (
          <p class="hint">
            None yet: <code>cloudskin apply -f service.yaml</code>
          </p>
        )}
        <div class="rows">
          {services.map((service) => (
            <Row key={service.metadata.name} service={service} world={world} />
          ))}
        </div>
      </section>
      <section>
        <h2>Migrations</h2>
        <Timeline decisions={world.decisions.filter((one) => one.spec.action === "migrate").slice(0, 12)} />
      </section>
    </>
  );
}

function Site({ site }: { site: SiteOverview }) {
  const [state, style] = !site.ready ? ["lost", "bad"] : site.cordoned ? ["cordoned", "wait"] : ["ready", "good"];
  return (
    <article class="card">
      <h3>
        {site.name} <span class={`state ${style}`}>{state}</span>
      </h3>
      <p>{site.address ? `${site.address}:${site.ingressPort}` : "no address"}</p>
      <p>
        {Object.entries(site.labels).map(([key, value]) => (
          <span key={key} class="label">
            {key}={value}
          </span>
        ))}
      </p>
      <p>
        {site.services} service{site.services === 1 ? "" : "s"}
      </p>
    </article>
  );
}

/** The level of a service, if a policy says one, in milliseconds. */
export function level(world: World, service: string): number | null {
  const policy = world.policies.find((one) => one.spec.service === service);
  return policy ? period(policy.spec.sla) : null;
}

export function phaseStyle(phase: string): string {
  return { Ready: "good", Failed: "bad", SiteLost: "bad" }[phase] ?? "wait";
}

function Row({ service, world }: { service: Service; world: World }) {
  const { name } = service.metadata;
  const status = service.status ?? {};
  const phase = status.phase ?? "Pending";
  const [series] = useRange(latency(tenant, name, 60), 900, 15);
  const sla = level(world, name);
  const last = series?.flatMap((one) => one.values.filter((value) => value !== null).slice(-1));
  const where = status.migration ? `${status.migration.from} → ${status.migration.to}` : (status.site ?? "–");
  return (
    <article class="row">
      <div class="about">
        <h3>
          <a href={`#/services/${encodeURIComponent(name)}`}>{name}</a> <span class={`state ${phaseStyle(phase)}`}>{phase}</span>
        </h3>
        <dl>
          <dt>site</dt>
          <dd>{where}</dd>
          <dt>latency</dt>
          <dd class={sla !== null && last?.some((value) => value > sla) ? "bad" : ""}>
            {last?.length ? `${number(Math.max(...last))} ms` : "–"}
            {sla !== null && <small> of {number(sla)} ms</small>}
          </dd>
          <dt>answered</dt>
          <dd>{number(status.requestsAnswered)}</dd>
        </dl>
      </div>
      <Chart
        series={series ?? []}
        name={(labels) => labels.site ?? "all"}
        unit=" ms"
        level={sla === null ? undefined : { value: sla, label: `level ${number(sla)} ms` }}
        height={150}
      />
    </article>
  );
}
