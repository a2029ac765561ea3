//! The guest's memory, every access checked.

use super::Errno;
use std::ops::Range;

/// A guest's linear memory during one call.
pub(crate) struct Guest<'m>(pub(crate) &'m mut [u8]);

impl Guest<'_> {
    /// The bytes at `start`, if they all exist.
    pub(crate) fn range(&self, start: u32, length: u32) -> Result<Range<usize>, Errno> {
        let start = start as usize;
        let end = start.checked_add(length as usize).ok_or(Errno::Fault)?;
        if end > self.0.len() {
            return Err(Errno::Fault);
        }
        Ok(start..end)
    }

    /// Borrows `length` bytes.
    pub(crate) fn slice(&self, start: u32, length: u32) -> Result<&[u8], Errno> {
        let range = self.range(start, length)?;
        Ok(&self.0[range])
    }

    /// Borrows `length` bytes to write to.
    pub(crate) fn slice_mut(&mut self, start: u32, length: u32) -> Result<&mut [u8], Errno> {
        let range = self.range(start, length)?;
        Ok(&mut self.0[range])
    }

    /// Borrows a path: UTF-8 without NUL, not longer than `limit_bytes`.
    pub(crate) fn path(&self, start: u32, length: u32, limit_bytes: u32) -> Result<&str, Errno> {
        if length > limit_bytes {
            return Err(Errno::Nametoolong);
        }
        let bytes = self.slice(start, length)?;
        let path = std::str::from_utf8(bytes).map_err(|_| Errno::Ilseq)?;
        if path.contains('\0') {
            return Err(Errno::Inval);
        }
        Ok(path)
    }

    fn array<const N: usize>(&self, start: u32) -> Result<[u8; N], Errno> {
        let bytes = self.slice(start, N as u32)?;
        bytes.try_into().map_err(|_| Errno::Fault)
    }

    /// Reads a little-endian number.
    pub(crate) fn u16(&self, at: u32) -> Result<u16, Errno> {
        self.array(at).map(u16::from_le_bytes)
    }

    /// Reads a little-endian number.
    pub(crate) fn u32(&self, at: u32) -> Result<u32, Errno> {
        self.array(at).map(u32::from_le_bytes)
    }

    /// Reads a little-endian number.
    pub(crate) fn u64(&self, at: u32) -> Result<u64, Errno> {
        self.array(at).map(u64::from_le_bytes)
    }

    /// Copies `bytes` to `at`.
    pub(crate) fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), Errno> {
        let length = u32::try_from(bytes.len()).map_err(|_| Errno::Fault)?;
        self.slice_mut(at, length)?.copy_from_slice(bytes);
        Ok(())
    }

    /// Writes a little-endian number.
    pub(crate) fn put_u32(&mut self, at: u32, value: u32) -> Result<(), Errno> {
        self.write(at, &value.to_le_bytes())
    }

    /// Writes a little-endian number.
    pub(crate) fn put_u64(&mut self, at: u32, value: u64) -> Result<(), Errno> {
        self.write(at, &value.to_le_bytes())
    }
}

/// A checked list of buffers in the guest's memory.
#[derive(Clone, Copy)]
pub(crate) struct Buffers {
    at: u32,
    count: u32,
}

impl Buffers {
    /// Checks that the list is not longer than `limit`, that it and every buffer lie in memory,
    /// and that the sum fits a size.
    pub(crate) fn check(
        memory: &Guest<'_>,
        at: u32,
        count: u32,
        limit: u32,
    ) -> Result<Self, Errno> {
        if count > limit {
            return Err(Errno::Inval);
        }
        memory.range(at, count.checked_mul(8).ok_or(Errno::Fault)?)?;
        let buffers = Self { at, count };
        let mut total: u32 = 0;
        for index in 0..count {
            let (start, length) = buffers.get(memory, index)?;
            memory.range(start, length)?;
            total = total.checked_add(length).ok_or(Errno::Inval)?;
        }
        Ok(buffers)
    }

    fn get(self, memory: &Guest<'_>, index: u32) -> Result<(u32, u32), Errno> {
        let at = self.at + index * 8;
        Ok((memory.u32(at)?, memory.u32(at + 4)?))
    }

    /// The place and length of the first buffers that are not empty, at most [`GROUP`]: a call
    /// may do less than it was asked, and the guest then asks again.
    ///
    /// They are copied out because a read may overwrite the list itself.
    pub(crate) fn group(self, memory: &Guest<'_>) -> Result<Group, Errno> {
        let mut group = Group { places: [(0, 0); GROUP], count: 0 };
        for index in 0..self.count {
            let buffer = self.get(memory, index)?;
            if buffer.1 == 0 {
                continue;
            }
            if group.count == GROUP {
                break;
            }
            group.places[group.count] = buffer;
            group.count += 1;
        }
        Ok(group)
    }
}

/// Buffers that one call fills or empties at most.
pub(crate) const GROUP: usize = 64;

/// Buffers that are not empty.
pub(crate) struct Group {
    places: [(u32, u32); GROUP],
    count: usize,
}

impl Group {
    pub(crate) fn places(&self) -> &[(u32, u32)] {
        &self.places[..self.count]
    }
}
