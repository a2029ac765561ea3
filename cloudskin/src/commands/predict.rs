//! `cloudskin predict`: how a service would behave at a place.

use super::migrate::parse_site;
use crate::{
    exit::Failure,
    output::{FormatArgs, Style},
    session::{Session, Target},
    table::Table,
};
use anyhow::Context;
use api::{
    Kind,
    advice::{Assumed, Predict as Asked},
};
use clap::Args;
use learning::advise::Outlook;
use serde::Deserialize;
use serde_json::Value;
use std::process::ExitCode;
use types::{ErrorKind, Period};

/// Predict how a service would behave at a site
///
/// Says what latency is to be expected and how sure that is, how much of it comes from neighbours
/// at the site, how much of the time the service level would be broken, what an hour costs, and why.
/// It is made of what the service and others did lately, and of the catalog's model of latency if
/// one is in production; where nothing was measured, of queues alone.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin predict service/street-counter --at site/cloud
  cloudskin predict service/street-counter --at edge --rate 40 --sla 120ms
  cloudskin predict service/street-counter --at cloud -o json")]
pub(crate) struct Predict {
    /// Which service
    #[arg(value_name = "SERVICE", value_parser = service)]
    service: String,
    /// Where: `site/NAME` or `NAME`
    #[arg(long, value_name = "SITE", value_parser = parse_site)]
    at: String,
    #[command(flatten)]
    assumed: AssumedArgs,
    #[command(flatten)]
    format: FormatArgs,
}

/// What a prediction is for.
#[derive(Debug, Args)]
pub(super) struct AssumedArgs {
    /// As if it were asked so often a second [default: as lately]
    #[arg(long, value_name = "REQUESTS", value_parser = rate)]
    rate: Option<f64>,
    /// The service level [default: that of the service's policy, else 100ms]
    #[arg(long, value_name = "PERIOD")]
    sla: Option<Period>,
    /// A model of the catalog that is in production [default: the policy's, else `latency`]
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
}

impl AssumedArgs {
    pub(super) fn assumed(self) -> Assumed {
        Assumed { rate: self.rate, sla: self.sla, model: self.model }
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.0..=1e6).contains(rate));
    rate.ok_or_else(|| "write requests a second, from 0 to 1000000".to_owned())
}

/// What was answered, as far as it is told to people.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    service: String,
    rate: f64,
    place: Outlook,
    obstacle: Option<String>,
}

pub(crate) async fn run(args: Predict, session: &Session) -> anyhow::Result<ExitCode> {
    let asked = Asked { service: args.service, at: args.at, assume: args.assumed.assumed() };
    let answer = session.client()?.predict(&asked).await?;
    args.format.print(&answer, &text(&answer, Style::for_stdout())?)?;
    Ok(ExitCode::SUCCESS)
}

/// `service/NAME`.
pub(super) fn service(text: &str) -> Result<String, String> {
    let target: Target = text.parse().map_err(|error| types::chain(&error))?;
    match target.kind {
        Kind::Service => Ok(target.name),
        other => Err(format!("a {} is no service: write `service/NAME`", other.path())),
    }
}

fn text(answer: &Value, style: Style) -> anyhow::Result<String> {
    let Answer { service, rate, place, obstacle } = read(answer)?;
    let mut text = format!(
        "service/{service} at site/{}, asked {rate:.1} times a second\n{}\n",
        place.site, place.why
    );
    if let Some(obstacle) = obstacle {
        text += &format!("it cannot go there now: `{}` {obstacle}\n", place.site);
    }
    text += &format!("\n{}", outlooks(&[&place], &[]).render(style));
    if !place.reasons.is_empty() {
        text += &format!("\n{}", reasons(&place).render(style));
    }
    Ok(crate::output::tame(&text))
}

/// An answer in the form that this release knows.
pub(super) fn read<T: for<'de> Deserialize<'de>>(answer: &Value) -> anyhow::Result<T> {
    T::deserialize(answer)
        .map_err(|error| Failure::error(ErrorKind::Internal, error.to_string()))
        .context("the control plane's answer is that of another release")
}

/// Places below each other; scores if there are any.
pub(super) fn outlooks(places: &[&Outlook], scores: &[f64]) -> Table {
    let mut table = Table::new(&[
        "SITE",
        "LATENCY",
        "LOW..HIGH",
        "NEIGHBOURS",
        "BROKEN",
        "EURO/HOUR",
        "FROM",
        "SCORE",
    ]);
    for (at, place) in places.iter().enumerate() {
        let latency = place.latency_ms;
        let from = match &place.model {
            Some(model) => model.clone(),
            None => format!("{:?}", place.basis).to_lowercase(),
        };
        table.row(vec![
            place.site.clone(),
            format!("{:.1} ms", latency.value),
            format!("{:.1}..{:.1}", latency.low, latency.high),
            format!("{:.1} ms", place.neighbours_ms),
            format!("{:.1} %", 100.0 * place.broken),
            format!("{:.4}", place.cost_hour.total()),
            from,
            scores.get(at).map(|score| format!("{score:.4}")).unwrap_or_default(),
        ]);
    }
    table
}

fn reasons(place: &Outlook) -> Table {
    let mut table = Table::new(&["BECAUSE OF", "VALUE", "INSTEAD OF", "ADDS"]);
    for reason in &place.reasons {
        table.row(vec![
            reason.name.clone(),
            format!("{:.3}", reason.value),
            format!("{:.3}", reason.baseline),
            format!("{:+.2} ms", reason.adds),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use learning::{
        Prices,
        advise::{Adviser, Learned, Place, Question},
    };

    #[test]
    fn an_answer_is_told_and_another_form_is_refused() {
        let learned = Learned::default();
        let question = Question {
            service: "u",
            rate: 8.0,
            sla_ms: 100.0,
            prices: &Prices::default(),
            here: None,
        };
        let place = Place {
            site: "cloud".into(),
            edge: false,
            processors: 4.0,
            others: 3.6,
            forecast: None,
        };
        let place = Adviser { learned: &learned }.outlook(&question, &place);
        let mut answer = serde_json::json!({
            "service": "counter", "rate": 8.0, "place": place, "obstacle": "is cordoned",
        });

        let told = text(&answer, Style::plain()).unwrap();

        for part in
            ["service/counter at site/cloud", "from the neighbours", "is cordoned", "site.others"]
        {
            assert!(told.contains(part), "{part}: {told}");
        }
        answer["place"] = 3.into();
        assert!(text(&answer, Style::plain()).is_err());
        assert!(service("cell/a").is_err() && service("a").is_err());
        assert_eq!(service("service/a").as_deref(), Ok("a"));
    }
}
