//! Explicit tasks: their queue, their execution, and waiting for them.

use crate::{
    Error, Guest, Result, Thread, config::Icvs, depend::Depend, detach::Event, shared::lock,
    task_reduction::Reductions, team::Team,
};
use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
};

/// Length of the part of a task that every compiler lays out alike: shared variables, entry,
/// part, and two words more.
pub(crate) const HEADER_BYTES: u32 = 20;
/// Where the entry is.
const ENTRY_AT: u32 = 4;
const PART_AT: u32 = 8;
/// Where the function is that destroys copies of variables.
const DESTRUCTORS_AT: u32 = 12;
/// Where the priority is.
const PRIORITY_AT: u32 = 16;

/// Bits of a task's flags.
const FINAL: u32 = 2;
const DESTRUCTORS: u32 = 8;
const PRIORITY: u32 = 32;

/// Tasks that may wait in the queue for each thread; further ones are run at once.
const QUEUED_PER_THREAD: usize = 256;

/// Tasks of a team that are not done; who makes more helps first.
const OUTSTANDING_MAX: usize = 1 << 16;

/// Most bytes of a task: it is a frame's worth of variables.
const TASK_BYTES_MAX: u32 = 1 << 28;

/// A task region: what its children and waits need to know.
pub(crate) struct Node {
    parent: Mutex<Option<Arc<Node>>>,
    /// Children that are not done.
    children: AtomicUsize,
    /// The group that its children belong to.
    pub(crate) group: Mutex<Option<Arc<Group>>>,
    pub(crate) depend: Mutex<Depend>,
    pub(crate) is_final: bool,
    done: AtomicBool,
    /// Whether its own parent is done, and `parent` another.
    orphan: AtomicBool,
    /// Where the task is in the guest's memory; 0 if it is an implicit one.
    address: u32,
    /// Whether the task has asked to be called again for its next part.
    resumed: AtomicBool,
    pub(crate) icvs: Mutex<Icvs>,
}

/// A group of tasks that are waited for together.
#[derive(Default)]
pub(crate) struct Group {
    /// Members that are not done.
    pub(crate) members: AtomicUsize,
    pub(crate) cancelled: AtomicBool,
    pub(crate) outer: Option<Arc<Group>>,
    pub(crate) reductions: Mutex<Vec<Arc<Reductions>>>,
}

/// A task that is in the guest's memory but not in the queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allocated {
    pub(crate) bytes: u32,
    pub(crate) header_bytes: u32,
    pub(crate) flags: u32,
}

/// Memory of tasks that a thread keeps for later ones, and the most that one may have.
const SPARE_TASKS_MAX: usize = 32;
const SPARE_BYTES_MAX: u32 = 1 << 10;

/// A task that is to be run.
pub(crate) struct Task {
    pub(crate) address: u32,
    bytes: u32,
    flags: u32,
    priority: u32,
    pub(crate) node: Arc<Node>,
    group: Option<Arc<Group>>,
    /// What must come besides its end.
    event: Option<Arc<Event>>,
    /// Tasks it waits for, and one while it is being made.
    pub(crate) unmet: AtomicU32,
    /// Tasks that wait for it; `None` once it is done.
    pub(crate) successors: Mutex<Option<Vec<Arc<Task>>>>,
}

impl Task {
    /// Whether it is not done when its function has returned.
    pub(crate) fn is_detached(&self) -> bool {
        self.event.is_some()
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        // A chain of tasks must not become a chain of calls.
        let mut waiting = lock(&self.successors).take().unwrap_or_default();
        while let Some(task) = waiting.pop() {
            if let Some(task) = Arc::into_inner(task) {
                waiting.extend(lock(&task.successors).take().unwrap_or_default());
            }
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let mut parent = lock(&self.parent).take();
        while let Some(node) = parent.and_then(Arc::into_inner) {
            parent = lock(&node.parent).take();
        }
    }
}

impl Node {
    fn new(
        parent: Option<Arc<Node>>,
        group: Option<Arc<Group>>,
        (address, is_final): (u32, bool),
        icvs: Icvs,
    ) -> Self {
        Self {
            parent: Mutex::new(parent),
            children: AtomicUsize::new(0),
            group: Mutex::new(group),
            depend: Mutex::default(),
            is_final,
            done: AtomicBool::new(false),
            orphan: AtomicBool::new(false),
            address,
            resumed: AtomicBool::new(false),
            icvs: Mutex::new(icvs),
        }
    }

    /// The task region of a thread in a region.
    pub(crate) fn implicit(icvs: Icvs) -> Self {
        Self::new(None, None, (0, false), icvs)
    }

    pub(crate) fn child(parent: &Arc<Node>, address: u32, is_final: bool) -> Arc<Self> {
        let group = lock(&parent.group).clone();
        let icvs = *lock(&parent.icvs);
        let is_final = is_final || parent.is_final;
        Arc::new(Self::new(Some(parent.clone()), group, (address, is_final), icvs))
    }

    /// The nearest task around it that is not done; forgets those that are.
    fn living_parent(&self) -> Option<Arc<Node>> {
        let mut parent = lock(&self.parent);
        while let Some(node) = parent.take() {
            if !node.done.load(Ordering::Acquire) {
                *parent = Some(node);
                break;
            }
            self.orphan.store(true, Ordering::Release);
            let above = lock(&node.parent).clone();
            *parent = above;
        }
        parent.clone()
    }

    fn descends_from(self: &Arc<Self>, ancestor: &Arc<Node>) -> bool {
        let mut at = self.living_parent();
        while let Some(node) = at {
            if Arc::ptr_eq(&node, ancestor) {
                return true;
            }
            at = node.living_parent();
        }
        false
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        lock(&self.group).as_ref().is_some_and(|group| group.is_cancelled())
    }

    pub(crate) fn has_children(&self) -> bool {
        self.children.load(Ordering::Acquire) > 0
    }
}

impl Group {
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }
}

/// The tasks of a team that are ready, and how many are not done.
#[derive(Default)]
pub(crate) struct Queue {
    ready: Mutex<VecDeque<Arc<Task>>>,
    length: AtomicUsize,
    outstanding: AtomicUsize,
    /// Grows with each task that becomes ready.
    version: AtomicU64,
}

impl Queue {
    pub(crate) fn outstanding(&self) -> usize {
        self.outstanding.load(Ordering::Acquire)
    }

    fn push(&self, task: Arc<Task>) {
        let mut ready = lock(&self.ready);
        // The last made is taken first, and the more urgent before it.
        let at = match task.priority {
            0 if ready.back().is_none_or(|last| last.priority == 0) => ready.len(),
            priority => ready.partition_point(|other| other.priority <= priority),
        };
        ready.insert(at, task);
        self.length.store(ready.len(), Ordering::Release);
        self.version.fetch_add(1, Ordering::Release);
    }

    /// A task to run; one within `ancestor`, if there is one.
    fn pop(&self, ancestor: Option<&Arc<Node>>) -> Option<Arc<Task>> {
        if self.length.load(Ordering::Acquire) == 0 {
            return None;
        }
        let mut ready = lock(&self.ready);
        let at = match ancestor {
            None => ready.len().checked_sub(1)?,
            Some(node) => ready.iter().rposition(|task| task.node.descends_from(node))?,
        };
        let task = ready.remove(at);
        self.length.store(ready.len(), Ordering::Release);
        task
    }
}

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
        let task = match self.spare_task(bytes) {
            Some(task) => task,
            None => self.alloc(guest, bytes)?,
        };
        let memory = self.memory();
        memory.clear(task, HEADER_BYTES)?;
        memory.put_u32(task, if shared_bytes == 0 { 0 } else { task + header_bytes })?;
        memory.put_u32(task + ENTRY_AT, entry)?;
        memory.put_u32(task + PART_AT, 0)?;
        self.allocated.borrow_mut().push((task, Allocated { bytes, header_bytes, flags }));
        Ok(task)
    }

    /// The task that was allocated there.
    pub(crate) fn claim(&self, task: u32) -> Result<Allocated> {
        let unknown = Error::Misuse("it starts a task that it has not allocated");
        let mut allocated = self.allocated.borrow_mut();
        // Nearly always it is the last one.
        let at = allocated.iter().rposition(|(address, _)| *address == task).ok_or(unknown)?;
        Ok(allocated.swap_remove(at).1)
    }

    /// What is known of a task that was allocated there.
    pub(crate) fn allocated_at(&self, task: u32) -> Result<Allocated> {
        let unknown = Error::Misuse("it starts a task that it has not allocated");
        let allocated = self.allocated.borrow();
        allocated.iter().rfind(|(address, _)| *address == task).map(|(_, it)| *it).ok_or(unknown)
    }

    /// The memory of a task of this size that is over.
    fn spare_task(&self, bytes: u32) -> Option<u32> {
        let mut spare = self.spare_tasks.borrow_mut();
        let at = spare.iter().rposition(|(size, _)| *size == bytes)?;
        Some(spare.swap_remove(at).1)
    }

    /// Keeps a task's memory for a later one, or gives it back.
    fn free_task(&self, guest: &mut dyn Guest, task: u32, bytes: u32) -> Result<()> {
        let mut spare = self.spare_tasks.borrow_mut();
        if bytes <= SPARE_BYTES_MAX && spare.len() < SPARE_TASKS_MAX {
            spare.push((bytes, task));
            return Ok(());
        }
        drop(spare);
        guest.free(task)
    }

    pub(crate) fn make(&self, address: u32, allocated: Allocated) -> Result<Arc<Task>> {
        let parent = self.node();
        let priority = if allocated.flags & PRIORITY == 0 {
            0
        } else {
            let most = self.shared.config.max_task_priority;
            self.memory().u32(address + PRIORITY_AT)?.min(most)
        };
        let node = Node::child(&parent, address, allocated.flags & FINAL != 0);
        let group = lock(&parent.group).clone();
        Ok(Arc::new(Task {
            address,
            bytes: allocated.bytes,
            flags: allocated.flags,
            priority,
            node,
            group,
            event: self.events.borrow_mut().remove(&address),
            unmet: AtomicU32::new(1),
            successors: Mutex::new(Some(Vec::new())),
        }))
    }

    /// `__kmpc_omp_task`: the task may run from now on. An untied task calls this for itself, and
    /// is then called again for its next part; always by the same thread, as a tied one.
    ///
    /// # Errors
    /// If it was not allocated here, and as for a task that it runs.
    pub fn task(&self, guest: &mut dyn Guest, task: u32) -> Result<()> {
        let is_own = self.frame(|frame| {
            let current = frame.node();
            let is_own = current.address == task && task != 0;
            if is_own {
                current.resumed.store(true, Ordering::Relaxed);
            }
            is_own
        });
        if is_own {
            return Ok(());
        }
        let task = self.make(task, self.claim(task)?)?;
        self.submit(guest, task)
    }

    /// Calls a task's function, for each of its parts.
    fn call_task(&self, guest: &mut dyn Guest, task: u32, node: &Node) -> Result<()> {
        loop {
            let entry = self.memory().u32(task + ENTRY_AT)?;
            guest.call(entry, &[self.gtid, task], true)?;
            if !node.resumed.swap(false, Ordering::Relaxed) {
                return Ok(());
            }
        }
    }

    /// Queues a task whose predecessors are known, or runs it.
    pub(crate) fn submit(&self, guest: &mut dyn Guest, task: Arc<Task>) -> Result<()> {
        let (team, parent) = self.frame(|frame| (frame.team.clone(), frame.node().clone()));
        count(&parent, &team, &task);
        if task.unmet.fetch_sub(1, Ordering::AcqRel) > 1 {
            return self.throttle(guest, &team, &parent);
        }
        let room = team.size as usize * QUEUED_PER_THREAD;
        let at_once = team.size == 1
            || parent.is_final
            || task.node.is_final
            || team.queue.length.load(Ordering::Relaxed) >= room;
        if at_once {
            return self.run_task(guest, &team, &task);
        }
        team.queue.push(task);
        team.gate.ring();
        Ok(())
    }

    /// Helps while there are too many tasks.
    fn throttle(&self, guest: &mut dyn Guest, team: &Arc<Team>, node: &Arc<Node>) -> Result<()> {
        if team.queue.outstanding() < OUTSTANDING_MAX {
            return Ok(());
        }
        self.help(guest, team, Some(node), || team.queue.outstanding() < OUTSTANDING_MAX)
    }

    fn run_task(&self, guest: &mut dyn Guest, team: &Arc<Team>, task: &Arc<Task>) -> Result<()> {
        let cancelled = task.group.as_ref().is_some_and(|group| group.is_cancelled())
            || team.cancelled.load(Ordering::Relaxed) == 1;
        let depth = self.depth();
        let node_depth = self.push_node(task.node.clone());
        // Those above that are done need not be remembered.
        task.node.living_parent();
        if !cancelled {
            self.call_task(guest, task.address, &task.node)?;
        }
        if self.depth() != depth {
            return Err(Error::Misuse("a task leaves a region open"));
        }
        self.finish(guest, task.address, task.bytes, task.flags)?;
        self.pop_nodes(node_depth);
        match &task.event {
            Some(event) if !cancelled => event.ended(task),
            _ => complete(team, task),
        }
        Ok(())
    }

    /// Destroys a task's variables and frees it.
    pub(crate) fn finish(
        &self,
        guest: &mut dyn Guest,
        task: u32,
        bytes: u32,
        flags: u32,
    ) -> Result<()> {
        if flags & DESTRUCTORS != 0 {
            let destructors = self.memory().u32(task + DESTRUCTORS_AT)?;
            guest.call(destructors, &[self.gtid, task], true)?;
        }
        self.free_task(guest, task, bytes)
    }

    /// Runs tasks until it is `done`; only those within `ancestor`, if there is one, for a tied
    /// task may not be held up by one that it does not wait for.
    pub(crate) fn help(
        &self,
        guest: &mut dyn Guest,
        team: &Arc<Team>,
        ancestor: Option<&Arc<Node>>,
        mut until: impl FnMut() -> bool,
    ) -> Result<()> {
        let queue = &team.queue;
        loop {
            self.shared.check()?;
            if until() {
                return Ok(());
            }
            let seen = queue.version.load(Ordering::Acquire);
            if let Some(task) = queue.pop(ancestor) {
                self.run_task(guest, team, &task)?;
                continue;
            }
            let more = || queue.version.load(Ordering::Acquire) != seen;
            self.shared.wait(&team.gate, team.spins, || until() || more())?;
        }
    }

    /// `__kmpc_omp_taskwait`: waits for the children of this task.
    ///
    /// # Errors
    /// If one of those it runs fails, or the program ends.
    pub fn taskwait(&self, guest: &mut dyn Guest) -> Result<()> {
        let (team, node) = self.frame(|frame| (frame.team.clone(), frame.node().clone()));
        self.help(guest, &team, Some(&node), || !node.has_children())?;
        lock(&node.depend).clear();
        Ok(())
    }

    /// `__kmpc_omp_taskyield`: runs a task, if there is one.
    ///
    /// # Errors
    /// If it fails.
    pub fn taskyield(&self, guest: &mut dyn Guest) -> Result<()> {
        self.shared.check()?;
        let (team, node) = self.frame(|frame| (frame.team.clone(), frame.node().clone()));
        match team.queue.pop(Some(&node)) {
            Some(task) => self.run_task(guest, &team, &task),
            None => Ok(()),
        }
    }

    /// `__kmpc_omp_task_begin_if0`: this thread runs the task by its own call.
    ///
    /// # Errors
    /// If the task was not allocated here.
    pub fn task_begin_if0(&self, address: u32) -> Result<()> {
        let known = self.allocated_at(address)?;
        self.push_node(Node::child(&self.node(), address, known.flags & FINAL != 0));
        Ok(())
    }

    /// `__kmpc_omp_task_complete_if0`.
    ///
    /// # Errors
    /// If the task was not begun.
    pub fn task_complete_if0(&self, guest: &mut dyn Guest, task: u32) -> Result<()> {
        let allocated = self.claim(task)?;
        let nodes = self.frame(|frame| frame.nodes.len());
        if nodes < 2 {
            return Err(Error::Misuse("it completes a task that it has not begun"));
        }
        let node = self.node();
        if node.resumed.swap(false, Ordering::Relaxed) {
            self.call_task(guest, task, &node)?;
        }
        let event = self.events.borrow_mut().remove(&task);
        if let Some(event) = event {
            self.wait_for_event(guest, &event)?;
        }
        node.done.store(true, Ordering::Release);
        self.pop_nodes(nodes - 1);
        self.finish(guest, task, allocated.bytes, allocated.flags)
    }

    /// `__kmpc_taskgroup`: tasks from now on belong to a group.
    pub fn taskgroup(&self) {
        let node = self.node();
        let mut group = lock(&node.group);
        let outer = group.take();
        *group = Some(Arc::new(Group { outer, ..Group::default() }));
    }

    /// `__kmpc_end_taskgroup`: waits for all tasks of the group, and those within them.
    ///
    /// # Errors
    /// If there is no group, a task fails, or the program ends.
    pub fn end_taskgroup(&self, guest: &mut dyn Guest) -> Result<()> {
        let (team, node) = self.frame(|frame| (frame.team.clone(), frame.node().clone()));
        let none = Error::Misuse("it ends a task group that has not begun");
        let group = lock(&node.group).clone().ok_or(none)?;
        let complete = || group.members.load(Ordering::Acquire) == 0;
        self.help(guest, &team, Some(&node), complete)?;
        self.combine(guest, &team, &group)?;
        lock(&node.group).clone_from(&group.outer);
        Ok(())
    }
}

/// Ends a task: those that waited for it alone are ready.
pub(crate) fn complete(team: &Team, task: &Task) {
    for next in done(team, task) {
        team.queue.push(next);
    }
    team.gate.ring();
}

/// Counts a task as not done.
fn count(parent: &Node, team: &Team, task: &Task) {
    parent.children.fetch_add(1, Ordering::AcqRel);
    team.queue.outstanding.fetch_add(1, Ordering::AcqRel);
    let mut group = task.group.as_ref();
    while let Some(counted) = group {
        counted.members.fetch_add(1, Ordering::AcqRel);
        group = counted.outer.as_ref();
    }
}

/// Counts it as done; gives those that only waited for it.
fn done(team: &Team, task: &Task) -> Vec<Arc<Task>> {
    let successors = lock(&task.successors).take().unwrap_or_default();
    let ready: Vec<_> = successors
        .into_iter()
        .filter(|next| next.unmet.fetch_sub(1, Ordering::AcqRel) == 1)
        .collect();
    task.node.done.store(true, Ordering::Release);
    let mut group = task.group.as_ref();
    while let Some(counted) = group {
        counted.members.fetch_sub(1, Ordering::AcqRel);
        group = counted.outer.as_ref();
    }
    // If its own parent is gone, nobody waits for that one's children.
    if let Some(parent) = task.node.living_parent()
        && !task.node.orphan.load(Ordering::Acquire)
    {
        parent.children.fetch_sub(1, Ordering::AcqRel);
    }
    team.queue.outstanding.fetch_sub(1, Ordering::AcqRel);
    ready
}
