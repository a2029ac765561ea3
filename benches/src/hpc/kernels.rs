//! Kernels that check their own results.

use super::native::{Both, Form};
use crate::{
    Context,
    pairs::{PAIRS_MIN, Pairs},
    report::{Goal, Row},
};
use anyhow::Context as _;

/// No kernel may be further from native than this.
const EACH: Goal = Goal::AtMost(1.8);

/// A kernel and its arguments: about a fifth of a second.
const KERNELS: [(&str, &[&str]); 7] = [
    ("stencil", &["1000", "25"]),
    ("transpose", &["1024", "20"]),
    ("spmv", &["500", "80"]),
    ("cg", &["300", "400"]),
    ("sort", &["1000000", "2"]),
    ("nbody", &["1000", "20"]),
    ("dgemm", &["512", "3"]),
];

const SERIAL: &str = "hpc/serial";
const THREADS: &str = "hpc/openmp-2-threads";
const RANKS: &str = "hpc/mpi-2-ranks";

pub(super) const SERIAL_ROWS: &[&str] = &[
    SERIAL,
    "hpc/serial-stencil",
    "hpc/serial-transpose",
    "hpc/serial-spmv",
    "hpc/serial-cg",
    "hpc/serial-sort",
    "hpc/serial-nbody",
    "hpc/serial-dgemm",
];

pub(super) const THREADS_ROWS: &[&str] = &[
    THREADS,
    "hpc/openmp-2-threads-stencil",
    "hpc/openmp-2-threads-transpose",
    "hpc/openmp-2-threads-spmv",
    "hpc/openmp-2-threads-cg",
    "hpc/openmp-2-threads-sort",
    "hpc/openmp-2-threads-nbody",
    "hpc/openmp-2-threads-dgemm",
];

pub(super) const RANKS_ROWS: &[&str] = &[
    RANKS,
    "hpc/mpi-2-ranks-stencil",
    "hpc/mpi-2-ranks-transpose",
    "hpc/mpi-2-ranks-spmv",
    "hpc/mpi-2-ranks-cg",
    "hpc/mpi-2-ranks-sort",
    "hpc/mpi-2-ranks-nbody",
    "hpc/mpi-2-ranks-dgemm",
];

pub(super) fn serial(context: &Context) -> anyhow::Result<Vec<Row>> {
    measure(context, SERIAL, "clang -O3", Form::Serial, Goal::AtMost(1.2))
}

pub(super) fn two_threads(context: &Context) -> anyhow::Result<Vec<Row>> {
    measure(context, THREADS, "libomp, clang -O3", Form::Threads, Goal::AtMost(1.15))
}

pub(super) fn two_ranks(context: &Context) -> anyhow::Result<Vec<Row>> {
    measure(context, RANKS, "OpenMPI, clang -O3", Form::Ranks, Goal::AtMost(1.15))
}

fn measure(
    context: &Context,
    all: &str,
    peer: &str,
    form: Form,
    mean: Goal,
) -> anyhow::Result<Vec<Row>> {
    let (mut rows, mut measured) = (Vec::new(), Vec::new());
    for (kernel, arguments) in KERNELS {
        let both = Both::build(context, &format!("../examples/hpc/{kernel}.c"), form)?;
        let pairs = Pairs::measure(context.count(PAIRS_MIN, 1), |side| {
            milliseconds(&both.run(side, arguments)?)
        })?;
        rows.extend(pairs.rows(&format!("{all}-{kernel}"), "ms", peer, EACH));
        measured.push(pairs);
    }
    rows.insert(0, Pairs::mean_row(&measured, all, peer, mean));
    Ok(rows)
}

/// Of `kernel: right, 0.001234 s each of 10`.
pub(super) fn milliseconds(said: &str) -> anyhow::Result<f64> {
    let seconds = said.split("right, ").nth(1).and_then(|rest| rest.split(' ').next());
    let seconds: f64 = seconds
        .and_then(|number| number.parse().ok())
        .with_context(|| format!("a kernel said {said:?}"))?;
    Ok(seconds * 1e3)
}
