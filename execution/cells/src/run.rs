//! Running a program to its end.
//!
//! [`Run::run`] drives one cell on the calling thread: it waits where the program waits, and
//! takes snapshots when a [`Remote`] asks for them.

use crate::{
    cell::{Cell, Pause},
    error::{Error, Result},
    limits::Limits,
    program::Program,
    requests::Requests,
    snapshot::{Identity, Reader, Section, SnapshotError},
    wasi::{self, Wait},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::OwnedFd,
};
use std::{
    fs::File,
    io::{BufReader, BufWriter, Read},
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use types::Epoch;

pub use crate::requests::Remote;

/// Native stack of a thread that runs a program: the engine's limit and room for the host.
pub const THREAD_STACK_BYTES: usize = crate::engine::PROGRAM_STACK_BYTES + (8 << 20);

/// A program that runs, or will.
#[derive(Debug)]
pub struct Run {
    cell: Cell,
    sequence: u64,
    requests: Requests,
}

/// How a program came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By itself, with this exit code.
    Exited(u32),
    /// By a snapshot that was to be its last.
    Suspended,
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
                Section::Threads(_) => {
                    return Err(SnapshotError::Malformed {
                        section: "threads",
                        reason: "this is a snapshot of a program on threads".into(),
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
        let late = |waited_ms| Error::NoBarrier { waited_ms };
        let requests = Requests::new(cell.suspender(), late)?;
        Ok(Self { cell, sequence: 0, requests })
    }

    /// What asks this program for snapshots.
    pub fn remote(&self) -> Remote {
        self.requests.remote().clone()
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
        let Self { cell, sequence, requests } = self;
        requests.serve(|path| {
            let identity = identity(cell.program(), *sequence + 1);
            let size = write_whole(path, |file| cell.save(file, &identity, true))?;
            *sequence += 1;
            Ok(size)
        })
    }

    /// Until what the program waits for has happened, or a snapshot is asked for.
    fn wait(&mut self, wait: Wait) {
        let timeout = self.cell.wasi().until(wait);
        self.requests.remote().wait(wait.is_for_input(), timeout);
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
