//! What the node knows of a tenant, and how it learns of what processes did.

use super::{
    chunks::Chunks,
    files::Files,
    journal::{Bound, Journal, Note},
    names::{Keys, Named, Names},
    slabs::{Slabs, slab_bytes},
};
use crate::{
    Attributes, Error, Event, Happening, Limits, Put, Result, Stat,
    event::Feed,
    put::{Record, check_put},
    shared::{
        index::{BucketState, Chain, Head, Index},
        record::{ATTRIBUTES, Header, MOVED, Place, Slot, State as Slotted, Texts, class_of},
        session::{RING, Session},
        slots::Slots,
    },
    wire::Piece,
};
use rustix::fd::OwnedFd;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
};

/// The session under which the node itself writes records.
const OWN: u32 = 0;
/// Records of one name that wait to be seen; a tenant that makes more of them slows itself alone.
const SAME_NAME_MAX: usize = 1 << 16;
/// Processes that leave records all the time cannot keep the node from its other work.
const COLLECT_ROUNDS: usize = 8;

/// A process.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) page: Arc<Session>,
    pub(super) file: OwnedFd,
    /// All chunks that it ever filled.
    pub(super) chunks: BTreeSet<u32>,
}

/// What an object is composed of.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) pieces: Vec<Piece>,
    pub(super) live: u32,
    pub(super) holds: u64,
    pub(super) busy: u32,
    pub(super) members: Vec<u32>,
}

/// All that the node knows of a tenant.
#[derive(Debug)]
pub(super) struct State {
    folder: PathBuf,
    pub(super) index: Arc<Index>,
    pub(super) index_file: OwnedFd,
    pub(super) limits: Limits,
    pub(super) names: Names,
    pub(super) chunks: Chunks,
    pub(super) slabs: Slabs,
    pub(super) files: Files,
    pub(super) contents: HashMap<u64, Content>,
    pub(super) seats: BTreeMap<u32, Seat>,
    pub(super) feeds: Vec<Feed>,
    pub(super) journal: Journal,
    /// The most that a writer waits for, who asks again soon.
    pub(super) wanted_bytes: u64,
    slots: Slots,
    /// Places in which nothing lies any more, but which may be pinned.
    doomed: BTreeSet<Place>,
    last_content: u64,
    last_session: u32,
    /// Whether the index was found to be damaged.
    damaged: bool,
    /// Whether names come from the journal, which need not note them.
    pub(super) recovering: bool,
}

impl State {
    pub(super) fn new(
        (index_file, index): (OwnedFd, Index),
        limits: Limits,
        files: Files,
        journal: Journal,
        folder: &Path,
    ) -> Self {
        Self {
            folder: folder.to_owned(),
            index: Arc::new(index),
            index_file,
            limits,
            names: Names::default(),
            chunks: Chunks::new(),
            slabs: Slabs::default(),
            files,
            contents: HashMap::new(),
            seats: BTreeMap::new(),
            feeds: Vec::new(),
            journal,
            wanted_bytes: 0,
            slots: Slots::new(OWN),
            doomed: BTreeSet::new(),
            last_content: 0,
            last_session: OWN,
            damaged: false,
            recovering: false,
        }
    }

    /// Looks at all records that processes left; says whether there were any.
    pub(super) fn consume(&mut self) -> bool {
        let pages: Vec<Arc<Session>> =
            self.seats.values().map(|seat| Arc::clone(&seat.page)).collect();
        let mut any = false;
        for page in pages {
            any |= self.consume_page(&page);
        }
        if any {
            self.journal.flush();
            self.shorten_journal();
        }
        any
    }

    /// Writes the journal anew when most of it is about what is no longer so.
    fn shorten_journal(&mut self) {
        if !self.journal.is_long(self.names.objects()) {
            return;
        }
        let mut notes = Vec::new();
        for number in self.names.numbers() {
            let Some(keys) = self.names.keys(number) else { continue };
            let (name, created) = (keys.name.clone(), keys.created);
            notes.push(Note::Bucket { name, created, attributes: keys.attributes.clone() });
            let bound = keys.keys.iter().filter(|(_, named)| named.bound);
            let bound = bound.filter_map(|(key, named)| self.bound(number, key, named.unit));
            notes.extend(bound.map(|bound| Note::Bound(Box::new(bound))));
        }
        match Journal::rewrite(&self.folder, notes.into_iter()) {
            Ok(journal) => self.journal = journal,
            Err(error) => tracing::warn!(%error, "cannot shorten the journal"),
        }
    }

    /// Looks at what one process left, and no more than was there at once.
    fn consume_page(&mut self, page: &Session) -> bool {
        let left = std::iter::from_fn(|| page.take()).take(RING as usize);
        let mut any = false;
        for unit in left {
            any = true;
            self.see(unit);
        }
        any
    }

    /// Looks at a record that somebody says is new.
    fn see(&mut self, unit: u32) {
        let index = Arc::clone(&self.index);
        let slot = index.slot(unit);
        if slot.state() != Slotted::Sealed {
            return;
        }
        let header = slot.header();
        if let Some(key) = slot.key(&header) {
            self.settle_or_warn(header.bucket, &key);
        }
    }

    fn settle_or_warn(&mut self, bucket: u32, key: &str) {
        if let Err(error) = self.settle(bucket, key)
            && !self.damaged
        {
            // Once: a tenant that damages its index would fill the log.
            self.damaged = true;
            tracing::error!(key, %error, "a tenant's index is damaged");
        }
    }

    /// Brings what the node knows about a name up to what the index says: counts and tells records
    /// that are new, takes out those that no longer count.
    fn settle(&mut self, bucket: u32, key: &str) -> Result<()> {
        let index = Arc::clone(&self.index);
        let chain = index.chain(bucket, key.as_bytes());
        let units = same_name(&chain, key)?;
        let mut existed = self.names.keys(bucket).is_some_and(|keys| keys.keys.contains_key(key));
        for unit in units.iter().rev() {
            let slot = index.slot(*unit);
            if slot.state() == Slotted::Sealed {
                let header = slot.header();
                slot.set_state(Slotted::Known);
                self.hold(&header, *unit);
                self.tell(bucket, key, &slot, &header, existed);
                existed = !header.deleted();
            }
        }
        let newest = units.first().copied().filter(|unit| {
            !index.slot(*unit).header().deleted() && self.names.keys(bucket).is_some()
        });
        for unit in units.iter().filter(|unit| Some(**unit) != newest) {
            self.discard(&chain, *unit)?;
        }
        self.note(bucket, key, newest);
        Ok(())
    }

    /// Counts a record in what it refers to.
    fn hold(&mut self, header: &Header, unit: u32) {
        if header.deleted() {
            return;
        }
        match header.place {
            Place::Nowhere => {}
            Place::Slab { slot, generation, .. } => {
                if let Some(slab) = self.slabs.get(slot, generation) {
                    slab.live += 1;
                    slab.holds += 1;
                    slab.members.push(unit);
                }
            }
            Place::File { file, .. } => {
                if let Some(stored) = self.files.get(file) {
                    stored.live += 1;
                    stored.holds += 1;
                }
            }
            Place::Pieces { content } => {
                if let Some(content) = self.contents.get_mut(&content) {
                    content.live += 1;
                    content.holds += 1;
                    content.members.push(unit);
                }
            }
        }
    }

    /// Counts a piece of a content in what it refers to.
    pub(super) fn hold_piece(&mut self, place: Place) {
        let piece = match place {
            Place::Slab { slot, generation, .. } => {
                self.slabs.get(slot, generation).map(|slab| (&mut slab.live, &mut slab.holds))
            }
            Place::File { file, .. } => {
                self.files.get(file).map(|stored| (&mut stored.live, &mut stored.holds))
            }
            Place::Nowhere | Place::Pieces { .. } => None,
        };
        if let Some((live, holds)) = piece {
            *live += 1;
            *holds += 1;
        }
    }

    /// No longer counts a record or piece in what it referred to.
    pub(super) fn let_go(&mut self, place: Place) {
        let live = match place {
            Place::Nowhere => None,
            Place::Slab { slot, generation, .. } => {
                self.slabs.get(slot, generation).map(|slab| &mut slab.live)
            }
            Place::File { file, .. } => self.files.get(file).map(|stored| &mut stored.live),
            Place::Pieces { content } => {
                self.contents.get_mut(&content).map(|content| &mut content.live)
            }
        };
        if let Some(live) = live {
            *live = live.saturating_sub(1);
            if *live == 0 {
                self.doomed.insert(place.anchor());
            }
        }
    }

    /// Takes a record out of the index and frees its slot.
    fn discard(&mut self, chain: &Chain<'_>, unit: u32) -> Result<()> {
        let index = Arc::clone(&self.index);
        let slot = index.slot(unit);
        let (state, header) = (slot.state(), slot.header());
        chain.remove(unit)?;
        if state == Slotted::Known {
            if !header.deleted() {
                self.let_go(header.place);
            }
            self.free_slot(unit);
        }
        Ok(())
    }

    fn free_slot(&mut self, unit: u32) {
        let chunk = Index::chunk_of(unit);
        let class = self.chunks.class(chunk);
        // A unit from shared memory may lie between slots.
        if class.is_some_and(|class| Index::is_slot(unit, class)) {
            self.index.slot(unit).set_state(Slotted::Free);
            self.chunks.freed(chunk);
        }
    }

    /// Writes down where a name is now, here and in the journal.
    fn note(&mut self, bucket: u32, key: &str, newest: Option<u32>) {
        let bound = newest.and_then(|unit| self.bound(bucket, key, unit));
        let Some(keys) = self.names.keys_mut(bucket) else { return };
        let was_bound = match newest {
            Some(unit) => {
                let named = Named { unit, bound: bound.is_some() };
                keys.keys.insert(key.into(), named).is_some_and(|named| named.bound)
            }
            None => keys.keys.remove(key).is_some_and(|named| named.bound),
        };
        match bound {
            _ if self.recovering => {}
            Some(bound) => self.journal.note(&Note::Bound(Box::new(bound))),
            None if was_bound => {
                let (bucket, key) = (keys.name.clone(), key.to_owned());
                self.journal.note(&Note::Unbound { bucket, key });
            }
            None => {}
        }
    }

    /// What the journal says of an object whose bytes are all on disk.
    fn bound(&self, bucket: u32, key: &str, unit: u32) -> Option<Bound> {
        let slot = self.index.slot(unit);
        let header = slot.header();
        let pieces = self.pieces_of(&header)?;
        // An object of no bytes has them everywhere.
        if !pieces.iter().all(|piece| matches!(piece.place, Place::File { .. })) {
            return None;
        }
        Some(Bound {
            bucket: self.names.keys(bucket)?.name.clone(),
            key: key.to_owned(),
            version: header.version,
            size: header.size,
            modified: header.modified,
            crc32c: header.crc32c(),
            attributes: Attributes::decode(&slot.attributes(&header)).unwrap_or_default(),
            pieces: pieces.into_iter().map(Piece::to_wire).collect(),
        })
    }

    /// Notes a name again whose pieces went to disk.
    pub(super) fn note_again(&mut self, unit: u32) {
        let header = self.index.slot(unit).header();
        let Some(key) = self.index.slot(unit).key(&header) else { return };
        if self.unit(header.bucket, &key) == Some(unit) {
            self.note(header.bucket, &key, Some(unit));
        }
    }

    /// The pieces of an object; none if it is composed of what is not known.
    pub(super) fn pieces_of(&self, header: &Header) -> Option<Vec<Piece>> {
        let (place, size) = (header.place, header.size);
        match place {
            Place::Nowhere => Some(Vec::new()),
            Place::Slab { .. } | Place::File { .. } => {
                Some(vec![Piece { place, whole: size, start: 0, len: size }])
            }
            Place::Pieces { content } => Some(self.contents.get(&content)?.pieces.clone()),
        }
    }

    /// The record of a name, as far as the node has seen.
    pub(super) fn unit(&self, bucket: u32, key: &str) -> Option<u32> {
        self.names.keys(bucket)?.keys.get(key).map(|named| named.unit)
    }

    fn tell(&mut self, bucket: u32, key: &str, slot: &Slot<'_>, header: &Header, existed: bool) {
        let Some(name) = self.names.keys(bucket).map(|keys: &Keys| keys.name.as_str()) else {
            return;
        };
        if header.flags & MOVED != 0 || !self.feeds.iter().any(|feed| feed.covers(name, key)) {
            return;
        }
        let happenings = happenings(slot, header, existed);
        self.feeds.retain(|feed| {
            !feed.covers(name, key)
                || happenings.iter().all(|what| {
                    let (bucket, key) = (name.to_owned(), key.to_owned());
                    feed.tell(Event { bucket, key, what: what.clone() })
                })
        });
    }

    /// Puts a record of the node's own into the index, and sees it at once.
    pub(super) fn publish(&mut self, record: &Record<'_>, expected: Expected<'_>) -> Result<bool> {
        let index = Arc::clone(&self.index);
        let class = class_of(record.key.len(), record.attributes.len(), record.former.len());
        let unit = self.take_slot(class)?;
        let slot = index.slot(unit);
        let texts = Texts {
            key: record.key.as_bytes(),
            attributes: record.attributes,
            former: record.former.as_bytes(),
        };
        slot.fill(&record.header, texts);
        let chain = index.chain(record.header.bucket, record.key.as_bytes());
        let pushed = push(&chain, unit, record.key, expected);
        if !matches!(pushed, Ok(true)) {
            self.free_slot(unit);
            return pushed;
        }
        self.settle(record.header.bucket, record.key)?;
        Ok(true)
    }

    fn take_slot(&mut self, class: usize) -> Result<u32> {
        let Self { index, index_file, chunks, slots, .. } = self;
        slots.take(index, class, |full| {
            if let Some(full) = full {
                chunks.take_back(index, full, OWN);
            }
            chunks.lend(index, index_file, class, OWN)
        })
    }

    /// Frees what nobody uses and nobody has pinned.
    ///
    /// A process pins before it looks whether a record still counts, and leaves a record that it
    /// made before it unpins what the record refers to. So what was neither referred to, nor pinned after
    /// that, nor referred to by anything left since, cannot be reached any more.
    pub(super) fn collect(&mut self) {
        self.consume();
        // Contents let go of slabs and files.
        for _ in 0..COLLECT_ROUNDS {
            if !self.collect_once() {
                return;
            }
        }
    }

    fn collect_once(&mut self) -> bool {
        let doomed: Vec<Place> = self.doomed.iter().copied().collect();
        let mut free = Vec::new();
        for place in doomed {
            match self.idle(place) {
                None => _ = self.doomed.remove(&place),
                Some(holds) if !self.pinned(place) => free.push((place, holds)),
                Some(_) => {}
            }
        }
        if free.is_empty() {
            return false;
        }
        self.consume();
        for (place, holds) in free {
            if self.idle(place) == Some(holds) && !self.pinned(place) {
                self.doomed.remove(&place);
                self.release(place);
            }
        }
        !self.doomed.is_empty() && self.doomed.iter().any(|place| !self.pinned(*place))
    }

    fn pinned(&self, place: Place) -> bool {
        self.seats.values().any(|seat| seat.page.pinned(place))
    }

    /// How often anything came to refer to a place to which nothing refers now.
    fn idle(&mut self, place: Place) -> Option<u64> {
        match place {
            Place::Nowhere => None,
            Place::Slab { slot, generation, .. } => self.slabs.idle(slot, generation),
            Place::File { file, .. } => self.files.idle(file),
            Place::Pieces { content } => {
                let content = self.contents.get(&content)?;
                (content.live == 0 && content.busy == 0).then_some(content.holds)
            }
        }
    }

    fn release(&mut self, place: Place) {
        match place {
            Place::Nowhere => {}
            Place::Slab { slot, generation, .. } => {
                self.slabs.recycle(slot, generation, &self.limits);
            }
            Place::File { file, .. } => self.files.remove(file),
            Place::Pieces { content } => {
                let content = self.contents.remove(&content).unwrap_or_default();
                content.pieces.iter().for_each(|piece| self.let_go(piece.place));
            }
        }
    }

    /// Looks again at a place that somebody no longer needs.
    pub(super) fn reconsider(&mut self, place: Place) {
        self.doomed.insert(place.anchor());
    }

    /// Composes an object of pieces that lie in what is referred to at this moment.
    pub(super) fn compose(&mut self, pieces: Vec<Piece>) -> Place {
        self.last_content += 1;
        pieces.iter().for_each(|piece| self.hold_piece(piece.place));
        self.contents.insert(self.last_content, Content { pieces, ..Content::default() });
        let place = Place::Pieces { content: self.last_content };
        self.reconsider(place);
        place
    }

    /// A new process.
    pub(super) fn join(&mut self, sessions_max: usize) -> Result<u32> {
        if self.seats.len() >= sessions_max {
            let limit = sessions_max as u64;
            return Err(Error::TooMany { what: "processes".to_owned(), limit });
        }
        let (file, page) = Session::create()?;
        loop {
            self.last_session = self.last_session.wrapping_add(1);
            if self.last_session != OWN && !self.seats.contains_key(&self.last_session) {
                break;
            }
        }
        self.seats.insert(
            self.last_session,
            Seat { page: Arc::new(page), file, chunks: BTreeSet::new() },
        );
        Ok(self.last_session)
    }

    /// A process is gone: what it left is seen, what it held is taken back.
    pub(super) fn leave(&mut self, session: u32) {
        let Some(seat) = self.seats.get(&session) else { return };
        let (page, chunks) = (Arc::clone(&seat.page), seat.chunks.clone());
        self.consume_page(&page);
        // Of those that it gave back a thread of its may still have written one slot.
        for chunk in chunks {
            self.sweep(chunk, session);
        }
        for chunk in self.chunks.lent_to(session) {
            self.chunks.take_back(&Arc::clone(&self.index), chunk, session);
        }
        for (slot, generation) in self.slabs.lent_to(session) {
            self.slabs.close(slot, generation, session);
            self.reconsider(Place::Slab { slot, generation, offset: 0 });
        }
        for file in self.files.lent_to(session) {
            if let Some(stored) = self.files.get(file) {
                stored.lent = None;
            }
            self.reconsider(Place::File { file, offset: 0 });
        }
        self.seats.remove(&session);
        self.collect();
    }

    /// Sees or frees the records of a dead process that it had not left to be seen.
    fn sweep(&mut self, chunk: u32, session: u32) {
        let Some(class) = self.chunks.class(chunk) else { return };
        let index = Arc::clone(&self.index);
        for unit in Index::units(chunk, class) {
            let slot = index.slot(unit);
            if slot.session() != session {
                continue;
            }
            match slot.state() {
                Slotted::Free | Slotted::Known => {}
                Slotted::Building => self.free_slot(unit),
                Slotted::Sealed => {
                    self.see(unit);
                    // It was never put into the table.
                    if slot.state() == Slotted::Sealed {
                        self.free_slot(unit);
                    }
                }
            }
        }
    }

    /// Removes a bucket that has no objects.
    pub(super) fn delete_bucket(&mut self, bucket: &str) -> Result<()> {
        let number = self.names.number(bucket)?;
        // From now on nobody begins to seal here; what was sealed before is seen.
        self.index.set_bucket(number, BucketState::Closing);
        self.consume();
        if self.names.keys(number).is_some_and(|keys| !keys.keys.is_empty()) {
            self.index.set_bucket(number, BucketState::Open);
            return Err(Error::BucketNotEmpty { bucket: bucket.to_owned() });
        }
        self.index.set_bucket(number, BucketState::Gone);
        self.names.remove(number);
        self.journal.note(&Note::BucketGone { name: bucket.to_owned() });
        self.journal.sync()
    }

    /// Makes a bucket.
    pub(super) fn create_bucket(
        &mut self,
        name: &str,
        created: u64,
        kept: Attributes,
    ) -> Result<u32> {
        let number = self.names.create(name, created, kept.clone())?;
        self.index.set_bucket(number, BucketState::Open);
        self.journal.note(&Note::Bucket { name: name.to_owned(), created, attributes: kept });
        Ok(number)
    }

    /// Whether so much memory holds objects that the node moves some to disk.
    pub(super) fn over_mark(&self) -> bool {
        let (used, _) = self.slabs.used();
        used + slab_bytes(&self.limits) > super::slabs::mark(&self.limits)
            || used.saturating_add(self.wanted_bytes) > self.limits.memory_bytes
    }

    /// What is known about the object of a name.
    pub(super) fn stat(&self, bucket: &str, key: &str) -> Result<(u32, Stat)> {
        let number = self.names.number(bucket)?;
        let unit = self.unit(number, key).ok_or_else(|| Error::no_object(bucket, key))?;
        Ok((unit, super::names::stat_at(&self.index, unit)))
    }
}

/// What must be at the head for the node's record to be put there.
#[derive(Debug, Clone, Copy)]
pub(super) enum Expected<'a> {
    /// Exactly this record.
    Same { header: &'a Header, attributes: &'a [u8] },
    /// What a caller asked for.
    Asked { bucket: &'a str, put: &'a Put },
}

fn push(chain: &Chain<'_>, unit: u32, key: &str, expected: Expected<'_>) -> Result<bool> {
    loop {
        let (head, newest): (Head, _) = chain.read(key.as_bytes(), |found| {
            found.map(|(_, slot)| {
                let header = slot.header();
                (header, slot.attributes(&header))
            })
        })?;
        match expected {
            Expected::Same { header, attributes } => match &newest {
                Some((now, kept)) if now == header && kept == attributes => {}
                _ => return Ok(false),
            },
            Expected::Asked { bucket, put } => {
                check_put(bucket, key, put, newest.as_ref().map(|(header, _)| header))?;
            }
        }
        chain.slot(unit).set_state(Slotted::Sealed);
        if chain.push(head, unit)? {
            return Ok(true);
        }
    }
}

/// All records of a name, newest first.
fn same_name(chain: &Chain<'_>, key: &str) -> Result<Vec<u32>> {
    let all = chain.walk(chain.head()?).filter(|unit| match unit {
        Ok(unit) => chain.is_of(*unit, key.as_bytes()),
        Err(_) => true,
    });
    all.take(SAME_NAME_MAX).collect()
}

fn happenings(slot: &Slot<'_>, header: &Header, existed: bool) -> Vec<Happening> {
    if header.deleted() {
        return if existed { vec![Happening::Deleted] } else { Vec::new() };
    }
    if header.flags & ATTRIBUTES != 0 {
        return vec![Happening::Attributes];
    }
    if let Some(from) = slot.former(header) {
        return vec![Happening::Renamed { from }];
    }
    let sealed = Happening::Sealed { version: header.version, size: header.size };
    if existed { vec![sealed] } else { vec![Happening::Created, sealed] }
}
