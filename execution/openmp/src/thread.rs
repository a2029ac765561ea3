//! One thread of a program.

use crate::{
    Error, Guest, Memory, Result,
    config::Icvs,
    detach::Event,
    dispatch::Cursor,
    doacross::Doacross,
    reduce::Method,
    shared::{Mailbox, Shared, lock},
    tasks::{Allocated, Node},
    team::Team,
};
use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, VecDeque},
    sync::Arc,
};

/// Most regions and serial regions within one another.
const DEPTH_MAX: usize = 4096;

/// One thread of a program; its methods are the entry points that the program calls on it.
///
/// It belongs to one thread of the host. A guest that it is given is always that thread's.
pub struct Thread {
    pub(crate) shared: Arc<Shared>,
    /// The thread's number in the program.
    pub(crate) gtid: u32,
    frames: RefCell<Vec<Frame>>,
    /// Asked for by a clause for the next region.
    pub(crate) pushed_threads: Cell<u32>,
    /// Guest memory that holds (gtid, tid), one for each depth.
    slots: RefCell<Vec<u32>>,
    /// Tasks that were allocated but not yet given to the queue.
    pub(crate) allocated: RefCell<Vec<(u32, Allocated)>>,
    /// Memory of tasks that are over: size and address.
    pub(crate) spare_tasks: RefCell<Vec<(u32, u32)>>,
    /// Events of such tasks.
    pub(crate) events: RefCell<HashMap<u32, Arc<Event>>>,
    /// Teams, and threads in each, that a clause asks for.
    pub(crate) pushed_teams: Cell<(u32, u32)>,
    /// Threads that the first thread keeps, so that thread-private data stays with its number.
    pub(crate) crew: RefCell<Vec<Arc<Mailbox>>>,
    /// Teams and implicit tasks of regions that are over, to be used for the next ones: a region
    /// then asks for no memory, which another thread would give back.
    pub(crate) spare_teams: RefCell<VecDeque<Arc<Team>>>,
    spare_nodes: RefCell<Vec<Arc<Node>>>,
    /// Copies of variables that the compiler does not place in thread-local storage.
    pub(crate) private: RefCell<HashMap<u32, u32>>,
}

impl std::fmt::Debug for Thread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Thread").field("gtid", &self.gtid).finish_non_exhaustive()
    }
}

/// A region that a thread is in.
pub(crate) struct Frame {
    pub(crate) team: Arc<Team>,
    pub(crate) tid: u32,
    /// Begun by the compiler's call, and to be ended by one.
    pub(crate) serialised: bool,
    /// The implicit task, and explicit ones that run on top of it.
    pub(crate) nodes: Vec<Arc<Node>>,
    pub(crate) singles: u64,
    pub(crate) loops: u64,
    pub(crate) cursor: Option<Cursor>,
    pub(crate) doacross_loops: u64,
    pub(crate) doacross: Option<Doacross>,
    pub(crate) reduction: Option<Method>,
}

impl Frame {
    /// With a row of tasks to be used again, if there is one.
    fn new(
        team: Arc<Team>,
        tid: u32,
        serialised: bool,
        shared: &Shared,
        mut nodes: Vec<Arc<Node>>,
    ) -> Self {
        let icvs = team.work.icvs.at_level(team.active_level, &shared.config);
        match nodes.first_mut().and_then(Arc::get_mut) {
            Some(node) => *node = Node::implicit(icvs),
            None => nodes = vec![Arc::new(Node::implicit(icvs))],
        }
        Self {
            nodes,
            team,
            tid,
            serialised,
            singles: 0,
            loops: 0,
            cursor: None,
            doacross_loops: 0,
            doacross: None,
            reduction: None,
        }
    }

    pub(crate) fn node(&self) -> &Arc<Node> {
        self.nodes.last().expect("the implicit task is never taken away")
    }
}

impl Thread {
    pub(crate) fn new(shared: Arc<Shared>, gtid: u32, initial: Arc<Team>) -> Self {
        let frame = Frame::new(initial, 0, false, &shared, Vec::new());
        Self {
            shared,
            gtid,
            frames: RefCell::new(vec![frame]),
            pushed_threads: Cell::new(0),
            slots: RefCell::default(),
            allocated: RefCell::default(),
            spare_tasks: RefCell::default(),
            events: RefCell::default(),
            pushed_teams: Cell::new((0, 0)),
            crew: RefCell::default(),
            spare_teams: RefCell::default(),
            spare_nodes: RefCell::default(),
            private: RefCell::default(),
        }
    }

    /// Has these slots and copies of variables, from another run.
    pub(crate) fn take_own(&self, slots: &[u32], private: &[(u32, u32)]) {
        self.slots.replace(slots.to_vec());
        self.private.replace(private.iter().copied().collect());
    }

    pub(crate) fn memory(&self) -> &Memory {
        &self.shared.memory
    }

    /// Looks at the innermost region; must not call the guest.
    pub(crate) fn frame<R>(&self, look: impl FnOnce(&mut Frame) -> R) -> R {
        let mut frames = self.frames.borrow_mut();
        look(frames.last_mut().expect("the initial region is never left"))
    }

    pub(crate) fn team(&self) -> Arc<Team> {
        self.frame(|frame| frame.team.clone())
    }

    pub(crate) fn tid(&self) -> u32 {
        self.frame(|frame| frame.tid)
    }

    pub(crate) fn node(&self) -> Arc<Node> {
        self.frame(|frame| frame.node().clone())
    }

    pub(crate) fn icvs(&self) -> Icvs {
        self.frame(|frame| *lock(&frame.node().icvs))
    }

    pub(crate) fn set_icvs(&self, change: impl FnOnce(&mut Icvs)) {
        self.frame(|frame| change(&mut lock(&frame.node().icvs)));
    }

    fn push_frame(&self, team: Arc<Team>, tid: u32, serialised: bool) -> Result<usize> {
        let mut frames = self.frames.borrow_mut();
        let depth = frames.len();
        if depth >= DEPTH_MAX {
            return Err(Error::Limit { what: "nested regions", limit: DEPTH_MAX as u64 });
        }
        let nodes = self.spare_nodes.take();
        frames.push(Frame::new(team, tid, serialised, &self.shared, nodes));
        Ok(depth)
    }

    /// Enters a region that is run by this thread alone.
    pub(crate) fn push_serial(&self, team: Team) -> Result<()> {
        self.push_frame(Arc::new(team), 0, true).map(drop)
    }

    /// Leaves it.
    pub(crate) fn pop_serial(&self) -> Result<()> {
        let mut frames = self.frames.borrow_mut();
        let unbalanced = Error::Misuse("it ends a serial region that it is not in");
        match frames.last() {
            Some(frame) if frame.serialised => frames.pop().map(drop).ok_or(unbalanced),
            _ => Err(unbalanced),
        }
    }

    /// Runs a region as one of its threads, up to its end.
    pub(crate) fn run_member(
        &self,
        guest: &mut dyn Guest,
        team: Arc<Team>,
        tid: u32,
    ) -> Result<()> {
        let depth = self.push_frame(team.clone(), tid, false)?;
        let slot = self.slot(guest, depth)?;
        self.memory().put_u32(slot, self.gtid)?;
        self.memory().put_u32(slot + 4, tid)?;
        let count = team.work.args.len() + 2;
        let mut few = [slot, slot + 4, 0, 0, 0, 0, 0, 0, 0, 0];
        if count <= few.len() {
            few[2..count].copy_from_slice(&team.work.args);
            guest.call(team.work.microtask, &few[..count], false)?;
        } else {
            let args = [&[slot, slot + 4], &team.work.args[..]].concat();
            guest.call(team.work.microtask, &args, false)?;
        }
        // What a wrong program left open ends here.
        self.frames.borrow_mut().truncate(depth + 1);
        self.frame(|frame| frame.nodes.truncate(1));
        if team.size > 1 || team.queue.outstanding() > 0 {
            team.join();
            self.help(guest, &team, None, || team.is_over())?;
        }
        let mut frames = self.frames.borrow_mut();
        frames.truncate(depth + 1);
        if let Some(frame) = frames.pop() {
            self.spare_nodes.replace(frame.nodes);
        }
        Ok(())
    }

    fn slot(&self, guest: &mut dyn Guest, depth: usize) -> Result<u32> {
        while self.slots.borrow().len() <= depth {
            let slot = self.alloc(guest, 8)?;
            self.slots.borrow_mut().push(slot);
            self.shared.kept.slot(self.gtid, slot);
        }
        Ok(self.slots.borrow()[depth])
    }

    /// Memory from the guest's allocator, all of which exists.
    pub(crate) fn alloc(&self, guest: &mut dyn Guest, bytes: u32) -> Result<u32> {
        let address = guest.malloc(bytes)?;
        if address == 0 {
            return Err(Error::Memory { bytes });
        }
        self.memory().u8(address.saturating_add(bytes.saturating_sub(1)))?;
        Ok(address)
    }

    /// Enters an explicit task; gives the depth to come back to.
    pub(crate) fn push_node(&self, node: Arc<Node>) -> usize {
        self.frame(|frame| {
            frame.nodes.push(node);
            frame.nodes.len() - 1
        })
    }

    /// Back to the task at this depth.
    pub(crate) fn pop_nodes(&self, depth: usize) {
        self.frame(|frame| frame.nodes.truncate(depth.max(1)));
    }

    /// How many regions this thread is in, to notice unbalanced calls.
    pub(crate) fn depth(&self) -> usize {
        self.frames.borrow().len()
    }

    /// `__kmpc_barrier`: waits for all threads of the team, and does tasks meanwhile.
    ///
    /// # Errors
    /// If a task fails, the program ends, or the call is within a task.
    pub fn barrier(&self, guest: &mut dyn Guest) -> Result<()> {
        let (team, in_task) = self.frame(|frame| (frame.team.clone(), frame.nodes.len() > 1));
        if in_task {
            return Err(Error::Misuse("a barrier within a task"));
        }
        if team.size == 1 && team.queue.outstanding() == 0 {
            return Ok(());
        }
        let epoch = team.arrive();
        self.help(guest, &team, None, || team.passed(epoch) || team.is_cancelled())
    }
}
