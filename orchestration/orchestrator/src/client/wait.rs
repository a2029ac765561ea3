//! Waiting until something is so.

use super::{Client, Error, Result};
use api::{
    Condition as Fact, Kind, Resource, WatchKind,
    block::BlockStatus,
    cell::CellStatus,
    decision::DecisionStatus,
    model::ModelStatus,
    policy::PolicyStatus,
    service::{Phase, ServiceStatus},
    site::SiteStatus,
};
use serde::Serialize;
use std::{fmt, ops::ControlFlow, str::FromStr, time::Duration};
use tokio::time::Instant;
use types::{ErrorKind, Period};

/// What can be waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// It does what its spec says.
    Ready,
    /// It exists no more.
    Deleted,
    /// The program ended.
    Exited,
}

/// Whether what is awaited is so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Holds,
    /// It may become so; this is how it stands.
    NotYet(String),
    /// It cannot become so any more.
    Never(String),
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ready => "ready",
            Self::Deleted => "deleted",
            Self::Exited => "exited",
        })
    }
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "ready" => Ok(Self::Ready),
            "deleted" | "delete" => Ok(Self::Deleted),
            "exited" => Ok(Self::Exited),
            _ => Err("write `ready`, `deleted` or `exited`".into()),
        }
    }
}

/// Whether the condition holds for a resource, which may be absent.
pub fn judge(condition: Condition, resource: Option<&Resource>) -> Verdict {
    match (condition, resource) {
        (Condition::Deleted, None) => Verdict::Holds,
        (Condition::Deleted, Some(_)) => Verdict::NotYet("it still exists".into()),
        (Condition::Ready, None) => Verdict::NotYet("it does not exist".into()),
        (Condition::Exited, None) => Verdict::Never("it does not exist".into()),
        (Condition::Ready, Some(resource)) => readiness(resource),
        (Condition::Exited, Some(resource)) => ended(resource),
    }
}

fn readiness(resource: &Resource) -> Verdict {
    if resource.metadata.deletion_timestamp.is_some() {
        return Verdict::Never("it is being deleted".into());
    }
    match resource.kind {
        Kind::Service => service_readiness(resource),
        Kind::Site => match resource.status::<SiteStatus>().ready {
            true => Verdict::Holds,
            false => Verdict::NotYet("its agent is not connected".into()),
        },
        Kind::Block => {
            let status: BlockStatus = resource.status();
            let known = answers(resource, status.observed_generation);
            by_fact(&status.conditions, known)
        }
        Kind::Cell | Kind::Tissue => {
            let status: CellStatus = resource.status();
            match (status.running, status.exit_code, status.error) {
                (true, ..) | (_, Some(0), None) => Verdict::Holds,
                (_, _, Some(error)) => Verdict::Never(error),
                (_, Some(code), None) => Verdict::Never(format!("it exited with code {code}")),
                _ => by_fact(&status.conditions, true),
            }
        }
        Kind::Policy => {
            let status: PolicyStatus = resource.status();
            let known = answers(resource, status.observed_generation);
            by_fact(&status.conditions, known)
        }
        Kind::Model => {
            let status: ModelStatus = resource.status();
            by_fact(&status.conditions, true)
        }
        Kind::Decision => {
            let status: DecisionStatus = resource.status();
            match status.outcome.as_str() {
                "done" => Verdict::Holds,
                "" | "pending" => Verdict::NotYet("it is still being carried out".into()),
                other => Verdict::Never(format!("its outcome is: {other}")),
            }
        }
    }
}

fn service_readiness(resource: &Resource) -> Verdict {
    let status: ServiceStatus = resource.status();
    if !answers(resource, status.observed_generation) {
        return Verdict::NotYet("the change was not looked at yet".into());
    }
    let said = reason(&status.conditions);
    match status.phase {
        Phase::Ready | Phase::Migrating => Verdict::Holds,
        Phase::Failed => Verdict::Never(said.unwrap_or_else(|| "it cannot run".into())),
        Phase::Pending => Verdict::NotYet(said.unwrap_or_else(|| "no site was chosen yet".into())),
        Phase::Starting => Verdict::NotYet(said.unwrap_or_else(|| "it is being started".into())),
        Phase::SiteLost => Verdict::NotYet(said.unwrap_or_else(|| "its site is cut off".into())),
    }
}

/// Whether a status speaks of the spec as it is now.
fn answers(resource: &Resource, observed: u64) -> bool {
    resource.metadata.generation.is_none_or(|generation| observed >= generation)
}

fn by_fact(conditions: &[Fact], is_current: bool) -> Verdict {
    match conditions.iter().find(|fact| fact.kind == "Ready") {
        Some(fact) if fact.status && is_current => Verdict::Holds,
        _ => Verdict::NotYet(reason(conditions).unwrap_or_else(|| "nothing is known yet".into())),
    }
}

/// What the conditions that do not hold say.
fn reason(conditions: &[Fact]) -> Option<String> {
    conditions
        .iter()
        .find(|fact| !fact.status && !fact.message.is_empty())
        .map(|fact| fact.message.clone())
}

fn ended(resource: &Resource) -> Verdict {
    if !matches!(resource.kind, Kind::Cell | Kind::Tissue) {
        let kind = resource.kind.path();
        return Verdict::Never(format!("a {kind} does not exit: only cells and tissues do"));
    }
    let status: CellStatus = resource.status();
    match status.exit_code.is_some() || status.error.is_some() {
        true => Verdict::Holds,
        false => Verdict::NotYet("it runs".into()),
    }
}

/// Waits until the condition holds; `progress` hears how it stands whenever that changes.
/// Returns the resource as it was then, which for a deleted one is none.
///
/// # Errors
/// If it cannot become so, does not within `limit`, or the control plane refuses or stays away.
pub async fn wait(
    client: &Client,
    kind: Kind,
    name: &str,
    condition: Condition,
    limit: Period,
    mut progress: impl FnMut(&str),
) -> Result<Option<Resource>> {
    let mut state = String::new();
    let look = |resource: Option<&Resource>| match judge(condition, resource) {
        Verdict::Holds => ControlFlow::Break(Ok(resource.cloned())),
        Verdict::Never(reason) => ControlFlow::Break(Err(Error::Never {
            kind,
            name: name.to_owned(),
            condition: condition.to_string(),
            reason,
        })),
        Verdict::NotYet(now) => {
            if now != state {
                progress(&now);
                state = now;
            }
            ControlFlow::Continue(())
        }
    };
    match tokio::time::timeout(limit.0, follow(client, kind, name, look)).await {
        Ok(result) => result?,
        Err(_) => Err(Error::NotYet {
            kind,
            name: name.to_owned(),
            condition: condition.to_string(),
            limit,
            state,
        }),
    }
}

/// Shows `look` the resource now and after each change, until it breaks off.
///
/// # Errors
/// If the control plane refuses or stays away.
pub async fn follow<T>(
    client: &Client,
    kind: Kind,
    name: &str,
    mut look: impl FnMut(Option<&Resource>) -> ControlFlow<T>,
) -> Result<T> {
    loop {
        let started = Instant::now();
        let list = client.list(kind, &[]).await?;
        let found = list.items.iter().find(|resource| resource.metadata.name == name);
        if let ControlFlow::Break(result) = look(found) {
            return Ok(result);
        }
        let mut watch = client.watch(kind, list.resource_version);
        let error = loop {
            let event = match watch.next().await {
                Ok(event) if event.resource.metadata.name == name => event,
                Ok(_) => continue,
                Err(error) => break error,
            };
            let now = Some(&event.resource).filter(|_| event.kind == WatchKind::Applied);
            if let ControlFlow::Break(result) = look(now) {
                return Ok(result);
            }
        };
        // The revision may be compacted away or the store begun anew: then what counts is a new
        // list. A control plane that is gone stays an error.
        if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Unauthenticated) {
            return Err(error);
        }
        if started.elapsed() < Duration::from_secs(1) {
            tracing::debug!(error = %types::chain(&error), "watch begins anew");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn resource(kind: Kind, status: serde_json::Value) -> Resource {
        let mut resource = Resource::new(kind, "default", "a", &json!({}));
        resource.metadata.generation = Some(2);
        resource.status = status;
        resource
    }

    #[test]
    fn a_service_is_ready_when_its_newest_spec_is_served() {
        let status = |generation: u64, phase: &str| {
            let status = json!({"observedGeneration": generation, "phase": phase});
            judge(Condition::Ready, Some(&resource(Kind::Service, status)))
        };

        assert_eq!(status(2, "Ready"), Verdict::Holds);
        assert_eq!(status(2, "Migrating"), Verdict::Holds);
        assert!(matches!(status(1, "Ready"), Verdict::NotYet(_)));
        assert!(matches!(status(2, "Starting"), Verdict::NotYet(_)));
        assert!(matches!(status(2, "Failed"), Verdict::Never(_)));
        assert!(matches!(judge(Condition::Ready, None), Verdict::NotYet(_)));
    }

    #[test]
    fn why_it_is_not_ready_is_what_the_condition_says() {
        let status = json!({"observedGeneration": 2, "phase": "Failed", "conditions": [
            {"type": "Placed", "status": true, "reason": "Placed", "message": "at edge", "lastTransitionTime": 1},
            {"type": "Ready", "status": false, "reason": "Trap", "message": "it trapped", "lastTransitionTime": 1},
        ]});

        let verdict = judge(Condition::Ready, Some(&resource(Kind::Service, status)));

        assert_eq!(verdict, Verdict::Never("it trapped".into()));
    }

    #[test]
    fn only_cells_exit() {
        let cell = |status| judge(Condition::Exited, Some(&resource(Kind::Cell, status)));

        assert_eq!(cell(json!({"exitCode": 3})), Verdict::Holds);
        assert_eq!(cell(json!({"error": "out of memory"})), Verdict::Holds);
        assert!(matches!(cell(json!({"running": true})), Verdict::NotYet(_)));
        let service = judge(Condition::Exited, Some(&resource(Kind::Service, json!({}))));
        assert!(matches!(service, Verdict::Never(_)));
    }

    #[test]
    fn what_is_gone_is_deleted() {
        assert_eq!(judge(Condition::Deleted, None), Verdict::Holds);
        let there = judge(Condition::Deleted, Some(&resource(Kind::Site, json!({}))));
        assert!(matches!(there, Verdict::NotYet(_)));
    }
}
