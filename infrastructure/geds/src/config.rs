//! Where a process finds its node, and what a node may use.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// How a process reaches the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub(crate) reach: Reach,
    pub(crate) tenant: String,
    pub(crate) limits: Limits,
}

/// Where the node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reach {
    /// In this process, with its files in a folder.
    Alone(PathBuf),
    /// Behind a socket; whoever may connect to it is its tenant.
    Join(PathBuf),
}

impl Config {
    /// A node in this process that keeps its files in `folder`, which it makes.
    pub fn alone(folder: impl Into<PathBuf>) -> Self {
        Self {
            reach: Reach::Alone(folder.into()),
            tenant: "default".to_owned(),
            limits: Limits::default(),
        }
    }

    /// The host's node, through the socket that it opened for this process's tenant. When the node
    /// has gone and one is started again, the same handle joins it; views that are held stay,
    /// writers and subscriptions end.
    pub fn join(socket: impl Into<PathBuf>) -> Self {
        Self { reach: Reach::Join(socket.into()), ..Self::alone("") }
    }

    /// Whether the node is in another process.
    pub(crate) fn joins(&self) -> bool {
        matches!(self.reach, Reach::Join(_))
    }

    /// The tenant of a node in this process. (A node's socket belongs to one tenant.)
    #[must_use]
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = tenant.into();
        self
    }

    /// What a node in this process may use. (A node that is joined has its own.)
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }
}

/// What a tenant may use of a node; set at run time with [`Geds::set_limits`](crate::Geds::set_limits).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Most bytes of shared memory for objects.
    pub memory_bytes: u64,
    /// Most bytes of files on disk.
    pub disk_bytes: u64,
    /// The share of `memory_bytes`, in percent, above which objects move to disk in the background.
    pub high_water_percent: u8,
    /// Most objects; each takes up to 300 bytes beside its own. The index has room for those that
    /// are set when the node starts: a higher number takes effect at the next start.
    pub objects: u64,
    /// How long a writer waits for room before it is refused.
    pub wait_ms: u64,
    /// Most bytes of blocks that are kept, in memory and on disk, of objects that lie outside.
    pub cache_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 1 << 30,
            disk_bytes: 64 << 30,
            high_water_percent: 80,
            objects: 4 << 20,
            wait_ms: 10_000,
            cache_bytes: 256 << 20,
        }
    }
}

/// What a tenant uses of a node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Objects in all buckets.
    pub objects: u64,
    /// Shared memory that holds objects or is lent to writers.
    pub memory_bytes: u64,
    /// Shared memory that stands ready for writers; part of the limit, given up when it is needed.
    pub pool_bytes: u64,
    /// Shared memory for names and attributes.
    pub index_bytes: u64,
    /// Files on disk.
    pub disk_bytes: u64,
    /// Slabs that hold objects, are lent to writers, or are pinned by views.
    pub slabs: u64,
    /// Files on disk, in number.
    pub files: u64,
    /// Processes, this one among them.
    pub processes: u64,
    /// Blocks of objects that lie outside; part of memory and disk.
    pub cache_bytes: u64,
    /// Objects that a former node lost, as [`Geds::lost`](crate::Geds::lost) names them, and those that were too many to
    /// be named.
    pub lost: u64,
}
