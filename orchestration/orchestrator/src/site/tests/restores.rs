//! Services that go on from a user's snapshot.

use super::*;
use api::{
    link::StartState,
    service::{Durability, OnSiteLost},
};
use rustix::process::Signal;

const UID: &str = "uid-echo";

/// Leaves a snapshot of this count with the control plane.
fn snapshot(control: &Control, count: u64) -> types::Digest {
    let memory = format!("{{\"count\":{count},\"sequence\":4,\"answers\":{{}}}}");
    let module = control.blob(b"a module");
    let bytes = cells::snapshot::sample(module, Epoch(9), memory.as_bytes()).unwrap();
    control.blob(&bytes)
}

/// Says that the service was put back under this epoch.
fn put_back(control: &Control, epoch: u64, digest: types::Digest) {
    control.desire("edge", |desired| {
        let wanted = &mut desired.services[0];
        wanted.epoch = Epoch(epoch);
        wanted.restore = true;
        wanted.snapshot = Some(StartState { epoch: Epoch(epoch), digest });
        desired.drop = vec![(UID.into(), Epoch(epoch - 1))];
    });
}

fn serves_under(control: &Control, site: &str, epoch: u64) {
    let begun = std::time::Instant::now();
    loop {
        let held = control.held(site, UID);
        let state = held.as_ref().map(|held| (held.epoch, held.state));
        if state == Some((Epoch(epoch), HeldState::Serving)) {
            return;
        }
        assert!(begun.elapsed() < LIMIT, "it does not serve under epoch {epoch}: {held:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn the_restored_state_goes_on_and_no_crash_brings_the_old_one_back() {
    let control = Control::new(&token(), LEASE);
    let mut agent = serving(&control, "edge", 2, |_| {});
    for count in 1..=3 {
        assert_eq!(agent.get("echo", "/").body, format!("{count} GET / 0"));
    }
    let digest = snapshot(&control, 20);

    put_back(&control, 2, digest);
    serves_under(&control, "edge", 2);

    // It dies before it has written any checkpoint of its own.
    agent.signal_worker("t-default", Signal::KILL);
    let answer = agent.get("echo", "/");
    assert_eq!((answer.body.as_str(), answer.header("cloudskin-epoch")), ("21 GET / 0", Some("2")));
    agent.kill();
    agent.restart();
    wait_until("it serves on", LIMIT, || agent.get("echo", "/").body.starts_with("2"));
    // Once more, and to the same.
    put_back(&control, 3, digest);
    serves_under(&control, "edge", 3);
    assert_eq!(agent.get("echo", "/").body, "21 GET / 0");
}

#[test]
fn a_takeover_never_starts_from_before_the_restore() {
    let control = Control::new(&token(), LEASE);
    let edge = serving(&control, "edge", 2, |wanted| {
        wanted.spec.on_site_lost = OnSiteLost::Restart;
        wanted.spec.durability = Durability::Checkpoint;
        wanted.spec.env.insert("CHECKPOINT_EACH".into(), "1".into());
    });
    let cloud = Agent::start(&control, "cloud", 3);
    control.desire("edge", |desired| desired.peers = vec![cloud.as_peer()]);
    let kept = || {
        let bearer = format!("Bearer {}", token().reveal());
        let path = format!("/peer/v1/checkpoints/{UID}");
        let mut connection = Connection::open(cloud.peers);
        let answer = connection.ask("GET", "x", &path, &[("Authorization", &bearer)], b"");
        answer.header("cloudskin-epoch").map(str::to_owned)
    };
    wait_until("the cloud keeps a checkpoint", LIMIT, || {
        edge.get("echo", "/");
        kept().as_deref() == Some("1")
    });
    let digest = snapshot(&control, 20);
    let take_over = |epoch| {
        let mut wanted = assignment(&control, "echo", epoch);
        wanted.spec.on_site_lost = OnSiteLost::Restart;
        wanted.restore = true;
        wanted.snapshot = Some(StartState { epoch: Epoch(2), digest });
        control.desire("cloud", |desired| desired.services = vec![wanted]);
        serves_under(&control, "cloud", epoch);
        cloud.get("echo", "/").body
    };

    // The edge was lost before it left a checkpoint of the epoch that the restore began.
    assert_eq!(take_over(3), "21 GET / 0");
    assert_eq!(kept().as_deref(), Some("1"));

    // Back at the edge it is served for a while, and what the edge leaves is newer.
    control.desire("cloud", |desired| desired.services.clear());
    wait_until("the cloud has dropped it", LIMIT, || cloud.get("echo", "/").status == 404);
    control.desire("edge", |desired| {
        desired.services[0].epoch = Epoch(4);
        desired.services[0].restore = true;
        desired.services[0].snapshot = Some(StartState { epoch: Epoch(2), digest });
    });
    serves_under(&control, "edge", 4);
    let last = edge.get("echo", "/").body;
    assert_eq!(last, "21 GET / 0", "what the edge held was of the first epoch");
    wait_until("the cloud keeps a newer one", LIMIT, || kept().as_deref() == Some("4"));
    assert_eq!(take_over(5), "22 GET / 0");
}

#[test]
fn until_the_snapshot_is_there_the_old_state_goes_on() {
    let control = Control::new(&token(), LEASE);
    let agent = serving(&control, "edge", 2, |_| {});
    assert_eq!(agent.get("echo", "/").body, "1 GET / 0");
    let absent = types::Digest::from_sha256([3; 32]);

    put_back(&control, 2, absent);
    std::thread::sleep(Duration::from_millis(50));

    assert_eq!(agent.get("echo", "/").body, "2 GET / 0");
    assert_eq!(control.held("edge", UID).unwrap().epoch, Epoch(1));
}

#[test]
fn an_agent_killed_at_any_moment_of_a_restore_ends_it() {
    for pause in [0, 5, 20, 60, 150] {
        let control = Control::new(&token(), LEASE);
        let mut agent = serving(&control, "edge", 2, |_| {});
        assert_eq!(agent.get("echo", "/").body, "1 GET / 0");

        put_back(&control, 2, snapshot(&control, 20));
        std::thread::sleep(Duration::from_millis(pause));
        agent.kill();
        agent.restart();

        serves_under(&control, "edge", 2);
        assert_eq!(agent.get("echo", "/").body, "21 GET / 0", "killed after {pause} ms");
    }
}
