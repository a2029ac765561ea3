//! How this node hears what happens in buckets of other sites: one connection for each home, on which it is told.
//!
//! A copy is kept only of a bucket that is followed. When a connection was lost, all copies of its buckets are
//! looked at again before the new one counts; until then those that are there are read, for nobody can say whether they are the
//! newest.

use super::{
    far::Far,
    frame::{self, GREETING_BYTES, HEADER_BYTES, Kind, check_greeting, greeting, malformed},
    kept,
    message::{Answer, Notice, Request, decode, encode},
    peer::Peer,
    stream::{Patience, Reader, Stop, Writer},
};
use crate::{
    Error, Event, Happening, Listing, Put, Result, Stat,
    client::Found,
    put::Record,
    shared::record::{CHECKED, CLASS, Header, MOVED, NOTED},
    wire::Refusal,
};
use serde::de::DeserializeOwned;
use std::{
    collections::HashMap,
    io::{self, IoSlice},
    mem::replace,
    net::SocketAddr,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// How long it is waited for a home to answer that it tells.
const BEGIN: Duration = Duration::from_secs(5);
/// The pause before a connection is made again; each further one is twice as long, to this.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// How long those who ask are told of the last failure, before the connection is tried for them.
const REST: Duration = Duration::from_millis(200);
/// Most buckets of one home that are followed.
const BUCKETS_MAX: usize = 1024;

/// Whom a tenant of this node follows.
#[derive(Debug, Default)]
pub(super) struct Follows {
    homes: Mutex<HashMap<String, Arc<Follow>>>,
}

/// What is heard of one home.
#[derive(Debug)]
struct Follow {
    home: String,
    state: Mutex<State>,
    bell: Condvar,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct State {
    /// Buckets, and whether they are followed now.
    buckets: HashMap<String, Told>,
    /// The run of the home's node in which a bucket was followed last.
    runs: HashMap<String, u64>,
    tenant: String,
    writer: Option<Writer>,
    stop: Option<Stop>,
    /// Why there is no connection, and since when.
    failed: Option<(Instant, String)>,
    /// Somebody waits for the next try.
    hurry: bool,
    stopped: bool,
}

#[derive(Debug, Clone)]
enum Told {
    Asked,
    Followed,
    /// It was followed until the connection ended.
    Again,
    Refused(Refusal),
}

impl Follows {
    fn homes(&self) -> MutexGuard<'_, HashMap<String, Arc<Follow>>> {
        self.homes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends all.
    pub(super) fn stop(&self) {
        let homes: Vec<_> = self.homes().drain().map(|(_, follow)| follow).collect();
        for follow in &homes {
            follow.stop();
        }
        for follow in homes {
            let thread = follow.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(thread) = thread {
                let _ = thread.join();
            }
        }
    }
}

impl Far {
    /// Sees that this node hears what happens in a bucket, from before this returns on; gives its home.
    pub(super) fn follow(self: &Arc<Self>, bucket: &str) -> Result<String> {
        let home = self.home(bucket)?;
        let follow = self.follow_home(&home)?;
        follow.bucket(bucket)?;
        Ok(home)
    }

    fn follow_home(self: &Arc<Self>, home: &str) -> Result<Arc<Follow>> {
        let mut homes = self.follows.homes();
        if let Some(follow) = homes.get(home) {
            return Ok(Arc::clone(follow));
        }
        let peer = self.peer(home)?;
        let follow = Arc::new(Follow {
            home: home.to_owned(),
            state: Mutex::default(),
            bell: Condvar::new(),
            thread: Mutex::default(),
        });
        let (of_thread, far) = (Arc::clone(&follow), Arc::downgrade(self));
        let thread = thread::Builder::new()
            .name("geds-follow".to_owned())
            .spawn(move || of_thread.run(&far, &peer))
            .map_err(Error::io("start a thread"))?;
        *follow.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        homes.insert(home.to_owned(), Arc::clone(&follow));
        Ok(follow)
    }
}

impl Follow {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&self) {
        let mut state = self.state();
        state.stopped = true;
        if let Some(stop) = &state.stop {
            stop.stop();
        }
        self.bell.notify_all();
    }

    /// Waits until a bucket is followed.
    fn bucket(&self, bucket: &str) -> Result<()> {
        let end = Instant::now() + BEGIN;
        let mut state = self.state();
        loop {
            match state.buckets.get(bucket) {
                Some(Told::Followed) => return Ok(()),
                Some(Told::Refused(refusal)) => {
                    let refusal = refusal.clone();
                    state.buckets.remove(bucket);
                    return Err(refusal.into());
                }
                Some(Told::Asked | Told::Again) => {}
                None if state.buckets.len() >= BUCKETS_MAX => {
                    let limit = BUCKETS_MAX as u64;
                    return Err(Error::TooMany { what: "buckets that are followed".into(), limit });
                }
                None => {
                    state.buckets.insert(bucket.to_owned(), Told::Asked);
                    state.ask(bucket);
                }
            }
            if let Some((when, why)) = &state.failed {
                if when.elapsed() < REST {
                    return Err(Error::Unavailable(why.clone()));
                }
                // It may be there again.
                (state.failed, state.hurry) = (None, true);
                self.bell.notify_all();
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || state.stopped {
                return Err(Error::Unavailable(format!("site `{}` does not answer", self.home)));
            }
            state = self.bell.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn run(&self, far: &Weak<Far>, peer: &Peer) {
        let mut pause = PAUSES.0;
        loop {
            let Some(alive) = far.upgrade() else { return };
            let error = match self.listen(&alive, peer, &mut pause) {
                Ok(()) => "the connection ended".to_owned(),
                Err(error) => error.to_string(),
            };
            drop(alive);
            let mut state = self.state();
            (state.writer, state.stop) = (None, None);
            (state.failed, state.hurry) = (Some((Instant::now(), error)), false);
            for told in state.buckets.values_mut() {
                *told = if matches!(told, Told::Asked) { Told::Asked } else { Told::Again };
            }
            self.bell.notify_all();
            let end = Instant::now() + pause;
            while !state.stopped && !state.hurry && Instant::now() < end {
                let left = end.saturating_duration_since(Instant::now());
                state =
                    self.bell.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            }
            if state.stopped {
                return;
            }
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// Makes a connection and takes what is told, until it ends.
    fn listen(&self, far: &Arc<Far>, peer: &Peer, pause: &mut Duration) -> Result<()> {
        let ((mut reader, mut writer, stop), at) = peer.connect_apart()?;
        let run = greet(&mut reader, &mut writer, peer, at)?;
        *pause = PAUSES.0;
        {
            let mut state = self.state();
            if state.stopped {
                return Ok(());
            }
            state.tenant = far.name.clone();
            (state.writer, state.stop, state.failed) = (Some(writer), Some(stop), None);
            let buckets: Vec<String> = state.buckets.keys().cloned().collect();
            buckets.iter().for_each(|bucket| state.ask(bucket));
        }
        while let Some(notice) = next(&mut reader)? {
            match notice {
                Notice::Alive => {}
                Notice::Following(bucket) => {
                    // What changed while nobody was told.
                    far.look_again(peer, &bucket, self.has_restarted(&bucket, run))?;
                    self.state().runs.insert(bucket.clone(), run);
                    if let Some(Told::Again) = self.told(&bucket, Told::Followed)
                        && let Some(tenant) = far.tenant.upgrade()
                    {
                        tenant.tell_missed(&bucket);
                    }
                }
                Notice::Refused(bucket, refusal) => {
                    self.told(&bucket, Told::Refused(refusal));
                }
                Notice::Missed => self.look_at_all(far, peer)?,
                Notice::Event(event) if self.follows(&event.bucket) => {
                    far.happened(peer, event)?;
                }
                Notice::Event(_) => return Err(malformed("it tells what nobody asked for")),
            }
        }
        Ok(())
    }

    /// Notes what a home says of a bucket; gives what was so before.
    fn told(&self, bucket: &str, told: Told) -> Option<Told> {
        let former = self.state().buckets.get_mut(bucket).map(|entry| replace(entry, told));
        self.bell.notify_all();
        former
    }

    /// Whether the home's node was started anew since a bucket was followed.
    fn has_restarted(&self, bucket: &str, run: u64) -> bool {
        self.state().runs.get(bucket).is_some_and(|former| *former != run)
    }

    fn follows(&self, bucket: &str) -> bool {
        self.state().buckets.contains_key(bucket)
    }

    fn look_at_all(&self, far: &Far, peer: &Peer) -> Result<()> {
        let buckets: Vec<String> = self.state().buckets.keys().cloned().collect();
        buckets.iter().try_for_each(|bucket| far.look_again(peer, bucket, false))
    }
}

impl State {
    /// Asks for a bucket, if there is a connection; else that is done when there is one.
    fn ask(&mut self, bucket: &str) {
        let Some(writer) = &mut self.writer else { return };
        let (tenant, bucket) = (self.tenant.clone(), bucket.to_owned());
        let sent = encode(&Request::Follow { tenant, bucket })
            .and_then(|payload| send(writer, Kind::Request, &payload));
        if sent.is_err()
            && let Some(stop) = &self.stop
        {
            stop.stop();
        }
    }
}

impl Far {
    /// Takes note of what happened at a home.
    fn happened(&self, peer: &Peer, event: Event) -> Result<()> {
        let (bucket, key) = (&event.bucket, &event.key);
        self.cache.changed(bucket, key);
        match &event.what {
            Happening::Created => {}
            Happening::Deleted => self.drop_copy(bucket, key, None),
            Happening::Sealed { version, .. } => {
                if self.copy_version(bucket, key).is_some_and(|copy| copy < *version) {
                    self.drop_copy(bucket, key, None);
                }
            }
            Happening::Renamed { .. } | Happening::Attributes => {
                self.look_at(peer, bucket, key, false)?;
            }
        }
        if let Some(tenant) = self.tenant.upgrade() {
            tenant.tell(&event);
        }
        Ok(())
    }

    fn copy_version(&self, bucket: &str, key: &str) -> Option<u64> {
        self.geds.stat(&kept(bucket), key).ok().map(|stat| stat.version)
    }

    /// Drops the copies of a bucket that are not what the home has; one that was started anew gets back what it has
    /// lost.
    fn look_again(&self, peer: &Peer, bucket: &str, restarted: bool) -> Result<()> {
        self.cache.all_changed();
        let mut listing = Listing::default();
        loop {
            let page = match self.geds.list(&kept(bucket), &listing) {
                Err(Error::NoBucket { .. }) => return Ok(()),
                page => page?,
            };
            for entry in page.entries {
                self.look_at(peer, bucket, &entry.key, restarted)?;
            }
            match page.next {
                Some(next) => listing.after = Some(next),
                None => return Ok(()),
            }
        }
    }

    fn look_at(&self, peer: &Peer, bucket: &str, key: &str, restarted: bool) -> Result<()> {
        let Ok(copy) = self.geds.stat(&kept(bucket), key) else { return Ok(()) };
        match peer.ask(&Request::Stat { name: self.name_of(bucket, key) }) {
            Ok(Answer::Stat(now)) if now.version == copy.version => {
                if now.attributes != copy.attributes {
                    let kept = kept(bucket);
                    let version = Some(copy.version);
                    let _ = self.geds.set_attributes(&kept, key, now.attributes, version);
                }
                Ok(())
            }
            Err(Error::NoObject { .. }) if restarted && self.cache.is_replica(bucket, key) => {
                self.restore(peer, bucket, key, copy)
            }
            Ok(_) | Err(Error::NoObject { .. } | Error::NoBucket { .. }) => {
                self.drop_copy(bucket, key, Some(copy.version));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

impl Far {
    /// Gives a home back what it has lost: its name, whose bytes are here.
    fn restore(&self, peer: &Peer, bucket: &str, key: &str, copy: Stat) -> Result<()> {
        let put = Put::default().attributes(copy.attributes.clone());
        let (size, crc32c) = (copy.size, copy.crc32c);
        let request = Request::Seal { name: self.name_of(bucket, key), put, size, crc32c };
        match peer.ask(&request) {
            Ok(Answer::Stat(sealed)) => self.relabel(bucket, key, &copy, &sealed),
            // Somebody else was faster, with this or another object.
            Ok(_) | Err(Error::Exists { .. }) => {
                self.drop_copy(bucket, key, Some(copy.version));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Makes a copy that of another version, which has the same bytes.
    fn relabel(&self, bucket: &str, key: &str, copy: &Stat, sealed: &Stat) -> Result<()> {
        let (kept, client) = (kept(bucket), self.geds.client());
        let Found { header: old, attributes, pin } = client.find(&kept, key)?;
        let (version, modified) = (sealed.version, sealed.modified);
        let header = Header {
            flags: old.flags & (CHECKED | CLASS | NOTED) | MOVED,
            version,
            modified,
            ..old
        };
        let record = Record { header, key, attributes: &attributes, former: "" };
        let same = |newest: Option<&Header>| match newest {
            Some(newest) if newest.version == copy.version => Ok(()),
            _ => Err(Error::no_object(bucket, key)),
        };
        let published = client.publish(&kept, &record, same);
        drop(pin);
        published.map(|_| ())
    }
}

fn went(error: &io::Error) -> Error {
    Error::Unavailable(error.to_string())
}

/// Sends one frame.
fn send(writer: &mut Writer, kind: Kind, payload: &[u8]) -> Result<()> {
    let header = frame::Header::of(kind, 0, true, payload)?.to_bytes();
    let parts = &mut [IoSlice::new(&header), IoSlice::new(payload)];
    writer.send(parts).map_err(|error| went(&error))
}

fn greet(reader: &mut Reader, writer: &mut Writer, peer: &Peer, at: SocketAddr) -> Result<u64> {
    writer.send(&mut [IoSlice::new(&greeting())]).map_err(|error| went(&error))?;
    let mut found = [0; GREETING_BYTES];
    match reader.fill(&mut found, Patience::Stall) {
        Ok(true) => check_greeting(&found)?,
        Ok(false) => return Err(Error::Unavailable("the connection ended".to_owned())),
        Err(error) => return Err(went(&error)),
    }
    peer.introduce(at, |request| {
        send(writer, Kind::Request, &encode(request)?)?;
        message(reader, Kind::Answer)?.ok_or_else(|| malformed("it says nothing"))
    })
}

fn next(reader: &mut Reader) -> Result<Option<Notice>> {
    message(reader, Kind::Notice)
}

/// The next frame's message; none at the end of the connection.
fn message<M: DeserializeOwned>(reader: &mut Reader, kind: Kind) -> Result<Option<M>> {
    let mut bytes = [0; HEADER_BYTES];
    // The other side says that it is alive more often than that.
    match reader.fill(&mut bytes, Patience::Stall) {
        Ok(true) => {}
        Ok(false) => return Ok(None),
        Err(error) => return Err(went(&error)),
    }
    let header = frame::Header::parse(&bytes)?;
    if header.kind != kind || header.len > frame::NOTICE_MAX_BYTES {
        return Err(malformed("it tells something else than it was asked"));
    }
    let mut payload = vec![0; header.len as usize];
    if !payload.is_empty() {
        match reader.fill(&mut payload, Patience::Stall) {
            Ok(true) => {}
            Ok(false) => return Err(malformed("a frame is not whole")),
            Err(error) => return Err(went(&error)),
        }
    }
    header.check(&payload)?;
    decode(&payload).map(Some)
}
