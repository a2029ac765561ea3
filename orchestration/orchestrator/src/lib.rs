//! Orchestrator.

pub mod camera;
pub mod dns;
pub mod site;
