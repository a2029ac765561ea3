//! A whole continuum on one machine: one control plane and one agent per site as child processes.
//!
//! [`Plan`] says which processes with which addresses; [`Supervisor`] starts them, starts them
//! again when they die, and ends them. [`DataFolder`] is where everything is kept, [`down`] ends
//! what a supervisor left, [`doctor`] says whether a machine can do all this. [`ingress`] routes
//! `http://<service>.localhost:8080/` to the site that serves it.
//!
//! Children outlive a supervisor that is killed, and serve on; the next one on the same folder
//! adopts them.
//!
//! Start at [`Plan::new`] and [`Supervisor::new`].

mod backoff;
pub mod doctor;
pub mod down;
mod error;
mod folder;
pub mod ingress;
mod logs;
mod plan;
mod ports;
mod process;
mod ready;
mod state;
mod supervise;

pub use error::{Error, Result};
pub use folder::{DataFolder, Lock};
pub use plan::{ChildSpec, Network, Plan, Site};
pub use ports::{Holder, Listener, check as check_ports};
pub use ready::await_ready;
pub use state::{ChildState, Phase, State};
pub use supervise::{Notice, Supervisor};

#[cfg(test)]
mod tests;
