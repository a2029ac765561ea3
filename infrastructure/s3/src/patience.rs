//! How long a client is waited for: not at once for long, and not often for little.

use crate::config::Config;
use std::time::{Duration, Instant};

/// What is asked of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace {
    /// The longest wait for a byte.
    pub(crate) stall_max: Duration,
    rate_min_bytes_per_s: u64,
}

impl Pace {
    pub(crate) fn of(config: &Config) -> Self {
        Self {
            stall_max: Duration::from_millis(config.stall_timeout_ms),
            rate_min_bytes_per_s: config.rate_min_bytes_per_s,
        }
    }

    /// Whether a client that brought so little was waited for too long.
    fn is_too_slow(self, waited: Duration, bytes: u64) -> bool {
        let expected = waited.as_secs_f64() * self.rate_min_bytes_per_s as f64;
        waited > self.stall_max && (bytes as f64) < expected
    }
}

/// Keeps account of waits and bytes.
#[derive(Debug)]
pub(crate) struct Patience {
    pub(crate) pace: Pace,
    waiting_since: Option<Instant>,
    waited: Duration,
    bytes: u64,
}

impl Patience {
    pub(crate) fn new(pace: Pace) -> Self {
        Self { pace, waiting_since: None, waited: Duration::ZERO, bytes: 0 }
    }

    /// A wait begins, unless one is under way.
    pub(crate) fn waits(&mut self, now: Instant) {
        self.waiting_since.get_or_insert(now);
    }

    /// Bytes went through; false if the client is too slow.
    pub(crate) fn moved(&mut self, now: Instant, bytes: usize) -> bool {
        if let Some(since) = self.waiting_since.take() {
            self.waited += now.saturating_duration_since(since);
        }
        self.bytes = self.bytes.saturating_add(bytes as u64);
        if self.pace.is_too_slow(self.waited, self.bytes) {
            return false;
        }
        if self.waited > self.pace.stall_max {
            // It was fast enough: what it did long ago counts no more.
            (self.waited, self.bytes) = (Duration::ZERO, 0);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client that brings `bytes` after each wait of a second, for a minute.
    fn is_served(bytes: usize) -> bool {
        let pace = Pace { stall_max: Duration::from_secs(5), rate_min_bytes_per_s: 100 };
        let (mut patience, mut now) = (Patience::new(pace), Instant::now());
        (0..60).all(|_| {
            patience.waits(now);
            now += Duration::from_secs(1);
            patience.moved(now, bytes)
        })
    }

    #[test]
    fn a_client_that_drips_is_left() {
        assert!(is_served(100));
        assert!(!is_served(99));
        assert!(!is_served(1));
    }

    #[test]
    fn time_in_which_nobody_waits_does_not_count() {
        let pace = Pace { stall_max: Duration::from_secs(5), rate_min_bytes_per_s: 100 };
        let (mut patience, now) = (Patience::new(pace), Instant::now());

        assert!(patience.moved(now, 1));
        assert!(patience.moved(now + Duration::from_secs(1000), 1));
    }
}
