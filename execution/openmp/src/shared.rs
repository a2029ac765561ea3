//! What all threads of a program share.

use crate::{
    Advice, Config, Error, Memory, Result, Threads,
    affinity::DEFAULT_FORMAT,
    alloc::Allocator,
    detach::Events,
    gate::Gate,
    line::Line,
    mailbox::Mailbox,
    save::Kept,
    spare::{self, Returns},
    task::Group,
};
use std::{
    collections::HashMap,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Instant,
};

/// Places where threads wait for locks; a lock's address says at which.
const LOCK_GATES: usize = 64;

pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) memory: Memory,
    pub(crate) advice: Arc<dyn Advice>,
    pub(crate) threads: Arc<dyn Threads>,
    /// Threads that are in a region now, and the first.
    pub(crate) busy: Line<AtomicU32>,
    /// Threads made so far, the first among them.
    pub(crate) created: AtomicU32,
    /// Threads that nested regions have left.
    pub(crate) idle: Mutex<Vec<Arc<Mailbox>>>,
    /// All threads but the first, to be told of the end.
    pub(crate) mailboxes: Mutex<Vec<Arc<Mailbox>>>,
    /// Groups with reductions, by the handle that the program was given.
    pub(crate) handles: Mutex<HashMap<u32, Weak<Group>>>,
    /// What detached tasks wait for.
    pub(crate) events: Mutex<Events>,
    /// Tasks that others than their threads have run, by the numbers of those threads.
    pub(crate) returns: Box<[Line<Returns>]>,
    /// Allocators that the program has made.
    pub(crate) allocators: Mutex<Vec<Option<Allocator>>>,
    /// How `omp_capture_affinity` describes a thread.
    pub(crate) affinity_format: Mutex<Vec<u8>>,
    pub(crate) started: Instant,
    /// What outlives regions besides, to be saved.
    pub(crate) kept: Kept,
    /// Looked at by all who wait, so nothing that changes may lie near it.
    stopped: Line<AtomicBool>,
    failure: Mutex<Option<Error>>,
    failed: Condvar,
    lock_gates: [Gate; LOCK_GATES],
}

/// Locks what no panic can leave half changed.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn new(
        config: Config,
        memory: Memory,
        threads: Arc<dyn Threads>,
        advice: Arc<dyn Advice>,
    ) -> Self {
        Self {
            returns: spare::returns(config.thread_limit),
            config,
            memory,
            advice,
            threads,
            busy: Line(AtomicU32::new(1)),
            created: AtomicU32::new(1),
            idle: Mutex::default(),
            mailboxes: Mutex::default(),
            handles: Mutex::default(),
            events: Mutex::default(),
            allocators: Mutex::default(),
            affinity_format: Mutex::new(DEFAULT_FORMAT.to_vec()),
            started: Instant::now(),
            kept: Kept::default(),
            stopped: Line::default(),
            failure: Mutex::default(),
            failed: Condvar::new(),
            lock_gates: std::array::from_fn(|_| Gate::default()),
        }
    }

    /// How often one of so many threads looks before it sleeps.
    pub(crate) fn spins(&self, threads: u32) -> u32 {
        if threads > self.config.processors {
            self.config.spins.min(crate::config::SPINS_FEW)
        } else {
            self.config.spins
        }
    }

    pub(crate) fn lock_gate(&self, address: u32) -> &Gate {
        &self.lock_gates[(address / 4) as usize % LOCK_GATES]
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// An error if the program ends.
    pub(crate) fn check(&self) -> Result<()> {
        if self.is_stopped() { Err(Error::Stopped) } else { Ok(()) }
    }

    /// Waits until it is `done`.
    pub(crate) fn wait(
        &self,
        gate: &Gate,
        spins: u32,
        mut done: impl FnMut() -> bool,
    ) -> Result<()> {
        let mut was_done = false;
        gate.wait(spins, || {
            was_done = done();
            was_done || self.is_stopped()
        });
        if was_done { Ok(()) } else { Err(Error::Stopped) }
    }

    /// Ends the program for all its threads; the first reason counts.
    pub(crate) fn fail(&self, error: Error) {
        if !matches!(error, Error::Stopped) {
            lock(&self.failure).get_or_insert(error);
        }
        self.stop();
    }

    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        drop(lock(&self.failure));
        self.failed.notify_all();
        for mailbox in lock(&self.mailboxes).iter() {
            mailbox.ring();
        }
    }

    pub(crate) fn take_failure(&self) -> Option<Error> {
        lock(&self.failure).take()
    }

    /// Waits until the program ends for all its threads.
    pub(crate) fn wait_for_stop(&self) {
        let mut guard = lock(&self.failure);
        while !self.is_stopped() {
            guard = self.failed.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
