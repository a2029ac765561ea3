//! A policy through the day of a world: where the service is, and what came of it.

use super::{Scenario, World};
use crate::{
    Cost, Prices,
    forecast::worst,
    policy::{Moment, Place, Policy, Verdict},
    replay::NEEDED_S,
};
use serde::Serialize;
use std::ops::Range;

/// In the first hour there is too little of a past to judge anybody by.
pub(super) const WARM_S: u32 = 3600;

/// By what a policy is judged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// The service level in milliseconds.
    pub sla_ms: f64,
    /// Seconds from one decision to the next.
    pub every_s: u32,
    /// What it costs.
    pub prices: Prices,
}

impl Default for Rules {
    fn default() -> Self {
        Self { sla_ms: 120.0, every_s: 60, prices: Prices::default() }
    }
}

/// What came of a policy in one world, or in several.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Outcome {
    /// Seconds that were played.
    pub seconds: f64,
    /// Alarms before the level was broken in minutes 5 to 10.
    pub tp: u32,
    /// Alarms without need.
    pub fp: u32,
    /// The level was broken without an alarm.
    #[serde(rename = "fn")]
    pub fn_: u32,
    /// Neither.
    pub tn: u32,
    /// Seconds above the service level, or without an answer.
    pub sla_broken_s: f64,
    /// Moves.
    pub migrations: u32,
    /// Seconds of an instance in the cloud.
    pub cloud_s: f64,
    /// Bytes that went to the cloud: what users sent, and the state with each move there.
    pub bytes_to_cloud: f64,
    /// What it cost.
    pub cost: Cost,
}

impl Outcome {
    pub(super) fn add(&mut self, other: &Self) {
        self.seconds += other.seconds;
        self.tp += other.tp;
        self.fp += other.fp;
        self.fn_ += other.fn_;
        self.tn += other.tn;
        self.sla_broken_s += other.sla_broken_s;
        self.migrations += other.migrations;
        self.cloud_s += other.cloud_s;
        self.bytes_to_cloud += other.bytes_to_cloud;
        self.cost += other.cost;
    }

    pub(super) fn judge(&mut self, alarm: bool, needed: bool) {
        match (alarm, needed) {
            (true, true) => self.tp += 1,
            (true, false) => self.fp += 1,
            (false, true) => self.fn_ += 1,
            (false, false) => self.tn += 1,
        }
    }

    /// The harmonic mean of precision and recall.
    pub fn f1(&self) -> f64 {
        let wrong = f64::from(self.fp + self.fn_) / 2.0;
        if self.tp == 0 { 0.0 } else { f64::from(self.tp) / (f64::from(self.tp) + wrong) }
    }

    /// How many alarms were needed.
    pub fn precision(&self) -> f64 {
        f64::from(self.tp) / f64::from((self.tp + self.fp).max(1))
    }

    /// How many needs had an alarm.
    pub fn recall(&self) -> f64 {
        f64::from(self.tp) / f64::from((self.tp + self.fn_).max(1))
    }

    /// Euro for a day.
    pub fn cost_per_day_eur(&self) -> f64 {
        self.cost.total() * 86_400.0 / self.seconds
    }
}

/// A world that policies are played in.
#[derive(Debug, Clone, Copy)]
pub struct Game<'a> {
    /// The day.
    pub world: &'a World,
    /// What it was drawn from.
    pub scenario: &'a Scenario,
    /// By what policies are judged.
    pub rules: &'a Rules,
}

impl Game<'_> {
    /// The steps that are played: all but the first hour.
    pub(super) fn span(&self) -> Range<usize> {
        self.world.trace.samples_in(WARM_S)..self.world.trace.len()
    }

    pub(super) fn ticks(&self) -> impl Iterator<Item = usize> + use<> {
        self.span().step_by(self.world.trace.samples_in(self.rules.every_s))
    }

    /// Plays a policy. The service begins at the edge site nearest to its users, or in the cloud.
    pub fn play(&self, policy: &dyn Policy, in_cloud: bool) -> Outcome {
        let mut outcome = Outcome::default();
        let span = self.span();
        let mut here = if in_cloud { self.world.cloud() } else { self.world.nearest[span.start] };
        let (mut from, mut moves) = (span.start, Vec::new());
        // While it moves nothing is asked.
        for at in self.ticks() {
            if at < from {
                continue;
            }
            let (to, places) = self.places(here, at);
            let step_s = self.world.trace.step_s;
            let ago = |&moved: &usize| (at - moved) as u64 * u64::from(step_s);
            let verdict = policy.decide(&Moment {
                now_s: self.now_s(at),
                step_s,
                here: self.place(here, at),
                others: &places,
                moved_s_ago: &moves.iter().rev().map(ago).collect::<Vec<_>>(),
            });
            if let Some(needed) = self.needed(here, at) {
                outcome.judge(verdict.alarm, needed);
            }
            if let Some(to) = verdict.go.and_then(|go| to.get(go)) {
                from = self.go(&mut outcome, (here, *to), from, at);
                moves.push(at);
                here = *to;
            }
        }
        self.spend(&mut outcome, here, from..span.end);
        outcome.seconds = span.len() as f64 * f64::from(self.world.trace.step_s);
        outcome
    }

    pub(super) fn now_s(&self, at: usize) -> i64 {
        let trace = &self.world.trace;
        trace.start_s + at as i64 * i64::from(trace.step_s)
    }

    /// Accounts for the time before a move and for the move; answers when it arrives.
    pub(super) fn go(
        &self,
        outcome: &mut Outcome,
        (here, to): (usize, usize),
        from: usize,
        at: usize,
    ) -> usize {
        let arrives = (at + self.move_steps(to)).min(self.span().end);
        self.spend(outcome, here, from..arrives);
        let seconds = (arrives - at) as f64 * f64::from(self.world.trace.step_s);
        let cloud = to == self.world.cloud();
        outcome.migrations += 1;
        outcome.cost.migration += self.rules.prices.second(cloud) * seconds;
        if cloud {
            outcome.cloud_s += seconds;
            outcome.bytes_to_cloud += self.scenario.service.state_bytes;
        }
        arrives
    }

    pub(super) fn move_steps(&self, to: usize) -> usize {
        let move_s = self.scenario.service.move_s(to != self.world.cloud());
        move_s.div_ceil(self.world.trace.step_s) as usize
    }

    /// Where else it could be. First comes where who knows no better would go: from the cloud, or from
    /// an edge site that the users have left, to the nearest one; from there to the cloud.
    fn places(&self, here: usize, at: usize) -> (Vec<usize>, Vec<Place<'_>>) {
        let (nearest, cloud) = (self.world.nearest[at], self.world.cloud());
        let first = if here == nearest { cloud } else { nearest };
        let rest = (0..=cloud).filter(|&site| site != here && site != first);
        let order: Vec<_> = std::iter::once(first).chain(rest).collect();
        let places = order.iter().map(|&site| self.place(site, at)).collect();
        (order, places)
    }

    fn place(&self, site: usize, at: usize) -> Place<'_> {
        let edge = site != self.world.cloud();
        let seen = &self.world.trace.sites[site];
        let move_s = self.scenario.service.move_s(edge);
        Place { name: &seen.name, past: &seen.samples[..=at], edge, move_s }
    }

    /// Whether the level is broken in minutes 5 to 10; nothing at the end of the day.
    pub(super) fn needed(&self, site: usize, at: usize) -> Option<bool> {
        let trace = &self.world.trace;
        let ahead = trace.samples_in(NEEDED_S.0)..trace.samples_in(NEEDED_S.1);
        if at + ahead.end >= trace.len() {
            return None;
        }
        let samples = &trace.sites[site].samples;
        let (highest, stalled) = worst(samples, at, ahead, trace.samples_in(30));
        Some(stalled || highest > self.rules.sla_ms)
    }

    pub(super) fn spend(&self, outcome: &mut Outcome, site: usize, span: Range<usize>) {
        let Rules { sla_ms, prices, .. } = self.rules;
        let (trace, cloud) = (&self.world.trace, site == self.world.cloud());
        let step_s = f64::from(trace.step_s);
        let seconds = span.len() as f64 * step_s;
        for sample in &trace.sites[site].samples[span] {
            if sample.breaks(*sla_ms) {
                outcome.sla_broken_s += step_s;
            }
            outcome.cost.penalty += prices.penalty(sample.latency_ms, *sla_ms) * step_s;
        }
        outcome.cost.infrastructure += prices.second(cloud) * seconds;
        outcome.cost.control += prices.control_hour / 3600.0 * seconds;
        if cloud {
            outcome.cloud_s += seconds;
            outcome.bytes_to_cloud += self.scenario.service.sent_bytes_s * seconds;
        }
    }
}

/// At the edge site that is nearest to the users, whatever happens there.
#[derive(Debug, Clone, Copy)]
pub struct EdgeOnly;

impl Policy for EdgeOnly {
    fn decide(&self, moment: &Moment) -> Verdict {
        let nearer = moment.others.first().is_some_and(|place| place.edge);
        Verdict { alarm: false, go: nearer.then_some(0) }
    }
}

/// In the cloud, whatever happens there.
#[derive(Debug, Clone, Copy)]
pub struct CloudOnly;

impl Policy for CloudOnly {
    fn decide(&self, moment: &Moment) -> Verdict {
        let cloud = moment.others.iter().position(|place| !place.edge);
        Verdict { alarm: false, go: cloud.filter(|_| moment.here.edge) }
    }
}
