//! What the node writes down in its journal.

use super::{
    journal::{Bound, Journal, Note},
    names::Named,
    remotes::Remote,
    state::State,
};
use crate::{
    Attributes, Result,
    shared::{
        index::Index,
        record::{Place, State as Slotted},
    },
    wire::Piece,
};

/// Names that are written down at once under the lock.
const TOLD_AT_ONCE: usize = 1024;
/// Most names that wait to be written down.
const FRESH_MAX: usize = 1 << 20;

impl State {
    /// All that was noted, and the names of all files, are on disk when this returns.
    pub(super) fn sync_journal(&mut self) -> Result<()> {
        self.files.sync_names()?;
        if self.journal.is_broken() {
            self.rewrite_journal()?;
        }
        self.journal.sync()
    }

    /// Writes the journal anew when most of it is about what is no longer so.
    pub(super) fn shorten_journal(&mut self) {
        if !self.journal.is_long(self.names.objects()) {
            return;
        }
        if let Err(error) = self.rewrite_journal() {
            tracing::warn!(error = %types::chain(&error), "cannot shorten the journal");
        }
    }

    fn rewrite_journal(&mut self) -> Result<()> {
        let mut notes = Vec::new();
        for number in self.names.numbers() {
            let Some(keys) = self.names.keys(number) else { continue };
            let (name, created) = (keys.name.clone(), keys.created);
            notes.push(Note::Bucket { name, created, attributes: keys.attributes.clone() });
            let bound = keys.keys.iter().filter(|(_, named)| named.bound);
            notes.extend(bound.filter_map(|(key, named)| self.bound(number, key, named.unit)));
            let told = keys.keys.iter().filter(|(_, named)| named.told);
            let held = |key: &str| Note::Held { bucket: keys.name.clone(), key: key.to_owned() };
            notes.extend(told.map(|(key, _)| held(key)));
        }
        notes.extend(self.lost.all().map(Note::Lost));
        let stale = |((bucket, key), etag): (&(String, String), &Option<String>)| {
            let (bucket, key, etag) = (bucket.clone(), key.clone(), etag.clone());
            Note::Stale { bucket, key, etag }
        };
        notes.extend(self.remotes.stale().map(stale));
        self.journal = Journal::rewrite(&self.folder, notes.into_iter())?;
        Ok(())
    }

    /// Writes down where a name is now, here and in the journal.
    pub(super) fn note(&mut self, bucket: u32, key: &str, newest: Option<u32>) {
        let mut bound = newest.and_then(|unit| self.bound(bucket, key, unit));
        if let Some(unit) = newest.filter(|_| bound.is_some() && !self.recovering) {
            mark(&self.index, bucket, key, unit);
            // Who replaced it before it was marked has not waited for the journal, which must not have it then.
            bound = bound.filter(|_| self.is_newest(bucket, key, unit));
        }
        let Some(keys) = self.names.keys_mut(bucket) else { return };
        let was = keys.keys.get(key).copied();
        let (was_bound, was_told) = was.map_or((false, false), |was| (was.bound, was.told));
        match newest {
            Some(unit) => {
                let is_bound = bound.is_some();
                // At once for what the journal has otherwise; the rest when it has lived a while.
                let told = !is_bound && (was_bound || was_told);
                keys.keys.insert(key.into(), Named { unit, bound: is_bound, told });
            }
            None => _ = keys.keys.remove(key),
        }
        if self.recovering {
            return;
        }
        if newest.is_some() {
            self.lost.found(&keys.name, key);
        }
        let name = || (keys.name.clone(), key.to_owned());
        match (bound, newest) {
            (Some(bound), _) => self.journal.note(&bound),
            (None, Some(unit)) => {
                if was_bound {
                    let (bucket, key) = name();
                    self.journal.note(&Note::Held { bucket, key });
                } else if !was_told {
                    self.fresh.push_back(unit);
                }
                if self.index.slot(unit).header().noted() {
                    self.unflushed.push((bucket, key.into()));
                }
            }
            (None, None) if was_bound || was_told => {
                let (bucket, key) = name();
                self.journal.note(&Note::Unbound { bucket, key });
            }
            (None, None) => {}
        }
    }

    /// Whether a record is what the index has of a name now.
    fn is_newest(&self, bucket: u32, key: &str, unit: u32) -> bool {
        let chain = self.index.chain(bucket, key.as_bytes());
        let newest = chain.read(key.as_bytes(), |found| found.map(|(newest, _)| newest));
        newest.is_ok_and(|(_, newest)| newest == Some(unit))
    }

    /// Hands all notes to the system. Names that the journal no longer has are replaced without telling the node
    /// from now on.
    pub(super) fn flush_journal(&mut self) {
        self.journal.flush();
        for (bucket, key) in std::mem::take(&mut self.unflushed) {
            let keys = self.names.keys(bucket);
            let named = keys.and_then(|keys| keys.keys.get(&key)).filter(|named| !named.bound);
            let Some(slot) = named.map(|named| self.index.slot(named.unit)) else { continue };
            if slot.state() == Slotted::Known {
                slot.set_noted(false);
            }
        }
    }

    /// Writes down some names that have bytes in memory alone; says whether there are more.
    pub(super) fn tell_names(&mut self) -> bool {
        for _ in 0..TOLD_AT_ONCE {
            let Some(unit) = self.fresh.pop_front() else { break };
            self.tell_name(unit);
        }
        self.flush_journal();
        !self.fresh.is_empty()
    }

    /// Writes names down now if too many wait for it.
    pub(super) fn tell_overdue(&mut self) {
        while self.fresh.len() > FRESH_MAX && self.tell_names() {}
    }

    fn tell_name(&mut self, unit: u32) {
        let slot = self.index.slot(unit);
        let header = slot.header();
        let Some(key) = slot.key(&header) else { return };
        let Some(keys) = self.names.keys_mut(header.bucket) else { return };
        let bucket = keys.name.clone();
        let named = keys.keys.get_mut(key.as_str());
        // Replaced, deleted or gone to disk meanwhile, most likely.
        let Some(named) = named.filter(|now| now.unit == unit && !now.bound && !now.told) else {
            return;
        };
        named.told = true;
        self.journal.note(&Note::Held { bucket, key });
    }

    /// What the journal says of an object whose bytes are all on disk or outside.
    fn bound(&self, bucket: u32, key: &str, unit: u32) -> Option<Note> {
        let slot = self.index.slot(unit);
        let header = slot.header();
        let mut pieces = self.pieces_on_disk(key, &header)?;
        let mut remotes = Vec::new();
        // An object of no bytes has them everywhere.
        for piece in &mut pieces {
            match piece.place {
                Place::File { .. } => {}
                Place::Outside { number } => {
                    remotes.push(Remote::clone(self.remotes.remote(number)?));
                    piece.place = Place::Outside { number: remotes.len() as u64 - 1 };
                }
                Place::Nowhere | Place::Slab { .. } | Place::Pieces { .. } => return None,
            }
        }
        let bound = Box::new(Bound {
            bucket: self.names.keys(bucket)?.name.clone(),
            key: key.to_owned(),
            version: header.version,
            size: header.size,
            modified: header.modified,
            crc32c: header.crc32c(),
            attributes: Attributes::decode(&slot.attributes(&header))
                .unwrap_or_default()
                .with_class(header.class()),
            pieces: pieces.into_iter().map(Piece::to_wire).collect(),
        });
        Some(if remotes.is_empty() { Note::Bound(bound) } else { Note::Outside(bound, remotes) })
    }

    /// What a name had outside was removed.
    pub(super) fn note_removed(&mut self, bucket: &str, key: &str) {
        self.remotes.removed(bucket, key);
        let (bucket, key) = (bucket.to_owned(), key.to_owned());
        self.journal.note(&Note::Removed { bucket, key });
        self.flush_journal();
    }

    /// Notes a name again whose pieces went to disk.
    pub(super) fn note_again(&mut self, unit: u32) {
        let header = self.index.slot(unit).header();
        let Some(key) = self.index.slot(unit).key(&header) else { return };
        if self.unit(header.bucket, &key) == Some(unit) {
            self.note(header.bucket, &key, Some(unit));
        }
    }
}

/// Says in a record that the journal knows the name, before it does. Who is about to replace it reads it again.
fn mark(index: &Index, bucket: u32, key: &str, unit: u32) {
    let slot = index.slot(unit);
    if slot.header().noted() {
        return;
    }
    slot.set_noted(true);
    // A damaged chain has been told of.
    let _ = index.chain(bucket, key.as_bytes()).count_change();
}
