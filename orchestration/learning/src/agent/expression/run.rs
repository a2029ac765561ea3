//! The value of a tree whose types fit.

use super::parse::{Function, Node, Operator};
use crate::{agent::forecast::quantile_of, features::mean};

/// A value. Times are in milliseconds; so are the samples of latencies.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// True or false.
    Truth(bool),
    /// A number or a time.
    Number(f64),
    /// A name.
    Text(String),
    /// Samples, the latest last, and the milliseconds from one to the next; nothing where nothing
    /// was measured.
    Samples(Vec<Option<f64>>, u64),
}

/// What names mean at a moment.
pub trait Scope {
    /// The value of a name; nothing where it is not known now. `last_ms` is how far back samples
    /// are asked for.
    fn get(&self, name: &str, last_ms: f64) -> Option<Value>;
}

/// A scope without names.
struct Nothing;

impl Scope for Nothing {
    fn get(&self, _: &str, _: f64) -> Option<Value> {
        None
    }
}

/// The number that a tree without names is.
pub(super) fn constant(node: &Node) -> Option<f64> {
    match run(node, &Nothing) {
        Ok(Value::Number(value)) => Some(value),
        _ => None,
    }
}

pub(super) fn run(node: &Node, scope: &dyn Scope) -> Result<Value, String> {
    Ok(match node {
        Node::Number(value) => Value::Number(*value),
        Node::Truth(value) => Value::Truth(*value),
        Node::Text(text) => Value::Text(text.clone()),
        Node::Name(name) => known(name, scope.get(name, 0.0))?,
        Node::Not(inner) => Value::Truth(!truth(inner, scope)?),
        Node::Minus(inner) => Value::Number(-number(inner, scope)?),
        Node::Two(Operator::Or, left, right) => {
            Value::Truth(truth(left, scope)? || truth(right, scope)?)
        }
        Node::Two(Operator::And, left, right) => {
            Value::Truth(truth(left, scope)? && truth(right, scope)?)
        }
        Node::Two(operator, left, right) => two(*operator, left, right, scope)?,
        Node::Call(function, arguments) => Value::Number(call(*function, arguments, scope)?),
    })
}

fn known(name: &str, value: Option<Value>) -> Result<Value, String> {
    match value {
        None => Err(format!("`{name}` is not known now")),
        Some(Value::Number(value)) if value.is_nan() => Err(format!("`{name}` is not known now")),
        Some(value) => Ok(value),
    }
}

fn truth(node: &Node, scope: &dyn Scope) -> Result<bool, String> {
    Ok(matches!(run(node, scope)?, Value::Truth(true)))
}

fn number(node: &Node, scope: &dyn Scope) -> Result<f64, String> {
    match run(node, scope)? {
        Value::Number(value) => Ok(value),
        _ => Err("something is no number".into()),
    }
}

fn two(operator: Operator, left: &Node, right: &Node, scope: &dyn Scope) -> Result<Value, String> {
    let (left, right) = (run(left, scope)?, run(right, scope)?);
    if operator == Operator::Same || operator == Operator::Other {
        return Ok(Value::Truth((left == right) == (operator == Operator::Same)));
    }
    let (Value::Number(one), Value::Number(other)) = (left, right) else {
        return Err("something is no number".into());
    };
    let value = match operator {
        Operator::Less => return Ok(Value::Truth(one < other)),
        Operator::AtMost => return Ok(Value::Truth(one <= other)),
        Operator::More => return Ok(Value::Truth(one > other)),
        Operator::AtLeast => return Ok(Value::Truth(one >= other)),
        Operator::Plus => one + other,
        Operator::Minus => one - other,
        Operator::Times => one * other,
        _ if other == 0.0 => return Err("it divides by zero".into()),
        _ => one / other,
    };
    // Infinity less infinity, say.
    if value.is_nan() { Err("the result is no number".into()) } else { Ok(Value::Number(value)) }
}

fn call(function: Function, arguments: &[Node], scope: &dyn Scope) -> Result<f64, String> {
    let argument = |at: usize| {
        arguments.get(at).map_or(Err("an argument is missing".into()), |node| number(node, scope))
    };
    match function {
        Function::Abs => return Ok(argument(0)?.abs()),
        Function::Least => return Ok(argument(0)?.min(argument(1)?)),
        Function::Most => return Ok(argument(0)?.max(argument(1)?)),
        _ => {}
    }
    let last_ms = argument(arguments.len().saturating_sub(1))?;
    let Some(Node::Name(name)) = arguments.first() else { return Err("no samples".into()) };
    let Some(Value::Samples(samples, step_ms)) = scope.get(name, last_ms) else {
        return Err(format!("`{name}` is not known now"));
    };
    let count = ((last_ms / step_ms.max(1) as f64).max(1.0)) as usize;
    let last = &samples[samples.len().saturating_sub(count)..];
    if function == Function::ShareAbove {
        let level = argument(1)?;
        let above = last.iter().map(|value| value.is_none_or(|value| value > level));
        return some(name, mean(above.map(|above| f64::from(u8::from(above)))));
    }
    let values = || last.iter().copied().flatten();
    let value = match function {
        Function::Mean => mean(values()),
        Function::Max => values().fold(f64::NAN, f64::max),
        Function::Min => values().fold(f64::NAN, f64::min),
        _ => quantile_of(values(), argument(1)?),
    };
    some(name, value)
}

fn some(name: &str, value: f64) -> Result<f64, String> {
    match value.is_nan() {
        true => Err(format!("nothing was measured of `{name}` in that time")),
        false => Ok(value),
    }
}
