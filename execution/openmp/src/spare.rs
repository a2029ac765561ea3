//! Memory of tasks that are over, for later ones: what the host knew of them, and where they were
//! in the guest.
//!
//! A thread that runs the tasks of another gives their memory back to that one. It would otherwise
//! gather what the other lacks, and both would meet in the locks of two allocators.

use crate::{
    Guest, Result, Thread,
    line::Line,
    shared::{Shared, lock},
    task::{Place, Task},
    tasks::QUEUED_MAX,
};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

/// Tasks, and places in the guest, that a thread keeps of its own: as many as its queue may have.
const KEPT_MAX: usize = QUEUED_MAX;

/// Most bytes of a place that is kept.
const PLACE_BYTES_MAX: u32 = 1 << 10;

/// Tasks that are given back at once.
const GIVEN_AT_ONCE: usize = 16;

/// Tasks that wait for the thread that made them.
const RETURNED_MAX: usize = 256;

/// What a thread keeps.
#[derive(Default)]
pub(crate) struct Spare {
    tasks: Vec<Arc<Task>>,
    /// Sizes and addresses.
    places: Vec<(u32, u32)>,
    /// What it will give back to the thread that made the last of them.
    given: Vec<Returned>,
}

/// A task that nobody else holds, and its place in the guest.
pub(crate) type Returned = (Arc<Task>, Place);

/// Where others put what a thread has made.
#[derive(Default)]
pub(crate) struct Returns {
    length: AtomicUsize,
    tasks: Mutex<Vec<Returned>>,
}

/// One for each thread there may be.
pub(crate) fn returns(threads: u32) -> Box<[Line<Returns>]> {
    (0..threads).map(|_| Line::default()).collect()
}

impl Returns {
    /// Takes all of these, if there is room.
    fn put(&self, given: &mut Vec<Returned>) {
        let mut tasks = lock(&self.tasks);
        if tasks.len() + given.len() <= RETURNED_MAX {
            tasks.append(given);
            self.length.store(tasks.len(), Ordering::Relaxed);
        }
    }
}

impl Spare {
    /// Takes what others have given back to this thread.
    fn collect(&mut self, shared: &Shared, gtid: u32) {
        let Some(returns) = shared.returns.get(gtid as usize) else { return };
        if returns.length.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut tasks = lock(&returns.tasks);
        returns.length.store(0, Ordering::Relaxed);
        for (task, place) in tasks.drain(..) {
            self.tasks.push(task);
            self.places.push((place.bytes, place.address));
        }
    }

    fn place(&mut self, bytes: u32) -> Option<u32> {
        let at = self.places.iter().rposition(|(size, _)| *size == bytes)?;
        Some(self.places.swap_remove(at).1)
    }
}

impl Thread {
    /// Memory for a task.
    pub(crate) fn place(&self, guest: &mut dyn Guest, bytes: u32) -> Result<u32> {
        let mut spare = self.spare.borrow_mut();
        if let Some(address) = spare.place(bytes) {
            return Ok(address);
        }
        spare.collect(&self.shared, self.gtid);
        let found = spare.place(bytes);
        // Tasks of other sizes may have left more than is worth keeping.
        let excess = spare.places.len().saturating_sub(KEPT_MAX + RETURNED_MAX);
        let left: Vec<_> = spare.places.drain(..excess).collect();
        drop(spare);
        for (_, address) in left {
            guest.free(address)?;
        }
        match found {
            Some(address) => Ok(address),
            None => self.alloc(guest, bytes),
        }
    }

    /// A task that nobody else holds.
    pub(crate) fn spare_task(&self) -> Arc<Task> {
        let mut spare = self.spare.borrow_mut();
        if spare.tasks.is_empty() {
            spare.collect(&self.shared, self.gtid);
        }
        let task = spare.tasks.pop();
        task.unwrap_or_else(|| Arc::new(Task::implicit(self.icvs())))
    }

    /// Keeps the place of a task in the guest, or gives it to the guest's allocator.
    pub(crate) fn free_place(&self, guest: &mut dyn Guest, place: Place) -> Result<()> {
        let mut spare = self.spare.borrow_mut();
        if place.bytes <= PLACE_BYTES_MAX && spare.places.len() < KEPT_MAX {
            spare.places.push((place.bytes, place.address));
            return Ok(());
        }
        drop(spare);
        guest.free(place.address)
    }

    /// Keeps a task that nobody else holds, and its place; or has the thread that made it do so.
    pub(crate) fn free_task(
        &self,
        guest: &mut dyn Guest,
        task: Arc<Task>,
        place: Place,
    ) -> Result<()> {
        let maker = task.maker();
        if maker == self.gtid || place.bytes > PLACE_BYTES_MAX {
            let mut spare = self.spare.borrow_mut();
            if spare.tasks.len() < KEPT_MAX {
                spare.tasks.push(task);
            }
            drop(spare);
            return self.free_place(guest, place);
        }
        let mut spare = self.spare.borrow_mut();
        let given = &mut spare.given;
        let is_other = given.last().is_some_and(|(other, _)| other.maker() != maker);
        let mut left = Vec::new();
        if given.len() == GIVEN_AT_ONCE || is_other {
            self.give(given);
            // There may have been no room for them.
            left.append(given);
        }
        given.push((task, place));
        drop(spare);
        left.into_iter().try_for_each(|(_, place)| guest.free(place.address))
    }

    fn give(&self, given: &mut Vec<Returned>) {
        let maker = given.last().map_or(0, |(task, _)| task.maker());
        if let Some(returns) = self.shared.returns.get(maker as usize) {
            returns.put(given);
        }
    }
}
