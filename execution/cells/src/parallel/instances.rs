//! Making the threads' instances, and running the first.

use super::{
    called::Known,
    guest::{State, View, failed},
    memory::Ground,
    saved::{self, Saved},
    still::{PATIENCE, Stillness},
    stop::{Doing, Saving},
};
use crate::{
    asyncify::Asyncify,
    error::Error,
    program::Program,
    requests::Requests,
    run::{End, THREAD_STACK_BYTES},
    snapshot::ThreadPlace,
    wasi::Wasi,
};
use openmp::{Guest, Result, Runtime, Thread, Threads, Worker};
use std::{
    collections::BTreeMap,
    rc::Rc,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};
use wasmtime::{
    Instance, InstancePre, Linker, Memory, MemoryType, Module, Ref, Store, Table, TypedFunc, Val,
};

/// The program's table of functions.
const TABLE: &str = "__indirect_function_table";
/// Where the program keeps the three functions that the host calls.
const FUNCTIONS: &str = "cloudskin_threads";
/// The program's own globals of each thread: where its stack is, and its variables.
const STACK: &str = "__stack_pointer";
const VARIABLES: &str = "__tls_base";

/// What all threads are made from.
pub(super) struct Instances {
    pub(super) program: Arc<Program>,
    pub(super) origin: Origin,
    pub(super) wasi: Arc<Mutex<Wasi>>,
    pub(super) ground: Ground,
    /// Size of a further thread's stack.
    pub(super) stack_bytes: AtomicU32,
    /// Size of a thread's own variables, once the first instance has said so.
    pub(super) tls_bytes: AtomicU32,
    /// Where each thread but the first has its stack and variables, by number.
    pub(super) places: Mutex<BTreeMap<u32, ThreadPlace>>,
    pub(super) doing: Arc<Doing>,
    /// Whether the program is asked to stop.
    pub(super) asked: Arc<AtomicBool>,
    /// Where threads wait while it is saved.
    pub(super) stillness: Arc<Stillness>,
}

/// What an instance is made of.
pub(super) enum Origin {
    /// As many as wanted.
    Shared(InstancePre<State>),
    /// One, with a memory of its own.
    Own(Module, Linker<State>, MemoryType),
}

/// What the host calls.
pub(super) struct Calls {
    pub(super) table: Table,
    pub(super) malloc: TypedFunc<u32, u32>,
    pub(super) free: TypedFunc<u32, ()>,
    pub(super) known: Known,
}

impl Instances {
    /// Runs `main` on this thread, from where it was saved if it was.
    pub(super) fn main(
        &self,
        runtime: &Runtime,
        requests: &Requests,
        saved: Option<&Saved>,
    ) -> wasmtime::Result<End> {
        let (mut store, instance) = self.instance(runtime.initial_thread())?;
        let ended = self.drive(&mut store, &instance, requests, saved);
        store.data().ground.end();
        ended
    }

    fn drive(
        &self,
        store: &mut Store<State>,
        instance: &Instance,
        requests: &Requests,
        saved: Option<&Saved>,
    ) -> wasmtime::Result<End> {
        let missing = || wasmtime::Error::msg("it does not export `__tls_size`");
        let tls_bytes = global(store, instance, "__tls_size").ok_or_else(missing)?;
        self.tls_bytes.store(tls_bytes, Ordering::Relaxed);
        if let Ok(area) = self.program.unwind_area() {
            let asyncify = Asyncify::of(instance, store, area)?;
            let (asked, doing) = (self.asked.clone(), self.doing.clone());
            let remote = requests.remote().clone();
            store.data_mut().saving = Some(Rc::new(Saving { asyncify, asked, remote, doing }));
        }
        let mut sequence = 0;
        if let Some(saved) = saved {
            saved.apply(store, instance)?;
            sequence = saved.sequence;
            begin_rewind(store)?;
        }
        let start = instance.get_typed_func::<(), ()>(&mut *store, "_start")?;
        loop {
            let ran = start.call(&mut *store, ());
            store.data_mut().rewinding = false;
            let Some(saving) = unwound(store, ran)? else { return Ok(End::Exited(0)) };
            // It compares where the stack ends with where its room does.
            let area_bytes = saving.asyncify.area_bytes;
            let stopped = saving.asyncify.stop_unwind.call(&mut *store, ());
            stopped.map_err(|_| Error::StackTooDeep { area_bytes })?;
            saving.asked.store(false, Ordering::Relaxed);
            let still = self.stillness.keep();
            let last = requests.serve(|path| {
                // One that does not leave the program's allocator computes there.
                let waited_ms = PATIENCE.as_millis() as u64;
                still.as_ref().ok_or(Error::NoBarrier { waited_ms })?;
                let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
                let places: Vec<_> = places.values().copied().collect();
                let size = saved::write(store, instance, places, sequence + 1, path)?;
                sequence += 1;
                Ok(size)
            });
            drop(still);
            if last {
                return Ok(End::Suspended);
            }
            begin_rewind(store)?;
        }
    }

    fn instance(&self, thread: Rc<Thread>) -> wasmtime::Result<(Store<State>, Instance)> {
        let state = State::idle(self.program.clone(), self.wasi.clone(), self.ground.clone());
        let (store, instance) = match &self.origin {
            Origin::Shared(ready) => {
                let mut store = Store::new(ready.module().engine(), state);
                let instance = ready.instantiate(&mut store)?;
                (store, instance)
            }
            Origin::Own(module, linker, memory) => {
                let mut store = Store::new(module.engine(), state);
                let memory = Memory::new(&mut store, memory.clone())?;
                if let Ground::Own(own, _) = &mut store.data_mut().ground {
                    own.memory = Some(memory);
                }
                let mut linker = linker.clone();
                linker.define(&store, super::MEMORY.0, super::MEMORY.1, memory)?;
                let instance = linker.instantiate(&mut store, module)?;
                (store, instance)
            }
        };
        let mut store = store;
        store.data().ground.look(&store);
        let missing = wasmtime::Error::msg("it exports no table: build it with `--openmp`");
        let table = instance.get_table(&mut store, TABLE).ok_or(missing)?;
        let malloc = function(&mut store, &instance, table, 0)?.typed(&store)?;
        let free = function(&mut store, &instance, table, 1)?.typed(&store)?;
        let state = store.data_mut();
        state.calls = Some(Rc::new(Calls { table, malloc, free, known: Known::default() }));
        state.openmp = Some(thread);
        Ok((store, instance))
    }

    /// Makes the instance of a thread, with its own stack and variables; they begin as the program
    /// says unless the thread had them before.
    fn thread(
        &self,
        thread: Rc<Thread>,
        place: ThreadPlace,
        returns: bool,
    ) -> wasmtime::Result<Store<State>> {
        let (mut store, instance) = self.instance(thread)?;
        set_global(&mut store, &instance, STACK, place.stack_end)?;
        if returns {
            set_global(&mut store, &instance, VARIABLES, place.variables)?;
        } else if place.variables != 0 {
            let table = instance.get_table(&mut store, TABLE);
            let table = table.ok_or_else(|| wasmtime::Error::msg("it exports no table"))?;
            let init = function(&mut store, &instance, table, 2)?;
            init.typed::<u32, ()>(&store)?.call(&mut store, place.variables)?;
        }
        if self.program.unwind_area().is_ok() {
            store.data_mut().entry = Some(self.stillness.entry());
        }
        Ok(store)
    }

    /// A thread's stack and variables, and whether it had them before.
    fn place(&self, parent: &mut dyn Guest, number: u32) -> Result<(ThreadPlace, bool)> {
        let places = || self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let known = places().get(&number).copied();
        if let Some(place) = known {
            return Ok((place, true));
        }
        let stack_bytes = self.stack_bytes.load(Ordering::Relaxed).next_multiple_of(16);
        let stack = reserve(parent, stack_bytes)?;
        let tls_bytes = self.tls_bytes.load(Ordering::Relaxed);
        let variables = reserve(parent, tls_bytes.saturating_add(TLS_ALIGNMENT))?;
        let stack_end = (stack + stack_bytes) & !15;
        let variables = variables.next_multiple_of(TLS_ALIGNMENT);
        let place = ThreadPlace { number, stack_end, variables };
        places().insert(number, place);
        Ok((place, false))
    }
}

/// Has the next call of `_start` come to where the call stack was left.
fn begin_rewind(store: &mut Store<State>) -> wasmtime::Result<()> {
    let saving = store.data().saving.clone();
    let saving = saving.ok_or_else(|| wasmtime::Error::msg("its call stack cannot be restored"))?;
    store.data_mut().rewinding = true;
    saving.asyncify.start_rewind.call(store, saving.asyncify.area)
}

/// How it stopped, if `main` came back because it did.
fn unwound(
    store: &mut Store<State>,
    ran: wasmtime::Result<()>,
) -> wasmtime::Result<Option<Rc<Saving>>> {
    let unwinding = std::mem::take(&mut store.data_mut().unwinding);
    let saving = store.data().saving.clone().filter(|_| unwinding);
    match (ran, &saving) {
        (Err(error), Some(saving)) if error.is::<wasmtime::Trap>() => {
            let area_bytes = saving.asyncify.area_bytes;
            Err(error.context(Error::StackTooDeep { area_bytes }))
        }
        (ran, _) => ran.map(|()| saving),
    }
}

/// One of the functions that the program keeps for the host.
fn function(
    store: &mut Store<State>,
    instance: &Instance,
    table: Table,
    index: u32,
) -> wasmtime::Result<wasmtime::Func> {
    let missing = || wasmtime::Error::msg("it lacks what threads need: build it with `--openmp`");
    let at = global(store, instance, FUNCTIONS).ok_or_else(missing)?.saturating_add(index * 4);
    let at = store.data().ground.view().u32(at)?;
    match table.get(&mut *store, u64::from(at)) {
        Some(Ref::Func(Some(function))) => Ok(function),
        _ => Err(missing()),
    }
}

fn global(store: &mut Store<State>, instance: &Instance, name: &str) -> Option<u32> {
    let global = instance.get_global(&mut *store, name)?;
    global.get(store).i32().map(i32::cast_unsigned)
}

fn set_global(
    store: &mut Store<State>,
    instance: &Instance,
    name: &str,
    value: u32,
) -> wasmtime::Result<()> {
    let global = instance.get_global(&mut *store, name);
    let global = global.ok_or_else(|| wasmtime::Error::msg(format!("it exports no `{name}`")))?;
    global.set(store, Val::I32(value.cast_signed()))
}

/// Memory for a thread from the guest of the thread that makes it.
fn reserve(parent: &mut dyn Guest, bytes: u32) -> Result<u32> {
    match parent.malloc(bytes)? {
        0 => Err(openmp::Error::Memory { bytes }),
        address => Ok(address),
    }
}

/// Largest alignment that a thread's variables may ask for.
const TLS_ALIGNMENT: u32 = 4096;

/// Where OpenMP gets its threads.
pub(super) struct Pool(pub(super) Arc<Instances>);

impl Threads for Pool {
    fn start(&self, parent: &mut dyn Guest, worker: Worker) -> Result<()> {
        if matches!(self.0.origin, Origin::Own(..)) {
            return Err(openmp::Error::Thread("the portable engine has one".into()));
        }
        let (place, returns) = self.0.place(parent, worker.number())?;
        let instances = self.0.clone();
        std::thread::Builder::new()
            .name(format!("cell/{}", worker.number()))
            .stack_size(THREAD_STACK_BYTES)
            .spawn(move || {
                let thread = worker.thread();
                match instances.thread(thread.clone(), place, returns) {
                    Ok(mut store) => worker.serve(&thread, &mut View(&mut store)),
                    Err(error) => {
                        let number = thread.global_number();
                        worker.fail(failed(error, number, &instances.program));
                    }
                }
            })
            .map(drop)
            .map_err(|error| openmp::Error::Thread(Box::new(error)))
    }
}
