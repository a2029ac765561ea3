//! Running a program to its end.
//!
//! [`Run::run`] drives one cell on the calling thread: it waits where the program waits, and
//! takes snapshots when a [`Remote`] asks for them.

use crate::{
    cell::{Cell, Pause, Suspender},
    error::{Error, Result},
    limits::Limits,
    program::Program,
    snapshot::{Identity, Reader, Section, SnapshotError},
    wasi::{self, Wait},
};
use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll},
    fd::OwnedFd,
};
use std::{
    fs::File,
    io::{BufReader, BufWriter, Read},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use types::Epoch;

/// Native stack of a thread that runs a program: the engine's limit and room for the host.
pub const THREAD_STACK_BYTES: usize = crate::engine::PROGRAM_STACK_BYTES + (8 << 20);

/// A program that runs, or will.
#[derive(Debug)]
pub struct Run {
    cell: Cell,
    sequence: u64,
    requests: mpsc::Receiver<Request>,
    remote: Remote,
}

/// Asks a running program for a snapshot; cheap to clone, usable from any thread.
#[derive(Debug, Clone)]
pub struct Remote {
    shared: Arc<RemoteShared>,
}

#[derive(Debug)]
struct RemoteShared {
    suspender: Suspender,
    requests: Mutex<mpsc::Sender<Request>>,
    wakeup: OwnedFd,
}

#[derive(Debug)]
struct Request {
    path: PathBuf,
    stop: bool,
    reply: mpsc::Sender<Result<u64>>,
}

/// How a program came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By itself, with this exit code.
    Exited(u32),
    /// By a snapshot that was to be its last.
    Suspended,
}

impl Remote {
    /// Has a snapshot written to `path` at the program's next barrier point; the program ends
    /// there if `stop`. Waits at most `patience` for it; returns the snapshot's size in bytes.
    ///
    /// # Errors
    /// [`Error::NotMigratable`] if the program was not built for it, [`Error::Deadline`] if it met
    /// no barrier point in time, and what writing failed with.
    pub fn snapshot(&self, path: &Path, stop: bool, patience: Duration) -> Result<u64> {
        let (reply, answer) = mpsc::channel();
        let request = Request { path: path.to_owned(), stop, reply };
        let ended = || Error::Ended { code: 0 };
        self.shared
            .requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .send(request)
            .map_err(|_| ended())?;
        self.shared.suspender.ask();
        rustix::io::write(&self.shared.wakeup, &1_u64.to_ne_bytes())
            .map_err(|error| Error::runtime("cannot wake the program", error))?;
        answer.recv_timeout(patience).map_err(|error| match error {
            mpsc::RecvTimeoutError::Timeout => {
                Error::NoBarrier { waited_ms: patience.as_millis() as u64 }
            }
            mpsc::RecvTimeoutError::Disconnected => ended(),
        })?
    }
}

impl Run {
    /// A program at its beginning.
    ///
    /// # Errors
    /// [`Error`] if its arguments cannot be used or it cannot be instantiated.
    pub fn new(program: &Arc<Program>, config: wasi::Config, limits: &Limits) -> Result<Self> {
        let wasi = config
            .build()
            .map_err(|error| Error::runtime("the program's arguments cannot be used", error))?;
        Self::of(Cell::new(program, wasi, limits)?)
    }

    /// A program as the snapshot in `path` has it. Arguments and variables are the snapshot's;
    /// `config` is called for what it may use.
    ///
    /// # Errors
    /// [`Error::Snapshot`] says what is wrong with the snapshot, or what it refers to and is not
    /// granted or not there.
    pub fn restore(
        program: &Arc<Program>,
        path: &Path,
        config: impl Fn() -> wasi::Config,
        limits: &Limits,
    ) -> Result<Self> {
        program.unwind_area()?;
        let source = BufReader::new(open(path)?);
        let wasi = config()
            .build()
            .map_err(|error| Error::runtime("the program's arguments cannot be used", error))?;
        let mut cell = Cell::new(program, wasi, limits)?;
        let mut reader = Reader::new(source)?;
        let (mut image, mut complete, mut sequence) = (None, false, 0);
        while let Some(section) = reader.next()? {
            cell.apply(&section)?;
            complete = matches!(section, Section::Commit { .. });
            match section {
                Section::Wasi(bytes) => image = Some(bytes),
                Section::Identity(identity) => sequence = identity.sequence,
                Section::Tissue(_) => {
                    return Err(SnapshotError::Malformed {
                        section: "tissue",
                        reason: "this is a snapshot of all ranks of an MPI program".into(),
                    }
                    .into());
                }
                Section::Service(_) => {
                    return Err(SnapshotError::Malformed {
                        section: "service",
                        reason: "this is a service's snapshot: it is restored by its site, with \
                                 `cloudskin restore SNAPSHOT --to service/NAME`"
                            .into(),
                    }
                    .into());
                }
                _ => {}
            }
        }
        let image = image.filter(|_| complete).ok_or(SnapshotError::Incomplete)?;
        cell.apply_wasi(&image, config())?;
        let mut run = Self::of(cell)?;
        run.sequence = sequence;
        Ok(run)
    }

    fn of(cell: Cell) -> Result<Self> {
        let (sender, requests) = mpsc::channel();
        let wakeup = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|error| Error::runtime("cannot make an event descriptor", error))?;
        let shared =
            RemoteShared { suspender: cell.suspender(), requests: Mutex::new(sender), wakeup };
        let remote = Remote { shared: Arc::new(shared) };
        Ok(Self { cell, sequence: 0, requests, remote })
    }

    /// What asks this program for snapshots.
    pub fn remote(&self) -> Remote {
        self.remote.clone()
    }

    /// Runs to the end. Call it on a thread with [`THREAD_STACK_BYTES`] of stack.
    ///
    /// # Errors
    /// [`Error::Trap`] and its like if the program failed.
    pub fn run(mut self) -> Result<End> {
        loop {
            let pause = self.cell.resume()?;
            if let Pause::Exited(code) = pause {
                return Ok(End::Exited(code));
            }
            if self.serve_requests() {
                return Ok(End::Suspended);
            }
            if let Pause::Waiting(wait) = pause {
                self.wait(wait);
            }
        }
    }

    /// Writes the snapshots that were asked for; whether one was to be the last.
    fn serve_requests(&mut self) -> bool {
        while let Ok(request) = self.requests.try_recv() {
            let written = self.write_snapshot(&request.path);
            let last = request.stop && written.is_ok();
            // Who asked may have given up.
            let _ = request.reply.send(written);
            if last {
                return true;
            }
        }
        false
    }

    fn write_snapshot(&mut self, path: &Path) -> Result<u64> {
        let identity = identity(self.cell.program(), self.sequence + 1);
        let cell = &mut self.cell;
        let size = write_whole(path, |file| cell.save(file, &identity, true))?;
        self.sequence += 1;
        Ok(size)
    }

    /// Until what the program waits for has happened, or a snapshot is asked for.
    fn wait(&mut self, wait: Wait) {
        let timeout = self.cell.wasi().until(wait);
        wait_for(wait.is_for_input(), timeout, Some(&self.remote.shared.wakeup));
        // A counter that is read starts anew.
        let _ = rustix::io::read(&self.remote.shared.wakeup, &mut [0; 8]);
    }
}

/// The identity of a program's snapshot that is taken now.
pub(crate) fn identity(program: &Program, sequence: u64) -> Identity {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    Identity {
        module: program.digest(),
        name: program.name().to_owned(),
        epoch: Epoch(0),
        incarnation: 0,
        sequence,
        at: now.map_or(0, |now| now.as_millis() as u64),
        begun: true,
    }
}

/// Writes a file that is there whole and on the disk, or not at all; gives its size.
pub(crate) fn write_whole(
    path: &Path,
    write: impl FnOnce(BufWriter<&File>) -> Result<()>,
) -> Result<u64> {
    let failed = |source| Error::Write { path: path.to_owned(), source };
    let draft = path.with_extension("draft");
    let file = File::create(&draft).map_err(failed)?;
    let written = write(BufWriter::new(&file))
        .and_then(|()| file.sync_data().map_err(failed))
        .and_then(|()| std::fs::rename(&draft, path).map_err(failed));
    if let Err(error) = written {
        // The first error is the one that matters.
        let _ = std::fs::remove_file(&draft);
        return Err(error);
    }
    Ok(file.metadata().map_or(0, |metadata| metadata.len()))
}

/// Blocks until standard input has something (if `input`), the time is over, or `wakeup` fires.
pub(crate) fn wait_for(input: bool, timeout: Option<Duration>, wakeup: Option<&OwnedFd>) {
    let stdin = rustix::stdio::stdin();
    let mut wanted = Vec::with_capacity(2);
    wanted.extend(wakeup.map(|fd| PollFd::new(fd, PollFlags::IN)));
    if input {
        wanted.push(PollFd::from_borrowed_fd(stdin, PollFlags::IN));
    }
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    // A poll that is interrupted or fails ends early; the program then asks again.
    let _ = poll(&mut wanted, timeout.as_ref());
}

/// What a snapshot's file says it is of.
///
/// # Errors
/// [`Error`] if the file is not a snapshot.
pub fn identify(path: &Path) -> Result<Identity> {
    let mut reader = Reader::new(BufReader::new(open(path)?).take(1 << 20))?;
    match reader.next()? {
        Some(Section::Identity(identity)) => Ok(identity),
        _ => Err(SnapshotError::Incomplete.into()),
    }
}

pub(crate) fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|source| Error::Read { path: path.to_owned(), source })
}
