//! Rules that say whether a service leaves its site.
//!
//! All are pure: a [`Moment`] goes in, a [`Verdict`] comes out. The same rule runs over a recorded
//! trace, in the simulator and beside a live service.

use crate::{
    Sample,
    features::mean,
    forecast::{Ahead, Forecast},
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A site where the service is or could be.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The site's name.
    pub name: &'a str,
    /// What was measured there up to now.
    pub past: &'a [Sample],
    /// It is at the edge.
    pub edge: bool,
    /// Seconds that a move there takes from where the service is.
    pub move_s: u32,
}

/// All that is known when a rule is asked.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'a> {
    /// Unix time in seconds, real or virtual.
    pub now_s: i64,
    /// Seconds from one sample to the next.
    pub step_s: u32,
    /// Where the service is.
    pub here: Place<'a>,
    /// Where else it could be; the first is where it goes when a rule knows no better.
    pub others: &'a [Place<'a>],
    /// How many seconds ago it moved, the last time first.
    pub moved_s_ago: &'a [u64],
}

/// What a rule says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verdict {
    /// It expects the service level to be broken here, whether or not it moves.
    pub alarm: bool,
    /// To which of the other places the service is to move.
    pub go: Option<usize>,
}

/// A rule.
pub trait Policy: std::fmt::Debug + Send + Sync {
    /// What is to be done at a moment.
    fn decide(&self, moment: &Moment) -> Verdict;
}

/// When a value says that the service should leave.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limits {
    /// Above one level, wherever it is.
    Level(f64),
    /// Above the first at the edge, below the second in the cloud: back when there is no need to be
    /// away. In milliseconds.
    EdgeAboveCloudBelow(f64, f64),
}

impl Limits {
    /// Whether a service with this value leaves its site.
    pub fn leaves(self, value_ms: f64, at_edge: bool) -> bool {
        match self {
            Self::Level(level) => value_ms > level,
            Self::EdgeAboveCloudBelow(above, _) if at_edge => value_ms > above,
            Self::EdgeAboveCloudBelow(_, below) => value_ms < below,
        }
    }
}

/// Never moves.
#[derive(Debug, Clone, Copy)]
pub struct Stay;

impl Policy for Stay {
    fn decide(&self, _: &Moment) -> Verdict {
        Verdict { alarm: false, go: None }
    }
}

/// Leaves when the mean latency of the last seconds is beyond the limits, or nothing was answered.
#[derive(Debug, Clone, Copy)]
pub struct Reactive {
    /// The limits.
    pub limits: Limits,
    /// By which the mean is divided first: 0.9 leaves at nine tenths of the limit.
    pub factor: f64,
    /// How many seconds.
    pub window_s: u32,
}

impl Policy for Reactive {
    fn decide(&self, moment: &Moment) -> Verdict {
        let samples = (self.window_s / moment.step_s).max(1) as usize;
        let last = latest(moment.here.past, samples);
        verdict(
            self.limits,
            self.factor,
            mean(last.iter().filter_map(|sample| sample.latency_ms)),
            moment,
        )
    }
}

/// As [`Reactive`], with a mean in which the weight of a sample halves with its age.
#[derive(Debug, Clone, Copy)]
pub struct Ewma {
    /// The limits.
    pub limits: Limits,
    /// As for [`Reactive`].
    pub factor: f64,
    /// Seconds in which the weight halves.
    pub half_life_s: u32,
}

impl Policy for Ewma {
    fn decide(&self, moment: &Moment) -> Verdict {
        // After ten half-lives a sample weighs a thousandth.
        let samples = (10 * self.half_life_s / moment.step_s).max(1) as usize;
        let keep = 0.5_f64.powf(f64::from(moment.step_s) / f64::from(self.half_life_s.max(1)));
        let last = latest(moment.here.past, samples);
        let average = last
            .iter()
            .filter_map(|sample| sample.latency_ms)
            .fold((0.0, 0.0), |(sum, weight), latency| (sum * keep + latency, weight * keep + 1.0));
        verdict(self.limits, self.factor, average.0 / average.1, moment)
    }
}

/// A value that is not a number comes from a service that answered nothing.
fn verdict(limits: Limits, factor: f64, value_ms: f64, moment: &Moment) -> Verdict {
    let alarm = value_ms.is_nan() || limits.leaves(value_ms / factor, moment.here.edge);
    Verdict { alarm, go: (alarm && !moment.others.is_empty()).then_some(0) }
}

fn latest(past: &[Sample], samples: usize) -> &[Sample] {
    &past[past.len().saturating_sub(samples)..]
}

/// The reference's proactive rule: leaves when the highest latency that is forecast for this site
/// is beyond the limits. It does not ask how the other site will be.
#[derive(Debug, Clone)]
pub struct Reference {
    /// The limits.
    pub limits: Limits,
    /// Of the highest latency of minutes 5 to 10 ahead.
    pub worst: Arc<Forecast>,
}

impl Policy for Reference {
    fn decide(&self, moment: &Moment) -> Verdict {
        // The forecast was fitted to pairs of sites.
        let there = moment.others.first().map_or(&[][..], |other| other.past);
        verdict(self.limits, 1.0, self.worst.of(moment.here.past, there), moment)
    }
}

/// Compares how each other site and this one are expected to be in the time that a move can still
/// change, and goes where the least of it will break the service level.
#[derive(Debug, Clone)]
pub struct Proactive {
    /// By the seconds that a move takes, the forecast of the broken share from then on.
    pub shares: Vec<(Ahead, Arc<Forecast>)>,
    /// The forecast that the level is broken here in minutes 5 to 10, as a share of certainty.
    pub risk: Arc<Forecast>,
    /// From where on that is an alarm.
    pub alarm_at: f64,
    /// By which share the other site must be better.
    pub margin: f64,
    /// Seconds between two moves, at least.
    pub cool_down_s: u32,
}

impl Policy for Proactive {
    fn decide(&self, moment: &Moment) -> Verdict {
        // All forecasts of a rule see the same features, which are more work than the forecasts.
        let features = &self.risk.features;
        let here = features.of(moment.here.past);
        let mut verdict = Verdict { alarm: false, go: None };
        let mut best = self.margin;
        for (at, place) in moment.others.iter().enumerate() {
            let there = features.of(place.past);
            let (pair, other) = ([&here[..], &there].concat(), [&there[..], &here].concat());
            verdict.alarm |= self.risk.of_row(&pair) > self.alarm_at;
            // A forecast that is not a number is no reason to go.
            let gain = self.gain(place.move_s, &pair, &other);
            if gain > best {
                (best, verdict.go) = (gain, Some(at));
            }
        }
        let last = moment.moved_s_ago.first();
        verdict.go = verdict.go.filter(|_| last.is_none_or(|ago| *ago >= self.cool_down_s.into()));
        verdict
    }
}

impl Proactive {
    /// By which share less would be broken at the other site.
    fn gain(&self, move_s: u32, here: &[f64], other: &[f64]) -> f64 {
        let away = |(ahead, _): &&(Ahead, Arc<Forecast>)| ahead.0.abs_diff(move_s);
        let Some((_, share)) = self.shares.iter().min_by_key(away) else {
            return f64::NAN;
        };
        share.of_row(here) - share.of_row(other)
    }
}
