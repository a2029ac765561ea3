//! What can go wrong between a user's file and the control plane.

use api::{ApiError, Kind, Problem};
use std::{io, path::PathBuf};
use types::{ErrorKind, TokenError};

/// The result of this module's calls.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a request was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The control plane refused; its words say why.
    #[error(transparent)]
    Refused(#[from] Problem),
    /// No connection.
    #[error(
        "cannot reach the control plane at `{url}`: `cloudskin status` says what runs here, `cloudskin up` starts it"
    )]
    Unreachable {
        /// Where it was sought.
        url: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The connection broke while an answer was read.
    #[error("the connection to `{url}` broke before the answer was complete")]
    Broken {
        /// Where.
        url: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No answer in time.
    #[error("`{url}` did not answer within {limit_s} s; the request may still take effect")]
    Silent {
        /// Where.
        url: String,
        /// How long was waited.
        limit_s: u64,
    },
    /// The answer is not of this protocol.
    #[error("`{url}` does not answer like a control plane of this version: {reason}")]
    Foreign {
        /// Where.
        url: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// Samples that make no request.
    #[error("the samples cannot be pushed")]
    Samples(#[source] series::Error),
    /// The address of the control plane cannot be used.
    #[error("`{url}` is not the address of a control plane: {reason}")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Nothing says which control plane to use.
    #[error(
        "no control plane is known: start one here with `cloudskin up`, or give --url and --token"
    )]
    NoContext,
    /// The named context does not exist.
    #[error("there is no context `{name}`: {known}")]
    UnknownContext {
        /// What was asked for.
        name: String,
        /// Which there are.
        known: String,
    },
    /// The file of contexts is malformed.
    #[error("the contexts in `{}` cannot be read: mend the file or delete it", path.display())]
    Contexts {
        /// The file.
        path: PathBuf,
        /// How.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A token file cannot be used.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// A certificate or identity cannot be used.
    #[error(transparent)]
    Trust(#[from] crate::trust::Error),
    /// A file cannot be read or written.
    #[error("cannot {action} `{}`", path.display())]
    File {
        /// `read`, `write`.
        action: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is not YAML or not a resource's shape.
    #[error("{origin} is not a resource")]
    Yaml {
        /// File and document.
        origin: String,
        /// How.
        #[source]
        source: Box<serde_saphyr::Error>,
    },
    /// A document is a resource, but a wrong one.
    #[error("{origin} is refused")]
    Document {
        /// File and document.
        origin: String,
        /// How.
        #[source]
        source: ApiError,
    },
    /// Nothing to apply.
    #[error("{origin} holds no resource")]
    Empty {
        /// File or folder.
        origin: String,
    },
    /// More than is taken.
    #[error("{origin} is larger than {limit_bytes} bytes")]
    TooLarge {
        /// File.
        origin: String,
        /// The limit.
        limit_bytes: u64,
    },
    /// A module's file is not a module.
    #[error("`{}`, the module of {owner}, is not a WebAssembly module: {reason}", path.display())]
    NotAModule {
        /// The file.
        path: PathBuf,
        /// The resource that names it.
        owner: String,
        /// What it is instead.
        reason: &'static str,
    },
    /// A model's file is not one by its name.
    #[error("`{}`, a model of {owner}, is not an ONNX file: its name must end with `.onnx`", path.display())]
    NotAModel {
        /// The file.
        path: PathBuf,
        /// The resource that names it.
        owner: String,
    },
    /// The file of a module or model cannot be read.
    #[error("cannot read `{}`, which {owner} names", path.display())]
    Module {
        /// The file.
        path: PathBuf,
        /// The resource that names it.
        owner: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// `kind/name` was expected.
    #[error("`{0}` does not name a resource: write `kind/name`, such as `service/street-counter`")]
    Target(String),
    /// The kind is unknown.
    #[error(transparent)]
    Kind(ApiError),
    /// It did not come to be in time.
    #[error("{kind}/{name} was not {condition} within {limit}: {state}", kind = kind.path())]
    NotYet {
        /// Of what kind.
        kind: Kind,
        /// Which.
        name: String,
        /// What was awaited.
        condition: String,
        /// How long.
        limit: types::Period,
        /// How it stood at the end.
        state: String,
    },
    /// What was awaited can no longer come to be.
    #[error("{kind}/{name} will not be {condition}: {reason}", kind = kind.path())]
    Never {
        /// Of what kind.
        kind: Kind,
        /// Which.
        name: String,
        /// What was awaited.
        condition: String,
        /// Why.
        reason: String,
    },
    /// A migration ended without moving the service.
    #[error(
        "the migration of service/{name} to site/{to} did not happen, it is served on by site/{from}: {reason}"
    )]
    NotMigrated {
        /// Which.
        name: String,
        /// The site that still serves it.
        from: String,
        /// The site that was asked for.
        to: String,
        /// Why.
        reason: String,
    },
}

impl Error {
    /// What the caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused(problem) => problem.kind,
            Self::Unreachable { .. } | Self::Broken { .. } => ErrorKind::Unavailable,
            Self::Silent { .. } | Self::NotYet { .. } => ErrorKind::Timeout,
            Self::Foreign { .. } => ErrorKind::Unsupported,
            Self::NoContext => ErrorKind::Unavailable,
            Self::UnknownContext { .. } => ErrorKind::NotFound,
            Self::File { source, .. } | Self::Module { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => ErrorKind::NotFound,
                io::ErrorKind::PermissionDenied => ErrorKind::Forbidden,
                _ => ErrorKind::Internal,
            },
            Self::Token(_) => ErrorKind::Unauthenticated,
            Self::Trust(error) => error.kind(),
            Self::Never { .. } | Self::NotMigrated { .. } => ErrorKind::Internal,
            Self::Samples(error) => error.kind(),
            Self::Url { .. }
            | Self::Contexts { .. }
            | Self::Yaml { .. }
            | Self::Document { .. }
            | Self::Empty { .. }
            | Self::TooLarge { .. }
            | Self::NotAModule { .. }
            | Self::NotAModel { .. }
            | Self::Target(_)
            | Self::Kind(_) => ErrorKind::Invalid,
        }
    }
}
