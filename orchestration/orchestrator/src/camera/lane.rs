//! One connection's worth of frames, sent one after the other.

use super::{Options, Picture, resolve::Resolved, source::Frame};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, StatusCode, client::conn::http1::SendRequest, header};
use hyper_util::rt::TokioIo;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::TcpStream,
    sync::mpsc,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// Largest answer that is taken.
const ANSWER_MAX_BYTES: usize = 1 << 20;

/// The first pause before a frame is sent again; it doubles up to the longest.
const BACKOFF_FIRST: Duration = Duration::from_millis(5);
const BACKOFF_LONGEST: Duration = Duration::from_millis(200);

/// The header by which a service knows a frame that is sent again.
const REQUEST_ID: &str = "cloudskin-request-id";

/// A frame that waits for its connection.
pub(super) struct Due {
    pub(super) number: u64,
    pub(super) at: Instant,
    pub(super) frame: Frame,
}

/// What became of a frame.
pub(super) struct Outcome {
    pub(super) number: u64,
    pub(super) id: String,
    pub(super) due: Instant,
    pub(super) sent: Instant,
    pub(super) answered: Instant,
    pub(super) address: SocketAddr,
    pub(super) retries: u32,
    pub(super) result: Result<(StatusCode, Bytes), String>,
}

/// One connection, opened again wherever the service is.
pub(super) struct Lane {
    options: Arc<Options>,
    resolved: Resolved,
    stop: CancellationToken,
    connection: Option<(SocketAddr, SendRequest<Full<Bytes>>)>,
}

/// Why an attempt failed, and whether another may succeed.
struct Failure {
    reason: String,
    again: bool,
}

impl Failure {
    fn passing(reason: impl ToString) -> Self {
        Self { reason: reason.to_string(), again: true }
    }
}

impl Lane {
    pub(super) fn new(options: Arc<Options>, resolved: Resolved, stop: CancellationToken) -> Self {
        Self { options, resolved, stop, connection: None }
    }

    /// Sends the frames that come, in their order, and tells what became of each.
    pub(super) async fn run(
        mut self,
        mut frames: mpsc::Receiver<Due>,
        outcomes: mpsc::Sender<Outcome>,
    ) {
        while let Some(due) = frames.recv().await {
            // Frames that still wait when the play is stopped were not sent.
            if self.stop.is_cancelled() || outcomes.send(self.deliver(due).await).await.is_err() {
                return;
            }
        }
    }

    /// Sends a frame until it is answered or its retries are used up.
    async fn deliver(&mut self, due: Due) -> Outcome {
        let id = format!("{}-{}", self.options.run, due.number);
        let sent = Instant::now();
        let mut retries = 0;
        let mut backoff = BACKOFF_FIRST;
        loop {
            let address = SocketAddr::new(self.resolved.address(), self.options.port);
            let limit = self.options.timeout;
            let result = timeout(limit, self.attempt(address, &id, &due.frame)).await;
            let failure = match result.unwrap_or_else(|late| Err(Failure::passing(late))) {
                Ok(answer) => return outcome(due, id, sent, address, retries, Ok(answer)),
                Err(failure) => failure,
            };
            // Whatever may still come over this connection is no answer to a later frame.
            self.connection = None;
            let enough = retries >= self.options.retries_max || self.stop.is_cancelled();
            if enough || !failure.again {
                return outcome(due, id, sent, address, retries, Err(failure.reason));
            }
            debug!(id, %address, reason = failure.reason, "a frame is sent again");
            retries += 1;
            self.resolved.doubt();
            sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_LONGEST);
        }
    }

    async fn attempt(
        &mut self,
        address: SocketAddr,
        id: &str,
        frame: &Frame,
    ) -> Result<(StatusCode, Bytes), Failure> {
        let request = self
            .request(id, frame)
            .map_err(|error| Failure { reason: error.to_string(), again: false })?;
        if let Some(round_trip) = self.options.distances.to(address.ip()) {
            sleep(round_trip).await;
        }
        let sender = self.connection(address).await?;
        let response = sender.send_request(request).await.map_err(Failure::passing)?;
        let (head, body) = response.into_parts();
        let echoed = head.headers.get(REQUEST_ID);
        if echoed.is_some_and(|echoed| echoed.as_bytes() != id.as_bytes()) {
            return Err(Failure::passing("the answer is another request's"));
        }
        let body = Limited::new(body, ANSWER_MAX_BYTES).collect().await;
        let body = body.map_err(Failure::passing)?.to_bytes();
        // What the ingress says while the service is between two sites.
        let passing = matches!(head.status.as_u16(), 429 | 502 | 503 | 504);
        if !head.status.is_success() {
            let text = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
            return Err(Failure { reason: format!("{}: {text}", head.status), again: passing });
        }
        Ok((head.status, body))
    }

    /// The connection to `address`: the one that is open, if it goes there.
    async fn connection(
        &mut self,
        address: SocketAddr,
    ) -> Result<&mut SendRequest<Full<Bytes>>, Failure> {
        let usable = match &mut self.connection {
            Some((to, sender)) if *to == address => sender.ready().await.is_ok(),
            _ => false,
        };
        if !usable {
            // Every earlier frame was answered, so nothing is lost with the old connection.
            self.connection = None;
            let stream = TcpStream::connect(address).await.map_err(Failure::passing)?;
            stream.set_nodelay(true).map_err(Failure::passing)?;
            let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
                .await
                .map_err(Failure::passing)?;
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    debug!(%error, %address, "a connection broke");
                }
            });
            self.connection = Some((address, sender));
        }
        match &mut self.connection {
            Some((_, sender)) => Ok(sender),
            None => Err(Failure::passing("the connection is gone")),
        }
    }

    fn request(&self, id: &str, frame: &Frame) -> hyper::http::Result<Request<Full<Bytes>>> {
        let kind = match self.options.picture {
            Picture::Jpeg => "image/jpeg",
            Picture::Luminance => "application/x-luminance",
        };
        let mut request = Request::post(&self.options.path)
            .header(header::HOST, &self.options.host)
            .header(header::CONTENT_TYPE, kind)
            .header(REQUEST_ID, id);
        if let Some((width, height)) = frame.size {
            request = request.header("x-width", width).header("x-height", height);
        }
        request.body(Full::new(frame.bytes.clone()))
    }
}

fn outcome(
    due: Due,
    id: String,
    sent: Instant,
    address: SocketAddr,
    retries: u32,
    result: Result<(StatusCode, Bytes), String>,
) -> Outcome {
    let (number, due) = (due.number, due.at);
    Outcome { number, id, due, sent, answered: Instant::now(), address, retries, result }
}
