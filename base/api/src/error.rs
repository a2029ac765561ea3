//! Errors as they cross the wire.

use serde::{Deserialize, Serialize};
use types::ErrorKind;

/// The body of every REST answer that is not a success, and of a refused call on the site link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// What the caller may do about it.
    pub kind: ErrorKind,
    /// What is true and what to do, causes included.
    pub message: String,
}

impl Problem {
    /// A problem of this kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// The error and its causes as a problem.
    pub fn from_error(kind: ErrorKind, error: &dyn std::error::Error) -> Self {
        Self { kind, message: types::chain(error) }
    }
}

/// A document is not a resource that this version understands.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// `apiVersion` is not ours.
    #[error("`apiVersion: {found}` is not supported: write `{}`", crate::API_VERSION)]
    Version {
        /// What stands there.
        found: String,
    },
    /// The kind is unknown.
    #[error("`{0}` is not a kind: the kinds are {kinds}", kinds = crate::Kind::names())]
    Kind(String),
    /// A name breaks the rules.
    #[error("`metadata.{field}` is wrong")]
    Name {
        /// Which one.
        field: &'static str,
        /// How.
        #[source]
        source: types::NameError,
    },
    /// The spec has unknown, missing or mistyped fields.
    #[error("the spec of {kind} `{name}` is wrong")]
    Spec {
        /// Of what kind.
        kind: crate::Kind,
        /// Of which resource.
        name: String,
        /// How.
        #[source]
        source: serde_json::Error,
    },
    /// A value is outside what is allowed.
    #[error("`spec.{field}` is wrong: {reason}")]
    Value {
        /// The field's path.
        field: &'static str,
        /// What is allowed.
        reason: String,
    },
}
