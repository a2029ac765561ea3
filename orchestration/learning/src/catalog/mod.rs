//! Trained models, kept: versions of each name, with what they were trained on and how good they are.
//!
//! A catalog is a folder. Each version is a folder of its own that appears whole and never changes;
//! which version is used is in one small file beside them. So a process that is killed at any line
//! leaves what was there before or what is there after, and a damaged file costs its own version
//! alone: [`Catalog::production`] answers the last one that is sound, and says so.
//!
//! Several places share one through a [`Shelf`] ([`Catalog::shared`]).
//!
//! ```text
//! latency/stages              production now and before, and what was retired
//! latency/stages.before       the same before the last change
//! latency/v3/version          its record, as JSON
//! latency/v3/model            the model
//! latency/v3/backtest         what it said of what it had not seen, beside what came, as JSON
//! ```

mod backtest;
mod change;
mod file;
mod fit;
mod gate;
mod make;
pub mod mlflow;
mod renew;
mod shared;
mod shelf;
mod stages;
#[cfg(test)]
mod tests;
mod version;

pub use backtest::{BackTest, Part, Point};
pub use fit::fits;
pub use gate::{Gate, MARGIN};
pub use make::{Draft, Keep, Order, make, take};
pub use renew::Renewal;
pub use shared::Came;
pub use shelf::Shelf;
#[doc(hidden)]
pub use shelf::conformance;
pub use version::{Beside, Data, Made, Record, Stage};

use crate::{
    Error, Result,
    model::{Fitted, Trained},
};
use stages::Stages;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// No model is larger.
pub const MODEL_MAX_BYTES: u64 = 256 << 20;
/// Versions of a name; older ones are removed by `rm`.
const VERSIONS_MAX: usize = 10_000;
/// No version has a higher number: there is room behind it, whatever strangers write.
const ID_MAX: u32 = 1_000_000_000;

/// A folder of models; where they are shared, the copy of what is on a shelf.
#[derive(Debug, Clone)]
pub struct Catalog {
    folder: PathBuf,
    /// Where it is shared, if it is: the folder is a copy then.
    shelf: Option<Arc<dyn Shelf>>,
}

/// The model that is used, and what had to be passed by to find it.
#[derive(Debug)]
pub struct Production {
    /// Its record.
    pub record: Record,
    /// The model.
    pub model: Trained,
    /// Why newer ones are not used; empty if all is well.
    pub passed_by: Vec<String>,
}

impl Catalog {
    /// The catalog in a folder, which need not exist.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), shelf: None }
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The names of all models, ascending.
    ///
    /// # Errors
    /// A folder that cannot be read; one that is not there is empty.
    pub fn names(&self) -> Result<Vec<String>> {
        let mut names = entries(&self.folder)?;
        names.retain(|name| check_name(name).is_ok());
        names.sort();
        Ok(names)
    }

    /// The numbers of a model's versions, ascending.
    ///
    /// # Errors
    /// As of [`Catalog::names`].
    pub fn versions(&self, name: &str) -> Result<Vec<u32>> {
        check_name(name)?;
        let folder = self.folder.join(name);
        let mut found: Vec<_> = entries(&folder)?.iter().filter_map(|it| number(it)).collect();
        found.sort_unstable();
        Ok(found)
    }

    /// The record of a version, with its stage.
    ///
    /// # Errors
    /// A version that is not there, or whose record is damaged.
    pub fn record(&self, name: &str, id: u32) -> Result<Record> {
        let path = self.version(name, id)?.join("version");
        let mut record: Record = file::read_json(&path, 1 << 20)?;
        record.stage = self.stages(name)?.0.stage(id);
        Ok(record)
    }

    /// The version in production, as the list of stages says, and the stages of some versions.
    ///
    /// # Errors
    /// A list that cannot be read.
    pub fn staged(&self, name: &str, ids: &[u32]) -> Result<(Option<u32>, Vec<Stage>)> {
        check_name(name)?;
        let stages = self.stages(name)?.0;
        Ok((stages.production(), ids.iter().map(|id| stages.stage(*id)).collect()))
    }

    /// The model of a version.
    ///
    /// # Errors
    /// As of [`Catalog::record`]; a model that is damaged, too large, or of a shape that cannot be
    /// asked.
    pub fn model(&self, name: &str, id: u32) -> Result<Trained> {
        let path = self.version(name, id)?.join("model");
        read_model(&path)
    }

    /// What a version said of what it had not seen; nothing if that was not kept, as by an earlier release.
    ///
    /// # Errors
    /// As of [`Catalog::record`].
    pub fn backtest(&self, name: &str, id: u32) -> Result<Option<BackTest>> {
        let path = self.version(name, id)?.join("backtest");
        match file::read_json(&path, 1 << 20) {
            Ok(test) => Ok(Some(test)),
            Err(Error::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The file of a version's model, for [`read_model`].
    ///
    /// # Errors
    /// A name that is none.
    pub fn file(&self, name: &str, id: u32) -> Result<PathBuf> {
        Ok(self.version(name, id)?.join("model"))
    }

    /// The version that is used. If its files are damaged, the one that was used before, and so on;
    /// what was passed by is said.
    ///
    /// # Errors
    /// None was promoted, or none of those is sound.
    pub fn production(&self, name: &str) -> Result<Production> {
        let (stages, mut passed_by) = match self.stages(name) {
            Ok(found) => found,
            Err(error) => (Stages::default(), vec![error.to_string()]),
        };
        if stages.history.is_empty() && passed_by.is_empty() {
            return Err(Error::Unknown(match self.versions(name)?.is_empty() {
                true => format!("there is no model `{name}`"),
                false => format!("no version of `{name}` is in production: promote one"),
            }));
        }
        for &id in stages.history.iter().rev() {
            match self.record(name, id).and_then(|record| Ok((record, self.model(name, id)?))) {
                Ok((record, model)) => return Ok(Production { record, model, passed_by }),
                Err(error) => passed_by.push(types::chain(&error)),
            }
        }
        let text = format!("no version of `{name}` can be used: {}", passed_by.join("; "));
        Err(Error::Unknown(text))
    }

    /// What a version is as an ONNX file; nothing for kinds that ONNX has no operators for.
    ///
    /// # Errors
    /// As of [`Catalog::model`].
    pub fn onnx(&self, name: &str, id: u32) -> Result<Option<Vec<u8>>> {
        let (record, model) = (self.record(name, id)?, self.model(name, id)?);
        let about = [
            ("cloudskin.name".to_owned(), format!("{name}/v{id}")),
            ("cloudskin.target".to_owned(), record.target.to_string()),
            ("cloudskin.ahead_s".to_owned(), format!("{}..{}", record.ahead.0, record.ahead.1)),
            ("cloudskin.figures".to_owned(), model.names().join(",")),
        ];
        Ok(model.fitted().map(|fitted: &Fitted| fitted.to_onnx(&about)))
    }

    fn version(&self, name: &str, id: u32) -> Result<PathBuf> {
        check_name(name)?;
        let path = self.folder.join(name).join(format!("v{id}"));
        match path.is_dir() {
            true => Ok(path),
            false => Err(Error::Unknown(format!("there is no version {id} of a model `{name}`"))),
        }
    }

    /// Which versions are used; with what is wrong with the file, if the one before was read.
    fn stages(&self, name: &str) -> Result<(Stages, Vec<String>)> {
        let path = self.folder.join(name).join("stages");
        match file::read_json(&path, 1 << 20) {
            Ok(stages) => Ok((stages, Vec::new())),
            Err(Error::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                Ok((Stages::default(), Vec::new()))
            }
            Err(error) => {
                let before = file::read_json(&path.with_extension("before"), 1 << 20);
                before.map(|stages| (stages, vec![error.to_string()])).map_err(|_| error)
            }
        }
    }
}

/// A model's file, checked so that it can be asked anything.
///
/// # Errors
/// A file that cannot be read, is damaged, too large, or of a shape that cannot be asked.
pub fn read_model(path: &Path) -> Result<Trained> {
    let bytes = file::read(path, MODEL_MAX_BYTES)?;
    let damaged = |reason: &str| Error::Damaged { path: path.to_owned(), reason: reason.into() };
    let model: Trained =
        postcard::from_bytes(&bytes).map_err(|_| damaged("it holds no model of this version"))?;
    match model.is_sound() {
        true => Ok(model),
        false => Err(damaged("its parts do not fit together")),
    }
}

fn entries(folder: &Path) -> Result<Vec<String>> {
    let failed = |source| Error::Read { path: folder.to_owned(), source };
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(failed)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if entry.path().is_dir() {
            names.extend(entry.file_name().into_string());
        }
    }
    Ok(names)
}

/// The number in a name such as `v3`. Those that are written otherwise, as `v03`, are none of ours.
fn number(entry: &str) -> Option<u32> {
    let id: u32 = entry.strip_prefix('v')?.parse().ok()?;
    ((1..=ID_MAX).contains(&id) && entry == format!("v{id}")).then_some(id)
}

/// Names are folders: they cannot lead elsewhere.
fn check_name(name: &str) -> Result<()> {
    let letters =
        |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == b'-';
    let known = !name.is_empty() && name.len() <= 63 && name.bytes().all(letters);
    match known && !name.starts_with('-') {
        true => Ok(()),
        false => {
            let shown: String = name.chars().take(80).collect();
            Err(Error::Unfit(format!(
                "`{shown}` is no name of a model: write at most 63 small letters, digits and `-`"
            )))
        }
    }
}
