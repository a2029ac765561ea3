//! What queues say of a service at a place, before anything was measured there.
//!
//! A service is one cell, which answers one request at a time; the site's processors are shared with
//! all others. Both waits are those of [`steady`]'s formula (Sakasegawa 1977): the wait for a
//! processor stretches the work, and the stretched work makes the queue before the cell.

use crate::twin::queue::steady;
use serde::{Deserialize, Serialize};

/// The formula knows no time: beyond this share of what can be done, what is too much is added
/// as it piles up.
const USE_MAX: f64 = 0.95;
/// Requests that wait longer than this are given up.
pub(super) const LATENCY_MAX_MS: f64 = 30_000.0;
/// How long a backlog piles up before somebody looks again.
const PILE_UP_MS: f64 = 60_000.0;

/// What a service does, wherever it is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Work {
    /// Milliseconds of processor time that a request takes.
    pub work_ms: f64,
    /// Milliseconds that a request takes besides, whatever the load: bytes on their way.
    pub fixed_ms: f64,
}

impl Default for Work {
    /// Of a service of which nothing was measured: what it would be does not matter for a
    /// comparison of places, and has to be something.
    fn default() -> Self {
        Self { work_ms: 10.0, fixed_ms: 1.0 }
    }
}

/// The parts of a wait.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Waits {
    /// By how much others stretch the work; 1 where there is always a processor free.
    pub(super) stretch: f64,
    /// How long a request waits for those before it, in stretched work.
    pub(super) turn: f64,
}

pub(super) fn waits(work: &Work, rate: f64, processors: f64, others: f64) -> Waits {
    let processors = processors.max(0.001);
    let own = (rate * work.work_ms / 1000.0).min(1.0);
    let used = (own + others) / processors;
    let servers = processors.round().clamp(1.0, 4096.0) as u32;
    let over = (used / USE_MAX).max(1.0);
    let stretch = (1.0 + steady(used, servers)) * over;
    let busy = rate * work.work_ms / 1000.0 * stretch;
    let piled_ms = (busy - USE_MAX).max(0.0) * PILE_UP_MS;
    let turn = steady(busy, 1) + piled_ms / (work.work_ms * stretch).max(1e-6);
    Waits { stretch, turn }
}

/// The mean latency in milliseconds of a service that is asked `rate` times a second at a place
/// with so many processors, of which `others` are in use by somebody else.
pub fn expected_ms(work: &Work, rate: f64, processors: f64, others: f64) -> f64 {
    let Waits { stretch, turn } = waits(work, rate, processors, others);
    let expected = work.fixed_ms + work.work_ms * stretch * (1.0 + turn);
    if expected.is_finite() { expected.clamp(0.001, LATENCY_MAX_MS) } else { LATENCY_MAX_MS }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WORK: Work = Work { work_ms: 20.0, fixed_ms: 2.0 };

    #[test]
    fn an_idle_place_costs_the_work_and_a_full_one_much_more() {
        let alone = expected_ms(&WORK, 1.0, 4.0, 0.0);
        assert!((alone - 22.4).abs() < 0.1, "{alone}");
        assert!(expected_ms(&WORK, 1.0, 4.0, 3.8) > 2.0 * alone);
        assert!(expected_ms(&WORK, 40.0, 4.0, 0.0) > 3.0 * alone);
        assert!(expected_ms(&WORK, 1000.0, 4.0, 0.0) >= LATENCY_MAX_MS - 1.0);
    }

    proptest! {
        /// More load or more neighbours never make it faster, and whatever goes in, a latency
        /// comes out.
        #[test]
        fn more_never_makes_it_faster(
            work_ms in 0.01..500.0_f64, rate in 0.0..200.0_f64, processors in 0.1..256.0_f64,
            others in 0.0..300.0_f64, more in 0.0..5.0_f64,
        ) {
            let work = Work { work_ms, fixed_ms: 1.0 };
            let base = expected_ms(&work, rate, processors, others);
            prop_assert!(expected_ms(&work, rate, processors, others + more) >= base - 1e-9);
            prop_assert!(expected_ms(&work, rate + more, processors, others) >= base - 1e-9);
            prop_assert!((0.001..=LATENCY_MAX_MS).contains(&base));
        }

        #[test]
        fn no_number_is_no_reason_to_fall_over(
            rate in prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(-1.0), 0.0..1e300_f64],
            others in prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(-1.0), 0.0..1e300_f64],
        ) {
            let expected = expected_ms(&WORK, rate, 4.0, others);
            prop_assert!((0.001..=LATENCY_MAX_MS).contains(&expected), "{expected}");
        }
    }
}
