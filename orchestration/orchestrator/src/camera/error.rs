//! What can keep a video from being played.

use std::{io, net::SocketAddr, path::PathBuf, process::ExitStatus};
use types::ErrorKind;

/// A failure of the camera.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An option that makes no sense.
    #[error("{0}")]
    Options(String),
    /// ffmpeg is not installed.
    #[error("cannot find `{}`, which decodes the video: run `apt-get install ffmpeg`", program.display())]
    FfmpegMissing {
        /// What was looked for.
        program: PathBuf,
    },
    /// ffmpeg could not be started or read.
    #[error("cannot run ffmpeg")]
    FfmpegRun(#[source] io::Error),
    /// ffmpeg gave up.
    #[error("ffmpeg cannot play `{input}` ({status}): {message}")]
    Ffmpeg {
        /// What it was to play.
        input: String,
        /// How it ended.
        status: ExitStatus,
        /// The last lines that it wrote.
        message: String,
    },
    /// The input holds no picture.
    #[error("`{input}` holds no video frames from frame {start_frame} on")]
    NoFrames {
        /// What was to be played.
        input: String,
        /// Where it was to start.
        start_frame: u64,
    },
    /// What came out of ffmpeg is not pictures.
    #[error("ffmpeg wrote what is not a picture: {0}")]
    Picture(&'static str),
    /// The service's name has no address.
    #[error("the name server at `{server}` gives no address for `{name}`: {reason}")]
    Unresolved {
        /// The name.
        name: String,
        /// Who was asked.
        server: SocketAddr,
        /// What it said.
        reason: String,
    },
    /// A frame or the answers could not be written.
    #[error("cannot write `{}`", path.display())]
    Save {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Options(_) | Self::NoFrames { .. } | Self::Ffmpeg { .. } => ErrorKind::Invalid,
            Self::FfmpegMissing { .. } => ErrorKind::Unsupported,
            Self::Unresolved { .. } => ErrorKind::NotFound,
            Self::FfmpegRun(_) | Self::Picture(_) | Self::Save { .. } => ErrorKind::Internal,
        }
    }
}

/// A result of the camera.
pub type Result<T, E = Error> = std::result::Result<T, E>;
