//! Late requests, sent on to the site that a service moved to.

use super::{
    answer::{self, Body, Refusal},
    queue::Ask,
};
use http_body_util::{Either, Full};
use hyper::{Request, Response, Uri, header::HeaderValue};
use std::{net::SocketAddr, time::Duration};
use tokio::time::{Instant, timeout_at};
use types::{ErrorKind, chain};

/// A request goes through this many ingresses: services that moved on meanwhile are followed, and
/// two sites that each believe the other serves are not.
pub(super) const HOPS_MAX: u32 = 4;

/// How long the connection to the other ingress may take.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Sends the request on. The inner error says that no answer came: the cell's table of answers
/// makes it safe to send it again.
pub(super) async fn send(
    ask: &Ask<'_>,
    to: SocketAddr,
    deadline: Instant,
) -> Result<Result<Response<Body>, String>, Refusal> {
    if ask.hops >= HOPS_MAX {
        // One of the two has not heard the verdict of a migration yet: the request waits for it.
        return Ok(Err(format!("the request was forwarded {} times already", ask.hops)));
    }
    let request = request(ask, to)?;
    let answered = timeout_at(deadline, ask.ingress.forwarder.request(request))
        .await
        .map_err(|_| Refusal::new(ErrorKind::Timeout, format!("no answer from {to} in time")))?;
    Ok(match answered {
        Ok(response) => {
            let (mut parts, body) = response.into_parts();
            answer::strip_hop_by_hop(&mut parts.headers);
            Ok(Response::from_parts(parts, Either::Right(body)))
        }
        Err(error) => Err(format!("cannot forward to {to}: {}", chain(&error))),
    })
}

fn request(ask: &Ask<'_>, to: SocketAddr) -> Result<Request<Full<bytes::Bytes>>, Refusal> {
    let invalid = |error: hyper::http::Error| Refusal::new(ErrorKind::Invalid, error.to_string());
    let path = ask.parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let uri = Uri::builder()
        .scheme(ask.ingress.core.reach.scheme())
        .authority(to.to_string())
        .path_and_query(path)
        .build()
        .map_err(invalid)?;
    let mut request = Request::builder()
        .method(ask.parts.method.clone())
        .uri(uri)
        .body(Full::new(ask.body.clone()))
        .map_err(invalid)?;
    let headers = request.headers_mut();
    headers.clone_from(&ask.parts.headers);
    // A body that came in chunks goes on in one piece.
    headers.insert(hyper::header::CONTENT_LENGTH, ask.body.len().into());
    headers.insert(answer::FORWARDED, (ask.hops + 1).into());
    if let Ok(id) = HeaderValue::from_str(ask.id) {
        headers.insert(answer::REQUEST_ID, id);
    }
    if !headers.contains_key(hyper::header::HOST)
        && let Some(host) = ask.parts.uri.host()
        && let Ok(host) = HeaderValue::from_str(host)
    {
        headers.insert(hyper::header::HOST, host);
    }
    Ok(request)
}
