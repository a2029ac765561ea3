//! What the node knows of a tenant.

use super::{
    blocks,
    chunks::Chunks,
    files::Files,
    holds::Copy,
    journal::{Journal, Note},
    lost::LostNames,
    names::{Backing, Names},
    remotes::Remotes,
    slabs::{Slabs, slab_bytes},
};
use crate::{
    Attributes, Error, Limits, Result, Stat,
    event::Feed,
    shared::{
        index::{BucketState, Index},
        record::{Header, Place, State as Slotted},
        session::Session,
        slots::Slots,
    },
    wire::Piece,
};
use rustix::fd::OwnedFd;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, Weak},
};

/// The session under which the node itself writes records.
pub(super) const OWN: u32 = 0;

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
    /// As of how many holds all its names were found to need no writing outside, whatever their class.
    pub(super) looked_at: u64,
}

/// All that the node knows of a tenant.
#[derive(Debug)]
pub(super) struct State {
    /// Itself, for who needs it while it is not locked.
    pub(super) own: Weak<Mutex<State>>,
    pub(super) folder: PathBuf,
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
    /// Bytes in memory that lie on disk as well, by where they lie in memory.
    pub(super) copies: HashMap<Place, Copy>,
    /// Backings that no name has any more, each still counted in its file.
    pub(super) retired: Vec<Backing>,
    pub(super) slots: Slots,
    /// Places in which nothing lies any more, but which may be pinned.
    pub(super) doomed: BTreeSet<Place>,
    last_content: u64,
    /// Pieces of all composed objects.
    pub(super) pieces: u64,
    last_session: u32,
    /// Whether the index was found to be damaged.
    pub(super) damaged: bool,
    /// Whether names come from the journal, which need not note them.
    pub(super) recovering: bool,
    /// Units of names that have bytes in memory alone, which the journal does not know yet.
    pub(super) fresh: VecDeque<u32>,
    /// Names that left the journal, as their records do not say yet.
    pub(super) unflushed: Vec<(u32, Box<str>)>,
    pub(super) lost: LostNames,
    pub(super) remotes: Remotes,
    /// The slab that blocks of what lies outside are written into.
    pub(super) blocks: Option<blocks::Open>,
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
            own: Weak::new(),
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
            copies: HashMap::new(),
            retired: Vec::new(),
            slots: Slots::new(OWN),
            doomed: BTreeSet::new(),
            last_content: 0,
            pieces: 0,
            last_session: OWN,
            damaged: false,
            recovering: false,
            fresh: VecDeque::new(),
            unflushed: Vec::new(),
            lost: LostNames::default(),
            remotes: Remotes::default(),
            blocks: None,
        }
    }

    pub(super) fn free_slot(&mut self, unit: u32) {
        let chunk = Index::chunk_of(unit);
        let class = self.chunks.class(chunk);
        // A unit from shared memory may lie between slots.
        if class.is_some_and(|class| Index::is_slot(unit, class)) {
            self.index.slot(unit).set_state(Slotted::Free);
            self.chunks.freed(chunk);
        }
    }

    /// The pieces of an object; none if it is composed of what is not known.
    pub(super) fn pieces_of(&self, header: &Header) -> Option<Vec<Piece>> {
        let (place, size) = (header.place, header.size);
        match place {
            Place::Nowhere => Some(Vec::new()),
            Place::Slab { .. } | Place::File { .. } | Place::Outside { .. } => {
                Some(vec![Piece { place, whole: size, start: 0, len: size }])
            }
            Place::Pieces { content } => Some(self.contents.get(&content)?.pieces.clone()),
        }
    }

    /// The same, on disk or outside if the object lies there as well.
    pub(super) fn pieces_on_disk(&self, key: &str, header: &Header) -> Option<Vec<Piece>> {
        let backing = self.backing(header.bucket, key);
        match backing.filter(|backing| backing.version == header.version) {
            Some(Backing { place, .. })
                if matches!(header.place, Place::Slab { .. } | Place::Pieces { .. }) =>
            {
                let (whole, len) = (header.size, header.size);
                Some(vec![Piece { place, whole, start: 0, len }])
            }
            _ => self.pieces_of(header),
        }
    }

    /// The record of a name, as far as the node has seen.
    pub(super) fn unit(&self, bucket: u32, key: &str) -> Option<u32> {
        self.names.keys(bucket)?.keys.get(key).map(|named| named.unit)
    }

    /// Whether objects may be composed of so many pieces more.
    pub(super) fn check_pieces(&self, more: usize) -> Result<()> {
        let limit = self.limits.objects;
        if self.pieces + more as u64 > limit {
            return Err(Error::TooMany { what: "pieces of composed objects".to_owned(), limit });
        }
        Ok(())
    }

    /// Composes an object of pieces that lie in what is referred to at this moment.
    pub(super) fn compose(&mut self, pieces: Vec<Piece>) -> Place {
        self.last_content += 1;
        self.pieces += pieces.len() as u64;
        pieces.iter().for_each(|piece| self.hold_bytes(piece.place, piece.len));
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
            self.files.take_back(file);
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
        self.sync_journal()
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

    /// The records of all names.
    pub(super) fn units(&self) -> Vec<u32> {
        let keys = self.names.numbers().filter_map(|number| self.names.keys(number));
        keys.flat_map(|keys| keys.keys.values().map(|named| named.unit)).collect()
    }

    /// What is known about the object of a name.
    pub(super) fn stat(&self, bucket: &str, key: &str) -> Result<(u32, Stat)> {
        let number = self.names.number(bucket)?;
        let unit = self.unit(number, key).ok_or_else(|| Error::no_object(bucket, key))?;
        Ok((unit, super::names::stat_at(&self.index, unit)))
    }
}
