//! The prediction service over gRPC, as [its protocol over HTTP/2][1] has it: two unary calls.
//!
//! [1]: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md

use super::super::{
    Error,
    advice::{self, wire},
    state::State,
};
use axum::{
    body::Body,
    extract::State as Shared,
    http::{HeaderMap, HeaderValue, header},
    response::Response,
};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::StreamExt;
use http_body_util::{BodyExt, Full};
use prost::Message;
use std::{sync::Arc, time::Duration};
use types::ErrorKind;

/// Where its calls are, by the package and service of `proto/advice.proto`.
pub(super) const PREDICT: &str = "/cloudskin.advice.v1alpha1.Advice/Predict";
pub(super) const RANK: &str = "/cloudskin.advice.v1alpha1.Advice/Rank";

/// A message is preceded by whether it is compressed and by its length.
const PREFIX_BYTES: usize = 5;
/// Largest request: a thousand names of sites.
const REQUEST_MAX_BYTES: usize = 256 << 10;
/// How long a request may take to come.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest text of a refusal, so that it fits among headers.
const MESSAGE_MAX: usize = 1000;

/// Why a call gets no answer: a code of gRPC, and a text.
#[derive(Debug)]
struct Status(u32, String);

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let problem = api::Problem::from(error);
        Self(code(problem.kind), problem.message)
    }
}

/// How will this service behave at that place?
pub(super) async fn predict(
    Shared(state): Shared<Arc<State>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let answer = async {
        let asked: wire::PredictRequest = message(&headers, body).await?;
        let (tenant, asked) = asked.question().map_err(invalid)?;
        Ok(wire::PredictReply::from(advice::predict(&state, &tenant, &asked)?))
    };
    respond(answer.await)
}

/// Which of these places is best for it, and why?
pub(super) async fn rank(
    Shared(state): Shared<Arc<State>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let answer = async {
        let asked: wire::RankRequest = message(&headers, body).await?;
        let (tenant, asked) = asked.question().map_err(invalid)?;
        Ok(wire::RankReply::from(advice::rank(&state, &tenant, &asked)?))
    };
    respond(answer.await)
}

fn invalid(why: String) -> Status {
    Status(code(ErrorKind::Invalid), why)
}

/// Reads the only message of a call.
async fn message<M: Message + Default>(headers: &HeaderMap, body: Body) -> Result<M, Status> {
    let kind = headers.get(header::CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    if !kind.starts_with(b"application/grpc") || kind.starts_with(b"application/grpc-web") {
        return Err(invalid("the content type is not `application/grpc`".into()));
    }
    let whole = tokio::time::timeout(REQUEST_TIMEOUT, collect(body)).await;
    let mut bytes = whole.map_err(|_| {
        let text = format!("the request did not come within {} s", REQUEST_TIMEOUT.as_secs());
        Status(code(ErrorKind::Timeout), text)
    })??;
    if bytes.len() < PREFIX_BYTES {
        return Err(invalid(format!("{} bytes are no message", bytes.len())));
    }
    if bytes.get_u8() != 0 {
        let text = "messages are not taken compressed: send them with `identity`";
        return Err(Status(code(ErrorKind::Unsupported), text.into()));
    }
    let length = bytes.get_u32() as usize;
    if length != bytes.len() {
        let text = format!("a message of {length} bytes is announced, {} came", bytes.len());
        return Err(invalid(text));
    }
    M::decode(bytes).map_err(|error| invalid(format!("the message cannot be read: {error}")))
}

async fn collect(body: Body) -> Result<Bytes, Status> {
    let (mut pieces, mut bytes) = (body.into_data_stream(), BytesMut::new());
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| invalid(format!("the request broke off: {error}")))?;
        if bytes.len() + piece.len() > REQUEST_MAX_BYTES {
            let text = format!("a request has at most {REQUEST_MAX_BYTES} bytes");
            return Err(Status(code(ErrorKind::Exhausted), text));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes.freeze())
}

/// The message and its status; of a refusal the status alone.
fn respond(answer: Result<impl Message, Status>) -> Response {
    let (body, status) = match answer {
        Ok(reply) => {
            let mut bytes = BytesMut::with_capacity(PREFIX_BYTES + reply.encoded_len());
            bytes.put_u8(0);
            bytes.put_u32(u32::try_from(reply.encoded_len()).unwrap_or(u32::MAX));
            let told = reply.encode(&mut bytes);
            told.map_or_else(
                |error| (Bytes::new(), Status(code(ErrorKind::Internal), error.to_string())),
                |()| (bytes.freeze(), Status(0, String::new())),
            )
        }
        Err(status) => (Bytes::new(), status),
    };
    let refused = status.0 != 0;
    let status = trailers(&status);
    let mut response = match refused {
        true => {
            let mut response = Response::new(Body::empty());
            response.headers_mut().extend(status);
            response
        }
        false => Response::new(Body::new(
            Full::new(body).with_trailers(std::future::ready(Some(Ok(status)))),
        )),
    };
    let kind = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn trailers(status: &Status) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("grpc-status", HeaderValue::from(status.0));
    if !status.1.is_empty()
        && let Ok(text) = HeaderValue::from_str(&percent_encoded(&status.1))
    {
        headers.insert("grpc-message", text);
    }
    headers
}

/// A text as `grpc-message` has it: printable ASCII but `%` as it is, other bytes as `%XX`.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.chars().take(MESSAGE_MAX).collect::<String>().bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// [Codes of gRPC](https://grpc.github.io/grpc/core/md_doc_statuscodes.html).
fn code(kind: ErrorKind) -> u32 {
    match kind {
        ErrorKind::Invalid => 3,
        ErrorKind::Timeout => 4,
        ErrorKind::NotFound => 5,
        ErrorKind::AlreadyExists => 6,
        ErrorKind::Forbidden => 7,
        ErrorKind::Exhausted => 8,
        ErrorKind::Conflict | ErrorKind::Fenced => 10,
        ErrorKind::Unsupported => 12,
        ErrorKind::Unavailable => 14,
        ErrorKind::Corrupt => 15,
        ErrorKind::Unauthenticated => 16,
        ErrorKind::Internal | ErrorKind::Guest => 13,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(kind: &'static str, bytes: Vec<u8>) -> Result<wire::PredictRequest, Status> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        message(&headers, Body::from(bytes)).await
    }

    #[tokio::test]
    async fn what_is_no_call_is_refused_with_its_code() {
        let asked = wire::PredictRequest { service: "a".into(), ..Default::default() };
        let body = asked.encode_to_vec();
        let framed = |compressed: u8, length: usize| {
            let prefix = [&[compressed][..], &(length as u32).to_be_bytes()].concat();
            [prefix, body.clone()].concat()
        };
        let grpc = "application/grpc+proto";

        assert_eq!(read(grpc, framed(0, body.len())).await.unwrap(), asked);
        for (kind, bytes, code) in [
            ("application/json", framed(0, body.len()), 3),
            ("application/grpc-web", framed(0, body.len()), 3),
            (grpc, framed(1, body.len()), 12),
            (grpc, framed(0, body.len() + 1), 3),
            (grpc, framed(0, usize::MAX), 3),
            (grpc, Vec::new(), 3),
            (grpc, [&[0, 0, 0, 0, 2][..], &[0xff, 0xff]].concat(), 3),
            (grpc, vec![0; REQUEST_MAX_BYTES + 1], 8),
        ] {
            let refused = read(kind, bytes).await.unwrap_err();
            assert_eq!(refused.0, code, "{refused:?}");
        }
    }

    #[test]
    fn texts_pass_through_headers() {
        assert_eq!(percent_encoded("50 % of ü\n"), "50 %25 of %C3%BC%0A");
    }
}
