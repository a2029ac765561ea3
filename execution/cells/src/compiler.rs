//! Compilation in a process of its own, within limits.
//!
//! A module that would take all memory or time ends the compiler, which leaves nothing behind but
//! the reason. [`run`] starts it and waits; [`limit_compiler_process`] and [`compile_here`] are
//! what it does.

use crate::{
    cache::{Cache, Entry},
    engine::{self, Use},
    error::{Error, Result},
    program::Facts,
    toolchain,
    twin::{self, Twin},
};
use api::service::Engine as Backend;
use rustix::process::Signal;
use sha2::{Digest as _, Sha256};
use std::{
    io::Read,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};
use types::Digest;

/// The compiler process ends with this code, as `sysexits.h` names it, if the module is at fault:
/// what it says on standard error is what is wrong with it.
pub const MALFORMED_EXIT_CODE: u8 = 65;

/// Who compiles.
#[derive(Debug, Clone)]
pub enum Compiler {
    /// This executable, called as `compile --module M --cache C --purpose P --backend B
    /// --memory-max BYTES --cpu-seconds-max SECONDS --parent PID`, which ends in
    /// [`compile_here`].
    Process(PathBuf),
    /// This process: for tools that compile modules of their own.
    Here,
}

/// What one compilation in a process of its own may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompilerLimits {
    /// Most memory (address space): Cranelift needs about 100 times a module's size.
    pub memory_bytes: u64,
    /// Most processor time; CPython, 25 MiB, takes a quarter of the default.
    pub cpu_seconds: u64,
    /// Most time by the clock; more than the processor time, for the machine is shared.
    pub deadline: Duration,
}

impl Default for CompilerLimits {
    fn default() -> Self {
        Self { memory_bytes: 8 << 30, cpu_seconds: 120, deadline: Duration::from_secs(240) }
    }
}

/// What is compiled, and for what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Job<'a> {
    pub(crate) path: &'a Path,
    /// For messages.
    pub(crate) name: &'a str,
    pub(crate) purpose: Use,
    pub(crate) backend: Backend,
}

/// Runs the compiler process to its end.
pub(crate) fn run(
    program: &Path,
    cache: &Cache,
    job: &Job<'_>,
    limits: &CompilerLimits,
) -> Result<()> {
    let failed = |reason: String| Error::Compile { module: job.name.to_owned(), reason };
    let mut child = Command::new(program)
        .arg("compile")
        .arg("--module")
        .arg(job.path)
        .arg("--cache")
        .arg(cache.folder())
        .args(["--purpose", purpose_name(job.purpose), "--backend", backend_name(job.backend)])
        .args(["--memory-max", &limits.memory_bytes.to_string()])
        .args(["--cpu-seconds-max", &limits.cpu_seconds.to_string()])
        .args(["--parent", &std::process::id().to_string()])
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
    let Some(status) = wait(&mut child, limits.deadline) else {
        return Err(failed(format!("it took longer than {}", types::Period(limits.deadline))));
    };
    if status.success() {
        return Ok(());
    }
    let said = said.and_then(|thread| thread.join().ok()).unwrap_or_default();
    if status.code() == Some(i32::from(MALFORMED_EXIT_CODE)) {
        let reason = said.trim().to_owned();
        return Err(Error::Malformed { module: job.name.to_owned(), reason });
    }
    Err(failed(reason(status, said.trim(), limits)))
}

/// How the compiler ended; `None` if it was ended at the deadline.
fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + limit;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(1)),
            Ok(None) | Err(_) => {
                // Whether or not it is still there, it is not waited for any longer.
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
    }
}

/// Why a compiler ended that neither succeeded nor found fault with the module.
fn reason(status: ExitStatus, said: &str, limits: &CompilerLimits) -> String {
    let memory = format!("it needs more than {} MiB of memory", limits.memory_bytes >> 20);
    let last = said.lines().last().unwrap_or("without a word");
    match status.signal() {
        Some(signal) if signal == Signal::XCPU.as_raw() => {
            format!("it takes more than {} s of processor time", limits.cpu_seconds)
        }
        // What Rust says before it ends a process that gets no memory.
        Some(_) if said.contains("memory allocation of ") => memory,
        // The kernel ends so whom it cannot give memory.
        Some(signal) if signal == Signal::KILL.as_raw() => {
            "the compiler was killed: the machine may have no memory left".to_owned()
        }
        Some(signal) => format!("the compiler was ended by signal {signal}: {last}"),
        None => format!("the compiler ended with {status}: {last}"),
    }
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

/// Bounds this process as a compiler process is bounded; its deadline is up to who waits for it.
pub fn limit_compiler_process(limits: &CompilerLimits) {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let limit = |soft, hard| Rlimit { current: Some(soft), maximum: Some(hard) };
    // A system that refuses a limit keeps its own.
    let _ = setrlimit(Resource::As, limit(limits.memory_bytes, limits.memory_bytes));
    // At the first limit the process ends by a signal that says why, at the second by any means.
    let cpu = limits.cpu_seconds;
    let _ = setrlimit(Resource::Cpu, limit(cpu, cpu.saturating_add(1)));
    let _ = setrlimit(Resource::Core, limit(0, 0));
}

/// Ends this process when `parent` ends: nobody needs the code any more once the process that
/// asked for it is gone.
///
/// # Errors
/// [`Error::Runtime`] if it is gone already.
pub fn end_with_parent(parent: u32) -> Result<()> {
    use rustix::process::{getppid, set_parent_process_death_signal};
    // A system that refuses it leaves the deadline.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    // Whoever ended before is not told of.
    let found = getppid().map_or(0, |pid| pid.as_raw_nonzero().get().unsigned_abs());
    if found == parent {
        return Ok(());
    }
    Err(Error::runtime("nobody waits for the code", format!("process {parent} is gone")))
}

/// The module's unthreaded twin, whose layout is proved to be the module's.
fn unthreaded(wasm: &[u8]) -> Result<Twin, String> {
    let twin = twin::lower(wasm).map_err(|error| types::chain(&error))?;
    twin::same_layout(wasm, &twin.wasm).map_err(|error| types::chain(&error))?;
    Ok(twin)
}

/// Compiles the module in `path` into the cache, in this process. The portable engine gets the
/// unthreaded twin of a module that runs on threads.
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
    let mut facts = Facts::of(&inspection);
    let engine = engine::compiler(purpose, backend)?;
    let compiled = match (facts.threads, backend) {
        (true, Backend::Pulley) => {
            let twin = unthreaded(&wasm).map_err(malformed)?;
            facts.waits = twin.waits;
            engine.precompile_module(&twin.wasm)
        }
        _ => engine.precompile_module(&wasm),
    };
    let code = compiled.map_err(|error| malformed(format!("{error:#}")))?;
    let facts = postcard::to_stdvec(&facts)
        .map_err(|error| Error::runtime("cannot write a module's facts", error))?;
    cache.store(&digest, engine::fingerprint(&engine), &Entry { facts, code })
}
