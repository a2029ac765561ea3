//! What one message, one reduction and one barrier of two ranks take.

use super::native::Both;
use crate::{
    Context,
    pairs::{PAIRS_MIN, Pairs},
    report::{Goal, Row},
};
use anyhow::Context as _;

/// A row, what the program is asked for, how often, and the goal.
const ALL: [(&str, &str, usize, Goal); 5] = [
    ("hpc/ping-pong-8B", "8", 200_000, Goal::AtMost(1.2)),
    ("hpc/ping-pong-64KiB", "65536", 4_000, Goal::AtMost(0.6)),
    ("hpc/ping-pong-1MiB", "1048576", 300, Goal::AtMost(0.6)),
    ("hpc/allreduce-8B", "allreduce", 100_000, Goal::AtMost(1.5)),
    ("hpc/barrier", "barrier", 100_000, Goal::AtMost(1.5)),
];

pub(super) const ROWS: &[&str] = &[ALL[0].0, ALL[1].0, ALL[2].0, ALL[3].0, ALL[4].0];

pub(super) fn run(context: &Context) -> anyhow::Result<Vec<Row>> {
    let both = Both::build(context, "kernels/mpi_latency.c", true)?;
    let mut rows = Vec::new();
    for (name, what, times, goal) in ALL {
        let times = context.count(times, times / 100).to_string();
        let pairs = Pairs::measure(context.count(PAIRS_MIN, 1), |side| {
            let said = both.run(side, &[what, &times])?;
            said.trim().parse().with_context(|| format!("it said {said:?}"))
        })?;
        rows.extend(pairs.rows(name, "us", "OpenMPI", goal));
    }
    Ok(rows)
}
