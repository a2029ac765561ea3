//! What is learned and chosen on the training part, before the rest is played.

use super::{Level, NEEDED_S, Rule, Setup, walk::Player};
use crate::{
    Result, Stretch, Trace,
    forecast::{Forecast, Lesson, broken_share, validated, worst},
    model::Conformal,
    policy::{Ewma, Policy, Proactive, Reactive, Reference},
};
use std::{collections::VecDeque, ops::Range, sync::Arc};

/// A forecast that waits for its truth: when, what, its interval, the truth.
type Said = (usize, f64, f64, Option<(f64, f64)>, f64);

/// The windows and half-lives that are tried, in seconds, and the factors.
const WINDOWS_S: [u32; 4] = [30, 60, 120, 300];
const HALF_LIVES_S: [u32; 4] = [30, 60, 180, 600];
const FACTORS: [f64; 5] = [0.7, 0.75, 0.8, 0.9, 1.0];
/// Where an alarm may begin, in shares of certainty.
const ALARMS: [f64; 9] = [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6];

/// Where it begins when there is too little to try.
const ALARM_UNTRIED: f64 = 0.5;

/// The policies as they come out of training.
#[derive(Debug)]
pub(super) struct Learnt {
    reactive: Reactive,
    tuned: Option<Reactive>,
    ewma: Option<Ewma>,
    reference: Option<Reference>,
    proactive: Option<Proactive>,
}

impl Learnt {
    pub(super) fn of(learn: &Stretch, level: Level, setup: &Setup, rules: &[Rule]) -> Result<Self> {
        let (trace, learn) = (learn.trace, learn.span.clone());
        let wanted = |rule: Rule| rules.contains(&rule);
        let player = Player { trace, play: learn.clone(), level, setup };
        let plain = Reactive { limits: level.limits, factor: 1.0, window_s: 300 };
        let forecasts = wanted(Rule::Reference) || wanted(Rule::Proactive);
        let ahead_s =
            NEEDED_S.1.max(setup.to_cloud_s + setup.every_s).max(setup.to_edge_s + setup.every_s);
        let lesson = match forecasts {
            true => Some(Lesson::new(trace, learn.clone(), ahead_s, &setup.training)?),
            false => None,
        };
        let reference = lesson.as_ref().map(|lesson| reference(lesson, trace, level));
        let proactive = match &lesson {
            Some(lesson) if wanted(Rule::Proactive) => {
                Some(proactive(lesson, trace, learn, level, setup)?)
            }
            _ => None,
        };
        Ok(Self {
            reactive: plain,
            tuned: wanted(Rule::TunedReactive).then(|| best_reactive(&player, plain)),
            ewma: wanted(Rule::Ewma).then(|| best_ewma(&player, plain)),
            reference: reference.transpose()?,
            proactive,
        })
    }

    /// The policy of a rule; one that only compares is as the reactive one.
    pub(super) fn policy(&self, rule: Rule) -> &dyn Policy {
        let found: Option<&dyn Policy> = match rule {
            Rule::TunedReactive => self.tuned.as_ref().map(|policy| policy as _),
            Rule::Ewma => self.ewma.as_ref().map(|policy| policy as _),
            Rule::Reference => self.reference.as_ref().map(|policy| policy as _),
            Rule::Proactive => self.proactive.as_ref().map(|policy| policy as _),
            Rule::Reactive | Rule::StayA | Rule::StayB | Rule::Oracle => None,
        };
        found.unwrap_or(&self.reactive)
    }

    /// What training chose, in words.
    pub(super) fn tuned(&self, rule: Rule) -> String {
        match rule {
            Rule::TunedReactive => self.tuned.map(|policy| {
                format!("mean of {} s above {} of the level", policy.window_s, policy.factor)
            }),
            Rule::Ewma => self.ewma.map(|policy| {
                format!("half-life {} s, above {} of the level", policy.half_life_s, policy.factor)
            }),
            Rule::Proactive => {
                self.proactive.as_ref().map(|policy| format!("alarm from {}", policy.alarm_at))
            }
            _ => None,
        }
        .unwrap_or_default()
    }

    /// Forecasts the highest latency of minutes 5 to 10 at each minute that is played, with an
    /// interval of 80 % that learns as truths become known; the share of truths inside.
    pub(super) fn coverage(&self, player: &Player) -> Option<f64> {
        let forecast = &self.reference.as_ref()?.worst;
        let trace = player.trace;
        let steps = |seconds: u32| trace.samples_in(seconds);
        let ahead = steps(NEEDED_S.0)..steps(NEEDED_S.1);
        // What came before is known as well: intervals start with its errors.
        let start = player.play.start.saturating_sub(steps(4 * 3600));
        let (mut held, mut said) = (0_u32, 0_u32);
        for site in 0..2 {
            let past = |site: usize, at: usize| &trace.sites[site].samples[..=at];
            let mut conformal = Conformal::new(0.8, 120);
            let mut waiting: VecDeque<Said> = VecDeque::new();
            let last = player.play.end.min(trace.len()).saturating_sub(ahead.end + 1);
            for at in (start..last).step_by(steps(60)) {
                while waiting.front().is_some_and(|&(then, ..)| then + ahead.end <= at) {
                    if let Some((_, value, spread, interval, truth)) = waiting.pop_front() {
                        conformal.learn(value, spread, interval, truth);
                    }
                }
                let value = forecast.of(past(site, at), past(1 - site, at));
                let spread = spread(past(site, at), steps(600));
                let interval = conformal.around(value, spread);
                let (truth, _) = worst(&trace.sites[site].samples, at, ahead.clone(), steps(30));
                waiting.push_back((at, value, spread, interval, truth));
                if let Some((low, high)) =
                    interval.filter(|_| player.play.contains(&at) && truth.is_finite())
                {
                    said += 1;
                    held += u32::from((low..=high).contains(&truth));
                }
            }
        }
        (said > 0).then(|| f64::from(held) / f64::from(said))
    }
}

fn reference(lesson: &Lesson, trace: &Trace, level: Level) -> Result<Reference> {
    let steps = |seconds: u32| trace.samples_in(seconds);
    let ahead = steps(NEEDED_S.0)..steps(NEEDED_S.1);
    let truth =
        |samples: &[crate::Sample], at: usize| worst(samples, at, ahead.clone(), steps(30)).0;
    let worst = Arc::new(lesson.fit(truth)?);
    Ok(Reference { limits: level.limits, worst })
}

fn proactive(
    lesson: &Lesson,
    trace: &Trace,
    learn: Range<usize>,
    level: Level,
    setup: &Setup,
) -> Result<Proactive> {
    let (steps, training) = (|seconds: u32| trace.samples_in(seconds), &setup.training);
    let share = |move_s: u32| -> Result<_> {
        let (from_s, to_s) = (move_s, move_s + setup.every_s);
        let ahead = steps(from_s)..steps(to_s);
        let forecast = lesson.fit(|samples, at| {
            broken_share(samples, at, ahead.clone(), level.sla_ms, training.softness_ms)
        })?;
        Ok(((from_s, to_s), Arc::new(forecast)))
    };
    let ahead = steps(NEEDED_S.0)..steps(NEEDED_S.1);
    let broken = |samples: &[crate::Sample], at: usize| {
        let (highest, stalled) = worst(samples, at, ahead.clone(), steps(30));
        f64::from(u8::from(stalled || highest > level.sla_ms))
    };
    let alarm_at = match validated(trace, learn, NEEDED_S.1, training, broken)? {
        Some((moments, said)) => {
            let truths = [0, 1].map(|site: usize| {
                let samples = &trace.sites[site].samples;
                moments.iter().map(|&at| broken(samples, at)).collect::<Vec<_>>()
            });
            best_alarm(&said.concat(), &truths.concat())
        }
        None => ALARM_UNTRIED,
    };
    Ok(Proactive {
        shares: vec![share(setup.to_edge_s)?, share(setup.to_cloud_s)?],
        risk: Arc::<Forecast>::new(lesson.fit(broken)?),
        alarm_at,
        margin: setup.margin,
        cool_down_s: setup.cool_down_s,
    })
}

/// Where an alarm begins so that F1 is highest.
fn best_alarm(said: &[f64], truths: &[f64]) -> f64 {
    let f1 = |from: f64| {
        let count = |alarm: bool, needed: bool| {
            let pairs = said.iter().zip(truths);
            pairs
                .filter(|(said, truth)| (**said > from) == alarm && (**truth > 0.5) == needed)
                .count()
        };
        let (hits, wrong) = (count(true, true), count(true, false) + count(false, true));
        2.0 * hits as f64 / (2 * hits + wrong).max(1) as f64
    };
    ALARMS.into_iter().max_by(|one, other| f1(*one).total_cmp(&f1(*other))).unwrap_or(0.5)
}

fn best_reactive(player: &Player, plain: Reactive) -> Reactive {
    let each = WINDOWS_S
        .into_iter()
        .flat_map(|window_s| FACTORS.map(|factor| Reactive { window_s, factor, ..plain }));
    best(player, each).unwrap_or(plain)
}

fn best_ewma(player: &Player, plain: Reactive) -> Ewma {
    let of = |half_life_s: u32, factor: f64| Ewma { limits: plain.limits, factor, half_life_s };
    let each =
        HALF_LIVES_S.into_iter().flat_map(|half_life| FACTORS.map(|factor| of(half_life, factor)));
    best(player, each).unwrap_or(of(60, 1.0))
}

/// The policy with the least broken time on the training part.
fn best<P: Policy>(player: &Player, each: impl Iterator<Item = P>) -> Option<P> {
    let tried = each.map(|policy| (player.play(&policy).broken_s(), policy));
    tried.min_by(|one, other| one.0.total_cmp(&other.0)).map(|(_, policy)| policy)
}

/// How far latencies were apart lately, in milliseconds: so uncertain is what comes.
fn spread(past: &[crate::Sample], samples: usize) -> f64 {
    let last = &past[past.len().saturating_sub(samples)..];
    let latencies = || last.iter().filter_map(|sample| sample.latency_ms);
    let (highest, usual) =
        (latencies().fold(f64::NAN, f64::max), crate::features::mean(latencies()));
    10.0 + (highest - usual).max(0.0)
}
