//! Moves a service: carries out the steps of [`decide::migration`].
//!
//! Between the answer that the state has arrived and the word to serve it lie one transaction, the
//! switch of the name, and nothing else.

mod drive;

use super::{
    Error, Result,
    apply::not_found,
    batch::Batch,
    cache::{Id, Service},
    decisions,
    owed::Owed,
    state::State,
    status, views,
};
use api::{
    Kind, Problem, Resource,
    decision::{DecisionSpec, DecisionStatus},
    link::Call,
    service::{Migration, Phase},
};
use decide::migration::{self, Event, step};
use drive::Drive;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::warn;
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
    pub(super) fn new() -> Self {
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

    pub(super) fn decided(&self, decision: Resource) {
        *self.decision.lock().unwrap_or_else(PoisonError::into_inner) = Some(decision);
    }

    /// Resolves when it was cancelled.
    pub(super) async fn cancelled(&self) {
        self.cancelled.cancelled().await;
    }

    /// Tells those who wait how it ended.
    pub(super) fn ended(&self, result: Result<(), Problem>) {
        self.ended.send_replace(Some(result));
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

/// Why a service is to move.
#[derive(Debug)]
pub(super) enum Motive {
    /// A user asked for it.
    User,
    /// A policy decided so, on these grounds.
    Policy(Box<DecisionSpec>),
}

/// Records a migration and begins it; returns once it is recorded.
pub(super) async fn begin(
    state: &Arc<State>,
    id: &Id,
    to: &str,
    motive: Motive,
) -> Result<Arc<Running>> {
    let to = to.strip_prefix("site/").unwrap_or(to).to_owned();
    let service = stored(state, id).await?;
    let running = Arc::new(Running::new());
    reserve(state, &service, &running)?;
    let state = state.clone();
    // Recorded and driven even if the one who asked goes away.
    let recording = tokio::spawn(async move {
        match record_anew(&state, service.clone(), &to, &motive, &running).await {
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

/// The service as readers see it, which the cache may be a moment behind.
async fn stored(state: &State, id: &Id) -> Result<Service> {
    let resource = super::apply::load(state, Kind::Service, id).await?;
    Service::read(&resource.ok_or_else(|| not_found(Kind::Service, id))?)
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
    if state.cache(|cache| cache.owed.values().any(|owed| owed.uid == service.uid())) {
        return conflict(format!("the last migration of {name} is still being ended: try again"));
    }
    if from == to {
        return conflict(format!("{name} is at `{to}` already"));
    }
    if target.cordoned {
        return conflict(format!("site `{to}` is cordoned: choose another, or uncordon it"));
    }
    if !sites.ready(to, now) {
        return conflict(format!("site `{to}` is not connected: start its agent, or wait for it"));
    }
    let secured = |site: &str| {
        state.cache(|cache| cache.sites.get(site).is_some_and(|s| s.status.peer_address.is_some()))
    };
    if secured(from) != secured(to) {
        return conflict(format!(
            "of `{from}` and `{to}` only one lets other machines in: start the other with certificates too (`cloudskin up --bind`, `cloudskin join`)"
        ));
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

/// Records it on the service as it is now: reports of its site change it at any time.
async fn record_anew(
    state: &Arc<State>,
    mut service: Service,
    to: &str,
    motive: &Motive,
    running: &Arc<Running>,
) -> Result<Drive> {
    let (id, uid) = (service.id(), service.uid().to_owned());
    loop {
        match record(state, &service, to, motive, running).await {
            Err(Error::Raced) => {
                service = stored(state, &id).await?;
                if service.uid() != uid {
                    return Err(not_found(Kind::Service, &id));
                }
            }
            done => return done,
        }
    }
}

async fn record(
    state: &Arc<State>,
    service: &Service,
    to: &str,
    motive: &Motive,
    running: &Arc<Running>,
) -> Result<Drive> {
    let begun = state.clock.monotonic();
    let from = check(state, service, to)?;
    let epoch = state.cache(|cache| cache.issued(service)).next();
    let id = types::random_id();
    let mut decision = explain(state, service, (&from, to), motive, epoch, &id);
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
    Ok(Drive::new(state, running, service, plan, begun))
}

fn explain(
    state: &State,
    service: &Service,
    (from, to): (&str, &str),
    motive: &Motive,
    epoch: Epoch,
    migration: &str,
) -> Resource {
    let facts = json!({
        "from": from,
        "to": to,
        "migration": migration,
        "epochBefore": service.status.epoch,
        "epoch": epoch,
    });
    let tenant = &service.resource.metadata.tenant;
    if let Motive::Policy(spec) = motive {
        let mut spec = DecisionSpec::clone(spec);
        if let (Value::Object(inputs), Value::Object(facts)) = (&mut spec.inputs, facts) {
            inputs.extend(facts);
        }
        return decisions::new(state, tenant, &spec);
    }
    let request = decide::Request {
        placement: &service.spec.placement,
        resources: &service.spec.resources,
        lost: None,
    };
    let now = state.clock.monotonic();
    let view = state.both(|cache, live| views::sites(cache, live, state.lease()));
    let alternatives = decide::place(request, &view, now).alternatives;
    let judged = alternatives.iter().find(|site| site.name == to);
    let reason = match judged {
        Some(site) => format!("a user asked for it; `{to}` {}", site.reason),
        None => "a user asked for it".to_owned(),
    };
    let spec = DecisionSpec {
        action: "migrate".into(),
        subject: format!("service/{}", service.resource.metadata.name),
        by: "user".into(),
        reason,
        inputs: facts,
        alternatives,
        prediction: Value::Null,
        at: state.wall_ms(),
    };
    decisions::new(state, tenant, &spec)
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
