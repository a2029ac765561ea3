//! What is said of services at sites, over REST and gRPC, and what is done with it.

use super::{
    super::{advice, state::State},
    world::World,
};
use api::{
    Kind,
    link::{Answers, Held, HeldState},
    paths,
};
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, body::Bytes};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioTimer},
};
use learning::{
    Sample, SiteTrace, Trace,
    catalog::{Catalog, Data, Gate, MARGIN, Made, Record, Stage},
    model::{self, Examples, Question, Target},
};
use prost::Message;
use serde_json::{Value, json};
use std::ops::ControlFlow;
use types::{Epoch, ErrorKind};

/// What one service did in a second.
#[derive(Clone, Copy)]
struct Second {
    count: u64,
    latency_us: u64,
    cpu_us: u64,
}

fn held(uid: &str, at: u64, each: Second) -> Held {
    let count = at * each.count;
    Held {
        tenant: "default".into(),
        name: uid.into(),
        uid: uid.into(),
        epoch: Epoch(1),
        incarnation: 0,
        state: HeldState::Serving,
        message: String::new(),
        requests_answered: count,
        cpu_us: at * each.cpu_us,
        last_checkpoint: None,
        lost: Vec::new(),
        memory: types::Bytes(1),
        started_from: None,
        answers: Answers { count, failed: 0, sum_us: count * each.latency_us },
        page: None,
    }
}

/// Twenty minutes up to now of services at the edge, in the place of all that was seen. The cloud
/// reported, and had nothing to do.
fn relive(state: &State, services: &[(&str, Second)]) {
    let (now_ms, seconds) = (state.wall_ms(), 1200);
    {
        let mut seen = state.advice.seen();
        *seen = Default::default();
        for at in 0..seconds {
            let at_ms = now_ms - (seconds - at) * 1000;
            let report: Vec<Held> =
                services.iter().map(|(uid, each)| held(uid, at, *each)).collect();
            seen.take("edge", at_ms, &report, &[], |_| true);
            seen.take("cloud", at_ms, &[], &[], |_| true);
        }
    }
    advice::refresh(state);
}

async fn uid(world: &World, name: &str) -> String {
    let path = paths::item("default", Kind::Service, name);
    let (_, body) = world.ask(Method::GET, &path, Value::Null).await;
    body["metadata"]["uid"].as_str().unwrap().to_owned()
}

/// A service at the edge that answers ten requests a second, and a neighbour that uses three and a
/// half of the edge's four processors, of which it asked for a tenth.
async fn crowded(world: &World) {
    for (name, cpu) in [("counter", "500m"), ("noisy", "100m")] {
        let spec = json!({"placement": {"site": "edge"}, "resources": {"cpu": cpu}});
        let document = world.document(name, spec).await;
        assert_eq!(world.apply(&document).await.0, 201);
        world.ready(name, "edge").await;
    }
    let (counter, noisy) = (uid(world, "counter").await, uid(world, "noisy").await);
    let counts = Second { count: 10, latency_us: 60_000, cpu_us: 100_000 };
    let burns = Second { count: 0, latency_us: 0, cpu_us: 3_500_000 };
    relive(&world.state(), &[(&counter, counts), (&noisy, burns)]);
}

async fn rank(world: &World, asked: Value) -> (u16, Value) {
    world.ask(Method::POST, &paths::rank("default"), asked).await
}

async fn predict(world: &World, asked: Value) -> (u16, Value) {
    world.ask(Method::POST, &paths::predict("default"), asked).await
}

#[tokio::test]
async fn a_service_beside_a_noisy_neighbour_is_told_to_go_and_why() {
    let world = World::new().await;
    crowded(&world).await;

    let (status, body) = rank(&world, json!({"service": "counter"})).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!((&body["best"], &body["here"]), (&json!("cloud"), &json!("edge")), "{body}");
    assert!((body["rate"].as_f64().unwrap() - 10.0).abs() < 0.5, "{body}");
    let (cloud, edge) = (&body["places"][0], &body["places"][1]);
    assert_eq!((&cloud["site"], &edge["basis"]), (&json!("cloud"), &json!("measured")), "{body}");
    assert!(body["scores"][0].as_f64() < body["scores"][1].as_f64(), "{body}");

    let (status, body) =
        predict(&world, json!({"application": "counter", "at": "site/edge"})).await;
    assert_eq!(status, 200, "{body}");
    let place = &body["place"];
    let latency = place["latencyMs"]["value"].as_f64().unwrap();
    assert!((55.0..65.0).contains(&latency), "60 ms were measured: {body}");
    assert!(place["neighboursMs"].as_f64().unwrap() > 5.0, "{body}");
    assert!(place["why"].as_str().unwrap().contains("from the neighbours"), "{body}");
    let reasons = place["reasons"].as_array().unwrap();
    let others = reasons.iter().find(|reason| reason["name"] == "site.others").unwrap();
    assert_eq!(others["adds"], place["neighboursMs"], "{body}");
    assert!((others["value"].as_f64().unwrap() - 3.5).abs() < 0.1, "{body}");

    // Ten times the load is more than one cell can do.
    let busier =
        json!({"service": "counter", "at": "edge", "assume": {"rate": 100, "sla": "80ms"}});
    let (_, body) = predict(&world, busier).await;
    assert_eq!((&body["slaMs"], &body["rate"]), (&json!(80.0), &json!(100.0)));
    assert!(body["place"]["broken"].as_f64().unwrap() > 0.9, "{body}");
    let (_, body) = rank(&world, json!({"service": "counter", "prefer": "cost"})).await;
    assert_eq!(body["scores"].as_array().unwrap().len(), 2, "{body}");
}

#[tokio::test]
async fn a_service_is_placed_where_it_is_expected_to_behave_and_by_room_if_it_says_so() {
    let world = World::new().await;
    let filler = json!({"placement": {"site": "cloud"}, "resources": {"cpu": "2"}});
    world.apply(&world.document("filler", filler).await).await;
    world.ready("filler", "cloud").await;
    crowded(&world).await;
    let spec =
        |prefer: &str| json!({"placement": {"prefer": prefer}, "resources": {"cpu": "100m"}});

    world.apply(&world.document("new", spec("behaviour")).await).await;
    world.apply(&world.document("roomy", spec("room")).await).await;

    // By what is asked for the edge has more room, by what is used it has none.
    world.ready("new", "cloud").await;
    world.ready("roomy", "edge").await;
    let placed = world.decisions("service/new").await;
    let placed = placed.iter().find(|one| one.action == "place").unwrap();
    assert_eq!(placed.prediction["places"][0]["site"], "cloud", "{placed:?}");
    assert_eq!(placed.alternatives[0].name, "cloud");
    assert!(placed.alternatives[1].reason.contains("from the neighbours"), "{placed:?}");
    assert!(placed.reason.contains("behaves best"), "{}", placed.reason);
    let roomy = world.decisions("service/roomy").await;
    assert_eq!(roomy[0].prediction, Value::Null);
    let (status, body) = world.apply(&world.document("odd", spec("luck")).await).await;
    assert_eq!(status, 400, "{body}");
}

/// A model of latency in the catalog, put into production: naive, so what was lately comes again.
fn promoted(folder: &std::path::Path) {
    let sample = |at: usize| Sample {
        latency_ms: Some(40.0 + (at % 7) as f64),
        cpu: Some(1.0),
        ..Sample::default()
    };
    let samples = (0..3000).map(sample).collect();
    let sites = vec![SiteTrace { name: "edge".into(), samples }];
    let trace = Trace { start_s: 1_700_000_000, step_s: 5, sites };
    let (learn, test) = trace.split(0.7);
    let question = Question::new(Target::Latency, (0, 300));
    let examples = Examples::new(&learn, &question).unwrap();
    let naive = model::Method::Naive;
    let model = model::train(&examples, naive, 1, &|_| ControlFlow::Continue(())).unwrap();
    let record = Record {
        name: "latency".into(),
        id: 0,
        stage: Stage::Candidate,
        method: naive,
        target: question.target,
        ahead: question.ahead,
        every_s: question.every_s,
        trained: Data::of(&learn),
        tested: Data::of(&test),
        score: model.tried(&Examples::new(&test, &question).unwrap()).unwrap(),
        naive_rmse: None,
        beside: None,
        parent: None,
        made: Made {
            at_s: 1,
            seconds: 1.0,
            peak_bytes: 1,
            rows: 1,
            searched: 1,
            seed: 1,
            imported: String::new(),
            because: String::new(),
        },
        model_bytes: 0,
        federated: None,
    };
    let catalog = Catalog::at(folder);
    catalog.add(record, &model).unwrap();
    catalog.promote("latency", 1, &Gate::Recorded { margin: MARGIN }).unwrap();
}

#[tokio::test]
async fn a_model_in_production_speaks_for_where_the_service_is() {
    let world = World::new().await;
    promoted(&world.models());
    crowded(&world).await;
    let named = |name: &str| json!({"service": "counter", "assume": {"model": name}});

    let (status, body) = rank(&world, named("latency")).await;

    assert_eq!(status, 200, "{body}");
    let places = body["places"].as_array().unwrap();
    let at = |site: &str| places.iter().find(|place| place["site"] == site).unwrap();
    assert_eq!(
        (&at("edge")["basis"], &at("edge")["model"]),
        (&json!("model"), &json!("latency/v1"))
    );
    // It was never at the cloud: there a model of series has nothing to go on.
    assert_eq!((&at("cloud")["basis"], &at("cloud")["model"]), (&json!("learned"), &Value::Null));
    let latency = at("edge")["latencyMs"]["value"].as_f64().unwrap();
    assert!((59.0..61.0).contains(&latency), "60 ms were measured: {body}");
    assert_eq!(rank(&world, named("other")).await.0, 404);
}

#[tokio::test]
async fn the_planner_begins_programs_where_services_really_leave_room() {
    let world = World::new().await;
    crowded(&world).await;
    // A report of the site itself notes what its services use beyond what they asked for.
    let state = world.state();
    super::world::until("the surplus is noted", || {
        state.sites(|sites| sites.get("edge").is_some_and(|edge| edge.surplus.0 == 3000))
    })
    .await;

    let threads = json!({"place": "bin-pack", "form": {"threads": {"cpus": 2, "maxCpus": 2}}});
    let (status, body) = world.begin(Kind::Tissue, "search", threads).await;

    assert_eq!(status, 201, "{body}");
    assert_eq!(body["status"]["site"], "cloud", "{body}");
    let decision = world.decisions("tissue/search").await;
    assert_eq!(decision[0].inputs["usedBeyondAsked"]["edge"], "3", "{decision:?}");
}

#[tokio::test]
async fn questions_that_make_no_sense_are_refused_with_what_is_wrong() {
    let world = World::new().await;
    world.serve("counter", "keep").await;
    let many: Vec<String> = (0..10_000).map(|at| format!("s{at}")).collect();
    let asked = |more: Value| {
        let mut asked = json!({"service": "counter"});
        asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        asked
    };
    for (more, status, why) in [
        (json!({"service": "nobody"}), 404, "nobody"),
        (json!({"service": "../x"}), 400, "name"),
        (json!({"sites": []}), 400, "`sites` is empty"),
        (json!({"sites": ["edge", "site/edge"]}), 400, "names `edge` twice"),
        (json!({"sites": ["edge", "moon"]}), 404, "there is no site `moon`"),
        (json!({"sites": many}), 429, "10000 sites are to be ranked, at most 1000 are"),
        (json!({"prefer": "luck"}), 400, "unknown variant `luck`"),
        (json!({"assume": {"rate": -1}}), 400, "`rate` is -1"),
        (json!({"assume": {"sla": "0s"}}), 400, "`sla` is `0s`"),
        (json!({"assume": {"model": "lstm-7"}}), 404, "no model `lstm-7`"),
        (json!({"speed": 1}), 400, "unknown field `speed`"),
    ] {
        let (found, body) = rank(&world, asked(more)).await;
        assert_eq!(found, status, "{body}");
        assert!(body["message"].as_str().unwrap().contains(why), "{why}: {body}");
    }
    for at in ["", "moon", "site/"] {
        let (status, body) = predict(&world, json!({"service": "counter", "at": at})).await;
        assert_eq!(status, 404, "{body}");
    }
    let bearer = format!("Bearer {}", world.token);
    let headers = [("authorization", bearer.as_str())];
    for body in ["{\"service\":\"counter\",\"assume\":{\"rate\":1e999}}", "{\"rate\":NaN}", "["] {
        let body = body.as_bytes().to_vec();
        let answer = world.ask_raw(Method::POST, &paths::rank("default"), &headers, body).await;
        assert_eq!(answer.0, 400, "{answer:?}");
    }
    assert_eq!(world.ask_raw(Method::POST, &paths::rank("default"), &[], Vec::new()).await.0, 401);
    assert_eq!(world.ask(Method::GET, &paths::rank("default"), Value::Null).await.0, 405);
    // Of a service that nobody has asked yet queues alone are known.
    let (status, body) = rank(&world, asked(json!({"sites": ["edge"]}))).await;
    assert_eq!((status, &body["places"][0]["basis"]), (200, &json!("queueing")), "{body}");
    let closed = rank(&world, asked(json!({}))).await.1["closed"].clone();
    assert!(closed[0]["why"].as_str().unwrap().contains("has no label"), "{closed}");
}

/// Calls a method of gRPC; its status, its text, and its answer.
async fn call<M: Message + Default>(
    world: &World,
    path: &str,
    asked: &impl Message,
    token: &str,
) -> (String, String, M) {
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .timer(TokioTimer::new())
        .build_http();
    let message = asked.encode_to_vec();
    let framed = [&[0][..], &(message.len() as u32).to_be_bytes(), &message].concat();
    let request = Request::post(format!("http://{}{path}", world.address.lock().unwrap()))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("authorization", format!("Bearer {token}"))
        .body(Full::new(Bytes::from(framed)))
        .unwrap();
    let response = client.request(request).await.unwrap();
    let http = response.status().as_u16();
    let headers = response.headers().clone();
    let body = response.into_body().collect().await.unwrap();
    let status = body.trailers().cloned().unwrap_or(headers);
    let text = |name: &str| {
        status.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
    };
    let code = if http == 200 { text("grpc-status") } else { format!("http {http}") };
    let bytes = body.to_bytes();
    let answer = M::decode(bytes.get(5..).unwrap_or_default()).unwrap_or_default();
    (code, text("grpc-message"), answer)
}

#[tokio::test]
async fn grpc_answers_what_rest_answers() {
    use advice::wire::{Assumed, PredictReply, PredictRequest, RankReply, RankRequest};
    const RANK: &str = "/cloudskin.advice.v1alpha1.Advice/Rank";
    const PREDICT: &str = "/cloudskin.advice.v1alpha1.Advice/Predict";
    let world = World::new().await;
    crowded(&world).await;
    let token = world.token.clone();
    let assume = Some(Assumed { rate: Some(12.0), sla_ms: Some(50.0), model: String::new() });
    let asked = RankRequest { service: "counter".into(), assume, ..Default::default() };

    let (code, _, told) = call::<RankReply>(&world, RANK, &asked, &token).await;

    let same = json!({"service": "counter", "assume": {"rate": 12, "sla": "50ms"}});
    let (_, rest) = rank(&world, same).await;
    assert_eq!(code, "0");
    assert_eq!((told.best.as_str(), told.prefer.as_str()), ("cloud", "behaviour"));
    assert_eq!(told.places.len(), 2);
    let near = |one: f64, other: &Value| {
        let other = other.as_f64().unwrap();
        assert!((one / other - 1.0).abs() < 0.05, "{one} {other}");
    };
    for (at, place) in told.places.iter().enumerate() {
        let other = &rest["places"][at];
        assert_eq!(place.site, other["site"]);
        near(place.latency_ms.clone().unwrap().value, &other["latencyMs"]["value"]);
        assert!(place.score.is_some() && !place.reasons.is_empty());
    }
    let at = |site: &str| PredictRequest {
        service: "counter".into(),
        at: site.into(),
        ..Default::default()
    };
    let (code, _, told) = call::<PredictReply>(&world, PREDICT, &at("edge"), &token).await;
    assert_eq!((code.as_str(), told.place.unwrap().basis.as_str()), ("0", "measured"));
    let (code, text, _) = call::<PredictReply>(&world, PREDICT, &at("moon"), &token).await;
    assert_eq!((code.as_str(), text.as_str()), ("5", "there is no site `moon`"));
    let (code, ..) = call::<PredictReply>(&world, PREDICT, &at("edge"), "no").await;
    assert_eq!(code, format!("http {}", ErrorKind::Unauthenticated.http_status()));
}
