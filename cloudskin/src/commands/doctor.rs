//! `cloudskin doctor`: whether this machine can do it all.

use super::up;
use crate::output::{FormatArgs, Style};
use clap::Args;
use orchestrator::supervisor::{
    Network, Plan,
    doctor::{Check, Level, examine},
};
use std::{path::PathBuf, process::ExitCode};

/// Check this machine, and say what to do where something is missing
///
/// Looks at the data folder, the ports, the kernel's dirty-page tracking, cgroups, the toolchain
/// for `build`, and the programs that the demo uses. A `note` leaves something out; with a
/// `problem`, `cloudskin up` does not work, and the exit code is 1.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin doctor
  cloudskin doctor --loopback 127.77.3.0          are the ports there free?
  cloudskin doctor -o json")]
pub(crate) struct Doctor {
    /// As for `up`
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// As for `up`
    #[arg(long, default_value_t = Network::default(), value_name = "NETWORK")]
    loopback: Network,
    /// As for `up`
    #[arg(long, value_delimiter = ',', default_value = "cloud,edge", value_name = "NAMES")]
    sites: Vec<String>,
    #[command(flatten)]
    format: FormatArgs,
}

pub(crate) fn run(args: Doctor) -> anyhow::Result<ExitCode> {
    let folder = up::folder(args.data_dir.as_ref())?;
    let plan = Plan::new(args.loopback, &args.sites)?;
    let checks = examine(&folder, &plan);
    args.format.print(&checks, &text(&checks))?;
    let is_well = checks.iter().all(|check| check.level != Level::Problem);
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn text(checks: &[Check]) -> String {
    let style = Style::for_stdout();
    let line = |check: &Check| {
        let level = match check.level {
            Level::Ok => style.good("ok     "),
            Level::Note => style.fair("note   "),
            Level::Problem => style.bad("problem"),
        };
        let advice = check.advice.as_ref();
        let advice = advice.map(|advice| format!("{:31}→ {advice}\n", "")).unwrap_or_default();
        format!("{level}  {:<22}{}\n{advice}", check.name, check.finding)
    };
    checks.iter().map(line).collect()
}
