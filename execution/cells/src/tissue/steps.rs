//! The steps that a site takes; see [`api::tissue`].
//!
//! They come in the order of their numbers: a move has that of the layout it leads to, a checkpoint
//! one of its own. A word that was late, of something that is over or has been superseded, neither
//! stops ranks nor lets them go on.

use super::{
    Current, Remote, Shared, lock,
    moving::{Means, Move, STEP_PATIENCE, Stepped, not_a_part},
    saved,
};
use crate::error::{Error, Result};
use api::tissue::{self, Layout, Step};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

/// How long ranks may compute before they come to a call of MPI.
const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// How often it is looked whether ranks are still to stop.
const STOP_LOOK: Duration = Duration::from_millis(100);

impl Remote {
    /// Takes a step.
    ///
    /// # Errors
    /// What the step failed with. The ranks then stand or run as they did before it; only
    /// [`tissue::Step::Go`] cannot be undone.
    pub fn step(&self, step: tissue::Step, means: &Means<'_>) -> Result<Stepped> {
        let (shared, number) = (&self.0, means.number);
        if step == Step::Undo {
            return Ok(shared.undo(number));
        }
        let mut latest = lock(&shared.turn);
        if step == Step::Go {
            return shared.go(number);
        }
        let begins = matches!(step, Step::Prepare { .. } | Step::Stop);
        if number < *latest || shared.is_over(number) || (step == Step::Save && number > *latest) {
            return Err(Error::Handover(format!("step {number} is over, or was not begun here")));
        }
        if begins {
            *latest = number;
        }
        match step {
            Step::Prepare { here, layout, before, .. } => {
                let door = Move::prepare(shared, here, layout, before, means)?;
                Ok(Stepped::Open { address: door.address, secret: door.secret.reveal().to_owned() })
            }
            Step::Connect { doors, .. } => shared.pending(number)?.connect(shared, &doors, means),
            Step::Copy => shared.pending(number)?.copy(shared),
            Step::Stop => shared.stop(number),
            Step::Send => shared.pending(number)?.send(shared),
            Step::Arrive => shared.pending(number)?.arrive(shared),
            Step::Save => shared.save(means.files),
            Step::Go | Step::Undo | Step::Keep => Ok(Stepped::Done),
        }
    }

    /// Where the ranks are, and of which site of the program this is a part.
    pub fn layout(&self) -> Layout {
        lock(&self.0.current).layout.clone()
    }
}

impl Shared {
    /// Whether all with this number is over: what has not come to an end by now gives up.
    fn is_over(&self, number: u64) -> bool {
        self.over.load(Ordering::Acquire) >= number
    }

    /// Ends what has this number or a lower one, and lets the ranks go on.
    fn undo(&self, number: u64) -> Stepped {
        self.over.fetch_max(number, Ordering::AcqRel);
        // Whatever waits gives up, and with it its turn.
        if let Some(pending) = lock(&self.pending).as_ref().filter(|p| p.number() <= number) {
            pending.abort();
        }
        let latest = lock(&self.turn);
        if number < *latest {
            // A word about something earlier: the ranks stand for what came after it.
            return Stepped::Done;
        }
        if let Some(pending) = lock(&self.pending).take() {
            pending.give_up(self);
        }
        self.run_on();
        Stepped::Done
    }

    /// Has all ranks here stand, until they are let go on.
    fn stop(&self, number: u64) -> Result<Stepped> {
        self.program.unwind_area()?;
        let Some(world) = self.world() else { return Ok(Stepped::Done) };
        {
            let mut crew = lock(&self.crew);
            if crew.over {
                return Err(Error::Handover("all ranks here have ended".into()));
            }
            crew.held = true;
        }
        self.gate.close();
        world.ask_to_stop();
        let deadline = Instant::now() + STOP_PATIENCE;
        loop {
            match world.wait_for_stop(STOP_LOOK) {
                Ok(_) => return Ok(Stepped::Done),
                Err(late @ mpi::NotStopped::Late { .. }) => {
                    if self.is_over(number) || Instant::now() >= deadline {
                        return Err(Error::NotStopped(late));
                    }
                }
                Err(other) => return Err(Error::NotStopped(other)),
            }
        }
    }

    /// Lets all go on that stand.
    fn run_on(&self) {
        if let Some(world) = self.world() {
            // What ended it meanwhile is told by the ranks.
            let _ = world.resume();
        }
        self.gate.open();
        lock(&self.crew).held = false;
        self.changed.notify_all();
    }

    /// Writes the ranks here, which stand as those of all sites do.
    fn save(self: &Arc<Self>, files: &[PathBuf]) -> Result<Stepped> {
        let path: &Path = files.first().ok_or_else(not_a_part)?;
        let world = self.world().ok_or(Error::Ended { code: 0 })?;
        let stopped = world.wait_for_stop(Duration::ZERO).map_err(Error::NotStopped)?;
        world.flush_links(STEP_PATIENCE).map_err(Error::Mpi)?;
        let written = saved::write(self, &world, path, &stopped)?;
        self.sequence.fetch_add(1, Ordering::Relaxed);
        Ok(Stepped::Written(written))
    }

    /// Puts the new world in the place of the old one and lets all ranks run.
    fn go(self: &Arc<Self>, number: u64) -> Result<Stepped> {
        if lock(&self.current).layout.number == number {
            return Ok(Stepped::Done);
        }
        let pending = self.pending(number)?;
        let world = pending.take_world()?;
        *lock(&self.pending) = None;
        self.over.fetch_max(number, Ordering::AcqRel);
        pending.seat_changes(self, |cell| cell.change_seat());
        let old = std::mem::replace(
            &mut *lock(&self.current),
            Current { here: pending.here, layout: pending.layout.clone(), world: world.clone() },
        );
        for rank in pending.leaving() {
            self.gate.leave(rank);
        }
        let (members, ended) = pending.take_arrivals();
        for (rank, code) in ended {
            self.has_ended(rank, code);
        }
        // A world that cannot go on has ended, and tells its ranks so.
        let resumed = world.as_ref().map_or(Ok(()), |world| world.resume());
        if world.is_some() {
            self.join(members);
        } else {
            lock(&self.crew).begun = false;
        }
        pending.hang_up();
        self.gate.open();
        lock(&self.crew).held = false;
        self.changed.notify_all();
        drop(old);
        self.sweep();
        resumed.map(|()| Stepped::Done).map_err(Error::Mpi)
    }
}
