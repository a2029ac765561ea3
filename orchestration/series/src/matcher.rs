//! Which series are meant.

use crate::{Error, Labels, Result};
use regex::Regex;
use std::fmt;

/// One condition on a label. A label that is not there counts as empty.
#[derive(Debug, Clone)]
pub struct Matcher {
    /// Whose value is asked.
    pub name: String,
    /// What it must be.
    pub test: Test,
}

/// What a label's value must be.
#[derive(Debug, Clone)]
pub enum Test {
    /// `=`
    Is(String),
    /// `!=`
    IsNot(String),
    /// `=~`: the whole value.
    Like(Regex),
    /// `!~`
    Unlike(Regex),
}

impl Matcher {
    /// `name="value"`.
    pub fn is(name: &str, value: &str) -> Self {
        Self { name: name.to_owned(), test: Test::Is(value.to_owned()) }
    }

    /// `name=~"pattern"`, anchored at both ends.
    ///
    /// # Errors
    /// [`Error::Query`] for what is no regular expression.
    pub fn like(name: &str, pattern: &str) -> Result<Self> {
        Ok(Self { name: name.to_owned(), test: Test::Like(anchored(pattern)?) })
    }

    /// Whether a value satisfies it.
    pub fn admits(&self, value: &str) -> bool {
        match &self.test {
            Test::Is(wanted) => wanted == value,
            Test::IsNot(unwanted) => unwanted != value,
            Test::Like(pattern) => pattern.is_match(value),
            Test::Unlike(pattern) => !pattern.is_match(value),
        }
    }
}

/// Whether all of them admit a series.
pub(crate) fn admit(matchers: &[Matcher], labels: &Labels) -> bool {
    matchers.iter().all(|matcher| matcher.admits(labels.get(&matcher.name)))
}

/// The pattern for a whole value.
pub(crate) fn anchored(pattern: &str) -> Result<Regex> {
    Regex::new(&format!("^(?:{pattern})$")).map_err(|error| {
        let shown: String = pattern.chars().take(100).collect();
        Error::Query(format!("`{shown}` is no regular expression: {error}"))
    })
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, value) = match &self.test {
            Test::Is(value) => ("=", value.as_str()),
            Test::IsNot(value) => ("!=", value.as_str()),
            Test::Like(pattern) => ("=~", pattern.as_str()),
            Test::Unlike(pattern) => ("!~", pattern.as_str()),
        };
        write!(f, "{}{sign}{value:?}", self.name)
    }
}
