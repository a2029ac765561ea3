//! `cloudskin version`: what this program is.

use crate::output::FormatArgs;
use clap::Args;
use std::process::ExitCode;

/// Print this program's version and what it speaks
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin version
  cloudskin version -o json")]
pub(crate) struct Version {
    #[command(flatten)]
    format: FormatArgs,
}

pub(crate) fn run(args: Version) -> anyhow::Result<ExitCode> {
    let version = env!("CARGO_PKG_VERSION");
    let (api, link) = (api::API_VERSION, api::link::LINK_VERSION);
    let machine = std::env::consts::ARCH;
    let value = serde_json::json!({
        "version": version, "api": api, "link": link, "machine": machine,
    });
    let text = format!("cloudskin {version} ({machine}), api {api}, site link {link}\n");
    args.format.print(&value, &text)?;
    Ok(ExitCode::SUCCESS)
}
