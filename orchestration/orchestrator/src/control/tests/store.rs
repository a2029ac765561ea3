//! A store that stops dead at a chosen transaction.

use meta::{
    BoxFuture, Embedded, Lease, LeaseId, MetaStore, Page, Reading, Result, Txn, TxnOutcome, Watch,
};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};
use tokio::sync::Notify;

/// Where the process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Death {
    /// The transaction never reaches the disk.
    Before,
    /// It does, but nobody learns of it.
    After,
}

/// Counts transactions down to the one that the process dies at.
#[derive(Debug)]
pub(super) struct Fuse {
    left: AtomicI64,
    death: Mutex<Death>,
    pub(super) dead: Notify,
}

impl Default for Fuse {
    fn default() -> Self {
        Self { left: AtomicI64::new(-1), death: Mutex::new(Death::Before), dead: Notify::new() }
    }
}

impl Fuse {
    /// Lets the process die at the `nth` transaction from now, the first being 0.
    pub(super) fn light(&self, nth: i64, death: Death) {
        *self.death.lock().unwrap() = death;
        self.left.store(nth, Ordering::SeqCst);
    }

    pub(super) fn put_out(&self) {
        self.left.store(-1, Ordering::SeqCst);
    }

    fn burn(&self) -> Option<Death> {
        let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
            (left >= 0).then_some(left - 1)
        });
        // What burnt down once stays so: later transactions must not pass either.
        (left == Ok(0)).then(|| *self.death.lock().unwrap())
    }
}

/// The embedded store behind a fuse.
#[derive(Debug)]
pub(super) struct Mortal {
    pub(super) inner: Embedded,
    pub(super) fuse: Arc<Fuse>,
}

impl MetaStore for Mortal {
    fn get<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<Reading>> {
        self.inner.get(key)
    }

    fn range<'a>(
        &'a self,
        prefix: &'a [u8],
        limit: usize,
        after: Option<&'a [u8]>,
    ) -> BoxFuture<'a, Result<Page>> {
        self.inner.range(prefix, limit, after)
    }

    fn txn(&self, txn: Txn) -> BoxFuture<'_, Result<TxnOutcome>> {
        Box::pin(async move {
            match self.fuse.burn() {
                None => self.inner.txn(txn).await,
                Some(death) => {
                    if death == Death::After {
                        self.inner.txn(txn).await?;
                    }
                    self.fuse.dead.notify_one();
                    std::future::pending().await
                }
            }
        })
    }

    fn watch<'a>(&'a self, prefix: &'a [u8], from_revision: u64) -> BoxFuture<'a, Result<Watch>> {
        self.inner.watch(prefix, from_revision)
    }

    fn compact(&self, revision: u64) -> BoxFuture<'_, Result<()>> {
        self.inner.compact(revision)
    }

    fn lease_grant(&self, ttl: Duration) -> BoxFuture<'_, Result<Lease>> {
        self.inner.lease_grant(ttl)
    }

    fn lease_keep_alive(&self, lease: LeaseId) -> BoxFuture<'_, Result<Duration>> {
        self.inner.lease_keep_alive(lease)
    }

    fn lease_revoke(&self, lease: LeaseId) -> BoxFuture<'_, Result<u64>> {
        self.inner.lease_revoke(lease)
    }
}
