//! What a policy's actuators do after a decision, each by itself; what came of it is added to the
//! decision.

use super::{apart, record};
use crate::{
    control::{
        Error, Result, apply,
        batch::Batch,
        cache::{Id, Policy},
        decisions,
        state::State,
    },
    outgoing::{pause, webhook},
    python,
};
use api::{
    Kind,
    decision::{DecisionSpec, DecisionStatus},
    policy::{Actuator, Function, Said, millis},
};
use serde_json::{Value, json};
use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};
use tracing::{info, warn};

/// A function that fails is asked again so often.
const FUNCTION_RETRIES: u32 = 3;
/// Longest text of a deed that is kept.
const TEXT_MAX: usize = 1000;
/// How often it is looked whether a migration has ended, and for how long.
const AGAIN: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(900);
/// How often a write is tried anew when somebody else wrote in between.
const RACES_MAX: usize = 32;

/// Begins what the actuators are to do about a decision, without waiting for them.
pub(super) fn begin(
    state: &Arc<State>,
    policy: &Arc<Policy>,
    spec: &DecisionSpec,
    said: &Said,
    decision: &str,
) {
    let document = document(policy, spec, said, decision);
    for (number, actuator) in policy.spec.actuators.iter().enumerate() {
        let acts = match actuator {
            Actuator::Notify => {
                info!(policy = %policy.id(), decision, reason = said.reason, "a policy decided");
                false
            }
            Actuator::Webhook(_) | Actuator::Python(_) => true,
            Actuator::Nbi(nbi) => said.go.as_ref().is_some_and(|go| nbi.sites.contains_key(go)),
            // A move is its decision's own; the others follow conditions of theirs.
            Actuator::Migrate | Actuator::Scale(_) | Actuator::Store(_) | Actuator::Place(_) => {
                false
            }
        };
        if !acts {
            continue;
        }
        let (state, policy, document) = (state.clone(), policy.clone(), document.clone());
        let decision = Id::new(&policy.resource.metadata.tenant, decision);
        state.clone().tasks.spawn(async move {
            let (begun, deployed) = (Instant::now(), OnceLock::new());
            let acting = act(&state, &policy, number, document, &deployed);
            let deed = tokio::select! {
                deed = acting => deed,
                () = state.stop.cancelled() => match unfinished(&policy, number, &deployed, begun) {
                    Some(deed) => deed,
                    None => return,
                },
            };
            note(&state, &policy, &decision, deed).await;
        });
    }
}

/// What others are told of a decision.
fn document(policy: &Policy, spec: &DecisionSpec, said: &Said, decision: &str) -> Value {
    json!({
        "tenant": policy.resource.metadata.tenant,
        "policy": policy.resource.metadata.name,
        "subject": spec.subject,
        "decision": decision,
        "action": spec.action,
        "to": said.go,
        "alarm": said.alarm,
        "reason": said.reason,
        "slaMs": spec.inputs.get("slaMs"),
        "prediction": spec.prediction,
        "at": spec.at,
    })
}

/// What an actuator did.
struct Deed {
    kind: &'static str,
    to: String,
    came: std::result::Result<Value, String>,
    took: Duration,
}

/// A relocation in the middle of which the control plane stops: the application may be at both
/// places, and whoever reads the decision is to know.
fn unfinished(
    policy: &Policy,
    number: usize,
    deployed: &OnceLock<String>,
    begun: Instant,
) -> Option<Deed> {
    let Actuator::Nbi(other) = &policy.spec.actuators[number] else { return None };
    let name = deployed.get()?;
    let text = format!(
        "unfinished: the control plane stopped while `{name}` was deployed, and where it was it may still be"
    );
    warn!(policy = %policy.id(), text, "a relocation is not finished");
    Some(Deed { kind: "nbi", to: other.url.clone(), came: Err(text), took: begun.elapsed() })
}

async fn act(
    state: &Arc<State>,
    policy: &Arc<Policy>,
    number: usize,
    document: Value,
    deployed: &OnceLock<String>,
) -> Deed {
    let begun = Instant::now();
    let (kind, to, came) = match &policy.spec.actuators[number] {
        Actuator::Webhook(webhook) => {
            let posted = webhook::post(webhook, &document).await;
            ("webhook", webhook.url.clone(), posted.map(|tries| json!({"tries": tries})))
        }
        Actuator::Python(function) => {
            ("python", function.name.clone(), call(state, policy, function, document).await)
        }
        Actuator::Nbi(other) => {
            let to = document["to"].as_str().unwrap_or_default();
            let relocating = state.agents.relocations.relocate(other, to, deployed);
            ("nbi", other.url.clone(), relocating.await)
        }
        Actuator::Migrate
        | Actuator::Notify
        | Actuator::Scale(_)
        | Actuator::Store(_)
        | Actuator::Place(_) => ("none", String::new(), Ok(Value::Null)),
    };
    Deed { kind, to, came, took: begun.elapsed() }
}

/// Calls a function of the policy's Python with the decision; again if it fails.
async fn call(
    state: &Arc<State>,
    policy: &Arc<Policy>,
    function: &Function,
    document: Value,
) -> std::result::Result<Value, String> {
    let worker = state.agents.functions.worker(policy).map_err(|error| types::chain(&error))?;
    let worker = worker.ok_or_else(|| "the policy has no Python".to_owned())?;
    let question = json!({"op": "actuator", "name": function.name, "decision": document});
    let patience = Duration::from_millis(millis(
        policy.spec.python.as_ref().map_or_else(Default::default, |python| python.timeout),
    ));
    let mut tried = 0;
    loop {
        let (worker, question) = (worker.clone(), question.clone());
        let said = apart(move || worker.call(question)).await;
        match said.map_err(|error| types::chain(&error))? {
            Ok(said) => return Ok(json!({"tries": tried + 1, "said": said})),
            Err(error) if tried == FUNCTION_RETRIES => return Err(error.to_string()),
            // Its process is replaced after a rest.
            Err(python::Error::Resting { seconds, .. }) => {
                tokio::time::sleep(Duration::from_secs(seconds).min(patience)).await;
            }
            Err(_) => pause(tried).await,
        }
        tried += 1;
    }
}

/// Adds to the decision what an actuator did, and says so in the policy if it failed.
async fn note(state: &Arc<State>, policy: &Policy, decision: &Id, deed: Deed) {
    let Deed { kind, to, came, took } = deed;
    let mut noted = json!({
        "actuator": kind, "to": to,
        "tookMs": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
    });
    let problem = match &came {
        Ok(detail) => {
            noted["outcome"] = decisions::DONE.into();
            noted["detail"] = shortened(detail);
            None
        }
        Err(why) => {
            let why: String = why.chars().take(TEXT_MAX).collect();
            (noted["outcome"], noted["error"]) = ("failed".into(), why.clone().into());
            Some(format!("{kind} `{to}`: {why}"))
        }
    };
    if let Err(error) = add(state, decision, &noted).await {
        warn!(decision = %decision, error = types::chain(&error), "what an actuator did was not noted");
    }
    if let Some(message) = problem {
        warn!(policy = %policy.id(), message, "an actuator failed");
        // The condition explains only; the decision says it, too.
        let _ = record::acted(state, &policy.id(), Some(message)).await;
    }
}

fn shortened(detail: &Value) -> Value {
    let text = detail.to_string();
    match text.len() <= TEXT_MAX {
        true => detail.clone(),
        false => Value::String(text.chars().take(TEXT_MAX).collect()),
    }
}

/// Adds a deed to a decision as it is stored now; one of a migration that is under way belongs to
/// the migration until that has ended.
async fn add(state: &Arc<State>, decision: &Id, deed: &Value) -> Result<()> {
    let begun = Instant::now();
    let mut races = 0;
    loop {
        let stored = apply::load(state, Kind::Decision, decision).await?;
        // The oldest decisions go by themselves.
        let Some(mut stored) = stored else { return Ok(()) };
        let mut status: DecisionStatus = stored.status();
        if status.outcome == decisions::PENDING && begun.elapsed() < PATIENCE {
            tokio::select! {
                () = tokio::time::sleep(AGAIN) => continue,
                () = state.stop.cancelled() => return Ok(()),
            }
        }
        if !status.observed.is_object() {
            status.observed = json!({});
        }
        match status.observed.get_mut("deeds").and_then(Value::as_array_mut) {
            Some(deeds) => deeds.push(deed.clone()),
            None => status.observed["deeds"] = json!([deed]),
        }
        stored.set_status(&status);
        let mut batch = Batch::new();
        batch.put(stored);
        match state.commit(batch).await {
            Err(Error::Raced) if races < RACES_MAX => races += 1,
            done => return done.map(drop),
        }
    }
}
