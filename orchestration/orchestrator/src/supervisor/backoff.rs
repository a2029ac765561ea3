//! How long to wait before a child that ended is started again.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// A child that lived this long was well: its next end is the first again.
const WELL: Duration = Duration::from_secs(30);

/// Doubles the pause with each quick end.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    quick_ends: u32,
}

impl Backoff {
    /// The pause after a life this long.
    pub(super) fn pause(&mut self, lived: Duration) -> Duration {
        if lived >= WELL {
            self.quick_ends = 0;
        }
        let doubled = FIRST.saturating_mul(1 << self.quick_ends.min(10));
        self.quick_ends = self.quick_ends.saturating_add(1);
        doubled.min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quick_ends_wait_longer_until_one_lived_well() {
        let mut backoff = Backoff::default();
        let mut pauses =
            |lived| (0..8).map(|_| backoff.pause(lived).as_millis()).collect::<Vec<_>>();

        assert_eq!(pauses(Duration::ZERO), [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(pauses(WELL), [100; 8]);
    }
}
