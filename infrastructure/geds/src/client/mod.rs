//! A process's side: what it does by itself in shared memory, and what it asks the node.

mod blocks;
mod link;
mod memory;
mod records;

use crate::{
    Backend, Config, Error, Limits, Result,
    config::Reach,
    node::{
        Host, Node, slab_bytes,
        tenant::{Tenant, memory_object_max},
    },
    shared::{
        index::{BucketState, Index},
        record::Place,
        session::Session,
    },
    wire::{Reply, Request},
};
use arc_swap::ArcSwap;
use memory::Memory;
use records::Records;
use std::{
    collections::{HashMap, HashSet},
    fs::File,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, PoisonError, RwLock, Weak},
};

pub(crate) use link::Link;
pub(crate) use memory::{Mapped, Space};
pub(crate) use records::{Found, SUMMED_MAX, new_header};

/// Numbers of buckets, which each operation looks up.
type Buckets = HashMap<String, u32, foldhash::fast::RandomState>;

/// A process's session with its node.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) link: Link,
    pub(crate) index: Arc<Index>,
    pub(crate) page: Arc<Session>,
    pub(crate) memory: Memory,
    pub(crate) records: Records,
    limits: Limits,
    buckets: ArcSwap<Buckets>,
    /// Files that some object of this process has open.
    files: Mutex<HashMap<u64, Weak<File>>>,
    /// Storage outside, by bucket.
    backends: RwLock<HashMap<String, Backend>>,
    /// Other sites' buckets of which there are copies here.
    far: RwLock<HashSet<String>>,
}

impl Client {
    pub(crate) fn open(config: Config) -> Result<Arc<Self>> {
        match config.reach {
            Reach::Alone(folder) => Node::start(folder)?.client(&config.tenant, &config.limits),
            Reach::Join(socket) => {
                let (link, joined) = Link::join(&socket)?;
                let index = Arc::new(Index::open(&joined.index)?);
                let page = Arc::new(Session::open(&joined.page)?);
                Ok(Self::new(link, index, page, joined.session, joined.limits))
            }
        }
    }

    pub(crate) fn within(host: Arc<Host>, tenant: Arc<Tenant>) -> Result<Arc<Self>> {
        Self::inside(Some(host), tenant)
    }

    /// The node's own session, which keeps no node and asks no other site.
    pub(crate) fn of_node(tenant: &Arc<Tenant>) -> Result<Arc<Self>> {
        Self::inside(None, Arc::clone(tenant))
    }

    fn inside(host: Option<Arc<Host>>, tenant: Arc<Tenant>) -> Result<Arc<Self>> {
        let (Reply::Joined { session, limits }, _) = tenant.join()? else {
            return Err(unexpected());
        };
        let mapped = tenant.mapped(session).ok_or_else(unexpected)?;
        let link = Link::within(host, tenant, session);
        Ok(Self::new(link, mapped.0, mapped.1, session, limits))
    }

    fn new(
        link: Link,
        index: Arc<Index>,
        page: Arc<Session>,
        session: u32,
        limits: Limits,
    ) -> Arc<Self> {
        Arc::new(Self {
            link,
            index,
            page,
            memory: Memory::default(),
            records: Records::new(session),
            limits,
            buckets: ArcSwap::default(),
            files: Mutex::default(),
            backends: RwLock::default(),
            far: RwLock::default(),
        })
    }

    /// Asks the node something, and gives its refusal as an error.
    pub(crate) fn ask(&self, request: &Request) -> Result<(Reply, Vec<OwnedFd>)> {
        match self.link.call(request)? {
            (Reply::Failed(refusal), _) => Err(refusal.into()),
            answer => Ok(answer),
        }
    }

    /// The number of an open bucket.
    pub(crate) fn bucket(&self, bucket: &str) -> Result<u32> {
        let known = self.buckets.load().get(bucket).copied();
        if let Some(number) = known
            && self.index.bucket(number) == BucketState::Open
        {
            return Ok(number);
        }
        // Closing, gone, or not known here: the node says which.
        let Reply::Bucket { number, .. } =
            self.ask(&Request::Bucket { bucket: bucket.to_owned() })?.0
        else {
            return Err(unexpected());
        };
        self.buckets.rcu(|known| {
            let mut known = Buckets::clone(known);
            known.retain(|_, number| self.index.bucket(*number) != BucketState::Gone);
            known.insert(bucket.to_owned(), number);
            known
        });
        Ok(number)
    }

    /// The storage outside of a bucket.
    pub(crate) fn backend(&self, bucket: &str) -> Option<Backend> {
        self.backends.read().unwrap_or_else(PoisonError::into_inner).get(bucket).cloned()
    }

    /// Whether the node looks outside for what a bucket does not have.
    pub(crate) fn is_tiered(&self, bucket: &str) -> Result<bool> {
        Ok(self.index.is_tiered(self.bucket(bucket)?))
    }

    /// Whether anything may lie behind a prefix that ends with `/`.
    pub(crate) fn may_have_below(&self, bucket: &str, folder: &str) -> Result<bool> {
        self.link.check()?;
        let number = self.bucket(bucket)?;
        Ok(self.index.is_tiered(number) || self.index.may_have_below(number, folder))
    }

    pub(crate) fn set_backend(&self, bucket: &str, backend: Option<Backend>) {
        let mut backends = self.backends.write().unwrap_or_else(PoisonError::into_inner);
        match backend {
            Some(backend) => _ = backends.insert(bucket.to_owned(), backend),
            None => _ = backends.remove(bucket),
        }
    }

    /// Whether copies of another site's bucket may be here.
    pub(crate) fn is_far(&self, bucket: &str) -> bool {
        self.far.read().unwrap_or_else(PoisonError::into_inner).contains(bucket)
    }

    /// Notes that copies of another site's bucket are here.
    pub(crate) fn set_far(&self, bucket: &str) {
        if !self.is_far(bucket) {
            let mut far = self.far.write().unwrap_or_else(PoisonError::into_inner);
            far.insert(bucket.to_owned());
        }
    }

    /// Takes over what was set for a former session.
    pub(crate) fn inherit(&self, former: &Self) {
        let backends = former.backends.read().unwrap_or_else(PoisonError::into_inner).clone();
        *self.backends.write().unwrap_or_else(PoisonError::into_inner) = backends;
    }

    /// A file of the disk tier, which a pin keeps in place.
    pub(crate) fn file(&self, number: u64) -> Result<Arc<File>> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = files.get(&number).and_then(Weak::upgrade) {
            return Ok(file);
        }
        let (Reply::File { .. }, opened) = self.ask(&Request::File { file: number })? else {
            return Err(Error::Corrupt {
                what: "an object on disk".to_owned(),
                why: format!("the node has no file {number}"),
            });
        };
        let file = Arc::new(File::from(opened.into_iter().next().ok_or_else(unexpected)?));
        files.retain(|_, file| file.strong_count() > 0);
        files.insert(number, Arc::downgrade(&file));
        Ok(file)
    }

    /// Up to how many bytes objects share a slab.
    pub(crate) fn shared_object_max(&self) -> u64 {
        slab_bytes(&self.limits) / 2
    }

    /// Above how many bytes an object does not go to memory.
    pub(crate) fn memory_object_max(&self) -> u64 {
        memory_object_max(&self.limits)
    }

    /// Keeps a place from being freed until the guard is dropped.
    pub(crate) fn pin(self: &Arc<Self>, place: Place) -> Pin {
        self.page.pin(place);
        Pin { client: Arc::clone(self), place }
    }
}

/// What the node has no reason to say.
pub(crate) fn unexpected() -> Error {
    Error::Unavailable("the node answered something else than it was asked".to_owned())
}

/// Keeps a slab, a file or a composition in place.
#[derive(Debug)]
pub(crate) struct Pin {
    client: Arc<Client>,
    place: Place,
}

impl Pin {
    /// Takes over a pin that the node set.
    pub(crate) fn taken(client: &Arc<Client>, place: Place) -> Self {
        Self { client: Arc::clone(client), place }
    }

    pub(crate) fn client(&self) -> &Arc<Client> {
        &self.client
    }
}

impl Clone for Pin {
    fn clone(&self) -> Self {
        self.client.pin(self.place)
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        if let Place::Slab { slot, .. } = self.place {
            self.client.index.touch(slot);
        }
        self.client.page.unpin(self.place);
    }
}
