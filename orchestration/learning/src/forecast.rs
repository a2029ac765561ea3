//! What is forecast of a site: how much of the time ahead will break the service level, the
//! highest latency, and whether that lies above the level.

use crate::{
    Error, Result, Sample, Trace,
    features::Features,
    model::{Design, Fitted, Fold, Kind, Model, folds},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, ops::Range};

/// A stretch ahead of a moment, in seconds: after the first up to and with the second.
pub type Ahead = (u32, u32);

/// How models are trained. The defaults were chosen on the first 70 % of the testbed's hours
/// (`examples/grid.rs`): of three parts of them, each played with what lay before, the highest ratio
/// to the reactive rule over all service levels is the lowest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Training {
    /// What is fitted.
    pub kind: Kind,
    /// Latencies that count as high, in milliseconds.
    pub levels_ms: Vec<f64>,
    /// The penalty of the regression, in rows; trees have a tenth of it in a leaf.
    pub penalty: f64,
    /// A sample so far below the service level counts as broken by 27 %, at it by 50 %, so far above by
    /// 73 %: near misses say more about what is to come than the few real ones alone.
    pub softness_ms: f64,
    /// Seconds from one moment that is learned from to the next.
    pub every_s: u32,
}

impl Default for Training {
    fn default() -> Self {
        Self {
            kind: Kind::Ridge,
            levels_ms: vec![100.0, 120.0, 140.0],
            penalty: 1000.0,
            softness_ms: 10.0,
            every_s: 60,
        }
    }
}

/// The blocks of validation, and how many folds they are dealt out to.
const BLOCK_S: u32 = 7200;
const FOLDS: usize = 6;
/// With fewer moments there is nothing to learn.
const MOMENTS_MIN: usize = 50;

/// Moments of a trace with their figures, ready to fit several targets to.
#[derive(Debug)]
pub struct Lesson<'a> {
    trace: &'a Trace,
    features: Features,
    moments: Vec<usize>,
    /// Those of the first site, then those of the second.
    rows: Vec<Vec<f64>>,
    design: Design,
    training: &'a Training,
}

impl<'a> Lesson<'a> {
    /// Takes the moments of a stretch of the trace whose next `ahead_s` seconds lie in it.
    ///
    /// # Errors
    /// A trace of other than two sites, or one that is too short.
    pub fn new(
        trace: &'a Trace,
        span: Range<usize>,
        ahead_s: u32,
        training: &'a Training,
    ) -> Result<Self> {
        let end = span.end.min(trace.len()).saturating_sub(trace.samples_in(ahead_s) + 1);
        let moments = (span.start..end).step_by(trace.samples_in(training.every_s)).collect();
        Self::of(trace, moments, training)
    }

    fn of(trace: &'a Trace, moments: Vec<usize>, training: &'a Training) -> Result<Self> {
        if trace.sites.len() != 2 {
            let sites = trace.sites.len();
            return Err(Error::Unfit(format!("two sites are compared; the trace has {sites}")));
        }
        if moments.len() < MOMENTS_MIN {
            let (count, every) = (moments.len(), training.every_s);
            let text = format!(
                "{count} moments of {every} s are too few to learn from: give at least {MOMENTS_MIN}"
            );
            return Err(Error::Unfit(text));
        }
        let features = Features::of_latency(trace.step_s, &training.levels_ms);
        let rows = [(0, 1), (1, 0)].into_iter().flat_map(|(here, there)| {
            let (features, moments) = (&features, &moments);
            moments.iter().map(move |&at| row(features, trace, here, there, at))
        });
        let rows: Vec<_> = rows.collect();
        let design = Design::new(&rows)?;
        Ok(Self { trace, features, moments, rows, design, training })
    }

    /// Fits what comes after each moment; a truth that is not known teaches nothing.
    ///
    /// # Errors
    /// A penalty that is not above 0.
    pub fn fit(&self, truth: impl Fn(&[Sample], usize) -> f64) -> Result<Forecast> {
        let sites = self.trace.sites.iter();
        let mut truths: Vec<_> = sites
            .flat_map(|site| self.moments.iter().map(|&at| truth(&site.samples, at)))
            .collect();
        let known = truths.iter().copied().filter(|truth| truth.is_finite());
        let usual = crate::features::mean(known);
        let usual = if usual.is_finite() { usual } else { 0.0 };
        truths.iter_mut().filter(|truth| !truth.is_finite()).for_each(|truth| *truth = usual);
        let Training { kind, penalty, .. } = *self.training;
        let model = kind.fit(&self.design, &self.rows, &truths, penalty)?;
        Ok(Forecast { features: self.features.clone(), model })
    }
}

fn row(features: &Features, trace: &Trace, here: usize, there: usize, at: usize) -> Vec<f64> {
    let past = |site: usize| &trace.sites[site].samples[..=at];
    features.of_pair(past(here), past(there))
}

/// A fitted forecast of one site, from its own past and that of the other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// What it sees.
    pub features: Features,
    model: Fitted,
}

impl Forecast {
    /// The forecast for `here`; each past ends with the same moment.
    pub fn of(&self, here: &[Sample], there: &[Sample]) -> f64 {
        self.model.predict(&self.features.of_pair(here, there))
    }

    /// The forecast for a row of its features, those of the site first.
    pub fn of_row(&self, row: &[f64]) -> f64 {
        self.model.predict(row)
    }

    /// The figures that say most of it: name, value, usual value, and what it adds.
    pub fn why(&self, here: &[Sample], there: &[Sample]) -> Vec<(String, f64, f64, f64)> {
        let (row, names) = (self.features.of_pair(here, there), self.features.pair_names());
        let parts = self.model.explain(&row).into_iter();
        parts
            .map(|part| (names[part.feature].clone(), row[part.feature], part.baseline, part.adds))
            .collect()
    }
}

/// The share of samples ahead that break the service level, each counted by how far it lies above
/// or below (the logistic function).
pub fn broken_share(
    samples: &[Sample],
    at: usize,
    ahead: Range<usize>,
    sla_ms: f64,
    softness_ms: f64,
) -> f64 {
    let each = samples[at + ahead.start + 1..=at + ahead.end].iter();
    crate::features::mean(each.map(|sample| match sample.latency_ms {
        None => 1.0,
        Some(latency) => 1.0 / (1.0 + ((sla_ms - latency) / softness_ms.max(1e-3)).exp()),
    }))
}

/// The highest latency ahead of the samples 30 seconds apart, as the testbed's reports have it, and
/// whether one of them had no answer.
pub fn worst(samples: &[Sample], at: usize, ahead: Range<usize>, every: usize) -> (f64, bool) {
    let ahead = &samples[at + ahead.start..=at + ahead.end];
    let each = ahead.iter().skip(every).step_by(every.max(1));
    each.fold((f64::NAN, false), |(highest, stalled), sample| match sample.latency_ms {
        None => (highest, true),
        Some(latency) => (highest.max(latency), stalled),
    })
}

/// What was forecast at which moments, for each of the two sites.
pub type Validated = (Vec<usize>, [Vec<f64>; 2]);

/// Forecasts for the moments of a stretch, each by a model that has seen neither the moment nor
/// what touches it: by folds within it. Nothing if the stretch is too short for that.
///
/// `truth` looks at most `ahead_s` seconds ahead.
///
/// # Errors
/// As of [`Lesson::new`].
pub fn validated(
    trace: &Trace,
    span: Range<usize>,
    ahead_s: u32,
    training: &Training,
    truth: impl Fn(&[Sample], usize) -> f64 + Copy,
) -> Result<Option<Validated>> {
    let after = trace.samples_in(ahead_s) + 1;
    let before = trace.samples_in(crate::features::PAST_S / 2);
    let span = span.start..span.end.saturating_sub(after).max(span.start + 1);
    let every = trace.samples_in(training.every_s);
    let block = trace.samples_in(BLOCK_S);
    let folds = folds(span, every, block, FOLDS, before, after);
    if folds.iter().any(|fold| fold.learn.len() < MOMENTS_MIN) {
        return Ok(None);
    }
    let mut said = BTreeMap::new();
    for Fold { learn, predict } in folds {
        let forecast = Lesson::of(trace, learn, training)?.fit(truth)?;
        for at in predict {
            let past = |site: usize| &trace.sites[site].samples[..=at];
            said.insert(
                at,
                [(0, 1), (1, 0)].map(|(here, there)| forecast.of(past(here), past(there))),
            );
        }
    }
    let of = |site: usize| said.values().map(|both| both[site]).collect();
    let both = [of(0), of(1)];
    Ok(Some((said.into_keys().collect(), both)))
}
