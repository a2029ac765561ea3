//! A small HTTP load generator over kept-alive connections.
//!
//! [`Connection`] asks one request after the other. [`Load`] keeps many connections busy from one
//! thread: as fast as they answer, or at a constant rate whatever the answers do. With a rate, a
//! request's time counts from when it was due, not from when a connection was free for it, so
//! that a stall shows in all the requests that it delays (no coordinated omission).

use anyhow::Context as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{
    collections::VecDeque,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

/// Nothing measured here takes longer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A connection that was not used for longer is opened anew: servers close idle ones.
const IDLE_MAX: Duration = Duration::from_secs(20);

/// Largest answer.
const ANSWER_MAX: usize = 64 << 10;

/// A request that is sent again and again.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    address: SocketAddr,
    bytes: Vec<u8>,
}

impl Request {
    /// Where it is sent.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// A small body to be echoed by the service of this host.
    pub(crate) fn new(address: SocketAddr, host: &str) -> Self {
        let bytes = format!(
            "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nhello\n"
        );
        Self { address, bytes: bytes.into_bytes() }
    }
}

impl Request {
    /// A document that is posted with a token.
    pub(crate) fn json(address: SocketAddr, path: &str, token: &str, document: &str) -> Self {
        let length = document.len();
        let bytes = format!(
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{document}"
        );
        Self { address, bytes: bytes.into_bytes() }
    }
}

/// One kept-alive connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    answer: Vec<u8>,
    /// When the request in hand, or the last one, was due.
    due: Instant,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, TIMEOUT)
            .with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(Self { stream, answer: Vec::with_capacity(ANSWER_MAX), due: Instant::now() })
    }

    /// Sends the request and waits for its answer; how long its first byte took.
    pub(crate) fn ask(&mut self, request: &Request) -> anyhow::Result<Duration> {
        self.send(request, Instant::now())?;
        let mut whole = self.receive()?;
        let first_byte = self.due.elapsed();
        while !whole {
            whole = self.receive()?;
        }
        Ok(first_byte)
    }

    /// The same; how long all of the answer took.
    pub(crate) fn ask_whole(&mut self, request: &Request) -> anyhow::Result<Duration> {
        self.ask(request)?;
        Ok(self.due.elapsed())
    }

    fn send(&mut self, request: &Request, due: Instant) -> anyhow::Result<()> {
        self.due = due;
        self.answer.clear();
        // It is far smaller than the empty buffer of a socket.
        self.stream.write_all(&request.bytes).context("a request cannot be sent")
    }

    /// Reads what has come; whether the answer is whole.
    fn receive(&mut self) -> anyhow::Result<bool> {
        let mut piece = [0; 4096];
        match self.stream.read(&mut piece) {
            Ok(0) => anyhow::bail!("the connection was closed"),
            Ok(size) => self.answer.extend_from_slice(&piece[..size]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("an answer cannot be read"),
        }
        anyhow::ensure!(self.answer.len() <= ANSWER_MAX, "an answer is too large");
        is_whole(&self.answer)
    }
}

/// Whether this is a whole answer; an error unless it is a good one.
fn is_whole(answer: &[u8]) -> anyhow::Result<bool> {
    let Some(head) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(false);
    };
    let text = std::str::from_utf8(&answer[..head]).context("an answer's head is not text")?;
    anyhow::ensure!(
        text.starts_with("HTTP/1.1 200 "),
        "an answer is `{}`: {}",
        text.lines().next().unwrap_or_default(),
        String::from_utf8_lossy(&answer[head + 4..])
    );
    let length = text
        .lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, length)| length.parse::<usize>().ok())
        .context("an answer has no length")?;
    Ok(answer.len() >= head + 4 + length)
}

/// Many connections that are driven by one thread.
#[derive(Debug)]
pub(crate) struct Load {
    request: Request,
    connections: Vec<Connection>,
}

impl Load {
    /// Opens so many connections.
    pub(crate) fn new(request: Request, connections: usize) -> anyhow::Result<Self> {
        let open = (0..connections).map(|_| Connection::open(request.address));
        Ok(Self { connections: open.collect::<anyhow::Result<_>>()?, request })
    }

    /// How many requests a second are answered when each connection asks again at once.
    pub(crate) fn peak(&mut self, duration: Duration) -> anyhow::Result<f64> {
        self.reopen_idle()?;
        let started = Instant::now();
        let mut answered = 0_u64;
        for connection in &mut self.connections {
            connection.send(&self.request, started)?;
        }
        while started.elapsed() < duration {
            let busy: Vec<usize> = (0..self.connections.len()).collect();
            for at in self.ready(&busy, TIMEOUT)? {
                let connection = &mut self.connections[at];
                if connection.receive()? {
                    answered += 1;
                    connection.send(&self.request, Instant::now())?;
                }
            }
        }
        let rate = answered as f64 / started.elapsed().as_secs_f64();
        for connection in &mut self.connections {
            while !connection.receive()? {}
        }
        Ok(rate)
    }

    /// Asks at this constant rate; each request's time from when it was due, in microseconds.
    pub(crate) fn at_rate(&mut self, rate: f64, duration: Duration) -> anyhow::Result<Vec<f64>> {
        self.reopen_idle()?;
        let total = (rate * duration.as_secs_f64()) as u32;
        let started = Instant::now();
        let due = |number: u32| started + Duration::from_secs_f64(f64::from(number) / rate);
        let mut next = 0;
        let mut late = VecDeque::new();
        let mut idle: Vec<usize> = (0..self.connections.len()).collect();
        let mut busy: Vec<usize> = Vec::new();
        let mut times = Vec::with_capacity(total as usize);
        while times.len() < total as usize {
            let now = Instant::now();
            while next < total && due(next) <= now {
                late.push_back(due(next));
                next += 1;
            }
            while !late.is_empty() && !idle.is_empty() {
                let (Some(due), Some(at)) = (late.pop_front(), idle.pop()) else { break };
                self.connections[at].send(&self.request, due)?;
                busy.push(at);
            }
            let wait = if next < total { due(next).duration_since(now) } else { TIMEOUT };
            for at in self.ready(&busy, wait)? {
                let connection = &mut self.connections[at];
                if connection.receive()? {
                    times.push(connection.due.elapsed().as_secs_f64() * 1e6);
                    busy.retain(|other| *other != at);
                    idle.push(at);
                }
            }
        }
        Ok(times)
    }

    fn reopen_idle(&mut self) -> anyhow::Result<()> {
        let address = self.request.address;
        for idle in self.connections.iter_mut().filter(|one| one.due.elapsed() > IDLE_MAX) {
            *idle = Connection::open(address)?;
        }
        Ok(())
    }

    /// Which of these connections have something to read, waiting for one at most so long.
    fn ready(&self, busy: &[usize], wait: Duration) -> anyhow::Result<Vec<usize>> {
        let mut wanted: Vec<PollFd<'_>> = busy
            .iter()
            .map(|at| PollFd::new(&self.connections[*at].stream, PollFlags::IN))
            .collect();
        let timeout = Timespec::try_from(wait)?;
        let found = poll(&mut wanted, Some(&timeout))?;
        anyhow::ensure!(found > 0 || wait < TIMEOUT, "no answer within {TIMEOUT:?}");
        let ready = busy.iter().zip(&wanted).filter(|(_, fd)| !fd.revents().is_empty());
        Ok(ready.map(|(at, _)| *at).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// Answers each request after `pause`, except that the tenth takes 50 ms.
    fn server(pause: Duration) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                std::thread::spawn(move || {
                    let mut buffer = [0; 4096];
                    for number in 1.. {
                        if !stream.read(&mut buffer).is_ok_and(|size| size > 0) {
                            return;
                        }
                        let stall = Duration::from_millis(if number == 10 { 50 } else { 0 });
                        std::thread::sleep(pause.max(stall));
                        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
                        stream.write_all(&answer[..20]).unwrap();
                        stream.write_all(&answer[20..]).unwrap();
                    }
                });
            }
        });
        address
    }

    #[test]
    fn an_answer_may_come_in_pieces_and_must_be_good() {
        assert!(!is_whole(b"HTTP/1.1 200 OK\r\ncontent-le").unwrap());
        assert!(!is_whole(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nh").unwrap());
        assert!(is_whole(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").unwrap());
        assert!(is_whole(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n").is_err());
        let address = server(Duration::ZERO);
        let mut connection = Connection::open(address).unwrap();
        let request = Request::new(address, "x");
        assert!(connection.ask(&request).unwrap() < TIMEOUT);
        connection.ask(&request).unwrap();
    }

    #[test]
    fn a_stall_shows_in_every_request_that_it_delays() {
        let address = server(Duration::ZERO);
        let mut load = Load::new(Request::new(address, "x"), 1).unwrap();

        let times = load.at_rate(1000.0, Duration::from_millis(200)).unwrap();

        assert_eq!(times.len(), 200);
        let delayed = times.iter().filter(|time| **time > 10_000.0).count();
        assert!(delayed >= 30, "{delayed} were delayed");
    }

    #[test]
    fn the_peak_follows_from_the_pause() {
        let address = server(Duration::from_millis(2));
        let mut load = Load::new(Request::new(address, "x"), 4).unwrap();

        let rate = load.peak(Duration::from_millis(300)).unwrap();

        // Four connections, 2 ms each; a busy machine answers fewer.
        assert!(rate > 0.0 && rate <= 2000.0, "{rate}");
    }
}
