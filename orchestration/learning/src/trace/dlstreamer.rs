//! The hourly files of the testbed on which DL Streamer pipelines ran at two clusters.
//!
//! Rows are of two kinds, those of a pipeline and those of a node. Some are stamped before they were
//! measured, and an exporter whose pipeline hangs repeats its last value: neither is an
//! observation, and both mean that no frame was answered.

use super::{
    grid::Grid,
    read::{number, time, wrong},
};
use crate::Result;
use std::{collections::HashMap, path::Path};

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
    pub(super) fn find(header: &csv::StringRecord) -> Option<Self> {
        let at = |name: &str| header.iter().position(|column| column == name);
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
    path: &Path,
    rows: &mut csv::Reader<impl std::io::Read>,
    columns: &Columns,
    grid: &mut Grid,
    done: &mut Done,
) -> Result<u32> {
    let mut row = csv::StringRecord::new();
    while rows.read_record(&mut row).map_err(|error| wrong(path, &error))? {
        let line = row.position().map_or(0, csv::Position::line);
        let field = |column: usize| row.get(column).unwrap_or_default();
        let time_s = time(path, line, field(columns.timestamp))?;
        let cluster = field(columns.cluster);
        let cell = grid.cell(cluster, time_s)?;
        if field(columns.pipeline).is_empty() {
            cell.cpu = number(field(columns.cpu));
        } else {
            let answered = answered(&row, columns, time_s, cluster, done);
            let latency = number(field(columns.latency)).filter(|_| answered);
            cell.latency_ms = latency.map(|seconds| seconds * 1000.0);
        }
    }
    Ok(STEP_S)
}

/// Whether frames were answered since the last row of this cluster.
fn answered(
    row: &csv::StringRecord,
    columns: &Columns,
    time_s: i64,
    cluster: &str,
    done: &mut Done,
) -> bool {
    let value = |column: usize| row.get(column).and_then(number);
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
