//! Values by step.

use crate::{Error, Labels, Result, Sample, Series};
use std::collections::HashMap;

/// The moments at which an expression is evaluated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Frame {
    pub(super) start_ms: i64,
    pub(super) step_ms: i64,
    pub(super) count: usize,
}

impl Frame {
    pub(super) fn time(&self, step: usize) -> i64 {
        self.start_ms + self.step_ms * step as i64
    }

    pub(super) fn times(&self) -> impl Iterator<Item = i64> {
        (0..self.count).map(|step| self.time(step))
    }

    pub(super) fn end_ms(&self) -> i64 {
        self.time(self.count.saturating_sub(1))
    }
}

/// A series that was computed: at each step a value or none.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) labels: Labels,
    pub(super) values: Vec<Option<f64>>,
}

pub(super) type Columns = Vec<Column>;

impl Column {
    pub(super) fn of_scalar(values: &[f64]) -> Self {
        Self { labels: Labels::default(), values: values.iter().copied().map(Some).collect() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.values.iter().all(Option::is_none)
    }

    /// The same with values that were computed from these.
    pub(super) fn map(mut self, compute: impl Fn(usize, f64) -> Option<f64>) -> Self {
        for (step, value) in self.values.iter_mut().enumerate() {
            *value = value.and_then(|value| compute(step, value));
        }
        self
    }

    pub(super) fn nameless(mut self) -> Self {
        self.labels = self.labels.nameless();
        self
    }

    /// Its samples; none if there is none.
    pub(super) fn series(self, frame: &Frame) -> Option<Series> {
        let samples = self.values.iter().zip(frame.times());
        let samples: Vec<_> =
            samples.filter_map(|(value, time)| Some(Sample::new(time, (*value)?))).collect();
        (!samples.is_empty()).then_some(Series { labels: self.labels, samples })
    }
}

/// Puts those with the same labels into one.
///
/// # Errors
/// If two of them have a value at the same step: nobody could tell them apart.
pub(super) fn settle(columns: Columns) -> Result<Columns> {
    let mut places: HashMap<Labels, usize> = HashMap::with_capacity(columns.len());
    let mut settled: Columns = Vec::with_capacity(columns.len());
    for column in columns {
        if column.is_empty() {
            continue;
        }
        let Some(place) = places.get(&column.labels) else {
            places.insert(column.labels.clone(), settled.len());
            settled.push(column);
            continue;
        };
        for (own, other) in settled[*place].values.iter_mut().zip(column.values) {
            if own.is_some() && other.is_some() {
                let what = "vector cannot contain metrics with the same labelset";
                return Err(Error::Evaluation(what.to_owned()));
            }
            *own = own.or(other);
        }
    }
    Ok(settled)
}
