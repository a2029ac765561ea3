//! What can keep the demo from being run to its end.

use std::{io, path::PathBuf};

/// A failure of the demo; a promise that is not kept is no failure but part of its summary.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program could not be started.
    #[error("cannot run `{}`: build it, or say where it is", program.display())]
    Program {
        /// Which.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A program ended with an error.
    #[error("`{command}` failed: {said}")]
    Failed {
        /// Its command line.
        command: String,
        /// The end of what it wrote.
        said: String,
    },
    /// A file could not be used.
    #[error("cannot {action} `{}`", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// With which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The control plane does not say what is needed.
    #[error("the control plane says nothing usable about its {0}")]
    Foreign(&'static str),
    /// No loopback network is free.
    #[error(
        "port 8470 is taken on all of 127.80.0.1 to 127.80.255.1: end a continuum with `cloudskin down`"
    )]
    NoNetwork,
    /// The token of the continuum cannot be read.
    #[error(transparent)]
    Token(#[from] types::TokenError),
    /// The control plane refused or went away.
    #[error(transparent)]
    Control(#[from] orchestrator::client::Error),
    /// The camera could not play.
    #[error(transparent)]
    Camera(#[from] orchestrator::camera::Error),
    /// A play takes far longer than its video.
    #[error("after {limit_s} s the play of {frames} frames has not ended")]
    Stuck {
        /// How long was waited.
        limit_s: u64,
        /// Of how many frames.
        frames: u64,
    },
    /// The cell did not tell its totals.
    #[error("the cell does not tell its counter: {0}")]
    Counter(String),
    /// The edge cannot be made slower than its machine.
    #[error(
        "the edge cannot get a quota of processor time: this takes control groups with processors, as root or delegated"
    )]
    NoQuota,
    /// There is no load to play.
    #[error("the load cannot be played: {0}")]
    Load(&'static str),
    /// Recorded load cannot be read.
    #[error(transparent)]
    Trace(#[from] learning::Error),
    /// Labels of positions that are none.
    #[error("positions cannot be told")]
    Positions(#[source] series::Error),
    /// The DNS probe could not be started.
    #[error("cannot ask the name server")]
    Probe(#[source] io::Error),
    /// A part of the demo panicked.
    #[error("a part of the demo ended unexpectedly")]
    Task,
}

/// A result of the demo.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }
}
