//! Programs with OpenMP: threads of the host over one shared memory.
//!
//! Each thread has a store and an instance of its own; the memory is one. Whatever the threads
//! need in it — stacks, thread-local variables — comes from the program's own allocator, which
//! believes that it owns all memory. Start at [`Parallel::run`].

mod guest;
mod link;

use crate::{
    engine::PROGRAM_STACK_BYTES,
    error::{Error, Result},
    run::THREAD_STACK_BYTES,
    wasi::{self, Exit, Wasi},
};
use guest::{Instances, Pool, State};
use openmp::{Advice, LinearMemory, Memory, Runtime};
use std::{
    cell::UnsafeCell,
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU32},
};
use wasmtime::{Config, Engine, Linker, Module, SharedMemory};

/// What a module must import its memory as.
const MEMORY: (&str, &str) = ("env", "memory");

/// Size of a Wasm page.
const PAGE_BYTES: u64 = 64 << 10;

/// A program with OpenMP, compiled.
#[derive(Clone)]
pub struct Parallel {
    name: String,
    module: Module,
}

impl std::fmt::Debug for Parallel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parallel").field("name", &self.name).finish_non_exhaustive()
    }
}

struct Shared(SharedMemory);

impl LinearMemory for Shared {
    fn bytes(&self) -> &[UnsafeCell<u8>] {
        self.0.data()
    }
}

impl Parallel {
    /// Compiles a module in this process.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is no such module.
    pub fn compile(name: &str, wasm: &[u8]) -> Result<Self> {
        let mut config = Config::new();
        config.wasm_threads(true).shared_memory(true).max_wasm_stack(PROGRAM_STACK_BYTES);
        config.async_stack_size(PROGRAM_STACK_BYTES * 2);
        let engine = Engine::new(&config)
            .map_err(|error| Error::runtime("cannot start the WebAssembly engine", error))?;
        let module = Module::new(&engine, wasm).map_err(|error| Error::Malformed {
            module: name.to_owned(),
            reason: format!("{error:#}"),
        })?;
        Ok(Self { name: name.to_owned(), module })
    }

    fn malformed(&self, reason: impl std::fmt::Display) -> Error {
        Error::Malformed { module: self.name.clone(), reason: format!("{reason:#}") }
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
            let module = self.name.clone();
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
        let ready = linker.instantiate_pre(&self.module).map_err(|error| self.malformed(error))?;
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
    let trap = match error.downcast_ref::<openmp::Error>() {
        // What ended a thread is wrapped in what OpenMP says of it.
        Some(openmp::Error::Guest { source, .. }) if source.is::<Exit>() => {
            return Ok(source.downcast_ref::<Exit>().map_or(1, |exit| exit.0));
        }
        Some(error) => types::chain(error).to_string(),
        None => format!("{error:#}"),
    };
    Err(Error::Trap { trap, frames: Vec::new() })
}
