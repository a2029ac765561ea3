//! The site's HTTP entrance: finds the service that a request names and answers for it.

mod answer;
mod forward;
mod host;
mod queue;
mod routes;
mod threads;

pub(crate) use queue::{Gate, Queue, Route, Target};
pub(crate) use routes::Routes;
pub(crate) use threads::start;

use super::core::Core;
use crate::trust::Connector;
use answer::{Body, Refusal};
use bytes::{Bytes, BytesMut};
use host::Named;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response,
    body::{Body as _, Incoming},
    header::{self, HeaderMap, HeaderValue},
    http::request::Parts,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use queue::Ask;
use std::{
    borrow::Cow,
    convert::Infallible,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::Semaphore,
    time::{Instant, timeout},
};
use tokio_util::task::TaskTracker;
use types::ErrorKind;

/// Longest request id.
const REQUEST_ID_MAX_BYTES: usize = 128;

/// Most bytes of a request's line and headers.
const HEAD_MAX_BYTES: usize = 64 << 10;

/// How long a connection may stay without a whole request's head.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// How long requests in hand may take once the agent shall stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// The site's HTTP entrance.
#[derive(Debug)]
pub(crate) struct Ingress {
    core: Arc<Core>,
    site: HeaderValue,
    forwarder: Client<Connector, Full<Bytes>>,
    connections: Arc<Semaphore>,
    /// Connections that are being served.
    open: TaskTracker,
    /// Bytes of bodies that are held now.
    buffered: AtomicU64,
}

impl Ingress {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        let forwarder = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(Duration::from_secs(20))
            .set_host(false)
            .build(core.reach.forwarder(forward::CONNECT_TIMEOUT));
        let site = HeaderValue::from_str(&core.config.name)
            .unwrap_or_else(|_| HeaderValue::from_static("unknown"));
        let connections = Arc::new(Semaphore::new(core.config.limits.connections_max));
        Self {
            core,
            site,
            forwarder,
            connections,
            open: TaskTracker::new(),
            buffered: AtomicU64::new(0),
        }
    }

    /// Serves until the agent stops.
    pub(crate) async fn run(self: Arc<Self>, listener: TcpListener) {
        let stop = self.core.stop.clone();
        loop {
            let permit = self.connections.clone().acquire_owned().await;
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    // Without it small answers wait for the client's acknowledgement.
                    let _ = stream.set_nodelay(true);
                    let ingress = self.clone();
                    self.open.spawn(async move {
                        ingress.connection(stream).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    // Out of descriptors, most likely: they come back as connections close.
                    tracing::warn!(%error, "the ingress cannot accept");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    /// Answers on one connection, of a client or of another site that forwards.
    pub(crate) async fn connection(
        self: Arc<Self>,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) {
        let stop = self.core.stop.clone();
        let service = service_fn(|request| {
            let ingress = self.clone();
            async move { Ok::<_, Infallible>(ingress.handle(request).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(IDLE_TIMEOUT)
            .max_buf_size(HEAD_MAX_BYTES)
            .half_close(false)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        tokio::select! {
            // Clients close and reset connections as they like.
            _ = connection.as_mut() => return,
            () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        let _ = timeout(DRAIN_TIMEOUT, connection).await;
    }

    async fn handle(&self, request: Request<Incoming>) -> Response<Body> {
        let started = Instant::now();
        let (mut parts, body) = request.into_parts();
        let id = request_id(&mut parts.headers);
        let mut queue = None;
        let answered = match &id {
            Ok((id, _)) => self.answer(&mut parts, id, body, &mut queue).await,
            Err(_) => Err(Refusal::new(ErrorKind::Invalid, BAD_REQUEST_ID)),
        };
        if let Some(queue) = &queue {
            let status = answered.as_ref().map_or_else(Refusal::status, Response::status);
            queue.counters.count(status, started.elapsed());
        }
        let mut response = answered.unwrap_or_else(Refusal::into_response);
        let headers = response.headers_mut();
        // The site that answered a forwarded request has named itself.
        headers.entry(answer::SITE).or_insert_with(|| self.site.clone());
        if let Ok((_, value)) = id {
            headers.insert(answer::REQUEST_ID, value);
        }
        response
    }

    async fn answer(
        &self,
        parts: &mut Parts,
        id: &str,
        body: Incoming,
        found: &mut Option<Arc<Queue>>,
    ) -> Result<Response<Body>, Refusal> {
        let queue = self.find(parts)?;
        let queue = found.insert(queue);
        let hops = hops(&parts.headers)?;
        answer::strip_hop_by_hop(&mut parts.headers);
        let max_body = queue.route().max_body;
        let held = self.collect(body, max_body).await?;
        queue.ask(Ask { ingress: self, parts, id, body: held.bytes.clone(), hops }).await
    }

    fn find(&self, parts: &Parts) -> Result<Arc<Queue>, Refusal> {
        let invalid = |message: &str| Refusal::new(ErrorKind::Invalid, message);
        if parts.method == Method::CONNECT {
            return Err(invalid("the ingress is no proxy: name the service in `Host`"));
        }
        if parts.headers.contains_key(header::TRANSFER_ENCODING)
            && parts.headers.contains_key(header::CONTENT_LENGTH)
        {
            return Err(invalid("a request has `Content-Length` or `Transfer-Encoding`, not both"));
        }
        if let Some(origin) = parts.headers.get(header::ORIGIN)
            && !origin.to_str().is_ok_and(is_own_origin)
        {
            let message = "pages of other origins may not use this ingress";
            return Err(Refusal::new(ErrorKind::Forbidden, message));
        }
        let host = host_of(parts)?;
        match host::named(host) {
            Named::Service { tenant, name } => {
                self.core.routes.find(&tenant, &name).ok_or_else(|| {
                    let message =
                        format!("no service `{name}` of tenant `{tenant}` is held at this site");
                    Refusal::new(ErrorKind::NotFound, message)
                })
            }
            Named::Ingress => Err(Refusal::new(
                ErrorKind::NotFound,
                "name the service in `Host`: `<service>.localhost` or `<service>.<tenant>.localhost`",
            )),
            Named::Foreign => Err(Refusal::new(
                ErrorKind::Forbidden,
                "this ingress answers for `<service>.localhost`, `<service>.<tenant>.localhost` and \
                 `<service>.<tenant>.svc.cloudskin.internal` only",
            )),
        }
    }

    /// The whole body, if it fits.
    async fn collect(&self, mut body: Incoming, limit: u64) -> Result<Held<'_>, Refusal> {
        let mut held = Held { ingress: self, bytes: Bytes::new(), reserved: 0 };
        if body.is_end_stream() {
            return Ok(held);
        }
        if let Some(size) = body.size_hint().exact() {
            if size > limit {
                return Err(Refusal::too_large(Some(size), limit));
            }
            held.reserve(size)?;
        }
        let idle = self.core.config.limits.upload_idle;
        let mut pieces = BytesMut::new();
        loop {
            let frame =
                timeout(idle, body.frame()).await.map_err(|_| Refusal::too_slow(idle.as_secs()))?;
            let Some(frame) = frame else { break };
            let frame = frame.map_err(|error| {
                let message = format!("the request's body broke off: {error}");
                Refusal::new(ErrorKind::Invalid, message)
            })?;
            let Ok(piece) = frame.into_data() else { continue };
            let size = (held.bytes.len() + pieces.len() + piece.len()) as u64;
            if size > limit {
                return Err(Refusal::too_large(None, limit));
            }
            held.reserve(size)?;
            // Most bodies come in one piece, which is not copied.
            if held.bytes.is_empty() && pieces.is_empty() {
                held.bytes = piece;
                continue;
            }
            if pieces.is_empty() {
                pieces.reserve(usize::try_from(held.reserved).unwrap_or_default());
                pieces.extend_from_slice(&std::mem::take(&mut held.bytes));
            }
            pieces.extend_from_slice(&piece);
        }
        if !pieces.is_empty() {
            held.bytes = pieces.freeze();
        }
        Ok(held)
    }
}

/// A body, counted against what the ingress may hold.
struct Held<'a> {
    ingress: &'a Ingress,
    bytes: Bytes,
    reserved: u64,
}

impl Held<'_> {
    /// Counts `size` bytes in all.
    fn reserve(&mut self, size: u64) -> Result<(), Refusal> {
        let more = size.saturating_sub(self.reserved);
        if more == 0 {
            return Ok(());
        }
        let limit = self.ingress.core.config.limits.buffered_bytes_max;
        let before = self.ingress.buffered.fetch_add(more, Ordering::Relaxed);
        self.reserved += more;
        if before + more > limit {
            let message =
                format!("the ingress holds {before} bytes of bodies: its limit is {limit}");
            return Err(Refusal::too_many(message));
        }
        Ok(())
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.ingress.buffered.fetch_sub(self.reserved, Ordering::Relaxed);
    }
}

const BAD_REQUEST_ID: &str =
    "`Cloudskin-Request-Id` is given once, as 1 to 128 visible ASCII characters";

/// The request's id, a new one if it has none; as text and as a header's value.
fn request_id(headers: &mut HeaderMap) -> Result<(String, HeaderValue), ()> {
    let mut given = headers.get_all(answer::REQUEST_ID).iter();
    let (first, second) = (given.next(), given.next());
    let Some(value) = first else {
        let id = types::random_id();
        let value = HeaderValue::from_str(&id).map_err(|_| ())?;
        return Ok((id, value));
    };
    let visible = |byte: &u8| (0x21..=0x7e).contains(byte);
    let good = (1..=REQUEST_ID_MAX_BYTES).contains(&value.len())
        && value.as_bytes().iter().all(visible)
        && second.is_none();
    let id = value.to_str().ok().filter(|_| good).ok_or(())?;
    Ok((id.to_owned(), value.clone()))
}

fn host_of(parts: &Parts) -> Result<&str, Refusal> {
    let invalid = |message: &str| Refusal::new(ErrorKind::Invalid, message);
    let mut given = parts.headers.get_all(header::HOST).iter();
    let (first, second) = (given.next(), given.next());
    if second.is_some() {
        return Err(invalid("a request has one `Host`"));
    }
    // In a request to a proxy the address counts, whatever `Host` says (RFC 9112, 3.2.2).
    if let Some(authority) = parts.uri.authority() {
        return Ok(authority.as_str());
    }
    let host = first.ok_or_else(|| invalid("a request needs `Host`"))?;
    host.to_str().map_err(|_| invalid("`Host` is not a name"))
}

/// Pages that come from services, or from this machine, may use services.
fn is_own_origin(origin: &str) -> bool {
    let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    let Some(host) = host else { return false };
    match host::named(host) {
        Named::Service { .. } => true,
        Named::Ingress => {
            let name = host.rsplit_once(':').map_or(Cow::Borrowed(host), |(name, _)| name.into());
            let address = name.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
            address.map_or(true, |address| address.is_loopback())
        }
        Named::Foreign => false,
    }
}

fn hops(headers: &HeaderMap) -> Result<u32, Refusal> {
    let Some(value) = headers.get(answer::FORWARDED) else { return Ok(0) };
    value.to_str().ok().and_then(|text| text.parse().ok()).ok_or_else(|| {
        Refusal::new(ErrorKind::Invalid, "`Cloudskin-Forwarded` is a number, set by an ingress")
    })
}
