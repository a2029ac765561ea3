//! What is done now and then: blocks are written, old ones removed, the log is synced.

use super::{Inner, Store, block::Block, checkpoint, log::Log, millis};
use crate::{Error, Result};
use std::{collections::HashSet, fs, sync::Arc};
use tracing::warn;

impl Store {
    /// Writes what is complete into a block, removes what is too old or too much, and brings the log to the disk. Call
    /// it every few seconds; `now_ms` is the present time.
    ///
    /// # Errors
    /// [`Error::Disk`], when it can be tried again; nothing is lost.
    pub fn maintain(&self, now_ms: i64) -> Result<()> {
        let _turn = self.upkeep_turn();
        // First what makes room: the rest may need it. What fails keeps nothing else from being done.
        let removed = self.remove_old(now_ms);
        let cut = self.read().due(self, now_ms);
        let written = cut.map_or(Ok(()), |cut_ms| self.write_block(cut_ms));
        // Outside the lock: a slow disk delays nobody.
        let file = self.read().log.file();
        let synced = file.and_then(|file| file.sync_data());
        removed.and(written).and(synced.map_err(Error::disk("sync", &self.folder)))
    }

    /// Writes all that is in memory into a block.
    ///
    /// # Errors
    /// [`Error::Disk`]
    pub fn flush(&self) -> Result<()> {
        let _turn = self.upkeep_turn();
        let span = self.read().head.span();
        span.map_or(Ok(()), |(_, last)| self.write_block(last.saturating_add(1)))
    }

    fn write_block(&self, cut_ms: i64) -> Result<()> {
        let chunks = {
            let mut inner = self.write();
            // From here on nothing older is added, so that the block holds all of it.
            inner.horizon_ms = inner.horizon_ms.max(cut_ms);
            let labelled = |(id, chunks)| Some((inner.index.labels(id)?.clone(), chunks));
            let chunks: Vec<_> =
                inner.head.before(cut_ms).into_iter().filter_map(labelled).collect();
            chunks
        };
        if !chunks.is_empty() {
            let path = Block::write(
                &self.folder,
                chunks.iter().map(|(labels, chunks)| (labels, chunks.as_slice())),
            )?;
            let mut inner = self.write();
            let block = Block::open(&path, |labels| inner.index.number(&labels))?;
            inner.blocks.push(Arc::new(block));
            inner.head.drop_before(cut_ms);
        }
        self.write().begin_log(self)
    }

    fn remove_old(&self, now_ms: i64) -> Result<()> {
        let oldest = now_ms.saturating_sub(millis(self.limits.age));
        let mut inner = self.write();
        let before = inner.blocks.len();
        while let Some(first) = inner.blocks.first() {
            let too_much = inner.disk_bytes() > self.limits.disk.0;
            if first.last_ms >= oldest && !too_much {
                break;
            }
            first.remove()?;
            inner.blocks.remove(0);
        }
        let (gone, kept) =
            std::mem::take(&mut inner.damaged).into_iter().partition(|(_, last)| *last < oldest);
        inner.damaged = kept;
        let gone: Vec<_> = gone;
        for (path, _) in gone {
            fs::remove_file(&path).map_err(Error::disk("remove", &path))?;
        }
        // A series is empty when its last block goes, and at no other time.
        if inner.blocks.len() < before {
            inner.forget_empty();
        }
        Ok(())
    }
}

impl Inner {
    /// Up to where a block is to be written now.
    fn due(&self, store: &Store, now_ms: i64) -> Option<i64> {
        let (first_ms, last_ms) = self.head.span()?;
        let limits = &store.limits;
        // The log is not packed: as a block the same takes a fraction. It is read whole when the store is opened.
        let log_max = (limits.disk.0 / 4).min(limits.memory.0);
        if self.log.bytes() > log_max || self.head.bytes() > limits.memory.0 {
            // What somebody's clock is ahead with must not make everybody else's samples late.
            let last_ms = if first_ms <= now_ms { last_ms.min(now_ms) } else { last_ms };
            return Some(last_ms.saturating_add(1));
        }
        let block_ms = millis(limits.block).max(1);
        let end = first_ms.div_euclid(block_ms).saturating_add(1).saturating_mul(block_ms);
        // Half a block longer, for what comes late.
        (end.saturating_add(block_ms / 2) <= now_ms).then_some(end)
    }

    /// Begins a log that says what is in memory, and removes the former.
    fn begin_log(&mut self, store: &Store) -> Result<()> {
        let number = self.log_number + 1;
        self.log = Log::create(&store.folder, number, &checkpoint(&self.index, &self.head))?;
        self.named = self.head.iter().map(|(id, _)| id).collect();
        let former = Log::path_of(&store.folder, self.log_number);
        self.log_number = number;
        if let Err(error) = fs::remove_file(&former) {
            // The next opening removes it.
            warn!(%error, "a former log of series is still there");
        }
        Ok(())
    }

    /// Series without any sample make room for others.
    fn forget_empty(&mut self) {
        let mut held: HashSet<u32> = self.head.iter().map(|(id, _)| id).collect();
        held.extend(self.blocks.iter().flat_map(|block| block.series()));
        let empty: Vec<u32> =
            self.index.iter().map(|(id, _)| id).filter(|id| !held.contains(id)).collect();
        for id in empty {
            self.index.remove(id);
            self.named.remove(&id);
        }
    }
}
