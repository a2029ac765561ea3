//! Series that others send.

use super::Api;
use crate::{
    Appended, Error, Result,
    push::{OTLP_MAX_BYTES, Pushed, WRITE_MAX_BYTES, read_otlp, read_remote_write},
};
use axum::{
    body::{Body, Bytes, to_bytes},
    extract::State,
    http::{HeaderMap, Request, StatusCode, header},
    response::{IntoResponse, Response},
};
use flate2::read::GzDecoder;
use std::io::Read;
use tokio::task;

async fn body(request: Request<Body>, most: usize) -> Result<(HeaderMap, Bytes)> {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, most).await.map_err(|_| {
        Error::Malformed(format!("the request is longer than {most} bytes, or was cut"))
    })?;
    Ok((head.headers, body))
}

impl Api {
    /// Reads and stores a batch where it delays nobody, when it is its turn.
    async fn take<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let closed = || Error::TooMuch("the server is about to end".to_owned());
        let _turn = self.inner.pushes.acquire().await.map_err(|_| closed())?;
        let own = self.clone();
        task::spawn_blocking(move || work(&own)).await.map_err(|_| closed())?
    }

    fn keep(&self, pushed: &Pushed) -> Result<Appended> {
        for (name, description) in &pushed.descriptions {
            self.inner.store.describe(name, description.clone());
        }
        self.inner.store.append(&pushed.batch, self.now_ms())
    }
}

/// What was refused, in a sentence.
fn refusal(appended: &Appended) -> String {
    format!(
        "{} samples were refused: {} out of order, {} with another value at their time, {} too old, {} in the future, {} of series beyond the limit",
        appended.refused(),
        appended.out_of_order,
        appended.conflicting,
        appended.too_old,
        appended.in_future,
        appended.too_many_series
    )
}

pub(super) async fn remote_write(
    State(api): State<Api>,
    request: Request<Body>,
) -> Result<Response> {
    let (_, body) = body(request, WRITE_MAX_BYTES).await?;
    let appended = api.take(move |api| api.keep(&read_remote_write(&body)?)).await?;
    // A sender tries anything but 4xx again; what was refused once is refused for ever.
    Ok(match appended.refused() {
        0 => StatusCode::NO_CONTENT.into_response(),
        _ => (StatusCode::BAD_REQUEST, refusal(&appended)).into_response(),
    })
}

pub(super) async fn otlp(State(api): State<Api>, request: Request<Body>) -> Result<Response> {
    let (headers, body) = body(request, OTLP_MAX_BYTES).await?;
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !header(header::CONTENT_TYPE).starts_with("application/x-protobuf") {
        let what = "send OTLP as `application/x-protobuf`";
        return Ok((StatusCode::UNSUPPORTED_MEDIA_TYPE, what).into_response());
    }
    let is_packed = header(header::CONTENT_ENCODING).eq_ignore_ascii_case("gzip");
    let answer = api
        .take(move |api| {
            let plain = if is_packed { unpacked(&body)?.into() } else { body };
            let mut read = read_otlp(&plain)?;
            let appended = api.keep(&read.pushed)?;
            let refused = usize::try_from(appended.refused()).unwrap_or(usize::MAX);
            read.reject(refused, || refusal(&appended));
            Ok(read.answer())
        })
        .await?;
    Ok(([(header::CONTENT_TYPE, "application/x-protobuf")], answer).into_response())
}

fn unpacked(body: &[u8]) -> Result<Vec<u8>> {
    let mut plain = Vec::new();
    let most = OTLP_MAX_BYTES as u64;
    let read = GzDecoder::new(body).take(most + 1).read_to_end(&mut plain);
    match read {
        Ok(bytes) if bytes as u64 <= most => Ok(plain),
        Ok(_) => Err(Error::Malformed(format!("the request unpacks to more than {most} bytes"))),
        Err(error) => Err(Error::Malformed(format!("the request is no gzip: {error}"))),
    }
}
