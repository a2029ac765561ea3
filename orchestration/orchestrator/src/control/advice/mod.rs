//! The prediction service: how a service will behave at a place, and which place is best.
//!
//! What sites report is kept for an hour (`seen`); once in a while it is learned from, apart from
//! requests, and kept over a restart (`memory`). A question (`ask`) is made a case of a service and places
//! (`case`), which the pure functions of [`learning::advise`] answer from what is in memory. The same answers rank the sites of services that are
//! placed (`place`) and are the planner's adviser (`plan`).

mod ask;
mod case;
mod memory;
mod place;
mod plan;
mod seen;
pub(super) mod wire;

pub(super) use ask::{Predicted, Ranked, predict, rank};
pub(super) use place::choose;
pub(super) use plan::{Surplus, less};

use super::{cache::Service, state::State};
use api::link::{Held, HeldCell};
use learning::{
    advise::Learned,
    catalog::{Catalog, Stage},
    model::{Target, Trained},
};
use seen::Seen;
use std::{
    collections::{BTreeMap, HashSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};
use tracing::warn;
use types::Cpu;

/// Between two times of learning.
const LEARN_EVERY: Duration = Duration::from_secs(30);
/// Models of the catalog that are held ready; each may be large.
const MODELS_MAX: usize = 8;

/// What the prediction service knows.
#[derive(Debug)]
pub(super) struct Advice {
    seen: Mutex<Seen>,
    learned: Mutex<Arc<Learned>>,
    /// Moments that an earlier process had learned from.
    kept: u64,
    /// When this process began to learn, on the monotonic clock.
    began: OnceLock<Duration>,
    models: Mutex<Arc<Models>>,
    catalog: Catalog,
    /// Where what was learned is kept.
    file: PathBuf,
}

/// Models of latency that are in production.
#[derive(Debug, Default)]
struct Models {
    /// By name, the first of them.
    ready: BTreeMap<String, Ready>,
    /// There are more than are held ready.
    more: bool,
}

/// A model that can be asked.
#[derive(Debug, Clone)]
struct Ready {
    version: u32,
    model: Arc<Trained>,
}

impl Advice {
    /// With the models of a catalog's folder, and what an earlier process learned.
    pub(super) fn open(models: &Path, data_dir: &Path) -> Self {
        let file = data_dir.join("advice");
        let learned = memory::read(&file);
        Self {
            seen: Mutex::default(),
            kept: learned.moments(),
            began: OnceLock::new(),
            learned: Mutex::new(Arc::new(learned)),
            models: Mutex::default(),
            catalog: Catalog::at(models),
            file,
        }
    }

    /// What was seen of all sites.
    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        lock(&self.seen)
    }

    fn learned(&self) -> Arc<Learned> {
        lock(&self.learned).clone()
    }

    fn models(&self) -> Arc<Models> {
        lock(&self.models).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes in a site's report, of a session that holds.
pub(super) fn take(state: &State, site: &str, held: &[Held], cells: &[HeldCell]) {
    let now_ms = state.wall_ms();
    // What is said of other services would be learned, and would be believed of other sites.
    let placed: HashSet<String> = state.cache(|cache| {
        let here = |service: &&Arc<Service>| service.status.site.as_deref() == Some(site);
        cache.services.values().filter(here).map(|service| service.uid().to_owned()).collect()
    });
    state.advice.seen().take(site, now_ms, held, cells, |uid| placed.contains(uid));
    let surplus = plan::surplus(state, site, now_ms);
    if state.sites(|sites| sites.note_surplus(site, surplus)) {
        state.wake();
    }
}

/// Learns again and again until the control plane stops.
pub(super) async fn run(state: Arc<State>) {
    loop {
        let learning = state.clone();
        // What reads files and computes for long holds up nobody else.
        let learned = tokio::task::spawn_blocking(move || refresh(&learning)).await;
        if let Err(error) = learned {
            warn!(%error, "nothing was learned from telemetry");
        }
        tokio::select! {
            () = tokio::time::sleep(LEARN_EVERY) => {}
            () = state.stop.cancelled() => return,
        }
    }
}

/// Learns from what was seen, and looks what models are in production.
pub(super) fn refresh(state: &State) {
    let advice = &state.advice;
    let observed = {
        let mut seen = advice.seen();
        state.cache(|cache| {
            let uids: HashSet<&str> =
                cache.services.values().map(|service| service.uid()).collect();
            seen.keep(|site| cache.sites.contains_key(site), |uid| uids.contains(uid));
        });
        seen.observed(|site| state.cache(|cache| processors(cache.sites.get(site)?.status.cpu)))
    };
    let learned = Learned::of(&observed);
    let now = state.clock.monotonic();
    let up = now.saturating_sub(*advice.began.get_or_init(|| now));
    if memory::replaces(&learned, &advice.learned(), advice.kept, up) {
        if let Err(error) = memory::write(&advice.file, &learned) {
            warn!(error = types::chain(&error), "what was learned is lost with this process");
        }
        *lock(&advice.learned) = Arc::new(learned);
    }
    *lock(&advice.models) = Arc::new(in_production(&advice.catalog, &advice.models()));
}

fn processors(cpu: Cpu) -> Option<f64> {
    (cpu.0 > 0).then(|| cpu.0 as f64 / 1000.0)
}

/// The models of latency that are in production; one whose version is known is not read again.
fn in_production(catalog: &Catalog, known: &Models) -> Models {
    let names = catalog.names().unwrap_or_else(|error| {
        warn!(error = types::chain(&error), "the catalog of models cannot be read");
        Vec::new()
    });
    let mut models = Models::default();
    for name in names {
        if models.ready.len() >= MODELS_MAX {
            models.more = is_of_latency(catalog, &name);
            if models.more {
                break;
            }
        } else if let Some(found) = latency_model(catalog, &name, known.ready.get(&name)) {
            models.ready.insert(name, found);
        }
    }
    models
}

fn latency_model(catalog: &Catalog, name: &str, known: Option<&Ready>) -> Option<Ready> {
    let in_use = |known: &&Ready| {
        let record = catalog.record(name, known.version);
        record.is_ok_and(|record| record.stage == Stage::Production)
    };
    if let Some(known) = known.filter(in_use) {
        return Some(known.clone());
    }
    // Others are many, and a model may be large: it is decoded only if it can be asked.
    if !is_of_latency(catalog, name) {
        return None;
    }
    let production = catalog.production(name).ok()?;
    let fits = matches!(production.model.target, Target::Latency);
    fits.then(|| Ready { version: production.record.id, model: Arc::new(production.model) })
}

/// Whether a version in production is of latency, as its record says; with a record that is
/// damaged it may be, as the version before it then is used.
fn is_of_latency(catalog: &Catalog, name: &str) -> bool {
    let Ok((Some(version), _)) = catalog.staged(name, &[]) else { return false };
    let record = catalog.record(name, version);
    record.map_or(true, |record| matches!(record.target, Target::Latency))
}
