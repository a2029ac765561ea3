//! Bytes of a sealed object, borrowed.

use std::{fmt, ops::Deref, sync::Arc};

/// Bytes of a sealed object, as long as this lives: its memory is not used for anything else
/// meanwhile. Cheap to clone.
#[derive(Clone)]
pub struct View {
    bytes: Arc<[u8]>,
    start: usize,
    end: usize,
}

impl View {
    pub(crate) fn of(bytes: Arc<[u8]>, start: usize, end: usize) -> Option<Self> {
        bytes.get(start..end)?;
        Some(Self { bytes, start, end })
    }
}

impl Deref for View {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
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
