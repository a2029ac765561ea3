//! A client for large answers over one kept-alive connection, the same for every server.

use anyhow::Context as _;
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

const TIMEOUT: Duration = Duration::from_secs(30);

/// How long a server may take until it answers.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// Largest head of an answer.
const HEAD_MAX: usize = 16 << 10;

/// Connects to a server that is about to be there.
pub(super) fn connect(address: SocketAddr) -> anyhow::Result<Client> {
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        match Client::open(address) {
            Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
            opened => return opened.with_context(|| format!("nobody answers at {address}")),
        }
    }
}

pub(super) struct Client {
    stream: TcpStream,
    head: Vec<u8>,
}

impl Client {
    pub(super) fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(Self { stream, head: vec![0; HEAD_MAX] })
    }

    /// Sends a request, `METHOD target`, with this body; reads the answer's body into `into`, which
    /// it must fill, unless it is empty.
    pub(super) fn ask(
        &mut self,
        request: &str,
        host: &str,
        body: &[u8],
        into: &mut [u8],
    ) -> anyhow::Result<()> {
        let length = match body.len() {
            0 => String::new(),
            length => format!("Content-Length: {length}\r\n"),
        };
        let head = format!("{request} HTTP/1.1\r\nHost: {host}\r\n{length}\r\n");
        self.exchange(&head, body, into)
    }

    /// Sends a head as it is, and a body; reads the answer's body.
    pub(super) fn exchange(
        &mut self,
        head: &str,
        body: &[u8],
        into: &mut [u8],
    ) -> anyhow::Result<()> {
        let request = head.lines().next().unwrap_or_default();
        self.stream.write_all(head.as_bytes())?;
        self.stream.write_all(body)?;
        let (end, filled) = self.read_head()?;
        let text = std::str::from_utf8(&self.head[..end]).context("a head is not text")?;
        anyhow::ensure!(text.starts_with("HTTP/1.1 200 "), "{request}: {text}");
        let length = text
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .map_or(Ok(0), |(_, length)| length.parse::<usize>())?;
        anyhow::ensure!(length == into.len(), "{request}: {length} bytes");
        let here = filled - end;
        anyhow::ensure!(here <= length, "{request}: more than one answer");
        into[..here].copy_from_slice(&self.head[end..filled]);
        self.stream.read_exact(&mut into[here..])?;
        Ok(())
    }

    /// Reads until a head is whole: where it ends, and how much was read.
    fn read_head(&mut self) -> anyhow::Result<(usize, usize)> {
        let mut filled = 0;
        loop {
            let size = self.stream.read(&mut self.head[filled..])?;
            anyhow::ensure!(size > 0, "the connection was closed, or a head is too large");
            filled += size;
            let end = self.head[..filled].windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(end) = end {
                return Ok((end + 4, filled));
            }
        }
    }
}
