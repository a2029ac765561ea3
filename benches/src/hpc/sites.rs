//! Ranks at two sites: the same job at either, and ranks that move between them while it runs.

use crate::{
    Context,
    continuum::Continuum,
    guests,
    pairs::{PAIRS_MIN, Pairs, Side},
    report::{Goal, Row},
    stats,
};
use anyhow::Context as _;
use serde_json::Value;
use std::{
    path::Path,
    time::{Duration, Instant},
};

/// The sites; both are this machine, so that they are of one size.
const SITES: [&str; 2] = ["edge", "cloud"];

/// A grid of so many points a side: two ranks have 66 MiB of vectors each.
const SIDE: &str = "1700";

/// About 25 seconds.
const TIMES: usize = 1600;

/// How often half of the ranks moves in one run.
const MOVES: usize = 10;

const EITHER: &str = "hpc/cloud-to-edge";
const OVERHEAD: &str = "hpc/migration-of-ranks";
const STOOD: &str = "hpc/migration-of-ranks-stop";
const SENT: &str = "hpc/migration-of-ranks-memory";

pub(super) const ROWS: &[&str] = &[EITHER, OVERHEAD, STOOD, SENT];

pub(super) fn both(context: &Context) -> anyhow::Result<Vec<Row>> {
    let module = guests::ranks_from_c(context, "../examples/hpc/cg.c")?;
    let continuum = Continuum::start_sites(context, &SITES, &[])?;
    let mut rows = either(context, &continuum, &module)?;
    rows.extend(moves(context, &continuum, &module)?);
    Ok(rows)
}

/// The same job at one site and at the other.
fn either(context: &Context, continuum: &Continuum, module: &Path) -> anyhow::Result<Vec<Row>> {
    let arguments = ["300", "400"];
    let pairs = Pairs::measure(context.count(PAIRS_MIN, 1), |side| {
        let site = match side {
            Side::Ours => SITES[1],
            Side::Peer | Side::Control => SITES[0],
        };
        let said = continuum.ask(&words(&["--sites", site], module, &arguments))?;
        super::kernels::milliseconds(&said)
    })?;
    Ok(pairs.rows(EITHER, "ms", "the same at the edge", Goal::AtMost(1.05)).into())
}

fn words<'a>(options: &[&'a str], module: &'a Path, arguments: &[&'a str]) -> Vec<&'a str> {
    let module = module.to_str().unwrap_or_default();
    [&["mpirun", "-n", "2"], options, &[module], arguments].concat()
}

/// What a run said of its result, and how long it took in all.
type Ran = (String, Duration);

fn run(continuum: &Continuum, module: &Path, sites: &str, times: &str) -> anyhow::Result<Ran> {
    let begun = Instant::now();
    let said = continuum.ask(&words(&["--sites", sites], module, &[SIDE, times]))?;
    Ok((result(&said)?, begun.elapsed()))
}

/// The line with all digits of the residual.
fn result(said: &str) -> anyhow::Result<String> {
    let line = said.lines().find(|line| line.contains("residual"));
    line.map(str::to_owned).with_context(|| format!("it said {said:?}"))
}

/// Runs the program at each placement, undisturbed, and with half of its ranks moving between the
/// two; before and after, so that a machine that changes meanwhile is seen.
fn moves(context: &Context, continuum: &Continuum, module: &Path) -> anyhow::Result<Vec<Row>> {
    let (times, count) = (context.count(TIMES, 100), context.count(MOVES, 2));
    let times = times.to_string();
    let run = |sites| run(continuum, module, sites, &times);
    let together = run(SITES[0])?;
    let apart = run("edge,cloud")?;
    let moved = run_moving(continuum, module, (&times, count), together.1.min(apart.1))?;
    let again = (run("edge,cloud")?, run(SITES[0])?);
    let results = [&together.0, &apart.0, &again.0.0, &again.1.0];
    anyhow::ensure!(
        results.iter().all(|result| **result == moved.result),
        "the results differ: {} and, undisturbed, {results:?}",
        moved.result
    );
    let mean = |a: Duration, b: Duration| (a + b).as_secs_f64() / 2.0;
    let (together, apart) = (mean(together.1, again.1.1), mean(apart.1, again.0.1));
    let expected = moved.apart * apart + (1.0 - moved.apart) * together;
    let stops: Vec<f64> = moved.decisions.iter().map(|told| number(told, "stopUs") / 1e3).collect();
    let each: Vec<String> = stops.iter().map(|stop| format!("{stop:.0}")).collect();
    let bytes: Vec<f64> = moved.decisions.iter().map(|told| number(told, "precopyBytes")).collect();
    let note = format!(
        "{} moves in {:.1} s; the result is bit-equal; undisturbed {together:.1} s together, \
         {apart:.1} s apart",
        moved.decisions.len(),
        moved.took
    );
    let whole = moved.took / expected;
    Ok(vec![
        Row::value(OVERHEAD, "ratio", whole, Goal::AtMost(1.1)).with_note(note),
        Row::value(STOOD, "ms", stats::median(&stops), Goal::Nothing)
            .with_note(format!("each: {}", each.join(" "))),
        Row::value(SENT, "MiB", stats::median(&bytes) / f64::from(1 << 20), Goal::AtLeast(64.0))
            .with_note("of the rank that moves, sent while it ran"),
    ])
}

fn number(told: &Value, field: &str) -> f64 {
    told["status"]["observed"][field].as_f64().unwrap_or(f64::NAN)
}

/// A run whose second rank moved to and fro.
struct Moved {
    result: String,
    /// Seconds in all.
    took: f64,
    /// The part of the time in which the ranks were at two sites.
    apart: f64,
    decisions: Vec<Value>,
}

fn run_moving(
    continuum: &Continuum,
    module: &Path,
    (times, count): (&str, usize),
    lasts: Duration,
) -> anyhow::Result<Moved> {
    let begun = Instant::now();
    let options = ["--sites", SITES[0], "--name", "moving"];
    let child = continuum.spawn(&words(&options, module, &[SIDE, times]))?;
    let mut decisions = Vec::new();
    let (mut apart, mut since) = (Duration::ZERO, None);
    for number in 0..count {
        let due = lasts.mul_f64((number as f64 + 0.7) / (count as f64 + 1.0));
        std::thread::sleep(due.saturating_sub(begun.elapsed()));
        let to = SITES[(number + 1) % 2];
        let words = ["migrate", "tissue/moving", "--ranks", "1", "--to", to, "-o", "json"];
        decisions.push(serde_json::from_str(&continuum.ask(&words)?)?);
        match since.take() {
            None => since = Some(Instant::now()),
            Some(left) => apart += left.elapsed(),
        }
    }
    let output = child.wait_with_output()?;
    apart += since.map_or(Duration::ZERO, |left| left.elapsed());
    let took = begun.elapsed();
    anyhow::ensure!(output.status.success(), "the moving run failed: {}", output.status);
    Ok(Moved {
        result: result(&String::from_utf8_lossy(&output.stdout))?,
        took: took.as_secs_f64(),
        apart: apart.as_secs_f64() / took.as_secs_f64(),
        decisions,
    })
}
