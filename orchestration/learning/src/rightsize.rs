//! How many processors a service is given, from a forecast of how many it will use.
//!
//! For each stretch ahead the limit is the upper end of the forecast's interval with some headroom. Played
//! over a recorded trace beside a limit that never changes and beside one from a percentile of the last
//! day, as the recommender of Kubernetes' vertical autoscaler gives (its target: 90 %, with a margin of
//! 15 %): what matters is how long a limit was too low, and how much of it nobody used.

use crate::{
    Error, Result, Stretch,
    model::{Examples, Target, Trained, quantile},
};
use serde::Serialize;

/// What a percentile is taken of, in seconds.
const DAY_S: u32 = 86_400;
/// The percentile, and the margin above it.
const USUAL: (f64, f64) = (0.9, 1.15);

/// How a way to set limits did.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sizing {
    /// `forecast`, `percentile` or `static`.
    pub by: &'static str,
    /// The share of samples that used more than their limit.
    pub short_share: f64,
    /// The mean limit, in processors.
    pub limit: f64,
    /// The mean of what was given and not used.
    pub idle: f64,
}

/// Limits for every stretch, and what was used in it.
#[derive(Debug, Default)]
struct Played {
    samples: u64,
    short: u64,
    given: f64,
    idle: f64,
}

impl Played {
    fn take(&mut self, limit: f64, used: &[f64]) {
        for used in used {
            self.samples += 1;
            self.short += u64::from(*used > limit);
            self.given += limit;
            self.idle += (limit - used).max(0.0);
        }
    }

    fn told(&self, by: &'static str) -> Sizing {
        let samples = self.samples.max(1) as f64;
        Sizing {
            by,
            short_share: self.short as f64 / samples,
            limit: self.given / samples,
            idle: self.idle / samples,
        }
    }
}

/// Plays the examples: at the end of each stretch the next limit is set. `learn` is what was known
/// before; the static limit is the most that was used there. `headroom` is a share above what is
/// expected, of the forecast and of the static limit.
///
/// # Errors
/// A model of something else than the most processors in use, one that was trained for another
/// question, and a trace without processors.
pub fn rightsize(
    model: &Trained,
    learn: &Stretch,
    examples: &Examples,
    headroom: f64,
) -> Result<Vec<Sizing>> {
    if model.target != Target::CpuMax {
        let text =
            format!("limits are made of `cpu-max`, and the model predicts `{}`", model.target);
        return Err(Error::Unfit(text));
    }
    let most = learn.trace.sites.iter().flat_map(|site| &site.samples[learn.span.clone()]);
    let most = most.filter_map(|sample| sample.cpu).fold(f64::NAN, f64::max);
    if !most.is_finite() {
        return Err(Error::Unfit("no processors in use were measured before".into()));
    }
    let [mut forecast, mut percentile, mut fixed] = [(); 3].map(|()| Played::default());
    let said = model.walked(examples)?;
    let mut until = vec![0; examples.trace.sites.len()];
    for (example, met) in examples.each.iter().zip(said) {
        let ahead = examples.ahead(example.at);
        // A stretch is played once.
        if ahead.start < until[example.site] {
            continue;
        }
        until[example.site] = ahead.end;
        let samples = &examples.trace.sites[example.site].samples;
        let used: Vec<_> = samples[ahead].iter().filter_map(|sample| sample.cpu).collect();
        let high = met.interval.map_or(met.value, |(_, high)| high);
        forecast.take(high * (1.0 + headroom), &used);
        percentile.take(usual(examples, *example), &used);
        fixed.take(most * (1.0 + headroom), &used);
    }
    Ok(vec![forecast.told("forecast"), percentile.told("percentile"), fixed.told("static")])
}

/// By the percentile of the last day.
fn usual(examples: &Examples, example: crate::model::Example) -> f64 {
    let samples = &examples.trace.sites[example.site].samples;
    let from = example.at.saturating_sub(examples.trace.samples_in(DAY_S));
    let past = samples[from..=example.at].iter().filter_map(|sample| sample.cpu);
    let mut sorted: Vec<_> = past.collect();
    sorted.sort_by(f64::total_cmp);
    match sorted.is_empty() {
        true => 0.0,
        false => USUAL.1 * quantile(&sorted, USUAL.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Method, Question, testing, train};
    use std::ops::ControlFlow;

    fn model<'a>(learn: &Stretch<'a>, question: &Question) -> Trained {
        let examples = Examples::new(learn, question).unwrap();
        let ridge = Method::Ridge { penalty: 10.0 };
        train(&examples, ridge, 1, &|_| ControlFlow::Continue(())).unwrap()
    }

    /// Load comes in waves: who follows them gives less than who always gives the most, and is not
    /// often short.
    #[test]
    fn limits_that_follow_a_forecast_are_lower_and_seldom_too_low() {
        let trace = testing::trace(4000, 2);
        let (learn, test) = trace.split(0.7);
        let question = Question::new(Target::CpuMax, (0, 60));
        let model = model(&learn, &question);

        let found =
            rightsize(&model, &learn, &Examples::new(&test, &question).unwrap(), 0.05).unwrap();

        let [forecast, percentile, fixed] = &found[..] else { panic!("{found:?}") };
        assert_eq!((fixed.by, fixed.short_share), ("static", 0.0));
        assert!(forecast.limit < fixed.limit && forecast.idle < fixed.idle, "{found:?}");
        assert!(forecast.short_share < 0.1, "{found:?}");
        assert!(percentile.limit > 0.0, "{found:?}");
    }

    #[test]
    fn a_model_of_something_else_is_refused() {
        let trace = testing::trace(1200, 2);
        let (learn, test) = trace.split(0.7);
        let question = Question::new(Target::Latency, (0, 60));
        let examples = Examples::new(&test, &question).unwrap();

        let error = rightsize(&model(&learn, &question), &learn, &examples, 0.1).unwrap_err();

        assert!(error.to_string().contains("limits are made of `cpu-max`"), "{error}");
    }
}
