//! The memory that a program's threads share, every access checked.

use crate::{Error, Result};
use std::{
    cell::UnsafeCell,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering},
    },
};

/// Where a program's bytes are.
pub trait LinearMemory: Send + Sync {
    /// All bytes that exist now. They may become more, but never move, and their first is aligned
    /// to 8.
    fn bytes(&self) -> &[UnsafeCell<u8>];
}

/// A checked view of the memory; cheap to clone.
#[derive(Clone)]
pub struct Memory(Arc<dyn LinearMemory>);

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memory").field("bytes", &self.0.bytes().len()).finish()
    }
}

impl Memory {
    /// A view of this memory.
    pub fn new(memory: Arc<dyn LinearMemory>) -> Self {
        Self(memory)
    }

    /// The first of `length` bytes that exist.
    fn pointer(&self, address: u32, length: u32, aligned: usize) -> Result<*mut u8> {
        let bytes = self.0.bytes();
        let wrong = || Error::Address { address, length };
        let end = (address as usize).checked_add(length as usize).ok_or_else(wrong)?;
        let range = bytes.get(address as usize..end).ok_or_else(wrong)?;
        let pointer = UnsafeCell::raw_get(range.as_ptr());
        if !pointer.addr().is_multiple_of(aligned) {
            return Err(wrong());
        }
        Ok(pointer)
    }

    /// The word at `address`, to be used atomically.
    #[expect(unsafe_code, reason = "guests share their memory as bytes")]
    pub(crate) fn word(&self, address: u32) -> Result<&AtomicU32> {
        let pointer = self.pointer(address, 4, 4)?;
        // SAFETY: the bytes exist as long as the memory does, which `self` keeps; they are aligned
        // and never accessed from Rust but through atomics.
        Ok(unsafe { AtomicU32::from_ptr(pointer.cast()) })
    }

    /// So many words, to be used atomically.
    #[expect(unsafe_code, reason = "guests share their memory as bytes")]
    pub(crate) fn words(&self, address: u32, count: u32) -> Result<&[AtomicU32]> {
        let wrong = || Error::Address { address, length: u32::MAX };
        let length = count.checked_mul(4).ok_or_else(wrong)?;
        let pointer = self.pointer(address, length, 4)?;
        // SAFETY: as in `word`; words in a row are laid out like an array of them.
        Ok(unsafe { std::slice::from_raw_parts(pointer.cast(), count as usize) })
    }

    #[expect(unsafe_code, reason = "guests share their memory as bytes")]
    fn long(&self, address: u32) -> Result<&AtomicU64> {
        let pointer = self.pointer(address, 8, 8)?;
        // SAFETY: as in `word`.
        Ok(unsafe { AtomicU64::from_ptr(pointer.cast()) })
    }

    #[expect(unsafe_code, reason = "guests share their memory as bytes")]
    fn byte(&self, address: u32) -> Result<&AtomicU8> {
        let pointer = self.pointer(address, 1, 1)?;
        // SAFETY: as in `word`.
        Ok(unsafe { AtomicU8::from_ptr(pointer) })
    }

    /// Reads a byte.
    pub(crate) fn u8(&self, address: u32) -> Result<u8> {
        Ok(self.byte(address)?.load(Ordering::Relaxed))
    }

    /// Writes a byte.
    pub(crate) fn put_u8(&self, address: u32, value: u8) -> Result<()> {
        self.byte(address)?.store(value, Ordering::Relaxed);
        Ok(())
    }

    /// Reads a word.
    pub fn u32(&self, address: u32) -> Result<u32> {
        Ok(u32::from_le(self.word(address)?.load(Ordering::Relaxed)))
    }

    /// Writes a word.
    pub fn put_u32(&self, address: u32, value: u32) -> Result<()> {
        self.word(address)?.store(value.to_le(), Ordering::Relaxed);
        Ok(())
    }

    /// Reads a long word.
    pub fn u64(&self, address: u32) -> Result<u64> {
        Ok(u64::from_le(self.long(address)?.load(Ordering::Relaxed)))
    }

    /// Writes a long word.
    pub fn put_u64(&self, address: u32, value: u64) -> Result<()> {
        self.long(address)?.store(value.to_le(), Ordering::Relaxed);
        Ok(())
    }

    /// Copies bytes to another place that does not overlap.
    pub(crate) fn copy(&self, from: u32, to: u32, length: u32) -> Result<()> {
        self.pointer(from, length, 1)?;
        self.pointer(to, length, 1)?;
        let words = if (from | to).is_multiple_of(4) { length / 4 * 4 } else { 0 };
        for at in (0..words).step_by(4) {
            self.put_u32(to + at, self.u32(from + at)?)?;
        }
        for at in words..length {
            self.byte(to + at)?.store(self.u8(from + at)?, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Sets bytes to zero.
    pub(crate) fn clear(&self, at: u32, length: u32) -> Result<()> {
        self.pointer(at, length, 1)?;
        for offset in 0..length {
            self.byte(at + offset)?.store(0, Ordering::Relaxed);
        }
        Ok(())
    }
}
