//! Why an agent cannot start or go on.

use std::{io, net::SocketAddr, path::PathBuf};
use types::ErrorKind;

/// An agent cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting cannot be used.
    #[error("the site's setting `{field}` is wrong: {reason}")]
    Setting {
        /// Which.
        field: &'static str,
        /// What is allowed.
        reason: String,
    },
    /// A file or folder of the site cannot be used.
    #[error("cannot use `{}`", path.display())]
    Disk {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The site's certificate cannot be used.
    #[error(transparent)]
    Trust(#[from] crate::trust::Error),
    /// What the site remembered was written by another version or is damaged.
    #[error("cannot read what the site remembered in `{}`: move the file away to start with nothing", path.display())]
    Memory {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// What the site remembered has another version.
    #[error("`{}` has version {found}: this agent reads {known}; start the version that wrote it", path.display())]
    MemoryVersion {
        /// Which file.
        path: PathBuf,
        /// What stands there.
        found: u32,
        /// What this agent reads.
        known: u32,
    },
    /// Another agent uses the data folder.
    #[error("another agent uses the data folder `{}`: stop it first", path.display())]
    InUse {
        /// Which folder.
        path: PathBuf,
    },
    /// A listener cannot be opened.
    #[error("cannot listen on {address}: choose a free port")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What the agent's functions give.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Setting { .. } => ErrorKind::Invalid,
            Self::Trust(error) => error.kind(),
            Self::Disk { .. } => ErrorKind::Internal,
            Self::Memory { .. } => ErrorKind::Corrupt,
            Self::MemoryVersion { .. } => ErrorKind::Unsupported,
            Self::InUse { .. } | Self::Listen { .. } => ErrorKind::Conflict,
        }
    }
}
