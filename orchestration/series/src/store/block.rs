//! Packed samples of one stretch of time, in a file that never changes.
//!
//! ```text
//! header   magic "CSKTSBLK" | u16 version
//! chunks   packed samples, one behind the other
//! index    for each series: labels, number of chunks, of each: offset, length, count, first and last time, CRC-32C
//! footer   u64 offset of the index | i64 first ms | i64 last ms | u32 CRC-32C of index and what stands before this
//! ```

use super::{
    codec::{Chunk, unpack},
    wire::{Reader, put_labels, put_number, put_signed},
};
use crate::{Error, Labels, Result, Sample};
use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

const MAGIC: &[u8; 8] = b"CSKTSBLK";
const VERSION: u16 = 1;
const FOOTER_BYTES: u64 = 28;
const PREFIX: &str = "block-";

/// Where a chunk lies in its block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Place {
    offset: u64,
    length: u32,
    pub(crate) count: u32,
    pub(crate) first_ms: i64,
    pub(crate) last_ms: i64,
    sum: u32,
}

/// A block whose chunks can be read.
#[derive(Debug)]
pub(crate) struct Block {
    path: PathBuf,
    file: File,
    pub(crate) bytes: u64,
    pub(crate) first_ms: i64,
    pub(crate) last_ms: i64,
    /// Of each series by its number, all of them in its order of time.
    places: Vec<(u32, Vec<Place>)>,
}

/// The time that a block's name says it ends at, if that is a block's name.
pub(crate) fn last_ms_of(name: &str) -> Option<i64> {
    name.strip_prefix(PREFIX)?.split('.').next()?.split_once('-')?.1.parse().ok()
}

impl Block {
    /// Writes a block; it is there whole or not at all. Gives its path.
    pub(crate) fn write<'a>(
        folder: &Path,
        series: impl Iterator<Item = (&'a Labels, &'a [Chunk])>,
    ) -> Result<PathBuf> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        let mut index = Vec::new();
        let (mut first_ms, mut last_ms) = (i64::MAX, i64::MIN);
        for (labels, chunks) in series {
            put_labels(&mut index, labels);
            put_number(&mut index, chunks.len() as u64);
            for chunk in chunks {
                let last = chunk.last().time_ms;
                first_ms = first_ms.min(chunk.first_ms());
                last_ms = last_ms.max(last);
                put_number(&mut index, bytes.len() as u64);
                put_number(&mut index, chunk.bytes().len() as u64);
                put_number(&mut index, chunk.count().into());
                put_signed(&mut index, chunk.first_ms());
                put_signed(&mut index, last);
                index.extend_from_slice(&crc32c::crc32c(chunk.bytes()).to_le_bytes());
                bytes.extend_from_slice(chunk.bytes());
            }
        }
        let offset = bytes.len() as u64;
        index.extend_from_slice(&offset.to_le_bytes());
        index.extend_from_slice(&first_ms.to_le_bytes());
        index.extend_from_slice(&last_ms.to_le_bytes());
        let sum = crc32c::crc32c(&index);
        bytes.extend_from_slice(&index);
        bytes.extend_from_slice(&sum.to_le_bytes());
        let path = folder.join(format!("{PREFIX}{first_ms:014}-{last_ms:014}"));
        put_file(folder, &path, &bytes).map_err(Error::disk("write", &path))?;
        Ok(path)
    }

    /// Opens a block; `number` gives each series its number.
    pub(crate) fn open(path: &Path, mut number: impl FnMut(Labels) -> u32) -> Result<Self> {
        let failed = |action| Error::disk(action, path);
        let file = File::open(path).map_err(failed("open"))?;
        let bytes = file.metadata().map_err(failed("read"))?.len();
        let corrupt = |what: &str| Error::Corrupt { path: path.to_owned(), what: what.to_owned() };
        let mut head = [0; 10];
        if bytes < 10 + FOOTER_BYTES {
            return Err(corrupt("it is too short for a block"));
        }
        file.read_exact_at(&mut head, 0).map_err(failed("read"))?;
        if head[..8] != *MAGIC {
            return Err(corrupt("it is no block of series"));
        }
        let version = u16::from_le_bytes([head[8], head[9]]);
        if version != VERSION {
            return Err(corrupt(&format!(
                "its format has version {version}, and this reads {VERSION}"
            )));
        }
        let mut footer = [0; FOOTER_BYTES as usize];
        file.read_exact_at(&mut footer, bytes - FOOTER_BYTES).map_err(failed("read"))?;
        let offset = u64::from_le_bytes(footer[..8].try_into().unwrap_or_default());
        if !(10..=bytes - FOOTER_BYTES).contains(&offset) {
            return Err(corrupt("its footer points nowhere"));
        }
        let mut index = vec![0; usize::try_from(bytes - offset).unwrap_or_default()];
        file.read_exact_at(&mut index, offset).map_err(failed("read"))?;
        let (series, first_ms, last_ms) = read_index(&index, offset)
            .ok_or_else(|| corrupt("its index is not what was written"))?;
        let mut places: Vec<_> =
            series.into_iter().map(|(labels, places)| (number(labels), places)).collect();
        places.sort_unstable_by_key(|(id, _)| *id);
        Ok(Self { path: path.to_owned(), file, bytes, first_ms, last_ms, places })
    }

    /// The numbers of its series, ascending.
    pub(crate) fn series(&self) -> impl Iterator<Item = u32> {
        self.places.iter().map(|(id, _)| *id)
    }

    /// Where a series' chunks lie.
    pub(crate) fn places(&self, id: u32) -> &[Place] {
        match self.places.binary_search_by_key(&id, |(own, _)| *own) {
            Ok(at) => &self.places[at].1,
            Err(_) => &[],
        }
    }

    /// The samples of a chunk.
    pub(crate) fn read(&self, place: &Place) -> Result<Vec<Sample>> {
        let mut bytes = vec![0; place.length as usize];
        self.file
            .read_exact_at(&mut bytes, place.offset)
            .map_err(Error::disk("read", &self.path))?;
        let intact = crc32c::crc32c(&bytes) == place.sum;
        intact.then(|| unpack(&bytes, place.count)).flatten().ok_or_else(|| Error::Corrupt {
            path: self.path.clone(),
            what: format!("the chunk at byte {} is not what was written", place.offset),
        })
    }

    /// The numbers of its series, and when the last sample of each is.
    pub(crate) fn ends(&self) -> impl Iterator<Item = (u32, i64)> {
        self.places.iter().filter_map(|(id, places)| Some((*id, places.last()?.last_ms)))
    }

    /// Removes its file, if somebody else has not.
    pub(crate) fn remove(&self) -> Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(Error::disk("remove", &self.path)),
        }
    }
}

fn put_file(folder: &Path, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let draft = path.with_extension("draft");
    let write = || {
        let mut file = File::create(&draft)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        fs::rename(&draft, path)?;
        File::open(folder)?.sync_all()
    };
    write().inspect_err(|_| {
        // What is there of it would only take room.
        let _ = fs::remove_file(&draft);
    })
}

type Index = (Vec<(Labels, Vec<Place>)>, i64, i64);

/// The index with its footer; none if it is not what was written. `end` is where the chunks end.
pub(crate) fn read_index(bytes: &[u8], end: u64) -> Option<Index> {
    let (checked, sum) = bytes.split_last_chunk::<4>()?;
    if crc32c::crc32c(checked) != u32::from_le_bytes(*sum) {
        return None;
    }
    let (index, footer) = checked.split_at_checked(checked.len().checked_sub(24)?)?;
    let mut footer = Reader(footer);
    footer.take(8)?;
    let first_ms = i64::from_le_bytes(footer.array()?);
    let last_ms = i64::from_le_bytes(footer.array()?);
    let mut reader = Reader(index);
    let mut series = Vec::new();
    while !reader.is_empty() {
        let labels = reader.labels()?;
        let count = reader.number()?;
        let places =
            (0..count).map(|_| read_place(&mut reader, end)).collect::<Option<Vec<_>>>()?;
        series.push((labels, places));
    }
    Some((series, first_ms, last_ms))
}

fn read_place(reader: &mut Reader<'_>, end: u64) -> Option<Place> {
    let place = Place {
        offset: reader.number()?,
        length: reader.small()?,
        count: reader.small()?,
        first_ms: reader.signed()?,
        last_ms: reader.signed()?,
        sum: u32::from_le_bytes(reader.array()?),
    };
    let fits = place.offset.checked_add(place.length.into())? <= end;
    fits.then_some(place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NAME;

    #[test]
    fn a_block_is_what_was_written_or_says_that_it_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let labels = Labels::new([(NAME, "up")]).unwrap();
        let mut chunk = Chunk::new(Sample::new(10, 1.0));
        chunk.push(Sample::new(20, 2.0));
        let path = Block::write(folder.path(), [(&labels, &[chunk][..])].into_iter()).unwrap();

        let block = Block::open(&path, |_| 3).unwrap();
        assert_eq!(
            (block.first_ms, block.last_ms, last_ms_of("block-00000000000010-00000000000020")),
            (10, 20, Some(20))
        );
        let samples = block.read(&block.places(3)[0]).unwrap();
        assert_eq!(samples, [Sample::new(10, 1.0), Sample::new(20, 2.0)]);

        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            fs::write(&path, &bytes).unwrap();
            let read = Block::open(&path, |_| 3).and_then(|block| block.read(&block.places(3)[0]));
            assert!(matches!(read, Err(Error::Corrupt { .. })), "byte {at}: {read:?}");
        }
    }
}
