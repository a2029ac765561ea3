//! `poll_oneoff`.

use super::{
    Errno, Outcome, Rights, Wait, Wasi,
    memory::Guest,
    process::ClockId,
    table::{Entry, Kind},
};
use serde::{Deserialize, Serialize};

/// A call that waits: its relative timeouts count from when it was first tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pending {
    subscriptions: u32,
    events: u32,
    count: u32,
    pub(crate) started_ns: u64,
}

const SUBSCRIPTION_BYTES: u32 = 48;
const EVENT_BYTES: u32 = 32;

/// Bytes that an output is said to take at once; it waits for more room by itself.
const WRITABLE_BYTES: u64 = 4096;

/// What one subscription waits for.
enum Interest {
    Clock { clock: ClockId, timeout_ns: u64, absolute: bool },
    Read(u32),
    Write(u32),
}

struct Subscription {
    userdata: u64,
    kind: u8,
    interest: Result<Interest, Errno>,
}

/// Where one subscription stands.
enum State {
    Ready { bytes: u64, hangup: bool },
    Failed(Errno),
    Input,
    Until(u64),
}

impl Wasi {
    /// `poll_oneoff`.
    pub fn poll_oneoff(
        &mut self,
        memory: &mut [u8],
        subscriptions: u32,
        events: u32,
        count: u32,
        result: u32,
    ) -> Outcome {
        let mut memory = Guest(memory);
        let call = Pending { subscriptions, events, count, started_ns: 0 };
        match self.poll(&mut memory, call, result) {
            Ok(Some(wait)) => Outcome::Wait(wait),
            Ok(None) => {
                self.poll = None;
                Outcome::Return(Errno::Success)
            }
            Err(error) => {
                self.poll = None;
                Outcome::Return(error)
            }
        }
    }

    fn poll(
        &mut self,
        memory: &mut Guest<'_>,
        call: Pending,
        result: u32,
    ) -> Result<Option<Wait>, Errno> {
        if call.count == 0 || call.count > self.limits.poll_subscriptions {
            return Err(Errno::Inval);
        }
        memory.range(call.subscriptions, call.count * SUBSCRIPTION_BYTES)?;
        memory.range(call.events, call.count * EVENT_BYTES)?;
        memory.range(result, 4)?;
        let started_ns = self.poll_started(call);
        // Read before events are written: the two lists may overlap.
        let subscriptions = read_subscriptions(memory, &call)?;
        let mut written = 0;
        let mut wait = None;
        for subscription in &subscriptions {
            let (error, bytes, hangup) = match self.state(&subscription.interest, started_ns) {
                State::Ready { bytes, hangup } => (Errno::Success, bytes, hangup),
                State::Failed(error) => (error, 0, false),
                State::Input => {
                    wait = Some(both(wait, Wait::Input));
                    continue;
                }
                State::Until(moment) => {
                    wait = Some(both(wait, Wait::Until(moment)));
                    continue;
                }
            };
            let event = event(subscription, error, bytes, hangup);
            memory.write(call.events + written * EVENT_BYTES, &event)?;
            written += 1;
        }
        if written > 0 {
            memory.put_u32(result, written)?;
            return Ok(None);
        }
        self.poll = Some(Pending { started_ns, ..call });
        Ok(wait)
    }

    /// When this call was tried first.
    fn poll_started(&mut self, call: Pending) -> u64 {
        match self.poll {
            Some(pending) if (Pending { started_ns: 0, ..pending }) == call => pending.started_ns,
            _ => self.now(ClockId::Monotonic),
        }
    }

    fn state(&mut self, interest: &Result<Interest, Errno>, started_ns: u64) -> State {
        match *interest {
            Err(error) => State::Failed(error),
            Ok(Interest::Clock { clock, timeout_ns, absolute }) => {
                self.clock_state(clock, timeout_ns, absolute, started_ns)
            }
            Ok(Interest::Read(fd)) => self.read_state(fd).unwrap_or_else(State::Failed),
            Ok(Interest::Write(fd)) => self.write_state(fd).unwrap_or_else(State::Failed),
        }
    }

    fn clock_state(
        &mut self,
        clock: ClockId,
        timeout_ns: u64,
        absolute: bool,
        started_ns: u64,
    ) -> State {
        let now_ns = self.now(ClockId::Monotonic);
        let due_ns = if absolute {
            let left_ns = timeout_ns.saturating_sub(self.now(clock));
            now_ns.saturating_add(left_ns)
        } else {
            started_ns.saturating_add(timeout_ns)
        };
        if due_ns <= now_ns {
            State::Ready { bytes: 0, hangup: false }
        } else {
            State::Until(due_ns)
        }
    }

    fn read_state(&mut self, fd: u32) -> Result<State, Errno> {
        let entry = self.table.get(fd)?;
        match &entry.kind {
            Kind::Input => {
                need(entry, Rights::FD_READ)?;
                Ok(match self.streams.stdin.ready() {
                    None => State::Input,
                    Some(bytes) => State::Ready { bytes: bytes as u64, hangup: bytes == 0 },
                })
            }
            Kind::File(file) if file.readable => {
                need(entry, Rights::FD_READ)?;
                let size = file.node.stat()?.size;
                Ok(State::Ready { bytes: size.saturating_sub(file.offset), hangup: false })
            }
            _ => Err(Errno::Badf),
        }
    }

    fn write_state(&mut self, fd: u32) -> Result<State, Errno> {
        let entry = self.table.get(fd)?;
        match &entry.kind {
            Kind::File(file) if !file.writable => return Err(Errno::Badf),
            Kind::Stdout | Kind::Stderr | Kind::File(_) => need(entry, Rights::FD_WRITE)?,
            Kind::Input | Kind::Directory(_) => return Err(Errno::Badf),
        }
        Ok(State::Ready { bytes: WRITABLE_BYTES, hangup: false })
    }
}

fn need(entry: &Entry, right: Rights) -> Result<(), Errno> {
    entry.need(right | Rights::POLL_FD_READWRITE)
}

/// What a cell waits for that waits for either.
fn both(one: Option<Wait>, other: Wait) -> Wait {
    match (one, other) {
        (None, wait) => wait,
        (Some(Wait::Input), Wait::Input) => Wait::Input,
        (Some(Wait::Until(first)), Wait::Until(second)) => Wait::Until(first.min(second)),
        (Some(Wait::InputOrUntil(first)), Wait::Until(second)) => {
            Wait::InputOrUntil(first.min(second))
        }
        (Some(Wait::Until(moment) | Wait::InputOrUntil(moment)), _)
        | (Some(Wait::Input), Wait::Until(moment) | Wait::InputOrUntil(moment)) => {
            Wait::InputOrUntil(moment)
        }
    }
}

fn read_subscriptions(memory: &Guest<'_>, call: &Pending) -> Result<Vec<Subscription>, Errno> {
    let read = |index| read_subscription(memory, call.subscriptions + index * SUBSCRIPTION_BYTES);
    (0..call.count).map(read).collect()
}

fn read_subscription(memory: &Guest<'_>, at: u32) -> Result<Subscription, Errno> {
    const ABSOLUTE: u16 = 1;
    let kind = memory.slice(at + 8, 1)?[0];
    let interest = match kind {
        0 => {
            let flags = memory.u16(at + 40)?;
            let timeout_ns = memory.u64(at + 24)?;
            let absolute = flags & ABSOLUTE != 0;
            let clock = ClockId::check(memory.u32(at + 16)?);
            let clock = if flags & !ABSOLUTE == 0 { clock } else { Err(Errno::Inval) };
            clock.map(|clock| Interest::Clock { clock, timeout_ns, absolute })
        }
        1 => Ok(Interest::Read(memory.u32(at + 16)?)),
        2 => Ok(Interest::Write(memory.u32(at + 16)?)),
        _ => return Err(Errno::Inval),
    };
    Ok(Subscription { userdata: memory.u64(at)?, kind, interest })
}

fn event(subscription: &Subscription, error: Errno, bytes: u64, hangup: bool) -> [u8; 32] {
    let mut event = [0; EVENT_BYTES as usize];
    event[0..8].copy_from_slice(&subscription.userdata.to_le_bytes());
    event[8..10].copy_from_slice(&error.raw().to_le_bytes());
    event[10] = subscription.kind;
    event[16..24].copy_from_slice(&bytes.to_le_bytes());
    event[24] = u8::from(hangup);
    event
}
