//! Sites on other machines. Here they are other processes, which know of each other nothing but
//! addresses that every machine reaches, and share no files.

use crate::{
    guests,
    load::Load,
    tissues::{RANKS, sites},
    world::Continuum,
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, Stdio},
    time::Duration,
};
use testkit::wait_until;

/// Longer than a start and a lease.
const LIMIT: Duration = Duration::from_secs(40);

/// A machine that joined as the site `edge2`.
struct Machine<'a> {
    continuum: &'a Continuum,
    data: PathBuf,
    agent: Option<Child>,
}

impl<'a> Machine<'a> {
    fn new(continuum: &'a Continuum) -> Self {
        Self { continuum, data: continuum.path("edge2"), agent: None }
    }

    fn ingress(&self) -> SocketAddr {
        (self.continuum.address(30), 8080).into()
    }

    fn peers(&self) -> SocketAddr {
        let bind = self.continuum.bind();
        SocketAddr::new(bind.ip(), bind.port() + 9)
    }

    /// What `join` is told beside the token.
    fn words(&self) -> Vec<String> {
        let own = [
            ["--name", "edge2"].map(str::to_owned),
            ["--bind".into(), self.peers().to_string()],
            ["--ingress".into(), self.ingress().to_string()],
            ["--data-dir".into(), self.data.to_string_lossy().into_owned()],
        ];
        own.concat()
    }

    /// Joins, or goes on without a token, and waits until the control plane counts on it.
    fn start(&mut self, token: Option<&str>) {
        let url = format!("https://{}", self.continuum.bind());
        let words = self.words();
        let more: Vec<_> = token.into_iter().chain(words.iter().map(String::as_str)).collect();
        let path = self.continuum.path("edge2.log");
        let log = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        let mut command = self.continuum.command(&["join", &url], &more);
        self.agent = Some(command.stdout(Stdio::null()).stderr(log).spawn().unwrap());
        wait_until("the site is ready", LIMIT, || {
            std::thread::sleep(Duration::from_millis(50));
            let run = self.continuum.run("get site/edge2 -o json");
            let site: serde_json::Value = serde_json::from_str(&run.out).unwrap_or_default();
            site["status"]["ready"] == true
        });
    }

    fn stop(&mut self) {
        let Some(mut agent) = self.agent.take() else { return };
        let pid = i32::try_from(agent.id()).ok().and_then(Pid::from_raw).unwrap();
        let _ = kill_process(pid, Signal::TERM);
        agent.wait().unwrap();
    }
}

impl Drop for Machine<'_> {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.continuum.path("edge2.log"));
            eprintln!("--- edge2\n{}", log.unwrap_or_default());
        }
    }
}

fn token(continuum: &Continuum, more: &str) -> String {
    let ticket = continuum.run(&format!("token create --site edge2 {more} -o json")).json();
    assert_eq!(ticket["url"], format!("https://{}", continuum.bind()));
    ticket["token"].as_str().unwrap().to_owned()
}

#[test]
fn a_service_moves_to_another_machine_and_back_while_it_answers() {
    let Some(continuum) = Continuum::up_reachable() else { return };
    let mut machine = Machine::new(&continuum);
    machine.start(Some(&token(&continuum, "")));
    continuum.serve("ledger", &["resources: {memory: 64Mi}"]);
    continuum.http("ledger").get("/fill/8").unwrap().ok();
    let doors = [continuum.ingress(), continuum.site_ingress("edge"), machine.ingress()];
    let load = Load::start("ledger", &doors[..2], 3, 1);

    for round in 0..6 {
        std::thread::sleep(Duration::from_millis(50));
        continuum.migrate("ledger", ["edge2", "edge"][round % 2]).ok();
    }

    let history = load.stop();
    eprintln!("{}", history.summary());
    history.counts_on(0);
    history.has_one_writer();

    // It stays there, and lives through a restart of that machine's agent without a token.
    continuum.migrate("ledger", "edge2").ok();
    machine.stop();
    machine.start(None);
    continuum.until_ready("ledger");
    let answer = continuum.http("ledger").get("/sum").unwrap();
    assert_eq!(answer.header("cloudskin-site"), "edge2");
    assert_eq!(answer.ok().split(' ').next().unwrap(), history.len().to_string());
    continuum.migrate("ledger", "cloud").ok();
    // Late requests at its door go on over the agents' connection.
    let mut late = crate::http::Http::connect(machine.ingress(), "ledger.localhost").unwrap();
    assert_eq!(late.get("/sum").unwrap().header("cloudskin-site"), "cloud");

    // Objects too: the stores show the sites' certificates.
    fs::write(continuum.path("frame"), "a frame").unwrap();
    continuum.run("geds cp frame geds://lab/frame --site edge2").ok();
    assert_eq!(continuum.run("geds cat geds://lab/frame --site cloud").ok(), "a frame");
    continuum.run("geds cp frame geds://lab/back --site cloud").ok();
    assert_eq!(continuum.run("geds cat geds://lab/back --site edge2").ok(), "a frame");
}

#[test]
fn ranks_move_to_another_machine_and_back() {
    let Some(continuum) = Continuum::up_reachable() else { return };
    let built = guests::parallel(&continuum, "ranks", RANKS, "--mpi --migratable");
    let Some(()) = built else { return };
    let mut machine = Machine::new(&continuum);
    machine.start(Some(&token(&continuum, "")));
    let words = ["mpirun", "-n", "3", "--sites", "edge2,edge", "--name", "mover", "ranks.wasm"];
    let mover = continuum.command(&words, &["400"]).stdout(Stdio::piped()).spawn().unwrap();
    wait_until("it has begun", LIMIT, || {
        continuum.run("logs tissue/mover").out.lines().last() == Some("begun")
    });

    continuum.run("migrate tissue/mover --ranks 2 --to site/edge2").ok();
    continuum.run("migrate tissue/mover --ranks 0,1 --to site/edge").ok();
    assert_eq!(sites(&continuum, "mover"), "edge2:1 edge:2");

    let end = mover.wait_with_output().unwrap();
    let said = String::from_utf8(end.stdout).unwrap();
    assert_eq!((end.status.code(), said.as_str()), (Some(5), "begun\nsum 481200 of 3\n"));
}

#[test]
fn strangers_from_other_machines_are_refused() {
    let Some(continuum) = Continuum::up_reachable() else { return };
    let mut machine = Machine::new(&continuum);
    let url = format!("https://{}", continuum.bind());
    let words = machine.words();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let join = |token: &str| continuum.run_with(&["join", &url, token], &words);

    join("nonsense").fails(2, "no join token");
    let late = token(&continuum, "--ttl 1ms");
    std::thread::sleep(Duration::from_millis(20));
    join(&late).fails(5, "expired");
    let good = token(&continuum, "");
    // Another authority's fingerprint: the secret is not even sent, so that the token stays good.
    let (secret, fingerprint) = good.rsplit_once('.').unwrap();
    let other = if fingerprint.starts_with('0') { '1' } else { '0' };
    join(&format!("{secret}.{other}{}", &fingerprint[1..])).fails(6, "another control plane");
    assert!(!machine.data.join("identity.json").exists());
    machine.start(Some(&good));
    let second = continuum.path("second").to_string_lossy().into_owned();
    let twice = ["join", &url, &good, "--name", "edge2", "--data-dir", &second];
    continuum.run_with(&twice, &[]).fails(5, "was used already");

    let secrets = ["data/control/authority.pem", "data/control/identities/edge2.json"];
    let secrets =
        secrets.into_iter().chain(["data/sites/edge/identity.json", "edge2/identity.json"]);
    for secret in secrets.map(|secret| continuum.path(secret)) {
        let mode = fs::metadata(&secret).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", secret.display());
    }

    // Without TLS, or without a certificate, nobody is answered.
    let edge = SocketAddr::new(continuum.bind().ip(), continuum.bind().port() + 2);
    for door in [continuum.bind(), edge, machine.peers()] {
        let mut stranger = TcpStream::connect(door).unwrap();
        stranger.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        let _ = stranger.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP"), "{door}");
    }

    // A user elsewhere needs the authority's certificate and the token.
    let ca = continuum.data().join("control/ca.pem").to_string_lossy().into_owned();
    let user = continuum.token();
    let ask = |more: &[&str]| {
        let words = [&["get", "sites", "--url", &url][..], more].concat();
        continuum.run_with(&words, &[])
    };
    let listed = ask(&["--ca", &ca, "--token", &user]).ok();
    assert!(listed.contains("edge2"), "{listed}");
    ask(&["--ca", &ca]).fails(5, "token");
    ask(&["--token", &user]).fails(2, "--ca");
}
