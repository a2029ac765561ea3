//! Entry points for fuzzing: what strangers send.

use crate::{
    config::Config,
    fault::Fault,
    form::{Form, Policy},
    patience::Pace,
    payload::{Body, Decoder},
    sign::{self, ChunkSigner, Head, Keys, Moment, Payload, Query, Scope},
    tags,
    target::Target,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use http_body_util::{BodyExt, Full};
use std::time::Duration;

/// How many bytes of data a body in chunks announces.
const LENGTH: u64 = 1 << 20;

/// Reads bytes as a body in chunks, unsigned and signed, which arrives in pieces as long as the first
/// byte says.
pub fn chunks(bytes: &[u8]) {
    let Some((step, body)) = bytes.split_first() else { return };
    for signer in [None, signer()] {
        let _ = decode(signer, body, usize::from(*step) + 1);
    }
}

fn signer() -> Option<Box<ChunkSigner>> {
    let date = "20130524T000000Z";
    let credential = "key/20130524/us-east-1/s3/aws4_request";
    let scope = Scope::parse(credential, date, Fault::AccessDenied).ok()?;
    Some(Box::new(ChunkSigner::of(&scope, "secret", date, "")))
}

/// The data and the number of trailers of a body, or why it is none.
pub(crate) fn decode(
    signer: Option<Box<ChunkSigner>>,
    body: &[u8],
    step: usize,
) -> Result<(Vec<u8>, usize), String> {
    let mut decoder = Decoder::new(signer, true, LENGTH);
    let mut data = Vec::new();
    for piece in body.chunks(step) {
        let mut arrived = Bytes::copy_from_slice(piece);
        while let Some(piece) = decoder.next(&mut arrived).map_err(|error| error.to_string())? {
            data.extend_from_slice(&piece);
        }
    }
    let trailers = decoder.finish().map_err(|error| error.to_string())?;
    Ok((data, trailers.len()))
}

/// Reads lines as a path, a query, and headers that sign or say what is asked.
pub fn request(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.lines();
    let path = lines.next().unwrap_or_default();
    let _ = Target::parse(Some("bucket.local"), path, &["local".to_owned()]);
    let Ok(query) = Query::parse(lines.next()) else { return };
    let mut headers = HeaderMap::new();
    for name in ["authorization", "x-amz-date", "x-amz-content-sha256", "x-amz-tagging"] {
        if let Ok(value) = HeaderValue::from_str(lines.next().unwrap_or_default()) {
            headers.insert(name, value);
        }
    }
    headers.insert(header::HOST, HeaderValue::from_static("local"));
    let head =
        Head { method: &Method::GET, path, query: &query, headers: &headers, bucket_of_host: None };
    let moment = Moment { now: Duration::from_secs(1), skew_max: Duration::from_secs(900) };
    let _ = sign::verify(head, &Keys::default(), moment);
    let _ = tags::of_header(&text);
}

/// Reads bytes as a form, and its policy.
pub fn form(bytes: &[u8]) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_time().build() else {
        return;
    };
    let pace = Pace::of(&Config::default());
    let incoming = Full::new(Bytes::copy_from_slice(bytes));
    let body = Body::new(incoming, Payload::Unsigned, bytes.len() as u64, pace);
    runtime.block_on(async {
        let Ok((form, file)) = Form::read("multipart/form-data; boundary=b", body).await else {
            return;
        };
        let _ = file.collect().await;
        let _ = (form.key(), form.headers());
        if let Some(Ok(policy)) = form.field("policy").map(Policy::parse) {
            let _ = policy.check(&form, "bucket", 0);
        }
    });
}
