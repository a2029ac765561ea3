//! The tasks of a team that are ready: a queue for each thread, from whose other end the others
//! steal.
//!
//! Each queue has a lock of its own, which nearly always only its thread takes. That costs a few
//! nanoseconds more than a queue without locks, and lets thieves take a task from the middle: a
//! thread that waits within a task may only run those that descend from it.

use crate::{line::Line, shared::lock, task::Task};
use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

/// Tasks that a thief takes at once.
const SHARED_MAX: usize = 16;

/// The ready tasks of a team, and how many of its tasks are not done.
pub(crate) struct Queue {
    /// One for each thread; none where there is one thread.
    slots: Box<[Slot]>,
    /// Tasks with a priority, and those made ready by other threads than the team's.
    common: Slot,
}

/// One thread's part.
#[derive(Default)]
struct Slot {
    tasks: Line<Tasks>,
    counts: Line<Counts>,
}

/// What thieves look at.
#[derive(Default)]
struct Tasks {
    ready: Mutex<VecDeque<Arc<Task>>>,
    length: AtomicUsize,
    /// Grows with each task.
    pushed: AtomicU64,
}

/// What is looked at when all threads wait.
#[derive(Default)]
struct Counts {
    made: AtomicU64,
    done: AtomicU64,
}

impl Queue {
    pub(crate) fn new(threads: u32) -> Self {
        let slots = if threads > 1 { threads } else { 0 };
        let slots = (0..slots).map(|_| Slot::default()).collect();
        Self { slots, common: Slot::default() }
    }

    fn slot(&self, tid: Option<u32>) -> &Slot {
        tid.and_then(|tid| self.slots.get(tid as usize)).unwrap_or(&self.common)
    }

    fn all(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().chain([&self.common])
    }

    /// Tasks that were made and are not done; 0 once that is so, if all threads wait in a barrier
    /// and this thread knows it.
    ///
    /// Each thread counts for itself. Whoever sees that a task is done also sees that it and its
    /// children were made, since the counts are changed with release and read with acquire, what
    /// is done first. If both sums are equal then exactly the tasks that are seen as made are seen
    /// as done. One that is not seen was made by another that is not seen, and so on: in the end
    /// by an implicit task, whose thread has come to the barrier after it.
    pub(crate) fn outstanding(&self) -> u64 {
        let sum = |count: fn(&Counts) -> &AtomicU64| {
            let counts = self.all().map(|slot| count(&slot.counts).load(Ordering::Acquire));
            counts.fold(0, u64::wrapping_add)
        };
        let done = sum(|counts| &counts.done);
        sum(|counts| &counts.made).wrapping_sub(done)
    }

    /// A thread has made a task; gives how many it has.
    pub(crate) fn count(&self, tid: Option<u32>) -> u64 {
        self.slot(tid).counts.made.fetch_add(1, Ordering::Release)
    }

    /// A task is done.
    pub(crate) fn uncount(&self, tid: Option<u32>) {
        self.slot(tid).counts.done.fetch_add(1, Ordering::SeqCst);
    }

    /// How many tasks a thread has in its queue.
    pub(crate) fn length(&self, tid: u32) -> usize {
        self.slot(Some(tid)).tasks.length.load(Ordering::Relaxed)
    }

    /// Changes with each task that becomes ready. Whoever sees it change finds the task's queue
    /// not empty.
    pub(crate) fn pushed(&self) -> u64 {
        let pushed = self.all().map(|slot| slot.tasks.pushed.load(Ordering::Acquire));
        pushed.fold(0, u64::wrapping_add)
    }

    /// A task is ready; thread `tid` has made it so, or none of the team.
    pub(crate) fn push(&self, tid: Option<u32>, task: Arc<Task>) {
        let slot = if task.priority > 0 { &self.common } else { self.slot(tid) };
        let mut ready = lock(&slot.tasks.ready);
        // The last made is taken first, and the more urgent before it.
        let at = match task.priority {
            0 if ready.back().is_none_or(|last| last.priority == 0) => ready.len(),
            priority => ready.partition_point(|other| other.priority <= priority),
        };
        ready.insert(at, task);
        slot.tasks.length.store(ready.len(), Ordering::Relaxed);
        drop(ready);
        slot.tasks.pushed.fetch_add(1, Ordering::SeqCst);
    }

    /// A task for thread `tid` to run, if there is one; only one within `ancestor`, if that is
    /// given. A thread that may run any takes more than one from another: they are then in its own
    /// queue.
    pub(crate) fn pop(&self, tid: u32, ancestor: Option<&Task>) -> Option<Arc<Task>> {
        let first = self.common.tasks.take(ancestor, End::Last);
        let Some(own) = self.slots.get(tid as usize).map(|slot| &slot.tasks) else { return first };
        first.or_else(|| own.take(ancestor, End::Last)).or_else(|| {
            // Beginning with the next thread: not all steal from the same one.
            let (before, after) = self.slots.split_at_checked(tid as usize)?;
            let mut others = after.iter().skip(1).chain(before).map(|slot| &slot.tasks);
            others.find_map(|other| match ancestor {
                Some(_) => other.take(ancestor, End::First),
                None => other.share(own),
            })
        })
    }
}

/// Which task of a queue is taken: the last is the one whose data is near, the first the one that
/// most others are to come from.
#[derive(Debug, Clone, Copy)]
enum End {
    First,
    Last,
}

impl Tasks {
    fn take(&self, ancestor: Option<&Task>, end: End) -> Option<Arc<Task>> {
        if self.length.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut ready = lock(&self.ready);
        let may = |task: &Arc<Task>| ancestor.is_none_or(|node| task.descends_from(node));
        let at = match end {
            End::First => ready.iter().position(may),
            End::Last => ready.iter().rposition(may),
        };
        let task = ready.remove(at?);
        self.length.store(ready.len(), Ordering::Relaxed);
        task
    }

    /// Takes the first task, and moves some of the following to the thief's own queue, so that it
    /// need not come back for each: at most half, for this thread has as much to do.
    fn share(&self, thief: &Self) -> Option<Arc<Task>> {
        if self.length.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut ready = lock(&self.ready);
        let count = ready.len().div_ceil(2).min(SHARED_MAX);
        // Never both locks at once: two thieves may steal from one another.
        let mut taken: [Option<Arc<Task>>; SHARED_MAX] = Default::default();
        taken.iter_mut().zip(ready.drain(..count)).for_each(|(place, task)| *place = Some(task));
        self.length.store(ready.len(), Ordering::Relaxed);
        drop(ready);
        let mut taken = taken.into_iter().flatten();
        let first = taken.next();
        if count > 1 {
            let mut own = lock(&thief.ready);
            own.extend(taken);
            thief.length.store(own.len(), Ordering::Relaxed);
            drop(own);
            thief.pushed.fetch_add(1, Ordering::SeqCst);
        }
        first
    }
}
