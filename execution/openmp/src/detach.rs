//! Tasks that are not done before an event has come.

use crate::{Error, Guest, Result, Thread, shared::lock, task::Task, tasks::complete, team::Team};
use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

/// Most events that have not come.
const EVENTS_MAX: usize = 1 << 20;

/// What completes a task that has ended.
pub(crate) struct Event {
    team: Arc<Team>,
    came: AtomicBool,
    /// The task, once its function has returned.
    ended: Mutex<Option<Arc<Task>>>,
}

/// The events that have not come, by the handles that the program has.
#[derive(Default)]
pub(crate) struct Events {
    last: u32,
    waiting: HashMap<u32, Arc<Event>>,
}

impl Events {
    fn add(&mut self, event: Arc<Event>) -> Result<u32> {
        if self.waiting.len() >= EVENTS_MAX {
            let limit = EVENTS_MAX as u64;
            return Err(Error::Limit { what: "events that have not come", limit });
        }
        loop {
            self.last = self.last.wrapping_add(1).max(1);
            if let Entry::Vacant(place) = self.waiting.entry(self.last) {
                place.insert(event);
                return Ok(self.last);
            }
        }
    }
}

impl Event {
    /// The task's function has returned.
    pub(crate) fn ended(&self, task: &Arc<Task>) {
        *lock(&self.ended) = Some(task.clone());
        self.settle();
    }

    /// Completes the task if both have happened; whoever comes last does.
    fn settle(&self) {
        if !self.came.load(Ordering::Acquire) {
            return;
        }
        let ended = lock(&self.ended).take();
        if let Some(mut task) = ended {
            complete(&self.team, None, &mut task);
        }
    }
}

impl Thread {
    /// `__kmpc_task_allow_completion_event`: the event of a task that was just allocated.
    ///
    /// # Errors
    /// If it was not, or there are too many events.
    pub fn allow_completion_event(&self, task: u32) -> Result<u32> {
        if self.allocated_at(task).is_err() {
            return Err(Error::Misuse("it detaches a task that it has not allocated"));
        }
        let team = Arc::clone(&self.team());
        let (came, ended) = (AtomicBool::new(false), Mutex::default());
        let event = Arc::new(Event { team, came, ended });
        let handle = lock(&self.shared.events).add(event.clone())?;
        self.events.borrow_mut().insert(task, event);
        Ok(handle)
    }

    /// `omp_fulfill_event`.
    ///
    /// # Errors
    /// If there is no such event, or it has come already.
    pub fn fulfill_event(&self, handle: u32) -> Result<()> {
        let event = lock(&self.shared.events).waiting.remove(&handle);
        let event = event.ok_or(Error::Misuse("it fulfills an event that does not wait"))?;
        event.came.store(true, Ordering::Release);
        event.settle();
        event.team.gate.ring();
        Ok(())
    }

    /// Waits for the event of a task that this thread runs by its own call.
    pub(crate) fn wait_for_event(&self, guest: &mut dyn Guest, event: &Event) -> Result<()> {
        let node = self.node();
        self.help(guest, Some(&node), || event.came.load(Ordering::Acquire))
    }
}
