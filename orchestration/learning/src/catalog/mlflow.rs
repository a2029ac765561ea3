//! Versions in the file layout of MLflow, for its tools and from them.
//!
//! A version becomes a run of an experiment that is named as the model: `EXPERIMENT/RUN` with `meta.yaml`,
//! `params`, `metrics`, `tags`, and the model folder `artifacts/model` with `MLmodel`. There its
//! flavours are `cloudskin`, all of it, and `onnx` with `python_function` for kinds that ONNX has
//! operators for, so that MLflow serves them.

use super::{Catalog, Record, file};
use crate::{Error, Result, model::Trained};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// An `MLmodel` is a page.
const MLMODEL_MAX_BYTES: u64 = 1 << 20;

/// What a folder of MLflow holds.
#[derive(Debug)]
pub enum Found {
    /// A version that a catalog wrote.
    Version(Box<(Record, Trained)>),
    /// An ONNX file of another program.
    Onnx(PathBuf),
}

#[derive(Debug, Serialize, Deserialize)]
struct MlModel {
    artifact_path: String,
    flavors: Flavors,
    #[serde(default)]
    model_uuid: String,
    #[serde(default)]
    run_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signature: Option<Signature>,
    #[serde(default)]
    utc_time_created: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Flavors {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cloudskin: Option<Own>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    onnx: Option<Onnx>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    python_function: Option<Python>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Own {
    data: String,
    record: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Onnx {
    data: String,
    #[serde(default)]
    onnx_version: String,
    #[serde(default)]
    providers: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Python {
    #[serde(default)]
    data: String,
    #[serde(default)]
    loader_module: String,
}

/// Shapes as MLflow writes them: JSON within YAML.
#[derive(Debug, Serialize, Deserialize)]
struct Signature {
    inputs: Option<String>,
    outputs: Option<String>,
}

#[derive(Debug, Serialize)]
struct Experiment<'a> {
    artifact_location: String,
    creation_time: i64,
    experiment_id: String,
    last_update_time: i64,
    lifecycle_stage: &'static str,
    name: &'a str,
}

#[derive(Debug, Serialize)]
struct Run {
    artifact_uri: String,
    end_time: i64,
    entry_point_name: &'static str,
    experiment_id: String,
    lifecycle_stage: &'static str,
    run_id: String,
    run_name: String,
    source_name: &'static str,
    source_type: u8,
    source_version: &'static str,
    start_time: i64,
    status: u8,
    tags: [(); 0],
    user_id: &'static str,
}

impl Catalog {
    /// Writes a version below a folder such as `mlruns`, and answers the model's folder in it. The
    /// same version is written to the same place.
    ///
    /// # Errors
    /// A version that cannot be read, and a folder that cannot be written.
    pub fn export_mlflow(&self, name: &str, id: u32, mlruns: &Path) -> Result<PathBuf> {
        let (record, model) = (self.record(name, id)?, self.model(name, id)?);
        let onnx = self.onnx(name, id)?;
        fs::create_dir_all(mlruns).map_err(unwritten(mlruns))?;
        let mlruns = fs::canonicalize(mlruns).map_err(unwritten(mlruns))?;
        let (experiment, run) = ids(&record);
        let folder = mlruns.join(&experiment).join(&run);
        let artifacts = folder.join("artifacts").join("model");
        fs::create_dir_all(&artifacts).map_err(unwritten(&artifacts))?;
        let source = self.version(name, id)?;
        for part in ["model", "version"] {
            let (from, to) = (source.join(part), artifacts.join(part));
            fs::copy(from, &to).map_err(unwritten(&to))?;
        }
        if let Some(onnx) = &onnx {
            write(&artifacts.join("model.onnx"), onnx)?;
        }
        let described = described(&record, &model, onnx.is_some(), &run);
        write(&artifacts.join("MLmodel"), yaml(&described)?.as_bytes())?;
        for (kind, entries) in tables(&record)? {
            let table = folder.join(kind);
            fs::create_dir_all(&table).map_err(unwritten(&table))?;
            for (key, value) in entries {
                write(&table.join(key), value.as_bytes())?;
            }
        }
        let end_ms = record.made.at_s * 1000;
        let start_ms = end_ms - (record.made.seconds * 1000.0) as i64;
        let location = format!("file://{}", mlruns.join(&experiment).display());
        let of_run = Run {
            artifact_uri: format!("file://{}", folder.join("artifacts").display()),
            end_time: end_ms,
            entry_point_name: "",
            experiment_id: experiment.clone(),
            lifecycle_stage: "active",
            run_id: run,
            run_name: format!("{name}-v{id}"),
            source_name: "cloudskin",
            source_type: 4,
            source_version: "",
            start_time: start_ms,
            status: 3,
            tags: [],
            user_id: "cloudskin",
        };
        write(&folder.join("meta.yaml"), yaml(&of_run)?.as_bytes())?;
        let of_experiment = Experiment {
            artifact_location: location,
            creation_time: start_ms,
            experiment_id: experiment.clone(),
            last_update_time: end_ms,
            lifecycle_stage: "active",
            name,
        };
        // Last: an experiment that MLflow lists is whole.
        write(&mlruns.join(experiment).join("meta.yaml"), yaml(&of_experiment)?.as_bytes())?;
        Ok(artifacts)
    }
}

/// Reads a model's folder (with `MLmodel`), or that of a run.
///
/// # Errors
/// No such folder, an `MLmodel` that cannot be read, or one without a flavour that is known.
pub fn read(folder: &Path) -> Result<Found> {
    let nested = folder.join("artifacts").join("model");
    let folder = if nested.is_dir() { &nested } else { folder };
    let path = folder.join("MLmodel");
    let failed = |source| Error::Read { path: path.clone(), source };
    let size = fs::metadata(&path).map_err(failed)?.len();
    if size > MLMODEL_MAX_BYTES {
        let what = format!("`{}`, {size} bytes,", path.display());
        return Err(Error::TooMuch { what, limit: MLMODEL_MAX_BYTES });
    }
    let text = fs::read_to_string(&path).map_err(failed)?;
    let damaged = |reason: String| Error::Damaged { path: path.clone(), reason };
    let model: MlModel =
        serde_saphyr::from_str(&text).map_err(|error| damaged(error.to_string()))?;
    if let Some(own) = model.flavors.cloudskin {
        let record: Record = file::read_json(&inside(folder, &own.record)?, 1 << 20)?;
        let model = super::read_model(&inside(folder, &own.data)?)?;
        return Ok(Found::Version(Box::new((record, model))));
    }
    match model.flavors.onnx {
        Some(onnx) => Ok(Found::Onnx(inside(folder, &onnx.data)?)),
        None => Err(damaged("its flavours are neither `cloudskin` nor `onnx`".into())),
    }
}

/// A file beside the `MLmodel`: a stranger's must not name another one.
fn inside(folder: &Path, name: &str) -> Result<PathBuf> {
    let plain = !name.is_empty() && !name.contains(['/', '\\', '\0']) && name != "..";
    match plain {
        true => Ok(folder.join(name)),
        false => Err(Error::Unfit(format!("`{name}`, which the MLmodel names, is not beside it"))),
    }
}

/// Those of the experiment and the run: digits and hexadecimal ones, as MLflow's are.
fn ids(record: &Record) -> (String, String) {
    let digits = |text: &str| blake3::hash(text.as_bytes()).to_hex().to_string();
    let name = &record.name;
    let number = u64::from_str_radix(&digits(name)[..15], 16).unwrap_or(1);
    let run =
        digits(&format!("{name} {} {} {}", record.id, record.made.at_s, record.trained.digest));
    (number.to_string(), run[..32].to_owned())
}

fn described(record: &Record, model: &Trained, onnx: bool, run: &str) -> MlModel {
    let tensor = |columns: usize| {
        format!(
            r#"[{{"type": "tensor", "tensor-spec": {{"dtype": "float32", "shape": [-1, {columns}]}}}}]"#
        )
    };
    let data = || "model.onnx".to_owned();
    let flavors = Flavors {
        cloudskin: Some(Own { data: "model".into(), record: "version".into() }),
        onnx: onnx.then(|| Onnx {
            data: data(),
            onnx_version: "1.12.0".into(),
            providers: vec!["CPUExecutionProvider".into()],
        }),
        python_function: onnx.then(|| Python { data: data(), loader_module: "mlflow.onnx".into() }),
    };
    MlModel {
        artifact_path: "model".into(),
        flavors,
        model_uuid: run.into(),
        run_id: Some(run.into()),
        signature: onnx
            .then(|| Signature { inputs: Some(tensor(model.width())), outputs: Some(tensor(1)) }),
        utc_time_created: utc(record.made.at_s),
    }
}

type Tables = [(&'static str, BTreeMap<String, String>); 3];

/// Files of a run by folder.
fn tables(record: &Record) -> Result<Tables> {
    let mut params = BTreeMap::from([
        ("kind".to_owned(), record.method.name().to_owned()),
        ("target".to_owned(), record.target.to_string()),
        ("ahead_s".to_owned(), format!("{}..{}", record.ahead.0, record.ahead.1)),
        ("every_s".to_owned(), record.every_s.to_string()),
        ("seed".to_owned(), record.made.seed.to_string()),
    ]);
    let method = json(&record.method)?;
    params.insert("settings".into(), method.to_string());
    let time = record.made.at_s * 1000;
    let mut metrics = BTreeMap::new();
    if let serde_json::Value::Object(score) = json(&record.score)? {
        let known = score.iter().filter_map(|(key, value)| Some((key, value.as_f64()?)));
        metrics.extend(known.map(|(key, value)| (key.clone(), format!("{time} {value} 0\n"))));
    }
    metrics.insert("training_s".into(), format!("{time} {} 0\n", record.made.seconds));
    let tags = BTreeMap::from([
        ("mlflow.runName".to_owned(), format!("{}-v{}", record.name, record.id)),
        ("mlflow.source.name".to_owned(), "cloudskin".to_owned()),
        ("mlflow.source.type".to_owned(), "LOCAL".to_owned()),
        ("cloudskin.stage".to_owned(), record.stage.to_string()),
        ("cloudskin.data".to_owned(), record.trained.digest.clone()),
    ]);
    Ok([("params", params), ("metrics", metrics), ("tags", tags)])
}

fn json(value: &impl Serialize) -> Result<serde_json::Value> {
    serde_json::to_value(value).map_err(|error| Error::Unfit(error.to_string()))
}

fn yaml(value: &impl Serialize) -> Result<String> {
    serde_saphyr::to_string(value).map_err(|error| Error::Unfit(error.to_string()))
}

fn write(path: &Path, content: &[u8]) -> Result<()> {
    fs::write(path, content).map_err(unwritten(path))
}

fn unwritten(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Write { path: path.to_owned(), source }
}

/// `2024-05-15 08:45:00`, by the proleptic calendar (H. Hinnant, "chrono-Compatible Low-Level Date
/// Algorithms").
fn utc(unix_s: i64) -> String {
    let (days, second) = (unix_s.div_euclid(86_400), unix_s.rem_euclid(86_400));
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        assert_eq!(utc(0), "1970-01-01 00:00:00");
        assert_eq!(utc(1_715_762_700), "2024-05-15 08:45:00");
        assert_eq!(utc(951_782_399), "2000-02-28 23:59:59");
        assert_eq!(utc(951_782_400), "2000-02-29 00:00:00");
    }

    #[test]
    fn a_file_elsewhere_is_not_read() {
        for name in ["", "..", "../secret", "/etc/passwd", "a\\b"] {
            assert!(inside(Path::new("/models"), name).is_err(), "{name}");
        }
        assert!(inside(Path::new("/models"), "model.onnx").is_ok());
    }
}
