//! Objects whose bytes lie in storage outside, and the blocks of them that lie here as well.

use super::state::State;
use crate::{backend::BLOCK_BYTES, shared::record::Place};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

/// What is known about bytes outside.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Remote {
    /// The bucket whose back end has them.
    pub(crate) bucket: String,
    /// Their name there.
    pub(crate) key: String,
    /// Which version of that name they are.
    pub(crate) etag: Option<String>,
    pub(crate) size: u64,
    /// The CRC-32C of each block, if this node wrote them.
    pub(crate) sums: Vec<u32>,
}

/// A block that lies here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cached {
    pub(super) place: Place,
    pub(super) len: u64,
    /// When it was last asked for, in numbers of asking.
    used: u64,
}

/// Bytes outside, as records refer to them.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) remote: Arc<Remote>,
    pub(super) live: u32,
    pub(super) holds: u64,
    pub(super) busy: u32,
    pub(super) blocks: BTreeMap<u64, Cached>,
    /// Blocks that are being read.
    pub(super) coming: BTreeSet<u64>,
}

/// All of a tenant.
#[derive(Debug, Default)]
pub(super) struct Remotes {
    all: HashMap<u64, Entry>,
    /// Which bytes a name outside has.
    names: HashMap<(String, String), u64>,
    /// Names outside that nothing refers to any more, with their versions.
    stale: BTreeMap<(String, String), Option<String>>,
    /// Names outside that are being written.
    pending: BTreeSet<(String, String)>,
    last: u64,
    asked: u64,
    cached_bytes: u64,
}

impl Remote {
    /// Where a block lies among the bytes; none if there is none of the number.
    pub(super) fn block(&self, block: u64) -> Option<std::ops::Range<u64>> {
        let start = block.checked_mul(BLOCK_BYTES).filter(|start| *start < self.size)?;
        Some(start..self.size.min(start + BLOCK_BYTES))
    }

    fn name(&self) -> (String, String) {
        (self.bucket.clone(), self.key.clone())
    }
}

impl Remotes {
    /// The number of these bytes.
    pub(super) fn add(&mut self, remote: Remote) -> u64 {
        let name = remote.name();
        let known = self.names.get(&name).and_then(|number| Some((*number, self.all.get(number)?)));
        if let Some((number, _)) = known.filter(|(_, entry)| *entry.remote == remote) {
            return number;
        }
        self.last += 1;
        self.stale.remove(&name);
        self.names.insert(name, self.last);
        let entry = Entry {
            remote: Arc::new(remote),
            live: 0,
            holds: 0,
            busy: 0,
            blocks: BTreeMap::new(),
            coming: BTreeSet::new(),
        };
        self.all.insert(self.last, entry);
        self.last
    }

    pub(super) fn get(&mut self, number: u64) -> Option<&mut Entry> {
        self.all.get_mut(&number)
    }

    pub(super) fn remote(&self, number: u64) -> Option<&Arc<Remote>> {
        self.all.get(&number).map(|entry| &entry.remote)
    }

    /// Whether records refer to the bytes that a name outside has.
    pub(super) fn has_name(&self, bucket: &str, key: &str) -> bool {
        self.names.contains_key(&(bucket.to_owned(), key.to_owned()))
    }

    /// Names outside that are to be removed, with their versions.
    pub(super) fn stale(&self) -> impl Iterator<Item = (&(String, String), &Option<String>)> {
        self.stale.iter()
    }

    /// Whether what a name has outside is not what it has here, if anything: it is written, removed or referred to.
    pub(super) fn is_known(&self, bucket: &str, key: &str) -> bool {
        let name = (bucket.to_owned(), key.to_owned());
        self.stale.contains_key(&name)
            || self.pending.contains(&name)
            || self.names.contains_key(&name)
    }

    /// Whether a name outside is being written.
    pub(super) fn is_pending(&self, bucket: &str, key: &str) -> bool {
        self.pending.contains(&(bucket.to_owned(), key.to_owned()))
    }

    /// Begins to write a name outside; gives the version that is to be replaced, if something is known to be there.
    pub(super) fn begin(&mut self, bucket: &str, key: &str) -> Option<Option<String>> {
        let name = (bucket.to_owned(), key.to_owned());
        let replaces = self.stale.get(&name).cloned();
        self.pending.insert(name);
        replaces
    }

    /// A name outside was written, or not.
    pub(super) fn end(&mut self, bucket: &str, key: &str) {
        self.pending.remove(&(bucket.to_owned(), key.to_owned()));
    }

    /// What nothing referred to was removed outside.
    pub(super) fn removed(&mut self, bucket: &str, key: &str) {
        self.stale.remove(&(bucket.to_owned(), key.to_owned()));
    }

    pub(super) fn set_stale(&mut self, bucket: String, key: String, etag: Option<String>) {
        if !self.names.contains_key(&(bucket.clone(), key.clone())) {
            self.stale.insert((bucket, key), etag);
        }
    }

    /// Nothing refers to these bytes any more.
    fn remove(&mut self, number: u64) -> Option<Entry> {
        let entry = self.all.remove(&number)?;
        self.cached_bytes -= entry.blocks.values().map(|cached| cached.len).sum::<u64>();
        let name = entry.remote.name();
        if self.names.get(&name) == Some(&number) {
            self.names.remove(&name);
            self.stale.insert(name, entry.remote.etag.clone());
        }
        Some(entry)
    }

    /// A block that lies here.
    pub(super) fn cached(&mut self, number: u64, block: u64) -> Option<Cached> {
        self.asked += 1;
        let cached = self.all.get_mut(&number)?.blocks.get_mut(&block)?;
        cached.used = self.asked;
        Some(*cached)
    }

    pub(super) fn cached_bytes(&self) -> u64 {
        self.cached_bytes
    }

    fn keep(&mut self, number: u64, block: u64, place: Place, len: u64) {
        self.asked += 1;
        let Some(entry) = self.all.get_mut(&number) else { return };
        entry.blocks.insert(block, Cached { place, len, used: self.asked });
        self.cached_bytes += len;
    }

    fn forget(&mut self, number: u64, block: u64) -> Option<Cached> {
        let cached = self.all.get_mut(&number)?.blocks.remove(&block)?;
        self.cached_bytes -= cached.len;
        Some(cached)
    }

    /// The block that was asked for longest ago.
    fn oldest(&self) -> Option<(u64, u64)> {
        let all = self.all.iter().flat_map(|(number, entry)| {
            entry.blocks.iter().map(move |(block, cached)| (cached.used, (*number, *block)))
        });
        all.min_by_key(|(used, _)| *used).map(|(_, at)| at)
    }

    /// The blocks that lie in a slab or a file.
    fn within(&self, anchor: Place) -> Vec<(u64, u64)> {
        let all = self.all.iter().flat_map(|(number, entry)| {
            let blocks = entry.blocks.iter();
            let here = blocks.filter(|(_, cached)| cached.place.anchor() == anchor);
            here.map(move |(block, _)| (*number, *block))
        });
        all.collect()
    }
}

impl State {
    /// Nothing refers to these bytes any more: they are removed outside by and by.
    pub(super) fn release_remote(&mut self, number: u64) {
        let Some(entry) = self.remotes.remove(number) else { return };
        for cached in entry.blocks.into_values() {
            self.let_go(cached.place, cached.len);
        }
    }

    /// Keeps a block that was read, and no more of them than the limits say.
    pub(super) fn keep_block(&mut self, number: u64, block: u64, place: Place, len: u64) {
        self.remotes.keep(number, block, place, len);
        self.hold_bytes(place, len);
        while self.remotes.cached_bytes() > self.limits.cache_bytes.max(len) {
            let Some((number, block)) = self.remotes.oldest() else { return };
            self.drop_block(number, block);
        }
    }

    fn drop_block(&mut self, number: u64, block: u64) {
        if let Some(cached) = self.remotes.forget(number, block) {
            self.let_go(cached.place, cached.len);
        }
    }

    /// Lets go of the blocks in a slab or a file; says whether there were any.
    pub(super) fn drop_blocks(&mut self, anchor: Place) -> bool {
        let blocks = self.remotes.within(anchor);
        blocks.iter().for_each(|(number, block)| self.drop_block(*number, *block));
        !blocks.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(key: &str, etag: &str) -> Remote {
        let etag = Some(etag.to_owned());
        let (bucket, key) = ("lab".to_owned(), key.to_owned());
        Remote { bucket, key, etag, size: BLOCK_BYTES + 1, sums: Vec::new() }
    }

    #[test]
    fn bytes_that_nothing_refers_to_are_stale_unless_their_name_has_others() {
        let mut remotes = Remotes::default();
        let first = remotes.add(remote("a", "1"));
        assert_eq!(remotes.add(remote("a", "1")), first);
        let second = remotes.add(remote("a", "2"));
        assert_ne!(first, second);
        assert!(remotes.remove(first).is_some() && remotes.stale().next().is_none());
        assert!(remotes.remove(second).is_some() && remotes.stale().count() == 1);
        assert!(!remotes.has_name("lab", "a") && remotes.is_known("lab", "a"));
        assert_eq!(remotes.begin("lab", "a"), Some(Some("2".to_owned())));
        remotes.add(remote("a", "3"));
        remotes.end("lab", "a");
        assert!(remotes.stale().next().is_none() && remotes.has_name("lab", "a"));
    }

    #[test]
    fn blocks_divide_the_bytes() {
        let remote = remote("a", "1");
        assert_eq!(remote.block(0), Some(0..BLOCK_BYTES));
        assert_eq!(remote.block(1), Some(BLOCK_BYTES..BLOCK_BYTES + 1));
        assert_eq!((remote.block(2), remote.block(u64::MAX)), (None, None));
    }
}
