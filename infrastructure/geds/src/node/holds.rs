//! What refers to slabs, files and compositions, and when they are freed.

use super::{names::Backing, state::State};
use crate::shared::record::{Header, Place};

/// Processes that leave records all the time cannot keep the node from its other work.
const COLLECT_ROUNDS: usize = 8;

impl State {
    /// An object that came back to memory still lies on disk: the place of the same version there is kept.
    pub(super) fn keep_backing(
        &mut self,
        bucket: u32,
        key: &str,
        newest: Option<u32>,
        units: &[u32],
    ) {
        let header = |unit: &u32| self.index.slot(*unit).header();
        let newest = newest.as_ref().map(header);
        let in_memory = newest.filter(|header| matches!(header.place, Place::Slab { .. }));
        let known = self.backing(bucket, key);
        let new = in_memory.and_then(|newest| {
            let same = |old: &Header| old.version == newest.version && !old.deleted();
            if let Some(known) = known.filter(|known| known.version == newest.version) {
                return Some(known);
            }
            let mut old = units.iter().map(header).filter(same);
            let old = old.find(|old| matches!(old.place, Place::File { .. }))?;
            Some(Backing { version: old.version, place: old.place })
        });
        if new.is_some() || known.is_some() {
            self.set_backing(bucket, key, new);
        }
    }

    /// Where an object in memory lies on disk as well.
    pub(super) fn backing(&self, bucket: u32, key: &str) -> Option<Backing> {
        self.names.keys(bucket)?.backing.get(key).copied()
    }

    pub(super) fn set_backing(&mut self, bucket: u32, key: &str, new: Option<Backing>) {
        if let Some(new) = new {
            self.hold_piece(new.place);
        }
        let Some(keys) = self.names.keys_mut(bucket) else { return };
        let old = match new {
            Some(new) => keys.backing.insert(key.into(), new),
            None => keys.backing.remove(key),
        };
        if let Some(old) = old {
            self.let_go(old.place);
        }
    }

    /// Counts a record in what it refers to.
    pub(super) fn hold(&mut self, header: &Header, unit: u32) {
        if header.deleted() {
            return;
        }
        match header.place {
            Place::Nowhere => {}
            Place::Slab { slot, generation, .. } => {
                if let Some(slab) = self.slabs.get(slot, generation) {
                    slab.live += 1;
                    slab.holds += 1;
                    slab.members.push(unit);
                }
            }
            Place::File { file, .. } => {
                if let Some(stored) = self.files.get(file) {
                    stored.live += 1;
                    stored.holds += 1;
                }
            }
            Place::Pieces { content } => {
                if let Some(content) = self.contents.get_mut(&content) {
                    content.live += 1;
                    content.holds += 1;
                    content.members.push(unit);
                }
            }
        }
    }

    /// Counts a piece of a content in what it refers to.
    pub(super) fn hold_piece(&mut self, place: Place) {
        let piece = match place {
            Place::Slab { slot, generation, .. } => {
                self.slabs.get(slot, generation).map(|slab| (&mut slab.live, &mut slab.holds))
            }
            Place::File { file, .. } => {
                self.files.get(file).map(|stored| (&mut stored.live, &mut stored.holds))
            }
            Place::Nowhere | Place::Pieces { .. } => None,
        };
        if let Some((live, holds)) = piece {
            *live += 1;
            *holds += 1;
        }
    }

    /// No longer counts a record or piece in what it referred to.
    pub(super) fn let_go(&mut self, place: Place) {
        let live = match place {
            Place::Nowhere => None,
            Place::Slab { slot, generation, .. } => {
                self.slabs.get(slot, generation).map(|slab| &mut slab.live)
            }
            Place::File { file, .. } => self.files.get(file).map(|stored| &mut stored.live),
            Place::Pieces { content } => {
                self.contents.get_mut(&content).map(|content| &mut content.live)
            }
        };
        if let Some(live) = live {
            *live = live.saturating_sub(1);
            if *live == 0 {
                self.doomed.insert(place.anchor());
            }
        }
    }

    /// Frees what nobody uses and nobody has pinned.
    ///
    /// A process pins before it looks whether a record still counts, and leaves a record that it
    /// made before it unpins what the record refers to. So what was neither referred to, nor pinned after
    /// that, nor referred to by anything left since, cannot be reached any more.
    pub(super) fn collect(&mut self) {
        self.consume();
        // Contents let go of slabs and files.
        for _ in 0..COLLECT_ROUNDS {
            if !self.collect_once() {
                return;
            }
        }
    }

    fn collect_once(&mut self) -> bool {
        let doomed: Vec<Place> = self.doomed.iter().copied().collect();
        let mut free = Vec::new();
        for place in doomed {
            match self.idle(place) {
                None => _ = self.doomed.remove(&place),
                Some(holds) if !self.pinned(place) => free.push((place, holds)),
                Some(_) => {}
            }
        }
        if free.is_empty() {
            return false;
        }
        self.consume();
        for (place, holds) in free {
            if self.idle(place) == Some(holds) && !self.pinned(place) {
                self.doomed.remove(&place);
                self.release(place);
            }
        }
        !self.doomed.is_empty() && self.doomed.iter().any(|place| !self.pinned(*place))
    }

    fn pinned(&self, place: Place) -> bool {
        self.seats.values().any(|seat| seat.page.pinned(place))
    }

    /// How often anything came to refer to a place to which nothing refers now.
    fn idle(&mut self, place: Place) -> Option<u64> {
        match place {
            Place::Nowhere => None,
            Place::Slab { slot, generation, .. } => self.slabs.idle(slot, generation),
            Place::File { file, .. } => self.files.idle(file),
            Place::Pieces { content } => {
                let content = self.contents.get(&content)?;
                (content.live == 0 && content.busy == 0).then_some(content.holds)
            }
        }
    }

    fn release(&mut self, place: Place) {
        match place {
            Place::Nowhere => {}
            Place::Slab { slot, generation, .. } => {
                self.slabs.recycle(slot, generation, &self.limits);
            }
            Place::File { file, .. } => self.files.remove(file),
            Place::Pieces { content } => {
                let content = self.contents.remove(&content).unwrap_or_default();
                content.pieces.iter().for_each(|piece| self.let_go(piece.place));
            }
        }
    }

    /// Looks again at a place that somebody no longer needs.
    pub(super) fn reconsider(&mut self, place: Place) {
        self.doomed.insert(place.anchor());
    }
}
