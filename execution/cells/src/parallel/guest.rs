//! One thread's instance.

use super::{
    called::Known,
    instances::Calls,
    memory::{Ground, with_bytes},
    still::Entry,
    stop::{self, Saving},
};
use crate::{
    program::Program,
    trap, twin,
    wasi::{self, Wait, Waited, Wasi},
};
use openmp::{Error, Guest, Result, Thread};
use std::{
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
};
use wasmtime::{AsContextMut, Caller, Trap, WasmBacktrace};

/// The data of one thread's store.
pub(super) struct State {
    pub(super) program: Arc<Program>,
    pub(super) wasi: Arc<Mutex<Wasi>>,
    pub(super) ground: Ground,
    pub(super) openmp: Option<Rc<Thread>>,
    pub(super) calls: Option<Rc<Calls>>,
    /// Calls of the host into the guest that are under way, `main` not counted.
    pub(super) inside: u32,
    /// How it says that it is in the program, if it is another thread than the first.
    pub(super) entry: Option<Entry>,
    /// How it stops, if this is the first thread of a program that can be saved.
    pub(super) saving: Option<Rc<Saving>>,
    /// Set while the call stack is being unwound.
    pub(super) unwinding: bool,
    /// Set while the call stack is being rewound.
    pub(super) rewinding: bool,
}

impl State {
    pub(super) fn idle(program: Arc<Program>, wasi: Arc<Mutex<Wasi>>, ground: Ground) -> Self {
        Self {
            program,
            wasi,
            ground,
            openmp: None,
            calls: None,
            inside: 0,
            entry: None,
            saving: None,
            unwinding: false,
            rewinding: false,
        }
    }

    /// The host calls the guest.
    fn enter(&mut self) {
        if let Some(entry) = self.entry.as_ref().filter(|_| self.inside == 0) {
            entry.enter();
        }
        self.inside += 1;
    }

    /// The call has come back.
    fn leave(&mut self) {
        self.inside -= 1;
        if let Some(entry) = self.entry.as_ref().filter(|_| self.inside == 0) {
            entry.leave();
        }
    }
}

impl wasi::Host for State {
    fn with<R>(
        caller: &mut Caller<'_, Self>,
        work: impl FnOnce(&mut [u8], &mut Wasi) -> R,
    ) -> wasmtime::Result<R> {
        // The lock keeps other calls of WASI away.
        Ok(with_bytes(caller, |bytes, state| {
            work(bytes, &mut state.wasi.lock().unwrap_or_else(PoisonError::into_inner))
        }))
    }

    fn enter(caller: &mut Caller<'_, Self>) -> wasmtime::Result<()> {
        if !std::mem::take(&mut caller.data_mut().rewinding) {
            return Ok(());
        }
        let stop = caller.data().saving.as_ref().map(|saving| saving.asyncify.stop_rewind.clone());
        stop.map_or(Ok(()), |stop| stop.call(&mut *caller, ()))
    }

    fn asked_to_stop(caller: &mut Caller<'_, Self>) -> wasmtime::Result<bool> {
        stop::stops(caller)
    }

    fn wait(caller: &mut Caller<'_, Self>, wait: Wait) -> wasmtime::Result<Waited> {
        stop::wait(caller, wait)
    }
}

/// The guest as OpenMP sees it.
pub(super) struct View<C>(pub(super) C);

/// What a thread failed with, as OpenMP carries it.
pub(super) fn failed(error: wasmtime::Error, thread: u32, program: &Program) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => error,
        Err(error) => match error.downcast::<wasi::Exit>() {
            Ok(exit) => Error::Guest { thread, source: Box::new(exit) },
            Err(error) => Error::Guest { thread, source: Box::new(trapped(&error, program)) },
        },
    }
}

/// What ended a thread, with where it was.
pub(super) fn trapped(error: &wasmtime::Error, program: &Program) -> crate::Error {
    let trap = match error.downcast_ref::<Trap>() {
        Some(Trap::UnreachableCodeReached) if waits_for_ever(error, program) => {
            "it waits for another thread, which the portable engine does not have: run it with \
             `--engine cranelift`"
                .to_owned()
        }
        Some(trap) => trap::describe(*trap),
        None => format!("{:#}", error.root_cause()),
    };
    crate::Error::Trap { trap, frames: trap::frames(error) }
}

/// Whether an unthreaded twin came to a wait that nobody could end.
fn waits_for_ever(error: &wasmtime::Error, program: &Program) -> bool {
    let innermost = error.downcast_ref::<WasmBacktrace>().and_then(|trace| trace.frames().first());
    let at = innermost.and_then(wasmtime::FrameInfo::module_offset);
    at.is_some_and(|at| twin::is_endless_wait(&program.facts().waits, at))
}

impl<C: AsContextMut<Data = State>> View<C> {
    fn failed(&self, error: wasmtime::Error) -> Error {
        let state = self.0.as_context();
        let state = state.data();
        let thread = state.openmp.as_ref().map_or(0, |thread| thread.global_number());
        failed(error, thread, &state.program)
    }

    /// Calls the guest.
    fn within<R>(&mut self, call: impl FnOnce(&mut C, &Calls) -> wasmtime::Result<R>) -> Result<R> {
        let none = Error::Misuse("it calls OpenMP before it has begun");
        let calls = self.0.as_context().data().calls.clone().ok_or(none)?;
        self.0.as_context_mut().data_mut().enter();
        let called = call(&mut self.0, &calls);
        let mut store = self.0.as_context_mut();
        store.data_mut().leave();
        // It may have made its memory larger.
        if let own @ Ground::Own(..) = &store.data().ground {
            own.clone().look(&store);
        }
        called.map_err(|error| self.failed(error))
    }
}

impl<C: AsContextMut<Data = State>> Guest for View<C> {
    fn call(&mut self, function: u32, args: &[u32], returns: bool) -> Result<u32> {
        self.within(|store, calls| {
            let Some(called) = Known::get(&calls.known, &calls.table, function, &mut *store)?
            else {
                return Err(Error::Misuse("it names a function that it does not have").into());
            };
            called.call(store, args, returns)
        })
    }

    fn malloc(&mut self, bytes: u32) -> Result<u32> {
        self.within(|store, calls| calls.malloc.call(store, bytes))
    }

    fn free(&mut self, address: u32) -> Result<()> {
        self.within(|store, calls| calls.free.call(store, address))
    }
}
