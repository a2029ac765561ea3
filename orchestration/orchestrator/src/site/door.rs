//! The peers' listener towards other machines: whoever comes shows the certificate of a site that
//! the control plane knows, and says what for.

use super::{core::Core, ingress::Ingress, peers, states};
use crate::trust::{self, INGRESS, PEER, STATE, Stranger, Strangers};
use std::{sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_rustls::TlsAcceptor;

/// Most connections of other sites at a time; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 1024;

/// Serves until the agent stops.
pub(crate) async fn run(
    core: Arc<Core>,
    ingress: Arc<Ingress>,
    listener: TcpListener,
    acceptor: TlsAcceptor,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let strangers = Strangers::new(CONNECTIONS_MAX);
    let stop = core.stop.clone();
    loop {
        let place = places.clone().acquire_owned().await;
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, from)) => {
                let Some(stranger) = strangers.admit(from.ip()) else {
                    tracing::debug!(%from, "too many strangers at the peers' listener");
                    continue;
                };
                let (visited, ingress) = (core.clone(), ingress.clone());
                let visit = visit(visited, ingress, acceptor.clone(), stream, stranger);
                core.tasks.spawn(async move {
                    visit.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the peers' listener cannot accept");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn visit(
    core: Arc<Core>,
    ingress: Arc<Ingress>,
    acceptor: TlsAcceptor,
    stream: TcpStream,
    stranger: Stranger,
) {
    // Small answers must not wait for acknowledgements.
    let _ = stream.set_nodelay(true);
    let from = stream.peer_addr().map_or_else(|_| "?".to_owned(), |address| address.to_string());
    let stream = match trust::accept(&acceptor, stream).await {
        Ok(stream) => stream,
        Err(error) => return tracing::info!(from, %error, "a stranger at the peers' listener"),
    };
    let caller = trust::caller(&stream).ok().flatten();
    let Some(site) = caller.and_then(|caller| core.reach.recognise(&caller)) else {
        return tracing::info!(from, "no site that is known");
    };
    stranger.is_known();
    match stream.protocol() {
        Some(PEER) => peers::serve(core, site, stream).await,
        Some(INGRESS) => ingress.connection(stream).await,
        Some(STATE) => states::receive(&core, stream).await,
        _ => tracing::info!(from, "a site did not say what for it comes"),
    }
}
