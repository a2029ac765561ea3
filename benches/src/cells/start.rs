//! How fast a cell starts.

use super::runc::{Runc, timed_hello};
use crate::{
    Context, guests,
    pairs::{PAIRS_MIN, Pairs, Side},
    report::{Goal, Row},
    stats,
};
use anyhow::Context as _;
use api::service::Engine;
use cells::{Cache, Cell, Compiler, Pause, Program, Runtime, Use, limits::Limits, wasi};
use std::{process::Command, sync::Arc, time::Instant};

const WARM: &str = "cells/warm-start";
const AGAINST_RUNC: &str = "cells/vs-runc";
const PROCESS_AGAINST_RUNC: &str = "cells/process-vs-runc";

pub(super) const WARM_ROWS: &[&str] = &[WARM];
pub(super) const RUNC_ROWS: &[&str] = &[AGAINST_RUNC, PROCESS_AGAINST_RUNC];

/// A cell's start beside a container's is some thousandths: so many make one measurement.
const STARTS_PER_PAIR: usize = 1000;

/// Instantiates and runs a hello to its end, again and again, in this process.
pub(super) fn warm(context: &Context) -> anyhow::Result<Vec<Row>> {
    let program = hello(context)?;
    let times = starts(&program, context.count(20_000, 200))?;
    let note = format!(
        "p99 {:.1} us; instantiate, run, drop; {} starts",
        stats::percentile(&times, 0.99),
        times.len()
    );
    Ok(vec![Row::value(WARM, "us", stats::median(&times), Goal::AtMost(10.0)).with_note(note)])
}

fn hello(context: &Context) -> anyhow::Result<Arc<Program>> {
    let module = guests::hello(context)?;
    let runtime = Runtime::new(Cache::open(&context.work().join("code"))?, Compiler::Here);
    Ok(runtime.load(&module, None, Use::Service, Engine::Cranelift)?)
}

/// Each start's time in microseconds.
fn starts(program: &Arc<Program>, count: usize) -> anyhow::Result<Vec<f64>> {
    let limits = Limits::default();
    let mut times = Vec::with_capacity(count);
    // The first ones touch what later ones find.
    for number in 0..count + count / 10 {
        let started = Instant::now();
        let config = wasi::Config { arguments: vec!["hello".into()], ..wasi::Config::default() };
        let mut cell = Cell::new(program, config.build()?, &limits)?;
        let pause = cell.resume()?;
        drop(cell);
        let took = started.elapsed();
        anyhow::ensure!(pause == Pause::Exited(0), "the hello ended with {pause:?}");
        if number >= count / 10 {
            times.push(took.as_secs_f64() * 1e6);
        }
    }
    Ok(times)
}

/// A cell in a worker, and the whole program with a cached module, beside `runc run`.
pub(super) fn against_runc(context: &Context) -> anyhow::Result<Vec<Row>> {
    let folder = context.folder("runc")?;
    let mut runc = match Runc::prepare(&folder) {
        Ok(runc) => runc,
        Err(error) => return Ok(RUNC_ROWS.iter().map(|name| without_runc(name, &error)).collect()),
    };
    let program = hello(context)?;
    let pairs = context.count(PAIRS_MIN, 2);
    let per_pair = context.count(STARTS_PER_PAIR, 20);
    let cell = Pairs::measure(pairs, |side| match side {
        Side::Peer => Ok(runc.start()?.as_secs_f64() * 1e6),
        Side::Ours | Side::Control => Ok(stats::median(&starts(&program, per_pair)?)),
    })?
    .with_control_of_ours();

    let (binary, module) = (context.cloudskin()?, guests::hello(context)?);
    let whole_process = || {
        let took = timed_hello(Command::new(binary).arg("run").arg(&module));
        took.context("`cloudskin run` failed")
    };
    whole_process()?;
    let process = Pairs::measure(pairs, |side| match side {
        Side::Peer => Ok(runc.start()?.as_secs_f64() * 1e3),
        Side::Ours | Side::Control => Ok(whole_process()?.as_secs_f64() * 1e3),
    })?
    .with_control_of_ours();
    let rows = [
        cell.rows(AGAINST_RUNC, "us", "runc run of a static hello", Goal::AtLeast(1000.0)),
        process.rows(PROCESS_AGAINST_RUNC, "ms", "runc run of a static hello", Goal::AtLeast(1.0)),
    ];
    Ok(rows.into_iter().flatten().collect())
}

fn without_runc(name: &str, error: &anyhow::Error) -> Row {
    let mut row = Row::failed(name, &format!("{error:#}"));
    row.peer = Some("runc (does not run here)".into());
    row
}
