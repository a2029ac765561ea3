//! Short ways for small requests.
//!
//! On the shared socket a request wakes four sleepers: the worker's thread, the agent's reading
//! task, the task that asked, and the client. On a lane whoever asks also reads the answer. A
//! request that is alone looks for it for a moment instead of going to sleep, which costs more than
//! the request; of several, one reads the answers of all.
//!
//! A lane carries requests of one service at a time: those wait for each other at its cell in any
//! case, and nobody else's wait behind them.

use super::{
    protocol::{Failure, FrameKind, HEADER_BYTES, Header},
    socket::ShortPath,
    spin,
};
use bytes::{Buf, Bytes, BytesMut};
use rustix::net::{SendFlags, send};
use std::{
    future::poll_fn,
    io,
    num::NonZero,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};
use types::{ErrorKind, Token};

/// Most lanes to one worker, however many processors there are.
const LANES_MAX: usize = 8;

/// Most requests on one lane.
const DEPTH: usize = 64;

/// Larger requests might not fit the socket at once; they take the shared one.
pub(super) const REQUEST_MAX_BYTES: usize = 64 << 10;

/// How long an answer is looked for before the task goes to sleep.
const SPIN: Duration = Duration::from_micros(50);

/// Answers that take longer than this on average are not looked for.
const QUICK_MICROSECONDS: u32 = 150;

/// Services that take longer than this on average would only keep lanes from others.
const SHORT_MICROSECONDS: u32 = 5_000;

/// Averages that are kept; services whose handles are equal modulo this share one.
const AVERAGES: usize = 64;

/// How long a new lane may take to be let in.
const OPEN_TIMEOUT: Duration = Duration::from_secs(2);

/// What is read at once.
const PIECE_BYTES: usize = 16 << 10;

/// The lanes to one worker.
#[derive(Debug)]
pub(super) struct Lanes {
    socket: PathBuf,
    token: Token,
    lanes: Mutex<Vec<Arc<Lane>>>,
    most: usize,
    /// Those that are open and those that are being opened.
    count: AtomicUsize,
    /// Moving averages of how long a service's answers take, by handle.
    microseconds: [AtomicU32; AVERAGES],
}

#[derive(Debug)]
struct Lane(Mutex<State>);

#[derive(Debug)]
struct State {
    socket: Socket,
    /// Handle of the service whose requests are on their way.
    service: u32,
    asked: Vec<Asked>,
    /// Who reads for all.
    reader: Option<u64>,
    /// What the socket has not taken yet. It does so while answers come.
    unsent: BytesMut,
    received: BytesMut,
    broken: bool,
}

/// For a request of one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    /// It carries requests of the same service.
    Same,
    /// It carries none.
    Idle,
    /// It is full, or carries those of another service.
    None,
}

/// One request on its way.
#[derive(Debug)]
struct Asked {
    id: u64,
    /// Nobody wants the answer any more.
    given_up: bool,
    answer: Option<(FrameKind, Bytes)>,
    waker: Option<Waker>,
}

/// A lane's socket; the runtime of its first request waits for answers.
#[derive(Debug)]
enum Socket {
    Plain(UnixStream),
    Registered(tokio::net::UnixStream),
    /// Between the two.
    Gone,
}

impl Socket {
    fn fd(&self) -> io::Result<BorrowedFd<'_>> {
        match self {
            Self::Plain(stream) => Ok(stream.as_fd()),
            Self::Registered(stream) => Ok(stream.as_fd()),
            Self::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn registered(&mut self) -> io::Result<&tokio::net::UnixStream> {
        if let Self::Plain(_) = self
            && let Self::Plain(stream) = std::mem::replace(self, Self::Gone)
        {
            *self = Self::Registered(tokio::net::UnixStream::from_std(stream)?);
        }
        match self {
            Self::Registered(stream) => Ok(stream),
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

impl Lanes {
    pub(super) fn new(socket: &Path, token: &Token) -> Self {
        Self {
            socket: socket.to_owned(),
            token: token.clone(),
            lanes: Mutex::default(),
            most: std::thread::available_parallelism().map_or(1, NonZero::get).min(LANES_MAX),
            count: AtomicUsize::new(0),
            microseconds: [const { AtomicU32::new(0) }; AVERAGES],
        }
    }

    fn lanes(&self) -> MutexGuard<'_, Vec<Arc<Lane>>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether another lane would be of use.
    pub(super) fn wants_another(&self) -> bool {
        self.count.load(Ordering::Relaxed) < self.most
    }

    /// Opens another lane; `hello` is the frame that shows the token. Blocks for a moment.
    pub(super) fn open(&self, hello: impl FnOnce(&Token) -> Vec<u8>) {
        if self.count.fetch_add(1, Ordering::Relaxed) >= self.most {
            self.count.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        match self.connect(hello(&self.token)) {
            Ok(stream) => self.lanes().push(Arc::new(Lane::new(stream))),
            Err(error) => {
                self.count.fetch_sub(1, Ordering::Relaxed);
                tracing::debug!(%error, "no lane to a worker");
            }
        }
    }

    fn connect(&self, hello: Vec<u8>) -> io::Result<UnixStream> {
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
        Ok(stream)
    }

    /// Sends the frame of this number to a service and waits for its answer; `None` if no lane is
    /// free for it or it is too large: it takes the shared socket.
    pub(super) async fn exchange(
        &self,
        service: u32,
        id: u64,
        frame: &[u8],
    ) -> Option<Result<(FrameKind, Bytes), Failure>> {
        if frame.len() > REQUEST_MAX_BYTES || self.average(service) > SHORT_MICROSECONDS {
            return None;
        }
        let started = Instant::now();
        let (lane, alone) = self.board(service, id, frame)?;
        let passenger = Passenger { lane: &lane, id };
        if alone && self.average(service) < QUICK_MICROSECONDS {
            passenger.look().await;
        }
        let answer = poll_fn(|context| passenger.poll(context)).await;
        drop(passenger);
        if let Ok(answer) = answer {
            self.took(service, started.elapsed());
            return Some(Ok(answer));
        }
        self.close(&lane);
        Some(Err(Failure::new(ErrorKind::Unavailable, "the worker is gone")))
    }

    /// Sends the frame on the lane that carries the service's requests, or on one that carries
    /// none; whether it is alone there.
    fn board(&self, service: u32, id: u64, frame: &[u8]) -> Option<(Arc<Lane>, bool)> {
        let mut lanes = self.lanes();
        let takes =
            |wanted: Room| lanes.iter().position(|lane| lane.state().room(service) == wanted);
        let at = takes(Room::Same).or_else(|| takes(Room::Idle))?;
        let sent = {
            let mut state = lanes[at].state();
            state.send(service, id, frame).map(|()| state.asked.len() == 1)
        };
        match sent {
            Ok(alone) => Some((lanes[at].clone(), alone)),
            Err(_) => {
                lanes.remove(at);
                self.count.fetch_sub(1, Ordering::Relaxed);
                None
            }
        }
    }

    fn close(&self, lane: &Arc<Lane>) {
        let mut lanes = self.lanes();
        let before = lanes.len();
        lanes.retain(|other| !Arc::ptr_eq(other, lane));
        self.count.fetch_sub(before - lanes.len(), Ordering::Relaxed);
    }

    fn average(&self, service: u32) -> u32 {
        self.microseconds[service as usize % AVERAGES].load(Ordering::Relaxed)
    }

    /// An answer of this service took so long, on whatever way.
    pub(super) fn took(&self, service: u32, time: Duration) {
        let average = &self.microseconds[service as usize % AVERAGES];
        let now = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        let before = average.load(Ordering::Relaxed);
        // Only a hint: it does not matter which of two concurrent ones stands.
        average.store(before - before / 8 + now / 8, Ordering::Relaxed);
    }
}

impl Lane {
    fn new(stream: UnixStream) -> Self {
        Self(Mutex::new(State {
            socket: Socket::Plain(stream),
            service: 0,
            asked: Vec::new(),
            reader: None,
            unsent: BytesMut::new(),
            received: BytesMut::new(),
            broken: false,
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Sends a frame and waits for its answer from here on.
    fn send(&mut self, service: u32, id: u64, frame: &[u8]) -> io::Result<()> {
        self.socket.registered()?;
        let sent = match send(self.socket.fd()?, frame, SendFlags::NOSIGNAL) {
            Ok(sent) => sent,
            Err(rustix::io::Errno::AGAIN) => 0,
            Err(error) => return Err(error.into()),
        };
        if sent < frame.len() {
            if self.asked.is_empty() {
                // The socket of an idle lane is empty: it takes a small frame whole, or is broken.
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.unsent.extend_from_slice(&frame[sent..]);
        }
        self.service = service;
        self.asked.push(Asked { id, given_up: false, answer: None, waker: None });
        Ok(())
    }

    /// Whether it takes a request of this service.
    fn room(&mut self, service: u32) -> Room {
        if !self.asked.is_empty() && self.asked.iter().all(|asked| asked.given_up) {
            // Nobody else reads what comes.
            self.receive_now();
        }
        match self.asked.len() {
            0 => Room::Idle,
            1..DEPTH if self.service == service && self.unsent.is_empty() => Room::Same,
            _ => Room::None,
        }
    }

    /// Takes in what has come; `WouldBlock` if that is nothing.
    fn receive(&mut self) -> io::Result<()> {
        self.received.reserve(PIECE_BYTES);
        let Socket::Registered(stream) = &self.socket else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        if stream.try_read_buf(&mut self.received)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        while let Some(bytes) = self.received.first_chunk::<HEADER_BYTES>() {
            let header = Header::from_bytes(bytes).map_err(io::Error::other)?;
            let size = HEADER_BYTES + header.size_bytes as usize;
            if self.received.len() < size {
                break;
            }
            let mut frame = self.received.split_to(size);
            frame.advance(HEADER_BYTES);
            self.deliver(header, frame.freeze());
        }
        self.send_on()
    }

    fn deliver(&mut self, header: Header, payload: Bytes) {
        let Some(at) = self.asked.iter().position(|asked| asked.id == header.id) else { return };
        if self.asked[at].given_up {
            self.asked.swap_remove(at);
            return;
        }
        let asked = &mut self.asked[at];
        asked.answer = Some((header.kind, payload));
        if let Some(waker) = asked.waker.take() {
            waker.wake();
        }
    }

    fn send_on(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            match send(self.socket.fd()?, &self.unsent, SendFlags::NOSIGNAL) {
                Ok(sent) => self.unsent.advance(sent),
                Err(rustix::io::Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The same without waiting; a broken lane fails all that are on it.
    fn receive_now(&mut self) {
        match self.receive() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.fail(),
            Ok(()) => {}
        }
    }

    fn fail(&mut self) {
        self.broken = true;
        for asked in &mut self.asked {
            if let Some(waker) = asked.waker.take() {
                waker.wake();
            }
        }
    }

    /// The answer to this request, if it is there.
    fn take(&mut self, id: u64) -> Option<(FrameKind, Bytes)> {
        let at = self.asked.iter().position(|asked| asked.id == id)?;
        let answer = self.asked[at].answer.take()?;
        self.asked.swap_remove(at);
        self.leave_reading(id);
        Some(answer)
    }

    /// Who read for all leaves: the next one does.
    fn leave_reading(&mut self, id: u64) {
        if self.reader != Some(id) {
            return;
        }
        self.reader = None;
        let next = self.asked.iter_mut().find(|asked| asked.answer.is_none() && !asked.given_up);
        if let Some(waker) = next.and_then(|next| next.waker.take()) {
            waker.wake();
        }
    }
}

/// A request on a lane; given up on drop.
struct Passenger<'a> {
    lane: &'a Lane,
    id: u64,
}

impl Drop for Passenger<'_> {
    fn drop(&mut self) {
        let mut state = self.lane.state();
        if let Some(at) = state.asked.iter().position(|asked| asked.id == self.id) {
            let asked = &mut state.asked[at];
            asked.given_up = true;
            asked.waker = None;
            if asked.answer.is_some() {
                state.asked.swap_remove(at);
            }
        }
        state.leave_reading(self.id);
    }
}

impl Passenger<'_> {
    /// Keeps the runtime from going to sleep for a moment, in which the answer probably comes;
    /// whatever else comes meanwhile is worked on.
    async fn look(&self) {
        let mut looking = spin::Looking::begin(SPIN);
        while looking.goes_on() && self.is_alone_and_waits() {
            tokio::task::yield_now().await;
        }
    }

    fn is_alone_and_waits(&self) -> bool {
        let mut state = self.lane.state();
        state.receive_now();
        let waits = |asked: &Asked| asked.id == self.id && asked.answer.is_none();
        !state.broken && matches!(&state.asked[..], [asked] if waits(asked))
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<io::Result<(FrameKind, Bytes)>> {
        let mut state = self.lane.state();
        loop {
            if let Some(answer) = state.take(self.id) {
                return Poll::Ready(Ok(answer));
            }
            if state.broken {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            if state.reader.is_some_and(|reader| reader != self.id) {
                let asked = state.asked.iter_mut().find(|asked| asked.id == self.id);
                if let Some(asked) = asked {
                    asked.waker = Some(context.waker().clone());
                }
                return Poll::Pending;
            }
            state.reader = Some(self.id);
            let ready = match state.socket.registered() {
                Ok(stream) => stream.poll_read_ready(context),
                Err(error) => Poll::Ready(Err(error)),
            };
            match ready {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => state.fail(),
                Poll::Ready(Ok(())) => state.receive_now(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    const SERVICE: u32 = 7;

    fn frame(kind: FrameKind, id: u64, payload: &[u8]) -> Vec<u8> {
        let header = Header { kind, id, size_bytes: payload.len() as u32 };
        [&header.to_bytes()[..], payload].concat()
    }

    /// Lanes of which one is open, and its other end.
    fn open() -> (Arc<Lanes>, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let lanes = Lanes::new(Path::new("/nowhere"), &Token::from_text("x"));
        lanes.lanes().push(Arc::new(Lane::new(ours)));
        lanes.count.store(1, Ordering::Relaxed);
        (Arc::new(lanes), theirs)
    }

    fn ask(
        lanes: &Arc<Lanes>,
        service: u32,
        id: u64,
    ) -> tokio::task::JoinHandle<Option<Result<(FrameKind, Bytes), Failure>>> {
        let lanes = lanes.clone();
        tokio::spawn(async move {
            let request = frame(FrameKind::Request, id, b"ask");
            lanes.exchange(service, id, &request).await
        })
    }

    /// Reads the numbers of so many requests.
    fn requests(worker: &mut UnixStream, count: usize) -> Vec<u64> {
        let read = |_| {
            let mut bytes = [0; HEADER_BYTES + 3];
            worker.read_exact(&mut bytes).unwrap();
            Header::from_bytes(bytes.first_chunk().unwrap()).unwrap().id
        };
        (0..count).map(read).collect()
    }

    async fn settle() {
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
    }

    fn answer(worker: &mut UnixStream, id: u64) {
        worker.write_all(&frame(FrameKind::Answer, id, &id.to_le_bytes())).unwrap();
    }

    #[tokio::test]
    async fn requests_share_a_lane_and_get_their_own_answers_in_any_order() {
        let (lanes, mut worker) = open();
        let asked: Vec<_> = (1..=5).map(|id| ask(&lanes, SERVICE, id)).collect();
        settle().await;
        assert_eq!(requests(&mut worker, 5), [1, 2, 3, 4, 5]);

        // Two in one piece, one in two.
        let both = [frame(FrameKind::Answer, 4, &[4; 8]), frame(FrameKind::Answer, 2, &[2; 8])];
        worker.write_all(&both.concat()).unwrap();
        let halves = frame(FrameKind::Answer, 5, &[5; 8]);
        worker.write_all(&halves[..20]).unwrap();
        settle().await;
        worker.write_all(&halves[20..]).unwrap();
        for id in [1, 3] {
            answer(&mut worker, id);
        }

        for (asked, id) in asked.into_iter().zip(1..) {
            let (kind, payload) = asked.await.unwrap().unwrap().unwrap();
            assert_eq!((kind, u64::from(payload[0])), (FrameKind::Answer, id));
        }
        assert_eq!(lanes.lanes()[0].state().room(9), Room::Idle);
    }

    #[tokio::test]
    async fn another_services_requests_do_not_wait_behind() {
        let (lanes, mut worker) = open();
        let first = ask(&lanes, SERVICE, 1);
        settle().await;

        assert!(ask(&lanes, SERVICE + 1, 2).await.unwrap().is_none());

        answer(&mut worker, 1);
        first.await.unwrap().unwrap().unwrap();
        let second = ask(&lanes, SERVICE + 1, 3);
        settle().await;
        answer(&mut worker, 3);
        second.await.unwrap().unwrap().unwrap();
    }

    #[tokio::test]
    async fn whoever_gives_up_leaves_the_reading_to_the_others() {
        let (lanes, mut worker) = open();
        let [reader, other] = [1, 2].map(|id| ask(&lanes, SERVICE, id));
        settle().await;
        reader.abort();
        settle().await;

        answer(&mut worker, 1);
        answer(&mut worker, 2);

        assert_eq!(other.await.unwrap().unwrap().unwrap().1[0], 2);
        assert!(reader.await.unwrap_err().is_cancelled());
    }

    #[tokio::test]
    async fn a_lane_whose_only_request_was_given_up_is_idle_once_that_is_answered() {
        let (lanes, mut worker) = open();
        let given_up = ask(&lanes, SERVICE, 1);
        settle().await;
        given_up.abort();
        settle().await;
        // The cell is still at it.
        assert!(ask(&lanes, SERVICE + 1, 2).await.unwrap().is_none());

        answer(&mut worker, 1);
        settle().await;

        let next = ask(&lanes, SERVICE + 1, 3);
        settle().await;
        answer(&mut worker, 3);
        assert_eq!(next.await.unwrap().unwrap().unwrap().1[0], 3);
    }

    #[tokio::test]
    async fn a_broken_lane_fails_all_that_are_on_it_and_is_not_taken_again() {
        let (lanes, worker) = open();
        let asked: Vec<_> = (1..=3).map(|id| ask(&lanes, SERVICE, id)).collect();
        settle().await;

        drop(worker);

        for asked in asked {
            let failure = asked.await.unwrap().unwrap().unwrap_err();
            assert_eq!(failure.kind, ErrorKind::Unavailable);
        }
        assert!(ask(&lanes, SERVICE, 4).await.unwrap().is_none());
        assert!(lanes.wants_another());
    }

    #[tokio::test]
    async fn what_the_socket_does_not_take_at_once_follows() {
        let (lanes, mut worker) = open();
        let large = vec![1; REQUEST_MAX_BYTES - HEADER_BYTES];
        let asked: Vec<_> = (1..=20)
            .map(|id| {
                let (lanes, request) = (lanes.clone(), frame(FrameKind::Request, id, &large));
                tokio::spawn(async move { lanes.exchange(SERVICE, id, &request).await })
            })
            .collect();
        settle().await;
        // Those for which there was no room take the shared socket.
        let sent = lanes.lanes()[0].state().asked.len();
        assert!((2..20).contains(&sent), "{sent}");
        let serving = std::thread::spawn(move || {
            for _ in 0..sent {
                let mut request = vec![0; REQUEST_MAX_BYTES];
                worker.read_exact(&mut request).unwrap();
                answer(&mut worker, Header::from_bytes(request.first_chunk().unwrap()).unwrap().id);
            }
        });

        let mut answered = 0;
        for asked in asked {
            answered += usize::from(asked.await.unwrap().is_some_and(|answer| answer.is_ok()));
        }

        assert_eq!(answered, sent);
        serving.join().unwrap();
    }
}
