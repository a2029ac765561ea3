//! Policies tried on traces of jobs: jobs and hosts go in, a report comes out.
//!
//! Time is simulated: the same input gives the same report on every run. Start at [`simulate`]
//! for a policy and at [`static_vms`] for what it is compared with. [`read_trace`] reads a
//! file of jobs, [`Synthetic`] makes jobs up. What the figures mean is told at [`Run`].

mod accounts;
mod engine;
mod job;
mod model;
mod report;
mod synthetic;
#[cfg(test)]
mod tests;
mod trace;

pub use engine::{Progress, simulate, static_vms};
pub use job::{Job, Kind};
pub use model::{Model, Setup, SetupError};
pub use report::{Distribution, Run};
pub use synthetic::Synthetic;
pub use trace::{COLUMNS, JOBS_MAX, Problem, TraceError, read_trace};
