//! Modules made ready to run.
//!
//! Start at [`Runtime::load`]: from a module's bytes to a [`Program`] whose code is compiled,
//! taken from the cache when it is there. Compilation happens in a process of its own, so that a
//! hostile module can neither take this one down nor keep it busy.

use crate::{
    cache::{Cache, Entry},
    engine::{self, Use},
    error::{Error, Result},
    host,
    toolchain::{self, Inspection, UnwindArea},
};
use api::service::Engine as Backend;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{
    io::Read,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};
use types::Digest;
use wasmtime::{InstancePre, Module};

/// Most memory of a compiler process: Cranelift needs about 100 times a module's size.
const COMPILER_MEMORY_BYTES: u64 = 8 << 30;

/// Most processor time of a compiler process; CPython, 25 MiB, takes a quarter of it.
const COMPILER_CPU_SECONDS: u64 = 120;

/// How long a compiler process may take; more than its processor time, for the machine is shared.
const COMPILER_DEADLINE: Duration = Duration::from_secs(240);

/// Where and how modules become programs.
#[derive(Debug, Clone)]
pub struct Runtime {
    cache: Cache,
    compiler: Compiler,
}

/// Who compiles.
#[derive(Debug, Clone)]
pub enum Compiler {
    /// This executable, called as `compile --module M --cache C --purpose P --backend B`, which
    /// ends in [`compile_here`].
    Process(PathBuf),
    /// This process: for tools that compile modules of their own.
    Here,
}

/// A module that is ready to be instantiated.
pub struct Program {
    name: String,
    digest: Digest,
    purpose: Use,
    backend: Backend,
    facts: Facts,
    ready: InstancePre<host::State>,
}

/// What the compiler process finds out about a module, so that no other looks at its bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// Memory at the start, in bytes.
    pub(crate) memory_min_bytes: u64,
    /// Where the call stack goes when the cell is suspended, or why it cannot be.
    pub(crate) unwind: Result<(u32, u32), String>,
    /// Exports of the mutable globals that a snapshot carries.
    pub(crate) globals: Vec<String>,
}

impl Facts {
    fn of(inspection: &Inspection) -> Self {
        Self {
            memory_min_bytes: inspection
                .memories
                .first()
                .map_or(0, |memory| memory.minimum_pages.saturating_mul(64 << 10)),
            unwind: match &inspection.migratable {
                Ok(UnwindArea { address, size_bytes }) => Ok((*address, *size_bytes)),
                Err(reason) => Err(reason.to_string()),
            },
            globals: inspection
                .mutable_globals
                .iter()
                .filter_map(|global| global.export.clone())
                .collect(),
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

    pub(crate) fn ready(&self) -> &InstancePre<host::State> {
        &self.ready
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
        Self { cache, compiler }
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
        let ready = host::link(&name, &module)?;
        Ok(Arc::new(Program { name, digest, purpose, backend, facts, ready }))
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
                run_compiler(program, &self.cache, path, name, purpose, backend)?;
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

fn run_compiler(
    program: &Path,
    cache: &Cache,
    path: &Path,
    name: &str,
    purpose: Use,
    backend: Backend,
) -> Result<()> {
    let failed = |reason: String| Error::Compile { module: name.to_owned(), reason };
    let mut child = Command::new(program)
        .arg("compile")
        .arg("--module")
        .arg(path)
        .arg("--cache")
        .arg(cache.folder())
        .args(["--purpose", purpose_name(purpose), "--backend", backend_name(backend)])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(format!("cannot start the compiler: {error}")))?;
    let said = child.stderr.take().map(|mut stderr| {
        std::thread::spawn(move || {
            let mut said = String::new();
            // What it could not say is missing in the message, no more.
            let _ = stderr.by_ref().take(64 << 10).read_to_string(&mut said);
            said
        })
    });
    let deadline = Instant::now() + COMPILER_DEADLINE;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(1)),
            Ok(None) | Err(_) => {
                // Whether or not it is still there, it is not waited for any longer.
                let _ = child.kill();
                let _ = child.wait();
                return Err(failed(format!("it took more than {COMPILER_DEADLINE:?}")));
            }
        }
    };
    if status.success() {
        return Ok(());
    }
    let said = said.and_then(|thread| thread.join().ok()).unwrap_or_default();
    Err(match (status.signal(), said.trim()) {
        (Some(signal), _) => failed(format!(
            "the compiler was stopped by signal {signal}: the module needs more than \
             {COMPILER_CPU_SECONDS} s of processor time or {} MiB of memory",
            COMPILER_MEMORY_BYTES >> 20
        )),
        (None, "") => failed(format!("the compiler ended with {status}")),
        (None, said) => Error::Malformed { module: name.to_owned(), reason: said.to_owned() },
    })
}

/// The purpose as the compiler's command line says it.
pub fn purpose_name(purpose: Use) -> &'static str {
    match purpose {
        Use::Service => "service",
        Use::Program => "program",
    }
}

/// The back end as command lines say it.
pub fn backend_name(backend: Backend) -> &'static str {
    match backend {
        Backend::Cranelift => "cranelift",
        Backend::Pulley => "pulley",
    }
}

/// Bounds this process as a compiler process is bounded.
pub fn limit_compiler_process() {
    use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};
    let limit = |most| Rlimit { current: Some(most), maximum: Some(most) };
    // A system that refuses a limit keeps its own.
    let _ = setrlimit(Resource::As, limit(COMPILER_MEMORY_BYTES));
    let _ = setrlimit(Resource::Cpu, limit(COMPILER_CPU_SECONDS));
    let _ = setrlimit(Resource::Core, limit(0));
    // Who asked for the code waits for it: nobody needs it any more once that process is gone.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
}

/// Compiles the module in `path` into the cache, in this process.
///
/// # Errors
/// [`Error::Malformed`] says what is wrong with the module.
pub fn compile_here(cache: &Cache, path: &Path, purpose: Use, backend: Backend) -> Result<()> {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let malformed = |reason: String| Error::Malformed { module: name.clone(), reason };
    let wasm =
        std::fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    let digest = Digest::from_sha256(Sha256::digest(&wasm).into());
    let inspection = toolchain::inspect(&wasm).map_err(|error| malformed(types::chain(&error)))?;
    let facts = postcard::to_stdvec(&Facts::of(&inspection))
        .map_err(|error| Error::runtime("cannot write a module's facts", error))?;
    let engine = engine::compiler(purpose, backend)?;
    let code = engine.precompile_module(&wasm).map_err(|error| malformed(format!("{error:#}")))?;
    cache.store(&digest, engine::fingerprint(&engine), &Entry { facts, code })
}
