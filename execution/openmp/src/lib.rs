//! OpenMP for guests: the functions that clang calls for its pragmas, and those of `omp.h`.
//!
//! A [`Runtime`] serves one program. Its threads are threads of the host: each has a [`Thread`],
//! whose methods are the entry points, and a [`Guest`], which calls functions of the program in
//! that thread's instance. What the threads share lies in one [`Memory`].
//!
//! Start at [`Runtime::new`] and [`Thread::fork_call`]. How many threads a region gets is decided
//! in `size`, how its threads learn of it in `mailbox`; waiting is in `gate`, work sharing in
//! `dispatch`, tasks in `tasks` and their queues in `queue`.
//!
//! Everything a guest passes may be wrong: addresses, schedules, calls out of order. It then gets
//! an [`Error`], and so do all its other threads at their next wait, so that no one waits for ever.

mod affinity;
mod alloc;
mod api;
mod cancel;
mod config;
mod depend;
mod detach;
mod dispatch;
mod doacross;
mod error;
mod fork;
mod gate;
mod guest;
mod line;
mod locks;
mod mailbox;
mod memory;
mod queue;
mod reduce;
mod save;
mod shared;
mod size;
mod spare;
mod statics;
mod sync;
mod task;
mod task_reduction;
mod taskloop;
mod tasks;
mod team;
mod thread;

pub use config::{Config, Schedule, ScheduleKind};
pub use dispatch::{Bounds, DispatchOut};
pub use error::{Error, Result};
pub use fork::{Runtime, Worker};
pub use guest::{Guest, Threads};
pub use memory::{LinearMemory, Memory};
pub use size::{Advice, Region, Whole};
pub use statics::{Kind, StaticLoop};
pub use taskloop::Taskloop;
pub use thread::Thread;
