//! How much a store keeps, and what became of what it was given.

use serde::{Deserialize, Serialize};
use std::time::Duration;
use types::{Bytes, Period};

const fn hours(hours: u64) -> Period {
    Period(Duration::from_secs(hours * 3600))
}

/// What a store keeps and takes: the `[telemetry]` table of `cloudskin.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// How old samples become.
    pub age: Period,
    /// How much disk space they take; the oldest go first.
    pub disk: Bytes,
    /// How much memory the samples take that are not yet in a block.
    pub memory: Bytes,
    /// How many series there are at once; samples of more are refused.
    pub series: usize,
    /// How many of these one site may have, by the label `site`: it must not take the places of all others.
    pub site_series: usize,
    /// How far a sample may lie in the future: clocks differ a little.
    pub future: Period,
    /// How long a stretch of time one block holds.
    pub block: Period,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            age: hours(15 * 24),
            disk: Bytes(8 << 30),
            memory: Bytes(256 << 20),
            series: 200_000,
            site_series: 50_000,
            future: Period(Duration::from_secs(600)),
            block: hours(2),
        }
    }
}

/// What became of samples.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Appended {
    /// They are in the log.
    pub stored: u64,
    /// They were there already, with the same value.
    pub repeated: u64,
    /// Refused: at that time the series has another value.
    pub conflicting: u64,
    /// Refused: the series has a later sample.
    pub out_of_order: u64,
    /// Refused: older than what is kept, or than what is in blocks already.
    pub too_old: u64,
    /// Refused: too far in the future.
    pub in_future: u64,
    /// Refused: their series would be one too many, in all or of its site.
    pub too_many_series: u64,
}

impl Appended {
    /// How many were refused.
    pub fn refused(&self) -> u64 {
        self.conflicting + self.out_of_order + self.too_old + self.in_future + self.too_many_series
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.stored += other.stored;
        self.repeated += other.repeated;
        self.conflicting += other.conflicting;
        self.out_of_order += other.out_of_order;
        self.too_old += other.too_old;
        self.in_future += other.in_future;
        self.too_many_series += other.too_many_series;
    }
}

/// What a store holds, and what happened to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Series with samples.
    pub series: usize,
    /// Blocks on disk.
    pub blocks: usize,
    /// Disk space of log and blocks.
    pub disk_bytes: u64,
    /// Memory of the samples that are in no block yet.
    pub memory_bytes: u64,
    /// What became of all samples since the opening.
    pub samples: Appended,
    /// Bytes of a torn end that the opening cut from the log.
    pub cut_bytes: u64,
    /// Blocks that the opening could not read; they stay until they are too old.
    pub damaged_blocks: usize,
    /// Batches that the disk did not take.
    pub failed_batches: u64,
}
