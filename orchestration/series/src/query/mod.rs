//! PromQL over a store, as Prometheus 2 answers it.
//!
//! An expression is evaluated for all steps at once: each node gives columns, a value or none for each step.

mod aggregate;
mod binary;
mod column;
mod eval;
mod histogram;
mod instant;
mod parse;
mod selector;
mod texts;
mod window;

pub(crate) use aggregate::number;
pub use parse::Query;

use crate::{Error, Labels, Result, Sample, Series, Store};
use column::{Columns, Frame};
use eval::{Evaluator, Value};
use std::time::{Duration, Instant};

/// What one query may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryLimits {
    /// Samples that are read, and values that a step of the evaluation gives.
    pub samples_max: usize,
    /// Steps of a range; 11,000 as Prometheus: enough for a minute's step over a week.
    pub points_max: i64,
    /// How long it may take.
    pub timeout: Duration,
    /// How old the sample may be that stands for a series.
    pub lookback: Duration,
    /// Whose series alone are seen, besides those that are nobody's: the label `tenant`.
    pub tenant: Option<String>,
}

impl Default for QueryLimits {
    fn default() -> Self {
        Self {
            samples_max: 10_000_000,
            points_max: 11_000,
            timeout: Duration::from_secs(60),
            lookback: Duration::from_secs(300),
            tenant: None,
        }
    }
}

/// What a query gives.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// Of each series one value, at the time that was asked for.
    Vector(Vec<(Labels, Sample)>),
    /// Of each series several.
    Matrix(Vec<Series>),
    /// A number.
    Scalar(Sample),
    /// A text, and when.
    String(i64, String),
}

/// Evaluates a query at one moment, in milliseconds since the Unix epoch.
///
/// # Errors
/// [`Error::Evaluation`] for what has no meaning on these series, [`Error::TooMuch`] and [`Error::Timeout`] by the
/// limits, and what the disk says.
pub fn instant(store: &Store, query: &Query, time_ms: i64, limits: &QueryLimits) -> Result<Answer> {
    let frame = Frame { start_ms: time_ms, step_ms: 1, count: 1 };
    let evaluator = Evaluator::new(store, (time_ms, time_ms), limits);
    let at = |value| Sample::new(time_ms, value);
    Ok(match evaluator.whole(query.expr(), frame)? {
        Value::Scalar(values) => Answer::Scalar(at(values[0])),
        Value::String(text) => Answer::String(time_ms, text),
        Value::Windows(windows) => {
            let mut all = windows.at(time_ms);
            all.sort_by(|a, b| a.labels.cmp(&b.labels));
            Answer::Matrix(all)
        }
        Value::Columns(columns) => {
            let present = columns.into_iter();
            Answer::Vector(
                present.filter_map(|one| Some((one.labels, at(one.values[0]?)))).collect(),
            )
        }
    })
}

/// Evaluates a query at each step from `start_ms` to `end_ms`. Gives a matrix, in the order of labels.
///
/// # Errors
/// As [`instant`]; [`Error::Query`] for a range that is none, or a query that gives no vector.
pub fn range(
    store: &Store,
    query: &Query,
    (start_ms, end_ms): (i64, i64),
    step_ms: i64,
    limits: &QueryLimits,
) -> Result<Vec<Series>> {
    let frame = frame_of(start_ms, end_ms, step_ms, limits)?;
    let evaluator = Evaluator::new(store, (start_ms, end_ms), limits);
    let columns = match evaluator.whole(query.expr(), frame)? {
        Value::Scalar(values) => Columns::from([column::Column::of_scalar(&values)]),
        Value::Columns(columns) => columns,
        Value::Windows(_) | Value::String(_) => {
            let what = "invalid expression type for range query, must be scalar or instant vector";
            return Err(Error::Query(what.to_owned()));
        }
    };
    let mut all: Vec<Series> = columns.into_iter().filter_map(|one| one.series(&frame)).collect();
    all.sort_by(|a, b| a.labels.cmp(&b.labels));
    Ok(all)
}

fn frame_of(start_ms: i64, end_ms: i64, step_ms: i64, limits: &QueryLimits) -> Result<Frame> {
    let invalid = |what: &str| Err(Error::Query(what.to_owned()));
    if step_ms <= 0 {
        return invalid(
            "zero or negative query resolution step widths are not accepted: try a positive integer",
        );
    }
    if end_ms < start_ms {
        return invalid("the end of the range lies before its start");
    }
    let steps = end_ms.checked_sub(start_ms).map(|span| span / step_ms + 1);
    match steps.filter(|steps| *steps <= limits.points_max) {
        Some(count) => Ok(Frame { start_ms, step_ms, count: usize::try_from(count).unwrap_or(1) }),
        None => invalid(&format!(
            "exceeded maximum resolution of {} points per series: ask for a longer step or a shorter range",
            limits.points_max
        )),
    }
}

/// When a query must have ended.
#[derive(Debug, Clone, Copy)]
struct Deadline {
    at: Instant,
    timeout: Duration,
}

impl Deadline {
    fn check(&self) -> Result<()> {
        match Instant::now() < self.at {
            true => Ok(()),
            false => Err(Error::Timeout { limit_ms: self.timeout.as_millis() }),
        }
    }
}
