//! The language of conditions: numbers, times, truths, texts and series, typed before they are run.
//!
//! ```text
//! here.predicted > sla && there.predicted < 0.8 * here.predicted
//! mean(here.latency, 30s) > 2 * sla || share_above(here.latency, 150ms, 5m) > 0.2
//! ```
//!
//! There are no loops and no names but those that are given, so that an expression takes as long as
//! it has parts. A unit is part of a number's type: `200ms < 5m` is a comparison, `200ms < 5` a
//! mistake. What cannot be known (nothing measured, a division by zero) is an error of the run.

mod parse;
mod run;
#[cfg(test)]
mod tests;

pub use run::{Scope, Value};

use crate::{Error, Result};
use parse::Node;
use std::fmt;

/// What an expression is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// True or false.
    Truth,
    /// A number without a unit.
    Number,
    /// A length of time.
    Time,
    /// A name.
    Text,
    /// Samples of numbers.
    Numbers,
    /// Samples of times.
    Times,
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truth => "true or false",
            Self::Number => "a number",
            Self::Time => "a time",
            Self::Text => "a text",
            Self::Numbers | Self::Times => {
                "samples (say over which time: `mean(here.latency, 5m)`)"
            }
        })
    }
}

/// The names that an expression may use, with their types.
pub type Names<'a> = &'a dyn Fn(&str) -> Option<Type>;

/// An expression whose types fit.
#[derive(Debug, Clone)]
pub struct Expression {
    root: Node,
    text: String,
}

impl Expression {
    /// Reads an expression that is of a type.
    ///
    /// # Errors
    /// Where it is wrong and what would be right: a name that is not known, types that do not fit,
    /// a division by what is always zero.
    pub fn new(text: &str, wanted: Type, names: Names) -> Result<Self> {
        let wrong = |reason: String| Error::Unfit(format!("`{text}`: {reason}"));
        let (root, found) = parse::parse(text, names).map_err(wrong)?;
        if found != wanted {
            return Err(wrong(format!("it is {found}; what is asked for is {wanted}")));
        }
        Ok(Self { root, text: text.to_owned() })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its value for these names.
    ///
    /// # Errors
    /// What is not known at this moment, and divisions by zero.
    pub fn value(&self, scope: &dyn Scope) -> Result<Value> {
        run::run(&self.root, scope)
            .map_err(|reason| Error::Unfit(format!("`{}`: {reason}", self.text)))
    }

    /// The value of one that is true or false.
    ///
    /// # Errors
    /// As of [`Expression::value`].
    pub fn holds(&self, scope: &dyn Scope) -> Result<bool> {
        Ok(matches!(self.value(scope)?, Value::Truth(true)))
    }

    /// The value of one that is a number or a time.
    ///
    /// # Errors
    /// As of [`Expression::value`].
    pub fn number(&self, scope: &dyn Scope) -> Result<f64> {
        match self.value(scope)? {
            Value::Number(value) => Ok(value),
            _ => Err(Error::Unfit(format!("`{}` is no number", self.text))),
        }
    }
}
