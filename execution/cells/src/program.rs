//! Modules made ready to run.
//!
//! Start at [`Runtime::load`]: from a module's bytes to a [`Program`] whose code is compiled,
//! taken from the cache when it is there. Compilation happens in a process of its own, so that a
//! hostile module can neither take this one down nor keep it busy.

use crate::{
    cache::{Cache, Entry},
    compiler::{self, Compiler, CompilerLimits, compile_here},
    engine::{self, Use},
    error::{Error, Result},
    host,
    toolchain::{Inspection, UnwindArea},
};
use api::service::Engine as Backend;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{io::Read, path::Path, sync::Arc, time::Instant};
use types::Digest;
use wasmtime::{InstancePre, Module};

/// Where and how modules become programs.
#[derive(Debug, Clone)]
pub struct Runtime {
    cache: Cache,
    compiler: Compiler,
    limits: CompilerLimits,
}

/// A module that is ready to be instantiated.
pub struct Program {
    name: String,
    digest: Digest,
    purpose: Use,
    backend: Backend,
    facts: Facts,
    code: Code,
}

/// What is left to do before it runs.
enum Code {
    /// Nothing but to instantiate it.
    Ready(InstancePre<host::State>),
    /// It runs on threads over a memory that is made for each run.
    Threads(Module),
}

/// What the compiler process finds out about a module, so that no other looks at its bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// Memory at the start, in bytes.
    pub(crate) memory_min_bytes: u64,
    /// Whether its memory is one that threads share.
    pub(crate) threads: bool,
    /// Where the call stack goes when the cell is suspended, or why it cannot be.
    pub(crate) unwind: Result<(u32, u32), String>,
    /// Exports of the mutable globals that a snapshot carries.
    pub(crate) globals: Vec<String>,
    /// Where, in an unthreaded twin, the waits are that nobody could end.
    pub(crate) waits: Vec<u32>,
}

impl Facts {
    pub(crate) fn of(inspection: &Inspection) -> Self {
        Self {
            memory_min_bytes: inspection
                .memories
                .first()
                .map_or(0, |memory| memory.minimum_pages.saturating_mul(64 << 10)),
            threads: inspection.memories.iter().any(|memory| memory.shared),
            unwind: match &inspection.migratable {
                Ok(UnwindArea { address, size_bytes }) => Ok((*address, *size_bytes)),
                Err(reason) => Err(reason.to_string()),
            },
            globals: inspection
                .mutable_globals
                .iter()
                .filter_map(|global| global.export.clone())
                .collect(),
            waits: Vec::new(),
        }
    }
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program").field("name", &self.name).field("digest", &self.digest).finish()
    }
}

impl Program {
    /// The module's name, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The module's digest.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// What it is for.
    pub fn purpose(&self) -> Use {
        self.purpose
    }

    /// How it is executed.
    pub fn backend(&self) -> Backend {
        self.backend
    }

    pub(crate) fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Whether it runs on threads: by [`Parallel`](crate::parallel::Parallel), not as one cell.
    pub fn has_threads(&self) -> bool {
        matches!(self.code, Code::Threads(_))
    }

    /// What is instantiated for a cell.
    pub(crate) fn ready(&self) -> Result<&InstancePre<host::State>> {
        match &self.code {
            Code::Ready(ready) => Ok(ready),
            Code::Threads(_) => Err(Error::Threads { module: self.name.clone() }),
        }
    }

    /// The module of a program on threads.
    pub(crate) fn threads(&self) -> Option<&Module> {
        match &self.code {
            Code::Ready(_) => None,
            Code::Threads(module) => Some(module),
        }
    }

    /// Where the call stack goes when a cell of this program is suspended: (address, bytes).
    ///
    /// # Errors
    /// [`Error::NotMigratable`] says what the module lacks.
    pub fn unwind_area(&self) -> Result<(u32, u32)> {
        self.facts
            .unwind
            .clone()
            .map_err(|reason| Error::NotMigratable { module: self.name.clone(), reason })
    }
}

impl Runtime {
    /// A runtime with this cache and compiler.
    pub fn new(cache: Cache, compiler: Compiler) -> Self {
        Self { cache, compiler, limits: CompilerLimits::default() }
    }

    /// The same with other limits of each compilation.
    #[must_use]
    pub fn with_compiler_limits(self, limits: CompilerLimits) -> Self {
        Self { limits, ..self }
    }

    /// Makes the module in `path` ready; compiles it unless the cache has it.
    ///
    /// # Errors
    /// [`Error`] says what is wrong with the module, or why it cannot be compiled.
    pub fn load(
        &self,
        path: &Path,
        expected: Option<Digest>,
        purpose: Use,
        backend: Backend,
    ) -> Result<Arc<Program>> {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let digest = digest_file(path)?;
        if let Some(expected) = expected.filter(|expected| *expected != digest) {
            return Err(Error::Digest { module: name, expected, found: digest });
        }
        let engine = engine::engine(purpose, backend)?;
        let fingerprint = engine::fingerprint(engine);
        let entry = match self.cache.load(&digest, fingerprint) {
            Some(entry) => entry,
            None => self.compile(path, &name, digest, purpose, backend)?,
        };
        let facts: Facts = postcard::from_bytes(&entry.facts)
            .map_err(|error| Error::runtime("a code cache entry cannot be read", error))?;
        #[expect(unsafe_code, reason = "loading compiled code runs it")]
        // SAFETY: the entry was made by our compiler for this engine, or by a process that holds
        // the cache's key: `Cache::load` has checked its keyed hash.
        let module = unsafe { Module::deserialize(engine, &entry.code) }
            .map_err(|error| Error::runtime("compiled code cannot be loaded", error))?;
        let code = match facts.threads {
            false => Code::Ready(host::link(&name, &module)?),
            true => Code::Threads(module),
        };
        Ok(Arc::new(Program { name, digest, purpose, backend, facts, code }))
    }

    fn compile(
        &self,
        path: &Path,
        name: &str,
        digest: Digest,
        purpose: Use,
        backend: Backend,
    ) -> Result<Entry> {
        match &self.compiler {
            Compiler::Here => compile_here(&self.cache, path, purpose, backend)?,
            Compiler::Process(program) => {
                let started = Instant::now();
                let job = compiler::Job { path, name, purpose, backend };
                compiler::run(program, &self.cache, &job, &self.limits)?;
                let took_ms = started.elapsed().as_millis() as u64;
                tracing::debug!(module = name, took_ms, "compiled");
            }
        }
        let fingerprint = engine::fingerprint(engine::engine(purpose, backend)?);
        self.cache.load(&digest, fingerprint).ok_or_else(|| Error::Compile {
            module: name.to_owned(),
            reason: "the compiler left no entry in the cache; the file may have changed".into(),
        })
    }
}

/// The SHA-256 of a file.
///
/// # Errors
/// [`Error::Read`] if it cannot be read.
pub fn digest_file(path: &Path) -> Result<Digest> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    let mut file = std::fs::File::open(path).map_err(failed)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => return Ok(Digest::from_sha256(hasher.finalize().into())),
            size => hasher.update(&buffer[..size]),
        }
    }
}
