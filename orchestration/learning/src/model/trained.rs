//! A model of any kind with all that it takes to use it.

use super::{
    Conformal, Examples, Fitted, Met, Method, Model, Score, Target, examples::Question, lstm,
    method::Body, quantile, score,
};
use crate::{
    Error, Past, Prediction, Predictor, Reason, Result, Sample,
    features::{Features, PAST_S},
    forecast::Ahead,
};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Intervals are made of so many errors, the last ones.
const ERRORS: usize = 300;
/// Intervals hold for this share of predictions.
pub(super) const SHARE: f64 = 0.8;
/// How uncertain a prediction is is read from so many seconds of the past.
const SPREAD_S: u32 = 600;
/// A quiet past is no certainty: the spread is at least this share of the usual truth.
pub(super) const GRAIN: f64 = 0.15;
/// Reasons that are told.
const REASONS_MAX: usize = 10;

/// A trained model, its intervals, and what it was trained on in brief.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trained {
    /// What it predicts.
    pub target: Target,
    /// Of which stretch ahead, in seconds.
    pub ahead: Ahead,
    /// How it was trained.
    pub method: Method,
    /// It sees the place beside another one.
    pub pair: bool,
    /// What it sees.
    pub features: Features,
    /// What its figures were like in training.
    pub reference: Reference,
    pub(super) body: Body,
    conformal: Conformal,
}

/// What was usual in training: what later telemetry is compared with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    /// The mean of the truths.
    pub usual: f64,
    /// One of ten truths lies above it.
    pub high: f64,
    /// The smallest spread.
    pub grain: f64,
    /// The mean of the series that is followed.
    pub series: f64,
    /// By figure, how it was distributed.
    pub tenths: Vec<Tenths>,
}

/// How a figure was distributed in training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Tenths {
    /// The values between tenths.
    pub cuts: [f64; 9],
    /// The shares that lie between them: tenths, but where many values are equal.
    pub shares: [f64; 10],
}

impl Tenths {
    /// Of finite values.
    pub fn new(mut values: Vec<f64>) -> Self {
        if values.is_empty() {
            return Self { cuts: [0.0; 9], shares: [0.1; 10] };
        }
        values.sort_by(f64::total_cmp);
        let cuts = std::array::from_fn(|cut| quantile(&values, (cut + 1) as f64 / 10.0));
        let mut tenths = Self { cuts, shares: [0.0; 10] };
        let each = 1.0 / values.len() as f64;
        values.iter().for_each(|x| tenths.shares[tenths.of(*x)] += each);
        tenths
    }

    /// Between which of them a value lies.
    pub fn of(&self, value: f64) -> usize {
        self.cuts.partition_point(|cut| *cut < value)
    }
}

impl Reference {
    pub(super) fn of(examples: &Examples, chosen: &[usize]) -> Self {
        let truths: Vec<_> = chosen.iter().map(|&at| examples.truths[at]).collect();
        let usual = crate::features::mean(truths.iter().copied());
        let target = examples.question.target;
        let series = chosen.iter().filter_map(|&at| {
            let example = examples.each[at];
            target.series(&examples.trace.sites[example.site].samples[example.at])
        });
        let series = crate::features::mean(series);
        let tenths = (0..examples.rows.first().map_or(0, Vec::len)).map(|figure| {
            let known = chosen.iter().map(|&at| examples.rows[at][figure]);
            Tenths::new(known.filter(|x| x.is_finite()).collect())
        });
        let series = if series.is_finite() { series } else { 0.0 };
        // Of shares and of series: what the spread is measured in is the series.
        let grain = (GRAIN * series.abs()).max(1e-6);
        Self { usual, high: score::high(&truths), grain, series, tenths: tenths.collect() }
    }

    fn is_sound(&self, width: usize) -> bool {
        let numbers = [self.usual, self.high, self.grain, self.series];
        numbers.iter().all(|x| x.is_finite())
            && self.grain > 0.0
            && self.tenths.len() == width
            && self
                .tenths
                .iter()
                .flat_map(|it| it.cuts.iter().chain(&it.shares))
                .all(|x| x.is_finite())
    }
}

impl Trained {
    pub(super) fn new(
        examples: &Examples,
        method: Method,
        body: Body,
        reference: Reference,
        conformal: Conformal,
    ) -> Self {
        let Question { target, ahead, .. } = examples.question;
        Self {
            target,
            ahead,
            method,
            pair: examples.is_pair(),
            features: examples.features.clone(),
            reference,
            body,
            conformal,
        }
    }

    /// Intervals of which nothing is known yet.
    pub(super) fn untaught() -> Conformal {
        Conformal::new(SHARE, ERRORS)
    }

    /// What it is fitted to rows with; nothing for a kind that looks at a series.
    pub(crate) fn fitted(&self) -> Option<&Fitted> {
        match &self.body {
            Body::Row(fitted) => Some(fitted),
            Body::Path { .. } | Body::Lstm(_) => None,
        }
    }

    /// How far the series was apart lately: so uncertain is what comes.
    pub fn spread(&self, past: &Past) -> f64 {
        spread(past, self.target, self.reference.grain)
    }

    /// Its figures of a past: what drift is looked for in.
    ///
    /// # Errors
    /// A past of other steps, or without the other place.
    pub fn figures(&self, past: &Past) -> Result<Vec<f64>> {
        if past.step_s != self.features.step_s {
            let (step, other) = (self.features.step_s, past.step_s);
            let text = format!("the model is of samples {step} s apart; these are {other} s apart");
            return Err(Error::Unfit(text));
        }
        if past.here.is_empty() {
            return Err(Error::Unfit("nothing was measured yet".into()));
        }
        // Without the other place a pair's model takes what is not known for usual.
        let there = if self.pair { past.there } else { &[] };
        let mut row = self.features.of_past(&Past { there, ..*past });
        row.resize(self.width(), f64::NAN);
        Ok(row)
    }

    /// How many figures it sees.
    pub fn width(&self) -> usize {
        self.features.each.len() * if self.pair { 2 } else { 1 }
    }

    /// Their names.
    pub fn names(&self) -> Vec<String> {
        if self.pair { self.features.pair_names() } else { self.features.names("here") }
    }

    /// The prediction for a past with these figures.
    fn value(&self, past: &Past, row: &[f64]) -> f64 {
        let value = self.body.value(past, row, self.target, self.ahead);
        if value.is_finite() { value } else { self.reference.usual }
    }

    fn interval(&self, value: f64, past: &Past) -> Option<(f64, f64)> {
        self.conformal.around(value, self.spread(past))
    }

    /// Learns what became of a prediction: later intervals hold as often as they say. `past` is what
    /// was known when it was made.
    pub fn update(&mut self, past: &Past, said: &Prediction, truth: f64) {
        let spread = self.spread(past);
        self.conformal.learn(said.value, spread, Some((said.low, said.high)), truth);
    }

    /// Predicts each of the moments in their order, with intervals that learn each truth once it has
    /// come.
    ///
    /// # Errors
    /// Moments of another kind than it was trained for.
    pub fn tried(&self, examples: &Examples) -> Result<Score> {
        let met = self.walked(examples)?;
        Ok(Score::of(&met, self.reference.high))
    }

    /// What [`Trained::tried`] judges.
    ///
    /// # Errors
    /// As of it.
    pub fn walked(&self, examples: &Examples) -> Result<Vec<Met>> {
        let Question { target, ahead, .. } = examples.question;
        if (target, ahead) != (self.target, self.ahead)
            || examples.features != self.features
            || examples.is_pair() != self.pair
        {
            let text = "the model was trained for another question, step or number of sites";
            return Err(Error::Unfit(text.into()));
        }
        let mut conformal = self.conformal.clone();
        let mut waiting = VecDeque::new();
        let mut met = Vec::with_capacity(examples.each.len());
        for (place, &example) in examples.each.iter().enumerate() {
            while waiting.front().is_some_and(|(end, ..): &(usize, f64, Met)| *end <= example.at) {
                if let Some((_, spread, Met { value, interval, truth })) = waiting.pop_front() {
                    conformal.learn(value, spread, interval, truth);
                }
            }
            let past = examples.past(example);
            let (value, spread) = (self.value(&past, &examples.rows[place]), self.spread(&past));
            let interval = conformal.around(value, spread);
            let said = Met { value, interval, truth: examples.truths[place] };
            waiting.push_back((examples.ahead(example.at).end, spread, said));
            met.push(said);
        }
        Ok(met)
    }

    /// Whether it can be asked about any past: what came from outside is asked first.
    pub fn is_sound(&self) -> bool {
        let steps =
            self.features.step_s > 0 && self.ahead.0 < self.ahead.1 && self.ahead.1 <= 86_400;
        steps
            && self.features.each.len() <= 1000
            && self.reference.is_sound(self.width())
            && self.conformal.is_sound()
            && self.body.is_sound(self.width())
    }

    /// The reasons of a model that looks at a series as a whole: what each says against having always
    /// been as usual.
    fn series_reasons(&self, past: &Past, usual: &[(&str, Target, f64)]) -> Vec<Reason> {
        let whole = self.value(past, &[]);
        let reason = |&(name, series, baseline): &(&str, Target, f64)| {
            let (place, _) = name.split_once('.')?;
            let samples = if place == "here" { past.here } else { past.there };
            let value = series.series(samples.last()?)?;
            let flat = |sample: &Sample| series.with_series(*sample, baseline);
            let flat: Vec<_> = samples.iter().map(flat).collect();
            let without = match place {
                "here" => Past { here: &flat, ..*past },
                _ => Past { there: &flat, ..*past },
            };
            let adds = whole - self.value(&without, &[]);
            Some(Reason { name: name.to_owned(), value, baseline, adds })
        };
        let mut reasons: Vec<_> = usual.iter().filter_map(reason).collect();
        reasons.sort_by(|one, other| other.adds.abs().total_cmp(&one.adds.abs()));
        reasons
    }
}

/// How far a series was apart lately: so uncertain is what comes.
pub(super) fn spread(past: &Past, target: Target, grain: f64) -> f64 {
    let samples = (SPREAD_S.min(PAST_S) / past.step_s.max(1)).max(1) as usize;
    let last = &past.here[past.here.len().saturating_sub(samples)..];
    let values = last.iter().filter_map(|sample| target.series(sample));
    let mut sorted: Vec<_> = values.filter(|value| value.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    if sorted.is_empty() {
        return grain;
    }
    // Not the highest: the first answer after a stall took as long as the stall.
    grain + quantile(&sorted, 0.9) - quantile(&sorted, 0.5)
}

impl Predictor for Trained {
    fn ahead(&self) -> Ahead {
        self.ahead
    }

    fn predict(&self, past: &Past) -> Result<Vec<Prediction>> {
        let row = self.figures(past)?;
        let value = self.value(past, &row);
        let (low, high) = self.interval(value, past).unwrap_or((value, value));
        Ok(vec![Prediction { value, low, high }])
    }

    fn explain(&self, past: &Past) -> Result<Vec<Reason>> {
        let row = self.figures(past)?;
        let reasons = match &self.body {
            Body::Row(model) => {
                let names = self.names();
                let parts = model.explain(&row).into_iter().take(REASONS_MAX);
                let reason = |part: super::Contribution| Reason {
                    name: names[part.feature].clone(),
                    value: row[part.feature],
                    baseline: part.baseline,
                    adds: part.adds,
                };
                parts.map(reason).collect()
            }
            Body::Path { .. } => {
                let name = format!("here.{}", self.target.series_name());
                self.series_reasons(past, &[(&name, self.target, self.reference.series)])
            }
            Body::Lstm(model) => {
                let names: [_; lstm::CHANNELS] = [
                    ("here.latency", Target::Latency),
                    ("here.cpu", Target::Cpu),
                    ("there.latency", Target::Latency),
                    ("there.cpu", Target::Cpu),
                ];
                let usual = names.iter().zip(model.usual());
                let usual: Vec<_> = usual.map(|((name, of), mean)| (*name, *of, mean)).collect();
                self.series_reasons(past, &usual)
            }
        };
        Ok(reasons)
    }
}
