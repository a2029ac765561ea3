//! A bucket with a million objects.

use super::node::{BUCKET, Node};
use crate::{
    Context,
    report::{Goal, Row},
    stats,
};
use geds::{Listing, Put};
use std::time::Instant;

pub(super) const ROWS: &[&str] = &["geds/list-1000-of-a-million", "geds/memory-per-object"];

/// Most milliseconds for a page of 1,000.
const LIST_MS: f64 = 20.0;

/// Most bytes of memory for each object beside its own.
const BYTES: f64 = 300.0;

pub(super) fn measure(context: &Context) -> anyhow::Result<Vec<Row>> {
    let (node, geds) = Node::start(context)?;
    let objects = context.count(1_000_000, 10_000);
    let (own_before, before) = (node.own_bytes()?, geds.usage()?);
    for object in 0..objects {
        geds.put(BUCKET, &key(object), &[], Put::default())?;
    }
    let usage = geds.usage()?;
    let own = node.own_bytes()?.saturating_sub(own_before);
    let index = usage.index_bytes - before.index_bytes;
    let each = (own + index) as f64 / objects as f64;

    let pages = (0..context.count(200, 5)).map(|page| {
        let after = key(page * 7919 * 5 % objects);
        let started = Instant::now();
        let found = geds.list(BUCKET, &Listing::default().after(after))?;
        let ms = started.elapsed().as_secs_f64() * 1e3;
        anyhow::ensure!(!found.entries.is_empty() || page > 0, "an empty page");
        Ok(ms)
    });
    let pages = pages.collect::<anyhow::Result<Vec<f64>>>()?;
    let worst = format!("worst {:.2} ms; {objects} objects", stats::maximum(&pages));
    Ok(vec![
        Row::value(ROWS[0], "ms", stats::median(&pages), Goal::AtMost(LIST_MS)).with_note(worst),
        Row::value(ROWS[1], "bytes", each, Goal::AtMost(BYTES))
            .with_note(format!("{} of it in the shared index", index / objects as u64)),
    ])
}

fn key(number: usize) -> String {
    format!("frames/camera-{}/{number:09}.jpg", number % 16)
}
