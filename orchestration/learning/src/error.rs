//! What can be wrong with telemetry, models and policies.

use std::path::PathBuf;
use types::ErrorKind;

/// An operation of the learning plane failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of a trace cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file or folder of a catalog cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file is not what was written.
    #[error("`{}` is damaged: {reason}", path.display())]
    Damaged {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// What several places share cannot be reached.
    #[error("the models in `{place}` cannot be read or changed now")]
    Away {
        /// Where it is.
        place: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// There is no such model or version.
    #[error("{0}")]
    Unknown(String),
    /// A version is not promoted, for it is worse, or cannot be compared.
    #[error("{0}")]
    Refused(String),
    /// A file is no CSV of the kinds that are known, or a line of it is wrong.
    #[error("`{}`, line {line}: {reason}", path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: u64,
        /// What is wrong there, and what would be right.
        reason: String,
    },
    /// A row of a table has what it must not have.
    #[error("`{}`, row {row}: {reason}", path.display())]
    Row {
        /// Which file.
        path: PathBuf,
        /// Which row, from 1.
        row: u64,
        /// What is wrong there, and what would be right.
        reason: String,
    },
    /// The files are readable, but cannot be used as they are asked to.
    #[error("{0}")]
    Unfit(String),
    /// More was given than is read.
    #[error("{what} is more than the limit of {limit}")]
    TooMuch {
        /// What there is too much of.
        what: String,
        /// How much may be.
        limit: u64,
    },
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                ErrorKind::NotFound
            }
            Self::Unknown(_) => ErrorKind::NotFound,
            Self::Refused(_) => ErrorKind::Conflict,
            Self::Read { .. } | Self::Write { .. } | Self::Away { .. } => ErrorKind::Unavailable,
            Self::Line { .. } | Self::Row { .. } | Self::Unfit(_) | Self::Damaged { .. } => {
                ErrorKind::Invalid
            }
            Self::TooMuch { .. } => ErrorKind::Exhausted,
        }
    }
}

impl From<inference::Error> for Error {
    fn from(error: inference::Error) -> Self {
        match error {
            inference::Error::TooMuch { what, limit } => Self::TooMuch { what, limit },
            other => Self::Unfit(other.to_string()),
        }
    }
}

/// What the learning plane's functions answer.
pub type Result<T> = std::result::Result<T, Error>;
