//! What the host keeps for a cell, and the functions that it offers to guests.

use crate::{
    asyncify::Asyncify,
    error::{Error, Result},
    neural,
    ranks::{self, Seat},
    run::wait_for,
    wasi::{self, Wait, Waited, Wasi},
};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use wasmtime::{Caller, InstancePre, Linker, Memory, Module, ResourceLimiter, UnknownImportError};

/// Largest table: function pointers of the largest programs, ten times over.
const TABLE_ELEMENTS_MAX: usize = 1 << 20;

/// What the host keeps for one cell; the data of its store.
pub(crate) struct State {
    pub(crate) wasi: Wasi,
    pub(crate) memory: Option<Memory>,
    pub(crate) limiter: Limiter,
    /// How the cell is suspended, if it can be.
    pub(crate) asyncify: Option<Asyncify>,
    /// Set while the call stack is being unwound: why.
    pub(crate) unwinding: Option<Stop>,
    /// Set while the call stack is being rewound.
    pub(crate) rewinding: bool,
    /// Asks the cell to stop at its next barrier point.
    pub(crate) suspend: Arc<AtomicBool>,
    /// Its place among the ranks of an MPI program.
    pub(crate) seat: Option<Seat>,
}

/// Why a cell stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It waits for something.
    Waiting(Wait),
    /// It was asked to.
    Asked,
}

/// The modules that guests import from.
const HOST_MODULES: [&str; 4] =
    ["wasi_snapshot_preview1", "cloudskin", ranks::MODULE, neural::MODULE];

/// Bounds memory and tables, and remembers what was refused for the message of a later trap.
pub(crate) struct Limiter {
    pub(crate) memory_bytes: u64,
    pub(crate) denied_bytes: Option<u64>,
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let granted =
            desired as u64 <= self.memory_bytes && maximum.is_none_or(|maximum| desired <= maximum);
        if !granted {
            self.denied_bytes = Some(desired as u64);
        }
        Ok(granted)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX && maximum.is_none_or(|maximum| desired <= maximum))
    }
}

impl wasi::Host for State {
    fn with<R>(
        caller: &mut Caller<'_, Self>,
        work: impl FnOnce(&mut [u8], &mut Wasi) -> R,
    ) -> wasmtime::Result<R> {
        let memory = caller.data().memory;
        wasi::with_memory(caller, memory, |host| &mut host.wasi, work)
    }

    fn enter(caller: &mut Caller<'_, Self>) -> wasmtime::Result<()> {
        if !caller.data().rewinding {
            return Ok(());
        }
        caller.data_mut().rewinding = false;
        let stop = caller.data().asyncify.as_ref().map(|asyncify| asyncify.stop_rewind.clone());
        stop.map_or(Ok(()), |stop| stop.call(&mut *caller, ()))
    }

    fn wait(caller: &mut Caller<'_, Self>, wait: Wait) -> wasmtime::Result<Waited> {
        if caller.data().asyncify.is_some() {
            begin_unwind(caller, Stop::Waiting(wait))?;
            return Ok(Waited::Return(0));
        }
        // Not built to be suspended: the thread waits in the middle of the call.
        let timeout = caller.data_mut().wasi.until(wait);
        wait_for(wait.is_for_input(), timeout, None);
        Ok(Waited::Again)
    }

    fn asked_to_stop(caller: &mut Caller<'_, Self>) -> wasmtime::Result<bool> {
        let state = caller.data();
        if state.asyncify.is_none() || !state.suspend.load(Ordering::Relaxed) {
            return Ok(false);
        }
        begin_unwind(caller, Stop::Asked)?;
        Ok(true)
    }
}

/// Makes the guest return from all its functions, leaving its call stack in the unwind area.
pub(crate) fn begin_unwind(caller: &mut Caller<'_, State>, why: Stop) -> wasmtime::Result<()> {
    let state = caller.data();
    let (Some(asyncify), Some(memory)) = (&state.asyncify, state.memory) else { return Ok(()) };
    let (area, start) = (asyncify.area, asyncify.start_unwind.clone());
    let header = asyncify.header().map(u32::to_le_bytes);
    memory.write(&mut *caller, area as usize, header.as_flattened())?;
    caller.data_mut().unwinding = Some(why);
    start.call(caller, area)
}

/// Resolves a module's imports against WASI and our own functions.
///
/// # Errors
/// [`Error::Imports`] names every import that we do not have.
pub(crate) fn link(name: &str, module: &Module) -> Result<InstancePre<State>> {
    let failed = |error| Error::runtime("cannot offer the host's functions", error);
    let mut linker = Linker::<State>::new(module.engine());
    wasi::add_to_linker(&mut linker).map_err(failed)?;
    // Two hundred functions that few programs want would slow the start of all.
    if module.imports().any(|import| import.module() == ranks::MODULE) {
        ranks::add_to_linker(&mut linker).map_err(failed)?;
    }
    if module.imports().any(|import| import.module() == neural::MODULE) {
        neural::add_to_linker(&mut linker).map_err(failed)?;
    }
    linker
        .func_wrap("cloudskin", "checkpoint", |mut caller: Caller<'_, State>| {
            <State as wasi::Host>::enter(&mut caller)?;
            <State as wasi::Host>::asked_to_stop(&mut caller)?;
            Ok(0_i32)
        })
        .map_err(failed)?;

    if module.get_export("_start").is_none_or(|export| export.func().is_none()) {
        return Err(Error::NoStart { module: name.to_owned() });
    }
    linker.instantiate_pre(module).map_err(|error| not_linked(name, module, &error))
}

/// Why a module was not linked: what it imports and nobody has, if that is it.
pub(crate) fn not_linked(name: &str, module: &Module, error: &wasmtime::Error) -> Error {
    match missing(module, error) {
        imports if imports.is_empty() => {
            Error::Malformed { module: name.to_owned(), reason: format!("{error:#}") }
        }
        imports => Error::Imports { module: name.to_owned(), imports },
    }
}

/// The imports that nobody provides: the one that linking stopped at, and those of modules that we
/// do not have at all.
fn missing(module: &Module, error: &wasmtime::Error) -> Vec<String> {
    let Some(first) = error.downcast_ref::<UnknownImportError>() else { return Vec::new() };
    let mut names = vec![format!("{}.{}", first.module(), first.name())];
    let openmp = crate::parallel::function_names();
    for import in module.imports() {
        let name = format!("{}.{}", import.module(), import.name());
        let known = HOST_MODULES.contains(&import.module()) || openmp.contains(&import.name());
        if !known && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}
