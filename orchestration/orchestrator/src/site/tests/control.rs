//! A control plane without a mind: it says what the test tells it to say.

use api::{
    Problem,
    link::{
        Call, Decided, Desired, FromControl, FromSite, Held, HeldCell, LINK_VERSION, Reply, Tail,
    },
    service::Lost,
};
use axum::{
    Router,
    body::Bytes,
    extract::{
        Path, State, WebSocketUpgrade,
        ws::{Message, WebSocket},
    },
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::get,
};
use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};
use types::Token;

/// A control plane, listening.
pub(super) struct Control {
    pub(super) url: String,
    shared: Arc<Shared>,
    runtime: Option<tokio::runtime::Runtime>,
}

struct Shared {
    token: Token,
    lease: Duration,
    sites: Mutex<BTreeMap<String, SiteLink>>,
    blobs: Mutex<HashMap<String, Bytes>>,
    blobs_read: AtomicU64,
    /// Whether connections are taken, and beats acknowledged.
    open: AtomicBool,
    replies: Mutex<HashMap<u64, oneshot::Sender<Result<Reply, Problem>>>>,
    next_call: AtomicU64,
}

#[derive(Default)]
struct SiteLink {
    desired: Desired,
    held: Vec<Held>,
    cells: Vec<HeldCell>,
    tails: Vec<Tail>,
    noted: Vec<(String, types::Epoch)>,
    decided: Vec<Decided>,
    connections: u64,
    outgoing: Option<mpsc::UnboundedSender<FromControl>>,
}

impl Control {
    pub(super) fn new(token: &Token, lease: Duration) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let shared = Arc::new(Shared {
            token: token.clone(),
            lease,
            sites: Mutex::default(),
            blobs: Mutex::default(),
            blobs_read: AtomicU64::new(0),
            open: AtomicBool::new(true),
            replies: Mutex::default(),
            next_call: AtomicU64::new(1),
        });
        let router = Router::new()
            .route(api::paths::LINK, get(link))
            .route("/apis/v1/blobs/{digest}", get(get_blob).put(put_blob))
            .with_state(shared.clone());
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { url: format!("http://{address}"), shared, runtime: Some(runtime) }
    }

    fn sites(&self) -> MutexGuard<'_, BTreeMap<String, SiteLink>> {
        self.shared.sites.lock().unwrap()
    }

    /// Says what a site shall run.
    pub(super) fn desire(&self, site: &str, change: impl FnOnce(&mut Desired)) {
        let mut sites = self.sites();
        let link = sites.entry(site.to_owned()).or_default();
        change(&mut link.desired);
        link.desired.revision += 1;
        if let Some(outgoing) = &link.outgoing {
            let _ = outgoing.send(FromControl::Desired(Box::new(link.desired.clone())));
        }
    }

    /// Says it once, out of order.
    pub(super) fn say(&self, site: &str, desired: Desired) {
        let message = FromControl::Desired(Box::new(desired));
        self.sites()[site].outgoing.as_ref().unwrap().send(message).unwrap();
    }

    /// What a site holds, by its last word.
    pub(super) fn held(&self, site: &str, uid: &str) -> Option<Held> {
        self.sites().get(site)?.held.iter().find(|held| held.uid == uid).cloned()
    }

    /// What a site says of epochs that it gave up, by its last word.
    pub(super) fn tails(&self, site: &str) -> Vec<Tail> {
        self.sites().get(site).map(|link| link.tails.clone()).unwrap_or_default()
    }

    /// What a site's policies decided, in the order in which it was told; what was told again
    /// counts once.
    pub(super) fn decided(&self, site: &str) -> Vec<Decided> {
        self.sites().get(site).map(|link| link.decided.clone()).unwrap_or_default()
    }

    /// Notes a tail.
    pub(super) fn note(&self, site: &str, uid: &str, epoch: u64) {
        let mut sites = self.sites();
        let link = sites.get_mut(site).unwrap();
        link.noted.push((uid.to_owned(), types::Epoch(epoch)));
    }

    pub(super) fn cell(&self, site: &str, uid: &str) -> Option<HeldCell> {
        self.sites().get(site)?.cells.iter().find(|cell| cell.uid == uid).cloned()
    }

    pub(super) fn connections(&self, site: &str) -> u64 {
        self.sites().get(site).map_or(0, |link| link.connections)
    }

    /// Asks a site, and waits for its reply.
    pub(super) fn call(&self, site: &str, call: Call) -> Result<Reply, Problem> {
        self.begin(site, call).blocking_recv().expect("the site replies")
    }

    /// Asks a site.
    pub(super) fn begin(
        &self,
        site: &str,
        call: Call,
    ) -> oneshot::Receiver<Result<Reply, Problem>> {
        let id = self.shared.next_call.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        self.shared.replies.lock().unwrap().insert(id, sender);
        let message = FromControl::Call { id, call: Box::new(call) };
        self.sites()[site].outgoing.as_ref().unwrap().send(message).unwrap();
        receiver
    }

    /// Cuts all sites off, or lets them come back.
    pub(super) fn set_open(&self, open: bool) {
        self.shared.open.store(open, Ordering::Release);
        if !open {
            self.sites().values_mut().for_each(|link| link.outgoing = None);
        }
    }

    pub(super) fn blob(&self, bytes: &[u8]) -> types::Digest {
        use sha2::{Digest as _, Sha256};
        let digest = types::Digest::from_sha256(Sha256::digest(bytes).into());
        self.put(&digest, bytes);
        digest
    }

    pub(super) fn put(&self, digest: &types::Digest, bytes: &[u8]) {
        let mut blobs = self.shared.blobs.lock().unwrap();
        blobs.insert(digest.to_string(), Bytes::copy_from_slice(bytes));
    }

    pub(super) fn blob_of(&self, digest: &types::Digest) -> Option<Bytes> {
        self.shared.blobs.lock().unwrap().get(&digest.to_string()).cloned()
    }

    pub(super) fn blobs_read(&self) -> u64 {
        self.shared.blobs_read.load(Ordering::Relaxed)
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn admitted(shared: &Shared, headers: &HeaderMap) -> bool {
    let shown = headers.get("authorization").and_then(|value| value.to_str().ok());
    shown.and_then(|shown| shown.strip_prefix("Bearer ")).is_some_and(|s| shared.token.admits(s))
}

async fn get_blob(
    State(shared): State<Arc<Shared>>,
    Path(digest): Path<String>,
    headers: HeaderMap,
) -> Response {
    assert!(admitted(&shared, &headers), "blobs need the token");
    shared.blobs_read.fetch_add(1, Ordering::Relaxed);
    // Slow enough that callers come together.
    tokio::time::sleep(Duration::from_millis(20)).await;
    let blob = shared.blobs.lock().unwrap().get(&digest).cloned();
    blob.map_or_else(|| StatusCode::NOT_FOUND.into_response(), IntoResponse::into_response)
}

async fn put_blob(
    State(shared): State<Arc<Shared>>,
    Path(digest): Path<String>,
    body: Bytes,
) -> StatusCode {
    shared.blobs.lock().unwrap().insert(digest, body);
    StatusCode::CREATED
}

async fn link(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    if !admitted(&shared, &headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    if !shared.open.load(Ordering::Acquire) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    upgrade.on_upgrade(move |socket| talk(shared, socket))
}

async fn talk(shared: Arc<Shared>, mut socket: WebSocket) {
    let Some(Ok(Message::Text(text))) = socket.recv().await else { return };
    let FromSite::Hello { version, site, held, .. } = serde_json::from_str(&text).unwrap() else {
        panic!("the first message is a hello");
    };
    assert_eq!(version, LINK_VERSION);
    let (sender, mut outgoing) = mpsc::unbounded_channel();
    {
        let mut sites = shared.sites.lock().unwrap();
        let link = sites.entry(site.clone()).or_default();
        link.connections += 1;
        link.held = held;
        let lease_ms = shared.lease.as_millis() as u64;
        let desired = Box::new(link.desired.clone());
        sender.send(FromControl::Welcome { lease_ms, desired }).unwrap();
        link.outgoing = Some(sender.clone());
    }
    drop(sender);
    loop {
        tokio::select! {
            message = outgoing.recv() => {
                let Some(message) = message else { return };
                let text = serde_json::to_string(&message).unwrap();
                if socket.send(Message::text(text)).await.is_err() {
                    return;
                }
            }
            message = socket.recv() => {
                let Some(Ok(Message::Text(text))) = message else { return };
                hear(&shared, &site, serde_json::from_str(&text).unwrap());
            }
        }
    }
}

/// A loss that was acknowledged is told no more; it is remembered here, as control planes do.
fn keep_losses(held: &mut [Held], before: Vec<Held>) {
    for old in before {
        let Some(new) = held.iter_mut().find(|new| new.uid == old.uid) else { continue };
        let told = |lost: &Lost| new.lost.contains(lost);
        let kept: Vec<Lost> = old.lost.into_iter().filter(|lost| !told(lost)).collect();
        new.lost.extend(kept);
    }
}

fn hear(shared: &Shared, site: &str, message: FromSite) {
    match message {
        FromSite::Hello { .. } => panic!("a second hello"),
        FromSite::Beat { sequence, held, cells, tails, decided } => {
            let mut sites = shared.sites.lock().unwrap();
            let link = sites.get_mut(site).unwrap();
            let before = std::mem::replace(&mut link.held, held);
            keep_losses(&mut link.held, before);
            (link.cells, link.tails) = (cells, tails);
            if let Some(outgoing) = &link.outgoing {
                let noted = link.noted.clone();
                let recorded = decided.iter().map(|one| one.id.clone()).collect();
                for one in decided {
                    if !link.decided.iter().any(|known| known.id == one.id) {
                        link.decided.push(one);
                    }
                }
                let _ = outgoing.send(FromControl::Ack { sequence, noted, recorded });
            }
        }
        FromSite::Reply { id, result } => {
            if let Some(waiting) = shared.replies.lock().unwrap().remove(&id) {
                let _ = waiting.send(result);
            }
        }
    }
}
