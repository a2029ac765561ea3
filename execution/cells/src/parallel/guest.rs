//! One thread's instance.

use super::called::Known;
use crate::{
    run::{THREAD_STACK_BYTES, wait_for},
    trap,
    wasi::{self, Wait, Waited, Wasi},
};
use openmp::{Error, Guest, Result, Runtime, Thread, Threads, Worker};
use std::{
    cell::UnsafeCell,
    rc::Rc,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};
use wasmtime::{
    AsContextMut, Caller, Instance, InstancePre, Ref, SharedMemory, Store, Table, TypedFunc, Val,
};

/// The program's table of functions.
const TABLE: &str = "__indirect_function_table";
/// Where the program keeps the three functions that the host calls.
const FUNCTIONS: &str = "cloudskin_threads";

/// What all threads are made from.
pub(super) struct Instances {
    pub(super) ready: InstancePre<State>,
    pub(super) wasi: Arc<Mutex<Wasi>>,
    pub(super) memory: SharedMemory,
    pub(super) stack_bytes: u32,
    /// Size of a thread's own variables, once the first instance has said so.
    pub(super) tls_bytes: AtomicU32,
}

/// The data of one thread's store.
pub(super) struct State {
    wasi: Arc<Mutex<Wasi>>,
    memory: SharedMemory,
    pub(super) openmp: Option<Rc<Thread>>,
    calls: Option<Rc<Calls>>,
}

/// What the host calls.
struct Calls {
    table: Table,
    malloc: TypedFunc<u32, u32>,
    free: TypedFunc<u32, ()>,
    known: Known,
}

impl State {
    pub(super) fn idle(wasi: Arc<Mutex<Wasi>>, memory: SharedMemory) -> Self {
        Self { wasi, memory, openmp: None, calls: None }
    }
}

impl wasi::Host for State {
    #[expect(unsafe_code, reason = "the functions of WASI work on plain bytes")]
    fn with<R>(
        caller: &mut Caller<'_, Self>,
        work: impl FnOnce(&mut [u8], &mut Wasi) -> R,
    ) -> wasmtime::Result<R> {
        let state = caller.data();
        let mut wasi = state.wasi.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = state.memory.data();
        // SAFETY: the bytes exist and stay where they are as long as the memory does. The lock
        // keeps other calls of WASI away; a program whose threads write to a buffer that it has
        // passed to a call gets some mixture of bytes in it, which WASI has to expect of a guest.
        let bytes = unsafe {
            std::slice::from_raw_parts_mut(UnsafeCell::raw_get(bytes.as_ptr()), bytes.len())
        };
        Ok(work(bytes, &mut wasi))
    }

    fn enter(_: &mut Caller<'_, Self>) -> wasmtime::Result<()> {
        Ok(())
    }

    fn asked_to_stop(_: &mut Caller<'_, Self>) -> wasmtime::Result<bool> {
        Ok(false)
    }

    fn wait(caller: &mut Caller<'_, Self>, wait: Wait) -> wasmtime::Result<Waited> {
        let timeout = caller.data().wasi.lock().unwrap_or_else(PoisonError::into_inner).until(wait);
        wait_for(wait.is_for_input(), timeout, None);
        Ok(Waited::Again)
    }
}

/// The guest as OpenMP sees it.
pub(super) struct View<C>(pub(super) C);

fn failed(error: wasmtime::Error, thread: u32) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => error,
        Err(error) => match error.downcast::<wasi::Exit>() {
            Ok(exit) => Error::Guest { thread, source: Box::new(exit) },
            Err(error) => Error::Guest { thread, source: Box::new(trapped(&error)) },
        },
    }
}

/// What ended a thread, with where it was.
pub(super) fn trapped(error: &wasmtime::Error) -> crate::Error {
    let trap = match error.downcast_ref::<wasmtime::Trap>() {
        Some(trap) => trap::describe(*trap),
        None => format!("{:#}", error.root_cause()),
    };
    crate::Error::Trap { trap, frames: trap::frames(error) }
}

impl<C: AsContextMut<Data = State>> View<C> {
    fn calls(&self) -> Result<Rc<Calls>> {
        let none = Error::Misuse("it calls OpenMP before it has begun");
        self.0.as_context().data().calls.clone().ok_or(none)
    }

    fn failed(&self, error: wasmtime::Error) -> Error {
        let state = self.0.as_context();
        failed(error, state.data().openmp.as_ref().map_or(0, |thread| thread.global_number()))
    }
}

impl<C: AsContextMut<Data = State>> Guest for View<C> {
    fn call(&mut self, function: u32, args: &[u32], returns: bool) -> Result<u32> {
        let calls = self.calls()?;
        let called = calls.known.get(&calls.table, function, &mut self.0);
        let called = called.map_err(|error| self.failed(error))?;
        let called = called.ok_or(Error::Misuse("it names a function that it does not have"))?;
        called.call(&mut self.0, args, returns).map_err(|error| self.failed(error))
    }

    fn malloc(&mut self, bytes: u32) -> Result<u32> {
        let calls = self.calls()?;
        calls.malloc.call(&mut self.0, bytes).map_err(|error| self.failed(error))
    }

    fn free(&mut self, address: u32) -> Result<()> {
        let calls = self.calls()?;
        calls.free.call(&mut self.0, address).map_err(|error| self.failed(error))
    }
}

impl Instances {
    /// Runs `main` on this thread.
    pub(super) fn main(&self, runtime: &Runtime) -> wasmtime::Result<()> {
        let (mut store, instance) = self.instance(runtime.initial_thread())?;
        let missing = || wasmtime::Error::msg("it does not export `__tls_size`");
        let tls_bytes = global(&mut store, &instance, "__tls_size").ok_or_else(missing)?;
        self.tls_bytes.store(tls_bytes, Ordering::Relaxed);
        instance.get_typed_func::<(), ()>(&mut store, "_start")?.call(&mut store, ())
    }

    fn instance(&self, thread: Rc<Thread>) -> wasmtime::Result<(Store<State>, Instance)> {
        let state = State::idle(self.wasi.clone(), self.memory.clone());
        let mut store = Store::new(self.ready.module().engine(), state);
        let instance = self.ready.instantiate(&mut store)?;
        let missing = wasmtime::Error::msg("it exports no table: build it with `--openmp`");
        let table = instance.get_table(&mut store, TABLE).ok_or(missing)?;
        let malloc = self.function(&mut store, &instance, table, 0)?.typed(&store)?;
        let free = self.function(&mut store, &instance, table, 1)?.typed(&store)?;
        let state = store.data_mut();
        state.calls = Some(Rc::new(Calls { table, malloc, free, known: Known::default() }));
        state.openmp = Some(thread);
        Ok((store, instance))
    }

    /// One of the functions that the program keeps for the host.
    fn function(
        &self,
        store: &mut Store<State>,
        instance: &Instance,
        table: Table,
        index: u32,
    ) -> wasmtime::Result<wasmtime::Func> {
        let missing =
            || wasmtime::Error::msg("it lacks what threads need: build it with `--openmp`");
        let at = global(store, instance, FUNCTIONS).ok_or_else(missing)? + index * 4;
        let memory = openmp::Memory::new(Arc::new(super::Shared(self.memory.clone())));
        let at = memory.u32(at)?;
        match table.get(&mut *store, u64::from(at)) {
            Some(Ref::Func(Some(function))) => Ok(function),
            _ => Err(missing()),
        }
    }

    /// Makes the instance of a thread, with this stack and these variables of its own.
    fn thread(
        &self,
        thread: Rc<Thread>,
        stack_end: u32,
        tls: u32,
    ) -> wasmtime::Result<Store<State>> {
        let (mut store, instance) = self.instance(thread)?;
        let pointer = instance.get_global(&mut store, "__stack_pointer");
        let pointer = pointer.ok_or_else(|| wasmtime::Error::msg("it exports no stack"))?;
        pointer.set(&mut store, Val::I32(stack_end.cast_signed()))?;
        if tls != 0 {
            let table = instance.get_table(&mut store, TABLE);
            let table = table.ok_or_else(|| wasmtime::Error::msg("it exports no table"))?;
            let init = self.function(&mut store, &instance, table, 2)?;
            init.typed::<u32, ()>(&store)?.call(&mut store, tls)?;
        }
        Ok(store)
    }
}

fn global(store: &mut Store<State>, instance: &Instance, name: &str) -> Option<u32> {
    let global = instance.get_global(&mut *store, name)?;
    global.get(store).i32().map(i32::cast_unsigned)
}

/// Memory for a thread from the guest of the thread that makes it.
fn reserve(parent: &mut dyn Guest, bytes: u32) -> Result<u32> {
    match parent.malloc(bytes)? {
        0 => Err(Error::Memory { bytes }),
        address => Ok(address),
    }
}

/// Largest alignment that a thread's variables may ask for.
const TLS_ALIGNMENT: u32 = 4096;

/// Where OpenMP gets its threads.
pub(super) struct Pool(pub(super) Arc<Instances>);

impl Threads for Pool {
    fn start(&self, parent: &mut dyn Guest, worker: Worker) -> Result<()> {
        let stack_bytes = self.0.stack_bytes.next_multiple_of(16);
        let stack = reserve(parent, stack_bytes)?;
        let tls_bytes = self.0.tls_bytes.load(Ordering::Relaxed);
        let tls = reserve(parent, tls_bytes.saturating_add(TLS_ALIGNMENT))?;
        let stack_end = (stack + stack_bytes) & !15;
        let instances = self.0.clone();
        std::thread::Builder::new()
            .name(format!("cell/{}", worker.number()))
            .stack_size(THREAD_STACK_BYTES)
            .spawn(move || {
                let thread = worker.thread();
                match instances.thread(
                    thread.clone(),
                    stack_end,
                    tls.next_multiple_of(TLS_ALIGNMENT),
                ) {
                    Ok(mut store) => worker.serve(&thread, &mut View(&mut store)),
                    Err(error) => worker.fail(failed(error, thread.global_number())),
                }
            })
            .map(drop)
            .map_err(|error| Error::Thread(Box::new(error)))
    }
}
