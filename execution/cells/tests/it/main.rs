//! What `cells` promises to the crates above it, tested on real guests in real workers.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "these are tests"
)]

mod compile;
mod conformance;
mod guests;
mod hostile;
mod models;
mod parallel;
mod parts;
mod programs;
mod saved;
mod services;
mod threads;
mod tissues;
mod worker;
