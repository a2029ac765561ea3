//! Asking a running program for snapshots.

use crate::{
    cell::Suspender,
    error::{Error, Result},
    run::wait_for,
};
use rustix::{
    event::{EventfdFlags, eventfd},
    fd::OwnedFd,
};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak, mpsc},
    time::Duration,
};

/// Says why a program did not stop within so many milliseconds.
type Late = dyn Fn(u64) -> Error + Send + Sync;

/// Asks a running program for a snapshot; cheap to clone, usable from any thread.
#[derive(Debug, Clone)]
pub struct Remote {
    shared: Arc<Shared>,
}

struct Shared {
    suspender: Suspender,
    requests: Mutex<mpsc::Sender<Request>>,
    wakeup: OwnedFd,
    late: Box<Late>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("suspender", &self.suspender).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Request {
    path: PathBuf,
    stop: bool,
    reply: mpsc::Sender<Result<u64>>,
    /// Gone with whoever asked.
    wanted: Weak<()>,
}

/// What a program was asked for.
#[derive(Debug)]
pub(crate) struct Requests {
    receiver: mpsc::Receiver<Request>,
    remote: Remote,
}

impl Remote {
    /// Has a snapshot written to `path` at the program's next barrier point; the program ends
    /// there if `stop`. Waits at most `patience` for it; returns the snapshot's size in bytes.
    ///
    /// # Errors
    /// [`Error::NotMigratable`] if the program was not built for it, [`Error::NoBarrier`] if it met
    /// no barrier point in time or [`Error::InRegion`] if its threads did not, and what writing
    /// failed with.
    pub fn snapshot(&self, path: &Path, stop: bool, patience: Duration) -> Result<u64> {
        let (reply, answer) = mpsc::channel();
        let asking = Arc::new(());
        let wanted = Arc::downgrade(&asking);
        let request = Request { path: path.to_owned(), stop, reply, wanted };
        let ended = || Error::Ended { code: 0 };
        let requests = self.shared.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.send(request).map_err(|_| ended())?;
        drop(requests);
        self.shared.suspender.ask();
        rustix::io::write(&self.shared.wakeup, &1_u64.to_ne_bytes())
            .map_err(|error| Error::runtime("cannot wake the program", error))?;
        answer.recv_timeout(patience).map_err(|error| match error {
            mpsc::RecvTimeoutError::Timeout => (self.shared.late)(patience.as_millis() as u64),
            mpsc::RecvTimeoutError::Disconnected => ended(),
        })?
    }

    /// Blocks until standard input has something (if `input`), the time is over, or a snapshot is
    /// asked for.
    pub(crate) fn wait(&self, input: bool, timeout: Option<Duration>) {
        wait_for(input, timeout, Some(&self.shared.wakeup));
        // A counter that is read starts anew.
        let _ = rustix::io::read(&self.shared.wakeup, &mut [0; 8]);
    }
}

impl Requests {
    /// Of a program that this stops; `late` says why it has not, after so many milliseconds.
    pub(crate) fn new(
        suspender: Suspender,
        late: impl Fn(u64) -> Error + Send + Sync + 'static,
    ) -> Result<Self> {
        let (sender, receiver) = mpsc::channel();
        let wakeup = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|error| Error::runtime("cannot make an event descriptor", error))?;
        let shared =
            Shared { suspender, requests: Mutex::new(sender), wakeup, late: Box::new(late) };
        Ok(Self { receiver, remote: Remote { shared: Arc::new(shared) } })
    }

    /// What asks.
    pub(crate) fn remote(&self) -> &Remote {
        &self.remote
    }

    /// Has the snapshots written that were asked for; whether one was to be the last.
    pub(crate) fn serve(&self, mut write: impl FnMut(&Path) -> Result<u64>) -> bool {
        while let Ok(request) = self.receiver.try_recv() {
            // Who asked may have given up, and has something else in the file's place.
            if request.wanted.strong_count() == 0 {
                continue;
            }
            let written = write(&request.path);
            let last = request.stop && written.is_ok();
            let _ = request.reply.send(written);
            if last {
                return true;
            }
        }
        false
    }
}
