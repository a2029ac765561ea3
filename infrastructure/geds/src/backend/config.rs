//! Back ends as settings, and how they do.

use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// Whether objects of a bucket stay here as long as there is room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// They are written outside when much memory is in use.
    #[default]
    Hot,
    /// They are written outside as soon as their slab is full, and leave memory first.
    Cold,
}

/// A back end that a node uses as a bucket's lowest tier.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BackendConfig {
    /// As for [`Backend::open`].
    pub url: String,
    /// As for [`Backend::open`].
    pub options: BTreeMap<String, String>,
    /// Whether objects stay here as long as there is room.
    pub class: Class,
    /// Most bytes that are sent in a second; 0 for as many as it takes.
    pub bytes_per_second: u64,
    /// Whether the node writes all this down, keys among it, in a file that its user alone can read, and attaches the back
    /// end again when it is started again.
    pub keep: bool,
}

/// How a back end does.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BackendState {
    /// The bucket whose lowest tier it is.
    pub bucket: String,
    /// Where it is.
    pub url: String,
    /// Whether objects stay here as long as there is room.
    pub class: Class,
    /// Objects that it acknowledged since it was attached.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How often something could not be written or removed.
    pub failures: u64,
    /// Why, the last time.
    pub last_failure: Option<String>,
    /// Whether it is attached again when the node is started again.
    pub kept: bool,
}

impl BackendConfig {
    /// A back end at an address, with options by name.
    pub fn new<'a>(url: &str, options: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let options = options.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self { url: url.to_owned(), options: options.collect(), ..Self::default() }
    }

    /// The same for objects of a class.
    #[must_use]
    pub fn class(mut self, class: Class) -> Self {
        self.class = class;
        self
    }

    /// The same, attached again when the node is started again.
    #[must_use]
    pub fn keep(mut self) -> Self {
        self.keep = true;
        self
    }

    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.options.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// Without keys, which do not belong into logs.
impl fmt::Debug for BackendConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&String> = self.options.keys().collect();
        write!(f, "BackendConfig({}, {:?}, options {names:?})", self.url, self.class)
    }
}
