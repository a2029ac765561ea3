//! What `run` and `restore` share: a cell's options, and running one in this process.

pub(crate) mod folders;

use super::geds::store::StoreArgs;
use crate::{commands::follow, output::complain, session::Session};
use anyhow::Context;
use api::{mount::Mount, onnx::OnnxModel};
use cells::{
    Cache, Compiler, Given, ModelFile, Program, Runtime, Use,
    limits::Limits,
    run::{End, Run, THREAD_STACK_BYTES},
    toolchain::Environment,
    wasi, worker,
};
use clap::{Args, ValueEnum};
use folders::{Folders, Granted};
use orchestrator::client::{Client, manifest};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::signal::unix::{SignalKind, signal};
use types::{Bytes, Period};

/// A shell's code for a program that aborted.
pub(crate) const TRAP_EXIT_CODE: u8 = 134;

/// How long a signal's snapshot waits for a barrier point.
const SNAPSHOT_PATIENCE: Duration = Duration::from_secs(3600);

/// How a module is executed.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Engine {
    /// Machine code, compiled once and cached
    Cranelift,
    /// A portable interpreter
    Pulley,
}

impl From<Engine> for api::service::Engine {
    fn from(engine: Engine) -> Self {
        match engine {
            Engine::Cranelift => Self::Cranelift,
            Engine::Pulley => Self::Pulley,
        }
    }
}

/// A rule by which the control plane chooses sites.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Place {
    /// Each rank where most processors are free
    Spread,
    /// On the fewest sites
    Locality,
    /// On the fullest sites with room, so that others stay empty
    BinPack,
    /// On the fewest sites, and together as soon as there is room
    Compaction,
}

impl From<Place> for api::cell::Place {
    fn from(place: Place) -> Self {
        match place {
            Place::Spread => Self::Spread,
            Place::Locality => Self::Locality,
            Place::BinPack => Self::BinPack,
            Place::Compaction => Self::Compaction,
        }
    }
}

/// What a cell may use.
#[derive(Debug, Args)]
pub(crate) struct CellArgs {
    /// Grant a folder: HOST::GUEST, or one path for both; `:ro` at the end forbids changes.
    /// geds://BUCKET[/PREFIX]::GUEST grants objects, which the program reads and writes as files
    #[arg(long = "dir", value_name = "HOST::GUEST")]
    dirs: Vec<String>,
    #[command(flatten)]
    store: StoreArgs,
    /// Give it an ONNX model, which it loads by this name through wasi-nn; may be repeated
    #[arg(long = "nn", value_name = "NAME=FILE")]
    models: Vec<String>,
    /// What `dirs` grant and `models` give, once it was opened: all ranks of a program share it.
    #[arg(skip)]
    granted: OnceLock<(Vec<wasi::Grant>, Vec<Given>)>,
    /// Set an environment variable
    #[arg(long = "env", value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Most memory
    #[arg(long, default_value = "4Gi", value_name = "SIZE")]
    pub(crate) memory: Bytes,
    /// Most open files and folders
    #[arg(long, default_value_t = 1024, value_name = "N")]
    open_files: u32,
    /// Most output; further writes fail inside the program
    #[arg(long, value_name = "SIZE")]
    output_limit: Option<Bytes>,
    /// End it after this time
    #[arg(long, value_name = "PERIOD")]
    pub(crate) deadline: Option<Period>,
    /// How the module is executed
    #[arg(long, value_enum, default_value_t = Engine::Cranelift)]
    pub(crate) engine: Engine,
    /// Write a snapshot here on SIGUSR1 (and go on) or SIGUSR2 (and end)
    #[arg(long, value_name = "FILE")]
    snapshot_to: Option<PathBuf>,
    /// Write a snapshot to the file of --snapshot-to from time to time; of ranks at sites, which go
    /// on from it if a site is lost
    #[arg(long, value_name = "PERIOD")]
    checkpoint_every: Option<Period>,
}

impl CellArgs {
    /// Makes the module ready, compiling it in a process of its own unless it was before.
    pub(crate) fn load(&self, module: &Path) -> anyhow::Result<Arc<Program>> {
        let runtime = Runtime::new(cache()?, Compiler::Process(std::env::current_exe()?));
        Ok(runtime.load(module, None, Use::Program, self.engine.into())?)
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits { memory_bytes: self.memory.0, ..Limits::default() }
    }

    /// An option that a service has no use for, if one was given.
    pub(crate) fn given(&self) -> Option<&'static str> {
        let given = [
            ("--dir", !self.dirs.is_empty()),
            ("--nn", !self.models.is_empty()),
            ("--env", !self.env.is_empty()),
            ("--output-limit", self.output_limit.is_some()),
            ("--deadline", self.deadline.is_some()),
            ("--snapshot-to", self.snapshot_to.is_some()),
            ("--checkpoint-every", self.checkpoint_every.is_some()),
        ];
        given.into_iter().find_map(|(name, given)| given.then_some(name))
    }

    /// How often ranks at sites are saved.
    pub(crate) fn checkpoint_period(&self) -> Option<Period> {
        self.checkpoint_every
    }

    /// Has snapshots taken on signals and from time to time, where they are wanted: `save` writes
    /// one to a file, the last if asked, and gives its size.
    pub(crate) fn take_snapshots(
        &self,
        save: impl Fn(&Path, bool, Duration) -> cells::Result<u64> + Send + Sync + 'static,
    ) -> anyhow::Result<()> {
        let Some(path) = &self.snapshot_to else {
            anyhow::ensure!(
                self.checkpoint_every.is_none(),
                "--checkpoint-every needs a file: name it with --snapshot-to"
            );
            return Ok(());
        };
        let save = Arc::new(save);
        if let Some(every) = self.checkpoint_every {
            snapshot_every(every, save.clone(), path.clone())?;
        }
        snapshot_on_signals(save, path.clone())
    }

    /// Refuses at the start what every later snapshot would be refused for.
    pub(crate) fn check_saved(&self, program: &Program) -> anyhow::Result<()> {
        if self.snapshot_to.is_some() {
            program.unwind_area()?;
        }
        Ok(())
    }

    /// Has this process end at the deadline, if there is one.
    pub(crate) fn end_in_time(&self) -> anyhow::Result<()> {
        self.deadline.map_or(Ok(()), end_after)
    }

    /// The variables as names and values.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        let split = |variable: &String| match variable.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => (variable.clone(), std::env::var(variable).unwrap_or_default()),
        };
        self.env.iter().map(split).collect()
    }

    /// What it is granted at a site: folders as host and guest paths, and objects.
    pub(crate) fn granted_there(&self) -> anyhow::Result<(Folders, Vec<Mount>)> {
        folders::for_site(&self.dirs)
    }

    /// The models that it is given at a site, uploaded unless they are there.
    pub(crate) async fn models_there(&self, client: &Client) -> anyhow::Result<Vec<OnnxModel>> {
        let mut models = Vec::new();
        for ModelFile { name, path, .. } in self.model_files()? {
            manifest::load_model(&path, "the program")?;
            models.push(OnnxModel { name, file: follow::upload(client, &path).await? });
        }
        Ok(models)
    }

    fn model_files(&self) -> anyhow::Result<Vec<ModelFile>> {
        let file = |text: &String| {
            let named =
                text.split_once('=').filter(|(name, path)| !name.is_empty() && !path.is_empty());
            let (name, path) =
                named.with_context(|| format!("`--nn {text}` names no model: write NAME=FILE"))?;
            Ok(ModelFile { name: name.to_owned(), path: path.into(), digest: None })
        };
        self.models.iter().map(file).collect()
    }

    /// Opens what the program may see and makes its models ready; objects are those of the session's tenant.
    pub(crate) fn grant(&self, session: &Session) -> anyhow::Result<()> {
        let store = OnceLock::new();
        let open = || match store.get() {
            Some(store) => Ok(Clone::clone(store)),
            None => self.store.open(session).map(|opened| store.get_or_init(|| opened).clone()),
        };
        let grants = self.dirs.iter().map(|dir| Granted::parse(dir)?.open(open));
        let grants = grants.collect::<anyhow::Result<_>>()?;
        let models = cells::open_models(&self.model_files()?, self.memory.0)?;
        // Whoever was first has opened the same.
        let _ = self.granted.set((grants, models));
        Ok(())
    }

    /// What the program may use in this process once it was granted; `command` is its name and
    /// arguments.
    pub(crate) fn config(&self, command: &[String]) -> wasi::Config {
        let name = command.first().map(|module| {
            Path::new(module).file_name().unwrap_or_default().to_string_lossy().into_owned()
        });
        let (grants, models) = self.granted.get().cloned().unwrap_or_default();
        wasi::Config {
            arguments: name.into_iter().chain(command.iter().skip(1).cloned()).collect(),
            variables: self.environment(),
            grants,
            models,
            streams: wasi::Streams::host(),
            limits: wasi::Limits {
                open_files: self.open_files,
                model_bytes: self.memory.0,
                output_bytes: self.output_limit.map_or(u64::MAX, |limit| limit.0),
                ..wasi::Limits::default()
            },
            ..wasi::Config::default()
        }
    }

    /// Runs the cell to its end, on a thread with room for deep recursion.
    pub(crate) fn drive(&self, run: Run) -> anyhow::Result<ExitCode> {
        let remote = run.remote();
        self.take_snapshots(move |path, last, patience| remote.snapshot(path, last, patience))?;
        self.end_in_time()?;
        let outcome = std::thread::Builder::new()
            .name("cell".into())
            .stack_size(THREAD_STACK_BYTES)
            .spawn(move || run.run())?
            .join()
            .map_err(|_| anyhow::anyhow!("the runtime failed"))?;
        exit_code(outcome)
    }
}

/// This command's exit code for how a program ended.
pub(crate) fn exit_code(ended: cells::Result<End>) -> anyhow::Result<ExitCode> {
    match ended {
        Ok(End::Exited(code)) => Ok(ExitCode::from(code as u8)),
        Ok(End::Suspended) => Ok(ExitCode::SUCCESS),
        Err(error @ cells::Error::Trap { .. }) => {
            crate::exit::report(&error.into());
            Ok(ExitCode::from(TRAP_EXIT_CODE))
        }
        Err(error) => Err(error.into()),
    }
}

/// The code cache of this user.
pub(crate) fn cache() -> anyhow::Result<Cache> {
    Ok(Cache::open(&Environment::from_process().cache_dir.join("code"))?)
}

/// A program has no epochs, for they double the time of tight loops: the process ends.
pub(crate) fn end_after(deadline: Period) -> anyhow::Result<()> {
    std::thread::Builder::new().name("deadline".into()).spawn(move || {
        std::thread::sleep(deadline.0);
        complain(&format!("error: the program was stopped: it ran longer than {deadline}"));
        std::process::exit(worker::DEADLINE_EXIT_CODE);
    })?;
    Ok(())
}

/// Writes a snapshot to a file, the last if asked, within this time; gives its size.
type Save = dyn Fn(&Path, bool, Duration) -> cells::Result<u64> + Send + Sync;

/// Saves the program from time to time, for as long as this process lives.
fn snapshot_every(every: Period, save: Arc<Save>, path: PathBuf) -> anyhow::Result<()> {
    let work = move || loop {
        std::thread::sleep(every.0);
        match save(&path, false, SNAPSHOT_PATIENCE) {
            Ok(_) | Err(cells::Error::Ended { .. }) => {}
            Err(cells::Error::NotStopped(mpi::NotStopped::Ended(_))) => {}
            Err(error) => complain(&format!("no snapshot: {}", types::chain(&error))),
        }
    };
    std::thread::Builder::new().name("checkpoints".into()).spawn(work)?;
    Ok(())
}

fn snapshot_on_signals(save: Arc<Save>, path: PathBuf) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut go_on, mut end) = {
        let _inside = runtime.enter();
        (signal(SignalKind::user_defined1())?, signal(SignalKind::user_defined2())?)
    };
    let watch = move || loop {
        let last = runtime.block_on(async {
            tokio::select! { _ = go_on.recv() => false, _ = end.recv() => true }
        });
        match save(&path, last, SNAPSHOT_PATIENCE) {
            Ok(size) => complain(&format!("snapshot: {} ({} KiB)", path.display(), size >> 10)),
            Err(error) => complain(&format!("no snapshot: {}", types::chain(&error))),
        }
    };
    std::thread::Builder::new().name("snapshots".into()).spawn(watch)?;
    Ok(())
}
