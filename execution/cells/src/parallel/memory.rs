//! The memory that a program's threads share, or that its one thread has alone.

use super::guest::State;
use crate::snapshot::SnapshotError;
use openmp::LinearMemory;
use std::{
    cell::UnsafeCell,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use wasmtime::{AsContext, AsContextMut, Memory, MemoryType, SharedMemory};

/// Size of a Wasm page.
pub(super) const WASM_PAGE_BYTES: u64 = 64 << 10;

/// A program's memory.
#[derive(Clone)]
pub(super) enum Ground {
    /// That of all threads.
    Shared(SharedMemory),
    /// That of an unthreaded twin.
    Own(OwnMemory, Arc<Lent>),
}

/// A memory that belongs to the store of the one thread.
#[derive(Clone, Copy)]
pub(super) struct OwnMemory {
    /// Wasm pages at the start.
    pub(super) least: u32,
    /// Most Wasm pages.
    pub(super) most: u32,
    /// The memory, once the store is there.
    pub(super) memory: Option<Memory>,
}

impl OwnMemory {
    /// Its type.
    pub(super) fn ty(&self) -> MemoryType {
        MemoryType::new(self.least, Some(self.most))
    }
}

/// Where the memory of an unthreaded twin lies; its one thread alone looks there.
#[derive(Default)]
pub(super) struct Lent {
    base: AtomicUsize,
    len: AtomicUsize,
}

struct Shared(SharedMemory);

impl LinearMemory for Shared {
    fn bytes(&self) -> &[UnsafeCell<u8>] {
        self.0.data()
    }
}

struct Borrowed(Arc<Lent>);

impl LinearMemory for Borrowed {
    #[expect(unsafe_code, reason = "the functions of OpenMP follow addresses of the guest")]
    fn bytes(&self) -> &[UnsafeCell<u8>] {
        let (base, len) = (self.0.base.load(Ordering::Relaxed), self.0.len.load(Ordering::Relaxed));
        if len == 0 {
            return &[];
        }
        // SAFETY: so many bytes were there when the guest last called or was called; memory only
        // grows, and the engine reserves all that a 32-bit one can have, so that it never moves.
        // The thread whose store it belongs to is the only one that looks, and `Ground::end` comes
        // before the store goes.
        unsafe { std::slice::from_raw_parts(base as *const UnsafeCell<u8>, len) }
    }
}

impl Ground {
    /// How OpenMP sees it.
    pub(super) fn view(&self) -> openmp::Memory {
        openmp::Memory::new(match self {
            Self::Shared(memory) => Arc::new(Shared(memory.clone())),
            Self::Own(_, lent) => Arc::new(Borrowed(lent.clone())),
        })
    }

    /// Notes how large it is now.
    pub(super) fn look(&self, store: impl AsContext) {
        if let Self::Own(OwnMemory { memory: Some(memory), .. }, lent) = self {
            lent.base.store(memory.data_ptr(&store) as usize, Ordering::Relaxed);
            lent.len.store(memory.data_size(&store), Ordering::Relaxed);
        }
    }

    /// Its store is about to go.
    pub(super) fn end(&self) {
        if let Self::Own(_, lent) = self {
            lent.len.store(0, Ordering::Relaxed);
        }
    }
}

/// Works on the bytes of the store's memory.
#[expect(unsafe_code, reason = "the functions of WASI work on plain bytes")]
pub(super) fn with_bytes<R>(
    mut store: impl AsContextMut<Data = State>,
    work: impl FnOnce(&mut [u8], &mut State) -> R,
) -> R {
    let mut store = store.as_context_mut();
    match store.data().ground.clone() {
        Ground::Shared(memory) => {
            let bytes = memory.data();
            // SAFETY: the bytes exist and stay where they are as long as the memory does. A program
            // whose threads write to a buffer that it has passed to a call gets some mixture of
            // bytes in it, which WASI has to expect of a guest.
            let bytes = unsafe {
                std::slice::from_raw_parts_mut(UnsafeCell::raw_get(bytes.as_ptr()), bytes.len())
            };
            work(bytes, store.data_mut())
        }
        Ground::Own(OwnMemory { memory: Some(memory), .. }, _) => {
            let (bytes, state) = memory.data_and_store_mut(&mut store);
            work(bytes, state)
        }
        Ground::Own(..) => work(&mut [], store.data_mut()),
    }
}

/// Makes the memory at least so large.
pub(super) fn grow_to(
    mut store: impl AsContextMut<Data = State>,
    bytes: u64,
) -> Result<(), SnapshotError> {
    let mut store = store.as_context_mut();
    let there = with_bytes(&mut store, |bytes, _| bytes.len() as u64);
    let missing = bytes.saturating_sub(there).div_ceil(WASM_PAGE_BYTES);
    if missing == 0 {
        return Ok(());
    }
    let ground = store.data().ground.clone();
    let grown = match &ground {
        Ground::Shared(memory) => memory.grow(missing).is_ok(),
        Ground::Own(OwnMemory { memory: Some(memory), .. }, _) => {
            memory.grow(&mut store, missing).is_ok()
        }
        Ground::Own(..) => false,
    };
    ground.look(&store);
    if grown {
        return Ok(());
    }
    let reason = format!("it needs {bytes} bytes of memory, more than the program may have");
    Err(SnapshotError::Malformed { section: "memory size", reason })
}
