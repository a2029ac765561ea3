//! One session with a site's agent, from its hello to its end.

use super::{
    Error, Result, advice, agents,
    batch::Batch,
    conn::{Conn, OUTGOING_MAX},
    desired, losses, owed, runs,
    state::State,
    status::set_condition,
};
use api::{
    DEFAULT_TENANT, Kind, Problem, Resource,
    link::{Decided, FromControl, FromSite, Held, HeldCell, LINK_VERSION, Tail},
    site::{SiteSpec, SiteStatus, SiteStore},
};
use axum::extract::ws::{Message, WebSocket};
use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::sync::mpsc;
use tracing::{info, warn};
use types::{Bytes, Cpu, ErrorKind, check_name};

/// Largest message: the report of a site with tens of thousands of services.
pub(super) const MESSAGE_MAX_BYTES: usize = 16 << 20;
/// How long an agent may take to say hello, and the network to take a message.
const PATIENCE: Duration = Duration::from_secs(10);

/// What an agent says of its site.
struct Hello {
    version: u32,
    site: String,
    labels: BTreeMap<String, String>,
    address: IpAddr,
    peer_address: Option<IpAddr>,
    ingress_port: u16,
    peer_port: u16,
    cpu: Cpu,
    memory: Bytes,
    store: Option<SiteStore>,
    agent_version: String,
    held: Vec<Held>,
}

/// Who may be at the other end, by what the connection showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Speaker {
    /// The site that the certificate names.
    Certified(String),
    /// Any site that has no certificate: the token of this machine's sites was shown.
    Local,
}

/// Serves one connection until it ends.
pub(super) async fn run(state: Arc<State>, mut socket: WebSocket, speaker: Speaker) {
    let hello = tokio::select! {
        hello = tokio::time::timeout(PATIENCE, hello(&mut socket)) => hello,
        () = state.stop.cancelled() => return,
    };
    let Ok(Some(hello)) = hello else { return };
    let site = hello.site.clone();
    let (conn, outgoing) = match admit(&state, hello, &speaker).await {
        Ok(admitted) => admitted,
        Err(error) => {
            let problem = Problem::from(error);
            warn!(site, problem = problem.message, "refused a site");
            // It is told why if it still listens.
            let _ = socket.send(encode(&FromControl::Refused(problem))).await;
            return;
        }
    };
    info!(site, "a site joined");
    state.tasks.spawn(owed::deliver_all(state.clone(), conn.clone()));
    let (sink, stream) = socket.split();
    tokio::select! {
        () = write(sink, outgoing) => {}
        () = read(&state, &conn, stream) => {}
        () = conn.closed() => {}
        () = state.stop.cancelled() => {}
    }
    conn.close();
    state.sites(|sites| sites.leave(&conn));
    state.wake();
    info!(site, "a site's session ended");
}

async fn hello(socket: &mut WebSocket) -> Option<Hello> {
    match decode(socket.next().await?.ok()?)?.ok()? {
        FromSite::Hello {
            version,
            site,
            labels,
            address,
            peer_address,
            ingress_port,
            peer_port,
            cpu,
            memory,
            store,
            agent_version,
            held,
        } => Some(Hello {
            version,
            site,
            labels,
            address,
            peer_address,
            ingress_port,
            peer_port,
            cpu,
            memory,
            store,
            agent_version,
            held,
        }),
        FromSite::Beat { .. } | FromSite::Reply { .. } => None,
    }
}

/// Takes the site in: its resource is stored, an older session ends, its lease begins.
async fn admit(
    state: &Arc<State>,
    hello: Hello,
    speaker: &Speaker,
) -> Result<(Arc<Conn>, mpsc::Receiver<FromControl>)> {
    if hello.version != LINK_VERSION {
        return Err(Error::refuse(
            ErrorKind::Unsupported,
            format!(
                "the agent speaks version {} of the site link, this control plane version {LINK_VERSION}: run the same release on both",
                hello.version
            ),
        ));
    }
    check_name(&hello.site).map_err(|error| {
        Error::refuse(ErrorKind::Invalid, format!("the site's name is wrong: {error}"))
    })?;
    let heard = state.clock.monotonic();
    let _turn = state.admission.lock().await;
    may_speak(state, speaker, &hello.site)?;
    has_place(state, &hello)?;
    let moved = state.address_of(&hello.site) != Some(hello.address);
    store_site(state, &hello).await?;
    if moved {
        point_all(state, &hello.site);
    }
    let (sender, outgoing) = mpsc::channel(OUTGOING_MAX);
    let conn = Arc::new(Conn::new(&hello.site, sender));
    let wall = state.wall_ms();
    let lease_ms = u64::try_from(state.config.lease.as_millis()).unwrap_or(u64::MAX);
    let keys = state.registry.keys();
    let models = agents::models(state);
    // In one step: whoever finds the session may send at once, and the welcome comes first.
    state.both(|cache, sites| {
        sites.join(conn.clone(), heard, wall, hello.held);
        let desired = desired::of(cache, sites, (&keys, &models), &hello.site);
        conn.told(&desired);
        conn.send(FromControl::Welcome { lease_ms, desired: Box::new(desired) });
    });
    state.wake();
    Ok((conn, outgoing))
}

/// A site speaks for itself alone.
fn may_speak(state: &State, speaker: &Speaker, site: &str) -> Result<()> {
    let problem = match speaker {
        Speaker::Certified(own) if own == site => return Ok(()),
        Speaker::Local if !state.registry.is_joined(site) => return Ok(()),
        Speaker::Certified(own) => {
            format!("the certificate is of site `{own}`: it cannot speak for `{site}`")
        }
        Speaker::Local => format!("site `{site}` joined: only its own certificate speaks for it"),
    };
    Err(Error::refuse(ErrorKind::Forbidden, problem))
}

/// Two sites at one place would be taken for each other, and reach neither.
fn has_place(state: &State, hello: &Hello) -> Result<()> {
    let at = hello.peer_address.map(|address| SocketAddr::new(address, hello.peer_port));
    let holder = state
        .both(|cache, sites| desired::holder(cache, sites, &hello.site, at).map(str::to_owned));
    let Some(holder) = holder else { return Ok(()) };
    let message = format!(
        "other sites reach `{holder}` at the address that this one names: give another one with --bind"
    );
    Err(Error::refuse(ErrorKind::Conflict, message))
}

async fn store_site(state: &Arc<State>, hello: &Hello) -> Result<()> {
    loop {
        let known = state.cache(|cache| cache.sites.get(&hello.site).cloned());
        let resource = match known {
            Some(site) => describe(state, site.resource.clone(), hello),
            None => describe(state, new_site(state, &hello.site), hello),
        };
        let mut batch = Batch::new();
        batch.put(resource);
        match state.commit(batch).await {
            Err(Error::Raced) => {}
            done => return done.map(drop),
        }
    }
}

/// A site that nobody has described before.
pub(super) fn new_site(state: &State, name: &str) -> Resource {
    let mut resource = Resource::new(Kind::Site, DEFAULT_TENANT, name, &SiteSpec::default());
    resource.metadata.uid = types::random_id();
    resource.metadata.generation = Some(1);
    resource.metadata.creation_timestamp = Some(state.wall_ms());
    resource
}

fn describe(state: &State, mut resource: Resource, hello: &Hello) -> Resource {
    let mut status: SiteStatus = resource.status();
    resource.metadata.labels.extend(hello.labels.clone());
    status.observed_generation = resource.metadata.generation.unwrap_or_default();
    status.ready = true;
    status.address = Some(hello.address);
    status.peer_address = hello.peer_address;
    status.ingress_port = hello.ingress_port;
    status.peer_port = hello.peer_port;
    status.cpu = hello.cpu;
    status.memory = hello.memory;
    status.store.clone_from(&hello.store);
    status.version.clone_from(&hello.agent_version);
    status.last_seen = state.wall_ms();
    let now = state.wall_ms();
    set_condition(&mut status.conditions, "Ready", true, "Connected", "its lease holds", now);
    resource.set_status(&status);
    resource
}

/// The site has another address than before: so have the services on it.
fn point_all(state: &State, site: &str) {
    let own: Vec<_> = state.cache(|cache| {
        let services = cache.services.values();
        services.filter(|service| service.status.site.as_deref() == Some(site)).cloned().collect()
    });
    for service in own {
        state.point(&service, site);
    }
}

async fn read(state: &Arc<State>, conn: &Arc<Conn>, mut stream: SplitStream<WebSocket>) {
    while let Some(Ok(message)) = stream.next().await {
        match decode(message) {
            None => {}
            Some(Ok(FromSite::Beat { sequence, held, cells, tails, decided })) => {
                let goes_on = beat(state, conn, sequence, (held, cells, tails, decided)).await;
                if !goes_on {
                    return;
                }
            }
            Some(Ok(FromSite::Reply { id, result })) => conn.answer(id, result),
            Some(Ok(FromSite::Hello { .. })) => return,
            Some(Err(error)) => {
                let text = format!("a message on the site link cannot be read: {error}");
                conn.send(FromControl::Refused(Problem::new(ErrorKind::Invalid, text)));
                return;
            }
        }
    }
}

/// Renews the lease; false if the session must end.
async fn beat(
    state: &Arc<State>,
    conn: &Arc<Conn>,
    sequence: u64,
    (held, cells, tails, decided): (Vec<Held>, Vec<HeldCell>, Vec<Tail>, Vec<Decided>),
) -> bool {
    let (now, wall) = (state.clock.monotonic(), state.wall_ms());
    let Some(changed) = state.sites(|sites| sites.beat(conn, now, wall, held.clone(), &cells))
    else {
        return false;
    };
    let watched = agents::watched(state);
    state.agents.measured().take(conn.site(), wall, &held, &watched);
    advice::take(state, conn.site(), &held, &cells);
    if changed {
        // An acknowledged ending is not reported again: it has to be in the store before.
        if let Err(error) = runs::record(state, conn.site(), &cells).await {
            warn!(site = conn.site(), error = types::chain(&error), "a beat was not taken");
            return false;
        }
        state.wake();
    }
    // What is noted is not sent again: it has to be in the store before.
    let noted = losses::note(state, &tails).await.unwrap_or_else(|error| {
        warn!(site = conn.site(), error = types::chain(&error), "what was lost is not noted yet");
        Vec::new()
    });
    let recorded = agents::heard(state, conn.site(), &decided).await;
    conn.send(FromControl::Ack { sequence, noted, recorded });
    true
}

async fn write(mut sink: SplitSink<WebSocket, Message>, mut outgoing: mpsc::Receiver<FromControl>) {
    while let Some(message) = outgoing.recv().await {
        let sent = tokio::time::timeout(PATIENCE, sink.send(encode(&message))).await;
        if !matches!(sent, Ok(Ok(()))) {
            return;
        }
    }
}

fn encode(message: &FromControl) -> Message {
    Message::text(serde_json::to_string(message).expect("a message is plain data"))
}

/// Nothing for pings and the like, which the socket answers itself.
fn decode(message: Message) -> Option<serde_json::Result<FromSite>> {
    match message {
        Message::Text(text) => Some(serde_json::from_str(&text)),
        Message::Binary(bytes) => Some(serde_json::from_slice(&bytes)),
        Message::Ping(_) | Message::Pong(_) | Message::Close(_) => None,
    }
}
