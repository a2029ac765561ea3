//! A site's store: the process that holds its objects, and serves them to programs of the machine, to S3 clients and
//! to the stores of other sites.
//!
//! Start at [`run`], which an agent has a process of its own do. What agent, store and programs say to each other is in
//! `door`. Programs find the store with [`socket`].

pub(crate) mod door;
mod keys;
mod models;

pub use keys::read_or_make as s3_keys;
pub use models::{Join, ModelShelf};

use api::Problem;
use door::{Answer, Ask, Other, Status};
use geds::{Directory, Geds, Limits, Node, Site};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    net::TcpListener,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::watch,
    task::spawn_blocking,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use types::{Bytes, ErrorKind, Token, TokenError};

/// Where the objects are, within the store's folder.
pub(crate) const OBJECTS: &str = "objects";

/// The file of the token that stores of one machine show each other.
pub(crate) const TOKEN: &str = "token";

/// The file of S3 keys.
pub const S3_KEYS: &str = "s3-keys.toml";

/// How long somebody who asks for a tenant waits until the store serves.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(15);

/// How long an endpoint that another one has replaced finishes what is under way: large uploads take their time, and
/// what stands still is ended before.
const S3_DRAIN: Duration = Duration::from_secs(3600);

/// The same when the store ends.
const END_DRAIN: Duration = Duration::from_secs(5);

/// How long the agent may take to ask the control plane who is the home of a bucket.
const HOME_TIMEOUT: Duration = Duration::from_secs(20);

/// Result of what a store does.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a store cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or socket of it cannot be used.
    #[error("cannot use `{}`", path.display())]
    Disk {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file of S3 keys is not as it should be.
    #[error("`{}` is no file of keys: {reason}", path.display())]
    Keys {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The keys cannot be served.
    #[error("S3 cannot be served")]
    S3(#[from] s3::Error),
    /// The objects cannot be served.
    #[error("the objects cannot be served")]
    Objects(#[from] geds::Error),
    /// The token cannot be read.
    #[error("the stores of this machine have no token")]
    Token(#[from] TokenError),
    /// A defect.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Keys { .. } | Self::S3(_) => ErrorKind::Invalid,
            Self::Objects(error) => error.kind(),
            Self::Disk { .. } | Self::Token(_) | Self::Internal(_) => ErrorKind::Internal,
        }
    }
}

/// What runs beside a store, for the objects of its tenants: triggers' modules.
pub trait Beside: std::fmt::Debug + Send + Sync {
    /// A tenant's objects are served now, and joined through this socket.
    fn begin(&self, tenant: &str, store: &Geds, socket: &Path);
    /// Ends all that was begun, before the objects are written to disk.
    fn end(&self);
}

/// What a store is started with.
#[derive(Debug)]
pub struct Config {
    /// The site's name.
    pub site: String,
    /// All that belongs to it.
    pub folder: PathBuf,
    /// Most memory for the objects of one tenant.
    pub memory: Bytes,
    /// The site's key and certificate, where it has one: its store is reached from other machines.
    pub identity: Option<PathBuf>,
    /// Where S3 clients connect.
    pub s3: TcpListener,
    /// Where the stores of other sites connect.
    pub sites: TcpListener,
    /// How long it waits for an agent that is gone, before it writes everything to disk and ends.
    pub exit_without_agent_after: Duration,
    /// What runs beside it.
    pub beside: Box<dyn Beside>,
}

/// What each tenant may use of a store that is started with so much memory for it.
pub(crate) fn limits(memory: Bytes) -> Limits {
    Limits { memory_bytes: memory.0, ..Limits::default() }
}

/// Finds a tenant's store in the folder of a site's store, which begins if it does not run: the socket that
/// [`geds::Config::join`] takes.
///
/// # Errors
/// That neither the store nor its agent answers, or why it cannot serve the tenant.
pub fn socket(folder: &Path, tenant: &str) -> std::result::Result<PathBuf, Problem> {
    let wanted = Ask::Tenant { tenant: tenant.to_owned() };
    let ask = || door::ask(&door::store(folder), &wanted, BEGIN_TIMEOUT);
    let answer = match ask() {
        Err(problem) if problem.kind == ErrorKind::Unavailable => {
            begin(folder)?;
            ask()?
        }
        answer => answer?,
    };
    match answer {
        Answer::Socket { path } => Ok(path),
        _ => Err(Problem::new(ErrorKind::Internal, "the store answers something else")),
    }
}

/// Whether a folder is this user's alone: what a site says of its own machine may be anything on this one.
pub fn is_ours(folder: &Path) -> bool {
    fs::metadata(folder).is_ok_and(|found| {
        let alone = found.mode() & 0o077 == 0;
        found.is_dir() && alone && found.uid() == rustix::process::geteuid().as_raw()
    })
}

fn begin(folder: &Path) -> std::result::Result<(), Problem> {
    let begun = door::ask(&door::agent(folder), &Ask::Begin, BEGIN_TIMEOUT);
    begun.map(drop).map_err(|problem| {
        let message = format!(
            "the store in `{}` does not run, and the site's agent did not start it ({}): see `cloudskin status`",
            folder.display(),
            problem.message
        );
        Problem { message, ..problem }
    })
}

/// The control plane, which the agent asks.
#[derive(Debug)]
struct Homes(PathBuf);

impl Homes {
    fn ask(&self, ask: &Ask) -> geds::Result<Option<String>> {
        match door::ask(&self.0, ask, HOME_TIMEOUT) {
            Ok(Answer::Home { site }) => Ok(site),
            Ok(_) => Ok(None),
            Err(problem) => Err(geds::Error::Unavailable(format!(
                "which site has the bucket is known to the control plane alone: {}",
                problem.message
            ))),
        }
    }
}

impl Directory for Homes {
    fn home(&self, tenant: &str, bucket: &str) -> geds::Result<Option<String>> {
        self.ask(&Ask::Home { tenant: tenant.to_owned(), bucket: bucket.to_owned() })
    }

    fn claim(&self, tenant: &str, bucket: &str) -> geds::Result<String> {
        let claim = Ask::Claim { tenant: tenant.to_owned(), bucket: bucket.to_owned() };
        let gone = || geds::Error::Unavailable("the bucket is just being removed".to_owned());
        self.ask(&claim)?.ok_or_else(gone)
    }

    fn disclaim(&self, tenant: &str, bucket: &str) -> geds::Result<()> {
        self.ask(&Ask::Disclaim { tenant: tenant.to_owned(), bucket: bucket.to_owned() }).map(drop)
    }
}

/// What the parts of a store share.
struct Store {
    config: Config,
    node: Node,
    /// Set once it knows the other sites.
    serves: watch::Sender<bool>,
    tenants: Mutex<BTreeMap<String, Geds>>,
    /// The other sites that it knows.
    met: Mutex<BTreeSet<String>>,
    /// Ends the S3 endpoint that serves now.
    s3: Mutex<CancellationToken>,
    /// Held while the S3 endpoint is replaced: who comes later knows all tenants that were there before.
    serving: Mutex<()>,
    /// When the file of keys that it knows was written.
    keyed: Mutex<Option<SystemTime>>,
    /// When the agent was last heard.
    heard: Mutex<Instant>,
    ending: AtomicBool,
    tasks: TaskTracker,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves until `stop`, or until its agent is gone for too long; then writes what is in memory to disk.
///
/// # Errors
/// [`Error`] says what cannot be used.
pub async fn run(config: Config, stop: CancellationToken) -> Result<()> {
    let folder = config.folder.clone();
    let opened = spawn_blocking(move || Store::open(config)).await;
    let store = Arc::new(opened.map_err(|error| Error::Internal(error.to_string()))??);
    let path = door::store(&folder);
    let listener = bind(&path).map_err(|source| Error::Disk { path, source })?;
    let limit = store.config.exit_without_agent_after;
    loop {
        let left = limit.saturating_sub(lock(&store.heard).elapsed());
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let store = store.clone();
                    tokio::spawn(async move { store.serve(stream).await });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            () = tokio::time::sleep(left), if !left.is_zero() => {}
            () = stop.cancelled() => break,
            () = std::future::ready(()), if left.is_zero() => {
                tracing::warn!("the agent is gone: the store ends");
                break;
            }
        }
    }
    store.end(&listener).await
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    UnixListener::bind(path)
}

impl Store {
    fn open(config: Config) -> Result<Self> {
        let node = Node::start(config.folder.join(OBJECTS))?;
        let store = Self {
            node,
            config,
            serves: watch::Sender::new(false),
            tenants: Mutex::default(),
            met: Mutex::default(),
            s3: Mutex::default(),
            serving: Mutex::default(),
            keyed: Mutex::default(),
            heard: Mutex::new(Instant::now()),
            ending: AtomicBool::new(false),
            tasks: TaskTracker::new(),
        };
        // Those that were here are known to other sites, whether or not somebody asks for them here.
        let kept = fs::read_dir(store.config.folder.join(OBJECTS).join("tenants"));
        for kept in kept.into_iter().flatten().flatten() {
            if let Some(tenant) = kept.file_name().to_str()
                && types::check_name(tenant).is_ok()
                && let Err(error) = store.tenant(tenant)
            {
                // It is told again to who asks for this tenant; the others have theirs.
                tracing::error!(tenant, error = types::chain(&error), "objects cannot be served");
            }
        }
        if lock(&store.tenants).is_empty() {
            store.tenant(api::DEFAULT_TENANT)?;
        }
        Ok(store)
    }

    fn limits(&self) -> Limits {
        limits(self.config.memory)
    }

    /// Opens a tenant's part, if it is not open; whether it was not.
    fn tenant(&self, tenant: &str) -> Result<bool> {
        let mut tenants = lock(&self.tenants);
        if tenants.contains_key(tenant) {
            return Ok(false);
        }
        let opened = self.node.geds(tenant, &self.limits())?;
        // Before the other sites are known, a bucket could be made here that another one has.
        if *self.serves.borrow() {
            self.let_in(tenant, &opened)?;
        }
        tenants.insert(tenant.to_owned(), opened);
        Ok(true)
    }

    /// Lets programs of the machine join a tenant's part.
    fn let_in(&self, tenant: &str, opened: &Geds) -> Result<()> {
        let socket = door::tenant(&self.config.folder, tenant);
        self.node.listen(tenant, &self.limits(), socket.clone())?;
        self.config.beside.begin(tenant, opened, &socket);
        Ok(())
    }

    async fn serve(self: &Arc<Self>, mut stream: UnixStream) {
        let Ok(ask) = door::hear(&mut stream).await else { return };
        let answer = self.answer(ask).await.unwrap_or_else(|error| {
            Answer::Refused(Problem::new(error.kind(), types::chain(&error)))
        });
        // Who does not wait for it has gone.
        let _ = door::say(&mut stream, &answer).await;
    }

    async fn answer(self: &Arc<Self>, ask: Ask) -> Result<Answer> {
        match ask {
            Ask::Tenant { tenant } => {
                let mut serving = self.serves.subscribe();
                let serving = async { serving.wait_for(|serves| *serves).await.is_ok() };
                let begun = tokio::time::timeout(BEGIN_TIMEOUT, serving).await == Ok(true);
                if self.ending.load(Ordering::Acquire) || !begun {
                    let why = "the store ends, or has only just begun: try again".to_owned();
                    return Err(geds::Error::Unavailable(why).into());
                }
                let path = door::tenant(&self.config.folder, &tenant);
                if self.blocking(move |store| store.tenant(&tenant)).await? {
                    self.serve_s3();
                }
                Ok(Answer::Socket { path })
            }
            Ask::Meet { sites } => {
                *lock(&self.heard) = Instant::now();
                if self.blocking(move |store| store.meet(sites)).await? {
                    self.serve_s3();
                    self.serves.send_replace(true);
                }
                Ok(Answer::Done)
            }
            Ask::Status => {
                *lock(&self.heard) = Instant::now();
                // Somebody has changed the keys, or mended them.
                if *self.serves.borrow() && self.keys_written() != *lock(&self.keyed) {
                    self.serve_s3();
                }
                self.blocking(|store| Ok(Answer::Status(store.status()))).await
            }
            Ask::Begin | Ask::Home { .. } | Ask::Claim { .. } | Ask::Disclaim { .. } => {
                Err(geds::Error::Invalid("this is asked of the agent".to_owned()).into())
            }
        }
    }

    async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        act: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let store = self.clone();
        let done = spawn_blocking(move || act(&store)).await;
        done.map_err(|error| Error::Internal(error.to_string()))?
    }

    /// Takes in where the other sites' stores are now; true the first time, from which on it serves them.
    fn meet(&self, sites: BTreeMap<String, Other>) -> Result<bool> {
        let mut met = lock(&self.met);
        let now: BTreeSet<_> = sites.keys().cloned().collect();
        if !*self.serves.borrow() {
            self.join_sites(&sites)?;
            *met = now;
            lock(&self.tenants).retain(|tenant, opened| {
                let let_in = self.let_in(tenant, opened);
                if let Err(error) = &let_in {
                    // Who asks for it is told, or it is tried again.
                    tracing::error!(tenant, error = types::chain(error), "nobody can join");
                }
                let_in.is_ok()
            });
            return Ok(true);
        }
        // Those that are gone come first: a mistake in another one's entry keeps nobody in.
        let mut done = Ok(());
        for gone in met.difference(&now) {
            done = done.and(self.node.set_peer(gone, None));
        }
        for (site, Other { address, key }) in sites {
            let told = match (key, &self.config.identity) {
                (Some(key), Some(_)) => self.node.set_peer_with_key(&site, address, &key),
                // Whoever had a certificate with its name would be let in.
                (None, Some(_)) => self.node.set_peer(&site, None),
                (_, None) => self.node.set_peer(&site, Some(address)),
            };
            done = done.and(told);
        }
        done?;
        *met = now;
        Ok(false)
    }

    fn join_sites(&self, sites: &BTreeMap<String, Other>) -> Result<()> {
        let Config { folder, identity, sites: listener, .. } = &self.config;
        let own = match identity {
            Some(identity) => Site::secured(identity)?,
            None => Site::plain(&self.config.site).token(Token::load(&folder.join(TOKEN))?),
        };
        let disk = |source| Error::Disk { path: "the listener for other sites".into(), source };
        let own = own
            .listen_on(listener.try_clone().map_err(disk)?)
            .directory_by(Arc::new(Homes(door::agent(folder))));
        let is_secured = identity.is_some();
        let own = sites.iter().fold(own, |own, (site, Other { address, key })| match key {
            Some(key) if is_secured => own.peer_with_key(site, *address, key),
            None if is_secured => own,
            _ => own.peer(site, *address),
        });
        self.node.join_sites(own)?;
        Ok(())
    }

    /// Serves S3 to all tenants that there are; who served until now finishes what is under way.
    fn serve_s3(self: &Arc<Self>) {
        let _one = lock(&self.serving);
        let stop = CancellationToken::new();
        match self.s3_endpoint() {
            Ok((endpoint, listener)) => {
                let until = stop.clone().cancelled_owned();
                self.tasks.spawn(async move {
                    if let Err(error) = endpoint.run(listener, until).await {
                        tracing::error!(%error, "S3 is no longer served");
                    }
                });
                std::mem::replace(&mut *lock(&self.s3), stop).cancel();
            }
            Err(error) => tracing::error!(error = types::chain(&error), "S3 is not served"),
        }
    }

    fn keys_written(&self) -> Option<SystemTime> {
        fs::metadata(self.config.folder.join(S3_KEYS)).and_then(|file| file.modified()).ok()
    }

    fn s3_endpoint(&self) -> Result<(s3::Endpoint, tokio::net::TcpListener)> {
        let stores: Vec<_> = lock(&self.tenants).clone().into_iter().collect();
        let tenants: Vec<_> = stores.iter().map(|(tenant, _)| tenant.clone()).collect();
        let keys = keys::with_all(&self.config.folder.join(S3_KEYS), &tenants);
        *lock(&self.keyed) = self.keys_written();
        let mut keys = keys?;
        // A key of a tenant that has nothing here yet is of use once somebody has asked for it.
        keys.retain(|key| tenants.contains(&key.tenant));
        let drain_timeout_ms = S3_DRAIN.as_millis() as u64;
        let config = s3::Config { keys, drain_timeout_ms, ..s3::Config::default() };
        let endpoint = s3::Endpoint::new(config, stores)?;
        let listener = self.config.s3.try_clone().and_then(|listener| {
            listener.set_nonblocking(true)?;
            tokio::net::TcpListener::from_std(listener)
        });
        let disk = |source| Error::Disk { path: "the listener for S3".into(), source };
        Ok((endpoint, listener.map_err(disk)?))
    }

    fn status(&self) -> Status {
        let usage = |(tenant, store): (&String, &Geds)| {
            let usage = store.usage().unwrap_or_default();
            (tenant.clone(), usage)
        };
        Status {
            pid: std::process::id(),
            ending: self.ending.load(Ordering::Acquire),
            s3: self.config.s3.local_addr().ok(),
            sites: self.config.sites.local_addr().ok(),
            tenants: lock(&self.tenants).iter().map(usage).collect(),
        }
    }

    /// Ends S3, then writes what is only in memory to disk, so that it is there at the next start. Whoever asks
    /// meanwhile is told.
    async fn end(self: &Arc<Self>, listener: &UnixListener) -> Result<()> {
        self.ending.store(true, Ordering::Release);
        lock(&self.s3).cancel();
        self.tasks.close();
        let ending = async {
            // What is in memory comes first: an upload can be made again.
            let _ = tokio::time::timeout(END_DRAIN, self.tasks.wait()).await;
            self.blocking(Self::keep).await
        };
        let mut ending = std::pin::pin!(ending);
        loop {
            tokio::select! {
                ended = &mut ending => return ended,
                Ok((stream, _)) = listener.accept() => {
                    let store = self.clone();
                    tokio::spawn(async move { store.serve(stream).await });
                }
            }
        }
    }

    fn keep(&self) -> Result<()> {
        self.config.beside.end();
        let mut failed = None;
        for (tenant, store) in lock(&self.tenants).clone() {
            if let Err(error) = store.persist_all() {
                tracing::error!(tenant, error = types::chain(&error), "objects are lost");
                failed = Some(error);
            }
        }
        // Who comes later finds nobody.
        let _ = fs::remove_file(door::store(&self.config.folder));
        failed.map_or(Ok(()), |error| Err(error.into()))
    }
}
