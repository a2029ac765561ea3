//! Slabs: pieces of shared memory that one process writes and all of its tenant read.
//!
//! A slab is *free* in the pool, *lent* to the session that writes into it, or *closed*. It goes back to the
//! pool when no object lies in it and nobody has it pinned. It never goes to another tenant; what
//! is given up is punched out of its file first, so that a process that still maps it reads zeros.

use crate::{
    Error, Limits, Result,
    shared::{index::SLABS_MAX, memory_file},
};
use rustix::{
    fd::{AsFd, AsRawFd, OwnedFd},
    fs::{FallocateFlags, Mode, OFlags, fallocate, open},
};

/// Smallest and largest slab for objects that share one.
const SHARED_BYTES: std::ops::RangeInclusive<u64> = 256 << 10..=256 << 20;
/// A tenant's memory is divided into so many slabs, within these sizes: small ones are used again
/// soon, while the processor's cache still has them.
const SHARE: u64 = 256;
const PAGE: u64 = 4096;

/// How large the slabs are that objects share.
pub(crate) fn slab_bytes(limits: &Limits) -> u64 {
    let share = (limits.memory_bytes / SHARE).clamp(*SHARED_BYTES.start(), *SHARED_BYTES.end());
    share.next_power_of_two().min(*SHARED_BYTES.end())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// There is no memory.
    Nothing,
    Free,
    Lent(u32),
    Closed,
}

/// One slab.
#[derive(Debug)]
pub(super) struct Slab {
    generation: u32,
    file: Option<OwnedFd>,
    bytes: u64,
    used: Use,
    /// The session that wrote it last, which still maps it.
    writer: u32,
    /// How many records lie in it.
    pub(super) live: u32,
    /// How many records ever came to lie in it.
    pub(super) holds: u64,
    /// How many times the node itself reads it at the moment.
    pub(super) busy: u32,
    /// Units of records that came to lie in it since it was lent; some are gone.
    pub(super) members: Vec<u32>,
    /// When it was freed, counted by how many were.
    freed: u64,
    /// What `holds` was when all that is to go outside was there, and whether that was all or what is cold alone.
    pub(super) looked_at: (u64, bool),
}

/// The slabs of a tenant.
#[derive(Debug, Default)]
pub(super) struct Slabs {
    slabs: Vec<Slab>,
    /// How often a slab was freed.
    freed: u64,
}

/// A slab that was lent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lent {
    pub(super) slot: u16,
    pub(super) generation: u32,
    pub(super) bytes: u64,
}

impl Slabs {
    pub(super) fn get(&mut self, slot: u16, generation: u32) -> Option<&mut Slab> {
        let slab = self.slabs.get_mut(usize::from(slot))?;
        (slab.generation == generation && slab.file.is_some()).then_some(slab)
    }

    /// Lends a slab with room for so many bytes. None if the limit leaves no room for one.
    pub(super) fn lend(
        &mut self,
        bytes: u64,
        session: u32,
        limits: &Limits,
    ) -> Result<Option<Lent>> {
        if bytes > limits.memory_bytes {
            return Ok(None);
        }
        let want = fitting(bytes, slab_bytes(limits));
        let slot = match self.free_one(want, session) {
            Some(slot) => slot,
            None if self.make_room(want, limits) => self.create(want)?,
            None => return Ok(None),
        };
        let Some(slab) = self.slabs.get_mut(usize::from(slot)) else { return Ok(None) };
        slab.used = Use::Lent(session);
        slab.writer = session;
        slab.members.clear();
        slab.looked_at = (u64::MAX, false);
        Ok(Some(Lent { slot, generation: slab.generation, bytes: slab.bytes }))
    }

    /// The free slab that fits best: of the session's own if there is one, which maps them already,
    /// and the one that was freed last, which is still in the processor's cache.
    fn free_one(&self, want: u64, session: u32) -> Option<u16> {
        let fits = |slab: &Slab| {
            slab.used == Use::Free && (want..=want.saturating_mul(2)).contains(&slab.bytes)
        };
        let candidates = (0_u16..).zip(&self.slabs).filter(|(_, slab)| fits(slab));
        let best = candidates.min_by_key(|(_, slab)| {
            (slab.writer != session, slab.bytes, std::cmp::Reverse(slab.freed))
        });
        best.map(|(slot, _)| slot)
    }

    /// Gives up free slabs until one of this size may be made.
    fn make_room(&mut self, want: u64, limits: &Limits) -> bool {
        if want > limits.memory_bytes {
            return false;
        }
        let free: u64 = self.pool_bytes();
        if self.total_bytes() - free + want > limits.memory_bytes {
            return false;
        }
        while self.total_bytes() + want > limits.memory_bytes {
            let Some(at) = self.slabs.iter().position(|slab| slab.used == Use::Free) else {
                return false;
            };
            self.slabs[at].give_up();
        }
        true
    }

    fn create(&mut self, bytes: u64) -> Result<u16> {
        self.add(make(bytes)?, bytes)
    }

    /// Adds a free slab.
    fn add(&mut self, file: OwnedFd, bytes: u64) -> Result<u16> {
        let at = self.slabs.iter().position(|slab| slab.used == Use::Nothing);
        let at = at.unwrap_or(self.slabs.len());
        if at >= usize::from(SLABS_MAX) {
            return Err(Error::TooMany { what: "slabs".to_owned(), limit: SLABS_MAX.into() });
        }
        let generation = self.slabs.get(at).map_or(0, |slab| slab.generation.wrapping_add(1));
        let slab = Slab {
            generation,
            file: Some(file),
            bytes,
            used: Use::Free,
            writer: 0,
            live: 0,
            holds: 0,
            busy: 0,
            members: Vec::new(),
            freed: 0,
            looked_at: (u64::MAX, false),
        };
        match self.slabs.get_mut(at) {
            Some(place) => *place = slab,
            None => self.slabs.push(slab),
        }
        Ok(at as u16)
    }

    /// How large a slab is to be made ready, if there is none and the limits allow one below the
    /// mark.
    pub(super) fn wanted(&self, limits: &Limits) -> Option<u64> {
        let bytes = slab_bytes(limits);
        let ready = |slab: &Slab| slab.used == Use::Free && slab.bytes >= bytes;
        let in_use = self.slabs.iter().any(|slab| slab.used != Use::Nothing);
        let room = self.total_bytes() + bytes <= mark(limits);
        (in_use && room && !self.slabs.iter().any(ready)).then_some(bytes)
    }

    /// Takes a slab that was made for the pool, unless there is no room for it any more.
    pub(super) fn stock(&mut self, file: OwnedFd, bytes: u64, limits: &Limits) -> Result<()> {
        if self.total_bytes() + bytes <= limits.memory_bytes {
            self.add(file, bytes)?;
        }
        Ok(())
    }

    /// The session writes nothing more into the slab.
    pub(super) fn close(&mut self, slot: u16, generation: u32, session: u32) {
        if let Some(slab) = self.get(slot, generation)
            && slab.used == Use::Lent(session)
        {
            slab.used = Use::Closed;
        }
    }

    /// The slabs that were lent to a session.
    pub(super) fn lent_to(&self, session: u32) -> Vec<(u16, u32)> {
        let mine = (0..).zip(&self.slabs).filter(|(_, slab)| slab.used == Use::Lent(session));
        mine.map(|(slot, slab)| (slot, slab.generation)).collect()
    }

    /// How often records came to lie in a closed slab, if nothing lies in it now.
    pub(super) fn idle(&mut self, slot: u16, generation: u32) -> Option<u64> {
        let slab = self.get(slot, generation)?;
        let idle = slab.used == Use::Closed && slab.live == 0 && slab.busy == 0;
        idle.then_some(slab.holds)
    }

    /// Puts a slab into the pool, or gives it up if there is too much.
    pub(super) fn recycle(&mut self, slot: u16, generation: u32, limits: &Limits) {
        let too_much = self.total_bytes() > limits.memory_bytes;
        self.freed += 1;
        let freed = self.freed;
        let Some(slab) = self.get(slot, generation) else { return };
        slab.freed = freed;
        slab.used = Use::Free;
        slab.members = Vec::new();
        if too_much {
            slab.give_up();
        }
    }

    /// Closed slabs in which objects lie.
    pub(super) fn full(&self) -> impl Iterator<Item = (u16, &Slab)> {
        let closed = |slab: &Slab| slab.used == Use::Closed && slab.live > 0 && slab.busy == 0;
        (0..).zip(&self.slabs).filter(move |(_, slab)| closed(slab))
    }

    /// All slabs may have something that is to go outside.
    pub(super) fn look_again(&mut self) {
        self.slabs.iter_mut().for_each(|slab| slab.looked_at = (u64::MAX, false));
    }

    fn sum(&self, counts: impl Fn(Use) -> bool) -> u64 {
        self.slabs.iter().filter(|slab| counts(slab.used)).map(|slab| slab.bytes).sum()
    }

    /// All memory.
    pub(super) fn total_bytes(&self) -> u64 {
        self.sum(|used| used != Use::Nothing)
    }

    /// Memory that stands ready.
    pub(super) fn pool_bytes(&self) -> u64 {
        self.sum(|used| used == Use::Free)
    }

    /// Memory in use, and in how many slabs.
    pub(super) fn used(&self) -> (u64, u64) {
        let in_use = |used: Use| matches!(used, Use::Lent(_) | Use::Closed);
        let count = self.slabs.iter().filter(|slab| in_use(slab.used)).count();
        (self.sum(in_use), count as u64)
    }
}

/// Makes the memory of a slab: all of it is taken and zeroed now, for a writer would wait 8 to 12 times as
/// long for its first touch as for a copy.
pub(super) fn make(bytes: u64) -> Result<OwnedFd> {
    let file = memory_file("geds-slab", bytes)?;
    fallocate(&file, FallocateFlags::KEEP_SIZE, 0, bytes)
        .map_err(|error| Error::io("get memory for objects")(error.into()))?;
    Ok(file)
}

impl Slab {
    pub(super) fn generation(&self) -> u32 {
        self.generation
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The memory for its writer.
    pub(super) fn to_write(&self) -> Result<OwnedFd> {
        let file = self.file.as_ref().ok_or_else(gone)?;
        file.try_clone().map_err(Error::io("hand out shared memory"))
    }

    /// The memory for others, who cannot write it.
    pub(super) fn to_read(&self) -> Result<OwnedFd> {
        let file = self.file.as_ref().ok_or_else(gone)?;
        let path = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
        open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| Error::io("hand out shared memory")(error.into()))
    }

    fn give_up(&mut self) {
        if let Some(file) = self.file.take() {
            let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            if let Err(error) = fallocate(&file, punch, 0, self.bytes) {
                tracing::warn!(%error, "cannot give memory back before its processes let go of it");
            }
        }
        (self.used, self.bytes) = (Use::Nothing, 0);
    }
}

fn gone() -> Error {
    Error::Unavailable("the slab was given up".to_owned())
}

/// Above this the node moves objects to disk.
pub(super) fn mark(limits: &Limits) -> u64 {
    let percent = u64::from(limits.high_water_percent.min(100));
    limits.memory_bytes / 100 * percent
}

/// The size of the slab for an object: a shared one for small ones, else one of its own, in steps
/// of an eighth so that they can be used again.
fn fitting(bytes: u64, shared: u64) -> u64 {
    if bytes <= shared {
        return shared;
    }
    let step = (bytes.next_power_of_two() / 16).max(PAGE);
    bytes.checked_next_multiple_of(step).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(memory_bytes: u64) -> Limits {
        Limits { memory_bytes, ..Limits::default() }
    }

    #[test]
    fn memory_is_lent_up_to_the_limit_and_used_again() {
        let limits = limits(1 << 20);
        let mut slabs = Slabs::default();
        let lent: Vec<Lent> =
            (0..4).map(|_| slabs.lend(100, 1, &limits).unwrap().unwrap()).collect();
        assert_eq!(slabs.lend(100, 1, &limits).unwrap(), None);
        assert_eq!(slabs.used(), (1 << 20, 4));
        slabs.close(lent[2].slot, lent[2].generation, 1);
        assert_eq!(slabs.idle(lent[2].slot, lent[2].generation), Some(0));
        slabs.recycle(lent[2].slot, lent[2].generation, &limits);
        assert_eq!(slabs.lend(100, 1, &limits).unwrap(), Some(lent[2]));
    }

    #[test]
    fn free_memory_is_given_up_for_another_size() {
        let limits = limits(1 << 20);
        let mut slabs = Slabs::default();
        let small = slabs.lend(1, 1, &limits).unwrap().unwrap();
        slabs.close(small.slot, small.generation, 1);
        slabs.recycle(small.slot, small.generation, &limits);
        assert!(slabs.lend(1 << 20, 1, &limits).unwrap().is_some());
        assert_eq!(slabs.total_bytes(), 1 << 20);
        assert!(slabs.get(small.slot, small.generation).is_none(), "it is another one now");
        assert_eq!(slabs.lend(2 << 20, 1, &limits).unwrap(), None);
    }

    #[test]
    fn only_who_was_lent_a_slab_closes_it() {
        let limits = limits(1 << 20);
        let mut slabs = Slabs::default();
        let lent = slabs.lend(1, 1, &limits).unwrap().unwrap();
        slabs.close(lent.slot, lent.generation, 2);
        slabs.close(lent.slot, lent.generation + 1, 1);
        slabs.close(u16::MAX, 0, 1);
        assert_eq!(slabs.idle(lent.slot, lent.generation), None);
        assert_eq!(slabs.lent_to(1), [(lent.slot, lent.generation)]);
    }
}
