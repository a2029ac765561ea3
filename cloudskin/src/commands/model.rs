//! `cloudskin model`: models that are trained from telemetry, and kept in a catalog.

mod change;
mod evaluate;
mod federate;
mod files;
mod rightsize;
mod show;
mod train;

use super::geds::{address::Address, store::StoreArgs};
use crate::{exit::Failure, output::complain, session::Session};
use clap::{Args, Subcommand};
use learning::{
    Trace,
    catalog::Catalog,
    model::{Question, Target},
};
use orchestrator::{store::ModelShelf, supervisor::DataFolder};
use std::{path::PathBuf, process::ExitCode, sync::Arc};
use types::{ErrorKind, Period};

/// Train models from telemetry, compare and keep them
///
/// A model predicts a figure of a service some minutes ahead. Each training adds a version to the
/// catalog, with its figures on the last part of the data, which it has not seen; `promote` puts one
/// into use if it is no worse than the one before. Needs no control plane.
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Examples:
  cloudskin model train --kind gbm --data traces/*.csv --target latency --horizon 10m
  cloudskin model ls
  cloudskin model promote latency/1
  cloudskin model predict latency --data traces/
  cloudskin model ls --catalog geds://lab/models       models that sites share"
)]
pub(crate) struct ModelArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Train(train::Train),
    Federate(federate::Federate),
    Ls(show::List),
    Show(show::Show),
    Predict(evaluate::Predict),
    Evaluate(evaluate::Evaluate),
    Rightsize(rightsize::Rightsize),
    Promote(change::Promote),
    Rollback(change::Rollback),
    Export(files::Export),
    Import(files::Import),
    Rm(change::Remove),
}

pub(crate) fn run(args: &ModelArgs, session: &Session) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Train(args) => train::run(args, session)?,
        Command::Federate(args) => federate::run(args, session)?,
        Command::Ls(args) => show::list(args, session)?,
        Command::Show(args) => show::show(args, session)?,
        Command::Predict(args) => evaluate::predict(args, session)?,
        Command::Evaluate(args) => evaluate::evaluate(args, session)?,
        Command::Rightsize(args) => rightsize::run(args, session)?,
        Command::Promote(args) => change::promote(args, session)?,
        Command::Rollback(args) => change::rollback(args, session)?,
        Command::Export(args) => files::export(args, session)?,
        Command::Import(args) => files::import(args, session)?,
        Command::Rm(args) => change::remove(args, session)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Where models are kept.
#[derive(Debug, Args)]
pub(super) struct CatalogArgs {
    /// A folder, or geds://BUCKET/PREFIX for models that sites share [default: `models` in the data
    /// folder]
    #[arg(long, env = "CLOUDSKIN_CATALOG", hide_env_values = true, value_name = "PLACE")]
    catalog: Option<String>,
    #[command(flatten)]
    store: StoreArgs,
}

impl CatalogArgs {
    /// Opens it, with what others changed since.
    pub(super) fn open(&self, session: &Session) -> anyhow::Result<Catalog> {
        match self.catalog.as_deref().filter(|place| !place.is_empty()) {
            Some(place) if Address::is_meant(place) => self.shared(place, session),
            Some(folder) => Ok(Catalog::at(folder)),
            None => Ok(Catalog::at(DataFolder::default_root()?.join("models"))),
        }
    }

    fn shared(&self, place: &str, session: &Session) -> anyhow::Result<Catalog> {
        // Without the store there is still what came last.
        let store = self.store.open(session).map_err(|error| format!("{error:#}"));
        let shelf = ModelShelf::new(place, Box::new(move || Ok(store.clone()?)))
            .map_err(|reason| Failure::error(ErrorKind::Invalid, reason))?;
        let copy = shelf.copy_in(&DataFolder::default_root()?);
        let catalog = Catalog::shared(copy, Arc::new(shelf));
        match catalog.refresh() {
            Ok(came) => came.passed_by.iter().for_each(|why| complain(why)),
            Err(error @ learning::Error::Away { .. }) => {
                complain(&format!("{}: what came last is read", types::chain(&error)));
            }
            Err(error) => return Err(error.into()),
        }
        Ok(catalog)
    }
}

/// What was measured.
#[derive(Debug, Args)]
struct PathArgs {
    /// What was measured: files, or folders of .csv, .csv.gz and .parquet files
    #[arg(long, required = true, num_args = 1.., value_name = "PATH")]
    data: Vec<PathBuf>,
}

impl PathArgs {
    fn read(&self) -> anyhow::Result<Trace> {
        Ok(Trace::read_all(&self.data)?)
    }
}

/// What was measured, and which part of it is tested on.
#[derive(Debug, Args)]
struct DataArgs {
    #[command(flatten)]
    paths: PathArgs,
    /// The last part of the data, which is tested on
    #[arg(long, default_value_t = 0.3, value_name = "SHARE", value_parser = share)]
    test_share: f64,
}

impl DataArgs {
    fn read(&self) -> anyhow::Result<Trace> {
        self.paths.read()
    }
}

/// What a model is to predict.
#[derive(Debug, Args)]
struct Asked {
    /// What is predicted
    #[arg(long, value_name = "TARGET")]
    target: Target,
    /// How far ahead: a time from now, or from one time to another
    #[arg(long, value_name = "TIME", value_parser = ahead)]
    horizon: (u32, u32),
    /// Learn from a moment in so much time
    #[arg(long, default_value = "1m", value_name = "TIME", value_parser = seconds)]
    every: u32,
}

impl Asked {
    fn question(&self) -> Question {
        Question { every_s: self.every, ..Question::new(self.target, self.horizon) }
    }
}

/// A model, and one of its versions.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Which {
    name: String,
    version: Option<u32>,
}

impl std::str::FromStr for Which {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((name, version)) = text.split_once('/') else {
            return Ok(Self { name: text.to_owned(), version: None });
        };
        let number = version.strip_prefix('v').unwrap_or(version).parse().ok();
        let version = number.ok_or_else(|| format!("`{version}` is no version: write a number"))?;
        Ok(Self { name: name.to_owned(), version: Some(version) })
    }
}

impl Which {
    /// The version that is named; else the one in production, else the latest.
    fn version(&self, catalog: &Catalog) -> anyhow::Result<u32> {
        if let Some(version) = self.version {
            return Ok(version);
        }
        if let Ok(production) = catalog.production(&self.name) {
            return Ok(production.record.id);
        }
        let latest = catalog.versions(&self.name)?.last().copied();
        let missing = || learning::Error::Unknown(format!("there is no model `{}`", self.name));
        Ok(latest.ok_or_else(missing)?)
    }
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.05..=0.9).contains(share));
    share.ok_or_else(|| "write a number from 0.05 to 0.9".to_owned())
}

fn seconds(text: &str) -> Result<u32, String> {
    let period: Period = text.parse().map_err(|error| format!("{error}"))?;
    let seconds = u32::try_from(period.0.as_secs()).ok();
    let whole = seconds.filter(|_| period.0.subsec_nanos() == 0 && period.0.as_secs() <= 604_800);
    whole.ok_or_else(|| "write whole seconds, at most a week".to_owned())
}

/// `10m`, which begins now, or `5m..10m`.
fn ahead(text: &str) -> Result<(u32, u32), String> {
    match text.split_once("..") {
        Some((from, to)) => Ok((seconds(from)?, seconds(to)?)),
        None => Ok((0, seconds(text)?)),
    }
}

/// `0s..10m`.
fn period(ahead: (u32, u32)) -> String {
    let of = |seconds: u32| Period::from_millis(u64::from(seconds) * 1000);
    match ahead {
        (0, to) => of(to).to_string(),
        (from, to) => format!("{}..{}", of(from), of(to)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_stretches_are_written_as_they_are_read() {
        let which = |text: &str| text.parse::<Which>();
        assert_eq!(which("latency").unwrap().version, None);
        assert_eq!(which("latency/3").unwrap(), which("latency/v3").unwrap());
        assert!(which("latency/last").is_err());
        assert_eq!(ahead("10m"), Ok((0, 600)));
        assert_eq!(ahead("5m..10m"), Ok((300, 600)));
        assert!(ahead("..5m").is_err() && ahead("1500ms").is_err() && ahead("8d").is_err());
        assert_eq!((period((0, 600)), period((300, 600))), ("10m".into(), "5m..10m".into()));
    }
}
