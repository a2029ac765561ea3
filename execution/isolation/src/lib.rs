//! Control groups that keep processes from disturbing each other: shares of processors, sets of
//! them, memory and numbers of tasks, on hosts with version 1, version 2, or both.
//!
//! Start at [`Groups::open`], which finds where this process may make groups, and at
//! [`Groups::group`]. [`Survey::of_this_process`] only looks.
//!
//! Which controller is where is decided in `survey`, from the text of two files of the kernel
//! that `proc` parses; `delegation` makes a group of version 2 ready to be divided; `settings`
//! says which file gets which value. All of it goes through `files`, so that tests can play the
//! kernel.
//!
//! [`Confinement`] holds a program that is not trusted to itself, without any group.

mod confine;
mod controller;
mod cpus;
mod delegation;
mod error;
mod files;
mod filter;
mod group;
mod groups;
mod limits;
mod proc;
mod settings;
mod survey;

#[cfg(test)]
mod model;

pub use confine::Confinement;
pub use controller::{Controller, Version};
pub use cpus::{CpuSet, CpuSetError};
pub use error::{Error, Result, Unavailable};
pub use group::{Group, Usage};
pub use groups::Groups;
pub use limits::Limits;
pub use survey::{Found, Missing, Reason, Survey};
