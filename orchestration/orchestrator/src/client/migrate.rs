//! Following a migration from its decision to its outcome.

use super::{Client, Error, Result, wait};
use api::{
    Kind, Resource,
    decision::{DecisionSpec, DecisionStatus},
};
use serde::Serialize;
use serde_json::Value;
use std::{ops::ControlFlow, time::Duration};
use types::Period;

/// One step of a migration and how long it took.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// For example `transfer`.
    pub name: String,
    /// Milliseconds.
    pub ms: f64,
}

/// The steps that a decision's status tells of, in order.
pub fn steps(observed: &Value) -> Vec<Step> {
    let listed = |step: &Value| {
        let name = step.get("name")?.as_str()?.to_owned();
        Some(Step { name, ms: step.get("ms")?.as_f64()? })
    };
    match observed.get("phases") {
        Some(Value::Array(steps)) => steps.iter().filter_map(listed).collect(),
        Some(Value::Object(steps)) => steps
            .iter()
            .filter_map(|(name, ms)| Some(Step { name: name.clone(), ms: ms.as_f64()? }))
            .collect(),
        _ => Vec::new(),
    }
}

/// The other measurements that a decision's status tells of: names and whole numbers.
pub fn measures(observed: &Value) -> Vec<(String, u64)> {
    let Some(object) = observed.as_object() else { return Vec::new() };
    object.iter().filter_map(|(name, value)| Some((name.clone(), value.as_u64()?))).collect()
}

/// How long a migrated service's decision is waited for to tell of the last step: a site that is
/// gone hears its verdict when it is back.
const LAST_STEP_MAX: Duration = Duration::from_secs(5);

/// The last step of a migration that succeeded: of a service, and of ranks.
const LAST_STEPS: [&str; 2] = ["release", "go"];

/// Waits until the migration that `decision` records has ended; `progress` hears each step once.
///
/// # Errors
/// [`Error::NotMigrated`] if it was rolled back or failed; [`Error::NotYet`] if it takes longer
/// than `limit`, and then it goes on.
pub async fn finish(
    client: &Client,
    decision: &Resource,
    limit: Period,
    mut progress: impl FnMut(&Step),
) -> Result<Resource> {
    let name = decision.metadata.name.as_str();
    let mut told = 0;
    let mut tell = |status: &DecisionStatus| {
        let steps = steps(&status.observed);
        for step in steps.iter().skip(told) {
            progress(step);
        }
        told = told.max(steps.len());
        steps.iter().any(|step| LAST_STEPS.contains(&step.name.as_str()))
    };
    let mut whole = false;
    let ended = wait::follow(client, Kind::Decision, name, |now| {
        // A decision is kept for a while after its end: absent means that it is not there yet.
        let Some(now) = now else { return ControlFlow::Continue(()) };
        let status: DecisionStatus = now.status();
        whole = tell(&status);
        match status.outcome.as_str() {
            "" | "pending" => ControlFlow::Continue(()),
            "done" => ControlFlow::Break(Ok(now.clone())),
            outcome => ControlFlow::Break(Err(not_migrated(now, &status, outcome))),
        }
    });
    let moved = tokio::time::timeout(limit.0, ended).await.map_err(|_| Error::NotYet {
        kind: Kind::Decision,
        name: name.to_owned(),
        condition: "carried out".into(),
        limit,
        state: "it goes on; `cloudskin why` tells its outcome later".into(),
    })???;
    if whole {
        return Ok(moved);
    }
    // The sites hear of the switch after it is stored.
    let told_all = wait::follow(client, Kind::Decision, name, |now| {
        let Some(now) = now else { return ControlFlow::Continue(()) };
        match tell(&now.status()) {
            true => ControlFlow::Break(now.clone()),
            false => ControlFlow::Continue(()),
        }
    });
    match tokio::time::timeout(LAST_STEP_MAX, told_all).await {
        Ok(told) => told,
        Err(_) => Ok(moved),
    }
}

fn not_migrated(decision: &Resource, status: &DecisionStatus, outcome: &str) -> Error {
    let spec = decision.spec::<DecisionSpec>().ok();
    let input = |field: &str| {
        let inputs = spec.as_ref().map(|spec| &spec.inputs);
        let text = inputs.and_then(|inputs| inputs.get(field)).and_then(Value::as_str);
        text.unwrap_or("?").to_owned()
    };
    let subject = spec.as_ref().map_or("?", |spec| spec.subject.as_str());
    let said = ["error", "message", "reason"]
        .iter()
        .find_map(|field| status.observed.get(field).and_then(Value::as_str));
    Error::NotMigrated {
        name: subject.rsplit('/').next().unwrap_or(subject).to_owned(),
        from: input("from"),
        to: input("to"),
        reason: said.map_or_else(|| outcome.to_owned(), |said| format!("{outcome}: {said}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn steps_are_read_in_their_order() {
        let observed = json!({"phases": [{"name": "prepare", "ms": 2}, {"name": "copy", "ms": 1.5}], "bytes": 7});

        let names: Vec<_> = steps(&observed).into_iter().map(|step| (step.name, step.ms)).collect();

        assert_eq!(names, [("prepare".to_owned(), 2.0), ("copy".to_owned(), 1.5)]);
        assert_eq!(measures(&observed), [("bytes".to_owned(), 7)]);
        for odd in [json!(null), json!([]), json!({"phases": 3}), json!({"phases": [1, {}]})] {
            assert!(steps(&odd).is_empty(), "{odd}");
        }
    }
}
