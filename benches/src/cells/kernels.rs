//! What being migratable costs a program that computes.

use crate::{
    Context, guests,
    pairs::{PAIRS_MIN, Pairs, Side},
    report::{Goal, Row},
};
use anyhow::Context as _;
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const ALL: &str = "cells/asyncify-cost";

/// The mean over all kernels, and each kernel.
pub(super) const ROWS: &[&str] = &[
    ALL,
    "cells/asyncify-cost-stencil",
    "cells/asyncify-cost-dgemm",
    "cells/asyncify-cost-nbody",
    "cells/asyncify-cost-sort",
];

/// Each kernel built plain and migratable, in processes of `cloudskin run`; the kernels time
/// themselves.
pub(super) fn run(context: &Context) -> anyhow::Result<Vec<Row>> {
    let program = context.cloudskin()?;
    let goal = Goal::AtMost(1.03);
    let (mut rows, mut measured) = (Vec::new(), Vec::new());
    for name in &ROWS[1..] {
        let kernel = name.rsplit('-').next().unwrap_or_default();
        let source = format!("kernels/{kernel}.c");
        let plain = guests::from_c(context, &source, false)?;
        let migratable = guests::from_c(context, &source, true)?;
        let copy = copy_of(&plain)?;
        for module in [&plain, &migratable] {
            milliseconds(program, module)?;
        }
        let pairs = Pairs::measure(context.count(2 * PAIRS_MIN, 1), |side| match side {
            Side::Ours => milliseconds(program, &migratable),
            Side::Peer => milliseconds(program, &plain),
            Side::Control => milliseconds(program, &copy),
        })?;
        rows.extend(pairs.rows(name, "ms", "the same, not migratable", goal));
        measured.push(pairs);
    }
    rows.insert(0, Pairs::mean_row(&measured, ALL, "the same, not migratable", goal));
    Ok(rows)
}

fn copy_of(module: &Path) -> anyhow::Result<PathBuf> {
    let copy = module.with_extension("copy.wasm");
    std::fs::copy(module, &copy)?;
    Ok(copy)
}

/// What a kernel says that it took.
fn milliseconds(program: &Path, module: &Path) -> anyhow::Result<f64> {
    let run = Command::new(program).arg("run").arg(module).stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&run.stderr);
    anyhow::ensure!(run.status.success(), "`{}`: {said}", module.display());
    let text = String::from_utf8_lossy(&run.stdout);
    let nanoseconds = text.split_whitespace().next().and_then(|number| number.parse::<f64>().ok());
    Ok(nanoseconds.context("a kernel did not say how long it took")? / 1e6)
}
