//! A catalog that several places have in common: a shelf that all of them reach is the truth, and the folder of each
//! is a copy, which is read.
//!
//! While the shelf is away, the copy goes on being used. What is changed is changed on the shelf first: a version is
//! one key, which appears whole, and its number is whose key was put first; which version is used is another key,
//! and whoever changes that says what it was before.
//!
//! ```text
//! latency/v3         the files of a version, together
//! latency/stages     production now and before, and what was retired
//! ```

use super::{
    Catalog, MODEL_MAX_BYTES, Record, check_name, file, read_model, shelf::Shelf, stages::Stages,
};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Records, back-tests and lists of stages are short.
const SMALL_MAX_BYTES: u64 = 1 << 20;
/// All files of a version.
const VERSION_MAX_BYTES: u64 = MODEL_MAX_BYTES + 3 * SMALL_MAX_BYTES;
/// Whose copy a folder is.
const MARK: &str = ".shared";
/// What was on the shelf when the copy was made.
const KNOWN: &str = ".known";

/// What a look at the shelf brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Came {
    /// Versions that are new here.
    pub versions: Vec<(String, u32)>,
    /// What is there and cannot be used, with the reason.
    pub passed_by: Vec<String>,
}

/// The files of a version, as they are in its folder.
#[derive(Debug, Serialize, Deserialize)]
struct Bundle {
    record: Vec<u8>,
    model: Vec<u8>,
    backtest: Option<Vec<u8>>,
}

/// The state in which each key was that is here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    versions: BTreeMap<u32, u64>,
    stages: Option<u64>,
}

impl Known {
    /// Of what a shelf lists of one model.
    fn of(listed: &BTreeMap<String, u64>, name: &str) -> Self {
        let mut known = Self::default();
        for (key, state) in listed {
            let Some(rest) = key.strip_prefix(name).and_then(|rest| rest.strip_prefix('/')) else {
                continue;
            };
            if rest == "stages" {
                known.stages = Some(*state);
            } else if let Some(id) = rest.strip_prefix('v').and_then(|id| id.parse().ok()) {
                known.versions.insert(id, *state);
            }
        }
        known
    }
}

impl Catalog {
    /// A catalog on a shelf, with a folder for its copy: one that is not there yet, or has a copy of the same.
    pub fn shared(folder: impl Into<PathBuf>, shelf: Arc<dyn Shelf>) -> Self {
        Self { folder: folder.into(), shelf: Some(shelf) }
    }

    /// Where it is, if it is on a shelf.
    pub fn address(&self) -> Option<&str> {
        self.shelf.as_deref().map(Shelf::address)
    }

    /// Takes what is new on the shelf; of a catalog that is a folder alone there is nothing to take. A version that is
    /// damaged costs itself alone.
    ///
    /// # Errors
    /// A shelf that is away, and then what is here stays as it is; a folder that cannot be written, or has models of
    /// its own.
    pub fn refresh(&self) -> Result<Came> {
        let mut came = Came::default();
        let Some(shelf) = &self.shelf else { return Ok(came) };
        self.mark()?;
        let listed = shelf.list("")?;
        let mut names: Vec<String> =
            listed.keys().filter_map(|key| Some(key.split_once('/')?.0.to_owned())).collect();
        names.retain(|name| check_name(name).is_ok());
        names.extend(self.names()?);
        names.sort();
        names.dedup();
        for name in names {
            let there = Known::of(&listed, &name);
            if there != self.known(&name) {
                let _lock = file::lock(&self.folder.join(&name))?;
                self.pull_listed(&**shelf, &name, there, &mut came)?;
            }
        }
        Ok(came)
    }

    /// Takes what is new of one model; whoever calls it holds the lock.
    pub(super) fn pull(&self, name: &str) -> Result<()> {
        let Some(shelf) = &self.shelf else { return Ok(()) };
        let there = Known::of(&shelf.list(&format!("{name}/"))?, name);
        if there == self.known(name) {
            return Ok(());
        }
        self.pull_listed(&**shelf, name, there, &mut Came::default())
    }

    /// A folder that has models of its own is not made a copy.
    pub(super) fn mark(&self) -> Result<()> {
        let Some(address) = self.address() else { return Ok(()) };
        let path = self.folder.join(MARK);
        let failed = |source| Error::Write { path: path.clone(), source };
        let whose = match fs::read_to_string(&path) {
            Ok(whose) if whose == address => return Ok(()),
            Ok(whose) => format!("is a copy of `{whose}`"),
            Err(_) if self.names()?.is_empty() => {
                fs::create_dir_all(&self.folder).map_err(failed)?;
                return fs::write(&path, address).map_err(failed);
            }
            Err(_) => "has models of its own".to_owned(),
        };
        let folder = self.folder.display();
        let text = format!("`{folder}` {whose}: give `{address}` another folder for its copy");
        Err(Error::Refused(text))
    }

    fn pull_listed(
        &self,
        shelf: &dyn Shelf,
        name: &str,
        mut there: Known,
        came: &mut Came,
    ) -> Result<()> {
        let (known, here) = (self.known(name), self.versions(name)?);
        if there.versions.is_empty() && !here.is_empty() {
            let place = shelf.address();
            came.passed_by.push(format!("`{name}` is no longer in `{place}`: what is here stays"));
            return Ok(());
        }
        let mut stages = None;
        if there.stages.is_some() && there.stages != known.stages {
            stages = shelf.get(&format!("{name}/stages"), SMALL_MAX_BYTES)?;
            // Versions are there before they are used: those that these stages name are in this list.
            there = Known::of(&shelf.list(&format!("{name}/"))?, name);
            there.stages = stages.as_ref().map(|(_, state)| *state);
        }
        for (&id, state) in &there.versions {
            let here = self.folder.join(name).join(format!("v{id}"));
            if known.versions.get(&id) == Some(state) && here.is_dir() {
                continue;
            }
            match self.fetch(shelf, name, id, &here) {
                Ok(()) => came.versions.push((name.to_owned(), id)),
                Err(error @ (Error::Write { .. } | Error::Away { .. })) => return Err(error),
                Err(error) => came.passed_by.push(types::chain(&error)),
            }
        }
        if let Some((bytes, _)) = stages {
            self.take_stages(shelf, name, &bytes)?;
        }
        self.drop_missing(name, &there)?;
        self.know(name, &there)
    }

    /// What was removed there goes here, but for what is used: that stays until another version is.
    fn drop_missing(&self, name: &str, there: &Known) -> Result<()> {
        let used = self.staged(name, &[])?.0;
        for id in self.versions(name)? {
            if !there.versions.contains_key(&id) && used != Some(id) {
                self.drop_copy(name, id)?;
            }
        }
        Ok(())
    }

    /// Removes the copy of a version, if there is one.
    pub(super) fn drop_copy(&self, name: &str, id: u32) -> Result<()> {
        let here = self.folder.join(name).join(format!("v{id}"));
        if !here.is_dir() {
            return Ok(());
        }
        let gone = self.folder.join(name).join(".removed");
        file::clear(&gone)?;
        file::rename(&here, &gone.join("version"))?;
        file::clear(&gone)
    }

    /// A version appears whole, or not at all.
    fn fetch(&self, shelf: &dyn Shelf, name: &str, id: u32, here: &Path) -> Result<()> {
        let key = format!("{name}/v{id}");
        let there = PathBuf::from(format!("{}/{key}", shelf.address()));
        let damaged = |reason: String| Error::Damaged { path: there.clone(), reason };
        let Some((bytes, _)) = shelf.get(&key, VERSION_MAX_BYTES)? else {
            return Err(damaged("it was removed just now".into()));
        };
        let content = file::opened(bytes, &there)?;
        let bundle: Bundle = postcard::from_bytes(&content)
            .map_err(|_| damaged("it holds no version of a model".into()))?;
        let draft = self.folder.join(name).join(".draft");
        file::clear(&draft)?;
        write(&draft.join("version"), &bundle.record)?;
        write(&draft.join("model"), &bundle.model)?;
        if let Some(backtest) = &bundle.backtest {
            write(&draft.join("backtest"), backtest)?;
        }
        let inner = |error: Error| damaged(types::chain(&error));
        let record: Record =
            file::read_json(&draft.join("version"), SMALL_MAX_BYTES).map_err(inner)?;
        if (record.name.as_str(), record.id) != (name, id) {
            return Err(damaged(format!("it is version {} of `{}`", record.id, record.name)));
        }
        read_model(&draft.join("model")).map_err(inner)?;
        self.drop_copy(name, id)?;
        file::rename(&draft, here)
    }

    fn take_stages(&self, shelf: &dyn Shelf, name: &str, bytes: &[u8]) -> Result<()> {
        let there = PathBuf::from(format!("{}/{name}/stages", shelf.address()));
        let content = file::opened(bytes.to_vec(), &there)?;
        let stages: Stages = serde_json::from_slice(&content)
            .map_err(|error| Error::Damaged { path: there, reason: error.to_string() })?;
        self.write_stages(name, &stages)
    }

    /// Puts a version that was written to a folder onto the shelf; false if its number is taken.
    pub(super) fn publish(&self, draft: &Path, record: &Record) -> Result<bool> {
        let Some(shelf) = &self.shelf else { return Ok(true) };
        let read = |part: &str| {
            let path = draft.join(part);
            fs::read(&path).map_err(|source| Error::Read { path, source })
        };
        let backtest = draft.join("backtest").exists().then(|| read("backtest")).transpose()?;
        let bundle = Bundle { record: read("version")?, model: read("model")?, backtest };
        let content = postcard::to_stdvec(&bundle)
            .map_err(|error| Error::Unfit(format!("the version cannot be written: {error}")))?;
        let key = format!("{}/v{}", record.name, record.id);
        let Some(state) = shelf.put(&key, &file::sealed(&content), None)? else { return Ok(false) };
        let mut known = self.known(&record.name);
        known.versions.insert(record.id, state);
        self.know(&record.name, &known).map(|()| true)
    }

    /// Puts stages onto the shelf, over those that were pulled; false if these are there no more.
    pub(super) fn publish_stages(&self, name: &str, stages: &Stages) -> Result<bool> {
        let Some(shelf) = &self.shelf else { return Ok(true) };
        let content = serde_json::to_vec_pretty(stages)
            .map_err(|error| Error::Unfit(format!("stages cannot be written: {error}")))?;
        let mut known = self.known(name);
        let put = shelf.put(&format!("{name}/stages"), &file::sealed(&content), known.stages)?;
        let Some(state) = put else { return Ok(false) };
        known.stages = Some(state);
        self.know(name, &known).map(|()| true)
    }

    /// Removes a version from the shelf.
    pub(super) fn withdraw(&self, name: &str, id: u32) -> Result<()> {
        let Some(shelf) = &self.shelf else { return Ok(()) };
        shelf.delete(&format!("{name}/v{id}"))?;
        let mut known = self.known(name);
        known.versions.remove(&id);
        self.know(name, &known)
    }

    /// The highest number that is taken on the shelf, as far as it was seen: also of what could not be read.
    pub(super) fn last_shared(&self, name: &str) -> Option<u32> {
        self.shelf.as_ref()?;
        self.known(name).versions.last_key_value().map(|(id, _)| *id)
    }

    /// What is not known, or was damaged since, is fetched again.
    fn known(&self, name: &str) -> Known {
        let folder = self.folder.join(name);
        let mut known: Known =
            file::read_json(&folder.join(KNOWN), SMALL_MAX_BYTES).unwrap_or_default();
        let sound = self.stages(name).is_ok_and(|(_, wrong)| wrong.is_empty());
        if !sound || !folder.join("stages").exists() {
            known.stages = None;
        }
        known
    }

    fn know(&self, name: &str, known: &Known) -> Result<()> {
        file::write_json(&self.folder.join(name).join(KNOWN), known)
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let written = fs::File::create(path).and_then(|mut file| {
        std::io::Write::write_all(&mut file, bytes)?;
        file.sync_all()
    });
    written.map_err(|source| Error::Write { path: path.to_owned(), source })
}
