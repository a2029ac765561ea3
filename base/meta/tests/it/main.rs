//! What the embedded store promises to other crates.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod file;
mod kill;
mod load;
mod model;
mod store;

use meta::{Config, Embedded};
use std::{path::Path, sync::Arc};
use types::SystemClock;

/// Opens a store with the machine's clock.
fn open(path: &Path, config: Config) -> meta::Result<Embedded> {
    Embedded::open(path, config, Arc::new(SystemClock::new()))
}
