//! Services that a user puts back to a snapshot.

use super::{
    store::Death,
    world::{LEASE, MARGIN, World, until},
};
use api::{Kind, link::StartState, paths, service::Phase};
use hyper::Method;
use serde_json::{Value, json};
use sha2::Digest as _;
use std::time::Duration;
use types::{Digest, Epoch};

#[tokio::test]
async fn a_service_goes_on_from_a_snapshot_under_the_next_epoch() {
    let world = World::new().await;
    let uid = world.serve("counter", "keep").await;
    // Of a later epoch than the service ever had: it is another service's, or this one was
    // deleted and applied again.
    let digest = world.snapshot(9).await;

    let (status, decision) = world.restore("counter", &digest).await;

    assert_eq!(status, 202, "{decision}");
    assert_eq!(decision["spec"]["action"], "restore");
    assert_eq!(decision["spec"]["inputs"]["snapshot"], digest.to_string());
    assert_eq!(decision["spec"]["inputs"]["snapshotEpoch"], 9);
    let service = world.ready("counter", "edge").await;
    assert_eq!((service.epoch, service.decisions.len()), (Epoch(2), 2));
    assert_eq!(service.restored.unwrap().digest, digest);
    let path = paths::item("default", Kind::Decision, &service.decisions[0]);
    until_done(&world, &path).await;
    until("the old instance is gone", || world.site("edge").state(&uid, Epoch(1)).is_none()).await;
    let assignment = world.site("edge").with(|edge| edge.desired.services[0].clone());
    assert_eq!(assignment.snapshot, Some(StartState { epoch: Epoch(2), digest }));
    assert_eq!(world.journal.two_writers(), [""; 0]);

    // It moves as before, and what it was put back to stays known.
    let (status, body) = world.migrate("counter", "cloud", "?wait=true").await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(world.ready("counter", "cloud").await.restored.unwrap().epoch, Epoch(2));
}

async fn until_done(world: &World, decision: &str) {
    loop {
        let (_, body) = world.ask(Method::GET, decision, Value::Null).await;
        if body["status"]["outcome"] == "done" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn whoever_takes_over_afterwards_is_told_of_the_snapshot_until_the_module_changes() {
    let world = World::with_manual_clock().await;
    let spec = json!({"placement": {"site": "edge"}, "onSiteLost": "restart"});
    let document = world.document("counter", spec.clone()).await;
    world.apply(&document).await;
    world.ready("counter", "edge").await;
    let digest = world.snapshot(1).await;
    let (status, body) = world.restore("counter", &digest).await;
    assert_eq!(status, 202, "{body}");
    world.ready("counter", "edge").await;

    world.site("edge").with(|edge| edge.cut = true);
    until("the site has hung up", || world.site("edge").with(|edge| !edge.connected)).await;
    for _ in 0..2 {
        world.pass((LEASE + MARGIN) / 2);
        tokio::time::sleep(Duration::from_millis(60)).await;
    }

    let moved = world.ready("counter", "cloud").await;
    assert_eq!(moved.epoch, Epoch(3));
    let named = || world.site("cloud").with(|cloud| cloud.desired.services[0].snapshot);
    assert_eq!(named(), Some(StartState { epoch: Epoch(2), digest }));
    let mut other = document.clone();
    other["spec"]["module"] = format!("other.wasm@{}", world.upload(b"other").await).into();
    let (status, body) = world.apply(&other).await;
    assert_eq!(status, 200, "{body}");
    until("another module has no such state", || named().is_none()).await;
}

#[tokio::test]
async fn what_cannot_be_restored_is_refused_and_changes_nothing() {
    let world = World::new().await;
    world.serve("counter", "keep").await;
    let good = world.snapshot(1).await;
    let foreign = Digest::from_sha256([5; 32]);
    let foreign = cells::snapshot::sample(foreign, Epoch(1), b"").unwrap();
    let foreign = world.upload(&foreign).await;
    let module = Digest::from_sha256(sha2::Sha256::digest(b"module").into());
    let mut bent = cells::snapshot::sample(module, Epoch(1), b"").unwrap();
    let middle = bent.len() / 2;
    bent[middle] ^= 1;
    let bent = world.upload(&bent).await;
    let absent = Digest::from_sha256([6; 32]);
    let small = world.document("small", json!({"resources": {"memory": "64Ki"}})).await;
    world.apply(&small).await;
    world.service_when("small", "ready", |status| status.phase == Phase::Ready).await;

    for (name, digest, code, words) in [
        ("counter", foreign, 400, "`sample.wasm`"),
        ("counter", bent, 400, "damaged"),
        ("counter", absent, 400, "was not uploaded"),
        ("small", good, 400, "`resources.memory`"),
        ("nobody", good, 404, "`cloudskin apply` it first"),
    ] {
        let (status, body) = world.restore(name, &digest).await;
        assert_eq!(status, code, "{words}: {body}");
        assert!(body["message"].as_str().unwrap().contains(words), "{words}: {body}");
    }
    let path = paths::verb("default", Kind::Cell, "counter", "restore");
    let (status, body) = world.ask(Method::POST, &path, json!({"snapshot": good})).await;
    assert_eq!(status, 400, "{body}");

    let service = world.service("counter").await;
    assert_eq!((service.epoch, service.restored), (Epoch(1), None));
    world.site("edge").with(|edge| edge.cut = true);
    until("the site has hung up", || world.site("edge").with(|edge| !edge.connected)).await;
    let (status, body) = world.restore("counter", &good).await;
    assert_eq!(status, 409, "{body}");
    assert!(body["message"].as_str().unwrap().contains("may still serve it"), "{body}");
}

#[tokio::test]
async fn a_control_plane_killed_at_any_transaction_has_restored_all_or_nothing() {
    for nth in 0..3 {
        for death in [Death::Before, Death::After] {
            let case = format!("killed {death:?} transaction {nth}");
            let mut world = World::new().await;
            let uid = world.serve("counter", "keep").await;
            let digest = world.snapshot(1).await;
            world.fuse.light(nth, death);
            {
                let restoring = world.restore("counter", &digest);
                tokio::select! {
                    () = world.fuse.dead.notified() => {}
                    (status, body) = restoring => assert_eq!(status, 202, "{case}: {body}"),
                }
            }

            world.kill().await;
            world.start().await;

            let service = world.ready("counter", "edge").await;
            match service.restored {
                Some(restored) => {
                    assert_eq!((restored.digest, restored.epoch), (digest, Epoch(2)), "{case}");
                    assert_eq!(service.epoch, Epoch(2), "{case}");
                }
                None => assert_eq!(service.epoch, Epoch(1), "{case}"),
            }
            until(&case, || {
                let held = world.site("edge").with(|edge| edge.held.get(&uid).map(Vec::len));
                world.site("edge").serves(&uid) && held == Some(1)
            })
            .await;
            assert_eq!(world.journal.two_writers(), [""; 0], "{case}");
        }
    }
}
