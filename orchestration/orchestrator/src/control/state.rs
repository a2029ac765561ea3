//! What all parts of the control plane share.

use super::{
    Config, Error, Names, Result,
    advice::Advice,
    agents::Agents,
    batch::{Batch, ISSUED, OWED, RESOURCES},
    blobs::Blobs,
    cache::{Cache, Change, Service, read_resource},
    metrics::Metrics,
    migrate::Running,
    models::Models,
    planner::Planner,
    ranks::Lately,
    sites::Sites,
    telemetry::Telemetry,
};
use crate::trust::{Authority, JoinTokens, Registry};
use api::{link::Held, service::Lost};
use decide::Lease;
use meta::MetaStore;
use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{Notify, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use types::{Clock, Epoch, ErrorKind, Token};

/// What all parts of the control plane share.
#[derive(Debug)]
pub(super) struct State {
    pub(super) config: Config,
    pub(super) store: Arc<dyn MetaStore>,
    pub(super) names: Arc<dyn Names>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) user_token: Token,
    pub(super) site_token: Token,
    pub(super) authority: Arc<Authority>,
    pub(super) registry: Registry,
    pub(super) join_tokens: JoinTokens,
    pub(super) blobs: Blobs,
    pub(super) metrics: Metrics,
    pub(super) telemetry: Telemetry,
    pub(super) planner: Planner,
    /// What is expected of services at places.
    pub(super) advice: Advice,
    /// Policies that watch services.
    pub(super) agents: Agents,
    /// The catalog, and whether what is used of it still fits.
    pub(super) models: Models,
    /// Moves by which ranks came together.
    pub(super) lately: Lately,
    pub(super) watches: Arc<Semaphore>,
    /// Held while a site is admitted and while a service is given to another site, so that a site
    /// never learns that it holds a service in the moment in which it loses it.
    pub(super) admission: tokio::sync::Mutex<()>,
    /// Migrations under way, by the service's uid.
    pub(super) migrations: Mutex<HashMap<String, Arc<Running>>>,
    /// Something changed: the loop shall look.
    pub(super) dirty: Notify,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
    /// Why the process must end, if it must.
    pub(super) fatal: Mutex<Option<Error>>,
    /// Lock this before `sites`.
    cache: Mutex<Cache>,
    sites: Mutex<Sites>,
}

impl State {
    pub(super) async fn open(
        config: Config,
        store: Arc<dyn MetaStore>,
        names: Arc<dyn Names>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let folder = |source| Error::Folder { path: config.data_dir.clone(), source };
        std::fs::create_dir_all(&config.data_dir).map_err(folder)?;
        let telemetry = Telemetry::open(&config, clock.clone())?;
        let state = Self {
            user_token: Token::load_or_create(&config.data_dir.join("token"))?,
            site_token: Token::load_or_create(&config.data_dir.join("site-token"))?,
            authority: Arc::new(Authority::open(&config.data_dir)?),
            registry: Registry::open(&config.data_dir)?,
            join_tokens: JoinTokens::open(&config.data_dir)?,
            blobs: Blobs::open(&config)?,
            metrics: Metrics::new(),
            advice: Advice::open(&config.models, &config.data_dir),
            agents: Agents::new(&config.models, telemetry.store()),
            models: Models::open(&config)?,
            telemetry,
            planner: Planner::open(&config)?,
            lately: Lately::default(),
            watches: Arc::new(Semaphore::new(config.watches_max)),
            admission: tokio::sync::Mutex::default(),
            migrations: Mutex::default(),
            dirty: Notify::new(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            fatal: Mutex::default(),
            cache: Mutex::new(load(&*store).await?),
            sites: Mutex::new(Sites::new(config.lease)),
            config,
            store,
            names,
            clock,
        };
        state.rebuild();
        Ok(state)
    }

    /// Takes up what the store says: sites may still serve, names point where they did.
    fn rebuild(&self) {
        let now = self.clock.monotonic();
        self.both(|cache, sites| cache.sites.keys().for_each(|site| sites.assume(site, now)));
        let services: Vec<_> = self.cache(|cache| cache.services.values().cloned().collect());
        for service in services {
            if let Some(site) = &service.status.site {
                self.point(&service, site);
            }
        }
    }

    /// Points a service's name at a site.
    pub(super) fn point(&self, service: &Service, site: &str) {
        let metadata = &service.resource.metadata;
        if let Some(address) = self.address_of(site) {
            self.names.switch(&metadata.tenant, &metadata.name, address);
        }
    }

    pub(super) fn lease(&self) -> Lease {
        Lease { length: self.config.lease, margin: self.config.margin }
    }

    pub(super) fn wall_ms(&self) -> u64 {
        u64::try_from(self.clock.wall().as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn cache<T>(&self, read: impl FnOnce(&Cache) -> T) -> T {
        read(&lock(&self.cache))
    }

    pub(super) fn sites<T>(&self, with: impl FnOnce(&mut Sites) -> T) -> T {
        with(&mut lock(&self.sites))
    }

    pub(super) fn both<T>(&self, with: impl FnOnce(&Cache, &mut Sites) -> T) -> T {
        let cache = lock(&self.cache);
        with(&cache, &mut lock(&self.sites))
    }

    pub(super) fn address_of(&self, site: &str) -> Option<IpAddr> {
        self.cache(|cache| cache.sites.get(site).and_then(|site| site.status.address))
    }

    /// Where another site forwards requests for this one: to its ingress on this machine, to its
    /// peers' listener on another.
    pub(super) fn door_of(&self, site: &str) -> Option<SocketAddr> {
        self.cache(|cache| {
            let status = &cache.sites.get(site)?.status;
            Some(match status.peer_address {
                Some(address) => SocketAddr::new(address, status.peer_port),
                None => SocketAddr::new(status.address?, status.ingress_port),
            })
        })
    }

    /// A site's name belongs to another machine now: the session of the former one ends, and what
    /// it may serve until its lease runs out is waited for.
    pub(super) async fn replace_machine(&self, site: &str) {
        let now = self.clock.monotonic();
        let served_until = self.sites(|sites| sites.dismiss(site));
        self.wake();
        if let Some(until) = served_until {
            tokio::time::sleep((until + self.config.margin).saturating_sub(now)).await;
        }
    }

    /// What its site says about a service's current epoch.
    pub(super) fn held(&self, service: &Service) -> Option<Held> {
        let site = service.status.site.as_deref()?;
        self.sites(|sites| {
            let held = sites.get(site)?.held.get(service.uid())?;
            held.iter().find(|held| held.epoch == service.status.epoch).cloned()
        })
    }

    /// When a site last said something, in milliseconds since the Unix epoch.
    pub(super) fn last_seen(&self, site: &str) -> Option<u64> {
        self.sites(|sites| sites.get(site).map(|live| live.last_seen).filter(|at| *at > 0))
    }

    /// What any site says that crashes have lost of a service.
    pub(super) fn lost(&self, uid: &str) -> Vec<Lost> {
        self.sites(|sites| sites.lost(uid))
    }

    /// Lets the loop look at everything again.
    pub(super) fn wake(&self) {
        self.dirty.notify_one();
    }

    /// Writes a batch; [`Error::Raced`] if something it compares has changed. Goes on to its end
    /// even if the caller does not wait for it.
    pub(super) async fn commit(self: &Arc<Self>, batch: Batch) -> Result<u64> {
        let state = self.clone();
        let committing = tokio::spawn(async move { state.commit_here(batch).await });
        converting(committing.await)
    }

    async fn commit_here(&self, batch: Batch) -> Result<u64> {
        let (txn, changes) = batch.into_parts();
        let outcome = self.store.txn(txn).await.inspect_err(|error| self.fail(error))?;
        if !outcome.succeeded {
            return Err(Error::Raced);
        }
        lock(&self.cache).take(outcome.revision, changes)?;
        self.wake();
        Ok(outcome.revision)
    }

    /// A store that failed may or may not have committed: only a new process can find out.
    fn fail(&self, error: &meta::Error) {
        if matches!(error.kind(), ErrorKind::Internal | ErrorKind::Corrupt | ErrorKind::Unavailable)
        {
            *lock(&self.fatal) = Some(error.clone().into());
            self.stop.cancel();
        }
    }

    pub(super) fn migrations(&self) -> MutexGuard<'_, HashMap<String, Arc<Running>>> {
        lock(&self.migrations)
    }
}

/// A panic in the spawned part is ours, and goes on here.
pub(super) fn converting<T>(joined: Result<Result<T>, tokio::task::JoinError>) -> Result<T> {
    match joined {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Error::refuse(ErrorKind::Unavailable, "the control plane is stopping")),
        },
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads the whole store.
async fn load(store: &dyn MetaStore) -> Result<Cache> {
    let mut cache = Cache::default();
    for item in items(store, RESOURCES).await? {
        let resource = read_resource(&item)?;
        // One that this version cannot read must not keep the rest from running.
        let (kind, name) = (resource.kind, resource.metadata.name.clone());
        if let Err(error) = cache.take(item.mod_revision, vec![Change::Put(Box::new(resource))]) {
            tracing::error!(%kind, name, error = types::chain(&error), "left out of control");
        }
    }
    for item in items(store, ISSUED).await? {
        let uid = text(&item.key[ISSUED.len()..]);
        let epoch = Epoch(text(&item.value).parse().unwrap_or_default());
        cache.take(item.mod_revision, vec![Change::Issued(uid, epoch)])?;
    }
    for item in items(store, OWED).await? {
        let key = text(&item.key[OWED.len()..]);
        let owed = serde_json::from_slice(&item.value)
            .map_err(|source| Error::Stored { key: key.clone(), source })?;
        cache.take(item.mod_revision, vec![Change::Owed(key, Box::new(owed))])?;
    }
    Ok(cache)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// All items under a prefix, page by page.
pub(super) async fn items(store: &dyn MetaStore, prefix: &str) -> Result<Vec<meta::Item>> {
    let mut items: Vec<meta::Item> = Vec::new();
    loop {
        let after = items.last().map(|item| item.key.clone());
        let page = store.range(prefix.as_bytes(), 0, after.as_deref()).await?;
        let more = page.more && !page.items.is_empty();
        items.extend(page.items);
        if !more {
            return Ok(items);
        }
    }
}
