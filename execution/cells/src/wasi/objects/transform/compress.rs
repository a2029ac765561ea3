//! Compressed files: Zstandard in chunks, with an index.
//!
//! ```text
//! header   16 bytes
//! chunk    a Zstandard frame, or the file's bytes where that would not be smaller
//! index    for each chunk u32 its bytes | u32 CRC-32C of the file's bytes in it
//! footer   u64 file's bytes | u32 CRC-32C of the index and of the footer so far
//! ```

use super::{
    CHUNK_BYTES, Chunks, Failed, HEADER_BYTES, Kind, Unreadable, chunk_bytes, each_chunk, header,
    last_chunk, read_exact,
};
use geds::{Object, Writer};
use std::io;

/// Zstandard's level: fast, for files are closed while programs wait.
const LEVEL: i32 = 1;

const ENTRY_BYTES: usize = 8;
const FOOTER_BYTES: usize = 12;

pub(super) fn encode(file: &Writer, to: &mut dyn io::Write) -> Result<(), Failed> {
    to.write_all(&header(Kind::Compressed))?;
    let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
    let (mut index, mut frame) =
        (Vec::new(), vec![0; zstd::zstd_safe::compress_bound(CHUNK_BYTES)]);
    each_chunk(file, |_, chunk, _| {
        let size = compressor.compress_to_buffer(chunk, &mut frame[..])?;
        let kept = if size < chunk.len() { &frame[..size] } else { chunk };
        index.extend((kept.len() as u32).to_le_bytes());
        index.extend(crc32c::crc32c(chunk).to_le_bytes());
        Ok(to.write_all(kept)?)
    })?;
    index.extend(file.len().to_le_bytes());
    index.extend(crc32c::crc32c(&index).to_le_bytes());
    Ok(to.write_all(&index)?)
}

/// A compressed object.
#[derive(Debug)]
pub(super) struct Compressed {
    object: Object,
    size: u64,
    /// Where chunks begin, and where the last one ends.
    places: Vec<u64>,
    sums: Vec<u32>,
}

impl Compressed {
    pub(super) fn open(object: Object, size: u64) -> Result<Self, Unreadable> {
        let whole = object.len();
        // Each chunk takes an entry, so this cannot be more than the object has.
        let entries = last_chunk(size).saturating_add(1);
        let tail = entries.saturating_mul(ENTRY_BYTES as u64).saturating_add(FOOTER_BYTES as u64);
        let index_at = whole.checked_sub(tail).filter(|at| *at >= HEADER_BYTES as u64);
        let index_at = index_at.ok_or(Unreadable::Damaged("it is too short for its index"))?;
        let mut start = [0; HEADER_BYTES];
        read_exact(&object, 0, &mut start)?;
        if start != header(Kind::Compressed) {
            return Err(Unreadable::Unknown);
        }
        let mut index = vec![0; tail as usize];
        read_exact(&object, index_at, &mut index)?;
        let (body, sum) = index.split_at(index.len() - 4);
        let (body, footer) = body.split_at(body.len() - 8);
        let summed = crc32c::crc32c_append(crc32c::crc32c(body), footer);
        if sum != summed.to_le_bytes() || footer != size.to_le_bytes() {
            return Err(Unreadable::Damaged("its index is not as it was written"));
        }
        let (mut places, mut sums) = (vec![HEADER_BYTES as u64], Vec::new());
        for (number, entry) in body.as_chunks::<ENTRY_BYTES>().0.iter().enumerate() {
            let [a, b, c, d, sum @ ..] = *entry;
            let kept = u64::from(u32::from_le_bytes([a, b, c, d]));
            if kept > chunk_bytes(size, number as u64) as u64 {
                return Err(Unreadable::Damaged("a chunk is larger than its bytes"));
            }
            places.push(places[number] + kept);
            sums.push(u32::from_le_bytes(sum));
        }
        if places.last() != Some(&index_at) {
            return Err(Unreadable::Damaged("its chunks and its index do not meet"));
        }
        Ok(Self { object, size, places, sums })
    }
}

impl Chunks for Compressed {
    fn checks_end(&self) -> bool {
        false
    }

    fn chunk(&self, number: u64) -> Result<Vec<u8>, Unreadable> {
        let behind = || Unreadable::Damaged("it has no such chunk");
        let place = usize::try_from(number).map_err(|_| behind())?;
        let (Some(&start), Some(&end), Some(&sum)) =
            (self.places.get(place), self.places.get(place + 1), self.sums.get(place))
        else {
            return Err(behind());
        };
        let size = chunk_bytes(self.size, number);
        let mut kept = vec![0; (end - start) as usize];
        read_exact(&self.object, start, &mut kept)?;
        let chunk = match kept.len() == size {
            true => kept,
            false => zstd::bulk::decompress(&kept, size)
                .map_err(|_| Unreadable::Damaged("a chunk cannot be decompressed"))?,
        };
        if crc32c::crc32c(&chunk) != sum {
            return Err(Unreadable::Damaged("a chunk is not as it was written"));
        }
        Ok(chunk)
    }
}
