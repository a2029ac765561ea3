//! Objects as a program in a cell sees them: files of a folder, beside files that are ones.

use super::{
    guest::{Guest, joined, objects},
    node::{BUCKET, Node},
};
use crate::{
    Context,
    pairs::{PAIRS_MIN, Pairs, Side},
    report::{Goal, Row},
};
use anyhow::Context as _;
use cells::{
    wasi::{Grant, Transform},
    worker,
};
use std::{collections::BTreeMap, thread};

pub(super) const ROWS: &[&str] = &[
    "geds/cell-read-64KiB",
    "geds/cell-write-1KiB",
    "geds/cell-write-64KiB",
    "geds/cell-write-1MiB",
];

const GUEST: &str = "/data";

/// What a program says of itself: the median of each call, in microseconds.
type Times = BTreeMap<String, f64>;

pub(super) fn measure(context: &Context) -> anyhow::Result<Vec<Row>> {
    let (_node, geds) = Node::start(context)?;
    let guest = Guest::of(context, "guests/file_times.c")?;
    let times = context.count(200, 5);
    let ours = objects(&geds, BUCKET, GUEST, Transform::None)?;
    let files = || anyhow::Ok(worker::grant(&context.folder("cell-files")?, GUEST, false)?);
    let (theirs, copy) = (files()?, files()?);
    let mut rounds: Vec<(Side, Times)> = Vec::new();
    Pairs::measure(context.count(PAIRS_MIN, 1), |side| {
        let grant = match side {
            Side::Ours => &ours,
            Side::Peer => &theirs,
            Side::Control => &copy,
        };
        rounds.push((side, run(&guest, grant, times)?));
        Ok(0.0)
    })?;
    let mut rows = Vec::new();
    for name in ROWS {
        let what = name.trim_start_matches("geds/cell-");
        let mut measured = rounds.iter();
        let pairs = Pairs::measure(context.count(PAIRS_MIN, 1), |side| {
            let (measured, times) = measured.next().context("a round is missing")?;
            anyhow::ensure!(*measured == side, "rounds are out of order");
            times.get(what).copied().with_context(|| format!("the program did not say {what}"))
        })?;
        rows.extend(pairs.rows(name, "us", "files of the same program", Goal::Nothing));
    }
    Ok(rows)
}

fn run(guest: &Guest, grant: &Grant, times: usize) -> anyhow::Result<Times> {
    let arguments = vec!["file_times".to_owned(), GUEST.to_owned(), times.to_string()];
    let said =
        thread::scope(|scope| joined(guest.start(scope, arguments, vec![grant.clone()])?))?;
    let line = |line: &str| {
        let (name, us) = line.split_once(' ').with_context(|| format!("`{line}`"))?;
        Ok((name.to_owned(), us.parse()?))
    };
    said.lines().map(line).collect()
}
