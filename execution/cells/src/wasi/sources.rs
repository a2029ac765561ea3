//! Where time and randomness come from.

use super::Errno;
use rustix::time::{ClockId, clock_gettime};

/// Everything a cell learns that its inputs do not determine.
///
/// A journal records what a real source answers and later replays it. Answers are asked for in
/// the order of the guest's calls; a call that waits asks again each time it is tried.
pub trait Sources: Send {
    /// Nanoseconds since the Unix epoch; may jump.
    fn realtime_ns(&mut self) -> u64;

    /// Nanoseconds since some fixed moment; never goes back while this source lives.
    fn monotonic_ns(&mut self) -> u64;

    /// Nanoseconds of processor time; never goes back while this source lives.
    ///
    /// A worker that runs many cells cannot tell what one of them used; the time that passed is
    /// its upper bound.
    fn cpu_ns(&mut self) -> u64 {
        self.monotonic_ns()
    }

    /// Fills `into` with random bytes fit for keys.
    fn random(&mut self, into: &mut [u8]) -> Result<(), Errno>;
}

/// The machine's clocks and its kernel's random numbers.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemSources;

impl Sources for SystemSources {
    fn realtime_ns(&mut self) -> u64 {
        nanoseconds(ClockId::Realtime)
    }

    fn monotonic_ns(&mut self) -> u64 {
        nanoseconds(ClockId::Monotonic)
    }

    fn random(&mut self, into: &mut [u8]) -> Result<(), Errno> {
        getrandom::fill(into).map_err(|_| Errno::Io)
    }
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let fraction = u64::try_from(time.tv_nsec).unwrap_or_default();
    seconds.saturating_mul(1_000_000_000).saturating_add(fraction)
}
