//! Worker processes: where cells live.

mod client;
pub mod protocol;

pub use client::Client;
