//! Sites that are cut off, and what becomes of their services.

use super::{
    site::Fault,
    world::{LEASE, MARGIN, World, until},
};
use api::{link::HeldState, service::Phase};
use std::time::Duration;
use types::Epoch;

const MS: Duration = Duration::from_millis(1);

/// Time passes while the cloud keeps beating.
async fn pass(world: &World, by: Duration) {
    world.pass(by);
    let cloud = world.site("cloud");
    let before = cloud.with(|cloud| cloud.welcomes);
    // A session whose lease ran out meanwhile is ended, and the site says hello anew.
    tokio::time::sleep(Duration::from_millis(60)).await;
    until("the cloud is back", || cloud.with(|cloud| cloud.connected && cloud.welcomes >= before))
        .await;
}

async fn cut(world: &World, site: &str) {
    world.site(site).with(|site| site.cut = true);
    until("the site has hung up", || world.site(site).with(|site| !site.connected)).await;
}

#[tokio::test]
async fn a_restart_waits_for_lease_and_margin_and_the_old_holder_drops() {
    let world = World::with_manual_clock().await;
    let spec = serde_json::json!({"placement": {"site": "edge"}, "onSiteLost": "restart"});
    let document = world.document("counter", spec).await;
    let (status, body) = world.apply(&document).await;
    assert_eq!(status, 201, "{body}");
    world.ready("counter", "edge").await;
    let uid = body["metadata"]["uid"].as_str().unwrap();
    cut(&world, "edge").await;
    pass(&world, LEASE - MS).await;
    assert_eq!(world.service("counter").await.phase, Phase::Ready);

    pass(&world, MS).await;
    let lost = |status: &api::service::ServiceStatus| status.phase == Phase::SiteLost;
    world.service_when("counter", "lost", lost).await;
    pass(&world, MARGIN - MS).await;
    let waiting = world.service("counter").await;
    assert_eq!((waiting.site.as_deref(), waiting.epoch), (Some("edge"), Epoch(1)));

    pass(&world, MS).await;
    let moved = world.ready("counter", "cloud").await;
    assert_eq!(moved.epoch, Epoch(2));
    assert!(world.name_points_at("cloud"));
    let assignment = world.site("cloud").with(|cloud| cloud.desired.services[0].clone());
    assert!(assignment.restore, "it goes on from a checkpoint");

    world.site("edge").with(|edge| edge.cut = false);
    until("the old holder drops", || {
        world.site("edge").with(|edge| edge.dropped.contains(&(uid.to_owned(), Epoch(1))))
            && !world.site("edge").serves(uid)
    })
    .await;
    assert_eq!(world.site("cloud").state(uid, Epoch(2)), Some(HeldState::Serving));
}

#[tokio::test]
async fn a_verdict_that_came_too_late_lets_nobody_serve_again() {
    let world = World::with_manual_clock().await;
    let spec = serde_json::json!({"placement": {"site": "edge"}, "onSiteLost": "restart"});
    let document = world.document("counter", spec).await;
    let (_, body) = world.apply(&document).await;
    world.ready("counter", "edge").await;
    let uid = body["metadata"]["uid"].as_str().unwrap();
    // The state has left the edge when the edge is cut off, so that the migration is aborted,
    // and the edge is owed the word to serve on.
    world.site("edge").with(|edge| edge.faults.insert("transfer", Fault::Silent));
    let (status, _) = world.migrate("counter", "cloud", "").await;
    assert_eq!(status, 202);
    until("the state has left", || {
        world.site("edge").state(uid, Epoch(1)) == Some(HeldState::HandedOver)
    })
    .await;
    cut(&world, "edge").await;
    world.service_when("counter", "aborted", |status| status.migration.is_none()).await;
    pass(&world, LEASE).await;
    pass(&world, MARGIN).await;
    let moved = world.ready("counter", "cloud").await;
    assert_eq!(moved.epoch, Epoch(3));

    world.site("edge").with(|edge| edge.cut = false);

    until("the edge drops what it holds", || {
        world.site("edge").with(|edge| !edge.held.contains_key(uid))
    })
    .await;
    assert_eq!(world.journal.two_writers(), [""; 0]);
    assert_eq!(world.site("cloud").state(uid, Epoch(3)), Some(HeldState::Serving));
}

#[tokio::test]
async fn an_agent_of_another_release_is_refused_with_the_reason() {
    use futures_util::{SinkExt, StreamExt};
    use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

    let world = World::new().await;
    let url = format!("ws://{}{}", world.address.lock().unwrap(), api::paths::LINK);
    let mut request = url.into_client_request().unwrap();
    let bearer = format!("Bearer {}", world.site_token).parse().unwrap();
    request.headers_mut().insert("authorization", bearer);
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    let hello = serde_json::json!({"type": "hello", "version": 99, "site": "new", "labels": {},
        "address": "127.0.0.9", "ingressPort": 1, "peerPort": 2, "cpu": "1", "memory": "1Gi",
        "agentVersion": "9", "held": []});

    socket.send(Message::text(hello.to_string())).await.unwrap();

    let answer = socket.next().await.unwrap().unwrap().into_text().unwrap();
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["type"], "refused");
    assert!(answer["message"].as_str().unwrap().contains("the same release"), "{answer}");
}

#[tokio::test]
async fn what_is_kept_stays_with_its_site() {
    let world = World::with_manual_clock().await;
    let uid = world.serve("counter", "keep").await;
    cut(&world, "edge").await;

    pass(&world, 100 * LEASE).await;

    let lost = |status: &api::service::ServiceStatus| status.phase == Phase::SiteLost;
    let service = world.service_when("counter", "lost", lost).await;
    assert_eq!((service.site.as_deref(), service.epoch), (Some("edge"), Epoch(1)));
    assert!(world.site("edge").serves(&uid));

    world.site("edge").with(|edge| edge.cut = false);
    world.ready("counter", "edge").await;
    assert!(world.site("edge").with(|edge| edge.dropped.is_empty()));
}

#[tokio::test]
async fn a_new_control_plane_waits_as_long_as_an_old_lease_may_hold() {
    let mut world = World::with_manual_clock().await;
    world.serve("anywhere", "restart").await;
    let spec = serde_json::json!({"placement": {"site": "edge"}, "onSiteLost": "restart"});
    let document = world.document("counter", spec).await;
    world.apply(&document).await;
    world.ready("counter", "edge").await;
    cut(&world, "edge").await;
    pass(&world, LEASE - MS).await;

    world.kill().await;
    world.start().await;

    pass(&world, LEASE + MARGIN - MS).await;
    assert_eq!(world.service("counter").await.site.as_deref(), Some("edge"));
    pass(&world, MS).await;
    world.ready("counter", "cloud").await;
    // No other site has the label that this one asks for.
    let service = world.service("anywhere").await;
    assert_eq!((service.phase, service.site.as_deref()), (Phase::SiteLost, Some("edge")));
}

#[tokio::test]
async fn a_newer_session_of_a_site_replaces_the_older() {
    let world = World::new().await;
    let uid = world.serve("counter", "restart").await;
    let token = world.site_token.clone();
    let address = world.address.clone();

    let twin =
        super::site::Site::start("edge", [127, 0, 0, 2], address, token, world.journal.clone());

    // The older agent dials again and takes its turn; what matters is that both are heard.
    until("the twin was let in", || twin.with(|twin| twin.welcomes > 0)).await;
    twin.with(|twin| twin.cut = true);
    until("the older is back", || world.site("edge").with(|edge| edge.welcomes > 1)).await;
    assert!(world.site("edge").serves(&uid));
}
