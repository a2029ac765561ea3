//! Policies that the site asks itself while it is cut off.
//!
//! The control plane's last word names them ([`api::link::Desired`]), models included. What the
//! site measures of its own services is gathered all the time. When the control plane has been away
//! for a while, policies run here: they tell others (webhooks, their own functions) and the log, and
//! say where they would let a service go; to move it takes the control plane, which is told of every
//! decision, in order, once it is back, and asks the policy anew. Decisions are remembered with the
//! site's state before anything is done about them.

use super::core::{Core, is_connected};
use crate::{
    measured::{Measured, STEP_S},
    outgoing::webhook,
    python::{self, Worker},
};
use api::{
    decision::DecisionSpec,
    link::{Decided, Held, HeldState, PolicyAssignment},
    policy::{Actuator, Said, Sensor},
};
use learning::{
    Error, Predictor, Sample,
    agent::{Advice, Agent, Models, Situation, Wanted, Went, sensor},
    catalog::{fits, read_model},
    policy::{Moment, Place},
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How often sensors are looked at.
const TICK: Duration = Duration::from_secs(1);
/// How often a policy is asked here that has no times of its own: what makes it run otherwise is
/// with the control plane.
const EVERY_MS: u64 = 30_000;
/// How often models are looked for that are not here.
const FETCH_PAUSE: Duration = Duration::from_secs(30);
/// Decisions that are kept until they are noted; the oldest are forgotten.
const DECIDED_MAX: usize = 256;
/// Decisions that one beat tells of.
const WINDOW: usize = 16;
/// Seconds that a move takes.
const MOVE_S: u32 = 5;

/// The first decisions that the control plane has not noted.
pub(crate) fn window(core: &Core) -> Vec<Decided> {
    core.read(|inner| inner.state.decided.iter().take(WINDOW).cloned().collect())
}

/// The control plane has noted these.
pub(crate) fn recorded(core: &Arc<Core>, ids: &[String]) {
    if ids.is_empty() {
        return;
    }
    core.update_all(|inner| inner.state.decided.retain(|one| !ids.contains(&one.id)));
    persist(core);
}

fn persist(core: &Arc<Core>) {
    let persisting = core.clone();
    core.spawn(async move {
        // If it is told again, that changes nothing.
        if let Err(failure) = persisting.persist().await {
            tracing::debug!(%failure, "what policies decided is not yet remembered");
        }
    });
}

/// What is known of policies; lost with the agent.
#[derive(Default)]
struct Known {
    measured: Measured,
    /// By the policy's uid.
    policies: HashMap<String, Policy>,
}

/// One policy.
#[derive(Default)]
struct Policy {
    generation: u64,
    model: Option<types::Digest>,
    agent: Option<Arc<Agent>>,
    worker: Option<Arc<Worker>>,
    /// Wall time of its last run here.
    last_ms: Option<u64>,
    said: Option<Said>,
    /// A run is under way.
    runs: bool,
}

type Shared = Arc<Mutex<Known>>;

fn lock(known: &Shared) -> std::sync::MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Measures, and asks policies while the site is cut off.
pub(crate) async fn run(core: Arc<Core>) {
    let known = Shared::default();
    let (mut away_since, mut fetched_at) = (None, None);
    loop {
        tokio::time::sleep(TICK).await;
        let policies = core.read(|inner| inner.state.desired.policies.clone());
        let held = core.held();
        measure(&core, &known, &policies, &held);
        if is_connected(&core) && fetched_at.is_none_or(|at: Instant| at.elapsed() > FETCH_PAUSE) {
            fetched_at = Some(Instant::now());
            core.spawn(fetch_models(core.clone(), policies.clone()));
        }
        if is_connected(&core) || policies.is_empty() {
            away_since = None;
            lock(&known).policies.values_mut().for_each(|policy| policy.last_ms = None);
            continue;
        }
        if away_since.get_or_insert_with(Instant::now).elapsed() < core.config.limits.policies_after
        {
            continue;
        }
        for policy in policies {
            if is_served(&policy, &held) {
                begin(&core, &known, policy);
            }
        }
    }
}

fn is_served(policy: &PolicyAssignment, held: &[Held]) -> bool {
    held.iter().any(|held| held.uid == policy.service && held.state == HeldState::Serving)
}

fn measure(core: &Core, known: &Shared, policies: &[PolicyAssignment], held: &[Held]) {
    let watched: HashSet<String> = policies.iter().map(|policy| policy.service.clone()).collect();
    let mut known = lock(known);
    known.policies.retain(|uid, _| policies.iter().any(|policy| policy.uid == *uid));
    if watched.is_empty() {
        return;
    }
    known.measured.take(&core.config.name, core.wall_ms(), held, &watched);
}

/// Gets the models while the control plane is there; what is here already is not fetched again.
async fn fetch_models(core: Arc<Core>, policies: Vec<PolicyAssignment>) {
    for digest in policies.iter().filter_map(|policy| policy.model) {
        if core.modules.path(&digest).exists() {
            continue;
        }
        if let Err(problem) = core.modules.snapshot(&digest).await {
            tracing::warn!(%digest, problem = problem.message, "a policy's model is not here yet");
        }
    }
}

/// Runs a policy if one of its sensors fires, beside the others.
fn begin(core: &Arc<Core>, known: &Shared, assignment: PolicyAssignment) {
    let now_ms = core.wall_ms();
    let why = {
        let mut known = lock(known);
        let policy = known.policies.entry(assignment.uid.clone()).or_default();
        let due = due(&assignment.spec.sensors, policy.last_ms, now_ms);
        if policy.runs || due.is_none() {
            return;
        }
        (policy.runs, policy.last_ms) = (true, Some(now_ms));
        due.unwrap_or_default()
    };
    let (core, known) = (core.clone(), known.clone());
    core.clone().spawn(async move {
        let (asking, of, here) = (known.clone(), assignment.clone(), core.clone());
        let asked = tokio::task::spawn_blocking(move || ask(&here, &asking, &of, &why, now_ms));
        if let Ok(Some(decided)) = asked.await {
            keep(&core, &known, &assignment, decided).await;
        }
        if let Some(policy) = lock(&known).policies.get_mut(&assignment.uid) {
            policy.runs = false;
        }
    });
}

/// Why a policy is to be asked now. One that only conditions and functions make run has no times,
/// and is asked every half a minute.
fn due(sensors: &[Sensor], last_ms: Option<u64>, now_ms: u64) -> Option<String> {
    let timed = |sensor: &Sensor| matches!(sensor, Sensor::Every(_) | Sensor::Cron(_));
    let watches = |sensor: &Sensor| matches!(sensor, Sensor::When(_) | Sensor::Python(_));
    let without_times = !sensors.iter().any(timed) && sensors.iter().any(watches);
    let over = last_ms.is_some_and(|last| now_ms.saturating_sub(last) >= EVERY_MS);
    sensor::due(sensors, last_ms, now_ms, &[])
        .or_else(|| (without_times && over).then(|| format!("{} s passed", EVERY_MS / 1000)))
}

/// Asks a policy; what it decided, if that is worth telling.
fn ask(
    core: &Core,
    known: &Shared,
    assignment: &PolicyAssignment,
    why: &str,
    now_ms: u64,
) -> Option<Decided> {
    let agent = agent(core, known, assignment)
        .inspect_err(|error| {
            let error = types::chain(error);
            tracing::warn!(policy = assignment.name, error, "a policy cannot be asked here");
        })
        .ok()?;
    let worker = lock(known).policies.get(&assignment.uid).and_then(|one| one.worker.clone());
    let here = &core.config.name;
    let samples = lock(known).measured.samples(&assignment.service, here, now_ms);
    let edge = core.config.labels.get("tier").is_some_and(|tier| tier == "edge");
    let asked = Asked { assignment, here, edge, samples: &samples, now_ms, worker };
    let advice = asked.advise(&agent);
    let said = asked.said(&advice);
    let mut known = lock(known);
    let policy = known.policies.entry(assignment.uid.clone()).or_default();
    let worth = said.go.is_some() || said.alarm || said.fallback.is_some();
    let same = policy.said.as_ref().is_some_and(|last| {
        last.go == said.go && last.alarm == said.alarm && last.fallback == said.fallback
    });
    policy.said = Some(said.clone());
    (worth && !same).then(|| asked.decided(&agent, &advice, &said, why))
}

/// What a policy is asked with here: this site's samples, and the names of the others.
struct Asked<'a> {
    assignment: &'a PolicyAssignment,
    here: &'a str,
    edge: bool,
    samples: &'a [Sample],
    now_ms: u64,
    worker: Option<Arc<Worker>>,
}

impl Asked<'_> {
    fn advise(&self, agent: &Agent) -> Advice {
        let place = |name, past, edge| Place { name, past, edge, move_s: MOVE_S };
        let others: Vec<Place> =
            self.assignment.places.iter().map(|at| place(&at.site, &[], at.edge)).collect();
        let moves = &self.assignment.moves;
        let ago = |at: u64| self.now_ms.saturating_sub(at) / 1000;
        let moved_s_ago: Vec<u64> = moves.iter().map(|moved| ago(moved.at)).collect();
        let position = |from: &str| self.assignment.places.iter().position(|at| at.site == from);
        let went = |moved: &api::policy::Moved| {
            // A site that it cannot go to now has a number behind all others.
            let from = position(&moved.from).map_or(others.len() + 1, |at| at + 1);
            Went { ago_s: ago(moved.at), from }
        };
        let trail: Vec<Went> = moves.iter().map(went).collect();
        let moment = Moment {
            now_s: i64::try_from(self.now_ms / 1000).unwrap_or(i64::MAX),
            step_s: STEP_S,
            here: place(self.here, self.samples, self.edge),
            others: &others,
            moved_s_ago: &moved_s_ago,
        };
        let sensors = self.assignment.spec.python_sensors();
        // Without its figures it falls back, and says so.
        let figures = self
            .worker
            .as_deref()
            .and_then(|worker| python::sensor::ask_all(worker, sensors, &moment).ok());
        let figures = figures.unwrap_or_default();
        agent.advise(&Situation { moment: &moment, trail: Some(&trail), figures: &figures })
    }

    fn said(&self, advice: &Advice) -> Said {
        let go = advice.verdict.go.and_then(|at| self.assignment.places.get(at));
        Said {
            go: go.map(|place| place.site.clone()),
            alarm: advice.verdict.alarm,
            reason: advice.reason_held(),
            fallback: advice.fallback.clone(),
            prediction: None,
        }
    }

    fn decided(&self, agent: &Agent, advice: &Advice, said: &Said, why: &str) -> Decided {
        let known = self.samples.iter().rev().take(60).filter_map(|sample| sample.latency_ms);
        let known: Vec<f64> = known.collect();
        let mean = (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64);
        let inputs = json!({
            "trigger": why,
            "model": agent.spec().model,
            "slaMs": agent.sla_ms(),
            "service": self.assignment.service,
            "measured": {self.here: mean.map(|mean| json!({"latencyMs": mean}))},
            "fallback": advice.fallback,
            "held": advice.held,
            "cutOff": true,
        });
        let spec = DecisionSpec {
            action: if said.go.is_some() { "advise" } else { "stay" }.into(),
            subject: String::new(),
            by: format!("policy/{}", self.assignment.name),
            reason: match &said.go {
                Some(go) => format!(
                    "{}: it would go to `{go}`, and waits for the control plane",
                    said.reason
                ),
                None => said.reason.clone(),
            },
            inputs,
            alternatives: Vec::new(),
            // The control plane has not measured what came of it.
            prediction: Value::Null,
            at: self.now_ms,
        };
        Decided {
            id: types::random_id(),
            tenant: self.assignment.tenant.clone(),
            policy: self.assignment.name.clone(),
            uid: self.assignment.uid.clone(),
            spec,
            go: said.go.clone(),
            observed: json!({"site": self.here}),
        }
    }
}

/// The agent of a policy, with the model that is here.
fn agent(core: &Core, known: &Shared, assignment: &PolicyAssignment) -> Result<Arc<Agent>, Error> {
    let made = lock(known).policies.get(&assignment.uid).and_then(|policy| {
        let same = policy.generation == assignment.generation && policy.model == assignment.model;
        policy.agent.clone().filter(|_| same)
    });
    if let Some(agent) = made {
        return Ok(agent);
    }
    // What the former one's functions were promised is free when their thread has ended.
    if let Some(former) = lock(known).policies.get_mut(&assignment.uid) {
        (former.worker, former.agent) = (None, None);
    }
    let worker = assignment.spec.python.as_ref().map(Worker::new).transpose();
    let worker = worker.map_err(|error| Error::Unfit(error.to_string()))?.map(Arc::new);
    let fetched = Fetched(assignment.model.map(|digest| core.modules.path(&digest)));
    let models = python::Models::new(&fetched, worker.clone());
    let agent = Arc::new(Agent::new(&assignment.spec, &models, &[MOVE_S])?);
    let mut known = lock(known);
    let policy = known.policies.entry(assignment.uid.clone()).or_default();
    (policy.generation, policy.model) = (assignment.generation, assignment.model);
    policy.worker = worker;
    // One whose model is not here is tried anew at the next run.
    policy.agent = agent.without_model().is_none().then(|| agent.clone());
    Ok(agent)
}

/// The model that was fetched, if it was.
#[derive(Debug)]
struct Fetched(Option<PathBuf>);

impl Models for Fetched {
    fn load(&self, wanted: &Wanted) -> Result<Arc<dyn Predictor>, Error> {
        let absent = || {
            let text = format!("model `{}` is not at this site: it was not sent", wanted.model);
            Error::Unfit(text)
        };
        let path = self.0.as_ref().filter(|path| path.exists()).ok_or_else(absent)?;
        let model = read_model(path)?;
        fits(model.target, wanted)?;
        Ok(Arc::new(model))
    }
}

/// Remembers a decision, then tells whoever is to be told.
async fn keep(core: &Arc<Core>, known: &Shared, assignment: &PolicyAssignment, decided: Decided) {
    let id = decided.id.clone();
    let document = json!({
        "tenant": assignment.tenant, "policy": assignment.name, "site": core.config.name,
        "cutOff": true, "decision": id, "action": decided.spec.action, "to": decided.go,
        "reason": decided.spec.reason, "at": decided.spec.at,
    });
    core.update_all(|inner| {
        inner.state.decided.push(decided);
        let surplus = inner.state.decided.len().saturating_sub(DECIDED_MAX);
        inner.state.decided.drain(..surplus);
    });
    if let Err(failure) = core.persist().await {
        tracing::warn!(%failure, "what a policy decided is not remembered");
    }
    if assignment.spec.dry_run {
        return;
    }
    let worker = lock(known).policies.get(&assignment.uid).and_then(|one| one.worker.clone());
    let mut deeds = Vec::new();
    for actuator in &assignment.spec.actuators {
        deeds.extend(act(actuator, worker.clone(), &document).await);
    }
    if deeds.is_empty() {
        return;
    }
    core.update_all(|inner| {
        if let Some(one) = inner.state.decided.iter_mut().find(|one| one.id == id) {
            one.observed["deeds"] = deeds.into();
        }
    });
    persist(core);
}

/// What an actuator can do alone; nothing if it takes the control plane.
async fn act(actuator: &Actuator, worker: Option<Arc<Worker>>, document: &Value) -> Option<Value> {
    let (kind, to, came) = match actuator {
        Actuator::Notify => {
            tracing::info!(%document, "a policy decided while the site is cut off");
            return None;
        }
        Actuator::Webhook(webhook) => {
            let posted = webhook::post(webhook, document).await;
            ("webhook", webhook.url.clone(), posted.map(Value::from))
        }
        Actuator::Python(function) => {
            let question = json!({"op": "actuator", "name": function.name, "decision": document});
            let call = move || worker.map(|worker| worker.call(question));
            let said = tokio::task::spawn_blocking(call).await.ok()??;
            ("python", function.name.clone(), said.map_err(|error| error.to_string()))
        }
        Actuator::Migrate
        | Actuator::Scale(_)
        | Actuator::Store(_)
        | Actuator::Place(_)
        | Actuator::Nbi(_) => return None,
    };
    let mut deed: BTreeMap<&str, Value> = BTreeMap::new();
    deed.insert("actuator", kind.into());
    deed.insert("to", to.into());
    match came {
        Ok(_) => deed.insert("outcome", "done".into()),
        Err(why) => {
            deed.insert("outcome", "failed".into());
            deed.insert("error", why.chars().take(500).collect::<String>().into())
        }
    };
    Some(json!(deed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_without_times_of_its_own_is_asked_every_half_a_minute() {
        let due = |sensors: Value, last_ms, now_ms| {
            let sensors: Vec<Sensor> = serde_json::from_value(sensors).unwrap();
            super::due(&sensors, last_ms, now_ms).is_some()
        };
        let watching = json!([{"when": "here.latency > sla"}, {"python": "busy"}]);

        assert!(due(watching.clone(), None, 1_000));
        assert!(!due(watching.clone(), Some(1_000), 30_999));
        assert!(due(watching, Some(1_000), 31_000));
        let timed = json!([{"when": "here.latency > sla"}, {"every": "5m"}]);
        assert!(!due(timed.clone(), Some(1_000), 31_000) && due(timed, Some(1_000), 301_000));
    }
}
