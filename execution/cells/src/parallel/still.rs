//! Keeping threads out of the program while it is saved.
//!
//! At the end of a region its first thread may go on while another still gives memory back to the
//! program's allocator. So each thread but the first says when it enters the program, and waits
//! before it does while the program is being saved. What it then does is not in the snapshot:
//! the memory stays in use there.

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// How long a thread may take to give memory back.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is looked at.
const STEP: Duration = Duration::from_micros(20);

/// What all threads of a program look at.
#[derive(Default)]
pub(super) struct Stillness {
    still: AtomicBool,
    /// Whether each of the other threads is in the program.
    inside: Mutex<Vec<Arc<AtomicBool>>>,
    changed: Condvar,
}

/// Says whether one thread is in the program.
pub(super) struct Entry {
    all: Arc<Stillness>,
    inside: Arc<AtomicBool>,
}

/// No other thread enters the program as long as this lives.
pub(super) struct Still<'a>(&'a Stillness);

impl Stillness {
    fn threads(&self) -> MutexGuard<'_, Vec<Arc<AtomicBool>>> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For another thread.
    pub(super) fn entry(self: &Arc<Self>) -> Entry {
        let inside = Arc::<AtomicBool>::default();
        self.threads().push(inside.clone());
        Entry { all: self.clone(), inside }
    }

    /// Keeps the other threads out; `None` if one does not come out in time.
    pub(super) fn keep(&self) -> Option<Still<'_>> {
        let still = Still(self);
        // Before the threads are looked at, as they say that they are inside before they look here:
        // one of both is seen by the other.
        self.still.store(true, Ordering::SeqCst);
        let deadline = Instant::now() + PATIENCE;
        let threads = self.threads().clone();
        while threads.iter().any(|inside| inside.load(Ordering::SeqCst)) {
            if Instant::now() > deadline {
                return None;
            }
            std::thread::sleep(STEP);
        }
        Some(still)
    }
}

impl Drop for Still<'_> {
    fn drop(&mut self) {
        let threads = self.0.threads();
        self.0.still.store(false, Ordering::SeqCst);
        drop(threads);
        self.0.changed.notify_all();
    }
}

impl Entry {
    /// The thread enters the program, once it may.
    pub(super) fn enter(&self) {
        loop {
            self.inside.store(true, Ordering::SeqCst);
            if !self.all.still.load(Ordering::SeqCst) {
                return;
            }
            self.inside.store(false, Ordering::SeqCst);
            let mut threads = self.all.threads();
            while self.all.still.load(Ordering::SeqCst) {
                threads = self.all.changed.wait(threads).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// It has left it.
    pub(super) fn leave(&self) {
        self.inside.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    #[test]
    fn nobody_is_inside_while_it_is_still() {
        let all = Arc::<Stillness>::default();
        let (inside, over, entered) =
            (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default(), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for _ in 0..3 {
                let (entry, inside, over) = (all.entry(), &inside, &over);
                let entered = &entered;
                scope.spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        entry.enter();
                        inside.fetch_add(1, Ordering::SeqCst);
                        entered.fetch_add(1, Ordering::Relaxed);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        entry.leave();
                    }
                });
            }
            for _ in 0..300 {
                let seen = entered.load(Ordering::Relaxed);
                while entered.load(Ordering::Relaxed) == seen {
                    std::thread::yield_now();
                }
                let still = all.keep().unwrap();
                for _ in 0..50 {
                    assert_eq!(inside.load(Ordering::SeqCst), 0);
                }
                drop(still);
            }
            over.store(true, Ordering::Relaxed);
        });
    }
}
