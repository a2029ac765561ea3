//! Bytes on their way outside.

use super::composed::Composed;
use crate::{Result, backend::BLOCK_BYTES, disk::Extent, shared::Region};
use bytes::Bytes;
use std::sync::Arc;

/// The checksum of each block, and that of all.
pub(super) type Sums = (Vec<u32>, u32);

/// Where the bytes of an object are that goes outside.
#[derive(Debug, Clone)]
pub(super) enum Source {
    Slab { region: Arc<Region>, offset: u64, size: u64 },
    File { extent: Arc<Extent>, size: u64 },
    Pieces(Arc<Composed>),
}

/// Bytes of a slab that the plan keeps from being used again.
struct Borrowed {
    region: Arc<Region>,
    offset: u64,
    len: u64,
}

impl AsRef<[u8]> for Borrowed {
    fn as_ref(&self) -> &[u8] {
        self.region.sealed(self.offset, self.len).unwrap_or_default()
    }
}

impl Source {
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Slab { size, .. } | Self::File { size, .. } => *size,
            Self::Pieces(composed) => composed.size(),
        }
    }

    /// A range of the bytes: without a copy where they lie in memory.
    pub(super) fn read(&self, range: std::ops::Range<u64>) -> Result<Bytes> {
        let len = range.end - range.start;
        match self {
            Self::Slab { region, offset, .. } => {
                let region = Arc::clone(region);
                Ok(Bytes::from_owner(Borrowed { region, offset: offset + range.start, len }))
            }
            Self::File { extent, .. } => {
                let mut bytes = vec![0; len as usize];
                let count = extent.read_at(range.start, &mut bytes)?;
                bytes.truncate(count);
                Ok(bytes.into())
            }
            Self::Pieces(composed) => composed.read(range),
        }
    }

    /// The checksum of each block, and that of all, if they are known before the bytes were sent.
    pub(super) fn sums_before(&self) -> Result<Option<Sums>> {
        match self {
            Self::Slab { .. } => self.sums().map(Some),
            Self::File { extent, .. } => Ok(Some(extent.sums(BLOCK_BYTES))),
            Self::Pieces(_) => Ok(None),
        }
    }

    fn sums(&self) -> Result<Sums> {
        let size = self.size();
        let mut sums = Vec::new();
        let mut whole = 0;
        for block in 0..size.div_ceil(BLOCK_BYTES) {
            let range = block * BLOCK_BYTES..size.min((block + 1) * BLOCK_BYTES);
            let len = range.end - range.start;
            let crc = crc32c::crc32c(&self.read(range)?);
            whole = crc32c::crc32c_combine(whole, crc, len as usize);
            sums.push(crc);
        }
        Ok((sums, whole))
    }
}
