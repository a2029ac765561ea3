//! What policies learn before they are played: in worlds of other seeds than those.

use super::{
    Game, Parameters, Rules, Scenario, World,
    play::{Outcome, WARM_S},
};
use crate::{
    Error, Result,
    forecast::{Ahead, broken_share},
    model::{Boosting, Growth, Trees},
    policy::{Limits, Policy, Reactive},
    replay::NEEDED_S,
    weigh::{Scales, Sight, Weighing},
};
use serde::Serialize;
use std::{collections::BTreeMap, sync::Arc};

/// Forecasts are learned in worlds from this seed on, policies are tried in those from the next.
pub(super) const LESSON_SEEDS: u64 = 1 << 20;
pub(super) const TRIAL_SEEDS: u64 = 1 << 21;
/// Seconds from one moment that is learned from to the next.
const MOMENT_S: u32 = 120;
/// Near misses teach as well: see [`broken_share`].
const SOFTNESS_MS: f64 = 5.0;
/// How forecasts are grown.
const BOOSTING: Boosting = Boosting {
    trees: 200,
    rate: 0.08,
    growth: Growth { leaves: 6, leaf_rows: 100, shrink_rows: 10.0, figures: 0 },
};

/// What is tried, one after the other, from the middle on: how far ahead a move must pay, what a
/// broken second is worth, what a move has to gain, how long it rests, where an alarm begins.
const HORIZONS_S: [u32; 4] = [180, 300, 600, 900];
const BROKEN_EUR: [f64; 6] = [1.6e-3, 3.2e-3, 6.4e-3, 1.28e-2, 2.56e-2, 5.12e-2];
const MARGINS_EUR_HOUR: [f64; 7] = [0.0, 0.06, 0.12, 0.24, 0.48, 0.96, 1.92];
const COOL_DOWNS_S: [u32; 5] = [60, 120, 300, 600, 900];
const ALARMS: [f64; 9] = [0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6];
/// The part of the time that a setting may spend in the cloud: less than half of it is wanted, and
/// days differ.
const CLOUD_MAX: f64 = 0.45;

/// What a reactive rule is tried with: windows, shares of the level, and below which latency it
/// leaves the cloud.
const WINDOWS_S: [u32; 4] = [30, 60, 120, 300];
const FACTORS: [f64; 5] = [0.7, 0.75, 0.8, 0.9, 1.0];
const BACK: [Option<f64>; 4] = [None, Some(0.7), Some(0.8), Some(0.9)];

/// Worlds in which something is learned or tried.
#[derive(Debug)]
pub(super) struct Worlds<'a> {
    worlds: Vec<World>,
    scenario: &'a Scenario,
    rules: &'a Rules,
}

impl<'a> Worlds<'a> {
    pub(super) fn new(
        scenario: &'a Scenario,
        parameters: &Parameters,
        rules: &'a Rules,
        seeds: std::ops::Range<u64>,
    ) -> Result<Self> {
        let worlds: Result<_> = seeds.map(|seed| World::new(scenario, parameters, seed)).collect();
        Ok(Self { worlds: worlds?, scenario, rules })
    }

    pub(super) fn games(&self) -> impl Iterator<Item = Game<'_>> {
        let (scenario, rules) = (self.scenario, self.rules);
        self.worlds.iter().map(move |world| Game { world, scenario, rules })
    }

    /// What came of a policy in all of them together.
    pub(super) fn play(&self, policy: &dyn Policy) -> Outcome {
        let mut sum = Outcome::default();
        self.games().for_each(|game| sum.add(&game.play(policy, false)));
        sum
    }

    /// The reactive rule with the least broken time here, in words as well.
    pub(super) fn reactive(&self) -> (Reactive, String) {
        let mut best = (f64::INFINITY, reactive_rule(self.rules), String::new());
        for (window_s, factor) in WINDOWS_S.into_iter().flat_map(|at| FACTORS.map(|by| (at, by))) {
            for back in BACK {
                let sla_ms = self.rules.sla_ms;
                // The mean is divided by the factor before it is compared.
                let below =
                    |share: f64| Limits::EdgeAboveCloudBelow(sla_ms, share * sla_ms / factor);
                let limits = back.map_or(Limits::Level(sla_ms), below);
                let policy = Reactive { limits, factor, window_s };
                let broken_s = self.play(&policy).sla_broken_s;
                if broken_s < best.0 {
                    let mut text = format!("mean of {window_s} s above {factor} of the level");
                    if let Some(back) = back {
                        text.push_str(&format!(", back from the cloud below {back} of it"));
                    }
                    best = (broken_s, policy, text);
                }
            }
        }
        (best.1, best.2)
    }

    /// The figures of moments in these worlds, and what came after.
    pub(super) fn lesson(&self) -> Result<Lesson<'_>> {
        let step_s = self.worlds.first().map_or(1, |world| world.trace.step_s);
        let mut lesson = Lesson {
            worlds: self,
            sight: Sight::new(step_s, self.rules.sla_ms),
            rows: Vec::new(),
            moments: Vec::new(),
        };
        for (at, game) in self.games().enumerate() {
            lesson.look(at, &game);
        }
        if lesson.rows.len() < 1000 {
            let text = format!("{} moments are too few to learn from: 1000", lesson.rows.len());
            return Err(Error::Unfit(text));
        }
        Ok(lesson)
    }
}

/// The rule that leaves when the mean of five minutes is above the level.
pub fn reactive_rule(rules: &Rules) -> Reactive {
    Reactive { limits: Limits::Level(rules.sla_ms), factor: 1.0, window_s: 300 }
}

/// Rows of figures, and where each was seen: world, site, step.
#[derive(Debug)]
pub(super) struct Lesson<'a> {
    worlds: &'a Worlds<'a>,
    sight: Sight,
    rows: Vec<Vec<f64>>,
    moments: Vec<(usize, usize, usize)>,
}

impl Lesson<'_> {
    fn look(&mut self, number: usize, game: &Game) {
        let trace = &game.world.trace;
        let longest = HORIZONS_S[HORIZONS_S.len() - 1] + self.moves_s()[1];
        let ahead = trace.samples_in(longest.max(NEEDED_S.1)) + 1;
        let last = trace.len().saturating_sub(ahead);
        for at in (trace.samples_in(WARM_S)..last).step_by(trace.samples_in(MOMENT_S)) {
            let place =
                |site: usize| (&trace.sites[site].samples[..=at], site != game.world.cloud());
            let places: Vec<_> = (0..trace.sites.len()).map(place).collect();
            self.rows.extend(self.sight.rows(game.now_s(at), &places));
            self.moments.extend((0..places.len()).map(|site| (number, site, at)));
        }
    }

    fn moves_s(&self) -> [u32; 2] {
        [true, false].map(|edge| self.worlds.scenario.service.move_s(edge))
    }

    fn fit(&self, truth: impl Fn(&World, usize, usize) -> f64) -> Result<Arc<Trees>> {
        let truths = self
            .moments
            .iter()
            .map(|&(number, site, at)| truth(&self.worlds.worlds[number], site, at));
        Ok(Arc::new(BOOSTING.fit(&self.rows, &truths.collect::<Vec<_>>())?))
    }

    /// The forecasts of what is broken over a horizon from when each kind of move arrives.
    fn shares(&self, horizon_s: u32) -> Result<Vec<(Ahead, Arc<Trees>)>> {
        let mut shares = Vec::new();
        for move_s in self.moves_s() {
            let fitted = self.fit(|world, site, at| {
                let trace = &world.trace;
                let ahead = trace.samples_in(move_s)..trace.samples_in(move_s + horizon_s);
                let sla_ms = self.worlds.rules.sla_ms;
                broken_share(&trace.sites[site].samples, at, ahead, sla_ms, SOFTNESS_MS)
            })?;
            shares.push(((move_s, move_s + horizon_s), fitted));
        }
        Ok(shares)
    }

    /// A policy for each horizon, with scales that are not chosen yet.
    pub(super) fn policies(&self) -> Result<BTreeMap<u32, Weighing>> {
        let (worlds, scenario, rules) = (self.worlds, self.worlds.scenario, self.worlds.rules);
        let risk = self.fit(|world, site, at| {
            let needed = Game { world, scenario, rules }.needed(site, at);
            f64::from(u8::from(needed.unwrap_or(false)))
        })?;
        let scales = Scales { broken_eur: 8e-4, margin_eur_hour: 0.01, cool_down_s: 600 };
        let mut policies = BTreeMap::new();
        for horizon_s in HORIZONS_S {
            let (sight, risk) = (self.sight.clone(), risk.clone());
            let (shares, prices) = (self.shares(horizon_s)?, worlds.rules.prices);
            let policy = Weighing { sight, shares, risk, alarm_at: 0.3, prices, scales };
            policies.insert(horizon_s, policy);
        }
        Ok(policies)
    }
}

/// A setting of the proactive policy that was tried.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Trial {
    /// Over how many seconds a move must pay.
    pub horizon_s: u32,
    /// How it weighs.
    pub scales: Scales,
    /// From which share of certainty on it raises an alarm.
    pub alarm_at: f64,
    /// What came of it.
    pub outcome: Outcome,
}

/// Looks for the best setting, one number after the other, beginning with the usual ones.
pub(super) fn search(
    policies: &BTreeMap<u32, Weighing>,
    trials: &Worlds,
    progress: &mut dyn FnMut(&str),
) -> Option<(Weighing, Vec<Trial>)> {
    let mut tried = Vec::new();
    let mut best = (policies.values().nth(1).or(policies.values().next())?.clone(), f64::INFINITY);
    let mut attempt = |policy: Weighing, best: &mut (Weighing, f64)| {
        let outcome = trials.play(&policy);
        let horizon_s = policy.shares.first().map_or(0, |(ahead, _)| ahead.1 - ahead.0);
        let (scales, alarm_at) = (policy.scales, policy.alarm_at);
        tried.push(Trial { horizon_s, scales, alarm_at, outcome });
        if loss(&outcome) < best.1 {
            *best = (policy, loss(&outcome));
        }
    };
    // What a broken second is worth and what a move has to gain depend on each other: twice.
    for round in ["first", "second"] {
        progress(&format!("settings, {round} round"));
        for broken_eur in BROKEN_EUR {
            let mut policy = best.0.clone();
            policy.scales.broken_eur = broken_eur;
            attempt(policy, &mut best);
        }
        for margin_eur_hour in MARGINS_EUR_HOUR {
            let mut policy = best.0.clone();
            policy.scales.margin_eur_hour = margin_eur_hour;
            attempt(policy, &mut best);
        }
        for cool_down_s in COOL_DOWNS_S {
            let mut policy = best.0.clone();
            policy.scales.cool_down_s = cool_down_s;
            attempt(policy, &mut best);
        }
        for policy in policies.values() {
            let Weighing { scales, alarm_at, .. } = best.0;
            attempt(Weighing { scales, alarm_at, ..policy.clone() }, &mut best);
        }
    }
    let mut policy = best.0;
    let f1 = |alarm_at: f64| trials.play(&Weighing { alarm_at, ..policy.clone() }).f1();
    let judged = ALARMS.map(|alarm_at| (f1(alarm_at), alarm_at));
    let alarm = judged.into_iter().max_by(|one, other| one.0.total_cmp(&other.0));
    policy.alarm_at = alarm.map_or(policy.alarm_at, |(_, alarm_at)| alarm_at);
    Some((policy, tried))
}

/// Broken time; more of the cloud than is allowed is worse than all that is broken.
fn loss(outcome: &Outcome) -> f64 {
    let beyond = outcome.cloud_s / outcome.seconds - CLOUD_MAX;
    if beyond > 0.0 { (1.0 + beyond) * outcome.seconds } else { outcome.sla_broken_s }
}
