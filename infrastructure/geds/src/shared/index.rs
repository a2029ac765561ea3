//! The index of a tenant: a hash table of names in shared memory that every process of the tenant reads
//! and writes without locks.
//!
//! ```text
//! page 0        magic, seed, sizes | number of the last version | the node's clock, and whether it sleeps
//! buckets       4,096 words: number (32), whether it has a back end (1), state (7)
//! touched       4,096 half words: when each slab was last let go of
//! folders       a bit for each hash of a prefix up to a `/`, set once anything was put behind such a prefix
//! heads         a word for each chain: first unit (28), changes (36)
//! arena         records, in chunks that processes lease
//! ```
//!
//! The newest record of a name is the first of its chain that has the name; it alone counts. All
//! that happens to a name — sealing, deleting, moving — puts a record at the head by one
//! compare-and-swap, so a chain's head orders its changes, and a process that dies leaves a chain
//! with the record or without it. Only the node takes records out, and counts a change in the head
//! when it does. Who reads a chain looks at the head again: if it is unchanged, all that was read
//! was true at once.

use super::{
    Access, Region, memory_file,
    record::{CHUNK_BYTES, CLASSES, Slot, UNIT_BYTES},
};
use crate::{Error, Result};
use rustix::fd::{AsFd, OwnedFd};
use std::{
    hint::spin_loop,
    ops::Range,
    sync::atomic::{
        AtomicU64,
        Ordering::{Relaxed, SeqCst},
    },
};

/// Most buckets of a tenant.
pub(crate) const BUCKETS_MAX: u64 = 4096;
/// Most slabs of a tenant.
pub(crate) const SLABS_MAX: u16 = 4096;

const MAGIC: u64 = u64::from_le_bytes(*b"CSGEDSI2");
const AT_MAGIC: u64 = 0;
const AT_SEED: u64 = 8;
const AT_HEADS: u64 = 16;
const AT_CHUNKS: u64 = 24;
const AT_VERSION: u64 = 128;
const AT_TICK: u64 = 256;
const AT_ASLEEP: u64 = 384;
const AT_BUCKETS: u64 = 4096;
const AT_TOUCHED: u64 = AT_BUCKETS + BUCKETS_MAX * 8;
const AT_FOLDERS: u64 = AT_TOUCHED + SLABS_MAX as u64 * 4;
/// With so many bits, ten thousand folders let one question in a hundred go to the node for nothing.
const FOLDER_BITS: u64 = 1 << 20;
const HEADS: u64 = AT_FOLDERS + FOLDER_BITS / 8;

const UNIT_BITS: u32 = 28;
const UNIT_MASK: u64 = (1 << UNIT_BITS) - 1;
const UNITS_PER_CHUNK: u64 = CHUNK_BYTES / UNIT_BYTES;
/// More chunks than the bits of a unit can count there cannot be.
const CHUNKS_MAX: u64 = (1 << UNIT_BITS) / UNITS_PER_CHUNK;
/// The arena's size for each object that there may be; it is taken as objects come.
const ARENA_BYTES_PER_OBJECT: u64 = 512;
/// No honest chain is so long: a table has a head for every four objects, and the seed is secret.
const CHAIN_MAX: usize = 1 << 16;
/// How often a read begins again before it gives up: other processes cannot keep it busy for ever.
const READS_MAX: usize = 1 << 20;

/// In a bucket's word: what is not there is looked for outside.
const TIERED: u64 = 0x80;

/// What a bucket's word says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BucketState {
    /// Nothing is there, or another bucket.
    Gone,
    /// Objects may be sealed in it.
    Open,
    /// The node looks whether it is empty.
    Closing,
}

/// A tenant's index, mapped into this process.
#[derive(Debug)]
pub(crate) struct Index {
    region: Region,
    seed: u64,
    heads: u64,
    chunks: u64,
}

/// The head of a chain as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head(u64);

impl Head {
    pub(crate) fn first(self) -> u32 {
        (self.0 & UNIT_MASK) as u32
    }

    fn followed_by(self, unit: u32) -> u64 {
        ((self.0 >> UNIT_BITS).wrapping_add(1) << UNIT_BITS) | u64::from(unit)
    }
}

impl Index {
    /// Makes an index for at most so many objects, and maps it. `first_version` is greater than
    /// any that was given out before.
    pub(crate) fn create(objects: u64, first_version: u64) -> Result<(OwnedFd, Self)> {
        let heads = (objects / 4).next_power_of_two().clamp(1 << 10, 1 << 22);
        let arena = objects.saturating_mul(ARENA_BYTES_PER_OBJECT) / CHUNK_BYTES;
        let chunks = (arena + 2 * CLASSES.len() as u64 + 64).min(CHUNKS_MAX);
        let file = memory_file("geds-index", arena_at(heads) + chunks * CHUNK_BYTES)?;
        let region = Region::map(&file, Access::Write)?;
        let seed = getrandom::u64()
            .map_err(|error| Error::io("get randomness")(std::io::Error::other(error)))?;
        let words = [
            (AT_SEED, seed),
            (AT_HEADS, heads),
            (AT_CHUNKS, chunks),
            (AT_VERSION, first_version),
            (AT_MAGIC, MAGIC),
        ];
        for (at, value) in words {
            if let Some(word) = region.word(at) {
                word.store(value, SeqCst);
            }
        }
        Ok((file, Self { region, seed, heads, chunks }))
    }

    /// Maps the index that the node handed out.
    pub(crate) fn open(file: impl AsFd) -> Result<Self> {
        let region = Region::map(file, Access::Write)?;
        let load = |at| region.word(at).map_or(0, |word: &AtomicU64| word.load(SeqCst));
        let (heads, chunks) = (load(AT_HEADS), load(AT_CHUNKS));
        let fits = heads.is_power_of_two()
            && heads <= 1 << 22
            && chunks <= CHUNKS_MAX
            && arena_at(heads) + chunks * CHUNK_BYTES <= region.len();
        if load(AT_MAGIC) != MAGIC || !fits {
            return Err(damaged("its header is not that of this version"));
        }
        let seed = load(AT_SEED);
        Ok(Self { region, seed, heads, chunks })
    }

    /// How many chunks the arena has; they are counted from 1.
    pub(crate) fn chunks(&self) -> u64 {
        self.chunks
    }

    /// Where a chunk lies in the file.
    pub(crate) fn chunk_bytes(&self, chunk: u32) -> Range<u64> {
        let at = arena_at(self.heads) + u64::from(chunk) * CHUNK_BYTES;
        at..at + CHUNK_BYTES
    }

    /// The units at which the slots of a chunk begin.
    pub(crate) fn units(chunk: u32, class: usize) -> impl Iterator<Item = u32> {
        let size = CLASSES.get(class).copied().unwrap_or(CHUNK_BYTES);
        let first = u64::from(chunk) * UNITS_PER_CHUNK;
        (0..CHUNK_BYTES / size).map(move |slot| (first + slot * size / UNIT_BYTES) as u32)
    }

    /// Whether a slot of a class begins at a unit of its chunk.
    pub(crate) fn is_slot(unit: u32, class: usize) -> bool {
        let size = CLASSES.get(class).copied().unwrap_or(CHUNK_BYTES);
        let at = u64::from(unit) % UNITS_PER_CHUNK * UNIT_BYTES;
        at.is_multiple_of(size) && at + size <= CHUNK_BYTES
    }

    /// The chunk that a unit lies in.
    pub(crate) fn chunk_of(unit: u32) -> u32 {
        (u64::from(unit) / UNITS_PER_CHUNK) as u32
    }

    pub(crate) fn slot(&self, unit: u32) -> Slot<'_> {
        Slot::new(&self.region, arena_at(self.heads) + u64::from(unit) * UNIT_BYTES)
    }

    /// A new version's number.
    pub(crate) fn next_version(&self) -> u64 {
        self.region.word(AT_VERSION).map_or(0, |word| word.fetch_add(1, Relaxed))
    }

    /// A new version's number, after one that somebody was given.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if nobody was.
    pub(crate) fn version_after(&self, newest: u64) -> Result<u64> {
        let drawn = self.next_version();
        if drawn > newest {
            Ok(drawn)
        } else {
            Err(damaged("it has a version that was never given out"))
        }
    }

    /// The node's clock, which stands still while it sleeps.
    pub(crate) fn tick(&self) -> u32 {
        self.region.word(AT_TICK).map_or(0, |word| word.load(Relaxed) as u32)
    }

    pub(crate) fn set_tick(&self, tick: u32) {
        if let Some(word) = self.region.word(AT_TICK) {
            word.store(u64::from(tick), Relaxed);
        }
    }

    /// Notes that somebody let go of a slab.
    pub(crate) fn touch(&self, slab: u16) {
        let tick = self.tick();
        let Some(touched) = self.region.half(AT_TOUCHED + u64::from(slab) * 4) else { return };
        if slab < SLABS_MAX && touched.load(Relaxed) != tick {
            touched.store(tick, Relaxed);
        }
    }

    pub(crate) fn touched(&self, slab: u16) -> u32 {
        let touched = self.region.half(AT_TOUCHED + u64::from(slab % SLABS_MAX) * 4);
        touched.map_or(0, |touched| touched.load(Relaxed))
    }

    /// The node is about to sleep, or awake.
    pub(crate) fn set_asleep(&self, asleep: bool) {
        if let Some(word) = self.region.word(AT_ASLEEP) {
            word.store(u64::from(asleep), SeqCst);
        }
    }

    /// Whether the node has to be woken: true for one who asks.
    pub(crate) fn take_asleep(&self) -> bool {
        let word = self.region.word(AT_ASLEEP);
        word.is_some_and(|word| word.load(SeqCst) != 0 && word.swap(0, SeqCst) != 0)
    }

    pub(crate) fn set_bucket(&self, bucket: u32, state: BucketState) {
        let at = AT_BUCKETS + u64::from(bucket) % BUCKETS_MAX * 8;
        if let Some(word) = self.region.word(at) {
            let tiered = if self.is_tiered(bucket) { TIERED } else { 0 };
            word.store(u64::from(bucket) << 8 | tiered | state as u64, SeqCst);
        }
    }

    /// Says whether the node looks outside for what a bucket does not have.
    pub(crate) fn set_tiered(&self, bucket: u32, tiered: bool) {
        let state = self.bucket(bucket) as u64;
        let at = AT_BUCKETS + u64::from(bucket) % BUCKETS_MAX * 8;
        if let Some(word) = self.region.word(at).filter(|_| state != 0) {
            let tiered = if tiered { TIERED } else { 0 };
            word.store(u64::from(bucket) << 8 | tiered | state, SeqCst);
        }
    }

    pub(crate) fn is_tiered(&self, bucket: u32) -> bool {
        let at = AT_BUCKETS + u64::from(bucket) % BUCKETS_MAX * 8;
        let word = self.region.word(at).map_or(0, |word| word.load(SeqCst));
        word >> 8 == u64::from(bucket) && word & TIERED != 0
    }

    pub(crate) fn bucket(&self, bucket: u32) -> BucketState {
        let at = AT_BUCKETS + u64::from(bucket) % BUCKETS_MAX * 8;
        let word = self.region.word(at).map_or(0, |word| word.load(SeqCst));
        match (word >> 8 == u64::from(bucket), word & 0xff & !TIERED) {
            (true, 1) => BucketState::Open,
            (true, 2) => BucketState::Closing,
            _ => BucketState::Gone,
        }
    }

    /// Whether anything may have been put behind this prefix, which ends with `/`. Where the answer is
    /// no, nothing was.
    pub(crate) fn may_have_below(&self, bucket: u32, folder: &str) -> bool {
        let last = self.folders(bucket, folder).last();
        last.and_then(|(at, bit)| Some(self.region.word(at)?.load(SeqCst) & bit != 0))
            .unwrap_or(true)
    }

    /// Notes the folders of a key, before there is anything of that name.
    fn note_folders(&self, bucket: u32, key: &str) {
        // A folder's own marker is not below it.
        let above = key.strip_suffix('/').unwrap_or(key);
        for (at, bit) in self.folders(bucket, &above[..above.rfind('/').map_or(0, |at| at + 1)]) {
            if let Some(word) = self.region.word(at)
                && word.load(Relaxed) & bit == 0
            {
                word.fetch_or(bit, SeqCst);
            }
        }
    }

    /// Where the bits of all prefixes of a text lie that end with `/`, the shortest first.
    fn folders<'t>(&self, bucket: u32, text: &'t str) -> impl Iterator<Item = (u64, u64)> + 't {
        let (seed, begin) = (self.seed, fold(self.seed, u64::from(bucket)));
        let states = text.bytes().scan(begin, move |state, byte| {
            *state = fold(*state ^ u64::from(byte), seed);
            Some((byte, *state))
        });
        states.filter(|(byte, _)| *byte == b'/').map(|(_, state)| {
            let bit = state % FOLDER_BITS;
            (AT_FOLDERS + bit / 64 * 8, 1 << (bit % 64))
        })
    }

    /// The head of the chain of a name.
    pub(crate) fn chain(&self, bucket: u32, key: &[u8]) -> Chain<'_> {
        let hash = hash(self.seed ^ u64::from(bucket), key);
        let at = HEADS + (hash & (self.heads - 1)) * 8;
        Chain { index: self, at, bucket }
    }
}

fn arena_at(heads: u64) -> u64 {
    (HEADS + heads * 8).next_multiple_of(4096)
}

fn damaged(why: &str) -> Error {
    Error::Corrupt { what: "the tenant's index in shared memory".to_owned(), why: why.to_owned() }
}

/// The records of some names, newest first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chain<'a> {
    index: &'a Index,
    at: u64,
    bucket: u32,
}

impl<'a> Chain<'a> {
    fn word(&self) -> Result<&'a AtomicU64> {
        self.index.region.word(self.at).ok_or_else(|| damaged("a chain lies outside of it"))
    }

    pub(crate) fn head(&self) -> Result<Head> {
        Ok(Head(self.word()?.load(SeqCst)))
    }

    /// All units behind a head; an error for a chain without an end.
    pub(crate) fn walk(&self, head: Head) -> impl Iterator<Item = Result<u32>> + 'a {
        let (index, mut unit, mut steps) = (self.index, head.first(), 0);
        std::iter::from_fn(move || {
            if unit == 0 {
                return None;
            }
            if steps == CHAIN_MAX {
                unit = 0;
                return Some(Err(damaged("a chain has no end")));
            }
            steps += 1;
            let current = unit;
            unit = index.slot(current).next() & UNIT_MASK as u32;
            Some(Ok(current))
        })
    }

    /// The newest record of the key behind a head.
    fn newest(&self, head: Head, key: &[u8]) -> Result<Option<u32>> {
        for unit in self.walk(head) {
            let unit = unit?;
            if self.is_of(unit, key) {
                return Ok(Some(unit));
            }
        }
        Ok(None)
    }

    pub(crate) fn slot(&self, unit: u32) -> Slot<'a> {
        self.index.slot(unit)
    }

    /// Whether a record is one of this name.
    pub(crate) fn is_of(&self, unit: u32, key: &[u8]) -> bool {
        let slot = self.index.slot(unit);
        slot.bucket() == self.bucket && slot.has_key(key)
    }

    /// Reads the newest record of a key, deleted or not, with `read`, which is called again when
    /// the chain changed meanwhile. What it takes it must give back by dropping it.
    pub(crate) fn read<R>(
        &self,
        key: &[u8],
        mut read: impl FnMut(Option<(u32, Slot<'a>)>) -> R,
    ) -> Result<(Head, R)> {
        let word = self.word()?;
        for _ in 0..READS_MAX {
            let head = Head(word.load(SeqCst));
            let found = self.newest(head, key);
            let seen = match &found {
                Ok(unit) => Some(read(unit.map(|unit| (unit, self.index.slot(unit))))),
                Err(_) => None,
            };
            if word.load(SeqCst) == head.0 {
                found?;
                return seen.map(|seen| (head, seen)).ok_or_else(|| damaged("it cannot be read"));
            }
            spin_loop();
        }
        Err(damaged("a chain changes without end"))
    }

    /// Puts a filled record of a key at the head, if that is still what it was. On success the
    /// record belongs to the table.
    pub(crate) fn push(&self, head: Head, unit: u32, key: &str) -> Result<bool> {
        self.index.note_folders(self.bucket, key);
        self.index.slot(unit).set_next(head.first());
        let swapped = self.word()?.compare_exchange(head.0, head.followed_by(unit), SeqCst, SeqCst);
        Ok(swapped.is_ok())
    }

    /// Takes a record out. Only the node does this, one thread at a time. False if it is not there.
    pub(crate) fn remove(&self, unit: u32) -> Result<bool> {
        let word = self.word()?;
        let after = self.index.slot(unit).next() & UNIT_MASK as u32;
        loop {
            let head = self.head()?;
            if head.first() == unit {
                let next = head.followed_by(after);
                if word.compare_exchange(head.0, next, SeqCst, SeqCst).is_ok() {
                    return Ok(true);
                }
                continue;
            }
            let Some(before) = self.before(head, unit)? else { return Ok(false) };
            self.index.slot(before).set_next(after);
            self.count_change()?;
            return Ok(true);
        }
    }

    /// The record whose next one is `unit`.
    fn before(&self, head: Head, unit: u32) -> Result<Option<u32>> {
        for before in self.walk(head) {
            let before = before?;
            if self.index.slot(before).next() & UNIT_MASK as u32 == unit {
                return Ok(Some(before));
            }
        }
        Ok(None)
    }

    /// Makes those who read the chain at this moment read it again.
    pub(crate) fn count_change(&self) -> Result<()> {
        let word = self.word()?;
        loop {
            let head = self.head()?;
            let next = head.followed_by(head.first());
            if word.compare_exchange(head.0, next, SeqCst, SeqCst).is_ok() {
                return Ok(());
            }
        }
    }
}

/// A seeded hash in the manner of folded multiplication: whoever chooses keys does not know the
/// seed, and cannot choose them so that chains grow.
fn hash(seed: u64, bytes: &[u8]) -> u64 {
    let mut state = fold(seed, bytes.len() as u64);
    for part in bytes.chunks(8) {
        let mut whole = [0; 8];
        whole[..part.len()].copy_from_slice(part);
        state = fold(state ^ u64::from_le_bytes(whole), seed.rotate_left(32));
    }
    fold(state, seed)
}

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a ^ 0x9e37_79b9_7f4a_7c15) * u128::from(b ^ 0xc2b2_ae3d_27d4_eb4f);
    (product as u64) ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::record::{Header, Place, State, Texts};

    fn index() -> Index {
        Index::create(1000, 1).unwrap().1
    }

    fn record(index: &Index, unit: u32, key: &str, size: u64) {
        let slot = index.slot(unit);
        slot.begin(1);
        let header = Header {
            flags: 0,
            bucket: 1,
            version: 1,
            size,
            modified: 0,
            place: Place::Nowhere,
            crc: 0,
            key_len: 0,
            attributes_len: 0,
            former_len: 0,
        };
        slot.fill(&header, Texts { key: key.as_bytes(), attributes: &[], former: &[] });
        slot.set_state(State::Sealed);
    }

    fn size(index: &Index, key: &str) -> Option<u64> {
        let chain = index.chain(1, key.as_bytes());
        chain.read(key.as_bytes(), |found| found.map(|(_, slot)| slot.header().size)).unwrap().1
    }

    #[test]
    fn the_newest_record_of_a_name_counts_and_any_can_be_taken_out() {
        let index = index();
        let units: Vec<u32> = Index::units(1, 0).take(3).collect();
        let chain = index.chain(1, b"key");
        for (unit, size) in units.iter().zip(1..) {
            record(&index, *unit, "key", size);
            assert!(chain.push(chain.head().unwrap(), *unit, "key").unwrap());
        }
        assert_eq!(size(&index, "key"), Some(3));
        assert!(chain.remove(units[1]).unwrap() && !chain.remove(units[1]).unwrap());
        assert_eq!(size(&index, "key"), Some(3));
        assert!(chain.remove(units[2]).unwrap());
        assert_eq!(size(&index, "key"), Some(1));
        assert!(chain.remove(units[0]).unwrap());
        assert_eq!(size(&index, "key"), None);
    }

    #[test]
    fn a_head_that_changed_and_changed_back_is_noticed() {
        let index = index();
        let units: Vec<u32> = Index::units(1, 0).take(3).collect();
        let chain = index.chain(1, b"key");
        record(&index, units[0], "key", 1);
        chain.push(chain.head().unwrap(), units[0], "key").unwrap();
        let old = chain.head().unwrap();
        record(&index, units[1], "key", 2);
        chain.push(old, units[1], "key").unwrap();
        chain.remove(units[1]).unwrap();
        assert_eq!(chain.head().unwrap().first(), old.first());
        record(&index, units[2], "key", 3);
        assert!(!chain.push(old, units[2], "key").unwrap());
    }

    #[test]
    fn a_chain_that_bites_its_tail_is_refused_and_wild_units_end_a_walk() {
        let index = index();
        let unit = Index::units(1, 0).next().unwrap();
        let chain = index.chain(1, b"key");
        record(&index, unit, "other", 1);
        chain.push(chain.head().unwrap(), unit, "other").unwrap();
        index.slot(unit).set_next(unit);
        let read = chain.read(b"key", |slot| slot.is_some());
        assert_eq!(read.unwrap_err().kind(), crate::ErrorKind::Corrupt);
        index.slot(unit).set_next(u32::MAX);
        assert!(!chain.read(b"key", |slot| slot.is_some()).unwrap().1);
    }

    #[test]
    fn what_lies_below_a_folder_is_noted_and_its_own_marker_is_not() {
        let index = index();
        let has = |folder: &str| index.may_have_below(1, folder);
        assert!(!has("a/") && !has("a/b/"));
        index.note_folders(1, "flat");
        index.note_folders(1, "a/");
        assert!(!has("a/") && !has("flat/"));
        index.note_folders(1, "a/b/");
        assert!(has("a/") && !has("a/b/"));
        index.note_folders(1, "a/b/c/d");
        assert!(has("a/b/") && has("a/b/c/") && !has("a/b/c/d/"));
        assert!(!index.may_have_below(2, "a/"));
        assert!(has(""), "of the whole bucket nothing is known");
    }

    #[test]
    fn a_bucket_is_known_by_its_number_not_by_its_place() {
        let index = index();
        index.set_bucket(5, BucketState::Open);
        assert_eq!(index.bucket(5), BucketState::Open);
        assert_eq!(index.bucket(5 + BUCKETS_MAX as u32), BucketState::Gone);
        index.set_bucket(5, BucketState::Closing);
        assert_eq!(index.bucket(5), BucketState::Closing);
    }
}
