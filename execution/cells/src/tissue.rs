//! The cells of one run of an MPI program: ranks that exchange messages, each on a thread of its
//! own.

use crate::{
    error::{Error, Result},
    limits::Limits,
    program::Program,
    run::{End, Run, THREAD_STACK_BYTES},
    wasi,
};
use std::sync::Arc;

/// Most ranks of a tissue on one machine: each has a thread, and 4 GiB of addresses.
pub const RANKS_MAX: u32 = 1024;

/// An MPI program that runs, or will.
#[derive(Debug)]
pub struct Tissue {
    world: Arc<mpi::World>,
    ranks: Vec<Run>,
}

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
        let ranks = (0..size).map(|rank| {
            let mut run = Run::new(program, config(rank)?, limits)?;
            run.cell().take_seat(&world, rank)?;
            Ok(run)
        });
        let ranks = ranks.collect::<Result<_>>()?;
        Ok(Self { world, ranks })
    }

    /// Runs all ranks to their ends and tells each to `ended`, before the others learn of it from
    /// their next call of MPI. A rank that fails ends the others there; one that never calls MPI
    /// again goes on.
    ///
    /// # Errors
    /// [`Error::Runtime`] if the system gives no thread.
    pub fn run(mut self, ended: impl Fn(u32, Result<End>) + Sync) -> Result<()> {
        let (ended, world) = (&ended, self.world.clone());
        // The ranks outlive all threads: while one is at work others may copy from its memory.
        std::thread::scope(|scope| {
            for (number, run) in (0..).zip(&mut self.ranks) {
                let rank = move || {
                    let end = run.drive();
                    let failure = end.as_ref().err().map(ToString::to_string);
                    ended(number, end);
                    run.cell().leave_seat(failure.as_deref());
                };
                std::thread::Builder::new()
                    .name(format!("rank {number}"))
                    .stack_size(THREAD_STACK_BYTES)
                    .spawn_scoped(scope, rank)
                    .map_err(|error| {
                        world.end("the system gives no thread for another rank");
                        Error::runtime("cannot start a rank's thread", error)
                    })?;
            }
            Ok(())
        })
    }
}
