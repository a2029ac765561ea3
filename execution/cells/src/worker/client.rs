//! An agent's connection to a worker.
//!
//! Start at [`Client::connect`]. Requests and commands of many tasks share one socket; a frame is
//! written by the task that makes it, so that it costs no hand-over on the way out, and whole even
//! if that task is dropped: what the socket does not take at once, a task of its own writes.

use super::protocol::{
    Command, Event, Failure, FrameKind, HEADER_BYTES, Header, Reply, WorkerStatus,
};
use super::{
    lane::{Lanes, REQUEST_MAX_BYTES},
    socket::ShortPath,
};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::io;
use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    net::UnixStream,
    sync::{Notify, mpsc, oneshot},
};
use types::{ErrorKind, Token};

/// How long the shared socket may take to tell that the worker is gone.
const CLOSING_MAX: Duration = Duration::from_millis(50);

/// Most events that wait for the agent.
const EVENTS_MAX: usize = 1024;

type Answer = Result<(FrameKind, Bytes), Failure>;

/// A connection to one worker; cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    stream: UnixStream,
    /// What the socket has not taken yet.
    unsent: Mutex<BytesMut>,
    /// Wakes the task that sends it.
    more: Notify,
    pending: Mutex<HashMap<u64, oneshot::Sender<Answer>>>,
    next_id: AtomicU64,
    closed: AtomicBool,
    lanes: Lanes,
    /// A lane is being opened.
    opening: AtomicBool,
}

impl Client {
    /// Connects to the worker that listens at `socket` and adopts it.
    ///
    /// # Errors
    /// [`Failure`] if nothing listens there, it speaks another version or refuses the token.
    pub async fn connect(
        socket: &Path,
        token: &Token,
    ) -> Result<(Self, WorkerStatus, mpsc::Receiver<Event>), Failure> {
        let unreachable = |error: io::Error| {
            let text = format!("cannot reach the worker at `{}`: {error}", socket.display());
            Failure::new(ErrorKind::Unavailable, text)
        };
        let short = ShortPath::of(socket).map_err(unreachable)?;
        let stream = UnixStream::connect(short.path()).await.map_err(unreachable)?;
        let (events, received) = mpsc::channel(EVENTS_MAX);
        let client = Self {
            shared: Arc::new(Shared {
                stream,
                unsent: Mutex::default(),
                more: Notify::new(),
                pending: Mutex::default(),
                next_id: AtomicU64::new(1),
                closed: AtomicBool::new(false),
                lanes: Lanes::new(socket, token),
                opening: AtomicBool::new(false),
            }),
        };
        tokio::spawn(client.shared.clone().read(events));
        tokio::spawn(client.shared.clone().write());
        let hello = Command::Hello { token: token.reveal().to_owned() };
        match client.command(&hello).await? {
            Reply::Hello(status) => Ok((client, status, received)),
            other => Err(unexpected(&other)),
        }
    }

    /// Whether the worker is gone; every call then fails with [`ErrorKind::Unavailable`].
    pub fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Acquire)
    }

    /// Asks for something and waits for the reply.
    ///
    /// # Errors
    /// What the worker refused or failed with; [`ErrorKind::Unavailable`] if it is gone.
    pub async fn command(&self, command: &Command) -> Result<Reply, Failure> {
        let payload = postcard::to_stdvec(command)
            .map_err(|error| Failure::new(ErrorKind::Internal, error.to_string()))?;
        let frame = self.frame(FrameKind::Command, |frame| frame.put(&payload[..]))?;
        let (kind, payload) = self.exchange(frame).await?;
        match kind {
            FrameKind::Reply => decode(&payload),
            _ => Err(Failure::new(ErrorKind::Internal, "the worker answered out of turn")),
        }
    }

    /// Sends a request to a service's cell: `record` as [`crate::record::encode_request`] made
    /// it. The answer is a frame for [`crate::record::decode_answer`]. A request id that the cell
    /// has answered lately gets the same bytes again, without asking the cell.
    ///
    /// # Errors
    /// [`ErrorKind::Guest`] if the cell failed, [`ErrorKind::Timeout`] if it took too long,
    /// [`ErrorKind::Exhausted`] if too many wait, [`ErrorKind::Fenced`] or
    /// [`ErrorKind::Unavailable`] if it is not, or no longer, served by this worker; a request
    /// that failed with one of the latter two was not and will not be run here.
    pub async fn request(&self, handle: u32, id: &str, record: &Bytes) -> Result<Bytes, Failure> {
        let id_size = u16::try_from(id.len())
            .map_err(|_| Failure::new(ErrorKind::Invalid, "the request id is too long"))?;
        let frame = self.frame(FrameKind::Request, |frame| {
            frame.put_u32_le(handle);
            frame.put_u16_le(id_size);
            frame.put(id.as_bytes());
            frame.put(&record[..]);
        })?;
        let lanes = &self.shared.lanes;
        let short = match self.is_closed() {
            false => lanes.exchange(handle, frame.0, &frame.1).await,
            true => None,
        };
        let (kind, payload) = match short {
            Some(Ok(answer)) => lane_answer(answer)?,
            Some(Err(failure)) => {
                self.await_closing().await;
                return Err(failure);
            }
            None => {
                self.open_a_lane();
                let (started, small) = (Instant::now(), frame.1.len() <= REQUEST_MAX_BYTES);
                let answer = self.exchange(frame).await?;
                if small {
                    lanes.took(handle, started.elapsed());
                }
                answer
            }
        };
        match kind {
            FrameKind::Answer => Ok(payload),
            _ => Err(Failure::new(ErrorKind::Internal, "the worker answered out of turn")),
        }
    }

    /// A lane broke: most likely the worker died, which the shared socket tells within moments.
    /// Whoever asks whether it did shall know.
    async fn await_closing(&self) {
        let deadline = Instant::now() + CLOSING_MAX;
        while !self.is_closed() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Opens another lane beside the requests, which do not wait for it.
    fn open_a_lane(&self) {
        let shared = &self.shared;
        if !shared.lanes.wants_another() || shared.opening.swap(true, Ordering::AcqRel) {
            return;
        }
        let client = self.clone();
        tokio::task::spawn_blocking(move || {
            client.shared.lanes.open(|token| {
                let hello = Command::Lane { token: token.reveal().to_owned() };
                let payload = postcard::to_stdvec(&hello).unwrap_or_default();
                client
                    .frame(FrameKind::Command, |frame| frame.put(&payload[..]))
                    .map_or_else(|_| Vec::new(), |(_, frame)| frame.to_vec())
            });
            client.shared.opening.store(false, Ordering::Release);
        });
    }

    /// A frame with a number of its own.
    fn frame(
        &self,
        kind: FrameKind,
        payload: impl FnOnce(&mut BytesMut),
    ) -> Result<(u64, BytesMut), Failure> {
        let id = self.shared.next_id.fetch_add(1, Ordering::Relaxed);
        let mut frame = BytesMut::with_capacity(1024);
        frame.put_bytes(0, HEADER_BYTES);
        payload(&mut frame);
        let size_bytes = u32::try_from(frame.len() - HEADER_BYTES)
            .map_err(|_| Failure::new(ErrorKind::Invalid, "the message is over 4 GiB"))?;
        frame[..HEADER_BYTES].copy_from_slice(&Header { kind, id, size_bytes }.to_bytes());
        Ok((id, frame))
    }

    /// Sends a frame on the shared socket and waits for its answer.
    async fn exchange(&self, (id, frame): (u64, BytesMut)) -> Answer {
        let shared = &self.shared;
        let (sender, receiver) = oneshot::channel();
        shared.pending().insert(id, sender);
        // Checked after the insertion: the reader drains `pending` only once it has set this.
        if self.is_closed() {
            shared.pending().remove(&id);
            return Err(gone());
        }
        shared.send(&frame);
        receiver.await.unwrap_or_else(|_| Err(gone()))
    }
}

impl Shared {
    fn pending(&self) -> std::sync::MutexGuard<'_, HashMap<u64, oneshot::Sender<Answer>>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what the socket takes at once and leaves the rest to [`Shared::write`]. A broken
    /// socket shows on the reading side, which then fails whatever is pending.
    fn send(&self, frame: &[u8]) {
        let mut unsent = self.unsent.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = if unsent.is_empty() { self.stream.try_write(frame).unwrap_or(0) } else { 0 };
        if taken < frame.len() {
            unsent.extend_from_slice(&frame[taken..]);
            drop(unsent);
            self.more.notify_one();
        }
    }

    async fn write(self: Arc<Self>) {
        while !self.closed.load(Ordering::Acquire) {
            self.more.notified().await;
            while self.write_some().is_ok_and(|more| more) {
                if self.stream.writable().await.is_err() {
                    return;
                }
            }
        }
    }

    /// Whether something is left.
    fn write_some(&self) -> io::Result<bool> {
        let mut unsent = self.unsent.lock().unwrap_or_else(PoisonError::into_inner);
        while !unsent.is_empty() {
            match self.stream.try_write(&unsent) {
                Ok(taken) => unsent.advance(taken),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    async fn read_some(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        loop {
            self.stream.readable().await?;
            match self.stream.try_read_buf(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
        }
    }

    async fn read(self: Arc<Self>, events: mpsc::Sender<Event>) {
        let mut buffer = BytesMut::with_capacity(64 << 10);
        loop {
            match take_frame(&mut buffer) {
                Ok(Some((header, payload))) => self.deliver(header, payload, &events),
                Ok(None) => match self.read_some(&mut buffer).await {
                    Ok(0) | Err(_) => break,
                    Ok(_) => {}
                },
                Err(error) => {
                    tracing::warn!(%error, "a worker's socket carries no frames");
                    break;
                }
            }
        }
        self.closed.store(true, Ordering::Release);
        self.more.notify_one();
        for (_, sender) in self.pending().drain() {
            // The caller may have given up; then nobody wants to know.
            let _ = sender.send(Err(gone()));
        }
    }

    fn deliver(&self, header: Header, payload: Bytes, events: &mpsc::Sender<Event>) {
        if header.kind == FrameKind::Event {
            if let Ok(event) = decode(&payload) {
                pass_on(event, events);
            }
            return;
        }
        let answer = match header.kind {
            FrameKind::Failure => Err(decode(&payload).unwrap_or_else(|failure| failure)),
            kind => Ok((kind, payload)),
        };
        let waiting = self.pending().remove(&header.id);
        if let Some(sender) = waiting {
            // The caller may have given up; then nobody wants to know.
            let _ = sender.send(answer);
        }
    }
}

/// Answers must not wait for who listens to events, who may be waiting for an answer. A checkpoint
/// that nobody has time for is followed by the next; the few others wait beside.
fn pass_on(event: Event, events: &mpsc::Sender<Event>) {
    use mpsc::error::TrySendError;
    match events.try_send(event) {
        Err(TrySendError::Full(Event::Checkpointed(_))) => {
            tracing::debug!("nobody has time for a checkpoint's event");
        }
        Err(TrySendError::Full(event)) => {
            let events = events.clone();
            tokio::spawn(async move {
                // Nobody listening means the agent lets this worker go.
                let _ = events.send(event).await;
            });
        }
        // The same.
        Ok(()) | Err(TrySendError::Closed(_)) => {}
    }
}

/// Splits a whole frame off the front, or makes room for the rest of it.
fn take_frame(
    buffer: &mut BytesMut,
) -> Result<Option<(Header, Bytes)>, super::protocol::FrameError> {
    let Some(bytes) = buffer.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
    let header = Header::from_bytes(bytes)?;
    let size = HEADER_BYTES + header.size_bytes as usize;
    if buffer.len() < size {
        buffer.reserve(size - buffer.len());
        return Ok(None);
    }
    let mut frame = buffer.split_to(size);
    frame.advance(HEADER_BYTES);
    Ok(Some((header, frame.freeze())))
}

/// On a lane a failure comes as a frame, as an answer does.
fn lane_answer((kind, payload): (FrameKind, Bytes)) -> Answer {
    match kind {
        FrameKind::Failure => Err(decode(&payload).unwrap_or_else(|failure| failure)),
        kind => Ok((kind, payload)),
    }
}

fn decode<T: serde::de::DeserializeOwned>(payload: &[u8]) -> Result<T, Failure> {
    postcard::from_bytes(payload)
        .map_err(|error| Failure::new(ErrorKind::Internal, format!("malformed message: {error}")))
}

fn gone() -> Failure {
    Failure::new(ErrorKind::Unavailable, "the worker is gone")
}

/// A reply of the wrong kind: the worker is of another make.
pub(crate) fn unexpected(reply: &Reply) -> Failure {
    Failure::new(ErrorKind::Internal, format!("the worker gave an unexpected reply: {reply:?}"))
}
