//! The site's store: a process of its own, which begins when it is first needed and is adopted again as workers are.
//!
//! The agent listens for it, so that its addresses are known before it runs and connections wait while it starts again.
//! It begins with the first connection, or when somebody asks for it; once it has held something it begins with the
//! agent. See [`crate::store`] for the process itself.

use super::{
    Config, Error, StoreConfig, Trust,
    core::{Core, retry_pause},
    error::Result,
    process::{Process, open_log, start_apart, watched},
};
use crate::store::{
    OBJECTS, S3_KEYS, TOKEN,
    door::{self, Answer, Ask, Other, Status},
    s3_keys,
};
use api::{
    Problem,
    link::{Peer, StoreChange, StoreLimits},
    mount::Mount,
    policy::StoreLimit,
    site::SiteStore,
};
use cells::worker::Objects;
use geds::Geds;
use hyper::Method;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    os::{fd::OwnedFd, unix::fs::DirBuilderExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    io::unix::AsyncFd,
    net::{UnixListener, UnixStream},
    sync::{Notify, watch},
    task::spawn_blocking,
    time::{Instant, sleep, sleep_until, timeout},
};
use types::ErrorKind;

/// How often the store is asked how it is.
const STATUS_PERIOD: Duration = Duration::from_secs(2);

/// How long a new store may take to answer: it reads the names of all objects on disk.
const START_TIMEOUT: Duration = Duration::from_secs(600);

/// How long one may say nothing before it is killed, which loses what is in memory alone.
const SILENCE: Duration = Duration::from_secs(120);

/// How long somebody who needs the store waits for it.
const NEED_TIMEOUT: Duration = Duration::from_secs(15);

/// How long the agent waits at its own end until the store has written everything to disk; that goes on without it.
const STOP_TIMEOUT: Duration = Duration::from_secs(8);

/// A store that lived this long did not fail at its start.
const STEADY: Duration = Duration::from_secs(10);

/// The file of the addresses that the store had.
const PLACES: &str = "places.json";

/// The addresses that the store had, for the next agent.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Places {
    s3: SocketAddr,
    sites: SocketAddr,
}

/// The open listeners.
#[derive(Debug)]
struct Listeners {
    s3: TcpListener,
    sites: TcpListener,
}

/// The site's store, as its agent sees it.
#[derive(Debug)]
pub(crate) struct Store {
    config: StoreConfig,
    pub(crate) folder: PathBuf,
    places: Places,
    /// None while a store that an earlier agent started has them alone.
    listeners: Mutex<Option<Listeners>>,
    /// Somebody needs it.
    needed: Notify,
    /// The other sites are no longer where they were.
    pub(crate) moved: Notify,
    answers: watch::Sender<bool>,
    status: Mutex<Status>,
    /// Held while limits are read and set: of two who change different ones, neither undoes the other's.
    limits: Arc<Mutex<()>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    /// Makes the store's folder ready and listens for it, unless a store runs that an earlier agent started.
    pub(crate) fn open(config: &Config) -> Result<Option<Self>> {
        let Some(own) = config.store.clone() else { return Ok(None) };
        let folder = config.data_dir.join("store");
        let disk = |source| Error::Disk { path: folder.clone(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(disk)?;
        // The store reads them again and again, for as long as something is wrong with them.
        if let Err(error) = s3_keys(&folder.join(S3_KEYS), &[api::DEFAULT_TENANT.to_owned()]) {
            tracing::error!(error = types::chain(&error), "S3 cannot be served");
        }
        if let Trust::Token(token) = &config.trust {
            write_private(&folder.join(TOKEN), token.reveal().as_bytes()).map_err(disk)?;
        }
        let known = read_places(&folder);
        let running = find(&folder).is_some();
        let (places, listeners) = match known.filter(|_| running) {
            Some(places) => (places, None),
            None => {
                let listeners = Listeners::open(config, &own, known)?;
                (listeners.places().map_err(disk)?, Some(listeners))
            }
        };
        let written = serde_json::to_vec(&places).map_err(io::Error::from);
        written.and_then(|written| write_private(&folder.join(PLACES), &written)).map_err(disk)?;
        Ok(Some(Self {
            config: own,
            folder,
            places,
            listeners: Mutex::new(listeners),
            needed: Notify::new(),
            moved: Notify::new(),
            answers: watch::Sender::new(false),
            status: Mutex::default(),
            limits: Arc::default(),
        }))
    }

    /// What the control plane is told of it.
    pub(crate) fn told(&self) -> SiteStore {
        SiteStore {
            s3: self.places.s3,
            sites: self.places.sites,
            folder: self.folder.to_string_lossy().into_owned(),
        }
    }

    /// What it last said of itself.
    pub(crate) fn status(&self) -> Status {
        lock(&self.status).clone()
    }

    /// Returns once it serves.
    pub(crate) async fn ensure(&self) -> std::result::Result<(), Problem> {
        let mut answers = self.answers.subscribe();
        let serving = answers.wait_for(|answers| *answers);
        self.needed.notify_one();
        match timeout(NEED_TIMEOUT, serving).await {
            Ok(Ok(_)) => Ok(()),
            _ => {
                let log = self.log();
                let text = format!("the site's store does not begin: see `{}`", log.display());
                Err(Problem::new(ErrorKind::Unavailable, text))
            }
        }
    }

    /// The socket of a tenant's part, once it serves.
    pub(crate) async fn socket(&self, tenant: &str) -> std::result::Result<PathBuf, Problem> {
        self.ensure().await?;
        let wanted = Ask::Tenant { tenant: tenant.to_owned() };
        match door::ask_async(&door::store(&self.folder), wanted, NEED_TIMEOUT).await? {
            Answer::Socket { path } => Ok(path),
            _ => Err(Problem::new(ErrorKind::Internal, "the store answers something else")),
        }
    }

    /// What a tenant may use of it, after a change if there is one.
    pub(crate) async fn limits(
        &self,
        tenant: &str,
        change: Option<StoreChange>,
    ) -> std::result::Result<StoreLimits, Problem> {
        let socket = self.socket(tenant).await?;
        let most = most_limits(&self.config);
        let turn = self.limits.clone();
        let asking = spawn_blocking(move || {
            let _one = lock(&turn);
            change_limits(&socket, change, &most)
        });
        asking.await.map_err(|error| Problem::new(ErrorKind::Internal, error.to_string()))?
    }

    fn log(&self) -> PathBuf {
        self.folder.join("store.log")
    }

    /// Whether objects may be in it, for which other sites may ask at any time.
    fn has_begun(&self) -> bool {
        self.folder.join(OBJECTS).exists()
    }

    /// Returns once the store has to run.
    async fn wanted(&self) -> io::Result<()> {
        if self.has_begun() {
            return Ok(());
        }
        let ends = match &*lock(&self.listeners) {
            Some(listeners) => listeners.watched()?,
            None => return Ok(()),
        };
        tokio::select! {
            () = self.needed.notified() => {}
            _ = ends.0.readable() => {}
            _ = ends.1.readable() => {}
        }
        Ok(())
    }
}

/// The operator's limits, beyond which no policy goes.
fn most_limits(config: &StoreConfig) -> StoreLimits {
    // The mark is a share of the tenant's own memory.
    StoreLimits { high_water: 100, ..told_limits(&crate::store::limits(config.memory)) }
}

/// Checks that a step up stays within the operator's limits. One down from beyond them is let through: whoever
/// operates the site raised them.
fn check_change(
    StoreChange { limit, from, to }: StoreChange,
    most: &StoreLimits,
) -> std::result::Result<(), Problem> {
    let most = most.of(limit);
    if to <= from.max(most) {
        return Ok(());
    }
    let advice = match limit {
        StoreLimit::Memory => ": the site is started with more by `--objects-memory`",
        _ => "",
    };
    let text = format!(
        "policies give a tenant at most {most} of the store's {limit} here, not {to}{advice}"
    );
    Err(Problem::new(ErrorKind::Exhausted, text))
}

fn change_limits(
    socket: &Path,
    change: Option<StoreChange>,
    most: &StoreLimits,
) -> std::result::Result<StoreLimits, Problem> {
    let failed = |error: geds::Error| Problem::new(error.kind(), types::chain(&error));
    let store = Geds::open(geds::Config::join(socket)).map_err(failed)?;
    let mut limits = store.limits().map_err(failed)?;
    if let Some(change) = change {
        let StoreChange { limit, from, to } = change;
        let found = told_limits(&limits).of(limit);
        if found != from {
            let text = format!("the store's {limit} is {found} by now, and not {from}");
            return Err(Problem::new(ErrorKind::Conflict, text));
        }
        check_change(change, most)?;
        match limit {
            StoreLimit::Memory => limits.memory_bytes = to,
            StoreLimit::Disk => limits.disk_bytes = to,
            StoreLimit::Cache => limits.cache_bytes = to,
            StoreLimit::HighWater => {
                limits.high_water_percent = u8::try_from(to).unwrap_or(u8::MAX);
            }
        }
        store.set_limits(limits).map_err(failed)?;
        limits = store.limits().map_err(failed)?;
    }
    Ok(told_limits(&limits))
}

fn told_limits(limits: &geds::Limits) -> StoreLimits {
    StoreLimits {
        memory: limits.memory_bytes,
        disk: limits.disk_bytes,
        cache: limits.cache_bytes,
        high_water: limits.high_water_percent,
    }
}

/// The store that an earlier agent started. One that died before it could note the process has left a store that says who
/// it is.
fn find(folder: &Path) -> Option<Process> {
    let file = pid_file(folder);
    Process::from_file(&file).or_else(|| {
        let said = door::ask(&door::store(folder), &Ask::Status, Duration::from_secs(1)).ok()?;
        let Answer::Status(status) = said else { return None };
        let process = Process::open(status.pid).ok()?;
        process.to_file(&file).ok()?;
        Some(process)
    })
}

fn pid_file(folder: &Path) -> PathBuf {
    folder.join("store.pid")
}

fn read_places(folder: &Path) -> Option<Places> {
    serde_json::from_slice(&fs::read(folder.join(PLACES)).ok()?).ok()
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    // Whole or not at all: the next agent reads it, also after this one was killed.
    let draft = path.with_extension(format!("draft-{}", types::random_id()));
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    file.write_all(bytes)?;
    fs::rename(&draft, path)
}

impl Listeners {
    /// Listens where it did before, else where it is told to, else at a free port.
    fn open(config: &Config, own: &StoreConfig, known: Option<Places>) -> Result<Self> {
        // S3 speaks no TLS.
        let here = match config.address.is_loopback() {
            true => config.address,
            false => IpAddr::V4(Ipv4Addr::LOCALHOST),
        };
        let sites = match &config.trust {
            Trust::Token(_) => config.address,
            Trust::Certificates { bind, .. } => bind.ip(),
        };
        Ok(Self {
            s3: listen(here, own.s3_port, known.map(|known| known.s3))?,
            sites: listen(sites, own.sites_port, known.map(|known| known.sites))?,
        })
    }

    fn places(&self) -> io::Result<Places> {
        Ok(Places { s3: self.s3.local_addr()?, sites: self.sites.local_addr()? })
    }

    /// They become readable when somebody connects.
    fn watched(&self) -> io::Result<(AsyncFd<OwnedFd>, AsyncFd<OwnedFd>)> {
        Ok((watched(self.s3.try_clone()?.into())?, watched(self.sites.try_clone()?.into())?))
    }
}

fn listen(address: IpAddr, port: u16, known: Option<SocketAddr>) -> Result<TcpListener> {
    let known = known.filter(|known| known.ip() == address);
    let (wanted, any) = (SocketAddr::new(address, port), SocketAddr::new(address, 0));
    let mut places = known.into_iter().chain([wanted]);
    if let Some(listener) = places.find_map(|place| TcpListener::bind(place).ok()) {
        return Ok(listener);
    }
    let listener =
        TcpListener::bind(any).map_err(|source| Error::Listen { address: any, source })?;
    let got = listener.local_addr().unwrap_or(any);
    tracing::warn!(%wanted, %got, "the store's port is taken: it has another one");
    Ok(listener)
}

/// Keeps the store running, once it is needed, until the agent stops.
pub(crate) async fn run(core: Arc<Core>) {
    let Some(store) = &core.store else { return };
    tokio::join!(answer_all(&core, store), supervise(&core, store));
}

/// Starts it, or adopts the one that runs; again and again.
async fn supervise(core: &Arc<Core>, store: &Store) {
    let mut failures = 0;
    loop {
        // Also one that was too busy to answer the last time.
        let folder = store.folder.clone();
        let found = spawn_blocking(move || find(&folder)).await.ok().flatten();
        let process = match found {
            Some(process) => process,
            None => {
                let started = store.wanted().await.and_then(|()| start(core, store));
                match started {
                    Ok(process) => process,
                    Err(error) => {
                        tracing::error!(%error, "the site's store cannot be started");
                        failures += 1;
                        sleep(retry_pause(failures)).await;
                        continue;
                    }
                }
            }
        };
        let since = Instant::now();
        attend(core, store, &process).await;
        store.answers.send_replace(false);
        tracing::warn!(pid = process.pid, "the site's store is gone");
        failures = if since.elapsed() > STEADY { 0 } else { failures + 1 };
        sleep(retry_pause(failures)).await;
    }
}

fn start(core: &Core, store: &Store) -> io::Result<Process> {
    let other = |error: Error| io::Error::other(types::chain(&error));
    let mut listeners = lock(&store.listeners);
    if listeners.is_none() {
        *listeners =
            Some(Listeners::open(&core.config, &store.config, Some(store.places)).map_err(other)?);
    }
    let Some(open) = &*listeners else { return Err(io::ErrorKind::NotFound.into()) };
    let give = |listener: &TcpListener| listener.try_clone().map(OwnedFd::from).map(Stdio::from);
    let mut command = Command::new(&store.config.program);
    command
        .args(&store.config.args)
        .args(["--memory", &store.config.memory.to_string()])
        .args(["--site", &core.config.name])
        .arg("--folder")
        .arg(&store.folder)
        .stdin(give(&open.s3)?)
        .stdout(give(&open.sites)?)
        .stderr(open_log(&store.log())?);
    if let Some(identity) = core.reach.identity() {
        command.arg("--identity").arg(identity.path());
    }
    drop(listeners);
    let (mut child, process) = start_apart(command)?;
    // Reaps it, whenever that is.
    tokio::spawn(async move { child.wait().await });
    process.to_file(&pid_file(&store.folder))?;
    tracing::info!(pid = process.pid, "started the site's store");
    Ok(process)
}

async fn is_told_again(core: &Arc<Core>, store: &Store) -> bool {
    let told = tell(core, store, SILENCE).await;
    if let Err(problem) = &told {
        tracing::warn!(%problem, "the store does not know where other sites are");
    }
    told.is_ok()
}

/// Tells a store where the others are, and looks after it until it is gone.
async fn attend(core: &Arc<Core>, store: &Store, process: &Process) {
    if !met(core, store, process).await {
        return process.kill().await;
    }
    store.answers.send_replace(true);
    let door = door::store(&store.folder);
    let (mut ask_at, mut answered) = (Instant::now(), Instant::now());
    let mut is_told = true;
    loop {
        tokio::select! {
            () = process.ended() => return,
            () = store.moved.notified() => {
                is_told = is_told_again(core, store).await;
            }
            () = sleep_until(ask_at) => {
                if !is_told {
                    is_told = is_told_again(core, store).await;
                }
                match door::ask_async(&door, Ask::Status, SILENCE).await {
                    Ok(Answer::Status(status)) => {
                        *lock(&store.status) = status;
                        answered = Instant::now();
                    }
                    // One that ends may close its door first.
                    _ if process.ended_within(STATUS_PERIOD).await => return,
                    _ if answered.elapsed() < SILENCE => {}
                    _ => {
                        tracing::warn!(pid = process.pid, "the store hangs and is killed");
                        return process.kill().await;
                    }
                }
                ask_at = Instant::now() + STATUS_PERIOD;
            }
        }
    }
}

/// Whether the store answers and knows the other sites.
async fn met(core: &Arc<Core>, store: &Store, process: &Process) -> bool {
    let deadline = Instant::now() + START_TIMEOUT;
    let mut pause = Duration::from_millis(1);
    loop {
        match tell(core, store, START_TIMEOUT).await {
            Ok(()) => return true,
            Err(problem) if Instant::now() > deadline => {
                tracing::error!(%problem, log = %store.log().display(), "the store does not begin");
                return false;
            }
            Err(_) if process.ended_within(pause).await => return false,
            Err(_) => pause = (pause * 2).min(Duration::from_millis(50)),
        }
    }
}

async fn tell(core: &Core, store: &Store, patience: Duration) -> std::result::Result<(), Problem> {
    let place = |peer: &Peer| {
        let other = Other { address: peer.store?, key: peer.key.clone() };
        Some((peer.site.clone(), other))
    };
    let sites: BTreeMap<_, _> =
        core.read(|inner| inner.state.desired.peers.iter().filter_map(place).collect());
    let meet = Ask::Meet { sites };
    door::ask_async(&door::store(&store.folder), meet, patience).await.map(drop)
}

/// What a program sees of the store, which begins if it does not run.
pub(crate) async fn objects(
    core: &Core,
    tenant: &str,
    mounts: &[Mount],
) -> std::result::Result<Option<Objects>, Problem> {
    if mounts.is_empty() {
        return Ok(None);
    }
    let Some(store) = &core.store else {
        let text = "this site has no store of objects: run the program at another one";
        return Err(Problem::new(ErrorKind::Unsupported, text));
    };
    let socket = store.socket(tenant).await?;
    Ok(Some(Objects { socket, mounts: mounts.to_vec() }))
}

/// Has the store write everything to disk and end.
pub(crate) async fn stop(core: &Core) {
    let Some(store) = &core.store else { return };
    let Some(process) = Process::from_file(&pid_file(&store.folder)) else { return };
    process.ask_to_end();
    if !process.ended_within(STOP_TIMEOUT).await {
        tracing::info!(pid = process.pid, "the store still writes to disk, and ends then");
    }
}

/// Answers programs that need the store, and the store itself.
async fn answer_all(core: &Arc<Core>, store: &Store) {
    let path = door::agent(&store.folder);
    // An earlier agent's.
    let _ = fs::remove_file(&path);
    let listener = match UnixListener::bind(&path) {
        Ok(listener) => listener,
        Err(error) => {
            return tracing::error!(%error, path = %path.display(), "nobody can start the store");
        }
    };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let core = core.clone();
                core.clone().spawn(async move { answer(&core, stream).await });
            }
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn answer(core: &Core, mut stream: UnixStream) {
    let (Some(store), Ok(ask)) = (&core.store, door::hear(&mut stream).await) else { return };
    let home = |site| Answer::Home { site };
    let answered = match ask {
        Ask::Begin => store.ensure().await.map(|()| Answer::Done),
        Ask::Home { tenant, bucket } => find_home(core, &tenant, &bucket).await.map(home),
        Ask::Claim { tenant, bucket } => {
            let claimed = ask_home(core, Method::PUT, &tenant, &bucket).await;
            claimed.map(|claimed| home(claimed.map(|claimed| claimed.site)))
        }
        Ask::Disclaim { tenant, bucket } => {
            let disclaimed = ask_home(core, Method::DELETE, &tenant, &bucket).await;
            disclaimed.map(|_| Answer::Done)
        }
        Ask::Tenant { .. } | Ask::Meet { .. } | Ask::Status => {
            Err(Problem::new(ErrorKind::Invalid, "this is asked of the store"))
        }
    };
    // Who does not wait for it has gone.
    let _ = door::say(&mut stream, &answered.unwrap_or_else(Answer::Refused)).await;
}

/// What the control plane says of a bucket.
#[derive(Debug, Serialize, Deserialize)]
struct Home {
    site: String,
}

async fn find_home(
    core: &Core,
    tenant: &str,
    bucket: &str,
) -> std::result::Result<Option<String>, Problem> {
    match ask_home(core, Method::GET, tenant, bucket).await {
        Ok(home) => Ok(home.map(|home| home.site)),
        Err(problem) if problem.kind == ErrorKind::NotFound => Ok(None),
        Err(problem) => Err(problem),
    }
}

async fn ask_home(
    core: &Core,
    method: Method,
    tenant: &str,
    bucket: &str,
) -> std::result::Result<Option<Home>, Problem> {
    let url = core.config.control_url.trim_end_matches('/');
    let url = format!("{url}{}", api::paths::home(tenant, bucket));
    let own = Home { site: core.config.name.clone() };
    let document = (method != Method::GET).then_some(&own);
    let answer = core.http.exchange(method, &url, document).await?;
    Ok(serde_json::from_slice(&answer).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::Bytes;

    #[test]
    fn a_policy_does_not_lift_a_tenant_beyond_what_the_store_was_started_with() {
        let config = StoreConfig {
            program: PathBuf::new(),
            args: Vec::new(),
            memory: Bytes(64 << 20),
            s3_port: 0,
            sites_port: 0,
        };
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("tenant.sock");
        let limits = crate::store::limits(Bytes(32 << 20));
        let node = geds::Node::start(folder.path().join("objects")).unwrap();
        let _geds = node.geds("lab", &limits).unwrap();
        node.listen("lab", &limits, socket.clone()).unwrap();
        let most = most_limits(&config);
        let set = |limit, to| {
            let from = change_limits(&socket, None, &most).unwrap().of(limit);
            change_limits(&socket, Some(StoreChange { limit, from, to }), &most)
        };

        assert_eq!(set(StoreLimit::Memory, 64 << 20).unwrap().memory, 64 << 20);
        let beyond = set(StoreLimit::Memory, (64 << 20) + 1).unwrap_err();
        assert_eq!(beyond.kind, ErrorKind::Exhausted);
        assert!(beyond.message.contains("at most 67108864 of the store's memory here"), "{beyond}");
        assert!(set(StoreLimit::Disk, most.disk + 1).is_err());
        assert!(set(StoreLimit::Cache, u64::MAX).is_err());
        assert!(set(StoreLimit::HighWater, 101).is_err());
        assert_eq!(set(StoreLimit::HighWater, 100).unwrap().high_water, 100);
        assert_eq!(change_limits(&socket, None, &most).unwrap().memory, 64 << 20);
        // Whoever operates the site had given more than it was started with: less is let through.
        let down = StoreChange { limit: StoreLimit::Memory, from: 96 << 20, to: 80 << 20 };
        assert!(check_change(down, &most).is_ok());
    }
}
