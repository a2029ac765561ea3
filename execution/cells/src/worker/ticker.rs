//! The clock that interrupts service cells.
//!
//! A thread advances the engines' epochs every [`TICK`] while a cell runs, and sleeps while none
//! does: an idle worker wakes for nothing.

use crate::engine::{Use, engine};
use api::service::Engine as Backend;
use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    thread::Thread,
    time::{Duration, Instant},
};

/// How finely time is sliced: a cell runs at most this longer than its deadline.
const TICK: Duration = Duration::from_millis(10);

/// Idle ticks before the thread sleeps: it is not put to sleep and woken for each request.
const IDLE_TICKS: u32 = 100;

static RUNNING: AtomicU64 = AtomicU64::new(0);
static ASLEEP: AtomicU64 = AtomicU64::new(1);
static TICKS: AtomicU64 = AtomicU64::new(0);
static THREAD: OnceLock<Thread> = OnceLock::new();

/// Keeps the clock going while a cell runs.
pub(crate) struct Running(());

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A cell is about to run.
pub(crate) fn running() -> Running {
    RUNNING.fetch_add(1, Ordering::SeqCst);
    if ASLEEP.swap(0, Ordering::SeqCst) == 1 {
        THREAD.get_or_init(start).unpark();
    }
    Running(())
}

/// Ticks since the process began, while cells ran.
pub(crate) fn now() -> u64 {
    TICKS.load(Ordering::Relaxed)
}

/// How many ticks lie between now and `deadline`, at least one, rounded up.
pub(crate) fn ticks_until(deadline: Instant) -> u64 {
    let left = deadline.saturating_duration_since(Instant::now());
    left.as_millis() as u64 / TICK.as_millis() as u64 + 2
}

fn start() -> Thread {
    let thread = std::thread::Builder::new().name("ticker".into()).spawn(tick);
    thread.expect("the system gives a thread at start").thread().clone()
}

fn tick() {
    let engines: Vec<_> = [Backend::Cranelift, Backend::Pulley]
        .into_iter()
        .filter_map(|backend| engine(Use::Service, backend).ok())
        .collect();
    let mut idle = 0;
    loop {
        std::thread::sleep(TICK);
        TICKS.fetch_add(1, Ordering::Relaxed);
        for engine in &engines {
            engine.increment_epoch();
        }
        idle = if RUNNING.load(Ordering::SeqCst) > 0 { 0 } else { idle + 1 };
        if idle >= IDLE_TICKS {
            ASLEEP.store(1, Ordering::SeqCst);
            // Whoever began in between has either seen the sleeper, or is seen here.
            while RUNNING.load(Ordering::SeqCst) == 0 && ASLEEP.load(Ordering::SeqCst) == 1 {
                std::thread::park();
            }
            ASLEEP.store(0, Ordering::SeqCst);
            idle = 0;
        }
    }
}
