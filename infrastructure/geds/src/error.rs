//! What can go wrong, and what a caller can do about it.

use crate::{KEY_MAX_BYTES, NameError, attributes::ATTRIBUTES_MAX_BYTES};
use std::io;
use types::ErrorKind;

/// The result of an operation on the store.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation did not happen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such bucket.
    #[error("there is no bucket `{bucket}`: create it first")]
    NoBucket {
        /// Its name.
        bucket: String,
    },
    /// There is no such object.
    #[error("there is no object `{key}` in bucket `{bucket}`")]
    NoObject {
        /// Where it was looked for.
        bucket: String,
        /// Its key.
        key: String,
    },
    /// The bucket is there already.
    #[error("bucket `{bucket}` exists already")]
    BucketExists {
        /// Its name.
        bucket: String,
    },
    /// The bucket still has objects.
    #[error("bucket `{bucket}` is not empty: delete its objects first")]
    BucketNotEmpty {
        /// Its name.
        bucket: String,
    },
    /// An object of the name was sealed before, and overwriting was not asked for.
    #[error("object `{key}` in bucket `{bucket}` exists already: ask to overwrite it")]
    Exists {
        /// Its bucket.
        bucket: String,
        /// Its key.
        key: String,
    },
    /// A checkpoint of the name was made before.
    #[error(
        "bucket `{bucket}` has a checkpoint `{name}` already: delete it first, or use another name"
    )]
    CheckpointExists {
        /// Of which bucket.
        bucket: String,
        /// Its name.
        name: String,
    },
    /// There is no such checkpoint.
    #[error("bucket `{bucket}` has no checkpoint `{name}`")]
    NoCheckpoint {
        /// Of which bucket.
        bucket: String,
        /// Its name.
        name: String,
    },
    /// A trigger of the name was added before.
    #[error("there is a trigger `{name}` already: remove it first, or use another name")]
    TriggerExists {
        /// Its name.
        name: String,
    },
    /// There is no such trigger.
    #[error("there is no trigger `{name}`")]
    NoTrigger {
        /// Its name.
        name: String,
    },
    /// The object is not the version that was to be replaced.
    #[error("object `{key}` in bucket `{bucket}` is no longer version {expected}: read it again")]
    Changed {
        /// Its bucket.
        bucket: String,
        /// Its key.
        key: String,
        /// The version that was to be replaced.
        expected: u64,
        /// The version that is there.
        found: Option<u64>,
    },
    /// A limit is reached and nothing was freed while the writer waited.
    #[error(
        "no room for {wanted_bytes} bytes of {what} after {waited_ms} ms: {used_bytes} of {limit_bytes} bytes are in use"
    )]
    Exhausted {
        /// What there is too little of.
        what: String,
        /// How much was asked for.
        wanted_bytes: u64,
        /// How much is in use.
        used_bytes: u64,
        /// How much there may be.
        limit_bytes: u64,
        /// How long it was waited for.
        waited_ms: u64,
    },
    /// There are as many of something as there may be.
    #[error("there are {limit} {what} already, which is the limit")]
    TooMany {
        /// What there is too much of.
        what: String,
        /// How many there may be.
        limit: u64,
    },
    /// A bucket's name or an object's key that is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// More attributes than are kept.
    #[error("the attributes take {size_bytes} bytes: at most {ATTRIBUTES_MAX_BYTES} are kept")]
    AttributesSize {
        /// How much they take.
        size_bytes: usize,
    },
    /// A new key would be too long.
    #[error("`{key}` would have {size_bytes} bytes: a key has at most {KEY_MAX_BYTES}")]
    KeySize {
        /// How it would begin.
        key: String,
        /// How long it would be.
        size_bytes: usize,
    },
    /// Bytes beyond the end of an object.
    #[error("bytes {offset} to {end} were asked for of an object of {size} bytes")]
    Range {
        /// The first byte.
        offset: u64,
        /// Behind the last byte.
        end: u64,
        /// How many there are.
        size: u64,
    },
    /// An argument that cannot be.
    #[error("{0}")]
    Invalid(String),
    /// The tenant may not do this.
    #[error("{0}")]
    Denied(String),
    /// The object was sealed, but its bytes are gone.
    #[error("the bytes of object `{key}` in bucket `{bucket}` are lost: {why}")]
    Lost {
        /// Its bucket.
        bucket: String,
        /// Its key.
        key: String,
        /// What happened.
        why: String,
    },
    /// Another site's node has the bytes, and it or this node is not connected.
    #[error(
        "the bytes of object `{key}` in bucket `{bucket}` lie at site `{site}`, which cannot be asked"
    )]
    Elsewhere {
        /// Its bucket.
        bucket: String,
        /// Its key.
        key: String,
        /// Who has them.
        site: String,
    },
    /// Stored bytes are not those that were written.
    #[error("{what} is damaged: {why}")]
    Corrupt {
        /// Which bytes.
        what: String,
        /// How that shows.
        why: String,
    },
    /// The node does not answer.
    #[error("the node cannot be reached: {0}")]
    Unavailable(String),
    /// The operating system refused something.
    #[error("cannot {doing}")]
    Io {
        /// What was tried.
        doing: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoBucket { .. }
            | Self::NoObject { .. }
            | Self::NoCheckpoint { .. }
            | Self::NoTrigger { .. } => ErrorKind::NotFound,
            Self::BucketExists { .. }
            | Self::Exists { .. }
            | Self::CheckpointExists { .. }
            | Self::TriggerExists { .. } => ErrorKind::AlreadyExists,
            Self::BucketNotEmpty { .. } | Self::Changed { .. } => ErrorKind::Conflict,
            Self::Exhausted { .. } | Self::TooMany { .. } => ErrorKind::Exhausted,
            Self::Name(_)
            | Self::AttributesSize { .. }
            | Self::KeySize { .. }
            | Self::Range { .. }
            | Self::Invalid(_) => ErrorKind::Invalid,
            Self::Denied(_) => ErrorKind::Forbidden,
            Self::Lost { .. } | Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::Elsewhere { .. } | Self::Unavailable(_) => ErrorKind::Unavailable,
            Self::Io { source, .. } => io_kind(source),
        }
    }

    /// Wraps a failure of the operating system; `doing` follows "cannot".
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }

    pub(crate) fn no_object(bucket: &str, key: &str) -> Self {
        Self::NoObject { bucket: bucket.to_owned(), key: key.to_owned() }
    }

    pub(crate) fn no_bucket(bucket: &str) -> Self {
        Self::NoBucket { bucket: bucket.to_owned() }
    }
}

/// A full disk may empty; everything else of the system's is not the caller's to solve.
fn io_kind(error: &io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::OutOfMemory => {
            ErrorKind::Exhausted
        }
        _ => ErrorKind::Internal,
    }
}

/// For [`Writer`](crate::Writer), which is an [`io::Write`].
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::NotFound => io::ErrorKind::NotFound,
            ErrorKind::AlreadyExists => io::ErrorKind::AlreadyExists,
            ErrorKind::Exhausted => io::ErrorKind::StorageFull,
            ErrorKind::Invalid => io::ErrorKind::InvalidInput,
            ErrorKind::Forbidden => io::ErrorKind::PermissionDenied,
            ErrorKind::Corrupt => io::ErrorKind::InvalidData,
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}
