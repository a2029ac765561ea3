//! The store as a process sees it.

use crate::{
    Attributes, Bucket, Class, Config, Error, Limits, Listing, Lost, Object, Page, Put, Result,
    Scope, Stat, Subscription, Usage, View, Writer, check_bucket, check_key,
    client::{Client, Found, SUMMED_MAX, Space, new_header, unexpected},
    node::names::{stat_of, tier_of},
    put::Record,
    remote::{Ask, Looked, kept, still_away},
    shared::record::{ATTRIBUTES, AWAY, CHECKED, CLASS, DELETED, Header, MOVED, NOTED, Place},
    wire::{Reply, Request},
};
use std::sync::{
    Arc, PoisonError, RwLock,
    atomic::{AtomicBool, Ordering::Relaxed},
};

/// How often an object is looked for that is moved each time before it can be opened.
const TRIES: usize = 64;

/// What is copied from disk at once.
const COPY_BYTES: usize = 256 << 10;

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
    client: RwLock<Arc<Client>>,
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
        let client = RwLock::new(Client::open(config)?);
        Ok(Self { shared: Arc::new(Shared { config: again, client, far: AtomicBool::default() }) })
    }

    pub(crate) fn of(client: Arc<Client>) -> Self {
        Self {
            shared: Arc::new(Shared {
                config: None,
                client: RwLock::new(client),
                far: AtomicBool::default(),
            }),
        }
    }

    /// The session with the node: a new one if the node of the former has gone and one is there
    /// again. What belongs to the former is done with that.
    pub(crate) fn client(&self) -> Arc<Client> {
        let client = Arc::clone(&self.shared.client.read().unwrap_or_else(PoisonError::into_inner));
        match &self.shared.config {
            Some(config) if client.link.check().is_err() => self.join_again(config),
            _ => client,
        }
    }

    fn join_again(&self, config: &Config) -> Arc<Client> {
        let mut client = self.shared.client.write().unwrap_or_else(PoisonError::into_inner);
        if client.link.check().is_err()
            && let Ok(new) = Client::open(config.clone())
        {
            new.inherit(&client);
            *client = new;
        }
        Arc::clone(&client)
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

    /// Makes a bucket.
    ///
    /// # Errors
    /// [`Error::BucketExists`], [`Error::Name`].
    pub fn create_bucket(&self, bucket: &str) -> Result<Bucket> {
        check_bucket(bucket)?;
        match self.ask(&Request::CreateBucket { bucket: bucket.to_owned() })? {
            Reply::Bucket { bucket, .. } => Ok(bucket),
            _ => Err(unexpected()),
        }
    }

    /// All buckets by name.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub fn buckets(&self) -> Result<Vec<Bucket>> {
        match self.ask(&Request::Buckets)? {
            Reply::Buckets(buckets) => Ok(buckets),
            _ => Err(unexpected()),
        }
    }

    /// What is known about a bucket.
    ///
    /// # Errors
    /// [`Error::NoBucket`].
    pub fn bucket(&self, bucket: &str) -> Result<Bucket> {
        match self.ask(&Request::Bucket { bucket: bucket.to_owned() }) {
            Ok(Reply::Bucket { bucket, .. }) => Ok(bucket),
            Ok(_) => Err(unexpected()),
            Err(failed) => self.bucket_far(bucket, failed),
        }
    }

    /// Replaces what is kept with a bucket.
    ///
    /// # Errors
    /// [`Error::NoBucket`], [`Error::AttributesSize`].
    pub fn set_bucket_attributes(&self, bucket: &str, attributes: Attributes) -> Result<()> {
        attributes.encode()?;
        let bucket = bucket.to_owned();
        let request =
            Request::BucketAttributes { bucket: bucket.clone(), attributes: attributes.clone() };
        match self.ask(&request) {
            Ok(_) => Ok(()),
            Err(failed) => {
                self.bucket_order_far(failed, || Ask::BucketAttributes { bucket, attributes })
            }
        }
    }

    /// Removes a bucket that has no objects.
    ///
    /// # Errors
    /// [`Error::NoBucket`], [`Error::BucketNotEmpty`].
    pub fn delete_bucket(&self, bucket: &str) -> Result<()> {
        let bucket = bucket.to_owned();
        match self.ask(&Request::DeleteBucket { bucket: bucket.clone() }) {
            Ok(_) => Ok(()),
            Err(failed) => self.bucket_order_far(failed, || Ask::DeleteBucket { bucket }),
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

    /// Whether there is a bucket of the name, here or at another site. For those of this site it asks nobody: the index
    /// that all processes share knows.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub fn has_bucket(&self, bucket: &str) -> Result<bool> {
        match self.number_of(&self.client(), bucket) {
            Ok(_) => Ok(true),
            Err(Error::NoBucket { .. }) => Ok(false),
            Err(error) => Err(error),
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

    /// Replaces an object's attributes, if it is still the version named, and keeps its bytes,
    /// version and time.
    ///
    /// # Errors
    /// As [`stat`](Self::stat); [`Error::Changed`], [`Error::AttributesSize`].
    pub fn set_attributes(
        &self,
        bucket: &str,
        key: &str,
        attributes: Attributes,
        if_version: Option<u64>,
    ) -> Result<Stat> {
        attributes.encode()?;
        let client = self.client();
        if let Err(failed @ Error::NoBucket { .. }) = client.bucket(bucket) {
            let (bucket, key) = (bucket.to_owned(), key.to_owned());
            return self.order_far(failed, || Ask::Attributes {
                bucket,
                key,
                attributes,
                if_version,
            });
        }
        self.redescribe(bucket, key, if_version, |stat, old| {
            Ok((*old, still_away(stat, attributes.clone()).encode()?))
        })
    }

    /// Gives an object of this site's bucket a class of its own, or that of its bucket's back end again, and keeps all else.
    ///
    /// # Errors
    /// As [`stat`](Self::stat); [`Error::Changed`].
    pub fn set_class(
        &self,
        bucket: &str,
        key: &str,
        class: Option<Class>,
        if_version: Option<u64>,
    ) -> Result<Stat> {
        self.redescribe(bucket, key, if_version, |stat, old| {
            Ok((old.classed(class), still_away(stat, stat.attributes.clone()).encode()?))
        })
    }

    /// Replaces what is known about an object, by what `describe` makes of it, and keeps its bytes.
    fn redescribe(
        &self,
        bucket: &str,
        key: &str,
        if_version: Option<u64>,
        describe: impl Fn(&Stat, &Header) -> Result<(Header, Vec<u8>)>,
    ) -> Result<Stat> {
        let client = self.client();
        for _ in 0..TRIES {
            let Found { header: old, pin, attributes: former } = client.find(bucket, key)?;
            let stat = stat_of(&old, &former, tier_of(old.place));
            let found = Some(old.version);
            if let Some(expected) = if_version.filter(|expected| Some(*expected) != found) {
                return Err(changed(bucket, key, expected, found));
            }
            let (new, encoded) = describe(&stat, &old)?;
            let flags = new.flags & (CHECKED | AWAY | NOTED | CLASS) | ATTRIBUTES;
            let header = Header { flags, ..old };
            let record = Record { header, key, attributes: &encoded, former: "" };
            let same = |newest: Option<&Header>| match newest {
                Some(newest) if newest.same_as(&old) => Ok(()),
                newest => Err(changed(bucket, key, old.version, newest.map(|new| new.version))),
            };
            match client.publish_change(bucket, &record, same) {
                Ok(()) => return Ok(stat_of(&header, &encoded, tier_of(header.place))),
                // Written or moved meanwhile.
                Err(Error::Changed { .. }) => drop(pin),
                Err(error) => return Err(error),
            }
        }
        Err(Error::Unavailable(format!("object `{key}` changes all the time: try again later")))
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

    /// Puts an object on disk, synced, where it outlives the node.
    ///
    /// # Errors
    /// As [`stat`](Self::stat); [`Error::Exhausted`], [`Error::Io`].
    pub fn persist(&self, bucket: &str, key: &str) -> Result<Stat> {
        let persist =
            |bucket: &str| Request::Persist { bucket: bucket.to_owned(), key: key.to_owned() };
        let reply = match self.ask_apart(&persist(bucket)) {
            // What another site has is made durable where it is read: here.
            Err(Error::NoBucket { .. }) => {
                self.object(bucket, key)?;
                self.ask_apart(&persist(&kept(bucket)))
            }
            reply => reply,
        };
        match reply? {
            Reply::Stat(stat) => Ok(stat),
            _ => Err(unexpected()),
        }
    }

    /// Puts all objects on disk, synced.
    ///
    /// # Errors
    /// [`Error::Exhausted`], [`Error::Io`].
    pub fn persist_all(&self) -> Result<()> {
        self.ask_apart(&Request::PersistAll).map(|_| ())
    }

    /// The objects that were in memory alone when a former node ended or was killed, or whose files were damaged at its
    /// start, by name; without those whose names were written again since. A node writes names down within 250 ms
    /// of their seal, and at once for those that replace a durable object.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub fn lost(&self) -> Result<Vec<Lost>> {
        let mut all: Vec<Lost> = Vec::new();
        loop {
            let after = all.last().map(|last| (last.bucket.clone(), last.key.clone()));
            match self.ask(&Request::Lost { after })? {
                Reply::Lost(some) if some.is_empty() => return Ok(all),
                Reply::Lost(some) => all.extend(some),
                _ => return Err(unexpected()),
            }
        }
    }

    /// Forgets which objects were lost.
    ///
    /// # Errors
    /// [`Error::Io`] when that cannot be written down.
    pub fn forget_lost(&self) -> Result<()> {
        self.ask(&Request::ForgetLost).map(|_| ())
    }

    /// Tells what happens in a scope from now on.
    ///
    /// # Errors
    /// [`Error::NoBucket`].
    pub fn subscribe(&self, scope: Scope) -> Result<Subscription> {
        self.client().link.subscribe(scope)
    }

    /// What the tenant uses now.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub fn usage(&self) -> Result<Usage> {
        match self.ask(&Request::Usage)? {
            Reply::Usage(usage) => Ok(usage),
            _ => Err(unexpected()),
        }
    }

    /// The limits in force.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub fn limits(&self) -> Result<Limits> {
        match self.ask(&Request::Limits)? {
            Reply::Limits(limits) => Ok(limits),
            _ => Err(unexpected()),
        }
    }

    /// Sets the limits; lower ones take effect as memory is freed.
    ///
    /// # Errors
    /// [`Error::Invalid`] for limits that cannot be.
    pub fn set_limits(&self, limits: Limits) -> Result<()> {
        self.ask(&Request::SetLimits { limits }).map(|_| ())
    }

    /// Copies an object from disk into memory that nobody waits for, where the next ones view it.
    /// It stays on disk as well. Says whether it is in memory now.
    pub(crate) fn bring_to_memory(&self, bucket: &str, key: &str, size_max: u64) -> Result<bool> {
        let client = self.client();
        let found = client.find(bucket, key)?;
        let (old, attributes) = (found.header, found.attributes.clone());
        let below = matches!(old.place, Place::File { .. } | Place::Outside { .. });
        if !below || old.size > size_max.min(client.memory_object_max()) {
            return Ok(matches!(old.place, Place::Nowhere | Place::Slab { .. }));
        }
        let Some(object) = Object::open(&client, found)? else { return Ok(false) };
        let Some(space) = client.allocate_spare(old.size)? else { return Ok(false) };
        // It stays in the journal: who replaces it tells the node.
        let flags = old.flags & (CHECKED | CLASS) | MOVED | NOTED;
        let header = Header { flags, place: space.place(), ..old };
        let record = Record { header, key, attributes: &attributes, former: "" };
        let same = |newest: Option<&Header>| match newest {
            Some(newest) if newest.same_as(&old) => Ok(()),
            newest => Err(changed(bucket, key, old.version, newest.map(|new| new.version))),
        };
        let copied = copy_into(&object, &space);
        match copied.and_then(|()| client.publish(bucket, &record, same)) {
            Ok(_) => {
                client.written(space);
                Ok(true)
            }
            // Written, moved or brought by somebody else meanwhile.
            Err(Error::Changed { .. }) => {
                client.unused(space);
                Ok(false)
            }
            Err(error) => {
                client.unused(space);
                Err(error)
            }
        }
    }

    /// Seals bytes that were written into a space of this session.
    pub(crate) fn seal_space(
        &self,
        client: &Client,
        bucket: &str,
        key: &str,
        (space, len): (Space, u64),
        crc: Option<u32>,
        put: Put,
    ) -> Result<Stat> {
        let place = if len == 0 { Place::Nowhere } else { space.place() };
        let sealed = self.seal_place(client, bucket, key, (place, len), crc, put);
        match sealed {
            Ok(_) if len > 0 => client.written(space),
            _ => client.unused(space),
        }
        sealed
    }

    /// Seals bytes that lie at a place which this session holds.
    pub(crate) fn seal_place(
        &self,
        client: &Client,
        bucket: &str,
        key: &str,
        (place, len): (Place, u64),
        crc: Option<u32>,
        put: Put,
    ) -> Result<Stat> {
        let Some(number) = self.number_of(client, bucket)? else {
            let stat = self.seal_far(client, (bucket, key), (place, len), crc, &put)?;
            return self.sealed(bucket, key, stat, &put);
        };
        let attributes = match &put.attributes {
            Some(attributes) => attributes.encode()?,
            None => Vec::new(),
        };
        let header = new_header(client, number, len, place);
        let header = crc.map_or(header, |crc| header.summed(crc)).classed(put.class);
        let record = Record { header, key, attributes: &attributes, former: "" };
        client.publish_put(bucket, &record, &put)?;
        let kept = put.attributes.clone().unwrap_or_default();
        let stat = Stat { attributes: kept, ..stat_of(&header, &[], tier_of(place)) };
        self.sealed(bucket, key, stat, &put)
    }

    /// Waits until an object is on disk, if that was asked for.
    pub(crate) fn sealed(&self, bucket: &str, key: &str, stat: Stat, put: &Put) -> Result<Stat> {
        if put.replicas > 0 {
            self.replicate(bucket, key, stat.version, put.replicas)?;
        }
        if !put.durable {
            return Ok(stat);
        }
        match self.persist(bucket, key) {
            // Replaced or deleted already, which is as it would be had it happened a little later.
            Err(Error::NoObject { .. }) => Ok(stat),
            persisted => persisted,
        }
    }
}

fn changed(bucket: &str, key: &str, expected: u64, found: Option<u64>) -> Error {
    Error::Changed { bucket: bucket.to_owned(), key: key.to_owned(), expected, found }
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

fn copy_into(object: &Object, space: &Space) -> Result<()> {
    let mut buffer = vec![0; COPY_BYTES.min(object.len() as usize)];
    let mut at = 0;
    while at < object.len() {
        let count = object.read_at(at, &mut buffer)?;
        space.write(at, &buffer[..count])?;
        at += count as u64;
    }
    Ok(())
}
