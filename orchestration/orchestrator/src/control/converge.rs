//! The loop: looks at everything, asks `decide`, and does what it says.

use super::{
    Error, Result, advice,
    batch::Batch,
    blocks,
    cache::{Id, Service},
    decisions, desired, owed, runs,
    state::State,
    status, views,
};
use api::{decision::DecisionSpec, service::Phase};
use decide::{Action, Cause, Observation, Verdict};
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use tracing::{info, warn};
use types::Epoch;

/// How long the loop may sleep when nothing is due.
const NAP_MAX: Duration = Duration::from_secs(3600);
/// How soon it tries again after a failure.
const RETRY: Duration = Duration::from_secs(1);

/// Converges until the control plane stops.
pub(super) async fn run(state: Arc<State>) {
    loop {
        let nap = match pass(&state).await {
            Ok(Some(due)) => due.saturating_sub(state.clock.monotonic()),
            Ok(None) => NAP_MAX,
            Err(Error::Raced) => Duration::ZERO,
            Err(error) => {
                warn!(error = types::chain(&error), "converging failed");
                RETRY
            }
        };
        tokio::select! {
            () = state.dirty.notified() => {}
            () = tokio::time::sleep(nap.min(NAP_MAX)) => {}
            () = state.stop.cancelled() => return,
        }
    }
}

/// Looks at everything once; returns when something is due next.
async fn pass(state: &Arc<State>) -> Result<Option<Duration>> {
    let now = state.clock.monotonic();
    let mut due = state.sites(|sites| sites.expire(now));
    let ids: Vec<Id> = state.cache(|cache| cache.services.keys().cloned().collect());
    for id in ids {
        if let Some(next) = service(state, &id).await? {
            due = Some(due.map_or(next, |due| due.min(next)));
        }
    }
    blocks::converge(state).await?;
    if let Some(next) = runs::converge(state).await? {
        due = Some(due.map_or(next, |due| due.min(next)));
    }
    sites(state).await?;
    desired::push(state);
    Ok(due)
}

/// The service and what is to be done about it; nothing while a migration has it.
fn decide(state: &State, id: &Id) -> Option<(Arc<Service>, Vec<Action>)> {
    let now = state.clock.monotonic();
    let service = state.cache(|cache| cache.services.get(id).cloned())?;
    if state.migrations().contains_key(service.uid()) {
        return None;
    }
    state.both(|cache, live| {
        let view = views::service(cache, live, &service);
        let sites = views::sites(cache, live, state.lease());
        let actions = decide::reconcile(&view, &sites, now);
        Some((service, actions))
    })
}

async fn service(state: &Arc<State>, id: &Id) -> Result<Option<Duration>> {
    let Some((service, actions)) = decide(state, id) else { return Ok(None) };
    let mut due = None;
    for action in actions {
        match action {
            Action::Assign { .. } => assign(state, id).await?,
            Action::Observe(seen) => observe(state, &service, &seen).await?,
            Action::Remove => remove(state, &service).await?,
            Action::Wake(at) => due = Some(at),
        }
    }
    Ok(due)
}

/// Gives a service to a site. Decides anew with the admission held: a site that came back a
/// moment ago keeps what it has.
async fn assign(state: &Arc<State>, id: &Id) -> Result<()> {
    let _turn = state.admission.lock().await;
    let Some((service, actions)) = decide(state, id) else { return Ok(()) };
    for action in actions {
        if let Action::Assign { site, epoch, cause, verdict } = action {
            let lost = match &cause {
                Cause::Placed => None,
                Cause::Restarted { lost } => Some(lost.as_str()),
            };
            let (verdict, told) = advice::choose(state, &service, verdict, lost);
            let site = verdict.site.clone().unwrap_or(site);
            let chosen = (verdict, told);
            store_assignment(state, &service, &site, epoch, cause, chosen).await?;
            state.point(&service, &site);
            info!(service = %id, site, %epoch, "assigned");
        }
    }
    Ok(())
}

async fn store_assignment(
    state: &Arc<State>,
    service: &Service,
    site: &str,
    epoch: Epoch,
    cause: Cause,
    chosen: (Verdict, Value),
) -> Result<()> {
    let mut batch = Batch::new();
    let mut new = service.status.clone();
    let decision = explain(state, service, site, epoch, cause, chosen);
    decisions::record(state, &mut batch, &mut new, decision);
    let now = state.wall_ms();
    new.observed_generation = service.generation();
    new.phase = Phase::Starting;
    new.site = Some(site.to_owned());
    new.epoch = epoch;
    new.incarnation = 0;
    new.requests_answered = 0;
    new.cpu_us = 0;
    let message = format!("`{site}` was told to serve it");
    let conditions = &mut new.conditions;
    status::set_condition(conditions, "Placed", true, "Placed", format!("on `{site}`"), now);
    status::set_condition(conditions, "Ready", false, "Starting", message, now);
    status::locate(state, service, &mut new);
    batch.put(service.with_status(&new));
    batch.issue(service.uid(), epoch);
    // A verdict that the lost site has not heard must not let it serve again when it is back.
    owed::settle_all(state, &mut batch, service.uid());
    state.commit(batch).await?;
    state.metrics.assigned();
    Ok(())
}

fn explain(
    state: &State,
    service: &Service,
    site: &str,
    epoch: Epoch,
    cause: Cause,
    (verdict, prediction): (Verdict, Value),
) -> api::Resource {
    let metadata = &service.resource.metadata;
    let (action, by, reason) = match &cause {
        Cause::Placed => ("place", "planner", verdict.reason.clone()),
        Cause::Restarted { lost } => (
            "restart",
            "lease",
            format!("the lease of `{lost}` and the margin ran out; {}", verdict.reason),
        ),
    };
    let inputs = serde_json::json!({
        "placement": service.spec.placement,
        "resources": service.spec.resources,
        "onSiteLost": service.spec.on_site_lost,
        "from": service.status.site,
        "to": site,
        "epoch": epoch,
        "leaseMs": state.config.lease.as_millis(),
        "marginMs": state.config.margin.as_millis(),
    });
    let spec = DecisionSpec {
        action: action.into(),
        subject: format!("service/{}", metadata.name),
        by: by.into(),
        reason,
        inputs,
        alternatives: verdict.alternatives,
        prediction,
        at: state.wall_ms(),
    };
    decisions::new(state, &metadata.tenant, &spec)
}

async fn observe(state: &Arc<State>, service: &Service, seen: &Observation) -> Result<()> {
    let Some(new) = status::observe(state, service, seen) else { return Ok(()) };
    let mut batch = Batch::new();
    batch.put(service.with_status(&new));
    state.commit(batch).await?;
    if new.phase == Phase::Ready
        && let Some(latest) = new.decisions.first()
    {
        decisions::close(state, &service.resource.metadata.tenant, latest).await;
    }
    Ok(())
}

async fn remove(state: &Arc<State>, service: &Service) -> Result<()> {
    let mut batch = Batch::new();
    batch.remove(&service.resource);
    owed::settle_all(state, &mut batch, service.uid());
    state.commit(batch).await?;
    let metadata = &service.resource.metadata;
    state.names.remove(&metadata.tenant, &metadata.name);
    info!(service = %service.id(), "removed");
    Ok(())
}

/// Writes down which sites are ready, where that turned.
async fn sites(state: &Arc<State>) -> Result<()> {
    let now = state.clock.monotonic();
    let turned: Vec<_> = state.both(|cache, live| {
        let view = views::sites(cache, live, state.lease());
        let all = cache.sites.iter();
        all.filter(|(name, site)| view.ready(name, now) != site.status.ready)
            .map(|(_, site)| site.clone())
            .collect()
    });
    for site in turned {
        let mut new = site.status.clone();
        new.ready = !new.ready;
        let (reason, message) = match new.ready {
            true => ("Connected", "its lease holds"),
            false => ("Disconnected", "its agent has no connection, or its lease ran out"),
        };
        let wall = state.wall_ms();
        status::set_condition(&mut new.conditions, "Ready", new.ready, reason, message, wall);
        let mut batch = Batch::new();
        batch.put(site.with_status(&new));
        state.commit(batch).await?;
    }
    Ok(())
}
