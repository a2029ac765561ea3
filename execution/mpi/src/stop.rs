//! Stopping: how ranks leave their calls, to be saved or moved, and make them again.
//!
//! A rank that is asked to stop does so where a call begins that may wait, or where one waits. The
//! call fails with [`Abort::Stopped`], and the guest makes it again later, with the same arguments.
//! What such a call has done by then is kept as [`Step`]s, in order: made again, it takes these
//! instead of doing them twice. Whatever is not a step can be done again, for it only looks.

use crate::{
    collective::Operation,
    engine::{Engine, Phase},
    error::{Abort, Fault, Result},
    image::{Damaged, Decoded, Reader, Wire, Writer, sound},
    site::Incoming,
    world::{OVER, RUNNING, STOPPING, Waiting, World, lock},
};
use std::{
    collections::VecDeque,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

/// The functions that may wait, or that programs call again and again until something is there:
/// those that [`Abort::Stopped`] may come from, and thus the imports that a guest must be able to
/// leave and make again.
pub const BLOCKING: &[&str] = &[
    "MPI_Init",
    "MPI_Init_thread",
    "MPI_Finalize",
    "MPI_Send",
    "MPI_Ssend",
    "MPI_Bsend",
    "MPI_Rsend",
    "MPI_Recv",
    "MPI_Sendrecv",
    "MPI_Sendrecv_replace",
    "MPI_Probe",
    "MPI_Iprobe",
    "MPI_Mprobe",
    "MPI_Improbe",
    "MPI_Mrecv",
    "MPI_Buffer_detach",
    "MPI_Wait",
    "MPI_Test",
    "MPI_Request_get_status",
    "MPI_Waitall",
    "MPI_Testall",
    "MPI_Waitany",
    "MPI_Testany",
    "MPI_Waitsome",
    "MPI_Testsome",
    "MPI_Comm_dup",
    "MPI_Comm_dup_with_info",
    "MPI_Comm_idup",
    "MPI_Comm_create",
    "MPI_Comm_create_group",
    "MPI_Comm_split",
    "MPI_Comm_split_type",
    "MPI_Comm_disconnect",
    "MPI_Cart_create",
    "MPI_Cart_sub",
    "MPI_Barrier",
    "MPI_Bcast",
    "MPI_Gather",
    "MPI_Gatherv",
    "MPI_Scatter",
    "MPI_Scatterv",
    "MPI_Allgather",
    "MPI_Allgatherv",
    "MPI_Alltoall",
    "MPI_Alltoallv",
    "MPI_Alltoallw",
    "MPI_Reduce",
    "MPI_Allreduce",
    "MPI_Reduce_scatter",
    "MPI_Reduce_scatter_block",
    "MPI_Scan",
    "MPI_Exscan",
    "MPI_Win_create",
    "MPI_Win_allocate",
    "MPI_Win_free",
    "MPI_Put",
    "MPI_Get",
    "MPI_Accumulate",
    "MPI_Get_accumulate",
    "MPI_Fetch_and_op",
    "MPI_Compare_and_swap",
    "MPI_Win_fence",
    "MPI_Win_lock",
    "MPI_Win_unlock",
    "MPI_Win_lock_all",
    "MPI_Win_unlock_all",
    "MPI_Win_flush",
    "MPI_Win_flush_local",
    "MPI_Win_flush_all",
    "MPI_Win_flush_local_all",
    "MPI_Win_sync",
    "MPI_Win_post",
    "MPI_Win_start",
    "MPI_Win_complete",
    "MPI_Win_wait",
    "MPI_Win_test",
];

/// Whether a function is one of [`BLOCKING`].
pub(crate) const fn may_block(function: &str) -> bool {
    let mut place = 0;
    while place < BLOCKING.len() {
        if same(BLOCKING[place].as_bytes(), function.as_bytes()) {
            return true;
        }
        place += 1;
    }
    false
}

const fn same(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    let mut place = 0;
    while place < left.len() {
        if left[place] != right[place] {
            return false;
        }
        place += 1;
    }
    true
}

/// Something that an interrupted call has done, and what it gave.
#[derive(Debug)]
pub(crate) enum Step {
    /// A part that gives nothing.
    Done,
    /// Memory of the guest's, or a handle.
    Word(u32),
    /// A message that was sent; with what is not over yet.
    Sent(Option<Arc<Waiting>>),
    /// A receive that was posted under a request.
    Posted(i32),
    /// A round that was entered.
    Entered(Operation),
    /// A round of slots that was counted, and whether the contribution is in its slot.
    Counted { round: u64, written: bool },
    /// Something that another site was asked for.
    Asked(Arc<Incoming>),
}

/// The call that is under way, as far as it would have to be known if it were interrupted.
#[derive(Debug, Default)]
pub(crate) struct Underway {
    pub(crate) function: &'static str,
    /// What it did since it was made last.
    pub(crate) done: Vec<Step>,
    /// What it did before, and has to take up.
    pub(crate) again: VecDeque<Step>,
    /// How many calls of the guest it is in: what these call can not be interrupted.
    pub(crate) depth: u32,
}

impl Engine {
    /// Stops here if that was asked for. Nothing of the call may have been done.
    #[inline]
    pub(crate) fn stopping_point(&mut self) -> Result<(), Abort> {
        match self.world.check() {
            Ok(false) => Ok(()),
            Ok(true) => self.stop_at_entry(),
            Err(abort) => Err(abort),
        }
    }

    #[cold]
    fn stop_at_entry(&mut self) -> Result<(), Abort> {
        if self.may_stop() { Err(self.pause()) } else { Ok(()) }
    }

    /// Whether the call under way may be interrupted.
    pub(crate) fn may_stop(&self) -> bool {
        self.is_outermost() && may_block(self.function)
    }

    /// Whether the call under way is the guest's, and not one from within.
    fn is_outermost(&self) -> bool {
        self.underway.depth == 0
    }

    /// Leaves the call under way, to be made again.
    pub(crate) fn pause(&mut self) -> Abort {
        let earlier = std::mem::take(&mut self.underway.again);
        self.underway.again = self.underway.done.drain(..).chain(earlier).collect();
        if !self.underway.again.is_empty() {
            self.underway.function = self.function;
            self.phase = Phase::Interrupted;
        }
        self.world.stopped(self.me, self.function);
        Abort::Stopped
    }

    /// Takes up a call that was interrupted.
    pub(crate) fn take_up(&mut self, function: &'static str) -> Result<(), Abort> {
        if self.underway.function != function {
            let when = "instead of the function that it was stopped in";
            return Err(self.world.abort(Abort::OutOfTurn { function, rank: self.me, when }));
        }
        self.phase = Phase::Running;
        Ok(())
    }

    /// What a step gave that the call did before it was interrupted.
    #[inline]
    pub(crate) fn replayed(&mut self) -> Option<Step> {
        if self.underway.again.is_empty() { None } else { self.replay() }
    }

    #[cold]
    fn replay(&mut self) -> Option<Step> {
        if self.is_outermost() { self.underway.again.pop_front() } else { None }
    }

    /// Keeps what a step gave.
    pub(crate) fn keep(&mut self, step: Step) {
        if self.is_outermost() {
            self.underway.done.push(step);
        }
    }

    /// Keeps the step that was interrupted, if that is how a call fails.
    #[cold]
    pub(crate) fn interrupted(&mut self, fault: Fault, step: Step) -> Fault {
        if matches!(fault, Fault::Abort(Abort::Stopped)) {
            self.keep(step);
        }
        fault
    }

    /// Does a part of a call once that gives a number, however often the call is made. A part that
    /// is interrupted is done again from its beginning.
    pub(crate) fn once(&mut self, part: impl FnOnce(&mut Self) -> Result<u32>) -> Result<u32> {
        let word = match self.replayed() {
            Some(Step::Word(word)) => word,
            step => self.take_up_part(step, part)?,
        };
        self.keep(Step::Word(word));
        Ok(word)
    }

    /// The same for a part that gives nothing.
    pub(crate) fn once_only(&mut self, part: impl FnOnce(&mut Self) -> Result) -> Result {
        match self.replayed() {
            Some(Step::Done) => {}
            step => self.take_up_part(step, part)?,
        }
        self.keep(Step::Done);
        Ok(())
    }

    /// Does a part; a step that is not its end belongs to what the part itself did before it was
    /// interrupted.
    fn take_up_part<T>(
        &mut self,
        step: Option<Step>,
        part: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        if let Some(step) = step {
            self.underway.again.push_front(step);
        }
        part(self)
    }

    /// Does something that is not to be interrupted.
    pub(crate) fn without_stopping<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        self.underway.depth += 1;
        let result = work(self);
        self.underway.depth = self.underway.depth.saturating_sub(1);
        result
    }

    /// A call is made again with other arguments, or its image is damaged.
    #[cold]
    pub(crate) fn other_step(&mut self) -> Fault {
        let when = "with other arguments than before it was stopped";
        let abort = Abort::OutOfTurn { function: self.function, rank: self.me, when };
        self.world.abort(abort).into()
    }

    /// Forgets the steps of a call that is over.
    #[cold]
    pub(crate) fn forget(&mut self) {
        if self.is_outermost() {
            self.underway.done.clear();
            self.underway.again.clear();
        }
    }
}

impl Step {
    /// Whether it is to be done anew by a rank that is restored: nobody remembers it there.
    pub(crate) fn is_forgotten(&self) -> bool {
        matches!(self, Self::Asked(_))
    }
}

impl Wire for Step {
    fn put(&self, to: &mut Writer<'_>) {
        match self {
            // Who saves a rank leaves out what is forgotten.
            Self::Done | Self::Asked(_) => to.byte(0),
            Self::Word(word) => {
                to.byte(1);
                word.put(to);
            }
            Self::Sent(sent) => {
                to.byte(2);
                sent.put(to);
            }
            Self::Posted(handle) => {
                to.byte(3);
                handle.put(to);
            }
            Self::Entered(operation) => {
                to.byte(4);
                operation.put(to);
            }
            Self::Counted { round, written } => {
                to.byte(5);
                round.put(to);
                written.put(to);
            }
        }
    }

    fn get(from: &mut Reader<'_>) -> Decoded<Self> {
        Ok(match from.byte()? {
            0 => Self::Done,
            1 => Self::Word(Wire::get(from)?),
            2 => Self::Sent(Wire::get(from)?),
            3 => Self::Posted(Wire::get(from)?),
            4 => Self::Entered(Wire::get(from)?),
            5 => {
                let (round, written) = Wire::get(from)?;
                sound(round < 1 << 62, "a number is too large")?;
                Self::Counted { round, written }
            }
            _ => return Err(Damaged::because("a step of its call is not known")),
        })
    }
}

/// How far a rank is, for those who wait until all have stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Running,
    Stopped(&'static str),
    /// It was dropped after it had stopped: its image lives on elsewhere.
    Away,
    /// It will never call again, or is at another site.
    Gone,
}

/// Which ranks of a world have stopped.
#[derive(Debug)]
pub(crate) struct Stops {
    places: Mutex<Vec<Place>>,
    /// When the last one did.
    last: Mutex<Duration>,
    changed: Condvar,
}

impl Stops {
    pub(crate) fn new(size: u32) -> Self {
        let places = Mutex::new(vec![Place::Running; size as usize]);
        Self { places, last: Mutex::default(), changed: Condvar::new() }
    }

    fn set(&self, rank: u32, place: Place) {
        if let Some(known) = lock(&self.places).get_mut(rank as usize) {
            *known = place;
        }
        self.changed.notify_all();
    }

    pub(crate) fn gone(&self, rank: u32) {
        self.set(rank, Place::Gone);
    }

    /// A rank is at another site.
    pub(crate) fn elsewhere(&self, rank: u32) {
        self.set(rank, Place::Gone);
    }

    pub(crate) fn over(&self) {
        // Whoever looks now and sees that all is well, waits before this is told.
        drop(lock(&self.places));
        self.changed.notify_all();
    }

    /// How long the world had run when its last rank stopped.
    pub(crate) fn age(&self) -> Duration {
        *lock(&self.last)
    }

    /// Whether nobody runs.
    pub(crate) fn all_rest(&self) -> bool {
        !lock(&self.places).contains(&Place::Running)
    }

    pub(crate) fn set_age(&self, age: Duration) {
        *lock(&self.last) = age;
    }

    /// The function that a rank stopped in.
    pub(crate) fn function(&self, rank: u32) -> &'static str {
        match lock(&self.places).get(rank as usize) {
            Some(Place::Stopped(function)) => function,
            _ => "",
        }
    }

    pub(crate) fn has_stopped(&self, rank: u32) -> bool {
        matches!(lock(&self.places).get(rank as usize), Some(Place::Stopped(_)))
    }

    /// A rank that has stopped is dropped.
    pub(crate) fn take_away(&self, rank: u32) {
        self.set(rank, Place::Away);
    }

    /// A rank is as it was when it stopped, in another world.
    pub(crate) fn arrive(&self, rank: u32, function: &'static str) {
        self.set(rank, Place::Stopped(function));
    }

    /// Lets all run on that stopped; gives one that can not.
    fn resume(&self, state: &AtomicU8) -> Option<u32> {
        let mut places = lock(&self.places);
        if let Some(rank) = places.iter().position(|place| *place == Place::Away) {
            return Some(rank as u32);
        }
        for place in places.iter_mut().filter(|place| **place != Place::Gone) {
            *place = Place::Running;
        }
        let order = Ordering::SeqCst;
        let _ = state.compare_exchange(STOPPING, RUNNING, order, order);
        None
    }
}

/// Where the ranks of a world stand that has stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// The function that each rank makes again when it goes on; none for those that have finished,
    /// or are at other sites.
    pub functions: Vec<Option<&'static str>>,
}

/// Why a world has not stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotStopped {
    /// It ended meanwhile.
    #[error("the program ended before all of its ranks had stopped: {0}")]
    Ended(Abort),
    /// Nobody asked for it, or ranks were let run on meanwhile.
    #[error("the ranks were not asked to stop, or were let go on")]
    NotAsked,
    /// Some ranks go on.
    #[error("{waits}")]
    Late {
        /// Which.
        ranks: Vec<u32>,
        /// What is known of them.
        waits: String,
    },
}

impl World {
    /// Asks every rank to stop where it can: its call fails with [`Abort::Stopped`], and is to be
    /// made again after [`World::resume`].
    pub fn ask_to_stop(&self) {
        let order = Ordering::SeqCst;
        if self.state.compare_exchange(RUNNING, STOPPING, order, order).is_ok() {
            self.rouse_all();
        }
    }

    /// Notes that a rank has stopped, unless it was let go on meanwhile: then it only makes its
    /// call again.
    fn stopped(&self, rank: u32, function: &'static str) {
        let mut places = lock(&self.stops.places);
        if self.state.load(Ordering::SeqCst) != STOPPING {
            return;
        }
        if let Some(place) = places.get_mut(rank as usize) {
            *place = Place::Stopped(function);
        }
        let mut last = lock(&self.stops.last);
        *last = self.age().max(*last);
        self.stops.changed.notify_all();
    }

    /// Waits until every rank of this site has stopped or finished.
    ///
    /// # Errors
    ///
    /// When some have not after the time limit, or the world ends.
    pub fn wait_for_stop(&self, limit: Duration) -> Result<Stopped, NotStopped> {
        let end = Instant::now() + limit;
        let mut places = lock(&self.stops.places);
        loop {
            match self.state.load(Ordering::SeqCst) {
                STOPPING => {}
                OVER => {
                    drop(places);
                    let abort = self.check().err();
                    return Err(abort.map_or(NotStopped::NotAsked, NotStopped::Ended));
                }
                _ => return Err(NotStopped::NotAsked),
            }
            if !places.contains(&Place::Running) {
                let functions = places.iter().map(|place| match place {
                    Place::Stopped(function) => Some(*function),
                    _ => None,
                });
                return Ok(Stopped { functions: functions.collect() });
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let running = |(_, place): &(usize, &Place)| **place == Place::Running;
                let ranks = places.iter().enumerate().filter(running);
                return Err(self.late(ranks.map(|(rank, _)| rank as u32).collect()));
            }
            let waited = self.stops.changed.wait_timeout(places, left);
            places = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn late(&self, ranks: Vec<u32>) -> NotStopped {
        let what = |rank: &u32| match self.waits_in(*rank) {
            Some(waits) => {
                format!("rank {rank} waits in {waits}, called by a function that MPI called")
            }
            None => format!("rank {rank} computes and has not called MPI since it was asked"),
        };
        let mut waits = ranks.iter().take(8).map(what).collect::<Vec<_>>().join("; ");
        if ranks.len() > 8 {
            waits += &format!("; and {} more have not stopped", ranks.len() - 8);
        }
        NotStopped::Late { ranks, waits }
    }

    /// Lets all ranks go on; each makes the call again that it was stopped in.
    ///
    /// # Errors
    ///
    /// When a rank is missing: it was dropped after it had stopped, or is not restored yet.
    pub fn resume(&self) -> Result<(), Abort> {
        self.complete()?;
        if let Some(rank) = self.stops.resume(&self.state) {
            return Err(self.abort(Abort::Left { rank }));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_that_may_block_exists() {
        for name in BLOCKING {
            assert!(crate::FUNCTIONS.contains(name), "{name}");
        }
        assert!(may_block("MPI_Waitall") && !may_block("MPI_Irecv") && !may_block("MPI_Wait "));
    }
}
