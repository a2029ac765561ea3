//! The cells of one run of an MPI program: ranks that exchange messages, each on a thread of its
//! own.
//!
//! [`Tissue::run`] drives them to their ends. A [`Remote`] has them all stop where they stand in
//! calls of MPI, and saves them together; [`Tissue::restore`] makes them anew from that.
//!
//! The ranks of one program may be at several sites, each of which holds a part of the tissue
//! ([`Tissue::part`]). A part has ranks when it was led through the steps towards a layout
//! ([`api::tissue`]), and others when it was led to the next one: `steps` carries them out, `moving`
//! holds a layout on its way, `outgoing` sends the ranks that leave, and `incoming` takes in those that come.

mod gate;
mod incoming;
mod member;
mod moving;
mod outgoing;
mod saved;
mod steps;

use crate::{
    error::{Error, Result},
    limits::Limits,
    program::Program,
    ranks::Lent,
    run::{End, THREAD_STACK_BYTES},
    wasi,
};
pub use saved::ranks_in;

use api::tissue::Layout;
use gate::Gate;
use member::Member;
use moving::Move;
pub use moving::{Means, Stepped};
use mpi::World;
use std::{
    path::Path,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Most ranks of a tissue on one machine: each has a thread, and 4 GiB of addresses.
pub const RANKS_MAX: u32 = 1024;

/// Says what a rank may use.
pub type Configure = Arc<dyn Fn(u32) -> Result<wasi::Config> + Send + Sync>;

/// An MPI program that runs, or will.
#[derive(Debug)]
pub struct Tissue {
    shared: Arc<Shared>,
}

/// What the threads of the ranks share, and whoever saves or moves them.
#[derive(Debug)]
struct Shared {
    program: Arc<Program>,
    gate: Gate,
    /// Dropped before the memories that it lends.
    current: Mutex<Current>,
    crew: Mutex<Crew>,
    changed: Condvar,
    /// How each rank ended that has.
    ends: Mutex<Vec<Option<u32>>>,
    /// Snapshots so far.
    sequence: AtomicU64,
    /// One is saved, or one step is taken, at a time. The highest number that one began with.
    turn: Mutex<u64>,
    /// All steps up to this number are over.
    over: AtomicU64,
    /// Where all ranks will be, while they are on their way.
    pending: Mutex<Option<Arc<Move>>>,
    /// How new ranks are made; a tissue of one site gets none.
    maker: Option<Maker>,
}

/// How ranks are made that come here.
struct Maker {
    config: Configure,
    limits: Limits,
}

impl std::fmt::Debug for Maker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Maker").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// The world as it is now.
#[derive(Debug, Default)]
struct Current {
    /// The number of this site.
    here: u32,
    /// Empty where there is but one site.
    layout: Layout,
    world: Option<Arc<World>>,
}

/// The threads of the ranks.
#[derive(Debug, Default)]
struct Crew {
    /// They shall be given threads.
    arrivals: Vec<Member>,
    running: usize,
    /// There were ranks to run.
    begun: bool,
    /// Ranks are stopped, to leave or to be joined by others: that none runs means nothing.
    held: bool,
    /// All have ended, and no others will come.
    over: bool,
    /// Where the memories of those lie that run.
    memories: Vec<Option<Arc<Lent>>>,
    /// They are through, or elsewhere now; while their world lives others may still copy from
    /// their memories.
    retired: Vec<(Weak<World>, Member)>,
}

/// Asks a tissue for snapshots, and leads it to other layouts; cheap to clone, usable from any
/// thread.
#[derive(Debug, Clone)]
pub struct Remote(Arc<Shared>);

impl Tissue {
    /// So many ranks of the program at its beginning; `config` says what each may use, and
    /// `limits` bound each.
    ///
    /// # Errors
    /// [`Error`] if the arguments cannot be used or a rank cannot be instantiated.
    pub fn new(
        program: &Arc<Program>,
        size: u32,
        mut config: impl FnMut(u32) -> Result<wasi::Config>,
        limits: &Limits,
    ) -> Result<Self> {
        let world = World::new(size, mpi::Config::default()).map_err(Error::Mpi)?;
        let shared = Shared::new(program, size, 0, None);
        let members = (0..size)
            .map(|rank| {
                let mut member = Member::empty(&shared, rank, config(rank)?, limits)?;
                member.cell().take_seat(&world, rank)?;
                Ok(member)
            })
            .collect::<Result<_>>()?;
        shared.begin(world, members);
        Ok(Self { shared })
    }

    /// The ranks as the snapshot in `path` has them. Arguments and variables are the snapshot's;
    /// `config` is called for what each may use.
    ///
    /// # Errors
    /// [`Error::Snapshot`] says what is wrong with the snapshot, or what it refers to and is not
    /// granted or not there.
    pub fn restore(
        program: &Arc<Program>,
        path: &Path,
        config: impl FnMut(u32) -> Result<wasi::Config>,
        limits: &Limits,
    ) -> Result<Self> {
        saved::read(program, path, config, limits)
    }

    /// One site's part of a tissue of so many ranks, without ranks yet: [`Remote::step`] leads it
    /// to its first layout.
    ///
    /// # Errors
    /// [`Error::Mpi`] when there cannot be so many.
    pub fn part(
        program: &Arc<Program>,
        size: u32,
        config: Configure,
        limits: &Limits,
    ) -> Result<Self> {
        if size == 0 || size > RANKS_MAX {
            let reason = format!("a tissue has 1 to {RANKS_MAX} ranks, not {size}");
            return Err(Error::Mpi(mpi::Abort::Refused { reason: reason.into() }));
        }
        let maker = Maker { config, limits: limits.clone() };
        Ok(Self { shared: Shared::new(program, size, 0, Some(maker)) })
    }

    /// What asks these ranks for snapshots, and moves them.
    pub fn remote(&self) -> Remote {
        Remote(self.shared.clone())
    }

    /// Runs all ranks to their ends and tells each to `ended`, before the others learn of it from
    /// their next call of MPI. A rank that fails ends the others there; one that never calls MPI
    /// again goes on. A part that has had ranks is through when none is left that runs here.
    ///
    /// # Errors
    /// [`Error::Runtime`] if the system gives no thread.
    pub fn run(self, ended: impl Fn(u32, Result<End>) + Sync) -> Result<()> {
        let (ended, shared) = (&ended, &self.shared);
        for (number, code) in (0..).zip(shared.ends()) {
            if let Some(code) = code {
                ended(number, Ok(End::Exited(code)));
            }
        }
        std::thread::scope(|scope| {
            while let Some(members) = shared.next_arrivals() {
                for member in members {
                    std::thread::Builder::new()
                        .name(format!("rank {}", member.number()))
                        .stack_size(THREAD_STACK_BYTES)
                        .spawn_scoped(scope, move || member.run(ended))
                        .map_err(|error| {
                            shared.fail("the system gives no thread for another rank");
                            Error::runtime("cannot start a rank's thread", error)
                        })?;
                }
            }
            Ok(())
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Crew {
    fn new(size: usize) -> Self {
        let mut crew = Self::default();
        crew.memories.resize(size, None);
        crew
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        for (world, member) in self.retired.drain(..) {
            if world.strong_count() > 0 {
                // Better lost than written to.
                std::mem::forget(member);
            }
        }
    }
}

impl Shared {
    fn new(program: &Arc<Program>, size: u32, sequence: u64, maker: Option<Maker>) -> Arc<Self> {
        let size = size as usize;
        Arc::new(Self {
            program: program.clone(),
            gate: Gate::new(size),
            current: Mutex::default(),
            crew: Mutex::new(Crew::new(size)),
            changed: Condvar::new(),
            ends: Mutex::new(vec![None; size]),
            sequence: AtomicU64::new(sequence),
            turn: Mutex::default(),
            over: AtomicU64::new(0),
            pending: Mutex::default(),
            maker,
        })
    }

    /// Gives the ranks of a new tissue a world of one site.
    fn begin(&self, world: Arc<World>, members: Vec<Member>) {
        lock(&self.current).world = Some(world);
        self.join(members);
    }

    /// Has ranks run that have a seat in the world.
    fn join(&self, members: Vec<Member>) {
        let mut crew = lock(&self.crew);
        for mut member in members {
            let number = member.number();
            self.gate.enter(number);
            crew.memories[number as usize] = member.cell().lent();
            crew.arrivals.push(member);
        }
        crew.begun = true;
        drop(crew);
        self.changed.notify_all();
    }

    /// Waits for ranks that shall have threads; nothing when all have ended.
    fn next_arrivals(&self) -> Option<Vec<Member>> {
        let mut crew = lock(&self.crew);
        loop {
            if !crew.arrivals.is_empty() {
                crew.running += crew.arrivals.len();
                return Some(std::mem::take(&mut crew.arrivals));
            }
            if crew.begun && crew.running == 0 && !crew.held {
                crew.over = true;
                return None;
            }
            crew = self.changed.wait(crew).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A rank has no thread any more.
    fn retire(&self, member: Member, world: Weak<World>) {
        self.gate.has_gone(member.number());
        let mut crew = lock(&self.crew);
        crew.running -= 1;
        crew.memories[member.number() as usize] = None;
        crew.retired.push((world, member));
        drop(crew);
        self.changed.notify_all();
        self.sweep();
    }

    /// Frees the memories that nobody can copy from any more.
    fn sweep(&self) {
        let free: Vec<_> = {
            let mut crew = lock(&self.crew);
            crew.retired.extract_if(.., |(world, _)| world.strong_count() == 0).collect()
        };
        drop(free);
    }

    fn world(&self) -> Option<Arc<World>> {
        lock(&self.current).world.clone()
    }

    fn is_here(&self, rank: u32) -> bool {
        let current = lock(&self.current);
        current.layout.places.get(rank as usize).is_none_or(|place| *place == current.here)
    }

    /// Ends all ranks at their next calls of MPI.
    fn fail(&self, reason: &str) {
        if let Some(world) = self.world() {
            world.end(reason);
        }
    }

    fn size(&self) -> u32 {
        lock(&self.ends).len() as u32
    }

    fn ends(&self) -> Vec<Option<u32>> {
        lock(&self.ends).clone()
    }

    fn has_ended(&self, rank: u32, code: u32) {
        if let Some(end) = lock(&self.ends).get_mut(rank as usize) {
            *end = Some(code);
        }
    }
}

impl Remote {
    /// Stops all ranks where they stand in calls of MPI, has them written to `path` together, and
    /// lets them go on; or ends them, if `stop`. Waits at most `patience` for the last of them to
    /// stop; gives the snapshot's size in bytes.
    ///
    /// # Errors
    /// [`Error::NotMigratable`] if the program was not built for it, [`Error::NotStopped`] says
    /// which ranks did not come to a call of MPI in time, and what writing failed with. The ranks
    /// then go on.
    pub fn snapshot(&self, path: &Path, stop: bool, patience: Duration) -> Result<u64> {
        let shared = &self.0;
        shared.program.unwind_area()?;
        let _turn = lock(&shared.turn);
        let world = shared.world().ok_or(Error::Ended { code: 0 })?;
        if lock(&shared.current).layout.sites().len() > 1 {
            return Err(Error::Handover(
                "its ranks are at several sites, whose parts are saved together: give it \
                 checkpoints (`--checkpoint-every`)"
                    .into(),
            ));
        }
        shared.gate.close();
        world.ask_to_stop();
        let saved = world
            .wait_for_stop(patience)
            .map_err(Error::NotStopped)
            .and_then(|stopped| saved::write(shared, &world, path, &stopped));
        if stop && saved.is_ok() {
            shared.gate.end();
            return saved;
        }
        // What ended the world meanwhile is told by the ranks.
        let _ = world.resume();
        shared.gate.open();
        if saved.is_ok() {
            shared.sequence.fetch_add(1, Ordering::Relaxed);
        }
        saved
    }
}
