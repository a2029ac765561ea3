//! Explicit tasks: their making, their execution, and waiting for them.

use crate::{
    Error, Guest, Result, Thread,
    config::SPINS_FEW,
    shared::lock,
    task::{Group, Kind, Place, Task},
    team::Team,
};
use std::sync::{Arc, atomic::Ordering};

/// Length of the part of a task that every compiler lays out alike: shared variables, entry,
/// part, and two words more.
pub(crate) const HEADER_BYTES: u32 = 20;
/// Where the entry is.
const ENTRY_AT: u32 = 4;
/// Where the function is that destroys copies of variables.
const DESTRUCTORS_AT: u32 = 12;
/// Where the priority is.
const PRIORITY_AT: u32 = 16;

/// Bits of a task's flags.
const FINAL: u32 = 2;
const DESTRUCTORS: u32 = 8;
const PRIORITY: u32 = 32;

/// Tasks that may wait in a thread's queue; further ones are run at once.
pub(crate) const QUEUED_MAX: usize = 256;

/// Tasks that a thread may be in and still run others that nobody waits for: ones it has no room
/// for, or has time for. Each takes a part of its stack.
const NESTED_MAX: usize = 64;

/// Tasks of a team that are not done; who makes more helps first.
const OUTSTANDING_MAX: usize = 1 << 16;

/// How many tasks a thread makes between two looks at how many there are.
const THROTTLE_EVERY: u64 = 64;

/// How often a thread looks for an end alone, before it looks for tasks that have come since: some
/// more may come with them.
const PATIENCE_MIN: u32 = 8;

/// How often a thread at most looks for an end alone, before it looks for tasks again. It is less
/// than any thread looks before it sleeps.
const PATIENCE_MAX: u32 = SPINS_FEW / 2;

/// Most bytes of a task: it is a frame's worth of variables.
const TASK_BYTES_MAX: u32 = 1 << 28;

/// A task that is in the guest's memory but not in the queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allocated {
    pub(crate) bytes: u32,
    pub(crate) header_bytes: u32,
    pub(crate) flags: u32,
}

impl Allocated {
    pub(crate) fn at(self, address: u32) -> Place {
        Place { address, bytes: self.bytes, flags: self.flags }
    }
}

/// Where no task is.
const NOT_ALLOCATED: &str = "it starts a task that it has not allocated";

impl Thread {
    /// `__kmpc_omp_task_alloc`: memory for a task, its header filled in.
    ///
    /// # Errors
    /// If there is none.
    pub fn task_alloc(
        &self,
        guest: &mut dyn Guest,
        flags: u32,
        task_bytes: u32,
        shared_bytes: u32,
        entry: u32,
    ) -> Result<u32> {
        if task_bytes < HEADER_BYTES || task_bytes.max(shared_bytes) > TASK_BYTES_MAX {
            return Err(Error::Misuse("a task has an impossible size"));
        }
        let header_bytes = task_bytes.next_multiple_of(8);
        let bytes = header_bytes + shared_bytes;
        let task = self.place(guest, bytes)?;
        let shared = if shared_bytes == 0 { 0 } else { task + header_bytes };
        let header = self.memory().words(task, HEADER_BYTES / 4)?;
        for (word, value) in header.iter().zip([shared, entry, 0, 0, 0]) {
            word.store(value.to_le(), Ordering::Relaxed);
        }
        self.allocated.borrow_mut().push((task, Allocated { bytes, header_bytes, flags }));
        Ok(task)
    }

    /// The task that was allocated there.
    pub(crate) fn claim(&self, task: u32) -> Result<Allocated> {
        let mut allocated = self.allocated.borrow_mut();
        // Nearly always it is the last one.
        match allocated.iter().rposition(|(address, _)| *address == task) {
            Some(at) => Ok(allocated.swap_remove(at).1),
            None => Err(Error::Misuse(NOT_ALLOCATED)),
        }
    }

    /// What is known of a task that was allocated there.
    pub(crate) fn allocated_at(&self, task: u32) -> Result<Allocated> {
        let unknown = Error::Misuse(NOT_ALLOCATED);
        let allocated = self.allocated.borrow();
        allocated.iter().rfind(|(address, _)| *address == task).map(|(_, it)| *it).ok_or(unknown)
    }

    /// A task of the one that the thread is in.
    pub(crate) fn child(
        &self,
        address: u32,
        allocated: Allocated,
        kind: Kind,
    ) -> Result<Arc<Task>> {
        let (place, is_final) = (allocated.at(address), allocated.flags & FINAL != 0);
        let priority = if allocated.flags & PRIORITY == 0 {
            0
        } else {
            let most = self.shared.config.max_task_priority;
            self.memory().u32(address + PRIORITY_AT)?.min(most)
        };
        let mut events = self.events.borrow_mut();
        let event = if events.is_empty() { None } else { events.remove(&address) };
        let mut task = self.spare_task();
        let own = Arc::get_mut(&mut task).expect("nobody else holds a spare one");
        self.frame(|frame| own.begin(frame.running(), (self.gtid, place), is_final, kind));
        (own.priority, own.event) = (priority, event);
        Ok(task)
    }

    /// `__kmpc_omp_task`: the task may run from now on. An untied task calls this for itself, and
    /// is then called again for its next part; always by the same thread, as a tied one.
    ///
    /// # Errors
    /// If it was not allocated here, and as for a task that it runs.
    pub fn task(&self, guest: &mut dyn Guest, task: u32) -> Result<()> {
        let is_own = self.frame(|frame| {
            let current = frame.running_mut();
            let is_own = current.task.place.address == task && task != 0;
            current.resumed |= is_own;
            is_own
        });
        if is_own {
            return Ok(());
        }
        let task = self.child(task, self.claim(task)?, Kind::Plain)?;
        self.submit(guest, task)
    }

    /// Calls a task's function, for each of its parts.
    fn call_task(&self, guest: &mut dyn Guest, task: u32) -> Result<()> {
        loop {
            let entry = self.memory().u32(task + ENTRY_AT)?;
            guest.call(entry, &[self.gtid, task], true)?;
            if !self.frame(|frame| std::mem::take(&mut frame.running_mut().resumed)) {
                return Ok(());
            }
        }
    }

    /// Queues a task whose predecessors are known, or runs it.
    pub(crate) fn submit(&self, guest: &mut dyn Guest, task: Arc<Task>) -> Result<()> {
        let (team, tid, nested) =
            self.frame(|frame| (frame.team.clone(), frame.tid, frame.nested()));
        let made = team.queue.count(Some(tid));
        if task.is_ordered() && task.unmet.fetch_sub(1, Ordering::AcqRel) > 1 {
            // Counting all of the team costs: not each time.
            let looks = made.is_multiple_of(THROTTLE_EVERY) && nested <= NESTED_MAX;
            return if looks { self.throttle(guest, &team) } else { Ok(()) };
        }
        let most = if nested <= NESTED_MAX { QUEUED_MAX } else { OUTSTANDING_MAX };
        if team.size == 1 || task.is_final || team.queue.length(tid) >= most {
            return self.run_task(guest, &team, task);
        }
        team.queue.push(Some(tid), task);
        team.gate.ring_after();
        Ok(())
    }

    /// Helps while there are too many tasks.
    fn throttle(&self, guest: &mut dyn Guest, team: &Team) -> Result<()> {
        let is_room = || team.queue.outstanding() < OUTSTANDING_MAX as u64;
        if is_room() {
            return Ok(());
        }
        let node = self.node();
        self.help(guest, Some(&node), is_room)
    }

    fn run_task(&self, guest: &mut dyn Guest, team: &Team, mut task: Arc<Task>) -> Result<()> {
        let cancelled =
            task.group.as_ref().is_some_and(|group| group.is_cancelled()) || team.is_cancelled();
        let depth = self.depth();
        Task::forget_done(&mut task);
        let (place, tid) = (task.place, self.tid());
        let nested = self.push_running(task);
        if !cancelled {
            self.call_task(guest, place.address)?;
        }
        if self.depth() != depth {
            return Err(Error::Misuse("a task leaves a region open"));
        }
        self.destroy(guest, place)?;
        let ended = Error::Misuse("a task completes the one that it is in");
        let mut task = self.pop_task(nested).ok_or(ended)?;
        let is_empty = match task.event.as_ref().filter(|_| !cancelled) {
            Some(event) => {
                event.ended(&task);
                false
            }
            None => complete(team, Some(tid), &mut task),
        };
        if is_empty { self.free_task(guest, task, place) } else { self.free_place(guest, place) }
    }

    /// Destroys a task's variables.
    fn destroy(&self, guest: &mut dyn Guest, place: Place) -> Result<()> {
        if place.flags & DESTRUCTORS != 0 {
            let destructors = self.memory().u32(place.address + DESTRUCTORS_AT)?;
            guest.call(destructors, &[self.gtid, place.address], true)?;
        }
        Ok(())
    }

    /// Destroys a task's variables and frees it.
    pub(crate) fn finish(&self, guest: &mut dyn Guest, place: Place) -> Result<()> {
        self.destroy(guest, place)?;
        self.free_place(guest, place)
    }

    /// Runs tasks until it is `done`; only those within `ancestor`, if there is one, for a tied
    /// task may not be held up by one that it does not wait for.
    ///
    /// Somebody can always go on: of the tasks that threads wait in, one that no other descends
    /// from waits for children of which one is ready, and its own thread may run that. And a
    /// thread that waits in a task is only ever in tasks around it: they nest no deeper than the
    /// program's tasks do.
    pub(crate) fn help(
        &self,
        guest: &mut dyn Guest,
        ancestor: Option<&Arc<Task>>,
        mut until: impl FnMut() -> bool,
    ) -> Result<()> {
        self.shared.check()?;
        if until() {
            return Ok(());
        }
        let (team, tid) = self.frame(|frame| (frame.team.clone(), frame.tid));
        let mut patience = PATIENCE_MIN;
        loop {
            let seen = team.queue.pushed();
            if let Some(task) = team.queue.pop(tid, ancestor.map(|node| &**node)) {
                patience = PATIENCE_MIN;
                if ancestor.is_none() {
                    // It may have taken more than this one, for a moment out of others' sight.
                    team.gate.ring_after();
                }
                self.run_task(guest, &team, task)?;
                self.shared.check()?;
                if until() {
                    return Ok(());
                }
                continue;
            }
            // One that finds only tasks that it may not run keeps away from others' queues.
            let (mut looks, patient) = (0, patience.min(team.spins()));
            let mut more = || {
                looks += 1;
                looks > patient && team.queue.pushed() != seen
            };
            let mut is_done = false;
            self.shared.wait(&team.gate, team.spins(), || {
                is_done = until();
                is_done || more()
            })?;
            if is_done {
                return Ok(());
            }
            patience = (patience * 2 + 1).min(PATIENCE_MAX);
        }
    }

    /// `__kmpc_omp_taskwait`: waits for the children of this task.
    ///
    /// # Errors
    /// If one of those it runs fails, or the program ends.
    pub fn taskwait(&self, guest: &mut dyn Guest) -> Result<()> {
        let node = self.node();
        self.help(guest, Some(&node), || !node.has_children())?;
        self.frame(|frame| frame.running_mut().depend = None);
        Ok(())
    }

    /// `__kmpc_omp_taskyield`: runs a task, if there is one.
    ///
    /// # Errors
    /// If it fails.
    pub fn taskyield(&self, guest: &mut dyn Guest) -> Result<()> {
        self.shared.check()?;
        let (team, tid, node, nested) = self.frame(|frame| {
            (frame.team.clone(), frame.tid, frame.running().task.clone(), frame.nested())
        });
        if nested > NESTED_MAX {
            return Ok(());
        }
        match team.queue.pop(tid, Some(&node)) {
            Some(task) => self.run_task(guest, &team, task),
            None => Ok(()),
        }
    }

    /// `__kmpc_omp_task_begin_if0`: this thread runs the task by its own call.
    ///
    /// # Errors
    /// If the task was not allocated here.
    pub fn task_begin_if0(&self, address: u32) -> Result<()> {
        let task = self.child(address, self.allocated_at(address)?, Kind::Undeferred)?;
        self.push_running(task);
        Ok(())
    }

    /// `__kmpc_omp_task_complete_if0`.
    ///
    /// # Errors
    /// If the task was not begun.
    pub fn task_complete_if0(&self, guest: &mut dyn Guest, task: u32) -> Result<()> {
        let place = self.claim(task)?.at(task);
        let (nested, resumed, event) = self.frame(|frame| {
            let (nested, running) = (frame.nested(), frame.running_mut());
            (nested, std::mem::take(&mut running.resumed), running.task.event.clone())
        });
        let not_begun = Error::Misuse("it completes a task that it has not begun");
        if nested < 2 {
            return Err(not_begun);
        }
        if resumed {
            self.call_task(guest, task)?;
        }
        if let Some(event) = &event {
            self.wait_for_event(guest, event)?;
        }
        let mut task = self.pop_task(nested - 1).ok_or(not_begun)?;
        task.finish();
        self.destroy(guest, place)?;
        match Task::empty(&mut task) {
            true => self.free_task(guest, task, place),
            false => self.free_place(guest, place),
        }
    }

    /// `__kmpc_taskgroup`: tasks from now on belong to a group.
    pub fn taskgroup(&self) {
        self.frame(|frame| {
            let group = &mut frame.running_mut().group;
            *group = Some(Group::within(group.take()));
        });
    }

    /// `__kmpc_end_taskgroup`: waits for all tasks of the group, and those within them.
    ///
    /// # Errors
    /// If there is no group, a task fails, or the program ends.
    pub fn end_taskgroup(&self, guest: &mut dyn Guest) -> Result<()> {
        let (team, node) = (self.team(), self.node());
        let none = Error::Misuse("it ends a task group that has not begun");
        let group = self.group().ok_or(none)?;
        self.help(guest, Some(&node), || group.members.load(Ordering::Acquire) == 0)?;
        self.combine(guest, &team, &group)?;
        self.frame(|frame| frame.running_mut().group.clone_from(&group.outer));
        Ok(())
    }
}

/// Ends a task, which thread `tid` of the team has run, if one has: those that waited for it
/// alone are ready. Says whether nobody else holds the task; it is then empty.
pub(crate) fn complete(team: &Team, tid: Option<u32>, task: &mut Arc<Task>) -> bool {
    let ordered = task.is_ordered();
    if ordered {
        let successors = lock(&task.successors).take().unwrap_or_default();
        for next in successors {
            if next.unmet.fetch_sub(1, Ordering::AcqRel) == 1 {
                team.queue.push(tid, next);
            }
        }
    }
    let is_empty = Task::leave(task);
    team.queue.uncount(tid);
    if ordered {
        team.gate.ring()
    } else {
        team.gate.ring_after()
    }
    is_empty
}
