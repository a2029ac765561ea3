//! Models that are trained on a stretch of a trace when they are asked for.

use super::{Load, Models, Wanted};
use crate::{
    Error, Past, Prediction, Predictor, Reason, Result, Sample, Stretch, Trace,
    features::mean,
    forecast::{Ahead, Forecast, Lesson, Training, broken_share, validated, worst},
    model::Kind,
};
use std::sync::Arc;

/// Trains `ridge`, `gbm` or `forest` on a stretch of a trace.
#[derive(Debug)]
pub struct Trained<'a> {
    learn: &'a Stretch<'a>,
    training: Training,
}

impl<'a> Trained<'a> {
    /// Learns from this stretch.
    pub fn on(learn: &'a Stretch<'a>, training: Training) -> Self {
        Self { learn, training }
    }
}

impl Models for Trained<'_> {
    fn load(&self, wanted: &Wanted) -> Result<Arc<dyn Predictor>> {
        if wanted.load == Load::Requests {
            let text = "requests are forecast by a model of the catalog: `cloudskin model train --target requests`";
            return Err(Error::Unfit(text.into()));
        }
        let kind: Kind = wanted.model.parse().map_err(|_| {
            let text = "there is no model `{}`: write ewma, mean, max, ridge, gbm or forest";
            Error::Unfit(text.replace("{}", wanted.model))
        })?;
        let training = Training { kind, ..self.training.clone() };
        let (trace, span, ahead) = (self.learn.trace, self.learn.span.clone(), wanted.ahead);
        let ahead_s = ahead.1.max(crate::replay::NEEDED_S.1);
        let truth = |samples: &[Sample], at: usize| truth(trace, samples, at, wanted, &training);
        let forecast = Lesson::new(trace, span.clone(), ahead_s, &training)?.fit(truth)?;
        let errors = match validated(trace, span, ahead_s, &training, truth)? {
            Some((moments, said)) => {
                let each = said.iter().enumerate().flat_map(|(site, said)| {
                    let samples = &trace.sites[site].samples;
                    moments.iter().zip(said).map(move |(&at, said)| truth(samples, at) - said)
                });
                let errors: Vec<f64> = each.filter(|error| error.is_finite()).collect();
                let end = |share| super::forecast::quantile_of(errors.iter().copied(), share);
                Some((end(0.1), end(0.9)))
            }
            None => None,
        };
        Ok(Arc::new(Learned { forecast, ahead, step_s: trace.step_s, errors }))
    }
}

/// What came after a moment.
fn truth(
    trace: &Trace,
    samples: &[Sample],
    at: usize,
    wanted: &Wanted,
    training: &Training,
) -> f64 {
    let steps = |seconds: u32| trace.samples_in(seconds);
    // A move that takes no time is felt from the next sample on.
    let from = if wanted.ahead.0 == 0 { 0 } else { steps(wanted.ahead.0) };
    let ahead = from..steps(wanted.ahead.1).max(from + 1);
    match wanted.load {
        Load::Broken => broken_share(samples, at, ahead, wanted.sla_ms, training.softness_ms),
        Load::Latency => worst(samples, at, ahead, steps(30)).0,
        Load::Cpu => {
            let ahead = samples[at + ahead.start + 1..=at + ahead.end].iter();
            mean(ahead.filter_map(|sample| sample.cpu))
        }
        Load::Requests => {
            let ahead = samples[at + ahead.start + 1..=at + ahead.end].iter();
            mean(ahead.filter_map(|sample| sample.requests))
        }
    }
}

/// A forecast with the errors that it had on what it was not trained on.
#[derive(Debug)]
struct Learned {
    forecast: Forecast,
    ahead: Ahead,
    step_s: u32,
    /// The tenth and the ninetieth of a hundred.
    errors: Option<(f64, f64)>,
}

impl Learned {
    fn fits(&self, past: &Past) -> Result<()> {
        if past.step_s == self.step_s {
            return Ok(());
        }
        let (own, given) = (self.step_s, past.step_s);
        Err(Error::Unfit(format!("the model was trained on samples {own} s apart, not {given} s")))
    }
}

impl Predictor for Learned {
    fn ahead(&self) -> Ahead {
        self.ahead
    }

    fn predict(&self, past: &Past) -> Result<Vec<Prediction>> {
        self.fits(past)?;
        let value = self.forecast.of(past.here, past.there);
        let (below, above) = self.errors.unwrap_or_default();
        // All errors of validation may lie on one side.
        let (low, high) = (value + below.min(0.0), value + above.max(0.0));
        Ok(vec![Prediction { value, low, high }])
    }

    fn explain(&self, past: &Past) -> Result<Vec<Reason>> {
        self.fits(past)?;
        let parts = self.forecast.why(past.here, past.there).into_iter();
        Ok(parts
            .map(|(name, value, baseline, adds)| Reason { name, value, baseline, adds })
            .collect())
    }
}
