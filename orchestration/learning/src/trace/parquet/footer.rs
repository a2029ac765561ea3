//! What a file says of itself at its end: which columns it has, and where their parts lie.

use super::{
    Answer, Fault,
    thrift::{Kind, Thrift},
};

/// Of one file: an hour of a testbed has a hundred columns in one group of rows, and 20 KiB.
const COLUMNS_MAX: usize = 10_000;
/// Columns' parts of all groups of rows together; a writer takes 50 bytes at least to describe one.
const CHUNKS_MAX: usize = 1_000_000;

/// How values lie in pages that are not packed by a dictionary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Physical {
    Int32,
    Int64,
    /// Nanoseconds of a day and the day, as old writers note times.
    Int96,
    Float,
    Double,
    Bytes,
}

/// What the values mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    Plain,
    Unsigned,
    /// A time since 1970; so many are a second.
    Time(i64),
}

/// A column whose values are not lists and not parts of something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leaf {
    pub(super) physical: Physical,
    pub(super) meaning: Meaning,
    /// Whether values may be absent.
    pub(super) optional: bool,
}

/// A column's part within a group of rows.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Chunk {
    pub(super) codec: i64,
    pub(super) start: u64,
    pub(super) bytes: u64,
}

/// Rows that lie together.
#[derive(Debug, Clone, Default)]
pub(super) struct Group {
    pub(super) rows: u64,
    /// In the order of the columns.
    pub(super) chunks: Vec<Chunk>,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Footer {
    /// The names of columns, and, where they can be read, what they are.
    pub(super) columns: Vec<(String, Result<Leaf, String>)>,
    pub(super) groups: Vec<Group>,
}

/// One element of the schema.
#[derive(Debug, Default)]
struct Element {
    physical: Option<i64>,
    repetition: i64,
    name: String,
    children: i64,
    converted: Option<i64>,
    /// Units in a second, from the newer way of saying what is meant.
    time: Option<i64>,
    decimal: bool,
}

impl Footer {
    pub(super) fn read(bytes: &[u8]) -> Answer<Self> {
        let (mut elements, mut groups, mut left) = (Vec::new(), Vec::new(), CHUNKS_MAX);
        Thrift::new(bytes).structure(|thrift, number, kind| match number {
            2 => thrift.structures(kind, |thrift| {
                elements.push(element(thrift)?);
                if elements.len() <= 2 * COLUMNS_MAX { Ok(()) } else { Err(many()) }
            }),
            4 => thrift.structures(kind, |thrift| {
                groups.push(group(thrift, &mut left)?);
                Ok(())
            }),
            _ => Ok(false),
        })?;
        let columns = columns(elements)?;
        if groups.iter().any(|group| group.chunks.len() != columns.len()) {
            return Err(Fault::damaged("a group of rows has not all columns"));
        }
        apart(&groups)?;
        Ok(Self { columns, groups })
    }
}

/// Checks that no bytes stand for the rows of several groups: a small file would have any number of them.
fn apart(groups: &[Group]) -> Answer<()> {
    let read = groups.iter().filter(|group| group.rows > 0).flat_map(|group| &group.chunks);
    let mut chunks: Vec<_> = read
        .filter(|chunk| chunk.bytes > 0)
        .map(|chunk| (chunk.start, chunk.start.saturating_add(chunk.bytes)))
        .collect();
    chunks.sort_unstable();
    match chunks.windows(2).any(|pair| pair[1].0 < pair[0].1) {
        true => Err(Fault::damaged("columns of it overlap")),
        false => Ok(()),
    }
}

fn element(thrift: &mut Thrift<'_>) -> Answer<Element> {
    let mut found = Element::default();
    thrift.structure(|thrift, number, kind| {
        match number {
            1 => found.physical = Some(thrift.integer(kind)?),
            3 => found.repetition = thrift.integer(kind)?,
            4 => found.name = thrift.text(kind)?,
            5 => found.children = thrift.integer(kind)?,
            6 => found.converted = Some(thrift.integer(kind)?),
            10 => return logical(thrift, kind, &mut found),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(found)
}

/// A union: the number says what is meant.
fn logical(thrift: &mut Thrift<'_>, kind: Kind, found: &mut Element) -> Answer<bool> {
    thrift.inner(kind, |thrift, number, kind| match number {
        5 => {
            found.decimal = true;
            Ok(false)
        }
        8 => thrift.inner(kind, |thrift, number, kind| match number {
            // Whether it is UTC (1) is passed by: what is not is taken to be.
            2 => thrift.inner(kind, |_, unit, _| {
                found.time = match unit {
                    1 => Some(1_000),
                    2 => Some(1_000_000),
                    _ => Some(1_000_000_000),
                };
                Ok(false)
            }),
            _ => Ok(false),
        }),
        _ => Ok(false),
    })
}

/// `left` is how many more parts of columns there may be; a group without any counts, too.
fn group(thrift: &mut Thrift<'_>, left: &mut usize) -> Answer<Group> {
    let mut take = || -> Answer<()> {
        *left = left.checked_sub(1).ok_or_else(many)?;
        Ok(())
    };
    take()?;
    let mut found = Group::default();
    thrift.structure(|thrift, number, kind| match number {
        1 => thrift.structures(kind, |thrift| {
            take()?;
            found.chunks.push(chunk(thrift)?);
            Ok(())
        }),
        3 => {
            found.rows = size(thrift.integer(kind)?)?;
            Ok(true)
        }
        _ => Ok(false),
    })?;
    Ok(found)
}

fn chunk(thrift: &mut Thrift<'_>) -> Answer<Chunk> {
    let (mut found, mut first, mut dictionary) = (Chunk::default(), 0, None);
    thrift.structure(|thrift, number, kind| match number {
        1 => Err(Fault::foreign("columns lie in other files: write one file")),
        3 => thrift.inner(kind, |thrift, number, kind| {
            match number {
                4 => found.codec = thrift.integer(kind)?,
                7 => found.bytes = size(thrift.integer(kind)?)?,
                9 => first = size(thrift.integer(kind)?)?,
                11 => dictionary = Some(size(thrift.integer(kind)?)?),
                _ => return Ok(false),
            }
            Ok(true)
        }),
        _ => Ok(false),
    })?;
    // Some writers say that there is a dictionary at 0 where there is none.
    found.start = dictionary.filter(|at| *at > 0).map_or(first, |at| at.min(first));
    Ok(found)
}

/// The columns in the order of their chunks: the leaves of a tree that is written depth first.
fn columns(elements: Vec<Element>) -> Answer<Vec<(String, Result<Leaf, String>)>> {
    let mut columns = Vec::new();
    // Children that are still to come, of all that is open.
    let mut open: Vec<i64> = Vec::new();
    for element in elements {
        let own = open.len() == 1;
        if let Some(left) = open.last_mut() {
            *left -= 1;
        } else if !columns.is_empty() {
            return Err(Fault::damaged("its columns do not fit together"));
        }
        if element.children > 0 {
            open.push(element.children);
        } else if !open.is_empty() {
            columns.push((element.name.clone(), leaf(&element, own)));
        }
        while open.last() == Some(&0) {
            open.pop();
        }
        if columns.len() > COLUMNS_MAX || open.len() > COLUMNS_MAX {
            return Err(many());
        }
    }
    match open.is_empty() {
        true => Ok(columns),
        false => Err(Fault::damaged("its columns do not fit together")),
    }
}

fn leaf(element: &Element, own: bool) -> Result<Leaf, String> {
    if !own || element.repetition == 2 {
        return Err("it has lists or parts: write plain numbers and texts".into());
    }
    if element.decimal || element.converted == Some(5) {
        return Err("it has decimal numbers: write floating-point ones".into());
    }
    let physical = match element.physical {
        Some(1) => Physical::Int32,
        Some(2) => Physical::Int64,
        Some(3) => Physical::Int96,
        Some(4) => Physical::Float,
        Some(5) => Physical::Double,
        Some(6) => Physical::Bytes,
        _ => return Err("it has truths or bytes of a fixed length: write numbers or texts".into()),
    };
    let meaning = match (element.time, element.converted) {
        (Some(units), _) => Meaning::Time(units),
        (None, Some(9)) => Meaning::Time(1_000),
        (None, Some(10)) => Meaning::Time(1_000_000),
        (None, Some(11..=14)) => Meaning::Unsigned,
        _ => Meaning::Plain,
    };
    Ok(Leaf { physical, meaning, optional: element.repetition == 1 })
}

fn size(value: i64) -> Answer<u64> {
    u64::try_from(value).map_err(|_| Fault::damaged("a size in it is negative"))
}

fn many() -> Fault {
    let text = format!("it has more than {COLUMNS_MAX} columns, or {CHUNKS_MAX} parts of them");
    Fault::foreign(&text)
}
