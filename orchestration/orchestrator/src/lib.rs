//! Orchestrator.

pub mod site;
