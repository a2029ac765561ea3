//! Pages: their headers, what packs them, and the values in them one after the other.

use super::{
    Answer, Fault, Source,
    footer::{Leaf, Physical},
    hybrid::Hybrid,
    thrift::{Kind, Thrift},
};
use std::io::Read;

/// Of one page, packed or not. Usual ones have 1 MiB; some writers make one page of 10 million rows.
const PAGE_MAX_BYTES: i64 = 128 << 20;
/// Most headers are short; statistics of long texts make them longer.
const HEADER_BYTES: [usize; 2] = [4 << 10, 1 << 20];

const PLAIN: i64 = 0;
const RLE: i64 = 3;
/// The older and the newer number of values by a dictionary.
const DICTIONARY: [i64; 2] = [2, 8];

/// What lies at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Holds {
    Data,
    DataV2,
    Dictionary,
    #[default]
    Else,
}

#[derive(Debug, Default)]
pub(super) struct Header {
    holds: Holds,
    unpacked: i64,
    packed: i64,
    values: i64,
    encoding: i64,
    levels_encoding: i64,
    /// Of the second version: bytes of levels, which are not packed.
    levels: [i64; 2],
    plain: bool,
}

impl Header {
    /// The header at a place, and how long it is.
    pub(super) fn read(source: &Source<'_>, at: u64, end: u64) -> Answer<(Self, u64)> {
        for length in HEADER_BYTES {
            let length = length.min(usize::try_from(end - at).unwrap_or(usize::MAX));
            // A page of nothing costs this, too.
            source.spend(length.max(HEADER_BYTES[0]) as u64)?;
            let bytes = source.read(at, length)?;
            match Self::parse(&bytes) {
                // It may be longer.
                Err(Fault::Short) => {}
                parsed => return parsed,
            }
        }
        Err(Fault::damaged("a page's description does not end"))
    }

    fn parse(bytes: &[u8]) -> Answer<(Self, u64)> {
        let (mut thrift, mut found) = (Thrift::new(bytes), Self::default());
        thrift.structure(|thrift, number, kind| {
            match number {
                1 => found.holds = holds(thrift.integer(kind)?),
                2 => found.unpacked = thrift.integer(kind)?,
                3 => found.packed = thrift.integer(kind)?,
                5 | 7 | 8 => return found.part(thrift, number, kind),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        let length = (bytes.len() - thrift.left()) as u64;
        let fits = |bytes: i64| (0..=PAGE_MAX_BYTES).contains(&bytes);
        if !fits(found.packed) || !fits(found.unpacked) {
            let most = PAGE_MAX_BYTES >> 20;
            return Err(Fault::foreign(&format!(
                "a page has more than {most} MiB: write smaller ones"
            )));
        }
        if found.values < 0 || !found.levels.into_iter().all(fits) {
            return Err(Fault::damaged("a size in it is none that can be"));
        }
        Ok((found, length))
    }

    fn part(&mut self, thrift: &mut Thrift<'_>, part: i16, kind: Kind) -> Answer<bool> {
        thrift.inner(kind, |thrift, number, kind| {
            match (part, number) {
                (_, 1) => self.values = thrift.integer(kind)?,
                (5 | 7, 2) | (8, 4) => self.encoding = thrift.integer(kind)?,
                (5, 3) => self.levels_encoding = thrift.integer(kind)?,
                (8, 5) => self.levels[1] = thrift.integer(kind)?,
                (8, 6) => self.levels[0] = thrift.integer(kind)?,
                (8, 7) => self.plain = !Thrift::truth(kind)?,
                _ => return Ok(false),
            }
            Ok(true)
        })
    }

    pub(super) fn packed(&self) -> u64 {
        self.packed.unsigned_abs()
    }

    pub(super) fn unpacked(&self) -> u64 {
        self.unpacked.unsigned_abs()
    }

    pub(super) fn values(&self) -> u64 {
        self.values.unsigned_abs()
    }

    /// What it takes to know where each value of a dictionary lies.
    pub(super) fn places_bytes(&self) -> u64 {
        // Each takes four bytes at least, so that there are never more than the page has room for.
        let places = if self.is_dictionary() { self.values().min(self.unpacked() / 4) } else { 0 };
        places * size_of::<Place>() as u64
    }

    pub(super) fn is_dictionary(&self) -> bool {
        self.holds == Holds::Dictionary
    }

    pub(super) fn is_data(&self) -> bool {
        matches!(self.holds, Holds::Data | Holds::DataV2)
    }

    /// The bytes of the page as they were before they were packed.
    pub(super) fn unpack(&self, codec: i64, packed: Vec<u8>) -> Answer<Vec<u8>> {
        // Levels of the second version are never packed.
        let bare = self.levels.iter().sum::<i64>().unsigned_abs() as usize;
        let size = self.unpacked.unsigned_abs() as usize;
        if codec == 0 || self.plain {
            return if packed.len() == size { Ok(packed) } else { Err(unpackable()) };
        }
        let (levels, body) = packed.split_at_checked(bare).ok_or_else(unpackable)?;
        let mut bytes = levels.to_vec();
        let size = size.checked_sub(bare).ok_or_else(unpackable)?;
        if size > 0 {
            bytes.extend(unpack(codec, body, size)?);
        }
        Ok(bytes)
    }
}

fn holds(number: i64) -> Holds {
    match number {
        0 => Holds::Data,
        2 => Holds::Dictionary,
        3 => Holds::DataV2,
        _ => Holds::Else,
    }
}

fn unpack(codec: i64, packed: &[u8], size: usize) -> Answer<Vec<u8>> {
    let bytes = match codec {
        1 => {
            let told = snap::raw::decompress_len(packed).map_err(|_| unpackable())?;
            // Before memory is taken for it.
            if told != size {
                return Err(unpackable());
            }
            snap::raw::Decoder::new().decompress_vec(packed).map_err(|_| unpackable())?
        }
        2 => {
            let mut bytes = Vec::new();
            let most = size as u64 + 1;
            let read = flate2::read::MultiGzDecoder::new(packed).take(most).read_to_end(&mut bytes);
            read.map_err(|_| unpackable())?;
            bytes
        }
        6 => zstd::bulk::decompress(packed, size).map_err(|_| unpackable())?,
        other => {
            let names = ["", "", "", "LZO", "Brotli", "LZ4", "", "LZ4"];
            let name = usize::try_from(other).ok().and_then(|at| names.get(at)).unwrap_or(&"");
            return Err(Fault::foreign(&format!(
                "it is compressed by {}: write it with Snappy, Zstandard, gzip or nothing",
                if name.is_empty() { "what is not known" } else { name }
            )));
        }
    };
    if bytes.len() == size { Ok(bytes) } else { Err(unpackable()) }
}

fn unpackable() -> Fault {
    Fault::damaged("a page is not what it says it is")
}

/// Values of a dictionary, or of a page that has none.
#[derive(Debug)]
pub(super) struct Plain {
    physical: Physical,
    bytes: Vec<u8>,
    at: usize,
}

/// Where a value lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    start: u32,
    end: u32,
}

impl Plain {
    fn next(&mut self) -> Answer<Place> {
        let width = match self.physical {
            Physical::Int32 | Physical::Float => 4,
            Physical::Int64 | Physical::Double => 8,
            Physical::Int96 => 12,
            Physical::Bytes => {
                let length = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<4>());
                let length = length.ok_or_else(unpackable)?;
                self.at += 4;
                u32::from_le_bytes(*length) as usize
            }
        };
        let (start, end) = (self.at, self.at.checked_add(width).ok_or_else(unpackable)?);
        if end > self.bytes.len() {
            return Err(unpackable());
        }
        self.at = end;
        // A page is shorter than its limit.
        Ok(Place { start: start as u32, end: end as u32 })
    }

    pub(super) fn at(&self, place: Place) -> &[u8] {
        &self.bytes[place.start as usize..place.end as usize]
    }
}

/// The different values of a chunk.
#[derive(Debug)]
pub(super) struct Dictionary {
    pub(super) values: Plain,
    places: Vec<Place>,
}

impl Dictionary {
    pub(super) fn of(header: &Header, leaf: Leaf, bytes: Vec<u8>) -> Answer<Self> {
        if header.encoding != PLAIN && header.encoding != DICTIONARY[0] {
            return Err(foreign(header.encoding));
        }
        let mut values = Plain { physical: leaf.physical, bytes, at: 0 };
        // What was counted, and not twice as much while it grows.
        let mut places = Vec::with_capacity(header.places_bytes() as usize / size_of::<Place>());
        for _ in 0..header.values {
            places.push(values.next()?);
        }
        Ok(Self { values, places })
    }
}

/// A page of values.
#[derive(Debug)]
pub(super) struct Page {
    left: i64,
    /// Whether each value is there; all are if absent.
    levels: Option<Hybrid>,
    values: Values,
}

#[derive(Debug)]
enum Values {
    Plain(Plain),
    /// Numbers of values in the dictionary.
    Numbers(Hybrid, Vec<u8>),
}

impl Page {
    pub(super) fn of(header: &Header, leaf: Leaf, bytes: Vec<u8>) -> Answer<Self> {
        let [repetition, definition] = header.levels.map(|bytes| bytes.unsigned_abs() as usize);
        let (levels, start) = match (header.holds, leaf.optional) {
            (Holds::DataV2, _) => {
                let end = repetition.checked_add(definition).filter(|end| *end <= bytes.len());
                let end = end.ok_or_else(unpackable)?;
                (leaf.optional.then(|| Hybrid::new(1, repetition, end)), end)
            }
            (_, true) => {
                if header.levels_encoding != RLE {
                    return Err(foreign(header.levels_encoding));
                }
                let length = bytes.first_chunk::<4>().ok_or_else(unpackable)?;
                let end = (u32::from_le_bytes(*length) as usize).checked_add(4);
                let end = end.filter(|end| *end <= bytes.len()).ok_or_else(unpackable)?;
                (Some(Hybrid::new(1, 4, end)), end)
            }
            (_, false) => (None, 0),
        };
        // Levels are few bytes; they and the values read the same page.
        Ok(Self { left: header.values, levels, values: values(header, leaf, bytes, start)? })
    }

    pub(super) fn is_done(&self) -> bool {
        self.left == 0
    }

    /// The next value: nothing where there is none.
    pub(super) fn next<'a>(
        &'a mut self,
        dictionary: Option<&'a Dictionary>,
    ) -> Answer<Option<&'a [u8]>> {
        self.left -= 1;
        if let Some(levels) = &mut self.levels
            && levels.next(self.values.bytes())? == 0
        {
            return Ok(None);
        }
        match &mut self.values {
            Values::Plain(plain) => {
                let place = plain.next()?;
                Ok(Some(plain.at(place)))
            }
            Values::Numbers(numbers, bytes) => {
                let number = numbers.next(bytes)? as usize;
                let dictionary = dictionary.ok_or_else(unpackable)?;
                let place = dictionary.places.get(number).ok_or_else(unpackable)?;
                Ok(Some(dictionary.values.at(*place)))
            }
        }
    }
}

impl Values {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Plain(plain) => &plain.bytes,
            Self::Numbers(_, bytes) => bytes,
        }
    }
}

fn values(header: &Header, leaf: Leaf, bytes: Vec<u8>, start: usize) -> Answer<Values> {
    match header.encoding {
        PLAIN => Ok(Values::Plain(Plain { physical: leaf.physical, bytes, at: start })),
        number if DICTIONARY.contains(&number) => {
            // A page in which no value is there may end here.
            let width = bytes.get(start).copied().unwrap_or(0);
            if width > 32 {
                return Err(unpackable());
            }
            let numbers = Hybrid::new(u32::from(width), (start + 1).min(bytes.len()), bytes.len());
            Ok(Values::Numbers(numbers, bytes))
        }
        other => Err(foreign(other)),
    }
}

fn foreign(encoding: i64) -> Fault {
    let name = match encoding {
        4 => "as packed bits",
        5..=7 => "as differences",
        9 => "as split streams",
        _ => "in a way that is not known",
    };
    Fault::foreign(&format!(
        "its values are written {name}: write them plain or by dictionaries, as is usual"
    ))
}
