//! What the ingress answers.

use api::Problem;
use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::{
    Response, StatusCode,
    body::Incoming,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};
use std::net::SocketAddr;
use types::ErrorKind;

/// Names a request for ever.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static(cells::record::REQUEST_ID);
/// The epoch that answered.
pub(super) const EPOCH: HeaderName = HeaderName::from_static("cloudskin-epoch");
/// The incarnation that answered.
pub(super) const INCARNATION: HeaderName = HeaderName::from_static("cloudskin-incarnation");
/// The site that answered, the last one if the request was forwarded.
pub(super) const SITE: HeaderName = HeaderName::from_static("cloudskin-site");
/// How often a request was forwarded from one ingress to another.
pub(super) const FORWARDED: HeaderName = HeaderName::from_static("cloudskin-forwarded");
/// Where a service is that is no longer here.
pub(super) const MOVED_TO: HeaderName = HeaderName::from_static("cloudskin-moved-to");

/// An answer's body: the guest's or ours, or another ingress' as it comes in.
pub(super) type Body = Either<Full<Bytes>, Incoming>;

/// Why a request is not answered by its service.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    problem: Problem,
    hint: Hint,
}

#[derive(Debug)]
enum Hint {
    None,
    RetryAfter(u32),
    MovedTo(SocketAddr),
    /// The rest of the request is not read.
    Close,
}

impl Refusal {
    pub(super) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let status =
            StatusCode::from_u16(kind.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self::with_status(status, kind, message)
    }

    pub(super) fn with_status(
        status: StatusCode,
        kind: ErrorKind,
        message: impl Into<String>,
    ) -> Self {
        Self { status, problem: Problem::new(kind, message), hint: Hint::None }
    }

    /// It may pass.
    pub(super) fn later(message: impl Into<String>) -> Self {
        let hint = Hint::RetryAfter(1);
        Self { hint, ..Self::new(ErrorKind::Unavailable, message) }
    }

    /// Too much at once.
    pub(super) fn too_many(message: impl Into<String>) -> Self {
        let hint = Hint::RetryAfter(1);
        Self { hint, ..Self::new(ErrorKind::Exhausted, message) }
    }

    /// The service is elsewhere; the connection leads to the wrong place for good.
    pub(super) fn moved(to: SocketAddr) -> Self {
        let message = format!("the service has moved: ask DNS again, or send requests to {to}");
        let problem = Problem::new(ErrorKind::NotFound, message);
        Self { status: StatusCode::MISDIRECTED_REQUEST, problem, hint: Hint::MovedTo(to) }
    }

    pub(super) fn too_large(size: Option<u64>, limit: u64) -> Self {
        let size = size.map_or_else(|| "more".to_owned(), |size| format!("{size} bytes"));
        let message =
            format!("the request's body is {size}: the service takes at most {limit} bytes");
        let status = StatusCode::PAYLOAD_TOO_LARGE;
        Self { hint: Hint::Close, ..Self::with_status(status, ErrorKind::Invalid, message) }
    }

    pub(super) fn too_slow(seconds: u64) -> Self {
        let message = format!("nothing of the request's body came for {seconds} s");
        let status = StatusCode::REQUEST_TIMEOUT;
        Self { hint: Hint::Close, ..Self::with_status(status, ErrorKind::Timeout, message) }
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn into_response(self) -> Response<Body> {
        let body = serde_json::to_vec(&self.problem).unwrap_or_default();
        let mut response = Response::new(Either::Left(Full::new(Bytes::from(body))));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        match self.hint {
            Hint::None => {}
            Hint::RetryAfter(seconds) => {
                headers.insert(header::RETRY_AFTER, seconds.into());
            }
            Hint::MovedTo(to) => {
                if let Ok(to) = HeaderValue::from_str(&to.to_string()) {
                    headers.insert(MOVED_TO, to);
                }
                close(headers);
            }
            Hint::Close => close(headers),
        }
        response
    }
}

fn close(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
}

/// The guest's answer as HTTP.
pub(super) fn from_guest(frame: &Bytes) -> Result<Response<Body>, Refusal> {
    let guest = |message: String| Refusal::new(ErrorKind::Guest, message);
    let answer = cells::record::decode_answer(frame).map_err(|error| guest(error.to_string()))?;
    let status = StatusCode::from_u16(answer.status)
        .ok()
        .filter(|status| !status.is_informational())
        .ok_or_else(|| {
            guest(format!("the service answered with the status {}: use 200 to 999", answer.status))
        })?;
    let mut response = Response::new(Either::Left(Full::new(answer.body)));
    *response.status_mut() = status;
    if !answer.content_type.is_empty() {
        let kind = HeaderValue::from_maybe_shared(answer.content_type)
            .map_err(|_| guest("the service's content type is not a header's value".into()))?;
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    Ok(response)
}

/// Headers that concern one connection only.
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Removes what concerns one connection only, and what `Connection` names.
pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        // Nobody may take the request's name, length or host away from the one behind us.
        .filter(|name| ![REQUEST_ID, header::HOST, header::CONTENT_LENGTH].contains(name))
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}
