//! Combining what each thread has.

use crate::{Error, Guest, Result, Thread};
use std::sync::atomic::Ordering;

/// How a reduction is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// There is one thread.
    Alone,
    /// Each thread adds its own, one at a time.
    Critical,
    /// Each thread adds its own, atomically.
    Atomic,
    /// The first thread adds all, in their order.
    Gather,
}

/// The flag in a place's description that says the compiler made an atomic variant.
const ATOMIC_REDUCE: u32 = 0x10;

/// Up to how many threads adding one after another is fastest.
const GATHER_ABOVE: u32 = 4;

fn choose(size: u32, variables: u32, bytes: u32, atomic: bool, function: u32) -> Method {
    match size {
        1 => Method::Alone,
        _ if atomic && variables == 1 && bytes <= 8 => Method::Atomic,
        _ if size > GATHER_ABOVE && function != 0 => Method::Gather,
        _ => Method::Critical,
    }
}

impl Thread {
    /// `__kmpc_reduce`, which `waits` for the result, and `__kmpc_reduce_nowait`: 1 if the thread is to combine plainly, 2 if
    /// atomically, 0 if there is nothing left to do.
    ///
    /// # Errors
    /// As for a barrier and a critical section, and if the function fails.
    pub fn reduce(
        &self,
        guest: &mut dyn Guest,
        place: u32,
        (variables, bytes): (u32, u32),
        data: u32,
        function: u32,
        (lock, waits): (u32, bool),
    ) -> Result<u32> {
        let flags = self.memory().u32(place.saturating_add(4)).unwrap_or(0);
        let (team, tid) = self.frame(|frame| (frame.team.clone(), frame.tid));
        let method = choose(team.size, variables, bytes, flags & ATOMIC_REDUCE != 0, function);
        self.frame(|frame| frame.reduction = Some(method));
        match method {
            Method::Alone => Ok(1),
            Method::Atomic => Ok(2),
            Method::Critical => self.critical(lock).map(|()| 1),
            Method::Gather => {
                team.partials[tid as usize].store(data, Ordering::Release);
                self.barrier(guest)?;
                if team.is_cancelled() {
                    return Ok(0);
                }
                if tid == 0 {
                    for partial in &team.partials[1..] {
                        let partial = partial.load(Ordering::Acquire);
                        guest.call(function, &[data, partial], false)?;
                    }
                }
                // What the first thread reads lies on the others' stacks.
                self.barrier(guest)?;
                if tid != 0 && waits {
                    // The first thread ends the reduction for all.
                    self.barrier(guest)?;
                }
                Ok(u32::from(tid == 0))
            }
        }
    }

    /// `__kmpc_end_reduce_nowait`.
    ///
    /// # Errors
    /// If there is no reduction.
    pub fn end_reduce_nowait(&self, lock: u32) -> Result<()> {
        match self.frame(|frame| frame.reduction.take()) {
            Some(Method::Critical) => self.end_critical(lock),
            Some(_) => Ok(()),
            None => Err(Error::Misuse("it ends a reduction that has not begun")),
        }
    }

    /// `__kmpc_end_reduce`: the result is complete for all.
    ///
    /// # Errors
    /// If there is no reduction, and as for a barrier.
    pub fn end_reduce(&self, guest: &mut dyn Guest, lock: u32) -> Result<()> {
        self.end_reduce_nowait(lock)?;
        self.barrier(guest)
    }
}
