//! The local ingress: `http://<service>.localhost:8080/` for curl and browsers, with no change to
//! the machine's resolver.
//!
//! It asks our DNS where a service is, honours the answer's TTL, and passes requests and answers
//! through as streams, the Host header kept.

mod pool;
mod resolver;
mod route;

use crate::client::Client;
use api::{Kind, Problem};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{
    HeaderMap, Request, Response, StatusCode, Uri,
    body::Incoming,
    header::{self, HeaderName, HeaderValue},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use pool::{Pool, SendError};
use resolver::{Answer, Resolver};
use route::Target;
use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use types::ErrorKind;

/// Connections served at once: what a browser and a load test need, within the usual limit of
/// 1,024 open files.
const CONNECTIONS_MAX: usize = 400;

/// A client that has connected and sends no request holds its place no longer.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// Names a request for logs, answers and retries.
const REQUEST_ID: HeaderName = HeaderName::from_static("cloudskin-request-id");

type Body = BoxBody<Bytes, hyper::Error>;

/// The ingress of one continuum.
#[derive(Debug)]
pub struct Ingress {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    resolver: Resolver,
    pool: Pool,
    site_port: u16,
    /// Where it listens itself.
    own: std::sync::OnceLock<SocketAddr>,
    control: Client,
}

impl Ingress {
    /// Asks the DNS server at `dns`, forwards to port `site_port` of what it answers; `control`
    /// says what exists when a name does not.
    pub fn new(dns: SocketAddr, site_port: u16, control: Client) -> Self {
        let shared = Shared {
            resolver: Resolver::new(dns),
            pool: Pool::default(),
            site_port,
            own: std::sync::OnceLock::new(),
            control,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Serves until it is dropped.
    ///
    /// # Panics
    /// Never: its semaphore is not closed.
    pub async fn serve(self, listener: TcpListener) -> Infallible {
        if let Ok(own) = listener.local_addr() {
            // It serves once.
            let _ = self.shared.own.set(own);
        }
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = tokio::task::JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let place = Arc::clone(&places).acquire_owned().await;
            let place = place.expect("the semaphore is never closed");
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of file descriptors, mostly: it passes when connections end.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let shared = Arc::clone(&self.shared);
            connections.spawn(async move {
                shared.connection(stream).await;
                drop(place);
            });
        }
    }
}

impl Shared {
    async fn connection(self: Arc<Self>, stream: TcpStream) {
        // Answers are small and waited for.
        let _ = stream.set_nodelay(true);
        let service = service_fn(move |request| {
            let shared = Arc::clone(&self);
            async move { Ok::<_, Infallible>(shared.answer(request).await) }
        });
        let served = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service)
            .await;
        if let Err(error) = served {
            tracing::debug!(%error, "a connection of the local ingress broke");
        }
    }

    async fn answer(&self, mut request: Request<Incoming>) -> Response<Body> {
        let id = request_id(request.headers_mut());
        let result = self.forward(request).await;
        let mut response = result.unwrap_or_else(|refusal| refusal.into_response());
        response.headers_mut().entry(REQUEST_ID).or_insert(id);
        response
    }

    async fn forward(&self, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
        let target = route::target(request.headers(), request.uri()).map_err(Refusal::new)?;
        let name = match target {
            Target::Service(name) => name,
            Target::Ingress => return Err(self.not_found("no service is named").await),
        };
        let mut request = outgoing(request);
        // A second resolve finds a service that moved since the first, whose answer may be as old
        // as its TTL. Nothing was sent yet when a connection is refused.
        for is_last in [false, true] {
            let address = match self.resolver.resolve(&name).await {
                Ok(Answer::Address(address)) => self.site(address)?,
                Ok(Answer::Absent) => {
                    return Err(self.not_found(&format!("there is no service `{name}`")).await);
                }
                Err(error) => {
                    return Err(Refusal::of(ErrorKind::Unavailable, &error));
                }
            };
            match self.pool.send(address, request).await {
                Ok(response) => return Ok(incoming(response)),
                Err(SendError::NotSent { request: kept, source }) if !is_last => {
                    tracing::debug!(name, %address, error = %source, "resolves again");
                    self.resolver.forget(&name);
                    request = *kept;
                }
                Err(error) => return Err(Refusal::of(error.kind(), &error)),
            }
        }
        Err(Refusal::new(Problem::new(ErrorKind::Unavailable, "the service cannot be reached")))
    }

    /// The ingress of the site at an address.
    fn site(&self, address: IpAddr) -> Result<SocketAddr, Refusal> {
        let site: SocketAddr = (address, self.site_port).into();
        // A site on another machine whose ingress is on that machine's loopback.
        if self.own.get() == Some(&site) {
            let text = "the service is at a site on another machine, whose ingress is reached there alone: start that site with `--ingress ADDRESS`";
            return Err(Refusal::new(Problem::new(ErrorKind::Unavailable, text)));
        }
        Ok(site)
    }

    /// What is wrong and which services there are.
    async fn not_found(&self, what: &str) -> Refusal {
        let listed = self.control.list(Kind::Service, &[]).await;
        let services = listed.map(|list| {
            list.items.into_iter().map(|service| service.metadata.name).collect::<Vec<_>>()
        });
        let how = match &services {
            Ok(names) if names.is_empty() => {
                "none exists yet: `cloudskin apply -f FILE` makes one".to_owned()
            }
            Ok(_) => "name one as `http://<service>.localhost` with this port".to_owned(),
            Err(error) => format!("which exist is unknown: {}", types::chain(error)),
        };
        let problem = Problem::new(ErrorKind::NotFound, format!("{what}; {how}"));
        Refusal { problem, services: services.unwrap_or_default() }
    }
}

/// An answer of the ingress itself.
struct Refusal {
    problem: Problem,
    services: Vec<String>,
}

impl Refusal {
    fn new(problem: Problem) -> Self {
        Self { problem, services: Vec::new() }
    }

    fn of(kind: ErrorKind, error: &dyn std::error::Error) -> Self {
        Self::new(Problem::from_error(kind, error))
    }

    fn into_response(self) -> Response<Body> {
        let Problem { kind, message } = self.problem;
        let mut value = serde_json::json!({"kind": kind, "message": message});
        if kind == ErrorKind::NotFound {
            value["services"] = self.services.into();
        }
        let body = Full::new(Bytes::from(format!("{value}\n"))).map_err(|never| match never {});
        let mut response = Response::new(body.boxed());
        *response.status_mut() =
            StatusCode::from_u16(kind.http_status()).unwrap_or(StatusCode::BAD_GATEWAY);
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

/// The request's id, added when it has none.
fn request_id(headers: &mut HeaderMap) -> HeaderValue {
    let random = || HeaderValue::from_str(&types::random_id());
    match headers.get(REQUEST_ID) {
        Some(id) => id.clone(),
        None => {
            let id = random().unwrap_or_else(|_| HeaderValue::from_static("unknown"));
            headers.insert(REQUEST_ID, id.clone());
            id
        }
    }
}

/// The request as the site's ingress gets it: the same, but for what concerns the connection.
fn outgoing(mut request: Request<Incoming>) -> Request<Incoming> {
    let host = request.uri().authority().map(|authority| authority.as_str().to_owned());
    if let Some(Ok(host)) = host.as_deref().map(HeaderValue::from_str) {
        // The absolute form outranks the header, by RFC 9112.
        request.headers_mut().insert(header::HOST, host);
    }
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    // Only paths are cut out of addresses that parsed, so they parse.
    *request.uri_mut() = path.parse().unwrap_or_else(|_| Uri::from_static("/"));
    *request.version_mut() = hyper::Version::HTTP_11;
    strip_hop_by_hop(request.headers_mut());
    // We have answered it ourselves.
    request.headers_mut().remove(header::EXPECT);
    request
}

fn incoming(response: Response<Incoming>) -> Response<Body> {
    let mut response = response.map(BodyExt::boxed);
    strip_hop_by_hop(response.headers_mut());
    response
}

/// Removes what RFC 9110, section 7.6.1, calls meant for one connection only.
fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let nominated: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        // Else a client could make us forward a request without its length or host.
        .filter(|name| ![header::CONTENT_LENGTH, header::HOST, REQUEST_ID].contains(name))
        .collect();
    for name in nominated {
        headers.remove(name);
    }
    for name in ["connection", "keep-alive", "proxy-connection", "te", "trailer", "upgrade"] {
        headers.remove(name);
    }
    // The body's own framing is made anew from what the body says of its length.
    headers.remove(header::TRANSFER_ENCODING);
}

#[cfg(test)]
mod tests;
