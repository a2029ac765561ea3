//! What belongs to the process that made it, and to no child that is forked from it.

use crate::errors::{Failed, Result};
use pyo3::{Python, pyfunction};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How many forks lie between the first process and this one.
static GENERATION: AtomicU64 = AtomicU64::new(0);

/// Says that this process was forked just now: what its parent opened is not its own.
#[pyfunction]
pub(crate) fn forked() {
    GENERATION.fetch_add(1, Relaxed);
}

/// A value of this process. A forked child has a copy of its bytes, but neither the threads nor a
/// connection of its own: it cannot use the value, and does not drop it, which would speak to the
/// node in the parent's name.
pub(crate) struct Here<T> {
    /// There until this is dropped.
    value: Option<T>,
    generation: u64,
}

impl<T> Here<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { value: Some(value), generation: GENERATION.load(Relaxed) }
    }

    fn is_own(&self) -> bool {
        self.generation == GENERATION.load(Relaxed)
    }

    /// The value.
    ///
    /// # Errors
    /// [`geds::Error::Unavailable`] in a child of the process that made it.
    pub(crate) fn get(&self) -> Result<&T> {
        self.value.as_ref().filter(|_| self.is_own()).ok_or_else(foreign)
    }

    /// The value, to be changed.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub(crate) fn get_mut(&mut self) -> Result<&mut T> {
        let own = self.is_own();
        self.value.as_mut().filter(|_| own).ok_or_else(foreign)
    }
}

impl<T: Send> Here<T> {
    /// Drops the value without the interpreter's lock: for what waits for threads or the disk then.
    pub(crate) fn drop_detached(&mut self) {
        if self.is_own()
            && let Some(value) = self.value.take()
        {
            // None while the interpreter ends; then nobody else runs.
            Python::try_attach(|py| py.detach(|| drop(value)));
        }
    }
}

impl<T> Drop for Here<T> {
    fn drop(&mut self) {
        if !self.is_own() {
            std::mem::forget(self.value.take());
        }
    }
}

fn foreign() -> Failed {
    let why = "it was opened before this process was forked from another: open it again";
    geds::Error::Unavailable(why.to_owned()).into()
}
