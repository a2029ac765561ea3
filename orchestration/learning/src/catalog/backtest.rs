//! How a version did on what it had not seen, moment by moment.

use crate::model::{Examples, Met};
use serde::{Deserialize, Serialize};

/// Moments that are kept: a curve has no more points than a page has pixels.
const POINTS_MAX: usize = 500;
/// Parts that errors are told of.
const PARTS: usize = 12;

/// Predictions beside what came, and errors by part of the time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackTest {
    /// In the order of time; evenly chosen, if there were more.
    pub points: Vec<Point>,
    /// The time of the test in equal parts.
    pub parts: Vec<Part>,
}

/// A prediction beside its truth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Point {
    /// Unix time in seconds of the moment at which it was made.
    pub at_s: i64,
    /// At which site.
    pub site: String,
    /// What was said.
    pub value: f64,
    /// The interval of 80 %.
    pub low: Option<f64>,
    /// Its upper end.
    pub high: Option<f64>,
    /// What came.
    pub truth: f64,
}

/// Errors within a part of the time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Part {
    /// Unix time in seconds.
    pub from_s: i64,
    /// Of its end.
    pub to_s: i64,
    /// Predictions.
    pub moments: u64,
    /// Their root mean square error.
    pub rmse: f64,
    /// That of who says that all stays as it is.
    pub naive_rmse: Option<f64>,
}

impl BackTest {
    /// Of what was met at the moments of a test, by the model and, in the same order, by the naive one.
    pub fn of(examples: &Examples, met: &[Met], naive: Option<&[Met]>) -> Self {
        let trace = examples.trace;
        let time = |at: usize| trace.start_s + at as i64 * i64::from(trace.step_s);
        let each = examples.each.iter().zip(met);
        let every = met.len().div_ceil(POINTS_MAX).max(1);
        let point = |(example, met): (&crate::model::Example, &Met)| Point {
            at_s: time(example.at),
            site: trace.sites[example.site].name.clone(),
            value: met.value,
            low: met.interval.map(|(low, _)| low),
            high: met.interval.map(|(_, high)| high),
            truth: met.truth,
        };
        // All sites of a moment stay together: a step of their number would show one site alone.
        let sites = trace.sites.len().max(1);
        let chosen = each.enumerate().filter(|(place, _)| (place / sites).is_multiple_of(every));
        Self {
            points: chosen.map(|(_, pair)| point(pair)).collect(),
            parts: parts(examples, met, naive, time),
        }
    }
}

fn parts(
    examples: &Examples,
    met: &[Met],
    naive: Option<&[Met]>,
    time: impl Fn(usize) -> i64,
) -> Vec<Part> {
    let (Some(first), Some(last)) = (examples.each.first(), examples.each.last()) else {
        return Vec::new();
    };
    let length = (last.at + 1 - first.at).div_ceil(PARTS).max(1);
    let part_of = |place: usize| (examples.each[place].at - first.at) / length;
    let part = |part: usize| {
        let own: Vec<usize> = (0..met.len()).filter(|&place| part_of(place) == part).collect();
        if own.is_empty() {
            return None;
        }
        let error = |met: &[Met]| {
            let squares = own.iter().map(|&place| (met[place].value - met[place].truth).powi(2));
            (squares.sum::<f64>() / own.len() as f64).sqrt()
        };
        let from = first.at + part * length;
        Some(Part {
            from_s: time(from),
            to_s: time((from + length).min(last.at + 1)),
            moments: own.len() as u64,
            rmse: error(met),
            naive_rmse: naive.map(error),
        })
    };
    (0..PARTS).filter_map(part).collect()
}
