//! `cloudskin rank`: which site is best for a service.

use super::{
    migrate::parse_site,
    predict::{AssumedArgs, outlooks, read, service},
};
use crate::{
    output::{FormatArgs, Style, tame},
    session::Session,
};
use api::{advice::Rank as Asked, service::Prefer};
use clap::Args;
use learning::advise::Outlook;
use serde::Deserialize;
use serde_json::Value;
use std::{fmt::Write, process::ExitCode};

/// Rank sites by how a service would behave there
///
/// The same order in which the control plane gives services to sites. With `behaviour` sites that are
/// expected to break the service level as little and to answer as fast as the best one stand first,
/// the one with the most room before the others.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin rank service/street-counter
  cloudskin rank service/street-counter --sites edge,cloud --sla 120ms
  cloudskin rank service/street-counter --prefer cost --rate 40 -o json")]
pub(crate) struct Rank {
    /// Which service
    #[arg(value_name = "SERVICE", value_parser = service)]
    service: String,
    /// Among which sites [default: all]
    #[arg(long, value_name = "SITE", value_delimiter = ',', value_parser = parse_site)]
    sites: Option<Vec<String>>,
    /// What counts: behaviour, latency, cost or room [default: as the service's placement says]
    #[arg(long, value_name = "WHAT")]
    prefer: Option<Prefer>,
    #[command(flatten)]
    assumed: AssumedArgs,
    #[command(flatten)]
    format: FormatArgs,
}

/// What was answered, as far as it is told to people.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    service: String,
    here: Option<String>,
    rate: f64,
    why: String,
    scores: Vec<f64>,
    places: Vec<Outlook>,
    closed: Vec<Closed>,
}

#[derive(Debug, Deserialize)]
struct Closed {
    site: String,
    why: String,
}

pub(crate) async fn run(args: Rank, session: &Session) -> anyhow::Result<ExitCode> {
    let asked = Asked {
        service: args.service,
        sites: args.sites,
        prefer: args.prefer,
        assume: args.assumed.assumed(),
    };
    let answer = session.client()?.rank(&asked).await?;
    args.format.print(&answer, &text(&answer, Style::for_stdout())?)?;
    Ok(ExitCode::SUCCESS)
}

fn text(answer: &Value, style: Style) -> anyhow::Result<String> {
    let Answer { service, here, rate, why, scores, places, closed } = read(answer)?;
    let here = here.map_or_else(|| "nowhere yet".to_owned(), |here| format!("at site/{here}"));
    let mut text = format!("service/{service}, {here}, asked {rate:.1} times a second\n{why}\n");
    let places: Vec<&Outlook> = places.iter().collect();
    if !places.is_empty() {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n{}", outlooks(&places, &scores).render(style));
    }
    for Closed { site, why } in &closed {
        let _ = writeln!(text, "site/{site} {why}");
    }
    Ok(tame(&text))
}
