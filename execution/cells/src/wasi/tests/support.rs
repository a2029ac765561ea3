//! Small helpers of the tests.

use crate::wasi::{Errno, Grant, LocalFolder, ObjectFolder, Rights, Sources, Transform, Wasi};
use geds::Geds;
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// A store of the test's own, with an empty bucket.
pub(super) fn objects() -> (testkit::Folder, Geds) {
    objects_within(geds::Limits { memory_bytes: 64 << 20, ..geds::Limits::default() })
}

/// The same with other limits.
pub(super) fn objects_within(limits: geds::Limits) -> (testkit::Folder, Geds) {
    let folder = testkit::Folder::in_memory();
    let store = Geds::open(geds::Config::alone(folder.path()).limits(limits));
    let store = store.expect("the store opens");
    store.create_bucket("lab").expect("it is made");
    (folder, store)
}

/// A bucket as a grant.
pub(super) fn bucket(store: &Geds, guest_path: &str) -> Grant {
    let mount =
        ObjectFolder::new(store.clone(), "lab", "", Transform::None).expect("there is a bucket");
    Grant { guest_path: guest_path.to_owned(), mount: Arc::new(mount), read_only: false }
}

/// A folder as a grant.
pub(super) fn granted(path: &Path, guest_path: &str) -> Grant {
    let mount = LocalFolder::open(path).expect("the folder opens");
    Grant { guest_path: guest_path.to_owned(), mount: Arc::new(mount), read_only: false }
}

/// Time that stands still until it is moved, and randomness that is none.
#[derive(Clone)]
pub(super) struct Still(Arc<AtomicU64>);

impl Still {
    pub(super) fn at(ns: u64) -> Self {
        Self(Arc::new(AtomicU64::new(ns)))
    }

    pub(super) fn advance(&self, ns: u64) {
        self.0.fetch_add(ns, Ordering::Relaxed);
    }
}

impl Sources for Still {
    fn realtime_ns(&mut self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn monotonic_ns(&mut self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn random(&mut self, into: &mut [u8]) -> Result<(), Errno> {
        into.fill(4);
        Ok(())
    }
}

/// Writes a number where a guest would.
pub(super) fn put(memory: &mut [u8], at: u32, value: u32) {
    memory[at as usize..at as usize + 4].copy_from_slice(&value.to_le_bytes());
}

/// A guest's memory.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct GuestMemory(pub(super) Vec<u8>);

impl GuestMemory {
    pub(super) fn new() -> Self {
        Self(vec![0; 16 << 10])
    }

    /// With one buffer, listed at 0.
    pub(super) fn with_buffer(start: u32, length: u32) -> Self {
        let mut memory = Self::new();
        put(&mut memory.0, 0, start);
        put(&mut memory.0, 4, length);
        memory
    }

    pub(super) fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.0[at..at + 4].try_into().expect("four bytes"))
    }

    pub(super) fn clock_subscription(&mut self, at: usize, timeout_ns: u64, absolute: bool) {
        self.0[at..at + 48].fill(0);
        self.0[at + 16] = 1;
        self.0[at + 24..at + 32].copy_from_slice(&timeout_ns.to_le_bytes());
        self.0[at + 40] = u8::from(absolute);
    }

    pub(super) fn read_subscription(&mut self, at: usize, fd: u8) {
        self.0[at..at + 48].fill(0);
        self.0[at + 8] = 1;
        self.0[at + 16] = fd;
    }
}

/// Places of the helper functions below in a guest's memory.
const PATH: u32 = 1024;
const RESULT: u32 = 8;

/// Opens `path` below descriptor 3.
pub(super) fn open(wasi: &mut Wasi, path: &str, oflags: u32, rights: Rights) -> Result<u32, Errno> {
    let mut memory = GuestMemory::new();
    memory.0[PATH as usize..PATH as usize + path.len()].copy_from_slice(path.as_bytes());
    let length = path.len() as u32;
    wasi.path_open(&mut memory.0, 3, 1, PATH, length, oflags, rights.0, 0, 0, RESULT)?;
    Ok(memory.u32(RESULT as usize))
}

/// Writes all of `bytes`.
pub(super) fn write(wasi: &mut Wasi, fd: u32, bytes: &[u8]) -> Result<(), Errno> {
    let mut memory = GuestMemory::with_buffer(PATH, bytes.len() as u32);
    memory.0[PATH as usize..PATH as usize + bytes.len()].copy_from_slice(bytes);
    wasi.fd_write(&mut memory.0, fd, 0, 1, RESULT)?;
    assert_eq!(memory.u32(RESULT as usize) as usize, bytes.len());
    Ok(())
}

/// Reads what is there, up to 4096 bytes.
pub(super) fn read(wasi: &mut Wasi, fd: u32) -> Result<Vec<u8>, Errno> {
    let mut memory = GuestMemory::with_buffer(PATH, 4096);
    match wasi.fd_read(&mut memory.0, fd, 0, 1, RESULT) {
        crate::wasi::Outcome::Return(Errno::Success) => {}
        crate::wasi::Outcome::Return(errno) => return Err(errno),
        other => panic!("{other:?}"),
    }
    let length = memory.u32(RESULT as usize) as usize;
    Ok(memory.0[PATH as usize..PATH as usize + length].to_vec())
}

/// A call that takes a path below descriptor 3.
pub(super) fn with_path<T>(path: &str, call: impl FnOnce(&mut [u8], u32, u32) -> T) -> T {
    let mut memory = GuestMemory::new();
    memory.0[PATH as usize..PATH as usize + path.len()].copy_from_slice(path.as_bytes());
    call(&mut memory.0, PATH, path.len() as u32)
}
