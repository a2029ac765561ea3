//! Quantiles of histograms that are counted in classes, one series for each upper end `le`.

use super::{
    column::{Column, Columns, Frame},
    eval::Evaluator,
};
use crate::{Labels, NAME, Result};
use promql_parser::parser::Call;
use std::collections::BTreeMap;

/// The label of a class' upper end.
const END: &str = "le";

pub(super) fn evaluate(evaluator: &Evaluator<'_>, call: &Call, frame: Frame) -> Result<Columns> {
    let quantiles = evaluator.scalar(&call.args.args[0], frame)?;
    let mut histograms: BTreeMap<Labels, Vec<(f64, Column)>> = BTreeMap::new();
    for column in evaluator.columns(&call.args.args[1], frame)? {
        // What says no end is no class.
        let Ok(end) = column.labels.get(END).parse::<f64>() else { continue };
        let labels = column.labels.filtered(|name| name != END && name != NAME);
        histograms.entry(labels).or_default().push((end, column));
    }
    let mut columns = Vec::with_capacity(histograms.len());
    for (labels, classes) in histograms {
        evaluator.go_on()?;
        let value = |(step, quantile): (usize, &f64)| {
            let present = classes.iter();
            let present: Vec<_> =
                present.filter_map(|(end, column)| Some((*end, column.values[step]?))).collect();
            (!present.is_empty()).then(|| of_classes(*quantile, present))
        };
        let values = quantiles.iter().enumerate().map(value).collect();
        columns.push(Column { labels, values });
    }
    Ok(columns)
}

/// The quantile of classes (upper end, how many are at most so large), linear within the class it falls into, as
/// Prometheus: the lowest class begins at zero, and of the highest only the lower end is known.
fn of_classes(quantile: f64, mut classes: Vec<(f64, f64)>) -> f64 {
    classes.sort_by(|a, b| a.0.total_cmp(&b.0));
    if quantile.is_nan() || classes.last().is_none_or(|last| last.0 != f64::INFINITY) {
        return f64::NAN;
    }
    if !(0.0..=1.0).contains(&quantile) {
        return if quantile < 0.0 { f64::NEG_INFINITY } else { f64::INFINITY };
    }
    let classes = monotonic(classes);
    let count = classes[classes.len() - 1].1;
    if classes.len() < 2 || count == 0.0 || count.is_nan() {
        return f64::NAN;
    }
    let rank = quantile * count;
    let below = &classes[..classes.len() - 1];
    let class = below.iter().position(|(_, most)| *most >= rank).unwrap_or(below.len());
    if class == below.len() {
        return below[below.len() - 1].0;
    }
    let (end, most) = classes[class];
    if class == 0 && end <= 0.0 {
        return end;
    }
    let (start, fewer) = if class == 0 { (0.0, 0.0) } else { classes[class - 1] };
    start + (end - start) * ((rank - fewer) / (most - fewer))
}

/// One class for each end, and none with fewer than one below: counts of one scrape may be read at different times.
fn monotonic(classes: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    let mut merged: Vec<(f64, f64)> = Vec::with_capacity(classes.len());
    for (end, count) in classes {
        match merged.last_mut() {
            Some(last) if last.0 == end => last.1 += count,
            _ => merged.push((end, count)),
        }
    }
    let mut most = f64::NEG_INFINITY;
    for (_, count) in &mut merged {
        most = most.max(*count);
        *count = most;
    }
    merged
}
