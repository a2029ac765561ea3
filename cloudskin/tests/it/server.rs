//! A control plane in memory: enough of its REST interface for every command.

use api::{Kind, List, Problem, Resource, WatchEvent, WatchKind, paths};
use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{Path, Query, Request, State},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use sha2::Digest as _;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
};
use tokio::{net::TcpListener, sync::broadcast};
use types::ErrorKind;

/// What lets requests in.
pub(crate) const TOKEN: &str = "let-me-in";

type Key = (String, Kind, String);

/// What the control plane holds; clones share it.
#[derive(Clone)]
pub(crate) struct Control {
    pub(crate) store: Arc<Mutex<Store>>,
    changes: broadcast::Sender<WatchEvent>,
}

#[derive(Default)]
pub(crate) struct Store {
    pub(crate) revision: u64,
    pub(crate) items: BTreeMap<Key, Resource>,
    pub(crate) blobs: HashMap<String, Bytes>,
    pub(crate) uploads: u32,
    pub(crate) log: String,
    /// Any token will do, for tests of `up`, which makes its own.
    pub(crate) open: bool,
}

type Answer = Result<Response, (StatusCode, Json<Problem>)>;

fn problem(kind: ErrorKind, message: &str) -> (StatusCode, Json<Problem>) {
    let status = StatusCode::from_u16(kind.http_status()).unwrap();
    (status, Json(Problem::new(kind, message)))
}

impl Control {
    pub(crate) fn new() -> Self {
        Self { store: Arc::default(), changes: broadcast::channel(64).0 }
    }

    /// Serves on a port of the system's choice; returns the address.
    pub(crate) async fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = self.router();
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        url
    }

    pub(crate) fn router(&self) -> Router {
        Router::new()
            .route("/apis/v1/tenants/{tenant}/{kind}", get(list))
            .route("/apis/v1/tenants/{tenant}/{kind}/{name}", get(read).put(apply).delete(delete))
            .route("/apis/v1/tenants/{tenant}/{kind}/{name}/{verb}", post(act).get(logs))
            .route("/apis/v1/blobs/{digest}", get(blob).put(upload))
            .route(paths::STATUS, get(|| async { Json(json!({"version": "9.9.9"})) }))
            .layer(middleware::from_fn_with_state(self.clone(), check_token))
            .route("/healthz", get(|| async { "ok" }))
            .with_state(self.clone())
    }

    /// Stores a resource as it is, and tells those who watch.
    pub(crate) fn put(&self, mut resource: Resource) -> Resource {
        let mut store = self.store.lock().unwrap();
        store.revision += 1;
        resource.metadata.resource_version = Some(store.revision);
        resource.metadata.creation_timestamp.get_or_insert(1_767_225_600_000);
        let metadata = &resource.metadata;
        let key = (metadata.tenant.clone(), resource.kind, metadata.name.clone());
        store.items.insert(key, resource.clone());
        self.tell(store.revision, WatchKind::Applied, &resource);
        resource
    }

    pub(crate) fn remove(&self, kind: Kind, name: &str) -> Option<Resource> {
        let mut store = self.store.lock().unwrap();
        let resource = store.items.remove(&("default".to_owned(), kind, name.to_owned()))?;
        store.revision += 1;
        self.tell(store.revision, WatchKind::Deleted, &resource);
        Some(resource)
    }

    /// A service with this status.
    pub(crate) fn service(&self, name: &str, status: Value) -> Resource {
        let spec = json!({"module": "a.wasm@sha256:00"});
        let mut service = Resource::new(Kind::Service, "default", name, &spec);
        service.metadata.labels = BTreeMap::from([("app".into(), name.into())]);
        service.status = status;
        self.put(service)
    }

    fn tell(&self, revision: u64, kind: WatchKind, resource: &Resource) {
        // Nobody need watch.
        let _ = self.changes.send(WatchEvent { revision, kind, resource: resource.clone() });
    }
}

async fn check_token(State(control): State<Control>, request: Request, next: Next) -> Response {
    let shown = request.headers().get(header::AUTHORIZATION);
    let is_right = shown.is_some_and(|shown| shown == format!("Bearer {TOKEN}").as_str());
    let is_open = control.store.lock().unwrap().open && shown.is_some();
    match is_right || is_open {
        true => next.run(request).await,
        false => problem(ErrorKind::Unauthenticated, "the token is wrong").into_response(),
    }
}

async fn list(
    State(control): State<Control>,
    Path((tenant, kind)): Path<(String, String)>,
    Query(query): Query<HashMap<String, String>>,
) -> Answer {
    let kind: Kind = kind.parse().unwrap();
    if query.contains_key("watch") {
        let since = query["resourceVersion"].parse().unwrap();
        return Ok(watch(&control, tenant, kind, since));
    }
    let store = control.store.lock().unwrap();
    let items = store.items.iter();
    let items = items.filter(|((owner, of, _), _)| *owner == tenant && *of == kind);
    let items = items.map(|(_, resource)| resource.clone()).collect();
    Ok(Json(List { resource_version: store.revision, items }).into_response())
}

fn watch(control: &Control, tenant: String, kind: Kind, since: u64) -> Response {
    let (store, receiver) = (control.store.lock().unwrap(), control.changes.subscribe());
    let mut missed: Vec<_> = store
        .items
        .values()
        .filter(|item| item.metadata.resource_version > Some(since))
        .map(|item| WatchEvent {
            revision: item.metadata.resource_version.unwrap(),
            kind: WatchKind::Applied,
            resource: item.clone(),
        })
        .collect();
    missed.sort_by_key(|event| std::cmp::Reverse(event.revision));
    let events = futures_util::stream::unfold((missed, receiver), move |(mut missed, mut live)| {
        let tenant = tenant.clone();
        async move {
            loop {
                let event = match missed.pop() {
                    Some(event) => event,
                    None => live.recv().await.ok()?,
                };
                let resource = &event.resource;
                if resource.kind == kind && resource.metadata.tenant == tenant {
                    let data = serde_json::to_string(&event).unwrap();
                    let text = format!(": hello\nid: {}\ndata: {data}\n\n", event.revision);
                    return Some((Ok::<_, std::convert::Infallible>(text), (missed, live)));
                }
            }
        }
    });
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(events)).into_response()
}

type Item = Path<(String, String, String)>;

async fn read(State(control): State<Control>, Path((tenant, kind, name)): Item) -> Answer {
    let store = control.store.lock().unwrap();
    let found = store.items.get(&(tenant, kind.parse().unwrap(), name.clone()));
    let absent = || problem(ErrorKind::NotFound, &format!("there is no `{kind}/{name}`"));
    found.map(|found| Json(found).into_response()).ok_or_else(absent)
}

async fn apply(
    State(control): State<Control>,
    Path((tenant, kind, name)): Item,
    Query(query): Query<HashMap<String, String>>,
    Json(mut resource): Json<Resource>,
) -> Answer {
    let key = (tenant, kind.parse().unwrap(), name);
    let before = control.store.lock().unwrap().items.get(&key).cloned();
    if resource.metadata.annotations.contains_key("forbidden") {
        return Err(problem(ErrorKind::Conflict, "somebody else was faster"));
    }
    let module = resource.spec["module"].as_str().and_then(|module| module.split_once('@'));
    if module.is_some_and(|(_, digest)| !control.store.lock().unwrap().blobs.contains_key(digest)) {
        return Err(problem(ErrorKind::Invalid, "the module was not uploaded"));
    }
    if let Some(before) = &before {
        resource.metadata.creation_timestamp = before.metadata.creation_timestamp;
    }
    let is_dry = query.contains_key("dryRun");
    let same = before.filter(|before| {
        before.spec == resource.spec && before.metadata.labels == resource.metadata.labels
    });
    Ok(Json(match same {
        Some(before) => before,
        None if is_dry => resource,
        None => control.put(resource),
    })
    .into_response())
}

async fn delete(State(control): State<Control>, Path((_, kind, name)): Item) -> Answer {
    match control.remove(kind.parse().unwrap(), &name) {
        Some(resource) => Ok(Json(resource).into_response()),
        None => Err(problem(ErrorKind::NotFound, &format!("there is no `{kind}/{name}`"))),
    }
}

type Verb = Path<(String, String, String, String)>;

async fn act(
    State(control): State<Control>,
    Path((_, _, name, verb)): Verb,
    body: Bytes,
) -> Answer {
    if verb == "snapshot" {
        let bytes = Bytes::from_static(b"the state of a cell");
        let digest = digest(&bytes);
        control.store.lock().unwrap().blobs.insert(digest.clone(), bytes.clone());
        let answer = json!({"digest": digest, "sizeBytes": bytes.len()});
        return Ok(Json(answer).into_response());
    }
    let to = serde_json::from_slice::<Value>(&body).unwrap()["to"].as_str().unwrap().to_owned();
    if to == "nowhere" {
        return Err(problem(ErrorKind::NotFound, "there is no `site/nowhere`"));
    }
    let spec = json!({
        "action": "migrate", "subject": format!("service/{name}"), "by": "user",
        "reason": "it was asked for", "inputs": {"from": "edge", "to": to}, "at": 1_767_225_600_000_u64,
        "alternatives": [{"name": to, "score": 1.0, "reason": "named by the user"}],
    });
    let mut decision = Resource::new(Kind::Decision, "default", "d-1", &spec);
    decision.status = json!({"outcome": "pending"});
    let decision = control.put(decision);
    tokio::spawn(carry_out(control, decision.clone(), to));
    Ok(Json(decision).into_response())
}

/// Tells of two steps, and then of the end.
async fn carry_out(control: Control, mut decision: Resource, to: String) {
    let steps = [json!({"name": "prepare", "ms": 12.5}), json!({"name": "transfer", "ms": 200})];
    for known in 1..=2 {
        tokio::task::yield_now().await;
        decision.status = json!({"outcome": "pending", "observed": {"phases": steps[..known]}});
        decision = control.put(decision);
    }
    let (outcome, error) = match to.as_str() {
        "full" => ("rolled back", json!("site `full` has no memory left")),
        _ => ("done", Value::Null),
    };
    let observed = json!({"phases": steps, "stopUs": 3400, "precopyBytes": 1 << 20, "finalBytes": 4096, "error": error});
    decision.status =
        json!({"outcome": outcome, "observed": observed, "ended": 1_767_225_600_312_u64});
    control.put(decision);
}

async fn logs(
    State(control): State<Control>,
    Query(query): Query<HashMap<String, String>>,
) -> Answer {
    let offset: usize = query["offset"].parse().unwrap();
    let log = control.store.lock().unwrap().log.clone();
    // Five bytes at a time, so that several pieces are asked for.
    let end = log.len().min(offset + 5);
    let ended = end == log.len();
    Ok(Json(json!({"offset": offset, "text": log[offset..end], "ended": ended})).into_response())
}

fn digest(bytes: &[u8]) -> String {
    types::Digest::from_sha256(sha2::Sha256::digest(bytes).into()).to_string()
}

async fn blob(State(control): State<Control>, Path(name): Path<String>) -> Answer {
    let store = control.store.lock().unwrap();
    let found = store.blobs.get(&name).cloned();
    found.map(IntoResponse::into_response).ok_or_else(|| problem(ErrorKind::NotFound, "no blob"))
}

async fn upload(State(control): State<Control>, Path(name): Path<String>, bytes: Bytes) -> Answer {
    assert_eq!(digest(&bytes), name);
    let mut store = control.store.lock().unwrap();
    store.uploads += 1;
    store.blobs.insert(name, bytes);
    Ok(StatusCode::CREATED.into_response())
}
