//! `cloudskin token`: what lets a machine join.

use crate::{output::FormatArgs, session::Session};
use anyhow::Context;
use clap::{Args, Subcommand};
use orchestrator::trust::JoinTicket;
use std::process::ExitCode;
use types::Period;

/// Make tokens with which machines join as sites
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin token create --site edge2             prints what to run on the other machine")]
pub(crate) struct Token {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a token for one site: one machine joins with it, once, before it expires
    ///
    /// It carries the fingerprint of this control plane's certificate authority, so that the other
    /// machine knows whom it talks to before it sends anything. The control plane keeps only a
    /// hash. If a site of this name exists already, it is the new machine's from then on.
    #[command(after_help = "\
Examples:
  cloudskin token create --site edge2
  cloudskin token create --site edge2 --ttl 10m -o json")]
    Create {
        /// The site that the machine becomes
        #[arg(long, value_name = "NAME")]
        site: String,
        /// How long the token may wait to be used; at most 7 days
        #[arg(long, default_value = "1h", value_name = "TIME")]
        ttl: Period,
        #[command(flatten)]
        format: FormatArgs,
    },
}

pub(crate) async fn run(args: Token, session: &Session) -> anyhow::Result<ExitCode> {
    let Action::Create { site, ttl, format } = args.action;
    types::check_name(&site).with_context(|| format!("`{site}` cannot be a site"))?;
    let ticket = session.client()?.create_join_token(&site, ttl.0).await?;
    format.print(&ticket, &text(&ticket))?;
    Ok(ExitCode::SUCCESS)
}

fn text(ticket: &JoinTicket) -> String {
    let JoinTicket { site, token, url, .. } = ticket;
    format!("cloudskin join {url} {token} --name {site}\n")
}
