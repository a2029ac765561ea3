//! Programs with OpenMP: threads of the host over one shared memory.
//!
//! Each thread has a store and an instance of its own; the memory is one. Whatever the threads
//! need in it — stacks, thread-local variables — comes from the program's own allocator, which
//! believes that it owns all memory. Start at [`Parallel::run`].

mod called;
mod guest;
mod link;

use crate::{
    error::{Error, Result},
    host,
    program::Program,
    run::THREAD_STACK_BYTES,
    wasi::{self, Exit, Wasi},
};
use guest::{Instances, Pool, State};
use openmp::{Advice, LinearMemory, Memory, Region, Runtime};
use std::{
    cell::UnsafeCell,
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};
use wasmtime::{Linker, Module, SharedMemory};

/// What a module must import its memory as.
const MEMORY: (&str, &str) = ("env", "memory");

/// Size of a Wasm page.
const PAGE_BYTES: u64 = 64 << 10;

/// The names of the functions that a program may import for OpenMP, from the module `env`.
pub(crate) fn function_names() -> Vec<&'static str> {
    link::names()
}

/// How many processors a program may use now: what its planner says last counts from its next
/// parallel region on.
#[derive(Debug)]
pub struct Grant(AtomicU32);

impl Grant {
    /// So many, until somebody says otherwise.
    pub fn new(processors: u32) -> Arc<Self> {
        Arc::new(Self(AtomicU32::new(processors)))
    }

    /// Grants another number.
    pub fn set(&self, processors: u32) {
        self.0.store(processors, Ordering::Relaxed);
    }

    /// What is granted.
    pub fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Advice for Grant {
    fn threads(&self, _: &Region) -> u32 {
        self.get()
    }
}

/// A program on threads that runs, or will.
#[derive(Debug)]
pub struct Parallel {
    program: Arc<Program>,
    module: Module,
}

struct Shared(SharedMemory);

impl LinearMemory for Shared {
    fn bytes(&self) -> &[UnsafeCell<u8>] {
        self.0.data()
    }
}

impl Parallel {
    /// The program, which was built with `--openmp`.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is not made of threads.
    pub fn new(program: &Arc<Program>) -> Result<Self> {
        let module = program.threads().cloned().ok_or_else(|| Error::Malformed {
            module: program.name().to_owned(),
            reason: "its memory is not shared between threads: build it with --openmp".into(),
        })?;
        Ok(Self { program: program.clone(), module })
    }

    fn malformed(&self, reason: impl std::fmt::Display) -> Error {
        Error::Malformed { module: self.program.name().to_owned(), reason: format!("{reason:#}") }
    }

    /// Runs the program to its end; gives its exit code. It uses at most `memory_bytes`.
    ///
    /// # Errors
    /// How the first thread failed that did.
    pub fn run(
        &self,
        config: wasi::Config,
        openmp: openmp::Config,
        advice: Arc<dyn Advice>,
        memory_bytes: u64,
    ) -> Result<u32> {
        let variables: BTreeMap<_, _> = config.variables.iter().cloned().collect();
        let openmp = openmp
            .with_variables(&variables)
            .map_err(|error| Error::runtime("the environment cannot be used", error))?;
        let wasi = config
            .build()
            .map_err(|error| Error::runtime("the program cannot be given its world", error))?;
        let memory = self.memory(memory_bytes)?;
        let instances = Arc::new(self.instances(wasi, &memory, openmp.stack_bytes)?);
        let view = Memory::new(Arc::new(Shared(memory)));
        let runtime = Runtime::new(openmp, view, Arc::new(Pool(instances.clone())), advice);
        let (ended, outcome) = (Arc::new(Mutex::new(None)), runtime.clone());
        let result = ended.clone();
        std::thread::Builder::new()
            .name("cell".into())
            .stack_size(THREAD_STACK_BYTES)
            .spawn(move || {
                let ran = instances.main(&runtime);
                *result.lock().unwrap_or_else(PoisonError::into_inner) = Some(ran);
                // A thread that failed first has already said why.
                runtime.stop();
            })
            .map_err(|error| Error::runtime("cannot start the program's thread", error))?;
        outcome.wait_for_stop();
        if let Some(error) = outcome.take_failure() {
            return ending(error.into());
        }
        let ran = ended.lock().unwrap_or_else(PoisonError::into_inner).take();
        match ran {
            Some(Ok(())) => Ok(0),
            Some(Err(error)) => ending(error),
            None => Err(Error::Ended { code: 1 }),
        }
    }

    /// The memory that the module asks for, if it may have so much.
    fn memory(&self, limit_bytes: u64) -> Result<SharedMemory> {
        let import = self
            .module
            .imports()
            .find(|import| (import.module(), import.name()) == MEMORY)
            .and_then(|import| import.ty().memory().cloned())
            .filter(wasmtime::MemoryType::is_shared)
            .ok_or_else(|| self.malformed("it imports no shared memory `env.memory`"))?;
        let needs_bytes = import.minimum().saturating_mul(PAGE_BYTES);
        if needs_bytes > limit_bytes {
            let module = self.program.name().to_owned();
            return Err(Error::Memory { module, needs_bytes, limit_bytes });
        }
        // A smaller maximum than the module allows keeps it within its limit.
        let most = import.maximum().unwrap_or(import.minimum()).min(limit_bytes / PAGE_BYTES);
        let pages = |pages: u64| u32::try_from(pages).unwrap_or(u32::MAX);
        let memory = wasmtime::MemoryType::shared(pages(import.minimum()), pages(most));
        SharedMemory::new(self.module.engine(), memory)
            .map_err(|error| Error::runtime("cannot reserve the program's memory", error))
    }

    fn instances(&self, wasi: Wasi, memory: &SharedMemory, stack_bytes: u32) -> Result<Instances> {
        let failed = |error| Error::runtime("cannot offer the host's functions", error);
        let mut linker = Linker::<State>::new(self.module.engine());
        wasi::add_to_linker(&mut linker).map_err(failed)?;
        link::add_to_linker(&mut linker).map_err(failed)?;
        let wasi = Arc::new(Mutex::new(wasi));
        let mut store =
            wasmtime::Store::new(self.module.engine(), State::idle(wasi.clone(), memory.clone()));
        linker.define(&mut store, MEMORY.0, MEMORY.1, memory.clone()).map_err(failed)?;
        let ready = linker
            .instantiate_pre(&self.module)
            .map_err(|error| host::not_linked(self.program.name(), &self.module, &error))?;
        Ok(Instances {
            ready,
            wasi,
            memory: memory.clone(),
            stack_bytes,
            tls_bytes: AtomicU32::new(0),
        })
    }
}

/// An exit code, where that is how the program ended.
fn ending(error: wasmtime::Error) -> Result<u32> {
    if let Some(Exit(code)) = error.downcast_ref::<Exit>() {
        return Ok(*code);
    }
    match error.downcast::<openmp::Error>() {
        // What ended a thread is wrapped in what OpenMP says of it.
        Ok(openmp::Error::Guest { source, thread }) => match source.downcast::<Exit>() {
            Ok(exit) => Ok(exit.0),
            Err(source) => Err(source.downcast::<Error>().map_or_else(
                |source| Error::Trap { trap: source.to_string(), frames: Vec::new() },
                |trapped| in_thread(*trapped, thread),
            )),
        },
        Ok(error) => Err(Error::Trap { trap: types::chain(&error), frames: Vec::new() }),
        Err(error) => Err(guest::trapped(&error)),
    }
}

/// Says which thread it was, unless there was but one.
fn in_thread(error: Error, thread: u32) -> Error {
    match error {
        Error::Trap { trap, frames } if thread > 0 => {
            Error::Trap { trap: format!("in thread {thread}, {trap}"), frames }
        }
        error => error,
    }
}
