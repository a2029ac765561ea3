//! Lists of a bucket's objects, in byte order of their keys.

use crate::Stat;
use serde::{Deserialize, Serialize};

/// Most entries and prefixes of a page together.
pub const PAGE_MAX_ENTRIES: usize = 1000;

/// What is to be listed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Listing {
    /// Only keys that begin so.
    pub prefix: String,
    /// Keys that have this behind the prefix are told once, up to and with it, as a prefix.
    pub delimiter: Option<String>,
    /// Only what comes behind this key or prefix: [`Page::next`] of the page before, or any key.
    pub after: Option<String>,
    /// Most entries and prefixes together; 0 and all above [`PAGE_MAX_ENTRIES`] mean that.
    pub limit: usize,
}

impl Listing {
    /// All keys that begin so.
    pub fn prefix(prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), ..Self::default() }
    }

    /// The same, grouped by a delimiter.
    #[must_use]
    pub fn delimiter(mut self, delimiter: impl Into<String>) -> Self {
        self.delimiter = Some(delimiter.into());
        self
    }

    /// The same, behind this key or prefix.
    #[must_use]
    pub fn after(mut self, after: impl Into<String>) -> Self {
        self.after = Some(after.into());
        self
    }

    /// The same, with at most so many entries.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    pub(crate) fn limit_in_force(&self) -> usize {
        if self.limit == 0 { PAGE_MAX_ENTRIES } else { self.limit.min(PAGE_MAX_ENTRIES) }
    }

    /// The prefix that stands for `key`, if it is one of many behind a delimiter.
    pub(crate) fn group<'a>(&self, key: &'a str) -> Option<&'a str> {
        let delimiter = self.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty())?;
        let rest = key.strip_prefix(self.prefix.as_str())?;
        let at = rest.find(delimiter)?;
        Some(&key[..self.prefix.len() + at + delimiter.len()])
    }

    /// Where the walk over the keys begins.
    pub(crate) fn start(&self) -> Start {
        let Some(after) = self.after.as_deref().filter(|after| *after >= self.prefix.as_str())
        else {
            return Start::At(self.prefix.clone());
        };
        match self.group(after) {
            Some(group) if group == after => Start::behind_all(after),
            _ => Start::Behind(after.to_owned()),
        }
    }
}

/// Where a walk over keys goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Start {
    /// At this key or the next one.
    At(String),
    /// At the key behind this one.
    Behind(String),
    /// At the first key of at least these bytes, which need not be text.
    AtBytes(Vec<u8>),
    /// There is nothing more.
    End,
}

impl Start {
    /// Behind all keys that begin with `prefix`.
    pub(crate) fn behind_all(prefix: &str) -> Self {
        let mut bytes = prefix.as_bytes().to_vec();
        while let Some(last) = bytes.pop() {
            if last < u8::MAX {
                bytes.push(last + 1);
                return Self::AtBytes(bytes);
            }
        }
        Self::End
    }
}

/// An object in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its key.
    pub key: String,
    /// What is known about it.
    pub stat: Stat,
}

/// A part of a list. Entries and prefixes are each in byte order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Page {
    /// Objects.
    pub entries: Vec<Entry>,
    /// What stands for the objects behind a delimiter.
    pub prefixes: Vec<String>,
    /// What to ask for the next page with, if there is more.
    pub next: Option<String>,
}
