//! `execution/cells` and the site's agent around it.
//!
//! What each row measures is in `docs/guide/benchmarks.md`.

mod http;
mod idle;
mod kernels;
mod memory;
mod migrate;
mod runc;
mod start;
mod wake;

use crate::suite::{Group, Suite};

/// All rows of `make bench-cells`, quiet ones first.
pub const SUITE: Suite = Suite {
    area: "cells",
    groups: &[
        Group { rows: start::WARM_ROWS, run: start::warm },
        Group { rows: start::RUNC_ROWS, run: start::against_runc },
        Group { rows: idle::ROWS, run: idle::run },
        Group { rows: wake::ROWS, run: wake::run },
        Group { rows: http::ROWS, run: http::run },
        Group { rows: memory::ANSWERED_ROWS, run: memory::answered },
        Group { rows: memory::NEVER_RUN_ROWS, run: memory::never_run },
        Group { rows: migrate::TRACKED_ROWS, run: migrate::tracked },
        Group { rows: migrate::COMPARED_ROWS, run: migrate::compared },
        Group { rows: kernels::ROWS, run: kernels::run },
    ],
};

/// A runtime for those groups that talk to workers.
fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(work)
}
