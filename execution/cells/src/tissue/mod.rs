//! The cells of one run of an MPI program: ranks that exchange messages, each on a thread of its
//! own.
//!
//! [`Tissue::run`] drives them to their ends. A [`Remote`] has them all stop where they stand in
//! calls of MPI, and saves them together; [`Tissue::restore`] makes them anew from that.

mod gate;
mod member;
mod saved;

use crate::{
    error::{Error, Result},
    limits::Limits,
    program::Program,
    run::{End, THREAD_STACK_BYTES},
    wasi,
};
pub use saved::ranks_in;

use gate::Gate;
use member::Member;
use std::{
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Most ranks of a tissue on one machine: each has a thread, and 4 GiB of addresses.
pub const RANKS_MAX: u32 = 1024;

/// An MPI program that runs, or will.
#[derive(Debug)]
pub struct Tissue {
    shared: Arc<Shared>,
    members: Vec<Member>,
}

/// What the threads of the ranks share, and whoever saves them.
#[derive(Debug)]
struct Shared {
    program: Arc<Program>,
    world: Arc<mpi::World>,
    gate: Gate,
    /// How each rank ended that has.
    ends: Mutex<Vec<Option<u32>>>,
    /// Snapshots so far.
    sequence: AtomicU64,
    /// One is saved at a time.
    saving: Mutex<()>,
}

/// Asks a tissue for snapshots; cheap to clone, usable from any thread.
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
        let world = mpi::World::new(size, mpi::Config::default()).map_err(Error::Mpi)?;
        let shared = Shared::new(program, world, 0);
        let members = (0..size)
            .map(|rank| Member::new(&shared, rank, config(rank)?, limits))
            .collect::<Result<_>>()?;
        Ok(Self { shared, members })
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

    /// What asks these ranks for snapshots.
    pub fn remote(&self) -> Remote {
        Remote(self.shared.clone())
    }

    /// Runs all ranks to their ends and tells each to `ended`, before the others learn of it from
    /// their next call of MPI. A rank that fails ends the others there; one that never calls MPI
    /// again goes on.
    ///
    /// # Errors
    /// [`Error::Runtime`] if the system gives no thread.
    pub fn run(mut self, ended: impl Fn(u32, Result<End>) + Sync) -> Result<()> {
        let (ended, shared) = (&ended, &self.shared);
        for (number, code) in (0..).zip(shared.ends()) {
            if let Some(code) = code {
                ended(number, Ok(End::Exited(code)));
            }
        }
        // The ranks outlive all threads: while one is at work others may copy from its memory.
        std::thread::scope(|scope| {
            for member in &mut self.members {
                std::thread::Builder::new()
                    .name(format!("rank {}", member.number()))
                    .stack_size(THREAD_STACK_BYTES)
                    .spawn_scoped(scope, move || member.run(ended))
                    .map_err(|error| {
                        shared.world.end("the system gives no thread for another rank");
                        Error::runtime("cannot start a rank's thread", error)
                    })?;
            }
            Ok(())
        })
    }
}

impl Shared {
    fn new(program: &Arc<Program>, world: Arc<mpi::World>, sequence: u64) -> Arc<Self> {
        let size = world.size() as usize;
        Arc::new(Self {
            program: program.clone(),
            gate: Gate::new(size),
            ends: Mutex::new(vec![None; size]),
            sequence: AtomicU64::new(sequence),
            saving: Mutex::default(),
            world,
        })
    }

    fn ends(&self) -> Vec<Option<u32>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn has_ended(&self, rank: u32, code: u32) {
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(end) = ends.get_mut(rank as usize) {
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
        let _turn = shared.saving.lock().unwrap_or_else(PoisonError::into_inner);
        shared.gate.close();
        shared.world.ask_to_stop();
        let saved = shared
            .world
            .wait_for_stop(patience)
            .map_err(Error::NotStopped)
            .and_then(|stopped| saved::write(shared, path, &stopped));
        if stop && saved.is_ok() {
            shared.gate.end();
            return saved;
        }
        // What ended the world meanwhile is told by the ranks.
        let _ = shared.world.resume();
        shared.gate.open();
        if saved.is_ok() {
            shared.sequence.fetch_add(1, Ordering::Relaxed);
        }
        saved
    }
}
