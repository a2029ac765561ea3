//! An endpoint in this process.

use geds::{Geds, Limits};
use s3::{Config, Endpoint, Key, Metrics};
use std::{collections::BTreeMap, net::SocketAddr};
use testkit::Folder;
use tokio::{net::TcpListener, runtime::Runtime, sync::oneshot};
use types::Token;

/// An endpoint that serves as long as this lives: tenants `lab` and `field`, each with a key of its
/// name and the secret `<name>-secret`.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    ended: Option<tokio::task::JoinHandle<std::io::Result<()>>>,
    runtime: Runtime,
    stores: BTreeMap<String, Geds>,
    metrics: Metrics,
    _folder: Folder,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::with(|_| {})
    }

    /// With other settings.
    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::over(Limits::default(), change)
    }

    /// Over stores with these limits.
    pub(crate) fn over(limits: Limits, change: impl FnOnce(&mut Config)) -> Self {
        let folder = Folder::in_memory();
        let tenants = ["lab", "field"];
        let stores = tenants.map(|tenant| {
            let config = geds::Config::alone(folder.join(tenant)).tenant(tenant);
            let config = config.limits(limits.clone());
            (tenant.to_owned(), Geds::open(config).expect("a store"))
        });
        let key = |tenant: &str| Key {
            access_key: tenant.to_owned(),
            secret: format!("{tenant}-secret"),
            tenant: tenant.to_owned(),
        };
        let mut config = Config { keys: tenants.map(key).into(), ..Config::default() };
        change(&mut config);
        let stores = BTreeMap::from(stores);
        let endpoint = Endpoint::new(config, stores.clone()).expect("good settings");
        let metrics = endpoint.metrics();

        let runtime = Runtime::new().expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a listener");
        let address = listener.local_addr().expect("its address");
        let (stop, stopped) = oneshot::channel();
        let stopped = async {
            // Dropped is stopped too.
            let _ = stopped.await;
        };
        let ended = Some(runtime.spawn(endpoint.run(listener, stopped)));
        Self { address, stop: Some(stop), ended, runtime, stores, metrics, _folder: folder }
    }

    /// A tenant's store.
    pub(crate) fn geds(&self, tenant: &str) -> &Geds {
        &self.stores[tenant]
    }

    /// What it tells about itself.
    pub(crate) fn metrics(&self) -> String {
        self.metrics.render().expect("metrics")
    }

    /// Tells that to who has the token, as long as this lives.
    pub(crate) fn serve_metrics(&self, token: &str) -> SocketAddr {
        let listener = self.runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a listener");
        let address = listener.local_addr().expect("its address");
        let serve =
            self.metrics.clone().serve(listener, Token::from_text(token), std::future::pending());
        self.runtime.spawn(serve);
        address
    }

    /// Tells it to stop.
    pub(crate) fn stop(&mut self) {
        self.stop = None;
    }

    /// Waits until it has ended by itself.
    pub(crate) fn ended(&mut self) {
        let ended = self.ended.take().expect("it is waited for once");
        self.runtime.block_on(ended).expect("no panic").expect("a good end");
    }
}
