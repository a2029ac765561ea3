//! Traces in files.

use super::{Trace, dlstreamer, grid::Grid, plain};
use crate::{Error, Result};
use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

/// Of one file when it is unpacked: a small one could stand for any number of bytes.
const FILE_MAX_BYTES: u64 = 4 << 30;

impl Trace {
    /// Reads a file, or all `.csv` and `.csv.gz` files of a folder together.
    ///
    /// Known are the hourly files of the DL Streamer testbed and plain ones with the columns
    /// `timestamp` (Unix seconds), `site`, `latency_ms` and, if it was measured, `cpu`, separated
    /// by commas. A line without a latency says that nothing was answered.
    ///
    /// # Errors
    /// A file that cannot be read, one that is none of these, with the line, and a folder
    /// without any.
    pub fn read(path: &Path) -> Result<Self> {
        let files = files(path)?;
        let mut grid = Grid::default();
        let (mut done, mut step_s) = (dlstreamer::Done::default(), 0);
        for file in &files {
            step_s = read(file, &mut grid, &mut done)?;
        }
        grid.trace(step_s)
    }
}

fn files(path: &Path) -> Result<Vec<PathBuf>> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    if !std::fs::metadata(path).map_err(failed)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = std::fs::read_dir(path).map_err(failed)?;
    let mut files = Vec::new();
    for entry in entries {
        let file = entry.map_err(failed)?.path();
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        if name.ends_with(".csv") || name.ends_with(".csv.gz") {
            files.push(file);
        }
    }
    // The names of hourly files begin with their hours.
    files.sort();
    if files.is_empty() {
        let text = format!("there is no `.csv` or `.csv.gz` file in `{}`", path.display());
        return Err(Error::Unfit(text));
    }
    Ok(files)
}

/// Puts a file's rows into the grid; answers its step in seconds.
fn read(path: &Path, grid: &mut Grid, done: &mut dlstreamer::Done) -> Result<u32> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let packed = path.extension().is_some_and(|extension| extension == "gz");
    let bytes: Box<dyn Read> =
        if packed { Box::new(flate2::read::MultiGzDecoder::new(file)) } else { Box::new(file) };
    let mut bytes = BufReader::new(bytes.take(FILE_MAX_BYTES));
    let semicolons = {
        let start = bytes.fill_buf().map_err(failed)?;
        let line = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
        line.contains(&b';')
    };
    let delimiter = if semicolons { b';' } else { b',' };
    let mut rows = csv::ReaderBuilder::new().delimiter(delimiter).flexible(false).from_reader(bytes);
    let header = rows.headers().map_err(|error| wrong(path, &error))?.clone();
    if let Some(columns) = dlstreamer::Columns::find(&header) {
        dlstreamer::read(path, &mut rows, &columns, grid, done)
    } else if let Some(columns) = plain::Columns::find(&header) {
        plain::read(path, &mut rows, &columns, grid)
    } else {
        let reason = "these are not the columns of a trace: `timestamp`, `site`, `latency_ms` \
                      and, if measured, `cpu`";
        Err(Error::Line { path: path.to_owned(), line: 1, reason: reason.into() })
    }
}

/// A row that cannot be read.
pub(super) fn wrong(path: &Path, error: &csv::Error) -> Error {
    let line = error.position().map_or(1, csv::Position::line);
    Error::Line { path: path.to_owned(), line, reason: error.to_string() }
}

/// The field as a finite number that is not negative; nothing where there is none.
pub(super) fn number(field: &str) -> Option<f64> {
    field.trim().parse().ok().filter(|value: &f64| value.is_finite() && *value >= 0.0)
}

/// The field as Unix time in whole seconds.
pub(super) fn time(path: &Path, line: u64, field: &str) -> Result<i64> {
    // Beyond this, whole seconds are no longer exact in doubles, nor years sensible.
    const LAST: f64 = 1e12;
    let seconds = number(field).filter(|seconds| *seconds < LAST).map(|seconds| seconds as i64);
    seconds.ok_or_else(|| {
        let shown: String = field.chars().take(40).collect();
        let reason = format!("`{shown}` is no time: write seconds since 1970");
        Error::Line { path: path.to_owned(), line, reason }
    })
}
