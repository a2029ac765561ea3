//! Models of the catalog as resources: what versions there are (`mirror`; `shared`, where sites share them), whether the one in production still fits
//! what happens (`watching`), and the training of another one when it does not (`retrain`).
//!
//! The catalog is the truth about versions, the store of series (`told`) about what happened; all else can be
//! computed again. What is wrong with a model is decided in the crate `learning`, by pure functions.

mod mirror;
mod retrain;
mod shared;
mod told;
mod verbs;
mod watching;

pub(super) use told::keep as keep_measured;
pub(super) use verbs::{promote, rollback, version};

use super::{
    Error, Result, apply,
    batch::Batch,
    cache::{Id, Model},
    config::Config,
    decisions,
    state::State,
};
use api::{DEFAULT_TENANT, Kind, Resource, decision::DecisionSpec, model::ModelStatus};
use learning::{
    Watch,
    catalog::{Catalog, Production, Record},
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;

/// How long a model that was read is taken to be as it was: a disk may fail under it.
const LOADED_AGE_MAX: Duration = Duration::from_secs(60);
/// How often a write is tried anew when somebody else wrote in between.
const RACES_MAX: usize = 32;
/// Most decisions that a model's status names.
const NAMED_MAX: usize = 20;

/// What the loop remembers; lost with the process, and found again in catalog and series.
#[derive(Debug)]
pub(super) struct Models {
    catalog: Catalog,
    /// Records of versions, which never change but for their stage.
    records: Mutex<HashMap<(String, u32), Arc<Record>>>,
    loaded: Mutex<HashMap<String, Loaded>>,
    /// By model and service.
    watches: Mutex<BTreeMap<(String, Id), Watching>>,
    /// One training at a time.
    training: Arc<tokio::sync::Mutex<()>>,
    shared: shared::Shared,
}

/// The model in production, as it was read.
#[derive(Debug)]
struct Loaded {
    staged: Option<u32>,
    read: Instant,
    /// Or why none can be used.
    production: std::result::Result<Arc<Production>, String>,
}

/// A version that is watched.
#[derive(Debug)]
struct Watching {
    version: u32,
    watch: Watch,
}

impl Models {
    pub(super) fn open(config: &Config) -> Result<Self> {
        let shared = shared::Shared::default();
        let catalog = match &config.shared_models {
            Some(address) => shared.catalog(address, &config.models)?,
            None => Catalog::at(&config.models),
        };
        Ok(Self {
            catalog,
            records: Mutex::default(),
            loaded: Mutex::default(),
            watches: Mutex::default(),
            training: Arc::default(),
            shared,
        })
    }

    /// The version in production, read again after a while or when another one is.
    fn production(&self, name: &str) -> std::result::Result<Arc<Production>, String> {
        let staged = self.catalog.staged(name, &[]).ok().and_then(|(staged, _)| staged);
        let fresh =
            |loaded: &&Loaded| loaded.staged == staged && loaded.read.elapsed() < LOADED_AGE_MAX;
        if let Some(loaded) = lock(&self.loaded).get(name).filter(fresh) {
            return loaded.production.clone();
        }
        let read = self.catalog.production(name);
        let production = read.map(Arc::new).map_err(|error| types::chain(&error));
        let loaded = Loaded { staged, read: Instant::now(), production: production.clone() };
        lock(&self.loaded).insert(name.to_owned(), loaded);
        production
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Looks at the catalog and at what models said until the control plane stops.
pub(super) async fn run(state: Arc<State>) {
    if let Err(error) = retrain::end_interrupted(&state).await {
        warn!(error = types::chain(&error), "what was under way before is not noted as ended");
    }
    if state.models.catalog.address().is_some() {
        state.tasks.spawn(shared::run(state.clone()));
    }
    let mut looks = interval(state.config.models_interval);
    let mut watches = interval(state.config.drift_interval);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    watches.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut complained = false;
    loop {
        tokio::select! {
            () = state.stop.cancelled() => return,
            _ = looks.tick() => {
                let looked = mirror::round(&state).await;
                // It is looked at again in a moment: once is enough to say that it cannot be read.
                if let (Err(error), false) = (&looked, complained) {
                    warn!(error = types::chain(error), "the catalog of models cannot be read");
                }
                complained = looked.is_err();
            }
            _ = watches.tick() => watching::round(&state).await,
        }
    }
}

/// Models belong to no tenant.
fn id(name: &str) -> Id {
    Id::new(DEFAULT_TENANT, name)
}

/// Changes the status of a model as it is stored now.
async fn update(
    state: &Arc<State>,
    name: &str,
    change: impl FnMut(&mut ModelStatus, u64),
) -> Result<ModelStatus> {
    update_with(state, name, None, change).await
}

/// The same, with a decision in the same batch: both are stored, or neither.
async fn update_with(
    state: &Arc<State>,
    name: &str,
    decision: Option<&Resource>,
    mut change: impl FnMut(&mut ModelStatus, u64),
) -> Result<ModelStatus> {
    for _ in 0..RACES_MAX {
        let stored = apply::load(state, Kind::Model, &id(name)).await?;
        let stored = stored.ok_or_else(|| apply::not_found(Kind::Model, &id(name)))?;
        let model = Model::read(&stored)?;
        let mut new = model.status.clone();
        new.observed_generation = model.generation();
        change(&mut new, state.wall_ms());
        if new == model.status && decision.is_none() {
            return Ok(new);
        }
        let mut batch = Batch::new();
        if let Some(decision) = decision {
            put(state, &mut batch, decision);
        }
        batch.put(model.with_status(&new));
        match state.commit(batch).await {
            Err(Error::Raced) => {}
            done => return done.map(|_| new),
        }
    }
    Err(Error::Raced)
}

/// Records a decision about a model; it is pending until [`decisions::ended`] says what came of it.
async fn record(state: &Arc<State>, spec: &DecisionSpec) -> Result<Resource> {
    let decision = decisions::new(state, DEFAULT_TENANT, spec);
    store(state, decision).await
}

async fn store(state: &Arc<State>, mut decision: Resource) -> Result<Resource> {
    let mut batch = Batch::new();
    put(state, &mut batch, &decision);
    decision.metadata.resource_version = Some(state.commit(batch).await?);
    Ok(decision)
}

fn put(state: &State, batch: &mut Batch, decision: &Resource) {
    match decision.metadata.resource_version {
        None => decisions::add(state, batch, decision.clone()),
        Some(_) => batch.put(decision.clone()),
    }
}

/// Names a decision in a model's status.
fn named(status: &mut ModelStatus, decision: &str) {
    if !status.decisions.iter().any(|known| known == decision) {
        status.decisions.insert(0, decision.to_owned());
        status.decisions.truncate(NAMED_MAX);
    }
}

/// What the learning plane says went wrong.
fn refused(error: &learning::Error) -> Error {
    Error::refuse(error.kind(), types::chain(error))
}
