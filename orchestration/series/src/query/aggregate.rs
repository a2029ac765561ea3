//! Many series become one for each group: `sum by (site)` and its kin.

use super::{
    column::{Column, Columns, Frame},
    eval::Evaluator,
    instant::by_value,
    window::{quantile, sum, variance},
};
use crate::{Error, Labels, NAME, Result, is_label_name};
use promql_parser::parser::{
    AggregateExpr, LabelModifier,
    token::{
        T_AVG, T_BOTTOMK, T_COUNT, T_COUNT_VALUES, T_GROUP, T_MAX, T_MIN, T_QUANTILE, T_STDDEV,
        T_STDVAR, T_SUM, T_TOPK, TokenId,
    },
};
use std::collections::{BTreeMap, HashMap};

pub(super) fn evaluate(
    evaluator: &Evaluator<'_>,
    aggregate: &AggregateExpr,
    frame: Frame,
) -> Result<Columns> {
    let columns = evaluator.columns(&aggregate.expr, frame)?;
    let groups = groups(columns, aggregate.modifier.as_ref());
    let operation = aggregate.op.id();
    let parameter = || match &aggregate.param {
        Some(parameter) => evaluator.scalar(parameter, frame),
        None => Err(Error::Query(format!("`{}` needs a parameter", aggregate.op))),
    };
    match operation {
        T_COUNT_VALUES => {
            let Some(parameter) = &aggregate.param else {
                return Err(Error::Query("`count_values` needs a label".to_owned()));
            };
            count_values(evaluator, groups, &evaluator.text(parameter, frame)?, frame)
        }
        T_TOPK | T_BOTTOMK => Ok(extremes(groups, &parameter()?, operation == T_TOPK, frame)),
        T_QUANTILE => {
            let quantiles = parameter()?;
            Ok(reduced(groups, frame, |step, values| quantile(quantiles[step], values)))
        }
        _ => {
            let reduce = reducer(operation).ok_or_else(|| {
                Error::Unsupported(format!("`{}` is not supported", aggregate.op))
            })?;
            Ok(reduced(groups, frame, |_, values| reduce(&values)))
        }
    }
}

type Reducer = fn(&[f64]) -> f64;

fn reducer(operation: TokenId) -> Option<Reducer> {
    Some(match operation {
        T_SUM => |values| sum(values.iter().copied()),
        T_AVG => mean,
        T_COUNT => |values| values.len() as f64,
        T_GROUP => |_| 1.0,
        // A NaN gives way to anything.
        T_MIN => |values| fold(values, |new, old| new < old),
        T_MAX => |values| fold(values, |new, old| new > old),
        T_STDDEV => |values| variance(values.iter().copied()).sqrt(),
        T_STDVAR => |values| variance(values.iter().copied()),
        _ => return None,
    })
}

fn fold(values: &[f64], wins: fn(f64, f64) -> bool) -> f64 {
    let better = |old: f64, new: f64| if wins(new, old) || old.is_nan() { new } else { old };
    values.iter().copied().reduce(better).unwrap_or(f64::NAN)
}

fn mean(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let total = sum(values.iter().copied());
    match total.is_infinite() {
        // It may be the sum alone that is too large.
        true => values.iter().map(|value| value / count).sum(),
        false => total / count,
    }
}

/// The series of each group, in the order in which groups first appear.
fn groups(columns: Columns, modifier: Option<&LabelModifier>) -> Vec<(Labels, Columns)> {
    let mut places: HashMap<Labels, usize> = HashMap::new();
    let mut groups: Vec<(Labels, Columns)> = Vec::new();
    for column in columns {
        let labels = match modifier {
            None => Labels::default(),
            Some(LabelModifier::Include(kept)) => {
                column.labels.filtered(|name| kept.labels.iter().any(|one| one == name))
            }
            Some(LabelModifier::Exclude(left_out)) => column
                .labels
                .filtered(|name| name != NAME && !left_out.labels.iter().any(|one| one == name)),
        };
        let place = *places.entry(labels.clone()).or_insert_with(|| {
            groups.push((labels, Vec::new()));
            groups.len() - 1
        });
        groups[place].1.push(column);
    }
    groups
}

fn reduced(
    groups: Vec<(Labels, Columns)>,
    frame: Frame,
    reduce: impl Fn(usize, Vec<f64>) -> f64,
) -> Columns {
    let of_group = |(labels, columns): (Labels, Columns)| {
        let value = |step| {
            let present: Vec<f64> = columns.iter().filter_map(|one| one.values[step]).collect();
            (!present.is_empty()).then(|| reduce(step, present))
        };
        Column { labels, values: (0..frame.count).map(value).collect() }
    };
    groups.into_iter().map(of_group).collect()
}

/// The series that have the largest, or smallest, values of their groups; at other steps they are left out.
fn extremes(
    groups: Vec<(Labels, Columns)>,
    counts: &[f64],
    largest: bool,
    frame: Frame,
) -> Columns {
    let mut kept = Vec::new();
    for (_, mut columns) in groups {
        for (step, wanted) in counts.iter().enumerate() {
            let present = columns.iter().enumerate();
            let mut order: Vec<(usize, f64)> =
                present.filter_map(|(place, one)| Some((place, one.values[step]?))).collect();
            order.sort_by(|a, b| by_value(a.1, b.1, largest));
            // A negative count, or none, keeps nothing.
            for (place, _) in order.into_iter().skip(*wanted as usize) {
                columns[place].values[step] = None;
            }
        }
        columns.retain(|column| !column.is_empty());
        if frame.count == 1 {
            let value = |column: &Column| column.values[0].unwrap_or(f64::NAN);
            columns.sort_by(|a, b| by_value(value(a), value(b), largest));
        }
        kept.extend(columns);
    }
    kept
}

fn count_values(
    evaluator: &Evaluator<'_>,
    groups: Vec<(Labels, Columns)>,
    label: &str,
    frame: Frame,
) -> Result<Columns> {
    if !is_label_name(label) {
        return Err(Error::Evaluation(format!("invalid label name `{label}`")));
    }
    let mut all = Vec::new();
    for (labels, columns) in groups {
        let mut counts: BTreeMap<String, Vec<Option<f64>>> = BTreeMap::new();
        for column in columns {
            evaluator.go_on()?;
            for (step, value) in column.values.iter().enumerate() {
                let Some(value) = value else { continue };
                let steps = counts.entry(number(*value)).or_insert_with(|| vec![None; frame.count]);
                steps[step] = Some(steps[step].unwrap_or(0.0) + 1.0);
            }
            evaluator.check_size(all.len() + counts.len(), frame)?;
        }
        all.extend(
            counts
                .into_iter()
                .map(|(value, values)| Column { labels: labels.with(label, &value), values }),
        );
    }
    Ok(all)
}

/// A number as Prometheus writes it.
pub(crate) fn number(value: f64) -> String {
    match value {
        _ if value.is_nan() => "NaN".to_owned(),
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        _ => value.to_string(),
    }
}
