//! Files of jobs: CSV with a header.

use super::{Job, Kind};
use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};
use types::Bytes;

/// Most jobs in a file.
pub const JOBS_MAX: usize = 10_000_000;

/// Longest line.
const LINE_MAX_BYTES: usize = 4096;

/// Every column, in the order of the documentation. The first five are required.
pub const COLUMNS: [&str; 11] = [
    "job",
    "arrival_s",
    "kind",
    "cpus",
    "work_cpu_s",
    "tenant",
    "min_cpus",
    "max_cpus",
    "memory_mib",
    "serial_fraction",
    "communication",
];
const REQUIRED: usize = 5;

/// Where a file is wrong, and how.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}{}: {problem}", .column.map(|column| format!(", column `{column}`")).unwrap_or_default())]
pub struct TraceError {
    /// Counted from 1: the header.
    pub line: usize,
    /// Which value, if it is about one.
    pub column: Option<&'static str>,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Not even a header.
    #[error("the file is empty: its first line names the columns, such as `{}`", COLUMNS.join(","))]
    Empty,
    /// Not text.
    #[error("the line is not UTF-8")]
    NotText,
    /// Longer than a job can be.
    #[error("the line is longer than {LINE_MAX_BYTES} bytes")]
    LongLine,
    /// The header names something else.
    #[error("there is no column `{name}`: known are {}", COLUMNS.join(", "))]
    UnknownColumn {
        /// As the header has it.
        name: String,
    },
    /// The header names one twice.
    #[error("the header has it twice")]
    ColumnTwice,
    /// The header lacks one.
    #[error("the header lacks it; required are {}", COLUMNS[..REQUIRED].join(", "))]
    ColumnMissing,
    /// Too few or too many.
    #[error("the line has {found} values, the header {expected}")]
    Values {
        /// In this line.
        found: usize,
        /// In the header.
        expected: usize,
    },
    /// Not what the column holds.
    #[error("`{value}` is not {expected}")]
    Value {
        /// As it stands there.
        value: String,
        /// What would be right.
        expected: &'static str,
    },
    /// It was there before.
    #[error("job `{0}` is in the file twice")]
    JobTwice(String),
    /// More than a simulation takes.
    #[error("a file has at most {JOBS_MAX} jobs")]
    TooMany,
}

/// Reads a file of jobs. They may be in any order; spaces around values and empty lines do not
/// count. Values are not quoted.
///
/// # Errors
/// The first thing that is wrong, with its line and column.
pub fn read_trace(bytes: &[u8]) -> Result<Vec<Job>, TraceError> {
    let mut lines = bytes.split(|byte| *byte == b'\n').zip(1..);
    let (header, number) = loop {
        let Some((line, number)) = lines.next() else {
            return Err(TraceError { line: 1, column: None, problem: Problem::Empty });
        };
        let line = text(line, number)?;
        if !line.is_empty() {
            break (line, number);
        }
    };
    let header = Header::read(header, number)?;
    let mut reader = Reader { header, tenants: BTreeMap::new() };
    let mut jobs = Vec::new();
    let mut names = HashSet::new();
    for (line, number) in lines {
        let line = text(line, number)?;
        if line.is_empty() {
            continue;
        }
        if jobs.len() == JOBS_MAX {
            return Err(TraceError { line: number, column: None, problem: Problem::TooMany });
        }
        let job = reader.job(line, number)?;
        if !names.insert(job.name.clone()) {
            return Err(error(number, "job", Problem::JobTwice(job.name)));
        }
        jobs.push(job);
    }
    Ok(jobs)
}

fn error(line: usize, column: &'static str, problem: Problem) -> TraceError {
    TraceError { line, column: Some(column), problem }
}

fn text(line: &[u8], number: usize) -> Result<&str, TraceError> {
    let wrong = |problem| TraceError { line: number, column: None, problem };
    if line.len() > LINE_MAX_BYTES {
        return Err(wrong(Problem::LongLine));
    }
    // Spreadsheets begin a file with a byte-order mark.
    let line = if number == 1 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) } else { line };
    std::str::from_utf8(line).map(str::trim).map_err(|_| wrong(Problem::NotText))
}

/// Which place in a line holds each of [`COLUMNS`].
struct Header {
    places: [Option<usize>; COLUMNS.len()],
    width: usize,
}

impl Header {
    fn read(line: &str, number: usize) -> Result<Self, TraceError> {
        let mut places = [None; COLUMNS.len()];
        let mut width = 0;
        for (place, name) in line.split(',').map(str::trim).enumerate() {
            let Some(column) = COLUMNS.iter().position(|column| *column == name) else {
                let problem = Problem::UnknownColumn { name: excerpt(name) };
                return Err(TraceError { line: number, column: None, problem });
            };
            if places[column].replace(place).is_some() {
                return Err(error(number, COLUMNS[column], Problem::ColumnTwice));
            }
            width = place + 1;
        }
        match places[..REQUIRED].iter().position(Option::is_none) {
            Some(missing) => Err(error(number, COLUMNS[missing], Problem::ColumnMissing)),
            None => Ok(Self { places, width }),
        }
    }
}

/// One line's values.
struct Line<'a> {
    number: usize,
    header: &'a Header,
    values: Vec<&'a str>,
}

impl<'a> Line<'a> {
    /// The value of a column; nothing if it is empty or the file has no such column.
    fn get(&self, column: &'static str) -> Option<&'a str> {
        let at = COLUMNS.iter().position(|known| *known == column)?;
        let value = *self.values.get(self.header.places[at]?)?;
        (!value.is_empty()).then_some(value)
    }

    fn wrong(&self, column: &'static str, expected: &'static str) -> TraceError {
        let value = excerpt(self.get(column).unwrap_or_default());
        error(self.number, column, Problem::Value { value, expected })
    }

    fn required(
        &self,
        column: &'static str,
        expected: &'static str,
    ) -> Result<&'a str, TraceError> {
        self.get(column).ok_or_else(|| self.wrong(column, expected))
    }

    fn count(&self, column: &'static str, default: u32) -> Result<u32, TraceError> {
        let Some(value) = self.get(column) else { return Ok(default) };
        let number = digits(value).and_then(|number| u32::try_from(number).ok());
        number
            .filter(|number| (1..=CPUS_MAX).contains(number))
            .ok_or_else(|| self.wrong(column, CPUS))
    }

    fn decimal(
        &self,
        column: &'static str,
        (least, most): (f64, f64),
        expected: &'static str,
    ) -> Result<Option<f64>, TraceError> {
        let Some(value) = self.get(column) else { return Ok(None) };
        // `inf`, `NaN` and signs are numbers to the library, not to us.
        let plain = value.bytes().all(|byte| byte.is_ascii_digit() || b".eE-+".contains(&byte));
        let number = value.parse::<f64>().ok().filter(|_| plain && !value.starts_with(['-', '+']));
        let number = number.filter(|number| (least..=most).contains(number));
        number.map(Some).ok_or_else(|| self.wrong(column, expected))
    }
}

const CPUS_MAX: u32 = 1_000_000;
const CPUS: &str = "a whole number from 1 to 1000000";
const NAME: &str = "a name: 1 to 128 letters, digits, dashes, dots and underscores";
const KIND: &str = "a kind: write mpi, openmp or single";
const SECONDS: &str = "a number of seconds from 0 to 1000000000";
const WORK: &str = "a number of seconds from 0.000001 to 1000000000";
const MEMORY: &str = "a whole number of MiB from 0 to 1000000000";
const FRACTION: &str = "a number from 0 to 1";
const COMMUNICATION: &str = "a number from 0 to 100";

struct Reader {
    header: Header,
    /// Each name once, however many jobs.
    tenants: BTreeMap<String, Arc<str>>,
}

impl Reader {
    fn job(&mut self, line: &str, number: usize) -> Result<Job, TraceError> {
        let values: Vec<&str> = line.split(',').map(str::trim).collect();
        let (found, expected) = (values.len(), self.header.width);
        if found != expected {
            let problem = Problem::Values { found, expected };
            return Err(TraceError { line: number, column: None, problem });
        }
        let tenants = &mut self.tenants;
        let line = Line { number, header: &self.header, values };
        let (cpus, cpus_min, cpus_max, kind) = cpus(&line)?;
        let arrival = line.decimal("arrival_s", (0.0, 1e9), SECONDS)?;
        let arrival = arrival.ok_or_else(|| line.wrong("arrival_s", SECONDS))?;
        let work = line.decimal("work_cpu_s", (1e-6, 1e9), WORK)?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "within limits"
        )]
        let arrival_us = (arrival * 1e6).round() as u64;
        Ok(Job {
            name: name(&line, "job")?.to_owned(),
            tenant: tenant(&line, tenants)?,
            arrival_us,
            kind,
            cpus,
            cpus_min,
            cpus_max,
            memory: memory(&line)?,
            work_cpu_s: work.ok_or_else(|| line.wrong("work_cpu_s", WORK))?,
            serial_fraction: line.decimal("serial_fraction", (0.0, 1.0), FRACTION)?.unwrap_or(0.0),
            communication: line
                .decimal("communication", (0.0, 100.0), COMMUNICATION)?
                .unwrap_or(if kind == Kind::Mpi { 1.0 } else { 0.0 }),
        })
    }
}

/// Asked for, fewest, most, and of what kind.
fn cpus(line: &Line<'_>) -> Result<(u32, u32, u32, Kind), TraceError> {
    let kind = match line.required("kind", KIND)? {
        "mpi" => Kind::Mpi,
        "openmp" => Kind::OpenMp,
        "single" => Kind::Single,
        _ => return Err(line.wrong("kind", KIND)),
    };
    line.required("cpus", CPUS)?;
    let cpus = line.count("cpus", 1)?;
    if kind == Kind::Single && cpus != 1 {
        return Err(line.wrong("cpus", "1, as a job of kind single has"));
    }
    let (least, most) = (line.count("min_cpus", cpus)?, line.count("max_cpus", cpus)?);
    if kind != Kind::OpenMp && least != cpus {
        return Err(line.wrong("min_cpus", "equal to `cpus`: only openmp jobs vary"));
    }
    if kind != Kind::OpenMp && most != cpus {
        return Err(line.wrong("max_cpus", "equal to `cpus`: only openmp jobs vary"));
    }
    if least > cpus {
        return Err(line.wrong("min_cpus", "at most `cpus`"));
    }
    if most < cpus {
        return Err(line.wrong("max_cpus", "at least `cpus`"));
    }
    Ok((cpus, least, most, kind))
}

fn name<'a>(line: &Line<'a>, column: &'static str) -> Result<&'a str, TraceError> {
    let name = line.required(column, NAME)?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let good = name.len() <= 128 && name.bytes().all(allowed);
    good.then_some(name).ok_or_else(|| line.wrong(column, NAME))
}

fn tenant(line: &Line<'_>, known: &mut BTreeMap<String, Arc<str>>) -> Result<Arc<str>, TraceError> {
    let name = match line.get("tenant") {
        Some(_) => name(line, "tenant")?,
        None => "default",
    };
    if let Some(tenant) = known.get(name) {
        return Ok(Arc::clone(tenant));
    }
    let tenant: Arc<str> = name.into();
    known.insert(name.to_owned(), Arc::clone(&tenant));
    Ok(tenant)
}

fn memory(line: &Line<'_>) -> Result<Bytes, TraceError> {
    let Some(value) = line.get("memory_mib") else { return Ok(Bytes(0)) };
    let mib = digits(value).filter(|mib| *mib <= 1_000_000_000);
    mib.map(|mib| Bytes(mib << 20)).ok_or_else(|| line.wrong("memory_mib", MEMORY))
}

/// `str::parse` would also take a sign.
fn digits(value: &str) -> Option<u64> {
    value.bytes().all(|byte| byte.is_ascii_digit()).then(|| value.parse().ok()).flatten()
}

/// Enough of a stranger's text to find it again.
fn excerpt(text: &str) -> String {
    text.chars().take(60).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
