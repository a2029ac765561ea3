//! Programs of closures at 1, 2, 3, 4 and 8 threads, on a runtime that believes in 2 processors.

#![expect(clippy::unwrap_used, reason = "tests state facts")]

mod host;
mod hostile;
mod loops;
mod memory;
mod regions;
mod save;
mod stealing;
mod tasks;
