//! Looking for something for a moment before sleeping over it.
//!
//! A sleeper needs dozens of microseconds to wake, longer than a small request takes. But whoever
//! looks on a busy machine takes the processor from those it waits for: the looks stop once
//! somebody else was given it, and for a while nobody here looks again.

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

fn microseconds(at: Instant) -> u64 {
    at.duration_since(*STARTED).as_micros() as u64
}

/// Whether to look once more.
#[derive(Debug)]
pub(super) struct Looking {
    started: Instant,
    before: Instant,
    longest: Duration,
    undisturbed: Duration,
}

impl Looking {
    /// Looks for this long at most; between two looks others may work.
    pub(super) fn begin(longest: Duration) -> Self {
        let now = Instant::now();
        Self { started: now, before: now, longest, undisturbed: UNDISTURBED * 10 }
    }

    /// Not if the time is over, or if somebody else wants the processor.
    pub(super) fn goes_on(&mut self) -> bool {
        let now = Instant::now();
        if microseconds(now) < PAUSED_UNTIL.load(Ordering::Relaxed) {
            return false;
        }
        if now.duration_since(self.before) > self.undisturbed {
            PAUSED_UNTIL.store(microseconds(now + PAUSE), Ordering::Relaxed);
            return false;
        }
        self.before = now;
        now.duration_since(self.started) < self.longest
    }
}

/// Calls `found` until it says so, the time is over, or somebody else wants the processor.
pub(super) fn look(longest: Duration, mut found: impl FnMut() -> bool) {
    let mut looking = Looking { undisturbed: UNDISTURBED, ..Looking::begin(longest) };
    while looking.goes_on() && !found() {
        std::hint::spin_loop();
    }
}
