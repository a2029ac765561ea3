//! Orchestrator.

pub mod camera;
pub mod dns;
