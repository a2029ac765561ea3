//! Why a continuum cannot be started or ended.

use super::ports::Listener;
use std::{io, net::SocketAddr, path::PathBuf};
use types::{ErrorKind, NameError, TokenError};

/// The result of this module's calls.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a continuum cannot be started or ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither an option nor the environment says where data is kept.
    #[error("no data folder is known: give --data-dir, or set HOME")]
    NoFolder,
    /// A file or folder of ours cannot be used.
    #[error("cannot {action} `{}`", path.display())]
    File {
        /// `read`, `write`, `make`.
        action: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The folder belongs to something else.
    #[error("`{}` is not a data folder of CloudSkin: it holds other files; give an empty or new folder", .0.display())]
    ForeignFolder(PathBuf),
    /// The folder was written by another version.
    #[error("the data folder `{}` has format {found}, this version reads {known}; use another folder or another version", path.display())]
    Format {
        /// The folder.
        path: PathBuf,
        /// Its format.
        found: String,
        /// Ours.
        known: u32,
    },
    /// Another supervisor holds the folder.
    #[error("the data folder `{}` is in use by {holder}; `cloudskin status` shows it, `cloudskin down` ends it", path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
        /// By whom.
        holder: String,
    },
    /// A certificate cannot be made or used.
    #[error(transparent)]
    Trust(#[from] crate::trust::Error),
    /// Other machines cannot be let in there.
    #[error(
        "`{0}` cannot be used for --bind: name one address of this machine, with a free port for each site behind the control plane's"
    )]
    Bind(std::net::SocketAddr),
    /// A token file cannot be used.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The network cannot hold the addresses.
    #[error(
        "`{0}` cannot be used for --loopback: give a network like `127.0.0.0` or `127.77.3.0` (it must lie in 127.0.0.0/8 and end in 0)"
    )]
    Network(String),
    /// A site's name breaks the rules.
    #[error("a site cannot be called `{site}`")]
    SiteName {
        /// What was given.
        site: String,
        /// Why not.
        #[source]
        source: NameError,
    },
    /// A site is named twice.
    #[error("the site `{0}` is named twice")]
    SiteTwice(String),
    /// A wrong number of sites.
    #[error("{count} sites were named: from 1 to {most} can be started here")]
    SiteCount {
        /// How many.
        count: usize,
        /// How many can be.
        most: usize,
    },
    /// A port is taken.
    #[error("{}", taken(.0))]
    Ports(Vec<Listener>),
    /// An address cannot be bound at all.
    #[error("cannot listen on {address} for {purpose}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What for.
        purpose: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A child cannot be started.
    #[error("cannot start {child} with `{program}`")]
    Spawn {
        /// Which.
        child: String,
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A child ends again and again before anything is ready.
    #[error("{child} ended {times} times while it was started ({last}); its last words in `{}`:{tail}", log.display())]
    Crashing {
        /// Which.
        child: String,
        /// How often.
        times: u32,
        /// How it ended.
        last: String,
        /// Its log.
        log: PathBuf,
        /// The log's last lines, each on its own.
        tail: String,
    },
    /// Not everything became ready in time.
    #[error("not ready within {limit_s} s: {waiting}; see the logs in `{}`", logs.display())]
    NotReady {
        /// How long was waited.
        limit_s: u64,
        /// What is missing.
        waiting: String,
        /// Where the logs are.
        logs: PathBuf,
    },
    /// The control plane refuses us.
    #[error(transparent)]
    Client(#[from] crate::client::Error),
    /// A process did not end.
    #[error("{what} (pid {pid}) did not end within {limit_s} s, not even when killed")]
    Undying {
        /// Which.
        what: String,
        /// Its number.
        pid: i32,
        /// How long was waited.
        limit_s: u64,
    },
    /// A system call failed that never should.
    #[error("cannot {action}")]
    System {
        /// What was tried.
        action: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// What the caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoFolder
            | Self::ForeignFolder(_)
            | Self::Network(_)
            | Self::SiteName { .. }
            | Self::SiteTwice(_)
            | Self::SiteCount { .. } => ErrorKind::Invalid,
            Self::Locked { .. } => ErrorKind::AlreadyExists,
            Self::Ports(_) => ErrorKind::Conflict,
            Self::Format { .. } => ErrorKind::Unsupported,
            Self::Token(_) => ErrorKind::Unauthenticated,
            Self::Trust(error) => error.kind(),
            Self::Bind(_) => ErrorKind::Invalid,
            Self::NotReady { .. } => ErrorKind::Timeout,
            Self::Client(error) => error.kind(),
            Self::File { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                ErrorKind::Forbidden
            }
            Self::File { .. }
            | Self::Listen { .. }
            | Self::Spawn { .. }
            | Self::Crashing { .. }
            | Self::Undying { .. }
            | Self::System { .. } => ErrorKind::Internal,
        }
    }

    /// For `map_err` on a file's operation.
    pub(super) fn file<'a>(
        action: &'static str,
        path: &'a std::path::Path,
    ) -> impl Fn(io::Error) -> Self + 'a {
        move |source| Self::File { action, path: path.to_owned(), source }
    }
}

/// Every taken port in one sentence, and what to do.
fn taken(listeners: &[Listener]) -> String {
    let each: Vec<_> = listeners.iter().map(ToString::to_string).collect();
    format!(
        "{}; end what holds it, or move everything with `--loopback 127.77.3.0`",
        each.join(", and ")
    )
}
