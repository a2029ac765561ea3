//! What an endpoint tells about itself.

use crate::serve::Reply;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body::Body as _;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{fmt, future::Future, sync::Arc, time::Duration};
use telemetry::{
    CONTENT_TYPE, Registry,
    encoding::{EncodeLabel, EncodeLabelSet, LabelSetEncoder},
    metrics::{counter::Counter, family::Family, histogram::Histogram},
};
use tokio::{net::TcpListener, task::JoinSet};
use types::Token;

/// Bounds of the histogram of times, in seconds: from small objects of memory to what waits for storage outside.
const SECONDS: [f64; 12] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 10.0];
/// How long who asks for metrics may take to send a request's head.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// Most who ask at the same time.
const ASKERS_MAX: usize = 16;
/// How long nothing is accepted after that failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// What is counted for a request that was refused before its operation was known.
const NO_OPERATION: &str = "none";

/// Counts what an endpoint does. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    registry: Registry,
    requests: Family<Labels, Counter>,
    seconds: Family<Labels, Histogram>,
    received_bytes: Counter,
    sent_bytes: Counter,
    abandoned: Counter,
}

/// An operation and, where it matters, the status that it ended with.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Labels {
    operation: &'static str,
    code: Option<u16>,
}

impl EncodeLabelSet for Labels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        ("operation", self.operation).encode(encoder.encode_label())?;
        match self.code {
            Some(code) => ("code", u32::from(code)).encode(encoder.encode_label()),
            None => Ok(()),
        }
    }
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let (requests, received_bytes, sent_bytes) =
            (Family::<Labels, Counter>::default(), Counter::default(), Counter::default());
        let seconds = Family::<Labels, Histogram>::new_with_constructor(|| Histogram::new(SECONDS));
        let abandoned = Counter::default();
        let mut registry = Registry::new();
        let (bytes_in, bytes_out) = (received_bytes.clone(), sent_bytes.clone());
        registry.register("cloudskin_s3_requests", "Requests that were answered", requests.clone());
        let help = "Time from a request's head to that of its answer";
        registry.register_seconds("cloudskin_s3_request", help, seconds.clone());
        let help = "Bytes of bodies that requests announced";
        registry.register_bytes("cloudskin_s3_received", help, bytes_in);
        registry.register_bytes("cloudskin_s3_sent", "Bytes of bodies of answers", bytes_out);
        let help = "Uploads in parts that were removed because nobody finished them";
        registry.register("cloudskin_s3_abandoned_uploads", help, abandoned.clone());
        let inner = Inner { registry, requests, seconds, received_bytes, sent_bytes, abandoned };
        Self { inner: Arc::new(inner) }
    }

    /// A request was answered; `received` is the length of its body.
    pub(crate) fn answered(
        &self,
        operation: Option<&'static str>,
        received: u64,
        response: &Response<Reply>,
        took: Duration,
    ) {
        let operation = operation.unwrap_or(NO_OPERATION);
        let code = Some(response.status().as_u16());
        self.inner.requests.get_or_create(&Labels { operation, code }).inc();
        let timed = Labels { operation, code: None };
        self.inner.seconds.get_or_create(&timed).observe(took.as_secs_f64());
        self.inner.received_bytes.inc_by(received);
        self.inner.sent_bytes.inc_by(response.body().size_hint().exact().unwrap_or(0));
    }

    /// Uploads were removed because nobody finished them.
    pub(crate) fn abandoned(&self, count: u64) {
        self.inner.abandoned.inc_by(count);
    }

    /// All of them as OpenMetrics.
    ///
    /// # Errors
    /// Only if a metric of ours fails to write itself.
    pub fn render(&self) -> Result<String, fmt::Error> {
        self.inner.registry.render()
    }

    /// Serves `/metrics` to who shows the token, and `/healthz` to everybody, until `shutdown` is done.
    pub async fn serve(
        self,
        listener: TcpListener,
        token: Token,
        shutdown: impl Future<Output = ()>,
    ) {
        let token = Arc::new(token);
        let mut askers = JoinSet::new();
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            while askers.len() >= ASKERS_MAX {
                askers.join_next().await;
            }
            let accepted = tokio::select! {
                () = &mut shutdown => return,
                Some(_) = askers.join_next() => continue,
                accepted = listener.accept() => accepted,
            };
            let Ok((stream, _)) = accepted else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let (metrics, token) = (self.clone(), Arc::clone(&token));
            let service = service_fn(move |request| {
                let answer = metrics.answer(&request, &token);
                async move { Ok::<_, std::convert::Infallible>(answer) }
            });
            // One question each: an idle asker would keep a place.
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIME)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            askers.spawn(async move {
                let limit = HEAD_TIME * 2;
                // Who went away needs no answer.
                let _ = tokio::time::timeout(limit, connection).await;
            });
        }
    }

    fn answer(&self, request: &Request<Incoming>, token: &Token) -> Response<Reply> {
        let shown = request.headers().get(header::AUTHORIZATION);
        let shown = shown.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let (status, kind, text) = match (request.method(), request.uri().path()) {
            (&Method::GET, "/healthz") => (StatusCode::OK, "text/plain", "ok\n".to_owned()),
            (&Method::GET, "/metrics") if shown.is_some_and(|shown| token.admits(shown)) => {
                match self.render() {
                    Ok(text) => (StatusCode::OK, CONTENT_TYPE, text),
                    Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "text/plain", String::new()),
                }
            }
            (_, "/metrics") => {
                let why = "show the token: Authorization: Bearer …\n".to_owned();
                (StatusCode::UNAUTHORIZED, "text/plain", why)
            }
            _ => (
                StatusCode::NOT_FOUND,
                "text/plain",
                "there is /metrics, and /healthz\n".to_owned(),
            ),
        };
        let mut response = Response::new(Reply::from(Bytes::from(text)));
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
        response
    }
}
