//! What is known of a task: of a thread's implicit one in a region, or of an explicit one.

use crate::{
    config::Icvs, depend::Depend, detach::Event, shared::lock, task_reduction::Reductions,
};
use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
};

/// A task from when it is made until its children are done.
pub(crate) struct Task {
    /// The task that made it, or the nearest one around that is not done.
    parent: Option<Arc<Task>>,
    /// Whether the one that made it is done, so that nobody waits for its children.
    orphan: bool,
    /// Tasks around it when it was made.
    depth: u64,
    /// Children that are not done.
    children: AtomicUsize,
    done: AtomicBool,
    pub(crate) is_final: bool,
    /// Its settings when it begins.
    pub(crate) icvs: Icvs,
    /// The group it is a member of.
    pub(crate) group: Option<Arc<Group>>,
    pub(crate) place: Place,
    pub(crate) priority: u32,
    /// What must come besides its end.
    pub(crate) event: Option<Arc<Event>>,
    /// Tasks it waits for, and one while it is being made.
    pub(crate) unmet: AtomicU32,
    /// Tasks that wait for it; `None` if it is done, or declares no dependences.
    pub(crate) successors: Mutex<Option<Vec<Arc<Task>>>>,
    /// Whether it declares dependences.
    ordered: bool,
    /// The number of the thread that made it.
    maker: u32,
}

/// Where a task is in the guest's memory; the address is 0 if it is an implicit one.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Place {
    pub(crate) address: u32,
    pub(crate) bytes: u32,
    pub(crate) flags: u32,
}

/// What a task is to those around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It is waited for.
    Plain,
    /// It also declares dependences.
    Ordered,
    /// The thread that makes it runs it by its own call: nobody need wait.
    Undeferred,
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

/// A task that a thread has begun, with what that thread alone looks at.
pub(crate) struct Running {
    pub(crate) task: Arc<Task>,
    /// The group that its children belong to.
    pub(crate) group: Option<Arc<Group>>,
    pub(crate) icvs: Icvs,
    /// What its children have declared, if they have.
    pub(crate) depend: Option<Box<Depend>>,
    /// Whether it has asked to be called again for its next part.
    pub(crate) resumed: bool,
}

impl Drop for Task {
    fn drop(&mut self) {
        // A chain of tasks must not become a chain of calls.
        let mut parent = self.parent.take();
        while let Some(mut task) = parent.and_then(Arc::into_inner) {
            parent = task.parent.take();
        }
        let own = self.successors.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut waiting = own.take().unwrap_or_default();
        while let Some(task) = waiting.pop() {
            if let Some(task) = Arc::into_inner(task) {
                waiting.extend(lock(&task.successors).take().unwrap_or_default());
            }
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let mut outer = self.outer.take();
        while let Some(mut group) = outer.and_then(Arc::into_inner) {
            outer = group.outer.take();
        }
    }
}

/// Counts one more member in a group and those around it.
fn count(group: &Option<Arc<Group>>) {
    let mut group = group.as_ref();
    while let Some(counted) = group {
        counted.members.fetch_add(1, Ordering::Relaxed);
        group = counted.outer.as_ref();
    }
}

/// Counts one less, and one child less.
fn uncount(group: &Option<Arc<Group>>, parent: Option<&Arc<Task>>) {
    let mut group = group.as_ref();
    while let Some(counted) = group {
        counted.members.fetch_sub(1, Ordering::SeqCst);
        group = counted.outer.as_ref();
    }
    if let Some(parent) = parent {
        parent.children.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Task {
    /// The task of a thread in a region; also one that is still to become another.
    pub(crate) fn implicit(icvs: Icvs) -> Self {
        Self {
            parent: None,
            orphan: true,
            depth: 0,
            children: AtomicUsize::new(0),
            done: AtomicBool::new(false),
            is_final: false,
            icvs,
            group: None,
            place: Place::default(),
            priority: 0,
            event: None,
            unmet: AtomicU32::new(0),
            successors: Mutex::new(None),
            ordered: false,
            maker: 0,
        }
    }

    /// Makes an implicit task that of the thread's next region.
    pub(crate) fn renew(&mut self, icvs: Icvs) {
        self.icvs = icvs;
        *self.children.get_mut() = 0;
    }

    /// Makes an empty one a task that the running one of thread `maker` has made.
    pub(crate) fn begin(
        &mut self,
        parent: &Running,
        (maker, place): (u32, Place),
        is_final: bool,
        kind: Kind,
    ) {
        let (task, group) = (parent.task.clone(), &parent.group);
        if kind != Kind::Undeferred {
            // Who looks at the counts does so after this thread has said that it waits, or is
            // done. A thief that ends another child wants the same line: it gets it but once.
            task.children.fetch_add(1, Ordering::Relaxed);
            count(group);
        }
        self.depth = task.depth + 1;
        self.is_final = is_final || task.is_final;
        self.parent = Some(task);
        self.orphan = false;
        *self.children.get_mut() = 0;
        *self.done.get_mut() = false;
        self.icvs = parent.icvs;
        self.group.clone_from(group);
        (self.maker, self.place) = (maker, place);
        self.priority = 0;
        *self.unmet.get_mut() = 1;
        self.ordered = kind == Kind::Ordered;
        if self.ordered {
            self.successors = Mutex::new(Some(Vec::new()));
        }
    }

    pub(crate) fn maker(&self) -> u32 {
        self.maker
    }

    pub(crate) fn is_ordered(&self) -> bool {
        self.ordered
    }

    /// Whether it is not done when its function has returned.
    pub(crate) fn is_detached(&self) -> bool {
        self.event.is_some()
    }

    pub(crate) fn has_children(&self) -> bool {
        self.children.load(Ordering::Acquire) > 0
    }

    /// It is done, for all that wait for it. Whatever it wrote is seen by who finds it so; the
    /// counts are changed in a sequentially consistent way, as [`crate::gate::Gate::ring_after`]
    /// wants it. If nobody else holds the task it becomes empty; says whether it has.
    pub(crate) fn leave(task: &mut Arc<Task>) -> bool {
        task.finish();
        uncount(&task.group, task.parent.as_ref().filter(|_| !task.orphan));
        Self::empty(task)
    }

    /// Lets go of all that it holds, if nobody else holds it; says whether that is so. At once,
    /// while this thread still has what it has counted in.
    pub(crate) fn empty(task: &mut Arc<Self>) -> bool {
        let Some(own) = Arc::get_mut(task) else { return false };
        own.parent = None;
        own.group = None;
        own.event = None;
        true
    }

    /// No thread will be in it any more.
    pub(crate) fn finish(&self) {
        self.done.store(true, Ordering::Release);
    }

    /// Forgets tasks around it that are done, so that a chain of tasks, each made by the one
    /// before, does not stay in memory.
    ///
    /// To be called before it begins: then it has no children, through which others look at the
    /// tasks around it. Whoever else holds it, a predecessor that just ended, keeps it as it is.
    pub(crate) fn forget_done(task: &mut Arc<Task>) {
        let is_done = |task: &Arc<Task>| task.done.load(Ordering::Acquire);
        if !task.parent.as_ref().is_some_and(is_done) {
            return;
        }
        if let Some(task) = Arc::get_mut(task) {
            task.orphan = true;
            while let Some(parent) = task.parent.take_if(|parent| is_done(parent)) {
                task.parent.clone_from(&parent.parent);
            }
        }
    }

    /// Whether it was made by `ancestor`, or by a task that descends from it. One that is waited
    /// in is not done, so nobody has forgotten it.
    pub(crate) fn descends_from(&self, ancestor: &Task) -> bool {
        let mut at = self.parent.as_ref();
        while let Some(task) = at {
            if task.depth <= ancestor.depth {
                return std::ptr::eq(&**task, ancestor);
            }
            at = task.parent.as_ref();
        }
        false
    }
}

impl Running {
    pub(crate) fn new(task: Arc<Task>) -> Self {
        Self { group: task.group.clone(), icvs: task.icvs, task, depend: None, resumed: false }
    }

    /// Makes it an implicit task that begins.
    pub(crate) fn renew(&mut self, icvs: Icvs) {
        // Those that are in there hold the task that made them.
        self.depend = None;
        match Arc::get_mut(&mut self.task) {
            Some(task) => task.renew(icvs),
            None => self.task = Arc::new(Task::implicit(icvs)),
        }
        self.group = None;
        self.icvs = icvs;
        self.resumed = false;
    }
}

impl Group {
    pub(crate) fn within(outer: Option<Arc<Group>>) -> Arc<Self> {
        let mut group = Self::default();
        group.outer = outer;
        Arc::new(group)
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }
}
