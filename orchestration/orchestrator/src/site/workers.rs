//! Supervision of worker processes: one at a time for each tenant and for each cell of `run`.

use super::{
    Config, Error,
    core::{Core, retry_pause},
    error::Result,
    groups::{self, WorkerGroups},
    process::{Process, Spawn, Usage},
};
use cells::worker::{
    Client,
    protocol::{Command, Event, Failure, Reply, WorkerStatus},
};
use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{Mutex as AsyncMutex, OwnedMutexGuard, mpsc},
    time::{Instant, sleep, sleep_until, timeout},
};
use types::{ErrorKind, Token};

/// How long a new worker may take to listen.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a worker that closed its socket may take to end.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a worker may take to shut down, checkpoints included.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(30);

/// A worker that cannot be adopted exits by itself 60 s after its agent is gone.
const ALIEN_TIMEOUT: Duration = Duration::from_secs(75);

/// A worker that lived this long did not fail at its start.
const STEADY: Duration = Duration::from_secs(10);

/// How often a worker is asked what it holds.
const STATUS_PERIOD: Duration = Duration::from_secs(2);

/// Whose worker.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum WorkerId {
    /// All services of a tenant.
    Tenant(String),
    /// One cell of `run`.
    Cell(String),
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tenant(tenant) => write!(f, "t-{tenant}"),
            Self::Cell(uid) => write!(f, "c-{uid}"),
        }
    }
}

impl WorkerId {
    fn from_stem(stem: &str) -> Option<Self> {
        let (kind, name) = stem.split_once('-')?;
        types::check_name(name).ok()?;
        match kind {
            "t" => Some(Self::Tenant(name.to_owned())),
            "c" => Some(Self::Cell(name.to_owned())),
            _ => None,
        }
    }
}

/// All workers of the site.
#[derive(Debug)]
pub(crate) struct Workers {
    folder: PathBuf,
    pub(super) groups: WorkerGroups,
    slots: Mutex<BTreeMap<WorkerId, Arc<AsyncMutex<Slot>>>>,
}

/// The place of one worker. Whoever holds its lock alone decides whether a process runs there.
#[derive(Debug, Default)]
struct Slot {
    up: Option<Running>,
    /// Short lives in a row.
    failures: u32,
    retry_at: Option<Instant>,
}

#[derive(Debug)]
struct Running {
    client: Client,
    process: Arc<Process>,
    since: Instant,
}

/// A worker that was just connected.
struct Connected {
    client: Client,
    status: WorkerStatus,
    events: mpsc::Receiver<Event>,
    process: Process,
}

impl Workers {
    pub(crate) fn open(config: &Config) -> Result<Self> {
        let folder = config.data_dir.join("workers");
        fs::create_dir_all(&folder)
            .map_err(|source| Error::Disk { path: folder.clone(), source })?;
        Ok(Self { folder, groups: WorkerGroups::open(config)?, slots: Mutex::default() })
    }

    fn slot(&self, id: &WorkerId) -> Arc<AsyncMutex<Slot>> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.entry(id.clone()).or_default().clone()
    }

    /// The place, taken. It may have been forgotten while we waited: then it is another one's.
    async fn take(&self, id: &WorkerId) -> OwnedMutexGuard<Slot> {
        loop {
            let slot = self.slot(id);
            let taken = slot.clone().lock_owned().await;
            if Arc::ptr_eq(&slot, &self.slot(id)) {
                return taken;
            }
        }
    }

    /// The tenants and cells that have a place, whether or not a worker is there.
    pub(crate) fn ids(&self) -> Vec<WorkerId> {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.keys().cloned().collect()
    }

    /// What a worker's process uses; nothing while somebody starts or ends it.
    pub(crate) fn usage(&self, id: &WorkerId) -> Option<Usage> {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.get(id)?.try_lock().ok()?;
        Usage::of(slot.up.as_ref()?.process.pid)
    }

    fn path(&self, id: &WorkerId, extension: &str) -> PathBuf {
        self.folder.join(format!("{id}.{extension}"))
    }

    /// Forgets the place of a worker that is gone for good.
    fn forget(&self, id: &WorkerId) {
        for extension in ["sock", "token", "pid", "log", "log.1"] {
            // Some are not there.
            let _ = fs::remove_file(self.path(id, extension));
        }
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
}

fn socket(folder: &Path, id: &WorkerId) -> PathBuf {
    folder.join(format!("{id}.sock"))
}

/// Connects to the workers that outlived the last agent. Their places are taken when this
/// returns; the connections are made meanwhile.
pub(crate) fn adopt_all(core: &Arc<Core>) {
    let entries = fs::read_dir(&core.workers.folder).into_iter().flatten().flatten();
    let mut ids: Vec<_> = entries
        .filter_map(|entry| {
            let name = entry.file_name();
            WorkerId::from_stem(name.to_str()?.strip_suffix(".sock")?)
        })
        .collect();
    ids.sort();
    for id in ids {
        let Ok(slot) = core.workers.slot(&id).try_lock_owned() else { continue };
        let adopting = core.clone();
        core.spawn(async move { adopt(&adopting, id, slot).await });
    }
}

async fn adopt(core: &Arc<Core>, id: WorkerId, mut slot: OwnedMutexGuard<Slot>) {
    let process = Process::from_file(&core.workers.path(&id, "pid"));
    let token = Token::load(&core.workers.path(&id, "token"));
    let socket = socket(&core.workers.folder, &id);
    let started = Instant::now();
    let hung = loop {
        let Ok(token) = &token else { break false };
        let connecting = Client::connect(&socket, token);
        match timeout(core.config.limits.worker_silence, connecting).await {
            Ok(Ok((client, status, events))) => {
                let process = process.filter(|process| process.pid == status.pid);
                let process = process.map_or_else(|| Process::open(status.pid), Ok);
                match process {
                    Ok(process) => {
                        tracing::info!(worker = %id, pid = process.pid, "adopted a worker");
                        let _ = groups::enter(core, &id, process.pid).await;
                        let connected = Connected { client, status, events, process };
                        take_over(core, &id, &mut slot, connected);
                        return;
                    }
                    Err(error) => {
                        tracing::warn!(worker = %id, %error, "a worker's process cannot be watched");
                        return;
                    }
                }
            }
            Ok(Err(failure)) => {
                tracing::debug!(worker = %id, %failure, "no worker to adopt");
                let ended = match &process {
                    Some(process) => process.ended_within(Duration::from_millis(20)).await,
                    None => true,
                };
                if ended || started.elapsed() > END_TIMEOUT {
                    break false;
                }
            }
            Err(_) => break true,
        }
    };
    if let Some(process) = process {
        // One of another version checkpoints and exits by itself; one that hangs does not.
        if !hung {
            let pid = process.pid;
            tracing::warn!(worker = %id, pid, "a worker cannot be adopted: waiting for its exit");
        }
        if hung || !process.ended_within(ALIEN_TIMEOUT).await {
            process.kill().await;
        }
    }
    gone(core, &id);
    core.kick.notify_one();
}

/// The worker's client; starts the worker if need be, once the one before it is gone for certain.
pub(crate) async fn ensure(
    core: &Arc<Core>,
    id: &WorkerId,
) -> std::result::Result<Client, Failure> {
    let mut slot = core.workers.take(id).await;
    if let Some(running) = &slot.up
        && !running.client.is_closed()
    {
        return Ok(running.client.clone());
    }
    bury(core, id, &mut slot).await;
    if let Some(retry_at) = slot.retry_at.take() {
        sleep_until(retry_at).await;
    }
    match start(core, id).await {
        Ok(connected) => {
            let client = connected.client.clone();
            take_over(core, id, &mut slot, connected);
            Ok(client)
        }
        Err(failure) => {
            slot.failures = slot.failures.saturating_add(1);
            slot.retry_at = Some(Instant::now() + retry_pause(slot.failures));
            Err(failure)
        }
    }
}

/// Makes certain that the worker's process is gone.
async fn bury(core: &Arc<Core>, id: &WorkerId, slot: &mut Slot) {
    let Some(running) = slot.up.take() else { return };
    if !running.process.ended_within(END_TIMEOUT).await {
        running.process.kill().await;
    }
    slot.failures = if running.since.elapsed() > STEADY { 0 } else { slot.failures + 1 };
    slot.retry_at = Some(Instant::now() + retry_pause(slot.failures.saturating_sub(1)));
    core.metrics.worker_deaths.inc();
    gone(core, id);
}

async fn start(core: &Arc<Core>, id: &WorkerId) -> std::result::Result<Connected, Failure> {
    let workers = &core.workers;
    let unavailable = |why: String| {
        Failure::new(ErrorKind::Unavailable, format!("cannot start the worker `{id}`: {why}"))
    };
    // Nothing of an earlier worker may answer in its place.
    for extension in ["sock", "token", "pid"] {
        let _ = fs::remove_file(workers.path(id, extension));
    }
    let (socket, token_file) = (socket(&workers.folder, id), workers.path(id, "token"));
    let token =
        Token::load_or_create(&token_file).map_err(|error| unavailable(types::chain(&error)))?;
    let data = core.config.data_dir.join("worker-data");
    let spawn = Spawn {
        program: &core.config.worker_program,
        args: &core.config.worker_args,
        socket: &socket,
        token: &token_file,
        data: &data,
        log: workers.path(id, "log"),
    };
    let spawned = fs::create_dir_all(&data).and_then(|()| spawn.start());
    let (mut child, process) = spawned.map_err(|error| {
        let program = core.config.worker_program.display();
        unavailable(format!("`{program}`: {error}"))
    })?;
    // Reaps it, whenever that is.
    tokio::spawn(async move { child.wait().await });
    process.to_file(&workers.path(id, "pid")).map_err(|error| unavailable(error.to_string()))?;
    tracing::info!(worker = %id, pid = process.pid, "started a worker");
    let entered = groups::enter(core, id, process.pid);

    let deadline = Instant::now() + START_TIMEOUT;
    let mut pause = Duration::from_millis(1);
    loop {
        let connecting = Client::connect(&socket, &token);
        let failure = match timeout(START_TIMEOUT, connecting).await {
            Ok(Ok((client, status, events))) => {
                let _ = entered.await;
                return Ok(Connected { client, status, events, process });
            }
            Ok(Err(failure)) => failure.message,
            Err(_) => "it does not answer".to_owned(),
        };
        if process.ended_within(pause).await {
            let log = workers.path(id, "log");
            return Err(unavailable(format!("it ended at once: see `{}`", log.display())));
        }
        if Instant::now() > deadline {
            process.kill().await;
            return Err(unavailable(failure));
        }
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

fn take_over(core: &Arc<Core>, id: &WorkerId, slot: &mut Slot, connected: Connected) {
    let Connected { client, status, events, process } = connected;
    let process = Arc::new(process);
    // A start that crashed before it could write it leaves no file.
    if let Err(error) = process.to_file(&core.workers.path(id, "pid")) {
        tracing::warn!(worker = %id, %error, "cannot note a worker's process");
    }
    slot.up =
        Some(Running { client: client.clone(), process: process.clone(), since: Instant::now() });
    match id {
        WorkerId::Tenant(tenant) => {
            core.update_all(|inner| inner.clients.insert(tenant.clone(), client.clone()));
            super::services::adopt_status(core, tenant, &status, None);
        }
        WorkerId::Cell(uid) => super::runs::adopt_status(core, uid, &status),
    }
    let (watching, id) = (core.clone(), id.clone());
    core.spawn(async move { watch(&watching, &id, &client, events, &process).await });
}

/// Hears what the worker says until it is gone.
async fn watch(
    core: &Arc<Core>,
    id: &WorkerId,
    client: &Client,
    mut events: mpsc::Receiver<Event>,
    process: &Process,
) {
    let mut ask_at = Instant::now() + STATUS_PERIOD;
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Some(event) => super::services::on_event(core, event),
                None => break,
            },
            () = sleep_until(ask_at) => {
                if !ask_status(core, id, client).await {
                    tracing::warn!(worker = %id, pid = process.pid, "a worker hangs and is killed");
                    process.kill().await;
                    break;
                }
                ask_at = Instant::now() + STATUS_PERIOD;
            }
        }
    }
    tracing::warn!(worker = %id, pid = process.pid, "a worker is gone");
    gone(core, id);
    let mut slot = core.workers.take(id).await;
    // A successor may be there by now.
    if slot.up.as_ref().is_some_and(|running| running.process.pid == process.pid) {
        bury(core, id, &mut slot).await;
    }
    drop(slot);
    core.kick.notify_one();
}

/// Whether the worker answered.
async fn ask_status(core: &Arc<Core>, id: &WorkerId, client: &Client) -> bool {
    let WorkerId::Tenant(tenant) = id else { return true };
    let before = core.read(|inner| {
        inner.live.iter().map(|(uid, live)| (uid.clone(), (live.claims, live.busy))).collect()
    });
    match timeout(core.config.limits.worker_silence, client.command(&Command::Status)).await {
        Ok(Ok(Reply::Status(status))) => {
            super::services::adopt_status(core, tenant, &status, Some(&before));
        }
        Ok(Ok(_) | Err(_)) => {}
        Err(_) => return false,
    }
    true
}

/// Nobody may count on the worker any more.
fn gone(core: &Arc<Core>, id: &WorkerId) {
    match id {
        WorkerId::Tenant(tenant) => super::services::worker_gone(core, tenant),
        WorkerId::Cell(uid) => super::runs::worker_gone(core, uid),
    }
}

/// Ends a worker, unless `keep` says, once nobody else can start one, that it is needed.
pub(crate) async fn stop(
    core: &Arc<Core>,
    id: &WorkerId,
    checkpoint: bool,
    keep: impl FnOnce() -> bool,
) {
    let mut slot = core.workers.take(id).await;
    if keep() {
        return;
    }
    if let Some(running) = slot.up.take() {
        let shutdown = Command::Shutdown { checkpoint };
        // It may end before it has replied.
        let _ = timeout(SHUTDOWN_TIMEOUT, running.client.command(&shutdown)).await;
        if !running.process.ended_within(SHUTDOWN_TIMEOUT).await {
            running.process.kill().await;
        }
    } else if let Some(process) = Process::from_file(&core.workers.path(id, "pid")) {
        // Whoever started it or would adopt it was interrupted: nobody else would end it.
        process.kill().await;
    }
    groups::leave(core, id).await;
    core.workers.forget(id);
    gone(core, id);
}

/// Waits a little before what failed is tried again.
pub(crate) async fn breathe() {
    sleep(Duration::from_millis(200)).await;
}

/// The worker's client, if one runs.
pub(crate) async fn running(core: &Arc<Core>, id: &WorkerId) -> Option<Client> {
    let known = core.workers.ids().contains(id);
    let slot = if known { Some(core.workers.take(id).await) } else { None };
    let client = slot?.up.as_ref().map(|running| running.client.clone())?;
    Some(client).filter(|client| !client.is_closed())
}
