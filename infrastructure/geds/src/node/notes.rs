//! What the node writes down in its journal.

use super::{
    journal::{Bound, Journal, Note},
    names::Named,
    state::State,
};
use crate::{Attributes, Result, shared::record::Place, wire::Piece};

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
            let bound = bound.filter_map(|(key, named)| self.bound(number, key, named.unit));
            notes.extend(bound.map(|bound| Note::Bound(Box::new(bound))));
        }
        self.journal = Journal::rewrite(&self.folder, notes.into_iter())?;
        Ok(())
    }

    /// Writes down where a name is now, here and in the journal.
    pub(super) fn note(&mut self, bucket: u32, key: &str, newest: Option<u32>) {
        let bound = newest.and_then(|unit| self.bound(bucket, key, unit));
        let Some(keys) = self.names.keys_mut(bucket) else { return };
        let was_bound = match newest {
            Some(unit) => {
                let named = Named { unit, bound: bound.is_some() };
                keys.keys.insert(key.into(), named).is_some_and(|named| named.bound)
            }
            None => keys.keys.remove(key).is_some_and(|named| named.bound),
        };
        match bound {
            _ if self.recovering => {}
            Some(bound) => self.journal.note(&Note::Bound(Box::new(bound))),
            None if was_bound => {
                let (bucket, key) = (keys.name.clone(), key.to_owned());
                self.journal.note(&Note::Unbound { bucket, key });
            }
            None => {}
        }
    }

    /// What the journal says of an object whose bytes are all on disk.
    fn bound(&self, bucket: u32, key: &str, unit: u32) -> Option<Bound> {
        let slot = self.index.slot(unit);
        let header = slot.header();
        let pieces = self.pieces_on_disk(key, &header)?;
        // An object of no bytes has them everywhere.
        if !pieces.iter().all(|piece| matches!(piece.place, Place::File { .. })) {
            return None;
        }
        Some(Bound {
            bucket: self.names.keys(bucket)?.name.clone(),
            key: key.to_owned(),
            version: header.version,
            size: header.size,
            modified: header.modified,
            crc32c: header.crc32c(),
            attributes: Attributes::decode(&slot.attributes(&header)).unwrap_or_default(),
            pieces: pieces.into_iter().map(Piece::to_wire).collect(),
        })
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
