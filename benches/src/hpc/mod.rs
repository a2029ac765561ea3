//! Parallel programs as cells, beside the same programs built natively.
//!
//! The native peer is clang at `-O3`, libomp for threads and OpenMPI for ranks; both sides run in turns, and the
//! programs time themselves and check their results.

mod kernels;
mod latency;
mod native;
mod sites;

use crate::suite::{Group, Suite};

/// All rows of `make bench-hpc`.
pub const SUITE: Suite = Suite {
    area: "hpc",
    groups: &[
        Group { rows: latency::RANKS_ROWS, run: latency::ranks },
        Group { rows: latency::THREADS_ROWS, run: latency::threads },
        Group { rows: kernels::SERIAL_ROWS, run: kernels::serial },
        Group { rows: kernels::THREADS_ROWS, run: kernels::two_threads },
        Group { rows: kernels::RANKS_ROWS, run: kernels::two_ranks },
        Group { rows: sites::ROWS, run: sites::both },
    ],
};
