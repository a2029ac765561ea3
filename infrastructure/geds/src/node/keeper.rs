//! The node's thread for a tenant: it sees what processes leave, keeps memory ready, and moves objects to disk.

use super::{slabs::make, tenant::Tenant};
use crate::Result;
use std::{
    sync::{Arc, PoisonError, atomic::Ordering::SeqCst},
    time::{Duration, Instant},
};

/// How long the keeper waits while processes leave records, and how often it finds none before it
/// sleeps until it is woken.
const AWAKE: Duration = Duration::from_millis(1);
const AWAKE_ROUNDS: u32 = 50;
/// How long names that have bytes in memory alone wait until the journal is told.
const TELL: Duration = Duration::from_millis(150);
/// How long the keeper lets the disk be when there was nothing to move, and when that failed.
const DISK_PAUSES: (Duration, Duration) = (Duration::ZERO, Duration::from_millis(500));
/// The same for looking for waste: that takes a walk over all names.
const WASTE_PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Work that is not tried again at once when it came to nothing.
#[derive(Debug, Default)]
struct Rest {
    until: Option<Instant>,
}

impl Rest {
    /// Works, unless it rests; says whether anything was done.
    fn unless_resting(
        &mut self,
        (nothing, failed): (Duration, Duration),
        work: impl FnOnce() -> Result<bool>,
    ) -> bool {
        if self.until.is_some_and(|until| Instant::now() < until) {
            return false;
        }
        let (worked, pause) = match work() {
            Ok(true) => (true, Duration::ZERO),
            Ok(false) => (false, nothing),
            Err(error) => {
                tracing::warn!(error = %types::chain(&error), "cannot move objects to disk");
                (false, failed)
            }
        };
        self.until = Some(Instant::now() + pause);
        worked
    }
}

impl Tenant {
    /// Waits until the keeper is woken, or for a while.
    fn wait(&self, limit: Option<Duration>) {
        let mut rung = self.bell.lock().unwrap_or_else(PoisonError::into_inner);
        if !*rung {
            rung = match limit {
                Some(limit) => {
                    self.rung.wait_timeout(rung, limit).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.rung.wait(rung).unwrap_or_else(PoisonError::into_inner),
            };
        }
        *rung = false;
    }

    /// Sees what processes leave, keeps memory ready, and moves objects to disk: until the node ends.
    pub(super) fn keep(&self) {
        let started = Instant::now();
        let (mut idle, mut disk, mut waste) = (0, Rest::default(), Rest::default());
        let mut told = Instant::now();
        let index = Arc::clone(&self.state().index);
        while !self.stopping.load(SeqCst) {
            index.set_tick(started.elapsed().as_millis() as u32 / 8);
            let mut worked = self.work();
            worked |= disk.unless_resting(DISK_PAUSES, || self.relieve());
            worked |= waste.unless_resting(WASTE_PAUSES, || self.compact());
            idle = if worked { 0 } else { idle + 1 };
            if told.elapsed() >= TELL && !self.state().tell_names() {
                told = Instant::now();
            }
            if idle < AWAKE_ROUNDS {
                self.wait(Some(AWAKE));
                continue;
            }
            while self.state().tell_names() {}
            index.set_asleep(true);
            if !self.left() {
                self.wait(None);
            }
            index.set_asleep(false);
            idle = 0;
        }
        while self.state().tell_names() {}
    }

    /// Says whether there was anything to do.
    fn work(&self) -> bool {
        let (worked, wanted, limits) = {
            let mut state = self.state();
            let worked = state.consume();
            state.collect();
            if self.outlets.any() && state.wants_write_back(self.outlets.any_cold()) {
                self.outlets.ring();
            }
            (worked, state.slabs.wanted(&state.limits), state.limits.clone())
        };
        let Some(bytes) = wanted else { return worked };
        let stocked = make(bytes).and_then(|file| self.state().slabs.stock(file, bytes, &limits));
        match stocked {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(error = %types::chain(&error), "cannot keep memory ready");
                worked
            }
        }
    }

    fn left(&self) -> bool {
        self.state().seats.values().any(|seat| seat.page.waits())
    }
}
