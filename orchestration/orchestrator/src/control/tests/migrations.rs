//! Migrations, and all the ways in which they can be cut short.

use super::{
    site::Fault,
    store::Death,
    world::{World, until},
};
use api::{Kind, decision::DecisionStatus, link::HeldState, paths};
use hyper::Method;
use serde_json::Value;
use std::time::Duration;
use types::Epoch;

/// What is new since the last look, without logs of other things.
fn calls(world: &World) -> Vec<String> {
    world.journal.take()
}

async fn decision(world: &World, name: &str) -> (Value, DecisionStatus) {
    let path = paths::item("default", Kind::Decision, name);
    let (status, body) = world.ask(Method::GET, &path, Value::Null).await;
    assert_eq!(status, 200, "{body}");
    let status = serde_json::from_value(body["status"].clone()).unwrap();
    (body, status)
}

#[tokio::test]
async fn a_service_moves_in_the_order_of_the_transaction() {
    let world = World::new().await;
    let uid = world.serve("counter", "keep").await;
    calls(&world);

    let (status, body) = world.migrate("counter", "site/cloud", "?wait=true").await;

    assert_eq!(status, 200, "{body}");
    let mut order = calls(&world);
    order[3..].sort();
    assert_eq!(
        order,
        ["cloud prepare", "edge transfer", "name 127.0.0.3", "cloud activate", "edge release"]
    );
    let service = world.ready("counter", "cloud").await;
    assert_eq!(service.epoch, Epoch(2));
    assert_eq!(service.migration, None);
    assert_eq!(service.address.unwrap().to_string(), "127.0.0.3:8080");
    assert_eq!(world.site("cloud").state(&uid, Epoch(2)), Some(HeldState::Serving));
    assert_eq!(world.site("edge").state(&uid, Epoch(1)), Some(HeldState::Forwarding));
    let (decision, status) = decision(&world, &service.decisions[0]).await;
    assert_eq!(decision["spec"]["action"], "migrate");
    assert_eq!(status.outcome, "done");
    assert_eq!(status.observed["stopUs"], 900);
    let phases: Vec<&str> = status.observed["phases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|phase| phase["name"].as_str().unwrap())
        .collect();
    assert_eq!(phases[..4], ["prepare", "transfer", "commit", "name"]);
    assert_eq!(phases.len(), 6);

    let (status, body) = world.migrate("counter", "edge", "?wait=true").await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(world.ready("counter", "edge").await.epoch, Epoch(3));
}

#[tokio::test]
async fn a_migration_that_cannot_begin_says_why() {
    let world = World::new().await;
    world.serve("counter", "keep").await;

    for (name, to, status, words) in [
        ("counter", "moon", 404, "no site `moon`"),
        ("counter", "edge", 409, "is at `edge` already"),
        ("nobody", "cloud", 404, "no `service/nobody`"),
    ] {
        let (found, body) = world.migrate(name, to, "").await;
        assert_eq!(found, status, "{body}");
        assert!(body["message"].as_str().unwrap().contains(words), "{body}");
    }
    world.site("cloud").with(|cloud| cloud.faults.insert("prepare", Fault::Silent));
    let (status, first) = world.migrate("counter", "cloud", "").await;
    assert_eq!(status, 202, "{first}");
    let (status, second) = world.migrate("counter", "cloud", "").await;
    assert_eq!(status, 409, "{second}");
    assert!(second["message"].as_str().unwrap().contains("already"), "{second}");
}

#[tokio::test]
async fn a_failed_call_rolls_back_and_the_source_serves_on() {
    let world = World::new().await;
    let uid = world.serve("counter", "keep").await;
    let mut issued = 1;
    for (site, call) in [("cloud", "prepare"), ("edge", "transfer")] {
        for fault in [Fault::Refuse, Fault::Silent, Fault::HangUp] {
            world.site(site).with(|site| site.faults.insert(call, fault));

            let (status, body) = world.migrate("counter", "cloud", "?wait=true").await;

            let case = format!("{call} {fault:?}: {body}");
            assert!(status >= 400, "{case}");
            assert!(body["message"].as_str().unwrap().contains("`edge` serves on"), "{case}");
            world.site(site).with(|site| site.faults.clear());
            let service = world.ready("counter", "edge").await;
            assert_eq!(service.epoch, Epoch(1), "{case}");
            issued += 1;
            until(&case, || {
                let gone = world.site("cloud").state(&uid, Epoch(issued)).is_none();
                gone && world.site("edge").serves(&uid) && connected(&world)
            })
            .await;
            let (_, status) = decision(&world, &service.decisions[0]).await;
            assert_eq!(status.outcome, "rolled back", "{case}");
            assert!(status.observed["error"].is_string(), "{case}");
            settled(&world, "edge").await;
        }
    }
    let (status, body) = world.migrate("counter", "cloud", "?wait=true").await;
    assert_eq!(status, 200, "{body}");
    let epoch = world.ready("counter", "cloud").await.epoch;
    assert_eq!(epoch, Epoch(issued + 1), "an epoch that was given out is never given again");
}

/// A verdict that a site did not hear keeps the next migration from beginning.
async fn settled(world: &World, site: &str) {
    loop {
        let (status, body) = world.migrate("counter", site, "").await;
        assert_eq!(status, 409, "{body}");
        if body["message"].as_str().unwrap().contains("is at") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn connected(world: &World) -> bool {
    world.sites.iter().all(|site| site.with(|memory| memory.connected))
}

#[tokio::test]
async fn behind_the_commit_a_lost_answer_changes_nothing() {
    for (site, call) in [("cloud", "activate"), ("edge", "release")] {
        for fault in [Fault::Silent, Fault::HangUp] {
            let world = World::new().await;
            let uid = world.serve("counter", "keep").await;
            world.site(site).with(|site| site.faults.insert(call, fault));

            let (status, body) = world.migrate("counter", "cloud", "?wait=true").await;

            assert_eq!(status, 200, "{call} {fault:?}: {body}");
            world.site(site).with(|site| site.faults.clear());
            world.ready("counter", "cloud").await;
            until("the verdict is heard after all", || {
                world.site("cloud").serves(&uid)
                    && world.site("edge").state(&uid, Epoch(1)) == Some(HeldState::Forwarding)
            })
            .await;
            assert!(world.name_points_at("cloud"));
            let dropped = world.site("edge").with(|edge| edge.dropped.len());
            assert_eq!(dropped, 0, "it forwards and goes by itself");
            assert_eq!(world.journal.two_writers(), [""; 0]);
        }
    }
}

#[tokio::test]
async fn deleting_a_service_ends_its_migration() {
    let world = World::new().await;
    let uid = world.serve("counter", "keep").await;
    world.site("cloud").with(|cloud| cloud.faults.insert("prepare", Fault::Silent));
    let (status, _) = world.migrate("counter", "cloud", "").await;
    assert_eq!(status, 202);
    let path = paths::item("default", Kind::Service, "counter");

    let (status, body) = world.ask(Method::DELETE, &path, Value::Null).await;

    assert_eq!(status, 202, "{body}");
    until("both sites have dropped it", || {
        world.sites.iter().all(|site| site.with(|memory| !memory.held.contains_key(&uid)))
    })
    .await;
    loop {
        let (status, _) = world.ask(Method::GET, &path, Value::Null).await;
        if status == 404 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(world.names.lock().unwrap().is_empty());
}

/// What must be true after everything was heard: one site serves, the one that the store and the
/// name say, and what is left elsewhere only forwards.
async fn one_writer(world: &World, uid: &str, case: &str) {
    let service = world
        .service_when("counter", case, |status| {
            let site = status.site.clone().unwrap_or_default();
            let other = if site == "edge" { "cloud" } else { "edge" };
            let idle = world.site(other).with(|memory| {
                let mut held = memory.held.get(uid).into_iter().flatten();
                held.all(|one| one.state == HeldState::Forwarding)
            });
            let serves = world.site(&site).state(uid, status.epoch) == Some(HeldState::Serving);
            status.migration.is_none() && serves && idle && connected(world)
        })
        .await;
    assert!(world.name_points_at(service.site.as_deref().unwrap()), "{case}");
    assert_eq!(world.journal.two_writers(), [""; 0], "{case}");
}

#[tokio::test]
async fn a_control_plane_killed_at_any_transaction_ends_the_migration() {
    for nth in 0..6 {
        for death in [Death::Before, Death::After] {
            let case = format!("killed {death:?} transaction {nth}");
            let mut world = World::new().await;
            let uid = world.serve("counter", "keep").await;
            world.fuse.light(nth, death);
            let died = {
                let migration = world.migrate("counter", "cloud", "?wait=true");
                tokio::select! {
                    () = world.fuse.dead.notified() => true,
                    (status, body) = migration => {
                        assert_eq!(status, 200, "{case}: {body}");
                        false
                    }
                }
            };
            if !died {
                // All of its transactions were made before.
                tokio::time::timeout(Duration::from_millis(100), world.fuse.dead.notified())
                    .await
                    .ok();
            }

            world.kill().await;
            world.start().await;

            one_writer(&world, &uid, &case).await;
            let (status, body) = loop {
                let target = match world.service("counter").await.site.as_deref() {
                    Some("edge") => "cloud",
                    _ => "edge",
                };
                let (status, body) = world.migrate("counter", target, "?wait=true").await;
                if status != 409 {
                    break (status, body);
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            };
            assert_eq!(status, 200, "{case}: {body}");
        }
    }
}

#[tokio::test]
async fn a_control_plane_killed_during_any_call_ends_the_migration() {
    for (site, call) in
        [("cloud", "prepare"), ("edge", "transfer"), ("cloud", "activate"), ("edge", "release")]
    {
        let mut world = World::new().await;
        let uid = world.serve("counter", "keep").await;
        calls(&world);
        world.site(site).with(|site| site.faults.insert(call, Fault::Silent));
        let (status, body) = world.migrate("counter", "cloud", "").await;
        assert_eq!(status, 202, "{body}");
        let line = format!("{site} {call}");
        until(&line, || world.journal.take().contains(&line)).await;

        world.kill().await;
        world.site(site).with(|site| site.faults.clear());
        world.start().await;

        one_writer(&world, &uid, &line).await;
    }
}
