//! Models of the catalog as resources, and what becomes of one that no longer fits.

use super::{
    super::{batch::Batch, decisions},
    world::{PATIENCE, World},
};
use ::series::{Labels, NAME, Sample};
use api::{Kind, Resource, decision::DecisionSpec, model::ModelStatus, paths};
use hyper::Method;
use learning::{
    Recorded,
    catalog::{Catalog, Draft, Order, make},
    model::{Method as Kinds, Question, Target},
    recorded::Measurements,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

const STEP_S: i64 = 5;
const HOUR_S: i64 = 3600;

fn now_s() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

/// Waves of twenty minutes with some noise, in milliseconds.
fn latency(time_s: i64) -> f64 {
    let wave = (time_s as f64 / 190.0).sin();
    let noise = (time_s / STEP_S).wrapping_mul(0x9E37_79B9).rem_euclid(1000) as f64 / 100.0;
    80.0 + 30.0 * wave + noise
}

/// A model of what the latency is, trained some days ago.
fn draft(seed: u64) -> Draft {
    let from = now_s() - 100 * HOUR_S;
    let cells = (0..20_000).map(|at| {
        let time_s = from + STEP_S * at;
        (
            time_s,
            learning::Sample { latency_ms: Some(latency(time_s)), ..learning::Sample::default() },
        )
    });
    let measured: Measurements = cells.collect();
    let recorded = Recorded::new(5, BTreeMap::from([("edge".to_owned(), measured)])).unwrap();
    let recorded = recorded.in_steps(10).unwrap();
    let (learn, test) = recorded.trace.split(0.7);
    let order = Order {
        name: "latency".into(),
        method: Kinds::Ridge { penalty: 10.0 },
        question: Question::new(Target::Latency, (0, 120)),
        search: 1,
        seed,
        memory_max: 1 << 30,
        because: String::new(),
    };
    let mut draft =
        make(&order, &learn, &test, &|_, _| true, &|_| ControlFlow::Continue(())).unwrap();
    draft.record.made.at_s = now_s();
    draft
}

fn path() -> String {
    paths::item("default", Kind::Model, "latency")
}

async fn model_when(
    world: &World,
    what: &str,
    holds: impl Fn(&ModelStatus) -> bool,
) -> ModelStatus {
    let begun = Instant::now();
    loop {
        let (code, body) = world.ask(Method::GET, &path(), Value::Null).await;
        let read = serde_json::from_value::<Resource>(body.clone());
        let status = read.map(|resource| resource.status::<ModelStatus>()).unwrap_or_default();
        if code == 200 && holds(&status) {
            return status;
        }
        assert!(begun.elapsed() < 2 * PATIENCE, "not {what}: {body:#}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn versions_are_told_promoted_and_gone_back_from() {
    let world = World::new().await;
    let catalog = Catalog::at(world.models());
    catalog.add_draft(draft(1)).unwrap();
    let mut worse = draft(2);
    worse.record.score.rmse *= 2.0;
    catalog.add_draft(worse).unwrap();
    let status = model_when(&world, "told", |status| status.versions.len() == 2).await;
    let ready = |status: &ModelStatus| {
        status.conditions.iter().any(|fact| fact.kind == "Ready" && fact.status)
    };
    assert!(!ready(&status) && status.production.is_none());
    let brief = &status.versions[1];
    assert_eq!((brief.id, brief.stage.as_str(), brief.kind.as_str()), (1, "candidate", "ridge"));
    assert!(brief.rmse > 0.0 && brief.naive_rmse.unwrap() > brief.rmse && brief.rows > 1000);

    let verb = |verb: &str| paths::verb("default", Kind::Model, "latency", verb);
    let promote = async |version: u32| {
        world.ask(Method::POST, &verb("promote"), json!({"version": version})).await
    };
    let (code, body) = promote(1).await;
    assert_eq!((code, &body["status"]["production"]), (200, &json!(1)), "{body}");
    let (code, body) = promote(2).await;
    assert_eq!(code, 409, "{body}");
    assert!(body["message"].as_str().unwrap().contains("worse by more than"), "{body}");
    let forced = json!({"version": 2, "force": true});
    let (code, body) = world.ask(Method::POST, &verb("promote"), forced).await;
    assert_eq!((code, &body["status"]["versions"][0]["stage"]), (200, &json!("production")));
    let (code, body) = world.ask(Method::POST, &verb("rollback"), Value::Null).await;
    assert_eq!((code, &body["status"]["production"]), (200, &json!(1)), "{body}");
    assert_eq!(promote(7).await.0, 404);

    let (code, version) = world.ask(Method::GET, &verb("versions/v1"), Value::Null).await;
    assert_eq!(code, 200, "{version}");
    let points = version["backTest"]["points"].as_array().unwrap();
    assert!((200..=500).contains(&points.len()) && points[9]["low"].is_number(), "{version}");
    assert!(version["backTest"]["parts"].as_array().unwrap().len() > 5);
    assert_eq!(version["record"]["trained"]["sites"], json!(["edge"]));
    assert!(!version["figures"].as_array().unwrap().is_empty());
    assert_eq!(world.ask(Method::GET, &verb("versions/last"), Value::Null).await.0, 400);
    let site = format!("Bearer {}", world.site_token);
    let given = [("authorization", site.as_str())];
    assert_eq!(world.ask_raw(Method::GET, &verb("versions/1"), &given, Vec::new()).await.0, 403);
    // They belong to no tenant, are kept up to date as is declared, and go with their versions.
    let (_, other) = world.ask(Method::GET, &paths::list("lab", Kind::Model), Value::Null).await;
    assert_eq!(other["items"].as_array().unwrap().len(), 1, "{other}");
    assert_eq!(world.ask(Method::DELETE, &path(), Value::Null).await.0, 403);
    assert_eq!(apply(&world, "latency", json!({"retrain": "promote"})).await, 200);
    assert_eq!(apply(&world, "other", json!({})).await, 404);
    std::fs::remove_dir_all(world.models().join("latency")).unwrap();
    let begun = Instant::now();
    while world.ask(Method::GET, &path(), Value::Null).await.0 != 404 {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn apply(world: &World, name: &str, spec: Value) -> u16 {
    let document = json!({
        "apiVersion": api::API_VERSION, "kind": "Model", "metadata": {"name": name}, "spec": spec,
    });
    world.apply(&document).await.0
}

/// What the control plane would have stored of a service at the edge.
fn happened(world: &World, from_s: i64, to_s: i64, latency_ms: impl Fn(i64) -> f64) {
    let labels = |name: &str| {
        let pairs = [(NAME, name), ("tenant", "default"), ("service", "counter"), ("site", "edge")];
        Labels::new(pairs).unwrap()
    };
    let (stalled, latency) =
        (labels("cloudskin_service_stalled"), labels("cloudskin_service_latency_seconds"));
    let times = (from_s / STEP_S * STEP_S..to_s).step_by(STEP_S as usize);
    let batch: Vec<(Labels, Sample)> = times
        .flat_map(|time_s| {
            let at = |value: f64| Sample::new(1000 * time_s, value);
            [(stalled.clone(), at(0.0)), (latency.clone(), at(latency_ms(time_s) / 1000.0))]
        })
        .collect();
    let stored = world.series().append(&batch, 1000 * now_s()).unwrap();
    assert_eq!(stored.stored as usize, batch.len(), "{stored:?}");
}

/// A model in production that no longer fits what happens, once another one was trained; when what happens changed.
async fn trained_anew(world: &World) -> (ModelStatus, i64) {
    let catalog = Catalog::at(world.models());
    catalog.add_draft(draft(1)).unwrap();
    catalog.promote("latency", 1, &learning::catalog::Gate::Forced).unwrap();
    model_when(world, "told", |status| status.production == Some(1)).await;
    let document = world.document("counter", json!({"placement": {"site": "edge"}})).await;
    assert_eq!(world.apply(&document).await.0, 201);
    let spec = json!({
        "service": "counter", "sla": "100ms", "model": "latency",
        "pipeline": {"load": "latency", "resample": "10s"}, "sensors": [{"event": "siteLost"}],
    });
    let policy = json!({"apiVersion": api::API_VERSION, "kind": "Policy", "metadata": {"name": "qos"}, "spec": spec});
    let (code, body) = world.apply(&policy).await;
    assert_eq!(code, 201, "{body}");

    // All was as before until ten hours ago.
    let now = now_s() / STEP_S * STEP_S;
    let (begin, turn) = (now - 20 * HOUR_S, now - 10 * HOUR_S);
    happened(world, begin, turn, latency);
    let fits = |status: &ModelStatus| {
        status.conditions.iter().any(|fact| fact.kind == "Fits" && fact.status)
    };
    let calm =
        model_when(world, "watched", |status| !status.watched.is_empty() && fits(status)).await;
    assert!(calm.watched[0].moments > 300 && calm.drifts.is_empty(), "{calm:#?}");
    happened(world, turn, now - 60, |time_s| 500.0 - 3.0 * latency(time_s));
    let trained = model_when(world, "trained", |status| {
        let begun = status.trained.as_ref();
        // From its begin on it counts as one in vain: who is killed in it does not begin anew at once.
        assert!(begun.is_none_or(|trained| trained.in_vain == 1), "{begun:?}");
        begun.is_some_and(|trained| trained.version.is_some())
    });
    (trained.await, turn)
}

/// The decision of a training that nobody ends any more, as if the process had died in it; its name.
async fn under_way(world: &World, at: u64) -> String {
    let spec = DecisionSpec {
        action: "retrain".into(),
        subject: "model/latency".into(),
        by: "monitor".into(),
        reason: "a test".into(),
        inputs: Value::Null,
        alternatives: Vec::new(),
        prediction: Value::Null,
        at,
    };
    let (state, mut batch) = (world.state(), Batch::new());
    let decision = decisions::new(&state, "default", &spec);
    let name = decision.metadata.name.clone();
    decisions::add(&state, &mut batch, decision);
    state.commit(batch).await.unwrap();
    name
}

#[tokio::test]
async fn what_was_trained_for_the_user_to_promote_can_be_promoted() {
    let world = World::new().await;
    let (told, _) = trained_anew(&world).await;
    assert!(told.trained.unwrap().message.contains("promote it"));

    let promote = paths::verb("default", Kind::Model, "latency", "promote");
    let (code, body) = world.ask(Method::POST, &promote, json!({"version": 2})).await;

    assert_eq!((code, &body["status"]["production"]), (200, &json!(2)), "{body}");
}

#[tokio::test]
async fn a_change_of_regime_is_told_and_what_learned_it_takes_the_place() {
    let mut world = World::new().await;
    let catalog = Catalog::at(world.models());
    let (told, turn) = trained_anew(&world).await;

    let first = told.drifts.last().unwrap();
    // What was said up to two minutes before looks beyond the turn.
    assert!((turn - 120..turn + 2 * HOUR_S).contains(&((first.at / 1000) as i64)), "{told:#?}");
    assert_eq!((first.version, first.service.as_str()), (1, "default/counter"));
    // Nobody declared that it takes the place by itself.
    let trained = told.trained.as_ref().unwrap();
    assert_eq!((trained.version, trained.promoted), (Some(2), false), "{trained:#?}");
    assert_eq!(catalog.production("latency").unwrap().record.id, 1);
    assert!(!catalog.record("latency", 2).unwrap().made.because.is_empty());
    let spoken = world.decisions("model/latency").await;
    let actions: Vec<_> = spoken.iter().map(|spec| spec.action.as_str()).collect();
    assert!(actions.contains(&"drift") && actions.contains(&"retrain"), "{actions:?}");

    // After a restart the same drift is not told again; then what was declared is done.
    let before = told.drifts.len();
    let begun = under_way(&world, trained.at).await;
    world.kill().await;
    world.start().await;
    let interrupted = |status: &ModelStatus| {
        status.trained.as_ref().is_some_and(|trained| trained.message.contains("interrupted"))
    };
    model_when(&world, "ended", interrupted).await;
    let begun = paths::item("default", Kind::Decision, &begun);
    let (_, begun) = world.ask(Method::GET, &begun, Value::Null).await;
    assert_eq!(begun["status"]["outcome"], "failed", "{begun}");
    assert_eq!(apply(&world, "latency", json!({"retrain": "promote", "pause": "1s"})).await, 200);
    let new = model_when(&world, "promoted", |status| status.production == Some(3)).await;
    assert!(new.trained.as_ref().unwrap().promoted, "{new:#?}");
    assert_eq!(new.drifts.len(), before, "{new:#?}");
    let versions: Vec<_> = new.versions.iter().map(|one| (one.id, one.stage.as_str())).collect();
    assert_eq!(versions, [(3, "production"), (1, "retired")], "an older candidate goes");
}
