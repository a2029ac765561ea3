//! One running Wasm unit.
//!
//! A [`Cell`] runs until it pauses: because it waits, was asked to stand still, or ended. A paused
//! cell of a migratable module has its whole call stack in its memory; it can be saved
//! ([`Cell::save`]), or be hidden from the machine altogether, and resumed here or elsewhere.

use crate::{
    asyncify::Asyncify,
    dirty::{self, PAGE_BYTES, Runs, Tracker},
    engine::Use,
    error::{Error, Result},
    globals,
    host::{Limiter, State, Stop},
    limits::Limits,
    memory,
    program::Program,
    ranks::{Lent, Seat},
    snapshot::{Identity, PAGES_MAX, Reader, Section, SnapshotError, Writer},
    trap,
    wasi::{self, Wait, Wasi, WasiImage},
    worker::ticker,
};
use std::{
    io::Write,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};
use types::Digest;
use wasmtime::{Instance, Memory, Store, Trap, TypedFunc};

/// Size of a Wasm page.
const WASM_PAGE_BYTES: u64 = 64 << 10;

/// A running, paused or ended program.
pub struct Cell {
    program: Arc<Program>,
    store: Store<State>,
    instance: Instance,
    start: TypedFunc<(), ()>,
    phase: Phase,
    /// The memory whose writes are tracked.
    tracked: Option<Range<usize>>,
    /// Its seat in the world that will be, while it stands.
    next_seat: Option<Seat>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Fresh,
    Suspended,
    Ended,
}

/// Why a cell no longer runs, or not now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// It waits for input or for a time.
    Waiting(Wait),
    /// It was asked to stand still.
    Asked,
    /// It ended with this exit code.
    Exited(u32),
}

/// Asks a cell to pause at its next barrier point; cheap to clone, usable from any thread.
#[derive(Debug, Clone)]
pub struct Suspender(Arc<AtomicBool>);

impl Suspender {
    /// What a cell looks at.
    pub(crate) fn of(suspend: &Arc<AtomicBool>) -> Self {
        Self(suspend.clone())
    }

    /// Asks.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cell").field("program", &self.program).field("phase", &self.phase).finish()
    }
}

impl Cell {
    /// A cell that begins at the program's beginning.
    ///
    /// # Errors
    /// [`Error`] if its memory is over the limit, no place is left, or its start function traps.
    pub fn new(program: &Arc<Program>, wasi: Wasi, limits: &Limits) -> Result<Self> {
        let facts = program.facts();
        if facts.memory_min_bytes > limits.memory_bytes {
            return Err(Error::Memory {
                module: program.name().to_owned(),
                needs_bytes: facts.memory_min_bytes,
                limit_bytes: limits.memory_bytes,
            });
        }
        let engine = program.ready()?.module().engine();
        let mut store = Store::new(
            engine,
            State {
                wasi,
                memory: None,
                limiter: Limiter { memory_bytes: limits.memory_bytes, denied_bytes: None },
                asyncify: None,
                unwinding: None,
                rewinding: false,
                suspend: Arc::default(),
                seat: None,
            },
        );
        store.limiter(|state| &mut state.limiter);
        // A module's start function runs now; it gets one tick of the worker's clock.
        store.set_epoch_deadline(2);
        let instance = program
            .ready()?
            .instantiate(&mut store)
            .map_err(|error| not_instantiated(program, error))?;
        let start = instance
            .get_typed_func(&mut store, "_start")
            .map_err(|_| Error::NoStart { module: program.name().to_owned() })?;
        let memory = instance.get_memory(&mut store, "memory");
        store.data_mut().memory = memory;
        let grows = program.purpose() == Use::Program && facts.unwind.is_err();
        if let Some(memory) = memory.filter(|_| grows) {
            memory::use_large_pages(memory.data_ptr(&store) as usize, limits.memory_bytes);
        }
        if let Ok(area) = facts.unwind {
            let asyncify = Asyncify::of(&instance, &mut store, area).map_err(|error| {
                Error::runtime("the module's Asyncify functions are wrong", error)
            })?;
            store.data_mut().asyncify = Some(asyncify);
        }
        let program = program.clone();
        Ok(Self {
            program,
            store,
            instance,
            start,
            phase: Phase::Fresh,
            tracked: None,
            next_seat: None,
        })
    }

    /// What it runs.
    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// Its descriptors, clocks and standard streams.
    pub fn wasi(&mut self) -> &mut Wasi {
        &mut self.store.data_mut().wasi
    }

    /// What asks it to pause.
    pub fn suspender(&self) -> Suspender {
        Suspender::of(&self.store.data().suspend)
    }

    /// Makes it this rank of a world; it must not have run.
    pub(crate) fn take_seat(&mut self, world: &Arc<mpi::World>, rank: u32) -> Result<()> {
        let Some(memory) = self.memory() else { return Ok(()) };
        let seat = Seat::take(&mut self.store, memory, world, rank).map_err(Error::Mpi)?;
        self.store.data_mut().seat = Some(seat);
        Ok(())
    }

    /// Puts it, restored, where this rank of a restored world was.
    pub(crate) fn restore_seat(
        &mut self,
        world: &Arc<mpi::World>,
        rank: u32,
        image: &[u8],
    ) -> Result<()> {
        self.reserve_seat(world, rank, image)?;
        self.change_seat();
        Ok(())
    }

    /// Restores this rank in a world that is made anew while it keeps its seat in the old one.
    pub(crate) fn reserve_seat(
        &mut self,
        world: &Arc<mpi::World>,
        rank: u32,
        image: &[u8],
    ) -> Result<()> {
        let memory = self.memory().ok_or_else(no_memory)?;
        let seat =
            Seat::restore(&mut self.store, memory, world, rank, image).map_err(Error::Mpi)?;
        self.next_seat = Some(seat);
        Ok(())
    }

    /// Moves to the seat that was reserved, if one was.
    pub(crate) fn change_seat(&mut self) {
        if let Some(seat) = self.next_seat.take() {
            self.store.data_mut().seat = Some(seat);
        }
    }

    /// Gives up the seat that was reserved.
    pub(crate) fn keep_seat(&mut self) {
        self.next_seat = None;
    }

    /// The world in which it has a seat.
    pub(crate) fn world(&self) -> Option<std::sync::Weak<mpi::World>> {
        self.store.data().seat.as_ref()?.world()
    }

    /// The memory that other ranks copy from and to.
    pub(crate) fn lent(&self) -> Option<Arc<Lent>> {
        self.store.data().seat.as_ref().map(|seat| seat.memory().clone())
    }

    /// What MPI knows of the rank that it is; the world has stopped.
    pub(crate) fn save_seat(&mut self) -> Result<Vec<u8>> {
        let seat = self.store.data_mut().seat.as_mut();
        seat.map_or_else(|| Ok(Vec::new()), |seat| seat.save().map_err(Error::Mpi))
    }

    /// Leaves its world, because of this failure if there is one.
    pub(crate) fn leave_seat(&mut self, failure: Option<&str>) {
        if let Some(seat) = self.store.data_mut().seat.take() {
            seat.leave(failure);
        }
    }

    /// Interrupts the guest, and the models that it asks, at this moment; for service cells.
    pub(crate) fn set_deadline(&mut self, deadline: Instant) {
        self.store.set_epoch_deadline(ticker::ticks_until(deadline));
        self.wasi().neural().set_deadline(deadline);
    }

    /// Runs until it pauses. A paused cell goes on where it stood.
    ///
    /// # Errors
    /// [`Error`] if the guest failed; the cell is then ended.
    pub fn resume(&mut self) -> Result<Pause> {
        if self.phase == Phase::Suspended {
            self.begin_rewind()?;
        }
        let result = self.start.call(&mut self.store, ());
        let state = self.store.data_mut();
        state.rewinding = false;
        match (result, state.unwinding.take()) {
            (Ok(()), Some(why)) => {
                self.end_unwind()?;
                self.phase = Phase::Suspended;
                Ok(match why {
                    Stop::Waiting(wait) => Pause::Waiting(wait),
                    Stop::Asked => {
                        self.store.data_mut().suspend.store(false, Ordering::Relaxed);
                        Pause::Asked
                    }
                })
            }
            (Ok(()), None) => {
                self.phase = Phase::Ended;
                self.exited(0)
            }
            (Err(error), unwinding) => {
                self.phase = Phase::Ended;
                match error.downcast_ref::<wasi::Exit>() {
                    Some(exit) => self.exited(exit.0),
                    None => Err(self.failure(&error, unwinding.is_some())),
                }
            }
        }
    }

    /// It ended by itself: what it wrote becomes visible. After a failure nothing does.
    fn exited(&mut self, code: u32) -> Result<Pause> {
        self.wasi().close_files()?;
        Ok(Pause::Exited(code))
    }

    fn begin_rewind(&mut self) -> Result<()> {
        let state = self.store.data_mut();
        let Some(asyncify) = &state.asyncify else { return Ok(()) };
        let (start, area) = (asyncify.start_rewind.clone(), asyncify.area);
        state.rewinding = true;
        start
            .call(&mut self.store, area)
            .map_err(|error| Error::runtime("the call stack cannot be restored", error))
    }

    fn end_unwind(&mut self) -> Result<()> {
        let Some(asyncify) = &self.store.data().asyncify else { return Ok(()) };
        asyncify
            .stop_unwind
            .clone()
            .call(&mut self.store, ())
            .map_err(|error| Error::runtime("the call stack was not saved", error))
    }

    fn failure(&self, error: &wasmtime::Error, unwinding: bool) -> Error {
        let state = self.store.data();
        let frames = trap::frames(error);
        if let Some(abort) = error.downcast_ref::<mpi::Abort>() {
            return Error::Mpi(abort.clone());
        }
        match error.downcast_ref::<Trap>() {
            Some(Trap::UnreachableCodeReached) if unwinding => Error::StackTooDeep {
                area_bytes: state.asyncify.as_ref().map_or(0, |asyncify| asyncify.area_bytes),
            },
            Some(Trap::Interrupt) => Error::Deadline { limit_ms: 0, frames },
            Some(trap) => {
                let mut text = trap::describe(*trap);
                if let Some(denied) = state.limiter.denied_bytes {
                    text.push_str(&format!(
                        ", after {denied} bytes of memory were refused to it (the limit is {} bytes)",
                        state.limiter.memory_bytes
                    ));
                }
                Error::Trap { trap: text, frames }
            }
            None => Error::Trap { trap: format!("{:#}", error.root_cause()), frames },
        }
    }

    /// Where its memory lies in this process; empty without one.
    pub(crate) fn memory_range(&self) -> Range<usize> {
        self.memory().map_or(0..0, |memory| {
            let start = memory.data_ptr(&self.store) as usize;
            start..start + memory.data_size(&self.store)
        })
    }

    fn memory(&self) -> Option<Memory> {
        self.store.data().memory
    }

    /// Bytes of its memory.
    pub fn memory_bytes(&self) -> u64 {
        self.memory().map_or(0, |memory| memory.data_size(&self.store) as u64)
    }

    /// Begins to track writes; afterwards [`Tracker::take_written`] of [`Cell::memory_range`] says
    /// what changed. False if the kernel cannot.
    pub(crate) fn track(&mut self) -> bool {
        let range = self.memory_range();
        let Some(tracker) = Tracker::get().filter(|_| !range.is_empty()) else { return false };
        if self.tracked.as_ref() == Some(&range) {
            return true;
        }
        let registered = tracker.register(&range).is_ok();
        self.tracked = registered.then_some(range);
        registered
    }

    /// The pages that are no longer as the module's image has them; all, if the kernel cannot
    /// tell.
    pub(crate) fn own_pages(&self) -> Runs {
        let range = self.memory_range();
        let all = || std::iter::once(0..(range.len() / PAGE_BYTES) as u32).collect();
        if range.is_empty() {
            return Runs::new();
        }
        Tracker::get().and_then(|tracker| tracker.own_pages(&range).ok()).unwrap_or_else(all)
    }

    /// The pages that are no longer as in this copy of the memory. The cell stands still, so they
    /// are compared where they lie.
    pub(crate) fn pages_unlike(&self, copy: &[u8]) -> Runs {
        self.memory()
            .map_or_else(Runs::new, |memory| dirty::compare(copy, memory.data(&self.store)))
    }

    /// Writes these pages of the cell, which stands still, from where they lie.
    pub(crate) fn write_pages(
        &self,
        writer: &mut Writer<impl Write>,
        runs: &[Range<u32>],
        compress: bool,
    ) -> Result<(), SnapshotError> {
        let Some(memory) = self.memory() else { return Ok(()) };
        let memory = memory.data(&self.store);
        for piece in pieces(runs) {
            let bytes = piece.start as usize * PAGE_BYTES..piece.end as usize * PAGE_BYTES;
            let bytes = memory.get(bytes).ok_or_else(no_memory)?;
            writer.pages(piece.start, bytes, compress)?;
        }
        Ok(())
    }

    /// Why this cell cannot be saved, if it cannot.
    pub(crate) fn check_suspended(&self) -> Result<()> {
        self.program.unwind_area()?;
        if self.phase == Phase::Ended {
            return Err(Error::Ended { code: 0 });
        }
        if self.store.data().seat.is_some() {
            return Err(Error::NotMigratable {
                module: self.program.name().to_owned(),
                reason: "it is a program with MPI: run it with `cloudskin mpirun`, which saves \
                         all its ranks together"
                    .into(),
            });
        }
        Ok(())
    }

    /// Writes a whole, self-contained snapshot of the paused cell; compressed pages if asked.
    ///
    /// # Errors
    /// [`Error::NotMigratable`] if the module was not built for it; [`Error::Snapshot`] if
    /// writing failed or open files cannot be carried.
    pub fn save(&mut self, sink: impl Write, identity: &Identity, compress: bool) -> Result<()> {
        self.check_suspended()?;
        let mut writer = Writer::new(sink).map_err(SnapshotError::from)?;
        writer.identity(&self.begun(identity)).map_err(SnapshotError::from)?;
        self.write_pages(&mut writer, &self.own_pages(), compress)?;
        self.write_rest(&mut writer)?;
        writer.commit().map_err(SnapshotError::from)?;
        Ok(())
    }

    /// Takes the paused cell apart: its compressed memory and globals, and its view of the system,
    /// which stays as it is.
    pub(crate) fn put_to_sleep(&mut self, identity: &Identity) -> Result<(Vec<u8>, Wasi)> {
        self.check_suspended()?;
        let mut snapshot = Vec::new();
        let mut writer = Writer::new(&mut snapshot).map_err(SnapshotError::from)?;
        writer.identity(&self.begun(identity)).map_err(SnapshotError::from)?;
        self.write_pages(&mut writer, &self.own_pages(), true)?;
        self.write_memory_size_and_globals(&mut writer)?;
        let nobody = wasi::Config::default()
            .build()
            .map_err(|error| Error::runtime("cannot make an empty system", error))?;
        let wasi = std::mem::replace(self.wasi(), nobody);
        self.phase = Phase::Ended;
        snapshot.shrink_to_fit();
        Ok((snapshot, wasi))
    }

    /// The cell that [`Cell::put_to_sleep`] took apart, without its view of the system.
    pub(crate) fn awaken(program: &Arc<Program>, snapshot: &[u8], limits: &Limits) -> Result<Self> {
        let nobody = wasi::Config::default()
            .build()
            .map_err(|error| Error::runtime("cannot make an empty system", error))?;
        let mut cell = Self::new(program, nobody, limits)?;
        let mut reader = Reader::new(snapshot)?;
        while let Some(section) = reader.next()? {
            cell.apply(&section)?;
        }
        Ok(cell)
    }

    /// The identity with what only the cell knows.
    pub(crate) fn begun(&self, identity: &Identity) -> Identity {
        Identity { begun: self.phase == Phase::Suspended, ..identity.clone() }
    }

    /// Writes everything but pages.
    pub(crate) fn write_rest(&mut self, writer: &mut Writer<impl Write>) -> Result<()> {
        self.write_memory_size_and_globals(writer)?;
        let image =
            self.wasi().save().map_err(|error| SnapshotError::Descriptors(Box::new(error)))?;
        let image = image
            .encode()
            .map_err(|error| Error::runtime("cannot encode the descriptors", error))?;
        writer.wasi(&image).map_err(SnapshotError::from)?;
        Ok(())
    }

    fn write_memory_size_and_globals(&mut self, writer: &mut Writer<impl Write>) -> Result<()> {
        let wasm_pages = (self.memory_bytes() / WASM_PAGE_BYTES) as u32;
        writer.memory_size(wasm_pages).map_err(SnapshotError::from)?;
        let globals = globals::read(&self.program, &self.instance, &mut self.store)?;
        writer.globals(&globals).map_err(SnapshotError::from)?;
        Ok(())
    }

    /// Takes over one section of a snapshot. The cell must not have run; after an error it must be
    /// dropped.
    pub(crate) fn apply(&mut self, section: &Section) -> Result<(), SnapshotError> {
        match section {
            Section::Identity(identity) => self.apply_identity(identity),
            Section::Pages { first, bytes } => self.apply_pages(*first, bytes),
            Section::ZeroPages { first, count } => self.apply_zero_pages(*first, *count),
            Section::MemorySize(pages) => self.grow_to(u64::from(*pages) * WASM_PAGE_BYTES),
            Section::Globals(values) => {
                globals::write(&self.program, &self.instance, &mut self.store, values)
            }
            Section::Wasi(_)
            | Section::Service(_)
            | Section::Tissue(_)
            | Section::Rank(_)
            | Section::Threads(_)
            | Section::Commit { .. } => Ok(()),
        }
    }

    /// It goes on where what is applied to it stood.
    pub(crate) fn assume_suspended(&mut self) {
        self.phase = Phase::Suspended;
    }

    fn apply_identity(&mut self, identity: &Identity) -> Result<(), SnapshotError> {
        check_module(identity, self.program.digest())?;
        self.phase = if identity.begun { Phase::Suspended } else { Phase::Fresh };
        Ok(())
    }

    /// Makes the memory at least so large.
    fn grow_to(&mut self, bytes: u64) -> Result<(), SnapshotError> {
        let missing = bytes.saturating_sub(self.memory_bytes()).div_ceil(WASM_PAGE_BYTES);
        if missing == 0 {
            return Ok(());
        }
        let grown = self.memory().and_then(|memory| memory.grow(&mut self.store, missing).ok());
        grown.map(drop).ok_or_else(|| SnapshotError::Malformed {
            section: "memory size",
            reason: format!(
                "it needs {bytes} bytes of memory: the cell's limit is {} bytes",
                self.store.data().limiter.memory_bytes
            ),
        })
    }

    fn apply_pages(&mut self, first: u32, bytes: &[u8]) -> Result<(), SnapshotError> {
        let start = u64::from(first) * PAGE_BYTES as u64;
        self.grow_to(start + bytes.len() as u64)?;
        let memory = self.memory().ok_or_else(no_memory)?;
        memory.write(&mut self.store, start as usize, bytes).map_err(|_| no_memory())
    }

    /// Writes zeros only where there are none, so that untouched memory stays untouched.
    fn apply_zero_pages(&mut self, first: u32, count: u32) -> Result<(), SnapshotError> {
        let start = u64::from(first) * PAGE_BYTES as u64;
        let size = u64::from(count) * PAGE_BYTES as u64;
        self.grow_to(start + size)?;
        let memory = self.memory().ok_or_else(no_memory)?;
        let data = memory.data_mut(&mut self.store);
        for page in data[start as usize..(start + size) as usize].chunks_mut(PAGE_BYTES) {
            if page.iter().any(|byte| *byte != 0) {
                page.fill(0);
            }
        }
        Ok(())
    }

    /// Takes over the descriptors and clocks; what they may refer to is what `grants` says; its arguments
    /// and variables are not used.
    pub(crate) fn apply_wasi(
        &mut self,
        image: &[u8],
        grants: wasi::Config,
    ) -> Result<(), SnapshotError> {
        let image = WasiImage::decode(image).map_err(|error| SnapshotError::Malformed {
            section: "descriptor",
            reason: error.to_string(),
        })?;
        let wasi::Config { grants, models, streams, sources, limits, .. } = grants;
        let wasi = Wasi::restore(image, grants, models, streams, sources, limits)
            .map_err(|error| SnapshotError::Descriptors(Box::new(error)))?;
        self.store.data_mut().wasi = wasi;
        Ok(())
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        if let (Some(range), Some(tracker)) = (&self.tracked, Tracker::get()) {
            // The engine gives this memory to another cell next.
            tracker.unregister(range);
        }
    }
}

/// That the snapshot is of this module.
pub(crate) fn check_module(identity: &Identity, expected: Digest) -> Result<(), SnapshotError> {
    if identity.module == expected {
        return Ok(());
    }
    Err(SnapshotError::Module { name: identity.name.clone(), found: identity.module, expected })
}

/// Writes these pages of a cell that may be running, uncompressed.
pub(crate) fn write_running_pages(
    writer: &mut Writer<impl Write>,
    memory: &Range<usize>,
    runs: &[Range<u32>],
) -> Result<(), SnapshotError> {
    let mut buffer = Vec::new();
    for piece in pieces(runs) {
        memory::read_pages(memory, &piece, &mut buffer)?;
        writer.pages(piece.start, &buffer, false)?;
    }
    Ok(())
}

/// The runs, cut so that each piece fits a section.
pub(crate) fn pieces(runs: &[Range<u32>]) -> impl Iterator<Item = Range<u32>> {
    runs.iter().flat_map(|run| {
        let firsts = run.clone().step_by(PAGES_MAX as usize);
        firsts.map(|first| first..run.end.min(first + PAGES_MAX))
    })
}

fn no_memory() -> SnapshotError {
    SnapshotError::Malformed { section: "pages", reason: "the module has no such memory".into() }
}

fn not_instantiated(program: &Program, error: wasmtime::Error) -> Error {
    if error.is::<wasmtime::PoolConcurrencyLimitError>() {
        return Error::Cells { limit: crate::engine::resident_cells() };
    }
    if error.is::<Trap>() {
        return Error::Trap {
            trap: format!("its start function failed: {:#}", error.root_cause()),
            frames: trap::frames(&error),
        };
    }
    let reason = match program.purpose() {
        Use::Service => format!("{error:#} (a service has one memory and one table)"),
        Use::Program => format!("{error:#}"),
    };
    Error::Malformed { module: program.name().to_owned(), reason }
}
