//! Records: one for each sealed version of a name, and one for each deletion.
//!
//! A record is eight words, the key and the attributes, in a slot of the index's arena:
//!
//! | word | holds |
//! |---|---|
//! | 0 | state (8 bits), flags (8), the session that writes it (32) |
//! | 1 | next unit (32), bucket (32) |
//! | 2 | version |
//! | 3 | size |
//! | 4 | modified (48), length of the former key (16) |
//! | 5 | place: kind (8), slot of the slab (16) and its generation (32); or number (56) |
//! | 6 | offset |
//! | 7 | CRC-32C (32), length of the key (16), length of the attributes (16) |
//!
//! Then the key, the attributes, and for a rename the former key, each from a multiple of 8 on.

use super::Region;
use crate::{ATTRIBUTES_MAX_BYTES, Class, KEY_MAX_BYTES, put::now};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// The size of what the arena is counted in.
pub(crate) const UNIT_BYTES: u64 = 64;
/// The size of what a process leases of the arena at once.
pub(crate) const CHUNK_BYTES: u64 = 64 << 10;
/// Sizes of slots, each of one class.
pub(crate) const CLASSES: [u64; 12] =
    [128, 192, 256, 320, 448, 640, 1024, 2048, 4096, 8192, 16384, 21824];

const HEADER_BYTES: u64 = 64;

/// The class of slots that hold this much behind the header.
pub(crate) fn class_of(key: usize, attributes: usize, former: usize) -> usize {
    let size = HEADER_BYTES + pad(key as u64) + pad(attributes as u64) + pad(former as u64);
    CLASSES.iter().position(|class| size <= *class).unwrap_or(CLASSES.len() - 1)
}

/// How many slots of a class a chunk has.
pub(crate) fn slots_of(class: usize) -> u64 {
    CLASSES.get(class).map_or(0, |size| CHUNK_BYTES / size)
}

const fn pad(len: u64) -> u64 {
    len.next_multiple_of(8)
}

/// What a slot is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// For nothing.
    Free,
    /// Its process writes it.
    Building,
    /// It is, or is about to be, in the table; the node has not seen it.
    Sealed,
    /// The node has seen it.
    Known,
}

impl State {
    fn of(word: u64) -> Self {
        match word & 0xff {
            1 => Self::Building,
            2 => Self::Sealed,
            3 => Self::Known,
            _ => Self::Free,
        }
    }
}

/// It says that the name was deleted.
pub(crate) const DELETED: u8 = 1;
/// Its checksum is known.
pub(crate) const CHECKED: u8 = 2;
/// It changes attributes alone.
pub(crate) const ATTRIBUTES: u8 = 4;
/// It moves bytes between tiers: for users nothing happened.
pub(crate) const MOVED: u8 = 8;
/// The node's journal may know its name, by this state or by one that it replaced.
pub(crate) const NOTED: u8 = 16;
/// Its bytes lie at another site's node, which an attribute names.
pub(crate) const AWAY: u8 = 32;

/// It has a class of its own, which is hot unless it is said to be cold.
const CLASSED: u8 = 64;
const COLD: u8 = 128;
/// What stays as it is when bytes move or attributes change.
pub(crate) const CLASS: u8 = CLASSED | COLD;

/// Where bytes lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Place {
    /// There are none.
    Nowhere,
    /// In a slab, from an offset on.
    Slab { slot: u16, generation: u32, offset: u64 },
    /// In a file on disk, from an offset on.
    File { file: u64, offset: u64 },
    /// In the pieces that the node knows under this number.
    Pieces { content: u64 },
    /// Outside, as the node knows it under this number.
    Outside { number: u64 },
}

const KIND_SLAB: u64 = 1;
const KIND_FILE: u64 = 2;
const KIND_PIECES: u64 = 3;
const KIND_OUTSIDE: u64 = 4;
const NUMBER_MASK: u64 = (1 << 56) - 1;

impl Place {
    /// The same for all that lie in one slab or file.
    pub(crate) fn anchor(self) -> Self {
        match self {
            Self::Slab { slot, generation, .. } => Self::Slab { slot, generation, offset: 0 },
            Self::File { file, .. } => Self::File { file, offset: 0 },
            Self::Nowhere | Self::Pieces { .. } | Self::Outside { .. } => self,
        }
    }

    fn words(self) -> (u64, u64) {
        let tagged = |kind: u64, rest: u64| kind << 56 | (rest & NUMBER_MASK);
        match self {
            Self::Nowhere => (0, 0),
            Self::Slab { slot, generation, offset } => {
                (tagged(KIND_SLAB, u64::from(slot) << 32 | u64::from(generation)), offset)
            }
            Self::File { file, offset } => (tagged(KIND_FILE, file), offset),
            Self::Pieces { content } => (tagged(KIND_PIECES, content), 0),
            Self::Outside { number } => (tagged(KIND_OUTSIDE, number), 0),
        }
    }

    fn of(place: u64, offset: u64) -> Self {
        let number = place & NUMBER_MASK;
        match place >> 56 {
            KIND_SLAB => {
                let (slot, generation) = ((number >> 32) as u16, number as u32);
                Self::Slab { slot, generation, offset }
            }
            KIND_FILE => Self::File { file: number, offset },
            KIND_PIECES => Self::Pieces { content: number },
            KIND_OUTSIDE => Self::Outside { number },
            _ => Self::Nowhere,
        }
    }
}

/// A record's fixed part, copied out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) flags: u8,
    pub(crate) bucket: u32,
    pub(crate) version: u64,
    pub(crate) size: u64,
    pub(crate) modified: u64,
    pub(crate) place: Place,
    pub(crate) crc: u32,
    pub(crate) key_len: u16,
    pub(crate) attributes_len: u16,
    pub(crate) former_len: u16,
}

impl Header {
    /// Of new bytes.
    pub(crate) fn new(version: u64, bucket: u32, size: u64, place: Place) -> Self {
        Self {
            flags: 0,
            bucket,
            version,
            size,
            modified: now(),
            place,
            crc: 0,
            key_len: 0,
            attributes_len: 0,
            former_len: 0,
        }
    }

    pub(crate) fn deleted(&self) -> bool {
        self.flags & DELETED != 0
    }

    /// The class of its own, if it has one.
    pub(crate) fn class(&self) -> Option<Class> {
        match self.flags & CLASS {
            CLASSED => Some(Class::Hot),
            CLASS => Some(Class::Cold),
            _ => None,
        }
    }

    /// The same with a class of its own, or none.
    pub(crate) fn classed(self, class: Option<Class>) -> Self {
        let class = match class {
            None => 0,
            Some(Class::Hot) => CLASSED,
            Some(Class::Cold) => CLASS,
        };
        Self { flags: self.flags & !CLASS | class, ..self }
    }

    pub(crate) fn away(&self) -> bool {
        self.flags & AWAY != 0
    }

    /// Whether the journal may know the name. What replaces such a state is told to the node before it is
    /// acknowledged: else the former one could come back when the node is killed.
    pub(crate) fn noted(&self) -> bool {
        let elsewhere = !self.deleted() && !matches!(self.place, Place::Slab { .. });
        elsewhere || self.flags & NOTED != 0
    }

    /// Whether this is the same state, whatever the journal knows of it.
    pub(crate) fn same_as(&self, other: &Self) -> bool {
        let plain = |header: &Self| Self { flags: header.flags & !NOTED, ..*header };
        plain(self) == plain(other)
    }

    pub(crate) fn crc32c(&self) -> Option<u32> {
        (self.flags & CHECKED != 0).then_some(self.crc)
    }
}

/// What goes into a record beside the numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Texts<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) attributes: &'a [u8],
    pub(crate) former: &'a [u8],
}

/// A slot of the arena: where its record begins in the region.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot<'a> {
    region: &'a Region,
    at: u64,
}

impl<'a> Slot<'a> {
    /// A slot that begins at `at`, a multiple of 8; whether it lies in the region shows later.
    pub(crate) fn new(region: &'a Region, at: u64) -> Self {
        Self { region, at }
    }

    fn load(&self, word: u64) -> u64 {
        self.region.word(self.at + word * 8).map_or(0, |word| word.load(Relaxed))
    }

    fn store(&self, word: u64, value: u64) {
        if let Some(word) = self.region.word(self.at + word * 8) {
            word.store(value, Relaxed);
        }
    }

    pub(crate) fn state(&self) -> State {
        self.region.word(self.at).map_or(State::Free, |word| State::of(word.load(Acquire)))
    }

    /// The session that wrote it, as it says.
    pub(crate) fn session(&self) -> u32 {
        (self.load(0) >> 32) as u32
    }

    pub(crate) fn set_state(&self, state: State) {
        let Some(word) = self.region.word(self.at) else { return };
        word.store((word.load(Relaxed) & !0xff) | state as u64, Release);
    }

    /// Takes a free slot for a session, whose allocator alone does so.
    pub(crate) fn begin(&self, session: u32) {
        if let Some(word) = self.region.word(self.at) {
            word.store(u64::from(session) << 32 | State::Building as u64, Release);
        }
    }

    /// Sets or clears that the journal may know the name: its writer before it is sealed, then the node.
    pub(crate) fn set_noted(&self, noted: bool) {
        let (word, flag) = (self.load(0), u64::from(NOTED) << 8);
        self.store(0, if noted { word | flag } else { word & !flag });
    }

    pub(crate) fn next(&self) -> u32 {
        self.region.word(self.at + 8).map_or(0, |word| word.load(Acquire) as u32)
    }

    pub(crate) fn set_next(&self, next: u32) {
        if let Some(word) = self.region.word(self.at + 8) {
            word.store((word.load(Relaxed) & !0xffff_ffff) | u64::from(next), Release);
        }
    }

    pub(crate) fn bucket(&self) -> u32 {
        (self.load(1) >> 32) as u32
    }

    pub(crate) fn header(&self) -> Header {
        let (state, last, place) = (self.load(0), self.load(7), self.load(5));
        Header {
            flags: (state >> 8) as u8,
            bucket: self.bucket(),
            version: self.load(2),
            size: self.load(3),
            modified: self.load(4) & ((1 << 48) - 1),
            place: Place::of(place, self.load(6)),
            crc: last as u32,
            key_len: (last >> 32) as u16,
            attributes_len: (last >> 48) as u16,
            former_len: (self.load(4) >> 48) as u16,
        }
    }

    /// Fills a slot that was begun.
    pub(crate) fn fill(&self, header: &Header, texts: Texts<'_>) {
        let lens = (texts.key.len() as u64) << 32 | (texts.attributes.len() as u64) << 48;
        let (place, offset) = header.place.words();
        let former = (texts.former.len() as u64) << 48;
        let session = self.load(0) & !0xff00;
        self.store(0, session | u64::from(header.flags) << 8);
        self.store(1, u64::from(header.bucket) << 32);
        self.store(2, header.version);
        self.store(3, header.size);
        self.store(4, header.modified & ((1 << 48) - 1) | former);
        self.store(5, place);
        self.store(6, offset);
        self.store(7, u64::from(header.crc) | lens);
        let mut at = HEADER_BYTES / 8;
        for text in [texts.key, texts.attributes, texts.former] {
            self.store_bytes(at, text);
            at += pad(text.len() as u64) / 8;
        }
    }

    fn store_bytes(&self, first: u64, bytes: &[u8]) {
        for (word, part) in (first..).zip(bytes.chunks(8)) {
            let mut whole = [0; 8];
            whole[..part.len()].copy_from_slice(part);
            self.store(word, u64::from_le_bytes(whole));
        }
    }

    fn load_bytes(&self, first: u64, len: usize) -> Vec<u8> {
        let words = len.div_ceil(8) as u64;
        let mut bytes = Vec::with_capacity(words as usize * 8);
        for word in first..first + words {
            bytes.extend_from_slice(&self.load(word).to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }

    pub(crate) fn has_key(&self, key: &[u8]) -> bool {
        if (self.load(7) >> 32) as u16 as usize != key.len() {
            return false;
        }
        (HEADER_BYTES / 8..).zip(key.chunks(8)).all(|(word, part)| {
            let mut whole = [0; 8];
            whole[..part.len()].copy_from_slice(part);
            self.load(word) == u64::from_le_bytes(whole)
        })
    }

    /// The key, if it can be one.
    pub(crate) fn key(&self, header: &Header) -> Option<String> {
        let len = usize::from(header.key_len);
        if len == 0 || len > KEY_MAX_BYTES {
            return None;
        }
        String::from_utf8(self.load_bytes(HEADER_BYTES / 8, len)).ok()
    }

    pub(crate) fn attributes(&self, header: &Header) -> Vec<u8> {
        let len = usize::from(header.attributes_len).min(ATTRIBUTES_MAX_BYTES);
        self.load_bytes((HEADER_BYTES + pad(u64::from(header.key_len))) / 8, len)
    }

    /// The key that was renamed to this one.
    pub(crate) fn former(&self, header: &Header) -> Option<String> {
        let len = usize::from(header.former_len);
        if len == 0 || len > KEY_MAX_BYTES {
            return None;
        }
        let before = pad(u64::from(header.key_len)) + pad(u64::from(header.attributes_len));
        String::from_utf8(self.load_bytes((HEADER_BYTES + before) / 8, len)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::{Access, memory_file};

    fn header(place: Place) -> Header {
        Header {
            flags: CHECKED,
            bucket: 7,
            version: u64::MAX,
            size: 1 << 40,
            modified: 1 << 45,
            place,
            crc: 0xdead_beef,
            key_len: 9,
            attributes_len: 3,
            former_len: 1,
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let file = memory_file("test", 4096).unwrap();
        let region = Region::map(&file, Access::Write).unwrap();
        let slot = Slot::new(&region, 128);
        for place in [
            Place::Nowhere,
            Place::Slab { slot: u16::MAX, generation: u32::MAX, offset: u64::MAX },
            Place::File { file: NUMBER_MASK, offset: 5 },
            Place::Pieces { content: 9 },
            Place::Outside { number: 10 },
        ] {
            slot.begin(42);
            let texts = Texts { key: b"nine/byte", attributes: b"abc", former: b"x" };
            slot.fill(&header(place), texts);
            assert_eq!(slot.header(), header(place));
            assert_eq!((slot.state(), slot.session()), (State::Building, 42));
            assert_eq!(slot.key(&slot.header()).as_deref(), Some("nine/byte"));
            assert_eq!(slot.attributes(&slot.header()), b"abc");
            assert_eq!(slot.former(&slot.header()).as_deref(), Some("x"));
            assert!(slot.has_key(b"nine/byte") && !slot.has_key(b"nine/bytf"));
            slot.set_next(77);
            assert_eq!((slot.next(), slot.bucket()), (77, 7));
        }
    }

    #[test]
    fn a_slot_outside_the_region_is_free_and_empty() {
        let file = memory_file("test", 4096).unwrap();
        let region = Region::map(&file, Access::Write).unwrap();
        let slot = Slot::new(&region, 4096 - 64);
        slot.begin(1);
        slot.fill(
            &header(Place::Nowhere),
            Texts { key: &[b'k'; 1024], attributes: &[], former: &[] },
        );
        assert!(!slot.has_key(&[b'k'; 1024]));
        assert_eq!(Slot::new(&region, 1 << 50).state(), State::Free);
    }

    #[test]
    fn every_record_fits_its_class() {
        for (key, attributes, former) in [(1, 0, 0), (64, 0, 0), (65, 0, 0), (1024, 16384, 1024)] {
            let class = class_of(key, attributes, former);
            let size = HEADER_BYTES as usize + key + attributes + former;
            assert!(CLASSES[class] >= size as u64 && CLASSES[class].is_multiple_of(UNIT_BYTES));
        }
        assert_eq!(class_of(64, 0, 0), 0);
    }
}
