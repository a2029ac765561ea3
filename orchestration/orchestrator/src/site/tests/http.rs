//! A client that sees every byte.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// A connection that is kept alive.
pub(super) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The problem's kind, of an answer that is one.
    pub(super) fn problem(&self) -> api::Problem {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no problem: {self:?}"))
    }
}

impl Connection {
    pub(super) fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    pub(super) fn ask(
        &mut self,
        method: &str,
        host: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n");
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        self.send(&[head.as_bytes(), b"\r\n", body].concat());
        self.answer().expect("an answer")
    }

    pub(super) fn send(&mut self, bytes: &[u8]) {
        // The other side may have answered and closed already.
        let _ = self.stream.write_all(bytes);
    }

    /// The next answer; none if the connection was closed.
    pub(super) fn answer(&mut self) -> Option<Answer> {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if !self.read() {
                return None;
            }
        };
        let head = String::from_utf8(self.buffer.drain(..end).collect()).unwrap();
        let mut lines = head.lines();
        let status = lines.next()?.split(' ').nth(1)?.parse().unwrap();
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        if status == 100 {
            return self.answer();
        }
        let size = headers.iter().find(|(name, _)| name == "content-length");
        let size = size.map_or(0, |(_, value)| value.parse::<usize>().unwrap());
        while self.buffer.len() < size {
            assert!(self.read(), "the connection broke off within an answer");
        }
        let body = String::from_utf8(self.buffer.drain(..size).collect()).unwrap();
        Some(Answer { status, headers, body })
    }

    /// Whether the other side closed it.
    pub(super) fn is_closed(&mut self) -> bool {
        !self.read()
    }

    fn read(&mut self) -> bool {
        let mut piece = [0; 4096];
        match self.stream.read(&mut piece) {
            // A worker of this process ended.
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => self.read(),
            Ok(0) | Err(_) => false,
            Ok(read) => {
                self.buffer.extend_from_slice(&piece[..read]);
                true
            }
        }
    }
}
