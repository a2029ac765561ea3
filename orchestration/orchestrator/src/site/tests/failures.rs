//! What dies, and what is cut off.

use super::*;
use api::service::{Durability, OnSiteLost};
use rustix::process::Signal;
use std::thread;

const UID: &str = "uid-echo";

fn restart_elsewhere(wanted: &mut Assignment) {
    wanted.spec.on_site_lost = OnSiteLost::Restart;
    wanted.spec.durability = Durability::Checkpoint;
}

fn checkpoint_each(wanted: &mut Assignment) {
    wanted.spec.env.insert("CHECKPOINT_EACH".into(), "1".into());
}

#[test]
fn a_worker_outlives_its_agent_and_is_adopted() {
    let control = Control::new(&token(), LEASE);
    let mut agent = serving(&control, "edge", 2, |_| {});
    assert_eq!(agent.get("echo", "/").body, "1 GET / 0");
    let pid = agent.worker_pid("t-default");

    agent.kill();
    // Without the control plane: what is needed is on the disk.
    control.set_open(false);
    agent.restart();

    wait_until("it serves again", LIMIT, || {
        let answer = agent.get("echo", "/");
        answer.status == 200 && answer.header("cloudskin-incarnation") == Some("1")
    });
    assert_eq!(agent.worker_pid("t-default"), pid);
    let answer = agent.get("echo", "/");
    assert_eq!(answer.body, "3 GET / 0");
}

#[test]
fn a_dead_worker_is_replaced_and_its_services_start_from_their_checkpoint() {
    let control = Control::new(&token(), LEASE);
    let agent = serving(&control, "edge", 2, checkpoint_each);
    let pid = agent.worker_pid("t-default");
    let mut connection = agent.connect();
    assert_eq!(connection.ask("GET", "echo", "/", &[], b"").body, "1 GET / 0");

    agent.signal_worker("t-default", Signal::KILL);
    let answer = connection.ask("GET", "echo", "/", &[], b"");

    assert_eq!((answer.status, answer.body.as_str()), (200, "2 GET / 0"));
    assert_eq!(answer.header("cloudskin-incarnation"), Some("2"));
    assert_eq!(answer.header("cloudskin-epoch"), Some("1"));
    assert_ne!(agent.worker_pid("t-default"), pid);
    wait_until("the loss is told", LIMIT, || {
        control.held("edge", UID).is_some_and(|held| held.lost.len() == 1 && held.incarnation == 2)
    });
}

#[test]
fn a_request_is_retried_once_its_worker_is_back_and_given_up_if_it_kills_each() {
    let control = Control::new(&token(), LEASE);
    let agent = serving(&control, "edge", 2, checkpoint_each);
    let ingress = agent.ingress;
    let slow = thread::spawn(move || {
        Connection::open(ingress).ask("GET", "echo", "/slow", &[("Cloudskin-Request-Id", "a")], b"")
    });
    thread::sleep(Duration::from_millis(50));
    agent.signal_worker("t-default", Signal::KILL);

    let slow = slow.join().unwrap();
    let deadly = agent.get("echo", "/crash");

    assert_eq!((slow.status, slow.body.as_str()), (200, "1 GET /slow 0"));
    assert_eq!(deadly.status, 503, "{deadly:?}");
    wait_until("others are served", LIMIT, || agent.get("echo", "/").status == 200);
}

#[test]
fn a_hanging_worker_that_closes_nothing_is_killed_before_its_successor_starts() {
    let control = Control::new(&token(), LEASE);
    let mut agent = serving(&control, "edge", 2, checkpoint_each);
    agent.config.limits.worker_silence = Duration::from_secs(1);
    assert_eq!(agent.get("echo", "/").body, "1 GET / 0");
    let old = agent.worker_pid("t-default").unwrap();

    // An agent that comes back finds one that does not even greet.
    agent.kill();
    agent.signal_worker("t-default", Signal::STOP);
    agent.restart();

    wait_for(&control, "edge", UID, HeldState::Starting);
    wait_until("another one serves", LIMIT, || {
        agent.get("echo", "/").header("cloudskin-incarnation") == Some("2")
    });
    assert_ne!(agent.worker_pid("t-default"), Some(old));
    assert!(!std::path::Path::new(&format!("/proc/{old}/fd")).exists());
}

#[test]
fn a_worker_that_says_nothing_any_more_is_killed_and_replaced() {
    let control = Control::new(&token(), LEASE);
    let mut agent = serving(&control, "edge", 2, checkpoint_each);
    agent.config.limits.worker_silence = Duration::from_millis(500);
    agent.kill();
    agent.restart();
    wait_until("it serves", LIMIT, || agent.get("echo", "/").status == 200);
    let old = agent.worker_pid("t-default");

    agent.signal_worker("t-default", Signal::STOP);

    wait_until("another one serves", LIMIT, || {
        agent.get("echo", "/").header("cloudskin-incarnation") == Some("2")
    });
    assert_ne!(agent.worker_pid("t-default"), old);
}

#[test]
fn a_failed_service_is_started_again_and_a_hopeless_one_is_named() {
    let control = Control::new(&token(), LEASE);
    let agent = serving(&control, "edge", 2, checkpoint_each);
    assert_eq!(agent.get("echo", "/").status, 200);
    let hopeless = assignment(&control, "hopeless", 1);
    control.desire("edge", |desired| {
        let mut hopeless = hopeless;
        hopeless.spec.env.insert("BROKEN".into(), "1".into());
        desired.services.push(hopeless);
    });

    let failed = agent.get("echo", "/fail");
    let next = agent.get("echo", "/");

    assert_eq!(failed.status, 502);
    assert_eq!((next.status, next.body.as_str()), (200, "2 GET / 0"));
    assert_eq!(next.header("cloudskin-incarnation"), Some("2"));
    wait_for(&control, "edge", "uid-hopeless", HeldState::Failed);
    assert_eq!(control.held("edge", "uid-hopeless").unwrap().message, "the module is broken");
    wait_until("it is refused", LIMIT, || {
        let answer = agent.get("hopeless", "/");
        answer.status == 503 && answer.problem().message.contains("the module is broken")
    });
}

#[test]
fn one_tenants_worker_dies_alone() {
    let control = Control::new(&token(), LEASE);
    let agent = serving(&control, "edge", 2, |_| {});
    let mut other = assignment(&control, "other", 1);
    other.tenant = "acme".into();
    control.desire("edge", |desired| desired.services.push(other));
    wait_for(&control, "edge", "uid-other", HeldState::Serving);

    agent.signal_worker("t-acme", Signal::KILL);

    assert_eq!(agent.get("echo", "/").header("cloudskin-incarnation"), Some("1"));
    let other = agent.get("other.acme.localhost", "/");
    assert_eq!(other.header("cloudskin-incarnation"), Some("2"));
    assert_eq!(agent.get("echo", "/").body, "2 GET / 0");
}

#[test]
fn cut_off_it_keeps_one_service_and_fences_the_other() {
    let control = Control::new(&token(), LEASE);
    let agent = serving(&control, "edge", 2, restart_elsewhere);
    control.desire("edge", |desired| desired.services.push(assignment(&control, "kept", 1)));
    wait_for(&control, "edge", "uid-kept", HeldState::Serving);
    assert_eq!(agent.get("echo", "/").body, "1 GET / 0");

    control.set_open(false);
    let cut = std::time::Instant::now();
    wait_until("it is fenced", LIMIT, || agent.get("echo", "/").status == 503);
    assert!(cut.elapsed() <= LEASE + Duration::from_millis(300), "{:?}", cut.elapsed());
    let fenced = agent.get("echo", "/");
    assert!(fenced.problem().message.contains("lease has run out"), "{fenced:?}");
    assert_eq!(fenced.header("retry-after"), Some("1"));
    assert_eq!(agent.get("kept", "/").status, 200);
    control.set_open(true);

    // The same epoch: the same cell goes on.
    wait_until("it serves again", LIMIT, || agent.get("echo", "/").status == 200);
    assert_eq!(agent.get("echo", "/").header("cloudskin-incarnation"), Some("1"));
}

#[test]
fn a_restarted_agent_serves_what_may_be_elsewhere_only_once_its_lease_is_renewed() {
    let control = Control::new(&token(), LEASE);
    let mut agent = serving(&control, "edge", 2, restart_elsewhere);
    assert_eq!(agent.get("echo", "/").body, "1 GET / 0");

    agent.kill();
    control.set_open(false);
    agent.restart();
    for _ in 0..5 {
        assert_eq!(agent.get("echo", "/").status, 503);
        thread::sleep(Duration::from_millis(20));
    }
    control.set_open(true);

    wait_until("it serves again", LIMIT, || agent.get("echo", "/").status == 200);
    assert_eq!(agent.get("echo", "/").header("cloudskin-incarnation"), Some("1"));
}

#[test]
fn a_lost_sites_service_goes_on_elsewhere_from_its_last_checkpoint() {
    let control = Control::new(&token(), LEASE);
    let edge = serving(&control, "edge", 2, |wanted| {
        restart_elsewhere(wanted);
        checkpoint_each(wanted);
    });
    let cloud = Agent::start(&control, "cloud", 3);
    let third = Agent::start(&control, "third", 4);
    control.desire("edge", |desired| desired.peers = vec![cloud.as_peer(), third.as_peer()]);
    control.desire("cloud", |desired| desired.peers = vec![third.as_peer()]);
    let kept = |agent: &Agent| {
        let bearer = format!("Bearer {}", token().reveal());
        let path = format!("/peer/v1/checkpoints/{UID}");
        let mut connection = Connection::open(agent.peers);
        connection.ask("GET", "x", &path, &[("Authorization", &bearer)], b"")
    };
    wait_until("both peers keep the latest", LIMIT, || {
        let count = edge.get("echo", "/").body;
        let count = count.split(' ').next().unwrap();
        [&cloud, &third]
            .iter()
            .all(|agent| kept(agent).body.contains(&format!("\"count\":{count},")))
    });
    // A file may be newer than the number that it came with.
    let last: serde_json::Value = serde_json::from_str(&kept(&cloud).body).unwrap();
    let last = last["count"].as_u64().unwrap();

    // The site is cut off for good; another takes over under the next epoch.
    let mut wanted = assignment(&control, "echo", 2);
    restart_elsewhere(&mut wanted);
    wanted.restore = true;
    control.desire("cloud", |desired| desired.services.push(wanted));
    wait_for(&control, "cloud", UID, HeldState::Serving);
    let answer = cloud.get("echo", "/");
    assert_eq!(answer.body, format!("{} GET / 0", last + 1));
    assert_eq!(answer.header("cloudskin-epoch"), Some("2"));

    // The lost site comes back with an old epoch, and drops it.
    control.desire("edge", |desired| {
        desired.services.clear();
        desired.drop = vec![(UID.into(), Epoch(1))];
    });
    wait_until("it is dropped", LIMIT, || edge.get("echo", "/").status == 404);
    assert_eq!(kept(&third).status, 200, "what was started from stays");
}

#[test]
fn a_copy_that_a_peer_lost_is_left_with_it_again_though_nobody_asks_the_service() {
    let control = Control::new(&token(), LEASE);
    let edge = serving(&control, "edge", 2, |wanted| {
        restart_elsewhere(wanted);
        checkpoint_each(wanted);
    });
    let [cloud, third] =
        [("cloud", 3), ("third", 4)].map(|(name, host)| Agent::start(&control, name, host));
    control.desire("edge", |desired| desired.peers = vec![cloud.as_peer()]);
    let ask = |agent: &Agent, method: &str, query: &str| {
        let bearer = format!("Bearer {}", token().reveal());
        let path = format!("/peer/v1/checkpoints/{UID}{query}");
        let mut connection = Connection::open(agent.peers);
        connection.ask(method, "x", &path, &[("Authorization", &bearer)], b"").status
    };
    edge.get("echo", "/");
    wait_until("the peer has a copy", LIMIT, || ask(&cloud, "GET", "") == 200);

    assert_eq!(ask(&cloud, "DELETE", "?epoch=9"), 204);
    assert_eq!(ask(&cloud, "GET", ""), 404);
    // Another peer comes: both get what the service wrote long ago.
    control.desire("edge", |desired| desired.peers.push(third.as_peer()));

    for peer in [&cloud, &third] {
        wait_until("the peer has a copy again", LIMIT, || ask(peer, "GET", "") == 200);
    }
}

#[test]
fn the_same_site_goes_on_under_the_next_epoch_with_what_it_has() {
    let control = Control::new(&token(), LEASE);
    let agent = serving(&control, "edge", 2, restart_elsewhere);
    assert_eq!(agent.get("echo", "/").body, "1 GET / 0");

    control.desire("edge", |desired| {
        desired.services[0].epoch = Epoch(5);
        desired.services[0].restore = true;
    });
    wait_until("it has the next epoch", LIMIT, || {
        control
            .held("edge", UID)
            .is_some_and(|held| held.epoch == Epoch(5) && held.incarnation == 1)
    });
    wait_for(&control, "edge", UID, HeldState::Serving);
    let answer = agent.get("echo", "/");
    // An older one is no reason to go back.
    control.desire("edge", |desired| desired.services[0].epoch = Epoch(4));
    thread::sleep(Duration::from_millis(50));

    assert_eq!(answer.body, "2 GET / 0");
    assert_eq!(answer.header("cloudskin-epoch"), Some("5"));
    assert_eq!(agent.get("echo", "/").header("cloudskin-epoch"), Some("5"));
}

#[test]
fn peers_keep_only_what_is_newest_and_whole() {
    let control = Control::new(&token(), LEASE);
    let agent = Agent::start(&control, "edge", 2);
    let bearer = format!("Bearer {}", token().reveal());
    let put = |stamp: [&str; 3], body: &[u8]| {
        let headers = [
            ("Authorization", bearer.as_str()),
            ("Cloudskin-Epoch", stamp[0]),
            ("Cloudskin-Incarnation", stamp[1]),
            ("Cloudskin-Sequence", stamp[2]),
        ];
        let mut connection = Connection::open(agent.peers);
        connection.ask("PUT", "x", "/peer/v1/checkpoints/uid-a", &headers, body).status
    };
    let get = || {
        let mut connection = Connection::open(agent.peers);
        let headers = [("Authorization", bearer.as_str())];
        connection.ask("GET", "x", "/peer/v1/checkpoints/uid-a", &headers, b"").body
    };

    assert_eq!(put(["1", "1", "7"], b"old"), 204);
    assert_eq!(put(["1", "2", "1"], b"newer"), 204);
    assert_eq!(put(["1", "1", "9"], b"late"), 409);
    assert_eq!(put(["1", "2", "x"], b"nonsense"), 400);
    assert_eq!(get(), "newer");
    let mut broken = Connection::open(agent.peers);
    let head = format!(
        "PUT /peer/v1/checkpoints/uid-a HTTP/1.1\r\nHost: x\r\nAuthorization: {bearer}\r\n\
         Cloudskin-Epoch: 9\r\nCloudskin-Incarnation: 1\r\nCloudskin-Sequence: 1\r\n\
         Content-Length: 100\r\n\r\nhalf"
    );
    broken.send(head.as_bytes());
    drop(broken);
    let folder = agent.config.data_dir.join("checkpoints");
    wait_until("the half is gone", LIMIT, || std::fs::read_dir(&folder).unwrap().count() == 1);
    assert_eq!(get(), "newer");
    let escape = Connection::open(agent.peers).ask(
        "PUT",
        "x",
        "/peer/v1/checkpoints/..%2Fa",
        &[
            ("Authorization", bearer.as_str()),
            ("Cloudskin-Epoch", "1"),
            ("Cloudskin-Incarnation", "1"),
            ("Cloudskin-Sequence", "1"),
        ],
        b"x",
    );
    assert_eq!(escape.status, 400);
}

#[test]
fn a_worker_of_another_version_is_left_to_itself_and_then_replaced() {
    let control = Control::new(&token(), LEASE);
    let mut agent = serving(&control, "edge", 2, checkpoint_each);
    assert_eq!(agent.get("echo", "/").status, 200);
    let old = agent.worker_pid("t-default").unwrap();
    agent.kill();
    // In its place runs one that speaks another version; it ends by itself.
    agent.signal_worker("t-default", Signal::KILL);
    let workers = agent.config.data_dir.join("workers");
    let socket = workers.join("t-default.sock");
    std::fs::remove_file(&socket).unwrap();
    let mut args = agent.config.worker_args.clone();
    args.push(worker::ALIEN.into());
    let mut alien = std::process::Command::new(&agent.config.worker_program)
        .args(args)
        .arg("--socket")
        .arg(&socket)
        .arg("--token-file")
        .arg(workers.join("t-default.token"))
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    wait_until("it listens", LIMIT, || socket.exists());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let note = || {
        let process = crate::site::process::Process::open(alien.id()).unwrap();
        process.to_file(&workers.join("t-default.pid")).unwrap();
    };
    runtime.block_on(async { note() });

    agent.restart();
    thread::sleep(Duration::from_millis(300));

    assert!(alien.try_wait().unwrap().is_none(), "nobody may kill it");
    assert_eq!(control.held("edge", UID).unwrap().incarnation, 1);
    let started = std::time::Instant::now();
    wait_until("its successor serves", LIMIT, || {
        let _ = alien.try_wait();
        agent.get("echo", "/").header("cloudskin-incarnation") == Some("2")
    });
    assert!(started.elapsed() > Duration::from_secs(2), "{:?}", started.elapsed());
    assert_ne!(agent.worker_pid("t-default"), Some(old));
}

#[test]
fn an_agent_that_ends_leaves_or_stops_its_workers_as_it_is_told() {
    let control = Control::new(&token(), LEASE);
    let mut agent = serving(&control, "edge", 2, |_| {});
    let pid = agent.worker_pid("t-default").unwrap();
    let alive = || std::path::Path::new(&format!("/proc/{pid}/fd")).exists();

    agent.shutdown.take().unwrap().send(Exit::LeaveWorkers).unwrap();
    wait_until("the agent is gone", LIMIT, || std::net::TcpStream::connect(agent.ingress).is_err());
    assert!(alive());
    agent.kill();
    agent.restart();
    wait_until("it serves", LIMIT, || agent.get("echo", "/").status == 200);
    agent.shutdown.take().unwrap().send(Exit::StopWorkers).unwrap();

    wait_until("the worker is gone", LIMIT, || !alive());
}

#[test]
fn waiting_requests_are_bounded() {
    let control = Control::new(&token(), LEASE);
    let agent = Agent::start_with(&control, "edge", 2, |config| {
        config.limits.waiting_requests_max = 2;
        config.limits.buffered_bytes_max = 600;
        // Nothing ever serves.
        config.worker_program = "/nonexistent".into();
    });
    control.desire("edge", |desired| {
        let mut wanted = assignment(&control, "echo", 1);
        wanted.spec.request_timeout = types::Period::from_millis(400);
        wanted.spec.on_site_lost = OnSiteLost::Keep;
        desired.services.push(wanted);
    });
    wait_for(&control, "edge", UID, HeldState::Failed);
    wait_until("it is refused", LIMIT, || agent.get("echo", "/").status == 503);

    let answer = agent.get("echo", "/");
    let large = agent.connect().ask("POST", "echo", "/", &[], &[0; 700]);

    assert!(answer.problem().message.contains("/nonexistent"), "{answer:?}");
    assert_eq!(large.status, 429, "{large:?}");
}
