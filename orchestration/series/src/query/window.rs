//! Functions of a stretch of a series: `rate`, `avg_over_time` and their kin.

use super::{
    column::{Column, Columns, Frame, settle},
    eval::Evaluator,
    instant::absent_labels,
};
use crate::{Result, Sample};
use promql_parser::parser::Call;

/// So many steps are taken between two looks at the time.
const STEPS_AT_ONCE: usize = 16;

/// What a function sees.
struct Seen<'a> {
    samples: &'a [Sample],
    /// The stretch.
    begin_ms: i64,
    end_ms: i64,
    /// The moment that is asked about.
    time_ms: i64,
    /// The function's number, if it has one.
    number: f64,
}

type Function = fn(&Seen<'_>) -> Option<f64>;

fn function(name: &str) -> Option<Function> {
    Some(match name {
        "rate" => |seen| extrapolated(seen, true, true),
        "increase" => |seen| extrapolated(seen, true, false),
        "delta" => |seen| extrapolated(seen, false, false),
        "irate" => |seen| latest(seen, true),
        "idelta" => |seen| latest(seen, false),
        "deriv" => |seen| {
            let first = seen.samples.first()?.time_ms;
            line(seen.samples, first).map(|(slope, _)| slope)
        },
        "predict_linear" => |seen| {
            let (slope, now) = line(seen.samples, seen.time_ms)?;
            Some(slope * seen.number + now)
        },
        "changes" => |seen| Some(pairs(seen, |a, b| a != b && !(a.is_nan() && b.is_nan()))),
        "resets" => |seen| Some(pairs(seen, |a, b| b < a)),
        "avg_over_time" => |seen| Some(mean(seen.samples)),
        "min_over_time" => |seen| extreme(seen, |new, old| new < old),
        "max_over_time" => |seen| extreme(seen, |new, old| new > old),
        "sum_over_time" => |seen| Some(sum(values(seen))),
        "count_over_time" => |seen| Some(seen.samples.len() as f64),
        "last_over_time" => |seen| seen.samples.last().map(|sample| sample.value),
        "present_over_time" => |_| Some(1.0),
        "quantile_over_time" => |seen| Some(quantile(seen.number, values(seen).collect())),
        "stddev_over_time" => |seen| Some(variance(values(seen)).sqrt()),
        "stdvar_over_time" => |seen| Some(variance(values(seen))),
        _ => return None,
    })
}

/// Whether it is one of these functions.
pub(super) fn is_known(name: &str) -> bool {
    name == "absent_over_time" || function(name).is_some()
}

pub(super) fn evaluate(evaluator: &Evaluator<'_>, call: &Call, frame: Frame) -> Result<Columns> {
    let name = call.func.name;
    let arguments = &call.args.args;
    let is_range = |index: usize| {
        call.func.arg_types.get(index) == Some(&promql_parser::parser::value::ValueType::Matrix)
    };
    let range_at = usize::from(!is_range(0));
    let number = match arguments.len() {
        2 => evaluator.scalar(&arguments[1 - range_at], frame)?,
        _ => vec![f64::NAN; frame.count],
    };
    let windows = evaluator.windows(&arguments[range_at], frame)?;
    let Some(function) = function(name) else {
        // Left is `absent_over_time`.
        let absent = |time| {
            let seen = |one: &crate::Series| !windows.seen(&one.samples, time).0.is_empty();
            (!windows.series.iter().any(seen)).then_some(1.0)
        };
        let values = frame.times().map(absent).collect();
        return Ok(vec![Column { labels: absent_labels(&arguments[0]), values }]);
    };
    evaluator.check_size(windows.series.len(), frame)?;
    let mut columns = Vec::with_capacity(windows.series.len());
    for series in &windows.series {
        evaluator.go_on()?;
        let value = |(step, time_ms): (usize, i64)| {
            let (samples, end_ms) = windows.seen(&series.samples, time_ms);
            let begin_ms = end_ms - windows.range_ms;
            let seen = Seen { samples, begin_ms, end_ms, time_ms, number: number[step] };
            (!samples.is_empty()).then(|| function(&seen)).flatten()
        };
        let mut values = Vec::with_capacity(frame.count);
        for (step, time_ms) in frame.times().enumerate() {
            if step % STEPS_AT_ONCE == 0 {
                evaluator.go_on()?;
            }
            values.push(value((step, time_ms)));
        }
        let column = Column { labels: series.labels.clone(), values };
        columns.push(if name == "last_over_time" { column } else { column.nameless() });
    }
    settle(columns)
}

fn values<'a>(seen: &'a Seen<'_>) -> impl Iterator<Item = f64> + Clone + 'a {
    seen.samples.iter().map(|sample| sample.value)
}

/// How much a series grew, extended to the ends of the stretch: nothing is known of what lies beyond the first and last
/// sample, and a counter does not go below zero. The rule is Prometheus 2's.
fn extrapolated(seen: &Seen<'_>, is_counter: bool, is_rate: bool) -> Option<f64> {
    let (first, last) = (seen.samples.first()?, seen.samples.last()?);
    if seen.samples.len() < 2 {
        return None;
    }
    let mut growth = last.value - first.value;
    if is_counter {
        let resets = seen.samples.windows(2).filter(|pair| pair[1].value < pair[0].value);
        growth += resets.map(|pair| pair[0].value).sum::<f64>();
    }
    let seconds = |from: i64, to: i64| (to - from) as f64 / 1000.0;
    let mut before = seconds(seen.begin_ms, first.time_ms);
    let behind = seconds(last.time_ms, seen.end_ms);
    let sampled = seconds(first.time_ms, last.time_ms);
    let between = sampled / (seen.samples.len() - 1) as f64;
    if is_counter && growth > 0.0 && first.value >= 0.0 {
        // From there on back the counter would have been negative.
        before = before.min(sampled * (first.value / growth));
    }
    let extended = |gap: f64| if gap < between * 1.1 { gap } else { between / 2.0 };
    let factor = (sampled + extended(before) + extended(behind)) / sampled;
    let range = seconds(seen.begin_ms, seen.end_ms);
    Some(growth * if is_rate { factor / range } else { factor })
}

/// The same of the last two samples alone, as a rate or a difference.
fn latest(seen: &Seen<'_>, is_rate: bool) -> Option<f64> {
    let [.., before, last] = seen.samples else { return None };
    if !is_rate {
        return Some(last.value - before.value);
    }
    // Behind a reset a counter began at zero.
    let reset = last.value < before.value;
    let growth = if reset { last.value } else { last.value - before.value };
    let span_ms = last.time_ms - before.time_ms;
    (span_ms != 0).then(|| growth / (span_ms as f64 / 1000.0))
}

/// The line of least squares: slope for each second, and value at `origin_ms`.
fn line(samples: &[Sample], origin_ms: i64) -> Option<(f64, f64)> {
    let first = samples.first()?;
    if samples.len() < 2 {
        return None;
    }
    if samples.iter().all(|sample| sample.value == first.value) {
        let steady = first.value.is_finite();
        return Some(if steady { (0.0, first.value) } else { (f64::NAN, f64::NAN) });
    }
    let count = samples.len() as f64;
    let x = |sample: &Sample| (sample.time_ms - origin_ms) as f64 / 1000.0;
    let sum_x = sum(samples.iter().map(x));
    let sum_y = sum(samples.iter().map(|sample| sample.value));
    let sum_xy = sum(samples.iter().map(|sample| x(sample) * sample.value));
    let sum_xx = sum(samples.iter().map(|sample| x(sample) * x(sample)));
    let slope = (sum_xy - sum_x * sum_y / count) / (sum_xx - sum_x * sum_x / count);
    Some((slope, sum_y / count - slope * sum_x / count))
}

/// How many neighbours are so.
fn pairs(seen: &Seen<'_>, so: impl Fn(f64, f64) -> bool) -> f64 {
    seen.samples.windows(2).filter(|pair| so(pair[0].value, pair[1].value)).count() as f64
}

fn extreme(seen: &Seen<'_>, wins: impl Fn(f64, f64) -> bool) -> Option<f64> {
    // A NaN gives way to anything.
    values(seen).reduce(|old, new| if wins(new, old) || old.is_nan() { new } else { old })
}

/// Adds with what is lost in rounding kept aside (Neumaier's variant of Kahan's sum).
pub(super) fn sum(values: impl Iterator<Item = f64>) -> f64 {
    let (mut total, mut lost) = (0.0_f64, 0.0);
    for value in values {
        let next = total + value;
        let (large, small) =
            if total.abs() >= value.abs() { (total, value) } else { (value, total) };
        if next.is_finite() {
            lost += (large - next) + small;
        }
        total = next;
    }
    if total.is_finite() { total + lost } else { total }
}

fn mean(samples: &[Sample]) -> f64 {
    let total = sum(samples.iter().map(|sample| sample.value));
    let count = samples.len() as f64;
    match total.is_infinite() {
        // It may be the sum alone that is too large.
        true => samples.iter().map(|sample| sample.value / count).sum(),
        false => total / count,
    }
}

/// Of all values, none left out.
pub(super) fn variance(values: impl Iterator<Item = f64>) -> f64 {
    let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
    for value in values {
        count += 1.0;
        let delta = value - mean;
        mean += delta / count;
        squares += delta * (value - mean);
    }
    squares / count
}

/// The quantile between the two values that are nearest to it; infinite for one that there is not.
pub(super) fn quantile(quantile: f64, mut values: Vec<f64>) -> f64 {
    if values.is_empty() || quantile.is_nan() {
        return f64::NAN;
    }
    if !(0.0..=1.0).contains(&quantile) {
        return if quantile < 0.0 { f64::NEG_INFINITY } else { f64::INFINITY };
    }
    // NaNs are the smallest.
    values.sort_by(|a, b| b.is_nan().cmp(&a.is_nan()).then(a.total_cmp(b)));
    let rank = quantile * (values.len() - 1) as f64;
    let lower = rank.floor() as usize;
    let upper = (lower + 1).min(values.len() - 1);
    let weight = rank - rank.floor();
    values[lower] * (1.0 - weight) + values[upper] * weight
}
