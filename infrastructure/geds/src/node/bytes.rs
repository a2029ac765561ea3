//! Bytes that the node reads, wherever they lie here.

use super::state::State;
use crate::{Error, Result, disk::Extent, shared::record::Place};
use std::{fs::File, os::unix::fs::FileExt, sync::Arc};

/// Bytes at a place.
#[derive(Debug)]
pub(super) enum Bytes {
    Slab { slab: File, offset: u64 },
    File(Extent),
}

impl Bytes {
    /// Opens the bytes at a place, and counts that they are read.
    pub(super) fn open(state: &mut State, place: Place, size: u64) -> Result<Self> {
        let damaged = |why: &str| Error::Corrupt {
            what: "the record of an object".to_owned(),
            why: why.to_owned(),
        };
        match place {
            Place::Slab { slot, generation, offset } => {
                let slab = state.slabs.get(slot, generation);
                let slab = slab.ok_or_else(|| damaged("it names memory that is not there"))?;
                if offset.checked_add(size).is_none_or(|end| end > slab.bytes()) {
                    return Err(damaged("it names more memory than there is"));
                }
                let file = File::from(slab.to_read()?);
                slab.busy += 1;
                Ok(Self::Slab { slab: file, offset })
            }
            Place::File { file, offset } => {
                let opened = state.files.open_one(file)?;
                let opened = opened.ok_or_else(|| damaged("it names a file that is not there"))?;
                let extent = Extent::open(Arc::new(opened), offset, size)?;
                if let Some(stored) = state.files.get(file) {
                    stored.busy += 1;
                }
                Ok(Self::File(extent))
            }
            Place::Nowhere | Place::Pieces { .. } | Place::Outside { .. } => {
                Err(damaged("it names no bytes"))
            }
        }
    }

    pub(super) fn read(&self, at: u64, part: &mut [u8]) -> Result<()> {
        match self {
            Self::Slab { slab, offset } => {
                slab.read_exact_at(part, offset + at).map_err(Error::io("read shared memory"))
            }
            Self::File(extent) => extent.read_at(at, part).map(|_| ()),
        }
    }
}
