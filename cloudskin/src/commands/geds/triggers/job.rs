//! One run of a trigger's module, in a process of its own: it ends with its time, and with its runner.

use crate::commands::{
    cells::{cache, end_after, exit_code, folders::Granted},
    geds::address::Address,
};
use anyhow::Context;
use cells::{
    Compiler, Runtime, Use,
    limits::Limits,
    run::{Run, THREAD_STACK_BYTES},
    wasi,
};
use clap::Args;
use geds::{Attributes, Config, Geds, Put, trigger::HOPS};
use serde::{Deserialize, Serialize};
use std::{
    io::Read,
    path::{Path, PathBuf},
    process::ExitCode,
};
use types::{Digest, Period};

/// More is not read of what is to be run.
const SPEC_MAX_BYTES: u64 = 16 << 20;

/// Run a trigger's module for one object, as standard input says
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin geds trigger job < job.json    as a runner does it")]
pub(super) struct JobArgs {}

/// What is to be run.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Spec {
    /// The process that waits for the end.
    pub(super) parent: u32,
    /// The store.
    pub(super) socket: PathBuf,
    pub(super) module: PathBuf,
    pub(super) digest: Digest,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    pub(super) dirs: Vec<String>,
    pub(super) memory_bytes: u64,
    pub(super) timeout: Period,
    /// How many triggers in a row led to what it writes.
    pub(super) hops: u8,
}

pub(super) fn run(_args: &JobArgs) -> anyhow::Result<ExitCode> {
    let mut text = String::new();
    std::io::stdin().lock().take(SPEC_MAX_BYTES).read_to_string(&mut text)?;
    let spec: Spec =
        serde_json::from_str(&text).context("standard input is no run of a trigger")?;
    cells::end_with_parent(spec.parent)?;
    let runtime = Runtime::new(cache()?, Compiler::Process(std::env::current_exe()?));
    let engine = api::service::Engine::Cranelift;
    let program = runtime.load(&spec.module, Some(spec.digest), Use::Program, engine)?;
    let grants = grants(&spec)?;
    let name = spec.module.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let config = wasi::Config {
        arguments: std::iter::once(name).chain(spec.args).collect(),
        variables: spec.env,
        grants,
        streams: wasi::Streams { stdin: Box::new(wasi::Null), ..wasi::Streams::host() },
        ..wasi::Config::default()
    };
    let limits = Limits { memory_bytes: spec.memory_bytes, ..Limits::default() };
    end_after(spec.timeout)?;
    let run = Run::new(&program, config, &limits)?;
    let ended = std::thread::Builder::new()
        .name("cell".into())
        .stack_size(THREAD_STACK_BYTES)
        .spawn(move || run.run())?
        .join()
        .map_err(|_| anyhow::anyhow!("the runtime failed"))?;
    exit_code(ended)
}

/// What it sees: objects alone, whoever wrote the trigger.
fn grants(spec: &Spec) -> anyhow::Result<Vec<wasi::Grant>> {
    let store = Geds::open(Config::join(&spec.socket))?;
    let mark = Attributes::new().with(HOPS, spec.hops.to_string());
    // What was done is written down durably, so what it made is to outlive the store as well.
    let put = Put::default().attributes(mark).durable();
    let open = |dir: &String| {
        let granted = Granted::parse(dir)?;
        let allowed = |address: &Address| !geds::is_internal(&address.bucket);
        anyhow::ensure!(
            granted.objects().is_some_and(allowed),
            "`{dir}` is not granted to modules of triggers: they see objects of users"
        );
        granted.open_sealing(|| Ok(store.clone()), put.clone())
    };
    spec.dirs.iter().map(open).collect()
}

/// Where modules lie that runners run, each in a folder of its own.
pub(super) fn modules(cache: &Path) -> PathBuf {
    cache.join("triggers")
}

/// Where one of them lies.
pub(super) fn module_path(cache: &Path, digest: &Digest, name: &str) -> PathBuf {
    modules(cache).join(digest.to_hex()).join(name)
}
