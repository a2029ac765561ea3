//! How much a runner has under way at once, of all triggers of a tenant together.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Most runs at once: each is a process.
const RUNS_MAX: usize = 64;

/// So long others wait for one that needs more than there is.
const WAITS_MAX: Duration = Duration::from_secs(60);

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
    /// One that needs so much has waited since then.
    waits: Option<(u64, Instant)>,
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
        let waits = taken.waits.filter(|(_, since)| since.elapsed() < WAITS_MAX);
        // Those that need less let one pass that waits: else there would never be enough at once.
        let passes = waits.is_some_and(|(most, _)| memory_bytes < most);
        if taken.runs > 0 && (passes || taken.runs >= RUNS_MAX || with > self.memory_bytes) {
            if waits.is_none_or(|(most, _)| memory_bytes > most) {
                taken.waits = Some((memory_bytes, Instant::now()));
            }
            return None;
        }
        taken.waits = waits.filter(|(most, _)| memory_bytes < *most);
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

        let mut seats: Vec<_> = (0..3).map(|_| room.seat(40)).collect();
        assert_eq!(seats.iter().flatten().count(), 2);
        // One that needs all of it is let pass by those that need less.
        assert!(room.seat(100).is_none());
        seats.pop();
        seats.pop();
        assert!(room.seat(40).is_none() && room.seat(100).is_none());
        drop(seats);
        assert!(room.seat(100).is_some());
        let seats: Vec<_> = (0..=RUNS_MAX).map(|_| room.seat(0)).collect();
        assert_eq!(seats.iter().flatten().count(), RUNS_MAX);
    }
}
