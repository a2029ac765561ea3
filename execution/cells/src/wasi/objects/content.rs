//! The bytes of an open file.

use super::{errno, sealed::Sealed, transform::EncryptedWriter};
use crate::wasi::Errno;
use geds::Writer;

/// What is copied at once when a sealed file is written to.
const COPY_BYTES: usize = 1 << 20;

/// Where they are.
#[derive(Debug)]
pub(super) enum Content {
    Sealed(Sealed),
    /// Seen by this mount alone, as is the next.
    Unsealed(Writer),
    /// A large file of an encrypted mount that was only appended to.
    Encrypting(Box<EncryptedWriter>),
    /// Sealing was refused, or somebody else removed it while it was sealed.
    Gone,
}

impl Content {
    pub(super) fn size(&self) -> Result<u64, Errno> {
        match self {
            Self::Sealed(sealed) => Ok(sealed.size()),
            Self::Unsealed(writer) => Ok(writer.len()),
            Self::Encrypting(writer) => Ok(writer.len()),
            Self::Gone => Err(Errno::Stale),
        }
    }

    pub(super) fn read_at(&self, into: &mut [u8], offset: u64) -> Result<usize, Errno> {
        match self {
            Self::Sealed(sealed) => sealed.read_at(into, offset),
            Self::Unsealed(writer) => writer.read_at(offset, into).map_err(errno),
            Self::Encrypting(writer) => writer.read_at(offset, into).map_err(errno),
            Self::Gone => Err(Errno::Stale),
        }
    }

    /// Copies the first bytes of the file.
    pub(super) fn copy(&self, size: u64, to: &mut Writer) -> Result<(), Errno> {
        let mut buffer = vec![0; COPY_BYTES.min(usize::try_from(size).unwrap_or(COPY_BYTES))];
        let mut at = 0;
        while at < size {
            let most = buffer.len().min(usize::try_from(size - at).unwrap_or(COPY_BYTES));
            let count = self.read_at(&mut buffer[..most], at)?;
            if count == 0 {
                return Err(Errno::Io);
            }
            to.write_at(at, &buffer[..count]).map_err(errno)?;
            at += count as u64;
        }
        Ok(())
    }
}
