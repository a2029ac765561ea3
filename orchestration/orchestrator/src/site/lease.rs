//! The site's right to serve what may be started elsewhere.

use rustix::time::{ClockId, clock_gettime};
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use types::Clock;

/// Time since the machine's start, sleep included: a lease must also run out while the machine is
/// suspended, which the usual monotonic clock does not count.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct BootClock;

impl Clock for BootClock {
    fn wall(&self) -> Duration {
        since(ClockId::Realtime)
    }

    fn monotonic(&self) -> Duration {
        since(ClockId::Boottime)
    }
}

fn since(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

/// Until when the lease holds. It starts as run out: after the agent's restart nobody knows what
/// the control plane decided meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Lease {
    until_nanos: AtomicU64,
}

impl Lease {
    /// The control plane acknowledged the beat that was sent at `sent`. Acknowledgements may
    /// overtake each other over two connections: the lease never shrinks.
    pub(crate) fn renew(&self, sent: Duration, length: Duration) {
        self.until_nanos.fetch_max(nanos(sent + length), Ordering::AcqRel);
    }

    /// Whether it holds at `now`.
    pub(crate) fn holds(&self, now: Duration) -> bool {
        nanos(now) < self.until_nanos.load(Ordering::Acquire)
    }

    /// When it runs out.
    pub(crate) fn until(&self) -> Duration {
        Duration::from_nanos(self.until_nanos.load(Ordering::Acquire))
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_from_when_the_beat_was_sent_and_never_shrinks() {
        let lease = Lease::default();
        let second = Duration::from_secs(1);
        assert!(!lease.holds(Duration::ZERO));

        lease.renew(10 * second, 3 * second);
        lease.renew(9 * second, 3 * second);

        assert!(lease.holds(12 * second));
        assert!(!lease.holds(13 * second));
        assert_eq!(lease.until(), 13 * second);
    }
}
