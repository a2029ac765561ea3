//! Asks the name server for the service's address every 10 ms, on a thread of its own.

use crate::{Error, Result, run::unix_ms};
use hickory_proto::{
    op::{Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name, RData, RecordType},
};
use serde::Serialize;
use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Between two questions.
const EVERY: Duration = Duration::from_millis(10);

/// An answer that takes longer counts as none.
const PATIENCE: Duration = Duration::from_millis(500);

/// One question and what came of it; times are milliseconds since 1970.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// When it was asked.
    pub asked_ms: f64,
    /// When it was answered or given up.
    pub answered_ms: f64,
    /// What was said.
    pub outcome: Outcome,
}

/// What the name server said.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum Outcome {
    /// The first address, and for how many seconds it may be kept.
    Address(IpAddr, u32),
    /// That the name has no address.
    Empty,
    /// Something else, or nothing.
    Failed(String),
}

/// A running probe; it ends when this is dropped.
pub(crate) struct Probe {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<Seen>>>,
}

impl Probe {
    /// Asks `server` for `name` from now on.
    pub(crate) fn start(server: SocketAddr, name: &str) -> Result<Self> {
        let mut name = Name::from_str(name).map_err(|_| Error::Foreign("service's name"))?;
        name.set_fqdn(true);
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(Error::Probe)?;
        socket.connect(server).map_err(Error::Probe)?;
        socket.set_read_timeout(Some(PATIENCE)).map_err(Error::Probe)?;
        let stop = Arc::new(AtomicBool::new(false));
        let asked_to_stop = stop.clone();
        let thread = thread::Builder::new()
            .name("dns-probe".to_owned())
            .spawn(move || watch(&socket, &name, &asked_to_stop))
            .map_err(Error::Probe)?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Ends it; returns everything that it saw.
    pub(crate) fn finish(mut self) -> Result<Vec<Seen>> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().ok_or(Error::Task)?;
        thread.join().map_err(|_| Error::Task)
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn watch(socket: &UdpSocket, name: &Name, stop: &AtomicBool) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut due = Instant::now();
    let mut id = 0_u16;
    while !stop.load(Ordering::Relaxed) {
        let asked_ms = unix_ms();
        id = id.wrapping_add(1);
        let outcome = ask(socket, name, id).unwrap_or_else(|error| match error.kind() {
            io::ErrorKind::WouldBlock => Outcome::Failed("no answer within 500 ms".to_owned()),
            _ => Outcome::Failed(error.to_string()),
        });
        seen.push(Seen { asked_ms, answered_ms: unix_ms(), outcome });
        // Questions that are late are not made up for: the pause is told instead.
        due = (due + EVERY).max(Instant::now());
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    seen
}

fn ask(socket: &UdpSocket, name: &Name, id: u16) -> io::Result<Outcome> {
    let mut question = Message::new(id, MessageType::Query, OpCode::Query);
    question.add_query(Query::query(name.clone(), RecordType::A));
    socket.send(&question.to_vec().map_err(io::Error::other)?)?;
    let mut buffer = [0; 1500];
    loop {
        let length = socket.recv(&mut buffer)?;
        let answer = Message::from_vec(&buffer[..length]).map_err(io::Error::other)?;
        // An earlier question's answer may come late.
        if answer.id == id && answer.message_type == MessageType::Response {
            return Ok(outcome(&answer));
        }
    }
}

fn outcome(answer: &Message) -> Outcome {
    if answer.response_code != ResponseCode::NoError {
        return Outcome::Failed(answer.response_code.to_string());
    }
    let address = |data: &RData| match data {
        RData::A(ip) => Some(IpAddr::V4(ip.0)),
        _ => None,
    };
    let found = answer.answers.iter().find_map(|record| Some((address(&record.data)?, record.ttl)));
    found.map_or(Outcome::Empty, |(address, ttl)| Outcome::Address(address, ttl))
}
