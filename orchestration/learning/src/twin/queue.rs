//! Queues as fluids: what waits on average in a step, instead of each request by itself.
//!
//! While less comes than can be done, the mean wait is that of a queue in its steady state, by
//! H. Sakasegawa, "An Approximation Formula L_q ≃ α·ρ^β/(1−ρ)", Annals of the Institute of
//! Statistical Mathematics 29, 1977, with the factor of A. O. Allen and J. Cunneen for how much
//! requests differ. What comes beyond that stays as backlog and is worked off as there is room.

/// Beyond this share the formula, which knows no time, would say more than builds up in minutes.
const USE_MAX: f64 = 0.95;
/// A stream of frames keeps no more than this: older frames are dropped.
pub(super) const BACKLOG_MAX_S: f64 = 2.0;

/// The mean wait by the work of one request, if requests and their work are drawn exponentially.
pub(crate) fn steady(used: f64, servers: u32) -> f64 {
    let (used, servers) = (used.clamp(0.0, USE_MAX), f64::from(servers));
    used.powf((2.0 * (servers + 1.0)).sqrt() - 1.0) / (servers * (1.0 - used))
}

/// The seconds that a request waits behind work that is left, after a step of `step_s` in which
/// the share `used` of what could be done came.
pub(super) fn backlog(before_s: f64, used: f64, step_s: f64, most_s: f64) -> f64 {
    (before_s + (used - 1.0) * step_s).clamp(0.0, most_s)
}

#[cfg(test)]
mod tests {
    use super::{super::random::Random, *};
    use std::{cmp::Reverse, collections::BinaryHeap};

    const WORK_US: f64 = 60_000.0;

    /// Each request by itself: `used` by the time in seconds, and lognormal work with a squared
    /// coefficient of variation. Answers arrivals and waits, in seconds.
    fn exact(servers: u32, cv2: f64, until_s: f64, used: impl Fn(f64) -> f64) -> Vec<(f64, f64)> {
        let mut random = Random::new(5, u64::from(servers));
        let sigma = cv2.ln_1p().sqrt();
        let mut free: BinaryHeap<Reverse<u64>> = (0..servers).map(|_| Reverse(0)).collect();
        let (mut now_us, mut waits) = (0.0, Vec::new());
        while now_us < until_s * 1e6 {
            let apart = WORK_US / f64::from(servers) / used(now_us / 1e6);
            now_us += apart * random.exponential();
            let Reverse(free_us) = free.pop().expect("there is a server");
            let start_us = (free_us as f64).max(now_us);
            let work_us = WORK_US * (sigma * random.normal() - sigma * sigma / 2.0).exp();
            free.push(Reverse((start_us + work_us) as u64));
            waits.push((now_us / 1e6, (start_us - now_us) / 1e6));
        }
        waits
    }

    fn mean(waits: &[(f64, f64)], from_s: f64, to_s: f64) -> f64 {
        let each =
            waits.iter().filter(|(at, _)| (from_s..to_s).contains(at)).map(|(_, wait)| *wait);
        crate::features::mean(each)
    }

    #[test]
    fn the_fluid_waits_as_long_as_requests_that_are_queued_one_by_one() {
        for (servers, cv2) in [(1, 1.0), (4, 0.25), (4, 1.0), (12, 0.5)] {
            for used in [0.6, 0.75, 0.9] {
                let waits = exact(servers, cv2, 20_000.0, |_| used);
                let truth = mean(&waits, 100.0, 20_000.0);
                let fluid = steady(used, servers) * (1.0 + cv2) / 2.0 * WORK_US / 1e6;
                // A twentieth of a request's work, or a seventh of the wait.
                let apart = (fluid - truth).abs();
                assert!(
                    apart < (0.15 * truth).max(0.05 * WORK_US / 1e6),
                    "{servers} servers, {used} used, {cv2}: {fluid} s, exactly {truth} s"
                );
            }
        }
    }

    /// A minute with a third more than can be done, then three with a fifth less.
    #[test]
    fn a_backlog_grows_and_goes_as_requests_do() {
        let used = |at_s: f64| if at_s % 240.0 < 60.0 { 1.33 } else { 0.8 };
        let runs: Vec<_> =
            (0..40).map(|run| exact(4, 0.5 + f64::from(run) / 1e3, 240.0, used)).collect();
        let mut left_s = 0.0;
        for step in 0..48 {
            let from_s = f64::from(step) * 5.0;
            let before_s = left_s;
            left_s = backlog(left_s, used(from_s), 5.0, f64::INFINITY);
            let truth =
                crate::features::mean(runs.iter().map(|run| mean(run, from_s, from_s + 5.0)));
            // The steady state is no part of a backlog; at 0.8 it is less than 0.1 s.
            let fluid = f64::midpoint(before_s, left_s);
            assert!(
                (fluid - truth).abs() < 0.15 * truth + 0.6,
                "{from_s} s: {fluid} s, exactly {truth} s"
            );
        }
        assert_eq!(left_s, 0.0);
    }
}
