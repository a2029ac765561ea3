//! One tenant of a node: what its processes ask for is done here.

use super::{keys::Keys, outlets::Outlets, slabs::slab_bytes, state::State};
use crate::{
    Attributes, Error, Event, Limits, Result, Scope, Subscription,
    event::Feed,
    put::now,
    remote::{Ask, Far},
    shared::{index::Index, session::Session},
    wire::Reply,
};
use rustix::fd::OwnedFd;
use std::{
    path::Path,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

/// Most processes of a tenant.
const SESSIONS_MAX: usize = 256;
/// Most subscriptions of a tenant.
const FEEDS_MAX: usize = 128;

/// A reply and the descriptors that go with it.
pub(crate) type Answer = (Reply, Vec<OwnedFd>);

/// One tenant.
#[derive(Debug)]
pub(crate) struct Tenant {
    state: Arc<Mutex<State>>,
    pub(super) bell: Mutex<bool>,
    pub(super) rung: Condvar,
    pub(super) stopping: AtomicBool,
    /// The lowest tiers of buckets.
    pub(super) outlets: Outlets,
    /// Those of them that outlive the node.
    pub(super) keys: Keys,
    /// Told, with the state's lock, when blocks have come from outside.
    pub(super) arrived: Condvar,
    /// What it has to do with other sites, if this node knows any.
    far: OnceLock<Weak<Far>>,
}

impl Tenant {
    pub(super) fn open(folder: &Path, limits: Limits) -> Result<Self> {
        let state = Arc::new(Mutex::new(State::recover(folder, limits)?));
        state.lock().unwrap_or_else(PoisonError::into_inner).own = Arc::downgrade(&state);
        let tenant = Self {
            state,
            bell: Mutex::new(false),
            rung: Condvar::new(),
            stopping: AtomicBool::new(false),
            far: OnceLock::new(),
            outlets: Outlets::default(),
            keys: Keys::open(folder),
            arrived: Condvar::new(),
        };
        tenant.attach_kept();
        Ok(tenant)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the keeper.
    pub(crate) fn wake(&self) {
        *self.bell.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.rung.notify_all();
    }

    pub(super) fn stop(&self) {
        self.stopping.store(true, SeqCst);
        self.wake();
        self.outlets.ring();
    }

    /// Begins a session.
    pub(crate) fn join(&self) -> Result<Answer> {
        let mut state = self.state();
        let session = state.join(SESSIONS_MAX)?;
        let limits = state.limits.clone();
        let clone = |file: &OwnedFd| file.try_clone().map_err(Error::io("hand out shared memory"));
        let page = state.seats.get(&session).map(|seat| clone(&seat.file)).transpose()?;
        let files = [Some(clone(&state.index_file)?), page].into_iter().flatten().collect();
        Ok((Reply::Joined { session, limits }, files))
    }

    /// The memory of a session of this process.
    pub(crate) fn mapped(&self, session: u32) -> Option<(Arc<Index>, Arc<Session>)> {
        let state = self.state();
        let page = state.seats.get(&session).map(|seat| Arc::clone(&seat.page))?;
        Some((Arc::clone(&state.index), page))
    }

    /// Ends a session.
    pub(crate) fn leave(&self, session: u32) {
        self.state().leave(session);
    }

    /// Other sites are known from now on.
    pub(crate) fn set_far(&self, far: &Arc<Far>) {
        let _ = self.far.set(Arc::downgrade(far));
    }

    /// What it has to do with other sites.
    pub(crate) fn far(&self) -> Option<Arc<Far>> {
        self.far.get().and_then(Weak::upgrade)
    }

    /// Asks about other sites; `Gone` where none is known.
    pub(crate) fn ask_far(&self, ask: Ask) -> Reply {
        let Some(far) = self.far() else { return Reply::Gone };
        far.handle(ask).unwrap_or_else(|error| Reply::Failed(error.into()))
    }

    /// Tells what happens in a scope from now on.
    pub(crate) fn subscribe(&self, scope: Scope) -> Result<Subscription> {
        let here = self.state().names.number(scope.bucket()).map(|_| ());
        if let Err(missing) = here {
            let Some(far) = self.far() else { return Err(missing) };
            far.handle(Ask::Follow { bucket: scope.bucket().to_owned() })?;
        }
        self.feed(Feed::new(scope))
    }

    /// Tells what happens in all buckets from now on.
    pub(crate) fn everything(&self) -> Result<Subscription> {
        self.feed(Feed::everything())
    }

    fn feed(&self, (feed, subscription): (Feed, Subscription)) -> Result<Subscription> {
        let mut state = self.state();
        // What happened before is not told.
        state.consume();
        if state.feeds.len() >= FEEDS_MAX {
            let limit = FEEDS_MAX as u64;
            return Err(Error::TooMany { what: "subscriptions".to_owned(), limit });
        }
        state.feeds.push(feed);
        Ok(subscription)
    }

    /// Tells those who subscribed what happened in a bucket of another site.
    pub(crate) fn tell(&self, event: &Event) {
        self.state()
            .feeds
            .retain(|feed| !feed.covers(&event.bucket, &event.key) || feed.tell(event.clone()));
    }

    /// Something in a bucket of another site was not told.
    pub(crate) fn tell_missed(&self, bucket: &str) {
        let state = self.state();
        state.feeds.iter().filter(|feed| feed.is_about(bucket)).for_each(|feed| feed.missed(1));
    }

    /// Makes a bucket for copies of another site's objects, if there is none.
    pub(crate) fn make_kept(&self, name: &str) -> Result<()> {
        let mut state = self.state();
        if state.names.number(name).is_err() {
            state.create_bucket(name, now(), Attributes::new())?;
        }
        Ok(())
    }
}

/// Above how many bytes an object is written to disk at once.
pub(crate) fn memory_object_max(limits: &Limits) -> u64 {
    (limits.memory_bytes / 2).max(slab_bytes(limits))
}
