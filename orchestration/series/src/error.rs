//! What can go wrong.

use std::{io, path::PathBuf};
use types::ErrorKind;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A series cannot be named so.
    #[error("{0}")]
    Labels(String),

    /// The query is none, or means nothing.
    #[error("{0}")]
    Query(String),

    /// The query is one, and cannot be evaluated on what is there.
    #[error("{0}")]
    Evaluation(String),

    /// Prometheus knows it and we do not.
    #[error("{0}")]
    Unsupported(String),

    /// The query asked for more than one may have.
    #[error("{0}")]
    TooMuch(String),

    /// The query took too long.
    #[error("the query took longer than {limit_ms} ms: ask for a shorter range or fewer series")]
    Timeout {
        /// How long it might take.
        limit_ms: u128,
    },

    /// What was pushed or scraped is not what it says.
    #[error("{0}")]
    Malformed(String),

    /// Somebody else has the folder.
    #[error("another process keeps its series in `{path}`: end it, or give another folder")]
    Taken {
        /// The folder.
        path: PathBuf,
    },

    /// The disk failed or is full; nothing of the batch was stored.
    #[error("cannot {action} `{path}`: the samples were not stored")]
    NotStored {
        /// What was done.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: io::Error,
    },

    /// A file cannot be read, or not be made.
    #[error("cannot {action} `{path}`")]
    Disk {
        /// What was done.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: io::Error,
    },

    /// A file holds something else than was written to it.
    #[error("`{path}` is damaged: {what}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },

    /// A page could not be fetched.
    #[error("cannot scrape `{url}`: {what}")]
    Scrape {
        /// Its address.
        url: String,
        /// What is wrong.
        what: String,
    },
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Labels(_) | Self::Query(_) | Self::Evaluation(_) | Self::Malformed(_) => {
                ErrorKind::Invalid
            }
            Self::Unsupported(_) => ErrorKind::Unsupported,
            Self::TooMuch(_) | Self::NotStored { .. } => ErrorKind::Exhausted,
            Self::Timeout { .. } => ErrorKind::Timeout,
            Self::Taken { .. } | Self::Scrape { .. } => ErrorKind::Unavailable,
            Self::Disk { .. } => ErrorKind::Internal,
            Self::Corrupt { .. } => ErrorKind::Corrupt,
        }
    }

    /// For `map_err`: a file's failure.
    pub(crate) fn disk(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Disk { action, path, source }
    }
}
