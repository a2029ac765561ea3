//! The samples that are in no block yet.

use super::codec::Chunk;
use crate::Sample;
use std::collections::HashMap;

/// A chunk is full then: a query of few samples unpacks no more than that.
const CHUNK_SAMPLES: u32 = 1024;

/// What a sample is to its series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Stored,
    Repeated,
    Conflicting,
    OutOfOrder,
}

/// Of each series the chunks that are in no block, in the order of time.
#[derive(Debug, Default)]
pub(super) struct Head {
    series: HashMap<u32, Vec<Chunk>>,
    block_ms: i64,
}

impl Head {
    pub(super) fn new(block_ms: i64) -> Self {
        Self { series: HashMap::new(), block_ms: block_ms.max(1) }
    }

    /// The last sample of a series, if there is any.
    pub(super) fn last(&self, id: u32) -> Option<Sample> {
        self.series.get(&id)?.last().map(Chunk::last)
    }

    /// Adds a sample that is later than the last.
    pub(super) fn push(&mut self, id: u32, sample: Sample) {
        let chunks = self.series.entry(id).or_default();
        match chunks.last_mut() {
            // No chunk reaches over the end of a block.
            Some(last)
                if last.count() < CHUNK_SAMPLES
                    && last.first_ms().div_euclid(self.block_ms)
                        == sample.time_ms.div_euclid(self.block_ms) =>
            {
                last.push(sample);
            }
            _ => chunks.push(Chunk::new(sample)),
        }
    }

    pub(super) fn chunks(&self, id: u32) -> &[Chunk] {
        self.series.get(&id).map_or(&[], Vec::as_slice)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &[Chunk])> {
        self.series.iter().map(|(id, chunks)| (*id, chunks.as_slice()))
    }

    /// Copies of the chunks that end before `cut_ms`, by the series' numbers.
    pub(super) fn before(&self, cut_ms: i64) -> Vec<(u32, Vec<Chunk>)> {
        let ended = |chunks: &[Chunk]| -> Vec<Chunk> {
            chunks.iter().filter(|chunk| chunk.last().time_ms < cut_ms).cloned().collect()
        };
        let all = self.iter().map(|(id, chunks)| (id, ended(chunks)));
        let mut all: Vec<_> = all.filter(|(_, chunks)| !chunks.is_empty()).collect();
        all.sort_unstable_by_key(|(id, _)| *id);
        all
    }

    /// Forgets the chunks that end before `cut_ms`.
    pub(super) fn drop_before(&mut self, cut_ms: i64) {
        self.series.retain(|_, chunks| {
            chunks.retain(|chunk| chunk.last().time_ms >= cut_ms);
            !chunks.is_empty()
        });
    }

    /// The first and last time of all samples.
    pub(super) fn span(&self) -> Option<(i64, i64)> {
        let chunks = || self.series.values().flatten();
        let first = chunks().map(Chunk::first_ms).min()?;
        Some((first, chunks().map(|chunk| chunk.last().time_ms).max()?))
    }

    pub(super) fn bytes(&self) -> u64 {
        let chunks = self.series.values().flatten();
        chunks.map(|chunk| (chunk.bytes().len() + size_of::<Chunk>()) as u64).sum()
    }
}

/// What becomes of a sample behind the last one of its series.
pub(super) fn fate(last: Option<Sample>, sample: Sample) -> Fate {
    match last {
        None => Fate::Stored,
        Some(last) if sample.time_ms > last.time_ms => Fate::Stored,
        Some(last) if sample.time_ms < last.time_ms => Fate::OutOfOrder,
        Some(last) if sample == last => Fate::Repeated,
        Some(_) => Fate::Conflicting,
    }
}
