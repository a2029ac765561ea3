//! Looking for something for a moment before sleeping over it.
//!
//! A sleeper needs dozens of microseconds to wake, longer than a small request takes. But whoever
//! looks on a busy machine takes the processor from those it waits for: the looks stop as soon as
//! somebody else wants it, and for a while nobody here looks again.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// A look that takes longer was interrupted by somebody who wanted the processor.
const UNDISTURBED: Duration = Duration::from_micros(10);

/// How long nobody looks afterwards.
const PAUSE: Duration = Duration::from_millis(1);

static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Microseconds since the start until when nobody looks.
static PAUSED_UNTIL: AtomicU64 = AtomicU64::new(0);

/// Calls `found` until it says so, the time is over, or somebody else wants the processor.
pub(super) fn look(longest: Duration, mut found: impl FnMut() -> bool) {
    let started = Instant::now();
    let now = |at: Instant| at.duration_since(*STARTED).as_micros() as u64;
    if now(started) < PAUSED_UNTIL.load(Ordering::Relaxed) {
        return;
    }
    let mut before = started;
    while !found() && before.duration_since(started) < longest {
        std::thread::yield_now();
        let after = Instant::now();
        if after.duration_since(before) > UNDISTURBED {
            PAUSED_UNTIL.store(now(after + PAUSE), Ordering::Relaxed);
            return;
        }
        before = after;
    }
}
