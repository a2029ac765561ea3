//! `cloudskin why`: decisions, explained.

mod after;

use crate::{
    exit::Failure,
    output::{self, FormatArgs, Style},
    session::{Session, Target},
    when,
};
use api::{
    Kind, Resource,
    decision::{Alternative, DecisionSpec, DecisionStatus},
};
use clap::Args;
use orchestrator::client::{Client, migrate};
use serde_json::Value;
use std::process::ExitCode;
use types::ErrorKind;

/// Explain why something is where it is
///
/// For a service, its latest decisions; for a decision, that one: what was decided, when, by
/// whom and why, what else could have been done with its score, what was expected, and what came
/// of it. Of a policy's decision also what was measured in the time that it forecast, with a curve
/// of the latency before and after.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin why service/street-counter
  cloudskin why service/street-counter --last 10
  cloudskin why policy/street-counter-qos
  cloudskin why decision/0001767225599999-migrate-3f2a91c0 -o json")]
pub(crate) struct Why {
    /// A service or another subject, or one decision
    #[arg(value_name = "KIND/NAME")]
    target: Target,
    /// How many decisions, the latest first
    #[arg(long, default_value_t = 3, value_name = "COUNT")]
    last: usize,
    #[command(flatten)]
    format: FormatArgs,
}

pub(crate) async fn run(args: Why, session: &Session) -> anyhow::Result<ExitCode> {
    let client = session.client()?;
    let decisions = match args.target.kind {
        Kind::Decision => vec![client.get(Kind::Decision, &args.target.name).await?],
        _ => latest(&client, &args.target, args.last).await?,
    };
    let told: Vec<_> = decisions.iter().map(explain).collect();
    args.format.print(&decisions, &told.join("\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// The latest decisions about a resource.
async fn latest(client: &Client, target: &Target, last: usize) -> anyhow::Result<Vec<Resource>> {
    let subject = target.to_string();
    let made = |decision: &Resource| decision.spec::<DecisionSpec>().map_or(0, |spec| spec.at);
    let mut decisions = client.list(Kind::Decision, &[]).await?.items;
    decisions.retain(|decision| {
        decision
            .spec::<DecisionSpec>()
            .is_ok_and(|spec| spec.subject == subject || spec.by == subject)
    });
    decisions.sort_by_key(|decision| std::cmp::Reverse(made(decision)));
    decisions.truncate(last.max(1));
    if decisions.is_empty() {
        // Tells an unknown name apart from one about which nothing was decided.
        client.get(target.kind, &target.name).await?;
        let message = format!("nothing was decided about {target}");
        return Err(Failure::error(ErrorKind::NotFound, message));
    }
    Ok(decisions)
}

fn explain(decision: &Resource) -> String {
    let Ok(spec) = decision.spec::<DecisionSpec>() else {
        return format!("decision/{} was written by another version\n", decision.metadata.name);
    };
    let status: DecisionStatus = decision.status();
    let style = Style::for_stdout();
    let tame = output::tame;
    let mut text = format!(
        "{}  by {}, {} ago ({})\n",
        style.strong(&tame(&format!("{} {}", spec.action, spec.subject))),
        tame(&spec.by),
        when::age(Some(spec.at), when::now_ms()),
        when::moment(spec.at),
    );
    let mut field = |name: &str, value: &str| {
        if !value.is_empty() {
            text += &format!("  {name:<10}{}\n", tame(value));
        }
    };
    field("because", &spec.reason);
    field("given", &flat(&after::plain(&spec.inputs)));
    for (index, alternative) in spec.alternatives.iter().enumerate() {
        field(if index == 0 { "options" } else { "" }, &option(alternative));
    }
    let expected = after::expected(&spec.prediction).unwrap_or_else(|| flat(&spec.prediction));
    field("expected", &expected);
    for (index, reason) in after::reasons(&spec.inputs).iter().enumerate() {
        field(if index == 0 { "for" } else { "" }, reason);
    }
    let outcome = outcome(&spec, &status);
    text += &format!("  {:<10}{}\n", "outcome", style.by_state(&tame(&outcome)));
    for line in observed(&status.observed) {
        text += &format!("  {:<10}{}\n", "", tame(&line));
    }
    for (index, line) in after::deeds(&status.observed).iter().enumerate() {
        let name = if index == 0 { "did" } else { "" };
        text += &format!("  {name:<10}{}\n", tame(line));
    }
    for (index, line) in after::told(&spec.prediction, &status.observed).iter().enumerate() {
        let name = if index == 0 { "after" } else { "" };
        text += &format!("  {name:<10}{}\n", tame(line));
    }
    text += &format!("  {:<10}decision/{}\n", "record", decision.metadata.name);
    text
}

fn option(alternative: &Alternative) -> String {
    let score = match alternative.score {
        Some(score) => format!("{score:.2}"),
        None => "ruled out".to_owned(),
    };
    format!("{:<12} {score:<10} {}", alternative.name, alternative.reason)
}

fn outcome(spec: &DecisionSpec, status: &DecisionStatus) -> String {
    let word = if status.outcome.is_empty() { "pending" } else { &status.outcome };
    match status.ended.and_then(|ended| ended.checked_sub(spec.at)) {
        Some(ms) => format!("{word} after {}", when::millis(ms as f64)),
        None => word.to_owned(),
    }
}

/// The steps on one line, then what was measured, then what went wrong.
fn observed(observed: &Value) -> Vec<String> {
    let steps: Vec<_> = migrate::steps(observed)
        .iter()
        .map(|step| format!("{} {}", step.name, when::millis(step.ms)))
        .collect();
    let measures: Vec<_> = migrate::measures(observed)
        .into_iter()
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    let error = observed.get("error").and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut lines = vec![steps.join(", "), measures.join(", "), error];
    lines.retain(|line| !line.is_empty());
    lines
}

/// A flat line for a small object: `from edge, to cloud`.
fn flat(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Object(object) => {
            let known = object.iter().map(|(name, value)| (name, flat(value)));
            let pairs = known.filter(|(_, value)| !value.is_empty());
            pairs.map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ")
        }
        Value::Array(values) => {
            format!("[{}]", values.iter().map(flat).collect::<Vec<_>>().join("; "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_decision_is_told_with_everything_that_was_recorded() {
        let spec = json!({
            "action": "migrate", "subject": "service/a", "by": "user", "reason": "it was asked for",
            "inputs": {"from": "edge", "to": "cloud"}, "at": 1_000,
            "alternatives": [
                {"name": "cloud", "score": 0.75, "reason": "has room"},
                {"name": "lab", "score": null, "reason": "is cordoned"},
            ],
            "prediction": {"stopUs": 4000},
        });
        let mut decision = Resource::new(Kind::Decision, "default", "d", &spec);
        decision.status = json!({"outcome": "rolled back", "ended": 1_312, "observed":
            {"phases": [{"name": "prepare", "ms": 12.0}], "stopUs": 3400, "error": "cloud is gone"}});

        let text = explain(&decision);

        for part in [
            "migrate service/a  by user,",
            "(1970-01-01T00:00:01Z)",
            "because   it was asked for",
            "given     from edge, to cloud",
            "options   cloud        0.75       has room",
            "lab          ruled out  is cordoned",
            "expected  stopUs 4000",
            "outcome   rolled back after 312 ms",
            "prepare 12 ms",
            "stopUs 3400",
            "cloud is gone",
            "record    decision/d",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }
}
