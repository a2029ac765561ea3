//! Records in the store: claims, what came of them, and what stands among the dead letters.

use super::{
    Event, HOPS, TRIGGERS, Trigger, Triggers,
    record::{Asked, Ended, Next, Record, Seen, State},
};
use crate::{Attributes, Error, KEY_MAX_BYTES, Listing, Put, Result, Stat, put::now};
use serde::Serialize;

/// What is written and deleted at once when a trigger's names are to be looked at; it begins as definitions do, so that
/// who hears of these hears of it.
pub(super) const AGAIN: &str = "def-again/";

/// The attribute of a record.
const RECORD: &str = "record";

/// How often a record is read that others change at the same time.
const TRIES: usize = 64;

/// Of what a module said, this much is kept.
pub(super) const SAID_MAX_BYTES: usize = 4 << 10;

/// What a runner got when it asked for a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// It has it.
    Yours(Job),
    /// Not before this time, in milliseconds since the Unix epoch.
    Later(u64),
    /// There is nothing to do.
    Nothing,
}

/// What a runner has claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Of which object.
    pub key: String,
    /// What happened to it.
    pub event: Event,
    /// Which version; of a delete, the last one that was known, or 0.
    pub version: u64,
    /// Which attempt it is, from 1.
    pub attempt: u32,
    /// How many triggers in a row led to it.
    pub hops: u8,
    /// The number of the claim.
    pub fence: u64,
}

/// What failed as often as it may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Letter {
    /// Of which object.
    pub key: String,
    /// What happened to it.
    pub event: Event,
    /// Which version.
    pub version: u64,
    /// How often it was tried.
    pub attempts: u32,
    /// Since when, in milliseconds since the Unix epoch.
    pub since: u64,
    /// What was said in the end.
    pub said: String,
}

/// How many objects stand where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// Nobody has begun them.
    pub pending: u64,
    /// A runner has them.
    pub running: u64,
    /// They failed and are tried again.
    pub waiting: u64,
    /// They failed as often as they may.
    pub dead: u64,
    /// Their last version needs nothing.
    pub done: u64,
}

/// A record as it was read.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) record: Record,
    pub(super) version: u64,
}

impl Triggers {
    /// Claims a name for so long, if there is something to do. What is merely to be remembered is written.
    ///
    /// # Errors
    /// As [`Geds::put`](crate::Geds::put).
    pub fn claim(&self, trigger: &Trigger, key: &str, lease_ms: u64) -> Result<Claim> {
        let Some(at) = record_key(&trigger.id, key) else { return Ok(Claim::Nothing) };
        for _ in 0..TRIES {
            match self.try_claim(trigger, key, &at, lease_ms) {
                // Somebody was faster.
                Err(Error::Changed { .. } | Error::Exists { .. }) => {}
                claimed => return claimed,
            }
        }
        Ok(Claim::Later(now() + 1000))
    }

    fn try_claim(&self, trigger: &Trigger, key: &str, at: &str, lease_ms: u64) -> Result<Claim> {
        let read = self.read(at)?;
        // After the record: so it is never older than what the record knows.
        let seen = self.seen(trigger, key)?;
        let record = read.as_ref().map(|read| &read.record);
        let deleted = seen.is_none() && record.is_some_and(|record| record.settled.is_some());
        if deleted && trigger.rules.on.deleted && self.is_lost(trigger, key)? {
            return Ok(Claim::Nothing);
        }
        let fence = self.store.client().index.next_version();
        let asked = Asked { now: now(), lease: lease_ms, fence };
        let next = trigger.rules.next(record, seen, asked);
        let next = match next {
            Next::Nothing => return Ok(Claim::Nothing),
            Next::Later(time) => return Ok(Claim::Later(time)),
            Next::Forget => {
                let version = read.map(|read| read.version);
                self.store.delete(TRIGGERS, at, version)?;
                return Ok(Claim::Nothing);
            }
            Next::Note(next) => {
                let former = read.as_ref().map(|read| read.version);
                let written = self.write(at, &next, &why(&next), former)?;
                if next.task.is_none() && read.is_none() {
                    self.look_back(trigger, key, (at, written), seen)?;
                }
                return Ok(Claim::Nothing);
            }
            Next::Run(next) => next,
        };
        let former = read.as_ref().map(|read| read.version);
        let written = self.write_claim(at, trigger, &next, former)?;
        if read.is_none() && !self.look_back(trigger, key, (at, written), seen)? {
            return Ok(Claim::Nothing);
        }
        let Some(task) = next.task else { return Ok(Claim::Nothing) };
        let (event, version, attempt, hops) = (task.event, task.version, task.attempts, task.hops);
        Ok(Claim::Yours(Job {
            key: key.to_owned(),
            event,
            version,
            attempt,
            hops,
            fence: next.fence,
        }))
    }

    /// Takes back a record, of this version, that was made for a name which has changed since that was looked at: there may
    /// have been a record of it that is forgotten already, because all was done and the name deleted.
    fn look_back(
        &self,
        trigger: &Trigger,
        key: &str,
        (at, written): (&str, u64),
        seen: Option<Seen>,
    ) -> Result<bool> {
        if self.seen(trigger, key)? == seen {
            return Ok(true);
        }
        match self.store.delete(TRIGGERS, at, Some(written)) {
            // Somebody else has gone on with it, from what the name is now.
            Ok(_) | Err(Error::Changed { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Holds a claim for longer, from now on; false when it was lost.
    ///
    /// # Errors
    /// As [`Geds::put`](crate::Geds::put).
    pub fn renew(&self, trigger: &Trigger, job: &Job, lease_ms: u64) -> Result<bool> {
        self.change(
            trigger,
            job,
            |record| record.renew(job.fence, now().saturating_add(lease_ms)).ok().map(Some),
            "",
        )
    }

    /// Says how an attempt ended, and what was said; false when the claim was lost and somebody else has the task.
    ///
    /// # Errors
    /// As [`Geds::put`](crate::Geds::put).
    pub fn finish(&self, trigger: &Trigger, job: &Job, ended: Ended, said: &str) -> Result<bool> {
        self.change(
            trigger,
            job,
            |record| record.finish(&trigger.rules, job.fence, ended, now()).ok(),
            said,
        )
    }

    /// Changes a record that a claim holds; `change` gives none when it does not.
    fn change(
        &self,
        trigger: &Trigger,
        job: &Job,
        change: impl Fn(&Record) -> Option<Option<Record>>,
        said: &str,
    ) -> Result<bool> {
        let Some(at) = record_key(&trigger.id, &job.key) else { return Ok(false) };
        for _ in 0..TRIES {
            let Some(read) = self.read(&at)? else { return Ok(false) };
            let changed = match change(&read.record) {
                None => return Ok(false),
                Some(Some(next)) => self.write(&at, &next, said, Some(read.version)).map(|_| ()),
                Some(None) => self.store.delete(TRIGGERS, &at, Some(read.version)).map(|_| ()),
            };
            match changed {
                Err(Error::Changed { .. }) => {}
                changed => return changed.map(|()| true),
            }
        }
        Ok(false)
    }

    /// What failed as often as it may, by key.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub fn dead(&self, trigger: &Trigger) -> Result<Vec<Letter>> {
        let mut letters = Vec::new();
        self.each_dead(trigger, |key, at, read| {
            let Some(task) = read.record.task else { return Ok(()) };
            let State::Dead { since } = task.state else { return Ok(()) };
            let said = match self.store.object(TRIGGERS, at) {
                Err(Error::NoObject { .. }) => return Ok(()),
                object => String::from_utf8_lossy(&object?.bytes()?).into_owned(),
            };
            let (event, version, attempts) = (task.event, task.version, task.attempts);
            letters.push(Letter { key: key.to_owned(), event, version, attempts, since, said });
            Ok(())
        })?;
        Ok(letters)
    }

    /// Lets what failed be tried again, all or one; says how many.
    ///
    /// # Errors
    /// [`Error::NoObject`] if the one is not among the dead letters.
    pub fn retry(&self, trigger: &Trigger, key: Option<&str>) -> Result<u64> {
        let mut count = 0;
        let mut again = |at: &str, read: &Read| -> Result<()> {
            let Some(next) = read.record.retry(now()) else { return Ok(()) };
            match self.write(at, &next, "", Some(read.version)) {
                Ok(_) => count += 1,
                // Something happened to it, or somebody else has said the same.
                Err(Error::Changed { .. }) => {}
                Err(error) => return Err(error),
            }
            Ok(())
        };
        let Some(key) = key else {
            self.each_dead(trigger, |_, at, read| again(at, &read))?;
            self.wake(trigger)?;
            return Ok(count);
        };
        if let Some(at) = record_key(&trigger.id, key)
            && let Some(read) = self.read(&at)?
        {
            again(&at, &read)?;
        }
        if count == 0 {
            return Err(Error::no_object(
                &format!("dead letters of `{}`", trigger.definition.name),
                key,
            ));
        }
        self.wake(trigger)?;
        Ok(count)
    }

    /// Has runners look at all of a trigger's names now. Nothing is left of it: what is in memory alone could be lost.
    fn wake(&self, trigger: &Trigger) -> Result<()> {
        let at = format!("{AGAIN}{}", trigger.id);
        self.store.put(TRIGGERS, &at, b"", Put::overwrite())?;
        self.store.delete(TRIGGERS, &at, None).map(|_| ())
    }

    fn each_dead(
        &self,
        trigger: &Trigger,
        mut act: impl FnMut(&str, &str, Read) -> Result<()>,
    ) -> Result<()> {
        let prefix = records(&trigger.id);
        let mut listing = Listing::prefix(&prefix);
        loop {
            let page = self.store.list(TRIGGERS, &listing)?;
            for entry in page.entries {
                let read = of_stat(&entry.stat);
                let dead = |read: &Read| {
                    let task = read.record.task.as_ref();
                    task.is_some_and(|task| matches!(task.state, State::Dead { .. }))
                };
                if let Some(read) = read.filter(dead) {
                    act(&entry.key[prefix.len()..], &entry.key, read)?;
                }
            }
            match page.next {
                Some(next) => listing.after = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// What a name is now; folders' markers are nothing.
    pub(super) fn seen(&self, trigger: &Trigger, key: &str) -> Result<Option<Seen>> {
        let definition = &trigger.definition;
        if !key.starts_with(&definition.prefix) || key.ends_with('/') {
            return Ok(None);
        }
        match self.store.stat_here(&definition.bucket, key) {
            Ok(stat) => Ok(Some(seen(&stat))),
            Err(Error::NoObject { .. } | Error::NoBucket { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether an object was lost by a crash, and not deleted.
    fn is_lost(&self, trigger: &Trigger, key: &str) -> Result<bool> {
        let bucket = &trigger.definition.bucket;
        Ok(self.store.lost()?.iter().any(|lost| lost.bucket == *bucket && lost.key == key))
    }

    fn read(&self, at: &str) -> Result<Option<Read>> {
        match self.store.stat_here(TRIGGERS, at) {
            Ok(stat) => match of_stat(&stat) {
                Some(read) => Ok(Some(read)),
                None => Err(damaged(at)),
            },
            Err(Error::NoObject { .. } | Error::NoBucket { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes a claim. One that a full disk refuses is in memory all the same: it is given back, so that it does not count
    /// as an attempt.
    fn write_claim(
        &self,
        at: &str,
        trigger: &Trigger,
        claim: &Record,
        former: Option<u64>,
    ) -> Result<u64> {
        // What the last attempt said is of no use any more.
        let failed = match self.write(at, claim, "", former) {
            Err(error) if !matches!(error, Error::Changed { .. } | Error::Exists { .. }) => error,
            written => return written,
        };
        if let Ok(Some(Read { record, version })) = self.read(at)
            && let Ok(Some(back)) =
                record.finish(&trigger.rules, claim.fence, Ended::Released, now())
        {
            // The first failure is the one to be told.
            let _ = self.write(at, &back, "", Some(version));
        }
        Err(failed)
    }

    /// Writes a record durably in place of a version of it, or a new one; gives its own version.
    fn write(&self, at: &str, record: &Record, said: &str, former: Option<u64>) -> Result<u64> {
        let attributes = Attributes::new().with(RECORD, record.encode());
        let put = Put { if_version: former, ..Put::default() };
        let put = put.attributes(attributes).durable();
        self.store.put(TRIGGERS, at, tail(said).as_bytes(), put).map(|stat| stat.version)
    }

    /// Remembers that a name was there, of which no more is known; of one that is still there, others will know more.
    pub(super) fn note_lost(&self, trigger: &Trigger, key: &str) -> Result<()> {
        let Some(at) = record_key(&trigger.id, key) else { return Ok(()) };
        if self.seen(trigger, key)?.is_some() {
            return Ok(());
        }
        match self.write(&at, &Record { settled: Some(0), ..Record::default() }, "", None) {
            Err(Error::Exists { .. }) => Ok(()),
            written => written.map(|_| ()),
        }
    }

    /// Writes what is merely to be remembered of a name that has no record; it is not durable yet. False if there is nothing.
    pub(super) fn note(&self, trigger: &Trigger, key: &str) -> Result<bool> {
        let Some(at) = record_key(&trigger.id, key) else { return Ok(false) };
        if self.read(&at)?.is_some() {
            return Ok(false);
        }
        let seen = self.seen(trigger, key)?;
        let Next::Note(record) = trigger.rules.next(None, seen, Asked::only(now())) else {
            return Ok(false);
        };
        let attributes = Attributes::new().with(RECORD, record.encode());
        match self.store.put(TRIGGERS, &at, b"", Put::default().attributes(attributes)) {
            Ok(stat) => self.look_back(trigger, key, (&at, stat.version), seen),
            Err(Error::Exists { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// What an object's state says.
pub(super) fn seen(stat: &Stat) -> Seen {
    let hops = stat.attributes.text(HOPS).and_then(|text| text.parse().ok()).unwrap_or(0);
    Seen { version: stat.version, hops }
}

pub(super) fn of_stat(stat: &Stat) -> Option<Read> {
    let record = Record::decode(stat.attributes.get(RECORD)?)?;
    Some(Read { record, version: stat.version })
}

/// What all records of a trigger begin with.
pub(super) fn records(id: &str) -> String {
    format!("job/{id}/")
}

/// Where the record of a name is; none for a key that leaves no room for it.
pub(super) fn record_key(id: &str, key: &str) -> Option<String> {
    let at = format!("{}{key}", records(id));
    (at.len() <= KEY_MAX_BYTES && !key.is_empty()).then_some(at)
}

fn damaged(at: &str) -> Error {
    Error::Corrupt { what: format!("record `{at}`"), why: "it is not what was written".to_owned() }
}

/// Why a task ended without a word of its module.
fn why(record: &Record) -> String {
    match &record.task {
        Some(task) if task.hops >= super::record::HOPS_MAX => format!(
            "{} triggers in a row led to this object: does a module write below the prefix that it is run for?",
            task.hops
        ),
        Some(task) => {
            format!("its runner was killed, or stood still, {} times while it ran", task.attempts)
        }
        None => String::new(),
    }
}

/// The end of what was said, in whole characters.
pub(super) fn tail(said: &str) -> &str {
    let mut from = said.len().saturating_sub(SAID_MAX_BYTES);
    while !said.is_char_boundary(from) {
        from += 1;
    }
    &said[from..]
}
