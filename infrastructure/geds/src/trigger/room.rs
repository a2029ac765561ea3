//! How much a runner has under way at once, of all triggers of a tenant together.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most runs at once: each is a process.
const RUNS_MAX: usize = 64;

/// What runs may have altogether. Clones are one.
#[derive(Debug, Clone)]
pub(super) struct Room {
    memory_bytes: u64,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    runs: usize,
    memory_bytes: u64,
}

/// What one run has until it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    memory_bytes: u64,
    taken: Arc<Mutex<Taken>>,
}

impl Room {
    /// Half of this machine's memory.
    pub(super) fn of_this_machine() -> Self {
        let info = rustix::system::sysinfo();
        Self::of(info.totalram.saturating_mul(u64::from(info.mem_unit)) / 2)
    }

    fn of(memory_bytes: u64) -> Self {
        Self { memory_bytes, taken: Arc::default() }
    }

    /// Room for a run of so much memory, if there is; whatever it needs, there is for one that is alone.
    pub(super) fn seat(&self, memory_bytes: u64) -> Option<Seat> {
        let mut taken = lock(&self.taken);
        let with = taken.memory_bytes.saturating_add(memory_bytes);
        if taken.runs > 0 && (taken.runs >= RUNS_MAX || with > self.memory_bytes) {
            return None;
        }
        (taken.runs, taken.memory_bytes) = (taken.runs + 1, with);
        Some(Seat { memory_bytes, taken: Arc::clone(&self.taken) })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        taken.runs -= 1;
        taken.memory_bytes = taken.memory_bytes.saturating_sub(self.memory_bytes);
    }
}

fn lock(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_share_memory_and_one_alone_may_have_more() {
        let room = Room::of(100);
        let large = room.seat(1000).unwrap();
        assert!(room.seat(1).is_none());
        drop(large);

        let seats: Vec<_> = (0..3).map(|_| room.seat(40)).collect();
        assert_eq!(seats.iter().flatten().count(), 2);
        drop(seats);
        let seats: Vec<_> = (0..=RUNS_MAX).map(|_| room.seat(0)).collect();
        assert_eq!(seats.iter().flatten().count(), RUNS_MAX);
    }
}
