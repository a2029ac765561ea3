//! Functions of values at one moment: mathematics, the calendar, order.

use super::{
    column::{Column, Columns, Frame, settle},
    eval::{Evaluator, Value},
};
use crate::{Labels, NAME, Result};
use promql_parser::{
    label::MatchOp,
    parser::{Call, Expr},
};
use std::cmp::Ordering;
use time::{Month, OffsetDateTime};

/// A function of a number alone.
fn number_function(name: &str) -> Option<fn(f64) -> f64> {
    Some(match name {
        "abs" => f64::abs,
        "ceil" => f64::ceil,
        "floor" => f64::floor,
        "exp" => f64::exp,
        "ln" => f64::ln,
        "log2" => f64::log2,
        "log10" => f64::log10,
        "sqrt" => f64::sqrt,
        "sgn" => |value| if value == 0.0 || value.is_nan() { value } else { value.signum() },
        "sin" => f64::sin,
        "cos" => f64::cos,
        "tan" => f64::tan,
        "asin" => f64::asin,
        "acos" => f64::acos,
        "atan" => f64::atan,
        "sinh" => f64::sinh,
        "cosh" => f64::cosh,
        "tanh" => f64::tanh,
        "asinh" => f64::asinh,
        "acosh" => f64::acosh,
        "atanh" => f64::atanh,
        "deg" => f64::to_degrees,
        "rad" => f64::to_radians,
        _ => return None,
    })
}

/// A function of a date.
fn date_function(name: &str) -> Option<fn(OffsetDateTime) -> f64> {
    Some(match name {
        "minute" => |date| date.minute().into(),
        "hour" => |date| date.hour().into(),
        "day_of_week" => |date| date.weekday().number_days_from_sunday().into(),
        "day_of_month" => |date| date.day().into(),
        "day_of_year" => |date| date.ordinal().into(),
        "days_in_month" => |date| Month::length(date.month(), date.year()).into(),
        "month" => |date| u8::from(date.month()).into(),
        "year" => |date| date.year().into(),
        _ => return None,
    })
}

/// Whether it is a function of values at one moment.
pub(super) fn is_known(name: &str) -> bool {
    const OTHERS: [&str; 15] = [
        "absent",
        "clamp",
        "clamp_max",
        "clamp_min",
        "histogram_quantile",
        "label_join",
        "label_replace",
        "pi",
        "round",
        "scalar",
        "sort",
        "sort_desc",
        "time",
        "timestamp",
        "vector",
    ];
    number_function(name).is_some() || date_function(name).is_some() || OTHERS.contains(&name)
}

pub(super) fn evaluate(evaluator: &Evaluator<'_>, call: &Call, frame: Frame) -> Result<Value> {
    let name = call.func.name;
    let arguments = &call.args.args;
    if let Some(compute) = number_function(name) {
        let columns = evaluator.columns(&arguments[0], frame)?;
        return each(columns, |_, value| Some(compute(value)));
    }
    if let Some(compute) = date_function(name) {
        let columns = match arguments.first() {
            Some(argument) => evaluator.columns(argument, frame)?,
            None => vec![Column::of_scalar(&seconds(frame))],
        };
        return each(columns, |_, value| Some(date(value).map_or(f64::NAN, compute)));
    }
    match name {
        "pi" => Ok(Value::Scalar(vec![std::f64::consts::PI; frame.count])),
        "time" => Ok(Value::Scalar(seconds(frame))),
        "vector" => {
            let values = evaluator.scalar(&arguments[0], frame)?;
            Ok(Value::Columns(vec![Column::of_scalar(&values)]))
        }
        "scalar" => evaluator.columns(&arguments[0], frame).map(|all| only(&all, frame)),
        "absent" => {
            evaluator.columns(&arguments[0], frame).map(|all| absent(&all, &arguments[0], frame))
        }
        "timestamp" => timestamp(evaluator, &arguments[0], frame),
        "sort" | "sort_desc" => {
            let columns = evaluator.columns(&arguments[0], frame)?;
            Ok(Value::Columns(sorted(columns, frame, name == "sort_desc")))
        }
        "round" => {
            let columns = evaluator.columns(&arguments[0], frame)?;
            let to = match arguments.get(1) {
                Some(argument) => evaluator.scalar(argument, frame)?,
                None => vec![1.0; frame.count],
            };
            // Through the inverse, as Prometheus: 0.1 is no binary fraction, and 10 is one.
            each(columns, |step, value| {
                let inverse = 1.0 / to[step];
                Some((value * inverse + 0.5).floor() / inverse)
            })
        }
        _ => clamp(evaluator, call, frame),
    }
}

fn each(columns: Columns, compute: impl Fn(usize, f64) -> Option<f64>) -> Result<Value> {
    let computed = columns.into_iter().map(|column| column.nameless().map(&compute));
    settle(computed.collect()).map(Value::Columns)
}

fn seconds(frame: Frame) -> Vec<f64> {
    frame.times().map(|time_ms| time_ms as f64 / 1000.0).collect()
}

fn date(seconds: f64) -> Option<OffsetDateTime> {
    // What is no number, or out of range, is no date.
    let whole = seconds.is_finite().then_some(seconds as i64)?;
    OffsetDateTime::from_unix_timestamp(whole).ok()
}

fn clamp(evaluator: &Evaluator<'_>, call: &Call, frame: Frame) -> Result<Value> {
    let arguments = &call.args.args;
    let columns = evaluator.columns(&arguments[0], frame)?;
    let first = evaluator.scalar(&arguments[1], frame)?;
    let bound =
        |value: f64, low: f64, high: f64| match [value, low, high].iter().any(|one| one.is_nan()) {
            true => f64::NAN,
            false => low.max(high.min(value)),
        };
    match call.func.name {
        "clamp_min" => each(columns, |step, value| Some(bound(value, first[step], f64::INFINITY))),
        "clamp_max" => {
            each(columns, |step, value| Some(bound(value, f64::NEG_INFINITY, first[step])))
        }
        _ => {
            let second = evaluator.scalar(&arguments[2], frame)?;
            each(columns, |step, value| {
                let (low, high) = (first[step], second[step]);
                // Bounds the wrong way round leave nothing.
                let is_empty = high < low;
                (!is_empty).then(|| bound(value, low, high))
            })
        }
    }
}

/// The value of the only series; NaN where there is none or more than one.
fn only(columns: &Columns, frame: Frame) -> Value {
    let value = |step| {
        let mut present = columns.iter().filter_map(|column: &Column| column.values[step]);
        let first = present.next().unwrap_or(f64::NAN);
        if present.next().is_some() { f64::NAN } else { first }
    };
    Value::Scalar((0..frame.count).map(value).collect())
}

fn absent(columns: &Columns, argument: &Expr, frame: Frame) -> Value {
    let is_absent = |step: usize| columns.iter().all(|column| column.values[step].is_none());
    let values = (0..frame.count).map(|step| is_absent(step).then_some(1.0)).collect();
    Value::Columns(vec![Column { labels: absent_labels(argument), values }])
}

/// What is known of a series that is not there: what the selector demands by `=`, once for each label.
pub(super) fn absent_labels(argument: &Expr) -> Labels {
    let matchers = match argument {
        Expr::Paren(paren) => return absent_labels(&paren.expr),
        Expr::VectorSelector(selector) => &selector.matchers.matchers,
        Expr::MatrixSelector(matrix) => &matrix.vs.matchers.matchers,
        _ => return Labels::default(),
    };
    let times = |name: &str| matchers.iter().filter(|matcher| matcher.name == name).count();
    let pairs = matchers.iter().filter(|matcher| {
        matcher.op == MatchOp::Equal && matcher.name != NAME && times(&matcher.name) == 1
    });
    Labels::new(pairs.map(|one| (one.name.as_str(), one.value.as_str()))).unwrap_or_default()
}

fn timestamp(evaluator: &Evaluator<'_>, argument: &Expr, frame: Frame) -> Result<Value> {
    match argument {
        Expr::Paren(paren) => timestamp(evaluator, &paren.expr, frame),
        Expr::VectorSelector(selector) => {
            each(evaluator.select_times(selector, frame)?, |_, value| Some(value))
        }
        _ => {
            let seconds = seconds(frame);
            each(evaluator.columns(argument, frame)?, |step, _| Some(seconds[step]))
        }
    }
}

/// In the order of values at a single moment; over a range there is no order. NaNs come last.
fn sorted(mut columns: Columns, frame: Frame, descending: bool) -> Columns {
    if frame.count == 1 {
        columns.sort_by(|a, b| match (a.values[0], b.values[0]) {
            (Some(a), Some(b)) => by_value(a, b, descending),
            _ => Ordering::Equal,
        });
    }
    columns
}

/// The order of two values; NaNs come last in both directions.
pub(super) fn by_value(a: f64, b: f64, descending: bool) -> Ordering {
    let order = a.partial_cmp(&b).unwrap_or(Ordering::Equal);
    let order = if descending { order.reverse() } else { order };
    a.is_nan().cmp(&b.is_nan()).then(order)
}
