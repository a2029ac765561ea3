//! Slabs as a process sees them: those that it was lent to write, and those that it reads.

use super::{Client, unexpected};
use crate::{
    Error, Result,
    shared::{Access, Region, index::SLABS_MAX, record::Place},
    wire::{Reply, Request},
};
use arc_swap::ArcSwap;
use std::{
    os::fd::OwnedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// What objects begin at a multiple of: a cache line, and what vector units load at once.
const ALIGNMENT: u64 = 64;
/// Shortest and longest pause between two tries to get memory.
const PAUSES: (Duration, Duration) = (Duration::from_micros(200), Duration::from_millis(10));

/// A slab in this process.
#[derive(Debug)]
pub(crate) struct Mapped {
    pub(crate) region: Region,
    generation: u32,
    writable: bool,
}

/// The slabs of a process.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// By slot.
    maps: ArcSwap<Vec<Option<Arc<Mapped>>>>,
    /// The slab that small objects are written into.
    open: Mutex<Option<Open>>,
    /// Slabs that nothing more is written into, which the node does not know yet.
    returns: Arc<Mutex<Vec<(u16, u32)>>>,
}

#[derive(Debug)]
struct Open {
    lease: Arc<Lease>,
    next: u64,
}

/// A slab that this process writes; it goes back when the last space in it is written.
#[derive(Debug)]
struct Lease {
    slot: u16,
    generation: u32,
    mapped: Arc<Mapped>,
    returns: Arc<Mutex<Vec<(u16, u32)>>>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        lock(&self.returns).push((self.slot, self.generation));
    }
}

/// Room for one object that nobody else writes or reads yet.
#[derive(Debug)]
pub(crate) struct Space {
    lease: Arc<Lease>,
    offset: u64,
    capacity: u64,
}

impl Space {
    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Where the object will lie.
    pub(crate) fn place(&self) -> Place {
        let Lease { slot, generation, .. } = *self.lease;
        Place::Slab { slot, generation, offset: self.offset }
    }

    fn has(&self, at: u64, len: u64) -> bool {
        at.checked_add(len).is_some_and(|end| end <= self.capacity)
    }

    pub(crate) fn write(&self, at: u64, bytes: &[u8]) -> Result<()> {
        let region = &self.lease.mapped.region;
        if self.has(at, bytes.len() as u64) && region.copy_in(self.offset + at, bytes) {
            return Ok(());
        }
        Err(beyond())
    }

    /// Lets `write` fill a range; nobody else may write or read it meanwhile.
    pub(crate) fn fill<R>(
        &mut self,
        at: u64,
        len: u64,
        write: impl FnOnce(&mut [u8]) -> Result<R>,
    ) -> Result<R> {
        if !self.has(at, len) {
            return Err(beyond());
        }
        let region = &self.lease.mapped.region;
        region.fill(self.offset + at, len, write).ok_or_else(beyond)?
    }

    pub(crate) fn zero(&self, at: u64, len: u64) -> Result<()> {
        if self.has(at, len) && self.lease.mapped.region.zero(self.offset + at, len) {
            return Ok(());
        }
        Err(beyond())
    }

    pub(crate) fn read(&self, at: u64, buffer: &mut [u8]) -> Result<()> {
        let region = &self.lease.mapped.region;
        if self.has(at, buffer.len() as u64) && region.copy_out(self.offset + at, buffer) {
            return Ok(());
        }
        Err(beyond())
    }
}

fn beyond() -> Error {
    Error::Corrupt { what: "a slab".to_owned(), why: "it is smaller than was said".to_owned() }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Open {
    fn take(&mut self, len: u64) -> Option<Space> {
        let offset = self.next;
        let end = offset.checked_add(len)?.checked_next_multiple_of(ALIGNMENT)?;
        if end > self.lease.mapped.region.len() {
            return None;
        }
        self.next = end;
        Some(Space { lease: Arc::clone(&self.lease), offset, capacity: end - offset })
    }
}

impl Client {
    /// Room for so many bytes; waits for it as long as the limits say.
    pub(crate) fn allocate(&self, len: u64) -> Result<Space> {
        let space = self.take_space(len, false)?;
        space.ok_or_else(unexpected)
    }

    /// Room for so many bytes, if there is some that nobody waits for.
    pub(crate) fn allocate_spare(&self, len: u64) -> Result<Option<Space>> {
        self.take_space(len, true)
    }

    fn take_space(&self, len: u64, spare: bool) -> Result<Option<Space>> {
        let lease = |len| match spare {
            true => self.lease_spare(len),
            false => self.lease(len).map(Some),
        };
        let mut open = lock(&self.memory.open);
        if let Some(space) = open.as_mut().and_then(|open| open.take(len)) {
            return Ok(Some(space));
        }
        if len > self.shared_object_max() {
            drop(open);
            let Some(lease) = lease(len)? else { return Ok(None) };
            let capacity = lease.mapped.region.len();
            return Ok(Some(Space { lease, offset: 0, capacity }));
        }
        if !spare {
            // The node may need it; what is written there holds it until it is done.
            *open = None;
        }
        let Some(lease) = lease(len)? else { return Ok(None) };
        let mut new = Open { lease, next: 0 };
        let space = new.take(len).ok_or_else(beyond)?;
        *open = Some(new);
        Ok(Some(space))
    }

    fn lease(&self, bytes: u64) -> Result<Arc<Lease>> {
        let (started, mut pause) = (Instant::now(), PAUSES.0);
        loop {
            let (reply, files) = self.ask_lease(bytes, false)?;
            match reply {
                Reply::Slab { slot, generation, .. } => return self.lent(slot, generation, files),
                Reply::Busy { what, used_bytes, limit_bytes, wait_ms } => {
                    let waited = started.elapsed();
                    if waited.as_millis() >= u128::from(wait_ms) || bytes > limit_bytes {
                        let waited_ms = waited.as_millis() as u64;
                        return Err(Error::Exhausted {
                            what,
                            wanted_bytes: bytes,
                            used_bytes,
                            limit_bytes,
                            waited_ms,
                        });
                    }
                }
                _ => return Err(unexpected()),
            }
            thread::sleep(pause);
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    fn lease_spare(&self, bytes: u64) -> Result<Option<Arc<Lease>>> {
        match self.ask_lease(bytes, true)? {
            (Reply::Slab { slot, generation, .. }, files) => {
                self.lent(slot, generation, files).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn ask_lease(&self, bytes: u64, spare: bool) -> Result<(Reply, Vec<OwnedFd>)> {
        let returned = std::mem::take(&mut *lock(&self.memory.returns));
        self.ask(&Request::Lease { bytes, returned, spare })
    }

    fn lent(&self, slot: u16, generation: u32, files: Vec<OwnedFd>) -> Result<Arc<Lease>> {
        let file = files.into_iter().next().ok_or_else(unexpected)?;
        let mapped = self.map_lent(slot, generation, &file)?;
        let returns = Arc::clone(&self.memory.returns);
        Ok(Arc::new(Lease { slot, generation, mapped, returns }))
    }

    fn map_lent(&self, slot: u16, generation: u32, file: &OwnedFd) -> Result<Arc<Mapped>> {
        if let Some(known) = self.memory.known(slot, generation).filter(|known| known.writable) {
            return Ok(known);
        }
        let region = Region::map(file, Access::WritePopulated)?;
        let mapped = Arc::new(Mapped { region, generation, writable: true });
        self.memory.remember(slot, &mapped);
        Ok(mapped)
    }

    /// A slab to read, which is mapped when it is first needed. None if it is there no longer.
    pub(crate) fn slab(&self, slot: u16, generation: u32) -> Result<Option<Arc<Mapped>>> {
        if let Some(known) = self.memory.known(slot, generation) {
            return Ok(Some(known));
        }
        let (reply, files) = self.ask(&Request::Slab { slot, generation })?;
        match reply {
            Reply::Slab { .. } => {
                let file = files.into_iter().next().ok_or_else(unexpected)?;
                let region = Region::map(&file, Access::Read)?;
                let mapped = Arc::new(Mapped { region, generation, writable: false });
                self.memory.remember(slot, &mapped);
                Ok(Some(mapped))
            }
            Reply::Gone => Ok(None),
            _ => Err(unexpected()),
        }
    }

    /// The object in this space was sealed, or never will be.
    pub(crate) fn written(&self, space: Space) {
        // The last space of a slab: the node is told at once.
        drop(space);
        self.return_slabs();
    }

    /// Gives back room that nothing was written into.
    pub(crate) fn unused(&self, space: Space) {
        let mut open = lock(&self.memory.open);
        if let Some(open) = open.as_mut()
            && Arc::ptr_eq(&open.lease, &space.lease)
            && open.next == space.offset + space.capacity
        {
            open.next = space.offset;
        }
        drop(open);
        self.written(space);
    }

    /// Gives back the end of a space.
    pub(crate) fn shrink(&self, space: &mut Space, len: u64) {
        let Some(end) = space.offset.checked_add(len).map(|end| end.next_multiple_of(ALIGNMENT))
        else {
            return;
        };
        let mut open = lock(&self.memory.open);
        if let Some(open) = open.as_mut()
            && Arc::ptr_eq(&open.lease, &space.lease)
            && open.next == space.offset + space.capacity
            && end <= open.next
        {
            open.next = end;
            space.capacity = end - space.offset;
        }
    }

    fn return_slabs(&self) {
        let slabs = std::mem::take(&mut *lock(&self.memory.returns));
        // A node that has gone needs none back.
        if !slabs.is_empty() {
            let _ = self.ask(&Request::Return { slabs });
        }
    }
}

impl Memory {
    fn known(&self, slot: u16, generation: u32) -> Option<Arc<Mapped>> {
        let maps = self.maps.load();
        let known = maps.get(usize::from(slot))?.as_ref()?;
        (known.generation == generation).then(|| Arc::clone(known))
    }

    fn remember(&self, slot: u16, mapped: &Arc<Mapped>) {
        if slot >= SLABS_MAX {
            return;
        }
        self.maps.rcu(|maps| {
            let mut maps = Vec::clone(maps);
            if maps.len() <= usize::from(slot) {
                maps.resize(usize::from(slot) + 1, None);
            }
            maps[usize::from(slot)] = Some(Arc::clone(mapped));
            maps
        });
    }
}
