//! `cloudskin describe`: all that is known of one resource.

use super::rows;
use crate::{
    output::{self, FormatArgs, Style},
    session::{Session, Target},
    when,
};
use api::{
    Condition, Kind, Resource,
    decision::{DecisionSpec, DecisionStatus},
    service::ServiceStatus,
};
use clap::Args;
use orchestrator::client::Client;
use serde_json::Value;
use std::{fmt::Write, process::ExitCode};

/// Lost request ids that are shown; `-o json` shows all.
const LOST_SHOWN: usize = 10;

/// Decisions that are shown; `why` shows more.
const DECISIONS_SHOWN: usize = 5;

/// Show all that is known of one resource
///
/// Spec and status, conditions, requests that crashes have lost, and the latest decisions.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin describe service/street-counter
  cloudskin describe site/edge -o json")]
pub(crate) struct Describe {
    /// Which
    #[arg(value_name = "KIND/NAME")]
    target: Target,
    #[command(flatten)]
    format: FormatArgs,
}

pub(crate) async fn run(args: Describe, session: &Session) -> anyhow::Result<ExitCode> {
    let client = session.client()?;
    let resource = client.get(args.target.kind, &args.target.name).await?;
    let text = match args.format.is_text() {
        true => text(&resource) + &decisions(&client, &resource).await?,
        false => String::new(),
    };
    args.format.print(&resource, &output::tame(&text))?;
    Ok(ExitCode::SUCCESS)
}

fn text(resource: &Resource) -> String {
    let (metadata, now) = (&resource.metadata, when::now_ms());
    let mut text = String::new();
    let mut field = |name: &str, value: String| {
        if !value.is_empty() {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{:<14}{value}", format!("{name}:"));
        }
    };
    field("Name", metadata.name.clone());
    field("Kind", resource.kind.to_string());
    field("Tenant", metadata.tenant.clone());
    field("Uid", metadata.uid.clone());
    field("Labels", rows::labels(&metadata.labels));
    field("Annotations", rows::labels(&metadata.annotations));
    field("Created", moment(metadata.creation_timestamp, now));
    field("Deleting", moment(metadata.deletion_timestamp, now));
    let generation = metadata.generation.map(|generation| generation.to_string());
    field("Generation", generation.unwrap_or_default());
    text += &section("Spec", &resource.spec);
    text += &status(resource, now);
    text
}

/// The status without what has a section of its own.
fn status(resource: &Resource, now: u64) -> String {
    let mut rest = resource.status.clone();
    let taken = rest.as_object_mut().map(|status| {
        status.remove("decisions");
        (status.remove("conditions"), status.remove("lost"))
    });
    let conditions = taken.and_then(|(conditions, _)| conditions).unwrap_or_default();
    let conditions: Vec<Condition> = serde_json::from_value(conditions).unwrap_or_default();
    let mut text = section("Status", &moments(rest, now));
    if !conditions.is_empty() {
        text += "Conditions:\n";
    }
    for Condition { kind, status, reason, message, last_transition_time } in conditions {
        let state = Style::for_stdout().by_state(if status { "yes" } else { "no" });
        let age = when::age(Some(last_transition_time), now);
        let message = message.lines().map(str::trim).collect::<Vec<_>>().join("; ");
        text += &format!("  {kind:<12}{state:<4} for {age}: {reason}, {message}\n");
    }
    if resource.kind == Kind::Service {
        text += &lost(&resource.status(), now);
    }
    text
}

fn lost(status: &ServiceStatus, now: u64) -> String {
    let mut text = String::new();
    for lost in &status.lost {
        let shown: Vec<_> = lost.request_ids.iter().take(LOST_SHOWN).cloned().collect();
        let more = match lost.request_ids.len() > LOST_SHOWN {
            true => ", … (all with -o json)",
            false => "",
        };
        text += &format!(
            "Lost:         {} answered requests, in epoch {} incarnation {}, {} ago: {}{more}\n",
            lost.count,
            lost.epoch,
            lost.incarnation,
            when::age(Some(lost.at), now),
            shown.join(", "),
        );
    }
    text
}

async fn decisions(client: &Client, resource: &Resource) -> anyhow::Result<String> {
    if resource.kind != Kind::Service {
        return Ok(String::new());
    }
    let mut text = String::new();
    for name in resource.status::<ServiceStatus>().decisions.iter().take(DECISIONS_SHOWN) {
        let Some(decision) = client.find(Kind::Decision, name).await? else { continue };
        let Ok(spec) = decision.spec::<DecisionSpec>() else { continue };
        let outcome = decision.status::<DecisionStatus>().outcome;
        let age = when::age(Some(spec.at), when::now_ms());
        let DecisionSpec { action, by, reason, .. } = spec;
        text += &format!("  {age:>6} ago  {action} by {by}: {reason} ({outcome})\n");
    }
    Ok(match text.is_empty() {
        true => text,
        false => format!("Decisions:    (`cloudskin why` explains them)\n{text}"),
    })
}

fn moment(at: Option<u64>, now: u64) -> String {
    at.map(|at| format!("{} ({} ago)", when::moment(at), when::age(Some(at), now)))
        .unwrap_or_default()
}

/// Fields that hold moments, as moments.
fn moments(mut status: Value, now: u64) -> Value {
    for name in ["lastCheckpoint", "countedAt", "started", "ended", "lastSeen"] {
        if let Some(value) = status.get_mut(name) {
            *value = match value.as_u64() {
                Some(at) if at > 0 => moment(Some(at), now).into(),
                _ => Value::Null,
            };
        }
    }
    status
}

/// A part as indented YAML, without what is absent.
fn section(name: &str, value: &Value) -> String {
    let Value::Object(object) = value else { return String::new() };
    let present: serde_json::Map<_, _> = object
        .iter()
        .filter(|(_, value)| !value.is_null() && **value != Value::Array(Vec::new()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    if present.is_empty() {
        return String::new();
    }
    let yaml = output::yaml(&present);
    let indented: String = yaml.lines().map(|line| format!("  {line}\n")).collect();
    format!("{name}:\n{indented}")
}
