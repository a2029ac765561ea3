//! Labels that are made of others: `label_replace` and `label_join`.

use super::{
    column::{Columns, Frame, settle},
    eval::Evaluator,
};
use crate::{
    Error, LABEL_MAX_BYTES, Labels, NAME, Result, is_label_name, is_metric_name, matcher::anchored,
};
use promql_parser::parser::Call;

pub(super) fn replace(evaluator: &Evaluator<'_>, call: &Call, frame: Frame) -> Result<Columns> {
    let arguments = &call.args.args;
    let text = |index: usize| evaluator.text(&arguments[index], frame);
    let (target, replacement, source) = (text(1)?, text(2)?, text(3)?);
    let pattern = anchored(&text(4)?)?;
    check_name(&target)?;
    relabel(evaluator.columns(&arguments[0], frame)?, |labels| {
        let value = labels.get(&source);
        let Some(found) = pattern.captures(value) else { return Ok(labels.clone()) };
        let mut made = String::new();
        found.expand(&replacement, &mut made);
        set(labels, &target, &made)
    })
}

pub(super) fn join(evaluator: &Evaluator<'_>, call: &Call, frame: Frame) -> Result<Columns> {
    let arguments = &call.args.args;
    let text = |index: usize| evaluator.text(&arguments[index], frame);
    let (target, separator) = (text(1)?, text(2)?);
    check_name(&target)?;
    let sources = (3..arguments.len()).map(text).collect::<Result<Vec<_>>>()?;
    sources.iter().try_for_each(|source| check_name(source))?;
    relabel(evaluator.columns(&arguments[0], frame)?, |labels| {
        let values: Vec<&str> = sources.iter().map(|source| labels.get(source)).collect();
        set(labels, &target, &values.join(&separator))
    })
}

fn check_name(name: &str) -> Result<()> {
    match is_label_name(name) {
        true => Ok(()),
        false => Err(Error::Evaluation(format!("invalid label name in a function: `{name}`"))),
    }
}

fn set(labels: &Labels, name: &str, value: &str) -> Result<Labels> {
    // Replacements may repeat what they found: bounded like any label.
    if name.len() + value.len() > LABEL_MAX_BYTES {
        let what = format!("label `{name}` becomes longer than {LABEL_MAX_BYTES} bytes");
        return Err(Error::Evaluation(what));
    }
    if name == NAME && !value.is_empty() && !is_metric_name(value) {
        return Err(Error::Evaluation(format!("`{value}` is no metric's name")));
    }
    Ok(labels.with(name, value))
}

fn relabel(columns: Columns, make: impl Fn(&Labels) -> Result<Labels>) -> Result<Columns> {
    let mut made = columns;
    for column in &mut made {
        column.labels = make(&column.labels)?;
    }
    settle(made)
}
