//! `cloudskin replay`: policies, tried on a recorded trace of two sites.

use crate::{
    exit::Failure,
    output::{FormatArgs, Style, complain},
    table::Table,
};
use clap::Args;
use learning::{
    Prices, Stretch, Trace,
    forecast::Training,
    model::Kind,
    replay::{Comparison, Interval, Level, Row, Rule, Setup, replay},
};
use serde::Serialize;
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
};
use types::Period;

/// Try migration policies on a recorded trace of two sites
///
/// Learns on the first part of the trace and plays the rest: a service is at one of the sites, each
/// policy is asked at each tick, and after a move the service sees what was measured at the other.
/// Averages over where it starts, which site is the edge, and when the ticks fall. Prints, for each
/// service level, how long it was broken, moves, cost, and how good the alarms were, with
/// intervals of 95 %. Needs no control plane.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin replay --trace traces/
  cloudskin replay --trace traces/ --policy reactive,proactive --sla 120ms
  cloudskin replay --trace traces/ --sla 100ms,200ms/45ms -o json
  cloudskin replay --trace traces/ --policy proactive --model gbm
  cloudskin replay --train may/ --trace june/ --every 1m --cool-down 5m

A trace is a file or a folder of .csv, .csv.gz or .parquet files with the columns timestamp (Unix seconds),
site, latency_ms and, if it was measured, cpu; or of the DL Streamer testbed's hourly files. A line
without a latency says that nothing was answered. --sla 200ms/45ms: policies that look at one site
leave the edge above 200 ms and the cloud below 45 ms.

Policies: reactive, tuned-reactive, ewma, reference, proactive, stay-a, stay-b, oracle.")]
pub(crate) struct Replay {
    /// What was measured: a file, or a folder of files
    #[arg(long, value_name = "PATH")]
    trace: PathBuf,
    /// Learn from this trace, and play all of the other
    #[arg(long, value_name = "PATH")]
    train: Option<PathBuf>,
    /// The part of the trace that is played; what lies before is learned from
    #[arg(long, default_value_t = 0.3, value_name = "SHARE", value_parser = share, conflicts_with = "train")]
    test_share: f64,
    /// Policies to compare; all if not given
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    policy: Vec<Rule>,
    /// Service levels, each with its own comparison; EDGE/CLOUD for limits that differ
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        value_parser = level,
        default_value = "100ms,120ms,130ms,140ms,150ms,200ms/45ms"
    )]
    sla: Vec<Level>,
    /// Time from one decision to the next
    #[arg(long, default_value = "5m", value_name = "TIME", value_parser = seconds)]
    every: u32,
    /// How long a move to the edge takes
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = seconds)]
    to_edge: u32,
    /// How long a move to the cloud takes
    #[arg(long, default_value = "3m", value_name = "TIME", value_parser = seconds)]
    to_cloud: u32,
    /// The proactive policy moves no more often
    #[arg(long, default_value = "15m", value_name = "TIME", value_parser = seconds)]
    cool_down: u32,
    /// What forecasts are made with: ridge, gbm or forest
    #[arg(long, default_value = "ridge", value_name = "KIND")]
    model: Kind,
    /// Prices for the cost, as YAML; those that are not named are as usual
    #[arg(long, value_name = "FILE")]
    prices: Option<PathBuf>,
    /// The same seed draws the same intervals
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    #[command(flatten)]
    format: FormatArgs,
}

/// All that is printed.
#[derive(Debug, Serialize)]
struct Report {
    sites: Vec<String>,
    /// Unix time of the first sample that was played.
    from_s: i64,
    /// How long was learned from.
    learned_s: u64,
    /// How long was played.
    played_s: u64,
    prices: Prices,
    levels: Vec<Comparison>,
}

pub(crate) fn run(args: &Replay) -> anyhow::Result<ExitCode> {
    let trace = read(&args.trace)?;
    let train = args.train.as_deref().map(read).transpose()?;
    let (learn, play) = match &train {
        Some(train) => (train.whole(), trace.whole()),
        None => trace.split(1.0 - args.test_share),
    };
    let setup = setup(args)?;
    let levels = compare(&learn, &play, args, &setup)?;
    let step_s = i64::from(trace.step_s);
    let seconds = |stretch: &Stretch| stretch.span.len() as u64 * u64::from(stretch.trace.step_s);
    let report = Report {
        sites: trace.sites.iter().map(|site| site.name.clone()).collect(),
        from_s: trace.start_s + play.span.start as i64 * step_s,
        learned_s: seconds(&learn),
        played_s: seconds(&play),
        prices: setup.prices,
        levels,
    };
    args.format.print(&report, &text(&report, Style::for_stdout()))?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn read(path: &Path) -> anyhow::Result<Trace> {
    Trace::read(path).map_err(failed)
}

fn failed(error: learning::Error) -> anyhow::Error {
    let kind = error.kind();
    Failure::error(kind, types::chain(&error))
}

fn setup(args: &Replay) -> anyhow::Result<Setup> {
    Ok(Setup {
        every_s: args.every,
        to_edge_s: args.to_edge,
        to_cloud_s: args.to_cloud,
        cool_down_s: args.cool_down,
        prices: match &args.prices {
            Some(path) => Prices::read(path).map_err(failed)?,
            None => Prices::default(),
        },
        seed: args.seed,
        training: Training { kind: args.model, ..Training::default() },
        ..Setup::default()
    })
}

/// Each level on a thread of its own: they have nothing in common but the trace.
fn compare(
    learn: &Stretch,
    play: &Stretch,
    args: &Replay,
    setup: &Setup,
) -> anyhow::Result<Vec<Comparison>> {
    let rules = if args.policy.is_empty() { Rule::ALL.to_vec() } else { args.policy.clone() };
    let at_once = thread::available_parallelism().map_or(1, usize::from);
    let mut compared = Vec::new();
    for levels in args.sla.chunks(at_once) {
        if args.format.is_text() {
            complain(&format!("playing level {} of {}", compared.len() + 1, args.sla.len()));
        }
        let found: Vec<_> = thread::scope(|scope| {
            let rules = &rules;
            let start =
                |&level: &Level| scope.spawn(move || replay(learn, play, level, rules, setup));
            let threads: Vec<_> = levels.iter().map(start).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("a replay does not panic"))
                .collect()
        });
        for found in found {
            compared.push(found.map_err(failed)?);
        }
    }
    Ok(compared)
}

pub(crate) fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.01..=0.95).contains(share));
    share.ok_or_else(|| "write a number from 0.01 to 0.95".to_owned())
}

fn seconds(text: &str) -> Result<u32, String> {
    let period: Period = text.parse().map_err(|error| format!("{error}"))?;
    let seconds = u32::try_from(period.0.as_secs()).ok();
    let whole = seconds.filter(|_| period.0.subsec_nanos() == 0 && period.0.as_secs() <= 86_400);
    whole.ok_or_else(|| "write whole seconds, at most a day".to_owned())
}

fn level(text: &str) -> Result<Level, String> {
    let ms = |text: &str| -> Result<f64, String> {
        let period: Period = text.parse().map_err(|error| format!("{error}"))?;
        let ms = period.0.as_secs_f64() * 1000.0;
        if ms > 0.0 { Ok(ms) } else { Err("a service level is above 0".to_owned()) }
    };
    match text.split_once('/') {
        Some((edge, cloud)) => Ok(Level::edge_cloud(ms(edge)?, ms(cloud)?)),
        None => ms(text).map(Level::of),
    }
}

fn text(report: &Report, style: Style) -> String {
    let hours = |seconds: u64| format!("{:.1} h", seconds as f64 / 3600.0);
    let (learned, played) = (hours(report.learned_s), hours(report.played_s));
    let mut text = format!("learned from {learned}, played {played}\n");
    for (letter, site) in ["a", "b"].iter().zip(&report.sites) {
        text.push_str(&format!("  {letter}: {site}\n"));
    }
    for level in &report.levels {
        text.push_str(&format!("\nservice level {} ms", level.sla_ms));
        if let Some(below) = level.cloud_below_ms {
            text.push_str(&format!(
                " at the edge; rules of one site leave the cloud below {below} ms"
            ));
        }
        text.push('\n');
        text.push_str(&table(&level.rows).render(style));
        if let Some(holds) = level.interval_80_holds {
            text.push_str(&format!("forecasts' intervals of 80 % held {:.1} %\n", holds * 100.0));
        }
    }
    text
}

pub(crate) fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(&[
        "POLICY",
        "BROKEN",
        "(95 %)",
        "BY REACTIVE",
        "(95 %)",
        "MOVES",
        "AN HOUR",
        "PRECISION",
        "RECALL",
        "F1",
        "EUR A DAY",
        "(95 %)",
    ]);
    let ends = |(low, high): (f64, f64), digits: usize| format!("{low:.digits$}–{high:.digits$}");
    for row in rows {
        let (figures, intervals) = (&row.figures, &row.figures.intervals);
        let Interval { value, low, high } = row.by_reactive;
        table.row(vec![
            row.policy.clone(),
            format!("{:.0} s", figures.sla_broken_s),
            ends(intervals.sla_broken_s, 0),
            format!("{value:.2}"),
            ends((low, high), 2),
            format!("{:.1}", figures.migrations),
            format!("{:.2}", figures.migrations_per_hour),
            format!("{:.2}", figures.precision),
            format!("{:.2}", figures.recall),
            format!("{:.2}", figures.f1),
            format!("{:.2}", figures.cost_per_day_eur),
            ends(intervals.cost_per_day_eur, 2),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use std::fmt::Write;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Replay,
    }

    fn parse(line: &str) -> Result<Replay, clap::Error> {
        Line::try_parse_from(["replay"].into_iter().chain(line.split_whitespace()))
            .map(|line| line.args)
    }

    /// Two hours of two sites that are bad in turn, ten seconds apart.
    fn trace() -> tempfile::NamedTempFile {
        let mut text = "timestamp,site,latency_ms\n".to_owned();
        for at in 0..1440 {
            let bad = at / 180 % 2;
            for (site, name) in ["edge", "cloud"].iter().enumerate() {
                let latency = if site == bad { 150 } else { 60 } + at % 5;
                writeln!(text, "{},{name},{latency}", 1_700_000_000 + at * 10).unwrap();
            }
        }
        let file = tempfile::NamedTempFile::with_suffix(".csv").unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn each_level_has_a_row_for_each_policy_and_json_has_the_promised_names() {
        let file = trace();
        let path = file.path().display();
        let args = format!("--trace {path} --policy reactive,proactive --sla 100ms,200ms/45ms");
        let args = parse(&args).unwrap();
        let trace = read(&args.trace).unwrap();
        let (learn, play) = trace.split(0.7);

        let levels = compare(&learn, &play, &args, &setup(&args).unwrap()).unwrap();

        let json = serde_json::to_value(&levels).unwrap();
        for name in [
            "tp",
            "fp",
            "fn",
            "tn",
            "precision",
            "recall",
            "f1",
            "sla_broken_s",
            "migrations",
            "cost_per_day_eur",
        ] {
            assert!(json[0]["rows"][1][name].is_number(), "{name}: {json}");
        }
        assert!(json[0]["rows"][1]["intervals"]["sla_broken_s"].is_array());
        assert_eq!((&json[1]["sla_ms"], &json[1]["cloud_below_ms"]), (&200.0.into(), &45.0.into()));
        let text = text(
            &Report {
                sites: vec!["cloud".into(), "edge".into()],
                from_s: 0,
                learned_s: 1,
                played_s: 1,
                prices: Prices::default(),
                levels,
            },
            Style::plain(),
        );
        let lines = |word: &str| text.lines().filter(|line| line.starts_with(word)).count();
        assert_eq!((lines("proactive"), lines("reactive"), lines("oracle")), (2, 2, 0), "{text}");
    }

    #[test]
    fn mistakes_are_told_before_anything_is_played() {
        for wrong in [
            "",
            "--trace a --policy best",
            "--trace a --sla 0ms",
            "--trace a --sla fast",
            "--trace a --every 1500ms",
            "--trace a --every 2d",
            "--trace a --test-share 1",
            "--trace a --train b --test-share 0.5",
            "--trace a --model magic",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        let args = parse("--trace nowhere.csv").unwrap();
        assert!(read(&args.trace).unwrap_err().to_string().contains("cannot read `nowhere.csv`"));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "cloudHour: -1").unwrap();
        let args = parse(&format!("--trace a --prices {}", file.path().display())).unwrap();
        assert!(setup(&args).unwrap_err().to_string().contains("from 0 to a billion"));
    }
}
