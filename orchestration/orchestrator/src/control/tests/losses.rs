//! What is told of lost requests, and where it is named.

use super::world::{LEASE, MARGIN, World, until};
use api::{
    link::{Segment, Stamp, Tail},
    service::Lost,
};
use types::Epoch;

/// What the edge had answered under the first epoch after its fifth and its sixth checkpoint.
fn tail(uid: &str) -> Tail {
    let segment =
        |sequence, id: &str| Segment { sequence, count: 1, request_ids: vec![id.to_owned()] };
    let segments = vec![segment(5, "kept"), segment(6, "lost")];
    Tail { uid: uid.into(), epoch: Epoch(1), incarnation: 4, at: 7, segments }
}

#[tokio::test]
async fn what_a_lost_site_answered_behind_the_takeovers_checkpoint_is_named_once_it_is_back() {
    let mut world = World::with_manual_clock().await;
    let spec = serde_json::json!({"placement": {"site": "edge"}, "onSiteLost": "restart"});
    let document = world.document("counter", spec).await;
    let (_, body) = world.apply(&document).await;
    world.ready("counter", "edge").await;
    let uid = body["metadata"]["uid"].as_str().unwrap().to_owned();
    world.site("edge").with(|edge| edge.cut = true);
    until("the site has hung up", || world.site("edge").with(|edge| !edge.connected)).await;
    for _ in 0..2 {
        world.pass((LEASE + MARGIN) / 2);
        tokio::time::sleep(std::time::Duration::from_millis(60)).await;
    }
    world.ready("counter", "cloud").await;
    let noted = || world.site("edge").with(|edge| edge.noted.contains(&(uid.clone(), Epoch(1))));

    // Nobody knows yet from where the cloud went on: the edge keeps what it has to say.
    world.site("edge").with(|edge| {
        edge.cut = false;
        edge.tails = vec![tail(&uid)];
    });
    until("the edge is back", || world.site("edge").with(|edge| edge.connected)).await;
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert!(!noted());
    assert_eq!(world.service("counter").await.lost, []);
    world.site("cloud").with(|cloud| {
        let held = cloud.held.get_mut(&uid).unwrap();
        let from = Stamp { epoch: Epoch(1), incarnation: 4, sequence: 6 };
        held[0].started_from = Some(from);
    });

    let named = |status: &api::service::ServiceStatus| !status.lost.is_empty();
    let service = world.service_when("counter", "told of its losses", named).await;
    let (epoch, incarnation) = (Epoch(1), 4);
    let lost = Lost { epoch, incarnation, at: 7, count: 1, request_ids: vec!["lost".into()] };
    assert_eq!(service.lost, std::slice::from_ref(&lost));
    until("the edge need not say it again", noted).await;

    // It says it again all the same, to another control plane: that changes nothing.
    world.kill().await;
    world.start().await;
    until("both are back", || world.sites.iter().all(|site| site.with(|m| m.connected))).await;
    world.site("edge").with(|edge| edge.noted.clear());
    until("it is noted again", || {
        world.site("edge").with(|edge| edge.noted.contains(&(uid.clone(), Epoch(1))))
    })
    .await;
    assert_eq!(world.service("counter").await.lost, [lost]);
    // Of a service that is gone nothing is named.
    world.site("edge").with(|edge| edge.tails = vec![tail("gone")]);
    until("nobody asks for it", || {
        world.site("edge").with(|edge| edge.noted.contains(&("gone".into(), Epoch(1))))
    })
    .await;
}

#[tokio::test]
async fn what_a_site_says_once_stays_known() {
    let world = World::new().await;
    let uid = world.serve("counter", "keep").await;
    let say = |incarnation: Option<u32>| {
        let lost = incarnation.map(|incarnation| Lost {
            epoch: Epoch(1),
            incarnation,
            at: 7,
            count: 2,
            request_ids: vec![format!("id-{incarnation}")],
        });
        world.site("edge").with(|edge| {
            edge.held.get_mut(&uid).unwrap()[0].lost = lost.into_iter().collect();
        });
    };

    say(Some(1));
    world.service_when("counter", "told of the first", |status| status.lost.len() == 1).await;
    say(Some(2));
    let service =
        world.service_when("counter", "told of the second", |status| status.lost.len() == 2).await;
    say(None);
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;

    assert_eq!(service.lost[0].incarnation, 2);
    assert_eq!(world.service("counter").await.lost, service.lost);
}
