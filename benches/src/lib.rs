//! How benchmarks measure, judge and report.
//!
//! `make bench-<area>` runs the binary of this crate: it prints a table and writes
//! `target/bench/<area>.json`. Start at [`Suite`]; what a row means is at [`Row`], how two things
//! are compared at [`Pairs`]. The areas are modules: [`cells`](mod@cells), [`hpc`],
//! [`isolation`](mod@isolation), [`geds`](mod@geds) and [`learning`](mod@learning).

#![expect(clippy::print_stdout, reason = "these programs print tables")]

mod cgroup;
mod context;
mod continuum;
mod guests;
mod http;
mod machine;
mod pairs;
mod report;
mod stats;
mod suite;
mod worker;

pub mod cells;
pub mod echo;
pub mod geds;
pub mod hpc;
pub mod isolation;
pub mod learning;

pub use context::Context;
pub use machine::Machine;
pub use pairs::{Pairs, Side};
pub use report::{Goal, Met, Report, Row};
pub use suite::{Group, Options, Suite};
