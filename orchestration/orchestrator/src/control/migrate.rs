//! Moves a service: carries out the steps of [`decide::migration`].
//!
//! Between the answer that the state has arrived and the word to serve it lie one transaction, the
//! switch of the name, and nothing else.

use super::{
    Error, Result,
    apply::not_found,
    batch::Batch,
    cache::{Id, Service},
    decisions, desired,
    owed::{self, Owed},
    state::State,
    status, views,
};
use api::{
    Kind, Problem, Resource,
    decision::{DecisionSpec, DecisionStatus},
    link::{Call, HeldState, Reply, Transferred},
    service::{Migration, Phase},
};
use decide::migration::{self, Event, Outcome, Step, step};
use futures_util::future::join_all;
use serde_json::json;
use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use types::{Epoch, ErrorKind};

/// A migration under way.
#[derive(Debug)]
pub(super) struct Running {
    /// The decision that records it.
    decision: Mutex<Option<Resource>>,
    cancelled: CancellationToken,
    ended: watch::Sender<Option<Result<(), Problem>>>,
}

impl Running {
    fn new() -> Self {
        Self {
            decision: Mutex::default(),
            cancelled: CancellationToken::new(),
            ended: watch::Sender::new(None),
        }
    }

    /// Lets it roll back, unless the switch is stored already.
    pub(super) fn cancel(&self) {
        self.cancelled.cancel();
    }

    /// The decision as it was last stored.
    pub(super) fn decision(&self) -> Option<Resource> {
        self.decision.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn decided(&self, decision: Resource) {
        *self.decision.lock().unwrap_or_else(PoisonError::into_inner) = Some(decision);
    }

    /// Waits for the end.
    pub(super) async fn end(&self) -> Result<(), Problem> {
        let mut ended = self.ended.subscribe();
        match ended.wait_for(Option::is_some).await {
            Ok(result) => result.clone().unwrap_or(Ok(())),
            Err(_) => Err(Problem::new(ErrorKind::Unavailable, "the control plane is stopping")),
        }
    }
}

/// How long each step took, in its order.
#[derive(Debug, Default)]
struct Timeline {
    steps: Vec<(&'static str, Duration)>,
    transferred: Transferred,
    /// What sites said against the verdict, or why they have not heard it yet.
    complaints: Vec<String>,
}

/// One migration and all that its steps need.
struct Drive {
    state: Arc<State>,
    running: Arc<Running>,
    id: Id,
    uid: String,
    /// The epoch that the source holds.
    epoch: Epoch,
    plan: Migration,
    timeline: Mutex<Timeline>,
    begun: Duration,
    receiver: Option<(SocketAddr, String)>,
    problem: Option<Problem>,
}

/// Records a migration and begins it; returns once it is recorded.
pub(super) async fn begin(state: &Arc<State>, id: &Id, to: &str, by: &str) -> Result<Arc<Running>> {
    let to = to.strip_prefix("site/").unwrap_or(to).to_owned();
    let service = state
        .cache(|cache| cache.services.get(id).cloned())
        .ok_or_else(|| not_found(Kind::Service, id))?;
    let running = Arc::new(Running::new());
    reserve(state, &service, &running)?;
    let (state, by) = (state.clone(), by.to_owned());
    // Recorded and driven even if the one who asked goes away.
    let recording = tokio::spawn(async move {
        match record(&state, &service, &to, &by, &running).await {
            Ok(drive) => {
                let begun = step(migration::State::Recording, Event::Recorded);
                state.tasks.spawn(drive.run(begun));
                Ok(running)
            }
            Err(error) => {
                state.migrations().remove(service.uid());
                state.wake();
                Err(error)
            }
        }
    });
    super::state::converting(recording.await)
}

/// One migration of a service at a time.
fn reserve(state: &State, service: &Service, running: &Arc<Running>) -> Result<()> {
    let mut migrations = state.migrations();
    if migrations.contains_key(service.uid()) || service.status.migration.is_some() {
        let target = service.status.migration.as_ref().map_or("another site", |plan| &plan.to);
        let message = format!(
            "`service/{}` is being migrated to `{target}` already: wait for its end",
            service.resource.metadata.name
        );
        return Err(Error::refuse(ErrorKind::Conflict, message));
    }
    migrations.insert(service.uid().to_owned(), running.clone());
    Ok(())
}

/// Why this migration cannot begin, if so; else the site that serves.
fn check(state: &State, service: &Service, to: &str) -> Result<String> {
    let name = format!("`service/{}`", service.resource.metadata.name);
    let conflict = |message: String| Err(Error::refuse(ErrorKind::Conflict, message));
    let now = state.clock.monotonic();
    let sites = state.both(|cache, live| views::sites(cache, live, state.lease()));
    let Some(target) = sites.sites.get(to) else {
        let message = format!("there is no site `{to}`: `cloudskin get sites` lists them");
        return Err(Error::refuse(ErrorKind::NotFound, message));
    };
    let from = match &service.status.site {
        _ if service.deleting() => return conflict(format!("{name} is being deleted")),
        Some(from) if service.status.phase == Phase::Ready && sites.ready(from, now) => from,
        _ => return conflict(format!("{name} is not ready: wait until it is")),
    };
    if from == to {
        return conflict(format!("{name} is at `{to}` already"));
    }
    if target.cordoned {
        return conflict(format!("site `{to}` is cordoned: choose another, or uncordon it"));
    }
    if !sites.ready(to, now) {
        return conflict(format!("site `{to}` is not connected: start its agent, or wait for it"));
    }
    if state.cache(|cache| cache.owed.values().any(|owed| owed.uid == service.uid())) {
        return conflict(format!("the last migration of {name} is still being ended: try again"));
    }
    let needs = &service.spec.resources;
    let cpu = target.cpu.0.saturating_sub(target.cpu_used.0);
    let memory = target.memory.0.saturating_sub(target.memory_used.0);
    if needs.cpu.0 > cpu || needs.memory.0 > memory {
        let message = format!(
            "site `{to}` has `{}` of CPU and `{}` of memory free, {name} needs `{}` and `{}`",
            types::Cpu(cpu),
            types::Bytes(memory),
            needs.cpu,
            needs.memory
        );
        return Err(Error::refuse(ErrorKind::Exhausted, message));
    }
    Ok(from.clone())
}

async fn record(
    state: &Arc<State>,
    service: &Arc<Service>,
    to: &str,
    by: &str,
    running: &Arc<Running>,
) -> Result<Drive> {
    let begun = state.clock.monotonic();
    let from = check(state, service, to)?;
    let epoch = state.cache(|cache| cache.issued(service)).next();
    let id = types::random_id();
    let mut decision = explain(state, service, &from, to, by, epoch, &id);
    let plan = Migration {
        id,
        from,
        to: to.to_owned(),
        epoch,
        started: state.wall_ms(),
        decision: decision.metadata.name.clone(),
    };
    let mut new = service.status.clone();
    let mut batch = Batch::new();
    decisions::record(state, &mut batch, &mut new, decision.clone());
    new.phase = Phase::Migrating;
    new.migration = Some(plan.clone());
    batch.put(service.with_status(&new));
    batch.issue(service.uid(), epoch);
    let revision = state.commit(batch).await?;
    decision.metadata.resource_version = Some(revision);
    running.decided(decision);
    Ok(Drive {
        state: state.clone(),
        running: running.clone(),
        id: service.id(),
        uid: service.uid().to_owned(),
        epoch: service.status.epoch,
        plan,
        timeline: Mutex::default(),
        begun,
        receiver: None,
        problem: None,
    })
}

fn explain(
    state: &State,
    service: &Service,
    from: &str,
    to: &str,
    by: &str,
    epoch: Epoch,
    migration: &str,
) -> Resource {
    let request = decide::Request {
        placement: &service.spec.placement,
        resources: &service.spec.resources,
        lost: None,
    };
    let now = state.clock.monotonic();
    let view = state.both(|cache, live| views::sites(cache, live, state.lease()));
    let alternatives = decide::place(request, &view, now).alternatives;
    let judged = alternatives.iter().find(|site| site.name == to);
    let reason = match (by, judged) {
        ("user", Some(site)) => format!("a user asked for it; `{to}` {}", site.reason),
        _ => format!("`{by}` asked for it"),
    };
    let spec = DecisionSpec {
        action: "migrate".into(),
        subject: format!("service/{}", service.resource.metadata.name),
        by: by.into(),
        reason,
        inputs: json!({
            "from": from,
            "to": to,
            "migration": migration,
            "epochBefore": service.status.epoch,
            "epoch": epoch,
        }),
        alternatives,
        prediction: serde_json::Value::Null,
        at: state.wall_ms(),
    };
    decisions::new(state, &service.resource.metadata.tenant, &spec)
}

impl Drive {
    /// Carries the steps out until the migration has ended.
    async fn run(mut self, begun: (migration::State, Vec<Step>)) {
        let (mut stage, steps) = begun;
        let mut todo = VecDeque::from(steps);
        while let Some(next) = todo.pop_front() {
            let events = match next {
                Step::CallActivate | Step::CallRelease => self.tell_both(&mut todo, "switch").await,
                Step::CallAbortSource | Step::CallAbortTarget => {
                    self.tell_both(&mut todo, "abort").await
                }
                Step::SwitchName => {
                    self.switch_name();
                    Vec::new()
                }
                other => match self.act(other).await {
                    Some(event) => vec![event],
                    // The store failed: what it holds is ended by the next process.
                    None => return self.end(None).await,
                },
            };
            for event in events {
                let (after, steps) = step(stage, event);
                stage = after;
                todo.extend(steps);
            }
        }
        match stage {
            migration::State::Ended(outcome) => self.end(Some(outcome)).await,
            _ => self.end(None).await,
        }
    }

    async fn act(&mut self, what: Step) -> Option<Event> {
        let begun = self.state.clock.monotonic();
        let event = match what {
            Step::CallPrepare => Some(self.prepare().await),
            Step::CallTransfer => Some(self.transfer().await),
            Step::StoreCommit => self.commit().await,
            Step::StoreAbort => self.abort().await,
            _ => None,
        };
        let name = match what {
            Step::CallPrepare => "prepare",
            Step::CallTransfer => "transfer",
            Step::StoreCommit => "commit",
            _ => "abort",
        };
        self.took(name, begun);
        event
    }

    fn timeline(&self) -> MutexGuard<'_, Timeline> {
        self.timeline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn took(&self, name: &'static str, begun: Duration) {
        let took = self.state.clock.monotonic().saturating_sub(begun);
        self.timeline().steps.push((name, took));
    }

    /// Asks a site, unless the migration is cancelled meanwhile.
    async fn ask(&self, site: &str, call: Call, timeout: Duration) -> Result<Reply, Problem> {
        let conn = self.state.sites(|sites| sites.connection(site))?;
        tokio::select! {
            reply = conn.call(call, timeout) => Ok(reply?),
            () = self.running.cancelled.cancelled() => Err(Problem::new(
                ErrorKind::Conflict,
                "the migration was cancelled, for the service is being deleted",
            )),
        }
    }

    fn failed(&mut self, problem: Problem) -> Event {
        self.problem.get_or_insert(problem);
        Event::Failed
    }

    async fn prepare(&mut self) -> Event {
        let service = self.state.cache(|cache| cache.services.get(&self.id).cloned());
        let assignment = service.and_then(|service| desired::assignment(&service, self.plan.epoch));
        let Some(assignment) = assignment else {
            return self.failed(Problem::new(ErrorKind::NotFound, "the service is gone"));
        };
        let call =
            Call::Prepare { migration: self.plan.id.clone(), assignment: Box::new(assignment) };
        match self.ask(&self.plan.to, call, self.state.config.prepare_timeout).await {
            Ok(Reply::Prepared { address, secret }) => {
                self.receiver = Some((address, secret));
                Event::Prepared
            }
            Ok(_) => self.failed(unexpected(&self.plan.to)),
            Err(problem) => self.failed(problem),
        }
    }

    async fn transfer(&mut self) -> Event {
        let Some((address, secret)) = self.receiver.clone() else {
            return self.failed(unexpected(&self.plan.to));
        };
        let call = Call::Transfer {
            migration: self.plan.id.clone(),
            uid: self.uid.clone(),
            epoch: self.epoch,
            address,
            secret,
        };
        match self.ask(&self.plan.from, call, self.state.config.transfer_timeout).await {
            Ok(Reply::Transferred(cost)) => {
                self.timeline().transferred = cost;
                Event::Transferred
            }
            Ok(_) => self.failed(unexpected(&self.plan.from)),
            Err(problem) => self.failed(problem),
        }
    }

    /// The service, while it still is the one that this migration moves.
    fn moving(&self) -> Option<Arc<Service>> {
        let service = self.state.cache(|cache| cache.services.get(&self.id).cloned())?;
        let plan = service.status.migration.as_ref()?;
        (plan.id == self.plan.id).then_some(service)
    }

    /// Stores the switch. Nothing if the store failed and the outcome is not known.
    async fn commit(&mut self) -> Option<Event> {
        loop {
            if let Err(problem) = self.state.sites(|sites| sites.connection(&self.plan.to)) {
                self.failed(problem);
                return Some(Event::NotCommitted);
            }
            let Some(service) = self.moving().filter(|service| !service.deleting()) else {
                self.failed(Problem::new(ErrorKind::Conflict, "the service is being deleted"));
                return Some(Event::NotCommitted);
            };
            let (batch, decision) = self.switch(&service)?;
            match self.store(batch, decision).await {
                Ok(()) => return Some(Event::Committed),
                Err(Error::Raced) => {}
                Err(_) if self.state.stop.is_cancelled() => return None,
                Err(error) => {
                    self.failed(error.into());
                    return Some(Event::NotCommitted);
                }
            }
        }
    }

    async fn store(&self, batch: Batch, mut decision: Resource) -> Result<()> {
        let revision = self.state.commit(batch).await?;
        decision.metadata.resource_version = Some(revision);
        self.running.decided(decision);
        Ok(())
    }

    /// The transaction that moves the service.
    fn switch(&self, service: &Service) -> Option<(Batch, Resource)> {
        let mut new = service.status.clone();
        new.site = Some(self.plan.to.clone());
        new.epoch = self.plan.epoch;
        new.incarnation = 0;
        new.requests_answered = 0;
        new.phase = Phase::Ready;
        new.migration = None;
        let now = self.state.wall_ms();
        let message = format!("`{}` answers", self.plan.to);
        let placed = format!("on `{}`", self.plan.to);
        status::set_condition(&mut new.conditions, "Ready", true, "Serving", message, now);
        status::set_condition(&mut new.conditions, "Placed", true, "Placed", placed, now);
        status::locate(&self.state, service, &mut new);
        let decision = self.running.decision()?;
        let decision = decisions::ended(&self.state, decision, decisions::DONE, self.observed());
        let mut batch = Batch::new();
        batch.put(service.with_status(&new));
        batch.put(decision.clone());
        batch.owe(&self.key(&self.plan.to), self.owed(&self.plan.to, self.activate()));
        batch.owe(&self.key(&self.plan.from), self.owed(&self.plan.from, self.release()?));
        Some((batch, decision))
    }

    fn activate(&self) -> Call {
        Call::Activate { migration: self.plan.id.clone() }
    }

    fn release(&self) -> Option<Call> {
        let grace = self.state.config.forward_grace.as_millis();
        Some(Call::Release {
            migration: self.plan.id.clone(),
            to: self.state.ingress_of(&self.plan.to)?,
            forward_ms: u64::try_from(grace).unwrap_or(u64::MAX),
        })
    }

    fn key(&self, site: &str) -> String {
        owed_key(site, &self.plan)
    }

    fn owed(&self, site: &str, call: Call) -> Owed {
        Owed { site: site.to_owned(), uid: self.uid.clone(), call }
    }

    fn switch_name(&self) {
        let begun = self.state.clock.monotonic();
        if let Some(address) = self.state.address_of(&self.plan.to) {
            self.state.names.switch(&self.id.tenant, &self.id.name, address);
        }
        self.took("name", begun);
    }

    /// Stores that nothing moved. Nothing if the store failed.
    async fn abort(&mut self) -> Option<Event> {
        let problem = self.problem.clone().unwrap_or_else(|| unexpected(&self.plan.to));
        let why = problem.message.clone();
        loop {
            let service = self.moving()?;
            let mut observed = self.observed();
            observed["error"] = why.clone().into();
            let decision = self.running.decision()?;
            let decision =
                decisions::ended(&self.state, decision, decisions::ROLLED_BACK, observed);
            let mut batch = Batch::new();
            undo(&self.state, &mut batch, &service, &self.plan);
            batch.put(decision.clone());
            match self.store(batch, decision).await {
                Ok(()) => return Some(Event::Aborted),
                Err(Error::Raced) => {}
                Err(error) => {
                    warn!(service = %self.id, error = types::chain(&error), "abort not stored");
                    return None;
                }
            }
        }
    }

    /// Tells both sites the verdict at once. What a site does not hear it stays owed.
    async fn tell_both(&self, todo: &mut VecDeque<Step>, what: &str) -> Vec<Event> {
        todo.pop_front();
        let begun = self.state.clock.monotonic();
        let steps = match what {
            "switch" => [("activate", &self.plan.to), ("release", &self.plan.from)],
            _ => [("abortTarget", &self.plan.to), ("abortSource", &self.plan.from)],
        };
        join_all(steps.map(|(step, site)| async move {
            let key = self.key(site);
            match owed::deliver(&self.state, &key).await {
                Ok(()) if what == "switch" => self.mark(site),
                Ok(()) => {}
                Err(problem) => {
                    warn!(service = %self.id, site, step, problem = problem.message, "a verdict");
                    self.timeline().complaints.push(problem.message);
                }
            }
            self.took(step, begun);
        }))
        .await;
        vec![Event::TargetTold, Event::SourceTold]
    }

    /// What the sites' next beats will say.
    fn mark(&self, site: &str) {
        let (epoch, held) = match site == self.plan.to {
            true => (self.plan.epoch, HeldState::Serving),
            false => (self.epoch, HeldState::Forwarding),
        };
        self.state.sites(|sites| sites.mark(site, &self.uid, epoch, held));
    }

    /// What is known of the migration by now: times in milliseconds and microseconds, sizes.
    fn observed(&self) -> serde_json::Value {
        let timeline = self.timeline();
        let phases: Vec<_> = timeline
            .steps
            .iter()
            .map(|(name, took)| json!({"name": name, "ms": took.as_secs_f64() * 1000.0, "us": micros(*took)}))
            .collect();
        let cost = &timeline.transferred;
        json!({
            "phases": phases,
            "totalUs": micros(self.state.clock.monotonic().saturating_sub(self.begun)),
            "stopUs": cost.stop_us,
            "transferUs": cost.total_us,
            "precopyBytes": cost.precopy_bytes,
            "precopyRounds": cost.rounds,
            "finalBytes": cost.final_bytes,
            "complaints": timeline.complaints,
        })
    }

    async fn end(self, outcome: Option<Outcome>) {
        let result = match outcome {
            Some(Outcome::Moved) => {
                self.note().await;
                let total = self.state.clock.monotonic().saturating_sub(self.begun);
                let stop = self
                    .timeline
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .transferred
                    .stop_us;
                self.state.metrics.moved(total, Duration::from_micros(stop));
                info!(service = %self.id, from = self.plan.from, to = self.plan.to, ?total, "moved");
                Ok(())
            }
            Some(Outcome::RolledBack | Outcome::Refused) => {
                self.state.metrics.rolled_back();
                let cause = self.problem.clone().unwrap_or_else(|| unexpected(&self.plan.to));
                info!(service = %self.id, cause = cause.message, "rolled back");
                let message = format!(
                    "the migration was rolled back and `{}` serves on: {}",
                    self.plan.from, cause.message
                );
                Err(Problem::new(cause.kind, message))
            }
            None => Err(Problem::new(
                ErrorKind::Unavailable,
                "the store failed: the migration is ended when the control plane is back",
            )),
        };
        // Without an outcome nobody may touch the service before the store was read anew.
        if outcome.is_some() {
            self.state.migrations().remove(&self.uid);
        }
        self.running.ended.send_replace(Some(result));
        self.state.wake();
    }

    /// Adds what was observed after the commit to the decision; explains only.
    async fn note(&self) {
        let Some(decision) = self.running.decision() else { return };
        let mut batch = Batch::new();
        let decision = decisions::ended(&self.state, decision, decisions::DONE, self.observed());
        batch.put(decision.clone());
        if let Err(error) = self.store(batch, decision).await {
            warn!(service = %self.id, error = types::chain(&error), "phases were not noted");
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn unexpected(site: &str) -> Problem {
    let message = format!("site `{site}` answered something else than it was asked");
    Problem::new(ErrorKind::Internal, message)
}

/// Orders what a site hears by when the migration began.
fn owed_key(site: &str, plan: &Migration) -> String {
    format!("{site}/{:013}-{}", plan.started, plan.id)
}

/// The source keeps the service, and both sites are owed the word.
fn undo(state: &State, batch: &mut Batch, service: &Service, plan: &Migration) {
    let mut new = service.status.clone();
    new.migration = None;
    new.phase = Phase::Ready;
    status::locate(state, service, &mut new);
    batch.put(service.with_status(&new));
    for site in [&plan.from, &plan.to] {
        let call = Call::Abort { migration: plan.id.clone() };
        let owed = Owed { site: site.clone(), uid: service.uid().to_owned(), call };
        batch.owe(&owed_key(site, plan), owed);
    }
}

/// Ends what an earlier process has left: what is still recorded was not committed.
pub(super) async fn recover(state: &Arc<State>) -> Result<()> {
    let open: Vec<Arc<Service>> = state.cache(|cache| {
        let services = cache.services.values();
        services.filter(|service| service.status.migration.is_some()).cloned().collect()
    });
    for service in open {
        let Some(plan) = &service.status.migration else { continue };
        let mut batch = Batch::new();
        undo(state, &mut batch, &service, plan);
        let id = Id::new(&service.resource.metadata.tenant, &plan.decision);
        if let Some(decision) = super::apply::load(state, Kind::Decision, &id).await? {
            let mut observed = decision.status::<DecisionStatus>().observed;
            if !observed.is_object() {
                observed = json!({});
            }
            observed["error"] = "the control plane was restarted before the commit".into();
            batch.put(decisions::ended(state, decision, decisions::ROLLED_BACK, observed));
        }
        state.commit(batch).await?;
        warn!(service = %service.id(), from = plan.from, to = plan.to, "rolled back after a restart");
    }
    Ok(())
}
