//! Files that other programs wrote (`tests/data/make.py`), and what can be done to them.

use super::{super::rows::Rows, Table};
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
