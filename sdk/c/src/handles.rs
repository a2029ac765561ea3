//! What programs hold, by number.

use crate::failure::{Failure, Result};
use std::{
    collections::HashMap,
    sync::{
        Arc, LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// Numbers are never given out twice, and no kind shares one with another.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// What is open of one kind.
pub(crate) struct Handles<T> {
    what: &'static str,
    open: LazyLock<Mutex<HashMap<u64, Arc<T>>>>,
}

impl<T> Handles<T> {
    pub(crate) const fn new(what: &'static str) -> Self {
        Self { what, open: LazyLock::new(Mutex::default) }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Arc<T>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a value under a new number.
    pub(crate) fn insert(&self, value: T) -> u64 {
        let handle = NEXT.fetch_add(1, Relaxed);
        self.open().insert(handle, Arc::new(value));
        handle
    }

    pub(crate) fn get(&self, handle: u64) -> Result<Arc<T>> {
        self.open().get(&handle).cloned().ok_or_else(|| Failure::handle(self.what, handle))
    }

    /// Forgets a value; other threads that use it go on.
    pub(crate) fn remove(&self, handle: u64) -> Result<Arc<T>> {
        self.open().remove(&handle).ok_or_else(|| Failure::handle(self.what, handle))
    }
}
