//! A connection to another site's node, as those use it who ask: many at once, each answered under a number.
//!
//! Whoever asks reads the answers: there is no thread in between. One of those who wait has the *turn*; it reads a header,
//! and if the frame is another one's, hands the turn to that one, which reads the bytes to where it wants them.

use super::{
    frame::{GREETING_BYTES, HEADER_BYTES, Header, Kind, Sum, check_greeting, greeting, malformed},
    message::{Answer, Request, decode, encode},
    own::Own,
    stream::{Patience, Reader, Stop, Writer},
};
use crate::{Error, Result};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::IoSlice,
    net::SocketAddr,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

/// Most requests of one connection that wait at once; whoever has more waits.
pub(super) const WAITING_MAX: usize = 64;

/// A connection on which requests are asked.
#[derive(Debug)]
pub(super) struct Lane {
    writer: Mutex<Writer>,
    state: Mutex<State>,
    /// Told when a request is done, to those who wait for a place.
    room: Condvar,
    stop: Stop,
    /// How many use it or are about to.
    pub(super) users: AtomicUsize,
}

#[derive(Debug)]
struct State {
    turn: Option<Turn>,
    broken: Option<String>,
    waiting: BTreeMap<u64, Arc<Condvar>>,
    /// Those of them that sleep: who is about to sleep takes the turn by itself.
    asleep: BTreeSet<u64>,
    last: u64,
}

impl State {
    /// Wakes one who may take the turn.
    fn wake_any(&self) {
        if let Some(bell) = self.asleep.first().and_then(|id| self.waiting.get(id)) {
            bell.notify_one();
        }
    }
}

/// The right to read.
#[derive(Debug)]
struct Turn {
    reader: Reader,
    /// A header that was read, whose bytes are next.
    next: Option<Header>,
}

impl Lane {
    pub(super) fn new((reader, writer, stop): (Reader, Writer, Stop)) -> Self {
        let turn = Some(Turn { reader, next: None });
        let state = State {
            turn,
            broken: None,
            waiting: BTreeMap::new(),
            asleep: BTreeSet::new(),
            last: 0,
        };
        Self {
            writer: Mutex::new(writer),
            state: Mutex::new(state),
            room: Condvar::new(),
            stop,
            users: AtomicUsize::new(0),
        }
    }

    /// Begins: both sides say what they speak, and who they are.
    pub(super) fn greet(&self, own: &Own, at: SocketAddr) -> Result<String> {
        let sent = self.writer().send(&mut [IoSlice::new(&greeting())]);
        sent.map_err(|error| self.went(error.to_string()))?;
        {
            let mut state = self.state();
            let Some(turn) = &mut state.turn else { return Err(malformed("no turn to begin")) };
            let mut found = [0; GREETING_BYTES];
            match turn.reader.fill(&mut found, Patience::Stall) {
                Ok(true) => check_greeting(&found)?,
                Ok(false) => return Err(went("it does not take this site's connections")),
                Err(error) => return Err(went(&error.to_string())),
            }
        }
        own.introduce(at, |request| self.ask(request)?.finish()).map(|(site, _)| site)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it can be used no more.
    pub(super) fn is_broken(&self) -> bool {
        self.state().broken.is_some() || (self.is_idle() && self.stop.has_ended())
    }

    pub(super) fn is_idle(&self) -> bool {
        self.users.load(Relaxed) == 0
    }

    /// Ends it: all who wait are told why.
    pub(super) fn end(&self, why: &str) {
        self.stop.stop();
        let mut state = self.state();
        state.broken.get_or_insert_with(|| why.to_owned());
        state.waiting.values().for_each(|bell| bell.notify_all());
        self.room.notify_all();
    }

    fn went(&self, why: String) -> Error {
        self.end(&why);
        went(&why)
    }

    /// Asks something, and waits for the answer.
    pub(super) fn ask(&self, request: &Request) -> Result<Asked<'_>> {
        let payload = encode(request)?;
        let id = self.begin()?;
        let mut call = Call { lane: self, id, turn: None, done: false };
        let header = Header::of(Kind::Request, id, true, &payload).inspect_err(|_| {
            // Nothing was sent.
            call.done = true;
        })?;
        let header = header.to_bytes();
        let sent = self.writer().send(&mut [IoSlice::new(&header), IoSlice::new(&payload)]);
        sent.map_err(|error| self.went(error.to_string()))?;
        let header = call.header()?;
        if header.kind != Kind::Answer {
            return Err(malformed("an answer does not begin with a message"));
        }
        let mut payload = Vec::new();
        call.message(&header, &mut payload)?;
        let answer = decode(&payload)?;
        call.done = header.last;
        Ok(Asked { answer, call })
    }

    fn begin(&self) -> Result<u64> {
        let mut state = self.state();
        while state.waiting.len() >= WAITING_MAX && state.broken.is_none() {
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if let Some(why) = &state.broken {
            return Err(went(why));
        }
        state.last += 1;
        let id = state.last;
        state.waiting.insert(id, Arc::new(Condvar::new()));
        Ok(id)
    }

    /// Waits until the next frame is this one's; gives the turn with its header.
    fn turn_of(&self, id: u64) -> Result<Turn> {
        let mut state = self.state();
        loop {
            if let Some(why) = &state.broken {
                return Err(went(why));
            }
            let bell = state.waiting.get(&id).cloned().ok_or_else(unexpected)?;
            let Some(mut turn) = state.turn.take() else {
                state = sleep(state, id, &bell);
                continue;
            };
            if turn.next.is_none() {
                drop(state);
                match read_header(&mut turn.reader) {
                    Ok(header) => turn.next = Some(header),
                    Err(error) => return Err(self.went(error.to_string())),
                }
                state = self.state();
            }
            match turn.next.map(|header| header.id) {
                Some(next) if next == id => return Ok(turn),
                Some(next) => match state.waiting.get(&next) {
                    Some(other) => other.notify_one(),
                    None => {
                        drop(state);
                        return Err(self.went("it answered what nobody asked".to_owned()));
                    }
                },
                None => {}
            }
            state.turn = Some(turn);
            state = sleep(state, id, &bell);
        }
    }

    /// Nothing more of an answer is to come.
    fn finish(&self, id: u64, turn: Option<Turn>) {
        let mut state = self.state();
        state.waiting.remove(&id);
        if let Some(turn) = turn {
            state.turn = Some(turn);
        }
        // Somebody has to read on.
        if state.turn.is_some() {
            state.wake_any();
        }
        self.room.notify_one();
    }
}

fn sleep<'a>(mut state: MutexGuard<'a, State>, id: u64, bell: &Condvar) -> MutexGuard<'a, State> {
    state.asleep.insert(id);
    state = bell.wait(state).unwrap_or_else(PoisonError::into_inner);
    state.asleep.remove(&id);
    state
}

fn read_header(reader: &mut Reader) -> Result<Header> {
    let mut bytes = [0; HEADER_BYTES];
    match reader.fill(&mut bytes, Patience::Stall) {
        Ok(true) => {}
        Ok(false) => return Err(went("it ended the connection")),
        Err(error) => return Err(went(&error.to_string())),
    }
    let header = Header::parse(&bytes)?;
    match header.kind {
        Kind::Answer | Kind::Data => Ok(header),
        Kind::Request | Kind::Notice => Err(malformed("a frame that is no answer")),
    }
}

fn went(why: &str) -> Error {
    Error::Unavailable(format!("another site's node is not there ({why})"))
}

pub(super) fn unexpected() -> Error {
    malformed("it answered something else than it was asked")
}

/// A request that is under way. Given up before its answer is whole, it ends the connection: what is
/// left of the answer would have to be read by somebody.
#[derive(Debug)]
struct Call<'a> {
    lane: &'a Lane,
    id: u64,
    turn: Option<Turn>,
    done: bool,
}

impl Call<'_> {
    /// The next frame's header.
    fn header(&mut self) -> Result<Header> {
        let mut turn = match self.turn.take() {
            Some(turn) => turn,
            None => self.lane.turn_of(self.id)?,
        };
        let header = match turn.next.take() {
            Some(header) => header,
            None => {
                read_header(&mut turn.reader).map_err(|error| self.lane.went(error.to_string()))?
            }
        };
        if header.id == self.id {
            self.turn = Some(turn);
            return Ok(header);
        }
        // Another one's: it comes in between.
        turn.next = Some(header);
        self.lane.hand_on(turn);
        self.header_again()
    }

    fn header_again(&mut self) -> Result<Header> {
        let mut turn = self.lane.turn_of(self.id)?;
        let header = turn.next.take().ok_or_else(unexpected)?;
        self.turn = Some(turn);
        Ok(header)
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<()> {
        self.fill_and(buffer, |_| ())
    }

    fn fill_and(&mut self, buffer: &mut [u8], came: impl FnMut(&[u8])) -> Result<()> {
        let Some(turn) = &mut self.turn else { return Err(unexpected()) };
        match turn.reader.fill_and(buffer, Patience::Stall, came) {
            Ok(true) => Ok(()),
            Ok(false) if buffer.is_empty() => Ok(()),
            Ok(false) => Err(self.lane.went("it ended the connection".to_owned())),
            Err(error) => Err(self.lane.went(error.to_string())),
        }
    }

    /// Reads a message as its bytes come, for the length is only what the other side says.
    fn message(&mut self, header: &Header, payload: &mut Vec<u8>) -> Result<()> {
        const STEP: usize = 64 << 10;
        let len = header.len as usize;
        while payload.len() < len {
            let begin = payload.len();
            payload.resize(len.min(begin + STEP), 0);
            self.fill(&mut payload[begin..])?;
        }
        header.check(payload)
    }
}

impl Lane {
    /// Puts the turn back, with a header that is another one's.
    fn hand_on(&self, turn: Turn) {
        let mut state = self.state();
        let next = turn.next.map(|header| header.id);
        state.turn = Some(turn);
        match next.and_then(|next| state.waiting.get(&next)) {
            Some(bell) => bell.notify_one(),
            None => state.wake_any(),
        }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.lane.end("an answer was not whole");
        }
        self.lane.finish(self.id, self.turn.take());
    }
}

/// An answer; its bytes follow if it says so.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub(super) answer: Answer,
    call: Call<'a>,
}

impl Asked<'_> {
    /// The answer, if no bytes follow.
    pub(super) fn finish(self) -> Result<Answer> {
        match self.answer {
            Answer::Refused(refusal) => Err(refusal.into()),
            _ if !self.call.done => Err(unexpected()),
            answer => Ok(answer),
        }
    }

    /// Checks that no bytes follow where none are said to.
    pub(super) fn finish_bytes(self) -> Result<()> {
        if self.call.done { Ok(()) } else { Err(unexpected()) }
    }

    /// Reads bytes that follow, to where they belong; gives how many, and their checksum. What does not match its checksum
    /// is an error, and the buffer then holds anything.
    pub(super) fn bytes(&mut self, buffer: &mut [u8]) -> Result<(usize, u32)> {
        let header = self.call.header()?;
        let len = header.len as usize;
        if header.kind != Kind::Data || len == 0 || len > buffer.len() {
            return Err(malformed("an answer has other bytes than it said"));
        }
        let mut sum = Sum::default();
        self.call.fill_and(&mut buffer[..len], |came| sum.add(came))?;
        header.check_sum(len, sum)?;
        if header.last != (len == buffer.len()) {
            return Err(malformed("an answer has more or fewer bytes than it said"));
        }
        self.call.done = header.last;
        Ok((len, header.crc))
    }
}
