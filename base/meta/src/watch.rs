//! Following changes.

use crate::{BoxFuture, Event, Result};
use std::fmt;

/// The changes of one or more whole revisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchBatch {
    /// Every change up to this revision has now been delivered.
    pub revision: u64,
    /// The changes, in the order of their revisions; never empty.
    pub events: Vec<Event>,
}

/// Delivers the changes of some keys in order, each once.
///
/// The watcher pulls, and the store's bounded history is its backlog. One that falls behind the
/// history gets [`Error::Compacted`](crate::Error::Compacted), never a gap.
pub struct Watch {
    source: Box<dyn WatchSource>,
}

/// An engine's side of a [`Watch`].
pub trait WatchSource: Send {
    /// See [`Watch::next`].
    fn next(&mut self) -> BoxFuture<'_, Result<WatchBatch>>;

    /// See [`Watch::resume_revision`].
    fn resume_revision(&self) -> u64;
}

impl Watch {
    /// Wraps an engine's source.
    pub fn new(source: impl WatchSource + 'static) -> Self {
        Self { source: Box::new(source) }
    }

    /// Waits for the next changes. Dropping the future loses none.
    ///
    /// # Errors
    /// [`Error::Compacted`](crate::Error::Compacted) if the watcher fell behind the history: list
    /// anew and watch from there. [`Error::Closed`](crate::Error::Closed) when the store is gone.
    pub async fn next(&mut self) -> Result<WatchBatch> {
        self.source.next().await
    }

    /// Where another watch has to start to continue this one. It moves on with the store while
    /// [`Watch::next`] waits, also when nothing matches.
    pub fn resume_revision(&self) -> u64 {
        self.source.resume_revision()
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("resume_revision", &self.resume_revision()).finish()
    }
}
