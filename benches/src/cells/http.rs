//! HTTP through a site's ingress to a warm cell and back.

use crate::{
    Context,
    continuum::Continuum,
    echo::Echo,
    guests,
    http::{Connection, Load, Request},
    pairs::{Pairs, Side},
    report::{Goal, Row},
    stats,
};
use anyhow::Context as _;
use std::time::Duration;

const MEDIAN: &str = "cells/http-p50-vs-native";
const TAIL: &str = "cells/http-p99-half-peak";
const PEAK: &str = "cells/http-peak";

pub(super) const ROWS: &[&str] = &[MEDIAN, TAIL, PEAK];

/// Connections for the peak and for half of it.
const CONNECTIONS: usize = 32;

/// A cell that echoes, beside a native echo server on the same HTTP stack.
pub(super) fn run(context: &Context) -> anyhow::Result<Vec<Row>> {
    let module = guests::from_c(context, "guests/ballast.c", true)?;
    let continuum = Continuum::start(context, &[])?;
    continuum.apply(&module, &["echo".to_owned()])?;
    let (native, copy) = (Echo::start()?, Echo::start()?);
    let cell = Request::new(continuum.ingress, "echo.localhost");
    let native_request = Request::new(native.address, "echo.localhost");
    let copy_request = Request::new(copy.address, "echo.localhost");

    let mut rows = medians(context, [&cell, &native_request, &copy_request])?;
    rows.extend(loads(context, cell, native_request)?);
    Ok(rows)
}

/// One request after the other on one connection each, in turns.
fn medians(context: &Context, requests: [&Request; 3]) -> anyhow::Result<Vec<Row>> {
    let mut lanes = Vec::new();
    for request in requests {
        let mut connection = Connection::open(request.address())?;
        ask(&mut connection, request, context.count(2000, 20))?;
        lanes.push((connection, request));
    }
    // Short turns: idle processors learn within milliseconds how soon they are wanted again.
    let per_turn = context.count(100, 20);
    let pairs = Pairs::measure(context.count(420, 2), |side| {
        let (connection, request) = &mut lanes[match side {
            Side::Ours => 0,
            Side::Peer => 1,
            Side::Control => 2,
        }];
        ask(connection, request, per_turn)
    })?;
    Ok(pairs.rows(MEDIAN, "us", "a native hyper echo server", Goal::AtMost(1.5)).into())
}

/// The median of so many requests, in microseconds.
fn ask(connection: &mut Connection, request: &Request, count: usize) -> anyhow::Result<f64> {
    let times = (0..count).map(|_| Ok(connection.ask(request)?.as_secs_f64() * 1e6));
    Ok(stats::median(&times.collect::<anyhow::Result<Vec<_>>>()?))
}

/// The peak rate, and the tail at half of it.
fn loads(context: &Context, cell: Request, native: Request) -> anyhow::Result<Vec<Row>> {
    let seconds = |full, quick| Duration::from_millis(context.count(full, quick) as u64);
    let mut cell = Load::new(cell, CONNECTIONS)?;
    let mut native = Load::new(native, CONNECTIONS)?;
    let native_peak = native.peak(seconds(4000, 100)).context("the native server's peak")?;
    cell.peak(seconds(2000, 100)).context("the cell's peak")?;
    let peak = cell.peak(seconds(4000, 100)).context("the cell's peak")?;
    let rate = peak / 2.0;
    let times = cell.at_rate(rate, seconds(10_000, 200)).context("the cell at half its peak")?;
    let native_times = native.at_rate(rate, seconds(10_000, 200)).context("the native server")?;
    let tail = |times: &[f64]| stats::percentile(times, 0.99) / 1e3;
    let note = format!(
        "{:.0} requests/s, open loop; p50 {:.3} ms, worst {:.1} ms",
        peak / 2.0,
        stats::median(&times) / 1e3,
        stats::maximum(&times) / 1e3
    );
    Ok(vec![
        Row::value(TAIL, "ms", tail(&times), Goal::AtMost(1.0))
            .beside("the native server at this rate", tail(&native_times))
            .with_note(note),
        Row::value(PEAK, "requests/s", peak, Goal::Nothing)
            .beside("the native server", native_peak)
            .with_note(format!("{CONNECTIONS} connections; the load generator shares the cores")),
    ])
}
