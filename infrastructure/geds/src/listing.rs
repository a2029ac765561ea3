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
    /// There is nothing more.
    End,
}

impl Start {
    /// Behind all keys that begin with `prefix`.
    pub(crate) fn behind_all(prefix: &str) -> Self {
        let mut text = prefix.to_owned();
        while let Some(last) = text.pop() {
            // The bytes of UTF-8 are in the order of the characters.
            if let Some(next) = (last..=char::MAX).nth(1) {
                text.push(next);
                return Self::At(text);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_a_prefix_comes_the_first_text_that_does_not_begin_with_it() {
        for (prefix, next) in
            [("a", "b"), ("a/", "a0"), ("\u{d7ff}", "\u{e000}"), ("\u{7f}", "\u{80}")]
        {
            assert_eq!(Start::behind_all(prefix), Start::At(next.to_owned()));
        }
        assert_eq!(Start::behind_all("a\u{10ffff}"), Start::At("b".to_owned()));
        assert_eq!(Start::behind_all("\u{10ffff}"), Start::End);
    }

    #[test]
    fn keys_are_grouped_up_to_the_first_delimiter_behind_the_prefix() {
        let listing = Listing::prefix("a/").delimiter("/");
        assert_eq!(listing.group("a/b/c/d"), Some("a/b/"));
        assert_eq!((listing.group("a/b"), listing.group("x/y")), (None, None));
        assert_eq!(Listing::default().delimiter("").group("a/b"), None);
    }
}
