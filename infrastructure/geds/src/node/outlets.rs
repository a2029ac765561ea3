//! Back ends that the node itself uses as the lowest tier of buckets.

use crate::{
    Backend, Error, Result,
    backend::{BackendConfig, BackendState, Class},
};
use std::{
    collections::BTreeMap,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Shortest and longest pause after a failure; it doubles.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(60));

/// The back end of one bucket.
#[derive(Debug)]
struct Outlet {
    config: BackendConfig,
    /// For who waits, and for what is moved in the background.
    reader: Backend,
    writer: Backend,
    state: BackendState,
    rest_until: Option<Instant>,
    pause: Duration,
}

/// What the thread that moves objects outside needs to know of a bucket.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) writer: Backend,
    pub(super) class: Class,
    pub(super) bytes_per_second: u64,
}

impl Outlet {
    fn target(&self) -> Target {
        Target {
            writer: self.writer.clone(),
            class: self.config.class,
            bytes_per_second: self.config.bytes_per_second,
        }
    }
}

/// The back ends of a tenant.
#[derive(Debug, Default)]
pub(super) struct Outlets {
    all: Mutex<BTreeMap<String, Outlet>>,
    rung: Mutex<bool>,
    bell: Condvar,
}

impl Outlets {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Outlet>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Uses a back end for a bucket from now on, in place of a former one.
    pub(super) fn attach(&self, bucket: &str, config: BackendConfig) -> Result<()> {
        let reader = Backend::open(&config.url, config.pairs())?;
        let writer = Backend::open_aside(&config.url, config.pairs())?;
        let state = BackendState {
            bucket: bucket.to_owned(),
            url: config.url.clone(),
            class: config.class,
            kept: config.keep,
            ..BackendState::default()
        };
        let outlet = Outlet { config, reader, writer, state, rest_until: None, pause: PAUSES.0 };
        self.all().insert(bucket.to_owned(), outlet);
        self.ring();
        Ok(())
    }

    pub(super) fn detach(&self, bucket: &str) -> bool {
        self.all().remove(bucket).is_some()
    }

    pub(super) fn is_attached(&self, bucket: &str) -> bool {
        self.all().contains_key(bucket)
    }

    pub(super) fn any(&self) -> bool {
        !self.all().is_empty()
    }

    /// Whether some bucket has one that works.
    pub(super) fn any_works(&self) -> bool {
        self.all().values().any(|outlet| outlet.rest_until.is_none())
    }

    pub(super) fn any_cold(&self) -> bool {
        self.all().values().any(|outlet| outlet.config.class == Class::Cold)
    }

    /// The way to read what a bucket has outside.
    pub(super) fn reader(&self, bucket: &str) -> Result<Backend> {
        let reader = self.all().get(bucket).map(|outlet| outlet.reader.clone());
        reader.ok_or_else(|| {
            Error::Unavailable(format!(
                "bytes of bucket `{bucket}` lie outside, and no back end is attached: attach it again"
            ))
        })
    }

    /// The way to write what a bucket is to have outside, for somebody who waits: also while it rests.
    pub(super) fn target(&self, bucket: &str) -> Result<Target> {
        let target = self.all().get(bucket).map(Outlet::target);
        target.ok_or_else(|| {
            Error::Invalid(format!("bucket `{bucket}` has no back end: attach one first"))
        })
    }

    /// The buckets to which something may be written now.
    pub(super) fn targets(&self) -> BTreeMap<String, Target> {
        let now = Instant::now();
        let all = self.all();
        let rested = |outlet: &Outlet| outlet.rest_until.is_none_or(|until| until <= now);
        let rested = all.iter().filter(|(_, outlet)| rested(outlet));
        rested.map(|(bucket, outlet)| (bucket.clone(), outlet.target())).collect()
    }

    /// Bytes were acknowledged outside; says whether it had failed before.
    pub(super) fn stored(&self, bucket: &str, bytes: u64) -> bool {
        let mut all = self.all();
        let Some(outlet) = all.get_mut(bucket) else { return false };
        let rested = outlet.rest_until.take().is_some();
        outlet.pause = PAUSES.0;
        outlet.state.objects += 1;
        outlet.state.bytes += bytes;
        rested
    }

    /// It failed: it is left in peace for a while.
    pub(super) fn failed(&self, bucket: &str, error: &Error) {
        let mut all = self.all();
        let Some(outlet) = all.get_mut(bucket) else { return };
        let now = Instant::now();
        outlet.state.failures += 1;
        outlet.state.last_failure = Some(types::chain(error));
        // All that were under way at once fail for the same reason.
        if outlet.rest_until.is_none_or(|until| until <= now) {
            tracing::warn!(bucket, error = %types::chain(error), "cannot move objects outside");
            outlet.rest_until = Some(now + outlet.pause);
            outlet.pause = (outlet.pause * 2).min(PAUSES.1);
        }
    }

    /// When the first one that failed is to be tried again.
    fn wakes_in(&self) -> Option<Duration> {
        let now = Instant::now();
        let all = self.all();
        let later =
            all.values().filter_map(|outlet| outlet.rest_until).filter(|until| *until > now);
        later.min().map(|until| until.saturating_duration_since(now))
    }

    pub(super) fn states(&self) -> Vec<BackendState> {
        self.all().values().map(|outlet| outlet.state.clone()).collect()
    }

    /// Wakes the thread that moves objects outside.
    pub(super) fn ring(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.bell.notify_all();
    }

    /// Waits until there may be something to do, or for a while.
    pub(super) fn wait(&self, limit: Option<Duration>) {
        let limit = limit.into_iter().chain(self.wakes_in()).min();
        let mut rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        if !*rung {
            rung = match limit {
                Some(limit) => {
                    let limit = limit.max(Duration::from_millis(1));
                    self.bell.wait_timeout(rung, limit).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.bell.wait(rung).unwrap_or_else(PoisonError::into_inner),
            };
        }
        *rung = false;
    }
}
