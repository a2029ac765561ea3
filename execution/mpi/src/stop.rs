//! Stopping: how the ranks of a world leave their calls, to be saved or moved, and go on.
//!
//! A rank that is asked to stop does so where a call begins that may wait, or where one waits; see
//! `underway` for how such a call is made again.

use crate::{
    error::Abort,
    world::{OVER, RUNNING, STOPPING, World, lock},
};
use std::{
    sync::{
        Condvar, Mutex, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

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
    /// Whether a rank stands where it stopped.
    pub fn has_stopped(&self, rank: u32) -> bool {
        self.stops.has_stopped(rank)
    }

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
    pub(crate) fn stopped(&self, rank: u32, function: &'static str) {
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
        if let Some(sites) = self.sites.as_deref() {
            sites.flushed.store(false, Ordering::SeqCst);
        }
        if let Some(rank) = self.stops.resume(&self.state) {
            return Err(self.abort(Abort::Left { rank }));
        }
        Ok(())
    }
}
