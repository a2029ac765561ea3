//! Operators between two operands, and which series of two vectors belong together.

use super::{
    column::{Column, Columns, Frame, settle},
    eval::{Evaluator, Value},
};
use crate::{Error, Labels, NAME, Result};
use promql_parser::parser::{
    BinModifier, BinaryExpr, LabelModifier, VectorMatchCardinality,
    token::{
        T_ADD, T_ATAN2, T_DIV, T_EQLC, T_GTE, T_GTR, T_LAND, T_LOR, T_LSS, T_LTE, T_LUNLESS, T_MOD,
        T_MUL, T_NEQ, T_POW, T_SUB, TokenId,
    },
};
use std::collections::HashMap;

/// What an operator does with two numbers.
#[derive(Clone, Copy)]
enum Operator {
    Computes(fn(f64, f64) -> f64),
    /// The same, and the metric keeps its name, as Prometheus 2 has it of `atan2`.
    Turns(fn(f64, f64) -> f64),
    Compares(fn(f64, f64) -> bool),
}

impl Operator {
    fn of(token: TokenId) -> Option<Self> {
        use Operator::{Compares, Computes, Turns};
        Some(match token {
            T_ADD => Computes(|a, b| a + b),
            T_SUB => Computes(|a, b| a - b),
            T_MUL => Computes(|a, b| a * b),
            T_DIV => Computes(|a, b| a / b),
            T_MOD => Computes(|a, b| a % b),
            T_POW => Computes(f64::powf),
            T_ATAN2 => Turns(f64::atan2),
            T_EQLC => Compares(|a, b| a == b),
            T_NEQ => Compares(|a, b| a != b),
            T_GTR => Compares(|a, b| a > b),
            T_LSS => Compares(|a, b| a < b),
            T_GTE => Compares(|a, b| a >= b),
            T_LTE => Compares(|a, b| a <= b),
            _ => return None,
        })
    }

    /// The result; a comparison keeps `kept` or nothing, with `bool` it is one or zero.
    fn apply(self, a: f64, b: f64, kept: f64, as_bool: bool) -> Option<f64> {
        match self {
            Self::Computes(compute) | Self::Turns(compute) => Some(compute(a, b)),
            Self::Compares(holds) if as_bool => Some(f64::from(u8::from(holds(a, b)))),
            Self::Compares(holds) => holds(a, b).then_some(kept),
        }
    }

    /// Whether what comes out is no longer what the metric's name says.
    fn renames(self, as_bool: bool) -> bool {
        as_bool || matches!(self, Self::Computes(_))
    }
}

pub(super) fn evaluate(
    evaluator: &Evaluator<'_>,
    binary: &BinaryExpr,
    frame: Frame,
) -> Result<Value> {
    let left = evaluator.value(&binary.lhs, frame)?;
    let right = evaluator.value(&binary.rhs, frame)?;
    let default = BinModifier::default();
    let modifier = binary.modifier.as_ref().unwrap_or(&default);
    let token = binary.op.id();
    let operator = Operator::of(token);
    let as_bool = modifier.return_bool;
    match (left, right, operator) {
        (Value::Scalar(left), Value::Scalar(right), Some(operator)) => {
            // The parser demands `bool` of comparisons between numbers.
            let pairs = left.into_iter().zip(right);
            let one = |(a, b)| operator.apply(a, b, a, true).unwrap_or(f64::NAN);
            Ok(Value::Scalar(pairs.map(one).collect()))
        }
        (Value::Columns(columns), Value::Scalar(numbers), Some(operator)) => {
            with_number(columns, operator, as_bool, |step, value| (value, numbers[step]))
        }
        (Value::Scalar(numbers), Value::Columns(columns), Some(operator)) => {
            with_number(columns, operator, as_bool, |step, value| (numbers[step], value))
        }
        (Value::Columns(left), Value::Columns(right), Some(operator)) => {
            Matching { evaluator, modifier, operator, frame }.join(left, right).map(Value::Columns)
        }
        (Value::Columns(left), Value::Columns(right), None) => {
            set(token, modifier, left, right, frame).map(Value::Columns)
        }
        _ => Err(Error::Query(format!("`{}` is not defined between these operands", binary.op))),
    }
}

fn with_number(
    columns: Columns,
    operator: Operator,
    as_bool: bool,
    operands: impl Fn(usize, f64) -> (f64, f64),
) -> Result<Value> {
    let one = |column: Column| {
        let column = if operator.renames(as_bool) { column.nameless() } else { column };
        column.map(|step, value| {
            let (a, b) = operands(step, value);
            operator.apply(a, b, value, as_bool)
        })
    };
    settle(columns.into_iter().map(one).collect()).map(Value::Columns)
}

/// The labels by which series find each other.
fn signature(labels: &Labels, modifier: &BinModifier) -> Labels {
    let named =
        |list: &promql_parser::label::Labels, name: &str| list.labels.iter().any(|one| one == name);
    match &modifier.matching {
        Some(LabelModifier::Include(on)) => labels.filtered(|name| named(on, name)),
        Some(LabelModifier::Exclude(ignored)) => {
            labels.filtered(|name| name != NAME && !named(ignored, name))
        }
        None => labels.nameless(),
    }
}

fn by_signature(columns: Columns, modifier: &BinModifier) -> HashMap<Labels, Columns> {
    let mut all: HashMap<Labels, Columns> = HashMap::new();
    for column in columns {
        all.entry(signature(&column.labels, modifier)).or_default().push(column);
    }
    all
}

/// At which steps any of them has a value.
fn presence(columns: &[Column], frame: Frame) -> Vec<bool> {
    (0..frame.count).map(|step| columns.iter().any(|one| one.values[step].is_some())).collect()
}

fn set(
    token: TokenId,
    modifier: &BinModifier,
    left: Columns,
    right: Columns,
    frame: Frame,
) -> Result<Columns> {
    // What decides is the other side: for `or` the left, whose series are all kept.
    let (mut kept, judges, judged, wanted) = match token {
        T_LAND => (Vec::new(), right, left, true),
        T_LUNLESS => (Vec::new(), right, left, false),
        T_LOR => (left.clone(), left, right, false),
        _ => return Err(Error::Unsupported("an operator is not supported".to_owned())),
    };
    let judges = by_signature(judges, modifier);
    let judges: HashMap<_, _> =
        judges.into_iter().map(|(key, columns)| (key, presence(&columns, frame))).collect();
    for column in judged {
        let present = judges.get(&signature(&column.labels, modifier));
        let is_there = |step: usize| present.is_some_and(|present| present[step]);
        kept.push(column.map(|step, value| (is_there(step) == wanted).then_some(value)));
    }
    settle(kept)
}

/// An operator between two vectors.
struct Matching<'a> {
    evaluator: &'a Evaluator<'a>,
    modifier: &'a BinModifier,
    operator: Operator,
    frame: Frame,
}

impl Matching<'_> {
    fn join(&self, left: Columns, right: Columns) -> Result<Columns> {
        // The side of which each series has one partner at most is the right one from here on.
        let swapped = matches!(self.modifier.card, VectorMatchCardinality::OneToMany(_));
        let (many, one) = if swapped { (right, left) } else { (left, right) };
        let anybody = presence(&many, self.frame);
        let mut many = by_signature(many, self.modifier);
        let mut joined = Vec::new();
        for (key, one) in by_signature(one, self.modifier) {
            self.evaluator.go_on()?;
            self.check_unique(&key, &one, &anybody, swapped)?;
            let many = many.remove(&key).unwrap_or_default();
            let first = joined.len();
            self.evaluator.check_size(first + many.len() * one.len(), self.frame)?;
            for left in &many {
                joined.extend(one.iter().map(|right| self.pair(left, right, swapped)));
            }
            if self.modifier.card == VectorMatchCardinality::OneToOne {
                self.check_single(&joined[first..])?;
            }
        }
        joined.sort_by(|a: &Column, b| a.labels.cmp(&b.labels));
        settle(joined).map_err(|_| {
            Error::Evaluation(
                "multiple matches for labels: grouping labels must ensure unique matches"
                    .to_owned(),
            )
        })
    }

    /// # Errors
    /// If at one step two series of the side that must be unique have these labels.
    fn check_unique(
        &self,
        key: &Labels,
        one: &[Column],
        anybody: &[bool],
        swapped: bool,
    ) -> Result<()> {
        let twice = |step: &usize| {
            anybody[*step] && one.iter().filter(|column| column.values[*step].is_some()).count() > 1
        };
        if one.len() < 2 || !(0..self.frame.count).any(|step| twice(&step)) {
            return Ok(());
        }
        let side = if swapped { "left" } else { "right" };
        Err(Error::Evaluation(format!(
            "found duplicate series for the match group {key} on the {side} hand-side of the operation: [{}, {}];many-to-many matching not allowed: matching labels must be unique on one side",
            one[0].labels, one[1].labels
        )))
    }

    /// # Errors
    /// If at one step two pairs of one group gave a value, and nobody asked for groups.
    fn check_single(&self, pairs: &[Column]) -> Result<()> {
        let twice =
            |step: usize| pairs.iter().filter(|pair| pair.values[step].is_some()).count() > 1;
        match pairs.len() > 1 && (0..self.frame.count).any(twice) {
            true => Err(Error::Evaluation(
                "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
                    .to_owned(),
            )),
            false => Ok(()),
        }
    }

    fn pair(&self, many: &Column, one: &Column, swapped: bool) -> Column {
        let as_bool = self.modifier.return_bool;
        let value = |(many, one): (&Option<f64>, &Option<f64>)| {
            let (many, one) = ((*many)?, (*one)?);
            let (a, b) = if swapped { (one, many) } else { (many, one) };
            self.operator.apply(a, b, a, as_bool)
        };
        let values = many.values.iter().zip(&one.values).map(value).collect();
        Column { labels: self.labels(&many.labels, &one.labels), values }
    }

    fn labels(&self, many: &Labels, one: &Labels) -> Labels {
        let named = |list: &promql_parser::label::Labels, name: &str| {
            list.labels.iter().any(|label| label == name)
        };
        let renamed = match self.operator.renames(self.modifier.return_bool) {
            true => many.nameless(),
            false => many.clone(),
        };
        match &self.modifier.card {
            VectorMatchCardinality::ManyToOne(added) | VectorMatchCardinality::OneToMany(added) => {
                let add = |labels: Labels, name: &String| labels.with(name, one.get(name));
                added.labels.iter().fold(renamed, add)
            }
            _ => match &self.modifier.matching {
                Some(LabelModifier::Include(on)) => renamed.filtered(|name| named(on, name)),
                Some(LabelModifier::Exclude(out)) => renamed.filtered(|name| !named(out, name)),
                None => renamed,
            },
        }
    }
}
