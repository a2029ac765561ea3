//! What an agent without work costs.

use crate::{
    Context,
    continuum::Continuum,
    report::{Goal, Row},
};
use anyhow::Context as _;
use std::{
    fs,
    time::{Duration, Instant},
};

const MEMORY: &str = "cells/idle-agent-rss";
const PROCESSOR: &str = "cells/idle-agent-cpu";

pub(super) const ROWS: &[&str] = &[MEMORY, PROCESSOR];

/// What the kernel counts processor time in, for programs: USER_HZ, the same on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// A site's agent, connected to its control plane, without services.
pub(super) fn run(context: &Context) -> anyhow::Result<Vec<Row>> {
    let continuum = Continuum::start(context, &[])?;
    let pid = continuum.agent_pid;
    // The start's own work shall be over.
    std::thread::sleep(Duration::from_secs(context.count(5, 0) as u64));
    let (before, started) = (processor_seconds(pid)?, Instant::now());
    std::thread::sleep(Duration::from_secs(context.count(20, 1) as u64));
    let seconds = started.elapsed().as_secs_f64();
    let busy = processor_seconds(pid)? - before;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let resident = field(&status, "VmRSS:").context("the agent is gone")?;
    let share = 100.0 * busy / seconds;
    Ok(vec![
        Row::value(MEMORY, "MiB", resident as f64 / 1024.0, Goal::AtMost(50.0)),
        Row::value(PROCESSOR, "% of a core", share, Goal::AtMost(0.5))
            .with_note(format!("{:.0} ms in {seconds:.0} s", busy * 1e3)),
    ])
}

/// User and system time of a process.
fn processor_seconds(pid: u32) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold anything.
    let (_, rest) = stat.rsplit_once(')').context("a process' state cannot be read")?;
    let times: Vec<f64> =
        rest.split_whitespace().skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    Ok(times.iter().sum::<f64>() / TICKS_PER_SECOND)
}

/// A number in a `/proc` file of names and values.
pub(super) fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
}
