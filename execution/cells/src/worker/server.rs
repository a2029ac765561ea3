//! The worker process.
//!
//! It listens on a Unix socket for one agent at a time. The threads that serve an agent take turns
//! at its socket: whoever has read a frame lets the next one read and works the frame off itself,
//! so that a request goes to its cell without changing threads. Without an agent for
//! [`Config::exit_without_agent_after`] the worker checkpoints what it holds and exits.

use super::{
    commands::Worker,
    protocol::{Command, Failure, FrameKind, HEADER_BYTES, Header, Reply, WorkerStatus},
    socket::ShortPath,
    spin,
};
use crate::{
    error::{Error, Result},
    program::Runtime,
    service::{Job, THREAD_STACK_BYTES},
};
use bytes::{Buf, Bytes, BytesMut};
use rustix::net::{RecvFlags, recv};
use serde::Serialize;
use std::{
    io::{self, IoSlice, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use types::{ErrorKind, Token};

/// How long a worker lives without an agent, unless it is told otherwise.
pub const EXIT_WITHOUT_AGENT_AFTER: Duration = Duration::from_secs(60);

/// Most threads that serve an agent: so many requests run or wait for their cells at once.
const THREADS_MAX: usize = 256;

/// How long a thread looks for its lane's next request before it sleeps: about what an agent and
/// its client need to come back.
const SPIN: Duration = Duration::from_micros(80);

/// One thread looks at a time, and none while another works: nobody is held up for a guess.
static SPINNING: AtomicBool = AtomicBool::new(false);

/// Threads that work off a request.
static WORKING: AtomicUsize = AtomicUsize::new(0);

/// More threads than this do not stay idle.
const IDLE_THREADS_MAX: usize = 4;

/// What a worker process is started with.
#[derive(Debug, Clone)]
pub struct Config {
    /// The socket that it listens on.
    pub socket: PathBuf,
    /// The token that an agent must show.
    pub token: Token,
    /// How it compiles modules.
    pub runtime: Runtime,
    /// How long it waits for an agent, at its start and after one is gone, before it checkpoints
    /// what it holds and exits; longer than an agent takes to be started again.
    pub exit_without_agent_after: Duration,
}

/// Runs a worker until it is shut down or left alone for too long.
///
/// # Errors
/// [`Error`] if the socket cannot be made.
pub fn serve(config: Config) -> Result<()> {
    disable_huge_pages();
    let failed = |source| Error::Write { path: config.socket.clone(), source };
    // A socket that a dead worker left behind.
    if let Err(error) = std::fs::remove_file(&config.socket)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(failed(error));
    }
    let short = ShortPath::of(&config.socket).map_err(failed)?;
    let listener = UnixListener::bind(short.path()).map_err(failed)?;
    drop(short);
    restrict(&config.socket).map_err(failed)?;
    let worker = Arc::new(Worker::new(config.runtime));
    worker.clone().keep_house(config.exit_without_agent_after);
    loop {
        match listener.accept() {
            Ok((stream, _)) => adopt(&worker, stream, &config.token),
            Err(error) => {
                tracing::warn!(%error, "cannot take a connection");
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }
}

/// One cell's few pages must not become a huge page of 2 MiB.
#[expect(unsafe_code, reason = "prctl has no safe wrapper for this option")]
fn disable_huge_pages() {
    // SAFETY: the call takes numbers only. A kernel that refuses it only uses more memory.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
}

fn restrict(socket: &Path) -> io::Result<()> {
    std::fs::set_permissions(socket, std::os::unix::fs::PermissionsExt::from_mode(0o600))
}

/// Serves an agent once it has shown the token.
fn adopt(worker: &Arc<Worker>, stream: UnixStream, token: &Token) {
    let writer = match stream.try_clone() {
        Ok(writer) => writer,
        Err(error) => {
            tracing::warn!(%error, "cannot serve an agent");
            return;
        }
    };
    let connection = Arc::new(Connection {
        worker: worker.clone(),
        reader: Mutex::new(FrameReader { stream, buffer: BytesMut::new() }),
        writer: Mutex::new(writer),
        lane: AtomicBool::new(false),
        waiting: AtomicUsize::new(0),
        threads: AtomicUsize::new(0),
        closed: AtomicBool::new(false),
        admitted: AtomicBool::new(false),
        token: token.clone(),
    });
    connection.start_thread();
}

/// The connection of one agent.
pub(crate) struct Connection {
    pub(crate) worker: Arc<Worker>,
    reader: Mutex<FrameReader>,
    writer: Mutex<UnixStream>,
    /// It carries one request at a time, so one thread serves it.
    lane: AtomicBool,
    /// Threads that wait to read.
    waiting: AtomicUsize,
    threads: AtomicUsize,
    closed: AtomicBool,
    /// The token was shown.
    admitted: AtomicBool,
    token: Token,
}

struct FrameReader {
    stream: UnixStream,
    buffer: BytesMut,
}

impl FrameReader {
    fn next(&mut self) -> io::Result<(Header, Bytes)> {
        self.fill(HEADER_BYTES)?;
        let header = self
            .buffer
            .first_chunk::<HEADER_BYTES>()
            .map(Header::from_bytes)
            .ok_or(io::ErrorKind::UnexpectedEof)?
            .map_err(io::Error::other)?;
        self.buffer.advance(HEADER_BYTES);
        self.fill(header.size_bytes as usize)?;
        Ok((header, self.buffer.split_to(header.size_bytes as usize).freeze()))
    }

    /// Looks for the next frame for a moment before the thread goes to sleep over it: an agent
    /// that is busy sends it sooner than a sleeper wakes.
    fn look_for_more(&mut self) {
        if !self.buffer.is_empty()
            || WORKING.load(Ordering::Relaxed) > 0
            || SPINNING.swap(true, Ordering::AcqRel)
        {
            return;
        }
        let mut peek = [0];
        spin::look(SPIN, || {
            let flags = RecvFlags::DONTWAIT | RecvFlags::PEEK;
            recv(&self.stream, &mut peek, flags) != Err(rustix::io::Errno::AGAIN)
                || WORKING.load(Ordering::Relaxed) > 0
        });
        SPINNING.store(false, Ordering::Release);
    }

    /// Reads once into the room behind what the buffer holds.
    #[expect(unsafe_code, reason = "to clear the room first costs more than a small request")]
    fn read(&mut self) -> io::Result<usize> {
        let read = recv(&self.stream, self.buffer.spare_capacity_mut(), RecvFlags::empty());
        let size = read.map(|((filled, _), _)| filled.len())?;
        // SAFETY: the system has just filled so many bytes behind the first ones.
        unsafe { self.buffer.set_len(self.buffer.len() + size) };
        Ok(size)
    }

    /// Reads until the buffer holds so many bytes.
    fn fill(&mut self, size: usize) -> io::Result<()> {
        while self.buffer.len() < size {
            // What comes is read in large pieces, but memory grows only with what has come.
            let room = (size - self.buffer.len()).clamp(16 << 10, 1 << 20);
            self.buffer.reserve(room);
            match self.read() {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

impl Connection {
    fn start_thread(self: &Arc<Self>) {
        let connection = self.clone();
        self.threads.fetch_add(1, Ordering::SeqCst);
        let started = std::thread::Builder::new()
            .name("cells".into())
            .stack_size(THREAD_STACK_BYTES)
            .spawn(move || connection.work());
        if let Err(error) = started {
            self.threads.fetch_sub(1, Ordering::SeqCst);
            tracing::warn!(%error, "cannot start a thread");
        }
    }

    /// Reads a frame, lets another thread read the next, and works it off.
    fn work(self: Arc<Self>) {
        while !self.closed.load(Ordering::Acquire) {
            if self.lane.load(Ordering::Acquire) {
                // One thread is enough, and two would wake each other.
                if self.threads.fetch_sub(1, Ordering::SeqCst) > 1 {
                    return;
                }
                self.threads.fetch_add(1, Ordering::SeqCst);
            }
            if self.waiting.fetch_add(1, Ordering::SeqCst) >= IDLE_THREADS_MAX {
                self.waiting.fetch_sub(1, Ordering::SeqCst);
                break;
            }
            let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
            self.waiting.fetch_sub(1, Ordering::SeqCst);
            if self.closed.load(Ordering::Acquire) {
                break;
            }
            if self.lane.load(Ordering::Acquire) {
                reader.look_for_more();
            }
            match reader.next() {
                Ok((header, payload)) => {
                    drop(reader);
                    self.hand_on_reading();
                    WORKING.fetch_add(1, Ordering::Relaxed);
                    self.clone().take(header, payload);
                    WORKING.fetch_sub(1, Ordering::Relaxed);
                }
                Err(error) => {
                    if error.kind() != io::ErrorKind::UnexpectedEof {
                        tracing::warn!(%error, "the agent's socket failed");
                    }
                    self.close();
                }
            }
        }
        self.threads.fetch_sub(1, Ordering::SeqCst);
    }

    /// Has somebody read the next frame while this one is worked off.
    fn hand_on_reading(self: &Arc<Self>) {
        if !self.lane.load(Ordering::Acquire)
            && self.waiting.load(Ordering::SeqCst) == 0
            && self.threads.load(Ordering::SeqCst) < THREADS_MAX
        {
            self.start_thread();
        }
    }

    fn close(self: &Arc<Self>) {
        if !self.closed.swap(true, Ordering::AcqRel) {
            self.worker.orphaned(self);
        }
    }

    fn take(self: Arc<Self>, header: Header, payload: Bytes) {
        let admitted = self.admitted.load(Ordering::Acquire);
        match header.kind {
            FrameKind::Command => self.command(header.id, &payload),
            FrameKind::Request if admitted => self.request(header.id, payload),
            _ => self.fail(header.id, &Failure::new(ErrorKind::Invalid, "unexpected message")),
        }
    }

    fn command(self: &Arc<Self>, id: u64, payload: &[u8]) {
        let outcome = match postcard::from_bytes(payload) {
            Ok(Command::Hello { token }) => self.hello(&token),
            Ok(Command::Lane { token }) => self.become_lane(&token),
            Ok(_) if !self.admitted.load(Ordering::Acquire) => {
                Err(Failure::new(ErrorKind::Unauthenticated, "show the worker's token first"))
            }
            Ok(command) => self.worker.execute(command),
            Err(error) => {
                Err(Failure::new(ErrorKind::Invalid, format!("malformed command: {error}")))
            }
        };
        match outcome {
            Ok(reply) => self.send(FrameKind::Reply, id, &reply),
            Err(failure) => self.fail(id, &failure),
        }
        self.worker.exit_if_asked();
    }

    fn admit(&self, token: &str) -> Result<(), Failure> {
        if !self.token.admits(token) {
            return Err(Failure::new(ErrorKind::Unauthenticated, "the worker's token is wrong"));
        }
        self.admitted.store(true, Ordering::Release);
        Ok(())
    }

    fn become_lane(&self, token: &str) -> Result<Reply, Failure> {
        self.admit(token)?;
        self.lane.store(true, Ordering::Release);
        Ok(Reply::Done)
    }

    fn hello(self: &Arc<Self>, token: &str) -> Result<Reply, Failure> {
        self.admit(token)?;
        self.worker.adopted(self);
        Ok(Reply::Hello(WorkerStatus { pid: std::process::id(), ..self.worker.status() }))
    }

    /// A request's payload: handle, id length, id, record.
    fn request(self: Arc<Self>, id: u64, mut payload: Bytes) {
        let malformed = || Failure::new(ErrorKind::Invalid, "malformed request");
        if payload.len() < 6 {
            return self.fail(id, &malformed());
        }
        let handle = payload.get_u32_le();
        let size = usize::from(payload.get_u16_le());
        if payload.len() < size {
            return self.fail(id, &malformed());
        }
        let Ok(request_id) = String::from_utf8(payload.split_to(size).to_vec()) else {
            return self.fail(id, &malformed());
        };
        let Some(service) = self.worker.service(handle) else {
            let text = "the service is not, or no longer, held by this worker";
            return self.fail(id, &Failure::new(ErrorKind::Unavailable, text));
        };
        let connection = self.clone();
        let reply = Box::new(move |outcome: Result<Bytes, Failure>| match outcome {
            Ok(answer) => connection.write(FrameKind::Answer, id, &answer),
            Err(failure) => connection.fail(id, &failure),
        });
        service.submit(Job { id: request_id, record: payload, reply });
    }

    /// Tells the agent something.
    pub(crate) fn send(&self, kind: FrameKind, id: u64, message: &impl Serialize) {
        match postcard::to_stdvec(message) {
            Ok(payload) => self.write(kind, id, &payload),
            Err(error) => tracing::error!(%error, "a message cannot be encoded"),
        }
    }

    fn fail(&self, id: u64, failure: &Failure) {
        self.send(FrameKind::Failure, id, failure);
    }

    fn write(&self, kind: FrameKind, id: u64, payload: &[u8]) {
        let header = Header { kind, id, size_bytes: payload.len() as u32 }.to_bytes();
        let mut stream = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        // An agent that is gone shows on the reading side.
        let _ = write_both(&mut stream, &header, payload);
    }
}

/// One system call for header and payload, as a rule.
fn write_both(stream: &mut UnixStream, header: &[u8], payload: &[u8]) -> io::Result<()> {
    let mut parts = [IoSlice::new(header), IoSlice::new(payload)];
    let mut rest = &mut parts[..];
    while !rest.is_empty() {
        match stream.write_vectored(rest) {
            Ok(0) if rest.iter().all(|part| part.is_empty()) => return Ok(()),
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut rest, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
