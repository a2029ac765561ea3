//! Waiting on conditions.

use std::time::{Duration, Instant};

/// Waits until `condition` holds, and looks every few milliseconds.
///
/// # Panics
/// If it does not within `limit`; the message says `what` was waited for.
#[track_caller]
pub fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < limit, "waited {limit:?} in vain until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
