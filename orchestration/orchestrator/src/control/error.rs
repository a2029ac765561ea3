//! What can go wrong in the control plane.

use api::{ApiError, Problem};
use std::path::PathBuf;
use types::{ErrorKind, TokenError};

/// The result of the control plane's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the control plane refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A folder or file of ours cannot be used.
    #[error("cannot use `{}`", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A token cannot be used.
    #[error("cannot use a token")]
    Token(#[from] TokenError),
    /// A certificate, or a token to join, cannot be made or used.
    #[error(transparent)]
    Trust(#[from] crate::trust::Error),
    /// The file with the tenants' quotas cannot be used.
    #[error("cannot use the quotas in `{}`: {reason}", path.display())]
    Quotas {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The store failed or refused.
    #[error("the store refused or failed")]
    Store(#[from] meta::Error),
    /// What is stored is not what we write.
    #[error("`{key}` in the store cannot be read: it was written by another version or is damaged")]
    Stored {
        /// Where.
        key: String,
        /// How.
        #[source]
        source: serde_json::Error,
    },
    /// The store of measured series failed.
    #[error(transparent)]
    Series(#[from] series::Error),
    /// Someone else changed what was to be written.
    #[error("the state changed meanwhile: read again and decide anew")]
    Raced,
    /// The document is not a resource that this version takes.
    #[error(transparent)]
    Document(#[from] ApiError),
    /// A precise refusal.
    #[error(transparent)]
    Refused(#[from] Problem),
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Folder { .. } | Self::Token(_) => ErrorKind::Internal,
            Self::Trust(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Series(error) => error.kind(),
            Self::Stored { .. } => ErrorKind::Corrupt,
            Self::Raced => ErrorKind::Conflict,
            Self::Document(_) | Self::Quotas { .. } => ErrorKind::Invalid,
            Self::Refused(problem) => problem.kind,
        }
    }

    /// A refusal of this kind.
    pub(super) fn refuse(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self::Refused(Problem::new(kind, message))
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Refused(problem) => problem,
            other => Self::from_error(other.kind(), &other),
        }
    }
}
