//! Objects of one host: how long they take to view, to read and to put, and beside what.

use super::{
    NAMES, SIZES, Size, bytes, name,
    node::{BUCKET, Node},
    stores::{Files, Memory, Redis, Shared, Store},
};
use crate::{
    Context,
    pairs::{PAIRS_MIN, Pairs, Side},
    report::{Goal, Row},
    stats,
};
use std::{fs, hint::black_box, time::Instant};

pub(super) const VIEW_ROWS: &[&str] = &[
    "geds/view-1KiB",
    "geds/view-64KiB",
    "geds/view-1MiB",
    "geds/view-16MiB",
    "geds/view-of-another-process",
];

pub(super) const READ_ROWS: &[&str] =
    &["geds/read-1KiB", "geds/read-64KiB", "geds/read-1MiB", "geds/read-16MiB"];

pub(super) const PUT_ROWS: &[&str] =
    &["geds/put-1KiB", "geds/put-64KiB", "geds/put-1MiB", "geds/put-16MiB"];

pub(super) const REDIS_ROWS: &[&str] = &[
    "geds/put-1KiB-redis",
    "geds/put-64KiB-redis",
    "geds/put-1MiB-redis",
    "geds/put-16MiB-redis",
    "geds/get-1KiB-redis",
    "geds/get-64KiB-redis",
    "geds/get-1MiB-redis",
    "geds/get-16MiB-redis",
];

pub(super) const FILES_ROWS: &[&str] = &[
    "geds/put-1KiB-files",
    "geds/put-64KiB-files",
    "geds/put-1MiB-files",
    "geds/put-16MiB-files",
    "geds/get-1KiB-files",
    "geds/get-64KiB-files",
    "geds/get-1MiB-files",
    "geds/get-16MiB-files",
];

/// Most microseconds for a view.
const VIEW_US: f64 = 0.5;
const FOREIGN_VIEW_US: f64 = 1.0;

/// Most microseconds for putting and sealing each of the sizes.
const PUT_US: [f64; 4] = [2.0, 5.0, 60.0, 2500.0];

/// Reading with a copy may take so many times as long as the copy, from 64 KiB on.
const READ_RATIO: f64 = 1.15;

/// How long one operation takes, in microseconds: the median of so many.
fn median_us(
    times: usize,
    mut operation: impl FnMut(&str) -> anyhow::Result<()>,
) -> anyhow::Result<f64> {
    let names: Vec<String> = (0..NAMES).map(name).collect();
    let mut taken = Vec::with_capacity(times);
    for number in 0..times {
        let started = Instant::now();
        operation(&names[number % NAMES])?;
        taken.push(started.elapsed().as_nanos() as f64 / 1e3);
    }
    Ok(stats::median(&taken))
}

fn fill(store: &mut dyn Store, size: Size) -> anyhow::Result<()> {
    let bytes = bytes(size.bytes);
    (0..NAMES).try_for_each(|number| store.put(&name(number), &bytes))
}

/// Repeats a measurement as often as pairs are measured; the median.
fn repeated(
    context: &Context,
    mut measure: impl FnMut() -> anyhow::Result<f64>,
) -> anyhow::Result<f64> {
    let all = (0..context.count(PAIRS_MIN, 1)).map(|_| measure());
    Ok(stats::median(&all.collect::<anyhow::Result<Vec<f64>>>()?))
}

pub(super) fn views(context: &Context) -> anyhow::Result<Vec<Row>> {
    let (node, geds) = Node::start(context)?;
    let mut rows = Vec::new();
    for size in SIZES {
        fill(&mut Shared(geds.clone()), size)?;
        rows.push(view_row(context, &geds, &format!("geds/view-{}", size.name), VIEW_US)?);
    }
    let file = context.work().join("foreign");
    fs::write(&file, bytes(SIZES[1].bytes))?;
    for number in 0..NAMES {
        geds.delete(BUCKET, &name(number), None)?;
        node.copy_in(&file, &name(number))?;
        geds.view(BUCKET, &name(number))?;
    }
    let foreign = view_row(context, &geds, "geds/view-of-another-process", FOREIGN_VIEW_US)?;
    rows.push(foreign.with_note("64 KiB, put by other processes, slab mapped".to_owned()));
    Ok(rows)
}

fn view_row(context: &Context, geds: &geds::Geds, row: &str, most_us: f64) -> anyhow::Result<Row> {
    let us = repeated(context, || {
        median_us(context.count(20_000, 100), |name| {
            black_box(geds.view(BUCKET, name)?.len());
            Ok(())
        })
    })?;
    Ok(Row::value(row, "us", us, Goal::AtMost(most_us)))
}

pub(super) fn reads(context: &Context) -> anyhow::Result<Vec<Row>> {
    let (_node, geds) = Node::start(context)?;
    let mut rows = Vec::new();
    for size in SIZES {
        let goal = if size.bytes < 64 << 10 { Goal::Nothing } else { Goal::AtMost(READ_RATIO) };
        let row = format!("geds/read-{}", size.name);
        let memory = || Memory(vec![vec![1; size.bytes]; NAMES]);
        let pairs = gets(context, &geds, [memory(), memory()], size)?;
        rows.extend(pairs.rows(&row, "us", "memcpy", goal));
    }
    Ok(rows)
}

pub(super) fn puts(context: &Context) -> anyhow::Result<Vec<Row>> {
    let (_node, geds) = Node::start(context)?;
    let mut rows = Vec::new();
    for (size, most) in SIZES.into_iter().zip(PUT_US) {
        let (mut ours, bytes) = (Shared(geds.clone()), bytes(size.bytes));
        let mut memory = Memory(vec![vec![1; size.bytes]; NAMES]);
        let times = context.count(size.times, 3);
        let (mut puts, mut copies) = (Vec::new(), Vec::new());
        for _ in 0..context.count(PAIRS_MIN, 1) {
            puts.push(median_us(times, |name| ours.put(name, &bytes))?);
            copies.push(median_us(times, |name| memory.put(name, &bytes))?);
        }
        let row = format!("geds/put-{}", size.name);
        let row = Row::value(&row, "us", stats::median(&puts), Goal::AtMost(most));
        rows.push(row.beside("memcpy", stats::median(&copies)));
    }
    Ok(rows)
}

pub(super) fn redis(context: &Context) -> anyhow::Result<Vec<Row>> {
    let (_node, geds) = Node::start(context)?;
    beside(context, &geds, "redis", || Redis::start(context))
}

pub(super) fn files(context: &Context) -> anyhow::Result<Vec<Row>> {
    let (_node, geds) = Node::start(context)?;
    beside(context, &geds, "files", || {
        let folder = context.folder("files")?;
        fs::create_dir(folder.join("objects"))?;
        Ok(Files(folder))
    })
}

/// Puts and reads beside a peer, whom nothing else may disturb: it is started for each size.
fn beside<S: Store>(
    context: &Context,
    geds: &geds::Geds,
    peer: &str,
    start: impl Fn() -> anyhow::Result<S>,
) -> anyhow::Result<Vec<Row>> {
    let (mut put_rows, mut get_rows) = (Vec::new(), Vec::new());
    for size in SIZES {
        let (mut ours, mut theirs, mut copy) = (Shared(geds.clone()), start()?, start()?);
        let (bytes, times) = (bytes(size.bytes), context.count(size.times / 4, 3));
        let puts = Pairs::measure(context.count(PAIRS_MIN, 1), |side| match side {
            Side::Ours => median_us(times, |name| ours.put(name, &bytes)),
            Side::Peer => median_us(times, |name| theirs.put(name, &bytes)),
            Side::Control => median_us(times, |name| copy.put(name, &bytes)),
        })?;
        let row = |what: &str| format!("geds/{what}-{}-{peer}", size.name);
        put_rows.extend(puts.rows(&row("put"), "us", peer, Goal::AtMost(1.0)));
        let gets = gets(context, geds, [theirs, copy], size)?;
        get_rows.extend(gets.rows(&row("get"), "us", peer, Goal::AtMost(1.0)));
    }
    put_rows.extend(get_rows);
    Ok(put_rows)
}

/// Reading ours with a copy, and the peer's. Its control has objects of its own: all three find as much in
/// the processor's cache.
fn gets(
    context: &Context,
    geds: &geds::Geds,
    [mut theirs, mut copy]: [impl Store; 2],
    size: Size,
) -> anyhow::Result<Pairs> {
    let mut ours = Shared(geds.clone());
    fill(&mut ours, size)?;
    fill(&mut theirs, size)?;
    fill(&mut copy, size)?;
    let (mut into, times) = (vec![0; size.bytes], context.count(size.times / 4, 3));
    Pairs::measure(context.count(PAIRS_MIN, 1), |side| match side {
        Side::Ours => median_us(times, |name| ours.get(name, black_box(&mut into))),
        Side::Peer => median_us(times, |name| theirs.get(name, black_box(&mut into))),
        Side::Control => median_us(times, |name| copy.get(name, black_box(&mut into))),
    })
}
