//! Traces in Parquet files, as pandas, PyArrow, Polars, DuckDB and Spark write them.
//!
//! What is read is what tables of measurements are made of: columns of numbers, times and texts, plain or by
//! dictionary, packed by Snappy, Zstandard or gzip. A file is a stranger's, and the sizes in it are claims: each is
//! compared with the bytes that are there before memory is taken for it, pages are read one at a time, and limited is
//! what all that is read comes to, and what is held at once. So memory follows the pages of the columns that are needed,
//! never the file, and time follows the file.

mod footer;
mod hybrid;
mod page;
#[cfg(test)]
mod tests;
mod thrift;

use super::rows::{Field, Rows};
use crate::{Error, Result};
use footer::{Chunk, Footer, Leaf, Meaning, Physical};
use page::{Dictionary, Header, Page};
use std::{cell::Cell, fs::File, io, os::unix::fs::FileExt, path::Path, rc::Rc};

/// A file begins and ends with it.
const MAGIC: &[u8; 4] = b"PAR1";
/// It says so little about each group of rows that this is for millions of them.
const FOOTER_MAX_BYTES: u64 = 16 << 20;
/// Of all pages of a file together, with their headers and values: a small file could stand for any number of bytes.
const UNPACKED_MAX_BYTES: u64 = 4 << 30;
/// Of all columns together: their pages, and where the values of their dictionaries lie.
const HELD_MAX_BYTES: u64 = 256 << 20;
/// A site's name or a time; a dictionary's longest text could be that of each row.
const TEXT_MAX_BYTES: usize = 4 << 10;
/// A Julian day's number on 1 January 1970.
const DAY_1970: i64 = 2_440_588;

type Answer<T> = std::result::Result<T, Fault>;

/// What is wrong with a file.
#[derive(Debug)]
enum Fault {
    /// Bytes end within something.
    Short,
    /// It is not what a writer wrote.
    Damaged(String),
    /// It is what is not read here.
    Foreign(String),
    Disk(io::Error),
}

impl Fault {
    fn damaged(reason: &str) -> Self {
        Self::Damaged(reason.to_owned())
    }

    fn foreign(reason: &str) -> Self {
        Self::Foreign(reason.to_owned())
    }

    fn of(self, path: &Path) -> Error {
        let path = path.to_owned();
        match self {
            Self::Short => Error::Damaged { path, reason: "it ends too early".into() },
            Self::Damaged(reason) => Error::Damaged { path, reason },
            Self::Foreign(reason) => {
                Error::Unfit(format!("`{}` cannot be read as Parquet: {reason}", path.display()))
            }
            Self::Disk(source) => Error::Read { path, source },
        }
    }
}

/// The file, how much of it was read and unpacked, and how much of that is in memory.
#[derive(Debug)]
struct Source<'a> {
    file: &'a File,
    size: u64,
    unpacked: Cell<u64>,
    held: Rc<Cell<u64>>,
}

/// Memory that counts as long as this lives.
#[derive(Debug)]
struct Held {
    bytes: u64,
    of: Rc<Cell<u64>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.of.set(self.of.get().saturating_sub(self.bytes));
    }
}

impl Source<'_> {
    fn read(&self, at: u64, length: usize) -> Answer<Vec<u8>> {
        let end = at.checked_add(length as u64);
        if end.is_none_or(|end| end > self.size) {
            return Err(Fault::Short);
        }
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, at).map_err(Fault::Disk)?;
        Ok(bytes)
    }

    fn spend(&self, bytes: u64) -> Answer<()> {
        let spent = self.unpacked.get().saturating_add(bytes);
        self.unpacked.set(spent);
        if spent <= UNPACKED_MAX_BYTES {
            return Ok(());
        }
        let most = UNPACKED_MAX_BYTES >> 30;
        Err(Fault::foreign(&format!("its columns have more than {most} GiB: give several files")))
    }

    /// Counts memory before it is taken.
    fn hold(&self, bytes: u64) -> Answer<Held> {
        let held = self.held.get().saturating_add(bytes);
        if held > HELD_MAX_BYTES {
            let most = HELD_MAX_BYTES >> 20;
            return Err(Fault::foreign(&format!(
                "pages of its columns take more than {most} MiB at once: write smaller ones"
            )));
        }
        self.held.set(held);
        Ok(Held { bytes, of: self.held.clone() })
    }

    fn footer(&self) -> Answer<Footer> {
        let length = self.size.checked_sub(8).ok_or(Fault::Short)?;
        let tail = self.read(length, 8)?;
        if &tail[4..] == b"PARE" {
            return Err(Fault::foreign("it is encrypted"));
        }
        if &tail[4..] != MAGIC {
            return Err(Fault::damaged("it does not end as Parquet files do"));
        }
        let told = u64::from(u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]));
        if told > FOOTER_MAX_BYTES {
            let most = FOOTER_MAX_BYTES >> 20;
            return Err(Fault::foreign(&format!("its description has more than {most} MiB")));
        }
        let start = length.checked_sub(told).ok_or(Fault::Short)?;
        Footer::read(&self.read(start, told as usize)?)
    }
}

/// The rows of a file.
#[derive(Debug)]
pub(super) struct Table<'a> {
    path: &'a Path,
    source: Source<'a>,
    footer: Footer,
    names: Vec<String>,
    chosen: Vec<usize>,
    /// The group that is read now, and how many of its rows are left.
    group: usize,
    left: u64,
    row: u64,
    /// Where the chosen columns are, and their values in this row; others have none.
    columns: Vec<Option<Column>>,
}

impl<'a> Table<'a> {
    /// Reads what the file says of itself.
    ///
    /// # Errors
    /// A file that cannot be read or is no Parquet file.
    pub(super) fn open(path: &'a Path, file: &'a File) -> Result<Self> {
        let opened = || {
            let size = file.metadata().map_err(Fault::Disk)?.len();
            let (unpacked, held) = (Cell::new(0), Rc::default());
            let source = Source { file, size, unpacked, held };
            let footer = source.footer()?;
            Ok((source, footer))
        };
        let (source, footer) = opened().map_err(|fault: Fault| fault.of(path))?;
        let names = footer.columns.iter().map(|(name, _)| name.clone()).collect();
        let columns = footer.columns.iter().map(|_| None).collect();
        let (chosen, group, left, row) = (Vec::new(), 0, 0, 0);
        Ok(Self { path, source, footer, names, chosen, group, left, row, columns })
    }

    fn begin(&mut self) -> Answer<bool> {
        let Some(group) = self.footer.groups.get(self.group) else { return Ok(false) };
        self.left = group.rows;
        self.group += 1;
        for &at in &self.chosen {
            let (name, leaf) = &self.footer.columns[at];
            let foreign = |reason: &String| Fault::foreign(&format!("column `{name}`: {reason}"));
            let leaf = leaf.as_ref().map_err(foreign)?;
            self.columns[at] = Some(Column::of(*leaf, group.chunks[at]));
        }
        Ok(true)
    }

    fn advance(&mut self) -> Answer<bool> {
        while self.left == 0 {
            if !self.begin()? {
                return Ok(false);
            }
        }
        self.left -= 1;
        self.row += 1;
        for column in self.columns.iter_mut().flatten() {
            column.advance(&self.source)?;
        }
        Ok(true)
    }
}

impl Rows for Table<'_> {
    fn names(&self) -> &[String] {
        &self.names
    }

    fn choose(&mut self, columns: &[usize]) {
        self.chosen = columns.to_vec();
    }

    fn next(&mut self) -> Result<bool> {
        self.advance().map_err(|fault| fault.of(self.path))
    }

    fn field(&self, column: usize) -> Field<'_> {
        self.columns[column].as_ref().map_or(Field::Text(""), |column| match &column.value {
            Value::Nothing => Field::Text(""),
            Value::Number(number) => Field::Number(*number),
            Value::Text(text) => Field::Text(text),
        })
    }

    fn wrong(&self, reason: String) -> Error {
        Error::Row { path: self.path.to_owned(), row: self.row, reason }
    }
}

/// One column's part in a group of rows.
#[derive(Debug)]
struct Column {
    leaf: Leaf,
    codec: i64,
    at: u64,
    end: u64,
    dictionary: Option<(Dictionary, Held)>,
    page: Option<(Page, Held)>,
    value: Value,
}

#[derive(Debug)]
enum Value {
    Nothing,
    Number(f64),
    Text(String),
}

impl Column {
    fn of(leaf: Leaf, Chunk { codec, start, bytes }: Chunk) -> Self {
        let end = start.saturating_add(bytes);
        let (dictionary, page, value) = (None, None, Value::Nothing);
        Self { leaf, codec, at: start, end, dictionary, page, value }
    }

    fn advance(&mut self, source: &Source<'_>) -> Answer<()> {
        while self.page.as_ref().is_none_or(|(page, _)| page.is_done()) {
            self.turn(source)?;
        }
        let (page, _) = self.page.as_mut().ok_or(Fault::Short)?;
        self.value = match page.next(self.dictionary.as_ref().map(|(values, _)| values))? {
            None => Value::Nothing,
            Some(bytes) => {
                if self.leaf.physical == Physical::Bytes {
                    source.spend(bytes.len() as u64)?;
                }
                value(self.leaf, bytes)?
            }
        };
        Ok(())
    }

    /// Reads the next page.
    fn turn(&mut self, source: &Source<'_>) -> Answer<()> {
        if self.at >= self.end.min(source.size) {
            return Err(Fault::damaged("a column has fewer values than there are rows"));
        }
        let (header, length) = Header::read(source, self.at, self.end.min(source.size))?;
        let start = self.at + length;
        self.at = start.saturating_add(header.packed());
        self.page = None;
        if self.at > self.end {
            return Err(Fault::Short);
        }
        if !header.is_data() && !header.is_dictionary() {
            return Ok(());
        }
        // A few bytes may say that they are any number of values.
        let bytes = header.packed().saturating_add(header.unpacked());
        source.spend(bytes.saturating_add(header.values()))?;
        if header.is_dictionary() {
            self.dictionary = None;
        }
        let held = source.hold(header.unpacked().saturating_add(header.places_bytes()))?;
        // Until it is unpacked.
        let _packed = source.hold(header.packed())?;
        let packed = source.read(start, header.packed() as usize)?;
        let bytes = header.unpack(self.codec, packed)?;
        match header.is_dictionary() {
            true => self.dictionary = Some((Dictionary::of(&header, self.leaf, bytes)?, held)),
            false => self.page = Some((Page::of(&header, self.leaf, bytes)?, held)),
        }
        Ok(())
    }
}

/// What bytes of a column's width stand for.
fn value(leaf: Leaf, bytes: &[u8]) -> Answer<Value> {
    let number = |value: i64| match leaf.meaning {
        Meaning::Time(units) => value.div_euclid(units) as f64,
        _ => value as f64,
    };
    let odd = || Fault::damaged("a value has not the length of its kind");
    Ok(Value::Number(match leaf.physical {
        Physical::Int32 if leaf.meaning == Meaning::Unsigned => {
            f64::from(u32::from_le_bytes(bytes.try_into().map_err(|_| odd())?))
        }
        Physical::Int64 if leaf.meaning == Meaning::Unsigned => {
            u64::from_le_bytes(bytes.try_into().map_err(|_| odd())?) as f64
        }
        Physical::Int32 => number(i32::from_le_bytes(bytes.try_into().map_err(|_| odd())?).into()),
        Physical::Int64 => number(i64::from_le_bytes(bytes.try_into().map_err(|_| odd())?)),
        Physical::Float => f32::from_le_bytes(bytes.try_into().map_err(|_| odd())?).into(),
        Physical::Double => f64::from_le_bytes(bytes.try_into().map_err(|_| odd())?),
        Physical::Int96 => {
            let (nanos, day) = bytes.split_first_chunk::<8>().ok_or_else(odd)?;
            let day = i32::from_le_bytes(day.try_into().map_err(|_| odd())?);
            let seconds = i64::from_le_bytes(*nanos).div_euclid(1_000_000_000);
            (i64::from(day) - DAY_1970).saturating_mul(86_400).saturating_add(seconds) as f64
        }
        Physical::Bytes => {
            if bytes.len() > TEXT_MAX_BYTES {
                let most = TEXT_MAX_BYTES >> 10;
                return Err(Fault::foreign(&format!("a text in it has more than {most} KiB")));
            }
            let text = std::str::from_utf8(bytes);
            let text = text.map_err(|_| Fault::damaged("a text in it is not UTF-8"))?;
            return Ok(Value::Text(text.to_owned()));
        }
    }))
}
