//! The page that a process shares with the node alone: what it pins, and the ring of records that
//! the node has not seen.

use super::{Access, Region, index::SLABS_MAX, memory_file, record::Place};
use crate::Result;
use rustix::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

/// Files and sets of pieces share these places; that two share one only delays what is freed.
const NUMBERED: u64 = 1024;
const AT_TAIL: u64 = 0;
const AT_HEAD: u64 = 128;
const AT_PINS: u64 = 4096;
const AT_RING: u64 = 32 << 10;
/// How many records may wait for the node.
pub(crate) const RING: u32 = 16 << 10;
const BYTES: u64 = AT_RING + RING as u64 * 4;

/// The page of a session, mapped into this process.
#[derive(Debug)]
pub(crate) struct Session {
    region: Region,
}

impl Session {
    pub(crate) fn create() -> Result<(OwnedFd, Self)> {
        let file = memory_file("geds-session", BYTES)?;
        let region = Region::map(&file, Access::WritePopulated)?;
        Ok((file, Self { region }))
    }

    pub(crate) fn open(file: impl AsFd) -> Result<Self> {
        Ok(Self { region: Region::map(file, Access::WritePopulated)? })
    }

    fn pins_at(place: Place) -> Option<u64> {
        let number = match place {
            Place::Nowhere => return None,
            Place::Slab { slot, .. } if slot < SLABS_MAX => u64::from(slot),
            Place::Slab { .. } => return None,
            Place::File { file, .. } => u64::from(SLABS_MAX) + file % NUMBERED,
            Place::Pieces { content: number } | Place::Outside { number } => {
                u64::from(SLABS_MAX) + number % NUMBERED
            }
        };
        Some(AT_PINS + number * 4)
    }

    /// Keeps the memory, file or pieces at a place from being freed, if they still are in use when
    /// the caller has looked again.
    pub(crate) fn pin(&self, place: Place) {
        if let Some(pins) = Self::pins_at(place).and_then(|at| self.region.half(at)) {
            pins.fetch_add(1, SeqCst);
        }
    }

    pub(crate) fn unpin(&self, place: Place) {
        if let Some(pins) = Self::pins_at(place).and_then(|at| self.region.half(at)) {
            pins.fetch_sub(1, SeqCst);
        }
    }

    pub(crate) fn pinned(&self, place: Place) -> bool {
        let pins = Self::pins_at(place).and_then(|at| self.region.half(at));
        pins.is_some_and(|pins| pins.load(SeqCst) != 0)
    }

    /// Leaves a record for the node; false when the ring is full. One thread at a time.
    pub(crate) fn push(&self, unit: u32) -> bool {
        let (Some(tail), Some(head)) = (self.region.half(AT_TAIL), self.region.half(AT_HEAD))
        else {
            return false;
        };
        let at = tail.load(Relaxed);
        if at.wrapping_sub(head.load(Acquire)) >= RING {
            return false;
        }
        if let Some(place) = self.region.half(AT_RING + u64::from(at % RING) * 4) {
            place.store(unit, Relaxed);
        }
        // Before the caller looks whether the node sleeps: the node says so before it looks here.
        tail.store(at.wrapping_add(1), SeqCst);
        true
    }

    /// The next record that was left; the node alone takes.
    pub(crate) fn take(&self) -> Option<u32> {
        let (tail, head) = (self.region.half(AT_TAIL)?, self.region.half(AT_HEAD)?);
        let (end, at) = (tail.load(Acquire), head.load(Relaxed));
        let waiting = end.wrapping_sub(at);
        if waiting == 0 {
            return None;
        }
        // A process that scribbles over its own page loses what it left.
        let at = if waiting > RING { end.wrapping_sub(1) } else { at };
        let unit = self.region.half(AT_RING + u64::from(at % RING) * 4)?.load(Relaxed);
        head.store(at.wrapping_add(1), Release);
        Some(unit)
    }

    /// Whether records wait.
    pub(crate) fn waits(&self) -> bool {
        let load = |at| self.region.half(at).map_or(0, |half| half.load(SeqCst));
        load(AT_TAIL) != load(AT_HEAD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_keeps_its_order_and_has_an_end() {
        let (_, session) = Session::create().unwrap();
        for round in 0..3 {
            for unit in 0..RING {
                assert!(session.push(unit + round));
            }
            assert!(!session.push(1) && session.waits());
            for unit in 0..RING {
                assert_eq!(session.take(), Some(unit + round));
            }
            assert_eq!(session.take(), None);
        }
    }

    #[test]
    fn a_scribbled_ring_gives_no_more_than_it_can_hold() {
        let (_, session) = Session::create().unwrap();
        session.region.half(AT_TAIL).unwrap().store(u32::MAX / 2, SeqCst);
        assert_eq!(std::iter::from_fn(|| session.take()).count(), 1);
    }

    #[test]
    fn pins_count_for_their_place() {
        let (_, session) = Session::create().unwrap();
        let slab = |slot| Place::Slab { slot, generation: 1, offset: 9 };
        session.pin(slab(3));
        session.pin(slab(3));
        session.unpin(slab(3));
        assert!(session.pinned(slab(3)) && !session.pinned(slab(4)));
        session.pin(slab(u16::MAX));
        assert!(!session.pinned(slab(u16::MAX)));
    }
}
