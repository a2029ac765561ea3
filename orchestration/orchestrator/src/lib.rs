//! Orchestrator.

pub mod control;
