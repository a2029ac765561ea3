//! Engines: how modules become code.

use crate::error::{Error, Result};
use api::service::Engine as Backend;
use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::OnceLock,
};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

/// What a cell is for, which decides how it is interrupted and where its memory comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Use {
    /// Many small cells in one process: memory from a pool, interrupted by epochs.
    Service,
    /// One program in a process of its own: no epochs, for they double the time of tight loops;
    /// it is stopped with its process.
    Program,
}

/// Most service cells that are instantiated at once in a process. Each reserves 4 GiB of the
/// 128 TiB of addresses; idle cells beyond it hibernate.
const RESIDENT_CELLS_MAX: u32 = 1000;

/// How many service cells are instantiated at once in this process, at most:
/// `CLOUDSKIN_RESIDENT_CELLS`, where memory is scarcer than time.
pub(crate) fn resident_cells() -> u32 {
    static WANTED: OnceLock<u32> = OnceLock::new();
    *WANTED.get_or_init(|| {
        let wanted = std::env::var("CLOUDSKIN_RESIDENT_CELLS").ok();
        let wanted = wanted.and_then(|number| number.parse().ok()).unwrap_or(RESIDENT_CELLS_MAX);
        wanted.clamp(1, RESIDENT_CELLS_MAX)
    })
}

/// Deepest native stack of a service's cell; the threads that run cells have more.
const SERVICE_STACK_BYTES: usize = 512 << 10;

/// Deepest native stack of a program, as native programs have.
pub(crate) const PROGRAM_STACK_BYTES: usize = 8 << 20;

/// The engine for this use and back end, made once per process.
///
/// # Errors
/// If the machine cannot run it, for example without enough addresses for the pool.
pub(crate) fn engine(purpose: Use, backend: Backend) -> Result<&'static Engine> {
    static ENGINES: [OnceLock<Engine>; 4] = [const { OnceLock::new() }; 4];
    let index = usize::from(purpose == Use::Program) * 2 + usize::from(backend == Backend::Pulley);
    let slot = &ENGINES[index];
    if let Some(engine) = slot.get() {
        return Ok(engine);
    }
    let config = config(purpose, backend, Job::Run)
        .map_err(|error| Error::runtime("cannot configure the engine", error))?;
    let engine = Engine::new(&config)
        .map_err(|error| Error::runtime("cannot start the WebAssembly engine", error))?;
    Ok(slot.get_or_init(|| engine))
}

/// An engine that makes the same code but reserves no addresses for cells: compilers run with
/// little memory.
///
/// # Errors
/// As for [`engine`].
pub(crate) fn compiler(purpose: Use, backend: Backend) -> Result<Engine> {
    config(purpose, backend, Job::Compile)
        .and_then(|config| Engine::new(&config))
        .map_err(|error| Error::runtime("cannot start the WebAssembly compiler", error))
}

#[derive(PartialEq, Eq)]
enum Job {
    Run,
    Compile,
}

fn config(purpose: Use, backend: Backend, job: Job) -> wasmtime::Result<Config> {
    let mut config = Config::new();
    if backend == Backend::Pulley {
        config.target("pulley64")?;
    }
    match purpose {
        Use::Service => {
            config.epoch_interruption(true);
            config.max_wasm_stack(SERVICE_STACK_BYTES);
            if job == Job::Run {
                config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool()));
            }
        }
        Use::Program => {
            config.max_wasm_stack(PROGRAM_STACK_BYTES);
            config.shared_memory(true);
            // Not used, but checked against the other.
            config.async_stack_size(PROGRAM_STACK_BYTES * 2);
        }
    }
    Ok(config)
}

fn pool() -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_core_instances(resident_cells())
        .total_memories(resident_cells())
        .total_tables(resident_cells())
        .max_core_instance_size(64 << 10)
        .table_elements(64 << 10)
        .max_memory_size(4 << 30)
        // A slot's pages must be the module's own again for the next cell, and a page that this
        // cell has not written must be told from one that it has.
        .linear_memory_keep_resident(0);
    pool
}

/// Changes with what the compiler writes down about a module.
const FACTS_VERSION: u32 = 3;

/// A number that differs whenever what was compiled for one engine cannot be used by the other.
pub(crate) fn fingerprint(engine: &Engine) -> u64 {
    let mut hasher = DefaultHasher::new();
    FACTS_VERSION.hash(&mut hasher);
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.finish()
}
