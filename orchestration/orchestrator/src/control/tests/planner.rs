//! Whether programs may begin, and where.

use super::{
    super::{Config, Control},
    site::Fault,
    world::{PATIENCE, World, until},
};
use api::{Kind, cell::CellStatus, paths};
use hyper::Method;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

fn ranks(count: u32) -> Value {
    json!({"ranks": {"count": count}})
}

/// How many ranks are at which sites.
fn places(status: &CellStatus) -> Vec<(String, usize)> {
    let ranks = status.ranks.as_ref().unwrap();
    let layout = ranks.wanted();
    let sites = layout.sites().into_iter();
    let count = |site: u32| (ranks.site(site).unwrap().to_owned(), layout.ranks(site).count());
    let mut places: Vec<_> = sites.map(count).collect();
    places.sort();
    places
}

fn refused((status, body): (u16, Value), words: &str) {
    assert_eq!((status, body["kind"].as_str()), (429, Some("exhausted")), "{body}");
    assert!(body["message"].as_str().unwrap().contains(words), "{words}: {body}");
}

#[tokio::test]
async fn a_tenant_beyond_its_quota_is_refused_with_figures() {
    let world = World::with_quotas("default: {cpu: 5, memory: 6Gi}").await;
    let four = json!({"site": "edge", "memory": "1Gi", "form": ranks(4)});
    let document = world.program(Kind::Tissue, "four", four).await;
    assert_eq!(world.apply(&document).await.0, 201);
    assert_eq!(world.apply(&document).await.0, 200, "it is there already");

    let two = json!({"site": "cloud", "memory": "1Gi", "form": ranks(2)});
    refused(
        world.begin(Kind::Tissue, "two", two.clone()).await,
        "may have `5` CPUs and uses `4`: `2` more are asked for: wait until",
    );
    refused(
        world.begin(Kind::Cell, "wide", json!({"site": "edge"})).await,
        "may have `6Gi` of memory and uses `4Gi`: `4Gi` more are asked for",
    );
    let six = json!({"site": "edge", "form": ranks(6)});
    refused(world.begin(Kind::Tissue, "six", six).await, "more than it may ever have");
    let (status, _) =
        world.begin(Kind::Cell, "one", json!({"site": "edge", "memory": "1Gi"})).await;
    assert_eq!(status, 201, "the last CPU");

    let path = paths::item("default", Kind::Tissue, "four");
    assert!(world.ask(Method::DELETE, &path, Value::Null).await.0 < 300);
    assert_eq!(world.begin(Kind::Tissue, "two", two).await.0, 201, "four are free");
    let threads = |cpus| {
        json!({"site": "edge", "memory": "1Gi",
        "form": {"threads": {"cpus": cpus, "maxCpus": 8}}})
    };
    assert_eq!(world.begin(Kind::Tissue, "threads", threads(2)).await.0, 201);
    refused(
        world.begin(Kind::Tissue, "threads", threads(3)).await,
        "may have `5` CPUs and uses `3`: `3` more",
    );
    assert_eq!(world.begin(Kind::Tissue, "threads", threads(1)).await.0, 200);
}

#[tokio::test]
async fn many_at_once_do_not_exceed_a_quota() {
    let world = World::with_quotas("tenants: {default: {tissues: 3}}").await;
    let mut documents = Vec::new();
    for name in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        documents.push(world.program(Kind::Cell, name, json!({"site": "edge"})).await);
    }

    let answers =
        futures_util::future::join_all(documents.iter().map(|document| world.apply(document)))
            .await;

    let begun = answers.iter().filter(|(status, _)| *status == 201).count();
    let others = answers.iter().filter(|(status, _)| *status == 429).count();
    assert_eq!((begun, others), (3, 5), "{answers:?}");
}

#[tokio::test]
async fn broken_quotas_keep_the_control_plane_from_starting() {
    let world = World::new().await;
    let folder = tempfile::TempDir::new().unwrap();
    std::fs::write(folder.path().join("quotas.yaml"), "tenants: {a: {cpus: 2}}").unwrap();
    let clock = Arc::new(types::SystemClock::new());
    let store = folder.path().join("s");
    let store = meta::Embedded::open(store, meta::Config::default(), clock.clone()).unwrap();

    let config = Config::new(folder.path().into(), ([127, 0, 0, 1], 0).into());
    let refused = Control::open(config, Arc::new(store), world.noted(), clock).await.unwrap_err();

    let text = types::chain(&refused);
    assert!(text.contains("quotas.yaml") && text.contains("cpus"), "{text}");
}

#[tokio::test]
async fn tissues_begin_at_sites_that_the_policy_chooses() {
    let world = World::new().await;
    let with = |place: &str, count| json!({"place": place, "form": ranks(count)});
    let (status, body) = world.begin(Kind::Tissue, "wide", with("spread", 6)).await;
    assert_eq!(status, 201, "{body}");
    assert!(body["spec"].get("site").is_none(), "what is wanted stays as it was said: {body}");

    let wide = world.tissue_when("wide", "running", |status| status.running).await;
    assert_eq!(places(&wide), [("cloud".into(), 3), ("edge".into(), 3)]);
    let decisions = world.decisions("tissue/wide").await;
    let place = &decisions[0];
    assert_eq!((place.action.as_str(), place.by.as_str()), ("place", "planner"));
    assert_eq!(place.inputs["sites"], "cloud:3 edge:3");
    let scores: Vec<_> = place.alternatives.iter().map(|one| one.score).collect();
    assert_eq!(scores, [Some(3.0), Some(3.0)], "{place:?}");

    refused(
        world.begin(Kind::Tissue, "more", with("locality", 3)).await,
        "no room now for 3 ranks with `1` CPUs each: wait until others have ended, or name sites; \
         `cloud` has `1` CPUs and `1Gi` of memory free",
    );
    refused(
        world.begin(Kind::Tissue, "more", with("locality", 9)).await,
        "9 ranks are asked for, and 8 would fit if every host were empty",
    );
    let threads = json!({"place": "bin-pack", "form": {"threads": {"cpus": 2}}});
    refused(world.begin(Kind::Tissue, "threads", threads.clone()).await, "no site has `2` CPUs");
    let path = paths::item("default", Kind::Tissue, "wide");
    world.ask(Method::DELETE, &path, Value::Null).await;

    assert_eq!(world.begin(Kind::Tissue, "near", with("locality", 3)).await.0, 201);
    let near = world.tissue_when("near", "running", |status| status.running).await;
    assert_eq!(places(&near).len(), 1, "{near:?}");
    let full = places(&near)[0].0.clone();
    // One is left there.
    let (status, body) = world.begin(Kind::Cell, "one", json!({"place": "bin-pack"})).await;
    assert_eq!((status, body["status"]["site"].as_str()), (201, Some(full.as_str())));
    let (status, body) = world.begin(Kind::Tissue, "threads", threads).await;
    let other = body["status"]["site"].as_str().unwrap().to_owned();
    assert!(status == 201 && other != full, "{body}");
    until("it was told so", || {
        world.site(&other).with(|memory| {
            let told = memory.desired.cells.iter().find(|cell| cell.name == "threads");
            told.is_some_and(|told| told.spec.site == other && told.spec.place.is_none())
        })
    })
    .await;
}

#[tokio::test]
async fn memory_counts_where_it_is_named() {
    let world = World::new().await;
    let with = |memory: &str| json!({"place": "locality", "memory": memory, "form": ranks(2)});

    assert_eq!(world.begin(Kind::Tissue, "large", with("600Mi")).await.0, 201);
    let large = world.tissue_when("large", "running", |status| status.running).await;
    assert_eq!(places(&large), [("cloud".into(), 1), ("edge".into(), 1)], "1 GiB at each");
    refused(world.begin(Kind::Tissue, "more", with("600Mi")).await, "`424Mi` of memory free");
    refused(world.begin(Kind::Tissue, "huge", with("2Gi")).await, "`2Gi` are needed");
    assert_eq!(world.begin(Kind::Tissue, "default", with("4Gi")).await.0, 201, "it says nothing");
}

#[tokio::test]
async fn sites_that_are_closed_are_not_chosen_and_are_named() {
    let world = World::new().await;
    let cordon = json!({"apiVersion": api::API_VERSION, "kind": "Site",
        "metadata": {"name": "edge"}, "spec": {"cordoned": true}});
    assert_eq!(world.apply(&cordon).await.0, 200);
    let with = |count| json!({"place": "spread", "form": ranks(count)});

    assert_eq!(world.begin(Kind::Tissue, "a", with(2)).await.0, 201);
    let a = world.tissue_when("a", "running", |status| status.running).await;
    assert_eq!(places(&a), [("cloud".into(), 2)]);
    let decided = &world.decisions("tissue/a").await[0];
    let edge = decided.alternatives.iter().find(|one| one.name == "edge").unwrap();
    assert_eq!((edge.score, edge.reason.as_str()), (None, "is cordoned"));

    world.site("cloud").with(|memory| memory.cut = true);
    let path = paths::item("default", Kind::Site, "cloud");
    while world.ask(Method::GET, &path, Value::Null).await.1["status"]["ready"] == true {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    refused(
        world.begin(Kind::Tissue, "b", with(2)).await,
        "no host can ever take a rank: `edge` is cordoned; \
         `cloud` is not connected, `edge` is cordoned",
    );
}

#[tokio::test]
async fn what_nobody_has_at_a_site_is_lent() {
    let world = World::new().await;
    let form = json!({"threads": {"cpus": 1, "maxCpus": 8, "elastic": true}});
    assert_eq!(world.begin(Kind::Tissue, "el", json!({"site": "edge", "form": form})).await.0, 201);
    let has = |cpus: u32| {
        world.site("edge").with(|memory| {
            let told = memory.desired.cells.iter().find(|cell| cell.name == "el");
            let form = told.and_then(|told| told.spec.form.clone());
            matches!(form, Some(api::cell::Form::Threads(threads)) if threads.cpus == cpus)
        })
    };

    until("it has all", || has(4)).await;
    assert_eq!(
        world.begin(Kind::Tissue, "ranks", json!({"site": "edge", "form": ranks(2)})).await.0,
        201
    );
    until("ranks have theirs", || has(2)).await;
    let more = json!({"site": "edge", "form": {"threads": {"cpus": 4}}});
    assert_eq!(world.begin(Kind::Tissue, "more", more).await.0, 201);
    until("there are too few", || has(1)).await;
    for name in ["ranks", "more"] {
        let path = paths::item("default", Kind::Tissue, name);
        world.ask(Method::DELETE, &path, Value::Null).await;
    }
    until("it has all again", || has(4)).await;
}

#[tokio::test]
async fn ranks_come_together_when_there_is_room() {
    let world = World::new().await;
    for (name, site) in [("a", "edge"), ("b", "cloud")] {
        let three = json!({"site": site, "form": ranks(3)});
        assert_eq!(world.begin(Kind::Tissue, name, three).await.0, 201);
        world.tissue_when(name, "running", |status| status.running).await;
    }
    let two = json!({"place": "compaction", "form": ranks(2)});
    assert_eq!(world.begin(Kind::Tissue, "apart", two).await.0, 201);
    let apart = world.tissue_when("apart", "running", |status| status.running).await;
    assert_eq!(places(&apart), [("cloud".into(), 1), ("edge".into(), 1)]);
    // The first time a site refuses; the ranks stay, and are left alone for a while.
    world.site("edge").with(|memory| memory.faults.insert("tissue", Fault::Refuse));
    let path = paths::item("default", Kind::Tissue, "a");
    world.ask(Method::DELETE, &path, Value::Null).await;
    let begun = std::time::Instant::now();
    while world.decisions("tissue/apart").await.len() < 2 {
        assert!(begun.elapsed() < PATIENCE, "it does not try");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let stayed = world.tissue_when("apart", "back", |status| {
        status.ranks.as_ref().is_some_and(|ranks| ranks.next.is_none())
    });
    assert_eq!(places(&stayed.await).len(), 2);
    world.site("edge").with(|memory| memory.faults.clear());

    let together = world.tissue_when("apart", "together", |status| {
        status.ranks.as_ref().is_some_and(|ranks| ranks.layout.sites().len() == 1)
    });
    assert_eq!(places(&together.await), [("edge".into(), 2)]);
    let decisions = world.decisions("tissue/apart").await;
    let last = decisions.last().unwrap();
    assert_eq!((last.action.as_str(), last.by.as_str()), ("migrate", "planner"));
    assert_eq!(last.reason, "its ranks fit on fewer sites; 1 ranks leave `cloud`");
}
