//! Files of the disk tier.
//!
//! ```text
//! header   magic "CSGEDSF1" | u16 version | 2 zero bytes | u32 block size | u64 number | 8 zero bytes | u32 CRC-32C
//! extents  from byte 4096 on, each from a multiple of 64: the bytes, then from a multiple of 8 on
//!          a CRC-32C for each block of them, and the CRC-32C of those
//! ```
//!
//! An extent is found by its offset and its size, which the names have. Whoever reads any of its
//! bytes reads and checks their blocks whole.

use crate::{Error, Result};
use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// What one checksum is for.
pub(crate) const BLOCK_BYTES: u64 = 64 << 10;
/// Where the first extent of a file begins.
pub(crate) const EXTENTS_AT: u64 = 4096;

const MAGIC: [u8; 8] = *b"CSGEDSF1";
const FORMAT: u16 = 1;
const HEADER_BYTES: usize = 36;

/// The file of a number in a tenant's folder.
pub(crate) fn path(folder: &Path, file: u64) -> PathBuf {
    folder.join(format!("{file:016x}.geds"))
}

/// The number of a file, from its name.
pub(crate) fn number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".geds").filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16).ok()
}

fn header(file: u64) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(&MAGIC);
    header[8..10].copy_from_slice(&FORMAT.to_le_bytes());
    header[12..16].copy_from_slice(&(BLOCK_BYTES as u32).to_le_bytes());
    header[16..24].copy_from_slice(&file.to_le_bytes());
    let crc = crc32c::crc32c(&header[..32]);
    header[32..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// Writes the header of a new file.
pub(crate) fn begin(target: &File, file: u64) -> io::Result<()> {
    target.write_all_at(&header(file), 0)
}

/// Whether the file begins with the header of this number.
pub(crate) fn begins(source: &File, file: u64) -> bool {
    let mut found = [0; HEADER_BYTES];
    source.read_exact_at(&mut found, 0).is_ok() && found == header(file)
}

/// How many blocks so many bytes take.
pub(crate) fn blocks(size: u64) -> u64 {
    size.div_ceil(BLOCK_BYTES)
}

/// Where the checksums of an extent begin; none for what cannot be.
pub(crate) fn table_at(offset: u64, size: u64) -> Option<u64> {
    offset.checked_add(size)?.checked_next_multiple_of(8)
}

/// Where the extent behind this one may begin.
pub(crate) fn behind(offset: u64, size: u64) -> Option<u64> {
    let table = table_at(offset, size)?;
    table.checked_add(blocks(size) * 4 + 4)?.checked_next_multiple_of(64)
}

/// Writes the checksums of an extent behind its bytes.
pub(crate) fn seal(target: &File, offset: u64, size: u64, sums: &[u32]) -> io::Result<()> {
    let at = table_at(offset, size).ok_or(io::ErrorKind::InvalidInput)?;
    let mut table: Vec<u8> = sums.iter().flat_map(|sum| sum.to_le_bytes()).collect();
    let crc = crc32c::crc32c(&table);
    table.extend_from_slice(&crc.to_le_bytes());
    target.write_all_at(&table, at)
}

/// Takes bytes as they come and knows the checksums of their blocks and of all.
#[derive(Debug, Default)]
pub(crate) struct Sums {
    blocks: Vec<u32>,
    block: u32,
    filled: u64,
    size: u64,
}

impl Sums {
    pub(crate) fn add(&mut self, mut bytes: &[u8]) {
        self.size += bytes.len() as u64;
        while !bytes.is_empty() {
            let room = (BLOCK_BYTES - self.filled) as usize;
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.block = crc32c::crc32c_append(self.block, now);
            self.filled += now.len() as u64;
            if self.filled == BLOCK_BYTES {
                self.blocks.push(self.block);
                (self.block, self.filled) = (0, 0);
            }
            bytes = later;
        }
    }

    /// The checksums of the blocks, and that of all bytes.
    pub(crate) fn finish(mut self) -> (Vec<u32>, u32) {
        if self.filled > 0 {
            self.blocks.push(self.block);
        }
        let whole = combine(&self.blocks, self.size);
        (self.blocks, whole)
    }
}

/// The checksum of all bytes from those of their blocks.
pub(crate) fn combine(blocks: &[u32], size: u64) -> u32 {
    let mut rest = size;
    blocks.iter().fold(0, |whole, block| {
        let len = rest.min(BLOCK_BYTES);
        rest -= len;
        crc32c::crc32c_combine(whole, *block, len as usize)
    })
}

/// An extent of an open file.
#[derive(Debug)]
pub(crate) struct Extent {
    file: Arc<File>,
    offset: u64,
    size: u64,
    sums: Vec<u32>,
}

impl Extent {
    /// Opens an extent: reads and checks its checksums.
    pub(crate) fn open(file: Arc<File>, offset: u64, size: u64) -> Result<Self> {
        let short = || damaged("the file is too short");
        let at = table_at(offset, size).ok_or_else(short)?;
        let len = blocks(size).checked_mul(4).and_then(|len| len.checked_add(4));
        let len = len.ok_or_else(short)?;
        let there = file.metadata().map_err(Error::io("look at a file on disk"))?.len();
        if at.checked_add(len).is_none_or(|end| end > there) {
            return Err(short());
        }
        let mut table = vec![0; len as usize];
        file.read_exact_at(&mut table, at).map_err(Error::io("read checksums from disk"))?;
        let words: Vec<u32> = table
            .chunks_exact(4)
            .map(|word| u32::from_le_bytes(word.try_into().unwrap_or_default()))
            .collect();
        let Some((crc, sums)) = words.split_last() else { return Err(short()) };
        if crc32c::crc32c(&table[..table.len() - 4]) != *crc {
            return Err(damaged("its checksums do not match their own"));
        }
        Ok(Self { file, offset, size, sums: sums.to_vec() })
    }

    /// The checksums of larger blocks of so many bytes, and that of all.
    pub(crate) fn sums(&self, larger: u64) -> (Vec<u32>, u32) {
        let blocks = self.sums.chunks((larger / BLOCK_BYTES).max(1) as usize);
        let sizes = (0..).map(|at| larger.min(self.size.saturating_sub(at * larger)));
        let sums = blocks.zip(sizes).map(|(blocks, size)| combine(blocks, size)).collect();
        (sums, combine(&self.sums, self.size))
    }

    /// Copies bytes out, as many as there are from `start` on.
    pub(crate) fn read_at(&self, start: u64, buffer: &mut [u8]) -> Result<usize> {
        let end = self.size.min(start.saturating_add(buffer.len() as u64));
        let mut at = start;
        while at < end {
            let done = (at - start) as usize;
            at += self.read_block(at, &mut buffer[done..(end - start) as usize])? as u64;
        }
        Ok(end.saturating_sub(start) as usize)
    }

    /// Copies bytes of one block: straight into the buffer if it takes the block whole.
    fn read_block(&self, at: u64, buffer: &mut [u8]) -> Result<usize> {
        let block = at / BLOCK_BYTES;
        let begin = block * BLOCK_BYTES;
        let len = (self.size - begin).min(BLOCK_BYTES) as usize;
        if at == begin && buffer.len() >= len {
            self.load(block, &mut buffer[..len])?;
            return Ok(len);
        }
        let mut whole = vec![0; len];
        self.load(block, &mut whole)?;
        let skip = (at - begin) as usize;
        let count = buffer.len().min(len - skip);
        buffer[..count].copy_from_slice(&whole[skip..skip + count]);
        Ok(count)
    }

    fn load(&self, block: u64, buffer: &mut [u8]) -> Result<()> {
        let at = self.offset + block * BLOCK_BYTES;
        self.file.read_exact_at(buffer, at).map_err(Error::io("read from disk"))?;
        match self.sums.get(block as usize) {
            Some(sum) if *sum == crc32c::crc32c(buffer) => Ok(()),
            _ => Err(damaged(&format!("block {block} does not match its checksum"))),
        }
    }
}

fn damaged(why: &str) -> Error {
    Error::Corrupt { what: "an object on disk".to_owned(), why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use testkit::Folder;

    fn written(folder: &Folder, bytes: &[u8]) -> PathBuf {
        let path = folder.join("file");
        let file = File::create(&path).unwrap();
        begin(&file, 7).unwrap();
        file.write_all_at(bytes, EXTENTS_AT).unwrap();
        let mut sums = Sums::default();
        bytes.chunks(1000).for_each(|part| sums.add(part));
        let (blocks, whole) = sums.finish();
        assert_eq!(whole, crc32c::crc32c(bytes));
        seal(&file, EXTENTS_AT, bytes.len() as u64, &blocks).unwrap();
        path
    }

    #[test]
    fn any_changed_byte_is_noticed_when_it_is_read() {
        let folder = Folder::in_memory();
        let bytes: Vec<u8> = (0..150_000_u32).map(|n| n as u8).collect();
        let path = written(&folder, &bytes);
        let file = Arc::new(File::options().read(true).write(true).open(&path).unwrap());
        assert!(begins(&file, 7) && !begins(&file, 8));
        for at in [EXTENTS_AT, EXTENTS_AT + 100_000, table_at(EXTENTS_AT, 150_000).unwrap()] {
            let mut old = [0];
            file.read_exact_at(&mut old, at).unwrap();
            file.write_all_at(&[!old[0]], at).unwrap();
            let read = Extent::open(Arc::clone(&file), EXTENTS_AT, 150_000)
                .and_then(|extent| extent.read_at(0, &mut vec![0; 150_000]));
            assert_eq!(read.unwrap_err().kind(), crate::ErrorKind::Corrupt);
            file.write_all_at(&old, at).unwrap();
        }
        for (offset, size) in [(EXTENTS_AT, 1 << 40), (u64::MAX, 1), (1 << 40, 5)] {
            assert!(Extent::open(Arc::clone(&file), offset, size).is_err());
        }
    }

    proptest! {
        #[test]
        fn ranges_are_what_was_written(size in 0_usize..200_000, start in 0_u64..210_000, len in 0_usize..210_000) {
            let folder = Folder::in_memory();
            let bytes: Vec<u8> = (0..size).map(|n| (n * 7) as u8).collect();
            let file = File::open(written(&folder, &bytes)).unwrap();
            let extent = Extent::open(Arc::new(file), EXTENTS_AT, size as u64).unwrap();
            let mut buffer = vec![1; len];
            let count = extent.read_at(start, &mut buffer).unwrap();
            let (sums, whole) = extent.sums(2 * BLOCK_BYTES);
            let larger: Vec<u32> = bytes.chunks(2 * BLOCK_BYTES as usize).map(crc32c::crc32c).collect();
            prop_assert_eq!((sums, whole), (larger, crc32c::crc32c(&bytes)));
            let from = (start as usize).min(size);
            prop_assert_eq!(&buffer[..count], &bytes[from..size.min(from + len)]);
        }
    }
}
