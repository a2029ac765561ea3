//! Resources over REST.

use super::world::{World, until};
use api::{Kind, WatchEvent, WatchKind, decision::DecisionSpec, paths};
use futures_util::StreamExt;
use http_body_util::{BodyExt, Empty};
use hyper::{Method, Request, body::Bytes};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::{Value, json};
use std::time::Duration;
use types::Epoch;

#[tokio::test]
async fn an_applied_service_is_placed_and_becomes_ready() {
    let world = World::new().await;
    let uid = world.serve("counter", "restart").await;

    let service = world.service("counter").await;

    assert_eq!(service.site.as_deref(), Some("edge"));
    assert_eq!(service.epoch, Epoch(1));
    assert_eq!(service.url.as_deref(), Some("http://counter.localhost:8080/"));
    assert_eq!(service.dns_name.as_deref(), Some("counter.default.cloudskin.internal"));
    assert_eq!(service.requests_answered, 7);
    assert!(world.name_points_at("edge"));
    assert!(service.conditions.iter().all(|condition| condition.status));
    let assignment = world.site("edge").with(|edge| edge.desired.services[0].clone());
    assert_eq!((assignment.uid, assignment.restore), (uid, false));
    assert_eq!(world.site("edge").with(|edge| edge.desired.peers[0].site.clone()), "cloud");

    let path = paths::item("default", Kind::Decision, &service.decisions[0]);
    let (_, body) = world.ask(Method::GET, &path, Value::Null).await;
    let decision: DecisionSpec = serde_json::from_value(body["spec"].clone()).unwrap();
    assert_eq!((&*decision.action, &*decision.subject), ("place", "service/counter"));
    assert_eq!(decision.alternatives.len(), 2);
    assert!(decision.alternatives[1].reason.contains("has no label `tier: edge`"));
}

#[tokio::test]
async fn the_same_document_again_changes_nothing() {
    let world = World::new().await;
    let mut document = world.document("counter", json!({"resources": {"cpu": "1"}})).await;
    let path = format!("{}?dryRun=true", paths::item("default", Kind::Service, "counter"));

    let (status, dry) = world.ask(Method::PUT, &path, document.clone()).await;
    assert_eq!((status, &dry["spec"]["durability"]), (201, &json!("checkpoint")));
    let (status, _) = world.ask(Method::GET, path.split('?').next().unwrap(), Value::Null).await;
    assert_eq!(status, 404);
    let (status, first) = world.apply(&document).await;
    assert_eq!(status, 201, "{first}");
    // Another way to write the same wish.
    document["spec"]["resources"]["cpu"] = "1000m".into();
    let (status, second) = world.apply(&document).await;
    assert_eq!((status, &second["metadata"]["generation"]), (200, &json!(1)));
    document["spec"]["resources"]["cpu"] = "250m".into();
    let (_, third) = world.apply(&document).await;
    assert_eq!(third["metadata"]["generation"], 2);
    assert_eq!(third["metadata"]["uid"], first["metadata"]["uid"]);

    document["metadata"]["resourceVersion"] = first["metadata"]["resourceVersion"].clone();
    let (status, body) = world.apply(&document).await;
    assert_eq!(status, 409, "{body}");
    assert!(body["message"].as_str().unwrap().contains("read the resource again"));
}

#[tokio::test]
async fn a_service_that_fits_nowhere_waits_and_says_why() {
    let world = World::new().await;
    let spec = json!({"placement": {"sites": {"matchLabels": {"tier": "moon"}}}});
    let document = world.document("counter", spec).await;
    world.apply(&document).await;

    let said = |status: &api::service::ServiceStatus| {
        let ready = status.conditions.iter().find(|condition| condition.kind == "Ready");
        ready.is_some_and(|ready| ready.message.contains("has no label `tier: moon`"))
    };
    world.service_when("counter", "told why", said).await;
}

#[tokio::test]
async fn a_cordoned_site_takes_nothing_new() {
    let world = World::new().await;
    let site = json!({"apiVersion": api::API_VERSION, "kind": "Site",
        "metadata": {"name": "edge"}, "spec": {"cordoned": true}});
    let (status, body) = world.apply(&site).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(body["metadata"]["labels"]["tier"], "edge");
    let document = world.document("counter", json!({})).await;
    world.apply(&document).await;

    world.ready("counter", "cloud").await;

    let path = paths::item("default", Kind::Site, "edge");
    let (status, body) = world.ask(Method::DELETE, &path, Value::Null).await;
    assert_eq!(status, 409, "{body}");
}

/// Reads events of a watch until `count` have come.
async fn events(world: &World, query: &str, count: usize) -> Vec<(Option<u64>, WatchEvent)> {
    let path = paths::list("default", Kind::Service);
    let url = format!("http://{}{path}?{query}", world.address.lock().unwrap());
    let request = Request::builder()
        .uri(url)
        .header("authorization", format!("Bearer {}", world.token))
        .body(Empty::<Bytes>::new())
        .unwrap();
    let client = Client::builder(TokioExecutor::new()).build_http();
    let response = client.request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let mut stream = response.into_body().into_data_stream();
    let (mut text, mut events) = (String::new(), Vec::new());
    while events.len() < count {
        let piece = tokio::time::timeout(Duration::from_secs(10), stream.next());
        text.push_str(std::str::from_utf8(&piece.await.unwrap().unwrap().unwrap()).unwrap());
        while let Some((event, rest)) = text.split_once("\n\n") {
            let field = |name| event.lines().find_map(|line| line.strip_prefix(name));
            if let Some(data) = field("data: ") {
                let id = field("id: ").map(|id| id.parse().unwrap());
                events.push((id, serde_json::from_str(data).unwrap()));
            }
            text = rest.to_owned();
        }
    }
    events
}

#[tokio::test]
async fn a_watch_goes_on_where_it_was_cut() {
    let world = World::new().await;
    let mut document = world.document("a", json!({})).await;
    world.apply(&document).await;
    world.service_when("a", "ready", |a| a.phase == api::service::Phase::Ready).await;
    let first = events(&world, "watch=1", 1).await;
    let from = first[0].0.unwrap();
    assert_eq!(first[0].1.kind, WatchKind::Applied);

    document["metadata"]["labels"] = json!({"app": "x"});
    world.apply(&document).await;
    document["metadata"]["labels"] = json!({});
    world.apply(&document).await;

    let resumed = events(&world, &format!("watch=true&from={from}"), 2).await;
    assert_eq!(resumed[0].1.resource.metadata.labels["app"], "x");
    assert!(resumed[0].0 > Some(from) && resumed[1].0 > resumed[0].0);
    let again =
        events(&world, &format!("watch&resourceVersion={}", resumed[0].0.unwrap()), 1).await;
    assert_eq!(again[0].0, resumed[1].0);

    let selected = format!("watch=1&labelSelector=app%3Dx&from={from}");
    let kinds: Vec<WatchKind> =
        events(&world, &selected, 2).await.iter().map(|(_, event)| event.kind).collect();
    assert_eq!(kinds, [WatchKind::Applied, WatchKind::Deleted]);

    let path = paths::item("default", Kind::Service, "a");
    let since = events(&world, "watch=1", 1).await[0].0.unwrap();
    world.ask(Method::DELETE, &path, Value::Null).await;
    let last = events(&world, &format!("watch=1&from={since}"), 2).await;
    assert_eq!(last[1].1.kind, WatchKind::Deleted);
    assert_eq!(last[1].1.resource.metadata.name, "a");
}

#[tokio::test]
async fn a_watch_from_a_forgotten_revision_is_told_to_list() {
    let world = World::new().await;
    world.serve("counter", "keep").await;
    world.compact().await;

    let path = format!("{}?watch=1&from=1", paths::list("default", Kind::Service));
    let (status, body) = world.ask(Method::GET, &path, Value::Null).await;

    assert_eq!(status, 410, "{body}");
    assert!(body["message"].as_str().unwrap().contains("list anew"), "{body}");
}

#[tokio::test]
async fn logs_and_snapshots_are_asked_of_the_holder() {
    let world = World::new().await;
    world.serve("counter", "keep").await;
    let verb = |verb| paths::verb("default", Kind::Service, "counter", verb);

    let (_, logs) =
        world.ask(Method::GET, &format!("{}?offset=6&limit=4", verb("logs")), Value::Null).await;
    assert_eq!((&logs["text"], &logs["offset"]), (&json!("from"), &json!(6)));
    let (_, snapshot) = world.ask(Method::POST, &verb("snapshot"), Value::Null).await;
    assert_eq!(snapshot["sizeBytes"], 5);
}

#[tokio::test]
async fn a_cell_runs_once_and_its_end_is_kept() {
    let world = World::new().await;
    let module = format!("hello.wasm@{}", world.upload(b"hello").await);
    let cell = json!({"apiVersion": api::API_VERSION, "kind": "Cell",
        "metadata": {"name": "run-1"}, "spec": {"module": module, "site": "edge", "args": ["a"]}});
    let (status, body) = world.apply(&cell).await;
    assert_eq!(status, 201, "{body}");
    let uid = body["metadata"]["uid"].as_str().unwrap().to_owned();
    until("the edge runs it", || world.site("edge").with(|edge| edge.cells.contains_key(&uid)))
        .await;

    world.site("edge").with(|edge| edge.cells.get_mut(&uid).unwrap().exit_code = Some(3));

    let path = paths::item("default", Kind::Cell, "run-1");
    let ended = loop {
        let (_, body) = world.ask(Method::GET, &path, Value::Null).await;
        if !body["status"]["exitCode"].is_null() {
            break body;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(ended["status"]["exitCode"], 3);
    assert_eq!(ended["status"]["running"], false);
    let mut changed = cell.clone();
    changed["spec"]["args"] = json!(["b"]);
    let (status, body) = world.apply(&changed).await;
    assert_eq!(status, 409, "{body}");
    let (status, _) = world.ask(Method::DELETE, &path, Value::Null).await;
    assert_eq!(status, 202);
    loop {
        if world.ask(Method::GET, &path, Value::Null).await.0 == 404 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_flood_of_cells_is_refused_until_some_have_ended() {
    let world = World::new().await;
    let module = format!("hello.wasm@{}", world.upload(b"hello").await);
    let cell = |number: usize| {
        json!({"apiVersion": api::API_VERSION, "kind": "Cell",
            "metadata": {"name": format!("run-{number}")},
            "spec": {"module": module, "site": "edge"}})
    };
    let most = 64;
    let mut first = String::new();
    for number in 0..most {
        let (status, body) = world.apply(&cell(number)).await;
        assert_eq!(status, 201, "{body}");
        if number == 0 {
            body["metadata"]["uid"].as_str().unwrap().clone_into(&mut first);
        }
    }

    let (status, body) = world.apply(&cell(most)).await;

    assert_eq!(status, 429, "{body}");
    assert!(body["message"].as_str().unwrap().contains("runs 64 cells"), "{body}");
    // What is there may be applied again.
    assert_eq!(world.apply(&cell(0)).await.0, 200);
    until("the edge runs it", || world.site("edge").with(|edge| edge.cells.contains_key(&first)))
        .await;
    world.site("edge").with(|edge| edge.cells.get_mut(&first).unwrap().exit_code = Some(0));
    while world.apply(&cell(most)).await.0 != 201 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_block_keeps_a_service_for_each_component() {
    let world = World::new().await;
    let module = format!("a.wasm@{}", world.upload(b"module").await);
    let component = |name: &str| json!({"name": name, "service": {"module": module}});
    let mut block = json!({"apiVersion": api::API_VERSION, "kind": "Block",
        "metadata": {"name": "app"},
        "spec": {"version": "1", "components": [component("in"), component("out")]}});
    let (status, body) = world.apply(&block).await;
    assert_eq!(status, 201, "{body}");
    let path = paths::item("default", Kind::Block, "app");
    loop {
        let (_, body) = world.ask(Method::GET, &path, Value::Null).await;
        if body["status"]["conditions"][0]["status"] == json!(true) {
            assert_eq!(body["status"]["services"], json!(["app-in", "app-out"]));
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    block["spec"]["components"] = json!([component("in")]);
    world.apply(&block).await;
    let list = paths::list("default", Kind::Service);
    let count = |body: &Value| body["items"].as_array().unwrap().len();
    while count(&world.ask(Method::GET, &list, Value::Null).await.1) != 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world.ask(Method::DELETE, &path, Value::Null).await;
    while world.ask(Method::GET, &path, Value::Null).await.0 != 404 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(count(&world.ask(Method::GET, &list, Value::Null).await.1), 0);
}

#[tokio::test]
async fn old_decisions_go() {
    let world = World::new().await;
    for name in ["a", "b", "c", "d", "e", "f", "g"] {
        world.serve(name, "keep").await;
    }

    let (_, body) =
        world.ask(Method::GET, &paths::list("default", Kind::Decision), Value::Null).await;

    let subjects: Vec<&str> = body["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|decision| decision["spec"]["subject"].as_str().unwrap())
        .collect();
    assert_eq!(subjects, ["c", "d", "e", "f", "g"].map(|name| format!("service/{name}")));
}
