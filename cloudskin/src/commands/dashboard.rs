//! `cloudskin dashboard`: the address for a browser.

use crate::{output::print, session::Session};
use clap::Args;
use std::process::ExitCode;

/// Print the dashboard's address, with the token that lets a browser in
///
/// The token stands behind the `#`, which browsers send to nobody. Whoever has the address can do
/// what you can.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin dashboard
  xdg-open \"$(cloudskin dashboard)\"")]
pub(crate) struct Dashboard {}

pub(crate) fn run(_: Dashboard, session: &Session) -> anyhow::Result<ExitCode> {
    print(&format!("{}\n", session.client()?.dashboard_url()))?;
    Ok(ExitCode::SUCCESS)
}
