//! Programs with OpenMP: threads of the host over one shared memory.
//!
//! Each thread has a store and an instance of its own; the memory is one. Whatever the threads
//! need in it — stacks, thread-local variables — comes from the program's own allocator, which
//! believes that it owns all memory. Between regions the program can be saved; under the portable
//! engine, which has no threads, its unthreaded twin runs. Start at [`Parallel::run`].

mod called;
mod guest;
mod instances;
mod link;
mod memory;
mod saved;
mod still;
mod stop;

use crate::{
    cell::Suspender,
    error::{Error, Result},
    host, neural,
    program::Program,
    requests::{Remote, Requests},
    run::{End, THREAD_STACK_BYTES},
    snapshot::SnapshotError,
    wasi::{self, Exit, Wasi},
};
use api::service::Engine as Backend;
use guest::State;
use instances::{Instances, Origin, Pool};
use memory::{Ground, OwnMemory, WASM_PAGE_BYTES};
use openmp::{Advice, Region, Runtime};
use saved::Saved;
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};
use stop::Doing;
use wasmtime::{Extern, Linker, Memory, MemoryType, Module, SharedMemory, Store};

/// What a module must import its memory as.
pub(crate) const MEMORY: (&str, &str) = ("env", "memory");

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

/// Advice for an unthreaded twin.
struct Alone;

impl Advice for Alone {
    fn threads(&self, _: &Region) -> u32 {
        1
    }
}

/// A program on threads that runs, or will.
#[derive(Debug)]
pub struct Parallel {
    program: Arc<Program>,
    module: Module,
    saved: Option<Saved>,
    requests: Requests,
    doing: Arc<Doing>,
    asked: Arc<AtomicBool>,
}

impl Parallel {
    /// The program, which was built with `--openmp`. Under the portable engine it has one thread:
    /// `omp_get_max_threads` is what it would be, and every region is run by its first thread.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is not made of threads.
    pub fn new(program: &Arc<Program>) -> Result<Self> {
        let module = program.threads().cloned().ok_or_else(|| Error::Malformed {
            module: program.name().to_owned(),
            reason: "its memory is not shared between threads: build it with --openmp".into(),
        })?;
        let (asked, doing) = (Arc::<AtomicBool>::default(), Arc::<Doing>::default());
        let does = doing.clone();
        let requests = Requests::new(Suspender::of(&asked), move |waited| does.late(waited))?;
        Ok(Self { program: program.clone(), module, saved: None, requests, doing, asked })
    }

    /// The program as the snapshot in `path` has it, whichever engine it was saved under. The
    /// file must stay as it is until [`Parallel::run`] has read it.
    ///
    /// # Errors
    /// [`Error::Snapshot`] says what is wrong with the snapshot, [`Error::NotMigratable`] why the
    /// program has none.
    pub fn restore(program: &Arc<Program>, path: &Path) -> Result<Self> {
        program.unwind_area()?;
        Ok(Self { saved: Some(saved::read(program, path)?), ..Self::new(program)? })
    }

    /// What asks this program for snapshots.
    pub fn remote(&self) -> Remote {
        self.requests.remote().clone()
    }

    fn malformed(&self, reason: impl std::fmt::Display) -> Error {
        Error::Malformed { module: self.program.name().to_owned(), reason: format!("{reason:#}") }
    }

    /// Runs the program to its end. It uses at most `memory_bytes`. One that was saved goes on with
    /// its own arguments, variables and settings of OpenMP; `config` then says what it may use, and
    /// `openmp` what the machine has.
    ///
    /// # Errors
    /// How the first thread failed that did, or what the snapshot refers to and is not granted or
    /// not there.
    pub fn run(
        self,
        config: wasi::Config,
        openmp: openmp::Config,
        advice: Arc<dyn Advice>,
        memory_bytes: u64,
    ) -> Result<End> {
        let program = self.program.clone();
        let (openmp, wasi) = self.world(config, openmp)?;
        let ground = self.ground(memory_bytes)?;
        if let Ground::Shared(_) = &ground {
            self.doing.look_into(ground.view());
        }
        let instances = Arc::new(self.instances(wasi, ground)?);
        let wasi = instances.wasi.clone();
        let runtime = self.runtime(openmp, &instances, advice)?;
        instances.stack_bytes.store(runtime.config().stack_bytes, Ordering::Relaxed);
        let (ended, outcome) = (Arc::new(Mutex::new(None)), runtime.clone());
        let result = ended.clone();
        let Self { saved, requests, .. } = self;
        std::thread::Builder::new()
            .name("cell".into())
            .stack_size(THREAD_STACK_BYTES)
            .spawn(move || {
                let ran = instances.main(&runtime, &requests, saved.as_ref());
                *result.lock().unwrap_or_else(PoisonError::into_inner) = Some(ran);
                // A thread that failed first has already said why.
                runtime.stop();
            })
            .map_err(|error| Error::runtime("cannot start the program's thread", error))?;
        outcome.wait_for_stop();
        let ran = ended.lock().unwrap_or_else(PoisonError::into_inner).take();
        let end = match (outcome.take_failure(), ran) {
            (Some(error), _) => ending(error.into(), &program),
            (None, Some(Ok(end))) => Ok(end),
            (None, Some(Err(error))) => ending(error, &program),
            (None, None) => Err(Error::Ended { code: 1 }),
        };
        if let Ok(End::Exited(_)) = end {
            wasi.lock().unwrap_or_else(PoisonError::into_inner).close_files()?;
        }
        end
    }

    fn is_twin(&self) -> bool {
        self.program.backend() == Backend::Pulley
    }

    /// The settings of OpenMP and the view of the system, from the snapshot if there is one.
    fn world(
        &self,
        config: wasi::Config,
        openmp: openmp::Config,
    ) -> Result<(openmp::Config, Wasi)> {
        let Some(saved) = &self.saved else {
            let variables: BTreeMap<_, _> = config.variables.iter().cloned().collect();
            let openmp = openmp
                .with_variables(&variables)
                .map_err(|error| Error::runtime("the environment cannot be used", error))?;
            let wasi = config
                .build()
                .map_err(|error| Error::runtime("the program cannot be given its world", error))?;
            return Ok((openmp, wasi));
        };
        let wasi::Config { grants, models, streams, sources, limits, .. } = config;
        let wasi = Wasi::restore(saved.wasi.clone(), grants, models, streams, sources, limits)
            .map_err(|error| SnapshotError::Descriptors(Box::new(error)))?;
        Ok((openmp, wasi))
    }

    fn runtime(
        &self,
        openmp: openmp::Config,
        instances: &Arc<Instances>,
        advice: Arc<dyn Advice>,
    ) -> Result<Runtime> {
        let (view, pool) = (instances.ground.view(), Arc::new(Pool(instances.clone())));
        // The twin's regions get one thread, whatever they ask for; its arrays are as large as the
        // run's.
        let (openmp, advice) = match self.is_twin() {
            true => (openmp::Config { elastic: true, ..openmp }, Arc::new(Alone) as Arc<_>),
            false => (openmp, advice),
        };
        let Some(saved) = &self.saved else {
            return Ok(Runtime::new(openmp, view, pool, advice));
        };
        Runtime::restored(openmp, view, pool, advice, &saved.threads.openmp).map_err(|error| {
            SnapshotError::Malformed { section: "threads", reason: types::chain(&error) }.into()
        })
    }

    /// The memory that the module asks for, if it may have so much.
    fn memory_type(&self, limit_bytes: u64) -> Result<(u32, u32)> {
        let import = self
            .module
            .imports()
            .find(|import| (import.module(), import.name()) == MEMORY)
            .and_then(|import| import.ty().memory().cloned())
            .filter(|memory| memory.is_shared() != self.is_twin() && !memory.is_64())
            .ok_or_else(|| self.malformed("it imports no shared memory `env.memory`"))?;
        let needs_bytes = import.minimum().saturating_mul(WASM_PAGE_BYTES);
        if needs_bytes > limit_bytes {
            let module = self.program.name().to_owned();
            return Err(Error::Memory { module, needs_bytes, limit_bytes });
        }
        // A smaller maximum than the module allows keeps it within its limit.
        let most = import.maximum().unwrap_or(import.minimum()).min(limit_bytes / WASM_PAGE_BYTES);
        let pages = |pages: u64| u32::try_from(pages).unwrap_or(u32::MAX);
        Ok((pages(import.minimum()), pages(most)))
    }

    fn ground(&self, limit_bytes: u64) -> Result<Ground> {
        let (least, most) = self.memory_type(limit_bytes)?;
        if self.is_twin() {
            return Ok(Ground::Own(OwnMemory { least, most, memory: None }, Arc::default()));
        }
        let memory = SharedMemory::new(self.module.engine(), MemoryType::shared(least, most))
            .map_err(|error| Error::runtime("cannot reserve the program's memory", error))?;
        crate::memory::use_large_pages(memory.data().as_ptr() as usize, limit_bytes);
        Ok(Ground::Shared(memory))
    }

    fn instances(&self, wasi: Wasi, ground: Ground) -> Result<Instances> {
        let wasi = Arc::new(Mutex::new(wasi));
        let places = self.saved.iter().flat_map(|saved| &saved.threads.places);
        Ok(Instances {
            program: self.program.clone(),
            origin: self.origin(&wasi, &ground)?,
            wasi,
            ground,
            stack_bytes: AtomicU32::new(0),
            tls_bytes: AtomicU32::new(0),
            places: Mutex::new(places.map(|place| (place.number, *place)).collect()),
            doing: self.doing.clone(),
            asked: self.asked.clone(),
            stillness: Arc::default(),
        })
    }

    /// What instances are made of; all imports are there.
    fn origin(&self, wasi: &Arc<Mutex<Wasi>>, ground: &Ground) -> Result<Origin> {
        let failed = |error| Error::runtime("cannot offer the host's functions", error);
        let mut linker = Linker::<State>::new(self.module.engine());
        wasi::add_to_linker(&mut linker).map_err(failed)?;
        link::add_to_linker(&mut linker).map_err(failed)?;
        if self.module.imports().any(|import| import.module() == neural::MODULE) {
            neural::add_to_linker(&mut linker).map_err(failed)?;
        }
        let state = State::idle(self.program.clone(), wasi.clone(), ground.clone());
        let mut store = Store::new(self.module.engine(), state);
        let mut whole = linker.clone();
        let memory: Extern = match ground {
            Ground::Shared(memory) => memory.clone().into(),
            Ground::Own(own, _) => Memory::new(&mut store, own.ty()).map_err(failed)?.into(),
        };
        whole.define(&store, MEMORY.0, MEMORY.1, memory).map_err(failed)?;
        let ready = whole
            .instantiate_pre(&self.module)
            .map_err(|error| host::not_linked(self.program.name(), &self.module, &error))?;
        Ok(match ground {
            Ground::Shared(_) => Origin::Shared(ready),
            // A memory belongs to one store, and what is made with it too.
            Ground::Own(own, _) => Origin::Own(self.module.clone(), linker, own.ty()),
        })
    }
}

/// An exit code, where that is how the program ended.
fn ending(error: wasmtime::Error, program: &Program) -> Result<End> {
    if let Some(Exit(code)) = error.downcast_ref::<Exit>() {
        return Ok(End::Exited(*code));
    }
    let error = match error.downcast::<Error>() {
        Ok(error) => return Err(error),
        Err(error) => error,
    };
    match error.downcast::<openmp::Error>() {
        // What ended a thread is wrapped in what OpenMP says of it.
        Ok(openmp::Error::Guest { source, thread }) => match source.downcast::<Exit>() {
            Ok(exit) => Ok(End::Exited(exit.0)),
            Err(source) => Err(source.downcast::<Error>().map_or_else(
                |source| Error::Trap { trap: source.to_string(), frames: Vec::new() },
                |trapped| in_thread(*trapped, thread),
            )),
        },
        Ok(error) => Err(Error::Trap { trap: types::chain(&error), frames: Vec::new() }),
        Err(error) => Err(guest::trapped(&error, program)),
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
