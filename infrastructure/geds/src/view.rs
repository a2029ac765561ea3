//! Bytes of a sealed object, borrowed.

use crate::client::{Mapped, Pin};
use std::{fmt, ops::Deref, sync::Arc};

/// Bytes of a sealed object, as long as this lives: its memory is not used for anything else
/// meanwhile. Cheap to clone.
#[derive(Clone)]
pub struct View {
    bytes: Bytes,
}

#[derive(Clone)]
enum Bytes {
    /// In a slab, which the pin keeps in place.
    Shared { slab: Arc<Mapped>, offset: u64, len: u64, _pin: Pin },
    /// Read from disk, or put together from pieces.
    Owned(Arc<Vec<u8>>),
}

impl View {
    /// Bytes of a slab; none if the slab does not have them.
    pub(crate) fn shared(slab: Arc<Mapped>, offset: u64, len: u64, pin: Pin) -> Option<Self> {
        slab.region.sealed(offset, len)?;
        Some(Self { bytes: Bytes::Shared { slab, offset, len, _pin: pin } })
    }

    pub(crate) fn owned(bytes: Vec<u8>) -> Self {
        Self { bytes: Bytes::Owned(Arc::new(bytes)) }
    }

    /// Whether the bytes are borrowed from shared memory: else they were read into this process's.
    pub fn is_shared(&self) -> bool {
        matches!(self.bytes, Bytes::Shared { .. })
    }
}

impl Deref for View {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Shared { slab, offset, len, .. } => {
                slab.region.sealed(*offset, *len).unwrap_or_default()
            }
            Bytes::Owned(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for View {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "View({} bytes)", self.len())
    }
}
