//! The training of a model that no longer fits: on a thread of its own, behind all else, within the memory and the
//! number of moments that it may take.

use super::{Error, Production, id, named, refused, store, told, update_with, watching};
use crate::control::{
    Result, apply,
    cache::{Id, Model},
    decisions,
    state::State,
    status::set_condition,
};
use api::{
    DEFAULT_TENANT, Kind, Resource,
    decision::{DecisionSpec, DecisionStatus},
    model::{Drifted, ModelStatus, Retrain, Trained},
};
use learning::catalog::{Gate, MARGIN, Made, Record, Renewal, Stage};
use serde_json::json;
use std::{
    ops::ControlFlow,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;
use tracing::{info, warn};
use types::ErrorKind;

/// How much less a training may have than what else runs: 0 is as much, 19 next to nothing.
const NICE: i32 = 15;
/// After trainings in vain the pause doubles so often at most.
const DOUBLINGS_MAX: u32 = 5;
/// Who decides all that is about models.
const BY: &str = "monitor";
/// What came of a training that the process did not live to end.
const INTERRUPTED: &str = "interrupted: the control plane was stopped before it ended";

/// What is to be trained anew, and why.
#[derive(Debug, Clone)]
struct Wish {
    model: Arc<Model>,
    production: Arc<Production>,
    service: Id,
    /// The first and the last drift of this version.
    drifts: [Drifted; 2],
}

impl Wish {
    fn name(&self) -> &str {
        &self.model.resource.metadata.name
    }

    fn renewal(&self) -> Renewal<'_> {
        Renewal {
            record: &self.production.record,
            model: &self.production.model,
            since_s: i64::try_from(self.drifts[0].at / 1000).unwrap_or(i64::MAX),
            because: self.drifts[1].message.clone(),
            memory_max: self.model.spec.memory_max.0,
        }
    }
}

/// Begins a training if it is time for one and none is under way.
pub(super) fn consider(state: &Arc<State>, name: &str) {
    let Some(wish) = due(state, name) else { return };
    let Ok(turn) = state.models.training.clone().try_lock_owned() else { return };
    let state = state.clone();
    state.clone().tasks.spawn(async move {
        let trained = tokio::select! {
            trained = train(&state, &wish) => trained,
            () = state.stop.cancelled() => return,
        };
        if let Err(error) = trained {
            warn!(
                model = wish.name(),
                error = types::chain(&error),
                "what came of a training was not noted"
            );
        }
        drop(turn);
    });
}

/// What is to be trained now, if anything is.
fn due(state: &State, name: &str) -> Option<Wish> {
    let model = state.cache(|cache| cache.models.get(name).cloned())?;
    let now_ms = state.wall_ms();
    let last = watching::minded(&model.status, now_ms)?;
    if model.spec.retrain == Retrain::Off || rests(&model, now_ms) {
        return None;
    }
    let own = model.status.drifts.iter().filter(|one| one.version == last.version);
    let first = own.filter(|one| one.service == last.service).min_by_key(|one| one.at)?.clone();
    let (tenant, service) = last.service.split_once('/')?;
    let service = Id::new(tenant, service);
    let production = state.models.production(name).ok()?;
    if production.record.id != last.version {
        return None;
    }
    let wish = Wish { model, production, service, drifts: [first, last] };
    let ready_s = wish.renewal().since_s + wish.renewal().wait_s();
    (u64::try_from(ready_s).ok()?.saturating_mul(1000) <= now_ms).then_some(wish)
}

/// Whether the last training was a short time ago; the more were in vain, the longer that is.
fn rests(model: &Model, now_ms: u64) -> bool {
    let Some(last) = &model.status.trained else { return false };
    let pause = model.spec.pause.0.saturating_mul(1 << last.in_vain.min(DOUBLINGS_MAX));
    let until = last.at.saturating_add(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
    now_ms < until
}

/// Stores the decision together with the note that a training began and, so far, nothing came of it. Where the
/// training kills the process, the pause is kept all the same, and the longer the more often that happens.
async fn begin(state: &Arc<State>, name: &str, spec: &DecisionSpec) -> Result<Resource> {
    let decision = decisions::new(state, DEFAULT_TENANT, spec);
    update_with(state, name, Some(&decision), |status, _| {
        let before = status.trained.as_ref().map_or(0, |trained| trained.in_vain);
        status.trained = Some(Trained {
            at: spec.at,
            in_vain: before.saturating_add(1),
            message: "it is under way".into(),
            ..Trained::default()
        });
        named(status, &decision.metadata.name);
    })
    .await?;
    let id = Id::new(DEFAULT_TENANT, &decision.metadata.name);
    let stored = apply::load(state, Kind::Decision, &id).await?;
    stored.ok_or_else(|| apply::not_found(Kind::Decision, &id))
}

/// Ends, as failed, what a process before this one began and was not left the time to end.
pub(super) async fn end_interrupted(state: &Arc<State>) -> Result<()> {
    let ours = |id: &&Id| {
        let of = |action: &str| id.name.contains(action);
        id.tenant == DEFAULT_TENANT && (of("-retrain-") || of("-drift-"))
    };
    let ids: Vec<Id> = state.cache(|cache| cache.decisions.keys().filter(ours).cloned().collect());
    for id in ids {
        let Some(decision) = apply::load(state, Kind::Decision, &id).await? else { continue };
        let pending = decision.status::<DecisionStatus>().outcome == decisions::PENDING;
        let Ok(spec) = decision.spec::<DecisionSpec>() else { continue };
        if pending && spec.by == BY {
            interrupted(state, decision, &spec).await?;
        }
    }
    Ok(())
}

async fn interrupted(state: &Arc<State>, decision: Resource, spec: &DecisionSpec) -> Result<()> {
    let decision = decisions::ended(state, decision, "failed", json!({"error": INTERRUPTED}));
    let name = spec.subject.strip_prefix("model/").unwrap_or_default();
    if !state.cache(|cache| cache.models.contains_key(name)) {
        return store(state, decision).await.map(drop);
    }
    let note = |status: &mut ModelStatus, now: u64| {
        let under_way = |trained: &&mut Trained| trained.at == spec.at && spec.action == "retrain";
        if let Some(trained) = status.trained.as_mut().filter(under_way) {
            trained.message = INTERRUPTED.into();
            set_condition(&mut status.conditions, "Retrained", false, "Failed", INTERRUPTED, now);
        }
    };
    update_with(state, name, Some(&decision), note).await.map(drop)
}

/// Trains, and notes what came of it as a decision and in the model's status.
async fn train(state: &Arc<State>, wish: &Wish) -> Result<()> {
    let [_, last] = &wish.drifts;
    let at = state.wall_ms();
    let spec = DecisionSpec {
        action: "retrain".into(),
        subject: format!("model/{}", wish.name()),
        by: BY.into(),
        reason: format!("on `{}`: {}", last.service, last.message),
        inputs: json!({"version": last.version, "service": last.service, "since": wish.drifts[0].at}),
        alternatives: Vec::new(),
        prediction: serde_json::Value::Null,
        at,
    };
    info!(model = wish.name(), reason = spec.reason, "a model is trained anew");
    let decision = begin(state, wish.name(), &spec).await?;
    let came = aside(state.clone(), wish.clone()).await;
    let before = wish.model.status.trained.as_ref().map_or(0, |trained| trained.in_vain);
    let (trained, outcome, observed) = match came {
        Ok(came) => {
            let observed = json!({
                "version": came.record.id,
                "promoted": came.promoted,
                "rmse": came.errors[0],
                "before": came.errors[1],
                "rows": came.record.made.rows,
                "seconds": came.record.made.seconds,
            });
            let trained = Trained {
                at,
                version: Some(came.record.id),
                promoted: came.promoted,
                in_vain: if came.promoted { 0 } else { before.saturating_add(1) },
                message: came.message,
            };
            (trained, decisions::DONE, observed)
        }
        Err(why) => {
            let observed = json!({"error": why});
            let in_vain = before.saturating_add(1);
            (Trained { at, in_vain, message: why, ..Trained::default() }, "failed", observed)
        }
    };
    let name = decision.metadata.name.clone();
    let decision = decisions::ended(state, decision, outcome, observed);
    update_with(state, wish.name(), Some(&decision), |status, now| {
        let (good, message) = (trained.version.is_some(), trained.message.as_str());
        let reason = match (good, trained.promoted) {
            (_, true) => "Promoted",
            (true, false) => "Candidate",
            (false, false) => "Failed",
        };
        set_condition(&mut status.conditions, "Retrained", good, reason, message, now);
        status.trained = Some(trained.clone());
        named(status, &name);
    })
    .await?;
    super::mirror::round(state).await
}

/// What came of a training.
#[derive(Debug)]
struct Came {
    record: Record,
    promoted: bool,
    /// Root mean square errors on what neither had seen: the candidate's, and that of the one in production.
    errors: [f64; 2],
    message: String,
}

/// Trains on a thread of its own that lets others go first.
async fn aside(state: Arc<State>, wish: Wish) -> std::result::Result<Came, String> {
    let (done, came) = oneshot::channel();
    let thread = std::thread::Builder::new().name("train".into()).spawn(move || {
        // Without the right to it the training goes on as others do.
        let _ = rustix::process::nice(NICE);
        let _ = done.send(train_now(&state, &wish).map_err(|error| types::chain(&error)));
    });
    thread.map_err(|error| format!("there is no thread to train on: {error}"))?;
    came.await.unwrap_or_else(|_| Err("the training ended without a word".into()))
}

fn train_now(state: &State, wish: &Wish) -> Result<Came> {
    let started = Instant::now();
    let now_s = i64::try_from(state.wall_ms() / 1000).unwrap_or(i64::MAX);
    let learn_from_s = i64::try_from(wish.model.spec.learn_from.0.as_secs()).unwrap_or(i64::MAX);
    let span = (now_s.saturating_sub(learn_from_s), now_s);
    let recorded = told::recorded(&state.telemetry.store(), &wish.service, span);
    let recorded = recorded.map_err(|error| refused(&error))?.ok_or_else(|| {
        Error::refuse(ErrorKind::NotFound, "nothing is left of what was measured of the service")
    })?;
    let go_on = |_| ControlFlow::Continue(());
    let (mut draft, gate) =
        wish.renewal().train(recorded, &go_on).map_err(|error| refused(&error))?;
    note(&mut draft.record.made, now_s, started.elapsed());
    let catalog = &state.models.catalog;
    let record = catalog.add_draft(draft).map_err(|error| refused(&error))?;
    forget_others(state, wish.name(), record.id);
    let Gate::Tested { candidate, current, against, .. } = gate else {
        return Err(Error::refuse(ErrorKind::Internal, "a training without a test"));
    };
    let figures = format!(
        "version {} is off by {candidate:.4} on what neither has seen, version {against} by {current:.4}",
        record.id
    );
    let (promoted, message) = match wish.model.spec.retrain {
        Retrain::Promote => match catalog.promote(wish.name(), record.id, &gate) {
            Ok(_) => (true, format!("{figures}: it is in production")),
            Err(error) => {
                (false, format!("{figures}: it stays a candidate, {}", types::chain(&error)))
            }
        },
        // As whoever promotes it by hand is answered.
        Retrain::Candidate | Retrain::Off if candidate <= current * (1.0 + MARGIN) => {
            (false, format!("{figures}: promote it, or declare `retrain: promote`"))
        }
        Retrain::Candidate | Retrain::Off => {
            (false, format!("{figures}: it is worse, and stays a candidate"))
        }
    };
    Ok(Came { record, promoted, errors: [candidate, current], message })
}

fn note(made: &mut Made, at_s: i64, took: Duration) {
    (made.at_s, made.seconds) = (at_s, took.as_secs_f64());
}

/// Of candidates that nobody asked for, the latest is enough.
fn forget_others(state: &State, name: &str, latest: u32) {
    let catalog = &state.models.catalog;
    for version in catalog.versions(name).unwrap_or_default() {
        let made_here =
            |record: &Record| record.stage == Stage::Candidate && !record.made.because.is_empty();
        if version != latest
            && catalog.record(name, version).is_ok_and(|record| made_here(&record))
            && let Err(error) = catalog.remove(name, version)
        {
            warn!(model = %id(name), version, error = types::chain(&error), "an old candidate stays");
        }
    }
}
