//! What can go wrong between machines.

use std::{io, path::PathBuf};
use types::ErrorKind;

/// The result of what is done about trust.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why somebody is not trusted, or cannot be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be used.
    #[error("cannot use `{}`", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others may read a private key.
    #[error("`{}` has mode {mode:o} and holds a private key: run `chmod 600` on it", path.display())]
    Exposed {
        /// Which.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file does not hold what it should.
    #[error("`{}` is damaged or something else: {reason}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A certificate or key cannot be made.
    #[error("cannot make a certificate")]
    Make(#[from] rcgen::Error),
    /// A certificate, key or setting of TLS cannot be used.
    #[error("cannot use a certificate: {0}")]
    Certificate(String),
    /// What asks for a certificate is not what a site sends.
    #[error("the request for a certificate is malformed: {0}")]
    Request(&'static str),
    /// It is no join token.
    #[error(
        "this is no join token: take the line that `cloudskin token create --site NAME` prints"
    )]
    NoToken,
    /// The join token lets nobody in.
    #[error(
        "the join token is unknown, was used already or was taken back: make another one with `cloudskin token create --site {0}`"
    )]
    TokenUnknown(String),
    /// The join token is too old.
    #[error(
        "the join token has expired: make another one with `cloudskin token create --site {0}`"
    )]
    TokenExpired(String),
    /// The join token is for another site.
    #[error("the join token is for site `{token}`, not for `{asked}`")]
    TokenOfAnother {
        /// For which it was made.
        token: String,
        /// Who showed it.
        asked: String,
    },
    /// More tokens wait to be used than anybody needs.
    #[error("{0} join tokens are unused already: wait until they expire")]
    TooManyTokens(usize),
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::File { .. } | Self::Make(_) => ErrorKind::Internal,
            Self::Exposed { .. } | Self::TokenUnknown(_) | Self::TokenExpired(_) => {
                ErrorKind::Unauthenticated
            }
            Self::Damaged { .. } | Self::Certificate(_) => ErrorKind::Corrupt,
            Self::Request(_) | Self::NoToken => ErrorKind::Invalid,
            Self::TokenOfAnother { .. } => ErrorKind::Forbidden,
            Self::TooManyTokens(_) => ErrorKind::Exhausted,
        }
    }
}
