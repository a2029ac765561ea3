//! Policies that watch services: the loop in which their sensors fire, and what they say is done.
//!
//! What an agent says is decided in the crate `learning`, by pure functions; here measurements are
//! gathered (`situation`; of who is followed in `course`, by `tracks`), decisions recorded (`record`), carried out (`act`, `deeds`),
//! and later compared with what happened (`after`). The user's own functions are asked in
//! `functions`. Policies are looked at side by side, so that a slow one delays nobody else. All that must outlive the process is in the policy's
//! status and in its decisions.

mod abroad;
mod act;
mod after;
mod analyze;
mod course;
mod deeds;
mod functions;
mod limits;
mod looks;
mod record;
mod scale;
mod situation;
mod sources;
mod tracks;

pub(super) use abroad::{assignments, heard, in_use, models};
pub(super) use analyze::{Asked, analyze};
pub(super) use course::check as check_trajectory;
pub use sources::CatalogModels;

use super::{
    Result,
    cache::{Id, Policy, Service},
    state::State,
};
use crate::{measured::Measured, outgoing::nbi::Relocations, python};
use api::{
    policy::{Event, Moved, PolicyStatus},
    service::Phase,
};
use learning::{
    agent::{Agent, Models, Telemetry, sensor},
    catalog::Catalog,
};
use sources::Stored;
use std::{
    collections::{HashMap, HashSet},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tracing::warn;
use types::ErrorKind;

/// How often sensors are looked at.
const TICK: Duration = Duration::from_secs(1);
/// How long an agent goes on with the model that was in production when it was made.
const MODEL_AGE_MAX: Duration = Duration::from_secs(60);
/// Moves that a policy's status remembers: those of two days.
const MOVES_KEPT_MS: u64 = 2 * 86_400_000;
const MOVES_MAX: usize = 1000;

/// What the loop remembers; lost with the process, and rebuilt from the store.
#[derive(Debug)]
pub(super) struct Agents {
    measured: Mutex<Measured>,
    /// Agents ready to be asked.
    compiled: Mutex<HashMap<Id, Compiled>>,
    seen: Mutex<HashMap<Id, Seen>>,
    /// Decisions of policies whose truth is to come.
    open: Mutex<Option<Vec<after::Open>>>,
    /// One run of each policy at a time.
    turns: Mutex<HashMap<Id, Arc<tokio::sync::Mutex<()>>>>,
    /// Policies that are being looked at.
    looks: Arc<looks::Looks>,
    /// What other orchestrators are doing for policies.
    relocations: Relocations,
    /// Processes of their Python.
    functions: functions::Functions,
    /// What they have learned of where vehicles go.
    trackers: course::Trackers,
    models: Arc<dyn Models>,
    catalog: Catalog,
    /// What sites have of it.
    abroad: abroad::Models,
    telemetry: Arc<dyn Telemetry>,
}

/// An agent, and what it was made of.
#[derive(Debug)]
struct Compiled {
    /// Of the policy.
    uid: String,
    generation: u64,
    agent: Arc<Agent>,
    made: Instant,
}

/// What was last seen of a policy's service, and of its actions.
#[derive(Debug, Clone, Default)]
struct Seen {
    phase: Option<Phase>,
    events: Vec<Event>,
    /// A sensor on telemetry was on: it fires when it turns on.
    on: bool,
    /// Wall time from which on a failed action is tried again, and how often it was.
    retry_ms: Option<u64>,
    retries: u32,
    /// Why it is to be run once its service is ready, if it is.
    again: Option<String>,
    /// Wall time until which it moves nothing, because its moves fail.
    rests_ms: Option<u64>,
    /// What sensors of its Python said, by their names.
    sensed: HashMap<String, functions::Sensed>,
    /// When actuators with conditions of their own last did something, if they ever did, and what was said last.
    stepped: HashMap<usize, (Option<u64>, String)>,
}

impl Agents {
    /// With the models of a catalog's folder, and the store of series.
    pub(super) fn new(models: &Path, series: Arc<series::Store>) -> Self {
        Self {
            measured: Mutex::default(),
            compiled: Mutex::default(),
            seen: Mutex::default(),
            open: Mutex::default(),
            turns: Mutex::default(),
            looks: Arc::default(),
            relocations: Relocations::default(),
            functions: functions::Functions::default(),
            trackers: course::Trackers::default(),
            models: Arc::new(CatalogModels(Catalog::at(models))),
            catalog: Catalog::at(models),
            abroad: abroad::Models::default(),
            telemetry: Arc::new(Stored(series)),
        }
    }

    pub(super) fn measured(&self) -> MutexGuard<'_, Measured> {
        lock(&self.measured)
    }

    /// The agent of a policy as it is applied now.
    fn agent(&self, policy: &Policy) -> Result<Arc<Agent>> {
        let (uid, generation) = (policy.uid(), policy.generation());
        let compiled = lock(&self.compiled);
        if let Some(known) = compiled.get(&policy.id())
            && known.uid == uid
            && known.generation == generation
            && known.made.elapsed() < MODEL_AGE_MAX
        {
            return Ok(known.agent.clone());
        }
        // A model is read from disk: others need not wait for it.
        drop(compiled);
        let worker = self.functions.worker(policy)?;
        let models = python::Models::new(&*self.models, worker);
        let agent = Agent::new(&policy.spec, &models, &[situation::MOVE_S]);
        let agent = Arc::new(
            agent
                .map_err(|error| super::Error::refuse(ErrorKind::Invalid, types::chain(&error)))?,
        );
        // One whose model is not there is tried anew at the next run.
        if agent.without_model().is_none() {
            let (uid, made) = (uid.to_owned(), Instant::now());
            let known = Compiled { uid, generation, agent: agent.clone(), made };
            lock(&self.compiled).insert(policy.id(), known);
        }
        Ok(agent)
    }

    /// The right to run a policy.
    async fn turn(&self, id: &Id) -> tokio::sync::OwnedMutexGuard<()> {
        let turn = lock(&self.turns).entry(id.clone()).or_default().clone();
        turn.lock_owned().await
    }

    fn seen<T>(&self, id: &Id, with: impl FnOnce(&mut Seen) -> T) -> T {
        with(lock(&self.seen).entry(id.clone()).or_default())
    }

    fn forget(&self, known: &HashSet<Id>) {
        lock(&self.seen).retain(|id, _| known.contains(id));
        lock(&self.turns).retain(|id, turn| known.contains(id) || Arc::strong_count(turn) > 1);
        self.functions.forget(known);
        self.trackers.forget(known);
        self.looks.forget(known);
        lock(&self.compiled).retain(|id, _| known.contains(id));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets sensors fire until the control plane stops.
pub(super) async fn run(state: Arc<State>) {
    let mut tick = 0_u64;
    loop {
        tokio::select! {
            () = tokio::time::sleep(TICK) => {}
            () = state.stop.cancelled() => return,
        }
        let policies = policies(&state);
        let known: HashSet<Id> = policies.iter().map(|policy| policy.id()).collect();
        state.agents.forget(&known);
        if tick.is_multiple_of(MODEL_AGE_MAX.as_secs()) {
            let kept = abroad::keep_models(&state, &policies).await;
            if let Err(error) = kept {
                warn!(error = types::chain(&error), "sites have not the models of now");
            }
        }
        tick += 1;
        let policies = state.agents.looks.in_turn(policies, |policy| policy.id());
        policies.into_iter().for_each(|policy| begin_look(&state, policy));
        if let Err(error) = after::close_due(&state).await {
            warn!(error = types::chain(&error), "what became of a decision was not noted");
        }
    }
}

/// Looks at a policy beside the others, unless that is still being done, or too many others are:
/// the next tick looks again.
fn begin_look(state: &Arc<State>, policy: Arc<Policy>) {
    let id = policy.id();
    let Some(place) = state.agents.looks.begin(&id) else { return };
    let looking = state.clone();
    state.tasks.spawn(async move {
        // It is given back however this ends, by a panic too.
        let _place = place;
        let looked = tokio::select! {
            looked = look(&looking, &policy) => looked,
            () = looking.stop.cancelled() => Ok(()),
        };
        if let Err(error) = looked {
            warn!(policy = %id, error = types::chain(&error), "a policy was not run");
        }
    });
}

fn policies(state: &State) -> Vec<Arc<Policy>> {
    state.cache(|cache| cache.policies.values().cloned().collect())
}

/// The service that a policy looks after.
fn service_of(state: &State, policy: &Policy) -> Option<Arc<Service>> {
    let id = Id::new(&policy.resource.metadata.tenant, &policy.spec.service);
    state.cache(|cache| cache.services.get(&id).cloned())
}

/// Uids of the services whose measurements a policy needs.
pub(super) fn watched(state: &State) -> HashSet<String> {
    state.cache(|cache| {
        let names = cache.policies.values().flat_map(|policy| {
            let tenant = &policy.resource.metadata.tenant;
            let services = std::iter::once(&policy.spec.service).chain(&policy.spec.stand_ins);
            services.map(move |service| Id::new(tenant, service))
        });
        names.filter_map(|id| cache.services.get(&id)).map(|one| one.uid().to_owned()).collect()
    })
}

/// Runs a policy if one of its sensors fires.
async fn look(state: &Arc<State>, policy: &Arc<Policy>) -> Result<()> {
    let service = service_of(state, policy);
    let status = note_moves(state, policy, service.as_deref()).await?;
    let id = policy.id();
    let phase = service.as_ref().map(|service| service.status.phase);
    if phase == Some(Phase::Migrating) {
        // It is looked at when it has arrived.
        return Ok(());
    }
    let now_ms = state.wall_ms();
    let (events, retry) = state.agents.seen(&id, |seen| {
        happened(seen, phase);
        let retry = seen.retry_ms.take_if(|at| *at <= now_ms).is_some();
        (std::mem::take(&mut seen.events), retry)
    });
    let stale = status.observed_generation != policy.generation();
    let last = status.last_run.filter(|_| !stale);
    // They are asked in their own time, whatever else fires.
    let sensed = functions::sensed(state, policy, service.clone()).await?;
    let ready = phase == Some(Phase::Ready);
    let again = || state.agents.seen(&id, |seen| seen.again.take_if(|_| ready));
    let why = sensor::due(&policy.spec.sensors, last, now_ms, &events)
        .or_else(|| retry.then(|| "its last action failed".to_owned()))
        .or(sensed)
        .or_else(again);
    let why = match why {
        Some(why) => Some(why),
        None => turned_on(state, policy, service).await?,
    };
    match why {
        Some(why) => act::run(state, &id, &why).await.map(drop),
        None => Ok(()),
    }
}

/// Adds what happened to the service since the last look.
fn happened(seen: &mut Seen, phase: Option<Phase>) {
    let before = std::mem::replace(&mut seen.phase, phase);
    // What it was before this process began is not known.
    if before.is_none() || before == phase {
        return;
    }
    match phase {
        Some(Phase::Ready) => seen.events.push(Event::Ready),
        Some(Phase::SiteLost) => seen.events.push(Event::SiteLost),
        Some(Phase::Failed) => seen.events.push(Event::Failed),
        _ => {}
    }
}

/// Why a sensor on telemetry fires, if one turned on since the last look.
async fn turned_on(
    state: &Arc<State>,
    policy: &Arc<Policy>,
    service: Option<Arc<Service>>,
) -> Result<Option<String>> {
    let Some(service) = service else { return Ok(None) };
    let (asked, of) = (state.clone(), policy.clone());
    let on = apart(move || {
        let agent = asked.agents.agent(&of).ok().filter(|agent| agent.watches())?;
        let gathered = situation::gather(&asked, &of, &service)?;
        gathered.ask(|situation| agent.triggered(situation))
    });
    let on = on.await?;
    let was = state.agents.seen(&policy.id(), |seen| std::mem::replace(&mut seen.on, on.is_some()));
    Ok(on.filter(|_| !was))
}

/// Does what reads files, or may take long, where it holds up nobody else.
pub(super) async fn apart<T: Send + 'static>(
    act: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(act)
        .await
        .map_err(|error| super::Error::refuse(ErrorKind::Internal, error.to_string()))
}

/// Remembers in the policy's status when the service moved and whence, whoever moved it.
async fn note_moves(
    state: &Arc<State>,
    policy: &Policy,
    service: Option<&Service>,
) -> Result<PolicyStatus> {
    let status = policy.status.clone();
    let Some(site) = service.and_then(|service| service.status.site.clone()) else {
        return Ok(status);
    };
    if status.site.as_ref() == Some(&site) {
        return Ok(status);
    }
    if status.site.is_some() {
        state.agents.seen(&policy.id(), |seen| seen.events.push(Event::Moved));
    }
    record::update(state, &policy.id(), |status, now| {
        if let Some(from) = status.site.replace(site.clone()).filter(|from| *from != site) {
            status.moves.insert(0, Moved { at: now, from });
        }
        status.moves.retain(|moved| moved.at + MOVES_KEPT_MS > now);
        status.moves.truncate(MOVES_MAX);
    })
    .await
}
