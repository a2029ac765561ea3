//! Traces in files.

use super::{
    Trace, dlstreamer,
    grid::Grid,
    parquet::Table,
    plain,
    rows::{Lines, Rows},
};
use crate::{Error, Result};
use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

/// Of one file when it is unpacked: a small one could stand for any number of bytes.
const FILE_MAX_BYTES: u64 = 4 << 30;

impl Trace {
    /// Reads a file, or all `.csv`, `.csv.gz` and `.parquet` files of a folder together.
    ///
    /// Known are the hourly files of the DL Streamer testbed and plain ones with the columns
    /// `timestamp` (Unix seconds), `site`, `latency_ms` and, if they were measured, `cpu` and
    /// `requests` (each second), separated by commas. A line without a latency says that nothing
    /// was answered. Parquet files have the same columns; their timestamps may be of a time type, too.
    ///
    /// # Errors
    /// A file that cannot be read, one that is none of these, with the line or row, and a folder
    /// without any.
    pub fn read(path: &Path) -> Result<Self> {
        Self::read_all(&[path.to_owned()])
    }

    /// Reads several files or folders together, as [`Trace::read`] reads one.
    ///
    /// # Errors
    /// As of it.
    pub fn read_all(paths: &[PathBuf]) -> Result<Self> {
        let mut files = Vec::new();
        for path in paths {
            files.extend(self::files(path)?);
        }
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
        if [".csv", ".csv.gz", ".parquet"].iter().any(|end| name.ends_with(end)) {
            files.push(file);
        }
    }
    // The names of hourly files begin with their hours.
    files.sort();
    if files.is_empty() {
        let text =
            format!("there is no `.csv`, `.csv.gz` or `.parquet` file in `{}`", path.display());
        return Err(Error::Unfit(text));
    }
    Ok(files)
}

/// Puts a file's rows into the grid; answers its step in seconds.
fn read(path: &Path, grid: &mut Grid, done: &mut dlstreamer::Done) -> Result<u32> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let ends = |end: &str| path.extension().is_some_and(|extension| extension == end);
    if ends("parquet") {
        return read_rows(path, &mut Table::open(path, &file)?, grid, done);
    }
    let bytes: Box<dyn Read> =
        if ends("gz") { Box::new(flate2::read::MultiGzDecoder::new(file)) } else { Box::new(file) };
    let mut bytes = BufReader::new(bytes.take(FILE_MAX_BYTES));
    let semicolons = {
        let start = bytes.fill_buf().map_err(failed)?;
        let line = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
        line.contains(&b';')
    };
    let delimiter = if semicolons { b';' } else { b',' };
    read_rows(path, &mut Lines::open(path, delimiter, bytes)?, grid, done)
}

fn read_rows(
    path: &Path,
    rows: &mut dyn Rows,
    grid: &mut Grid,
    done: &mut dlstreamer::Done,
) -> Result<u32> {
    if let Some(columns) = dlstreamer::Columns::find(rows.names()) {
        return dlstreamer::read(rows, &columns, grid, done);
    }
    if let Some(columns) = plain::Columns::find(rows.names()) {
        return plain::read(rows, &columns, grid);
    }
    let reason = "these are not the columns of a trace: `timestamp`, `site`, `latency_ms` and, if \
                  measured, `cpu` and `requests`";
    Err(Error::Line { path: path.to_owned(), line: 1, reason: reason.into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sample;
    use std::io::Write;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    fn latencies(trace: &Trace, site: usize) -> Vec<Option<f64>> {
        trace.sites[site].samples.iter().map(|sample| sample.latency_ms).collect()
    }

    #[test]
    fn a_plain_trace_has_its_holes_and_its_step() {
        let text = "timestamp,site,latency_ms,cpu\n100,b,70.5,2\n100,a,NaN,\n110,a,61,1\n130,b,,\n";
        let folder = folder(&[("t.csv", text)]);

        let trace = Trace::read(folder.path()).unwrap();

        assert_eq!((trace.start_s, trace.step_s, trace.len()), (100, 10, 4));
        assert_eq!(trace.sites[0].name, "a");
        assert_eq!(latencies(&trace, 0), [None, Some(61.0), None, None]);
        assert_eq!(
            trace.sites[1].samples[0],
            Sample { latency_ms: Some(70.5), cpu: Some(2.0), requests: None }
        );
        // Processors in use hold until the next measurement.
        assert_eq!(trace.sites[1].samples[3].cpu, Some(2.0));
    }

    const HEADER: &str = "timestamp;cluster;pipeline_id;pipelines_status_frame_count;\
        pipelines_status_realtime_pipeline_latency;pipelines_status_start_time;\
        pipelines_status_elapsed_time;node_cpu_usage\n";

    #[test]
    fn a_repeated_or_future_row_of_the_testbed_is_a_stall() {
        let first = format!(
            "{HEADER}1000;a;;;;;;4.5\n1000;a;p;10;0.07;900;100;\n1005;a;p;20;0.08;900;105;\n\
             1010;a;p;20;0.08;900;105;\n1015;a;p;30;0.06;900;120;\n1020;a;p;40;0.05;900;119;\n"
        );
        // The files overlap; then the pipeline was started again.
        let second = format!(
            "{HEADER}1020;a;p;40;0.05;900;119;\n1025;a;p;40;0.05;900;119;\n1030;a;q;3;0.09;1028;2;\n"
        );
        let folder = folder(&[("2.csv", &second), ("1.csv", &first), ("notes.txt", "x")]);

        let trace = Trace::read(folder.path()).unwrap();

        let expected = [Some(70.0), Some(80.0), None, None, Some(50.0), None, Some(90.0)];
        assert_eq!(latencies(&trace, 0), expected);
        assert_eq!(trace.sites[0].samples[6].cpu, Some(4.5));
    }

    #[test]
    fn packed_files_are_read_and_wrong_ones_are_told_by_line() {
        let folder =
            folder(&[("other.csv", "a,b\n1,2\n"), ("cut.csv", "timestamp,site,latency_ms\n1,a\n")]);
        let path = |name: &str| folder.path().join(name);
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(b"timestamp,site,latency_ms\n1,a,5\n6,a,7\n").unwrap();
        std::fs::write(path("packed.csv.gz"), packed.finish().unwrap()).unwrap();
        let says = |name: &str| Trace::read(&path(name)).unwrap_err().to_string();

        assert_eq!(
            latencies(&Trace::read(&path("packed.csv.gz")).unwrap(), 0),
            [Some(5.0), Some(7.0)]
        );
        assert!(says("other.csv").contains("not the columns of a trace"), "{}", says("other.csv"));
        assert!(says("cut.csv").contains("line 2"), "{}", says("cut.csv"));
        assert!(says("nowhere.csv").contains("cannot read"));
        std::fs::write(path("far.csv"), "timestamp,site,latency_ms\n0,a,5\n1,a,5\n999999999,a,7\n")
            .unwrap();
        assert!(says("far.csv").contains("limit"), "{}", says("far.csv"));
        for time in ["NaN", "-1", "1e300", "yesterday", ""] {
            std::fs::write(path("time.csv"), format!("timestamp,site,latency_ms\n{time},a,5\n"))
                .unwrap();
            assert!(says("time.csv").contains("is no time"), "{}", says("time.csv"));
        }
    }
}
