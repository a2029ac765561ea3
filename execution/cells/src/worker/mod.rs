//! Worker processes: where cells live.
//!
//! An agent starts a worker, connects to it ([`Client`]) and asks ([`protocol`]); the worker
//! process is [`serve`]. Workers survive their agent and are adopted by the next one.

mod client;
mod commands;
mod lane;
pub(crate) mod objects;
mod program;
pub mod protocol;
mod server;
mod socket;
mod spin;
pub(crate) mod ticker;

pub use crate::service::{answered, journals_kept, keep_journals};
pub use client::Client;
pub use objects::Objects;
pub use program::grant;
pub use server::{Config, EXIT_WITHOUT_AGENT_AFTER, serve};

/// A worker whose program met its deadline exits with this code, as timeout(1) does.
pub const DEADLINE_EXIT_CODE: i32 = 124;
