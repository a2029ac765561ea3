// Models of the catalog: which version is used, how good it is beside the naive forecast, and whether it still fits.

import type { Model, ModelVersion } from "../api";
import { ago, bytes, number, percent, seconds, stretch } from "../format";
import { useWatch } from "../state";
import { holds } from "./policies";

export function Models() {
  const [models, problem] = useWatch<Model>("model");
  return (
    <>
      <h1>Models</h1>
      {problem && (
        <p role="alert" class="problem">
          Not up to date: {problem}
        </p>
      )}
      {models.length === 0 && !problem && (
        <p class="hint">
          None yet: <code>cloudskin model train --kind gbm --data traces/ --target latency --horizon 10m</code>
        </p>
      )}
      {models.length > 0 && (
        <div class="sheet">
          <table class="models">
            <thead>
              <tr>
                <th>model</th>
                <th>state</th>
                <th>predicts</th>
                <th class="number">error</th>
                <th>beside naive</th>
                <th class="number">80 % holds</th>
                <th class="number">rows</th>
                <th class="number">took</th>
                <th class="number">memory</th>
              </tr>
            </thead>
            <tbody>
              {models.map((one) => (
                <Row key={one.metadata.name} model={one} />
              ))}
            </tbody>
          </table>
        </div>
      )}
      <p class="hint">
        The error is the root mean square of the back-test, in the target's unit; the naive forecast says that all stays as it is. Rows, time and
        memory are those of the training.
      </p>
    </>
  );
}

/** The version that is used, or else the latest. */
export function shown(model: Model): ModelVersion | undefined {
  const versions = model.status?.versions ?? [];
  return versions.find((one) => one.id === model.status?.production) ?? versions[0];
}

function Row({ model }: { model: Model }) {
  const { name } = model.metadata;
  const version = shown(model);
  return (
    <tr>
      <td>
        <a href={`#/models/${encodeURIComponent(name)}`}>{name}</a> <small>{version && `v${version.id} · ${version.kind}`}</small>
      </td>
      <td>
        <State model={model} />
      </td>
      <td>{version && `${version.target}, ${stretch(version.aheadS)} ahead`}</td>
      <td class="number">{number(version?.rmse)}</td>
      <td>
        <Beside version={version} />
      </td>
      <td class="number">{percent(version?.coverage80)}</td>
      <td class="number">{number(version?.rows || null)}</td>
      <td class="number">{seconds(version?.seconds)}</td>
      <td class="number">{bytes(version?.peakBytes)}</td>
    </tr>
  );
}

export function State({ model }: { model: Model }) {
  const facts = model.status?.conditions ?? [];
  const of = (type: string) => facts.find((one) => one.type === type);
  const [ready, fits] = [of("Ready"), of("Fits")];
  const [state, style] = !holds(ready)
    ? ready?.reason === "NoneInProduction"
      ? ["candidate", "wait"]
      : ["damaged", "bad"]
    : fits && !holds(fits)
      ? ["drifted", "bad"]
      : ["production", "good"];
  return (
    <span class={`state ${style}`} title={(fits && !holds(fits) ? fits : ready)?.message}>
      {state}
    </span>
  );
}

/** The error as a part of the naive forecast's. */
export function Beside({ version }: { version: ModelVersion | undefined }) {
  if (!version?.naiveRmse) return <>–</>;
  const share = version.rmse / version.naiveRmse;
  return (
    <span class="gauge" title={`naive: ${number(version.naiveRmse)}`}>
      <i>
        <i class={share < 1 ? "better" : "worse"} style={{ width: `${Math.min(100, 100 * share)}%` }} />
      </i>
      {percent(share, 0)}
    </span>
  );
}

export const made = (version: ModelVersion) => ago(version.made);
