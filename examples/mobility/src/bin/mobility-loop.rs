//! `mobility-loop`: runs two policies side by side, prints what each was worth, writes `mobility.json`
//! and `mobility.html`; with `--vehicle` lets a service follow a bus, and writes `vehicle.json` and
//! `vehicle.html`.

use anyhow::Context as _;
use clap::Parser;
use mobility_demo::{
    lines,
    qos::{Figures, Load, Setup, Summary, render, run},
    vehicle,
};
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};
use tokio::signal::unix::{SignalKind, signal};

/// Minutes of recorded load that are judged, and those before.
const MINUTES: usize = 90;
const WARM_MIN: usize = 10;
/// How long a quiet machine is waited for, in seconds.
const QUIET_WAIT_S: u64 = 10;

/// A reactive and a proactive policy look after the same service under the same load
///
/// Two instances of `street-counter` get the same frames at a rate that was recorded, twenty times
/// faster. Ends with 1 unless all that is promised was shown.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The platform's binary
    #[arg(long, value_name = "FILE")]
    cloudskin: PathBuf,
    /// The street clip; `fetch-clip.sh` prints its path
    #[arg(long, value_name = "FILE")]
    clip: PathBuf,
    /// The folder of manifests
    #[arg(long, value_name = "FOLDER", default_value = "examples/mobility")]
    manifests: PathBuf,
    /// The folder of recorded load; without it the twin of the testbed draws some
    #[arg(long, value_name = "FOLDER")]
    trace: Option<PathBuf>,
    /// The seed of load that is drawn
    #[arg(long, value_name = "N", default_value_t = 1)]
    load_seed: u64,
    /// Follow a vehicle along sites instead: a service that stays, one that goes after it, and one
    /// that is told where it will be
    #[arg(long, conflicts_with_all = ["trace", "load_seed"])]
    vehicle: bool,
    /// The seed of the vehicle's drive
    #[arg(long, value_name = "N", default_value_t = 1, requires = "vehicle")]
    drive_seed: u64,
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
    if arguments.vehicle {
        return drive(arguments).await;
    }
    let Arguments { cloudskin, clip, manifests, trace, load_seed, output, .. } = arguments;
    fs::create_dir_all(&output).with_context(|| format!("cannot make `{}`", output.display()))?;
    let load = match trace.filter(|folder| folder.is_dir()) {
        Some(folder) => Load::recorded(&folder, WARM_MIN, MINUTES)?,
        None => Load::generated(load_seed, WARM_MIN, MINUTES)?,
    };
    let work = output.join("mobility-work");
    let setup = Setup { cloudskin, clip, manifests, work, load, quiet_wait_s: QUIET_WAIT_S };
    say(&format!("{}\n", introduction(&setup)))?;
    let record = run(&setup, telling()).await?;
    let summary = Summary::of(&record);
    say(&format!("\n{}\n", table(&summary)))?;
    leave(&output, "mobility", &summary, render(&record, &summary))?;
    Ok(summary.is_kept())
}

/// The vehicle; whether every promise was kept.
async fn drive(arguments: Arguments) -> anyhow::Result<bool> {
    let Arguments { cloudskin, clip, manifests, output, drive_seed, .. } = arguments;
    fs::create_dir_all(&output).with_context(|| format!("cannot make `{}`", output.display()))?;
    let (manifests, work) = (manifests.join("vehicle"), output.join("vehicle-work"));
    let setup = vehicle::Setup::full(&cloudskin, &clip, &manifests, &work);
    let setup = vehicle::Setup { seed: drive_seed, ..setup };
    say(&format!(
        "A bus drives along four edge sites for two minutes, and three instances of one service get\n\
         what its camera sees (seed {drive_seed}).\n"
    ))?;
    let record = vehicle::run(&setup, telling()).await?;
    let summary = vehicle::Summary::of(&record);
    say(&format!("\n{}\n", vehicle::table(&summary)))?;
    leave(&output, "vehicle", &summary, vehicle::render(&record, &summary))?;
    Ok(summary.is_kept())
}

/// Says what happens, and when.
fn telling() -> impl FnMut(&str) {
    let start = Instant::now();
    move |text| {
        // A closed standard output is told at the end.
        let _ = say(&format!("  {:>5.0} s  {text}\n", start.elapsed().as_secs_f64()));
    }
}

/// Writes the figures and the page, and says where they are.
fn leave(
    output: &Path,
    name: &str,
    summary: &impl serde::Serialize,
    page: String,
) -> anyhow::Result<()> {
    let json = output.join(format!("{name}.json"));
    let text = serde_json::to_string_pretty(summary).context("cannot write the summary")?;
    write(&json, text + "\n")?;
    let html = output.join(format!("{name}.html"));
    write(&html, page)?;
    let html = fs::canonicalize(&html).unwrap_or(html);
    say(&format!("  figures  {}\n  page     file://{}\n", json.display(), html.display()))
}

fn introduction(setup: &Setup) -> String {
    let load = &setup.load;
    let (hours, minutes) = (load.from_s / 3600, load.from_s % 3600 / 60);
    format!(
        "{MINUTES} minutes of load after {WARM_MIN} to warm up, 20 times faster: about {} seconds.\n\
         load: {}, from {hours} h {minutes:02} min on (seed {})",
        setup.seconds(),
        load.source,
        load.seed
    )
}

fn table(summary: &Summary) -> String {
    let [reactive, proactive] = ["reactive", "proactive"].map(|name| &summary.policies[name]);
    let mut text = format!("  {:<34}{:>12}{:>12}\n", "", "reactive", "proactive");
    let mut row = |name: &str, of: &dyn Fn(&Figures) -> String| {
        text += &format!("  {name:<34}{:>12}{:>12}\n", of(reactive), of(proactive));
    };
    row("level broken, s of recorded time", &|of| format!("{:.0}", of.sla_broken_s));
    row("level kept, %", &|of| format!("{:.1}", of.sla_ok_pct));
    row("latency, mean ms", &|of| format!("{:.0}", of.latency_ms.0));
    row("latency, 95 % of steps below, ms", &|of| format!("{:.0}", of.latency_ms.1));
    row("moves", &|of| of.migrations.to_string());
    row("frames sent", &|of| of.frames_sent.to_string());
    row("frames answered", &|of| of.frames_answered.to_string());
    row("at the cloud, s", &|of| format!("{:.0}", of.cloud_s));
    row("to the cloud, MB", &|of| format!("{:.1}", of.bytes_to_cloud as f64 / 1e6));
    row("cost, euro a day", &|of| format!("{:.2}", of.cost_per_day_eur));
    row("  of it for machines", &|of| format!("{:.2}", of.infrastructure_per_day_eur));
    row("  of it for broken levels", &|of| format!("{:.2}", of.penalty_per_day_eur));
    for (name, of) in &summary.policies {
        let failed = of.failed_moves.iter();
        text.extend(failed.map(|why| format!("  {name}: a move came to nothing: {why}\n")));
    }
    text + &lines(&summary.emulated, &summary.promises)
}

fn say(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("cannot write")
}

fn write(path: &Path, text: String) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write `{}`", path.display()))
}
