//! One tenant of a node: what its processes ask for is done here.

use super::{
    journal::Note,
    lost::LostNames,
    names::{stat_at, stat_of},
    outlets::Outlets,
    recover::check_limits,
    settle::Expected,
    slabs::{make, mark, slab_bytes},
    state::State,
};
use crate::{
    Attributes, Error, Event, Limits, Part, Put, Result, Scope, Stat, Subscription, Usage,
    check_bucket, check_key,
    event::Feed,
    put::{Record, now},
    remote::{self, Ask, Far},
    shared::{
        index::Index,
        record::{CHUNK_BYTES, Header, Place},
        session::Session,
    },
    wire::{Piece, Reply, Request},
};
use rustix::fd::OwnedFd;
use std::{
    path::Path,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

/// Most processes of a tenant.
const SESSIONS_MAX: usize = 256;
/// Most subscriptions of a tenant.
const FEEDS_MAX: usize = 128;
/// Most files that a process writes at once.
const STAGED_MAX: usize = 1024;
/// Most parts that an object is composed of: as many as S3 has.
const PARTS_MAX: usize = 10_000;
/// Most pieces, for parts may be composed themselves.
const PIECES_MAX: usize = 4 * PARTS_MAX;

/// How long the keeper waits while processes leave records, and how often it finds none before it
/// sleeps until it is woken.
const AWAKE: Duration = Duration::from_millis(1);
const AWAKE_ROUNDS: u32 = 50;
/// How long names that have bytes in memory alone wait until the journal is told.
const TELL: Duration = Duration::from_millis(150);
/// How long the keeper lets the disk be when there was nothing to move, and when that failed.
const DISK_PAUSES: (Duration, Duration) = (Duration::ZERO, Duration::from_millis(500));
/// The same for looking for waste: that takes a walk over all names.
const WASTE_PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// A reply and the descriptors that go with it.
pub(crate) type Answer = (Reply, Vec<OwnedFd>);

/// Work that is not tried again at once when it came to nothing.
#[derive(Debug, Default)]
struct Rest {
    until: Option<Instant>,
}

impl Rest {
    /// Works, unless it rests; says whether anything was done.
    fn unless_resting(
        &mut self,
        (nothing, failed): (Duration, Duration),
        work: impl FnOnce() -> Result<bool>,
    ) -> bool {
        if self.until.is_some_and(|until| Instant::now() < until) {
            return false;
        }
        let (worked, pause) = match work() {
            Ok(true) => (true, Duration::ZERO),
            Ok(false) => (false, nothing),
            Err(error) => {
                tracing::warn!(error = %types::chain(&error), "cannot move objects to disk");
                (false, failed)
            }
        };
        self.until = Some(Instant::now() + pause);
        worked
    }
}

/// One tenant.
#[derive(Debug)]
pub(crate) struct Tenant {
    state: Mutex<State>,
    bell: Mutex<bool>,
    rung: Condvar,
    pub(super) stopping: AtomicBool,
    /// The lowest tiers of buckets.
    pub(super) outlets: Outlets,
    /// Told, with the state's lock, when blocks have come from outside.
    pub(super) arrived: Condvar,
    /// What it has to do with other sites, if this node knows any.
    far: OnceLock<Weak<Far>>,
}

impl Tenant {
    pub(super) fn open(folder: &Path, limits: Limits) -> Result<Self> {
        Ok(Self {
            state: Mutex::new(State::recover(folder, limits)?),
            bell: Mutex::new(false),
            rung: Condvar::new(),
            stopping: AtomicBool::new(false),
            far: OnceLock::new(),
            outlets: Outlets::default(),
            arrived: Condvar::new(),
        })
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

    /// Waits until the keeper is woken, or for a while.
    fn wait(&self, limit: Option<Duration>) {
        let mut rung = self.bell.lock().unwrap_or_else(PoisonError::into_inner);
        if !*rung {
            rung = match limit {
                Some(limit) => {
                    self.rung.wait_timeout(rung, limit).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.rung.wait(rung).unwrap_or_else(PoisonError::into_inner),
            };
        }
        *rung = false;
    }

    /// Sees what processes leave, keeps memory ready, and moves objects to disk: until the node ends.
    pub(super) fn keep(&self) {
        let started = Instant::now();
        let (mut idle, mut disk, mut waste) = (0, Rest::default(), Rest::default());
        let mut told = Instant::now();
        let index = Arc::clone(&self.state().index);
        while !self.stopping.load(SeqCst) {
            index.set_tick(started.elapsed().as_millis() as u32 / 8);
            let mut worked = self.work();
            worked |= disk.unless_resting(DISK_PAUSES, || self.relieve());
            worked |= waste.unless_resting(WASTE_PAUSES, || self.compact());
            idle = if worked { 0 } else { idle + 1 };
            if told.elapsed() >= TELL && !self.state().tell_names() {
                told = Instant::now();
            }
            if idle < AWAKE_ROUNDS {
                self.wait(Some(AWAKE));
                continue;
            }
            while self.state().tell_names() {}
            index.set_asleep(true);
            if !self.left() {
                self.wait(None);
            }
            index.set_asleep(false);
            idle = 0;
        }
        while self.state().tell_names() {}
    }

    /// Says whether there was anything to do.
    fn work(&self) -> bool {
        let (worked, wanted, limits) = {
            let mut state = self.state();
            let worked = state.consume();
            state.collect();
            if self.outlets.any() && state.wants_write_back(self.outlets.any_cold()) {
                self.outlets.ring();
            }
            (worked, state.slabs.wanted(&state.limits), state.limits.clone())
        };
        let Some(bytes) = wanted else { return worked };
        let stocked = make(bytes).and_then(|file| self.state().slabs.stock(file, bytes, &limits));
        match stocked {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(error = %types::chain(&error), "cannot keep memory ready");
                worked
            }
        }
    }

    fn left(&self) -> bool {
        self.state().seats.values().any(|seat| seat.page.waits())
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

    /// Does what a session asks for.
    pub(crate) fn answer(&self, session: u32, request: Request) -> Answer {
        match self.handle(session, request) {
            Ok(answer) => answer,
            Err(error) => (Reply::Failed(error.into()), Vec::new()),
        }
    }

    fn handle(&self, session: u32, request: Request) -> Result<Answer> {
        let reply = match request {
            Request::Join { .. } | Request::Subscribe { .. } => {
                return Err(Error::Invalid("the session has begun already".to_owned()));
            }
            Request::Lease { bytes, returned, spare } => {
                return self.lease(session, bytes, &returned, spare);
            }
            Request::Slab { slot, generation } => return self.slab(slot, generation),
            Request::File { file } => return self.file(file),
            Request::Stage => return self.stage(session),
            Request::Chunk { class, returned } => self.chunk(session, class, returned)?,
            Request::Return { slabs } => self.take_back(session, &slabs),
            Request::Unstage { file } => self.unstage(session, file),
            Request::Grow { file, bytes } => self.grow(session, file, bytes)?,
            Request::Pieces { content } => self.pieces(session, content),
            Request::Compose { bucket, key, parts, put } => {
                Reply::Stat(self.compose(&bucket, &key, &parts, &put)?)
            }
            Request::Persist { bucket, key } => Reply::Stat(self.persist(&bucket, &key)?),
            Request::PersistAll => {
                self.persist_all()?;
                Reply::Done
            }
            Request::Far(ask) => self.ask_far(ask),
            Request::CreateBucket { bucket } => {
                check_bucket(&bucket)?;
                // Whose one is that is here needs not be asked, and cannot be by who is cut off.
                let is_here = self.state().names.number(&bucket).is_ok();
                if let Some(far) = self.far().filter(|_| !is_here) {
                    far.claim(&bucket)?;
                }
                self.simple(Request::CreateBucket { bucket })?
            }
            Request::DeleteBucket { bucket } => {
                let deleted = self.simple(Request::DeleteBucket { bucket: bucket.clone() })?;
                if let Some(far) = self.far() {
                    far.disclaim(&bucket);
                }
                deleted
            }
            Request::Attach { bucket, backend } => self.attach(&bucket, backend)?,
            Request::Detach { bucket } => self.detach(&bucket)?,
            Request::Backends => Reply::Backends(self.outlets.states()),
            Request::Adopt { bucket, key } => self.adopt(&bucket, &key)?,
            Request::Block { number, block } => self.block(session, number, block),
            Request::Fetch { number, first, count } => {
                self.fetch(number, first, count)?;
                Reply::Done
            }
            other => self.simple(other)?,
        };
        Ok((reply, Vec::new()))
    }

    /// What is one step under the lock.
    fn simple(&self, request: Request) -> Result<Reply> {
        let mut state = self.state();
        Ok(match request {
            Request::Wake => {
                drop(state);
                self.wake();
                Reply::Done
            }
            Request::Sync => {
                state.consume();
                Reply::Done
            }
            Request::Buckets => {
                state.consume();
                let names = &state.names;
                let keys = names.numbers().filter_map(|number| names.keys(number));
                let own = keys.filter(|keys| remote::bucket_of(&keys.name) == keys.name);
                Reply::Buckets(own.map(super::names::Keys::to_bucket).collect())
            }
            Request::Bucket { bucket } => bucket_reply(&mut state, &bucket)?,
            Request::CreateBucket { bucket } => {
                check_bucket(&bucket)?;
                state.create_bucket(&bucket, now(), Attributes::new())?;
                state.sync_journal()?;
                bucket_reply(&mut state, &bucket)?
            }
            Request::BucketAttributes { bucket, attributes } => {
                set_bucket_attributes(&mut state, bucket, attributes)?;
                Reply::Done
            }
            Request::DeleteBucket { bucket } => {
                state.delete_bucket(&bucket)?;
                self.outlets.detach(&bucket);
                Reply::Done
            }
            Request::List { bucket, listing } => {
                state.consume();
                let number = state.names.number(&bucket)?;
                let keys = state.names.keys(number).ok_or_else(|| Error::no_bucket(&bucket))?;
                Reply::Page(keys.page(&listing, |unit| stat_at(&state.index, unit)))
            }
            Request::Usage => Reply::Usage(usage(&mut state)),
            Request::Limits => Reply::Limits(state.limits.clone()),
            Request::Lost { after } => Reply::Lost(state.lost.page(after)),
            Request::ForgetLost => {
                state.lost = LostNames::default();
                state.journal.note(&Note::LostForgotten);
                state.sync_journal()?;
                Reply::Done
            }
            Request::SetLimits { limits } => {
                check_limits(&limits)?;
                state.limits = limits;
                drop(state);
                self.wake();
                Reply::Done
            }
            other => return Err(Error::Invalid(format!("the node does not know {other:?}"))),
        })
    }

    fn lease(
        &self,
        session: u32,
        bytes: u64,
        returned: &[(u16, u32)],
        spare: bool,
    ) -> Result<Answer> {
        let mut state = self.state();
        give_back(&mut state, session, returned);
        let limits = state.limits.clone();
        let (used, _) = state.slabs.used();
        if spare && used.saturating_add(bytes.max(slab_bytes(&limits))) > mark(&limits) {
            return Ok((Reply::Gone, Vec::new()));
        }
        let mut lent = state.slabs.lend(bytes, session, &limits)?;
        if lent.is_none() {
            state.collect();
            lent = state.slabs.lend(bytes, session, &limits)?;
        }
        let Some(lent) = lent else {
            let (used_bytes, _) = state.slabs.used();
            if bytes <= limits.memory_bytes {
                state.wanted_bytes = state.wanted_bytes.max(bytes);
            }
            drop(state);
            self.wake();
            let (limit_bytes, wait_ms) = (limits.memory_bytes, limits.wait_ms);
            let what = "memory".to_owned();
            return Ok((Reply::Busy { what, used_bytes, limit_bytes, wait_ms }, Vec::new()));
        };
        let slab = state.slabs.get(lent.slot, lent.generation);
        let file = slab.map(|slab| slab.to_write()).transpose()?;
        let (slot, generation, bytes) = (lent.slot, lent.generation, lent.bytes);
        Ok((Reply::Slab { slot, generation, bytes }, file.into_iter().collect()))
    }

    fn take_back(&self, session: u32, slabs: &[(u16, u32)]) -> Reply {
        let mut state = self.state();
        give_back(&mut state, session, slabs);
        Reply::Done
    }

    fn slab(&self, slot: u16, generation: u32) -> Result<Answer> {
        let mut state = self.state();
        let Some(slab) = state.slabs.get(slot, generation) else {
            return Ok((Reply::Gone, Vec::new()));
        };
        let (file, bytes) = (slab.to_read()?, slab.bytes());
        Ok((Reply::Slab { slot, generation, bytes }, vec![file]))
    }

    fn file(&self, number: u64) -> Result<Answer> {
        match self.state().files.open_one(number)? {
            Some(file) => Ok((Reply::File { file: number }, vec![file.into()])),
            None => Ok((Reply::Gone, Vec::new())),
        }
    }

    fn chunk(&self, session: u32, class: u8, returned: Option<u32>) -> Result<Reply> {
        let mut state = self.state();
        let index = Arc::clone(&state.index);
        if let Some(chunk) = returned {
            state.chunks.take_back(&index, chunk, session);
        }
        if state.names.objects() >= state.limits.objects {
            state.consume();
        }
        if state.names.objects() >= state.limits.objects {
            let limit = state.limits.objects;
            return Err(Error::TooMany { what: "objects".to_owned(), limit });
        }
        let State { chunks, index_file, .. } = &mut *state;
        let chunk = chunks.lend(&index, index_file, usize::from(class), session)?;
        if let Some(seat) = state.seats.get_mut(&session) {
            seat.chunks.insert(chunk);
        }
        Ok(Reply::Chunk { chunk })
    }

    fn stage(&self, session: u32) -> Result<Answer> {
        let mut state = self.state();
        if state.files.lent_to(session).len() >= STAGED_MAX {
            let limit = STAGED_MAX as u64;
            return Err(Error::TooMany { what: "unsealed files of a process".to_owned(), limit });
        }
        let limits = state.limits.clone();
        let (file, opened) = state.files.create(Some(session), 1, &limits)?;
        Ok((Reply::File { file }, vec![opened.into()]))
    }

    fn grow(&self, session: u32, file: u64, bytes: u64) -> Result<Reply> {
        let mut state = self.state();
        let (used, limit_bytes) = (state.files.bytes(), state.limits.disk_bytes);
        let stored = state.files.get(file).filter(|stored| stored.lent == Some(session));
        let Some(stored) = stored else { return Ok(Reply::Gone) };
        let used_bytes = used - stored.bytes;
        if used_bytes.saturating_add(bytes) > limit_bytes {
            let (what, waited_ms) = ("disk".to_owned(), 0);
            let wanted_bytes = bytes;
            return Err(Error::Exhausted {
                what,
                wanted_bytes,
                used_bytes,
                limit_bytes,
                waited_ms,
            });
        }
        stored.bytes = bytes;
        Ok(Reply::Done)
    }

    fn unstage(&self, session: u32, file: u64) -> Reply {
        let mut state = self.state();
        state.consume();
        if state.files.get(file).is_some_and(|stored| stored.lent == Some(session)) {
            state.files.take_back(file);
        }
        state.reconsider(Place::File { file, offset: 0 });
        state.collect();
        Reply::Done
    }

    /// Pins every piece for the session, which lets go of them.
    fn pieces(&self, session: u32, content: u64) -> Reply {
        let state = self.state();
        let (Some(content), Some(seat)) = (state.contents.get(&content), state.seats.get(&session))
        else {
            return Reply::Gone;
        };
        content.pieces.iter().for_each(|piece| seat.page.pin(piece.place));
        Reply::Pieces(content.pieces.iter().map(|piece| piece.to_wire()).collect())
    }

    fn compose(&self, bucket: &str, key: &str, parts: &[Part], put: &Put) -> Result<Stat> {
        check_key(key)?;
        let attributes = put.attributes.clone().unwrap_or_default().encode()?;
        let mut state = self.state();
        state.consume();
        let number = state.names.number(bucket)?;
        let pieces = parts_of(&mut state, parts)?;
        let size = pieces.iter().fold(0_u64, |size, piece| size.saturating_add(piece.len));
        let place = match pieces.as_slice() {
            [] => Place::Nowhere,
            [one] if one.start == 0 && one.len == one.whole => one.place,
            _ => {
                state.check_pieces(pieces.len())?;
                state.compose(pieces)
            }
        };
        let header = Header::new(state.index.next_version(), number, size, place);
        let record = Record { header, key, attributes: &attributes, former: "" };
        state.publish(&record, Expected::Asked { bucket, put })?;
        state.flush_journal();
        Ok(stat_of(&header, &attributes, super::names::tier_of(place)))
    }
}

fn give_back(state: &mut State, session: u32, slabs: &[(u16, u32)]) {
    for (slot, generation) in slabs {
        state.slabs.close(*slot, *generation, session);
        state.index.touch(*slot);
        state.reconsider(Place::Slab { slot: *slot, generation: *generation, offset: 0 });
    }
}

fn bucket_reply(state: &mut State, bucket: &str) -> Result<Reply> {
    state.consume();
    let number = state.names.number(bucket)?;
    let keys = state.names.keys(number).ok_or_else(|| Error::no_bucket(bucket))?;
    Ok(Reply::Bucket { number, bucket: keys.to_bucket() })
}

fn set_bucket_attributes(state: &mut State, name: String, attributes: Attributes) -> Result<()> {
    attributes.encode()?;
    let number = state.names.number(&name)?;
    let keys = state.names.keys_mut(number).ok_or_else(|| Error::no_bucket(&name))?;
    keys.attributes = attributes.clone();
    let created = keys.created;
    state.journal.note(&Note::Bucket { name, created, attributes });
    state.sync_journal()
}

fn usage(state: &mut State) -> Usage {
    state.collect();
    let (memory_bytes, slabs) = state.slabs.used();
    Usage {
        objects: state.names.objects(),
        memory_bytes,
        pool_bytes: state.slabs.pool_bytes(),
        index_bytes: state.chunks.count() * CHUNK_BYTES,
        disk_bytes: state.files.bytes(),
        slabs,
        files: state.files.count(),
        processes: state.seats.len() as u64,
        cache_bytes: state.remotes.cached_bytes(),
        lost: state.lost.count(),
    }
}

/// The pieces that parts of objects are.
fn parts_of(state: &mut State, parts: &[Part]) -> Result<Vec<Piece>> {
    if parts.len() > PARTS_MAX {
        return Err(Error::TooMany { what: "parts".to_owned(), limit: PARTS_MAX as u64 });
    }
    let mut pieces = Vec::new();
    for part in parts {
        let header = state.current(&part.bucket, &part.key)?;
        if header.away() {
            let site = state.stat(&part.bucket, &part.key)?.1.site.unwrap_or_default();
            let (bucket, key) = (part.bucket.clone(), part.key.clone());
            return Err(Error::Elsewhere { bucket, key, site });
        }
        if let Some(expected) = part.if_version.filter(|expected| *expected != header.version) {
            let (bucket, key) = (part.bucket.clone(), part.key.clone());
            let found = Some(header.version);
            return Err(Error::Changed { bucket, key, expected, found });
        }
        let range = part.range.clone().unwrap_or(0..header.size);
        if range.start > range.end || range.end > header.size {
            let (offset, end, size) = (range.start, range.end, header.size);
            return Err(Error::Range { offset, end, size });
        }
        let of_part = state.pieces_of(&header).ok_or_else(|| Error::Lost {
            bucket: part.bucket.clone(),
            key: part.key.clone(),
            why: "the node does not know what it is composed of".to_owned(),
        })?;
        cut(&of_part, range.start, range.end, &mut pieces);
        if pieces.len() > PIECES_MAX {
            return Err(Error::TooMany { what: "pieces".to_owned(), limit: PIECES_MAX as u64 });
        }
    }
    Ok(pieces)
}

/// What of some pieces lies between two places.
fn cut(pieces: &[Piece], start: u64, end: u64, into: &mut Vec<Piece>) {
    let mut at = 0_u64;
    for piece in pieces {
        let behind = at.saturating_add(piece.len);
        let (from, to) = (start.max(at), end.min(behind));
        if from < to {
            into.push(Piece { start: piece.start + (from - at), len: to - from, ..*piece });
        }
        at = behind;
    }
}

/// Above how many bytes an object is written to disk at once.
pub(crate) fn memory_object_max(limits: &Limits) -> u64 {
    (limits.memory_bytes / 2).max(slab_bytes(limits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_of_pieces_has_the_bytes_of_its_range() {
        let place = |file| Place::File { file, offset: 0 };
        let piece = |file, start, len| Piece { place: place(file), whole: 100, start, len };
        let pieces = [piece(1, 10, 20), piece(2, 0, 5), piece(3, 50, 50)];
        let cut = |start, end| {
            let mut into = Vec::new();
            super::cut(&pieces, start, end, &mut into);
            into
        };
        assert_eq!(cut(0, 75), pieces);
        assert_eq!(cut(5, 22), [piece(1, 15, 15), piece(2, 0, 2)]);
        assert_eq!(cut(20, 26), [piece(2, 0, 5), piece(3, 50, 1)]);
        assert_eq!(cut(7, 7), []);
    }
}
