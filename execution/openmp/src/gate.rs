//! Waiting: a short spin, then sleep.
//!
//! Threads never yield: where more threads than processors wait, yielding keeps all of them busy,
//! and some kernels take very long for it.

use std::{
    sync::{
        Condvar, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering, fence},
    },
    time::Duration,
};

/// How long a sleeper trusts the bell: what ends a program rings none.
const NAP: Duration = Duration::from_millis(20);

/// The same of one that is rung for everything.
const LONG_NAP: Duration = Duration::from_secs(3600);

/// Where threads wait for something to become true.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    sleepers: AtomicU32,
    /// Counts rings that someone may have slept through.
    rings: AtomicU32,
    lock: Mutex<()>,
    bell: Condvar,
}

impl Gate {
    /// Returns when `done` says so, after looking at least `spins` times before sleeping.
    pub(crate) fn wait(&self, spins: u32, done: impl FnMut() -> bool) {
        self.wait_for(spins, NAP, done);
    }

    /// The same where a bell is rung for everything: idle threads then cost nothing.
    pub(crate) fn wait_long(&self, spins: u32, done: impl FnMut() -> bool) {
        self.wait_for(spins, LONG_NAP, done);
    }

    fn wait_for(&self, spins: u32, nap: Duration, mut done: impl FnMut() -> bool) {
        for _ in 0..=spins {
            if done() {
                return;
            }
            std::hint::spin_loop();
        }
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        loop {
            let seen = self.rings.load(Ordering::SeqCst);
            fence(Ordering::SeqCst);
            // Not under the lock: to find that it is done may mean to ring for others.
            if done() {
                break;
            }
            let guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
            if self.rings.load(Ordering::SeqCst) == seen {
                drop(self.bell.wait_timeout(guard, nap));
            }
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }

    /// Has all who wait look again; called after what they wait for was made true.
    pub(crate) fn ring(&self) {
        fence(Ordering::SeqCst);
        self.ring_after();
    }

    /// The same where what made it true was itself sequentially consistent, which spares the
    /// fence: either this thread sees that another sleeps, or that other one, which looks again
    /// behind its fence once it has said that it sleeps, sees what was changed before.
    pub(crate) fn ring_after(&self) {
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            let guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
            self.rings.fetch_add(1, Ordering::SeqCst);
            drop(guard);
            self.bell.notify_all();
        }
    }
}
