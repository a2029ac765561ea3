//! One thread of a program.

use crate::{
    Error, Guest, Memory, Result,
    config::Icvs,
    detach::Event,
    dispatch::Cursor,
    doacross::Doacross,
    fork::{Crew, Hot},
    mailbox::{OwnTeam, Work},
    reduce::Method,
    shared::Shared,
    spare::Spare,
    task::{Group, Running, Task},
    tasks::Allocated,
    team::Team,
};
use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
};

/// Most regions and serial regions within one another.
const DEPTH_MAX: usize = 4096;

/// How often a thread looks for its next region alone, before it looks whether the last is over.
const SOON: u32 = 64;

/// Frames that a thread keeps: as many as regions are usually within one another.
const SPARE_FRAMES_MAX: usize = 4;

/// One thread of a program; its methods are the entry points that the program calls on it.
///
/// It belongs to one thread of the host. A guest that it is given is always that thread's.
pub struct Thread {
    pub(crate) shared: Arc<Shared>,
    /// The thread's number in the program.
    pub(crate) gtid: u32,
    #[expect(clippy::vec_box, reason = "they are large, and come and go with each region")]
    frames: RefCell<Vec<Box<Frame>>>,
    /// Asked for by a clause for the next region.
    pub(crate) pushed_threads: Cell<u32>,
    /// Guest memory that holds (gtid, tid), one for each depth.
    slots: RefCell<Vec<u32>>,
    /// Tasks that were allocated but not yet given to the queue.
    pub(crate) allocated: RefCell<Vec<(u32, Allocated)>>,
    /// Memory of tasks that are over.
    pub(crate) spare: RefCell<Spare>,
    /// Events of tasks that were allocated.
    pub(crate) events: RefCell<HashMap<u32, Arc<Event>>>,
    /// Teams, and threads in each, that a clause asks for.
    pub(crate) pushed_teams: Cell<(u32, u32)>,
    /// Threads that the first thread keeps, so that thread-private data stays with its number.
    pub(crate) crew: RefCell<Crew>,
    /// Teams of regions that are over, for those that follow: they then ask for no memory, which
    /// another thread would give back, and its threads know them.
    pub(crate) teams: RefCell<Vec<Hot>>,
    /// Frames of regions that are over, likewise.
    #[expect(clippy::vec_box, reason = "as for those in use")]
    spare_frames: RefCell<Vec<Box<Frame>>>,
    /// Copies of variables that the compiler does not place in thread-local storage.
    pub(crate) private: RefCell<HashMap<u32, u32>>,
}

impl std::fmt::Debug for Thread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Thread").field("gtid", &self.gtid).finish_non_exhaustive()
    }
}

/// A thread's part in a region.
pub(crate) struct Member {
    pub(crate) team: OwnTeam,
    pub(crate) tid: u32,
    /// The team's count of threads that are through, once all are through with this region.
    pub(crate) goal: u32,
}

/// A region that a thread is in.
pub(crate) struct Frame {
    pub(crate) team: OwnTeam,
    pub(crate) tid: u32,
    /// Begun by the compiler's call, and to be ended by one.
    pub(crate) serialised: bool,
    /// The implicit task, and explicit ones that run on top of it.
    running: Vec<Running>,
    pub(crate) singles: u64,
    pub(crate) loops: u64,
    pub(crate) cursor: Option<Cursor>,
    pub(crate) doacross_loops: u64,
    pub(crate) doacross: Option<Doacross>,
    pub(crate) reduction: Option<Method>,
}

impl Frame {
    fn new(team: OwnTeam, tid: u32, serialised: bool, shared: &Shared) -> Self {
        let icvs = team.icvs.at_level(team.active_level, &shared.config);
        Self {
            running: vec![Running::new(Arc::new(Task::implicit(icvs)))],
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

    /// Makes it that of another region.
    fn renew(&mut self, team: OwnTeam, tid: u32, serialised: bool, shared: &Shared) {
        let icvs = team.icvs.at_level(team.active_level, &shared.config);
        self.running.truncate(1);
        match self.running.first_mut() {
            Some(implicit) => implicit.renew(icvs),
            None => self.running.push(Running::new(Arc::new(Task::implicit(icvs)))),
        }
        self.team = team;
        self.tid = tid;
        self.serialised = serialised;
        (self.singles, self.loops, self.doacross_loops) = (0, 0, 0);
        (self.cursor, self.doacross, self.reduction) = (None, None, None);
    }

    /// The task that the thread is in.
    pub(crate) fn running(&self) -> &Running {
        self.running.last().expect("the implicit task is never taken away")
    }

    pub(crate) fn running_mut(&mut self) -> &mut Running {
        self.running.last_mut().expect("the implicit task is never taken away")
    }

    /// How many tasks it is in, the implicit one among them.
    pub(crate) fn nested(&self) -> usize {
        self.running.len()
    }
}

impl Thread {
    pub(crate) fn new(shared: Arc<Shared>, gtid: u32, initial: Team) -> Self {
        let initial = Rc::new(Arc::new(initial));
        let frame = Box::new(Frame::new(initial, 0, false, &shared));
        Self {
            shared,
            gtid,
            frames: RefCell::new(vec![frame]),
            pushed_threads: Cell::new(0),
            slots: RefCell::default(),
            allocated: RefCell::default(),
            spare: RefCell::default(),
            events: RefCell::default(),
            pushed_teams: Cell::new((0, 0)),
            crew: RefCell::default(),
            teams: RefCell::default(),
            spare_frames: RefCell::default(),
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
    #[inline]
    pub(crate) fn frame<R>(&self, look: impl FnOnce(&mut Frame) -> R) -> R {
        let mut frames = self.frames.borrow_mut();
        look(frames.last_mut().expect("the initial region is never left"))
    }

    pub(crate) fn team(&self) -> OwnTeam {
        self.frame(|frame| frame.team.clone())
    }

    pub(crate) fn tid(&self) -> u32 {
        self.frame(|frame| frame.tid)
    }

    /// The task that the thread is in.
    pub(crate) fn node(&self) -> Arc<Task> {
        self.frame(|frame| frame.running().task.clone())
    }

    /// The group that tasks made now belong to.
    pub(crate) fn group(&self) -> Option<Arc<Group>> {
        self.frame(|frame| frame.running().group.clone())
    }

    pub(crate) fn icvs(&self) -> Icvs {
        self.frame(|frame| frame.running().icvs)
    }

    pub(crate) fn set_icvs(&self, change: impl FnOnce(&mut Icvs)) {
        self.frame(|frame| change(&mut frame.running_mut().icvs));
    }

    fn push_frame(&self, team: OwnTeam, tid: u32, serialised: bool) -> Result<usize> {
        let mut frames = self.frames.borrow_mut();
        let depth = frames.len();
        if depth >= DEPTH_MAX {
            return Err(Error::Limit { what: "nested regions", limit: DEPTH_MAX as u64 });
        }
        let spare = self.spare_frames.borrow_mut().pop();
        frames.push(match spare {
            Some(mut frame) => {
                frame.renew(team, tid, serialised, &self.shared);
                frame
            }
            None => Box::new(Frame::new(team, tid, serialised, &self.shared)),
        });
        Ok(depth)
    }

    /// Enters a region that is run by this thread alone.
    pub(crate) fn push_serial(&self, team: OwnTeam) -> Result<()> {
        self.push_frame(team, 0, true).map(drop)
    }

    /// Leaves it.
    pub(crate) fn pop_serial(&self) -> Result<()> {
        let mut frames = self.frames.borrow_mut();
        let unbalanced = Error::Misuse("it ends a serial region that it is not in");
        let serial = frames.pop_if(|frame| frame.serialised).ok_or(unbalanced)?;
        self.keep_frame(serial);
        Ok(())
    }

    /// Keeps the frame of a region that is over for another.
    fn keep_frame(&self, frame: Box<Frame>) {
        let mut spare = self.spare_frames.borrow_mut();
        if spare.len() < SPARE_FRAMES_MAX {
            spare.push(frame);
        }
    }

    /// Runs a region as one of its threads, up to its end, or until `next` says that this thread
    /// has another region.
    pub(crate) fn run_member(
        &self,
        guest: &mut dyn Guest,
        member: &Member,
        work: &Work,
        next: impl Fn() -> bool,
    ) -> Result<()> {
        let Member { team, tid, goal } = member;
        let depth = self.push_frame(team.clone(), *tid, false)?;
        let slot = self.slot(guest, depth)?;
        self.call_microtask(guest, work, (slot, *tid))?;
        // What a wrong program left open ends here.
        self.frames.borrow_mut().truncate(depth + 1);
        self.pop_running(1);
        if *tid == 0 {
            self.help(guest, None, || team.is_complete(*goal))?;
            team.end(*goal);
        } else {
            team.join(*goal);
            self.wait_for_end(guest, member, next)?;
        }
        let mut frames = self.frames.borrow_mut();
        frames.truncate(depth + 1);
        if let Some(frame) = frames.pop() {
            self.keep_frame(frame);
        }
        Ok(())
    }

    /// Helps with what is left of a region, until it is over or there is a next one.
    fn wait_for_end(
        &self,
        guest: &mut dyn Guest,
        member: &Member,
        next: impl Fn() -> bool,
    ) -> Result<()> {
        let Member { team, goal, .. } = member;
        // Where a region follows soon its order is enough: the first thread then says that this
        // one is over in a line of which nobody else has a copy.
        let soon = SOON.min(team.spins() / 2);
        let mut looks = 0;
        self.help(guest, None, || {
            looks = soon.min(looks) + 1;
            next() || looks > soon && team.is_over(*goal)
        })
    }

    fn call_microtask(
        &self,
        guest: &mut dyn Guest,
        work: &Work,
        (slot, tid): (u32, u32),
    ) -> Result<()> {
        for (word, number) in self.memory().words(slot, 2)?.iter().zip([self.gtid, tid]) {
            word.store(number.to_le(), Ordering::Relaxed);
        }
        let args = work.args();
        let count = args.len() + 2;
        let mut few = [slot, slot + 4, 0, 0, 0, 0, 0, 0, 0, 0];
        if count <= few.len() {
            few[2..count].copy_from_slice(args);
            guest.call(work.microtask, &few[..count], false)?;
        } else {
            guest.call(work.microtask, &[&[slot, slot + 4], args].concat(), false)?;
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

    /// Enters an explicit task; gives how many it was in.
    pub(crate) fn push_running(&self, task: Arc<Task>) -> usize {
        self.frame(|frame| {
            frame.running.push(Running::new(task));
            frame.running.len() - 1
        })
    }

    /// Leaves tasks until it is in so many.
    pub(crate) fn pop_running(&self, count: usize) {
        self.frame(|frame| frame.running.truncate(count.max(1)));
    }

    /// The same; gives the outermost of those, if it was in any.
    pub(crate) fn pop_task(&self, count: usize) -> Option<Arc<Task>> {
        self.frame(|frame| {
            frame.running.truncate(count + 1);
            let running = if frame.running.len() > count { frame.running.pop() } else { None };
            running.map(|running| running.task)
        })
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
        let (team, in_task) = self.frame(|frame| (frame.team.clone(), frame.nested() > 1));
        if in_task {
            return Err(Error::Misuse("a barrier within a task"));
        }
        let is_alone = team.size == 1 && team.queue.outstanding() == 0;
        if is_alone || team.is_cancelled() {
            return Ok(());
        }
        let epoch = team.arrive();
        self.help(guest, None, || team.passed(epoch) || team.is_cancelled())
    }
}
