//! What changes a catalog: versions that are added, used and removed.
//!
//! Each change holds the model's lock, begins with what others changed meanwhile, and is made where the catalog is
//! shared before it is made here. Whoever was not the first looks again, and decides again.

use super::{
    BackTest, Catalog, Draft, Gate, ID_MAX, MODEL_MAX_BYTES, Record, Stage, VERSIONS_MAX,
    check_name, file, stages::Stages,
};
use crate::{Error, Result, model::Trained};

/// Others may be faster, but not for ever.
const TRIES: usize = 32;

impl Catalog {
    /// Adds a version with its back-test, and answers its record as [`Catalog::add`].
    ///
    /// # Errors
    /// As of it.
    pub fn add_draft(&self, draft: Draft) -> Result<Record> {
        self.put(draft.record, &draft.model, Some(&draft.backtest))
    }

    /// Adds a version, and answers its record with its number and, if there is one in use, its parent.
    ///
    /// # Errors
    /// A name that is none, a model that is too large, a disk that cannot be written, or a shelf that is away.
    pub fn add(&self, record: Record, model: &Trained) -> Result<Record> {
        self.put(record, model, None)
    }

    fn put(
        &self,
        mut record: Record,
        model: &Trained,
        backtest: Option<&BackTest>,
    ) -> Result<Record> {
        check_name(&record.name)?;
        if (record.target, record.ahead) != (model.target, model.ahead) {
            return Err(Error::Unfit("the record is of another model".into()));
        }
        let folder = self.folder.join(&record.name);
        let bytes = postcard::to_stdvec(model)
            .map_err(|error| Error::Unfit(format!("the model cannot be written: {error}")))?;
        if bytes.len() as u64 > MODEL_MAX_BYTES {
            let what = format!("a model of {} bytes", bytes.len());
            return Err(Error::TooMuch { what, limit: MODEL_MAX_BYTES });
        }
        record.model_bytes = bytes.len() as u64;
        record.stage = Stage::Candidate;
        self.changed_first(&record.name.clone(), || {
            let versions = self.versions(&record.name)?;
            if versions.len() >= VERSIONS_MAX {
                let what = format!("one more version of `{}`", record.name);
                return Err(Error::TooMuch { what, limit: VERSIONS_MAX as u64 });
            }
            let stages = self.stages(&record.name)?.0;
            record.id = self.next_id(&record.name, &versions, &stages)?;
            record.parent = stages.production();
            let draft = folder.join(".draft");
            file::clear(&draft)?;
            file::write_new(&draft.join("model"), &bytes)?;
            if let Some(backtest) = backtest {
                file::write_json(&draft.join("backtest"), backtest)?;
            }
            file::write_json(&draft.join("version"), &record)?;
            Ok(self.publish(&draft, &record)?.then(|| record.clone()))
        })
    }

    /// A number is given once, also when the last version was removed.
    fn next_id(&self, name: &str, versions: &[u32], stages: &Stages) -> Result<u32> {
        let last = versions.last().copied().max(self.last_shared(name));
        let last = last.unwrap_or(0).max(stages.last_id);
        last.checked_add(1).filter(|id| *id <= ID_MAX).ok_or_else(|| {
            let what = format!("the number of a version of `{name}` after {last}");
            Error::TooMuch { what, limit: ID_MAX.into() }
        })
    }

    /// Puts a version into production, if the gate lets it.
    ///
    /// # Errors
    /// A version that is not there or damaged; one that the gate refuses, with the reason; a shelf that is away.
    pub fn promote(&self, name: &str, id: u32, gate: &Gate) -> Result<String> {
        self.changed_first(name, || {
            // Whoever removes it has said so, and takes its files away next.
            if self.stages(name)?.0.is_removed(id) {
                return Err(Error::Refused(format!("version {id} of `{name}` was removed")));
            }
            let candidate = self.record(name, id)?;
            self.model(name, id)?;
            // What is really used, past damaged ones.
            let used = self.production(name).ok().map(|production| production.record);
            let used = used.filter(|used| used.id != id);
            let reason = gate.judge(&candidate, used.as_ref())?;
            Ok(self.change(name, |stages| stages.promote(id))?.then_some(reason))
        })
    }

    /// Takes the version in production out of it; the one before is used again. Answers both.
    ///
    /// # Errors
    /// No version was in production before; a shelf that is away.
    pub fn rollback(&self, name: &str) -> Result<(u32, u32)> {
        self.changed_first(name, || {
            let [.., before, now] = self.stages(name)?.0.history[..] else {
                let text = format!("no version of `{name}` was in production before");
                return Err(Error::Refused(text));
            };
            self.model(name, before)?;
            Ok(self.change(name, Stages::rollback)?.then_some((now, before)))
        })
    }

    /// Removes a version.
    ///
    /// # Errors
    /// One that is in production, or not there; a shelf that is away.
    pub fn remove(&self, name: &str, id: u32) -> Result<()> {
        self.changed_first(name, || {
            self.version(name, id)?;
            if self.stages(name)?.0.production() == Some(id) {
                let text =
                    format!("version {id} of `{name}` is in production: promote another first");
                return Err(Error::Refused(text));
            }
            // First that it is not promoted meanwhile, nor its number given again: whoever is killed here leaves one
            // that can only be removed.
            if !self.change(name, |stages| stages.forget(id))? {
                return Ok(None);
            }
            self.withdraw(name, id).map(Some)
        })
    }

    /// Makes a change under the model's lock, with what others changed before; again if one of them was faster, which
    /// `change` says by nothing.
    fn changed_first<T>(
        &self,
        name: &str,
        mut change: impl FnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        check_name(name)?;
        self.mark()?;
        let _lock = file::lock(&self.folder.join(name))?;
        for _ in 0..TRIES {
            self.pull(name)?;
            if let Some(done) = change()? {
                return Ok(done);
            }
        }
        Err(Error::Refused(format!("others change `{name}` all the time: try again")))
    }

    /// Whoever calls it holds the lock. False if the stages that are shared have become others.
    fn change(&self, name: &str, change: impl FnOnce(&mut Stages)) -> Result<bool> {
        let mut stages = self.stages(name)?.0;
        change(&mut stages);
        self.publish_stages(name, &stages)
    }

    /// Replaces the stages here, and keeps those before if they are sound.
    pub(super) fn write_stages(&self, name: &str, stages: &Stages) -> Result<()> {
        let path = self.folder.join(name).join("stages");
        if let Ok((before, wrong)) = self.stages(name)
            && wrong.is_empty()
        {
            file::write_json(&path.with_extension("before"), &before)?;
        }
        file::write_json(&path, stages)
    }
}
