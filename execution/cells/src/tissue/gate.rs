//! Where ranks that have stopped wait, and are given work to do on their own cells meanwhile.

use crate::{
    cell::Cell,
    error::{Error, Result},
};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, mpsc};

/// What is done with a cell by its own thread.
type Job = Box<dyn FnOnce(&mut Cell) + Send>;

/// What a rank that has stopped shall do.
pub(super) enum Next {
    /// Go on.
    Go,
    /// End.
    End,
    /// Do this, and ask again.
    Job(Job),
}

#[derive(Default)]
struct State {
    closed: bool,
    end: bool,
    jobs: Vec<Option<Job>>,
}

/// Closed while ranks shall stand.
#[derive(Default)]
pub(super) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gate")
    }
}

impl Gate {
    pub(super) fn new(size: usize) -> Self {
        let jobs = (0..size).map(|_| None).collect();
        Self { state: Mutex::new(State { jobs, ..State::default() }), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Has ranks that stop stay.
    pub(super) fn close(&self) {
        self.change(|state| state.closed = true);
    }

    /// Lets all go on.
    pub(super) fn open(&self) {
        self.change(|state| {
            state.closed = false;
            state.jobs.fill_with(|| None);
        });
    }

    /// Has all end that stand here.
    pub(super) fn end(&self) {
        self.change(|state| state.end = true);
    }

    /// Waits for what a rank shall do next. `stands` says whether it is still seen as one that
    /// has stopped: one that stopped too late for the last stop makes its call again.
    pub(super) fn next(&self, rank: u32, stands: impl Fn() -> bool) -> Next {
        let mut state = self.lock();
        loop {
            if state.end {
                return Next::End;
            }
            if !state.closed || !stands() {
                return Next::Go;
            }
            if let Some(job) = state.jobs.get_mut(rank as usize).and_then(Option::take) {
                return Next::Job(job);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Has the thread of a rank that has stopped do something with its cell; waits for it.
    pub(super) fn with<T: Send + 'static>(
        &self,
        rank: u32,
        work: impl FnOnce(&mut Cell) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = mpsc::sync_channel(1);
        let job: Job = Box::new(move |cell| {
            // Whoever asked waits for it.
            let _ = reply.send(work(cell));
        });
        self.change(|state| {
            if let Some(place) = state.jobs.get_mut(rank as usize) {
                *place = Some(job);
            }
        });
        answer.recv().map_err(|_| Error::Ended { code: 0 })?
    }
}
