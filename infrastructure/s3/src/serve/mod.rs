//! The endpoint: accepts connections, and lets each request through the front.

mod forward;
mod front;
mod guard;
mod lend;
mod reply;
mod respond;

pub(crate) use reply::Reply;

use crate::{
    Error,
    config::Config,
    metrics::Metrics,
    patience::Pace,
    sign::Keys,
    store::{Tenant, Tenants},
};
use front::Front;
use geds::Geds;
use guard::Guarded;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use std::{future::Future, io, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};

/// How long nothing is accepted after that failed, for example for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Bytes of a request's head, and of a body that were received and not taken yet.
const BUFFER_MAX_BYTES: usize = 256 << 10;

/// An S3 endpoint over the stores of its tenants.
#[derive(Debug)]
pub struct Endpoint {
    front: Arc<Front>,
    config: Arc<Config>,
}

impl Endpoint {
    /// Sets an endpoint up. Every key's tenant must have a store.
    ///
    /// # Errors
    /// [`Error`] says what is wrong with the settings.
    pub fn new(
        mut config: Config,
        stores: impl IntoIterator<Item = (String, Geds)>,
    ) -> Result<Self, Error> {
        let tenants: Tenants = stores
            .into_iter()
            .map(|(name, geds)| (name.clone(), Arc::new(Tenant::new(name, geds))))
            .collect();
        config.check(|tenant| tenants.contains_key(tenant))?;
        // Names of hosts are compared in lower case.
        config.domains.iter_mut().for_each(|domain| domain.make_ascii_lowercase());
        let keys = Keys::new(config.keys.iter().cloned());
        let config = Arc::new(config);
        Ok(Self { front: Arc::new(Front::new(Arc::clone(&config), keys, tenants)), config })
    }

    /// What it tells about itself, also while it runs.
    pub fn metrics(&self) -> Metrics {
        self.front.metrics.clone()
    }

    /// Serves until `shutdown` is done; then finishes the requests that are under way, within the
    /// time that the settings allow.
    ///
    /// # Errors
    /// The listener's, when it is no listener any more.
    pub async fn run(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let places = Arc::new(Semaphore::new(self.config.connections_max));
        let graceful = GracefulShutdown::new();
        let mut connections = JoinSet::new();
        let mut aside = JoinSet::new();
        aside.spawn(Arc::clone(&self.front).sweep());
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let accepted = async {
                let place = Arc::clone(&places).acquire_owned().await;
                (place, listener.accept().await)
            };
            let (place, accepted) = tokio::select! {
                () = &mut shutdown => break,
                Some(_) = connections.join_next() => continue,
                accepted = accepted => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let connection = graceful.watch(self.connection(stream));
                    connections.spawn(async move {
                        log_end(connection.await);
                        drop(place);
                    });
                }
                Err(error) if is_final(&error) => return Err(error),
                Err(error) => {
                    log_refusal(&error);
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listener);
        let limit = Duration::from_millis(self.config.drain_timeout_ms);
        if tokio::time::timeout(limit, graceful.shutdown()).await.is_err() {
            tracing::warn!("requests were still under way when the endpoint stopped");
        }
        // What is still open is closed with the set of connections.
        Ok(())
    }

    fn connection(
        &self,
        stream: TcpStream,
    ) -> impl hyper_util::server::graceful::GracefulConnection<Error = hyper::Error> + use<> {
        // Without it small answers may wait for the client's delayed acknowledgement.
        if let Err(error) = stream.set_nodelay(true) {
            let error = &error as &dyn std::error::Error;
            tracing::debug!(error, "a connection keeps its delay");
        }
        let io = TokioIo::new(Guarded::new(stream, Pace::of(&self.config)));
        let front = Arc::clone(&self.front);
        let service = service_fn(move |request| {
            let front = Arc::clone(&front);
            async move { Ok::<_, std::convert::Infallible>(front.serve(request).await) }
        });
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(Duration::from_millis(self.config.head_timeout_ms))
            // A client may close its side and still wait for the answer.
            .half_close(true)
            .writev(true)
            .max_buf_size(BUFFER_MAX_BYTES)
            .serve_connection(io, service)
    }
}

fn log_refusal(error: &io::Error) {
    tracing::warn!(error = error as &dyn std::error::Error, "cannot accept a connection");
}

fn log_end(ended: Result<(), hyper::Error>) {
    if let Err(error) = ended {
        tracing::debug!(error = &error as &dyn std::error::Error, "a connection ended");
    }
}

/// Whether the listener is of no use any more.
fn is_final(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::NotConnected)
}
