//! The agent's HTTP client: modules, snapshots and checkpoints.

use super::{
    Config,
    reach::{Reach, Trust},
};
use crate::trust::Connector;
use api::Problem;
use bytes::Bytes;
use futures_util::TryStreamExt;
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request, Response, StatusCode, Uri,
    body::{Frame, Incoming},
    header,
};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use std::{io, path::Path, time::Duration};
use tokio::{fs::File, io::AsyncReadExt};
use types::{ErrorKind, Token, chain};

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long the other side may take for an answer's first byte, or between two pieces of it.
const STALL_TIMEOUT: Duration = Duration::from_secs(20);

/// How long sending a file may take.
const SEND_TIMEOUT: Duration = Duration::from_secs(600);

/// Bytes of a file that are read at once.
const PIECE_BYTES: usize = 256 << 10;

/// Largest document that is read.
const ANSWER_MAX_BYTES: usize = 64 << 10;

/// A body that is sent.
type Body = UnsyncBoxBody<Bytes, io::Error>;

/// The agent's HTTP client.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    client: Client<Connector, Body>,
    /// Without certificates.
    token: Option<Token>,
}

impl Http {
    pub(crate) fn new(config: &Config, reach: &Reach) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(Duration::from_secs(20))
            .pool_max_idle_per_host(4)
            .build(reach.connector(CONNECT_TIMEOUT));
        let token = match &config.trust {
            Trust::Token(token) => Some(token.clone()),
            Trust::Certificates { .. } => None,
        };
        Self { client, token }
    }

    /// Asks without a body; an answer that is no success is a problem.
    pub(crate) async fn ask(
        &self,
        method: Method,
        url: &str,
    ) -> Result<Response<Incoming>, Problem> {
        let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
        self.send(method, url, &[], body, STALL_TIMEOUT).await
    }

    /// Sends a document and reads the answer.
    pub(crate) async fn post(
        &self,
        url: &str,
        document: &impl serde::Serialize,
    ) -> Result<Bytes, Problem> {
        self.exchange(Method::POST, url, Some(document)).await
    }

    /// Sends a document, or none, and reads the answer.
    pub(crate) async fn exchange(
        &self,
        method: Method,
        url: &str,
        document: Option<&impl serde::Serialize>,
    ) -> Result<Bytes, Problem> {
        let internal = |why: String| Problem::new(ErrorKind::Internal, why);
        let document = document.map_or(Ok(Vec::new()), serde_json::to_vec);
        let document = document.map_err(|error| internal(error.to_string()))?;
        let body = Full::new(Bytes::from(document)).map_err(|never| match never {}).boxed_unsync();
        let json = (header::CONTENT_TYPE, "application/json".to_owned());
        let response = self.send(method, url, &[json], body, STALL_TIMEOUT).await?;
        let body = http_body_util::Limited::new(response.into_body(), ANSWER_MAX_BYTES).collect();
        match tokio::time::timeout(STALL_TIMEOUT, body).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            _ => Err(Problem::new(ErrorKind::Unavailable, format!("`{url}` broke off"))),
        }
    }

    /// Sends a file as it is now.
    pub(crate) async fn put_file(
        &self,
        url: &str,
        headers: &[(header::HeaderName, String)],
        path: &Path,
    ) -> Result<(), Problem> {
        let disk = |error: io::Error| {
            Problem::new(ErrorKind::Internal, format!("cannot read `{}`: {error}", path.display()))
        };
        let file = File::open(path).await.map_err(disk)?;
        let size = file.metadata().await.map_err(disk)?.len();
        let mut headers = headers.to_vec();
        headers.push((header::CONTENT_LENGTH, size.to_string()));
        self.send(Method::PUT, url, &headers, stream(file), SEND_TIMEOUT).await.map(|_| ())
    }

    async fn send(
        &self,
        method: Method,
        url: &str,
        headers: &[(header::HeaderName, String)],
        body: Body,
        limit: Duration,
    ) -> Result<Response<Incoming>, Problem> {
        let unreachable = |why: String| {
            Problem::new(ErrorKind::Unavailable, format!("cannot reach `{url}`: {why}"))
        };
        let uri: Uri = url
            .parse()
            .map_err(|_| Problem::new(ErrorKind::Invalid, format!("`{url}` is not an address")))?;
        let mut request = Request::builder().method(method).uri(uri);
        if let Some(token) = &self.token {
            let bearer = format!("Bearer {}", token.reveal());
            request = request.header(header::AUTHORIZATION, bearer);
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request
            .body(body)
            .map_err(|error| Problem::new(ErrorKind::Internal, error.to_string()))?;
        let response = tokio::time::timeout(limit, self.client.request(request))
            .await
            .map_err(|_| unreachable(format!("no answer within {} s", limit.as_secs())))?
            .map_err(|error| unreachable(chain(&error)))?;
        if response.status().is_success() {
            Ok(response)
        } else {
            Err(refused(url, response).await)
        }
    }
}

/// The other side's problem, or what its status says.
async fn refused(url: &str, response: Response<Incoming>) -> Problem {
    let status = response.status();
    let body = http_body_util::Limited::new(response.into_body(), ANSWER_MAX_BYTES).collect();
    let body = tokio::time::timeout(STALL_TIMEOUT, body).await.ok().and_then(Result::ok);
    let problem = body.and_then(|body| serde_json::from_slice(&body.to_bytes()).ok());
    problem.unwrap_or_else(|| {
        let kind = match status {
            StatusCode::NOT_FOUND => ErrorKind::NotFound,
            StatusCode::UNAUTHORIZED => ErrorKind::Unauthenticated,
            StatusCode::CONFLICT => ErrorKind::Conflict,
            _ => ErrorKind::Unavailable,
        };
        Problem::new(kind, format!("`{url}` answered {status}"))
    })
}

fn stream(file: File) -> Body {
    let pieces = futures_util::stream::try_unfold(file, |mut file| async move {
        let mut piece = bytes::BytesMut::with_capacity(PIECE_BYTES);
        let read = file.read_buf(&mut piece).await?;
        Ok::<_, io::Error>((read > 0).then(|| (piece.freeze(), file)))
    });
    StreamBody::new(pieces.map_ok(Frame::data)).boxed_unsync()
}

/// The next piece of an answer, unless the other side stands still.
pub(crate) async fn next_piece(body: &mut Incoming) -> Result<Option<Bytes>, Problem> {
    let lost = |why: String| Problem::new(ErrorKind::Unavailable, why);
    loop {
        let frame = tokio::time::timeout(STALL_TIMEOUT, body.frame())
            .await
            .map_err(|_| lost(format!("nothing came for {} s", STALL_TIMEOUT.as_secs())))?;
        let Some(frame) = frame else { return Ok(None) };
        let frame = frame.map_err(|error| lost(chain(&error)))?;
        if let Ok(piece) = frame.into_data() {
            return Ok(Some(piece));
        }
    }
}
