//! Running a trigger's module: each run is a process, so that it can be ended at any moment.

use super::job::{Spec, module_path, modules};
use anyhow::Context;
use cells::{toolchain::Environment, worker};
use geds::{
    ErrorKind,
    trigger::{Execute, Job, Outcome, Stop, Trigger, Triggers, record::Ended},
};
use std::{
    fs,
    io::{self, Read, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant, SystemTime},
};
use types::Period;

/// What is kept of what a module says on standard error, in the end.
const SAID_BYTES: usize = 3 << 10;

/// How much later than a module its process is ended: it may compile the module first.
const GRACE: Duration = Duration::from_secs(60);

/// A module that nobody has run for so long is not kept as a file.
const UNUSED: Duration = Duration::from_secs(30 * 24 * 3600);

/// Between looks for the end of a run, at most.
const LOOK_MAX: Duration = Duration::from_millis(20);

/// Runs modules as processes of this machine.
#[derive(Debug)]
pub(crate) struct Here {
    program: PathBuf,
    socket: PathBuf,
    cache: PathBuf,
    triggers: Triggers,
    /// Held while a module's file is written.
    writing: Mutex<()>,
}

impl Here {
    /// For the triggers of a store that is joined through a socket.
    pub(crate) fn new(socket: PathBuf, triggers: Triggers) -> anyhow::Result<Self> {
        let program = std::env::current_exe()?;
        let cache = Environment::from_process().cache_dir;
        if let Err(error) = forget(&modules(&cache)) {
            tracing::warn!(%error, "modules of former triggers are kept");
        }
        Ok(Self { program, socket, cache, triggers, writing: Mutex::default() })
    }

    fn try_run(&self, trigger: &Trigger, job: &Job, stop: &Stop) -> anyhow::Result<Outcome> {
        let module = self.module(trigger).context("its module cannot be had")?;
        let spec = serde_json::to_vec(&self.spec(trigger, job, module))?;
        let mut child = Command::new(&self.program)
            .args(["geds", "trigger", "job"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // A signal from the terminal is for the runner, which then ends it.
            .process_group(0)
            .spawn()
            .context("its process cannot be started")?;
        let stderr = child.stderr.take();
        let read = thread::Builder::new().spawn(move || stderr.map(last_of).unwrap_or_default());
        let said = read.inspect_err(|_| {
            let _ = child.kill().and_then(|()| child.wait());
        })?;
        if let Some(mut stdin) = child.stdin.take() {
            // Who ends before it has read that says why.
            let _ = stdin.write_all(&spec);
        }
        let timeout = Duration::from_millis(trigger.definition.timeout_ms);
        let status = wait(&mut child, timeout.saturating_add(GRACE), stop)?;
        let said = said.join().unwrap_or_default();
        Ok(outcome(status, stop, timeout, &said))
    }

    fn spec(&self, trigger: &Trigger, job: &Job, module: PathBuf) -> Spec {
        let definition = &trigger.definition;
        let told = [
            ("CLOUDSKIN_EVENT", job.event.name().to_owned()),
            ("CLOUDSKIN_BUCKET", definition.bucket.clone()),
            ("CLOUDSKIN_KEY", job.key.clone()),
            ("CLOUDSKIN_VERSION", job.version.to_string()),
            ("CLOUDSKIN_TRIGGER", definition.name.clone()),
            ("CLOUDSKIN_ATTEMPT", job.attempt.to_string()),
        ];
        let told = told.into_iter().map(|(name, value)| (name.to_owned(), value));
        Spec {
            parent: std::process::id(),
            socket: self.socket.clone(),
            module,
            digest: definition.module,
            args: definition.args.clone(),
            env: definition.env.iter().cloned().chain(told).collect(),
            dirs: definition.dirs.clone(),
            memory_bytes: definition.memory_bytes,
            timeout: Period::from_millis(definition.timeout_ms),
            hops: job.hops.saturating_add(1),
        }
    }

    /// The module as a file, which is written once.
    fn module(&self, trigger: &Trigger) -> anyhow::Result<PathBuf> {
        let definition = &trigger.definition;
        let path = module_path(&self.cache, &definition.module, &definition.module_name);
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if cells::digest_file(&path).is_ok_and(|found| found == definition.module) {
            // Only for who cleans up.
            let _ = path.parent().map(touch);
            return Ok(path);
        }
        let bytes = self.triggers.module(trigger)?;
        write_whole(&path, &bytes).with_context(|| format!("cannot write `{}`", path.display()))?;
        Ok(path)
    }
}

impl Execute for Here {
    fn run(&self, trigger: &Trigger, job: &Job, stop: &Stop) -> Outcome {
        self.try_run(trigger, job, stop).unwrap_or_else(|error| {
            let ended = if is_for_good(&error) { Ended::Badly } else { Ended::Unable };
            Outcome { ended, said: types::chain(&*error) }
        })
    }
}

/// Removes modules that no runner of this machine has run for long.
fn forget(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let unused = entry.metadata()?.modified()?.elapsed().unwrap_or_default();
        if unused > UNUSED {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// Notes that a module's folder is in use.
fn touch(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.set_modified(SystemTime::now())
}

/// Whether a module cannot be run on any machine, however often that is tried.
fn is_for_good(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref::<geds::Error>().map(geds::Error::kind);
    matches!(kind, Some(ErrorKind::NotFound | ErrorKind::Corrupt))
}

/// Writes a file that is there whole or not at all; others may write the same.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = path.with_extension(format!("draft-{}", types::random_id()));
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    fs::write(&draft, bytes)?;
    fs::rename(&draft, path)
}

/// Waits for its end; ends it when it is to stop, or after `limit`.
fn wait(child: &mut Child, limit: Duration, stop: &Stop) -> io::Result<ExitStatus> {
    let began = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if stop.is_asked() || began.elapsed() > limit {
            child.kill()?;
            return child.wait();
        }
        thread::sleep(pause);
        pause = (pause * 2).min(LOOK_MAX);
    }
}

/// All is read, so that nobody waits, and the end of it kept.
fn last_of(mut from: impl Read) -> String {
    let (mut kept, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        kept.extend_from_slice(&buffer[..count]);
        let more = kept.len().saturating_sub(SAID_BYTES);
        kept.drain(..more);
    }
    String::from_utf8_lossy(&kept).into_owned()
}

fn outcome(status: ExitStatus, stop: &Stop, timeout: Duration, said: &str) -> Outcome {
    let how = match status.code() {
        Some(0) => return Outcome { ended: Ended::Well, said: String::new() },
        None if stop.is_asked() => {
            return Outcome { ended: Ended::Released, said: String::new() };
        }
        Some(worker::DEADLINE_EXIT_CODE) => format!("exit code 124, after {}", Period(timeout)),
        Some(code) => format!("exit code {code}"),
        None => format!("its process was ended: {status}"),
    };
    Outcome { ended: Ended::Badly, said: format!("{how}\n{}", said.trim_end()) }
}
