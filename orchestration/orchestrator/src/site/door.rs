//! The peers' listener towards other machines: whoever comes shows the certificate of a site that
//! the control plane knows, and says what for.

use super::{core::Core, ingress::Ingress, peers, states};
use crate::trust::{self, INGRESS, PEER, Party, STATE};
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
    let stop = core.stop.clone();
    loop {
        let place = places.clone().acquire_owned().await;
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let visit = visit(core.clone(), ingress.clone(), acceptor.clone(), stream);
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

async fn visit(core: Arc<Core>, ingress: Arc<Ingress>, acceptor: TlsAcceptor, stream: TcpStream) {
    // Small answers must not wait for acknowledgements.
    let _ = stream.set_nodelay(true);
    let from = stream.peer_addr().map_or_else(|_| "?".to_owned(), |address| address.to_string());
    let stream = match trust::accept(&acceptor, stream).await {
        Ok(stream) => stream,
        Err(error) => return tracing::info!(from, %error, "a stranger at the peers' listener"),
    };
    match trust::caller(&stream) {
        Ok(Some(caller)) if is_known(&core, &caller.party) => {}
        other => return tracing::info!(from, ?other, "no site that is known"),
    }
    match stream.protocol() {
        Some(PEER) => peers::serve(core, stream).await,
        Some(INGRESS) => ingress.connection(stream).await,
        Some(STATE) => states::receive(&core, stream).await,
        _ => tracing::info!(from, "a site did not say what for it comes"),
    }
}

fn is_known(core: &Core, party: &Party) -> bool {
    matches!(party, Party::Site(site) if core.reach.knows(site))
}
