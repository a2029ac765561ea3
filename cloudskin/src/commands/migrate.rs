//! `cloudskin migrate`: a service, or ranks of an MPI program, move to another site, live.

use crate::{
    exit::Failure,
    output::{self, FormatArgs},
    progress::Progress,
    session::{Session, Target},
    when,
};
use api::{Kind, Resource, decision::DecisionStatus};
use clap::Args;
use orchestrator::client::migrate::{self, Step};
use std::{process::ExitCode, time::Instant};
use types::{ErrorKind, Period};

/// Move a service, or ranks of an MPI program, to another site, live
///
/// Starts the service at the target, copies its state while it serves on, switches names and
/// ingresses, and ends it at the source: it is answered throughout. If any step fails it serves
/// on where it was.
///
/// Ranks of a tissue move while all of its ranks stand where they are in calls of MPI; what they
/// have in memory is copied before, while they compute. Messages, requests and windows stay as they
/// are, and the answers are those of a run that never moved.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin migrate service/street-counter --to site/cloud
  cloudskin migrate service/street-counter --to edge --no-wait -o json
  cloudskin migrate tissue/cg-4f1a2b --ranks 2,3 --to site/cloud")]
pub(crate) struct Migrate {
    /// Which service or tissue
    #[arg(value_name = "SERVICE|TISSUE")]
    target: Target,
    /// Which ranks of the tissue; all if none are named
    #[arg(long, value_name = "RANK", value_delimiter = ',')]
    ranks: Vec<u32>,
    /// Where to: `site/NAME` or `NAME`
    #[arg(long, value_name = "SITE", value_parser = parse_site)]
    to: String,
    /// Return once it has begun
    #[arg(long)]
    no_wait: bool,
    /// How long to wait for its end; it goes on afterwards
    #[arg(long, default_value = "5m", value_name = "PERIOD")]
    timeout: Period,
    #[command(flatten)]
    format: FormatArgs,
}

/// `site/NAME` or `NAME`.
pub(super) fn parse_site(text: &str) -> Result<String, String> {
    let name = match text.split_once('/') {
        Some(("site" | "sites", name)) => name,
        Some(_) => return Err("write `site/NAME`".into()),
        None => text,
    };
    types::check_name(name).map_err(|error| error.to_string())?;
    Ok(name.to_owned())
}

pub(crate) async fn run(args: Migrate, session: &Session) -> anyhow::Result<ExitCode> {
    let Target { kind, name } = &args.target;
    let client = session.client()?;
    let started = Instant::now();
    let decision = match kind {
        Kind::Tissue => client.migrate_ranks(name, &args.ranks, &args.to).await?,
        Kind::Service if args.ranks.is_empty() => client.migrate(name, &args.to).await?,
        Kind::Service => {
            let message = "a service has no ranks: leave --ranks out";
            return Err(Failure::error(ErrorKind::Invalid, message));
        }
        kind => {
            let message = format!("a {} cannot be migrated: services and tissues can", kind.path());
            return Err(Failure::error(ErrorKind::Invalid, message));
        }
    };
    if args.no_wait {
        let text = format!(
            "{} moves to site/{}: `cloudskin why decision/{}` tells its outcome\n",
            args.target, args.to, decision.metadata.name
        );
        args.format.print(&decision, &text)?;
        return Ok(ExitCode::SUCCESS);
    }
    let progress = Progress::new(&format!("{} moves to site/{}", args.target, args.to));
    let is_text = args.format.is_text();
    let mut printed = Ok(());
    let tell = |step: &Step| {
        progress.set(&format!("{} moves to site/{}: after {}", args.target, args.to, step.name));
        if is_text && printed.is_ok() {
            printed = output::print(&line(step));
        }
    };
    let decision = migrate::finish(&client, &decision, args.timeout, tell).await?;
    drop(progress);
    printed?;
    let took = when::millis(started.elapsed().as_secs_f64() * 1000.0);
    let summary = summary(&decision);
    let text = format!("{} is at site/{} after {took}{summary}\n", args.target, args.to);
    args.format.print(&decision, &text)?;
    Ok(ExitCode::SUCCESS)
}

fn line(step: &Step) -> String {
    format!("  {:<16}{:>10}\n", step.name, when::millis(step.ms))
}

/// How long it stood, and what was sent.
fn summary(decision: &Resource) -> String {
    let observed = decision.status::<DecisionStatus>().observed;
    let number = |name: &str| observed.get(name).and_then(serde_json::Value::as_u64);
    let stop =
        number("stopUs").map(|us| format!("; it stood for {}", when::millis(us as f64 / 1000.0)));
    let bytes = number("precopyBytes").zip(number("finalBytes")).map(|(before, last)| {
        format!("; {} KiB sent while it ran, {} KiB while it stood", before >> 10, last >> 10)
    });
    stop.unwrap_or_default() + &bytes.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_named_with_or_without_its_kind() {
        assert_eq!(parse_site("site/cloud"), Ok("cloud".into()));
        assert_eq!(parse_site("cloud"), Ok("cloud".into()));
        for wrong in ["", "site/", "service/cloud", "site/a/b", "A"] {
            assert!(parse_site(wrong).is_err(), "{wrong}");
        }
    }
}
