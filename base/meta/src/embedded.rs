//! The store of one process: one redb file, one writer thread.
//!
//! Requests that change something queue for the writer, which applies all that wait within one
//! redb transaction and answers them after its commit reached the disk. Reads use redb's
//! snapshots and wait for nobody.

mod draft;
mod follow;
mod leases;
mod limits;
mod open;
#[cfg(test)]
mod power;
mod recent;
mod tables;
mod writer;

use crate::{
    BoxFuture, Config, Error, Lease, LeaseId, MetaStore, Page, Reading, Result, Txn, TxnOutcome,
    Watch,
};
use bytes::Bytes;
use follow::Follow;
use leases::Leases;
use recent::Recent;
use redb::{Database, ReadTransaction, ReadableDatabase};
use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, mpsc},
    thread,
    time::Duration,
};
use tables::Stored;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch},
    task::spawn_blocking,
};
use types::Clock;
use writer::{Job, Request, Writer};

pub use open::FORMAT_VERSION;

/// A store in one redb file.
///
/// A commit is on disk before it is answered; commits that wait at the same time share one.
/// A lease's time is measured by this process's monotonic clock; after a restart each lease runs
/// for its full time again, so none ends early. Dropping the store ends its watches, waits for
/// the commit in progress and closes the file.
pub struct Embedded {
    shared: Arc<Shared>,
    committed: watch::Receiver<Committed>,
    jobs: Option<mpsc::Sender<Job>>,
    writer: Option<thread::JoinHandle<()>>,
}

/// What the store's handle, its writer and its watches share.
struct Shared {
    path: PathBuf,
    config: Config,
    clock: Arc<dyn Clock>,
    /// `None` once closed, even if a forgotten read is still under way.
    database: RwLock<Option<Database>>,
    recent: Mutex<Recent>,
    leases: Mutex<Leases>,
    pending: Arc<Semaphore>,
    watchers: Arc<Semaphore>,
}

/// How far the store has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Committed {
    revision: u64,
    oldest: u64,
}

impl Embedded {
    /// Opens the store at `path`; makes it, readable by its owner only, if the file is absent.
    ///
    /// Every page is verified first, which takes time in proportion to the file. It blocks.
    ///
    /// # Errors
    /// [`Error::AlreadyOpen`], [`Error::FormatNewer`], [`Error::Foreign`], [`Error::Corrupt`] and
    /// [`Error::Open`] name the file; [`Error::Config`] names the setting.
    pub fn open(path: impl AsRef<Path>, config: Config, clock: Arc<dyn Clock>) -> Result<Self> {
        config.check().map_err(Error::Config)?;
        let path = path.as_ref();
        let database = open::open_file(path, &config)?;
        Self::start(path, database, config, clock)
    }

    fn start(
        path: &Path,
        database: Database,
        config: Config,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let (state, leases) = open::load(path, &database)?;
        let (sender, committed) = watch::channel(state.committed());
        let (jobs, queue) = mpsc::channel();
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            database: RwLock::new(Some(database)),
            recent: Mutex::new(Recent::new(state.revision, config.watch_recent_max_bytes)),
            leases: Mutex::new(Leases::resume(leases, clock.monotonic())),
            pending: Arc::new(Semaphore::new(config.pending_max)),
            watchers: Arc::new(Semaphore::new(config.watchers_max)),
            config,
            clock,
        });
        let writer = Writer::new(Arc::clone(&shared), queue, sender, state);
        let writer = thread::Builder::new()
            .name("meta-writer".into())
            .spawn(move || writer.run())
            .map_err(|error| Error::Open { path: path.to_owned(), source: Arc::new(error) })?;
        Ok(Self { shared, committed, jobs: Some(jobs), writer: Some(writer) })
    }

    /// Queues a request for the writer and waits for its answer.
    async fn submit<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T>>) -> Request,
    ) -> Result<T> {
        let pending = Arc::clone(&self.shared.pending);
        let place = pending.acquire_owned().await.map_err(|_| Error::Closed)?;
        let (reply, answer) = oneshot::channel();
        let job = Job { request: request(reply), _place: place };
        let jobs = self.jobs.as_ref().ok_or(Error::Closed)?;
        jobs.send(job).map_err(|_| Error::Closed)?;
        answer.await.map_err(|_| Error::Closed)?
    }

    fn check_ttl(&self, ttl: Duration) -> Result<u64> {
        let config = &self.shared.config;
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        let (min_ms, max_ms) = (config.lease_ttl_min_ms, config.lease_ttl_max_ms);
        if !(min_ms..=max_ms).contains(&ttl_ms) {
            return Err(Error::LeaseTtl { ttl_ms, min_ms, max_ms });
        }
        Ok(ttl_ms)
    }

    fn follow(&self, prefix: &[u8], from_revision: u64) -> Result<Watch> {
        let limit = self.shared.config.watchers_max;
        let place: OwnedSemaphorePermit = Arc::clone(&self.shared.watchers)
            .try_acquire_owned()
            .map_err(|_| Error::TooManyWatchers { limit })?;
        let now = *self.committed.borrow();
        let next = if from_revision == 0 { now.revision + 1 } else { from_revision };
        if next < now.oldest {
            return Err(Error::Compacted { requested: next, oldest: now.oldest });
        }
        let shared = Arc::downgrade(&self.shared);
        let prefix = Bytes::copy_from_slice(prefix);
        Ok(Watch::new(Follow::new(shared, self.committed.clone(), prefix, next, place)))
    }
}

impl MetaStore for Embedded {
    fn get<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<Reading>> {
        Box::pin(async move {
            limits::check_key(&self.shared.config, key)?;
            let key = Bytes::copy_from_slice(key);
            read(&self.shared, move |txn, _| tables::get(txn, &key)).await
        })
    }

    fn range<'a>(
        &'a self,
        prefix: &'a [u8],
        limit: usize,
        after: Option<&'a [u8]>,
    ) -> BoxFuture<'a, Result<Page>> {
        Box::pin(async move {
            let prefix = Bytes::copy_from_slice(prefix);
            let after = after.map(Bytes::copy_from_slice);
            let page = move |txn: &ReadTransaction, config: &Config| {
                tables::range(txn, config, &prefix, limit, after.as_deref())
            };
            read(&self.shared, page).await
        })
    }

    fn txn(&self, txn: Txn) -> BoxFuture<'_, Result<TxnOutcome>> {
        Box::pin(async move {
            limits::check_txn(&self.shared.config, &txn)?;
            self.submit(|reply| Request::Txn(txn, reply)).await
        })
    }

    fn watch<'a>(&'a self, prefix: &'a [u8], from_revision: u64) -> BoxFuture<'a, Result<Watch>> {
        Box::pin(async move { self.follow(prefix, from_revision) })
    }

    fn compact(&self, revision: u64) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.submit(move |reply| Request::Compact(revision, reply)))
    }

    fn lease_grant(&self, ttl: Duration) -> BoxFuture<'_, Result<Lease>> {
        Box::pin(async move {
            let ttl_ms = self.check_ttl(ttl)?;
            self.submit(|reply| Request::Grant(ttl_ms, reply)).await
        })
    }

    fn lease_keep_alive(&self, lease: LeaseId) -> BoxFuture<'_, Result<Duration>> {
        // Without a disk write and past the queue: a slow disk must not cost the lease.
        Box::pin(async move {
            let now = self.shared.clock.monotonic();
            self.shared.leases().keep_alive(lease, now).ok_or(Error::LeaseNotFound { lease })
        })
    }

    fn lease_revoke(&self, lease: LeaseId) -> BoxFuture<'_, Result<u64>> {
        Box::pin(self.submit(move |reply| Request::Revoke(lease, reply)))
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!(path = %self.shared.path.display(), "the store's writer panicked");
        }
        self.shared.close();
    }
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded")
            .field("path", &self.shared.path)
            .field("committed", &*self.committed.borrow())
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn leases(&self) -> MutexGuard<'_, Leases> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` on the open database.
    fn with_database<T>(&self, work: impl FnOnce(&Database) -> Stored<T>) -> Result<T> {
        let guard = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = guard.as_ref().ok_or(Error::Closed)?;
        work(database).map_err(|error| open::storage_error(&self.path, error))
    }

    fn close(&self) {
        let mut guard = self.database.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(Err(error)) = guard.take().map(Database::close) {
            let error = types::chain(&error);
            tracing::warn!(path = %self.path.display(), error, "the store did not close cleanly");
        }
    }
}

/// Runs `work` on a snapshot, where it may wait for the disk.
async fn read<T: Send + 'static>(
    shared: &Arc<Shared>,
    work: impl FnOnce(&ReadTransaction, &Config) -> Stored<T> + Send + 'static,
) -> Result<T> {
    let shared = Arc::clone(shared);
    let task = spawn_blocking(move || {
        let snapshot = shared.with_database(|database| Ok(database.begin_read()?))?;
        work(&snapshot, &shared.config).map_err(|error| open::storage_error(&shared.path, error))
    });
    // The task ends early only when the runtime is shut down.
    task.await.map_err(|_| Error::Closed)?
}
