//! From a request to the first byte of an answer, when the cell is not in memory.

use crate::{
    Context,
    continuum::Continuum,
    guests,
    http::{Connection, Request},
    report::{Goal, Row},
    stats,
};

const FIRST_BYTE: &str = "cells/first-byte-through-agent";

pub(super) const ROWS: &[&str] = &[FIRST_BYTE];

/// Services; twice as many as cells fit into memory, and they are asked in turns, so that each
/// request finds its cell asleep.
const SERVICES: usize = 48;
const RESIDENT_CELLS: &str = "24";

/// Asks, over HTTP, sleeping services in turns.
pub(super) fn run(context: &Context) -> anyhow::Result<Vec<Row>> {
    let module = guests::from_c(context, "guests/ballast.c", true)?;
    let continuum = Continuum::start(context, &[("CLOUDSKIN_RESIDENT_CELLS", RESIDENT_CELLS)])?;
    let names: Vec<String> = (0..SERVICES).map(|number| format!("s{number}")).collect();
    continuum.apply(&module, &names)?;
    let mut connection = Connection::open(continuum.ingress)?;
    let requests: Vec<Request> = names
        .iter()
        .map(|name| Request::new(continuum.ingress, &format!("{name}.localhost")))
        .collect();
    let mut times = Vec::new();
    for round in 0..context.count(22, 2) {
        for request in &requests {
            let took = connection.ask(request)?.as_secs_f64() * 1e3;
            // The first rounds touch what later ones find.
            if round > 0 {
                times.push(took);
            }
        }
    }
    let warm = (0..200).map(|_| Ok(connection.ask(&requests[0])?.as_secs_f64() * 1e3));
    let warm = stats::median(&warm.collect::<anyhow::Result<Vec<_>>>()?);
    let note = format!(
        "p99 {:.2} ms, with putting others to sleep; a cell in memory {warm:.3} ms",
        stats::percentile(&times, 0.99)
    );
    let goal = Goal::AtMost(1.0);
    Ok(vec![Row::value(FIRST_BYTE, "ms", stats::median(&times), goal).with_note(note)])
}
