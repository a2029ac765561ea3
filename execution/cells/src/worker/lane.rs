//! Short ways for small requests.
//!
//! On the shared socket a request wakes four sleepers: the worker's thread, the agent's reading
//! task, the task that asked, and the client. A lane is a socket for one request at a time, so
//! that whoever asks also reads the answer; and as long as answers come within a few dozen
//! microseconds, both ends look again instead of going to sleep, which costs more than the
//! request.

use super::{
    protocol::{Failure, FrameKind, HEADER_BYTES, Header},
    socket::ShortPath,
    spin,
};
use bytes::{Buf, Bytes, BytesMut};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::{
    io,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::io::Interest;
use types::{ErrorKind, Token};

/// Most lanes to one worker: more requests at a time gain nothing from not sharing.
const LANES_MAX: usize = 8;

/// Larger requests might not fit the socket at once; they take the shared one.
const REQUEST_MAX_BYTES: usize = 64 << 10;

/// How long an answer is looked for before the task goes to sleep.
const SPIN: Duration = Duration::from_micros(50);

/// Answers that take longer than this on average are not looked for.
const QUICK_MICROSECONDS: u32 = 150;

/// How long a new lane may take to be let in.
const OPEN_TIMEOUT: Duration = Duration::from_secs(2);

/// The lanes to one worker.
#[derive(Debug)]
pub(super) struct Lanes {
    socket: PathBuf,
    token: Token,
    idle: Mutex<Vec<Lane>>,
    open: AtomicUsize,
    busy: AtomicUsize,
    /// A moving average of how long answers take.
    microseconds: AtomicU32,
}

#[derive(Debug)]
struct Lane {
    stream: UnixStream,
    buffer: BytesMut,
}

/// A lane in use. It goes back when its answer is complete; else it is closed, for the answer to
/// come would be taken for the next request's.
struct Busy<'a> {
    lanes: &'a Lanes,
    lane: Option<Lane>,
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.lanes.busy.fetch_sub(1, Ordering::Relaxed);
        if self.lane.take().is_some() {
            self.lanes.open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Lanes {
    pub(super) fn new(socket: &Path, token: &Token) -> Self {
        Self {
            socket: socket.to_owned(),
            token: token.clone(),
            idle: Mutex::default(),
            open: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
            microseconds: AtomicU32::new(0),
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Lane>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether another lane would be of use.
    pub(super) fn wants_another(&self) -> bool {
        self.open.load(Ordering::Relaxed) < LANES_MAX
    }

    /// Opens another lane; `hello` is the frame that shows the token. Blocks for a moment.
    pub(super) fn open(&self, hello: impl FnOnce(&Token) -> Vec<u8>) {
        if self.open.fetch_add(1, Ordering::Relaxed) >= LANES_MAX {
            self.open.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        match self.connect(hello(&self.token)) {
            Ok(lane) => self.idle().push(lane),
            Err(error) => {
                self.open.fetch_sub(1, Ordering::Relaxed);
                tracing::debug!(%error, "no lane to a worker");
            }
        }
    }

    fn connect(&self, hello: Vec<u8>) -> io::Result<Lane> {
        use io::{Read, Write};
        let mut stream = UnixStream::connect(ShortPath::of(&self.socket)?.path())?;
        stream.set_read_timeout(Some(OPEN_TIMEOUT))?;
        stream.set_write_timeout(Some(OPEN_TIMEOUT))?;
        stream.write_all(&hello)?;
        let mut header = [0; HEADER_BYTES];
        stream.read_exact(&mut header)?;
        let header = Header::from_bytes(&header).map_err(io::Error::other)?;
        let mut reply = vec![0; header.size_bytes.min(1 << 16) as usize];
        stream.read_exact(&mut reply)?;
        if header.kind != FrameKind::Reply {
            return Err(io::Error::other("the worker has no lanes"));
        }
        stream.set_nonblocking(true)?;
        Ok(Lane { stream, buffer: BytesMut::new() })
    }

    /// Sends a request's frame and waits for its answer; `None` if no lane is free or the request
    /// is too large: it takes the shared socket.
    pub(super) async fn exchange(
        &self,
        frame: &[u8],
    ) -> Option<Result<(FrameKind, Bytes), Failure>> {
        if frame.len() > REQUEST_MAX_BYTES {
            return None;
        }
        let lane = self.idle().pop()?;
        let alone = self.busy.fetch_add(1, Ordering::Relaxed) == 0;
        let mut busy = Busy { lanes: self, lane: Some(lane) };
        let started = Instant::now();
        let lane = busy.lane.as_mut()?;
        // An idle lane's socket is empty: it takes a small frame whole, or is broken.
        if send(&lane.stream, frame, SendFlags::NOSIGNAL) != Ok(frame.len()) {
            return None;
        }
        let quick = alone && self.microseconds.load(Ordering::Relaxed) < QUICK_MICROSECONDS;
        let answer = match lane.answer(quick).await {
            Ok((header, payload)) => Ok((header.kind, payload)),
            Err(_) => {
                return Some(Err(Failure::new(ErrorKind::Unavailable, "the worker is gone")));
            }
        };
        self.took(started.elapsed());
        self.idle().extend(busy.lane.take());
        Some(answer)
    }

    fn took(&self, time: Duration) {
        let now = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        let before = self.microseconds.load(Ordering::Relaxed);
        // Only a hint: it does not matter which of two concurrent ones stands.
        self.microseconds.store(before - before / 8 + now / 8, Ordering::Relaxed);
    }
}

fn would_block<T>(tried: &io::Result<T>) -> bool {
    tried.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

impl Lane {
    async fn answer(&mut self, quick: bool) -> io::Result<(Header, Bytes)> {
        let mut tried = self.try_answer();
        if quick {
            spin::look(SPIN, || {
                if would_block(&tried) {
                    tried = self.try_answer();
                }
                !would_block(&tried)
            });
        }
        if !would_block(&tried) {
            return tried;
        }
        // Only who sleeps is registered with the runtime, which is not told of quick answers.
        let sleeper = tokio::net::UnixStream::from_std(self.stream.try_clone()?)?;
        loop {
            sleeper.readable().await?;
            let tried = sleeper.try_io(Interest::READABLE, || self.try_answer());
            if !would_block(&tried) {
                return tried;
            }
        }
    }

    /// The answer, if all of it is there.
    fn try_answer(&mut self) -> io::Result<(Header, Bytes)> {
        loop {
            if let Some(bytes) = self.buffer.first_chunk::<HEADER_BYTES>() {
                let header = Header::from_bytes(bytes).map_err(io::Error::other)?;
                let size = HEADER_BYTES + header.size_bytes as usize;
                if self.buffer.len() >= size {
                    let mut frame = self.buffer.split_to(size);
                    frame.advance(HEADER_BYTES);
                    return Ok((header, frame.freeze()));
                }
            }
            self.read_some()?;
        }
    }

    fn read_some(&mut self) -> io::Result<()> {
        const PIECE_BYTES: usize = 16 << 10;
        let have = self.buffer.len();
        self.buffer.resize(have + PIECE_BYTES, 0);
        let read = recv(&self.stream, &mut self.buffer[have..], RecvFlags::DONTWAIT);
        let size = read.map_or(0, |(size, _)| size);
        self.buffer.truncate(have + size);
        match read {
            Ok((0, _)) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
