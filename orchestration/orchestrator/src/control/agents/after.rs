//! What really happened after a decision, beside what was forecast.

use super::{course, record::round};
use crate::{
    control::{
        Result, apply,
        batch::{Batch, RESOURCES},
        cache::{Id, read_resource},
        decisions,
        state::{State, items},
    },
    measured::STEP_S,
};
use api::{
    Kind, Resource,
    decision::{DecisionSpec, DecisionStatus},
    policy::Moved,
};
use learning::{
    Prediction, Sample,
    agent::{Foretold, Load, NextSite},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::{Arc, PoisonError};

/// Points of the curve that is kept with a decision.
const POINTS_MAX: usize = 60;
/// What the curve shows of the time before the decision.
const BEFORE_S: u64 = 600;
/// A migration that has not ended is looked at again after so long, at most for so long.
const AGAIN_MS: u64 = 10_000;
const PATIENCE_MS: u64 = 600_000;
/// Decisions whose truth is waited for; more are not compared.
const OPEN_MAX: usize = 10_000;
/// What vehicles tell of where they were takes so long to be heard.
const HEARD_MS: u64 = 3000;

/// A decision whose truth is to come.
#[derive(Debug, Clone)]
pub(super) struct Open {
    id: Id,
    due_ms: u64,
}

/// What was measured at a place in the time that was forecast.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Truth {
    site: String,
    /// The figure that was forecast.
    value: f64,
    broken_share: f64,
    latency_ms: Option<f64>,
    /// Whether the forecast's interval held it.
    #[serde(skip_serializing_if = "Option::is_none")]
    within: Option<bool>,
}

/// Waits for the truth of a decision.
pub(super) fn open(state: &State, decision: &Resource) {
    let Some(open) = due(decision) else { return };
    let mut all = state.agents.open.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(all) = all.as_mut().filter(|all| all.len() < OPEN_MAX) {
        all.push(open);
    }
}

/// When what a policy's decision has forecast is over; nothing if it forecast nothing, or the
/// truth is known.
fn due(decision: &Resource) -> Option<Open> {
    let spec: DecisionSpec = decision.spec().ok()?;
    let forecast = Foretold::deserialize(&spec.prediction).ok()?;
    let status: DecisionStatus = decision.status();
    if !spec.by.starts_with("policy/") || status.observed.get("after").is_some() {
        return None;
    }
    Some(Open { id: Id::of(decision), due_ms: end_ms(&spec, &forecast) })
}

/// When all that was forecast is over, and was heard of.
fn end_ms(spec: &DecisionSpec, forecast: &Foretold) -> u64 {
    let next = forecast.next.as_ref();
    let told_ms = next.map_or(0, |next| then_ms(spec, next).saturating_add(HEARD_MS));
    spec.at.saturating_add(forecast.to_s.saturating_mul(1000)).max(told_ms)
}

/// The moment of which it was said which site would be the nearest.
fn then_ms(spec: &DecisionSpec, next: &NextSite) -> u64 {
    spec.at.saturating_add((next.ahead_s * 1000.0) as u64)
}

/// Compares what is due; after a start first finds what an earlier process has left open.
pub(super) async fn close_due(state: &Arc<State>) -> Result<()> {
    let known = state.agents.open.lock().unwrap_or_else(PoisonError::into_inner).is_some();
    if !known {
        let mut open = Vec::new();
        for item in items(&*state.store, &format!("{RESOURCES}decision/")).await? {
            // One that cannot be read keeps no others from their truth.
            open.extend(read_resource(&item).ok().as_ref().and_then(due));
        }
        open.truncate(OPEN_MAX);
        *state.agents.open.lock().unwrap_or_else(PoisonError::into_inner) = Some(open);
    }
    let now_ms = state.wall_ms();
    let ready: Vec<Open> = {
        let mut all = state.agents.open.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(all) = all.as_mut() else { return Ok(()) };
        let (ready, later) = std::mem::take(all).into_iter().partition(|one| one.due_ms <= now_ms);
        *all = later;
        ready
    };
    for one in ready {
        let closed = close(state, &one, now_ms).await.unwrap_or_else(|error| {
            let error = types::chain(&error);
            tracing::warn!(decision = %one.id, error, "what became of a decision was not noted");
            // What cannot be noted for so long never can.
            now_ms > one.due_ms + PATIENCE_MS
        });
        if !closed {
            let mut all = state.agents.open.lock().unwrap_or_else(PoisonError::into_inner);
            let again = Open { due_ms: now_ms + AGAIN_MS, ..one };
            all.get_or_insert_default().push(again);
        }
    }
    Ok(())
}

/// Adds the truth to a decision; false if it is too early.
async fn close(state: &Arc<State>, open: &Open, now_ms: u64) -> Result<bool> {
    let Some(decision) = apply::load(state, Kind::Decision, &open.id).await? else {
        return Ok(true);
    };
    let (spec, mut status): (DecisionSpec, DecisionStatus) = (decision.spec()?, decision.status());
    let Ok(forecast) = Foretold::deserialize(&spec.prediction) else { return Ok(true) };
    let end_ms = end_ms(&spec, &forecast);
    if status.outcome == decisions::PENDING && now_ms < end_ms + PATIENCE_MS {
        return Ok(false);
    }
    let mut after = compare(state, (&open.id, &spec), &status, &forecast, now_ms);
    if let Some(next) = &forecast.next {
        let found = then(state, (&open.id, &spec), &forecast, next).await?;
        let heard_ms =
            policy_of(&open.id, &spec).map_or(0, |policy| course::heard_of_ms(state, &policy));
        // A vehicle that tells seldom where it is has yet to say where it was.
        if found.is_null() && now_ms < then_ms(&spec, next).saturating_add(heard_ms) {
            return Ok(false);
        }
        after["next"] = found;
    }
    if !status.observed.is_object() {
        status.observed = json!({});
    }
    status.observed["after"] = after;
    let mut decision = decision;
    decision.set_status(&status);
    let mut batch = Batch::new();
    batch.put(decision);
    match state.commit(batch).await {
        Err(crate::control::Error::Raced) => Ok(false),
        done => done.map(|_| true),
    }
}

/// Which site was the nearest in truth; nothing where that was not told.
async fn then(
    state: &Arc<State>,
    (decision, spec): (&Id, &DecisionSpec),
    forecast: &Foretold,
    next: &NextSite,
) -> Result<Value> {
    let Some(policy) = policy_of(decision, spec) else { return Ok(Value::Null) };
    let asked = state.clone();
    let others = spec.alternatives.iter().map(|other| other.name.clone());
    let sites: Vec<String> = std::iter::once(forecast.at.clone()).chain(others).collect();
    let at_ms = then_ms(spec, next);
    let site = super::apart(move || {
        let sites: Vec<&str> = sites.iter().map(String::as_str).collect();
        course::nearest_then(&asked, &policy, &sites, at_ms)
    });
    Ok(match site.await? {
        Some(site) => json!({"site": site, "right": site == next.site}),
        None => Value::Null,
    })
}

/// The policy that decided.
fn policy_of(decision: &Id, spec: &DecisionSpec) -> Option<Id> {
    Some(Id::new(&decision.tenant, spec.by.strip_prefix("policy/")?))
}

fn compare(
    state: &State,
    (decision, spec): (&Id, &DecisionSpec),
    status: &DecisionStatus,
    forecast: &Foretold,
    now_ms: u64,
) -> Value {
    let uid = spec.inputs.get("service").and_then(Value::as_str).unwrap_or_default();
    let measured = state.agents.measured();
    let samples = |site: &str| measured.samples(uid, site, now_ms);
    let ahead = (spec.at + forecast.from_s * 1000, spec.at + forecast.to_s * 1000);
    let (at, moved) =
        (samples(&forecast.at), spec.action == "migrate" && status.outcome == decisions::DONE);
    // What was forecast ends where somebody else moves the service.
    let elsewhere = moved_on(&moves(state, decision, spec), spec, forecast, moved);
    let ahead = (ahead.0, elsewhere.unwrap_or(ahead.1).min(ahead.1));
    let said = |said: Option<Prediction>| said.filter(|_| elsewhere.is_none());
    let mut truths = Vec::new();
    // Of where it was nothing is known once it has left; of where it went, from when it was there.
    if !moved {
        truths.extend(truth(
            &forecast.at,
            window(&at, now_ms, ahead),
            forecast,
            said(forecast.here),
        ));
    }
    let to = forecast.to.as_ref().map(|site| (site, samples(site)));
    if let Some((site, there)) = &to {
        let since = status.ended.filter(|_| moved).unwrap_or_default().max(ahead.0);
        let there = window(there, now_ms, (since, ahead.1));
        truths.extend(truth(site, there, forecast, said(forecast.there)));
    }
    let before = (spec.at.saturating_sub(BEFORE_S * 1000), spec.at);
    let mut curve = window(&at, now_ms, before).to_vec();
    let then = match &to {
        Some((_, there)) if moved => window(there, now_ms, (spec.at, ahead.1)),
        _ => window(&at, now_ms, (spec.at, ahead.1)),
    };
    let decided = curve.len();
    curve.extend(then);
    let each = curve.len().div_ceil(POINTS_MAX).max(1);
    json!({
        "truth": truths,
        "latencyMs": curve.chunks(each).map(mean).collect::<Vec<_>>(),
        "stepS": each * STEP_S as usize,
        "decidedAt": decided / each,
        "movedOnS": elsewhere.map(|at| at.saturating_sub(spec.at) / 1000),
    })
}

/// Where the service was moved, as the policy of a decision remembers it.
fn moves(state: &State, decision: &Id, spec: &DecisionSpec) -> Vec<Moved> {
    let Some(name) = spec.by.strip_prefix("policy/") else { return Vec::new() };
    let id = Id::new(&decision.tenant, name);
    let known =
        |policy: &std::sync::Arc<crate::control::cache::Policy>| policy.status.moves.clone();
    state.cache(|cache| cache.policies.get(&id).map(known)).unwrap_or_default()
}

/// When somebody else moved the service within the time that was forecast, if so.
fn moved_on(moves: &[Moved], spec: &DecisionSpec, forecast: &Foretold, own: bool) -> Option<u64> {
    let end = spec.at.saturating_add(forecast.to_s.saturating_mul(1000));
    let mut within: Vec<&Moved> =
        moves.iter().filter(|moved| spec.at < moved.at && moved.at <= end).collect();
    within.sort_by_key(|moved| moved.at);
    // The first is the decision's own.
    let own = usize::from(own && within.first().is_some_and(|first| first.from == forecast.at));
    within.get(own).map(|moved| moved.at)
}

/// The samples of a stretch of time; `samples` ends with the step that it is now.
fn window(samples: &[Sample], now_ms: u64, (from_ms, to_ms): (u64, u64)) -> &[Sample] {
    let step_ms = u64::from(STEP_S) * 1000;
    let place = |at_ms: u64| {
        let back = (now_ms / step_ms).saturating_sub(at_ms / step_ms);
        let back = usize::try_from(back).unwrap_or(usize::MAX).saturating_add(1);
        samples.len().saturating_sub(back)
    };
    let (from, to) = (place(from_ms), place(to_ms));
    &samples[from.min(to)..to]
}

/// Nothing if nothing was measured there.
fn truth(
    site: &str,
    samples: &[Sample],
    forecast: &Foretold,
    said: Option<Prediction>,
) -> Option<Truth> {
    let known = |sample: &Sample| match forecast.figure {
        Load::Cpu => sample.cpu.is_some(),
        Load::Requests => sample.requests.is_some(),
        Load::Latency | Load::Broken => !sample.stalled(),
    };
    if !samples.iter().any(known) {
        return None;
    }
    let broken = samples.iter().filter(|sample| sample.breaks(forecast.sla_ms)).count();
    let broken_share = broken as f64 / samples.len() as f64;
    let known = || samples.iter().filter_map(|sample| sample.latency_ms);
    let value = match forecast.figure {
        Load::Broken => broken_share,
        Load::Latency => known().fold(f64::NAN, f64::max),
        Load::Cpu => average(samples.iter().filter_map(|sample| sample.cpu)),
        Load::Requests => average(samples.iter().filter_map(|sample| sample.requests)),
    };
    let within = said.map(|said| (said.low..=said.high).contains(&value));
    Some(Truth {
        site: site.to_owned(),
        value: round(value),
        broken_share: round(broken_share),
        latency_ms: mean(samples),
        within,
    })
}

/// Not a number if there is nothing.
fn average(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0_u32), |(sum, count), value| (sum + value, count + 1));
    sum / f64::from(count)
}

fn mean(samples: &[Sample]) -> Option<f64> {
    let known: Vec<f64> = samples.iter().filter_map(|sample| sample.latency_ms).collect();
    (!known.is_empty()).then(|| round(known.iter().sum::<f64>() / known.len() as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forecast_ends_where_somebody_else_moves_the_service() {
        let forecast: Foretold = serde_json::from_value(json!({
            "figure": "broken", "slaMs": 100.0, "fromS": 5, "toS": 60, "at": "edge", "to": "cloud",
        }))
        .unwrap();
        let spec = DecisionSpec {
            action: "migrate".into(),
            subject: "service/a".into(),
            by: "policy/qos".into(),
            reason: String::new(),
            inputs: Value::Null,
            alternatives: Vec::new(),
            prediction: Value::Null,
            at: 100_000,
        };
        let moved = |at: u64, from: &str| Moved { at, from: from.into() };
        let on = |moves: &[Moved], own| moved_on(moves, &spec, &forecast, own);

        assert_eq!(on(&[moved(103_000, "edge"), moved(90_000, "cloud")], true), None);
        assert_eq!(on(&[moved(120_000, "cloud"), moved(103_000, "edge")], true), Some(120_000));
        assert_eq!(on(&[moved(130_000, "edge")], false), Some(130_000));
        assert_eq!(on(&[moved(161_000, "edge")], false), None, "later");
    }

    #[test]
    fn a_stretch_of_time_is_cut_out_of_the_samples() {
        let samples: Vec<Sample> = (0..10)
            .map(|at| Sample { latency_ms: Some(f64::from(at)), ..Sample::default() })
            .collect();
        // The last sample is of the step that began at 100 s.
        let cut = |from_s: u64, to_s: u64| {
            let cut = window(&samples, 102_000, (from_s * 1000, to_s * 1000));
            (cut.len(), mean(cut))
        };

        assert_eq!(cut(90, 100), (2, Some(7.5)));
        assert_eq!(cut(0, 60), (1, Some(0.0)));
        assert_eq!(cut(200, 300), (0, None));
        assert_eq!(cut(300, 200).0, 0);
    }
}
