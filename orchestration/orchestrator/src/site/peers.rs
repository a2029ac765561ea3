//! The listener for other sites, and for whoever watches this one.

use super::{
    checkpoints::{Stamp, disk},
    core::{Core, is_connected},
    reach::Trust,
    shelf::{ANYBODY, Left},
};
use crate::trust::Stream;
use api::Problem;
use axum::{
    Extension, Json, Router,
    body::Body,
    extract::{Path, Query, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::BytesMut;
use futures_util::{StreamExt, stream};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Deserialize;
use std::{io, path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::timeout,
};
use tower_service::Service;
use types::{Epoch, ErrorKind};

/// How long a peer may send nothing.
const STALL_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a connection may stay without a whole request's head.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// The site that asks, where it showed a certificate.
#[derive(Debug, Clone)]
struct Visitor(String);

/// Serves until the agent stops.
pub(crate) async fn run(core: Arc<Core>, listener: TcpListener) {
    let stop = core.stop.clone();
    let served = axum::serve(listener, router(core, ANYBODY))
        .with_graceful_shutdown(async move { stop.cancelled().await });
    if let Err(error) = served.await {
        tracing::error!(%error, "the peers' listener ended");
    }
}

/// Serves one connection of another site, which has shown its certificate.
pub(crate) async fn serve(core: Arc<Core>, site: String, stream: Stream) {
    let stop = core.stop.clone();
    let router = router(core, &site);
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        router.clone().call(request)
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        () = stop.cancelled() => {}
        // Peers close connections as they like.
        _ = serving => {}
    }
}

fn router(core: Arc<Core>, visitor: &str) -> Router {
    let guarded = Router::new()
        .route("/metrics", get(metrics))
        .route(
            "/peer/v1/checkpoints/{uid}",
            get(get_checkpoint).put(put_checkpoint).delete(delete_checkpoint),
        )
        .layer(middleware::from_fn_with_state(core.clone(), authenticate))
        .layer(Extension(Visitor(visitor.to_owned())));
    Router::new()
        .route("/healthz", get(health))
        .merge(guarded)
        .fallback(|| async { refuse(Problem::new(ErrorKind::NotFound, "there is nothing here")) })
        .with_state(core)
}

async fn authenticate(State(core): State<Arc<Core>>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    if headers.contains_key(header::ORIGIN) {
        return refuse(Problem::new(ErrorKind::Forbidden, "this listener is not for web pages"));
    }
    let Trust::Token(token) = &core.config.trust else {
        // Only `serve` leads here, behind a handshake with a site's certificate.
        return next.run(request).await;
    };
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let shown = shown.and_then(|value| value.strip_prefix("Bearer "));
    if !shown.is_some_and(|shown| token.admits(shown)) {
        let message = "show the site's token: `Authorization: Bearer …`";
        return refuse(Problem::new(ErrorKind::Unauthenticated, message));
    }
    next.run(request).await
}

fn refuse(problem: Problem) -> Response {
    let status = StatusCode::from_u16(problem.kind.http_status())
        .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json(problem)).into_response()
}

async fn health(State(core): State<Arc<Core>>) -> Response {
    Json(serde_json::json!({
        "status": "ok",
        "site": core.config.name,
        "connected": is_connected(&core),
        "lease": core.lease_holds(),
    }))
    .into_response()
}

async fn metrics(State(core): State<Arc<Core>>) -> Response {
    let text = super::metrics::render(&core);
    ([(header::CONTENT_TYPE, super::metrics::CONTENT_TYPE)], text).into_response()
}

async fn get_checkpoint(
    State(core): State<Arc<Core>>,
    Extension(Visitor(site)): Extension<Visitor>,
    Path(uid): Path<String>,
) -> Response {
    core.checkpoints.shelf.touch(&uid, &site);
    let missing = || Problem::new(ErrorKind::NotFound, format!("no checkpoint of `{uid}` is kept"));
    let Some((stamp, path)) = core.checkpoints.shelf.get(&uid) else { return refuse(missing()) };
    // Opened before its size is asked: a newer one replaces the name, never the file.
    let Ok(file) = File::open(&path).await else { return refuse(missing()) };
    let size = match file.metadata().await {
        Ok(metadata) => metadata.len(),
        Err(error) => return refuse(disk(&path, &error)),
    };
    let pieces = stream::try_unfold(file, |mut file| async move {
        let mut piece = BytesMut::with_capacity(256 << 10);
        let read = file.read_buf(&mut piece).await?;
        Ok::<_, io::Error>((read > 0).then(|| (piece.freeze(), file)))
    });
    let mut response = Response::new(Body::from_stream(pieces));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, size.into());
    for (name, value) in stamp.headers() {
        if let Ok(value) = value.parse() {
            headers.insert(name, value);
        }
    }
    response
}

async fn put_checkpoint(
    State(core): State<Arc<Core>>,
    Extension(Visitor(site)): Extension<Visitor>,
    Path(uid): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    match receive(&core, &site, &uid, &headers, body).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(problem) => refuse(problem),
    }
}

async fn receive(
    core: &Core,
    site: &str,
    uid: &str,
    headers: &HeaderMap,
    body: Body,
) -> Result<(), Problem> {
    let invalid = |why: &str| Problem::new(ErrorKind::Invalid, why);
    types::check_name(uid).map_err(|error| invalid(&error.to_string()))?;
    let stamp = Stamp::from_headers(headers).ok_or_else(|| {
        invalid("give `Cloudskin-Epoch`, `Cloudskin-Incarnation` and `Cloudskin-Sequence`")
    })?;
    let size: u64 = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .ok_or_else(|| invalid("give `Content-Length`"))?;
    let limit = core.config.limits.checkpoint_bytes_max;
    if size > limit {
        let message = format!("the checkpoint has {size} bytes: this site keeps at most {limit}");
        return Err(Problem::new(ErrorKind::Exhausted, message));
    }
    let left = Left { stamp, by: site };
    core.checkpoints.shelf.check(uid, &left)?;
    let incoming = Incoming(core.checkpoints.shelf.incoming());
    write(&incoming.0, size, body).await?;
    core.checkpoints.shelf.keep(uid, &left, &incoming.0)?;
    core.checkpoints.shelf.expire();
    Ok(())
}

/// Removes what is left when a transfer breaks off.
struct Incoming(PathBuf);

impl Drop for Incoming {
    fn drop(&mut self) {
        // Usually it was renamed.
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn write(path: &std::path::Path, size: u64, body: Body) -> Result<(), Problem> {
    let broken = |why: String| Problem::new(ErrorKind::Invalid, why);
    let mut file = File::create(path).await.map_err(|error| disk(path, &error))?;
    let mut pieces = body.into_data_stream();
    let mut written = 0;
    while let Some(piece) = timeout(STALL_TIMEOUT, pieces.next())
        .await
        .map_err(|_| broken(format!("nothing came for {} s", STALL_TIMEOUT.as_secs())))?
    {
        let piece = piece.map_err(|error| broken(types::chain(&error)))?;
        written += piece.len() as u64;
        file.write_all(&piece).await.map_err(|error| disk(path, &error))?;
    }
    if written != size {
        return Err(broken(format!("{written} of {size} bytes came")));
    }
    // A write that failed in the background is told here, not by the synchronisation.
    file.flush().await.map_err(|error| disk(path, &error))?;
    file.sync_all().await.map_err(|error| disk(path, &error))
}

#[derive(Debug, Deserialize)]
struct UpTo {
    epoch: u64,
}

async fn delete_checkpoint(
    State(core): State<Arc<Core>>,
    Extension(Visitor(site)): Extension<Visitor>,
    Path(uid): Path<String>,
    Query(up_to): Query<UpTo>,
) -> Response {
    core.checkpoints.shelf.remove(&uid, Epoch(up_to.epoch), Some(&site));
    StatusCode::NO_CONTENT.into_response()
}
