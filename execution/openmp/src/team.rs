//! The threads of one region, and what they share while it lasts.

use crate::{
    Error, Result,
    cancel::PARALLEL,
    config::Icvs,
    dispatch::SharedLoop,
    doacross::Flags,
    gate::Gate,
    shared::{Shared, lock},
    task_reduction::Modifier,
    tasks::Queue,
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

pub(crate) struct Team {
    pub(crate) size: u32,
    /// Regions around a thread of it, the serial ones among them.
    pub(crate) level: u32,
    pub(crate) active_level: u32,
    /// Active regions around it, those outside its league among them.
    pub(crate) depth: u32,
    /// Its number, and how many teams there are, where it is within a `teams` region.
    pub(crate) league: (u32, u32),
    /// The team whose thread made it, and which one that was.
    pub(crate) parent: Option<(Arc<Team>, u32)>,
    pub(crate) spins: u32,
    /// Rung when anything of the team changes.
    pub(crate) gate: Gate,
    pub(crate) work: Work,
    arrived: AtomicU32,
    epoch: AtomicU32,
    /// Threads that are through with the region.
    joined: AtomicU32,
    pub(crate) queue: Queue,
    /// Single regions that a thread has taken.
    pub(crate) singles: AtomicU64,
    /// What a single region's thread hands to the others.
    pub(crate) copied: AtomicU32,
    pub(crate) loops: Constructs<SharedLoop>,
    pub(crate) doacross: Constructs<Flags>,
    /// What each thread has to combine.
    pub(crate) partials: Vec<AtomicU32>,
    /// Which kind of construct is cancelled, as the program numbers them; 0 for none.
    pub(crate) cancelled: AtomicU32,
    /// The same when the last barrier opened: all threads see one answer, however fast some go on.
    pub(crate) verdict: AtomicU32,
    pub(crate) modifiers: [Mutex<Option<Arc<Modifier>>>; 2],
}

/// What a region's threads run.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    pub(crate) microtask: u32,
    pub(crate) args: Vec<u32>,
    pub(crate) icvs: Icvs,
}

impl Team {
    pub(crate) fn new(
        size: u32,
        parent: Option<(Arc<Team>, u32)>,
        work: Work,
        shared: &Shared,
    ) -> Self {
        let (level, active) =
            parent.as_ref().map_or((0, 0), |(team, _)| (team.level + 1, team.active_level));
        let depth = parent.as_ref().map_or(0, |(team, _)| team.depth);
        let threads = shared.busy.load(Ordering::Relaxed).max(size);
        Self {
            size,
            level,
            active_level: active + u32::from(size > 1),
            depth: depth + u32::from(size > 1),
            league: parent.as_ref().map_or((0, 1), |(team, _)| team.league),
            parent,
            spins: shared.spins(threads),
            gate: Gate::default(),
            work,
            arrived: AtomicU32::new(0),
            epoch: AtomicU32::new(0),
            joined: AtomicU32::new(0),
            queue: Queue::default(),
            singles: AtomicU64::new(0),
            copied: AtomicU32::new(0),
            loops: Constructs::default(),
            doacross: Constructs::default(),
            partials: (0..size).map(|_| AtomicU32::new(0)).collect(),
            cancelled: AtomicU32::new(0),
            verdict: AtomicU32::new(0),
            modifiers: Default::default(),
        }
    }

    /// Makes it the team of another region.
    pub(crate) fn renew(
        &mut self,
        size: u32,
        parent: (Arc<Team>, u32),
        work: Work,
        shared: &Shared,
    ) {
        let mut partials = std::mem::take(&mut self.partials);
        partials.resize_with(size as usize, AtomicU32::default);
        for partial in &mut partials {
            *partial.get_mut() = 0;
        }
        *self = Self { partials, ..Self::new(0, Some(parent), work, shared) };
        let active = u32::from(size > 1);
        self.size = size;
        self.active_level += active;
        self.depth += active;
        self.spins = shared.spins(shared.busy.load(Ordering::Relaxed).max(size));
    }

    /// Says that a thread has come to a barrier; gives the barrier's number.
    pub(crate) fn arrive(&self) -> u32 {
        let epoch = self.epoch.load(Ordering::Acquire);
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.size {
            self.gate.ring();
        }
        epoch
    }

    /// A team of a league: its thread is an initial one, with no regions around it.
    pub(crate) fn of_league(
        around: &Team,
        league: (u32, u32),
        work: Work,
        shared: &Shared,
    ) -> Self {
        Self { depth: around.depth, league, ..Self::new(1, None, work, shared) }
    }

    /// Whether its threads are to go to the region's end, where alone they wait for one another.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire) == PARALLEL
    }

    /// Says that a thread has come to the region's end.
    pub(crate) fn join(&self) {
        if self.joined.fetch_add(1, Ordering::AcqRel) + 1 == self.size {
            self.gate.ring();
        }
    }

    /// Whether the region is over: all threads have come to its end and all tasks are done.
    pub(crate) fn is_over(&self) -> bool {
        self.joined.load(Ordering::Acquire) == self.size && self.queue.outstanding() == 0
    }

    /// Whether the barrier of this number is over: all threads have come and all tasks are done.
    pub(crate) fn passed(&self, epoch: u32) -> bool {
        if self.epoch.load(Ordering::Acquire) != epoch {
            return true;
        }
        let complete =
            self.arrived.load(Ordering::Acquire) == self.size && self.queue.outstanding() == 0;
        // Whoever takes the count back opens the barrier.
        if complete
            && self
                .arrived
                .compare_exchange(self.size, 0, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        {
            self.verdict.store(self.cancelled.load(Ordering::Acquire), Ordering::Relaxed);
            self.epoch.store(epoch.wrapping_add(1), Ordering::Release);
            self.gate.ring();
        }
        self.epoch.load(Ordering::Acquire) != epoch
    }
}

/// What each thread comes to in the same order but not at the same time: the n-th loop of one
/// thread is the n-th loop of all.
#[derive(Debug)]
pub(crate) struct Constructs<T> {
    entries: Mutex<BTreeMap<u64, Entry<T>>>,
}

impl<T> Default for Constructs<T> {
    fn default() -> Self {
        Self { entries: Mutex::default() }
    }
}

#[derive(Debug)]
struct Entry<T> {
    shared: Arc<T>,
    left: u32,
}

/// How many constructs the fastest thread may be ahead of the slowest.
const AHEAD_MAX: u64 = 64;

impl<T> Constructs<T> {
    /// The construct of this number, which the first to come makes; `None` if this thread is too
    /// far ahead of others.
    pub(crate) fn enter(
        &self,
        index: u64,
        make: impl FnOnce() -> Result<T>,
    ) -> Result<Option<Arc<T>>> {
        let mut entries = lock(&self.entries);
        if let Some(entry) = entries.get(&index) {
            return Ok(Some(entry.shared.clone()));
        }
        if entries.keys().next().is_some_and(|oldest| index >= oldest + AHEAD_MAX) {
            return Ok(None);
        }
        let shared = Arc::new(make()?);
        entries.insert(index, Entry { shared: shared.clone(), left: 0 });
        Ok(Some(shared))
    }

    /// Says that one of `size` threads is through; whether it was the last.
    pub(crate) fn leave(&self, index: u64, size: u32) -> Result<bool> {
        let mut entries = lock(&self.entries);
        let entry = entries.get_mut(&index).ok_or(Error::Misuse("it leaves a loop twice"))?;
        entry.left += 1;
        let last = entry.left == size;
        if last {
            entries.remove(&index);
        }
        Ok(last)
    }
}
