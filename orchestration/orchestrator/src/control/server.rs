//! Connections: accepts, limits and ends them.

use super::{Error, Result, rest, state::State};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{future::Future, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tower_service::Service;
use tracing::{debug, info, warn};

/// How long a client may take to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves until `shutdown`, or until the store has failed.
pub(super) async fn serve(
    state: Arc<State>,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<()> {
    let address = listener
        .local_addr()
        .map_err(|source| Error::Folder { path: "the listener".into(), source })?;
    info!(%address, "the control plane listens");
    let router = rest::router(state.clone(), address);
    let places = Arc::new(Semaphore::new(state.config.connections_max));
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        tokio::select! {
            accepted = accept(&listener, &places) => {
                let (stream, place) = accepted;
                state.tasks.spawn(connection(state.clone(), router.clone(), stream, place));
            }
            () = &mut shutdown => break,
            () = state.stop.cancelled() => break,
        }
    }
    let failed = state.fatal.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    failed.map_or(Ok(()), Err)
}

/// The next connection, once there is a place for it.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    let place = places.clone().acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, place),
            Err(error) => {
                // Out of file descriptors, most likely: closing connections will free some.
                warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(
    state: Arc<State>,
    router: axum::Router,
    stream: TcpStream,
    place: Option<OwnedSemaphorePermit>,
) {
    // A call must not wait for the acknowledgement of the message before it.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "a connection without TCP_NODELAY");
    }
    let service = service_fn(move |request: hyper::Request<Incoming>| router.clone().call(request));
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::select! {
        served = serving => if let Err(error) = served {
            debug!(%error, "a connection ended");
        },
        () = state.stop.cancelled() => {}
    }
    drop(place);
}
