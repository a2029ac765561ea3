//! A cell that answers requests, one after another.
//!
//! A [`Service`] owns a cell, its standard streams, the table of recent answers and the journal.
//! Whoever holds the *turn* may touch the cell: a thread that works off requests, or one that
//! checkpoints, hands over or puts to sleep. Requests that come meanwhile queue up.

mod answers;
mod checkpoint;
mod copy;
mod handover;
mod io;
pub(crate) mod journal;
mod kept;
mod losses;
pub(crate) mod room;
mod state;
mod tape;

pub(crate) use handover::Arrival;
pub(crate) use io::LogRing;
pub use kept::{answered, journals_kept, keep_journals};
pub(crate) use state::{check_image, empty_image};

use crate::{
    cell::{Cell, Pause},
    error::{Error, Result},
    neural::Given,
    program::Program,
    record::RecordError,
    wasi::{self, Wasi},
    worker::{
        protocol::{Checkpointed, Failure, ServiceStart, ServiceState, ServiceStatus},
        ticker,
    },
};
use answers::Answers;
use api::service::{Durability, Lost};
use bytes::Bytes;
use io::Streams;
use journal::Journal;
use std::{
    collections::VecDeque,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};
use tape::Tape;
use types::ErrorKind;

/// Native stack of a thread that runs service cells.
pub(crate) const THREAD_STACK_BYTES: usize = 4 << 20;
/// Most bytes of a service's standard error that are kept.
const LOG_BYTES: usize = 1 << 20;

/// A service as a worker holds it.
pub(crate) struct Service {
    /// Names it in requests.
    pub(crate) handle: u32,
    pub(crate) start: ServiceStart,
    pub(crate) log: LogRing,
    program: Arc<Program>,
    queue: Mutex<Queue>,
    /// Signalled when the turn is free.
    turn: Condvar,
    slot: Mutex<Slot>,
    /// Held by whoever reads the cell's memory while it runs: it must stay where it is.
    copying: Mutex<()>,
    answered: AtomicU64,
    /// The worker's tick of the last request, for choosing who sleeps.
    last_used: AtomicU64,
    resident: AtomicBool,
    last_checkpoint: Mutex<Option<Checkpointed>>,
    migration: Mutex<Option<String>>,
    lost: Mutex<Vec<Lost>>,
    memory_bytes: AtomicU64,
    /// Processor time that requests took.
    cpu_ns: AtomicU64,
    /// Itself, once it is of many.
    shared: OnceLock<Weak<Self>>,
}

struct Queue {
    jobs: VecDeque<Job>,
    /// Somebody has the turn.
    busy: bool,
    /// How many wait for the turn to do something else than requests.
    waiting: u32,
    mode: Mode,
}

/// What is done with requests.
#[derive(Debug, Clone, PartialEq)]
enum Mode {
    Serving,
    Prepared,
    HandedOver,
    Fenced,
    Failed(String),
    Stopped,
}

/// A request that waits for its answer.
pub(crate) struct Job {
    /// The request's id.
    pub(crate) id: String,
    /// The request's frame.
    pub(crate) record: Bytes,
    /// Takes the answer's frame.
    pub(crate) reply: Reply,
}

/// Takes a request's outcome, once.
pub(crate) type Reply = Box<dyn FnOnce(Result<Bytes, Failure>) + Send>;

/// What only the holder of the turn touches.
struct Slot {
    body: Body,
    granted: Granted,
    streams: Streams,
    tape: Option<Tape>,
    answers: Answers,
    journal: Option<Journal>,
    /// Of the last checkpoint.
    sequence: u64,
    /// Requests answered when the last checkpoint was taken.
    checkpointed_at: u64,
}

/// What the guest may use beside its streams.
struct Granted {
    /// Objects that it sees as files.
    objects: Vec<wasi::Grant>,
    models: Vec<Given>,
}

/// Where the cell is.
enum Body {
    Resident(Box<Cell>),
    /// Put to sleep: memory and globals, compressed, and its view of the system.
    Asleep(Vec<u8>, Box<Wasi>),
    /// It failed or has left.
    Gone,
}

/// The right to touch the cell; given back on drop.
pub(crate) struct Turn<'a> {
    service: &'a Service,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut queue = self.service.queue();
        queue.busy = false;
        // To wake nobody is a system call too.
        if queue.waiting > 0 {
            self.service.turn.notify_all();
        }
    }
}

impl Service {
    fn new(
        handle: u32,
        start: ServiceStart,
        program: Arc<Program>,
        slot: Slot,
        log: LogRing,
    ) -> Self {
        Self {
            handle,
            start,
            log,
            program,
            queue: Mutex::new(Queue {
                jobs: VecDeque::new(),
                busy: false,
                waiting: 0,
                mode: Mode::Prepared,
            }),
            turn: Condvar::new(),
            slot: Mutex::new(slot),
            copying: Mutex::new(()),
            answered: AtomicU64::new(0),
            last_used: AtomicU64::new(0),
            resident: AtomicBool::new(true),
            last_checkpoint: Mutex::new(None),
            migration: Mutex::new(None),
            lost: Mutex::default(),
            memory_bytes: AtomicU64::new(0),
            cpu_ns: AtomicU64::new(0),
            shared: OnceLock::new(),
        }
    }

    /// Of many: from now on requests that wait can be handed to a thread of their own.
    pub(crate) fn into_shared(self) -> Arc<Self> {
        let service = Arc::new(self);
        let _ = service.shared.set(Arc::downgrade(&service));
        service
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Only for the holder of the turn.
    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the turn. Requests that come meanwhile wait; [`Service::go_on`] must be called
    /// afterwards for them.
    pub(crate) fn take_turn(&self) -> Turn<'_> {
        let mut queue = self.queue();
        queue.waiting += 1;
        while queue.busy {
            queue = self.turn.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue.waiting -= 1;
        queue.busy = true;
        Turn { service: self }
    }

    /// The turn, if it is free at once.
    fn try_turn(&self) -> Option<Turn<'_>> {
        let mut queue = self.queue();
        if queue.busy {
            return None;
        }
        queue.busy = true;
        Some(Turn { service: self })
    }

    /// Queues a request; works it off in this thread unless another one is at it.
    pub(crate) fn submit(&self, job: Job) {
        let refusal = {
            let mut queue = self.queue();
            match queue.mode.refusal() {
                Some(failure) => Some((job, failure)),
                None if queue.jobs.len() >= self.start.limits.queued_requests as usize => {
                    let text = format!(
                        "`{}` has {} requests waiting: its limit is reached",
                        self.start.name,
                        queue.jobs.len()
                    );
                    Some((job, Failure::new(ErrorKind::Exhausted, text)))
                }
                None => {
                    queue.jobs.push_back(job);
                    None
                }
            }
        };
        match refusal {
            Some((job, failure)) => (job.reply)(Err(failure)),
            None => self.work(),
        }
    }

    /// Works off waiting requests until there are none, somebody else does it, or somebody waits
    /// for the turn, who then calls this.
    pub(crate) fn work(&self) {
        loop {
            let job = {
                let mut queue = self.queue();
                if queue.busy || queue.waiting > 0 || queue.jobs.is_empty() {
                    return;
                }
                queue.busy = true;
                queue.jobs.pop_front()
            };
            let turn = Turn { service: self };
            let Some(job) = job else { return };
            let outcome = self.answer(&job);
            drop(turn);
            (job.reply)(outcome);
        }
    }

    /// Sees that waiting requests are worked off, for who held the turn and has other things to do:
    /// where requests come faster than they are answered, working them off has no end.
    pub(crate) fn go_on(&self) {
        let waits = {
            let queue = self.queue();
            !queue.busy && queue.waiting == 0 && !queue.jobs.is_empty()
        };
        if !waits {
            return;
        }
        let Some(service) = self.shared.get().and_then(Weak::upgrade) else {
            return self.work();
        };
        let started = std::thread::Builder::new()
            .name("cells".into())
            .stack_size(THREAD_STACK_BYTES)
            .spawn(move || service.work());
        if let Err(error) = started {
            tracing::warn!(%error, "cannot start a thread: requests are worked off in this one");
            self.work();
        }
    }

    fn answer(&self, job: &Job) -> Result<Bytes, Failure> {
        if let Some(failure) = self.queue().mode.refusal() {
            return Err(failure);
        }
        self.last_used.store(ticker::now(), Ordering::Relaxed);
        let mut slot = self.slot();
        if let Some(answer) = slot.answers.get(&job.id) {
            return Ok(answer.clone());
        }
        let outcome = self.answer_anew(&mut slot, job);
        drop(slot);
        outcome.map_err(|error| self.fail(&error))
    }

    fn answer_anew(&self, slot: &mut Slot, job: &Job) -> Result<Bytes> {
        let begun = processor_time();
        let answer = self.ask(slot, &job.record);
        self.cpu_ns.fetch_add(processor_time().saturating_sub(begun), Ordering::Relaxed);
        let answer = answer?;
        self.log_answer(slot, job, &answer)?;
        slot.answers.insert(&job.id, answer.clone());
        self.answered.fetch_add(1, Ordering::Relaxed);
        Ok(answer)
    }

    /// Before the answer leaves, so that nothing answered is lost (journal) or lost unnamed
    /// (checkpoint).
    fn log_answer(&self, slot: &mut Slot, job: &Job, answer: &Bytes) -> Result<()> {
        let taken = slot.tape.as_ref().map(Tape::take);
        let Some(journal) = &mut slot.journal else { return Ok(()) };
        let replay = taken.map(|taken| journal::Replay {
            record: job.record.to_vec(),
            taken,
            answer: *blake3::hash(answer).as_bytes(),
        });
        journal.append(&journal::Entry { id: job.id.clone(), replay })
    }

    /// Lets the guest answer one request.
    fn ask(&self, slot: &mut Slot, record: &Bytes) -> Result<Bytes> {
        self.wake(slot)?;
        let streams = slot.streams.clone();
        let Body::Resident(cell) = &mut slot.body else {
            return Err(Error::Ended { code: 0 });
        };
        streams.feed(record);
        let timeout = self.start.request_timeout;
        let deadline = Instant::now() + timeout;
        let late = |frames| Error::Deadline { limit_ms: timeout.as_millis() as u64, frames };
        loop {
            cell.set_deadline(deadline);
            let running = ticker::running();
            let pause = cell.resume();
            drop(running);
            let wait = match pause {
                Ok(Pause::Waiting(wait)) => wait,
                Ok(Pause::Asked) => continue,
                Ok(Pause::Exited(code)) => return Err(Error::Ended { code: code as i32 }),
                Err(Error::Deadline { frames, .. }) => return Err(late(frames)),
                Err(error) => return Err(error),
            };
            if let Some(answer) = streams.take_answer()? {
                self.memory_bytes.store(cell.memory_bytes(), Ordering::Relaxed);
                return Ok(answer);
            }
            let pause = cell.wasi().until(wait).ok_or(RecordError::Malformed(
                "the guest asked for the next request before it had answered this one",
            ))?;
            if Instant::now() + pause > deadline {
                return Err(late(Vec::new()));
            }
            std::thread::sleep(pause);
        }
    }

    /// The service cannot go on; says why, also to those who wait.
    fn fail(&self, error: &Error) -> Failure {
        let failure = Failure::new(error.kind(), types::chain(error));
        tracing::warn!(service = self.start.name, error = %failure, "a service failed");
        let jobs = {
            let mut queue = self.queue();
            queue.mode = Mode::Failed(failure.message.clone());
            std::mem::take(&mut queue.jobs)
        };
        refuse(
            jobs,
            &Failure::new(ErrorKind::Unavailable, format!("the service failed: {failure}")),
        );
        failure
    }

    /// Changes what is done with requests; those that wait are refused unless they can be served.
    fn set_mode(&self, mode: Mode) {
        let jobs = {
            let mut queue = self.queue();
            queue.mode = mode;
            match queue.mode.refusal() {
                Some(failure) => Some((std::mem::take(&mut queue.jobs), failure)),
                None => None,
            }
        };
        if let Some((jobs, failure)) = jobs {
            refuse(jobs, &failure);
        }
    }

    /// Refuses (`true`) or again takes (`false`) requests.
    pub(crate) fn fence(&self, fenced: bool) {
        let wanted = {
            let queue = self.queue();
            match (&queue.mode, fenced) {
                (Mode::Serving, true) => Mode::Fenced,
                (Mode::Fenced, false) => Mode::Serving,
                _ => return,
            }
        };
        // A request in hand may still be answered before this; none is afterwards.
        let turn = self.take_turn();
        self.set_mode(wanted);
        drop(turn);
        self.go_on();
    }

    /// Whether it can be replaced by a new start.
    pub(crate) fn has_failed(&self) -> bool {
        matches!(self.queue().mode, Mode::Failed(_) | Mode::Stopped)
    }

    /// Serves from now on.
    pub(crate) fn serve(&self) {
        self.set_mode(Mode::Serving);
        self.go_on();
    }

    /// Ends the service after the request in hand.
    pub(crate) fn stop(&self) {
        // Whoever copies its memory ends first.
        let copying = self.copying.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = self.take_turn();
        self.set_mode(Mode::Stopped);
        let mut slot = self.slot();
        slot.body = Body::Gone;
        slot.journal = None;
        drop((slot, turn, copying));
    }

    /// What the worker says of it.
    pub(crate) fn status(&self) -> ServiceStatus {
        let (state, message) = match &self.queue().mode {
            Mode::Serving => (ServiceState::Serving, String::new()),
            Mode::Prepared => (ServiceState::Prepared, String::new()),
            Mode::HandedOver => (ServiceState::HandedOver, String::new()),
            Mode::Fenced => (ServiceState::Fenced, String::new()),
            Mode::Failed(message) => (ServiceState::Failed, message.clone()),
            Mode::Stopped => (ServiceState::Failed, "it is being stopped".into()),
        };
        let read = |mutex: &Mutex<Option<Checkpointed>>| {
            mutex.lock().unwrap_or_else(PoisonError::into_inner).clone()
        };
        ServiceStatus {
            uid: self.start.uid.clone(),
            handle: self.handle,
            epoch: self.start.epoch,
            incarnation: self.start.incarnation,
            state,
            message,
            requests_answered: self.answered.load(Ordering::Relaxed),
            last_checkpoint: read(&self.last_checkpoint),
            memory_bytes: self.memory_bytes.load(Ordering::Relaxed),
            cpu_us: self.cpu_ns.load(Ordering::Relaxed) / 1000,
            migration: self.migration().clone(),
            lost: self.lost().clone(),
        }
    }

    pub(crate) fn migration(&self) -> MutexGuard<'_, Option<String>> {
        self.migration.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lost(&self) -> MutexGuard<'_, Vec<Lost>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn durable(&self) -> bool {
        self.start.durability == Durability::Journal
    }

    /// Tick of the last request, if the cell is in memory.
    pub(crate) fn idle_since(&self) -> Option<u64> {
        self.resident.load(Ordering::Relaxed).then(|| self.last_used.load(Ordering::Relaxed))
    }
}

impl Mode {
    /// Why a request is not taken.
    fn refusal(&self) -> Option<Failure> {
        let (kind, text) = match self {
            Self::Serving => return None,
            Self::Prepared => (ErrorKind::Unavailable, "the service is not active here yet"),
            Self::HandedOver => (ErrorKind::Unavailable, "the service is being moved"),
            Self::Fenced => (ErrorKind::Fenced, "the site's lease on the service has run out"),
            Self::Failed(reason) => {
                return Some(Failure::new(
                    ErrorKind::Unavailable,
                    format!("the service failed: {reason}"),
                ));
            }
            Self::Stopped => (ErrorKind::Unavailable, "the service was stopped"),
        };
        Some(Failure::new(kind, text))
    }
}

/// Nanoseconds of processor time that this thread has used.
fn processor_time() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

fn refuse(jobs: VecDeque<Job>, failure: &Failure) {
    for job in jobs {
        (job.reply)(Err(failure.clone()));
    }
}
