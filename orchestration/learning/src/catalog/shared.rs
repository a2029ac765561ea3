//! A catalog that several places have in common: a shelf that all of them reach is the truth, and the folder of each
//! is a copy, which is read.
//!
//! While the shelf is away, the copy goes on being used. What is changed is changed on the shelf first: a version is
//! one key, which appears whole, and its number is whose key was put first; which version is used is another key,
//! and whoever changes that says what it was before. What of it is here is noted last: whoever is killed before takes
//! it again.
//!
//! ```text
//! latency/v3         the files of a version, together
//! latency/stages     production now and before, and what was retired
//! ```

use super::{
    Catalog, MODEL_MAX_BYTES, Record, check_name, file, number, read_model, shelf::Shelf,
    stages::Stages,
};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

/// Records, back-tests and lists of stages are short.
const SMALL_MAX_BYTES: u64 = 1 << 20;
/// All files of a version.
const VERSION_MAX_BYTES: u64 = MODEL_MAX_BYTES + 3 * SMALL_MAX_BYTES;
/// What is known of many versions, and why some of them cannot be used.
const KNOWN_MAX_BYTES: u64 = 16 << 20;
/// A reason is told again and again.
const REASON_MAX_CHARS: usize = 400;
/// What could not be used is taken again after so long, or as soon as it is another one.
const RETRY_S: u64 = 60;
/// Whose copy a folder is.
const MARK: &str = ".shared";
/// What was on the shelf when the copy was made.
const KNOWN: &str = ".known";

/// What a look at the shelf brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Came {
    /// Versions that are new here.
    pub versions: Vec<(String, u32)>,
    /// What is there and cannot be used, with the reason: at every look.
    pub passed_by: Vec<String>,
}

/// The files of a version, as they are in its folder.
#[derive(Debug, Serialize, Deserialize)]
struct Bundle {
    record: Vec<u8>,
    model: Vec<u8>,
    backtest: Option<Vec<u8>>,
}

/// The state of each key of a model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct States {
    versions: BTreeMap<u32, u64>,
    stages: Option<u64>,
}

impl States {
    /// Of what a shelf lists.
    fn of(listed: &BTreeMap<String, u64>, name: &str) -> Self {
        let mut states = Self::default();
        for (key, state) in listed {
            let Some(rest) = key.strip_prefix(name).and_then(|rest| rest.strip_prefix('/')) else {
                continue;
            };
            if rest == "stages" {
                states.stages = Some(*state);
            } else if let Some(id) = number(rest) {
                states.versions.insert(id, *state);
            }
        }
        states
    }
}

/// The state in which each key was that is here, and of what could not be used.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Known {
    versions: BTreeMap<u32, u64>,
    stages: Option<u64>,
    #[serde(default)]
    failed_versions: BTreeMap<u32, Failed>,
    #[serde(default)]
    failed_stages: Option<Failed>,
}

impl Known {
    /// What needs not be taken now: it is here, or in vain.
    fn settled(&self) -> States {
        let now_s = now_s();
        let mut settled = States { versions: self.versions.clone(), stages: self.stages };
        let fresh = self.failed_versions.iter().filter(|(_, failed)| !failed.is_due(now_s));
        settled.versions.extend(fresh.map(|(id, failed)| (*id, failed.state)));
        if let Some(failed) = self.failed_stages.as_ref().filter(|failed| !failed.is_due(now_s)) {
            settled.stages = Some(failed.state);
        }
        settled
    }

    fn reasons(self) -> impl Iterator<Item = String> {
        let failed = self.failed_versions.into_values().chain(self.failed_stages);
        failed.map(|failed| failed.reason)
    }
}

/// What is on the shelf and cannot be used.
#[derive(Debug, Serialize, Deserialize)]
struct Failed {
    state: u64,
    reason: String,
    at_s: u64,
}

impl Failed {
    /// Nothing of what would fail with all others too: that ends the whole look.
    fn of(state: u64, error: Error) -> Result<Self> {
        if ends_a_look(&error) {
            return Err(error);
        }
        let reason = types::chain(&error).chars().take(REASON_MAX_CHARS).collect();
        Ok(Self { state, reason, at_s: now_s() })
    }

    /// A clock that was set back makes nobody wait.
    fn is_due(&self, now_s: u64) -> bool {
        !(self.at_s..self.at_s.saturating_add(RETRY_S)).contains(&now_s)
    }
}

/// Without the shelf, or a disk that can be written, there is nothing to be had of other models either.
fn ends_a_look(error: &Error) -> bool {
    matches!(error, Error::Write { .. } | Error::Away { .. })
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
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
    /// damaged costs itself alone, and stages that are cost their model's changes.
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
            match self.look(&**shelf, &name, &States::of(&listed, &name), &mut came) {
                Err(error) if ends_a_look(&error) => return Err(error),
                Err(error) => came.passed_by.push(types::chain(&error)),
                Ok(()) => came.passed_by.extend(self.known(&name).reasons()),
            }
        }
        Ok(came)
    }

    /// Takes what is new of one model, if it was listed so.
    fn look(&self, shelf: &dyn Shelf, name: &str, listed: &States, came: &mut Came) -> Result<()> {
        if *listed == self.known(name).settled() {
            return Ok(());
        }
        let _lock = file::lock(&self.folder.join(name))?;
        self.pull_now(shelf, name, came)
    }

    /// Takes what is new of one model before it is changed; whoever calls it holds the lock.
    pub(super) fn pull(&self, name: &str) -> Result<()> {
        let Some(shelf) = &self.shelf else { return Ok(()) };
        self.pull_now(&**shelf, name, &mut Came::default())?;
        match self.known(name).failed_stages {
            // What others changed is not known: it would be lost.
            Some(Failed { reason, .. }) => {
                Err(Error::Unfit(format!("`{name}` cannot be changed: {reason}")))
            }
            None => Ok(()),
        }
    }

    /// Under the lock: what was listed before it may be older than what is here.
    fn pull_now(&self, shelf: &dyn Shelf, name: &str, came: &mut Came) -> Result<()> {
        let there = States::of(&shelf.list(&format!("{name}/"))?, name);
        match there == self.known(name).settled() {
            true => Ok(()),
            false => self.pull_listed(shelf, name, there, came),
        }
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
        mut there: States,
        came: &mut Came,
    ) -> Result<()> {
        let (before, here) = (self.known(name), self.versions(name)?);
        if there.versions.is_empty() && !here.is_empty() {
            let place = shelf.address();
            came.passed_by.push(format!("`{name}` is no longer in `{place}`: what is here stays"));
            return Ok(());
        }
        let mut known = Known { stages: there.stages, ..Known::default() };
        let mut stages = None;
        if let Some(state) = there.stages.filter(|state| before.stages != Some(*state)) {
            match self.fetch_stages(shelf, name) {
                Ok(found) => {
                    known.stages = found.as_ref().map(|(_, state)| *state);
                    stages = found.map(|(stages, _)| stages);
                }
                Err(error) => {
                    known.stages = before.stages;
                    known.failed_stages = Some(Failed::of(state, error)?);
                }
            }
            // Versions are there before they are used: those that these stages name are in this list.
            there = States::of(&shelf.list(&format!("{name}/"))?, name);
        }
        for (&id, &state) in &there.versions {
            if before.versions.get(&id) != Some(&state) {
                if let Err(error) = self.fetch(shelf, name, id) {
                    known.failed_versions.insert(id, Failed::of(state, error)?);
                    continue;
                }
                came.versions.push((name.to_owned(), id));
            }
            known.versions.insert(id, state);
        }
        if let Some(stages) = stages {
            self.write_stages(name, &stages)?;
        }
        self.drop_missing(name, &there)?;
        self.know(name, &known)
    }

    /// What was removed there goes here, but for what is used: that stays until another version is.
    fn drop_missing(&self, name: &str, there: &States) -> Result<()> {
        let used = self.staged(name, &[])?.0;
        for id in self.versions(name)? {
            if !there.versions.contains_key(&id) && used != Some(id) {
                self.drop_copy(name, id)?;
            }
        }
        Ok(())
    }

    /// Removes the copy of a version, if there is one.
    fn drop_copy(&self, name: &str, id: u32) -> Result<()> {
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
    fn fetch(&self, shelf: &dyn Shelf, name: &str, id: u32) -> Result<()> {
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
        file::rename(&draft, &self.folder.join(&key))
    }

    fn fetch_stages(&self, shelf: &dyn Shelf, name: &str) -> Result<Option<(Stages, u64)>> {
        let key = format!("{name}/stages");
        let Some((bytes, state)) = shelf.get(&key, SMALL_MAX_BYTES)? else { return Ok(None) };
        let there = PathBuf::from(format!("{}/{key}", shelf.address()));
        let content = file::opened(bytes, &there)?;
        match serde_json::from_slice(&content) {
            Ok(stages) => Ok(Some((stages, state))),
            Err(error) => Err(Error::Damaged { path: there, reason: error.to_string() }),
        }
    }

    /// Makes a version of what was written to a folder, on the shelf first; false if its number is taken there.
    pub(super) fn publish(&self, draft: &Path, record: &Record) -> Result<bool> {
        let key = format!("{}/v{}", record.name, record.id);
        let here = self.folder.join(&key);
        let Some(shelf) = &self.shelf else {
            return file::rename(draft, &here).map(|()| true);
        };
        let read = |part: &str| {
            let path = draft.join(part);
            fs::read(&path).map_err(|source| Error::Read { path, source })
        };
        let backtest = draft.join("backtest").exists().then(|| read("backtest")).transpose()?;
        let bundle = Bundle { record: read("version")?, model: read("model")?, backtest };
        let content = postcard::to_stdvec(&bundle)
            .map_err(|error| Error::Unfit(format!("the version cannot be written: {error}")))?;
        let Some(state) = shelf.put(&key, &file::sealed(&content), None)? else { return Ok(false) };
        file::rename(draft, &here)?;
        let mut known = self.known(&record.name);
        known.versions.insert(record.id, state);
        self.know(&record.name, &known).map(|()| true)
    }

    /// Replaces the stages, on the shelf first, over those that were pulled; false if these are there no more.
    pub(super) fn publish_stages(&self, name: &str, stages: &Stages) -> Result<bool> {
        let Some(shelf) = &self.shelf else {
            return self.write_stages(name, stages).map(|()| true);
        };
        let content = serde_json::to_vec_pretty(stages)
            .map_err(|error| Error::Unfit(format!("stages cannot be written: {error}")))?;
        let mut known = self.known(name);
        let put = shelf.put(&format!("{name}/stages"), &file::sealed(&content), known.stages)?;
        let Some(state) = put else { return Ok(false) };
        self.write_stages(name, stages)?;
        known.stages = Some(state);
        self.know(name, &known).map(|()| true)
    }

    /// Removes the files of a version, on the shelf first.
    pub(super) fn withdraw(&self, name: &str, id: u32) -> Result<()> {
        let Some(shelf) = &self.shelf else { return self.drop_copy(name, id) };
        shelf.delete(&format!("{name}/v{id}"))?;
        self.drop_copy(name, id)?;
        let mut known = self.known(name);
        known.versions.remove(&id);
        known.failed_versions.remove(&id);
        self.know(name, &known)
    }

    /// The highest number that is taken on the shelf, as far as it was seen: also of what could not be read.
    pub(super) fn last_shared(&self, name: &str) -> Option<u32> {
        self.shelf.as_ref()?;
        let known = self.known(name);
        known.versions.into_keys().chain(known.failed_versions.into_keys()).max()
    }

    /// What is not known, or is missing or damaged here, is fetched again.
    fn known(&self, name: &str) -> Known {
        let folder = self.folder.join(name);
        let mut known: Known =
            file::read_json(&folder.join(KNOWN), KNOWN_MAX_BYTES).unwrap_or_default();
        let here = self.versions(name).unwrap_or_default();
        known.versions.retain(|id, _| here.binary_search(id).is_ok());
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
