//! The store as a process sees it.

mod buckets;
mod describe;
mod keep;
mod raise;
mod seal;

use crate::{
    Config, Error, Listing, Object, Page, Put, Result, Stat, View, Writer, check_key,
    client::{Client, Found, SUMMED_MAX, new_header, unexpected},
    node::names::{stat_of, tier_of},
    put::{Record, changed},
    remote::{Looked, kept},
    shared::record::{DELETED, Header, Place},
    wire::{Reply, Request},
};
use arc_swap::{ArcSwap, Guard};
use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering::Relaxed},
};

/// How often an object is looked for that is moved each time before it can be opened.
const TRIES: usize = 64;

/// The store of one tenant, as one process sees it. Cheap to clone; all threads may use it.
#[derive(Debug, Clone)]
pub struct Geds {
    shared: Arc<Shared>,
}

/// What clones of a handle share.
#[derive(Debug)]
struct Shared {
    /// How the node is joined again when it was started again; none for one in this process.
    config: Option<Config>,
    client: ArcSwap<Client>,
    /// Held by who joins it again.
    joining: Mutex<()>,
    /// Whether copies of any other site's bucket may be here: what is here alone is viewed without asking.
    far: AtomicBool,
}

impl Geds {
    /// Joins the host's node, or starts one in this process.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when nobody answers at the socket, [`Error::Io`] when the folder
    /// cannot be used.
    pub fn open(config: Config) -> Result<Self> {
        let again = config.joins().then(|| config.clone());
        Ok(Self::sharing(again, Client::open(config)?))
    }

    pub(crate) fn of(client: Arc<Client>) -> Self {
        Self::sharing(None, client)
    }

    fn sharing(config: Option<Config>, client: Arc<Client>) -> Self {
        let (client, joining, far) =
            (ArcSwap::new(client), Mutex::default(), AtomicBool::default());
        Self { shared: Arc::new(Shared { config, client, joining, far }) }
    }

    /// The session with the node: a new one if the node of the former has gone and one is there
    /// again. What belongs to the former is done with that.
    pub(crate) fn client(&self) -> Guard<Arc<Client>> {
        let client = self.shared.client.load();
        match &self.shared.config {
            Some(config) if client.link.check().is_err() => {
                Guard::from_inner(self.join_again(config))
            }
            _ => client,
        }
    }

    fn join_again(&self, config: &Config) -> Arc<Client> {
        let _one = self.shared.joining.lock().unwrap_or_else(PoisonError::into_inner);
        let client = self.shared.client.load_full();
        if client.link.check().is_ok() {
            return client;
        }
        let Ok(new) = Client::open(config.clone()) else { return client };
        new.inherit(&client);
        self.shared.client.store(Arc::clone(&new));
        new
    }

    /// Whether copies of another site's bucket may be here.
    pub(crate) fn is_far(&self, bucket: &str) -> bool {
        self.shared.far.load(Relaxed) && self.client().is_far(bucket)
    }

    /// Notes that copies of another site's bucket are here.
    pub(crate) fn set_far(&self, bucket: &str) {
        self.client().set_far(bucket);
        self.shared.far.store(true, Relaxed);
    }

    pub(crate) fn ask(&self, request: &Request) -> Result<Reply> {
        self.client().ask(request).map(|(reply, _)| reply)
    }

    pub(crate) fn ask_apart(&self, request: &Request) -> Result<Reply> {
        match self.client().link.call_apart(request)? {
            Reply::Failed(refusal) => Err(refusal.into()),
            reply => Ok(reply),
        }
    }

    /// Makes an object of these bytes. It is sealed, and visible to everybody, when this returns.
    ///
    /// # Errors
    /// [`Error::NoBucket`]; [`Error::Exists`] and [`Error::Changed`] as `put` says;
    /// [`Error::Exhausted`] when nothing was freed while this waited.
    pub fn put(&self, bucket: &str, key: &str, bytes: &[u8], put: Put) -> Result<Stat> {
        check_key(key)?;
        let (len, client) = (bytes.len() as u64, self.client());
        if len > client.memory_object_max() {
            let mut writer = self.create(bucket, key, put.size_hint(len))?;
            writer.write_at(0, bytes)?;
            return writer.seal();
        }
        let crc = (bytes.len() <= SUMMED_MAX).then(|| crc32c::crc32c(bytes));
        // Before memory is taken for nothing.
        if let Some(number) = self.number_of(&client, bucket)? {
            client.check_put(number, bucket, key, &put)?;
        }
        if bytes.is_empty() {
            return self.seal_place(&client, bucket, key, (Place::Nowhere, 0), crc, put);
        }
        let space = client.allocate(len)?;
        space.write(0, bytes)?;
        self.seal_space(&client, bucket, key, (space, len), crc, put)
    }

    /// Begins an object that is written piece by piece, of any size.
    ///
    /// # Errors
    /// [`Error::NoBucket`], [`Error::Name`].
    pub fn create(&self, bucket: &str, key: &str, put: Put) -> Result<Writer> {
        check_key(key)?;
        self.number_of(&self.client(), bucket)?;
        Writer::new(self.clone(), bucket, key, put)
    }

    /// Opens a sealed object.
    ///
    /// # Errors
    /// [`Error::NoBucket`], [`Error::NoObject`].
    pub fn object(&self, bucket: &str, key: &str) -> Result<Object> {
        match self.or_outside(bucket, key, |at| self.object_here(at, key))? {
            Looked::Found(object) => Ok(object),
            Looked::Apart(stat) => Ok(self.object_apart(bucket, key, stat)),
        }
    }

    pub(crate) fn object_here(&self, bucket: &str, key: &str) -> Result<Object> {
        let client = self.client();
        for _ in 0..TRIES {
            let found = client.find(bucket, key)?;
            if found.header.away() {
                return Err(elsewhere(bucket, key, &found));
            }
            if let Some(object) = Object::open(&client, found)? {
                return Ok(object);
            }
        }
        Err(lost(bucket, key))
    }

    /// All bytes of a sealed object: borrowed where they lie together in memory, else read.
    ///
    /// # Errors
    /// [`Error::NoBucket`], [`Error::NoObject`]; for objects on disk [`Error::Corrupt`], [`Error::Io`].
    pub fn view(&self, bucket: &str, key: &str) -> Result<View> {
        match self.or_outside(bucket, key, |at| self.view_here(at, key))? {
            Looked::Found(view) => Ok(view),
            Looked::Apart(stat) => self.view_apart(bucket, key, stat),
        }
    }

    fn view_here(&self, bucket: &str, key: &str) -> Result<View> {
        let client = self.client();
        let mut brought = false;
        for _ in 0..TRIES {
            let (header, pin) = client.find_bytes(bucket, key)?;
            let Place::Slab { slot, generation, offset } = header.place else {
                drop(pin);
                if !brought && matches!(header.place, Place::File { .. } | Place::Outside { .. }) {
                    brought = true;
                    self.bring_to_memory(bucket, key, client.memory_object_max() / 4)?;
                    continue;
                }
                return self.object_here(bucket, key)?.bytes();
            };
            if let Some(slab) = client.slab(slot, generation)? {
                return View::shared(slab, offset, header.size, pin)
                    .ok_or_else(|| lost(bucket, key));
            }
        }
        Err(lost(bucket, key))
    }

    /// What is known about an object.
    ///
    /// # Errors
    /// [`Error::NoBucket`], [`Error::NoObject`].
    pub fn stat(&self, bucket: &str, key: &str) -> Result<Stat> {
        if self.is_far(bucket)
            && let Ok(stat) = self.stat_here(&kept(bucket), key)
        {
            return Ok(stat);
        }
        match self.stat_here(bucket, key) {
            Err(missing @ Error::NoObject { .. }) => {
                self.fetch_missing(bucket, key, missing)?;
                self.stat_here(bucket, key)
            }
            Err(failed @ Error::NoBucket { .. }) => match self.stat_far(bucket, key, failed) {
                Err(missing @ Error::NoObject { .. }) => {
                    self.fetch_missing(bucket, key, missing)?;
                    self.stat_far(bucket, key, Error::no_bucket(bucket))
                }
                stat => stat,
            },
            stat => stat,
        }
    }

    /// Looks here and at other sites, and once more when the object was read from outside.
    fn or_outside<R>(
        &self,
        bucket: &str,
        key: &str,
        look: impl Fn(&str) -> Result<R>,
    ) -> Result<Looked<R>> {
        match self.look(bucket, key, &look) {
            Err(missing @ Error::NoObject { .. }) => {
                self.fetch_missing(bucket, key, missing)?;
                self.look(bucket, key, &look)
            }
            found => found,
        }
    }

    /// Whether an object is in the store, here or at another site, without looking outside for one that is not.
    ///
    /// # Errors
    /// [`Error::NoBucket`], [`Error::Unavailable`].
    pub fn has_object(&self, bucket: &str, key: &str) -> Result<bool> {
        let known = match self.client().read(bucket, key, |_, _| ()) {
            Err(failed @ Error::NoBucket { .. }) => self.stat_far(bucket, key, failed).map(|_| ()),
            Ok(None) => return Ok(false),
            known => known.map(|_| ()),
        };
        match known {
            Ok(()) => Ok(true),
            Err(Error::NoObject { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn stat_here(&self, bucket: &str, key: &str) -> Result<Stat> {
        let stat = self.client().read(bucket, key, |slot, header| {
            stat_of(&header, &slot.attributes(&header), tier_of(header.place))
        })?;
        stat.ok_or_else(|| Error::no_object(bucket, key))
    }

    /// A page of a bucket's objects. It shows all that was sealed before the call.
    ///
    /// # Errors
    /// [`Error::NoBucket`].
    pub fn list(&self, bucket: &str, listing: &Listing) -> Result<Page> {
        let request = Request::List { bucket: bucket.to_owned(), listing: listing.clone() };
        match self.ask(&request) {
            Ok(Reply::Page(page)) => Ok(page),
            Ok(_) => Err(unexpected()),
            Err(failed) => self.list_far(bucket, listing, failed),
        }
    }

    /// Whether there may be objects whose keys begin with `folder`, which ends with `/`, and go on
    /// behind it. `false` is certain; `true` is not, and [`list`](Self::list) knows. Makes no system
    /// call, and says `true` of buckets with a back end and of other sites' buckets.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub fn may_have_below(&self, bucket: &str, folder: &str) -> Result<bool> {
        match self.client().may_have_below(bucket, folder) {
            Err(Error::NoBucket { .. }) => Ok(true),
            answer => answer,
        }
    }

    /// Removes an object, if it is still the version named; false when there was none.
    ///
    /// # Errors
    /// [`Error::NoBucket`], [`Error::Changed`].
    pub fn delete(&self, bucket: &str, key: &str, if_version: Option<u64>) -> Result<bool> {
        check_key(key)?;
        if self.delete_here(bucket, key, if_version)? {
            return Ok(true);
        }
        // It may lie in the bucket's back end alone.
        if !self.is_tiered(bucket)? {
            return Ok(false);
        }
        match self.adopt(bucket, key) {
            Ok(()) => self.delete_here(bucket, key, if_version),
            Err(Error::NoObject { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn delete_here(&self, bucket: &str, key: &str, if_version: Option<u64>) -> Result<bool> {
        let client = self.client();
        let number = match client.bucket(bucket) {
            Err(failed) => return self.delete_far(bucket, key, if_version, failed),
            Ok(number) => number,
        };
        let header = Header { flags: DELETED, ..new_header(&client, number, 0, Place::Nowhere) };
        let record = Record { header, key, attributes: &[], former: "" };
        let there = |newest: Option<&Header>| {
            let found = newest.filter(|header| !header.deleted()).map(|header| header.version);
            match if_version.filter(|expected| Some(*expected) != found) {
                Some(expected) => Err(changed(bucket, key, expected, found)),
                None if found.is_none() => Err(Error::no_object(bucket, key)),
                None => Ok(()),
            }
        };
        match client.publish_change(bucket, &record, there) {
            Ok(()) => Ok(true),
            Err(Error::NoObject { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Marks a folder: an empty object whose key ends with `/`. One that is there is kept.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn make_folder(&self, bucket: &str, folder: &str) -> Result<Stat> {
        let key = format!("{}/", folder.trim_end_matches('/'));
        match self.put(bucket, &key, &[], Put::default()) {
            Err(Error::Exists { .. }) => self.stat(bucket, &key),
            made => made,
        }
    }
}

/// Who has the bytes of an object that are not here.
pub(crate) fn elsewhere(bucket: &str, key: &str, found: &Found) -> Error {
    let stat = stat_of(&found.header, &found.attributes, tier_of(found.header.place));
    let (bucket, key) = (bucket.to_owned(), key.to_owned());
    Error::Elsewhere { bucket, key, site: stat.site.unwrap_or_default() }
}

fn lost(bucket: &str, key: &str) -> Error {
    let (bucket, key) = (bucket.to_owned(), key.to_owned());
    Error::Lost { bucket, key, why: "its record names memory that is not there".to_owned() }
}
