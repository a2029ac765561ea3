//! A service beside guests that mean no good.
//!
//! All of it goes the users' way: a site of its own, whose agent holds the workers of two tenants
//! apart, a record service of one of them, and programs of the other. A program is stopped and
//! let go on in turns, so that the service is measured alone and beside it in the same minutes.

mod hostile;
mod layout;

use crate::{
    Context,
    continuum::Continuum,
    guests,
    http::{Load, Request},
    report::{Goal, Row},
    stats,
    suite::{Group, Suite},
};
use hostile::{GUESTS, Hostile};
use layout::Layout;
use std::time::Duration;

/// All rows of `make bench-isolation`.
pub const SUITE: Suite = Suite {
    area: "isolation",
    groups: &[
        Group { rows: SEPARATE_ROWS, run: separate },
        Group { rows: ONE_CPU_ROWS, run: one_cpu },
    ],
};

const SEPARATE_ROWS: &[&str] = &[
    "isolation/separate-alone",
    "isolation/separate-balloon",
    "isolation/separate-spin",
    "isolation/separate-flood",
    "isolation/separate-wild",
    "isolation/separate-threads",
    "isolation/separate-regions",
];

const ONE_CPU_ROWS: &[&str] = &[
    "isolation/one-cpu-alone",
    "isolation/one-cpu-balloon",
    "isolation/one-cpu-spin",
    "isolation/one-cpu-flood",
    "isolation/one-cpu-wild",
    "isolation/one-cpu-threads",
    "isolation/one-cpu-regions",
];

/// Requests a second.
const RATE: f64 = 100.0;

/// More than are ever open at this rate, so that a stall holds up no later request's sending.
const CONNECTIONS: usize = 32;

/// The service's p99 on separate processors may be so many times what it is alone.
const SEPARATE_RATIO: f64 = 1.2;

/// At equal shares of one processor so many times, or so many milliseconds.
const SHARED_RATIO: f64 = 2.0;
const SHARED_MS: f64 = 4.0;

/// Each tenant has processors of its own.
fn separate(context: &Context) -> anyhow::Result<Vec<Row>> {
    measure(context, "isolation/separate", &Layout::separate()?, |alone| alone * SEPARATE_RATIO)
}

/// Both have half of one processor.
fn one_cpu(context: &Context) -> anyhow::Result<Vec<Row>> {
    let most = |alone: f64| (alone * SHARED_RATIO).max(SHARED_MS);
    measure(context, "isolation/one-cpu", &Layout::one_cpu()?, most)
}

fn measure(
    context: &Context,
    name: &str,
    layout: &Layout,
    most_ms: impl Fn(f64) -> f64,
) -> anyhow::Result<Vec<Row>> {
    let _here = layout.stay_away()?;
    let module = guests::from_c(context, "guests/ballast.c", true)?;
    let continuum = Continuum::start(context, &[("CLOUDSKIN_CPU_SETS", &layout.sets())])?;
    // As much as each hostile program.
    continuum.apply_with(&module, &["neighbour".to_owned()], "{cpu: 1, memory: 64Mi}")?;
    let mut load = Load::new(Request::new(continuum.ingress, "neighbour.localhost"), CONNECTIONS)?;
    load.at_rate(RATE, Duration::from_millis(context.count(2000, 100) as u64))?;

    let alone = Times(load.at_rate(RATE, Duration::from_secs(context.count(10, 1) as u64))?);
    let mut rows = vec![
        Row::value(&format!("{name}-alone"), "ms", alone.tail(), Goal::Nothing)
            .with_note(format!("{layout}; {alone}")),
    ];
    for guest in GUESTS {
        let row = format!("{name}-{}", guest.name);
        rows.push(match beside(context, &continuum, &mut load, guest) {
            Ok((alone, beside)) => {
                Row::value(&row, "ms", beside.tail(), Goal::AtMost(most_ms(alone.tail())))
                    .beside("while it is stopped", alone.tail())
                    .with_note(format!("{beside}; while it is stopped {alone}"))
            }
            Err(error) => Row::failed(&row, &format!("{error:#}")),
        });
    }
    Ok(rows)
}

/// The service's times while the guest is stopped, and while it runs.
fn beside(
    context: &Context,
    continuum: &Continuum,
    load: &mut Load,
    guest: &hostile::Guest,
) -> anyhow::Result<(Times, Times)> {
    let hostile = Hostile::start(context, continuum, guest)?;
    let turn = Duration::from_secs(context.count(3, 1) as u64);
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for _ in 0..context.count(6, 1) {
        hostile.stop()?;
        alone.extend(load.at_rate(RATE, turn)?);
        hostile.go_on()?;
        beside.extend(load.at_rate(RATE, turn)?);
    }
    hostile.end()?;
    Ok((Times(alone), Times(beside)))
}

/// How long requests took, in microseconds.
struct Times(Vec<f64>);

impl Times {
    /// p99 in milliseconds.
    fn tail(&self) -> f64 {
        stats::percentile(&self.0, 0.99) / 1e3
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} requests, p50 {:.2} ms, worst {:.1} ms",
            self.0.len(),
            stats::median(&self.0) / 1e3,
            stats::maximum(&self.0) / 1e3
        )
    }
}
