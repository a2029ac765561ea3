//! `cloudskin twin`: sites that are made up, calibrated from a trace, and policies in them.

mod report;

use crate::{
    exit::Failure,
    output::{FormatArgs, Style, complain},
};
use anyhow::Context;
use clap::{Args, Subcommand};
use learning::{
    Prices, Trace,
    policy::Policy,
    twin::{
        Contender, Contest, Fleet, Parameters, Rules, Scenario, calibrate, likeness, reactive_rule,
    },
};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};
use types::{ErrorKind, Period};

/// Try migration policies in a digital twin of edge sites and a cloud
///
/// A twin draws from a seed what load, queues, stalls and latency at sites would be. Its numbers come
/// from a trace, by default from the 22 hours of the DL Streamer testbed. Needs no control plane.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin twin run --seeds 30                        policies beside each other
  cloudskin twin run --sites 10000 --services 10000    thousands of sites for a day
  cloudskin twin calibrate --trace traces/ --out twin.yaml")]
pub(crate) struct Twin {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Calibrate(Calibrate),
    Run(Run),
    Fit(Fit),
}

/// Learn a twin's parameters from a trace, and say how like the trace it is
///
/// Prints figures of the trace beside those of days that the twin makes up, which are as long.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin twin calibrate --trace traces/
  cloudskin twin calibrate --trace traces/ --out twin.yaml --seeds 30

Traces are as for `cloudskin replay`, with the column cpu.")]
struct Calibrate {
    /// What was measured: a file, or a folder of files
    #[arg(long, value_name = "PATH")]
    trace: PathBuf,
    /// Write the parameters here, for --twin of the other commands
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Days that the twin makes up for the comparison
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    seeds: u32,
    #[command(flatten)]
    format: FormatArgs,
}

/// What the days are like, for all that play in them.
#[derive(Debug, Args)]
struct Days {
    /// Parameters of the sites, as `twin calibrate` wrote them; the testbed's if not given
    #[arg(long, value_name = "FILE")]
    twin: Option<PathBuf>,
    /// What happens at the sites, as YAML; what it does not name is as usual
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    /// Length of a day, in hours
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=744))]
    hours: Option<u32>,
    /// By how much faster the days pass than moves do
    #[arg(long, value_name = "X")]
    speed: Option<f64>,
    /// The service level
    #[arg(long, default_value = "120ms", value_name = "TIME", value_parser = level)]
    sla: f64,
    /// Time from one decision to the next
    #[arg(long, default_value = "1m", value_name = "TIME", value_parser = seconds)]
    every: u32,
    /// Prices for the cost, as YAML; those that are not named are as usual
    #[arg(long, value_name = "FILE")]
    prices: Option<PathBuf>,
}

/// Play policies in days that none of them has seen
///
/// Forecasts are learned, and settings chosen, in days of other seeds. Prints for each policy the time
/// for which the service level was broken, moves, cost, the cloud's part, and how good alarms were,
/// with intervals of 95 % by drawing the days again. With --sites, thousands of sites for one day,
/// under one policy, with services that are load for each other.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin twin run --seeds 30
  cloudskin twin run --seeds 5 --policy reactive,oracle --speed 20 -o json
  cloudskin twin run --twin twin.yaml --scenario city.yaml --sla 100ms
  cloudskin twin run --sites 10000 --services 10000 --hours 24 --policy reactive

Policies: reactive, tuned-reactive, proactive, cloud-only, edge-only, oracle.
With --sites: reactive, proactive, cloud-only or edge-only.")]
struct Run {
    /// Policies to compare; all if not given
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    policy: Vec<Contender>,
    /// Days that are played
    #[arg(long, default_value_t = 30, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    seeds: u32,
    /// Edge sites of one large run in place of a comparison
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(3..=100_000))]
    sites: Option<u32>,
    /// Services of the large run; as many as sites if not given
    #[arg(long, value_name = "N", requires = "sites", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    services: Option<u32>,
    /// Seed of the large run
    #[arg(long, default_value_t = 1, value_name = "N", requires = "sites")]
    seed: u64,
    #[command(flatten)]
    days: Days,
    #[command(flatten)]
    format: FormatArgs,
}

/// Look for the settings of a policy in some days, and check them in others
///
/// Prints what was tried, what was chosen, and what it does in days that it was not chosen by.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin twin fit
  cloudskin twin fit --seeds 30 --sla 100ms -o json")]
struct Fit {
    /// Days that the choice is checked in
    #[arg(long, default_value_t = 30, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    seeds: u32,
    #[command(flatten)]
    days: Days,
    #[command(flatten)]
    format: FormatArgs,
}

pub(crate) fn run(args: &Twin) -> anyhow::Result<ExitCode> {
    match &args.action {
        Action::Calibrate(args) => calibrated(args)?,
        Action::Run(args) => match args.sites {
            Some(sites) => fleet(args, sites)?,
            None => compared(args)?,
        },
        Action::Fit(args) => fitted(args)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn failed(error: learning::Error) -> anyhow::Error {
    let kind = error.kind();
    Failure::error(kind, types::chain(&error))
}

fn invalid(text: &str) -> anyhow::Error {
    Failure::error(ErrorKind::Invalid, text.to_owned())
}

fn calibrated(args: &Calibrate) -> anyhow::Result<()> {
    let trace = Trace::read(&args.trace).map_err(failed)?;
    let parameters = calibrate(&trace).map_err(failed)?;
    let found = likeness(&trace, &parameters, args.seeds);
    if let Some(path) = &args.out {
        let yaml = parameters.yaml().map_err(failed)?;
        std::fs::write(path, yaml).with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    let text = report::likeness(&found, args.seeds, Style::for_stdout());
    args.format.print(&serde_json::json!({ "parameters": parameters, "likeness": found }), &text)
}

impl Days {
    fn contest(&self, seeds: u32) -> anyhow::Result<Contest> {
        let read = |path: &PathBuf| Scenario::read(path).map_err(failed);
        let mut scenario = self.scenario.as_ref().map(read).transpose()?.unwrap_or_default();
        scenario.hours = self.hours.unwrap_or(scenario.hours);
        scenario.service.speed = self.speed.unwrap_or(scenario.service.speed);
        scenario.check().map_err(failed)?;
        let parameters = |path: &Path| Parameters::read(path).map_err(failed);
        let prices = |path: &Path| Prices::read(path).map_err(failed);
        let prices = self.prices.as_deref().map(prices).transpose()?.unwrap_or_default();
        let parameters = self.twin.as_deref().map(parameters).transpose()?.unwrap_or_default();
        let rules = Rules { sla_ms: self.sla, every_s: self.every, prices };
        Ok(Contest { scenario, parameters, rules, seeds, ..Contest::default() })
    }
}

fn compared(args: &Run) -> anyhow::Result<()> {
    let contest = args.days.contest(args.seeds)?;
    let asked = if args.policy.is_empty() { Contender::ALL.to_vec() } else { args.policy.clone() };
    let results = contest.run(&asked, &mut telling(&args.format)).map_err(failed)?;
    args.format.print(&results, &report::standings(&results, Style::for_stdout()))
}

fn fitted(args: &Fit) -> anyhow::Result<()> {
    let contest = args.days.contest(args.seeds)?;
    let fit = contest.fit(&mut telling(&args.format)).map_err(failed)?;
    args.format.print(&fit, &report::fit(&fit, Style::for_stdout()))
}

fn fleet(args: &Run, sites: u32) -> anyhow::Result<()> {
    let contest = args.days.contest(1)?;
    let policy: Box<dyn Policy> = match args.policy[..] {
        [] | [Contender::Reactive] => Box::new(reactive_rule(&contest.rules)),
        [Contender::EdgeOnly] => Box::new(learning::twin::EdgeOnly),
        [Contender::CloudOnly] => Box::new(learning::twin::CloudOnly),
        [Contender::Proactive] => {
            Box::new(contest.learn(&mut telling(&args.format)).map_err(failed)?.0)
        }
        _ => {
            let text = "with --sites name one policy: reactive, proactive, cloud-only or edge-only";
            return Err(invalid(text));
        }
    };
    let Contest { scenario, parameters, rules, .. } = &contest;
    let services = args.services.unwrap_or(sites);
    let fleet = Fleet { scenario, parameters, rules, sites, services, seed: args.seed };
    let (started, mut tell) = (Instant::now(), telling(&args.format));
    let mut progress =
        |done: usize, all: usize| tell(&format!("{} % of the day", 100 * done / all));
    let found = fleet.run(&*policy, &mut progress).map_err(failed)?;
    let run = report::FleetRun::new(found, started.elapsed(), parameters.step_s);
    args.format.print(&run, &report::fleet(&run, Style::for_stdout()))
}

/// A word on standard error every two seconds.
fn telling(format: &FormatArgs) -> impl FnMut(&str) + use<> {
    let (started, mut told, shown) = (Instant::now(), Instant::now(), format.is_text());
    move |what| {
        if shown && told.elapsed() > Duration::from_secs(2) {
            told = Instant::now();
            complain(&format!("{what} ({} s)", started.elapsed().as_secs()));
        }
    }
}

fn seconds(text: &str) -> Result<u32, String> {
    let period: Period = text.parse().map_err(|error| format!("{error}"))?;
    let seconds = u32::try_from(period.0.as_secs()).ok();
    let whole = seconds.filter(|s| period.0.subsec_nanos() == 0 && (1..=86_400).contains(s));
    whole.ok_or_else(|| "write whole seconds, at most a day".to_owned())
}

fn level(text: &str) -> Result<f64, String> {
    let period: Period = text.parse().map_err(|error| format!("{error}"))?;
    let ms = period.0.as_secs_f64() * 1000.0;
    if ms > 0.0 { Ok(ms) } else { Err("a service level is above 0".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Twin,
    }

    fn parse(line: &str) -> Result<Twin, clap::Error> {
        Line::try_parse_from(["twin"].into_iter().chain(line.split_whitespace()))
            .map(|line| line.args)
    }

    #[test]
    fn mistakes_are_told_before_anything_is_played() {
        for wrong in [
            "",
            "calibrate",
            "run --policy best",
            "run --seeds 0",
            "run --services 5",
            "run --sites 2",
            "run --sla 0ms",
            "run --every 1500ms",
            "run --hours 1",
            "fit --policy",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        let says = |line: &str| run(&parse(line).unwrap()).unwrap_err().to_string();
        assert!(says("run --twin nowhere.yaml").contains("cannot read `nowhere.yaml`"));
        assert!(says("calibrate --trace nowhere").contains("cannot read `nowhere`"));
        assert!(says("run --speed 0").contains("speed above 0"));
        assert!(says("run --sites 5 --policy oracle").contains("name one policy"));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "clouds: 3").unwrap();
        assert!(says(&format!("run --scenario {}", file.path().display())).contains("clouds"));
    }

    #[test]
    fn reactive_rules_are_compared_and_thousands_of_sites_run() {
        let contest = Contest { trials: 1, seeds: 2, rounds: 20, ..Contest::default() };
        let results = contest.run(&[Contender::Oracle], &mut |_| ()).unwrap();

        let text = report::standings(&results, Style::plain());

        let rows = ["reactive", "tuned-reactive", "cloud-only", "oracle"];
        assert!(rows.iter().all(|row| text.contains(row)), "{text}");
        let json = serde_json::to_value(&results).unwrap();
        for name in ["tp", "fp", "fn", "tn", "migrations", "cloud_s", "bytes_to_cloud"] {
            assert!(json["standings"][0][name].is_number(), "{name}: {json}");
        }
        let args = parse("run --sites 30 --services 40 --hours 2 -o json").unwrap();
        run(&args).unwrap();
    }
}
