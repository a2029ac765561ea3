//! Files that other programs wrote (`tests/data/make.py`), and what can be done to them.

use super::{super::rows::Rows, Table, UNPACKED_MAX_BYTES};
use crate::{Trace, model::Draw};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

#[test]
fn what_others_write_is_the_same_trace_as_in_csv() {
    let plain = Trace::read(&data("plain.csv")).unwrap();
    assert_eq!((plain.len(), plain.sites.len(), plain.step_s), (20, 2, 10));
    assert!(plain.sites[0].samples.iter().any(|sample| sample.latency_ms.is_none()));

    for name in ["pandas", "fastparquet", "polars", "pages", "bare", "nested"] {
        let read = Trace::read(&data(&format!("{name}.parquet"))).unwrap();
        assert_eq!(read, plain, "{name}");
    }
}

#[test]
fn what_is_not_read_is_said_with_what_to_write() {
    let says = |name: &str| Trace::read(&data(name)).unwrap_err().to_string();
    assert!(says("brotli.parquet").contains("compressed by Brotli: write it with Snappy"));
    assert!(says("differences.parquet").contains("written as differences: write them plain"));

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    let whole = fs::read(data("pages.parquet")).unwrap();
    let said = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        Trace::read(&path).unwrap_err().to_string()
    };
    assert!(said(b"").contains("ends too early"));
    assert!(said(b"timestamp,site,latency_ms\n").contains("does not end as Parquet"));
    let mut long = whole.clone();
    let length = long.len() - 8;
    long[length..length + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(said(&long).contains("more than 16 MiB"), "{}", said(&long));
    // A column of another name: it is no trace.
    let at = whole.windows(10).rposition(|text| text == b"latency_ms").unwrap();
    for (at, _) in whole.windows(10).enumerate().filter(|(_, text)| text == b"latency_ms") {
        long[at] = b'x';
    }
    long[at] = b'x';
    long[length..].copy_from_slice(&whole[length..]);
    assert!(said(&long).contains("not the columns of a trace"), "{}", said(&long));
}

/// What a file says of itself is refused before memory is taken for it.
#[test]
fn claims_are_compared_with_the_bytes_that_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    let said = |footer: &[u8]| {
        let length = u32::try_from(footer.len()).unwrap().to_le_bytes();
        fs::write(&path, [b"PAR1", footer, &length, b"PAR1"].concat()).unwrap();
        Trace::read(&path).unwrap_err().to_string()
    };
    // Fields 2 and 4 are lists of structures; an empty one is a byte.
    let list = |field: u8, count: usize| {
        let mut footer = vec![field << 4 | 9, 0xfc];
        let mut left = count;
        while left > 127 {
            footer.push(left as u8 | 128);
            left >>= 7;
        }
        footer.push(left as u8);
        footer.extend(vec![0; count.min(2_000_000)]);
        footer
    };
    let deep = said(&[0x1c; 100]);
    assert!(deep.contains("cannot be read"), "{deep}");
    let long = said(&list(2, usize::MAX >> 1));
    assert!(long.contains("cannot be read"), "{long}");
    for (field, count) in [(2, 20_001), (4, 1_000_001)] {
        let many = said(&list(field, count));
        assert!(many.contains("more than 10000 columns"), "{many}");
    }
}

/// Reads all columns that can be read; answers whether the end came.
fn read(path: &Path) -> bool {
    let file = File::open(path).unwrap();
    let Ok(mut table) = Table::open(path, &file) else { return false };
    let readable = |(_, leaf): &(String, Result<_, _>)| leaf.is_ok();
    let chosen: Vec<_> =
        (0..table.names.len()).filter(|at| readable(&table.footer.columns[*at])).collect();
    table.choose(&chosen);
    // A damaged file may say that it has any number of rows, and mean the same one.
    for _ in 0..100_000 {
        match table.next() {
            Ok(true) => chosen.iter().for_each(|column| drop(table.field(*column).text())),
            Ok(false) => return true,
            Err(error) => {
                assert_eq!(error.kind(), types::ErrorKind::Invalid, "{error}");
                return false;
            }
        }
    }
    false
}

/// Bytes of files are replaced, and they are cut: they are read, or what is wrong is said.
#[test]
fn a_damaged_file_is_read_or_an_error_and_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    let mut random = Draw(7);
    let mut refused = 0;
    let mut with = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        refused += u32::from(!read(&path));
    };
    for name in ["pages", "bare", "fastparquet", "nested"] {
        let whole = fs::read(data(&format!("{name}.parquet"))).unwrap();
        for _ in 0..250 {
            let at = random.below(whole.len());
            let mut bytes = whole.clone();
            bytes[at] = random.below(256) as u8;
            with(&bytes);
            bytes[at] = [0xff, 0x00, whole[at] ^ 0x80][at % 3];
            with(&bytes);
        }
        for end in (0..whole.len()).step_by(whole.len() / 50) {
            with(&[&whole[..end], &whole[whole.len() - 8..]].concat());
        }
    }
    assert!(refused > 200, "{refused}");
}

/// What a writer writes, in Thrift's compact form.
enum Thrift<'a> {
    Number(i64),
    Text(&'a str),
    List(Vec<Thrift<'a>>),
    Structure(Vec<(u8, Thrift<'a>)>),
}
use Thrift::{List, Number, Structure, Text};

impl Thrift<'_> {
    fn kind(&self) -> u8 {
        match self {
            Number(_) => 6,
            Text(_) => 8,
            List(_) => 9,
            Structure(_) => 12,
        }
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        match self {
            Number(number) => varint(bytes, (number << 1 ^ number >> 63) as u64),
            Text(text) => {
                varint(bytes, text.len() as u64);
                bytes.extend(text.as_bytes());
            }
            List(all) => {
                bytes.push(0xf0 | all.first().map_or(12, Self::kind));
                varint(bytes, all.len() as u64);
                all.iter().for_each(|one| one.write(bytes));
            }
            Structure(fields) => {
                let mut last = 0;
                for (number, field) in fields {
                    bytes.push((number - last) << 4 | field.kind());
                    field.write(bytes);
                    last = *number;
                }
                bytes.push(0);
            }
        }
    }
}

fn varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number > 127 {
        bytes.push(number as u8 | 128);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// A page of a kind (0: of values, 1: of none, 2: a dictionary), which says that it has so many bytes and values.
fn page(kind: u8, unpacked: usize, values: i64, encoding: i64, packed: &[u8]) -> Vec<u8> {
    let part = Structure(vec![(1, Number(values)), (2, Number(encoding))]);
    let head = [(1, kind.into()), (2, unpacked as i64), (3, packed.len() as i64)];
    let head = head.map(|(number, value)| (number, Number(value)));
    let mut bytes = Vec::new();
    Structure(head.into_iter().chain([(5 + kind, part)]).collect()).write(&mut bytes);
    bytes.extend(packed);
    bytes
}

/// Writes a file of columns of texts: for each group its rows, and the place and length of each column's part.
fn written(path: &Path, codec: i64, body: &[u8], groups: &[(i64, &[(usize, usize)])]) {
    let columns = groups[0].1.len();
    let mut schema = vec![Structure(vec![(4, Text("all")), (5, Number(columns as i64))])];
    let column = || Structure(vec![(1, Number(6)), (3, Number(0)), (4, Text("text"))]);
    schema.extend((0..columns).map(|_| column()));
    let chunk = |(at, length): &(usize, usize)| {
        let fields = [(4, codec), (7, *length as i64), (9, 4 + *at as i64)];
        let fields = fields.map(|(number, value)| (number, Number(value)));
        Structure(vec![(3, Structure(fields.into()))])
    };
    let group = |(rows, chunks): &(i64, &[(usize, usize)])| {
        Structure(vec![(1, List(chunks.iter().map(chunk).collect())), (3, Number(*rows))])
    };
    let mut footer = Vec::new();
    let groups = List(groups.iter().map(group).collect());
    Structure(vec![(2, List(schema)), (4, groups)]).write(&mut footer);
    let length = u32::try_from(footer.len()).unwrap().to_le_bytes();
    fs::write(path, [b"PAR1", body, &footer, &length, b"PAR1"].concat()).unwrap();
}

/// Reads all columns of a file of which so many bytes were read before.
fn refused(path: &Path, spent: u64) -> String {
    let file = File::open(path).unwrap();
    let mut table = match Table::open(path, &file) {
        Ok(table) => table,
        Err(error) => return error.to_string(),
    };
    table.choose(&(0..table.names.len()).collect::<Vec<_>>());
    table.source.unpacked.set(spent);
    for _ in 0..1_000 {
        match table.next() {
            Ok(true) => {}
            Ok(false) => return "it ends".into(),
            Err(error) => return error.to_string(),
        }
    }
    "it goes on".into()
}

#[test]
fn a_small_file_does_not_stand_for_days_of_work() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    let text = |text: &str| [&(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat();
    let said = |body: &[u8], rows: i64, spent: u64| {
        written(&path, 0, body, &[(rows, &[(0, body.len())])]);
        refused(&path, spent)
    };
    let short = page(0, 6, 1, 0, &text("ab"));
    assert_eq!(said(&short, 1, 0), "it ends");

    // Pages of nothing, and of no values, cost their reading.
    for kind in [0, 1] {
        let nothing = [page(kind, 0, 0, 0, b"").repeat(20), short.clone()].concat();
        assert_eq!(said(&nothing, 1, 0), "it ends");
        let many = said(&nothing, 1, UNPACKED_MAX_BYTES - (20 << 12));
        assert!(many.contains("more than 4 GiB"), "{many}");
    }
    // So do values that are the same, and texts of a dictionary each time they are meant.
    let dictionary = page(2, 1004, 1, 0, &text(&"x".repeat(1000)));
    let run = |count: i64| [dictionary.clone(), page(0, 4, count, 8, &[1, 200, 1, 0])].concat();
    assert_eq!(said(&run(100), 100, 0), "it ends");
    let many = said(&run(1 << 40), 100, 0);
    assert!(many.contains("more than 4 GiB"), "{many}");
    let many = said(&run(100), 100, UNPACKED_MAX_BYTES - 50_000);
    assert!(many.contains("more than 4 GiB"), "{many}");
    let long = said(&page(0, 5004, 1, 0, &text(&"x".repeat(5000))), 1, 0);
    assert!(long.contains("a text in it has more than 4 KiB"), "{long}");
    // The same bytes are not the rows of several groups.
    let chunk: &[_] = &[(0, short.len())];
    written(&path, 0, &short, &[(1, chunk), (1, chunk)]);
    assert!(refused(&path, 0).contains("overlap"), "{}", refused(&path, 0));
}

#[test]
fn what_is_held_of_all_columns_together_is_limited() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    let values = |size: usize| {
        let bytes = vec![0; size];
        let packed = zstd::bulk::compress(&bytes, 1).unwrap();
        page(2, size, size as i64 / 4, 0, &packed)
    };
    let row = page(0, 4, 1, 8, &zstd::bulk::compress(&[1, 2, 0, 0], 1).unwrap());
    let said = |sizes: &[usize], groups: usize| {
        let (mut body, mut parts) = (Vec::new(), Vec::new());
        for size in (0..groups).flat_map(|_| sizes) {
            let at = body.len();
            body.extend(values(*size).into_iter().chain(row.clone()));
            parts.push((at, body.len() - at));
        }
        let groups: Vec<_> = parts.chunks(sizes.len()).map(|parts| (1, parts)).collect();
        written(&path, 6, &body, &groups);
        refused(&path, 0)
    };
    // Empty texts: each takes eight bytes beside its four.
    assert_eq!(
        said(&[4 << 20, 4 << 20], 12),
        "it ends",
        "what is not needed any more is given back"
    );
    for sizes in [&[120 << 20][..], &[50 << 20, 50 << 20]] {
        let much = said(sizes, 1);
        assert!(much.contains("take more than 256 MiB at once"), "{much}");
    }
}
