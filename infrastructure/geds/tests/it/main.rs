//! What the store promises to other crates.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod basics;
mod checkpoints;
mod children;
mod classes;
mod composed;
mod hostile;
mod killed;
mod limits;
mod model;
mod outside;
mod processes;
mod relocate;
mod rig;
mod s3;
mod sites;
mod sites_killed;
mod sites_trust;
mod threads;
mod tiers;
mod triggers;
