//! The threads of one region, and what they share while it lasts.

use crate::{
    Error, Result,
    cancel::PARALLEL,
    config::Icvs,
    dispatch::SharedLoop,
    doacross::Flags,
    gate::Gate,
    line::Line,
    queue::Queue,
    shared::{Shared, lock},
    task_reduction::Modifier,
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
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
    /// The settings of the task that made it.
    pub(crate) icvs: Icvs,
    spins: AtomicU32,
    /// Whether a region has left anything to be cleared for the next one.
    used: AtomicBool,
    /// Rung when anything of the team changes.
    pub(crate) gate: Line<Gate>,
    barrier: Line<AtomicU64>,
    /// Threads that are through with a region, the first one excepted: of all regions so far.
    joined: Line<AtomicU32>,
    /// The same count when the last region was over, as the first thread says.
    over: Line<AtomicU32>,
    pub(crate) queue: Queue,
    /// Single regions that a thread has taken.
    singles: Line<AtomicU64>,
    /// What a single region's thread hands to the others.
    pub(crate) copied: AtomicU32,
    loops: Constructs<SharedLoop>,
    doacross: Constructs<Flags>,
    /// What each thread has to combine.
    pub(crate) partials: Vec<AtomicU32>,
    /// Which kind of construct is cancelled, as the program numbers them; 0 for none.
    cancelled: AtomicU32,
    modifiers: [Mutex<Option<Arc<Modifier>>>; 2],
}

/// A barrier's word: how often it has opened, what was cancelled when it last did, so that all
/// threads see one answer, however fast some go on, and how many threads have come since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Barrier {
    epoch: u32,
    verdict: u32,
    arrived: u32,
}

/// Where the parts of the word are; there are fewer threads than fit into the last.
const EPOCH_SHIFT: u32 = 32;
const VERDICT_SHIFT: u32 = 24;

impl Barrier {
    fn of(word: u64) -> Self {
        let (epoch, low) = ((word >> EPOCH_SHIFT) as u32, word as u32);
        Self { epoch, verdict: low >> VERDICT_SHIFT, arrived: low & ((1 << VERDICT_SHIFT) - 1) }
    }

    fn word(self) -> u64 {
        u64::from(self.epoch) << EPOCH_SHIFT
            | u64::from(self.verdict << VERDICT_SHIFT | self.arrived)
    }
}

impl Team {
    pub(crate) fn new(
        size: u32,
        parent: Option<(Arc<Team>, u32)>,
        icvs: Icvs,
        shared: &Shared,
    ) -> Self {
        let (level, active) =
            parent.as_ref().map_or((0, 0), |(team, _)| (team.level + 1, team.active_level));
        let depth = parent.as_ref().map_or(0, |(team, _)| team.depth);
        Self {
            size,
            level,
            active_level: active + u32::from(size > 1),
            depth: depth + u32::from(size > 1),
            league: parent.as_ref().map_or((0, 1), |(team, _)| team.league),
            parent,
            icvs,
            spins: AtomicU32::new(spins(size, shared)),
            used: AtomicBool::new(false),
            gate: Line::default(),
            barrier: Line::default(),
            joined: Line::default(),
            over: Line::default(),
            queue: Queue::new(size),
            singles: Line::default(),
            copied: AtomicU32::new(0),
            loops: Constructs::default(),
            doacross: Constructs::default(),
            partials: (0..size).map(|_| AtomicU32::new(0)).collect(),
            cancelled: AtomicU32::new(0),
            modifiers: Default::default(),
        }
    }

    /// A team of a league: its thread is an initial one, with no regions around it.
    pub(crate) fn of_league(
        around: &Team,
        league: (u32, u32),
        icvs: Icvs,
        shared: &Shared,
    ) -> Self {
        Self { depth: around.depth, league, ..Self::new(1, None, icvs, shared) }
    }

    /// Whether it is what such a region needs, and nothing is left of the last one: a wrong
    /// program may have left that open.
    pub(crate) fn fits(&self, size: u32, (team, tid): (&Arc<Team>, u32), icvs: &Icvs) -> bool {
        let is_parent =
            |(parent, number): &(Arc<Team>, u32)| Arc::ptr_eq(parent, team) && *number == tid;
        self.size == size
            && self.icvs == *icvs
            && self.parent.as_ref().is_some_and(is_parent)
            && self.queue.outstanding() == 0
    }

    /// Makes it the team of another region. The one before is over: its other threads wait for
    /// their next one and look at nothing that is changed here. What it changes they see with the
    /// order that calls them.
    pub(crate) fn renew(&self, shared: &Shared) {
        let spins = spins(self.size, shared);
        if self.spins.load(Ordering::Relaxed) != spins {
            self.spins.store(spins, Ordering::Relaxed);
        }
        // What is written costs the others their copies: mostly there is nothing to be cleared.
        if !self.used.load(Ordering::Relaxed) {
            return;
        }
        self.used.store(false, Ordering::Relaxed);
        self.singles.store(0, Ordering::Relaxed);
        self.cancelled.store(0, Ordering::Relaxed);
        let epoch = Barrier::of(self.barrier.load(Ordering::Relaxed)).epoch;
        self.barrier.store(Barrier { epoch, verdict: 0, arrived: 0 }.word(), Ordering::Relaxed);
        self.loops.clear();
        self.doacross.clear();
        for modifier in &self.modifiers {
            lock(modifier).take();
        }
    }

    /// Remembers that the region leaves something to be cleared.
    fn mark(&self) {
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    /// How often its threads look before they sleep.
    pub(crate) fn spins(&self) -> u32 {
        self.spins.load(Ordering::Relaxed)
    }

    /// Takes the single region of this number; whether no other thread had.
    pub(crate) fn take_single(&self, number: u64) -> bool {
        let (singles, relaxed) = (&self.singles, Ordering::Relaxed);
        self.mark();
        singles.load(relaxed) == number
            && singles.compare_exchange(number, number + 1, Ordering::AcqRel, relaxed).is_ok()
    }

    /// Its loops whose iterations are dealt out.
    pub(crate) fn loops(&self) -> &Constructs<SharedLoop> {
        self.mark();
        &self.loops
    }

    /// Its loops whose iterations wait for one another by name.
    pub(crate) fn doacross(&self) -> &Constructs<Flags> {
        self.mark();
        &self.doacross
    }

    /// Reductions over all its tasks: those of a region, and those of a loop.
    pub(crate) fn modifiers(&self) -> &[Mutex<Option<Arc<Modifier>>>; 2] {
        self.mark();
        &self.modifiers
    }

    /// Cancels a construct of this kind; whether it is the one that is cancelled.
    pub(crate) fn cancel(&self, kind: u32) -> bool {
        self.mark();
        let set = self.cancelled.compare_exchange(0, kind, Ordering::AcqRel, Ordering::Acquire);
        self.gate.ring();
        set.is_ok() || set == Err(kind)
    }

    /// Forgets it: the construct is over.
    pub(crate) fn forget_cancelled(&self) {
        self.cancelled.store(0, Ordering::Release);
    }

    /// Which kind of construct is cancelled; 0 for none.
    pub(crate) fn cancelled(&self) -> u32 {
        self.cancelled.load(Ordering::Acquire)
    }

    /// Whether its threads are to go to the region's end, where alone they wait for one another.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled() == PARALLEL
    }

    /// What was cancelled when its last barrier opened.
    pub(crate) fn verdict(&self) -> u32 {
        if self.size == 1 {
            return self.cancelled();
        }
        Barrier::of(self.barrier.load(Ordering::Acquire)).verdict
    }

    /// Says that a thread has come to a region's end; `goal` is the count once all have.
    pub(crate) fn join(&self, goal: u32) {
        if self.joined.fetch_add(1, Ordering::SeqCst).wrapping_add(1) == goal {
            self.gate.ring_after();
        }
    }

    /// Whether all other threads than the first have come to a region's end, and all tasks are
    /// done; for the first thread, once it has come there too.
    pub(crate) fn is_complete(&self, goal: u32) -> bool {
        self.joined.load(Ordering::Acquire) == goal && self.queue.outstanding() == 0
    }

    /// Says that a region is over.
    pub(crate) fn end(&self, goal: u32) {
        if self.size > 1 {
            self.over.store(goal, Ordering::SeqCst);
            self.gate.ring_after();
        }
    }

    /// Whether a region is over. The count never goes back, so a thread that looks late is not
    /// mistaken.
    pub(crate) fn is_over(&self, goal: u32) -> bool {
        let missing = goal.wrapping_sub(self.over.load(Ordering::Acquire));
        missing.cast_signed() <= 0
    }

    /// Says that a thread has come to a barrier; gives the barrier's number.
    pub(crate) fn arrive(&self) -> u32 {
        let before = Barrier::of(self.barrier.fetch_add(1, Ordering::SeqCst));
        if before.arrived + 1 == self.size && !self.passed(before.epoch) {
            // Tasks are left: whoever waits is to look for them, and for their end.
            self.gate.ring_after();
        }
        before.epoch
    }

    /// Whether the barrier of this number is over: all threads have come and all tasks are done.
    pub(crate) fn passed(&self, epoch: u32) -> bool {
        let word = self.barrier.load(Ordering::Acquire);
        let barrier = Barrier::of(word);
        if barrier.epoch != epoch {
            return true;
        }
        if barrier.arrived != self.size || self.queue.outstanding() > 0 {
            return false;
        }
        // Whoever changes the word opens the barrier.
        let open = Barrier { epoch: epoch.wrapping_add(1), verdict: self.cancelled(), arrived: 0 };
        let opened =
            self.barrier.compare_exchange(word, open.word(), Ordering::SeqCst, Ordering::Relaxed);
        if opened.is_ok() {
            self.gate.ring_after();
        }
        // If not, somebody else has: nobody comes to a barrier that is full.
        true
    }
}

/// How often threads of a region look before they sleep.
fn spins(size: u32, shared: &Shared) -> u32 {
    shared.spins(shared.busy.load(Ordering::Relaxed).max(size))
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
    fn clear(&self) {
        lock(&self.entries).clear();
    }

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
