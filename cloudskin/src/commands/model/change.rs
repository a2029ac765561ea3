//! `cloudskin model promote`, `rollback` and `rm`.

use super::{CatalogArgs, Which, evaluate::overlaps, share, train::examples};
use crate::{
    exit::Failure,
    output::{FormatArgs, print},
    session::Session,
};
use clap::Args;
use learning::{
    Trace,
    catalog::{Catalog, Gate, MARGIN, Record},
};
use serde::Serialize;
use std::path::PathBuf;
use types::ErrorKind;

/// Put a version into production
///
/// It may not be worse than the one in production on the same held-out data: their own back-tests are
/// compared if they are of the same data, else both are tested on --data.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin model promote latency/3
  cloudskin model promote latency/4 --data june/      trained on other data: test both on this
  cloudskin model promote latency/4 --force           whatever its figures are")]
pub(crate) struct Promote {
    /// The model and its version
    #[arg(value_name = "NAME/VERSION")]
    which: Which,
    /// Test both on the last part of this data
    #[arg(long, num_args = 1.., value_name = "PATH", conflicts_with = "force")]
    data: Vec<PathBuf>,
    /// The part of the data that is tested on
    #[arg(long, default_value_t = 0.3, value_name = "SHARE", value_parser = share)]
    test_share: f64,
    /// By which share its error may be higher
    #[arg(long, default_value_t = MARGIN, value_name = "SHARE", value_parser = margin)]
    margin: f64,
    /// Promote it without a test
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    catalog: CatalogArgs,
    #[command(flatten)]
    format: FormatArgs,
}

/// Go back to the version that was in production before
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin model rollback latency")]
pub(crate) struct Rollback {
    /// The model
    name: String,
    #[command(flatten)]
    catalog: CatalogArgs,
    #[command(flatten)]
    format: FormatArgs,
}

/// Remove a version that is not in production
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin model rm latency/2")]
pub(crate) struct Remove {
    /// The model and its version
    #[arg(value_name = "NAME/VERSION")]
    which: Which,
    #[command(flatten)]
    catalog: CatalogArgs,
}

#[derive(Debug, Serialize)]
struct Promoted {
    name: String,
    version: u32,
    reason: String,
}

#[derive(Debug, Serialize)]
struct RolledBack {
    name: String,
    from: u32,
    to: u32,
}

fn margin(text: &str) -> Result<f64, String> {
    let margin = text.parse().ok().filter(|margin| (0.0..=1.0).contains(margin));
    margin.ok_or_else(|| "write a number from 0 to 1".to_owned())
}

pub(crate) fn promote(args: &Promote, session: &Session) -> anyhow::Result<()> {
    let catalog = args.catalog.open(session)?;
    let (name, version) = named(&args.which)?;
    let reason = catalog.promote(name, version, &gate(args, &catalog, version)?)?;
    let promoted = Promoted { name: name.to_owned(), version, reason };
    let text = format!("{name}/v{version} is in production: {}\n", promoted.reason);
    args.format.print(&promoted, &text)
}

/// A change is made to a version that was named, and not to one that was guessed.
fn named(which: &Which) -> anyhow::Result<(&str, u32)> {
    let version = which.version.ok_or_else(|| {
        let text = format!("say which version: `{}/1`", which.name);
        Failure::error(ErrorKind::Invalid, text)
    })?;
    Ok((&which.name, version))
}

fn gate(args: &Promote, catalog: &Catalog, version: u32) -> anyhow::Result<Gate> {
    let margin = args.margin;
    if args.force {
        return Ok(Gate::Forced);
    }
    if args.data.is_empty() {
        return Ok(Gate::Recorded { margin });
    }
    let current = match catalog.production(&args.which.name) {
        Ok(production) => production.record.id,
        // There is nothing to compare with.
        Err(learning::Error::Unknown(_)) => version,
        Err(error) => return Err(error.into()),
    };
    let trace = Trace::read_all(&args.data)?;
    // Both are asked at the same moments.
    let every_s = catalog.record(&args.which.name, version)?.every_s;
    let error = |version: u32| -> anyhow::Result<f64> {
        let record = Record { every_s, ..catalog.record(&args.which.name, version)? };
        let (examples, data) = examples(&trace, &record, args.test_share)?;
        if overlaps(&record, &data) {
            let text = format!(
                "version {version} was trained on some of this data: give other data, or --force"
            );
            return Err(Failure::error(ErrorKind::Invalid, text));
        }
        Ok(catalog.model(&args.which.name, version)?.tried(&examples)?.rmse)
    };
    let (candidate, against) = (error(version)?, current);
    Ok(Gate::Tested { margin, candidate, current: error(current)?, against })
}

pub(crate) fn rollback(args: &Rollback, session: &Session) -> anyhow::Result<()> {
    let (from, to) = args.catalog.open(session)?.rollback(&args.name)?;
    let name = &args.name;
    let text = format!("{name}/v{to} is in production again, {name}/v{from} is retired\n");
    args.format.print(&RolledBack { name: name.clone(), from, to }, &text)
}

pub(crate) fn remove(args: &Remove, session: &Session) -> anyhow::Result<()> {
    let (name, version) = named(&args.which)?;
    args.catalog.open(session)?.remove(name, version)?;
    print(&format!("{name}/v{version} is removed\n"))
}
