//! From text to a query that we can evaluate.

use super::{instant, window};
use crate::{Error, Matcher, Result, Test};
use promql_parser::{
    label::{MatchOp, Matcher as Parsed},
    parser::{AtModifier, Expr, Offset, VectorSelector, parse, token},
};
use std::{
    fmt, thread,
    time::{Duration, UNIX_EPOCH},
};

/// Queries are short; what is longer is a mistake, or an attack on the parser.
const QUERY_MAX_BYTES: usize = 16 << 10;

/// How deep expressions may be nested: evaluating takes stack for each level.
const DEPTH_MAX: usize = 100;

/// The parser's own nesting is bounded by the length of the text alone. The memory is taken as it is used.
const PARSER_STACK_BYTES: usize = 128 << 20;

/// Longer periods say nothing, and milliseconds are to stay far from their limits.
const PERIOD_MAX: Duration = Duration::from_secs(1000 * 365 * 24 * 3600);

/// A query that was parsed, and whose parts are all supported.
#[derive(Debug, Clone)]
pub struct Query {
    expr: Expr,
}

impl Query {
    /// Reads PromQL.
    ///
    /// # Errors
    /// [`Error::Query`] for what is none, [`Error::Unsupported`] for what Prometheus knows and we do not.
    pub fn parse(text: &str) -> Result<Self> {
        if text.len() > QUERY_MAX_BYTES {
            let bytes = text.len();
            return Err(Error::Query(format!(
                "the query has {bytes} bytes: at most {QUERY_MAX_BYTES}"
            )));
        }
        let text = text.to_owned();
        let worker = thread::Builder::new()
            .name("promql".to_owned())
            .stack_size(PARSER_STACK_BYTES)
            .spawn(move || read(&text))
            .map_err(|error| Error::TooMuch(format!("no thread can be started: {error}")))?;
        // The parser is not ours: should it panic, the query is at fault, and nobody else is hurt.
        let parsed = worker.join().unwrap_or_else(|_| {
            Err(Error::Query("the query cannot be read: it makes the parser fail".to_owned()))
        });
        Ok(Self { expr: parsed? })
    }

    pub(super) fn expr(&self) -> &Expr {
        &self.expr
    }

    /// The matchers of a query that is one selector and nothing else, as `match[]` needs it.
    ///
    /// # Errors
    /// [`Error::Query`] if it is something else.
    pub fn selector(&self) -> Result<Vec<Matcher>> {
        match &self.expr {
            Expr::VectorSelector(selector)
                if selector.offset.is_none() && selector.at.is_none() =>
            {
                matchers(selector)
            }
            _ => Err(Error::Query(format!("`{self}` is no selector of series"))),
        }
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.expr, f)
    }
}

fn read(text: &str) -> Result<Expr> {
    let expr = parse(text).map_err(|what| Error::Query(format!("parse error: {what}")))?;
    check(&expr, 0)?;
    Ok(expr)
}

fn unsupported(what: impl fmt::Display) -> Error {
    Error::Unsupported(format!("{what} is not supported"))
}

fn check(expr: &Expr, depth: usize) -> Result<()> {
    if depth > DEPTH_MAX {
        return Err(Error::Query(format!("the query is nested more than {DEPTH_MAX} deep")));
    }
    let inside = |expr: &Expr| check(expr, depth + 1);
    match expr {
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) => Ok(()),
        Expr::Paren(paren) => inside(&paren.expr),
        Expr::Unary(unary) => inside(&unary.expr),
        Expr::VectorSelector(selector) => check_selector(selector),
        Expr::MatrixSelector(matrix) => {
            check_period(matrix.range)?;
            check_selector(&matrix.vs)
        }
        Expr::Subquery(subquery) => {
            check_period(subquery.range)?;
            subquery.step.map_or(Ok(()), check_period)?;
            check_at(subquery.at.as_ref())?;
            check_offset(subquery.offset.as_ref())?;
            inside(&subquery.expr)
        }
        Expr::Aggregate(aggregate) => {
            if [token::T_LIMITK, token::T_LIMIT_RATIO].contains(&aggregate.op.id()) {
                return Err(unsupported(format_args!("`{}`", aggregate.op)));
            }
            aggregate.param.as_deref().map_or(Ok(()), inside)?;
            inside(&aggregate.expr)
        }
        Expr::Binary(binary) => {
            let fill = binary.modifier.as_ref().map(|modifier| &modifier.fill_values);
            if fill.is_some_and(|fill| fill.lhs.is_some() || fill.rhs.is_some()) {
                return Err(unsupported("`fill`"));
            }
            inside(&binary.lhs)?;
            inside(&binary.rhs)
        }
        Expr::Call(call) => {
            let name = call.func.name;
            if !(window::is_known(name) || instant::is_known(name)) {
                return Err(unsupported(format_args!("the function `{name}`")));
            }
            call.args.args.iter().try_for_each(|argument| inside(argument))
        }
        Expr::Extension(_) => Err(unsupported("an extension")),
    }
}

fn check_selector(selector: &VectorSelector) -> Result<()> {
    if !selector.matchers.or_matchers.is_empty() {
        return Err(unsupported("`or` between matchers"));
    }
    check_at(selector.at.as_ref())?;
    check_offset(selector.offset.as_ref())
}

fn check_at(at: Option<&AtModifier>) -> Result<()> {
    let Some(AtModifier::At(time)) = at else { return Ok(()) };
    check_period(match time.duration_since(UNIX_EPOCH) {
        Ok(since) => since,
        Err(before) => before.duration(),
    })
}

fn check_offset(offset: Option<&Offset>) -> Result<()> {
    match offset {
        Some(Offset::Pos(period) | Offset::Neg(period)) => check_period(*period),
        None => Ok(()),
    }
}

fn check_period(period: Duration) -> Result<()> {
    match period <= PERIOD_MAX && period.as_millis() > 0 || period.is_zero() {
        true => Ok(()),
        false => Err(Error::Query("a period is between 1 ms and 1000 years".to_owned())),
    }
}

/// The conditions of a selector.
pub(super) fn matchers(selector: &VectorSelector) -> Result<Vec<Matcher>> {
    let name = selector.name.as_deref().map(|name| Matcher::is(crate::NAME, name));
    let rest = selector.matchers.matchers.iter().map(matcher);
    Ok(name.into_iter().chain(rest).collect())
}

fn matcher(parsed: &Parsed) -> Matcher {
    let value = || parsed.value.clone();
    let test = match &parsed.op {
        MatchOp::Equal => Test::Is(value()),
        MatchOp::NotEqual => Test::IsNot(value()),
        MatchOp::Re(pattern) => Test::Like(pattern.clone()),
        MatchOp::NotRe(pattern) => Test::Unlike(pattern.clone()),
    };
    Matcher { name: parsed.name.clone(), test }
}

/// A period that was checked, in milliseconds.
pub(super) fn millis(period: Duration) -> i64 {
    i64::try_from(period.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_evaluated_is_refused_when_it_is_read() {
        let refused = |text: &str| Query::parse(text).unwrap_err();

        assert!(matches!(refused("limitk(2, up)"), Error::Unsupported(_)));
        assert!(matches!(refused("mad_over_time(up[5m])"), Error::Unsupported(_)));
        assert!(matches!(refused("up{a=\"1\" or b=\"2\"}"), Error::Unsupported(_)));
        assert!(matches!(refused("sum(("), Error::Query(_)));
        assert!(refused(&"x".repeat(20_000)).to_string().contains("20000 bytes"));
        assert!(refused("up[2000y]").to_string().contains("1000 years"));
    }

    #[test]
    fn deep_and_odd_queries_end_nobody() {
        for text in [
            format!("{}1{}", "(".repeat(8000), ")".repeat(8000)),
            format!("1{}", "+1".repeat(8000)),
            "-".repeat(16_000),
            format!("up{}", "[1m:]".repeat(3000)),
            "up[1e400]".to_owned(),
            "up offset 1e300".to_owned(),
            "up @ 1e300".to_owned(),
        ] {
            let shown: String = text.chars().take(20).collect();
            assert!(Query::parse(&text).is_err(), "{shown}");
        }
    }
}
