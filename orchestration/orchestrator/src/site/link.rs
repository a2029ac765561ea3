//! The connection to the control plane: dialled, kept, dialled again for ever.

use super::{
    calls,
    core::Core,
    losses::{self, Told},
    plan, policies,
    reach::Trust,
    store::Store,
};
use api::{
    Problem,
    link::{Desired, FromControl, FromSite, LINK_VERSION},
};
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_tungstenite::{
    client_async_with_config,
    tungstenite::{Error as WsError, Message, client::IntoClientRequest, http::header},
};
use types::{Clock, chain};

/// How long the connection and the greeting may take.
const GREETING_TIMEOUT: Duration = Duration::from_secs(10);

/// Pause after the first lost connection; it doubles with each in a row.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Pause after a refusal: only a change of one side's settings or version can help.
const PAUSE_REFUSED: Duration = Duration::from_secs(60);

/// A change is told after this, so that changes which come together are told together.
const CHANGE_DELAY: Duration = Duration::from_millis(5);

/// Shortest time between two beats.
const BEAT_MIN: Duration = Duration::from_millis(20);

/// The sequence of what is told before the first beat.
const HELLO: u64 = 0;

/// A site with so much to tell that a beat takes long to make tells it less often.
const BEAT_SHARE: u32 = 10;

/// Replies that wait to be sent.
const REPLIES_MAX: usize = 256;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("the control plane cannot be reached")]
    Connect(#[source] Box<WsError>),
    #[error("the control plane does not let this site in: {0}")]
    Denied(String),
    #[error("the connection broke")]
    Broken(#[source] Box<WsError>),
    #[error("the control plane closed the connection")]
    Closed,
    #[error("the control plane says nothing")]
    Silent,
    #[error("the control plane sent what is no message of link version {LINK_VERSION}")]
    Malformed(#[source] serde_json::Error),
    #[error("the control plane sent a message out of turn")]
    OutOfTurn,
    #[error("the control plane refuses this site: {0}")]
    Refused(String),
}

impl Lost {
    /// Why there is no WebSocket: what the control plane says, if it says something.
    fn greeting(error: WsError) -> Self {
        let said = match &error {
            WsError::Http(response) => response.body().as_deref().unwrap_or_default(),
            _ => &[],
        };
        match serde_json::from_slice::<Problem>(said) {
            Ok(problem) => Self::Denied(problem.message),
            Err(_) => Self::Connect(Box::new(error)),
        }
    }
}

/// Keeps the site connected until the agent stops.
pub(crate) async fn run(core: Arc<Core>) {
    let mut attempts = 0_u32;
    loop {
        let mut welcomed = false;
        let lost = session(&core, &mut welcomed).await;
        core.connected.store(false, Ordering::Release);
        attempts = if welcomed { 0 } else { attempts.saturating_add(1) };
        if welcomed || attempts == 1 {
            tracing::warn!(error = chain(&lost), "not connected to the control plane");
        } else {
            tracing::debug!(error = chain(&lost), attempts, "still not connected");
        }
        let longest = match lost {
            Lost::Refused(_) => PAUSE_REFUSED,
            _ => PAUSE_MIN.saturating_mul(1 << attempts.min(16)).min(PAUSE_MAX),
        };
        sleep(jittered(longest)).await;
    }
}

/// Between half and the whole, so that sites do not come back all at once.
fn jittered(longest: Duration) -> Duration {
    let mut byte = [0; 1];
    // Without randomness the sites come together, which is bearable.
    let _ = getrandom::fill(&mut byte);
    longest.mul_f64(0.5 + f64::from(byte[0]) / 512.0)
}

async fn session(core: &Arc<Core>, welcomed: &mut bool) -> Lost {
    let url = core.config.control_url.replacen("http", "ws", 1);
    let url = format!("{}{}", url.trim_end_matches('/'), api::paths::LINK);
    let request = url.into_client_request().and_then(|mut request| {
        if let Trust::Token(token) = &core.config.trust {
            let bearer = format!("Bearer {}", token.reveal()).parse()?;
            request.headers_mut().insert(header::AUTHORIZATION, bearer);
        }
        Ok(request)
    });
    let request = match request {
        Ok(request) => request,
        Err(error) => return Lost::Connect(Box::new(error)),
    };
    let stream = match timeout(GREETING_TIMEOUT, core.reach.control()).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Lost::Connect(Box::new(error.into())),
        Err(_) => return Lost::Silent,
    };
    let connecting = client_async_with_config(request, stream, None);
    let talked = match timeout(GREETING_TIMEOUT, connecting).await {
        Ok(Ok((socket, _))) => {
            let (sink, stream) = socket.split();
            talk(core, sink, stream, welcomed).await
        }
        Ok(Err(error)) => return Lost::greeting(error),
        Err(_) => return Lost::Silent,
    };
    match talked {
        Ok(never) => match never {},
        Err(lost) => lost,
    }
}

async fn talk(
    core: &Arc<Core>,
    mut sink: impl Sink<Message, Error = WsError> + Unpin,
    mut stream: impl Stream<Item = Result<Message, WsError>> + Unpin,
    welcomed: &mut bool,
) -> Result<std::convert::Infallible, Lost> {
    let mut told = Told::default();
    send(&mut sink, &hello(core, &mut told)).await?;
    let greeting =
        timeout(GREETING_TIMEOUT, next(&mut stream)).await.map_err(|_| Lost::Silent)??;
    let (lease, desired) = match greeting {
        FromControl::Welcome { lease_ms, desired } => (Duration::from_millis(lease_ms), desired),
        FromControl::Refused(problem) => return Err(Lost::Refused(problem.message)),
        _ => return Err(Lost::OutOfTurn),
    };
    *welcomed = true;
    told.acknowledged(HELLO);
    core.connected.store(true, Ordering::Release);
    core.metrics.link_connections.inc();
    tracing::info!(lease_ms = lease.as_millis(), "connected to the control plane");
    let mut revision = desired.revision;
    take(core, *desired);

    let (replies, mut ready) = mpsc::channel(REPLIES_MAX);
    let mut beats = Beats::new(lease, told);
    loop {
        tokio::select! {
            message = next(&mut stream) => {
                beats.heard = Instant::now();
                match message? {
                    FromControl::Ack { sequence, noted, recorded } => {
                        beats.acknowledged(core, sequence);
                        losses::noted(core, noted);
                        policies::recorded(core, &recorded);
                    }
                    FromControl::Desired(desired) => {
                        // Two writers of one connection may overtake each other.
                        if desired.revision >= revision {
                            revision = desired.revision;
                            take(core, *desired);
                        }
                    }
                    FromControl::Call { id, call } => {
                        let (calling, replies) = (core.clone(), replies.clone());
                        core.spawn(async move {
                            let result = calls::answer(&calling, *call).await;
                            // Over another connection the control plane asks again.
                            let _ = replies.send(FromSite::Reply { id, result }).await;
                        });
                    }
                    FromControl::Refused(problem) => return Err(Lost::Refused(problem.message)),
                    FromControl::Welcome { .. } => return Err(Lost::OutOfTurn),
                }
            }
            Some(reply) = ready.recv() => send(&mut sink, &reply).await?,
            () = core.changed.notified() => beats.soon(),
            () = sleep_until(beats.next) => {
                if beats.heard.elapsed() > lease.max(BEAT_MIN * 4) {
                    return Err(Lost::Silent);
                }
                let beat = beats.beat(core);
                send(&mut sink, &beat).await?;
            }
        }
    }
}

/// When to beat, and which beats are not yet acknowledged.
struct Beats {
    lease: Duration,
    sequence: u64,
    /// When each was sent, by the lease's clock.
    sent: BTreeMap<u64, Duration>,
    last: Instant,
    /// Shortest time to the next one.
    pause: Duration,
    next: Instant,
    /// When the control plane last said something.
    heard: Instant,
    told: Told,
}

impl Beats {
    fn new(lease: Duration, told: Told) -> Self {
        let now = Instant::now();
        Self {
            lease,
            sequence: 0,
            sent: BTreeMap::new(),
            last: now,
            pause: BEAT_MIN,
            next: now,
            heard: now,
            told,
        }
    }

    fn soon(&mut self) {
        let soon = Instant::now() + CHANGE_DELAY;
        self.next = self.next.min(soon.max(self.last + self.pause));
    }

    fn beat(&mut self, core: &Core) -> FromSite {
        self.sequence += 1;
        // Before it is made: the lease counts from here.
        self.sent.insert(self.sequence, core.clock.monotonic());
        self.last = Instant::now();
        self.next = self.last + self.lease / 3;
        let (mut held, cells, tails) = (core.held(), core.held_cells(), core.tails());
        self.told.window(self.sequence, &mut held);
        self.pause = BEAT_MIN.max(self.last.elapsed() * BEAT_SHARE).min(self.lease / 3);
        let decided = policies::window(core);
        FromSite::Beat { sequence: self.sequence, held, cells, tails, decided }
    }

    fn acknowledged(&mut self, core: &Core, sequence: u64) {
        let Some(sent) = self.sent.remove(&sequence) else { return };
        self.sent = self.sent.split_off(&sequence);
        self.told.acknowledged(sequence);
        let held = core.lease_holds();
        core.lease.renew(sent, self.lease);
        if !held && core.lease_holds() {
            core.kick.notify_one();
        }
    }
}

fn hello(core: &Core, told: &mut Told) -> FromSite {
    let config = &core.config;
    let mut held = core.held();
    told.window(HELLO, &mut held);
    FromSite::Hello {
        version: LINK_VERSION,
        site: config.name.clone(),
        labels: config.labels.clone(),
        address: config.address,
        ingress_port: core.ingress.port(),
        peer_address: core.reach.identity().map(|_| core.peers.ip()),
        peer_port: core.peers.port(),
        cpu: config.cpu,
        memory: config.memory,
        store: core.store.as_ref().map(Store::told),
        agent_version: config.version.clone(),
        held,
    }
}

/// Takes in what the site shall run. A lease that is renewed after this finds it known.
fn take(core: &Arc<Core>, desired: Desired) {
    core.reach.meet(&desired.peers);
    if core.read(|inner| inner.state.desired.peers != desired.peers) {
        core.copies_due.notify_one();
        if let Some(store) = &core.store {
            store.moved.notify_one();
        }
    }
    let complaints = core.update_all(|inner| plan::absorb(&mut inner.state, desired));
    for complaint in complaints {
        tracing::error!(complaint, "the control plane wants what cannot be");
    }
    let persisting = core.clone();
    core.spawn(async move {
        if let Err(failure) = persisting.persist().await {
            tracing::warn!(%failure, "the control plane's word is not yet remembered");
        }
    });
}

async fn send(
    sink: &mut (impl Sink<Message, Error = WsError> + Unpin),
    message: &FromSite,
) -> Result<(), Lost> {
    let text = serde_json::to_string(message).map_err(Lost::Malformed)?;
    timeout(GREETING_TIMEOUT, sink.send(Message::text(text)))
        .await
        .map_err(|_| Lost::Silent)?
        .map_err(|error| Lost::Broken(Box::new(error)))
}

async fn next(
    stream: &mut (impl Stream<Item = Result<Message, WsError>> + Unpin),
) -> Result<FromControl, Lost> {
    loop {
        let message = stream.next().await.ok_or(Lost::Closed)?;
        match message.map_err(|error| Lost::Broken(Box::new(error)))? {
            Message::Text(text) => return serde_json::from_str(&text).map_err(Lost::Malformed),
            Message::Binary(bytes) => {
                return serde_json::from_slice(&bytes).map_err(Lost::Malformed);
            }
            Message::Close(_) => return Err(Lost::Closed),
            // The library answers pings.
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    }
}
