//! Services that move.

use super::*;
use api::{
    Problem,
    link::{Call, Desired, Reply},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};
use types::ErrorKind;

/// How long late requests are forwarded.
const FORWARD_MS: u64 = 2000;

const UID: &str = "uid-echo";

/// Two sites, the first of which serves.
struct Pair {
    control: Control,
    edge: Agent,
    cloud: Agent,
}

impl Pair {
    fn new() -> Self {
        let control = Control::new(&token(), LEASE);
        let edge = serving(&control, "edge", 2, |_| {});
        let cloud = Agent::start(&control, "cloud", 3);
        wait_until("both are there", LIMIT, || control.connections("cloud") == 1);
        Self { control, edge, cloud }
    }

    fn agent(&self, site: &str) -> &Agent {
        if site == "edge" { &self.edge } else { &self.cloud }
    }

    fn prepare(
        &self,
        migration: &str,
        to: &str,
        epoch: u64,
    ) -> Result<(SocketAddr, String), Problem> {
        let assignment = Box::new(assignment(&self.control, "echo", epoch));
        match self.control.call(to, Call::Prepare { migration: migration.into(), assignment })? {
            Reply::Prepared { address, secret } => Ok((address, secret)),
            other => panic!("{other:?}"),
        }
    }

    fn transfer(
        &self,
        migration: &str,
        from: &str,
        epoch: u64,
        (address, secret): (SocketAddr, String),
    ) -> Result<Reply, Problem> {
        let (migration, uid) = (migration.to_owned(), UID.to_owned());
        let call = Call::Transfer { migration, uid, epoch: Epoch(epoch), address, secret };
        self.control.call(from, call)
    }

    fn commit(&self, migration: &str, from: &str, to: &str, epoch: u64) {
        let activate = Call::Activate { migration: migration.into() };
        assert_eq!(self.control.call(to, activate), Ok(Reply::Done));
        let release = Call::Release {
            migration: migration.into(),
            to: self.agent(to).ingress,
            forward_ms: FORWARD_MS,
        };
        assert_eq!(self.control.call(from, release), Ok(Reply::Done));
        self.control.desire(from, |desired| desired.services.clear());
        let wanted = assignment(&self.control, "echo", epoch);
        self.control.desire(to, |desired| desired.services = vec![wanted]);
        wait_for(&self.control, to, UID, HeldState::Serving);
    }

    fn migrate(&self, migration: &str, from: &str, to: &str, epoch: u64) {
        let target = self.prepare(migration, to, epoch).unwrap();
        let held = self.control.held(from, UID).unwrap().epoch.0;
        self.transfer(migration, from, held, target).unwrap();
        self.commit(migration, from, to, epoch);
    }
}

#[test]
fn frames_in_flight_are_each_answered_once_and_in_order() {
    let pair = Pair::new();
    let stop = Arc::new(AtomicBool::new(false));
    // One kept-alive connection to one site, whatever moves.
    let camera = {
        let (ingress, stop) = (pair.edge.ingress, stop.clone());
        thread::spawn(move || {
            let mut connection = Connection::open(ingress);
            let mut answers = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let answer = connection.ask("POST", "echo", "/frame", &[], b"jpeg");
                assert_eq!(answer.status, 200, "{answer:?}");
                answers.push(answer);
            }
            answers
        })
    };

    pair.migrate("m-1", "edge", "cloud", 2);
    pair.migrate("m-2", "cloud", "edge", 3);
    pair.migrate("m-3", "edge", "cloud", 4);
    stop.store(true, Ordering::Relaxed);

    let answers: Vec<Answer> = camera.join().unwrap();
    for (at, answer) in answers.iter().enumerate() {
        assert_eq!(answer.body, format!("{} POST /frame 4", at + 1));
    }
    let epochs: Vec<&str> = answers.iter().filter_map(|a| a.header("cloudskin-epoch")).collect();
    assert!(epochs.is_sorted(), "{epochs:?}");
    let last = answers.last().unwrap();
    assert_eq!(last.header("cloudskin-epoch"), Some("4"));
    assert_eq!(last.header("cloudskin-site"), Some("cloud"));
    // Where they came, they are counted, until it forwards no more.
    wait_until("all are counted", LIMIT, || {
        let held = pair.control.held("edge", UID);
        held.is_none_or(|held| held.answers.count == answers.len() as u64)
    });
    assert!(!pair.edge.config.data_dir.join("services").join(UID).exists());
}

#[test]
fn requests_wait_between_hand_over_and_verdict() {
    let pair = Pair::new();
    let target = pair.prepare("m", "cloud", 2).unwrap();
    assert_eq!(pair.edge.get("echo", "/").body, "1 GET / 0");
    pair.transfer("m", "edge", 1, target).unwrap();
    wait_for(&pair.control, "edge", UID, HeldState::HandedOver);
    wait_for(&pair.control, "cloud", UID, HeldState::Prepared);
    let ask = |ingress: SocketAddr| {
        thread::spawn(move || {
            let mut connection = Connection::open(ingress);
            (connection.ask("GET", "echo", "/", &[], b""), connection)
        })
    };

    let (old, new) = (ask(pair.edge.ingress), ask(pair.cloud.ingress));
    thread::sleep(Duration::from_millis(100));
    assert!(!old.is_finished() && !new.is_finished());
    // What an older view of the world says decides nothing.
    pair.control.desire("edge", |_| {});
    pair.control.desire("cloud", |_| {});
    thread::sleep(Duration::from_millis(50));
    assert!(!old.is_finished() && !new.is_finished());
    pair.commit("m", "edge", "cloud", 2);

    let ((old, mut kept), (new, _)) = (old.join().unwrap(), new.join().unwrap());
    let mut bodies = [old.body.as_str(), new.body.as_str()];
    bodies.sort_unstable();
    assert_eq!(bodies, ["2 GET / 0", "3 GET / 0"]);
    assert_eq!(old.header("cloudskin-site"), Some("cloud"));
    // The old ingress forwards for a while, then tells where to go, and closes.
    wait_for(&pair.control, "edge", UID, HeldState::Forwarding);
    let mut moved = None;
    wait_until("the forwarding ends", LIMIT, || {
        let answer = kept.ask("GET", "echo", "/", &[], b"");
        let ended = answer.status != 200;
        moved = Some(answer);
        ended
    });
    let moved = moved.unwrap();
    assert_eq!(moved.status, 421);
    assert_eq!(moved.header("cloudskin-moved-to"), Some(pair.cloud.ingress.to_string().as_str()));
    assert_eq!(moved.header("connection"), Some("close"));
    assert!(kept.is_closed());
    wait_until("nobody hears of it", LIMIT, || pair.control.held("edge", UID).is_none());
}

#[test]
fn an_abort_lets_the_source_serve_on() {
    let pair = Pair::new();
    assert_eq!(pair.edge.get("echo", "/").body, "1 GET / 0");
    let target = pair.prepare("m", "cloud", 2).unwrap();
    pair.transfer("m", "edge", 1, target).unwrap();
    let waiting = {
        let ingress = pair.edge.ingress;
        thread::spawn(move || Connection::open(ingress).ask("GET", "echo", "/", &[], b""))
    };
    let abort = || Call::Abort { migration: "m".into() };

    for site in ["edge", "cloud", "edge", "cloud"] {
        assert_eq!(pair.control.call(site, abort()), Ok(Reply::Done));
    }

    let answer = waiting.join().unwrap();
    assert_eq!(answer.body, "2 GET / 0");
    assert_eq!(answer.header("cloudskin-epoch"), Some("1"));
    assert_eq!(pair.cloud.get("echo", "/").status, 404);
    wait_until("the target has nothing", LIMIT, || pair.control.held("cloud", UID).is_none());
    assert!(!pair.cloud.config.data_dir.join("services").join(UID).exists());
    pair.migrate("m-2", "edge", "cloud", 3);
    assert_eq!(pair.cloud.get("echo", "/").body, "3 GET / 0");
}

#[test]
fn a_transfer_that_cannot_reach_its_target_changes_nothing() {
    let pair = Pair::new();
    let nobody = "127.0.0.1:1".parse().unwrap();

    let failed = pair.transfer("m", "edge", 1, (nobody, "s".into())).unwrap_err();
    let fenced = pair.transfer("m", "edge", 7, (nobody, "s".into())).unwrap_err();
    let missing = pair.transfer("m", "cloud", 1, (nobody, "s".into())).unwrap_err();

    assert_eq!(failed.kind, ErrorKind::Unavailable);
    assert_eq!(fenced.kind, ErrorKind::Fenced);
    assert_eq!(missing.kind, ErrorKind::NotFound);
    assert_eq!(pair.edge.get("echo", "/").body, "1 GET / 0");
    for call in [
        Call::Activate { migration: "m".into() },
        Call::Release { migration: "m".into(), to: nobody, forward_ms: 1 },
    ] {
        assert_eq!(pair.control.call("edge", call).unwrap_err().kind, ErrorKind::NotFound);
    }
}

#[test]
fn an_abort_ends_a_transfer_that_hangs() {
    let control = Control::new(&token(), LEASE);
    let edge = serving(&control, "edge", 2, |wanted| {
        wanted.spec.env.insert("TRANSFER_HANGS".into(), "1".into());
    });
    let cloud = Agent::start(&control, "cloud", 3);
    wait_until("both are there", LIMIT, || control.connections("cloud") == 1);
    let pair = Pair { control, edge, cloud };
    let (address, secret) = pair.prepare("m", "cloud", 2).unwrap();
    let transfer =
        Call::Transfer { migration: "m".into(), uid: UID.into(), epoch: Epoch(1), address, secret };
    let transferring = pair.control.begin("edge", transfer);
    thread::sleep(Duration::from_millis(60));
    assert_eq!(pair.edge.get("echo", "/").body, "1 GET / 0");

    let aborted = pair.control.call("edge", Call::Abort { migration: "m".into() });

    assert_eq!(aborted, Ok(Reply::Done));
    assert!(transferring.blocking_recv().unwrap().is_err());
    assert_eq!(pair.edge.get("echo", "/").body, "2 GET / 0");
}

#[test]
fn an_upload_in_progress_goes_where_the_service_went() {
    let pair = Pair::new();
    let mut connection = pair.edge.connect();
    connection.send(b"POST /upload HTTP/1.1\r\nHost: echo\r\nContent-Length: 10\r\n\r\n12345");

    pair.migrate("m", "edge", "cloud", 2);
    connection.send(b"67890");

    let answer = connection.answer().unwrap();
    assert_eq!(answer.body, "1 POST /upload 10");
    assert_eq!(answer.header("cloudskin-site"), Some("cloud"));
    assert_eq!(answer.header("cloudskin-epoch"), Some("2"));
}

#[test]
fn the_verdict_may_come_by_desired_and_is_never_lost_with_an_agent() {
    let mut pair = Pair::new();
    assert_eq!(pair.edge.get("echo", "/").body, "1 GET / 0");
    let target = pair.prepare("m", "cloud", 2).unwrap();
    pair.transfer("m", "edge", 1, target).unwrap();

    // Both agents die between the transfer and the verdict.
    pair.edge.kill();
    pair.cloud.kill();
    pair.edge.restart();
    pair.cloud.restart();
    wait_until("both are back", LIMIT, || {
        pair.control.connections("edge") == 2 && pair.control.connections("cloud") == 2
    });
    wait_for(&pair.control, "edge", UID, HeldState::HandedOver);
    wait_for(&pair.control, "cloud", UID, HeldState::Prepared);
    let wanted = assignment(&pair.control, "echo", 2);
    pair.control.desire("cloud", |desired| desired.services = vec![wanted]);
    wait_for(&pair.control, "cloud", UID, HeldState::Serving);

    // The call that follows finds it done.
    pair.commit("m", "edge", "cloud", 2);
    assert_eq!(pair.cloud.get("echo", "/").body, "2 GET / 0");
    assert_eq!(pair.edge.get("echo", "/").body, "3 GET / 0");
}

#[test]
fn what_was_activated_is_not_dropped_by_older_news() {
    let pair = Pair::new();
    let target = pair.prepare("m", "cloud", 2).unwrap();
    pair.transfer("m", "edge", 1, target).unwrap();
    let activate = Call::Activate { migration: "m".into() };
    assert_eq!(pair.control.call("cloud", activate), Ok(Reply::Done));

    // Made before the switch, heard after it: the target's does not name it yet, the source's
    // still does.
    pair.control.say("cloud", Desired { revision: 100, ..Desired::default() });
    let release =
        Call::Release { migration: "m".into(), to: pair.cloud.ingress, forward_ms: FORWARD_MS };
    assert_eq!(pair.control.call("edge", release), Ok(Reply::Done));
    let old = Desired {
        revision: 100,
        services: vec![assignment(&pair.control, "echo", 1)],
        ..Desired::default()
    };
    pair.control.say("edge", old);

    assert_eq!(pair.edge.get("echo", "/").header("cloudskin-epoch"), Some("2"));
    thread::sleep(Duration::from_millis(100));
    assert_eq!(pair.edge.get("echo", "/").body, "2 GET / 0");
    assert_eq!(pair.cloud.get("echo", "/").body, "3 GET / 0");
    // What is listed is dropped whatever was activated.
    pair.control.say(
        "cloud",
        Desired { revision: 101, drop: vec![(UID.into(), Epoch(2))], ..Desired::default() },
    );
    wait_until("it is gone", LIMIT, || pair.cloud.get("echo", "/").status == 404);
}

#[test]
fn a_prepared_state_that_is_lost_is_said_to_be() {
    let pair = Pair::new();
    pair.prepare("m", "cloud", 2).unwrap();

    pair.cloud.signal_worker("t-default", rustix::process::Signal::KILL);

    wait_for(&pair.control, "cloud", UID, HeldState::Failed);
    let lost = pair.control.call("cloud", Call::Activate { migration: "m".into() }).unwrap_err();
    assert_eq!(lost.kind, ErrorKind::Unavailable);
    assert!(lost.message.contains("lost"), "{lost}");
    let abort = Call::Abort { migration: "m".into() };
    assert_eq!(pair.control.call("cloud", abort), Ok(Reply::Done));
    assert_eq!(pair.edge.get("echo", "/").body, "1 GET / 0");
}

#[test]
fn a_worker_that_dies_at_its_activation_is_started_from_the_state_that_arrived() {
    let pair = Pair::new();
    assert_eq!(pair.edge.get("echo", "/").body, "1 GET / 0");
    let target = pair.prepare("m", "cloud", 2).unwrap();
    pair.transfer("m", "edge", 1, target).unwrap();
    pair.cloud.signal_worker("t-default", rustix::process::Signal::KILL);
    wait_for(&pair.control, "cloud", UID, HeldState::Failed);

    pair.commit("m", "edge", "cloud", 2);

    assert_eq!(pair.cloud.get("echo", "/").body, "2 GET / 0");
    let answer = pair.cloud.get("echo", "/");
    assert_eq!(answer.header("cloudskin-epoch"), Some("2"));
    assert_eq!(answer.header("cloudskin-incarnation"), Some("2"));
}

#[test]
fn a_source_whose_worker_died_before_the_verdict_waits_for_it() {
    let pair = Pair::new();
    let target = pair.prepare("m", "cloud", 2).unwrap();
    pair.transfer("m", "edge", 1, target).unwrap();
    pair.edge.signal_worker("t-default", rustix::process::Signal::KILL);
    thread::sleep(Duration::from_millis(150));

    assert_eq!(pair.control.held("edge", UID).unwrap().state, HeldState::HandedOver);
    let abort = Call::Abort { migration: "m".into() };
    assert_eq!(pair.control.call("edge", abort), Ok(Reply::Done));

    wait_for(&pair.control, "edge", UID, HeldState::Serving);
    assert_eq!(pair.control.held("edge", UID).unwrap().incarnation, 2);
}

#[test]
fn two_sites_that_forward_to_each_other_stop() {
    let pair = Pair::new();
    pair.migrate("m-1", "edge", "cloud", 2);
    let target = pair.prepare("m-2", "edge", 3).unwrap();
    pair.transfer("m-2", "cloud", 2, target).unwrap();
    let lie = Call::Release { migration: "m-2".into(), to: pair.edge.ingress, forward_ms: 60_000 };
    assert_eq!(pair.control.call("cloud", lie), Ok(Reply::Done));

    // The target never hears of it: within the first window it forwards back.
    let answer = pair.edge.get("echo", "/");

    assert!([504, 503, 421].contains(&answer.status), "{answer:?}");
}
