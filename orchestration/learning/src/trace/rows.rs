//! Tables of measurements, row by row, whatever they are written as.

use crate::{Error, Result};
use std::{borrow::Cow, io::Read, path::Path};

/// The rows of a file.
pub(super) trait Rows {
    /// The names of the columns.
    fn names(&self) -> &[String];

    /// Says which columns are asked for, before the first row.
    fn choose(&mut self, columns: &[usize]);

    /// Goes on to the next row, first to the first; false behind the last.
    ///
    /// # Errors
    /// What cannot be read, with the place.
    fn next(&mut self) -> Result<bool>;

    /// What the row has in a column that was chosen.
    fn field(&self, column: usize) -> Field<'_>;

    /// Says what is wrong with this row.
    fn wrong(&self, reason: String) -> Error;

    /// The field as Unix time in whole seconds.
    ///
    /// # Errors
    /// One that is none.
    fn time(&self, column: usize) -> Result<i64> {
        // Beyond this, whole seconds are no longer exact in doubles, nor years sensible.
        const LAST: f64 = 1e12;
        let field = self.field(column);
        let seconds = field.number().filter(|seconds| *seconds < LAST);
        seconds.map(|seconds| seconds as i64).ok_or_else(|| {
            let shown: String = field.text().chars().take(40).collect();
            self.wrong(format!("`{shown}` is no time: write seconds since 1970"))
        })
    }
}

/// A field of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Field<'a> {
    /// Empty where there is nothing.
    Text(&'a str),
    Number(f64),
}

impl<'a> Field<'a> {
    pub(super) fn text(self) -> Cow<'a, str> {
        match self {
            Self::Text(text) => text.into(),
            Self::Number(number) => number.to_string().into(),
        }
    }

    /// A finite number that is not negative; nothing where there is none.
    pub(super) fn number(self) -> Option<f64> {
        let number = match self {
            Self::Text(text) => text.trim().parse().ok(),
            Self::Number(number) => Some(number),
        };
        number.filter(|value: &f64| value.is_finite() && *value >= 0.0)
    }
}

/// Lines of fields.
#[derive(Debug)]
pub(super) struct Lines<'a, R> {
    path: &'a Path,
    names: Vec<String>,
    rows: csv::Reader<R>,
    row: csv::StringRecord,
}

impl<'a, R: Read> Lines<'a, R> {
    /// Reads the first line, the header.
    ///
    /// # Errors
    /// A line that cannot be read.
    pub(super) fn open(path: &'a Path, delimiter: u8, bytes: R) -> Result<Self> {
        let mut rows =
            csv::ReaderBuilder::new().delimiter(delimiter).flexible(false).from_reader(bytes);
        let header = rows.headers().map_err(|error| wrong(path, &error))?;
        let names = header.iter().map(|name| name.trim().to_owned()).collect();
        Ok(Self { path, names, rows, row: csv::StringRecord::new() })
    }
}

impl<R: Read> Rows for Lines<'_, R> {
    fn names(&self) -> &[String] {
        &self.names
    }

    fn choose(&mut self, _: &[usize]) {}

    fn next(&mut self) -> Result<bool> {
        self.rows.read_record(&mut self.row).map_err(|error| wrong(self.path, &error))
    }

    fn field(&self, column: usize) -> Field<'_> {
        Field::Text(self.row.get(column).unwrap_or_default())
    }

    fn wrong(&self, reason: String) -> Error {
        let line = self.row.position().map_or(0, csv::Position::line);
        Error::Line { path: self.path.to_owned(), line, reason }
    }
}

/// A line that cannot be read.
fn wrong(path: &Path, error: &csv::Error) -> Error {
    let line = error.position().map_or(1, csv::Position::line);
    Error::Line { path: path.to_owned(), line, reason: error.to_string() }
}
