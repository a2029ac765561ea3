//! What one message, one reduction, one barrier of two ranks takes, and one region of two threads.

use super::native::{Both, Form};
use crate::{
    Context,
    pairs::{PAIRS_MIN, Pairs},
    report::{Goal, Row},
};
use anyhow::Context as _;

/// A row, what the program is asked for, how often, and the goal.
type One = (&'static str, &'static str, usize, Goal);

const THREADS: [One; 4] = [
    ("hpc/fork-join", "fork", 200_000, Goal::AtMost(1.2)),
    ("hpc/critical", "critical", 200_000, Goal::AtMost(1.3)),
    ("hpc/openmp-barrier", "barrier", 200_000, Goal::AtMost(1.5)),
    ("hpc/dynamic-loop", "dynamic", 200_000, Goal::AtMost(1.5)),
];

const RANKS: [One; 5] = [
    ("hpc/ping-pong-8B", "8", 200_000, Goal::AtMost(1.2)),
    ("hpc/ping-pong-64KiB", "65536", 4_000, Goal::AtMost(0.6)),
    ("hpc/ping-pong-1MiB", "1048576", 300, Goal::AtMost(0.6)),
    ("hpc/allreduce-8B", "allreduce", 100_000, Goal::AtMost(1.5)),
    ("hpc/barrier", "barrier", 100_000, Goal::AtMost(1.5)),
];

pub(super) const THREADS_ROWS: &[&str] = &[THREADS[0].0, THREADS[1].0, THREADS[2].0, THREADS[3].0];

pub(super) const RANKS_ROWS: &[&str] =
    &[RANKS[0].0, RANKS[1].0, RANKS[2].0, RANKS[3].0, RANKS[4].0];

pub(super) fn threads(context: &Context) -> anyhow::Result<Vec<Row>> {
    let both = Both::build(context, "kernels/omp_latency.c", Form::Threads)?;
    measure(context, &both, "libomp", &THREADS)
}

pub(super) fn ranks(context: &Context) -> anyhow::Result<Vec<Row>> {
    let both = Both::build(context, "kernels/mpi_latency.c", Form::Ranks)?;
    measure(context, &both, "OpenMPI", &RANKS)
}

fn measure(context: &Context, both: &Both, peer: &str, all: &[One]) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (name, what, times, goal) in all {
        let times = context.count(*times, times / 100).to_string();
        let pairs = Pairs::measure(context.count(PAIRS_MIN, 1), |side| {
            let said = both.run(side, &[what, &times])?;
            said.trim().parse().with_context(|| format!("it said {said:?}"))
        })?;
        rows.extend(pairs.rows(name, "us", peer, *goal));
    }
    Ok(rows)
}
