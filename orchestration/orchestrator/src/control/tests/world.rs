//! One control plane that can die and come back, and its sites.

use super::{
    super::{Config, Control, Names, state::State, sweeper, telemetry},
    site::Site,
    store::{Fuse, Mortal},
};
use api::{
    Kind, Resource, paths,
    service::{Phase, ServiceStatus},
};
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, body::Bytes};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use meta::{Embedded, MetaStore};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::{net::TcpListener, runtime::Runtime};
use types::{Clock, Digest, ManualClock, SystemClock};

/// What happened, in order, at sites and names.
#[derive(Debug, Clone, Default)]
pub(super) struct Journal(Arc<Mutex<Vec<String>>>, Arc<Mutex<Writers>>);

/// Which sites serve, and whether there were ever two of one service at a time.
#[derive(Debug, Default)]
struct Writers {
    serving: std::collections::HashMap<String, std::collections::BTreeSet<String>>,
    met: Vec<String>,
}

impl Journal {
    pub(super) fn note(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }

    /// A site tells which services it serves from now on.
    pub(super) fn serves(&self, site: &str, uids: Vec<String>) {
        let mut writers = self.1.lock().unwrap();
        for sites in writers.serving.values_mut() {
            sites.remove(site);
        }
        for uid in uids {
            let sites = writers.serving.entry(uid.clone()).or_default();
            sites.insert(site.to_owned());
            if sites.len() > 1 {
                let line = format!("{uid} is served by {sites:?}");
                writers.met.push(line);
            }
        }
    }

    /// When a service was served twice.
    pub(super) fn two_writers(&self) -> Vec<String> {
        self.1.lock().unwrap().met.clone()
    }

    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// Names that remember what they were told.
#[derive(Debug)]
struct Noted {
    journal: Journal,
    known: Arc<Mutex<Vec<(String, IpAddr)>>>,
}

impl Names for Noted {
    fn name_of(&self, tenant: &str, service: &str) -> String {
        format!("{service}.{tenant}.cloudskin.internal")
    }

    fn switch(&self, tenant: &str, service: &str, address: IpAddr) {
        self.remove(tenant, service);
        self.known.lock().unwrap().push((self.name_of(tenant, service), address));
        self.journal.note(format!("name {address}"));
    }

    fn remove(&self, tenant: &str, service: &str) {
        let name = self.name_of(tenant, service);
        self.known.lock().unwrap().retain(|(known, _)| *known != name);
    }

    fn zone(&self) -> (String, Option<SocketAddr>) {
        ("cloudskin.internal".into(), None)
    }
}

/// The process of the control plane: all of it goes when it is killed.
struct Process {
    runtime: Option<Runtime>,
    control: Control,
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

pub(super) struct World {
    folder: TempDir,
    process: Option<Process>,
    pub(super) address: Arc<Mutex<SocketAddr>>,
    pub(super) token: String,
    pub(super) site_token: String,
    pub(super) journal: Journal,
    pub(super) names: Arc<Mutex<Vec<(String, IpAddr)>>>,
    pub(super) fuse: Arc<Fuse>,
    pub(super) clock: Option<ManualClock>,
    pub(super) sites: Vec<Site>,
    client: Client<hyper_util::client::legacy::connect::HttpConnector, Full<Bytes>>,
}

pub(super) const LEASE: Duration = Duration::from_millis(3000);
pub(super) const MARGIN: Duration = Duration::from_millis(1000);

impl World {
    /// A control plane with an edge and a cloud site.
    pub(super) async fn new() -> Self {
        Self::build(None, "").await
    }

    /// The same with these quotas.
    pub(super) async fn with_quotas(quotas: &str) -> Self {
        Self::build(None, quotas).await
    }

    /// The same under a clock that stands still.
    pub(super) async fn with_manual_clock() -> Self {
        Self::build(Some(ManualClock::default()), "").await
    }

    async fn build(clock: Option<ManualClock>, quotas: &str) -> Self {
        let mut world = Self {
            folder: TempDir::new().unwrap(),
            process: None,
            address: Arc::new(Mutex::new(([127, 0, 0, 1], 0).into())),
            token: String::new(),
            site_token: String::new(),
            journal: Journal::default(),
            names: Arc::default(),
            fuse: Arc::default(),
            clock,
            sites: Vec::new(),
            client: Client::builder(TokioExecutor::new()).build_http(),
        };
        let folder = world.folder.path().join("control");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("quotas.yaml"), quotas).unwrap();
        world.start().await;
        for (name, address) in [("cloud", [127, 0, 0, 3]), ("edge", [127, 0, 0, 2])] {
            let token = world.site_token.clone();
            let control = world.address.clone();
            world.sites.push(Site::start(name, address, control, token, world.journal.clone()));
        }
        until("both sites join", || world.sites.iter().all(|site| site.with(|m| m.connected)))
            .await;
        world
    }

    pub(super) fn site(&self, name: &str) -> &Site {
        self.sites.iter().find(|site| site.name == name).unwrap()
    }

    pub(super) async fn start(&mut self) {
        self.fuse.put_out();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let mut config = Config::new(self.folder.path().join("control"), address);
        config.lease = LEASE;
        config.margin = MARGIN;
        // Tests ask for metrics when they want them.
        config.scrape_interval = Duration::from_secs(3600);
        config.models_interval = Duration::from_millis(100);
        config.drift_interval = Duration::from_millis(200);
        config.call_timeout = Duration::from_millis(400);
        config.prepare_timeout = Duration::from_millis(400);
        config.transfer_timeout = Duration::from_millis(400);
        config.ingress = Some(([127, 0, 0, 1], 8080).into());
        config.document_max_bytes = 100_000;
        config.blob_max_bytes = 1000;
        config.decisions_max = 5;
        config.compaction_pause = Duration::from_millis(20);
        let path = self.folder.path().join("meta.redb");
        let names = self.noted();
        self.names.lock().unwrap().clear();
        let clock: Arc<dyn Clock> = match &self.clock {
            Some(clock) => Arc::new(clock.clone()),
            None => Arc::new(SystemClock::new()),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let fuse = self.fuse.clone();
        let opening = runtime.spawn(async move {
            let inner = Embedded::open(&path, meta::Config::default(), clock.clone()).unwrap();
            let store: Arc<dyn MetaStore> = Arc::new(Mortal { inner, fuse });
            let control = Control::open(config, store, names, clock).await.unwrap();
            let listener = TcpListener::from_std(listener).unwrap();
            tokio::spawn(control.clone().run(listener, std::future::pending()));
            control
        });
        let control = opening.await.unwrap();
        self.token = control.token().reveal().to_owned();
        self.site_token = control.site_token().reveal().to_owned();
        self.process = Some(Process { runtime: Some(runtime), control });
        *self.address.lock().unwrap() = address;
    }

    pub(super) fn noted(&self) -> Arc<dyn Names> {
        Arc::new(Noted { journal: self.journal.clone(), known: self.names.clone() })
    }

    /// The control plane dies between two instructions.
    pub(super) async fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        let runtime = process.runtime.take().unwrap();
        drop(process);
        tokio::task::spawn_blocking(move || runtime.shutdown_timeout(Duration::from_secs(10)))
            .await
            .unwrap();
    }

    /// The store forgets its history.
    pub(super) async fn compact(&self) {
        let store = self.process.as_ref().unwrap().control.state.store.clone();
        let revision = store.get(b"x").await.unwrap().revision;
        store.compact(revision).await.unwrap();
    }

    /// Removes blobs that are not in use; how many.
    pub(super) async fn sweep(&self, retention: Duration) -> u64 {
        let state = self.process.as_ref().unwrap().control.state.clone();
        sweeper::sweep(&state, retention).await.unwrap().files
    }

    /// The catalog's folder.
    pub(super) fn models(&self) -> std::path::PathBuf {
        self.folder.path().join("models")
    }

    /// What all parts of the control plane share.
    pub(super) fn state(&self) -> Arc<State> {
        self.process.as_ref().unwrap().control.state.clone()
    }

    /// The store of series.
    pub(super) fn series(&self) -> Arc<::series::Store> {
        self.process.as_ref().unwrap().control.state.telemetry.store()
    }

    /// Asks everybody for metrics.
    pub(super) async fn scrape(&self) {
        let state = self.process.as_ref().unwrap().control.state.clone();
        telemetry::round(&state).await;
    }

    /// Time passes.
    pub(super) fn pass(&self, by: Duration) {
        self.clock.as_ref().unwrap().advance(by);
        self.process.as_ref().unwrap().control.state.wake();
    }

    pub(super) async fn ask(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let bearer = format!("Bearer {}", self.token);
        let body = if body.is_null() { Vec::new() } else { serde_json::to_vec(&body).unwrap() };
        self.ask_raw(method, path, &[("authorization", &bearer)], body).await
    }

    pub(super) async fn ask_raw(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> (u16, Value) {
        let url = format!("http://{}{path}", self.address.lock().unwrap());
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body))).unwrap();
        let response = self.client.request(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8_lossy(&body).into_owned();
        (status, serde_json::from_slice(&body).unwrap_or(Value::String(text)))
    }

    pub(super) async fn upload(&self, bytes: &[u8]) -> Digest {
        let digest = Digest::from_sha256(Sha256::digest(bytes).into());
        let bearer = format!("Bearer {}", self.token);
        let headers = [("authorization", bearer.as_str())];
        let path = paths::blob(&digest);
        let (status, body) = self.ask_raw(Method::PUT, &path, &headers, bytes.to_vec()).await;
        assert!(status < 300, "{body}");
        digest
    }

    /// A service document for `site`.
    pub(super) async fn document(&self, name: &str, spec: Value) -> Value {
        let module = format!("{name}.wasm@{}", self.upload(b"module").await);
        let mut spec = spec;
        spec["module"] = module.into();
        let api_version = api::API_VERSION;
        json!({"apiVersion": api_version, "kind": "Service", "metadata": {"name": name}, "spec": spec})
    }

    pub(super) async fn apply(&self, document: &Value) -> (u16, Value) {
        let kind: Kind = document["kind"].as_str().unwrap().parse().unwrap();
        let path = paths::item("default", kind, document["metadata"]["name"].as_str().unwrap());
        self.ask(Method::PUT, &path, document.clone()).await
    }

    /// Applies a service at the edge and waits until it is ready; returns its uid.
    pub(super) async fn serve(&self, name: &str, on_site_lost: &str) -> String {
        let spec = json!({
            "placement": {"sites": {"matchLabels": {"tier": "edge"}}},
            "onSiteLost": on_site_lost,
        });
        let document = self.document(name, spec).await;
        let (status, body) = self.apply(&document).await;
        assert_eq!(status, 201, "{body}");
        self.ready(name, "edge").await;
        body["metadata"]["uid"].as_str().unwrap().to_owned()
    }

    pub(super) async fn service(&self, name: &str) -> ServiceStatus {
        let path = paths::item("default", Kind::Service, name);
        let (status, body) = self.ask(Method::GET, &path, Value::Null).await;
        assert_eq!(status, 200, "{body}");
        serde_json::from_value::<Resource>(body).unwrap().status()
    }

    pub(super) async fn ready(&self, name: &str, site: &str) -> ServiceStatus {
        self.service_when(name, &format!("ready at {site}"), |status| {
            status.phase == Phase::Ready && status.site.as_deref() == Some(site)
        })
        .await
    }

    pub(super) async fn service_when(
        &self,
        name: &str,
        what: &str,
        holds: impl Fn(&ServiceStatus) -> bool,
    ) -> ServiceStatus {
        let begun = Instant::now();
        loop {
            let status = self.service(name).await;
            if holds(&status) {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "{name} is not {what}: {status:#?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// A document of a program that runs once; `spec` says where, and what it is made of.
    pub(super) async fn program(&self, kind: Kind, name: &str, mut spec: Value) -> Value {
        spec["module"] = format!("{name}.wasm@{}", self.upload(b"module").await).into();
        let api_version = api::API_VERSION;
        json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, "spec": spec})
    }

    /// Applies a program; the answer.
    pub(super) async fn begin(&self, kind: Kind, name: &str, spec: Value) -> (u16, Value) {
        let document = self.program(kind, name, spec).await;
        self.apply(&document).await
    }

    /// The tissue once it is so.
    pub(super) async fn tissue_when(
        &self,
        name: &str,
        what: &str,
        holds: impl Fn(&api::cell::CellStatus) -> bool,
    ) -> api::cell::CellStatus {
        let begun = Instant::now();
        let path = paths::item("default", Kind::Tissue, name);
        loop {
            let (status, body) = self.ask(Method::GET, &path, Value::Null).await;
            assert_eq!(status, 200, "{body}");
            let status = serde_json::from_value::<Resource>(body).unwrap().status();
            if holds(&status) {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "{name} is not {what}: {status:#?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// What was decided about a resource, the latest last.
    pub(super) async fn decisions(&self, subject: &str) -> Vec<api::decision::DecisionSpec> {
        let path = paths::list("default", Kind::Decision);
        let (status, body) = self.ask(Method::GET, &path, Value::Null).await;
        assert_eq!(status, 200, "{body}");
        let all: Vec<Resource> = serde_json::from_value(body["items"].clone()).unwrap();
        let specs = all.iter().map(|one| one.spec::<api::decision::DecisionSpec>().unwrap());
        specs.filter(|spec| spec.subject == subject).collect()
    }

    pub(super) async fn migrate(&self, name: &str, to: &str, query: &str) -> (u16, Value) {
        let path = paths::verb("default", Kind::Service, name, "migrate");
        self.ask(Method::POST, &format!("{path}{query}"), json!({"to": to})).await
    }

    /// Uploads a snapshot of the module that every document here names.
    pub(super) async fn snapshot(&self, epoch: u64) -> Digest {
        let module = Digest::from_sha256(Sha256::digest(b"module").into());
        let bytes = cells::snapshot::sample(module, types::Epoch(epoch), b"").unwrap();
        self.upload(&bytes).await
    }

    pub(super) async fn restore(&self, name: &str, snapshot: &Digest) -> (u16, Value) {
        let path = paths::verb("default", Kind::Service, name, "restore");
        self.ask(Method::POST, &path, json!({"snapshot": snapshot})).await
    }

    pub(super) fn name_points_at(&self, site: &str) -> bool {
        let names = self.names.lock().unwrap();
        names.iter().all(|(_, address)| *address == self.site(site).address) && !names.is_empty()
    }
}

/// Longer than any test should wait.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for a condition.
pub(super) async fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
