//! Whether versions in production still fit: what they say of services whose policies use them, beside what came.

use super::{NAMED_MAX, Watching, lock, named, record, retrain, store, told, update};
use crate::control::{
    Result, agents::apart, cache::Id, decisions, state::State, status::set_condition,
};
use api::{
    decision::DecisionSpec,
    model::{Drifted, ModelStatus, Watched},
};
use learning::{Drift, Lately, Noted, Watch};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tracing::warn;

/// So far back a watch begins, and so long a drift is minded.
pub(super) const DAY_S: i64 = 86_400;
/// Models with services that are watched; each look reads an hour of telemetry.
const WATCHED_MAX: usize = 256;

/// Changes that are told by name; a change of regime shows in many figures at once.
const TOLD_MAX: usize = 3;

/// What one look found.
#[derive(Debug)]
struct Look {
    version: u32,
    lately: Lately,
    next_s: i64,
    noted: Vec<Noted>,
}

/// Looks at all models in use, and has those trained that no longer fit.
pub(super) async fn round(state: &Arc<State>) {
    let in_use = in_use(state);
    let pairs: BTreeSet<(String, Id)> = in_use
        .iter()
        .flat_map(|(model, services)| services.iter().map(|id| (model.clone(), id.clone())))
        .take(WATCHED_MAX)
        .collect();
    lock(&state.models.watches).retain(|pair, _| pairs.contains(pair));
    for (model, service) in &pairs {
        if let Err(error) = look(state, model, service).await {
            // The next round looks again, at the same moments.
            warn!(model, %service, error = types::chain(&error), "a model was not watched");
        }
    }
    for (model, services) in in_use {
        if let Err(error) = settle(state, &model, &services).await {
            warn!(model, error = types::chain(&error), "whether a model fits was not noted");
        }
        retrain::consider(state, &model);
    }
}

/// Models of the catalog, and the services whose policies forecast with them.
fn in_use(state: &State) -> BTreeMap<String, BTreeSet<Id>> {
    state.cache(|cache| {
        let mut used: BTreeMap<String, BTreeSet<Id>> = BTreeMap::new();
        for policy in cache.policies.values() {
            if cache.models.contains_key(&policy.spec.model) {
                let service = Id::new(&policy.resource.metadata.tenant, &policy.spec.service);
                used.entry(policy.spec.model.clone()).or_default().insert(service);
            }
        }
        used
    })
}

async fn look(state: &Arc<State>, model: &str, service: &Id) -> Result<()> {
    let (asked, name, id) = (state.clone(), model.to_owned(), service.clone());
    let found = apart(move || look_now(&asked, &name, &id)).await?;
    let Some(look) = found.map_err(|error| super::refused(&error))? else { return Ok(()) };
    let told = Watched {
        tenant: service.tenant.clone(),
        service: service.name.clone(),
        version: look.version,
        moments: look.lately.moments,
        mae: look.lately.mae,
        coverage80: look.lately.coverage80,
        until: millis(look.next_s),
    };
    let mut new = None;
    update(state, model, |status, _| {
        let own = |watched: &Watched| {
            (&watched.tenant, &watched.service) == (&service.tenant, &service.name)
        };
        status.watched.retain(|watched| !own(watched));
        if told.moments > 0 {
            status.watched.push(told.clone());
        }
        status.watched.sort_by(|a, b| (&a.tenant, &a.service).cmp(&(&b.tenant, &b.service)));
        new = unknown(status, service, look.version, &look.noted);
        status.drifts.splice(0..0, new.clone());
        status.drifts.truncate(NAMED_MAX);
    })
    .await?;
    match new {
        Some(drift) => tell(state, model, &drift, look.lately).await,
        None => Ok(()),
    }
}

/// What was not told before, together: after a restart the same moments are looked at again.
fn unknown(status: &ModelStatus, service: &Id, version: u32, noted: &[Noted]) -> Option<Drifted> {
    let service = service.to_string();
    let own = status.drifts.iter().filter(|one| one.version == version && one.service == service);
    let known = own.map(|one| one.latest).max().unwrap_or(0);
    let mut new: Vec<&Noted> = noted.iter().filter(|one| millis(one.at_s) > known).collect();
    let (at, latest) = (millis(new.first()?.at_s), millis(new.last()?.at_s));
    // How far it is off matters more than why.
    new.sort_by_key(|one| !matches!(one.drift, Drift::Errors { .. }));
    let named = new.iter().take(TOLD_MAX).map(|one| one.drift.to_string());
    let mut message = named.collect::<Vec<_>>().join("; ");
    if new.len() > TOLD_MAX {
        message.push_str(&format!("; and {} more", new.len() - TOLD_MAX));
    }
    Some(Drifted { at, latest, version, service, message })
}

/// Reads and asks; nothing while there is nothing to look at.
fn look_now(state: &State, name: &str, service: &Id) -> learning::Result<Option<Look>> {
    let Ok(production) = state.models.production(name) else { return Ok(None) };
    let (record, model) = (&production.record, &production.model);
    let now_s = i64::try_from(state.wall_ms() / 1000).unwrap_or(i64::MAX);
    let key = (name.to_owned(), service.clone());
    let known = lock(&state.models.watches).remove(&key);
    let mut watching = known.filter(|known| known.version == record.id).unwrap_or_else(|| {
        // What it was tested on it fitted; what is older says nothing of now.
        let from_s = record.tested.to_s.clamp(now_s - DAY_S, now_s);
        Watching { version: record.id, watch: Watch::new(model, record.every_s, from_s) }
    });
    let span = (watching.watch.needs_from_s(), now_s);
    let recorded = told::recorded(&state.telemetry.store(), service, span);
    let recorded = recorded.and_then(|recorded| {
        recorded.map(|recorded| recorded.in_steps(model.features.step_s)).transpose()
    });
    let noted = recorded.map(|recorded| {
        recorded.map(|recorded| watching.watch.look(model, &recorded)).unwrap_or_default()
    });
    let (lately, next_s) = (watching.watch.lately(), watching.watch.next_s());
    lock(&state.models.watches).insert(key, watching);
    Ok(Some(Look { version: record.id, lately, next_s, noted: noted? }))
}

/// Records a drift as a decision, so that it is listed, watched and explained as others are.
async fn tell(state: &Arc<State>, model: &str, drift: &Drifted, lately: Lately) -> Result<()> {
    let Drifted { service, message, version, .. } = drift;
    warn!(model, version, service, message, "a model no longer fits");
    let spec = DecisionSpec {
        action: "drift".into(),
        subject: format!("model/{model}"),
        by: "monitor".into(),
        reason: format!("on `{service}`: {message}"),
        inputs: json!({
            "version": version,
            "service": service,
            "moments": lately.moments,
            "mae": lately.mae,
            "coverage80": lately.coverage80,
        }),
        alternatives: Vec::new(),
        prediction: serde_json::Value::Null,
        at: drift.at,
    };
    let decision = record(state, &spec).await?;
    let decision = decisions::ended(state, decision, decisions::DONE, json!({}));
    let name = store(state, decision).await?.metadata.name;
    update(state, model, |status, _| named(status, &name)).await.map(drop)
}

/// Says whether the version in production fits, once it was looked at.
async fn settle(state: &Arc<State>, model: &str, services: &BTreeSet<Id>) -> Result<()> {
    let noted = update(state, model, |status, now| {
        let used = |watched: &Watched| {
            services.contains(&Id::new(&watched.tenant, &watched.service))
                && Some(watched.version) == status.production
        };
        status.watched.retain(used);
        match minded(status, now) {
            Some(drift) => {
                let message = format!("on `{}`: {}", drift.service, drift.message);
                set_condition(&mut status.conditions, "Fits", false, "Drifted", message, now);
            }
            None if !status.watched.is_empty() => {
                let message = "what it sees and how far it is off are as they were";
                set_condition(&mut status.conditions, "Fits", true, "AsBefore", message, now);
            }
            None => status.conditions.retain(|fact| fact.kind != "Fits"),
        }
    });
    noted.await.map(drop)
}

/// The latest drift of the version in production within a day.
pub(super) fn minded(status: &ModelStatus, now_ms: u64) -> Option<Drifted> {
    let fresh = |drift: &&Drifted| {
        Some(drift.version) == status.production && drift.at.saturating_add(millis(DAY_S)) > now_ms
    };
    status.drifts.iter().filter(fresh).max_by_key(|drift| drift.at).cloned()
}

fn millis(seconds: i64) -> u64 {
    u64::try_from(seconds).unwrap_or(0).saturating_mul(1000)
}
