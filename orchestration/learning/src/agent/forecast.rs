//! What a policy's forecasts are made with: built-in ones, and those of a catalog.

use super::Load;
use crate::{
    Error, Past, Prediction, Predictor, Reason, Result, Sample, features::mean, forecast::Ahead,
    model::quantile,
};
use std::{borrow::Cow, sync::Arc};

/// What a policy asks a catalog for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wanted<'a> {
    /// The model's name.
    pub model: &'a str,
    /// The figure that it forecasts.
    pub load: Load,
    /// The level that `Load::Broken` means, in milliseconds.
    pub sla_ms: f64,
    /// The time ahead.
    pub ahead: Ahead,
}

/// A catalog of models.
pub trait Models: std::fmt::Debug + Send + Sync {
    /// The model that answers this.
    ///
    /// # Errors
    /// There is none of the name, or it is not fit for what is asked.
    fn load(&self, wanted: &Wanted) -> Result<Arc<dyn Predictor>>;
}

/// A catalog without models: built-in forecasts need none.
#[derive(Debug, Clone, Copy)]
pub struct NoModels;

impl Models for NoModels {
    fn load(&self, wanted: &Wanted) -> Result<Arc<dyn Predictor>> {
        let text = "there is no model `{}`: the built-in ones are ewma, mean and max";
        Err(Error::Unfit(text.replace("{}", wanted.model)))
    }
}

/// The forecast that things go on as they were in the last time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Lately {
    how: How,
    load: Load,
    sla_ms: f64,
    window_s: u32,
    ahead: Ahead,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum How {
    Mean,
    Max,
    /// The weight halves four times in the window.
    Ewma,
}

/// Between these quantiles of the window lie four of five values.
const INTERVAL: (f64, f64) = (0.1, 0.9);

impl Lately {
    /// The built-in forecast of this name.
    pub(super) fn named(wanted: &Wanted, window_s: u32) -> Option<Self> {
        let how = match wanted.model {
            "mean" => How::Mean,
            "max" => How::Max,
            "ewma" => How::Ewma,
            _ => return None,
        };
        let Wanted { load, sla_ms, ahead, .. } = *wanted;
        Some(Self { how, load, sla_ms, window_s, ahead })
    }
}

/// One sample as the figure; nothing where it says nothing.
pub(super) fn figure(load: Load, sample: &Sample, sla_ms: f64) -> Option<f64> {
    match load {
        Load::Latency => sample.latency_ms,
        Load::Cpu => sample.cpu,
        Load::Requests => sample.requests,
        Load::Broken => Some(f64::from(u8::from(sample.breaks(sla_ms)))),
    }
    .filter(|value| value.is_finite())
}

impl Predictor for Lately {
    fn ahead(&self) -> Ahead {
        self.ahead
    }

    fn predict(&self, past: &Past) -> Result<Vec<Prediction>> {
        let count = (self.window_s / past.step_s.max(1)).max(1) as usize;
        let last = &past.here[past.here.len().saturating_sub(count)..];
        let values = || last.iter().filter_map(|sample| figure(self.load, sample, self.sla_ms));
        let keep = 0.5_f64.powf(4.0 / last.len().max(1) as f64);
        let weighted =
            |(sum, weight): (f64, f64), value: f64| (sum * keep + value, weight * keep + 1.0);
        let value = match self.how {
            How::Mean => mean(values()),
            How::Max => values().fold(f64::NAN, f64::max),
            How::Ewma => {
                let (sum, weight) = values().fold((0.0, 0.0), weighted);
                sum / weight
            }
        };
        if value.is_nan() {
            return Err(Error::Unfit(format!("nothing was measured in {} s", self.window_s)));
        }
        let low = quantile_of(values(), INTERVAL.0).min(value);
        let high = quantile_of(values(), INTERVAL.1).max(value);
        Ok(vec![Prediction { value, low, high }])
    }

    fn explain(&self, _: &Past) -> Result<Vec<Reason>> {
        Ok(Vec::new())
    }
}

/// Between the two values that it lies between; not a number if there is none.
pub(super) fn quantile_of(values: impl Iterator<Item = f64>, share: f64) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    if sorted.is_empty() { f64::NAN } else { quantile(&sorted, share) }
}

/// As long as this a value holds over samples without one.
const HOLD_S: u32 = 60;

/// Samples without a value hold the last one, for a while.
pub(super) fn held(past: &[Sample], step_s: u32) -> Cow<'_, [Sample]> {
    if !past.iter().any(Sample::stalled) {
        return Cow::Borrowed(past);
    }
    let (mut last, mut age_s) = (None, 0);
    let hold = |sample: &Sample| {
        if sample.latency_ms.is_some() {
            (last, age_s) = (sample.latency_ms, 0);
        } else {
            age_s += step_s;
        }
        Sample { latency_ms: last.filter(|_| age_s <= HOLD_S), ..*sample }
    };
    Cow::Owned(past.iter().map(hold).collect())
}

/// Means of so many samples each; the last of them ends with the last sample.
pub(super) fn averaged(past: &[Sample], each: usize) -> Cow<'_, [Sample]> {
    if each <= 1 {
        return Cow::Borrowed(past);
    }
    let one = |some: &[Sample]| {
        let of = |value: f64| Some(value).filter(|value| value.is_finite());
        Sample {
            latency_ms: of(mean(some.iter().filter_map(|sample| sample.latency_ms))),
            cpu: of(mean(some.iter().filter_map(|sample| sample.cpu))),
            requests: of(mean(some.iter().filter_map(|sample| sample.requests))),
        }
    };
    let mut means: Vec<Sample> = past.rchunks(each).map(one).collect();
    means.reverse();
    Cow::Owned(means)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(latencies: &[f64]) -> Vec<Sample> {
        let sample =
            |&ms: &f64| Sample { latency_ms: (ms > 0.0).then_some(ms), ..Sample::default() };
        latencies.iter().map(sample).collect()
    }

    fn predict(model: &str, load: Load, latencies: &[f64]) -> Result<Vec<Prediction>> {
        let here = samples(latencies);
        let wanted = Wanted { model, load, sla_ms: 100.0, ahead: (0, 300) };
        let past = Past { now_s: 0, step_s: 10, here: &here, there: &[] };
        Lately::named(&wanted, 40).unwrap().predict(&past)
    }

    #[test]
    fn things_go_on_as_they_were() {
        let value =
            |model, load, latencies: &[f64]| predict(model, load, latencies).unwrap()[0].value;

        assert_eq!(value("mean", Load::Latency, &[900.0, 60.0, 0.0, 80.0, 70.0]), 70.0);
        assert_eq!(value("max", Load::Latency, &[900.0, 60.0, 80.0, 70.0, 50.0]), 80.0);
        assert_eq!(value("mean", Load::Broken, &[60.0, 0.0, 200.0, 70.0]), 0.5);
        let rising = value("ewma", Load::Latency, &[50.0, 50.0, 100.0, 100.0]);
        assert!(rising > 75.0 && rising < 100.0, "{rising}");
        assert!(predict("mean", Load::Latency, &[0.0, 0.0]).is_err());
        assert!(predict("mean", Load::Broken, &[]).is_err());
    }

    #[test]
    fn gaps_are_held_for_a_minute_and_steps_become_longer() {
        let hold = held(&samples(&[50.0, 0.0, 0.0, 0.0]), 30).into_owned();
        assert_eq!(hold[2].latency_ms, Some(50.0));
        assert_eq!(hold[3].latency_ms, None);

        let means = averaged(&samples(&[900.0, 10.0, 30.0, 0.0, 50.0]), 2).into_owned();
        assert_eq!(means, samples(&[900.0, 20.0, 50.0]));
    }
}
