//! A sealed object that was opened: what it was then, whatever its name becomes.

use crate::{Error, Result, Stat, View};
use std::{ops::Range, sync::Arc};

/// A sealed object. It stays readable, with the same bytes, when its name is overwritten, renamed
/// or deleted. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Object {
    stat: Stat,
    bytes: Arc<[u8]>,
}

impl Object {
    pub(crate) fn of(stat: Stat, bytes: Arc<[u8]>) -> Self {
        Self { stat, bytes }
    }

    /// How many bytes it has.
    #[expect(clippy::len_without_is_empty, reason = "a size, as of a file")]
    pub fn len(&self) -> u64 {
        self.stat.size
    }

    /// What is known about it.
    pub fn stat(&self) -> &Stat {
        &self.stat
    }

    /// Copies the bytes from `offset` on into `buffer`, as many as fit, and says how many: fewer
    /// than fit only at the end of the object, none behind it.
    ///
    /// # Errors
    /// [`Error::Corrupt`] and [`Error::Io`] for objects on disk.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX).min(self.bytes.len());
        let count = buffer.len().min(self.bytes.len() - offset);
        buffer[..count].copy_from_slice(&self.bytes[offset..offset + count]);
        Ok(count)
    }

    /// All bytes without a copy, if they lie together in memory.
    pub fn view(&self) -> Option<View> {
        View::of(Arc::clone(&self.bytes), 0, self.bytes.len())
    }

    /// These bytes without a copy, if they lie together in memory.
    ///
    /// # Errors
    /// [`Error::Range`] when the object does not have them.
    pub fn view_range(&self, range: Range<u64>) -> Result<Option<View>> {
        self.check(&range)?;
        Ok(View::of(Arc::clone(&self.bytes), range.start as usize, range.end as usize))
    }

    fn check(&self, range: &Range<u64>) -> Result<()> {
        if range.start <= range.end && range.end <= self.len() {
            return Ok(());
        }
        Err(Error::Range { offset: range.start, end: range.end, size: self.len() })
    }
}
