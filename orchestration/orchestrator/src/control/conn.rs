//! The control plane's end of one session with a site.

use api::{
    Problem,
    link::{Call, Desired, FromControl, Reply},
    tissue::Step,
};
use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use types::ErrorKind;

/// Most messages that wait for a slow site before it is cut off.
pub(super) const OUTGOING_MAX: usize = 1024;

type Waiting = HashMap<u64, oneshot::Sender<Result<Reply, Problem>>>;

/// Why a call has no reply.
#[derive(Debug)]
pub(super) enum CallError {
    /// The site may or may not have done it: no answer came.
    Unheard(Problem),
    /// The site has answered that it did not do it.
    Refused(Problem),
}

impl From<CallError> for Problem {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Unheard(problem) | CallError::Refused(problem) => problem,
        }
    }
}

/// Sends to a site and matches its replies to calls.
#[derive(Debug)]
pub(super) struct Conn {
    site: String,
    outgoing: mpsc::Sender<FromControl>,
    closed: CancellationToken,
    next_call: AtomicU64,
    waiting: Mutex<Waiting>,
    /// What it was last told to run.
    desired: Mutex<Option<Desired>>,
}

impl Conn {
    pub(super) fn new(site: &str, outgoing: mpsc::Sender<FromControl>) -> Self {
        Self {
            site: site.to_owned(),
            outgoing,
            closed: CancellationToken::new(),
            next_call: AtomicU64::new(1),
            waiting: Mutex::default(),
            desired: Mutex::default(),
        }
    }

    pub(super) fn site(&self) -> &str {
        &self.site
    }

    /// Ends the session; calls in progress fail.
    pub(super) fn close(&self) {
        self.closed.cancel();
    }

    pub(super) async fn closed(&self) {
        self.closed.cancelled().await;
    }

    /// Queues a message; a site that does not read is cut off.
    pub(super) fn send(&self, message: FromControl) {
        if self.outgoing.try_send(message).is_err() {
            self.close();
        }
    }

    /// Tells the site what to run, if that is news to it; the revision alone is none.
    pub(super) fn tell(&self, desired: Desired) {
        let mut told = self.desired.lock().unwrap_or_else(PoisonError::into_inner);
        let comparable = Desired { revision: 0, ..desired.clone() };
        if told.as_ref() != Some(&comparable) {
            *told = Some(comparable);
            self.send(FromControl::Desired(Box::new(desired)));
        }
    }

    /// Notes what the welcome has told it.
    pub(super) fn told(&self, desired: &Desired) {
        let comparable = Desired { revision: 0, ..desired.clone() };
        *self.desired.lock().unwrap_or_else(PoisonError::into_inner) = Some(comparable);
    }

    /// Asks the site to do something and waits for its reply.
    pub(super) async fn call(&self, call: Call, timeout: Duration) -> Result<Reply, CallError> {
        let what = name_of(&call);
        let id = self.next_call.fetch_add(1, Ordering::Relaxed);
        let (sender, reply) = oneshot::channel();
        self.waiting().insert(id, sender);
        self.send(FromControl::Call { id, call: Box::new(call) });
        let answer = tokio::select! {
            reply = tokio::time::timeout(timeout, reply) => match reply {
                Ok(Ok(result)) => result.map_err(CallError::Refused),
                Ok(Err(_)) => Err(CallError::Unheard(self.gone(what))),
                Err(_) => Err(CallError::Unheard(Problem::new(
                    ErrorKind::Timeout,
                    format!("site `{}` did not answer {what} within {timeout:?}", self.site),
                ))),
            },
            () = self.closed.cancelled() => Err(CallError::Unheard(self.gone(what))),
        };
        self.waiting().remove(&id);
        answer
    }

    /// Hands a reply to the call that waits for it; a late one is nobody's.
    pub(super) fn answer(&self, id: u64, result: Result<Reply, Problem>) {
        if let Some(waiting) = self.waiting().remove(&id) {
            // The caller may have given up at this very moment.
            let _ = waiting.send(result);
        }
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gone(&self, what: &str) -> Problem {
        Problem::new(
            ErrorKind::Unavailable,
            format!("the connection to site `{}` ended before it answered {what}", self.site),
        )
    }
}

fn name_of(call: &Call) -> &'static str {
    match call {
        Call::Prepare { .. } => "`prepare`",
        Call::Transfer { .. } => "`transfer`",
        Call::Activate { .. } => "`activate`",
        Call::Release { .. } => "`release`",
        Call::Abort { .. } => "`abort`",
        Call::Metrics => "`metrics`",
        Call::Logs { .. } => "`logs`",
        Call::Tissue { step, .. } => name_of_step(step),
        Call::Snapshot { .. } => "`snapshot`",
        Call::StoreLimits { .. } => "`storeLimits`",
    }
}

fn name_of_step(step: &Step) -> &'static str {
    match step {
        Step::Prepare { .. } => "`prepare` (ranks)",
        Step::Connect { .. } => "`connect` (ranks)",
        Step::Copy => "`copy` (ranks)",
        Step::Stop => "`stop` (ranks)",
        Step::Send => "`send` (ranks)",
        Step::Arrive => "`arrive` (ranks)",
        Step::Go => "`go` (ranks)",
        Step::Undo => "`undo` (ranks)",
        Step::Save => "`save` (ranks)",
        Step::Keep => "`keep` (ranks)",
    }
}
