//! The store as a process sees it.

use crate::{
    Attributes, Bucket, Config, Entry, Error, Event, Happening, Limits, Listing, Object, Page, Put,
    Result, Scope, Stat, Subscription, Tier, Usage, View, Writer, check_bucket, check_key,
    event::Feed, listing::Start,
};
use std::{
    collections::BTreeMap,
    ops::{Bound, Range},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

/// A part of an object that is composed of others.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Part {
    /// The bucket of the object that it comes from.
    pub bucket: String,
    /// The key of the object that it comes from.
    pub key: String,
    /// Which of its bytes; all if none are named.
    pub range: Option<Range<u64>>,
}

impl Part {
    /// All of an object.
    pub fn all(bucket: impl Into<String>, key: impl Into<String>) -> Self {
        Self { bucket: bucket.into(), key: key.into(), range: None }
    }
}

/// The store of one tenant, as one process sees it. Cheap to clone; all threads may use it.
#[derive(Debug, Clone)]
pub struct Geds {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    buckets: BTreeMap<String, Content>,
    limits: Limits,
    feeds: Vec<Feed>,
    last_version: u64,
}

#[derive(Debug)]
struct Content {
    created: u64,
    attributes: Attributes,
    objects: BTreeMap<String, Object>,
}

impl State {
    fn bucket(&mut self, name: &str) -> Result<&mut Content> {
        self.buckets.get_mut(name).ok_or_else(|| Error::no_bucket(name))
    }

    fn tell(&mut self, bucket: &str, key: &str, what: &Happening) {
        self.feeds.retain(|feed| {
            !feed.covers(bucket, key)
                || feed.tell(Event {
                    bucket: bucket.to_owned(),
                    key: key.to_owned(),
                    what: what.clone(),
                })
        });
    }

    fn find(&mut self, bucket: &str, key: &str) -> Result<Object> {
        let found = self.bucket(bucket)?.objects.get(key).cloned();
        found.ok_or_else(|| Error::no_object(bucket, key))
    }

    fn seal(&mut self, bucket: &str, key: &str, bytes: Arc<[u8]>, put: &Put) -> Result<Stat> {
        let version = self.last_version + 1;
        let old = self.bucket(bucket)?.objects.get(key).map(|object| object.stat().version);
        match (old, put.if_version) {
            (found, Some(expected)) if found != Some(expected) => {
                let (bucket, key) = (bucket.to_owned(), key.to_owned());
                return Err(Error::Changed { bucket, key, expected, found });
            }
            (Some(_), None) if !put.overwrite => {
                return Err(Error::Exists { bucket: bucket.to_owned(), key: key.to_owned() });
            }
            _ => {}
        }
        let attributes = put.attributes.clone().unwrap_or_default();
        attributes.encode()?;
        let stat = Stat {
            size: bytes.len() as u64,
            version,
            modified: now(),
            crc32c: Some(crc32c::crc32c(&bytes)),
            tier: Tier::Memory,
            attributes,
        };
        self.last_version = version;
        let object = Object::of(stat.clone(), bytes);
        self.bucket(bucket)?.objects.insert(key.to_owned(), object);
        if old.is_none() {
            self.tell(bucket, key, &Happening::Created);
        }
        self.tell(bucket, key, &Happening::Sealed { version, size: stat.size });
        Ok(stat)
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64)
}

fn whole(object: &Object) -> Vec<u8> {
    object.view().map(|view| view.to_vec()).unwrap_or_default()
}

impl Geds {
    /// Joins the host's node, or starts one in this process.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when nobody answers at the socket, [`Error::Io`] when the folder
    /// cannot be used.
    pub fn open(config: Config) -> Result<Self> {
        let limits = config.limits;
        Ok(Self { state: Arc::new(Mutex::new(State { limits, ..State::default() })) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a bucket.
    ///
    /// # Errors
    /// [`Error::BucketExists`], [`Error::Name`].
    pub fn create_bucket(&self, bucket: &str) -> Result<Bucket> {
        check_bucket(bucket)?;
        if self.state().buckets.contains_key(bucket) {
            return Err(Error::BucketExists { bucket: bucket.to_owned() });
        }
        let new =
            Content { created: now(), attributes: Attributes::new(), objects: BTreeMap::new() };
        self.state().buckets.insert(bucket.to_owned(), new);
        self.bucket(bucket)
    }

    /// All buckets by name.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub fn buckets(&self) -> Result<Vec<Bucket>> {
        let state = self.state();
        let bucket = |(name, content): (&String, &Content)| Bucket {
            name: name.clone(),
            created: content.created,
            objects: content.objects.len() as u64,
            attributes: content.attributes.clone(),
        };
        Ok(state.buckets.iter().map(bucket).collect())
    }

    /// What is known about a bucket.
    ///
    /// # Errors
    /// [`Error::NoBucket`].
    pub fn bucket(&self, bucket: &str) -> Result<Bucket> {
        let found = self.buckets()?.into_iter().find(|known| known.name == bucket);
        found.ok_or_else(|| Error::no_bucket(bucket))
    }

    /// Replaces what is kept with a bucket.
    ///
    /// # Errors
    /// [`Error::NoBucket`], [`Error::AttributesSize`].
    pub fn set_bucket_attributes(&self, bucket: &str, attributes: Attributes) -> Result<()> {
        attributes.encode()?;
        self.state().bucket(bucket)?.attributes = attributes;
        Ok(())
    }

    /// Removes a bucket that has no objects.
    ///
    /// # Errors
    /// [`Error::NoBucket`], [`Error::BucketNotEmpty`].
    pub fn delete_bucket(&self, bucket: &str) -> Result<()> {
        let mut state = self.state();
        if !state.bucket(bucket)?.objects.is_empty() {
            return Err(Error::BucketNotEmpty { bucket: bucket.to_owned() });
        }
        state.buckets.remove(bucket);
        Ok(())
    }

    /// Makes an object of these bytes. It is sealed, and visible to everybody, when this returns.
    ///
    /// # Errors
    /// [`Error::NoBucket`]; [`Error::Exists`] and [`Error::Changed`] as `put` says;
    /// [`Error::Exhausted`] when nothing was freed while this waited.
    pub fn put(&self, bucket: &str, key: &str, bytes: &[u8], put: Put) -> Result<Stat> {
        check_key(key)?;
        self.state().seal(bucket, key, bytes.into(), &put)
    }

    /// Begins an object that is written piece by piece, of any size.
    ///
    /// # Errors
    /// [`Error::NoBucket`], [`Error::Name`].
    pub fn create(&self, bucket: &str, key: &str, put: Put) -> Result<Writer> {
        check_key(key)?;
        self.state().bucket(bucket)?;
        Ok(Writer::new(self.clone(), bucket, key, put))
    }

    /// Opens a sealed object.
    ///
    /// # Errors
    /// [`Error::NoBucket`], [`Error::NoObject`].
    pub fn object(&self, bucket: &str, key: &str) -> Result<Object> {
        self.state().find(bucket, key)
    }

    /// All bytes of a sealed object: borrowed where they lie together in memory, else read.
    ///
    /// # Errors
    /// [`Error::NoBucket`], [`Error::NoObject`]; for objects on disk [`Error::Corrupt`], [`Error::Io`].
    pub fn view(&self, bucket: &str, key: &str) -> Result<View> {
        let object = self.object(bucket, key)?;
        object.view().ok_or_else(|| Error::no_object(bucket, key))
    }

    /// What is known about an object.
    ///
    /// # Errors
    /// [`Error::NoBucket`], [`Error::NoObject`].
    pub fn stat(&self, bucket: &str, key: &str) -> Result<Stat> {
        Ok(self.object(bucket, key)?.stat().clone())
    }

    /// A page of a bucket's objects. It shows all that was sealed before the call.
    ///
    /// # Errors
    /// [`Error::NoBucket`].
    pub fn list(&self, bucket: &str, listing: &Listing) -> Result<Page> {
        let mut state = self.state();
        let objects = &state.bucket(bucket)?.objects;
        let limit = listing.limit_in_force();
        let (mut page, mut start) = (Page::default(), listing.start());
        loop {
            let from = match &start {
                Start::At(key) => Bound::Included(key.as_bytes().to_vec()),
                Start::AtBytes(key) => Bound::Included(key.clone()),
                Start::Behind(key) => Bound::Excluded(key.as_bytes().to_vec()),
                Start::End => return Ok(page),
            };
            let behind = |key: &str| match &from {
                Bound::Included(from) => key.as_bytes() >= from.as_slice(),
                Bound::Excluded(from) => key.as_bytes() > from.as_slice(),
                Bound::Unbounded => true,
            };
            let next = objects.iter().find(|(key, _)| behind(key));
            let Some((key, object)) = next.filter(|(key, _)| key.starts_with(&listing.prefix))
            else {
                return Ok(page);
            };
            if page.entries.len() + page.prefixes.len() == limit {
                let last_key = page.entries.last().map(|entry| &entry.key);
                page.next = last_key.max(page.prefixes.last()).cloned();
                return Ok(page);
            }
            if let Some(group) = listing.group(key) {
                page.prefixes.push(group.to_owned());
                start = Start::behind_all(group);
            } else {
                page.entries.push(Entry { key: key.clone(), stat: object.stat().clone() });
                start = Start::Behind(key.clone());
            }
        }
    }

    /// Makes another object of the same bytes, which are shared.
    ///
    /// # Errors
    /// As [`stat`](Self::stat) for the source and [`put`](Self::put) for the target.
    pub fn copy(&self, from: (&str, &str), to: (&str, &str), put: Put) -> Result<Stat> {
        check_key(to.1)?;
        let mut state = self.state();
        let object = state.find(from.0, from.1)?;
        let attributes = put.attributes.or_else(|| Some(object.stat().attributes.clone()));
        state.seal(to.0, to.1, whole(&object).into(), &Put { attributes, ..put })
    }

    /// Gives an object another key in its bucket. Its bytes stay where they are.
    ///
    /// # Errors
    /// As [`copy`](Self::copy).
    pub fn rename(&self, bucket: &str, from: &str, to: &str, put: Put) -> Result<Stat> {
        if from == to {
            return self.stat(bucket, from);
        }
        let stat = self.copy((bucket, from), (bucket, to), put)?;
        let mut state = self.state();
        state.bucket(bucket)?.objects.remove(from);
        state.tell(bucket, from, &Happening::Deleted);
        state.tell(bucket, to, &Happening::Renamed { from: from.to_owned() });
        Ok(stat)
    }

    /// Copies all objects whose keys begin with a prefix, which is replaced, and says how many.
    /// Each by itself: an error leaves those before it copied.
    ///
    /// # Errors
    /// As [`copy`](Self::copy).
    pub fn copy_prefix(&self, from: (&str, &str), to: (&str, &str), put: &Put) -> Result<u64> {
        self.each(from.0, from.1, |key| {
            let target = format!("{}{}", to.1, &key[from.1.len()..]);
            self.copy((from.0, key), (to.0, &target), put.clone()).map(|_| ())
        })
    }

    /// Renames all objects whose keys begin with a prefix, which is replaced, and says how many.
    /// Each by itself: an error leaves those before it renamed.
    ///
    /// # Errors
    /// As [`copy`](Self::copy).
    pub fn rename_prefix(&self, bucket: &str, from: &str, to: &str, put: &Put) -> Result<u64> {
        self.each(bucket, from, |key| {
            let target = format!("{to}{}", &key[from.len()..]);
            self.rename(bucket, key, &target, put.clone()).map(|_| ())
        })
    }

    /// Makes one object of parts of others, in this order, without copying bytes.
    ///
    /// # Errors
    /// As [`stat`](Self::stat) for the parts and [`put`](Self::put) for the object;
    /// [`Error::Range`].
    pub fn compose(&self, bucket: &str, key: &str, parts: &[Part], put: Put) -> Result<Stat> {
        check_key(key)?;
        let mut bytes = Vec::new();
        for part in parts {
            let object = self.object(&part.bucket, &part.key)?;
            let range = part.range.clone().unwrap_or(0..object.len());
            let view = object.view_range(range)?;
            bytes.extend_from_slice(view.as_deref().unwrap_or_default());
        }
        self.state().seal(bucket, key, bytes.into(), &put)
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
        let mut state = self.state();
        let object = state.find(bucket, key)?;
        let found = object.stat().version;
        if let Some(expected) = if_version.filter(|expected| *expected != found) {
            let (bucket, key) = (bucket.to_owned(), key.to_owned());
            return Err(Error::Changed { bucket, key, expected, found: Some(found) });
        }
        let stat = Stat { attributes, ..object.stat().clone() };
        let new = Object::of(stat.clone(), whole(&object).into());
        state.bucket(bucket)?.objects.insert(key.to_owned(), new);
        state.tell(bucket, key, &Happening::Attributes);
        Ok(stat)
    }

    /// Removes an object, if it is still the version named; false when there was none.
    ///
    /// # Errors
    /// [`Error::NoBucket`], [`Error::Changed`].
    pub fn delete(&self, bucket: &str, key: &str, if_version: Option<u64>) -> Result<bool> {
        let mut state = self.state();
        let found = state.bucket(bucket)?.objects.get(key).map(|object| object.stat().version);
        if let Some(expected) = if_version.filter(|expected| Some(*expected) != found) {
            let (bucket, key) = (bucket.to_owned(), key.to_owned());
            return Err(Error::Changed { bucket, key, expected, found });
        }
        let removed = state.bucket(bucket)?.objects.remove(key).is_some();
        if removed {
            state.tell(bucket, key, &Happening::Deleted);
        }
        Ok(removed)
    }

    /// Removes all objects whose keys begin with a prefix, and says how many there were.
    ///
    /// # Errors
    /// [`Error::NoBucket`].
    pub fn delete_prefix(&self, bucket: &str, prefix: &str) -> Result<u64> {
        self.each(bucket, prefix, |key| self.delete(bucket, key, None).map(|_| ()))
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
        self.stat(bucket, key)
    }

    /// Puts all objects on disk, synced.
    ///
    /// # Errors
    /// [`Error::Exhausted`], [`Error::Io`].
    pub fn persist_all(&self) -> Result<()> {
        Ok(())
    }

    /// Tells what happens in a scope from now on.
    ///
    /// # Errors
    /// [`Error::NoBucket`].
    pub fn subscribe(&self, scope: Scope) -> Result<Subscription> {
        self.bucket(scope.bucket())?;
        let (feed, subscription) = Feed::new(scope);
        self.state().feeds.push(feed);
        Ok(subscription)
    }

    /// What the tenant uses now.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub fn usage(&self) -> Result<Usage> {
        let state = self.state();
        let objects = || state.buckets.values().flat_map(|bucket| bucket.objects.values());
        let (count, bytes) = (objects().count() as u64, objects().map(Object::len).sum());
        Ok(Usage { objects: count, memory_bytes: bytes, processes: 1, ..Usage::default() })
    }

    /// The limits in force.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub fn limits(&self) -> Result<Limits> {
        Ok(self.state().limits.clone())
    }

    /// Sets the limits; lower ones take effect as memory is freed.
    ///
    /// # Errors
    /// [`Error::Invalid`] for limits that cannot be.
    pub fn set_limits(&self, limits: Limits) -> Result<()> {
        self.state().limits = limits;
        Ok(())
    }

    fn each(&self, bucket: &str, prefix: &str, act: impl Fn(&str) -> Result<()>) -> Result<u64> {
        let (mut listing, mut done) = (Listing::prefix(prefix), 0);
        loop {
            let page = self.list(bucket, &listing)?;
            for entry in &page.entries {
                match act(&entry.key) {
                    Ok(()) => done += 1,
                    // Somebody else was faster.
                    Err(Error::NoObject { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            match page.next {
                Some(next) => listing.after = Some(next),
                None => return Ok(done),
            }
        }
    }
}
