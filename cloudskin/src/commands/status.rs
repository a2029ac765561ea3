//! `cloudskin status`: what runs.

use super::{rows, up};
use crate::{
    exit::Failure,
    output::{FormatArgs, Style},
    session::Session,
    table::Table,
    when,
};
use api::{
    Kind, Resource,
    service::{self, ServiceStatus},
    site::SiteStatus,
};
use clap::Args;
use orchestrator::{
    client::Client,
    supervisor::{DataFolder, Phase, State},
};
use serde_json::{Value, json};
use std::{path::PathBuf, process::ExitCode};
use types::{ErrorKind, Token};

/// Show what runs: processes, sites and services
///
/// Shows the continuum of this machine, or with --context or --url another one. The exit code is
/// 0 when everything is ready, 1 when something is not, and 3 when nothing runs here.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin status
  cloudskin status -o json
  cloudskin --context lab status")]
pub(crate) struct Status {
    /// The folder that was given to `up`
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    format: FormatArgs,
}

pub(crate) async fn run(args: Status, session: &Session) -> anyhow::Result<ExitCode> {
    let local = match session.is_named() {
        true => None,
        false => local(args.data_dir.as_ref())?,
    };
    let asks_here = args.data_dir.is_some();
    let client = match &local {
        Some((folder, state)) => {
            Client::new(&state.url, Some(Token::load(&folder.token_file())?), api::DEFAULT_TENANT)?
        }
        None if asks_here => return Err(nothing_runs()),
        None => session.client().map_err(|error| match error.downcast_ref() {
            Some(orchestrator::client::Error::NoContext) => nothing_runs(),
            _ => error,
        })?,
    };
    let local = local.map(|(_, state)| state);
    let remote = remote(&client).await;
    let is_well = is_well(local.as_ref(), &remote);
    let (value, text) = match remote {
        Ok(remote) => (
            json!({"local": local, "control": remote.overview, "sites": remote.sites, "services": remote.services}),
            local_text(local.as_ref()) + &remote_text(&client, &remote),
        ),
        Err(error) if local.is_some() => (
            json!({"local": local, "error": format!("{error:#}")}),
            local_text(local.as_ref())
                + &format!("\nthe control plane does not answer: {error:#}\n"),
        ),
        Err(error) => return Err(error),
    };
    args.format.print(&value, &text)?;
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn nothing_runs() -> anyhow::Error {
    Failure::error(ErrorKind::NotFound, "nothing runs here: `cloudskin up` starts it")
}

/// What the supervisor of this machine said last.
fn local(given: Option<&PathBuf>) -> anyhow::Result<Option<(DataFolder, State)>> {
    let folder = up::folder(given)?;
    Ok(folder.state()?.map(|state| (folder, state)))
}

struct Remote {
    overview: Value,
    sites: Vec<Resource>,
    services: Vec<Resource>,
}

async fn remote(client: &Client) -> anyhow::Result<Remote> {
    Ok(Remote {
        overview: client.status().await?,
        sites: client.list(Kind::Site, &[]).await?.items,
        services: client.list(Kind::Service, &[]).await?.items,
    })
}

fn is_well(local: Option<&State>, remote: &anyhow::Result<Remote>) -> bool {
    let local = local.is_none_or(|state| state.is_alive() && state.phase == Phase::Ready);
    let serves = |service: &Resource| {
        let phase = service.status::<ServiceStatus>().phase;
        matches!(phase, service::Phase::Ready | service::Phase::Migrating)
    };
    let remote = remote.as_ref().is_ok_and(|remote| {
        remote.sites.iter().all(|site| site.status::<SiteStatus>().ready)
            && remote.services.iter().all(serves)
    });
    local && remote
}

fn local_text(state: Option<&State>) -> String {
    let Some(state) = state else { return String::new() };
    let style = Style::for_stdout();
    if !state.is_alive() {
        let why = state.problem.as_ref().map(|problem| format!(": {}", problem.message));
        return format!(
            "{}{}\n`cloudskin up` takes over what it left, `cloudskin down` ends it\n",
            style.bad(&format!("the supervisor (pid {}) is gone", state.pid())),
            why.unwrap_or_default(),
        );
    }
    let mut table = Table::new(&["PROCESS", "PID", "RESTARTS", "LAST END"]);
    for child in &state.children {
        let pid = child.pid.map(|pid| pid.to_string());
        let end = child.last_end.clone().unwrap_or_default();
        let restarts = child.restarts.to_string();
        table.row(vec![child.name.clone(), pid.unwrap_or_default(), restarts, end]);
    }
    let phase = format!("{:?}", state.phase).to_lowercase();
    let up = when::age(Some(state.started), when::now_ms());
    format!("{phase} for {up}, supervisor pid {}\n\n{}", state.pid(), table.render(style))
}

fn remote_text(client: &Client, remote: &Remote) -> String {
    let (style, now) = (Style::for_stdout(), when::now_ms());
    let text = |field: &str| remote.overview.get(field).and_then(Value::as_str).unwrap_or("?");
    let mut sites = rows::table(Kind::Site, false);
    for site in &remote.sites {
        sites.row(rows::row(site, false, now));
    }
    let mut services = rows::table(Kind::Service, false);
    for service in &remote.services {
        services.row(rows::row(service, false, now));
    }
    let services = match remote.services.is_empty() {
        true => "no services\n".to_owned(),
        false => services.render(style),
    };
    let version = text("version");
    format!(
        "\ncontrol plane {} (version {version})\n\n{}\n{services}",
        client.url(),
        sites.render(style)
    )
}
