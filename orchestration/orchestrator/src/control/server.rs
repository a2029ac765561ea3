//! Connections: accepts, limits and ends them.

use super::{Error, Result, rest, state::State};
use crate::trust::{self, Caller, Stranger, Strangers, Stream};
use axum::Router;
use http_body_util::BodyExt;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::{
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tokio_rustls::TlsAcceptor;
use tower_service::Service;
use tracing::{debug, info, warn};

/// How long a client may take to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// What a connection of HTTP/2 begins with.
const PREFACE: &[u8; 5] = b"PRI *";
/// Requests at a time on one connection of HTTP/2.
const STREAMS_MAX: u32 = 64;
/// A connection of HTTP/2 may have no request for so long: its place is another's.
const QUIET_MAX: Duration = Duration::from_secs(60);
/// Headers of one request.
const HEADERS_MAX_BYTES: u32 = 16 << 10;

/// Where a control plane listens.
#[derive(Debug)]
pub struct Listeners {
    /// On loopback, without TLS.
    pub plain: TcpListener,
    /// For other machines: TLS 1.3, sites show their certificates.
    pub secured: Option<TcpListener>,
}

impl From<TcpListener> for Listeners {
    fn from(plain: TcpListener) -> Self {
        Self { plain, secured: None }
    }
}

/// What is known of a connection, for each of its requests.
#[derive(Debug, Clone, Default)]
pub(super) struct Origin {
    /// It came through TLS, from wherever.
    pub(super) secured: bool,
    /// Who showed a certificate.
    pub(super) caller: Option<Caller>,
    /// Counts it among the strangers until a request shows who it is.
    stranger: Option<Arc<Stranger>>,
}

impl Origin {
    /// Whoever is at the other end has not shown who it is.
    fn is_strange(&self) -> bool {
        self.stranger.as_ref().is_some_and(|stranger| stranger.is_strange())
    }

    /// A request has shown who it is.
    pub(super) fn is_known(&self) {
        if let Some(stranger) = &self.stranger {
            stranger.is_known();
        }
    }
}

/// Serves until `shutdown`, or until the store has failed.
pub(super) async fn serve(
    state: Arc<State>,
    listeners: Listeners,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<()> {
    let address = address(&listeners.plain)?;
    info!(%address, "the control plane listens");
    let router = rest::router(state.clone(), address);
    let plain = accept_all(&state, &router, &listeners.plain, None);
    let secured = async {
        match &listeners.secured {
            Some(listener) => {
                let address = self::address(listener)?;
                let acceptor = trust::control_server(state.authority.clone(), address.ip())?;
                info!(%address, authority = %state.authority.fingerprint(), "other machines are let in");
                accept_all(&state, &router, listener, Some(acceptor)).await
            }
            None => std::future::pending().await,
        }
    };
    let ended = tokio::select! {
        ended = plain => ended,
        ended = secured => ended,
        () = shutdown => Ok(()),
        () = state.stop.cancelled() => Ok(()),
    };
    let failed = state.fatal.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    failed.map_or(ended, Err)
}

fn address(listener: &TcpListener) -> Result<SocketAddr> {
    listener.local_addr().map_err(|source| Error::Folder { path: "the listener".into(), source })
}

/// Accepts for ever. Each listener has places of its own: who comes from another machine cannot
/// take those of this one.
async fn accept_all(
    state: &Arc<State>,
    router: &Router,
    listener: &TcpListener,
    acceptor: Option<TlsAcceptor>,
) -> Result<()> {
    let places = Arc::new(Semaphore::new(state.config.connections_max));
    let strangers = Strangers::new(state.config.connections_max);
    loop {
        let (stream, from, place) = accept(listener, &places).await;
        let greeting = match &acceptor {
            None => None,
            Some(acceptor) => match strangers.admit(from.ip()) {
                Some(stranger) => Some((acceptor.clone(), stranger)),
                None => {
                    debug!(%from, "too many connections that did not show who they are");
                    continue;
                }
            },
        };
        let serving = connection(state.clone(), router.clone(), stream, greeting, place);
        state.tasks.spawn(serving);
    }
}

/// The next connection, once there is a place for it.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, Option<OwnedSemaphorePermit>) {
    let place = places.clone().acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, from)) => return (stream, from, place),
            Err(error) => {
                // Out of file descriptors, most likely: closing connections will free some.
                warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(
    state: Arc<State>,
    router: Router,
    stream: TcpStream,
    greeting: Option<(TlsAcceptor, Stranger)>,
    place: Option<OwnedSemaphorePermit>,
) {
    // A call must not wait for the acknowledgement of the message before it.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "a connection without TCP_NODELAY");
    }
    let Some((stream, origin)) = greet(stream, greeting).await else { return };
    let serving = async {
        if speaks_http2(&stream).await {
            return serve_http2(stream, router, origin).await;
        }
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(origin.clone());
            router.clone().call(request)
        });
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades()
            .await
    };
    tokio::select! {
        served = serving => if let Err(error) = served {
            debug!(%error, "a connection ended");
        },
        () = state.stop.cancelled() => {}
    }
    drop(place);
}

/// Serves HTTP/2, whose clients hold a connection with pings alone. One that is still a stranger
/// after [`HEAD_TIMEOUT`], or asked nothing for [`QUIET_MAX`], is told to go, and ended if it stays.
async fn serve_http2(stream: Stream, router: Router, origin: Origin) -> hyper::Result<()> {
    // Counts requests; each that has not ended, its answer's body with it, holds it too.
    let asked = Arc::new(AtomicU64::new(0));
    let (counted, caller) = (asked.clone(), origin.clone());
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(caller.clone());
        let (held, mut router) = (counted.clone(), router.clone());
        held.fetch_add(1, Ordering::Relaxed);
        async move {
            let answer = router.call(request).await?;
            Ok::<_, Infallible>(answer.map(|body| {
                body.map_frame(move |frame| {
                    let _until_its_end = &held;
                    frame
                })
            }))
        }
    });
    let mut serving = pin!(
        http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(HEAD_TIMEOUT)
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(HEADERS_MAX_BYTES)
            .serve_connection(TokioIo::new(stream), service)
    );
    let (mut before, mut since, mut told) = (0, Instant::now(), false);
    loop {
        match tokio::time::timeout(HEAD_TIMEOUT, serving.as_mut()).await {
            Ok(served) => return served,
            Err(_) if origin.is_strange() && told => return Ok(()),
            Err(_) => {}
        }
        // The service and this function hold it always.
        let (now, open) = (asked.load(Ordering::Relaxed), Arc::strong_count(&asked) > 2);
        if open || now != before {
            (before, since) = (now, Instant::now());
        }
        let quiet = since.elapsed() >= QUIET_MAX;
        if quiet && told {
            return Ok(());
        }
        if quiet || origin.is_strange() {
            serving.as_mut().graceful_shutdown();
            told = true;
        }
    }
}

/// Whether the client speaks HTTP/2, as those of gRPC do: through TLS it was agreed on, on loopback
/// the first bytes tell. One that sends nothing is left to the limits of HTTP/1.
async fn speaks_http2(stream: &Stream) -> bool {
    let stream = match stream {
        Stream::Secured(_) => return stream.protocol() == Some(trust::HTTP2),
        Stream::Plain(stream) => stream,
    };
    // No method of HTTP/1 begins so that is answered here.
    let mut first = [0; PREFACE.len()];
    let deadline = Instant::now() + HEAD_TIMEOUT;
    loop {
        match tokio::time::timeout_at(deadline, stream.peek(&mut first)).await {
            Ok(Ok(size))
                if size < PREFACE.len() && size > 0 && PREFACE.starts_with(&first[..size]) =>
            {
                // The rest is on its way; what was peeked at would be found again at once.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Ok(Ok(size)) => return size == PREFACE.len() && first == *PREFACE,
            Ok(Err(_)) | Err(_) => return false,
        }
        if Instant::now() >= deadline {
            return false;
        }
    }
}

/// Finishes the handshake, if there is to be one.
async fn greet(
    stream: TcpStream,
    greeting: Option<(TlsAcceptor, Stranger)>,
) -> Option<(Stream, Origin)> {
    let Some((acceptor, stranger)) = greeting else {
        return Some((Stream::Plain(stream), Origin::default()));
    };
    let peer = stream.peer_addr().map_or_else(|_| "?".to_owned(), |peer| peer.to_string());
    let greeted = trust::accept(&acceptor, stream).await.map_err(|error| types::chain(&error));
    let greeted = greeted.and_then(|stream| {
        let caller = trust::caller(&stream).map_err(|error| types::chain(&error))?;
        Ok((stream, Origin { secured: true, caller, stranger: Some(Arc::new(stranger)) }))
    });
    greeted.inspect_err(|error| info!(peer, error, "a connection was refused")).ok()
}
