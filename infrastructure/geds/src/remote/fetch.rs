//! How bytes come from other sites: all of an object into this node's memory, or a range to whoever asked.

use super::{
    far::Far,
    frame::malformed,
    kept,
    lane::{Asked, unexpected},
    message::{Answer, Name, Request},
    peer::Peer,
};
use crate::{
    Error, Limits, Result, Stat, Tier,
    client::{Found, Space},
    node::names::stat_of,
    put::Record,
    shared::record::{CHECKED, CLASS, Header, MOVED, NOTED, Place},
    wire::Reply,
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

/// How often an object is asked for that changes each time, or whose bytes are not where they should be yet.
const TRIES: u32 = 10;
/// The pause before the second try; each later one is twice as long, to this.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(100));

/// What is kept here of other sites' objects.
#[derive(Debug)]
pub(super) struct Cache {
    state: Mutex<Kept>,
    limit_bytes: u64,
}

/// A bucket and a key.
type CopyName = (String, String);

#[derive(Debug, Default)]
struct Kept {
    /// Copies that nobody asked to be kept, with their version and size, oldest first.
    order: BTreeMap<u64, (CopyName, u64, u64)>,
    /// Where in that order a copy is.
    places: HashMap<CopyName, u64>,
    last: u64,
    bytes: u64,
    /// Copies that somebody asked to be kept.
    replicas: BTreeSet<CopyName>,
    /// Names that are being fetched: by how many, and whether they changed meanwhile.
    under_way: HashMap<CopyName, (usize, bool)>,
}

impl Cache {
    /// Copies take up to half of the memory.
    pub(super) fn new(limits: &Limits) -> Self {
        Self { state: Mutex::default(), limit_bytes: limits.memory_bytes / 2 }
    }

    fn state(&self) -> MutexGuard<'_, Kept> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A name changed: what is being fetched may be what it was before.
    pub(super) fn changed(&self, bucket: &str, key: &str) {
        let name = (bucket.to_owned(), key.to_owned());
        if let Some((_, changed)) = self.state().under_way.get_mut(&name) {
            *changed = true;
        }
    }

    /// All may have changed.
    pub(super) fn all_changed(&self) {
        self.state().under_way.values_mut().for_each(|(_, changed)| *changed = true);
    }

    /// Whether somebody asked for a copy to be kept.
    pub(super) fn is_replica(&self, bucket: &str, key: &str) -> bool {
        self.state().replicas.contains(&(bucket.to_owned(), key.to_owned()))
    }

    fn set_replica(&self, bucket: &str, key: &str) {
        let name = (bucket.to_owned(), key.to_owned());
        let mut state = self.state();
        // It does not count to the share of the others.
        state.forget(&name);
        state.replicas.insert(name);
    }

    fn begin(&self, bucket: &str, key: &str) -> UnderWay<'_> {
        let name = (bucket.to_owned(), key.to_owned());
        self.state().under_way.entry(name.clone()).or_default().0 += 1;
        UnderWay { cache: self, name }
    }

    /// Notes a copy; gives those that are too many.
    fn add(&self, bucket: &str, key: &str, stat: &Stat) -> Vec<(CopyName, u64)> {
        let name = (bucket.to_owned(), key.to_owned());
        let mut state = self.state();
        state.forget(&name);
        state.last += 1;
        state.bytes += stat.size;
        let place = state.last;
        state.places.insert(name.clone(), place);
        state.order.insert(place, (name, stat.version, stat.size));
        let mut old = Vec::new();
        while state.bytes > self.limit_bytes && state.order.len() > 1 {
            let Some((_, (name, version, size))) = state.order.pop_first() else { break };
            state.places.remove(&name);
            state.bytes = state.bytes.saturating_sub(size);
            old.push((name, version));
        }
        old
    }

    /// A copy is there no longer.
    fn forget(&self, bucket: &str, key: &str) {
        let name = (bucket.to_owned(), key.to_owned());
        let mut state = self.state();
        state.forget(&name);
        state.replicas.remove(&name);
    }
}

impl Kept {
    fn forget(&mut self, name: &CopyName) {
        let place = self.places.remove(name);
        if let Some((_, _, size)) = place.and_then(|place| self.order.remove(&place)) {
            self.bytes = self.bytes.saturating_sub(size);
        }
    }
}

/// A name that is being fetched.
struct UnderWay<'a> {
    cache: &'a Cache,
    name: CopyName,
}

impl UnderWay<'_> {
    fn changed(&self) -> bool {
        self.cache.state().under_way.get(&self.name).is_some_and(|(_, changed)| *changed)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut state = self.cache.state();
        if let Some((count, _)) = state.under_way.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                state.under_way.remove(&self.name);
            }
        }
    }
}

/// What came of asking for an object.
enum Got {
    /// All of it: the bytes, if it has any, and their checksum.
    All { stat: Stat, space: Option<Space>, crc: u32 },
    /// The node knows it, and who has the bytes.
    Elsewhere(Stat),
    /// It is too large to be kept here.
    Large(Stat),
}

impl Far {
    /// Brings an object here: `Done` when it is kept here now, or is here anyway.
    pub(super) fn fetch(self: &Arc<Self>, bucket: &str, key: &str) -> Result<Reply> {
        self.fetch_as(bucket, key, false)
    }

    /// The same; a replica stays until the object changes.
    pub(super) fn fetch_as(
        self: &Arc<Self>,
        bucket: &str,
        key: &str,
        replica: bool,
    ) -> Result<Reply> {
        if self.is_home(bucket) {
            return self.bring_home(bucket, key);
        }
        let fetched = match self.follow(bucket) {
            Ok(_) if self.geds.has_object(&kept(bucket), key).unwrap_or(false) => Ok(Reply::Done),
            Ok(home) => self.fetch_from(&home, bucket, key, replica),
            Err(error) => Err(error),
        };
        if replica && matches!(fetched, Ok(Reply::Done)) {
            self.cache.set_replica(bucket, key);
        }
        match fetched {
            Err(Error::Unavailable(why)) if !replica => self.fetch_copy(bucket, key, &why),
            fetched => fetched,
        }
    }

    fn fetch_from(&self, home: &str, bucket: &str, key: &str, replica: bool) -> Result<Reply> {
        let (name, home) = (self.name_of(bucket, key), self.peer(home)?);
        let mut pause = PAUSES.0;
        let mut missing = None;
        for _ in 0..TRIES {
            let under_way = self.cache.begin(bucket, key);
            let got = match self.receive(&home, &name, None, false)? {
                Got::Elsewhere(stat) => match self.receive_from_owner(&name, &stat) {
                    Ok(got) => got,
                    // It may have been replaced, or is just about to be there.
                    Err(error) if is_missing(&error) => {
                        missing = Some(stat);
                        thread::sleep(pause);
                        pause = (pause * 2).min(PAUSES.1);
                        continue;
                    }
                    Err(error) => return Err(error),
                },
                got => got,
            };
            let (stat, space, crc) = match got {
                Got::All { stat, space, crc } => (stat, space, crc),
                Got::Large(stat) => return Ok(Reply::Apart(stat)),
                Got::Elsewhere(_) => return Err(unexpected()),
            };
            self.keep(bucket, key, &stat, space, crc)?;
            if under_way.changed() {
                // What was told while it came is about another version, perhaps.
                self.drop_copy(bucket, key, Some(stat.version));
                continue;
            }
            if !replica && !self.cache.is_replica(bucket, key) {
                self.make_room(bucket, key, &stat);
            }
            return Ok(Reply::Done);
        }
        let missing = missing.ok_or_else(|| restless(key))?;
        match self.receive_copy(&name, &missing) {
            Some((space, crc)) => {
                self.keep(bucket, key, &missing, space, crc)?;
                Ok(Reply::Done)
            }
            None => Err(lost(bucket, key, &missing)),
        }
    }

    fn receive_from_owner(&self, name: &Name, stat: &Stat) -> Result<Got> {
        let owner = stat.site.as_deref().ok_or_else(unexpected)?;
        if owner == self.own()? {
            // Its process has not published it yet, or died before it did.
            return Err(Error::no_object(&name.bucket, &name.key));
        }
        let peer = self.peer(owner);
        match peer.and_then(|peer| self.receive(&peer, name, Some(stat.version), true)) {
            Ok(Got::Elsewhere(_)) => Err(unexpected()),
            // What is kept with it is the home's to say.
            Ok(Got::All { space, crc, .. }) => Ok(here(stat, space, crc)),
            Err(Error::Unavailable(_)) => match self.receive_copy(name, stat) {
                Some((space, crc)) => Ok(here(stat, space, crc)),
                None => {
                    let Name { bucket, key, .. } = name.clone();
                    Err(Error::Elsewhere { bucket, key, site: owner.to_owned() })
                }
            },
            got => got,
        }
    }

    /// Reads a version from any site that has a copy of it.
    fn receive_copy(&self, name: &Name, stat: &Stat) -> Option<(Option<Space>, u32)> {
        self.sites().ok()?.peers().iter().find_map(|peer| {
            match self.receive(peer, name, Some(stat.version), true) {
                Ok(Got::All { space, crc, .. }) => Some((space, crc)),
                _ => None,
            }
        })
    }

    /// Reads a copy from any other site: the home cannot be asked.
    fn fetch_copy(&self, bucket: &str, key: &str, why: &str) -> Result<Reply> {
        if self.geds.has_object(&kept(bucket), key).unwrap_or(false) {
            return Ok(Reply::Done);
        }
        let (name, home) = (self.name_of(bucket, key), self.home(bucket).ok());
        for peer in self.sites()?.peers() {
            match self.receive(&peer, &name, None, true) {
                Ok(Got::All { stat, space, crc }) => {
                    self.keep(bucket, key, &stat, space, crc)?;
                    return Ok(Reply::Done);
                }
                // It is there again, and knows.
                Err(missing @ Error::NoObject { .. }) if home.as_ref() == Some(&peer.site) => {
                    return Err(missing);
                }
                Ok(_) | Err(_) => {}
            }
        }
        Err(Error::Unavailable(format!(
            "no site that can be reached has object `{key}` of bucket `{bucket}` ({why})"
        )))
    }

    /// Asks for all of an object.
    fn receive(&self, peer: &Peer, name: &Name, version: Option<u64>, copy: bool) -> Result<Got> {
        let client = self.geds.client();
        let max = client.memory_object_max() / 2;
        let request = Request::Fetch { name: name.clone(), version, max, copy };
        let lane = peer.lane()?;
        let mut asked = lane.ask(&request)?;
        let (stat, len) = match &asked.answer {
            Answer::Bytes { stat, len } => (stat.clone(), *len),
            _ => {
                return match asked.finish()? {
                    Answer::Stat(stat) => Ok(Got::Large(stat)),
                    Answer::Elsewhere(stat) => Ok(Got::Elsewhere(stat)),
                    _ => Err(unexpected()),
                };
            }
        };
        if len != stat.size || len > max || version.is_some_and(|version| version != stat.version) {
            return Err(malformed("it sent another object than it was asked for"));
        }
        if len == 0 {
            asked.finish_bytes()?;
            return Ok(Got::All { stat, space: None, crc: 0 });
        }
        // Room that nobody waits for; where there is none, what comes is not taken.
        let Some(mut space) = client.allocate_spare(len)? else { return Ok(Got::Large(stat)) };
        match space.fill(0, len, |buffer| take(&mut asked, buffer)) {
            Ok(crc) if stat.crc32c.is_none_or(|known| known == crc) => {
                Ok(Got::All { stat, space: Some(space), crc })
            }
            Ok(_) => {
                client.unused(space);
                Err(malformed("an object does not match its checksum"))
            }
            Err(error) => {
                client.unused(space);
                Err(error)
            }
        }
    }

    /// Puts what came among the copies that are kept here, bound to its version.
    fn keep(
        &self,
        bucket: &str,
        key: &str,
        stat: &Stat,
        space: Option<Space>,
        crc: u32,
    ) -> Result<()> {
        self.keep_bucket(bucket)?;
        let (kept, client) = (kept(bucket), self.geds.client());
        let header = Header {
            flags: MOVED | CHECKED,
            bucket: client.bucket(&kept)?,
            version: stat.version,
            size: stat.size,
            modified: stat.modified,
            place: space.as_ref().map_or(Place::Nowhere, Space::place),
            crc,
            key_len: 0,
            attributes_len: 0,
            former_len: 0,
        };
        let header = header.classed(stat.class);
        let attributes = stat.attributes.encode()?;
        let record = Record { header, key, attributes: &attributes, former: "" };
        let published = client.publish(&kept, &record, |newest| newer(bucket, key, stat, newest));
        match (published, space) {
            (Ok(_), Some(space)) => client.written(space),
            (Ok(_), None) => {}
            // A newer version is here already.
            (Err(Error::Changed { .. }), Some(space)) => client.unused(space),
            (Err(Error::Changed { .. }), None) => {}
            (Err(error), space) => {
                space.into_iter().for_each(|space| client.unused(space));
                return Err(error);
            }
        }
        Ok(())
    }

    fn make_room(&self, bucket: &str, key: &str, stat: &Stat) {
        for ((bucket, key), version) in self.cache.add(bucket, key, stat) {
            self.drop_copy(&bucket, &key, Some(version));
        }
    }

    /// Drops the copy of an object, if it is of this version; of any if none is named.
    pub(super) fn drop_copy(&self, bucket: &str, key: &str, version: Option<u64>) {
        match self.geds.delete(&kept(bucket), key, version) {
            Ok(_) => self.cache.forget(bucket, key),
            Err(Error::Changed { .. } | Error::NoBucket { .. }) => {}
            Err(error) => tracing::warn!(bucket, key, %error, "cannot drop a copy"),
        }
    }

    /// Brings the bytes of an object here whose home this node is.
    fn bring_home(&self, bucket: &str, key: &str) -> Result<Reply> {
        let (client, name) = (self.geds.client(), self.name_of(bucket, key));
        let mut pause = PAUSES.0;
        let mut missing = None;
        for _ in 0..TRIES {
            let found = client.find(bucket, key)?;
            if !found.header.away() {
                return Ok(Reply::Done);
            }
            let stat = stat_of(&found.header, &found.attributes, Tier::Memory);
            match self.receive_from_owner(&name, &stat) {
                Ok(Got::All { space: Some(space), crc, .. }) => {
                    self.bring(bucket, key, &found, &stat, space, crc)?;
                }
                Ok(Got::Large(_)) => return Ok(Reply::Apart(stat)),
                Ok(_) => return Err(unexpected()),
                Err(error) if is_missing(&error) => {
                    missing = Some((found, stat));
                    thread::sleep(pause);
                    pause = (pause * 2).min(PAUSES.1);
                }
                Err(error) => return Err(error),
            }
        }
        let (found, stat) = missing.ok_or_else(|| restless(key))?;
        match self.receive_copy(&name, &stat) {
            Some((Some(space), crc)) => {
                self.bring(bucket, key, &found, &stat, space, crc)?;
                Ok(Reply::Done)
            }
            _ => Err(lost(bucket, key, &stat)),
        }
    }

    /// Makes a name refer to its bytes here, if it is still the same.
    fn bring(
        &self,
        bucket: &str,
        key: &str,
        found: &Found,
        stat: &Stat,
        space: Space,
        crc: u32,
    ) -> Result<()> {
        let (client, old) = (self.geds.client(), found.header);
        let attributes = stat.attributes.encode()?;
        let flags = MOVED | CHECKED | old.flags & (CLASS | NOTED);
        let header = Header { flags, place: space.place(), crc, ..old };
        let record = Record { header, key, attributes: &attributes, former: "" };
        let published = client.publish(bucket, &record, |newest| match newest {
            Some(newest) if newest.same_as(&old) => Ok(()),
            newest => Err(changed(bucket, key, stat, newest)),
        });
        match published {
            Ok(_) => {
                client.written(space);
                Ok(())
            }
            Err(error) => {
                client.unused(space);
                // Whoever replaced it has its bytes.
                if matches!(error, Error::Changed { .. }) { Ok(()) } else { Err(error) }
            }
        }
    }

    /// Reads a range of a version from wherever its bytes are; says how many there were.
    pub(crate) fn read_into(
        &self,
        bucket: &str,
        key: &str,
        version: u64,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<usize> {
        let name = self.name_of(bucket, key);
        let owner = if self.is_home(bucket) {
            self.geds.stat(bucket, key)?.site
        } else {
            let home = self.at_home(bucket, |peer| Ok(peer.site.clone()))?;
            let peer = self.peer(&home)?;
            match receive_range(&peer, &name, version, offset, buffer, false)? {
                Range::Read(count) => return Ok(count),
                Range::Elsewhere(owner) => owner,
            }
        };
        let owner = owner.ok_or_else(|| Error::no_object(bucket, key))?;
        let peer = self.peer(&owner)?;
        match receive_range(&peer, &name, version, offset, buffer, true)? {
            Range::Read(count) => Ok(count),
            Range::Elsewhere(_) => Err(unexpected()),
        }
    }
}

fn here(stat: &Stat, space: Option<Space>, crc: u32) -> Got {
    Got::All { stat: Stat { site: None, ..stat.clone() }, space, crc }
}

/// Whether a site does not have what it should: it was replaced, or is just about to be there.
fn is_missing(error: &Error) -> bool {
    matches!(error, Error::NoObject { .. } | Error::NoBucket { .. } | Error::Changed { .. })
}

fn lost(bucket: &str, key: &str, stat: &Stat) -> Error {
    let site = stat.site.as_deref().unwrap_or_default();
    let why = format!("site `{site}`, which wrote it, does not have them any more");
    Error::Lost { bucket: bucket.to_owned(), key: key.to_owned(), why }
}

fn restless(key: &str) -> Error {
    Error::Unavailable(format!("object `{key}` changes all the time: try again later"))
}

/// What came of asking for a range.
enum Range {
    Read(usize),
    /// Another site has the bytes.
    Elsewhere(Option<String>),
}

fn receive_range(
    peer: &Peer,
    name: &Name,
    version: u64,
    offset: u64,
    buffer: &mut [u8],
    copy: bool,
) -> Result<Range> {
    let (name, wanted) = (name.clone(), buffer.len() as u64);
    let version = Some(version);
    let request = Request::Read { name, version, offset, len: wanted, copy };
    let lane = peer.lane()?;
    let mut asked = lane.ask(&request)?;
    let (stat, len) = match &asked.answer {
        Answer::Bytes { stat, len } => (stat, *len),
        _ => {
            return match asked.finish()? {
                Answer::Elsewhere(stat) => Ok(Range::Elsewhere(stat.site)),
                _ => Err(unexpected()),
            };
        }
    };
    if Some(stat.version) != version || len != stat.size.saturating_sub(offset).min(wanted) {
        return Err(malformed("it sent another range than it was asked for"));
    }
    let len = len as usize;
    if len == 0 {
        asked.finish_bytes()?;
    } else {
        take(&mut asked, &mut buffer[..len])?;
    }
    Ok(Range::Read(len))
}

/// Fills the buffer with the bytes that follow; gives their checksum.
fn take(asked: &mut Asked<'_>, buffer: &mut [u8]) -> Result<u32> {
    let (mut at, mut whole) = (0, 0);
    while at < buffer.len() {
        let (count, crc) = asked.bytes(&mut buffer[at..])?;
        whole = if at == 0 { crc } else { crc32c::crc32c_combine(whole, crc, count) };
        at += count;
    }
    Ok(whole)
}

/// A copy does not take the place of a newer version.
fn newer(bucket: &str, key: &str, stat: &Stat, newest: Option<&Header>) -> Result<()> {
    match newest.filter(|newest| !newest.deleted() && newest.version > stat.version) {
        None => Ok(()),
        newest => Err(changed(bucket, key, stat, newest)),
    }
}

fn changed(bucket: &str, key: &str, stat: &Stat, newest: Option<&Header>) -> Error {
    let (expected, found) = (stat.version, newest.map(|newest| newest.version));
    Error::Changed { bucket: bucket.to_owned(), key: key.to_owned(), expected, found }
}
