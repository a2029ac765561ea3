//! An endpoint in this process.

use geds::Geds;
use s3::{Config, Endpoint, Key};
use std::net::SocketAddr;
use testkit::Folder;
use tokio::{net::TcpListener, runtime::Runtime, sync::oneshot};

/// An endpoint that serves as long as this lives: tenants `lab` and `field`, each with a key of its
/// name and the secret `<name>-secret`.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    ended: Option<tokio::task::JoinHandle<std::io::Result<()>>>,
    runtime: Runtime,
    _folder: Folder,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::with(|_| {})
    }

    /// With other settings.
    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = Folder::in_memory();
        let tenants = ["lab", "field"];
        let stores = tenants.map(|tenant| {
            let config = geds::Config::alone(folder.join(tenant)).tenant(tenant);
            (tenant.to_owned(), Geds::open(config).expect("a store"))
        });
        let key = |tenant: &str| Key {
            access_key: tenant.to_owned(),
            secret: format!("{tenant}-secret"),
            tenant: tenant.to_owned(),
        };
        let mut config = Config { keys: tenants.map(key).into(), ..Config::default() };
        change(&mut config);
        let endpoint = Endpoint::new(config, stores).expect("good settings");

        let runtime = Runtime::new().expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a listener");
        let address = listener.local_addr().expect("its address");
        let (stop, stopped) = oneshot::channel();
        let stopped = async {
            // Dropped is stopped too.
            let _ = stopped.await;
        };
        let ended = Some(runtime.spawn(endpoint.run(listener, stopped)));
        Self { address, stop: Some(stop), ended, runtime, _folder: folder }
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
