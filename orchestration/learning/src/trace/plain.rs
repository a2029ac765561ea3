//! Traces of one's own: a line for each site and moment.

use super::{grid::Grid, rows::Rows};
use crate::Result;

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
    pub(super) fn find(names: &[String]) -> Option<Self> {
        let at = |name: &str| names.iter().position(|column| column == name);
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
pub(super) fn read(rows: &mut dyn Rows, columns: &Columns, grid: &mut Grid) -> Result<u32> {
    let Columns { timestamp, site, latency, cpu, requests } = *columns;
    let measured = [Some(latency), cpu, requests].into_iter().flatten();
    rows.choose(&[timestamp, site].into_iter().chain(measured).collect::<Vec<_>>());
    let (mut last, mut step_s) = (None, i64::from(u32::MAX));
    while rows.next()? {
        let number = |column: usize| rows.field(column).number();
        let time_s = rows.time(timestamp)?;
        let cell = grid.cell(&rows.field(site).text(), time_s)?;
        cell.latency_ms = number(latency);
        cell.cpu = cpu.and_then(number);
        cell.requests = requests.and_then(number);
        if let Some(last) = last.filter(|last| *last < time_s) {
            step_s = step_s.min(time_s - last);
        }
        last = Some(time_s);
    }
    Ok(u32::try_from(step_s).unwrap_or(u32::MAX).clamp(1, 3600))
}
