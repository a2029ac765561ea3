// One model: its versions, the back-test of one of them, and how it does on what really happens.

import { useEffect, useState } from "preact/hooks";
import { read, resources, type Model as Resource, type ModelVersion, type Version } from "../api";
import { ago, bytes, clock, moment, number, percent, seconds, stretch } from "../format";
import { Parts, Predicted } from "../plot";
import { useWatch, type World } from "../state";
import { DecisionList } from "./decisions";
import { Beside, made, shown, State } from "./models";
import { Fact } from "./policies";

const UNITS: Record<string, string> = { latency: "ms", "latency-max": "ms", cpu: "CPUs", "cpu-max": "CPUs" };

/** `wanted` is the number of a version; the one that is used if it is empty. */
export function Model({ world, name, wanted }: { world: World; name: string; wanted: string }) {
  const [models, problem] = useWatch<Resource>("model");
  const model = models.find((one) => one.metadata.name === name);
  if (!model) return <p class="hint">{problem ?? `There is no model ${name}.`}</p>;
  const versions = model.status?.versions ?? [];
  const version = versions.find((one) => `${one.id}` === wanted) ?? shown(model);
  const own = world.decisions.filter((one) => one.spec.subject === `model/${name}`);
  return (
    <>
      <h1>
        <a href="#/models">Models</a> / {name} <State model={model} />
      </h1>
      {version && (
        <dl class="facts">
          <dt>predicts</dt>
          <dd>
            {version.target}, {stretch(version.aheadS)} ahead
          </dd>
          <dt>in production</dt>
          <dd>{model.status?.production ? `v${model.status.production}` : "none"}</dd>
          <dt>versions</dt>
          <dd>{number(model.status?.versionsTotal)}</dd>
          <dt>when it no longer fits</dt>
          <dd>{{ off: "it is said", candidate: "a candidate is trained", promote: "a better one takes its place" }[model.spec.retrain]}</dd>
        </dl>
      )}
      <ul class="conditions">
        {model.status?.conditions?.map((one) => (
          <Fact key={one.type} fact={one} />
        ))}
      </ul>
      {version && <BackTest name={name} version={version} />}
      <section>
        <h2>Versions</h2>
        <Versions name={name} versions={versions} open={version?.id} />
      </section>
      <Live model={model} />
      <section>
        <h2>Drifts and trainings</h2>
        <DecisionList decisions={own.slice(0, 20)} open="" />
      </section>
    </>
  );
}

function BackTest({ name, version }: { name: string; version: ModelVersion }) {
  const [all, problem] = useVersion(name, version.id);
  const unit = UNITS[version.target] ?? "";
  const points = all?.backTest?.points ?? [];
  const sites = [...new Set(points.map((one) => one.site))];
  const [chosen, choose] = useState("");
  const site = sites.includes(chosen) ? chosen : sites[0];
  return (
    <>
      <section>
        <h2>
          Back-test of v{version.id}: predicted beside what came
          {sites.length > 1 && (
            <span class="choice" role="group" aria-label="Site">
              {sites.map((one) => (
                <button key={one} aria-pressed={one === site} onClick={() => choose(one)}>
                  {one}
                </button>
              ))}
            </span>
          )}
        </h2>
        {problem && <p class="hint bad">{problem}</p>}
        {all && !all.backTest && <p class="hint">Its back-test was not kept: it was imported, or trained by an earlier release.</p>}
        {points.length > 0 && (
          <div class="sheet">
            <Predicted points={points.filter((one) => one.site === site)} unit={unit} />
            <p class="key">
              <span class="truth">what came</span> <span class="said">predicted</span> <span class="interval">interval of 80 %</span>
              <small>
                {moment(all!.record.tested.fromS)} to {moment(all!.record.tested.toS)}: data that it had not seen
              </small>
            </p>
          </div>
        )}
      </section>
      {all?.backTest && all.backTest.parts.length > 0 && (
        <section>
          <h2>Error by part of the back-test</h2>
          <div class="sheet">
            <Parts parts={all.backTest.parts} unit={unit} />
            <p class="key">
              <span class="model">v{version.id}</span> <span class="naive">naive: all stays as it is</span>
            </p>
          </div>
        </section>
      )}
      {all && <Facts all={all} version={version} unit={unit} />}
    </>
  );
}

function Facts({ all, version, unit }: { all: Version; version: ModelVersion; unit: string }) {
  const { record } = all;
  const span = (data: Version["record"]["trained"]) => `${moment(data.fromS)} to ${moment(data.toS)}, ${data.sites.join(" and ")}`;
  const facts: [string, string][] = [
    ["trained on", span(record.trained)],
    ["tested on", span(record.tested)],
    ["mean error", `${number(version.mae)} ${unit}`],
    ["R²", number(record.score.r2)],
    ["width of intervals", `${number(record.score.width80)} ${unit}`],
    ["alarms", `AUC ${number(record.score.auc)}`],
    ["size", bytes(version.modelBytes)],
    ["sees", `${all.figures.length} figures`],
    ["lineage", version.parent ? `v${version.parent} was in production when it was made` : "the first in its line"],
  ];
  if (version.because) facts.push(["because", version.because]);
  if (record.made.imported) facts.push(["imported from", record.made.imported]);
  return (
    <dl class="pairs">
      {facts.map(([key, value]) => (
        <div key={key}>
          <dt>{key}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

function Versions({ name, versions, open }: { name: string; versions: ModelVersion[]; open: number | undefined }) {
  const style = { production: "good", candidate: "wait", retired: "" };
  return (
    <div class="sheet">
      <table class="models">
        <thead>
          <tr>
            <th>version</th>
            <th>stage</th>
            <th>kind</th>
            <th class="number">error</th>
            <th>beside naive</th>
            <th class="number">80 % holds</th>
            <th class="number">rows</th>
            <th class="number">took</th>
            <th>made</th>
          </tr>
        </thead>
        <tbody>
          {versions.map((one) => (
            <tr key={one.id} aria-current={one.id === open ? "true" : undefined}>
              <td>
                <a href={`#/models/${encodeURIComponent(name)}/${one.id}`}>v{one.id}</a>
              </td>
              <td>
                <span class={`state ${one.damage ? "bad" : style[one.stage]}`} title={one.damage}>
                  {one.damage ? "damaged" : one.stage}
                </span>
              </td>
              <td>{one.kind}</td>
              <td class="number">{number(one.rmse)}</td>
              <td>
                <Beside version={one} />
              </td>
              <td class="number">{percent(one.coverage80)}</td>
              <td class="number">{number(one.rows || null)}</td>
              <td class="number">{seconds(one.seconds)}</td>
              <td title={one.because}>
                {made(one)} {one.because && <small>after a drift</small>}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** What the version in production said of services, and what came. */
function Live({ model }: { model: Resource }) {
  const watched = model.status?.watched ?? [];
  if (watched.length === 0) {
    return <p class="hint">No policy forecasts with it, or nothing was measured yet: it is not watched.</p>;
  }
  const tested = shown(model);
  return (
    <section>
      <h2>On what really happens, in the last day</h2>
      <div class="sheet">
        <table class="models">
          <thead>
            <tr>
              <th>service</th>
              <th class="number">predictions</th>
              <th class="number">mean error</th>
              <th class="number">in its back-test</th>
              <th class="number">80 % holds</th>
              <th>up to</th>
            </tr>
          </thead>
          <tbody>
            {watched.map((one) => (
              <tr key={`${one.tenant}/${one.service}`}>
                <td>
                  <a href={`#/services/${encodeURIComponent(one.service)}`}>{one.service}</a> <small>v{one.version}</small>
                </td>
                <td class="number">{number(one.moments)}</td>
                <td class="number">{number(one.mae)}</td>
                <td class="number">{number(tested?.mae)}</td>
                <td class="number">{percent(one.coverage80)}</td>
                <td title={ago(one.until)}>{clock(one.until)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

/** A version never changes: it is read once. */
function useVersion(name: string, id: number): [Version | null, string | null] {
  const [found, setFound] = useState<{ id: number; version: Version } | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  useEffect(() => {
    const stop = new AbortController();
    setProblem(null);
    read<Version>(`${resources("model")}/${encodeURIComponent(name)}/versions/${id}`, stop.signal)
      .then((version) => setFound({ id, version }))
      .catch((error: unknown) => !stop.signal.aborted && setProblem(error instanceof Error ? error.message : String(error)));
    return () => stop.abort();
  }, [name, id]);
  return [found?.id === id ? found.version : null, problem];
}
