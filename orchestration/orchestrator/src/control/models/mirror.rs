//! The catalog, told as resources: made as models appear, gone as they go.

use super::{Models, Production, lock, refused, shared::Told, update};
use crate::control::{Result, agents::apart, batch::Batch, state::State, status::set_condition};
use api::{
    DEFAULT_TENANT, Kind, Resource,
    model::{ModelSpec, ModelStatus, ModelVersion, VERSIONS_TOLD_MAX},
};
use learning::catalog::Stage;
use std::{collections::BTreeMap, sync::Arc};

/// More models than a person can look through are a mistake.
const MODELS_MAX: usize = 500;

/// What the catalog has of a model.
#[derive(Debug)]
struct Seen {
    production: Option<u32>,
    versions: Vec<ModelVersion>,
    total: u64,
    /// What is read of the version in production; nothing if none was promoted.
    ready: Option<std::result::Result<Arc<Production>, String>>,
}

/// Tells what the catalog has now.
pub(super) async fn round(state: &Arc<State>) -> Result<()> {
    let looking = state.clone();
    let seen = apart(move || looking.models.look()).await?.map_err(|error| refused(&error))?;
    let known: Vec<_> = state.cache(|cache| cache.models.values().cloned().collect());
    for model in known {
        if !seen.contains_key(&model.resource.metadata.name) {
            let mut batch = Batch::new();
            batch.remove(&model.resource);
            state.commit(batch).await?;
        }
    }
    let shared = state.models.shared.told(&state.models.catalog);
    for (name, seen) in seen {
        if !state.cache(|cache| cache.models.contains_key(&name)) {
            let mut batch = Batch::new();
            batch.put(resource(state, &name));
            state.commit(batch).await?;
        }
        update(state, &name, |status, now| tell(status, &seen, shared.as_ref(), now)).await?;
    }
    Ok(())
}

fn resource(state: &State, name: &str) -> Resource {
    let mut new = Resource::new(Kind::Model, DEFAULT_TENANT, name, &ModelSpec::default());
    new.metadata.uid = types::random_id();
    new.metadata.generation = Some(1);
    new.metadata.creation_timestamp = Some(state.wall_ms());
    new
}

fn tell(status: &mut ModelStatus, seen: &Seen, shared: Option<&Told>, now: u64) {
    status.production = seen.production;
    status.versions.clone_from(&seen.versions);
    status.versions_total = seen.total;
    let facts = &mut status.conditions;
    match shared {
        None => facts.retain(|fact| fact.kind != "Shared"),
        Some(Told { holds, reason, message }) => {
            set_condition(facts, "Shared", *holds, reason, message.as_str(), now);
        }
    }
    match &seen.ready {
        None => {
            let message = "no version is in production: promote one";
            set_condition(facts, "Ready", false, "NoneInProduction", message, now);
        }
        Some(Err(why)) => set_condition(facts, "Ready", false, "Damaged", why.as_str(), now),
        Some(Ok(used)) if used.passed_by.is_empty() => {
            let message = format!("version {} is used", used.record.id);
            set_condition(facts, "Ready", true, "InProduction", message, now);
        }
        Some(Ok(used)) => {
            let (id, why) = (used.record.id, used.passed_by.join("; "));
            let message = format!("version {id} is used in place of one that cannot be: {why}");
            set_condition(facts, "Ready", true, "FellBack", message, now);
        }
    }
}

impl Models {
    /// All models that can be resources.
    fn look(&self) -> learning::Result<BTreeMap<String, Seen>> {
        let names = self.catalog.names()?.into_iter();
        let names = names.filter(|name| types::check_name(name).is_ok()).take(MODELS_MAX);
        let mut seen = BTreeMap::new();
        for name in names {
            let ids = self.catalog.versions(&name)?;
            if !ids.is_empty() {
                let model = self.seen(&name, &ids);
                seen.insert(name, model);
            }
        }
        // What was removed is forgotten.
        lock(&self.loaded).retain(|name, _| seen.contains_key(name));
        lock(&self.records).retain(|(name, id), _| {
            let versions = seen.get(name).map(|seen| &seen.versions);
            versions.is_some_and(|versions| versions.iter().any(|version| version.id == *id))
        });
        Ok(seen)
    }

    fn seen(&self, name: &str, ids: &[u32]) -> Seen {
        let told: Vec<u32> = ids.iter().rev().take(VERSIONS_TOLD_MAX).copied().collect();
        // A list of stages that is damaged costs the stages alone; what is used is said by `ready`.
        let (production, stages) = self
            .catalog
            .staged(name, &told)
            .unwrap_or_else(|_| (None, vec![Stage::Candidate; told.len()]));
        let versions =
            told.iter().zip(stages).map(|(&id, stage)| self.version_in_brief(name, id, stage));
        Seen {
            production,
            versions: versions.collect(),
            total: ids.len() as u64,
            ready: production.map(|_| self.production(name)),
        }
    }

    fn version_in_brief(&self, name: &str, id: u32, stage: Stage) -> ModelVersion {
        let key = (name.to_owned(), id);
        let known = lock(&self.records).get(&key).cloned();
        let record = match known.map_or_else(|| self.catalog.record(name, id).map(Arc::new), Ok) {
            Ok(record) => record,
            Err(error) => {
                let damage = types::chain(&error);
                return ModelVersion {
                    id,
                    stage: stage.to_string(),
                    damage,
                    ..ModelVersion::default()
                };
            }
        };
        lock(&self.records).insert(key, record.clone());
        let finite = |value: f64| if value.is_finite() { value } else { 0.0 };
        ModelVersion {
            id,
            stage: stage.to_string(),
            kind: record.method.name().to_owned(),
            target: record.target.to_string(),
            ahead_s: record.ahead,
            mae: finite(record.score.mae),
            rmse: finite(record.score.rmse),
            naive_rmse: record.naive_rmse.filter(|value| value.is_finite()),
            coverage80: record.score.coverage80,
            moments: record.score.moments,
            rows: record.made.rows,
            seconds: finite(record.made.seconds),
            peak_bytes: record.made.peak_bytes,
            model_bytes: record.model_bytes,
            made: u64::try_from(record.made.at_s).unwrap_or(0).saturating_mul(1000),
            parent: record.parent,
            because: record.made.because.clone(),
            damage: String::new(),
        }
    }
}
