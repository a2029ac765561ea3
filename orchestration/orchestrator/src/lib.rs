//! Orchestrator.

pub mod client;
pub mod supervisor;
