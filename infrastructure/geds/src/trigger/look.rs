//! The difference between the names that are there and what is known about them, page by page.

use super::{
    Counts, TRIGGERS, Trigger, Triggers,
    ledger::{of_stat, record_key, records, seen},
    record::{Asked, Next, Record, Seen, State},
};
use crate::{Entry, Error, Listing, Page, Result, put::now};
use std::collections::BTreeMap;

/// So many notes are written to disk one by one; more, with all other objects, at once.
const ONE_BY_ONE: usize = 64;

/// A part of a look at all names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Look {
    /// For which there is something to do now, in byte order.
    pub due: Vec<String>,
    /// For which there will be, and when, in milliseconds since the Unix epoch.
    pub later: Vec<(u64, String)>,
    /// How many keys are too long to be acted on.
    pub skipped: u64,
    /// Where the next part begins, if there is one.
    pub next: Option<String>,
}

/// Names with what they are and what is known of them.
#[derive(Debug, Default)]
struct Compared {
    names: BTreeMap<String, (Option<Seen>, Option<Record>)>,
    skipped: u64,
    next: Option<String>,
}

impl Triggers {
    /// Compares up to about a thousand names, from behind a key on.
    ///
    /// # Errors
    /// [`Error::Unavailable`]; as [`claim`](Self::claim) where something is to be remembered.
    pub fn look(&self, trigger: &Trigger, after: Option<&str>) -> Result<Look> {
        if after.is_none() && trigger.rules.on.deleted {
            self.mend(trigger)?;
        }
        let compared = self.compare(trigger, after)?;
        let mut look = Look { skipped: compared.skipped, next: compared.next, ..Look::default() };
        let mut notes = Vec::new();
        for (key, (seen, record)) in compared.names {
            match trigger.rules.next(record.as_ref(), seen, Asked::only(now())) {
                Next::Nothing => {}
                Next::Later(time) => look.later.push((time, key)),
                Next::Note(_) if record.is_none() => notes.push(key),
                Next::Run(_) | Next::Forget | Next::Note(_) => look.due.push(key),
            }
        }
        self.write_notes(trigger, &notes)?;
        Ok(look)
    }

    /// Remembers names whose records a killed node has lost while they were written: they may be deleted by now, and
    /// nobody else would know that they were there.
    fn mend(&self, trigger: &Trigger) -> Result<()> {
        let ledger = records(&trigger.id);
        for lost in self.store.lost()? {
            let key = lost.key.strip_prefix(&ledger).filter(|_| lost.bucket == TRIGGERS);
            if let Some(key) = key {
                self.note_lost(trigger, key)?;
            }
        }
        Ok(())
    }

    /// Remembers all names that are there.
    pub(super) fn note_all(&self, trigger: &Trigger) -> Result<()> {
        let mut after = None;
        loop {
            after = self.look(trigger, after.as_deref())?.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    fn write_notes(&self, trigger: &Trigger, keys: &[String]) -> Result<()> {
        let mut written = Vec::new();
        for key in keys {
            if self.note(trigger, key)? {
                written.push(key);
            }
        }
        if written.len() > ONE_BY_ONE {
            return self.store.persist_all();
        }
        for key in written {
            let Some(at) = record_key(&trigger.id, key) else { continue };
            match self.store.persist(TRIGGERS, &at) {
                // Forgotten already.
                Ok(_) | Err(Error::NoObject { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// How many objects stand where. It looks at all of them.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub fn counts(&self, trigger: &Trigger) -> Result<Counts> {
        let (mut counts, mut after) = (Counts::default(), None);
        loop {
            let compared = self.compare(trigger, after.as_deref())?;
            for (seen, record) in compared.names.values() {
                let next = trigger.rules.next(record.as_ref(), *seen, Asked::only(now()));
                let state =
                    record.as_ref().and_then(|record| record.task.as_ref()).map(|task| task.state);
                match (next, state) {
                    (Next::Run(_), Some(State::Waiting { .. })) => counts.waiting += 1,
                    (Next::Run(_), _) => counts.pending += 1,
                    (Next::Later(_), Some(State::Running { .. })) => counts.running += 1,
                    (Next::Later(_), _) => counts.waiting += 1,
                    (Next::Nothing, Some(State::Dead { .. })) => counts.dead += 1,
                    (Next::Nothing, _) if record.is_some() => counts.done += 1,
                    (Next::Nothing | Next::Note(_) | Next::Forget, _) => {}
                }
            }
            after = compared.next;
            if after.is_none() {
                return Ok(counts);
            }
        }
    }

    fn compare(&self, trigger: &Trigger, after: Option<&str>) -> Result<Compared> {
        let definition = &trigger.definition;
        let ledger = records(&trigger.id);
        let objects = self.page(&definition.bucket, &definition.prefix, after)?;
        let after = after.map(|after| format!("{ledger}{after}"));
        // After the objects: a record is then never older than what it is compared with, and who claims looks again.
        let known = self.page(TRIGGERS, &ledger, after.as_deref())?;
        let until = cut(&objects, "").into_iter().chain(cut(&known, &ledger)).min();
        let inside = |key: &str| until.as_deref().is_none_or(|until| key <= until);
        let mut compared = Compared { next: until.clone(), ..Compared::default() };
        for Entry { key, stat } in objects.entries {
            if !inside(&key) || key.ends_with('/') {
                continue;
            }
            if record_key(&trigger.id, &key).is_none() {
                compared.skipped += 1;
                continue;
            }
            compared.names.entry(key).or_default().0 = Some(seen(&stat));
        }
        for Entry { key, stat } in known.entries {
            let name = &key[ledger.len()..];
            if !inside(name) {
                continue;
            }
            match of_stat(&stat) {
                Some(read) => {
                    compared.names.entry(name.to_owned()).or_default().1 = Some(read.record);
                }
                None => {
                    tracing::warn!(
                        key,
                        "what is known about an object is damaged: it is left alone"
                    );
                    compared.names.remove(name);
                }
            }
        }
        Ok(compared)
    }

    fn page(&self, bucket: &str, prefix: &str, after: Option<&str>) -> Result<Page> {
        let mut listing = Listing::prefix(prefix);
        listing.after = after.map(str::to_owned);
        match self.store.list(bucket, &listing) {
            Err(Error::NoBucket { .. }) => Ok(Page::default()),
            page => page,
        }
    }
}

/// The last key of a page that has a next one.
fn cut(page: &Page, prefix: &str) -> Option<String> {
    page.next.as_ref()?;
    page.entries.last().map(|entry| entry.key[prefix.len()..].to_owned())
}
