//! Blobs over REST.

use super::{super::state::State, Answer, Refusal};
use axum::{
    body::{Body, Bytes},
    extract::{Path, State as Shared},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::stream;
use std::sync::Arc;
use tokio::{fs::File, io::AsyncReadExt};
use types::{Digest, ErrorKind};

/// Bytes that are read at a time.
const PIECE_BYTES: usize = 256 << 10;

fn parse(digest: &str) -> Answer<Digest> {
    digest
        .parse()
        .map_err(|error: types::DigestError| Refusal::new(ErrorKind::Invalid, error.to_string()))
}

pub(super) async fn read(
    Shared(state): Shared<Arc<State>>,
    Path(digest): Path<String>,
) -> Answer<Response> {
    let digest = parse(&digest)?;
    let Some((file, size)) = state.blobs.read(&digest).await? else {
        let message = format!("there is no blob `{digest}`: PUT it to this path first");
        return Err(Refusal::new(ErrorKind::NotFound, message));
    };
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, size.to_string()),
        (header::ETAG, format!("\"{digest}\"")),
    ];
    Ok((headers, Body::from_stream(pieces(file))).into_response())
}

fn pieces(file: File) -> impl stream::Stream<Item = std::io::Result<Bytes>> {
    stream::try_unfold(file, |mut file| async move {
        let mut piece = vec![0; PIECE_BYTES];
        let size = file.read(&mut piece).await?;
        piece.truncate(size);
        Ok((size > 0).then(|| (Bytes::from(piece), file)))
    })
}

pub(super) async fn write(
    Shared(state): Shared<Arc<State>>,
    Path(digest): Path<String>,
    body: Body,
) -> Answer<StatusCode> {
    let digest = parse(&digest)?;
    let new = state.blobs.write(&digest, body).await?;
    Ok(if new { StatusCode::CREATED } else { StatusCode::OK })
}
