//! One run of a policy, and what comes of it.

use super::{after, apart, note_moves, record, service_of, situation, webhook};
use crate::control::{
    Result, apply,
    cache::{Id, Policy, Service},
    decisions,
    migrate::{self, Motive},
    state::State,
};
use api::{
    Kind,
    decision::DecisionSpec,
    policy::{Actuator, Said},
    service::Phase,
};
use learning::agent::{Advice, Agent};
use serde_json::{Value, json};
use std::sync::Arc;
use tracing::{info, warn};

/// An action that failed is tried again so soon, and so often.
const RETRY_MS: u64 = 30_000;
const RETRIES_MAX: u32 = 3;
/// Then it moves nothing for so long.
const REST_MS: u64 = 15 * 60_000;

/// What a run came to.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) said: Said,
    /// What it was taken on; null if the policy could not be asked.
    pub(super) spec: Option<DecisionSpec>,
    /// The decision's name, if it was recorded.
    pub(super) decision: Option<String>,
}

/// Runs a policy now: asks it, does what it says, and writes it down.
pub(super) async fn run(state: &Arc<State>, id: &Id, why: &str) -> Result<Ran> {
    let _turn = state.agents.turn.lock().await;
    let known = || {
        let policy = state.cache(|cache| cache.policies.get(id).cloned());
        policy.ok_or_else(|| apply::not_found(Kind::Policy, id))
    };
    // What its guards count is what happened until now.
    let policy = known()?;
    note_moves(state, &policy, service_of(state, &policy).as_deref()).await?;
    let policy = known()?;
    let (asked, of) = (state.clone(), policy.clone());
    let Some((service, gathered)) = apart(move || subject(&asked, &of)).await? else {
        let why =
            format!("`service/{}` is not ready: there is nothing to decide", policy.spec.service);
        record::idle(state, &policy, &why).await?;
        let said = Said { reason: why, ..Said::default() };
        return Ok(Ran { said, spec: None, decision: None });
    };
    let (asked, of) = (state.clone(), policy.clone());
    let agent = apart(move || asked.agents.agent(&of)).await??;
    let mut advice = gathered.ask(|situation| agent.advise(situation));
    if advice.verdict.go.is_some() && rests(state, id) {
        advice.verdict.go = None;
        advice.held = Some("its last moves failed: it rests".to_owned());
    }
    let said = record::said(&agent, &gathered, &advice);
    let asked = (&*agent, &gathered, &advice);
    let spec = record::decision(&policy, service.uid(), asked, action(&policy, &advice), why);
    let decision = carry_out(state, &policy, &said, &advice, spec.clone()).await?;
    if let Some(name) = &decision
        && !policy.spec.dry_run
    {
        tell(state, &policy, &agent, &spec, &said, name);
    }
    record::note(state, &policy, &said, decision.as_deref()).await?;
    Ok(Ran { said, spec: Some(spec), decision })
}

/// Whether it moves nothing for a while, because its moves fail.
fn rests(state: &State, id: &Id) -> bool {
    let now_ms = state.wall_ms();
    state.agents.seen(id, |seen| {
        seen.rests_ms.take_if(|until| *until <= now_ms).is_none() && seen.rests_ms.is_some()
    })
}

/// The service, if it is where it can be decided about.
fn subject(state: &State, policy: &Policy) -> Option<(Arc<Service>, situation::Gathered)> {
    let service = service_of(state, policy)?;
    if service.deleting() || service.status.phase != Phase::Ready {
        return None;
    }
    let gathered = situation::gather(state, policy, &service)?;
    Some((service, gathered))
}

/// The word for what is done.
fn action(policy: &Policy, advice: &Advice) -> &'static str {
    let moves = policy.spec.actuators.contains(&Actuator::Migrate) && !policy.spec.dry_run;
    match advice.verdict.go {
        Some(_) if moves => "migrate",
        Some(_) => "advise",
        None => "stay",
    }
}

/// Does it and records it; a run that says the same as the one before it leaves no decision, or
/// quiet days would push out what matters.
async fn carry_out(
    state: &Arc<State>,
    policy: &Arc<Policy>,
    said: &Said,
    advice: &Advice,
    spec: DecisionSpec,
) -> Result<Option<String>> {
    if spec.action == "migrate" {
        let to = said.go.clone().unwrap_or_default();
        return migrate(state, policy, &to, spec).await.map(Some);
    }
    let worth = said.go.is_some() || said.alarm || said.fallback.is_some() || advice.held.is_some();
    let before = policy
        .status
        .last
        .as_ref()
        .filter(|_| policy.status.observed_generation == policy.generation());
    let same = before.is_some_and(|last| {
        last.go == said.go && last.alarm == said.alarm && last.fallback == said.fallback
    });
    if !worth || same {
        return Ok(None);
    }
    let observed = if policy.spec.dry_run { json!({"dryRun": true}) } else { json!({}) };
    let tenant = &policy.resource.metadata.tenant;
    let decision = record::store(state, tenant, &spec, decisions::DONE, observed).await?;
    after::open(state, &decision);
    Ok(Some(decision.metadata.name))
}

/// Begins a migration; its decision is the policy's. One that cannot begin is recorded as failed.
async fn migrate(
    state: &Arc<State>,
    policy: &Arc<Policy>,
    to: &str,
    spec: DecisionSpec,
) -> Result<String> {
    let tenant = policy.resource.metadata.tenant.clone();
    let service = Id::new(&tenant, &policy.spec.service);
    match migrate::begin(state, &service, to, Motive::Policy(Box::new(spec.clone()))).await {
        Ok(running) => {
            let decision = running.decision();
            if let Some(decision) = &decision {
                after::open(state, decision);
            }
            info!(policy = %policy.id(), service = %service, to, "a policy moves a service");
            let (state, id) = (state.clone(), policy.id());
            state.clone().tasks.spawn(async move {
                let problem = running.end().await.err().map(|problem| problem.message);
                settle(&state, &id, problem).await;
            });
            Ok(decision.map(|decision| decision.metadata.name).unwrap_or_default())
        }
        Err(error) => {
            let message = types::chain(&error);
            let observed: Value = json!({"error": message});
            let decision = record::store(state, &tenant, &spec, "failed", observed).await?;
            settle(state, &policy.id(), Some(message)).await;
            Ok(decision.metadata.name)
        }
    }
}

/// Notes how an action went; a failure is tried again a few times before the next run.
async fn settle(state: &Arc<State>, id: &Id, problem: Option<String>) {
    let now_ms = state.wall_ms();
    state.agents.seen(id, |seen| match &problem {
        Some(_) if seen.retries < RETRIES_MAX => {
            seen.retries += 1;
            seen.retry_ms = Some(now_ms + RETRY_MS);
        }
        Some(_) => {
            (seen.retries, seen.retry_ms) = (0, None);
            seen.rests_ms = Some(now_ms + REST_MS);
        }
        None => (seen.retries, seen.retry_ms, seen.rests_ms) = (0, None, None),
    });
    if let Err(error) = record::acted(state, id, problem).await {
        // Its decision says it, too.
        warn!(policy = %id, error = types::chain(&error), "how an action went was not noted");
    }
}

/// Tells whoever is to be told, without waiting for them.
fn tell(
    state: &Arc<State>,
    policy: &Policy,
    agent: &Agent,
    spec: &DecisionSpec,
    said: &Said,
    decision: &str,
) {
    for actuator in &policy.spec.actuators {
        match actuator {
            Actuator::Migrate => {}
            Actuator::Notify => {
                info!(policy = %policy.id(), decision, reason = said.reason, "a policy decided");
            }
            Actuator::Webhook(webhook) => {
                let body = json!({
                    "tenant": policy.resource.metadata.tenant,
                    "policy": policy.resource.metadata.name,
                    "subject": spec.subject,
                    "decision": decision,
                    "action": spec.action,
                    "to": said.go,
                    "alarm": said.alarm,
                    "reason": said.reason,
                    "slaMs": agent.sla_ms(),
                    "prediction": spec.prediction,
                    "at": spec.at,
                });
                let (state, webhook, id) = (state.clone(), webhook.clone(), policy.id());
                state.clone().tasks.spawn(async move {
                    let posted = tokio::select! {
                        posted = webhook::post(&webhook, &body) => posted,
                        () = state.stop.cancelled() => return,
                    };
                    if let Err(why) = posted {
                        let message = format!("`{}`: {why}", webhook.url);
                        warn!(policy = %id, message, "a webhook was not heard");
                        // The condition explains only.
                        let _ = record::acted(&state, &id, Some(message)).await;
                    }
                });
            }
        }
    }
}
