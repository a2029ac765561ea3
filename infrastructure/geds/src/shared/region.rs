//! A mapped file of shared memory: the only unsafe code of this crate.

#![allow(unsafe_code)]

use crate::{Error, Result};
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{MemfdFlags, SealFlags, fcntl_add_seals, fstat, ftruncate, memfd_create},
    mm::{MapFlags, ProtFlags, mmap, munmap},
};
use std::{
    io,
    ptr::{self, NonNull},
    sync::atomic::{AtomicU32, AtomicU64},
};

/// From this size on bytes are copied past the cache.
const STREAMED_MIN: usize = 64 << 10;

/// What a region is mapped for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Reading alone.
    Read,
    /// Reading and writing.
    Write,
    /// The same, with all pages entered into the page table at once.
    WritePopulated,
}

/// A mapping of a whole file of shared memory.
#[derive(Debug)]
pub(crate) struct Region {
    base: NonNull<u8>,
    len: usize,
    writable: bool,
}

// SAFETY: the mapping belongs to the region until it is dropped, whichever thread does that; shared
// access goes through atomics, through copies into ranges that their writer alone was lent, and
// through slices of ranges that nobody writes any more.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

/// Makes a file of shared memory that keeps its size for good.
pub(crate) fn memory_file(name: &str, len: u64) -> Result<OwnedFd> {
    let make = || -> rustix::io::Result<OwnedFd> {
        let file = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&file, len)?;
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Ok(file)
    };
    make().map_err(|error| Error::io("make shared memory")(error.into()))
}

impl Region {
    /// Maps all of `file`.
    pub(crate) fn map(file: impl AsFd, access: Access) -> Result<Self> {
        let failed = |error: io::Error| Error::io("map shared memory")(error);
        let size = fstat(&file).map_err(|error| failed(error.into()))?.st_size;
        let len = usize::try_from(size).ok().filter(|len| *len > 0);
        let len = len.ok_or_else(|| failed(io::ErrorKind::InvalidData.into()))?;
        let (protection, flags) = match access {
            Access::Read => (ProtFlags::READ, MapFlags::SHARED),
            Access::Write => (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED),
            Access::WritePopulated => {
                (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED | MapFlags::POPULATE)
            }
        };
        // SAFETY: a new mapping at a place of the kernel's choice. The file cannot shrink: the node
        // seals it so before it hands it out.
        let base = unsafe { mmap(ptr::null_mut(), len, protection, flags, &file, 0) };
        let base = base.map_err(|error| failed(error.into()))?;
        let base = NonNull::new(base.cast()).ok_or_else(|| failed(io::ErrorKind::Other.into()))?;
        Ok(Self { base, len, writable: access != Access::Read })
    }

    pub(crate) fn len(&self) -> u64 {
        self.len as u64
    }

    /// Where `len` bytes at `offset` begin, if the region has them.
    fn place(&self, offset: u64, len: u64) -> Option<*mut u8> {
        let end = offset.checked_add(len)?;
        if end > self.len() {
            return None;
        }
        // SAFETY: `offset` lies in the mapping or just behind it.
        Some(unsafe { self.base.as_ptr().add(offset as usize) })
    }

    /// The word at `offset`, a multiple of 8.
    pub(crate) fn word(&self, offset: u64) -> Option<&AtomicU64> {
        let place = self.place(offset, 8).filter(|_| offset.is_multiple_of(8))?;
        // SAFETY: within the mapping, which lives as long as `self`, and aligned, as mappings begin
        // at a page. All access to words is atomic. Who maps for reading only loads.
        Some(unsafe { AtomicU64::from_ptr(place.cast()) })
    }

    /// The half word at `offset`, a multiple of 4.
    pub(crate) fn half(&self, offset: u64) -> Option<&AtomicU32> {
        let place = self.place(offset, 4).filter(|_| offset.is_multiple_of(4))?;
        // SAFETY: as for `word`.
        Some(unsafe { AtomicU32::from_ptr(place.cast()) })
    }

    /// Copies bytes into a range that was lent to this process for writing and to no other thread
    /// of it. False where the region does not have it or cannot be written.
    pub(crate) fn copy_in(&self, offset: u64, bytes: &[u8]) -> bool {
        let place = self.place(offset, bytes.len() as u64).filter(|_| self.writable);
        let Some(place) = place else { return false };
        // SAFETY: within a writable mapping; `bytes` lies elsewhere, for borrowed ranges of slabs
        // are sealed and this one is not.
        unsafe {
            if bytes.len() >= STREAMED_MIN {
                stream(bytes, place);
            } else {
                ptr::copy(bytes.as_ptr(), place, bytes.len());
            }
        }
        true
    }

    /// Lets `write` fill a range, lent as for `copy_in`. None where the region does not have it or cannot be written.
    pub(crate) fn fill<R>(
        &self,
        offset: u64,
        len: u64,
        write: impl FnOnce(&mut [u8]) -> R,
    ) -> Option<R> {
        let place = self.place(offset, len).filter(|_| self.writable)?;
        // SAFETY: within a writable mapping, and lent to this thread alone: nobody borrows it
        // meanwhile.
        Some(write(unsafe { std::slice::from_raw_parts_mut(place, len as usize) }))
    }

    /// Fills a range, lent as for `copy_in`, with zeros.
    pub(crate) fn zero(&self, offset: u64, len: u64) -> bool {
        let place = self.place(offset, len).filter(|_| self.writable);
        let Some(place) = place else { return false };
        // SAFETY: as for `copy_in`.
        unsafe { ptr::write_bytes(place, 0, len as usize) };
        true
    }

    /// Copies bytes out of a range.
    pub(crate) fn copy_out(&self, offset: u64, buffer: &mut [u8]) -> bool {
        let Some(place) = self.place(offset, buffer.len() as u64) else { return false };
        // SAFETY: within the mapping, and a unique borrow cannot overlap it.
        unsafe { ptr::copy_nonoverlapping(place, buffer.as_mut_ptr(), buffer.len()) };
        true
    }

    /// Bytes that are sealed: nobody writes them as long as whoever borrows them has them pinned.
    /// A process that breaks this has the memory of its own tenant alone.
    pub(crate) fn sealed(&self, offset: u64, len: u64) -> Option<&[u8]> {
        let place = self.place(offset, len)?;
        // SAFETY: within the mapping, and not written meanwhile, as above.
        Some(unsafe { std::slice::from_raw_parts(place, len as usize) })
    }
}

/// Copies past the cache, which has no room for objects of this size: it would first read all
/// that is overwritten.
///
/// # Safety
/// `bytes.len()` bytes at `place` can be written, and are no part of `bytes`.
#[cfg(target_arch = "x86_64")]
unsafe fn stream(bytes: &[u8], place: *mut u8) {
    use std::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_sfence, _mm_stream_si128};
    const VECTOR: usize = size_of::<__m128i>();
    let ahead = place.align_offset(VECTOR).min(bytes.len());
    let (head, rest) = bytes.split_at(ahead);
    let vectors = rest.chunks_exact(VECTOR);
    let tail = vectors.remainder();
    // SAFETY: all parts lie within `bytes` and behind each other from `place` on; the vectors
    // begin where `place` is aligned. What is streamed is seen before what is stored after the
    // fence.
    unsafe {
        ptr::copy_nonoverlapping(head.as_ptr(), place, head.len());
        let mut at = place.add(ahead);
        for vector in vectors {
            _mm_stream_si128(at.cast(), _mm_loadu_si128(vector.as_ptr().cast()));
            at = at.add(VECTOR);
        }
        ptr::copy_nonoverlapping(tail.as_ptr(), at, tail.len());
        _mm_sfence();
    }
}

/// As above, where it is not known to be better.
#[cfg(not(target_arch = "x86_64"))]
unsafe fn stream(bytes: &[u8], place: *mut u8) {
    // SAFETY: as the caller says.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), place, bytes.len()) };
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the mapping that `map` made; borrows of it have ended.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_beyond_a_region_is_reached() {
        let file = memory_file("test", 4096).unwrap();
        let region = Region::map(&file, Access::Write).unwrap();
        assert!(region.word(4088).is_some() && region.half(4092).is_some());
        assert!(region.word(4089).is_none() && region.word(4096).is_none());
        assert!(region.word(u64::MAX - 7).is_none() && region.half(u64::MAX - 3).is_none());
        assert!(region.copy_in(4090, b"sealed") && !region.copy_in(4091, b"sealed"));
        assert!(!region.zero(1, 4096) && !region.copy_out(1, &mut [0; 4096]));
        assert_eq!(region.sealed(4090, 6), Some(b"sealed".as_slice()));
        assert_eq!(region.sealed(4090, 7), None);
        assert_eq!(region.sealed(u64::MAX, 2), None);
    }

    #[test]
    fn large_copies_are_whole_wherever_they_begin() {
        let file = memory_file("test", 2 << 20).unwrap();
        let region = Region::map(&file, Access::Write).unwrap();
        let bytes: Vec<u8> = (0..STREAMED_MIN + 61).map(|n| (n / 3) as u8).collect();
        for (offset, from) in [(0, 0), (1, 0), (64, 7), (4095, 60)] {
            assert!(region.zero(0, 2 << 20) && region.copy_in(offset, &bytes[from..]));
            let len = (bytes.len() - from) as u64;
            assert!(region.sealed(offset, len).unwrap() == &bytes[from..]);
            assert_eq!(region.sealed(offset + len, 1), Some(&[0][..]));
        }
    }

    #[test]
    fn what_is_mapped_for_reading_is_not_written() {
        let file = memory_file("test", 4096).unwrap();
        let region = Region::map(&file, Access::Read).unwrap();
        assert!(!region.copy_in(0, b"x") && !region.zero(0, 1));
        assert!(rustix::fs::ftruncate(&file, 0).is_err(), "it could shrink under its readers");
    }
}
