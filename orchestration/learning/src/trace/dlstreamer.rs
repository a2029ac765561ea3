//! The hourly files of the testbed on which DL Streamer pipelines ran at two clusters.
//!
//! Rows are of two kinds, those of a pipeline and those of a node. Some are stamped before they were
//! measured, and an exporter whose pipeline hangs repeats its last value: neither is an
//! observation, and both mean that no frame was answered.

use super::{grid::Grid, rows::Rows};
use crate::Result;
use std::collections::HashMap;

const STEP_S: u32 = 5;

/// Where the columns are that are read.
#[derive(Debug)]
pub(super) struct Columns {
    timestamp: usize,
    cluster: usize,
    pipeline: usize,
    latency: usize,
    frames: usize,
    started: usize,
    elapsed: usize,
    cpu: usize,
}

impl Columns {
    /// Nothing if these are other files.
    pub(super) fn find(names: &[String]) -> Option<Self> {
        let at = |name: &str| names.iter().position(|column| column == name);
        Some(Self {
            timestamp: at("timestamp")?,
            cluster: at("cluster")?,
            pipeline: at("pipeline_id")?,
            latency: at("pipelines_status_realtime_pipeline_latency")?,
            frames: at("pipelines_status_frame_count")?,
            started: at("pipelines_status_start_time")?,
            elapsed: at("pipelines_status_elapsed_time")?,
            cpu: at("node_cpu_usage")?,
        })
    }
}

/// What each cluster's pipeline had done at its last row, from file to file: a pipeline may hang
/// when the hour ends.
#[derive(Debug, Default)]
pub(super) struct Done(HashMap<String, Row>);

#[derive(Debug, Clone, Copy)]
struct Row {
    time_s: i64,
    started_s: f64,
    frames: f64,
    answered: bool,
}

/// Puts all rows into the grid; answers the step in seconds.
pub(super) fn read(
    rows: &mut dyn Rows,
    columns: &Columns,
    grid: &mut Grid,
    done: &mut Done,
) -> Result<u32> {
    let Columns { timestamp, cluster, pipeline, latency, frames, started, elapsed, cpu } = *columns;
    rows.choose(&[timestamp, cluster, pipeline, latency, frames, started, elapsed, cpu]);
    while rows.next()? {
        let time_s = rows.time(timestamp)?;
        let name = rows.field(cluster).text();
        let cell = grid.cell(&name, time_s)?;
        if rows.field(pipeline).text().is_empty() {
            cell.cpu = rows.field(cpu).number();
        } else {
            let answered = answered(rows, columns, time_s, &name, done);
            let latency = rows.field(latency).number().filter(|_| answered);
            cell.latency_ms = latency.map(|seconds| seconds * 1000.0);
        }
    }
    Ok(STEP_S)
}

/// Whether frames were answered since the last row of this cluster.
fn answered(
    rows: &dyn Rows,
    columns: &Columns,
    time_s: i64,
    cluster: &str,
    done: &mut Done,
) -> bool {
    let value = |column: usize| rows.field(column).number();
    let (Some(frames), Some(started)) = (value(columns.frames), value(columns.started)) else {
        return false;
    };
    let last = done.0.get(cluster);
    // The files overlap at their borders: a row that comes again is no repetition.
    if let Some(last) = last.filter(|last| last.time_s == time_s) {
        return last.answered;
    }
    let advanced = last.is_none_or(|last| last.started_s != started || last.frames < frames);
    let measured_s = started + value(columns.elapsed).unwrap_or(0.0);
    let answered = advanced && measured_s <= time_s as f64;
    done.0.insert(cluster.to_owned(), Row { time_s, started_s: started, frames, answered });
    answered
}
