//! What ten thousand cells that wait cost.

use super::{block_on, idle::field};
use crate::{
    Context,
    cgroup::Cgroup,
    guests,
    report::{Goal, Row},
    worker::{Worker, service},
};
use std::{fs, time::Duration};

const ANSWERED: &str = "cells/memory-waiting";
const THREADS: &str = "cells/threads-waiting";
const NEVER_RUN: &str = "cells/memory-never-run";

pub(super) const ANSWERED_ROWS: &[&str] = &[ANSWERED, THREADS];
pub(super) const NEVER_RUN_ROWS: &[&str] = &[NEVER_RUN];

/// Threads of a worker that is idle: its listener, its housekeeping, its clock and a few that wait
/// for the agent's next word. None belongs to a cell.
const THREADS_MAX: f64 = 16.0;

/// What many cells of one worker cost.
struct Cost {
    bytes_each: f64,
    threads: u64,
    cells: usize,
    note: String,
}

/// Cells that have each answered a request, and wait for the next.
pub(super) fn answered(context: &Context) -> anyhow::Result<Vec<Row>> {
    let cost = block_on(measure(context, true))?;
    Ok(vec![
        Row::value(ANSWERED, "KiB each", cost.bytes_each / 1024.0, Goal::AtMost(16.0))
            .with_note(cost.note),
        Row::value(THREADS, "threads", cost.threads as f64, Goal::AtMost(THREADS_MAX))
            .with_note(format!("of a worker with {} cells", cost.cells)),
    ])
}

/// Cells that wait for their first request.
pub(super) fn never_run(context: &Context) -> anyhow::Result<Vec<Row>> {
    let cost = block_on(measure(context, false))?;
    let value = cost.bytes_each / 1024.0;
    Ok(vec![Row::value(NEVER_RUN, "KiB each", value, Goal::AtMost(8.0)).with_note(cost.note)])
}

async fn measure(context: &Context, ask: bool) -> anyhow::Result<Cost> {
    let module = guests::from_c(context, "guests/ballast.c", true)?;
    let folder = context.folder("cells")?;
    let cgroup = Cgroup::create();
    let worker = Worker::start(context, cgroup.as_ref().ok(), &[]).await?;
    // One cell first: what all share is no cell's own.
    let first = worker.serve(service(&module, &folder)?).await?;
    worker.ask(first, "/").await?;
    let before = used(&worker, cgroup.as_ref().ok()).await?;
    let cells = context.count(10_000, 50);
    let template = service(&module, &folder)?;
    let mut handles = Vec::with_capacity(cells);
    for _ in 0..cells {
        let uid = types::random_id();
        let mut start = template.clone();
        start.state_folder = folder.join(&uid);
        start.uid = uid;
        handles.push(worker.serve(start).await?);
    }
    if ask {
        for handle in handles {
            worker.ask(handle, "/").await?;
        }
    }
    let after = used(&worker, cgroup.as_ref().ok()).await?;
    let status = fs::read_to_string(format!("/proc/{}/status", worker.pid()))?;
    let each = |bytes: u64| bytes as f64 / cells as f64;
    let method = match &cgroup {
        Ok(cgroup) => cgroup.method(),
        Err(error) => format!("private pages and page tables ({error:#})"),
    };
    let note = format!(
        "{cells} cells; {method}; resident {:.1} KiB each, with caches {:.1} KiB each",
        each(after.resident.saturating_sub(before.resident)) / 1024.0,
        each(after.with_caches.saturating_sub(before.with_caches)) / 1024.0
    );
    let bytes_each = each(after.counted.saturating_sub(before.counted));
    drop(worker);
    drop(cgroup);
    Ok(Cost { bytes_each, threads: field(&status, "Threads:").unwrap_or(0), cells, note })
}

/// What a worker uses.
struct Used {
    /// What is judged: what the kernel cannot take back.
    counted: u64,
    resident: u64,
    /// And what it could.
    with_caches: u64,
}

async fn used(worker: &Worker, cgroup: Option<&Cgroup>) -> anyhow::Result<Used> {
    // What was written shall be on disk, so that its pages can be taken back.
    tokio::task::spawn_blocking(rustix::fs::sync).await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let read = |file| fs::read_to_string(format!("/proc/{}/{file}", worker.pid()));
    let (rollup, status) = (read("smaps_rollup")?, read("status")?);
    let kib = |text: &str, name| field(text, name).unwrap_or(0) << 10;
    let private = kib(&rollup, "Private_Clean:") + kib(&rollup, "Private_Dirty:");
    let resident = kib(&rollup, "Rss:");
    let Some(cgroup) = cgroup else {
        let counted = private + kib(&status, "VmPTE:");
        return Ok(Used { counted, resident, with_caches: counted });
    };
    let with_caches = cgroup.usage_bytes()?;
    cgroup.reclaim()?;
    Ok(Used { counted: cgroup.usage_bytes()?, resident, with_caches })
}
