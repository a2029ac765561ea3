//! What somebody who knows the whole day would do: the least broken time that moves at the ticks can
//! reach, and of all ways to that the one with the least time in the cloud. By dynamic programming
//! from the end.

use super::play::{Game, Outcome};
use std::ops::Range;

/// Steps in the cloud count less than any broken one.
const BROKEN: u64 = 1 << 32;

impl Game<'_> {
    /// Plays with knowledge of the future, and raises an alarm when one is needed.
    pub fn oracle(&self) -> Outcome {
        let ticks: Vec<_> = self.ticks().collect();
        let best = self.best(&ticks);
        let mut outcome = Outcome::default();
        let span = self.span();
        let (mut here, mut from) = (self.world.nearest[span.start], span.start);
        for (&at, best) in ticks.iter().zip(&best) {
            if at < from {
                continue;
            }
            if let Some(needed) = self.needed(here, at) {
                outcome.judge(needed, needed);
            }
            if best[here] != here {
                from = self.go(&mut outcome, (here, best[here]), from, at);
                here = best[here];
            }
        }
        self.spend(&mut outcome, here, from..span.end);
        outcome.seconds = span.len() as f64 * f64::from(self.world.trace.step_s);
        outcome
    }

    /// For each tick and site, where to be next.
    fn best(&self, ticks: &[usize]) -> Vec<Vec<usize>> {
        let count = self.world.trace.sites.len();
        let sums: Vec<_> = (0..count).map(|site| self.sums(site)).collect();
        let end = self.span().end;
        let price = |site: usize, span: Range<usize>| sums[site][span.end] - sums[site][span.start];
        let mut ahead = vec![vec![0; count]; ticks.len() + 1];
        let mut best = vec![Vec::new(); ticks.len()];
        for n in (0..ticks.len()).rev() {
            let at = ticks[n];
            let of = |here: usize| {
                let ways = (0..count).map(|to| {
                    let arrives = if to == here { at } else { (at + self.move_steps(to)).min(end) };
                    // The next tick at which it is asked.
                    let later = ticks[n + 1..].iter().position(|tick| *tick >= arrives);
                    let next = later.map_or(ticks.len(), |later| n + 1 + later);
                    let until = ticks.get(next).copied().unwrap_or(end);
                    let moving = price(here, at..arrives) + price(to, arrives..until);
                    (moving + ahead[next][to], usize::from(to != here), to)
                });
                ways.min().unwrap_or((0, 0, here))
            };
            let found: Vec<_> = (0..count).map(of).collect();
            best[n] = found.iter().map(|(_, _, to)| *to).collect();
            ahead[n] = found.iter().map(|(price, _, _)| *price).collect();
        }
        best
    }

    /// What a site costs before each step.
    fn sums(&self, site: usize) -> Vec<u64> {
        let cloud = u64::from(site == self.world.cloud());
        let mut sums = vec![0];
        for sample in &self.world.trace.sites[site].samples {
            let broken = u64::from(sample.breaks(self.rules.sla_ms)) * BROKEN;
            sums.push(sums[sums.len() - 1] + broken + cloud);
        }
        sums
    }
}
