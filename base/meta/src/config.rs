//! The limits of a store.

use serde::Deserialize;

/// Limits of the embedded store: the `[meta]` table of `cloudskin.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Longest key. Keys are paths of names, each of which is a DNS label.
    pub key_max_bytes: usize,
    /// Largest value. Values are resources; large content belongs in an object store.
    pub value_max_bytes: usize,
    /// Most compares, and most steps of either branch, of one transaction.
    pub txn_max_ops: usize,
    /// Most bytes of keys and values in one transaction.
    pub txn_max_bytes: usize,
    /// Most items on a page of a range.
    pub range_max_items: usize,
    /// A page ends early when its items take this many bytes.
    pub range_max_bytes: usize,
    /// Most watches at a time; each costs a wake-up per commit.
    pub watchers_max: usize,
    /// A batch of a watch ends at the revision that reaches this many events.
    pub watch_batch_max_events: usize,
    /// Memory for the latest events, from which watchers that keep up are served.
    pub watch_recent_max_bytes: usize,
    /// Revisions that the history keeps: how far a watcher may fall behind.
    pub history_max_revisions: u64,
    /// Bytes of events that the history keeps.
    pub history_max_bytes: u64,
    /// Most leases at a time.
    pub leases_max: u64,
    /// Shortest lease; shorter than a slow disk's commit cannot be kept.
    pub lease_ttl_min_ms: u64,
    /// Longest lease.
    pub lease_ttl_max_ms: u64,
    /// How late the end of a lease may be noticed while no transaction runs.
    pub lease_check_ms: u64,
    /// Most requests that wait for the disk; further callers wait for a place.
    pub pending_max: usize,
    /// Most requests that share one commit.
    pub commit_batch_max: usize,
    /// Memory for pages of the file.
    pub cache_max_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            key_max_bytes: 1024,
            value_max_bytes: 1 << 20,
            txn_max_ops: 128,
            txn_max_bytes: 3 << 19,
            range_max_items: 1000,
            range_max_bytes: 4 << 20,
            watchers_max: 1024,
            watch_batch_max_events: 1024,
            watch_recent_max_bytes: 4 << 20,
            history_max_revisions: 100_000,
            history_max_bytes: 64 << 20,
            leases_max: 10_000,
            lease_ttl_min_ms: 10,
            lease_ttl_max_ms: 24 * 60 * 60 * 1000,
            lease_check_ms: 100,
            pending_max: 1024,
            commit_batch_max: 256,
            cache_max_bytes: 16 << 20,
        }
    }
}

/// A limit that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`meta.{name}` is {value}: it must be between {min} and {max}")]
pub struct ConfigError {
    name: &'static str,
    value: u64,
    min: u64,
    max: u64,
}

impl Config {
    /// Checks each limit, and that they fit each other.
    ///
    /// # Errors
    /// [`ConfigError`] names the first limit that does not.
    pub fn check(&self) -> Result<(), ConfigError> {
        let batch = self.commit_batch_max as u64;
        let value = self.value_max_bytes as u64;
        let unbounded = u64::MAX;
        // A year, so that deadlines never overflow, however odd the clock.
        let ttl_cap = 366 * 24 * 60 * 60 * 1000;
        // redb stores values below 3 GiB; no page or transaction has to come near that.
        let size_cap = 1 << 30;
        [
            ("key_max_bytes", self.key_max_bytes as u64, 1, 1 << 16),
            ("value_max_bytes", value, 1, size_cap),
            ("txn_max_ops", self.txn_max_ops as u64, 1, 1 << 16),
            ("txn_max_bytes", self.txn_max_bytes as u64, value, size_cap),
            ("range_max_items", self.range_max_items as u64, 1, 1 << 20),
            ("range_max_bytes", self.range_max_bytes as u64, 1, size_cap),
            ("watchers_max", self.watchers_max as u64, 1, 1 << 20),
            ("watch_batch_max_events", self.watch_batch_max_events as u64, 1, 1 << 20),
            ("watch_recent_max_bytes", self.watch_recent_max_bytes as u64, 0, size_cap),
            // One commit must not push its own events out of the history.
            ("history_max_revisions", self.history_max_revisions, batch, unbounded),
            ("history_max_bytes", self.history_max_bytes, 1, unbounded),
            ("leases_max", self.leases_max, 1, 1 << 24),
            ("lease_ttl_min_ms", self.lease_ttl_min_ms, 1, self.lease_ttl_max_ms),
            ("lease_ttl_max_ms", self.lease_ttl_max_ms, 1, ttl_cap),
            ("lease_check_ms", self.lease_check_ms, 1, 60_000),
            ("pending_max", self.pending_max as u64, 1, 1 << 20),
            ("commit_batch_max", batch, 1, 1 << 16),
            ("cache_max_bytes", self.cache_max_bytes as u64, 1 << 16, 1 << 40),
        ]
        .into_iter()
        .find(|(_, value, min, max)| !(min..=max).contains(&value))
        .map_or(Ok(()), |(name, value, min, max)| Err(ConfigError { name, value, min, max }))
    }
}
