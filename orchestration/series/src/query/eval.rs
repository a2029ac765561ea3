//! One expression after the other, from the leaves up.

use super::{
    Deadline, QueryLimits, aggregate, binary,
    column::{Column, Columns, Frame, settle},
    histogram, instant,
    selector::{Timing, Windows},
    texts, window,
};
use crate::{Error, Result, Store};
use promql_parser::parser::{Call, Expr, SubqueryExpr};
use std::{cell::Cell, time::Instant};

/// Between the moments of a subquery that says no step, as Prometheus' default interval.
const SUBQUERY_STEP_MS: i64 = 60_000;

/// How many parts of a query may give as much as one may.
const PARTS_MAX: usize = 4;

/// What an expression gives.
pub(super) enum Value {
    Scalar(Vec<f64>),
    Columns(Columns),
    Windows(Windows),
    String(String),
}

/// Evaluates the parts of one query.
pub(super) struct Evaluator<'a> {
    pub(super) store: &'a Store,
    pub(super) limits: &'a QueryLimits,
    /// From when to when was asked for, in milliseconds; the last step may be earlier.
    pub(super) asked: (i64, i64),
    deadline: Deadline,
    /// Values that its parts gave so far: those of the left side are held while the right one is evaluated.
    given: Cell<usize>,
}

impl<'a> Evaluator<'a> {
    pub(super) fn new(store: &'a Store, asked: (i64, i64), limits: &'a QueryLimits) -> Self {
        let at = Instant::now() + limits.timeout;
        let deadline = Deadline { at, timeout: limits.timeout };
        Self { store, limits, asked, deadline, given: Cell::new(0) }
    }

    /// Refuses to go on when the time is up.
    pub(super) fn go_on(&self) -> Result<()> {
        self.deadline.check()
    }

    /// What stands at the top, where a range may stand, too.
    pub(super) fn whole(&self, expr: &Expr, frame: Frame) -> Result<Value> {
        match expr {
            Expr::MatrixSelector(_) | Expr::Subquery(_) => {
                self.windows(expr, frame).map(Value::Windows)
            }
            Expr::Paren(paren) => self.whole(&paren.expr, frame),
            _ => self.value(expr, frame),
        }
    }

    pub(super) fn value(&self, expr: &Expr, frame: Frame) -> Result<Value> {
        self.go_on()?;
        let value = match expr {
            Expr::NumberLiteral(number) => Value::Scalar(vec![number.val; frame.count]),
            Expr::StringLiteral(text) => Value::String(text.val.clone()),
            Expr::Paren(paren) => self.value(&paren.expr, frame)?,
            Expr::Unary(unary) => negate(self.value(&unary.expr, frame)?)?,
            Expr::VectorSelector(selector) => Value::Columns(self.select(selector, frame)?),
            Expr::Aggregate(one) => Value::Columns(aggregate::evaluate(self, one, frame)?),
            Expr::Binary(one) => binary::evaluate(self, one, frame)?,
            Expr::Call(call) => self.call(call, frame)?,
            Expr::MatrixSelector(_) | Expr::Subquery(_) | Expr::Extension(_) => {
                return Err(Error::Query("a range stands where a vector is expected".to_owned()));
            }
        };
        if let Value::Columns(columns) = &value {
            self.check_size(columns.len(), frame)?;
        }
        Ok(value)
    }

    /// Refuses what would take too much memory.
    pub(super) fn check_size(&self, columns: usize, frame: Frame) -> Result<()> {
        let limit = self.limits.samples_max;
        let size = columns.saturating_mul(frame.count);
        let given = self.given.get().saturating_add(size);
        self.given.set(given);
        match size <= limit && given <= limit.saturating_mul(PARTS_MAX) {
            true => Ok(()),
            false => Err(Error::TooMuch(format!(
                "a part of the query gives more than {limit} values: ask for fewer series or a longer step"
            ))),
        }
    }

    pub(super) fn columns(&self, expr: &Expr, frame: Frame) -> Result<Columns> {
        match self.value(expr, frame)? {
            Value::Columns(columns) => Ok(columns),
            _ => Err(Error::Query(format!("`{expr}` gives no vector"))),
        }
    }

    pub(super) fn scalar(&self, expr: &Expr, frame: Frame) -> Result<Vec<f64>> {
        match self.value(expr, frame)? {
            Value::Scalar(values) => Ok(values),
            _ => Err(Error::Query(format!("`{expr}` gives no number"))),
        }
    }

    pub(super) fn text(&self, expr: &Expr, frame: Frame) -> Result<String> {
        match self.value(expr, frame)? {
            Value::String(text) => Ok(text),
            _ => Err(Error::Query(format!("`{expr}` gives no text"))),
        }
    }

    fn call(&self, call: &Call, frame: Frame) -> Result<Value> {
        let name = call.func.name;
        if window::is_known(name) {
            return window::evaluate(self, call, frame).map(Value::Columns);
        }
        match name {
            "histogram_quantile" => histogram::evaluate(self, call, frame).map(Value::Columns),
            "label_replace" => texts::replace(self, call, frame).map(Value::Columns),
            "label_join" => texts::join(self, call, frame).map(Value::Columns),
            _ => instant::evaluate(self, call, frame),
        }
    }

    /// What stands where a range is expected.
    pub(super) fn windows(&self, expr: &Expr, frame: Frame) -> Result<Windows> {
        match expr {
            Expr::Paren(paren) => self.windows(&paren.expr, frame),
            Expr::MatrixSelector(matrix) => self.select_windows(matrix, frame),
            Expr::Subquery(subquery) => self.subquery(subquery, frame),
            _ => Err(Error::Query(format!("`{expr}` gives no range"))),
        }
    }

    fn subquery(&self, subquery: &SubqueryExpr, frame: Frame) -> Result<Windows> {
        let timing = Timing::new(subquery.at.as_ref(), subquery.offset.as_ref(), self.asked);
        let range_ms = super::parse::millis(subquery.range);
        let step_ms = subquery.step.map_or(SUBQUERY_STEP_MS, super::parse::millis).max(1);
        let (first, last) = timing.ends(frame);
        let earliest = first.saturating_sub(range_ms);
        // Moments are whole steps since the epoch, wherever the query begins.
        let mut start_ms = earliest.div_euclid(step_ms) * step_ms;
        if start_ms < earliest {
            start_ms += step_ms;
        }
        let count = usize::try_from((last - start_ms).div_euclid(step_ms) + 1).unwrap_or(0);
        self.check_size(1, Frame { start_ms, step_ms, count })?;
        let inner = Frame { start_ms, step_ms, count };
        let columns = match self.value(&subquery.expr, inner)? {
            Value::Columns(columns) => columns,
            Value::Scalar(values) => vec![Column::of_scalar(&values)],
            _ => return Err(Error::Query("a subquery is of a vector or a number".to_owned())),
        };
        let series = columns.into_iter().filter_map(|column| column.series(&inner)).collect();
        Ok(Windows { series, timing, range_ms })
    }
}

fn negate(value: Value) -> Result<Value> {
    match value {
        Value::Scalar(values) => {
            Ok(Value::Scalar(values.into_iter().map(|value| -value).collect()))
        }
        Value::Columns(columns) => {
            let negated =
                columns.into_iter().map(|one| one.nameless().map(|_, value| Some(-value)));
            settle(negated.collect()).map(Value::Columns)
        }
        _ => Err(Error::Query("only a vector or a number has a sign".to_owned())),
    }
}
