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
    /// Leave: it goes on at another site.
    Leave,
    /// Do this, and ask again.
    Job(Job),
}

#[derive(Default)]
struct State {
    closed: bool,
    end: bool,
    seats: Vec<Seat>,
}

/// What is known of one rank.
#[derive(Default)]
struct Seat {
    job: Option<Job>,
    /// It was told to leave.
    leaves: bool,
    /// Its thread has ended.
    gone: bool,
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
        let seats = (0..size).map(|_| Seat::default()).collect();
        Self { state: Mutex::new(State { seats, ..State::default() }), changed: Condvar::new() }
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
            state.seats.iter_mut().for_each(|seat| seat.job = None);
        });
    }

    /// Has all end that stand here.
    pub(super) fn end(&self) {
        self.change(|state| state.end = true);
    }

    fn change_seat(&self, rank: u32, change: impl FnOnce(&mut Seat)) {
        self.change(|state| {
            state.seats.get_mut(rank as usize).map(change);
        });
    }

    /// Has a rank leave that stands here.
    pub(super) fn leave(&self, rank: u32) {
        self.change_seat(rank, |seat| seat.leaves = true);
    }

    /// The thread of a rank begins.
    pub(super) fn enter(&self, rank: u32) {
        self.change_seat(rank, |seat| *seat = Seat::default());
    }

    /// The thread of a rank has ended: it does nothing any more.
    pub(super) fn has_gone(&self, rank: u32) {
        self.change_seat(rank, |seat| *seat = Seat { gone: true, ..Seat::default() });
    }

    /// Waits for what a rank shall do next. `stands` says whether it is still seen as one that
    /// has stopped: one that stopped too late for the last stop makes its call again.
    pub(super) fn next(&self, rank: u32, stands: impl Fn() -> bool) -> Next {
        let mut state = self.lock();
        loop {
            if state.end {
                return Next::End;
            }
            if state.seats.get(rank as usize).is_some_and(|seat| seat.leaves) {
                return Next::Leave;
            }
            if !state.closed || !stands() {
                return Next::Go;
            }
            if let Some(job) = state.seats.get_mut(rank as usize).and_then(|seat| seat.job.take()) {
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
        self.change_seat(rank, |seat| seat.job = Some(job).filter(|_| !seat.gone));
        answer.recv().map_err(|_| Error::Ended { code: 0 })?
    }
}
