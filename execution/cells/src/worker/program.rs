//! The program that a worker was started for.

use super::{
    commands::Worker,
    protocol::{CellStart, CellStatus, Event},
};
use crate::{
    engine::Use,
    error::{Error, Result},
    run::{self, End, Remote, Run},
    wasi::{self, Grant, LocalFolder, Null},
};
use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// A program on a thread of its own.
pub(super) struct ProgramCell {
    log: PathBuf,
    remote: Remote,
    status: Mutex<CellStatus>,
}

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
        let log = Arc::new(log);
        let config = || config(&start, &grants, &log);
        let run = match &start.restore {
            Some(path) => Run::restore(&program, path, config, &start.limits)?,
            None => Run::new(&program, config(), &start.limits)?,
        };
        let cell = Arc::new(Self {
            log: start.log.clone(),
            remote: run.remote(),
            status: Mutex::new(CellStatus { uid: start.uid, exit_code: None, error: None }),
        });
        let (running, worker) = (cell.clone(), worker.clone());
        let run = move || {
            let outcome = run.run();
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

    fn ended(&self, outcome: Result<End>) -> CellStatus {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(End::Exited(code)) => status.exit_code = Some(code as i32),
            Ok(End::Suspended) => status.error = Some("it was suspended into a snapshot".into()),
            Err(error) => status.error = Some(types::chain(&error)),
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
        self.remote.snapshot(path, false, patience)
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

fn grants(start: &CellStart) -> Result<Vec<Grant>> {
    start.dirs.iter().map(|(host, guest)| grant(host, guest, false)).collect()
}

/// Grants a folder of this machine.
///
/// # Errors
/// If the folder cannot be opened.
pub fn grant(host: &Path, guest: &str, read_only: bool) -> Result<Grant> {
    let mount =
        LocalFolder::open(host).map_err(|source| Error::Read { path: host.to_owned(), source })?;
    Ok(Grant { guest_path: guest.to_owned(), mount: Arc::new(mount), read_only })
}

fn config(start: &CellStart, grants: &[Grant], log: &Arc<File>) -> wasi::Config {
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
