//! Ranks for fuzz targets: memories, functions that MPI may call, and an allocator that counts.

use mpi::{Abort, Callback, Memory, Rank};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::UnsafeCell,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Bytes of a rank's memory.
pub const MEMORY_BYTES: usize = 64 << 10;
/// Any rank, any tag.
pub const ANY: i32 = -1;
pub const WORLD: i32 = 1;

/// Counts what is allocated.
struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(now, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Runs a trial of so many bytes, which may allocate a fixed amount and `each` for every byte.
pub fn within(bytes: usize, fixed: usize, each: usize, trial: impl FnOnce()) {
    let before = ALLOCATED.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    trial();
    let took = PEAK.load(Ordering::Relaxed).saturating_sub(before);
    assert!(took <= fixed + each * bytes, "{bytes} bytes made it allocate {took}");
}

/// A memory that never moves.
struct Linear(Box<[UnsafeCell<u8>]>);

// SAFETY: only raw pointers to it are ever followed.
unsafe impl Sync for Linear {}

// SAFETY: the box is neither moved nor shrunk while it lives.
unsafe impl Memory for Linear {
    fn base(&self) -> *mut u8 {
        self.0.as_ptr().cast_mut().cast()
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

pub fn memory() -> Arc<dyn Memory> {
    Arc::new(Linear((0..MEMORY_BYTES).map(|_| UnsafeCell::new(0)).collect()))
}

/// A guest whose functions do nothing.
pub struct Nothing;

impl Callback for Nothing {
    fn call(&mut self, _: &mut Rank, _: u32, _: &[i32], _: bool) -> Result<i32, Abort> {
        Ok(0)
    }

    fn alloc(&mut self, bytes: u32) -> Result<u32, Abort> {
        Ok(if bytes as usize <= MEMORY_BYTES / 2 { MEMORY_BYTES as u32 / 2 } else { 0 })
    }

    fn free(&mut self, _: u32) -> Result<(), Abort> {
        Ok(())
    }
}

/// Cuts a row off that begins with its length in `N` bytes; what there is of it.
pub fn cut<'a, const N: usize>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, rest) = bytes.split_first_chunk::<N>()?;
    let len = len.iter().rev().fold(0_usize, |len, byte| len << 8 | usize::from(*byte));
    let (row, rest) = rest.split_at(len.min(rest.len()));
    *bytes = rest;
    Some(row)
}
