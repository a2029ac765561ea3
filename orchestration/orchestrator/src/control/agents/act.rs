//! One run of a policy, and what comes of it.

use super::{Seen, after, apart, deeds, note_moves, record, scale, service_of, situation};
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
use learning::agent::Advice;
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
    let _turn = state.agents.turn(id).await;
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
    // A model may be a function that takes its time.
    let asked = agent.clone();
    let (gathered, mut advice) = apart(move || {
        let advice = gathered.advise(&asked);
        (gathered, advice)
    })
    .await?;
    if advice.verdict.go.is_some() && rests(state, id) {
        advice.verdict.go = None;
        advice.held = Some("its last moves failed: it rests".to_owned());
    }
    let (of, uid, why) = (policy.clone(), service.uid().to_owned(), why.to_owned());
    // What is recorded asks the model again.
    let (said, spec, advice) = apart(move || {
        let said = record::said(&agent, &gathered, &advice);
        let asked = (&*agent, &gathered, &advice);
        let spec = record::decision(&of, &uid, asked, action(&of, &advice), &why);
        (said, spec, advice)
    })
    .await?;
    let decision = carry_out(state, &policy, &said, &advice, spec.clone()).await?;
    if let Some(name) = &decision
        && !policy.spec.dry_run
    {
        deeds::begin(state, &policy, &spec, &said, name);
    }
    scale::follow(state, &policy, &service, &advice, &spec).await?;
    record::note(state, &policy, &said, decision.as_deref()).await?;
    Ok(Ran { said, spec: Some(spec), decision })
}

/// Whether it moves nothing for a while, because its moves fail.
fn rests(state: &State, id: &Id) -> bool {
    let now_ms = state.wall_ms();
    state.agents.seen(id, |seen| seen.rests(now_ms))
}

impl Seen {
    /// Notes how a move ended: one that failed is tried again a few times, then nothing is moved
    /// for a while.
    fn moved(&mut self, well: bool, now_ms: u64) {
        match well {
            true => (self.retries, self.retry_ms, self.rests_ms) = (0, None, None),
            false if self.retries < RETRIES_MAX => {
                self.retries += 1;
                self.retry_ms = Some(now_ms + RETRY_MS);
            }
            false => {
                (self.retries, self.retry_ms) = (0, None);
                self.rests_ms = Some(now_ms + REST_MS);
            }
        }
    }

    fn rests(&mut self, now_ms: u64) -> bool {
        self.rests_ms.take_if(|until| *until <= now_ms).is_none() && self.rests_ms.is_some()
    }
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
    state.agents.seen(id, |seen| seen.moved(problem.is_none(), now_ms));
    if let Err(error) = record::acted(state, id, problem).await {
        // Its decision says it, too.
        warn!(policy = %id, error = types::chain(&error), "how an action went was not noted");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_rests_after_failed_moves() {
        let mut seen = Seen::default();

        for tried in 1..=RETRIES_MAX {
            seen.moved(false, 1000);
            assert_eq!((seen.retries, seen.retry_ms), (tried, Some(1000 + RETRY_MS)));
            assert!(!seen.rests(1000), "it tries again");
        }
        seen.moved(false, 2000);
        assert_eq!(seen.retry_ms, None);
        assert!(seen.rests(2000) && seen.rests(2000 + REST_MS - 1));
        assert!(!seen.rests(2000 + REST_MS));

        seen.moved(false, 3000);
        seen.moved(true, 3000);
        assert_eq!((seen.retries, seen.retry_ms, seen.rests_ms), (0, None, None));
    }
}
