//! Time and randomness that can be played back.

use crate::wasi::{Errno, Sources, SystemSources};
use serde::{Deserialize, Serialize};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// One thing that a guest learnt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Taken {
    Realtime(u64),
    Monotonic(u64),
    Cpu(u64),
    Random(Vec<u8>),
}

/// What a guest learns, recorded for a journal or played back from one; clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tape {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    recorded: Vec<Taken>,
    /// `Some` while playing back.
    replay: Option<VecDeque<Taken>>,
    diverged: bool,
    /// The last times given, monotonic and processor: the next are not before them, in whatever
    /// process.
    last: (u64, u64),
}

impl Tape {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was learnt since the last call.
    pub(crate) fn take(&self) -> Vec<Taken> {
        std::mem::take(&mut self.lock().recorded)
    }

    /// Plays these back from now on.
    pub(crate) fn replay(&self, taken: Vec<Taken>) {
        let mut shared = self.lock();
        shared.replay = Some(taken.into());
        shared.diverged = false;
    }

    /// Back to the machine's own; false if the guest did not ask for exactly what was played.
    pub(crate) fn end_replay(&self) -> bool {
        let mut shared = self.lock();
        shared.recorded.clear();
        let rest = shared.replay.take();
        rest.is_none_or(|rest| rest.is_empty()) && !shared.diverged
    }

    /// The last times given, monotonic and processor.
    pub(crate) fn last(&self) -> (u64, u64) {
        self.lock().last
    }

    /// Has a restored guest measure time from where the saved one did.
    pub(crate) fn continue_from(&self, (monotonic, cpu): (u64, u64)) {
        self.replay(vec![Taken::Monotonic(monotonic), Taken::Cpu(cpu)]);
    }
}

impl Shared {
    fn answer<T>(
        &mut self,
        live: impl FnOnce(&mut Self) -> T,
        played: impl FnOnce(&Taken) -> Option<T>,
        note: impl FnOnce(&T) -> Taken,
    ) -> T {
        if let Some(replay) = &mut self.replay {
            if let Some(value) = replay.pop_front().as_ref().and_then(played) {
                return value;
            }
            self.diverged = true;
        }
        let value = live(self);
        if self.replay.is_none() {
            self.recorded.push(note(&value));
        }
        value
    }
}

impl Sources for Tape {
    fn realtime_ns(&mut self) -> u64 {
        self.lock().answer(
            |_| SystemSources.realtime_ns(),
            |taken| if let Taken::Realtime(value) = taken { Some(*value) } else { None },
            |value| Taken::Realtime(*value),
        )
    }

    fn monotonic_ns(&mut self) -> u64 {
        let mut shared = self.lock();
        let value = shared.answer(
            |shared| SystemSources.monotonic_ns().max(shared.last.0),
            |taken| if let Taken::Monotonic(value) = taken { Some(*value) } else { None },
            |value| Taken::Monotonic(*value),
        );
        shared.last.0 = value;
        value
    }

    fn cpu_ns(&mut self) -> u64 {
        let mut shared = self.lock();
        let value = shared.answer(
            |shared| SystemSources.cpu_ns().max(shared.last.1),
            |taken| if let Taken::Cpu(value) = taken { Some(*value) } else { None },
            |value| Taken::Cpu(*value),
        );
        shared.last.1 = value;
        value
    }

    fn random(&mut self, into: &mut [u8]) -> Result<(), Errno> {
        let size = into.len();
        let bytes = self.lock().answer(
            |_| {
                let mut bytes = vec![0; size];
                SystemSources.random(&mut bytes).map(|()| bytes)
            },
            |taken| match taken {
                Taken::Random(bytes) if bytes.len() == size => Some(Ok(bytes.clone())),
                _ => None,
            },
            |bytes| Taken::Random(bytes.clone().unwrap_or_default()),
        )?;
        into.copy_from_slice(&bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_learnt_is_played_back() {
        let mut tape = Tape::default();
        let mut random = [0; 9];
        tape.random(&mut random).unwrap();
        let time = tape.realtime_ns();
        let taken = tape.take();

        let mut again = Tape::default();
        again.replay(taken.clone());
        let mut replayed = [0; 9];
        again.random(&mut replayed).unwrap();
        assert_eq!((replayed, again.realtime_ns()), (random, time));
        assert!(again.end_replay());

        again.replay(taken);
        again.realtime_ns();
        assert!(!again.end_replay(), "another order is a divergence");
    }
}
