//! What refers to slabs, files and compositions, and when they are freed.

use super::{names::Backing, state::State};
use crate::shared::record::{Header, Place};
use std::sync::Arc;

/// Processes that leave records all the time cannot keep the node from its other work.
const COLLECT_ROUNDS: usize = 8;

/// Units that are kept in lists of what lies somewhere though they no longer do.
const MEMBERS_SPARE: usize = 1024;

/// Bytes in memory that lie on disk as well.
#[derive(Debug, Clone, Copy)]
pub(super) struct Copy {
    place: Place,
    size: u64,
    /// How many names have them as their backing.
    names: u32,
}

/// What is counted for a slab, a file or a composition.
struct Count<'a> {
    /// How many refer to it.
    live: &'a mut u32,
    /// How many ever came to.
    holds: &'a mut u64,
    /// How many bytes those have that refer to it, where that matters.
    bytes: Option<&'a mut u64>,
}

impl State {
    /// Finds out whether an object in memory lies on disk as well: because it came back from
    /// there, or because its bytes are shared with an object that does.
    pub(super) fn keep_backing(
        &mut self,
        bucket: u32,
        key: &str,
        newest: Option<u32>,
        units: &[u32],
    ) {
        let header = |unit: &u32| self.index.slot(*unit).header();
        let newest = newest.as_ref().map(header);
        let above =
            |header: &Header| matches!(header.place, Place::Slab { .. } | Place::Pieces { .. });
        let in_memory = newest.filter(above);
        let known = self.backing(bucket, key);
        let new = in_memory.and_then(|newest| {
            let Header { version, size, place: memory, .. } = newest;
            let came_back = || {
                let same = |old: &Header| old.version == version && !old.deleted();
                let mut old = units.iter().map(header).filter(same);
                let below =
                    |old: &Header| matches!(old.place, Place::File { .. } | Place::Outside { .. });
                old.find(below).map(|old| old.place)
            };
            let shared = || {
                let copy = self.copies.get(&memory).filter(|copy| copy.size == size)?;
                Some(copy.place)
            };
            let same = known.filter(|known| known.version == version).map(|known| known.place);
            let place = same.or_else(came_back).or_else(shared)?;
            Some(Backing { version, memory, place, size })
        });
        if new != known {
            self.set_backing(bucket, key, new);
        }
    }

    /// Where an object in memory lies on disk as well.
    pub(super) fn backing(&self, bucket: u32, key: &str) -> Option<Backing> {
        self.names.keys(bucket)?.backing.get(key).copied()
    }

    pub(super) fn set_backing(&mut self, bucket: u32, key: &str, new: Option<Backing>) {
        if let Some(new) = new {
            self.hold_bytes(new.place, new.size);
            // Others may come to share it when this name has gone: it counts by itself as well.
            self.hold_bytes(new.place, 0);
            let names = self.copies.get(&new.memory).map_or(0, |copy| copy.names);
            let copy = Copy { place: new.place, size: new.size, names: names + 1 };
            if let Some(former) = self.copies.insert(new.memory, copy) {
                self.let_go(former.place, 0);
            }
        }
        let Some(keys) = self.names.keys_mut(bucket) else { return };
        let old = match new {
            Some(new) => keys.backing.insert(key.into(), new),
            None => keys.backing.remove(key),
        };
        if let Some(old) = old {
            self.drop_backing(old);
        }
    }

    fn drop_backing(&mut self, old: Backing) {
        match self.copies.get_mut(&old.memory) {
            Some(copy) if copy.names > 1 => {
                copy.names -= 1;
                self.let_go(old.place, old.size);
            }
            Some(copy) => {
                copy.names = 0;
                // Another name may have come to share the bytes, in a record that was left before
                // this name was deleted but is not seen yet: a rename.
                self.retired.push(old);
            }
            None => self.let_go(old.place, old.size),
        }
    }

    /// Forgets copies on disk that no name had when all that was left by then was seen.
    pub(super) fn forget(&mut self, retired: Vec<Backing>) {
        for old in retired {
            if self.copies.get(&old.memory).is_some_and(|copy| copy.names == 0)
                && let Some(copy) = self.copies.remove(&old.memory)
            {
                self.let_go(copy.place, 0);
            }
            self.let_go(old.place, old.size);
        }
    }

    /// Counts a record in what it refers to.
    pub(super) fn hold(&mut self, header: &Header, unit: u32) {
        if header.deleted() {
            return;
        }
        self.hold_bytes(header.place, header.size);
        let index = Arc::clone(&self.index);
        let members = match header.place {
            Place::Slab { slot, generation, .. } => {
                self.slabs.get(slot, generation).map(|slab| (&mut slab.members, slab.live))
            }
            Place::Pieces { content } => {
                self.contents.get_mut(&content).map(|content| (&mut content.members, content.live))
            }
            Place::Nowhere | Place::File { .. } | Place::Outside { .. } => None,
        };
        let Some((members, live)) = members else { return };
        members.push(unit);
        if members.len() > 4 * live as usize + MEMBERS_SPARE {
            let anchor = header.place.anchor();
            members.sort_unstable();
            members.dedup();
            members.retain(|unit| index.slot(*unit).header().place.anchor() == anchor);
        }
    }

    /// What is counted for a place.
    fn count(&mut self, place: Place) -> Option<Count<'_>> {
        Some(match place {
            Place::Nowhere => return None,
            Place::Slab { slot, generation, .. } => {
                let slab = self.slabs.get(slot, generation)?;
                Count { live: &mut slab.live, holds: &mut slab.holds, bytes: None }
            }
            Place::File { file, .. } => {
                let stored = self.files.get(file)?;
                let bytes = Some(&mut stored.live_bytes);
                Count { live: &mut stored.live, holds: &mut stored.holds, bytes }
            }
            Place::Pieces { content } => {
                let content = self.contents.get_mut(&content)?;
                Count { live: &mut content.live, holds: &mut content.holds, bytes: None }
            }
            Place::Outside { number } => {
                let entry = self.remotes.get(number)?;
                Count { live: &mut entry.live, holds: &mut entry.holds, bytes: None }
            }
        })
    }

    /// Counts something that refers to bytes at a place.
    pub(super) fn hold_bytes(&mut self, place: Place, size: u64) {
        let Some(count) = self.count(place) else { return };
        *count.live = count.live.saturating_add(1);
        *count.holds += 1;
        if let Some(bytes) = count.bytes {
            *bytes = bytes.saturating_add(size);
        }
    }

    /// No longer counts what referred to bytes at a place.
    pub(super) fn let_go(&mut self, place: Place, size: u64) {
        let Some(count) = self.count(place) else { return };
        *count.live = count.live.saturating_sub(1);
        if let Some(bytes) = count.bytes {
            *bytes = bytes.saturating_sub(size);
        }
        if *count.live == 0 {
            self.doomed.insert(place.anchor());
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
            Place::Outside { number } => {
                let entry = self.remotes.get(number)?;
                (entry.live == 0 && entry.busy == 0).then_some(entry.holds)
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
            Place::Outside { number } => self.release_remote(number),
            Place::Pieces { content } => {
                let content = self.contents.remove(&content).unwrap_or_default();
                self.pieces = self.pieces.saturating_sub(content.pieces.len() as u64);
                content.pieces.iter().for_each(|piece| self.let_go(piece.place, piece.len));
            }
        }
    }

    /// Looks again at a place that somebody no longer needs.
    pub(super) fn reconsider(&mut self, place: Place) {
        self.doomed.insert(place.anchor());
    }
}
