//! A program on threads as a file, and back.
//!
//! ```text
//! identity · threads · descriptors · pages · memory size · globals · commit
//! ```
//! What is needed before the program is there stands before its memory, so that the file is
//! checked and the runtime is made before the first page is taken over.

use super::{
    guest::State,
    memory::{WASM_PAGE_BYTES, grow_to, with_bytes},
};
use crate::{
    cell::{check_module, pieces},
    dirty::{PAGE_BYTES, Runs, Tracker},
    error::{Error, Result},
    globals,
    program::Program,
    run::{identity, open, write_whole},
    snapshot::{Reader, Section, SnapshotError, ThreadPlace, ThreadsImage, Writer, decode},
    wasi::WasiImage,
};
use std::{
    io::{BufReader, Write},
    path::{Path, PathBuf},
    sync::PoisonError,
};
use wasmtime::{Instance, Store};

/// Number of the section that holds pages.
const PAGES: u16 = 2;

/// What was saved, but for the memory and the globals, which stay in the file until there is an
/// instance to have them.
#[derive(Debug, Clone)]
pub(super) struct Saved {
    path: PathBuf,
    pub(super) sequence: u64,
    pub(super) wasi: WasiImage,
    pub(super) threads: ThreadsImage,
}

/// Reads a snapshot, all of whose sections are checked.
pub(super) fn read(program: &Program, path: &Path) -> Result<Saved> {
    let mut reader = Reader::new(BufReader::new(open(path)?))?;
    let (mut sequence, mut threads, mut wasi, mut complete) = (None, None, None, false);
    while let Some((kind, payload)) = reader.next_raw()? {
        complete = false;
        // Pages are looked into when they are taken over.
        if kind == PAGES {
            continue;
        }
        match decode(kind, payload)? {
            Section::Identity(identity) => {
                check_module(&identity, program.digest())?;
                sequence = Some(identity.sequence);
            }
            Section::Threads(image) => threads = Some(image),
            Section::Wasi(image) => wasi = Some(image),
            Section::Commit { .. } => complete = true,
            Section::Tissue(_) | Section::Rank(_) | Section::Service(_) => {
                return Err(malformed("this is a snapshot of something else than threads").into());
            }
            _ => {}
        }
    }
    let (Some(sequence), Some(wasi), true) = (sequence, wasi, complete) else {
        return Err(SnapshotError::Incomplete.into());
    };
    let threads =
        threads.ok_or_else(|| malformed("it has none: it is not of a program on threads"))?;
    let wasi = WasiImage::decode(&wasi).map_err(|error| SnapshotError::Malformed {
        section: "descriptor",
        reason: error.to_string(),
    })?;
    Ok(Saved { path: path.to_owned(), sequence, wasi, threads })
}

impl Saved {
    /// Takes over the memory and the globals; the instance must not have run.
    pub(super) fn apply(&self, store: &mut Store<State>, instance: &Instance) -> Result<()> {
        let mut reader = Reader::new(BufReader::new(open(&self.path)?))?;
        let program = store.data().program.clone();
        let mut complete = false;
        while let Some(section) = reader.next()? {
            complete = matches!(section, Section::Commit { .. });
            match section {
                Section::Identity(identity) => check_module(&identity, program.digest())?,
                Section::Pages { first, bytes } => put_pages(store, first, &bytes)?,
                Section::ZeroPages { first, count } => clear_pages(store, first, count)?,
                Section::MemorySize(pages) => {
                    grow_to(&mut *store, u64::from(pages) * WASM_PAGE_BYTES)?;
                }
                Section::Globals(values) => globals::write(&program, instance, store, &values)?,
                _ => {}
            }
        }
        if complete { Ok(()) } else { Err(SnapshotError::Incomplete.into()) }
    }
}

fn put_pages(store: &mut Store<State>, first: u32, bytes: &[u8]) -> Result<(), SnapshotError> {
    let start = u64::from(first) * PAGE_BYTES as u64;
    grow_to(&mut *store, start + bytes.len() as u64)?;
    with_bytes(store, |memory, _| {
        let place = memory.get_mut(start as usize..).and_then(|rest| rest.get_mut(..bytes.len()));
        place
            .map(|place| place.copy_from_slice(bytes))
            .ok_or_else(|| malformed("its pages do not fit"))
    })
}

/// Writes zeros only where there are none, so that untouched memory stays untouched.
fn clear_pages(store: &mut Store<State>, first: u32, count: u32) -> Result<(), SnapshotError> {
    let start = u64::from(first) * PAGE_BYTES as u64;
    let end = start + u64::from(count) * PAGE_BYTES as u64;
    grow_to(&mut *store, end)?;
    with_bytes(store, |memory, _| {
        let pages = memory.get_mut(start as usize..end as usize);
        for page in pages.ok_or_else(|| malformed("its pages do not fit"))?.chunks_mut(PAGE_BYTES) {
            if page.iter().any(|byte| *byte != 0) {
                page.fill(0);
            }
        }
        Ok(())
    })
}

fn malformed(reason: &str) -> SnapshotError {
    SnapshotError::Malformed { section: "threads", reason: reason.to_owned() }
}

/// Writes the program, whose first thread has stopped and whose others are idle; gives the file's
/// size.
pub(super) fn write(
    store: &mut Store<State>,
    instance: &Instance,
    places: Vec<ThreadPlace>,
    sequence: u64,
    path: &Path,
) -> Result<u64> {
    let program = store.data().program.clone();
    let begun = || Error::runtime("the program has not begun", "it has no thread");
    let thread = store.data().openmp.clone().ok_or_else(begun)?;
    let openmp = thread
        .save()
        .map_err(|error| Error::runtime("the state of OpenMP cannot be saved", error))?;
    let globals = globals::read(&program, instance, store)?;
    let image = store.data().wasi.lock().unwrap_or_else(PoisonError::into_inner).save();
    let image = image.map_err(|error| SnapshotError::Descriptors(Box::new(error)))?;
    let image =
        image.encode().map_err(|error| Error::runtime("cannot encode the descriptors", error))?;
    write_whole(path, |file| {
        let mut writer = Writer::new(file).map_err(SnapshotError::from)?;
        let io = |written: std::io::Result<()>| written.map_err(SnapshotError::from);
        io(writer.identity(&identity(&program, sequence)))?;
        io(writer.threads(&ThreadsImage { openmp, places }))?;
        io(writer.wasi(&image))?;
        let wasm_pages = with_bytes(&mut *store, |memory, _| write_pages(&mut writer, memory))?;
        io(writer.memory_size(wasm_pages))?;
        io(writer.globals(&globals))?;
        io(writer.commit())?;
        Ok(())
    })
}

/// Writes the pages that the program has touched; gives the memory's size in Wasm pages.
fn write_pages(writer: &mut Writer<impl Write>, memory: &[u8]) -> Result<u32, SnapshotError> {
    let start = memory.as_ptr() as usize;
    let all = || -> Runs { std::iter::once(0..(memory.len() / PAGE_BYTES) as u32).collect() };
    let touched = Tracker::get().and_then(|it| it.own_pages(&(start..start + memory.len())).ok());
    for piece in pieces(&touched.unwrap_or_else(all)) {
        let bytes = piece.start as usize * PAGE_BYTES..piece.end as usize * PAGE_BYTES;
        writer.pages(piece.start, memory.get(bytes).unwrap_or_default(), true)?;
    }
    Ok((memory.len() as u64 / WASM_PAGE_BYTES) as u32)
}
