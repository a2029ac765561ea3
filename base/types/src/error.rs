//! The few kinds of failure that a caller acts on differently.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What a caller can do about an error; precise variants stay inside each crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The request is malformed; repeating it cannot help.
    Invalid,
    /// No valid credentials were given.
    Unauthenticated,
    /// The credentials do not allow this.
    Forbidden,
    /// What was named does not exist.
    NotFound,
    /// It exists already.
    AlreadyExists,
    /// The state changed since it was read: read again and decide anew.
    Conflict,
    /// A limit is reached; it may pass when load falls.
    Exhausted,
    /// It did not finish in time; it may still take effect.
    Timeout,
    /// The other side cannot be reached at present.
    Unavailable,
    /// An old epoch was used: its holder must stop and drop what it holds.
    Fenced,
    /// The guest program failed: a trap, a broken protocol.
    Guest,
    /// Stored or received bytes are not what was written.
    Corrupt,
    /// The platform lacks something that this needs.
    Unsupported,
    /// A defect of ours or of the machine.
    Internal,
}

impl ErrorKind {
    /// The HTTP status that carries this kind.
    pub fn http_status(self) -> u16 {
        match self {
            Self::Invalid => 400,
            Self::Unauthenticated => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::AlreadyExists | Self::Conflict | Self::Fenced => 409,
            Self::Exhausted => 429,
            Self::Timeout => 504,
            Self::Unavailable => 503,
            Self::Guest => 502,
            Self::Unsupported => 501,
            Self::Corrupt | Self::Internal => 500,
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Invalid => "invalid",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not found",
            Self::AlreadyExists => "already exists",
            Self::Conflict => "conflict",
            Self::Exhausted => "exhausted",
            Self::Timeout => "timeout",
            Self::Unavailable => "unavailable",
            Self::Fenced => "fenced",
            Self::Guest => "guest failure",
            Self::Corrupt => "corrupt",
            Self::Unsupported => "unsupported",
            Self::Internal => "internal",
        })
    }
}

/// The error and its causes on one line, joined by `: `, for logs and wire messages.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
