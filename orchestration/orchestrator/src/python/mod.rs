//! The user's own functions, in Python and out of process.
//!
//! Start at [`Worker::new`], which starts nothing yet, and at [`Worker::call`]. A worker is a thread
//! that owns one process of CPython at a time. The process is confined ([`isolation::Confinement`]),
//! speaks frames over its standard input and output (`process`), and runs only while it is asked.
//! Whatever it does wrong ends it; it is started again, later with each failure in a row.
//! [`Models`] makes a policy's function one of its models.

mod interpreter;
mod model;
mod process;
pub mod sensor;
#[cfg(test)]
mod tests;

pub use interpreter::Interpreter;
pub use model::Models;

use api::policy::{Python, millis};
use process::{Process, Trouble};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{
    sync::{
        Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    time::{Duration, Instant},
};
use tokio::sync::oneshot;
use types::Bytes;

/// What the process runs, and what its functions are marked with: the files of the wheel.
const RUNNER: &str = include_str!("../../../../sdk/python/python/cloudskin/agents/_runner.py");
const AGENTS: &str = include_str!("../../../../sdk/python/python/cloudskin/agents/__init__.py");
/// Version of the frames; another one is refused by the process.
const PROTOCOL_VERSION: u32 = 1;

/// How long the interpreter may take until it has read the file, on a busy machine, too.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// A process that nobody asked for so long is ended.
const IDLE_MAX: Duration = Duration::from_secs(900);
/// A process that was asked for so long all in all is replaced: its processor time is limited.
const ASKED_MAX: Duration = Duration::from_secs(60);
/// Policies of all tenants that have functions at work at a time.
const WORKERS_MAX: usize = 64;
/// Questions that wait for a worker; it answers one at a time.
const WAITING_MAX: usize = 16;
/// Before a process that failed is started again; it doubles with each failure in a row.
const REST_MIN: Duration = Duration::from_secs(1);
const REST_MAX: Duration = Duration::from_secs(300);

/// Why a function gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no Python that can be used.
    #[error("{0}")]
    NoPython(String),
    /// The process cannot be confined, and is not started without that.
    #[error("the policy's Python cannot be confined, and is not run without: {0}")]
    Unconfined(String),
    /// The file, or the function, says that something is wrong.
    #[error("{0}")]
    Said(String),
    /// The process did what it may not: hung, ended, or answered what is no answer.
    #[error("the policy's Python {0}")]
    Failed(String),
    /// It failed, and is started again later.
    #[error("the policy's Python {why}; it is started again in {seconds} s")]
    Resting {
        /// What it did.
        why: String,
        /// Until it is started.
        seconds: u64,
    },
    /// Too much is asked of it.
    #[error("the policy's Python has {WAITING_MAX} questions to answer: ask less often")]
    Busy,
}

/// A function that the file marks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marked {
    /// `sensor`, `model` or `actuator`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Of a sensor: the sites that it looks at; all if empty.
    pub nodes: Vec<String>,
    /// Of a sensor: how often it is asked.
    pub every: Option<String>,
    /// Of a sensor: at what times it is asked.
    pub cron: Option<String>,
}

/// The process of one policy's functions.
#[derive(Debug)]
pub struct Worker {
    questions: SyncSender<Asked>,
    marked: Mutex<Option<Vec<Marked>>>,
}

/// A question, and who waits for the answer.
#[derive(Debug)]
struct Asked {
    /// Nothing for the functions that there are.
    question: Option<Value>,
    answer: oneshot::Sender<Result<Value, Error>>,
}

/// The room of one of the workers that there may be at a time, in bytes of memory.
#[derive(Debug)]
struct Place(u64);

/// How many places are taken, and their bytes together.
static TAKEN: Mutex<(usize, u64)> = Mutex::new((0, 0));

impl Place {
    /// One with so much memory, of half of the machine's.
    fn take(bytes: u64) -> std::io::Result<Self> {
        let info = rustix::system::sysinfo();
        Self::of(bytes, info.totalram.saturating_mul(u64::from(info.mem_unit)) / 2)
    }

    fn of(bytes: u64, bytes_max: u64) -> std::io::Result<Self> {
        let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.0 >= WORKERS_MAX {
            return Err(std::io::Error::other(format!(
                "{WORKERS_MAX} policies have functions at work already: remove some, or wait until they rest"
            )));
        }
        let sum = taken.1.saturating_add(bytes);
        // On a small machine there is room for one, whatever it may take.
        if taken.0 > 0 && sum > bytes_max {
            return Err(std::io::Error::other(format!(
                "the functions of policies have half of the machine's memory, {}, and {} of it are promised: lower `python.memory`",
                Bytes(bytes_max >> 20 << 20),
                Bytes(taken.1)
            )));
        }
        *taken = (taken.0 + 1, sum);
        Ok(Self(bytes))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        *taken = (taken.0 - 1, taken.1 - self.0);
    }
}

impl Worker {
    /// A worker for a policy's file; its process begins with the first question.
    ///
    /// # Errors
    /// If there are too many, memory is promised to others, or the system gives no thread.
    pub fn new(python: &Python) -> std::io::Result<Self> {
        let place = Place::take(python.memory.0)?;
        let (questions, asked) = sync_channel(WAITING_MAX);
        let life = Life {
            python: python.clone(),
            process: None,
            failures: 0,
            rests: None,
            asked_for: Duration::ZERO,
            number: 0,
        };
        // The process ends with the thread that starts it: it has one that stays.
        std::thread::Builder::new().name("python".into()).spawn(move || {
            let _place = place;
            life.run(&asked);
        })?;
        Ok(Self { questions, marked: Mutex::default() })
    }

    /// Asks a function; blocks until it has answered or failed.
    ///
    /// # Errors
    /// What the function, or its process, did wrong.
    pub fn call(&self, question: Value) -> Result<Value, Error> {
        self.ask(Some(question))
    }

    /// The functions that the file marks; blocks.
    ///
    /// # Errors
    /// As of [`Worker::call`].
    pub fn functions(&self) -> Result<Vec<Marked>, Error> {
        let known = || self.marked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(marked) = known().clone() {
            return Ok(marked);
        }
        let found = serde_json::from_value::<Vec<Marked>>(self.ask(None)?)
            .map_err(|error| Error::Failed(format!("told of no functions: {error}")))?;
        *known() = Some(found.clone());
        Ok(found)
    }

    fn ask(&self, question: Option<Value>) -> Result<Value, Error> {
        let (answer, waiting) = oneshot::channel();
        self.questions.try_send(Asked { question, answer }).map_err(|error| match error {
            TrySendError::Full(_) => Error::Busy,
            TrySendError::Disconnected(_) => Error::Failed("is not there any more".into()),
        })?;
        waiting.blocking_recv().unwrap_or_else(|_| Err(Error::Failed("gave no answer".into())))
    }
}

/// What the worker's thread remembers.
struct Life {
    python: Python,
    process: Option<(Process, Value)>,
    /// Failures in a row.
    failures: u32,
    /// Until when it rests, and why.
    rests: Option<(Instant, String)>,
    asked_for: Duration,
    number: u64,
}

impl Life {
    fn run(mut self, asked: &Receiver<Asked>) {
        loop {
            match asked.recv_timeout(IDLE_MAX) {
                Ok(Asked { question, answer }) => {
                    // Who asked may have gone.
                    let _ = answer.send(self.serve(question));
                }
                Err(RecvTimeoutError::Timeout) => self.process = None,
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn serve(&mut self, question: Option<Value>) -> Result<Value, Error> {
        if let Some((until, why)) = &self.rests {
            let left = until.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                return Err(Error::Resting { why: why.clone(), seconds: left.as_secs() + 1 });
            }
            self.rests = None;
        }
        let answer = self.answer(question);
        match &answer {
            Ok(_) => self.failures = 0,
            // It did what it may: a function said that something is wrong.
            Err(Error::Said(_)) if self.process.is_some() => self.failures = 0,
            Err(Error::Failed(why) | Error::Said(why)) => self.rest(why.clone()),
            Err(_) => {}
        }
        if self.asked_for > ASKED_MAX {
            self.process = None;
        }
        answer
    }

    fn rest(&mut self, why: String) {
        self.process = None;
        let pause = REST_MIN.saturating_mul(1 << self.failures.min(16)).min(REST_MAX);
        self.failures = self.failures.saturating_add(1);
        self.rests = Some((Instant::now() + pause, why));
    }

    fn answer(&mut self, question: Option<Value>) -> Result<Value, Error> {
        let patience = Duration::from_millis(millis(self.python.timeout));
        if self.process.is_none() {
            self.process = Some(self.start()?);
            self.asked_for = Duration::ZERO;
        }
        let Some((process, functions)) = &mut self.process else {
            return Err(Error::Failed("is not there".into()));
        };
        let Some(mut question) = question else { return Ok(functions.clone()) };
        self.number += 1;
        question["id"] = self.number.into();
        let begun = Instant::now();
        let said = process.ask(&question, patience);
        self.asked_for += begun.elapsed();
        let reply: Reply = understand(said, &process.said())?;
        match reply {
            Reply { id, error: Some(why), .. } if id == self.number => Err(Error::Said(why)),
            Reply { id, ok, .. } if id == self.number => Ok(ok),
            _ => Err(Error::Failed("answered another question than it was asked".into())),
        }
    }

    /// A process that has read the file, and the functions that it found.
    fn start(&self) -> Result<(Process, Value), Error> {
        let interpreter = Interpreter::find()?;
        let source = self.python.source.as_deref().unwrap_or_default();
        let mut process = Process::start(&interpreter, &self.python, RUNNER)?;
        let load = json!({
            "op": "load", "v": PROTOCOL_VERSION, "agents": AGENTS,
            "file": self.python.file, "source": source,
        });
        let said = process.ask(&load, START_TIMEOUT);
        let reply: Reply = understand(said, &process.said())?;
        match reply {
            Reply { error: Some(why), .. } => {
                Err(Error::Said(format!("`{}` cannot be read: {why}", self.python.file)))
            }
            Reply { ok, .. } => Ok((process, ok)),
        }
    }
}

#[derive(Debug, Deserialize)]
struct Reply {
    #[serde(default)]
    id: u64,
    #[serde(default)]
    ok: Value,
    error: Option<String>,
}

/// A frame as an answer; what the process printed explains why there is none.
fn understand(said: Result<Vec<u8>, Trouble>, printed: &str) -> Result<Reply, Error> {
    let failed = |why: String| {
        let last = printed.lines().last().unwrap_or_default();
        Error::Failed(if last.is_empty() { why } else { format!("{why}: {last}") })
    };
    let frame = said.map_err(|trouble| failed(trouble.to_string()))?;
    serde_json::from_slice(&frame).map_err(|_| failed("answered what is no answer".into()))
}
