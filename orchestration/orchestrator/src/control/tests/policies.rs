//! Policies that move services, and all that can go wrong with them.

use super::{site::Fault, world::World};
use api::{
    Kind, Resource,
    decision::{DecisionSpec, DecisionStatus},
    link::{Answers, Decided},
    paths,
    policy::PolicyStatus,
};
use hyper::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);

fn document(spec: &Value) -> Value {
    json!({"apiVersion": api::API_VERSION, "kind": "Policy", "metadata": {"name": "qos"}, "spec": spec})
}

/// Looks every second, and minds the last five.
fn quick() -> Value {
    json!({
        "service": "counter", "sla": "100ms",
        "sensors": [{"every": "1s"}],
        "pipeline": {"window": "5s", "horizon": {"from": "0s", "to": "2s"}},
        "conditions": {"go": "here.predicted > 0.5 && here.site == \"edge\""},
        "guards": {"coolDown": "1s"},
    })
}

/// A service that begins at the edge and may go anywhere.
async fn serve(world: &World) {
    let document = world.document("counter", json!({"placement": {"site": "edge"}})).await;
    let (status, body) = world.apply(&document).await;
    assert_eq!(status, 201, "{body}");
    world.ready("counter", "edge").await;
}

async fn policy(world: &World) -> PolicyStatus {
    let path = paths::item("default", Kind::Policy, "qos");
    let (status, body) = world.ask(Method::GET, &path, Value::Null).await;
    assert_eq!(status, 200, "{body}");
    serde_json::from_value::<Resource>(body).unwrap().status()
}

async fn policy_when(
    world: &World,
    what: &str,
    holds: impl Fn(&PolicyStatus) -> bool,
) -> PolicyStatus {
    let begun = Instant::now();
    loop {
        let status = policy(world).await;
        if holds(&status) {
            return status;
        }
        assert!(begun.elapsed() < PATIENCE, "not {what}: {status:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn decision(world: &World, name: &str) -> (DecisionSpec, DecisionStatus) {
    let path = paths::item("default", Kind::Decision, name);
    let (status, body) = world.ask(Method::GET, &path, Value::Null).await;
    assert_eq!(status, 200, "{body}");
    let resource: Resource = serde_json::from_value(body).unwrap();
    (resource.spec().unwrap(), resource.status())
}

/// Ten more answers at a site, each of which took so long.
fn answer(world: &World, site: &str, ms: u64) {
    world.site(site).with(|memory| {
        memory.answers = Answers {
            count: memory.answers.count + 10,
            failed: 0,
            sum_us: memory.answers.sum_us + 10 * ms * 1000,
        };
    });
}

/// Answers at a site until something holds.
async fn serve_until(world: &World, site: &str, ms: u64, holds: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        answer(world, site, ms);
        assert!(begun.elapsed() < PATIENCE, "it does not come");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn at(world: &World, site: &str) -> bool {
    world.service("counter").await.site.as_deref() == Some(site)
}

#[tokio::test]
async fn a_busy_service_is_moved_and_the_decision_learns_what_happened() {
    let mut world = World::new().await;
    serve(&world).await;
    let (status, body) = world.apply(&document(&quick())).await;
    assert_eq!(status, 201, "{body}");

    serve_until(&world, "edge", 250, async || at(&world, "cloud").await).await;

    // The control plane dies before the truth is known.
    let status = policy_when(&world, "moved", |status| !status.moves.is_empty()).await;
    assert_eq!((status.moves[0].from.as_str(), status.site.as_deref()), ("edge", Some("cloud")));
    world.kill().await;
    world.start().await;
    let named = policy(&world).await.decisions;
    let mut moved = None;
    for name in &named {
        let (spec, _) = decision(&world, name).await;
        if spec.action == "migrate" {
            moved = Some((name.clone(), spec));
        }
    }
    let (name, spec) = moved.expect("the move is among the policy's decisions");
    assert_eq!((spec.by.as_str(), spec.subject.as_str()), ("policy/qos", "service/counter"));
    assert_eq!(spec.prediction["figure"], "broken");
    assert_eq!(spec.prediction["here"]["value"], 1.0);
    assert!(spec.inputs["measured"]["edge"]["latencyMs"].as_f64().unwrap() > 200.0, "{spec:#?}");
    assert!(spec.reason.contains("100 % here"), "{}", spec.reason);
    let begun = Instant::now();
    let observed = loop {
        let (_, status) = decision(&world, &name).await;
        if status.observed.get("after").is_some() {
            break status;
        }
        assert!(begun.elapsed() < PATIENCE, "{status:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let path = format!("{}?labelSelector=policy=qos", paths::list("default", Kind::Decision));
    let (_, list) = world.ask(Method::GET, &path, Value::Null).await;
    let listed = list["items"].as_array().unwrap();
    assert!(listed.iter().any(|one| one["metadata"]["name"] == *name), "{list}");
    assert!(listed.iter().all(|one| one["spec"]["by"] == "policy/qos"));
    assert_eq!(observed.outcome, "done");
    assert!(
        observed.observed["phases"].is_array() && observed.observed["after"]["truth"].is_array()
    );
}

#[tokio::test]
async fn a_policy_without_telemetry_or_model_or_service_goes_on_and_says_so() {
    let world = World::new().await;
    let lost = json!({"service": "counter", "sla": "100ms", "model": "lstm-7", "sensors": [{"every": "1s"}]});
    world.apply(&document(&lost)).await;
    let reason = |status: &PolicyStatus, word: &str| {
        status
            .conditions
            .iter()
            .any(|fact| fact.kind == "Ready" && !fact.status && fact.message.contains(word))
    };
    policy_when(&world, "idle", |status| reason(status, "nothing to decide")).await;
    serve(&world).await;

    let status =
        policy_when(&world, "fallen back", |status| reason(status, "no model `lstm-7`")).await;

    // Nothing was measured: then nothing is moved.
    assert_eq!(status.last.unwrap().go, None);
    // A policy is changed while it runs, and then has its model.
    let (status, body) = world.apply(&document(&quick())).await;
    assert_eq!(status, 200, "{body}");
    serve_until(&world, "edge", 20, async || {
        policy(&world).await.conditions.iter().any(|fact| fact.kind == "Ready" && fact.status)
    })
    .await;
    assert!(at(&world, "edge").await);
}

#[tokio::test]
async fn an_action_that_fails_is_recorded_and_a_dry_run_does_nothing() {
    let world = World::new().await;
    serve(&world).await;
    world.site("cloud").with(|cloud| cloud.faults.insert("prepare", Fault::Refuse));
    world.apply(&document(&quick())).await;

    serve_until(&world, "edge", 250, async || {
        policy(&world).await.conditions.iter().any(|fact| fact.kind == "Acting" && !fact.status)
    })
    .await;

    assert!(at(&world, "edge").await, "the source serves on");
    let mut dry = quick();
    dry["dryRun"] = true.into();
    world.apply(&document(&dry)).await;
    world.site("cloud").with(|cloud| cloud.faults.clear());
    let mut name = String::new();
    serve_until(&world, "edge", 250, async || {
        let status = policy(&world).await;
        status.observed_generation == 2 && status.last.is_some_and(|last| last.go.is_some())
    })
    .await;
    for known in policy(&world).await.decisions {
        if decision(&world, &known).await.0.action == "advise" {
            name = known;
        }
    }
    let (_, status) = decision(&world, &name).await;
    assert_eq!(status.observed["dryRun"], true);
    assert!(at(&world, "edge").await);
}

#[tokio::test]
async fn planning_is_asked_for_and_answered() {
    let world = World::new().await;
    serve(&world).await;
    let ask = async |body: Value| world.ask(Method::POST, paths::ANALYZE_QOS, body).await;

    let (status, body) = ask(json!({"service": "counter"})).await;
    assert_eq!(
        (status, body["message"].as_str().unwrap().contains("no policy")),
        (404, true),
        "{body}"
    );
    assert_eq!(ask(json!({"service": "nobody"})).await.0, 404);
    assert_eq!(ask(json!({"speed": 1})).await.0, 400);

    let calm = json!({"service": "counter", "sla": "100ms", "sensors": [{"event": "siteLost"}]});
    world.apply(&document(&calm)).await;
    let begun = Instant::now();
    let body = loop {
        answer(&world, "edge", 20);
        let (status, body) = ask(json!({"application": "counter"})).await;
        assert_eq!(status, 200, "{body}");
        if body["analyses"][0]["prediction"]["here"].is_object() {
            break body;
        }
        assert!(begun.elapsed() < PATIENCE, "{body}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let analysis = &body["analyses"][0];
    assert_eq!((body["site"].as_str(), analysis["policy"].as_str()), (Some("edge"), Some("qos")));
    assert_eq!(analysis["prediction"]["here"]["value"], 0.0);
    assert_eq!(analysis["verdict"]["go"], Value::Null);
}

#[tokio::test]
async fn policies_are_resources_and_wrong_ones_are_refused() {
    let world = World::new().await;
    for (change, why) in [
        (json!({"conditions": {"go": "here.speed > 1"}}), "`here.speed` is not known"),
        (json!({"conditions": {"go": "sla / 0 > sla"}}), "divides by zero"),
        (json!({"prices": {"cloudHour": -1}}), "from 0 to a billion"),
        (json!({"sla": "0s"}), "spec.sla"),
    ] {
        let mut spec = quick();
        spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let (status, body) = world.apply(&document(&spec)).await;
        assert_eq!(status, 400, "{body}");
        assert!(body["message"].as_str().unwrap().contains(why), "{body}");
    }
    assert_eq!(world.apply(&document(&quick())).await.0, 201);
    let (status, body) = world.apply(&document(&quick())).await;
    assert_eq!(
        (status, &body["metadata"]["generation"]),
        (200, &json!(1)),
        "the same changes nothing"
    );
    let path = paths::item("default", Kind::Policy, "qos");
    assert_eq!(world.ask(Method::DELETE, &path, Value::Null).await.0, 202);
    assert_eq!(world.ask(Method::GET, &path, Value::Null).await.0, 404);
}

/// Functions of a policy: a model that is sure, and an actuator.
const FUNCTIONS: &str = "
from cloudskin.agents import actuator, model, sensor

@sensor(every='1s')
async def busy(runs, args, kwargs):
    return {run.site: run.mean_ms() if run.answered() else 0 for run in runs}

@model
async def predict(history, horizon):
    share = 1.0 if history.answered() and history.mean_ms() > history.sla_ms else 0.0
    return (share, share, share)

@actuator
async def act(decision):
    return 'heard of ' + decision['to']
";

fn with_functions(source: &str) -> Value {
    let mut spec = quick();
    spec["model"] = "python/predict".into();
    spec["python"] = json!({"file": "agents.py", "source": source, "timeout": "10s"});
    spec["sensors"] = json!([{"every": "1s"}, {"python": "busy"}]);
    spec["conditions"]["go"] = "here.busy > 200 && here.predicted > 0.5 && here.edge".into();
    spec["actuators"] = json!(["migrate", {"python": "act"}]);
    spec
}

async fn deeds(world: &World, action: &str) -> Vec<Value> {
    for name in policy(world).await.decisions {
        let (spec, status) = decision(world, &name).await;
        if spec.action == action {
            let deeds = status.observed.get("deeds").and_then(Value::as_array);
            return deeds.cloned().unwrap_or_default();
        }
    }
    Vec::new()
}

#[tokio::test]
async fn sensor_model_and_actuator_may_be_functions_of_python() {
    let world = World::new().await;
    serve(&world).await;
    let mut absent = with_functions(FUNCTIONS);
    absent["python"].as_object_mut().unwrap().remove("source");
    let (status, body) = world.apply(&document(&absent)).await;
    assert_eq!(status, 400, "{body}");
    assert!(body["message"].as_str().unwrap().contains("python.source"), "{body}");

    let (status, body) = world.apply(&document(&with_functions(FUNCTIONS))).await;
    assert_eq!(status, 201, "{body}");

    serve_until(&world, "edge", 250, async || at(&world, "cloud").await).await;
    let begun = Instant::now();
    let told = loop {
        let deeds = deeds(&world, "migrate").await;
        if !deeds.is_empty() {
            break deeds;
        }
        assert!(begun.elapsed() < PATIENCE, "the actuator was not heard of");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!((&told[0]["actuator"], &told[0]["outcome"]), (&json!("python"), &json!("done")));
    assert_eq!(told[0]["detail"]["said"], "heard of cloud");
    for name in policy(&world).await.decisions {
        let (spec, _) = decision(&world, &name).await;
        if spec.action == "migrate" {
            assert_eq!(spec.inputs["fallback"], Value::Null, "{spec:#?}");
            assert!(spec.inputs["python"].as_str().unwrap().starts_with("agents.py@sha256:"));
        }
    }
    let status = policy(&world).await;
    assert!(status.conditions.iter().any(|fact| fact.kind == "Sensing" && fact.status));
}

#[tokio::test]
async fn functions_that_hang_or_say_nonsense_hold_up_nobody_and_are_told() {
    let world = World::new().await;
    serve(&world).await;
    let wrong = "
from cloudskin.agents import model, sensor
@sensor(every='1s')
def busy(runs, args, kwargs):
    return ['nonsense']
@model
def predict(history, horizon):
    while True: pass
";
    let mut slow = document(&with_functions(wrong));
    slow["metadata"]["name"] = "slow".into();
    slow["spec"]["python"]["timeout"] = "1s".into();
    slow["spec"]["actuators"] = json!(["notify"]);
    slow["spec"]["conditions"] = json!({});
    assert_eq!(world.apply(&slow).await.0, 201);
    world.apply(&document(&quick())).await;

    // The other policy of the same service goes on beside it.
    serve_until(&world, "edge", 250, async || at(&world, "cloud").await).await;

    let path = paths::item("default", Kind::Policy, "slow");
    let told = async |kind: &str, word: &str| {
        let (_, body) = world.ask(Method::GET, &path, Value::Null).await;
        let status: PolicyStatus = serde_json::from_value::<Resource>(body).unwrap().status();
        let fact = status.conditions.into_iter().find(|fact| fact.kind == kind);
        fact.is_some_and(|fact| !fact.status && fact.message.contains(word))
    };
    serve_until(&world, "cloud", 250, async || told("Sensing", "nonsense").await).await;
    serve_until(&world, "cloud", 250, async || told("Ready", "took longer than 1s").await).await;
}

#[tokio::test]
async fn processors_and_sites_follow_their_conditions() {
    let world = World::new().await;
    serve(&world).await;
    let mut spec = quick();
    spec["conditions"] = json!({"go": "false"});
    spec["actuators"] = json!([
        {"scale": {"min": "250m", "max": 1, "step": "250m", "coolDown": "1ms"}},
        {"place": {"sites": {"matchLabels": {"tier": "cloud"}}}},
    ]);
    let wanted = async || {
        let path = paths::item("default", Kind::Service, "counter");
        let (_, body) = world.ask(Method::GET, &path, Value::Null).await;
        body["spec"].clone()
    };
    spec["dryRun"] = true.into();
    world.apply(&document(&spec)).await;
    let said = async |word: &str| {
        for name in policy(&world).await.decisions {
            if decision(&world, &name).await.0.reason.contains(word) {
                return true;
            }
        }
        false
    };
    serve_until(&world, "edge", 250, async || said("CPU from `500m` to `750m`").await).await;
    assert_eq!(wanted().await["resources"]["cpu"], "500m", "a dry run does nothing");

    spec["dryRun"] = false.into();
    world.apply(&document(&spec)).await;
    serve_until(&world, "edge", 250, async || wanted().await["resources"]["cpu"] == "1").await;
    assert_eq!(wanted().await["placement"]["sites"]["matchLabels"]["tier"], "cloud");
    assert!(at(&world, "edge").await, "whoever is moved is moved by `migrate`");
}

#[tokio::test]
async fn a_stores_limit_follows_its_conditions_and_a_store_that_fails_is_told() {
    let world = World::new().await;
    serve(&world).await;
    let memory = |edge: &mut super::site::Memory| edge.limits.memory >> 20;
    world.site("edge").with(|edge| edge.limits.memory = 64 << 20);
    let mut spec = quick();
    spec["conditions"] = json!({"go": "false"});
    spec["actuators"] = json!([{"store": {
        "limit": "memory", "min": "64Mi", "max": "160Mi", "step": "64Mi", "up": "hour >= 0",
        "coolDown": "1ms",
    }}]);
    let said = async |outcome: &str, word: &str| {
        for name in policy(&world).await.decisions {
            let (spec, status) = decision(&world, &name).await;
            let error = status.observed["error"].as_str().unwrap_or_default().to_owned();
            if status.outcome == outcome && (spec.reason + &error).contains(word) {
                assert_eq!(spec.action, "limit");
                return true;
            }
        }
        false
    };
    spec["dryRun"] = true.into();
    world.apply(&document(&spec)).await;
    let first = "the store's memory from `64Mi` to `128Mi`";
    serve_until(&world, "edge", 250, async || said("done", first).await).await;
    assert_eq!(world.site("edge").with(memory), 64, "a dry run does nothing");

    spec["dryRun"] = false.into();
    world.site("edge").with(|edge| edge.faults.insert("storeLimits", Fault::Refuse));
    world.apply(&document(&spec)).await;
    serve_until(&world, "edge", 250, async || said("failed", "does not say its limits").await)
        .await;
    world.site("edge").with(|edge| edge.faults.clear());
    serve_until(&world, "edge", 250, async || world.site("edge").with(memory) == 160).await;
    let path = paths::item("default", Kind::Decision, &policy(&world).await.decisions[0]);
    let (_, body) = world.ask(Method::GET, &path, Value::Null).await;
    assert_eq!(body["spec"]["subject"], "site/edge");
}

#[tokio::test]
async fn a_step_that_failed_is_tried_again_at_the_next_run() {
    let world = World::new().await;
    serve(&world).await;
    let memory = |edge: &mut super::site::Memory| edge.limits.memory >> 20;
    world.site("edge").with(|edge| {
        edge.limits.memory = 64 << 20;
        edge.faults.insert("storeLimits", Fault::Refuse);
    });
    let mut spec = quick();
    spec["conditions"] = json!({"go": "false"});
    spec["actuators"] = json!([{"store": {
        "limit": "memory", "min": "64Mi", "max": "160Mi", "step": "64Mi", "up": "hour >= 0",
        "coolDown": "1h",
    }}]);
    world.apply(&document(&spec)).await;
    let failed = async || {
        let mut failed = 0;
        for name in policy(&world).await.decisions {
            failed += usize::from(decision(&world, &name).await.1.outcome == "failed");
        }
        failed
    };
    serve_until(&world, "edge", 250, async || failed().await > 0).await;
    serve_until(&world, "edge", 250, async || {
        world.site("edge").with(|edge| edge.faults.clear());
        world.site("edge").with(memory) == 128
    })
    .await;
    assert_eq!(failed().await, 1);
}

#[tokio::test]
async fn what_a_site_decided_while_it_was_cut_off_is_recorded_once_and_asked_anew() {
    let world = World::new().await;
    serve(&world).await;
    let mut calm = quick();
    calm["sensors"] = json!([{"event": "siteLost"}]);
    let (_, body) = world.apply(&document(&calm)).await;
    let uid = body["metadata"]["uid"].as_str().unwrap().to_owned();
    let decided = |id: &str, at: u64| Decided {
        id: id.into(),
        tenant: "default".into(),
        policy: "qos".into(),
        uid: uid.clone(),
        spec: DecisionSpec {
            action: "advise".into(),
            subject: "service/another".into(),
            by: "user".into(),
            reason: format!("decision {id}"),
            inputs: json!({"cutOff": true}),
            alternatives: Vec::new(),
            prediction: Value::Null,
            at,
        },
        go: Some("cloud".into()),
        observed: json!({"site": "edge"}),
    };
    let told = vec![decided("first", 1000), decided("second", 2000)];
    world.site("edge").with(|edge| {
        edge.decided.clone_from(&told);
        edge.decided.push(Decided { uid: "somebody".into(), ..decided("third", 3000) });
    });

    // It is told again and again until it is noted, and after that, too.
    let begun = Instant::now();
    while world.site("edge").with(|edge| edge.recorded.len()) < 9 {
        assert!(begun.elapsed() < PATIENCE, "it is not noted");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let status = policy_when(&world, "run again", |status| status.last_run.is_some()).await;
    let path = format!("{}?labelSelector=policy=qos", paths::list("default", Kind::Decision));
    let (_, list) = world.ask(Method::GET, &path, Value::Null).await;
    let own: Vec<_> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["spec"]["inputs"]["cutOff"] == true)
        .map(|one| one["spec"]["reason"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(own, ["decision first", "decision second"], "{status:#?}");
    let first = &list["items"][0];
    assert_eq!(first["spec"]["subject"], "service/counter", "of its own policy alone");
    assert_eq!(first["metadata"]["labels"]["site"], "edge");
    let desired = world.site("edge").with(|edge| edge.desired.clone());
    assert_eq!(desired.policies[0].spec.service, "counter");
    assert_eq!(desired.policies[0].places[0].site, "cloud");
    assert!(world.site("cloud").with(|cloud| cloud.desired.policies.is_empty()));
}
