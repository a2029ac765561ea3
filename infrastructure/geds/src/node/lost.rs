//! What a former node lost, by name.

use crate::Lost;
use std::{collections::BTreeMap, ops::Bound};

/// Most names that are kept; of more the number.
const NAMES_MAX: usize = 1 << 16;
/// Names that are told at once.
const PAGE: usize = 1000;

/// Objects that were lost.
#[derive(Debug, Default)]
pub(super) struct LostNames {
    /// Why, by bucket and key.
    names: BTreeMap<(String, String), String>,
    /// How many more there are.
    unnamed: u64,
}

impl LostNames {
    pub(super) fn add(&mut self, bucket: &str, key: &str, why: String) {
        if self.names.len() >= NAMES_MAX {
            self.unnamed += 1;
            return;
        }
        self.names.insert((bucket.to_owned(), key.to_owned()), why);
    }

    /// The name was written again.
    pub(super) fn found(&mut self, bucket: &str, key: &str) {
        // Nothing is copied for a question whose answer is known.
        if !self.names.is_empty() {
            self.names.remove(&(bucket.to_owned(), key.to_owned()));
        }
    }

    /// Why the object of a name is lost, if it is.
    pub(super) fn why(&self, bucket: &str, key: &str) -> Option<&str> {
        if self.names.is_empty() {
            return None;
        }
        self.names.get(&(bucket.to_owned(), key.to_owned())).map(String::as_str)
    }

    pub(super) fn count(&self) -> u64 {
        self.names.len() as u64 + self.unnamed
    }

    pub(super) fn all(&self) -> impl Iterator<Item = Lost> {
        self.names.iter().map(lost)
    }

    /// The next ones behind a name.
    pub(super) fn page(&self, after: Option<(String, String)>) -> Vec<Lost> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.names.range((from, Bound::Unbounded)).take(PAGE).map(lost).collect()
    }
}

fn lost(((bucket, key), why): (&(String, String), &String)) -> Lost {
    Lost { bucket: bucket.clone(), key: key.clone(), why: why.clone() }
}
