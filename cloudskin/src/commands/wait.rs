//! `cloudskin wait`: until something is so.

use crate::{
    output::FormatArgs,
    progress::Progress,
    session::{Session, Target},
};
use clap::Args;
use orchestrator::client::wait::{Condition, wait};
use std::process::ExitCode;
use types::Period;

/// Wait until a resource is ready, deleted or has exited
///
/// Ends at once with exit code 1 if that can no longer come to be, and with 7 if it does not in
/// time.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin wait --for ready service/street-counter
  cloudskin wait --for deleted service/street-counter --timeout 10s
  cloudskin wait --for exited cell/hello")]
pub(crate) struct Wait {
    /// `ready`, `deleted` or `exited`
    #[arg(long = "for", value_name = "CONDITION")]
    condition: Condition,
    /// Which
    #[arg(value_name = "KIND/NAME")]
    target: Target,
    /// How long at most
    #[arg(long, default_value = "1m", value_name = "PERIOD")]
    timeout: Period,
    #[command(flatten)]
    format: FormatArgs,
}

pub(crate) async fn run(args: Wait, session: &Session) -> anyhow::Result<ExitCode> {
    let client = session.client()?;
    let Wait { condition, target, timeout, format } = args;
    let progress = Progress::new(&format!("waiting for {target}"));
    let tell = |state: &str| progress.set(&format!("waiting for {target}: {state}"));
    let found = wait(&client, target.kind, &target.name, condition, timeout, tell).await?;
    drop(progress);
    format.print(&found, &format!("{target} {condition}\n"))?;
    Ok(ExitCode::SUCCESS)
}
