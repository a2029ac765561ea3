//! `cloudskin delete`: take resources down.

use super::apply;
use crate::{
    exit::Failure,
    output::{self, FormatArgs},
    progress::Progress,
    session::{Session, Target},
};
use clap::Args;
use orchestrator::client::wait::{Condition, wait};
use std::process::ExitCode;
use types::{ErrorKind, Period};

/// Take resources down
///
/// Asks for their end and waits until they are gone, unless --no-wait is given.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin delete service/street-counter
  cloudskin delete -f deploy/                     all that these files name
  cloudskin delete service/a service/b --no-wait --ignore-not-found")]
pub(crate) struct Delete {
    /// Which
    #[arg(value_name = "KIND/NAME", required_unless_present = "files")]
    targets: Vec<Target>,
    /// All that this file, folder or `-` names; may be repeated
    #[arg(short, long = "filename", value_name = "FILE|DIR|-")]
    files: Vec<String>,
    /// Return once it is asked for
    #[arg(long)]
    no_wait: bool,
    /// What does not exist is as good as deleted
    #[arg(long)]
    ignore_not_found: bool,
    /// How long to wait for each
    #[arg(long, default_value = "1m", value_name = "PERIOD")]
    timeout: Period,
    #[command(flatten)]
    format: FormatArgs,
}

pub(crate) async fn run(args: Delete, session: &Session) -> anyhow::Result<ExitCode> {
    let client = session.client()?;
    let mut targets = args.targets.clone();
    // In the opposite order of apply, so that what others need goes last.
    for manifest in apply::read(&args.files, client.tenant())?.iter().rev() {
        let resource = &manifest.resource;
        if resource.metadata.tenant != client.tenant() {
            let message = format!(
                "{} belongs to tenant `{}`: give --tenant",
                manifest.target(),
                resource.metadata.tenant
            );
            return Err(Failure::error(ErrorKind::Invalid, message));
        }
        targets.push(Target { kind: resource.kind, name: resource.metadata.name.clone() });
    }
    let mut deleted = Vec::new();
    for target in &targets {
        match client.delete(target.kind, &target.name).await {
            Err(error) if args.ignore_not_found && error.kind() == ErrorKind::NotFound => continue,
            other => other?,
        }
        if !args.no_wait {
            let progress = Progress::new(&format!("waiting for the end of {target}"));
            let tell = |state: &str| progress.set(&format!("{target}: {state}"));
            wait(&client, target.kind, &target.name, Condition::Deleted, args.timeout, tell)
                .await?;
        }
        if args.format.is_text() {
            let word = if args.no_wait { "is being deleted" } else { "deleted" };
            output::print(&format!("{target} {word}\n"))?;
        }
        deleted.push(target.to_string());
    }
    if !args.format.is_text() {
        args.format.print(&serde_json::json!({ "deleted": deleted }), "")?;
    }
    Ok(ExitCode::SUCCESS)
}
