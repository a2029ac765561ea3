//! The program that a worker was started for.

use super::{
    commands::Worker,
    objects,
    protocol::{CellStart, CellStatus, Event},
};
use crate::{
    engine::Use,
    error::{Error, Result},
    neural,
    parallel::{Grant, Parallel},
    program::Program,
    run::{self, End, Remote, Run},
    tissue::{self, Means, Stepped, Tissue},
    wasi::{self, LocalFolder, Null},
};
use api::cell::{Form, Ranks, Threads};
use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// A program on threads of its own.
pub(super) struct ProgramCell {
    log: PathBuf,
    handle: Handle,
    status: Mutex<CellStatus>,
}

/// What reaches the program while it runs.
enum Handle {
    Cell(Remote),
    Ranks(tissue::Remote),
    Threads(Arc<Grant>, Remote),
}

/// Runs a program to its end.
type Job = Box<dyn FnOnce() -> Result<End> + Send>;

impl ProgramCell {
    /// Makes the program ready and starts it.
    pub(super) fn start(worker: &Arc<Worker>, start: CellStart) -> Result<Arc<Self>> {
        let program =
            worker.runtime().load(&start.module, Some(start.digest), Use::Program, start.engine)?;
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&start.log)
            .map_err(|source| Error::Write { path: start.log.clone(), source })?;
        let grants = grants(&start)?;
        let models = neural::open(&start.models, start.limits.memory_bytes)?;
        let log = Arc::new(log);
        let own = start.clone();
        let config = move || wasi::Config { models: models.clone(), ..config(&own, &grants, &log) };
        let (handle, run) = match &start.form {
            None => alone(&program, &start, config)?,
            Some(Form::Ranks(ranks)) => together(&program, &start, ranks, config)?,
            Some(Form::Threads(threads)) => on_threads(&program, &start, threads, config())?,
        };
        let cell = Arc::new(Self {
            log: start.log.clone(),
            handle,
            status: Mutex::new(CellStatus {
                uid: start.uid,
                exit_code: None,
                error: None,
                lost: false,
            }),
        });
        let (running, worker) = (cell.clone(), worker.clone());
        let run = move || {
            let outcome = run();
            worker.tell(&Event::Exited(running.ended(outcome)));
        };
        std::thread::Builder::new()
            .name("program".into())
            .stack_size(run::THREAD_STACK_BYTES)
            .spawn(run)
            .map_err(|error| Error::runtime("cannot start the program's thread", error))?;
        if let Some(deadline) = start.deadline {
            cell.clone().end_after(deadline);
        }
        Ok(cell)
    }

    /// Gives a program on threads so many processors; others have one.
    pub(super) fn grant(&self, cpus: u32) {
        if let Handle::Threads(grant, _) = &self.handle {
            grant.set(cpus);
        }
    }

    /// Takes a step towards another layout, if it consists of ranks.
    pub(super) fn step(&self, step: api::tissue::Step, means: &Means<'_>) -> Result<Stepped> {
        match &self.handle {
            Handle::Ranks(remote) => remote.step(step, means),
            Handle::Cell(_) | Handle::Threads(..) => {
                Err(Error::Handover("it has no ranks that could move".into()))
            }
        }
    }

    fn ended(&self, outcome: Result<End>) -> CellStatus {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(End::Exited(code)) => status.exit_code = Some(code as i32),
            Ok(End::Suspended) => status.error = Some("it was suspended into a snapshot".into()),
            Err(error) => {
                status.lost = matches!(error, Error::Mpi(mpi::Abort::Lost { .. }));
                status.error = Some(types::chain(&error));
            }
        }
        status.clone()
    }

    /// A program has no epochs: at its deadline the process that it has to itself ends.
    fn end_after(self: Arc<Self>, deadline: Duration) {
        let end = move || {
            std::thread::sleep(deadline);
            let status = self.status();
            if status.exit_code.is_none() && status.error.is_none() {
                let text = format!("cloudskin: it ran longer than {} ms\n", deadline.as_millis());
                // The log's last line is what is left to tell.
                let _ = OpenOptions::new()
                    .append(true)
                    .open(&self.log)
                    .and_then(|mut log| log.write_all(text.as_bytes()));
                std::process::exit(super::DEADLINE_EXIT_CODE);
            }
        };
        if let Err(error) = std::thread::Builder::new().name("deadline".into()).spawn(end) {
            tracing::warn!(%error, "the deadline is not watched");
        }
    }

    pub(super) fn uid(&self) -> String {
        self.status().uid
    }

    pub(super) fn status(&self) -> CellStatus {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn snapshot(&self, path: &Path, patience: Duration) -> Result<u64> {
        match &self.handle {
            Handle::Cell(remote) | Handle::Threads(_, remote) => {
                remote.snapshot(path, false, patience)
            }
            Handle::Ranks(remote) => remote.snapshot(path, false, patience),
        }
    }

    /// Offset, bytes, and whether nothing more will come.
    pub(super) fn read_log(&self, offset: u64, limit: u64) -> Result<(u64, Vec<u8>, bool)> {
        // Looked at first: what was written before the end is then seen.
        let status = self.status();
        let failed = |source| Error::Read { path: self.log.clone(), source };
        let mut file = File::open(&self.log).map_err(failed)?;
        file.seek(SeekFrom::Start(offset)).map_err(failed)?;
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes).map_err(failed)?;
        let over = status.exit_code.is_some() || status.error.is_some();
        Ok((offset, bytes.clone(), over && (bytes.len() as u64) < limit))
    }
}

/// A program that is one cell.
fn alone(
    program: &Arc<Program>,
    start: &CellStart,
    config: impl Fn() -> wasi::Config,
) -> Result<(Handle, Job)> {
    let run = match &start.restore {
        Some(path) => Run::restore(program, path, config, &start.limits)?,
        None => Run::new(program, config(), &start.limits)?,
    };
    Ok((Handle::Cell(run.remote()), Box::new(move || run.run())))
}

/// The ranks of an MPI program that are here, once it was led to a layout. The first to fail ends
/// all, the first exit code that is not 0 is that of all.
fn together(
    program: &Arc<Program>,
    start: &CellStart,
    ranks: &Ranks,
    config: impl Fn() -> wasi::Config + Send + Sync + 'static,
) -> Result<(Handle, Job)> {
    let config = Arc::new(move |_| Ok(config()));
    let tissue = Tissue::part(program, ranks.count, config, &start.limits)?;
    let remote = tissue.remote();
    let run = move || {
        let first: Mutex<Option<Result<End>>> = Mutex::default();
        tissue.run(|_, end| {
            if !matches!(end, Ok(End::Exited(0))) {
                first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(end);
            }
        })?;
        let first = first.into_inner().unwrap_or_else(PoisonError::into_inner);
        first.unwrap_or(Ok(End::Exited(0)))
    };
    Ok((Handle::Ranks(remote), Box::new(run)))
}

/// A program on threads.
fn on_threads(
    program: &Arc<Program>,
    start: &CellStart,
    threads: &Threads,
    config: wasi::Config,
) -> Result<(Handle, Job)> {
    let parallel = match &start.restore {
        Some(path) => Parallel::restore(program, path)?,
        None => Parallel::new(program)?,
    };
    let remote = parallel.remote();
    let grant = Grant::new(threads.cpus);
    let processors = std::thread::available_parallelism().map_or(1, usize::from) as u32;
    let openmp = openmp::Config {
        elastic: threads.elastic,
        ..openmp::Config::new(threads.ceiling(), processors)
    };
    let (advice, memory_bytes) = (grant.clone(), start.limits.memory_bytes);
    let run = move || parallel.run(config, openmp, advice, memory_bytes);
    Ok((Handle::Threads(grant, remote), Box::new(run)))
}

fn grants(start: &CellStart) -> Result<Vec<wasi::Grant>> {
    let mut grants = objects::grants(start.objects.as_ref())?;
    for (host, guest) in &start.dirs {
        grants.push(grant(host, guest, false)?);
    }
    Ok(grants)
}

/// Grants a folder of this machine.
///
/// # Errors
/// If the folder cannot be opened.
pub fn grant(host: &Path, guest: &str, read_only: bool) -> Result<wasi::Grant> {
    let mount =
        LocalFolder::open(host).map_err(|source| Error::Read { path: host.to_owned(), source })?;
    Ok(wasi::Grant { guest_path: guest.to_owned(), mount: Arc::new(mount), read_only })
}

fn config(start: &CellStart, grants: &[wasi::Grant], log: &Arc<File>) -> wasi::Config {
    wasi::Config {
        arguments: start.args.clone(),
        variables: start.env.clone().into_iter().collect(),
        grants: grants.to_vec(),
        streams: wasi::Streams {
            stdin: Box::new(Null),
            stdout: Box::new(LogFile(log.clone())),
            stderr: Box::new(LogFile(log.clone())),
        },
        limits: wasi::Limits {
            open_files: start.limits.open_files,
            model_bytes: start.limits.memory_bytes,
            output_bytes: start.limits.output_bytes,
            ..wasi::Limits::default()
        },
        ..wasi::Config::default()
    }
}

struct LogFile(Arc<File>);

impl wasi::Output for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self.0).write(bytes)
    }
}
