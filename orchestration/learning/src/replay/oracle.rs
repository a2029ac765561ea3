//! The least broken time that moves at the ticks could have reached, by dynamic programming from the
//! end.

use super::{
    tally::Tally,
    walk::{Case, Player},
};
use std::ops::Range;

impl Player<'_> {
    /// What somebody who knows the future would have done. It raises an alarm when one is needed.
    pub(super) fn oracle(&self) -> Tally {
        let mut tally = self.empty();
        let sums = [0, 1].map(|site| self.broken_sums(site));
        for case in self.cases() {
            self.follow(case, &self.best(case, &sums), &mut tally);
        }
        tally
    }

    /// Broken samples of a site before each sample.
    fn broken_sums(&self, site: usize) -> Vec<u32> {
        let mut sums = vec![0];
        for sample in &self.trace.sites[site].samples {
            sums.push(sums[sums.len() - 1] + u32::from(sample.breaks(self.level.sla_ms)));
        }
        sums
    }

    /// For each tick and site, whether to go.
    fn best(&self, case: Case, sums: &[Vec<u32>; 2]) -> Vec<[bool; 2]> {
        let ticks: Vec<_> = self.ticks(case.phase).collect();
        let broken =
            |site: usize, span: Range<usize>| sums[site][span.end] - sums[site][span.start];
        let mut ahead = [0; 2];
        let mut go = vec![[false; 2]; ticks.len()];
        for (n, &at) in ticks.iter().enumerate().rev() {
            let next = ticks.get(n + 1).copied().unwrap_or(self.play.end);
            let of = |here: usize| {
                let there = 1 - here;
                let arrives = (at + self.trace.samples_in(self.move_s(there, case.edge))).min(next);
                let stays = broken(here, at..next) + ahead[here];
                let goes = broken(here, at..arrives) + broken(there, arrives..next) + ahead[there];
                (stays.min(goes), goes < stays)
            };
            let both = [of(0), of(1)];
            go[n] = both.map(|(_, go)| go);
            ahead = both.map(|(broken, _)| broken);
        }
        go
    }

    fn follow(&self, case: Case, go: &[[bool; 2]], tally: &mut Tally) {
        let (mut here, mut from) = (case.start, self.play.start);
        for (at, go) in self.ticks(case.phase).zip(go) {
            if let Some(needed) = self.needed(here, at) {
                self.block(tally, at).judge(needed, needed);
            }
            if go[here] {
                let delay = self.trace.samples_in(self.move_s(1 - here, case.edge));
                let arrives = (at + delay).min(self.play.end);
                self.spend(tally, here, from..arrives, case.edge);
                self.overlap(tally, at..arrives, 1 - here, case.edge);
                (here, from) = (1 - here, arrives);
            }
        }
        self.spend(tally, here, from..self.play.end, case.edge);
    }
}
