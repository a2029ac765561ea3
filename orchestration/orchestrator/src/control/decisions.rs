//! The record of what was decided, why, and what came of it.

use super::{batch::Batch, cache::Id, state::State};
use api::{
    Kind, Resource,
    decision::{DecisionSpec, DecisionStatus},
    service::ServiceStatus,
};
use serde_json::Value;
use std::sync::Arc;
use tracing::warn;

/// Most decisions that a service's status names.
const NAMED_MAX: usize = 20;

/// What was decided has not shown its effect yet.
pub(super) const PENDING: &str = "pending";
/// It took effect.
pub(super) const DONE: &str = "done";
/// It was undone; all is as before.
pub(super) const ROLLED_BACK: &str = "rolled back";

/// A decision that is not stored yet. Its name sorts by time.
pub(super) fn new(state: &State, tenant: &str, spec: &DecisionSpec) -> Resource {
    let random: String = types::random_id().chars().take(8).collect();
    let name = format!("{:013}-{}-{random}", spec.at, spec.action);
    let mut decision = Resource::new(Kind::Decision, tenant, &name, spec);
    // So that lists can be asked for those of a service, or of a policy.
    for about in [&spec.subject, &spec.by] {
        if let Some((kind, name)) = about.split_once('/') {
            decision.metadata.labels.insert(kind.to_owned(), name.to_owned());
        }
    }
    decision.metadata.uid = types::random_id();
    decision.metadata.generation = Some(1);
    decision.metadata.creation_timestamp = Some(state.wall_ms());
    decision.set_status(&DecisionStatus { outcome: PENDING.into(), ..DecisionStatus::default() });
    decision
}

/// Adds a new decision to a batch, names it in the service's status, and lets the oldest go.
pub(super) fn record(
    state: &State,
    batch: &mut Batch,
    status: &mut ServiceStatus,
    decision: Resource,
) {
    status.decisions.insert(0, decision.metadata.name.clone());
    status.decisions.truncate(NAMED_MAX);
    add(state, batch, decision);
}

/// Adds a new decision to a batch, and lets the oldest go.
pub(super) fn add(state: &State, batch: &mut Batch, decision: Resource) {
    let tenant = &decision.metadata.tenant;
    let keep = state.config.decisions_max.saturating_sub(1);
    for old in state.cache(|cache| cache.old_decisions(tenant, keep)) {
        batch.forget(Kind::Decision, old);
    }
    batch.put(decision);
}

/// The decision with its outcome.
pub(super) fn ended(
    state: &State,
    mut decision: Resource,
    outcome: &str,
    observed: Value,
) -> Resource {
    decision.set_status(&DecisionStatus {
        outcome: outcome.to_owned(),
        observed,
        ended: Some(state.wall_ms()),
    });
    decision
}

/// Notes what came of a placement once its service answers. Explains only, so that a failure is
/// no more than logged.
pub(super) async fn close(state: &Arc<State>, tenant: &str, name: &str) {
    let id = Id::new(tenant, name);
    let Ok(Some(decision)) = super::apply::load(state, Kind::Decision, &id).await else { return };
    if decision.status::<DecisionStatus>().outcome != PENDING {
        return;
    }
    let made = decision.spec::<DecisionSpec>().map_or(0, |spec| spec.at);
    let observed = serde_json::json!({ "readyMs": state.wall_ms().saturating_sub(made) });
    let mut batch = Batch::new();
    batch.put(ended(state, decision, DONE, observed));
    if let Err(error) = state.commit(batch).await {
        warn!(name, error = types::chain(&error), "the outcome of a decision was not noted");
    }
}
