//! Why a model is not run.

use types::ErrorKind;

/// A file cannot be used, or a model did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The file is damaged, or does what is not run, or does not fit what goes in.
    #[error("{0}")]
    Unfit(String),
    /// It is larger, or more work, than is allowed.
    #[error("{what} is more than the limit of {limit}")]
    TooMuch {
        /// What there is too much of.
        what: String,
        /// How much may be.
        limit: u64,
    },
    /// The time for an answer was over; nothing was answered.
    #[error("the model did not answer in time")]
    Late,
    /// Computing failed: what was given does not suit the model.
    #[error("the model cannot compute: {0}")]
    Failed(String),
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Unfit(_) | Self::Failed(_) => ErrorKind::Invalid,
            Self::TooMuch { .. } | Self::Late => ErrorKind::Exhausted,
        }
    }
}

/// What this crate's functions answer.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a stranger's file makes an error say may be long.
pub(crate) fn brief(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.chars().filter(|letter| !letter.is_control()).take(200).collect()
}

/// A stranger's name, short enough to be told.
pub(crate) fn tame(name: &str) -> String {
    name.chars().filter(|letter| !letter.is_control()).take(60).collect()
}
