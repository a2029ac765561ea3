//! `mobility-demo`: runs the demo, prints its summary, writes `demo.json` and `demo.html`.

use anyhow::Context as _;
use clap::Parser;
use mobility_demo::{Options, Record, Summary, Verdict, page, pictures, run};
use std::{
    fs,
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};
use tokio::signal::unix::{SignalKind, signal};

/// Frames of the video between two that the page shows.
const PICTURE_EVERY: u64 = 8;

/// A live service moves between an edge and a cloud site under a street camera
///
/// Plays the clip to `street-counter` while the service moves, compares every answer with those of
/// an instance that does not, and writes demo.json and demo.html. Ends with 1 if a promise is broken.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The platform's binary
    #[arg(long, value_name = "FILE")]
    cloudskin: PathBuf,
    /// The street clip; `fetch-clip.sh` prints its path
    #[arg(long, value_name = "FILE")]
    clip: PathBuf,
    /// The service
    #[arg(long, value_name = "FILE", default_value = "examples/mobility/street-counter.yaml")]
    manifest: PathBuf,
    /// Where the results go
    #[arg(long, value_name = "FOLDER", default_value = "target/demo")]
    output: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    let work = async {
        tokio::select! {
            done = demo(Arguments::parse()) => done,
            // What was started is ended when the demo is dropped.
            stopped = stopped() => stopped.and_then(|()| Err(anyhow::anyhow!("interrupted"))),
        }
    };
    match work.await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let causes: Vec<_> = error.chain().map(ToString::to_string).collect();
            // There is nobody to tell if this cannot be written.
            let _ = writeln!(std::io::stderr(), "demo: {}", causes.join(": "));
            ExitCode::from(2)
        }
    }
}

/// Done at Ctrl-C and when asked to end.
async fn stopped() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    tokio::select! {
        interrupt = tokio::signal::ctrl_c() => interrupt.context("cannot listen for signals"),
        _ = terminate.recv() => Ok(()),
    }
}

/// Whether every promise was kept.
async fn demo(arguments: Arguments) -> anyhow::Result<bool> {
    let Arguments { cloudskin, clip, manifest, output } = arguments;
    fs::create_dir_all(&output).with_context(|| format!("cannot make `{}`", output.display()))?;
    let options = Options::full(&cloudskin, &clip, &manifest, &output.join("work"));
    say(&format!("The demo takes about {} seconds.\n", options.seconds()))?;
    let start = Instant::now();
    let tell = |text: &str| {
        // A closed standard output is told at the end.
        let _ = say(&format!("  {:>5.1} s  {text}\n", start.elapsed().as_secs_f64()));
    };
    let record = run(&options, tell).await?;
    let summary = Summary::of(&record);
    let json = output.join("demo.json");
    let text = serde_json::to_string_pretty(&summary).context("cannot write the summary")?;
    write(&json, text + "\n")?;
    let html = output.join("demo.html");
    let folder = output.join("work/pictures");
    let pictures = pictures(&clip, PICTURE_EVERY, options.frames(), &folder).await?;
    write(&html, page::render(&record, &summary, &pictures))?;
    say(&format!("\n{}\n", table(&record, &summary)))?;
    let html = fs::canonicalize(&html).unwrap_or(html);
    say(&format!("  figures  {}\n  page     file://{}\n", json.display(), html.display()))?;
    Ok(summary.is_kept())
}

fn table(record: &Record, summary: &Summary) -> String {
    let mut text = String::new();
    for run in &summary.runs {
        let latency = run.latency_ms;
        text += &format!(
            "  at {:>2} fps  {} frames; latency p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms; \
             longest gap {:.0} ms\n",
            run.fps, run.tally.answered, latency.p50, latency.p99, latency.max, run.longest_gap_ms
        );
        for moved in &run.migrations {
            text += &format!(
                "             {} → {}: stood for {:.1} ms, {:.0} ms in all\n",
                moved.from,
                moved.to,
                moved.stop_us.unwrap_or_default() as f64 / 1000.0,
                moved.done_ms - moved.requested_ms
            );
        }
    }
    let machine = &record.machine;
    text += &format!(
        "  machine    {} cores, Linux {}; {:.1} cores busy before, {:.1} after\n\n",
        machine.cores, machine.kernel, machine.busy_cores_before, machine.busy_cores_after
    );
    for promise in &summary.promises {
        text += &format!("  {}  {}: {}\n", mark(promise.met), promise.name, promise.found);
    }
    text
}

fn mark(verdict: Verdict) -> String {
    let colour = match verdict {
        Verdict::Met => 32,
        Verdict::NotMet => 31,
        Verdict::Inconclusive => 33,
    };
    let plain = std::env::var_os("NO_COLOR").is_some() || !std::io::stdout().is_terminal();
    if plain { format!("{verdict:<12}") } else { format!("\x1b[{colour}m{verdict:<12}\x1b[0m") }
}

fn say(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("cannot write")
}

fn write(path: &Path, text: String) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write `{}`", path.display()))
}
