//! The agent against a control plane and workers that do what the tests say.

mod control;
mod failures;
mod groups;
mod http;
mod losses;
mod migrations;
mod pages;
mod policies;
mod restores;
mod services;
mod worker;

use super::{Config, CpuSets, Exit, Site, SiteLimits, Trust};
use api::link::{Assignment, HeldState, Peer};
use control::Control;
use http::{Answer, Connection};
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};
use testkit::{Folder, wait_until};
use tokio::{runtime::Runtime, sync::oneshot};
use types::{Bytes, Cpu, Epoch, Token};

/// Long enough for a loaded machine.
const LIMIT: Duration = Duration::from_secs(30);

/// A lease that tests can wait for.
const LEASE: Duration = Duration::from_millis(600);

/// The token of every test's continuum.
fn token() -> Token {
    Token::from_text("a-token-of-the-tests")
}

/// An agent in a runtime of its own, so that it can die as a process dies.
struct Agent {
    config: Config,
    ingress: SocketAddr,
    peers: SocketAddr,
    runtime: Option<Runtime>,
    shutdown: Option<oneshot::Sender<Exit>>,
    folder: Option<Folder>,
}

impl Agent {
    /// A site of this name at its own loopback address.
    fn start(control: &Control, name: &str, last: u8) -> Self {
        Self::start_with(control, name, last, |_| {})
    }

    fn start_with(
        control: &Control,
        name: &str,
        last: u8,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let folder = Folder::new();
        let mut config = Config {
            name: name.into(),
            labels: BTreeMap::new(),
            control_url: control.url.clone(),
            trust: Trust::Token(token()),
            address: IpAddr::from([127, 0, 0, last]),
            ingress_port: 0,
            peer_port: 0,
            data_dir: folder.path().join("site"),
            worker_program: std::env::current_exe().unwrap(),
            worker_args: worker::ARGS.map(str::to_owned).to_vec(),
            cpu: Cpu(2000),
            memory: Bytes(1 << 30),
            cpu_sets: CpuSets::default(),
            store: None,
            version: "test".into(),
            limits: SiteLimits::default(),
        };
        change(&mut config);
        let mut agent = Self {
            ingress: SocketAddr::new(config.address, 0),
            peers: SocketAddr::new(config.address, 0),
            config,
            runtime: None,
            shutdown: None,
            folder: Some(folder),
        };
        agent.restart();
        agent
    }

    /// Starts it, at the ports that it had.
    fn restart(&mut self) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let mut opened = None;
        wait_until("the last agent's folder and ports are free", LIMIT, || {
            opened = runtime.block_on(Site::open(self.config.clone())).ok();
            opened.is_some()
        });
        let site = opened.unwrap();
        (self.ingress, self.peers) = (site.ingress(), site.peers());
        self.config.ingress_port = self.ingress.port();
        self.config.peer_port = self.peers.port();
        let (shutdown, exit) = oneshot::channel();
        runtime.spawn(site.run(async { exit.await.unwrap_or(Exit::LeaveWorkers) }));
        self.runtime = Some(runtime);
        self.shutdown = Some(shutdown);
    }

    /// Dies at whatever line it stands.
    fn kill(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }

    fn worker_pid(&self, worker: &str) -> Option<i32> {
        let path = self.config.data_dir.join("workers").join(format!("{worker}.pid"));
        let identity: serde_json::Value =
            serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
        identity["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok())
    }

    fn signal_worker(&self, worker: &str, signal: rustix::process::Signal) {
        let pid = self.worker_pid(worker).and_then(rustix::process::Pid::from_raw).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// As the control plane describes it to other sites.
    fn as_peer(&self) -> Peer {
        Peer {
            site: self.config.name.clone(),
            address: self.peers,
            ingress: self.ingress,
            key: None,
            store: None,
        }
    }

    fn connect(&self) -> Connection {
        Connection::open(self.ingress)
    }

    /// One request on a connection of its own.
    fn get(&self, host: &str, path: &str) -> Answer {
        self.connect().ask("GET", host, path, &[], b"")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        let workers = self.config.data_dir.join("workers");
        let groups = isolation::Groups::open(&super::groups::owner(&self.config)).ok();
        for entry in std::fs::read_dir(workers).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(worker) = name.strip_suffix(".pid") else { continue };
            let pid = self.worker_pid(worker).and_then(rustix::process::Pid::from_raw);
            if let Some(pid) = pid {
                // It may be gone already.
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
            let left = groups.as_ref().map(|groups| groups.group(worker, &Default::default()));
            if let Some(Err(error)) = left.map(|group| group.and_then(|group| group.remove())) {
                eprintln!("{error}");
            }
        }
        drop(self.folder.take());
    }
}

/// A service called `name`, whose uid is `uid-<name>`.
fn assignment(control: &Control, name: &str, epoch: u64) -> Assignment {
    let module = control.blob(b"a module");
    let spec = serde_json::json!({
        "module": format!("echo.wasm@{module}"), "requestTimeout": "3s", "maxBody": "1Ki",
    });
    Assignment {
        tenant: "default".into(),
        name: name.into(),
        uid: format!("uid-{name}"),
        epoch: Epoch(epoch),
        module,
        spec: serde_json::from_value(spec).unwrap(),
        restore: false,
        snapshot: None,
    }
}

/// Waits until the control plane hears that a site does this with the service.
fn wait_for(control: &Control, site: &str, uid: &str, state: HeldState) {
    let what = format!("`{uid}` is {state:?} at `{site}`: {:?}", control.held(site, uid));
    wait_until(&what, LIMIT, || control.held(site, uid).is_some_and(|held| held.state == state));
}

/// A site that serves one service.
fn serving(control: &Control, name: &str, last: u8, change: impl FnOnce(&mut Assignment)) -> Agent {
    let agent = Agent::start(control, name, last);
    let mut wanted = assignment(control, "echo", 1);
    change(&mut wanted);
    let uid = wanted.uid.clone();
    control.desire(name, |desired| desired.services.push(wanted));
    wait_for(control, name, &uid, HeldState::Serving);
    agent
}
