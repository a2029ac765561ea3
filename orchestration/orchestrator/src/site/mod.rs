//! One site's agent: supervises workers, answers for their services, obeys the control plane and
//! goes on without it.
//!
//! Start at [`Site::open`] and [`Site::run`]. What to do is decided in `plan`, from what the
//! control plane wants (`link`), what the site remembers (`state`) and what its workers hold
//! (`workers`); it is done in `services`, `calls` and `runs`; policies that it asks while it is cut off are in
//! `policies`. Requests come in through `ingress`,
//! other sites' checkpoints through `peers`.

mod budget;
mod calls;
mod checkpoints;
mod config;
mod copies;
mod core;
mod door;
mod error;
mod folder;
mod groups;
mod http;
mod ingress;
mod lease;
mod link;
mod losses;
mod metrics;
mod modules;
mod pages;
mod peers;
mod plan;
mod policies;
mod process;
mod reach;
mod reconciler;
mod renewal;
mod runs;
mod services;
mod shelf;
mod state;
mod states;
mod store;
mod sweeper;
mod tissues;
mod workers;

#[cfg(test)]
mod tests;

pub use config::{Config, SiteLimits, StoreConfig};
pub use error::{Error, Result};
pub use groups::CpuSets;
pub use reach::Trust;

use self::core::Core;
use ingress::Ingress;
use state::StateFile;
use std::{fs, net::SocketAddr, os::unix::fs::DirBuilderExt, sync::Arc, time::Duration};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use workers::WorkerId;

/// How long connections and tasks may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(6);

/// What becomes of the workers when the agent ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// They go on; the next agent adopts them.
    LeaveWorkers,
    /// They save their states and end.
    StopWorkers,
}

/// One site's agent, its listeners open.
pub struct Site {
    core: Arc<Core>,
    ingress: TcpListener,
    peers: TcpListener,
    acceptor: Option<TlsAcceptor>,
}

impl std::fmt::Debug for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Site").field("ingress", &self.ingress).field("peers", &self.peers).finish()
    }
}

impl Site {
    /// Opens the data folder, which belongs to this agent from here on, and the listeners.
    ///
    /// # Errors
    /// [`Error`] says what is wrong with the settings, the folder or the addresses.
    pub async fn open(config: Config) -> Result<Self> {
        check(&config)?;
        let folder = &config.data_dir;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|source| Error::Disk { path: folder.clone(), source })?;
        let remembered = StateFile::open(folder)?;
        let ingress = listen(SocketAddr::new(config.address, config.ingress_port)).await?;
        let peers = match &config.trust {
            Trust::Token(_) => listen(SocketAddr::new(config.address, config.peer_port)).await?,
            Trust::Certificates { bind, .. } => listen(*bind).await?,
        };
        let address = |listener: &TcpListener| {
            let asked = SocketAddr::new(config.address, 0);
            listener.local_addr().map_err(|source| Error::Listen { address: asked, source })
        };
        let (ingress_at, peers_at) = (address(&ingress)?, address(&peers)?);
        let core = Arc::new(Core::open(config, remembered, ingress_at, peers_at)?);
        let acceptor = core.reach.acceptor()?;
        Ok(Self { core, ingress, peers, acceptor })
    }

    /// Where the ingress listens.
    pub fn ingress(&self) -> SocketAddr {
        self.core.ingress
    }

    /// Where other sites are listened to.
    pub fn peers(&self) -> SocketAddr {
        self.core.peers
    }

    /// Serves until `shutdown` says what shall become of the workers.
    pub async fn run(self, shutdown: impl Future<Output = Exit>) {
        let Self { core, ingress, peers, acceptor } = self;
        workers::adopt_all(&core);
        runs::settle(&core);
        let ended = CancellationToken::new();
        // However this ends: the ingress has threads of its own.
        let _ended = ended.clone().drop_guard();
        let entrance = Arc::new(Ingress::new(core.clone()));
        if let Err(error) = ingress::start(&entrance, ingress, &ended) {
            return tracing::error!(%error, "the site has no ingress");
        }
        match acceptor {
            Some(acceptor) => core.tasks.spawn(door::run(core.clone(), entrance, peers, acceptor)),
            None => core.tasks.spawn(peers::run(core.clone(), peers)),
        };
        core.spawn(renewal::run(core.clone()));
        core.spawn(copies::tend(core.clone()));
        core.spawn(reconciler::run(core.clone()));
        core.spawn(store::run(core.clone()));
        core.spawn(link::run(core.clone()));
        core.spawn(sweeper::run(core.clone()));
        core.spawn(pages::run(core.clone()));
        core.spawn(policies::run(core.clone()));
        let exit = shutdown.await;
        core.stop.cancel();
        core.tasks.close();
        if tokio::time::timeout(STOP_TIMEOUT, core.tasks.wait()).await.is_err() {
            tracing::warn!("connections are still open");
        }
        if exit == Exit::StopWorkers {
            tokio::join!(stop_workers(&core), store::stop(&core));
        }
        if let Err(failure) = core.persist().await {
            tracing::error!(%failure, "the last changes are not remembered");
        }
    }
}

async fn stop_workers(core: &Arc<Core>) {
    let stopping = core.workers.ids().into_iter().map(|id| async move {
        let checkpoint = matches!(id, WorkerId::Tenant(_));
        workers::stop(core, &id, checkpoint, || false).await;
    });
    futures_util::future::join_all(stopping).await;
}

fn check(config: &Config) -> Result<()> {
    let wrong = |field, reason: String| Err(Error::Setting { field, reason });
    if let Err(error) = types::check_name(&config.name) {
        return wrong("name", error.to_string());
    }
    let (scheme, bind) = match &config.trust {
        Trust::Token(_) => ("http://", config.address),
        Trust::Certificates { identity, bind } => {
            if identity.site() != config.name {
                let reason = format!("the certificate is of site `{}`", identity.site());
                return wrong("name", reason);
            }
            ("https://", bind.ip())
        }
    };
    if !config.control_url.starts_with(scheme) {
        return wrong("control_url", format!("write `{scheme}HOST:PORT`"));
    }
    if config.address.is_unspecified() || bind.is_unspecified() {
        let reason = "other sites reach this one there: name one address, not all of them";
        return wrong("address", reason.into());
    }
    Ok(())
}

async fn listen(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })
}
