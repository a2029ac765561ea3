//! Traces of one's own: a line for each site and moment.

use super::{
    grid::Grid,
    read::{number, time, wrong},
};
use crate::Result;
use std::path::Path;

/// Where the columns are.
#[derive(Debug)]
pub(super) struct Columns {
    timestamp: usize,
    site: usize,
    latency: usize,
    cpu: Option<usize>,
    requests: Option<usize>,
}

impl Columns {
    /// Nothing if these are other files.
    pub(super) fn find(header: &csv::StringRecord) -> Option<Self> {
        let at = |name: &str| header.iter().position(|column| column.trim() == name);
        Some(Self {
            timestamp: at("timestamp")?,
            site: at("site")?,
            latency: at("latency_ms")?,
            cpu: at("cpu"),
            requests: at("requests"),
        })
    }
}

/// Puts all rows into the grid; answers the step in seconds, the shortest between two moments.
pub(super) fn read(
    path: &Path,
    rows: &mut csv::Reader<impl std::io::Read>,
    columns: &Columns,
    grid: &mut Grid,
) -> Result<u32> {
    let (mut last, mut step_s) = (None, i64::from(u32::MAX));
    let mut row = csv::StringRecord::new();
    while rows.read_record(&mut row).map_err(|error| wrong(path, &error))? {
        let line = row.position().map_or(0, csv::Position::line);
        let field = |column: usize| row.get(column).unwrap_or_default();
        let time_s = time(path, line, field(columns.timestamp))?;
        let cell = grid.cell(field(columns.site), time_s)?;
        cell.latency_ms = number(field(columns.latency));
        cell.cpu = columns.cpu.and_then(|column| number(field(column)));
        cell.requests = columns.requests.and_then(|column| number(field(column)));
        if let Some(last) = last.filter(|last| *last < time_s) {
            step_s = step_s.min(time_s - last);
        }
        last = Some(time_s);
    }
    Ok(u32::try_from(step_s).unwrap_or(u32::MAX).clamp(1, 3600))
}
