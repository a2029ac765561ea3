//! Processors and stores' limits that follow a policy's conditions, and sites that a service may be at.

use super::{
    limits::{self, Limited},
    record,
};
use crate::control::{
    Error, Result,
    apply::{self, Options},
    cache::{Id, Policy, Service},
    decisions,
    state::State,
    views,
};
use api::{
    Kind, Resource,
    cell::{CellSpec, Form},
    decision::DecisionSpec,
    policy::{Actuator, Place, Scale, millis},
    service::{Selector, ServiceSpec},
};
use learning::agent::{Advice, Turn, Want};
use serde_json::{Value, json};
use std::sync::Arc;
use tracing::info;
use types::{Cpu, ErrorKind};

/// What an actuator with a condition of its own does now.
#[derive(Debug, PartialEq)]
pub(super) struct Change {
    pub(super) action: &'static str,
    pub(super) subject: (Kind, String),
    /// In words.
    pub(super) text: String,
    pub(super) field: Field,
}

/// What is changed of a spec. All else stays as it is when that is done: it may be another one than
/// was decided on.
#[derive(Debug, PartialEq)]
pub(super) enum Field {
    Nothing,
    Cpu(Cpu),
    Sites(Selector),
    Threads(u32),
    /// No resource has it: the site is told.
    Limit(Limited),
}

/// Does what the policy's actuators with conditions of their own want.
pub(super) async fn follow(
    state: &Arc<State>,
    policy: &Arc<Policy>,
    service: &Service,
    advice: &Advice,
    spec: &DecisionSpec,
) -> Result<()> {
    for want in &advice.wants {
        let change = match &policy.spec.actuators[want.actuator] {
            Actuator::Scale(scale) => {
                let cool_down = millis(scale.cool_down);
                if !rested(state, policy, want, cool_down) {
                    continue;
                }
                scaled(state, policy, service, scale, want.turn).await
            }
            Actuator::Store(store) => {
                if !rested(state, policy, want, millis(store.cool_down)) {
                    continue;
                }
                limits::wanted(state, policy, service, store, want.turn).await
            }
            Actuator::Place(place) => Ok(placed(state, service, place)),
            _ => continue,
        };
        let failed = |error: crate::control::Error| Err(types::chain(&error));
        let done = match change {
            Ok(None) => continue,
            Ok(Some(change)) if policy.spec.dry_run => {
                if told(state, policy, want, &change.text) {
                    continue;
                }
                (change, Ok(()))
            }
            Ok(Some(change)) => {
                let tried = carry_out(state, policy, &change).await.or_else(failed);
                if tried.as_ref().is_err_and(|problem| told(state, policy, want, problem)) {
                    continue;
                }
                (change, tried)
            }
            Err(problem) => {
                let subject = (Kind::Service, policy.spec.service.clone());
                if told(state, policy, want, &problem) {
                    continue;
                }
                let text = "nothing is changed".to_owned();
                let action = match &policy.spec.actuators[want.actuator] {
                    Actuator::Store(_) => "limit",
                    _ => "scale",
                };
                let change = Change { action, subject, text, field: Field::Nothing };
                (change, Err(problem))
            }
        };
        note(state, policy, spec, want, done).await?;
    }
    Ok(())
}

/// Whether its last step is long enough ago.
fn rested(state: &State, policy: &Policy, want: &Want, cool_down_ms: u64) -> bool {
    let now_ms = state.wall_ms();
    state.agents.seen(&policy.id(), |seen| {
        let last = seen.stepped.get(&want.actuator).and_then(|(at_ms, _)| *at_ms);
        last.is_none_or(|last| now_ms >= last.saturating_add(cool_down_ms) || now_ms < last)
    })
}

/// Whether the same was said before; it need not be recorded again and again.
fn told(state: &State, policy: &Policy, want: &Want, text: &str) -> bool {
    state.agents.seen(&policy.id(), |seen| {
        seen.stepped.get(&want.actuator).is_some_and(|(_, said)| said == text)
    })
}

/// The next step of processor time, if there is one.
fn next(scale: &Scale, now: Cpu, turn: Turn) -> Option<Cpu> {
    step(now.0, scale.step.0, (scale.min.0, scale.max.0), turn).map(Cpu)
}

/// The next step within limits, if there is one.
pub(super) fn step(now: u64, step: u64, (min, max): (u64, u64), turn: Turn) -> Option<u64> {
    let to = match turn {
        Turn::Up => now.saturating_add(step),
        Turn::Down => now.saturating_sub(step),
    };
    let to = to.clamp(min, max);
    // Whoever set it beyond the limits is not contradicted the other way.
    let follows = match turn {
        Turn::Up => to > now,
        Turn::Down => to < now,
    };
    follows.then_some(to)
}

async fn scaled(
    state: &Arc<State>,
    policy: &Policy,
    service: &Service,
    scale: &Scale,
    turn: Turn,
) -> std::result::Result<Option<Change>, String> {
    if let Some(tissue) = &scale.tissue {
        return threads(state, policy, scale, tissue, turn).await;
    }
    let now = service.spec.resources.cpu;
    let Some(to) = next(scale, now, turn) else { return Ok(None) };
    let room = room(state, service);
    if to > now && to.0 - now.0 > room.0 {
        let site = service.status.site.as_deref().unwrap_or_default();
        return Err(format!(
            "it would get `{to}` of CPU in place of `{now}`, and site `{site}` has `{room}` free"
        ));
    }
    Ok(Some(Change {
        action: "scale",
        subject: (Kind::Service, policy.spec.service.clone()),
        text: format!("CPU from `{now}` to `{to}`"),
        field: Field::Cpu(to),
    }))
}

/// What the service's site has left.
fn room(state: &State, service: &Service) -> Cpu {
    let sites = state.both(|cache, live| views::sites(cache, live, state.lease()));
    let site = service.status.site.as_ref().and_then(|site| sites.sites.get(site));
    Cpu(site.map_or(0, |site| site.cpu.0.saturating_sub(site.cpu_used.0)))
}

/// The next number of processors of a program on threads.
async fn threads(
    state: &Arc<State>,
    policy: &Policy,
    scale: &Scale,
    tissue: &str,
    turn: Turn,
) -> std::result::Result<Option<Change>, String> {
    let id = Id::new(&policy.resource.metadata.tenant, tissue);
    let stored = apply::load(state, Kind::Tissue, &id).await.map_err(|e| types::chain(&e))?;
    let stored = stored.ok_or_else(|| format!("there is no `tissue/{tissue}`"))?;
    let spec: CellSpec = stored.spec().map_err(|error| types::chain(&error))?;
    let Some(Form::Threads(threads)) = &spec.form else {
        return Err(format!("`tissue/{tissue}` is made of ranks, whose number stays"));
    };
    let now = Cpu(u64::from(threads.cpus) * 1000);
    let Some(to) = next(scale, now, turn) else { return Ok(None) };
    let cpus = u32::try_from(to.0 / 1000).unwrap_or(u32::MAX).min(threads.ceiling());
    if cpus == threads.cpus {
        return Ok(None);
    }
    let text = format!("processors from {} to {cpus}", threads.cpus);
    Ok(Some(Change {
        action: "scale",
        subject: (Kind::Tissue, tissue.to_owned()),
        text,
        field: Field::Threads(cpus),
    }))
}

/// Other sites, if the service may not be at just these already.
fn placed(state: &State, service: &Service, place: &Place) -> Option<Change> {
    if service.spec.placement.sites == place.sites {
        return None;
    }
    let admitted = |labels: &std::collections::BTreeMap<String, String>| {
        place.sites.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
    };
    let some = state
        .cache(|cache| cache.sites.values().any(|site| admitted(&site.resource.metadata.labels)));
    let labels = &place.sites.match_labels;
    let labels: Vec<_> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let labels = labels.join(", ");
    let text = match some {
        true => format!("sites are those with `{labels}` from now on"),
        false => format!("sites are those with `{labels}` from now on, which none has yet"),
    };
    let subject = (Kind::Service, service.resource.metadata.name.clone());
    Some(Change { action: "place", subject, text, field: Field::Sites(place.sites.clone()) })
}

fn change_field(resource: &mut Resource, field: &Field) -> Result<()> {
    let written = match field {
        Field::Nothing | Field::Limit(_) => return Ok(()),
        Field::Cpu(cpu) => {
            let mut spec: ServiceSpec = resource.spec()?;
            spec.resources.cpu = *cpu;
            serde_json::to_value(spec)
        }
        Field::Sites(sites) => {
            let mut spec: ServiceSpec = resource.spec()?;
            spec.placement.sites = sites.clone();
            serde_json::to_value(spec)
        }
        Field::Threads(cpus) => {
            let mut spec: CellSpec = resource.spec()?;
            if let Some(Form::Threads(threads)) = &mut spec.form {
                threads.cpus = *cpus;
            }
            serde_json::to_value(spec)
        }
    };
    let invalid = |error: serde_json::Error| Error::refuse(ErrorKind::Invalid, error.to_string());
    resource.spec = written.map_err(invalid)?;
    Ok(())
}

/// Applies it, as a user would.
async fn carry_out(state: &Arc<State>, policy: &Policy, change: &Change) -> Result<()> {
    if let Field::Limit(limited) = &change.field {
        return limits::set(state, policy, limited).await;
    }
    let (kind, name) = &change.subject;
    let id = Id::new(&policy.resource.metadata.tenant, name);
    let mut resource =
        apply::load(state, *kind, &id).await?.ok_or_else(|| apply::not_found(*kind, &id))?;
    change_field(&mut resource, &change.field)?;
    // Of the revision that was read just now: what somebody else applies meanwhile is not undone.
    match apply::apply(state, resource, Options::default()).await {
        Err(error) if error.kind() == ErrorKind::Conflict => Err(error),
        done => done.map(drop),
    }
}

async fn note(
    state: &Arc<State>,
    policy: &Arc<Policy>,
    spec: &DecisionSpec,
    want: &Want,
    (change, tried): (Change, std::result::Result<(), String>),
) -> Result<()> {
    let (kind, name) = &change.subject;
    let problem = tried.err();
    let said = problem.clone().unwrap_or_else(|| change.text.clone());
    let now_ms = state.wall_ms();
    state.agents.seen(&policy.id(), |seen| {
        // What failed was no step, after which it would rest.
        let last = seen.stepped.get(&want.actuator).and_then(|(at_ms, _)| *at_ms);
        let at_ms = if problem.is_some() { last } else { Some(now_ms) };
        seen.stepped.insert(want.actuator, (at_ms, said));
    });
    let decision = DecisionSpec {
        action: change.action.into(),
        subject: format!("{}/{name}", kind.path()),
        reason: format!("{}: {}", spec.reason, change.text),
        alternatives: Vec::new(),
        // What is forecast is the truth of the run's own decision.
        prediction: Value::Null,
        ..spec.clone()
    };
    info!(policy = %policy.id(), subject = decision.subject, text = change.text, "a policy scales, places or limits");
    let (outcome, observed) = match (&problem, policy.spec.dry_run) {
        (Some(why), _) => ("failed", json!({"error": why})),
        (None, true) => (decisions::DONE, json!({"dryRun": true})),
        (None, false) => (decisions::DONE, json!({})),
    };
    let tenant = &policy.resource.metadata.tenant;
    let stored = record::store(state, tenant, &decision, outcome, observed).await?;
    record::named(state, &policy.id(), &stored.metadata.name).await?;
    record::acted(state, &policy.id(), problem).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_else_changed_meanwhile_stays() {
        let mut now: Resource = serde_json::from_value(json!({
            "apiVersion": "cloudskin.eu/v1alpha1",
            "kind": "Service",
            "metadata": {"name": "counter"},
            "spec": {"module": "newer.wasm", "resources": {"cpu": "500m", "memory": "64Mi"}},
        }))
        .unwrap();
        let labels = [("tier".to_owned(), "cloud".to_owned())].into();

        change_field(&mut now, &Field::Cpu(Cpu(750))).unwrap();
        change_field(&mut now, &Field::Sites(Selector { match_labels: labels })).unwrap();

        assert_eq!(now.spec["module"], "newer.wasm");
        assert_eq!(now.spec["resources"]["memory"], "64Mi");
        assert_eq!(now.spec["resources"]["cpu"], "750m");
        assert_eq!(now.spec["placement"]["sites"]["matchLabels"]["tier"], "cloud");
    }

    #[test]
    fn steps_stay_within_their_limits() {
        let scale: Scale =
            serde_json::from_value(json!({"min": "250m", "max": "1", "step": "300m"})).unwrap();
        let step = |now, turn| next(&scale, Cpu(now), turn).map(|cpu| cpu.0);

        assert_eq!(step(500, Turn::Up), Some(800));
        assert_eq!(step(800, Turn::Up), Some(1000));
        assert_eq!(step(1000, Turn::Up), None);
        assert_eq!(step(500, Turn::Down), Some(250));
        assert_eq!(step(250, Turn::Down), None);
        assert_eq!(step(4000, Turn::Up), None, "a user set it beyond");
        assert_eq!(step(4000, Turn::Down), Some(1000));
    }
}
