//! What a policy said, written down: its status, and decisions with all that they were taken on.

use super::situation::{At, Gathered, MOVE_S};
use crate::{
    control::{
        Error, Result, apply,
        batch::Batch,
        cache::{Id, Policy},
        decisions,
        state::State,
        status::set_condition,
    },
    python,
};
use api::{
    Kind, Resource,
    decision::{Alternative, DecisionSpec},
    policy::{PolicyStatus, Said, millis},
};
use learning::{
    Prediction, Sample,
    agent::{Advice, Agent, Foretold, Load},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

/// Most decisions that a policy's status names.
const NAMED_MAX: usize = 20;
/// How often a write is tried anew when somebody else wrote in between.
const RACES_MAX: usize = 32;
/// The last samples that are summed up: five minutes.
const LATELY: usize = 60;

/// Changes the status of a policy as it is stored now.
pub(super) async fn update(
    state: &Arc<State>,
    id: &Id,
    mut change: impl FnMut(&mut PolicyStatus, u64),
) -> Result<PolicyStatus> {
    for _ in 0..RACES_MAX {
        let stored = apply::load(state, Kind::Policy, id).await?;
        let policy = Policy::read(&stored.ok_or_else(|| apply::not_found(Kind::Policy, id))?)?;
        let mut new = policy.status.clone();
        change(&mut new, state.wall_ms());
        if new == policy.status {
            return Ok(new);
        }
        let mut batch = Batch::new();
        batch.put(policy.with_status(&new));
        match state.commit(batch).await {
            Err(Error::Raced) => {}
            done => return done.map(|_| new),
        }
    }
    Err(Error::Raced)
}

/// Notes a run in the policy's status.
pub(super) async fn note(
    state: &Arc<State>,
    policy: &Policy,
    said: &Said,
    decision: Option<&str>,
) -> Result<()> {
    let every = policy.spec.every().map(millis);
    let (id, generation) = (policy.id(), policy.generation());
    let noted = update(state, &id, |status, now| {
        status.observed_generation = generation;
        status.last_run = Some(now);
        status.next_run = every.map(|every| now + every);
        status.last = Some(said.clone());
        if let Some(name) = decision {
            status.decisions.insert(0, name.to_owned());
            status.decisions.truncate(NAMED_MAX);
        }
        let facts = &mut status.conditions;
        match &said.fallback {
            None => {
                set_condition(facts, "Ready", true, "Deciding", "it forecasts and decides", now)
            }
            Some(why) => {
                let message = format!("the reactive rule decides in its place: {why}");
                set_condition(facts, "Ready", false, "FellBack", message, now);
            }
        }
        let reason = if said.alarm { "Expected" } else { "NotExpected" };
        set_condition(facts, "Alarm", said.alarm, reason, said.reason.clone(), now);
    });
    noted.await.map(drop)
}

/// Names a further decision in the policy's status.
pub(super) async fn named(state: &Arc<State>, id: &Id, decision: &str) -> Result<()> {
    let noted = update(state, id, |status, _| {
        if status.decisions.first().is_none_or(|first| first != decision) {
            status.decisions.insert(0, decision.to_owned());
            status.decisions.truncate(NAMED_MAX);
        }
    });
    noted.await.map(drop)
}

/// Says that a policy cannot be run at all.
pub(super) async fn idle(state: &Arc<State>, policy: &Policy, why: &str) -> Result<()> {
    let every = policy.spec.every().map(millis);
    let (id, generation) = (policy.id(), policy.generation());
    let noted = update(state, &id, |status, now| {
        status.observed_generation = generation;
        status.last_run = Some(now);
        status.next_run = every.map(|every| now + every);
        set_condition(&mut status.conditions, "Ready", false, "Idle", why, now);
    });
    noted.await.map(drop)
}

/// Says whether the policy's own sensors answer.
pub(super) async fn sensing(
    state: &Arc<State>,
    policy: &Policy,
    problem: Option<&python::Error>,
) -> Result<()> {
    let known = policy.status.conditions.iter().find(|fact| fact.kind == "Sensing");
    let message = match problem {
        Some(error) => format!("a sensor does not answer: {error}"),
        None => "its sensors answer".to_owned(),
    };
    if known.is_some_and(|fact| fact.message == message) {
        return Ok(());
    }
    let reason = if problem.is_none() { "Answering" } else { "Failed" };
    let id = policy.id();
    let noted = update(state, &id, |status, now| {
        let message = message.clone();
        set_condition(&mut status.conditions, "Sensing", problem.is_none(), reason, message, now);
    });
    noted.await.map(drop)
}

/// Says how the last action went.
pub(super) async fn acted(state: &Arc<State>, id: &Id, problem: Option<String>) -> Result<()> {
    let noted = update(state, id, |status, now| {
        let facts = &mut status.conditions;
        match &problem {
            None => set_condition(facts, "Acting", true, "Done", "its last action went well", now),
            Some(why) => set_condition(facts, "Acting", false, "Failed", why.clone(), now),
        }
    });
    noted.await.map(drop)
}

/// What an agent said, in short.
pub(super) fn said(agent: &Agent, gathered: &Gathered, advice: &Advice) -> Said {
    let go = advice.verdict.go.and_then(|at| gathered.places.get(at + 1));
    Said {
        go: go.map(|place| place.site.clone()),
        alarm: advice.verdict.alarm,
        reason: advice.reason_held(),
        fallback: advice.fallback.clone(),
        prediction: Some(prediction(agent, gathered, advice)).filter(|said| !said.is_null()),
    }
}

/// A decision with everything that it was taken on.
pub(super) fn decision(
    policy: &Policy,
    service_uid: &str,
    (agent, gathered, advice): (&Agent, &Gathered, &Advice),
    action: &str,
    why: &str,
) -> DecisionSpec {
    let said = said(agent, gathered, advice);
    let reasons = gathered.ask(|situation| agent.reasons(situation.moment));
    let sites =
        gathered.places.iter().map(|at| (at.site.clone(), summary(&at.samples, agent.sla_ms())));
    let inputs = json!({
        "trigger": why,
        "model": agent.spec().model,
        "python": policy.spec.python.as_ref().map(digest),
        "slaMs": agent.sla_ms(),
        "service": service_uid,
        "measured": sites.collect::<serde_json::Map<_, _>>(),
        "reasons": reasons,
        "fallback": advice.fallback,
        "held": advice.held,
        "euroPerDay": euros(agent, gathered),
    });
    DecisionSpec {
        action: action.into(),
        subject: format!("service/{}", policy.spec.service),
        by: format!("policy/{}", policy.resource.metadata.name),
        reason: said.reason,
        inputs,
        alternatives: alternatives(gathered, advice),
        prediction: prediction(agent, gathered, advice),
        at: gathered.now_ms,
    }
}

/// Which functions took part: the digest of their file.
fn digest(python: &api::policy::Python) -> Value {
    let source = python.source.as_deref().unwrap_or_default();
    let digest = types::Digest::from_sha256(Sha256::digest(source).into());
    json!(format!("{}@{digest}", python.file))
}

/// The mean latency of the last five minutes and how much of them broke the level; null if nothing
/// was measured.
pub(super) fn summary(samples: &[Sample], sla_ms: f64) -> Value {
    let last = &samples[samples.len().saturating_sub(LATELY)..];
    let known: Vec<f64> = last.iter().filter_map(|sample| sample.latency_ms).collect();
    if known.is_empty() {
        return Value::Null;
    }
    let broken = last.iter().filter(|sample| sample.breaks(sla_ms)).count();
    json!({
        "latencyMs": round(known.iter().sum::<f64>() / known.len() as f64),
        "brokenShare": round(broken as f64 / last.len() as f64),
    })
}

/// Euro for a day at each place, if it goes on there as in the last five minutes.
fn euros(agent: &Agent, gathered: &Gathered) -> Value {
    let prices = agent.prices();
    let one = |at: &At| {
        let last = &at.samples[at.samples.len().saturating_sub(LATELY)..];
        let known = last.iter().filter(|sample| sample.latency_ms.is_some());
        let each: Vec<f64> =
            known.map(|sample| prices.penalty(sample.latency_ms, agent.sla_ms())).collect();
        let penalty = each.iter().sum::<f64>() / each.len().max(1) as f64;
        let second = prices.second(!at.edge) + prices.control_hour / 3600.0 + penalty;
        (at.site.clone(), json!(round(second * 86_400.0)))
    };
    let mut euros: serde_json::Map<_, _> = gathered.places.iter().map(one).collect();
    let moving = gathered.places.iter().map(|at| prices.second(!at.edge) * f64::from(MOVE_S));
    euros.insert("move".into(), json!(moving.fold(0.0, f64::max)));
    Value::Object(euros)
}

fn alternatives(gathered: &Gathered, advice: &Advice) -> Vec<Alternative> {
    let tell = |said: Option<Prediction>| match said {
        Some(Prediction { value, low, high }) => {
            format!("{} ({} to {})", round(value), round(low), round(high))
        }
        None => "not known".to_owned(),
    };
    let unit = match advice.load {
        Load::Broken => "share of broken time",
        Load::Latency => "latency in ms",
        Load::Cpu => "processors in use",
        Load::Requests => "requests each second",
    };
    let one = |option: &learning::agent::Choice| {
        let site = gathered.places.get(option.place + 1)?.site.clone();
        let (there, here) = (tell(option.there), tell(option.here));
        let score = option.preferred.filter(|_| option.fits).map(|value| -value);
        Some(Alternative {
            name: site,
            score,
            reason: format!("{unit}: forecast {there}, {here} where it is"),
        })
    };
    advice.options.iter().filter_map(one).collect()
}

/// What is expected, in the form that its truth is later compared with.
fn prediction(agent: &Agent, gathered: &Gathered, advice: &Advice) -> Value {
    let Some((from_s, to_s)) = advice.ahead else { return Value::Null };
    let best = advice.verdict.go.or_else(|| advice.options.first().map(|option| option.place));
    let Some(option) = advice.options.iter().find(|option| Some(option.place) == best) else {
        return Value::Null;
    };
    let Some(here) = gathered.places.first() else { return Value::Null };
    let there = gathered.places.get(option.place + 1).map(|place| place.site.clone());
    let requests = gathered.ask(|situation| agent.requests(situation.moment));
    let followed = gathered.followed.as_ref().and_then(|followed| followed.as_ref().ok());
    let foretold = Foretold {
        figure: advice.load,
        sla_ms: agent.sla_ms(),
        from_s: from_s.into(),
        to_s: to_s.into(),
        at: here.site.clone(),
        here: option.here,
        to: there,
        there: option.there,
        requests,
        next: followed.and_then(|followed| followed.next.clone()),
    };
    serde_json::to_value(foretold).unwrap_or_default()
}

pub(super) fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// Stores a decision of which nothing is to be waited for but its truth.
pub(super) async fn store(
    state: &Arc<State>,
    tenant: &str,
    spec: &DecisionSpec,
    outcome: &str,
    observed: Value,
) -> Result<Resource> {
    let decision = decisions::new(state, tenant, spec);
    let decision = decisions::ended(state, decision, outcome, observed);
    let mut batch = Batch::new();
    decisions::add(state, &mut batch, decision.clone());
    state.commit(batch).await?;
    Ok(decision)
}
