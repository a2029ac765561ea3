//! One policy over all placements and phases.

use super::{
    Level, NEEDED_S, Setup,
    tally::{Block, Tally},
};
use crate::{
    Cost, SiteTrace, Trace,
    forecast::worst,
    policy::{Moment, Place, Policy, Stay},
};
use std::ops::Range;

/// The statistics of half an hour are drawn together: bursts come in groups.
const BLOCK_S: u32 = 1800;

/// What is played, and how.
#[derive(Debug, Clone)]
pub(super) struct Player<'a> {
    pub(super) trace: &'a Trace,
    pub(super) play: Range<usize>,
    pub(super) level: Level,
    pub(super) setup: &'a Setup,
}

/// One way in which it may have been.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    pub(super) start: usize,
    pub(super) edge: usize,
    pub(super) phase: u32,
}

impl Player<'_> {
    pub(super) fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for start in 0..2 {
            for edge in 0..2 {
                cases.extend((0..self.phases()).map(|phase| Case { start, edge, phase }));
            }
        }
        cases
    }

    fn phases(&self) -> u32 {
        self.setup.phases.max(1)
    }

    /// When the policy is asked: at multiples of the interval in Unix time, moved by the phase.
    pub(super) fn ticks(&self, phase: u32) -> impl Iterator<Item = usize> + use<> {
        let (start_s, step_s) = (self.trace.start_s, i64::from(self.trace.step_s));
        let every_s = i64::from(self.setup.every_s);
        let shift_s = every_s * i64::from(phase) / i64::from(self.phases());
        let first_s = start_s + self.play.start as i64 * step_s;
        let until = (shift_s - first_s).rem_euclid(every_s);
        let first = self.play.start + (until / step_s) as usize;
        (first..self.play.end).step_by((every_s / step_s).max(1) as usize)
    }

    pub(super) fn move_s(&self, to: usize, edge: usize) -> u32 {
        if to == edge { self.setup.to_edge_s } else { self.setup.to_cloud_s }
    }

    pub(super) fn play(&self, policy: &dyn Policy) -> Tally {
        let mut tally = self.empty();
        self.cases().into_iter().for_each(|case| self.walk(policy, case, &mut tally));
        tally
    }

    pub(super) fn once(&self, policy: &dyn Policy) {
        self.walk(policy, Case { start: 0, edge: 0, phase: 0 }, &mut self.empty());
    }

    pub(super) fn stay(&self, site: usize) -> Tally {
        let mut tally = self.empty();
        for case in self.cases().into_iter().filter(|case| case.start == site) {
            self.walk(&Stay, case, &mut tally);
            self.walk(&Stay, case, &mut tally);
        }
        tally
    }

    pub(super) fn empty(&self) -> Tally {
        let blocks = self.play.len().div_ceil(self.trace.samples_in(BLOCK_S));
        let seconds = self.play.len() as f64 * f64::from(self.trace.step_s);
        Tally { cases: 4 * self.phases(), seconds, blocks: vec![Block::default(); blocks] }
    }

    fn walk(&self, policy: &dyn Policy, case: Case, tally: &mut Tally) {
        let (mut here, mut from, mut moves) = (case.start, self.play.start, Vec::new());
        for at in self.ticks(case.phase) {
            let (place, other) =
                (self.place(here, case.edge, at), self.place(1 - here, case.edge, at));
            let step_s = self.trace.step_s;
            let ago = |&moved: &usize| (at - moved) as u64 * u64::from(step_s);
            let verdict = policy.decide(&Moment {
                now_s: self.trace.start_s + at as i64 * i64::from(step_s),
                step_s,
                here: place,
                others: &[other],
                moved_s_ago: &moves.iter().rev().map(ago).collect::<Vec<_>>(),
            });
            if let Some(needed) = self.needed(here, at) {
                self.block(tally, at).judge(verdict.alarm, needed);
            }
            if verdict.go.is_some() {
                let arrives = (at + self.trace.samples_in(other.move_s)).min(self.play.end);
                self.spend(tally, here, from..arrives, case.edge);
                self.overlap(tally, at..arrives, 1 - here, case.edge);
                moves.push(at);
                (here, from) = (1 - here, arrives);
            }
        }
        self.spend(tally, here, from..self.play.end, case.edge);
    }

    fn place(&self, site: usize, edge: usize, at: usize) -> Place<'_> {
        let SiteTrace { name, samples } = &self.trace.sites[site];
        let (edge, move_s) = (site == edge, self.move_s(site, edge));
        Place { name, past: &samples[..=at], edge, move_s }
    }

    /// Whether the level is broken in minutes 5 to 10; nothing at the end of the trace.
    pub(super) fn needed(&self, site: usize, at: usize) -> Option<bool> {
        let steps = |seconds: u32| self.trace.samples_in(seconds);
        let ahead = steps(NEEDED_S.0)..steps(NEEDED_S.1);
        if at + ahead.end >= self.trace.len() {
            return None;
        }
        let (highest, stalled) = worst(&self.trace.sites[site].samples, at, ahead, steps(30));
        Some(stalled || highest > self.level.sla_ms)
    }

    pub(super) fn block<'t>(&self, tally: &'t mut Tally, at: usize) -> &'t mut Block {
        &mut tally.blocks[(at - self.play.start) / self.trace.samples_in(BLOCK_S)]
    }

    /// Time at a site.
    pub(super) fn spend(&self, tally: &mut Tally, site: usize, span: Range<usize>, edge: usize) {
        let (prices, step_s) = (&self.setup.prices, f64::from(self.trace.step_s));
        for at in span {
            let sample = self.trace.sites[site].samples[at];
            let block = self.block(tally, at);
            if sample.breaks(self.level.sla_ms) {
                block.broken_s += step_s;
            }
            block.cost += Cost {
                infrastructure: prices.second(site != edge) * step_s,
                control: prices.control_hour / 3600.0 * step_s,
                penalty: prices.penalty(sample.latency_ms, self.level.sla_ms) * step_s,
                migration: 0.0,
            };
        }
    }

    /// The second instance, while the service moves.
    pub(super) fn overlap(&self, tally: &mut Tally, span: Range<usize>, to: usize, edge: usize) {
        if span.is_empty() {
            return;
        }
        let seconds = span.len() as f64 * f64::from(self.trace.step_s);
        let block = self.block(tally, span.start);
        block.moves += 1;
        block.cost.migration += self.setup.prices.second(to != edge) * seconds;
    }
}
