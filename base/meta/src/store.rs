//! What every engine offers.

use crate::{Lease, LeaseId, Page, Reading, Result, Txn, TxnOutcome, Watch};
use std::{fmt, future::Future, pin::Pin, time::Duration};

/// A boxed future, so that the trait can be used as `dyn MetaStore`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A revisioned map.
///
/// Reads and transactions are linearisable: what was answered is on disk and seen by every later
/// call. A call whose future is dropped half-way may still take effect.
pub trait MetaStore: Send + Sync + fmt::Debug {
    /// The item at `key`, if any, and the revision that this shows.
    fn get<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<Reading>>;

    /// The items whose keys begin with `prefix`, in the order of their keys: those after the key
    /// `after`, at most `limit` of them (0: as many as the store puts on a page).
    ///
    /// Each page shows its own revision. To list and then follow, watch from the *first* page's
    /// revision + 1 and let an event replace what has a lower `mod_revision`.
    fn range<'a>(
        &'a self,
        prefix: &'a [u8],
        limit: usize,
        after: Option<&'a [u8]>,
    ) -> BoxFuture<'a, Result<Page>>;

    /// Runs one branch of `txn` at one revision. A transaction that changes nothing takes none.
    fn txn(&self, txn: Txn) -> BoxFuture<'_, Result<TxnOutcome>>;

    /// Follows the changes of keys that begin with `prefix`, from `from_revision` on; 0 means
    /// from the next revision, and one that lies ahead is waited for.
    fn watch<'a>(&'a self, prefix: &'a [u8], from_revision: u64) -> BoxFuture<'a, Result<Watch>>;

    /// Forgets the history before `revision`; watches can start at it and after. Values stay.
    fn compact(&self, revision: u64) -> BoxFuture<'_, Result<()>>;

    /// Grants a lease that ends `ttl` after its last [`MetaStore::lease_keep_alive`].
    fn lease_grant(&self, ttl: Duration) -> BoxFuture<'_, Result<Lease>>;

    /// Lets the lease run for its full time again, which is returned.
    fn lease_keep_alive(&self, lease: LeaseId) -> BoxFuture<'_, Result<Duration>>;

    /// Ends the lease now; its keys vanish at the returned revision.
    fn lease_revoke(&self, lease: LeaseId) -> BoxFuture<'_, Result<u64>>;
}
