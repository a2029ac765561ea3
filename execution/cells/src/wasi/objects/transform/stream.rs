//! A file that is encrypted while it is written, for as long as it is only appended to: its bytes are
//! copied once, and take room once.

use super::{CHUNK_BYTES, Failed, FileKey, encrypt::Sealer};
use geds::{Put, Stat, Writer};
use std::fmt;

/// An encrypted file that is not sealed yet.
pub(in super::super) struct EncryptedWriter {
    sealer: Sealer,
    to: Writer,
    /// What follows the chunks that are encrypted: at least a byte, for the last chunk is marked, and
    /// at most a chunk.
    rest: Vec<u8>,
    len: u64,
}

impl fmt::Debug for EncryptedWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncryptedWriter").field("len", &self.len).finish_non_exhaustive()
    }
}

impl EncryptedWriter {
    /// An empty one, whose object `to` becomes.
    pub(in super::super) fn begin(key: &FileKey, mut to: Writer) -> geds::Result<Self> {
        let sealer = Sealer::begin(key, &mut to).map_err(Failed::into_error)?;
        Ok(Self { sealer, to, rest: Vec::with_capacity(CHUNK_BYTES), len: 0 })
    }

    /// Bytes of the file so far.
    pub(in super::super) fn len(&self) -> u64 {
        self.len
    }

    /// Adds bytes. After an error the file is as it was, and can be read, but nothing can be added.
    pub(in super::super) fn append(&mut self, bytes: &[u8]) -> geds::Result<()> {
        let mut left = bytes;
        while self.rest.len() + left.len() > CHUNK_BYTES {
            let (now, later) = left.split_at(CHUNK_BYTES - self.rest.len());
            let mut fill = |chunk: &mut [u8]| {
                let (first, second) = chunk.split_at_mut(self.rest.len());
                first.copy_from_slice(&self.rest);
                second.copy_from_slice(now);
                Ok(())
            };
            let added = self.sealer.chunk(CHUNK_BYTES, false, &mut fill, &mut self.to);
            added.map_err(Failed::into_error)?;
            self.rest.clear();
            left = later;
        }
        self.rest.extend_from_slice(left);
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Reads what was written so far; fewer bytes than are asked for at the end only.
    pub(in super::super) fn read_at(&self, offset: u64, into: &mut [u8]) -> geds::Result<usize> {
        let end = self.len.min(offset.saturating_add(into.len() as u64));
        let mut at = offset;
        while at < end {
            let (number, start) = (at / CHUNK_BYTES as u64, (at % CHUNK_BYTES as u64) as usize);
            let to = &mut into[(at - offset) as usize..(end - offset) as usize];
            at += if number < self.sealer.chunks() {
                let chunk = self.sealer.read_back(number, &self.to).map_err(Failed::into_error)?;
                copied(to, &chunk[start..])
            } else {
                copied(to, &self.rest[start..])
            } as u64;
        }
        Ok(at.saturating_sub(offset) as usize)
    }

    /// Makes it an object.
    pub(in super::super) fn seal_as(mut self, key: &str, put: Put) -> geds::Result<Stat> {
        let mut fill = |chunk: &mut [u8]| {
            chunk.copy_from_slice(&self.rest);
            Ok(())
        };
        let added = self.sealer.chunk(self.rest.len(), true, &mut fill, &mut self.to);
        added.map_err(Failed::into_error)?;
        self.to.seal_as(key, put)
    }
}

/// Copies as much as there is and as has room.
fn copied(to: &mut [u8], from: &[u8]) -> usize {
    let count = to.len().min(from.len());
    to[..count].copy_from_slice(&from[..count]);
    count
}
