//! What can go wrong with a store.

use crate::{ConfigError, LeaseId};
use std::{path::PathBuf, sync::Arc};
use types::ErrorKind;

/// The result of a store's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a store refused or failed. Cheap to clone: callers that share a commit share its failure.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A key without a name.
    #[error("a key cannot be empty")]
    EmptyKey,
    /// A key beyond the limit.
    #[error("the key is {size_bytes} bytes long: at most {limit_bytes} are allowed")]
    KeyTooLong {
        /// Its length.
        size_bytes: usize,
        /// `key_max_bytes`.
        limit_bytes: usize,
    },
    /// A value beyond the limit; nothing was written.
    #[error("the value of `{key}` has {size_bytes} bytes: at most {limit_bytes} are allowed")]
    ValueTooLarge {
        /// Whose.
        key: String,
        /// Its size.
        size_bytes: usize,
        /// `value_max_bytes`.
        limit_bytes: usize,
    },
    /// A list of a transaction is too long; nothing was written.
    #[error("the transaction has {count} {what}: at most {limit} are allowed; split it")]
    TooManyOps {
        /// Which list.
        what: &'static str,
        /// How long it is.
        count: usize,
        /// `txn_max_ops`.
        limit: usize,
    },
    /// A transaction is too large; nothing was written.
    #[error(
        "the transaction has {size_bytes} bytes of keys and values: at most {limit_bytes} are allowed; split it"
    )]
    TxnTooLarge {
        /// Its size.
        size_bytes: usize,
        /// `txn_max_bytes`.
        limit_bytes: usize,
    },
    /// A branch changes a key twice, and one revision cannot show both; nothing was written.
    #[error("the transaction changes `{key}` twice")]
    DuplicateKey {
        /// Which key.
        key: String,
    },
    /// The history no longer reaches back to that revision.
    #[error(
        "revision {requested} is compacted: the history begins at {oldest}; list anew and watch from the list's revision + 1"
    )]
    Compacted {
        /// The revision that is gone.
        requested: u64,
        /// The oldest that is still there.
        oldest: u64,
    },
    /// The store is not there yet.
    #[error("revision {requested} lies ahead: the store is at {current}")]
    FutureRevision {
        /// The revision asked for.
        requested: u64,
        /// The store's.
        current: u64,
    },
    /// The lease ended or never was.
    #[error("lease {lease} is not held: it expired, was revoked or was never granted")]
    LeaseNotFound {
        /// Which lease.
        lease: LeaseId,
    },
    /// A lease outside the limits.
    #[error("a lease of {ttl_ms} ms is not allowed: choose between {min_ms} and {max_ms} ms")]
    LeaseTtl {
        /// The time asked for.
        ttl_ms: u64,
        /// `lease_ttl_min_ms`.
        min_ms: u64,
        /// `lease_ttl_max_ms`.
        max_ms: u64,
    },
    /// No further lease is granted.
    #[error("all {limit} leases are taken: revoke some or wait for one to expire")]
    TooManyLeases {
        /// `leases_max`.
        limit: u64,
    },
    /// No further watch is opened.
    #[error("all {limit} watches are taken: drop some or share one")]
    TooManyWatchers {
        /// `watchers_max`.
        limit: usize,
    },
    /// Settings that make no sense.
    #[error("the store's settings cannot be used")]
    Config(#[source] ConfigError),
    /// Another process, or this one, has the file open.
    #[error("the store `{}` is already open: stop the other process that uses it", path.display())]
    AlreadyOpen {
        /// The store's file.
        path: PathBuf,
    },
    /// The file was written by a newer program.
    #[error(
        "the store `{}` has format {found}, this program reads up to {supported}: use the newer program that wrote it", path.display()
    )]
    FormatNewer {
        /// The store's file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The newest known here.
        supported: u64,
    },
    /// The file is not a store of ours.
    #[error("`{}` is a database of another program: choose another path", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file is not what was written.
    #[error("the store `{}` is corrupt ({detail}): restore it from a copy, or move it away to start empty", path.display())]
    Corrupt {
        /// The store's file.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// The file could not be opened or made.
    #[error("cannot open the store `{}`", path.display())]
    Open {
        /// The store's file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// The disk failed. A change may or may not have taken effect; open the store again to see.
    #[error("the store `{}` failed: restart to recover what was committed", path.display())]
    Storage {
        /// The store's file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Arc<redb::Error>,
    },
    /// The store was closed, or its writer ended.
    #[error("the store is closed")]
    Closed,
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::EmptyKey
            | Self::KeyTooLong { .. }
            | Self::ValueTooLarge { .. }
            | Self::TooManyOps { .. }
            | Self::TxnTooLarge { .. }
            | Self::DuplicateKey { .. }
            | Self::FutureRevision { .. }
            | Self::LeaseTtl { .. }
            | Self::Foreign { .. }
            | Self::Config(_) => ErrorKind::Invalid,
            Self::Compacted { .. } => ErrorKind::Conflict,
            Self::LeaseNotFound { .. } => ErrorKind::Fenced,
            Self::TooManyLeases { .. } | Self::TooManyWatchers { .. } => ErrorKind::Exhausted,
            Self::AlreadyOpen { .. } | Self::Closed => ErrorKind::Unavailable,
            Self::FormatNewer { .. } => ErrorKind::Unsupported,
            Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::Open { .. } | Self::Storage { .. } => ErrorKind::Internal,
        }
    }
}

/// The key as a message shows it: readable, and of bounded length.
pub(crate) fn show(key: &[u8]) -> String {
    String::from_utf8_lossy(&key[..key.len().min(200)]).escape_debug().collect()
}
