//! A forecast as agents ask for it: what a figure of a service will be, how sure that is, and why.

use crate::{Result, Sample, forecast::Ahead};
use serde::{Deserialize, Serialize};

/// A figure ahead, and the interval in which it lies four times of five.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// The figure that is expected.
    pub value: f64,
    /// The interval's lower end.
    pub low: f64,
    /// The interval's upper end.
    pub high: f64,
}

/// What was measured of a service up to a moment.
#[derive(Debug, Clone, Copy)]
pub struct Past<'a> {
    /// Unix time of the moment in seconds, real or virtual.
    pub now_s: i64,
    /// Seconds from one sample to the next.
    pub step_s: u32,
    /// Where the prediction is for; the last sample is the moment's.
    pub here: &'a [Sample],
    /// The place that it is compared with; nothing where there is none.
    pub there: &'a [Sample],
}

/// What one figure that the model saw says of the prediction: with its usual value in its place
/// the prediction would have been `adds` lower.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reason {
    /// The figure's name, such as `here.latency_mean_300s`.
    pub name: String,
    /// Its value at the moment.
    pub value: f64,
    /// Its usual value, the mean of training.
    pub baseline: f64,
    /// The prediction less that with the baseline in its place.
    pub adds: f64,
}

/// A trained model with all that it takes to use it.
pub trait Predictor: std::fmt::Debug + Send + Sync {
    /// What stretch after the moment it speaks of, in seconds.
    fn ahead(&self) -> Ahead;

    /// The figure over that stretch, in steps of equal length; models that are fitted to the
    /// stretch as a whole give one.
    ///
    /// # Errors
    /// Samples that are not as far apart as the model's, or a past that is too short for it.
    fn predict(&self, past: &Past) -> Result<Vec<Prediction>>;

    /// What says most of the first of them, the largest first; empty for models that cannot tell.
    ///
    /// # Errors
    /// As of [`Predictor::predict`].
    fn explain(&self, past: &Past) -> Result<Vec<Reason>>;
}
