//! The bytes of a sealed object as a file has them.

use super::{
    Shared, errno, some,
    transform::{self, Decoder},
};
use crate::wasi::Errno;
use geds::{Object, Stat};

/// A sealed object that is open: it stays readable, in the same version, whatever becomes of its name.
#[derive(Debug)]
pub(super) struct Sealed {
    object: Object,
    /// None if the file's bytes are the object's.
    decoder: Option<Decoder>,
}

impl Sealed {
    /// Opens what a name has now.
    pub(super) fn open(shared: &Shared, name: &str) -> Result<Option<Self>, Errno> {
        let object = some(shared.store.object(&shared.bucket, &shared.key(name)))?;
        let Some(object) = object else { return Ok(None) };
        let decoder = shared.transform.decoder(&object)?;
        Ok(Some(Self { object, decoder }))
    }

    /// What is known of the object.
    pub(super) fn stat(&self) -> &Stat {
        self.object.stat()
    }

    /// How many bytes the file has.
    pub(super) fn size(&self) -> u64 {
        transform::size_of(self.stat())
    }

    /// Copies from the store's memory right to where the bytes are wanted, unless they are encoded.
    pub(super) fn read_at(&self, into: &mut [u8], offset: u64) -> Result<usize, Errno> {
        match &self.decoder {
            Some(decoder) => decoder.read_at(into, offset),
            None => self.object.read_at(offset, into).map_err(errno),
        }
    }
}
