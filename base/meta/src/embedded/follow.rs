//! A watch on the embedded store.

use super::{Committed, Shared, read, tables};
use crate::{BoxFuture, Error, Event, Result, WatchBatch, WatchSource};
use bytes::Bytes;
use std::sync::Weak;
use tables::Past;
use tokio::sync::{OwnedSemaphorePermit, watch};

pub(super) struct Follow {
    /// Weak, so that a forgotten watch does not keep the file open.
    shared: Weak<Shared>,
    committed: watch::Receiver<Committed>,
    prefix: Bytes,
    next: u64,
    _place: OwnedSemaphorePermit,
}

impl Follow {
    pub(super) fn new(
        shared: Weak<Shared>,
        committed: watch::Receiver<Committed>,
        prefix: Bytes,
        next: u64,
        place: OwnedSemaphorePermit,
    ) -> Self {
        Self { shared, committed, prefix, next, _place: place }
    }

    async fn batch(&mut self) -> Result<WatchBatch> {
        loop {
            let to = self.committed.borrow_and_update().revision;
            if self.next > to {
                self.committed.changed().await.map_err(|_| Error::Closed)?;
                continue;
            }
            let (events, revision) = self.events(to).await?;
            self.next = revision + 1;
            if !events.is_empty() {
                return Ok(WatchBatch { revision, events });
            }
        }
    }

    /// Matching events from the next revision on, and the revision that they go up to.
    async fn events(&self, to: u64) -> Result<(Vec<Event>, u64)> {
        let shared = self.shared.upgrade().ok_or(Error::Closed)?;
        let (prefix, from) = (self.prefix.clone(), self.next);
        let max_events = shared.config.watch_batch_max_events;
        let recent = shared.recent().read(&prefix, from, to, max_events);
        if let Some(recent) = recent {
            return Ok(recent);
        }
        let past = move |txn: &_, config: &_| tables::past(txn, config, &prefix, from, to);
        match read(&shared, past).await? {
            Past::Events(events, revision) => Ok((events, revision)),
            Past::Compacted(oldest) => Err(Error::Compacted { requested: from, oldest }),
        }
    }
}

impl WatchSource for Follow {
    fn next(&mut self) -> BoxFuture<'_, Result<WatchBatch>> {
        Box::pin(self.batch())
    }

    fn resume_revision(&self) -> u64 {
        self.next
    }
}
