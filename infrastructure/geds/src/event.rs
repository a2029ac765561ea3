//! What happens to objects, as it is told to those who subscribed.

use serde::{Deserialize, Serialize};
use std::{
    net::Shutdown,
    os::unix::net::UnixStream,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    time::Duration,
};

/// What a subscription is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// All objects of a bucket.
    Bucket(String),
    /// The objects of a bucket whose keys begin so.
    Prefix(String, String),
    /// One object.
    Object(String, String),
}

impl Scope {
    /// The bucket that it lies in.
    pub fn bucket(&self) -> &str {
        match self {
            Self::Bucket(bucket) | Self::Prefix(bucket, _) | Self::Object(bucket, _) => bucket,
        }
    }

    fn covers(&self, bucket: &str, key: &str) -> bool {
        self.bucket() == bucket
            && match self {
                Self::Bucket(_) => true,
                Self::Prefix(_, prefix) => key.starts_with(prefix.as_str()),
                Self::Object(_, object) => key == object,
            }
    }
}

/// What happened to an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Happening {
    /// A name came to be that was not there; its [`Sealed`](Self::Sealed) follows.
    Created,
    /// A version was sealed.
    Sealed {
        /// Which one.
        version: u64,
        /// How many bytes it has.
        size: u64,
    },
    /// It was deleted.
    Deleted,
    /// It came to be, or was replaced, by the renaming of this key of the same bucket.
    Renamed {
        /// What the key was.
        from: String,
    },
    /// Its attributes were changed.
    Attributes,
}

/// Something that happened to one object. What is replaced faster than it is told may be left out:
/// the last state of a name is always told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Where.
    pub bucket: String,
    /// To which object.
    pub key: String,
    /// What.
    pub what: Happening,
}

/// Events that wait for a subscriber; those that find no place are counted.
const WAITING_MAX: usize = 4096;

/// Receives the events of one [`Scope`], from the moment of subscribing on.
#[derive(Debug)]
pub struct Subscription {
    events: Receiver<Event>,
    missed: Arc<AtomicU64>,
    /// The connection that they come over, if they do.
    connection: Option<UnixStream>,
}

impl Subscription {
    /// The next event, waiting up to `limit` for it. None if there was none.
    ///
    /// # Errors
    /// [`Error::Unavailable`](crate::Error::Unavailable) when the node has gone and all its events were received.
    pub fn next(&self, limit: Duration) -> crate::Result<Option<Event>> {
        match self.events.recv_timeout(limit) {
            Ok(event) => Ok(Some(event)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => {
                Err(crate::Error::Unavailable("the node has ended the subscription".to_owned()))
            }
        }
    }

    /// How many events were not kept because too many were waiting, since this was last asked.
    pub fn take_missed(&self) -> u64 {
        self.missed.swap(0, Relaxed)
    }

    /// Ends this connection with the subscription.
    pub(crate) fn end_with(&mut self, connection: UnixStream) {
        self.connection = Some(connection);
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(connection) = &self.connection {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

/// The end that events are put into.
#[derive(Debug)]
pub(crate) struct Feed {
    /// None for all buckets.
    scope: Option<Scope>,
    events: SyncSender<Event>,
    missed: Arc<AtomicU64>,
}

impl Feed {
    pub(crate) fn new(scope: Scope) -> (Self, Subscription) {
        Self::of(Some(scope))
    }

    /// What happens in all buckets.
    pub(crate) fn everything() -> (Self, Subscription) {
        Self::of(None)
    }

    fn of(scope: Option<Scope>) -> (Self, Subscription) {
        let (sender, events) = sync_channel(WAITING_MAX);
        let missed = Arc::new(AtomicU64::new(0));
        let feed = Self { scope, events: sender, missed: Arc::clone(&missed) };
        (feed, Subscription { events, missed, connection: None })
    }

    pub(crate) fn covers(&self, bucket: &str, key: &str) -> bool {
        self.scope.as_ref().is_none_or(|scope| scope.covers(bucket, key))
    }

    /// Whether events of a bucket are for it.
    pub(crate) fn is_about(&self, bucket: &str) -> bool {
        self.scope.as_ref().is_some_and(|scope| scope.bucket() == bucket)
    }

    /// Counts events that were lost before they came here.
    pub(crate) fn missed(&self, count: u64) {
        self.missed.fetch_add(count, Relaxed);
    }

    /// Hands an event on, or counts it as missed; false when nobody listens any more.
    pub(crate) fn tell(&self, event: Event) -> bool {
        match self.events.try_send(event) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                self.missed(1);
                true
            }
            Err(TrySendError::Disconnected(_)) => false,
        }
    }
}
