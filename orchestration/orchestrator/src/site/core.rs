//! What all parts of an agent share: what it remembers and holds, and who works on what.

use super::{
    Config,
    checkpoints::Checkpoints,
    error::Result,
    http::Http,
    ingress::{Gate, Route, Routes, Target},
    lease::{BootClock, Lease},
    losses,
    metrics::Metrics,
    modules::Modules,
    pages::Pages,
    plan::{self, Live, Phase, Up, Verdict, View},
    reach::Reach,
    state::{Progress, Record, State, StateFile},
    store::Store,
    workers::{WorkerId, Workers},
};
use api::{
    Problem,
    link::{Assignment, Held, HeldCell, HeldState, Tail},
};
use cells::worker::{Client, protocol::Failure};
use hyper::header::HeaderValue;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Mutex as AsyncMutex, Notify, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use types::{Bytes, Clock, ErrorKind};

/// Most services that start at once; the others wait.
const STARTS_MAX: usize = 64;

/// Longest pause between two tries to start what failed.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// What served this long has not failed at its start.
const STEADY: Duration = Duration::from_secs(10);

/// Pause after the second failure in a row; the first is mended at once.
const RETRY_MIN: Duration = Duration::from_millis(200);

/// What all parts of an agent share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) ingress: SocketAddr,
    pub(crate) peers: SocketAddr,
    pub(crate) clock: BootClock,
    pub(crate) lease: Lease,
    pub(crate) routes: Routes,
    pub(crate) workers: Workers,
    pub(crate) reach: Reach,
    pub(crate) http: Http,
    pub(crate) modules: Modules,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) metrics: Metrics,
    pub(crate) pages: Pages,
    pub(crate) store: Option<Store>,
    pub(crate) connected: AtomicBool,
    /// Lets only so many services start at once.
    pub(crate) starts: Semaphore,
    inner: Mutex<Inner>,
    file: Arc<StateFile>,
    /// The version of the state that the disk has.
    written: Arc<AsyncMutex<u64>>,
    /// Something may have to be done.
    pub(crate) kick: Notify,
    /// The control plane should hear of it.
    pub(crate) changed: Notify,
    /// Other sites may lack copies of this one's checkpoints.
    pub(crate) copies_due: Notify,
    /// Somebody is done with a service.
    released: Notify,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
}

/// What it remembers and holds.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) state: State,
    pub(crate) live: BTreeMap<String, Live>,
    /// Workers of tenants that can be asked now.
    pub(crate) clients: BTreeMap<String, Client>,
    version: u64,
}

impl Inner {
    /// The service's entry, made if need be.
    pub(crate) fn live(&mut self, uid: &str) -> &mut Live {
        self.live.entry(uid.to_owned()).or_default()
    }
}

impl Core {
    pub(crate) fn open(
        config: Config,
        (file, state): (StateFile, State),
        ingress: SocketAddr,
        peers: SocketAddr,
    ) -> Result<Self> {
        let reach = Reach::new(&config)?;
        reach.meet(&state.desired.peers);
        let http = Http::new(&config, &reach);
        let core = Self {
            ingress,
            peers,
            clock: BootClock,
            lease: Lease::default(),
            routes: Routes::default(),
            workers: Workers::open(&config)?,
            modules: Modules::open(&config, http.clone())?,
            checkpoints: Checkpoints::open(&config, http.clone(), reach.scheme())?,
            http,
            reach,
            metrics: Metrics::default(),
            pages: Pages::default(),
            store: Store::open(&config)?,
            connected: AtomicBool::new(false),
            starts: Semaphore::new(STARTS_MAX),
            inner: Mutex::new(Inner {
                state,
                live: BTreeMap::new(),
                clients: BTreeMap::new(),
                version: 1,
            }),
            file: Arc::new(file),
            written: Arc::default(),
            kick: Notify::new(),
            changed: Notify::new(),
            copies_due: Notify::new(),
            released: Notify::new(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            config,
        };
        core.publish_all();
        Ok(core)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks without changing anything.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&Inner) -> T) -> T {
        look(&self.lock())
    }

    /// Changes what concerns one service; its requests are treated accordingly at once.
    pub(crate) fn update<T>(&self, uid: &str, change: impl FnOnce(&mut Inner) -> T) -> T {
        let mut inner = self.lock();
        let result = change(&mut inner);
        inner.version += 1;
        self.publish(&inner, uid);
        drop(inner);
        self.kick.notify_one();
        self.changed.notify_one();
        result
    }

    /// Changes anything.
    pub(crate) fn update_all<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        let mut inner = self.lock();
        let result = change(&mut inner);
        inner.version += 1;
        drop(inner);
        self.publish_all();
        self.kick.notify_one();
        self.changed.notify_one();
        result
    }

    /// Changes figures that decide nothing.
    pub(crate) fn note<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        change(&mut self.lock())
    }

    /// Starts a task that ends with the agent.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = task => {}
            }
        });
    }

    /// Returns once the disk has all that was changed before the call. Callers that come together
    /// share one write.
    pub(crate) async fn persist(&self) -> std::result::Result<(), Failure> {
        let needed = self.read(|inner| inner.version);
        let mut written = self.written.clone().lock_owned().await;
        if *written >= needed {
            return Ok(());
        }
        let (version, state) = self.read(|inner| (inner.version, serde_json::to_vec(&inner.state)));
        let internal = |why: String| {
            let message = format!("cannot remember the site's state: {why}");
            Failure::new(ErrorKind::Internal, message)
        };
        let bytes = state.map_err(|error| internal(error.to_string()))?;
        let file = self.file.clone();
        // The lock goes along: a caller that gives up must not let the next writer in too early.
        let write = tokio::task::spawn_blocking(move || {
            file.write(&bytes)?;
            *written = version;
            Ok::<_, std::io::Error>(())
        });
        let outcome = write.await.map_err(|error| internal(error.to_string()))?;
        outcome.map_err(|error| internal(error.to_string()))
    }

    /// Takes a service or cell for oneself, unless somebody works on it.
    pub(crate) fn try_claim(self: &Arc<Self>, uid: &str) -> Option<Claim> {
        let mut inner = self.lock();
        let live = inner.live(uid);
        if live.busy {
            return None;
        }
        live.busy = true;
        live.claims += 1;
        Some(Claim { core: self.clone(), uid: uid.to_owned() })
    }

    /// Takes a service or cell for oneself once nobody works on it.
    pub(crate) async fn claim(self: &Arc<Self>, uid: &str) -> Claim {
        loop {
            let released = self.released.notified();
            let mut released = std::pin::pin!(released);
            released.as_mut().enable();
            if let Some(claim) = self.try_claim(uid) {
                return claim;
            }
            released.await;
        }
    }

    fn publish_all(&self) {
        let inner = self.lock();
        let uids = inner.state.records.keys().chain(inner.state.moved.keys());
        for uid in uids {
            self.publish(&inner, uid);
        }
    }

    /// Lets the ingress treat a service's requests as its state demands.
    fn publish(&self, inner: &Inner, uid: &str) {
        let record = inner.state.records.get(uid);
        let moved = inner.state.moved.get(uid);
        let idle = Live::default();
        let live = inner.live.get(uid).unwrap_or(&idle);
        let verdict = plan::gate(record, live, moved, self.lease_holds(), self.wall_ms());
        let assignment = record.map(|r| &r.assignment).or(moved.map(|m| &m.assignment));
        let (Some(verdict), Some(assignment)) = (verdict, assignment) else {
            return self.routes.remove(uid);
        };
        let gate = match verdict {
            Verdict::Serve { handle, lease_bound } => {
                match (inner.clients.get(&assignment.tenant), live.up()) {
                    (Some(client), Some(up)) => Gate::Serve(Target {
                        client: client.clone(),
                        handle,
                        epoch: up.epoch.0.into(),
                        incarnation: HeaderValue::from(up.incarnation),
                        lease_bound,
                    }),
                    _ => Gate::Wait("its worker is starting"),
                }
            }
            Verdict::Wait(reason) => Gate::Wait(reason),
            Verdict::Refuse(reason) => Gate::Refuse(reason),
            Verdict::Forward(to) => Gate::Forward(to),
            Verdict::Moved(to) => Gate::Moved(to),
        };
        let max_body = assignment.spec.max_body.0;
        let route = Route { gate, max_body, timeout: assignment.spec.request_timeout.0 };
        let Assignment { tenant, name, .. } = assignment;
        self.routes.set(uid, tenant, name, record.is_some(), route);
    }

    pub(crate) fn lease_holds(&self) -> bool {
        self.lease.holds(self.clock.monotonic())
    }

    pub(crate) fn wall_ms(&self) -> u64 {
        u64::try_from(self.clock.wall().as_millis()).unwrap_or(u64::MAX)
    }

    /// What a decision is made of, now.
    pub(crate) fn view<T>(&self, look: impl FnOnce(&View<'_>) -> T) -> T {
        let now = self.clock.monotonic();
        let lease_holds = self.lease.holds(now);
        self.read(|inner| look(&View { state: &inner.state, live: &inner.live, lease_holds, now }))
    }

    /// A service could not be started, or cannot go on.
    pub(crate) fn failed(&self, uid: &str, message: String, in_worker: bool) {
        let now = self.clock.monotonic();
        self.update(uid, |inner| {
            let live = inner.live(uid);
            if live.up().is_some() && now > live.up_since + STEADY {
                live.attempts = 0;
            }
            let retry_at = now + retry_pause(live.attempts);
            live.attempts = live.attempts.saturating_add(1);
            live.phase = Phase::Failed { message, retry_at, in_worker };
        });
    }

    /// A worker takes the service's requests.
    pub(crate) fn is_up(&self, uid: &str, tenant: &str, up: Up) {
        let now = self.clock.monotonic();
        self.update(uid, |inner| {
            let live = inner.live(uid);
            live.phase = Phase::Up(up);
            live.up_since = now;
            live.tenant = tenant.to_owned();
        });
    }

    /// The folder that holds a service's state.
    pub(crate) fn state_folder(&self, uid: &str) -> PathBuf {
        self.config.data_dir.join("services").join(uid)
    }

    /// What the control plane is told of the services.
    pub(crate) fn held(&self) -> Vec<Held> {
        let lease_holds = self.lease_holds();
        let wall_ms = self.wall_ms();
        let idle = Live::default();
        let queues = self.routes.all();
        let answers: BTreeMap<&String, _> =
            queues.iter().map(|queue| (&queue.uid, queue.counters.answers())).collect();
        self.read(|inner| {
            let records = inner.state.records.iter().map(|(uid, record)| {
                let live = inner.live.get(uid).unwrap_or(&idle);
                let mut held = held(record, live, lease_holds);
                held.answers = answers.get(uid).copied().unwrap_or_default();
                held.page = self.pages.problem(uid);
                // It was here once before.
                held.lost
                    .extend(inner.state.moved.get(uid).into_iter().flat_map(|m| m.lost.clone()));
                held
            });
            let forwarding = inner
                .state
                .moved
                .iter()
                .filter(|(uid, _)| !inner.state.records.contains_key(*uid))
                .filter(|(_, moved)| moved.forward_until_ms > wall_ms)
                .map(|(uid, moved)| {
                    let state = (HeldState::Forwarding, String::new());
                    let mut held = held_as(&moved.assignment, 0, state, &idle, moved.lost.clone());
                    // It goes on from there when the service comes back.
                    held.answers = answers.get(uid).copied().unwrap_or_default();
                    held
                });
            records.chain(forwarding).collect()
        })
    }

    /// What the control plane is told of epochs that were given up.
    pub(crate) fn tails(&self) -> Vec<Tail> {
        self.read(|inner| losses::window(&inner.state.tails))
    }

    /// What the control plane is told of the cells of `run`.
    pub(crate) fn held_cells(&self) -> Vec<HeldCell> {
        self.read(|inner| {
            let told = |(uid, cell): (&String, &super::state::CellRecord)| {
                let used = self.workers.usage(&WorkerId::Cell(uid.clone())).unwrap_or_default();
                let (exit_code, error, lost) = match &cell.progress {
                    Progress::Ended { exit_code, error, lost } => {
                        (*exit_code, error.clone(), *lost)
                    }
                    Progress::New | Progress::Started => (None, None, false),
                };
                HeldCell {
                    uid: uid.clone(),
                    exit_code,
                    error,
                    cpus: cell.granted,
                    cpu_us: used.cpu_us,
                    memory: Bytes(used.memory_bytes),
                    incarnation: cell.assignment.incarnation,
                    lost,
                }
            };
            inner.state.cells.iter().map(told).collect()
        })
    }
}

fn held(record: &Record, live: &Live, lease_holds: bool) -> Held {
    let state = plan::held_state(record, live, lease_holds);
    let held = held_as(&record.assignment, record.incarnation, state, live, record.lost.clone());
    Held { started_from: record.started_from, ..held }
}

fn held_as(
    assignment: &Assignment,
    incarnation: u32,
    (state, message): (HeldState, String),
    live: &Live,
    lost: Vec<api::service::Lost>,
) -> Held {
    Held {
        tenant: assignment.tenant.clone(),
        name: assignment.name.clone(),
        uid: assignment.uid.clone(),
        epoch: assignment.epoch,
        incarnation,
        state,
        message,
        requests_answered: live.requests_answered,
        cpu_us: live.cpu_us,
        last_checkpoint: live.last_checkpoint.as_ref().map(|written| written.at),
        lost,
        memory: Bytes(live.memory_bytes),
        started_from: None,
        answers: api::link::Answers::default(),
        page: None,
    }
}

/// None at first, then it doubles with every failure in a row.
pub(crate) fn retry_pause(attempts: u32) -> Duration {
    let Some(doublings) = attempts.checked_sub(1) else { return Duration::ZERO };
    RETRY_MIN.saturating_mul(1 << doublings.min(16)).min(RETRY_MAX)
}

/// The right to work on a service or cell; nobody else does meanwhile.
#[derive(Debug)]
pub(crate) struct Claim {
    core: Arc<Core>,
    uid: String,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.core.update(&self.uid, |inner| {
            let live = inner.live(&self.uid);
            live.busy = false;
            let known = inner.state.records.contains_key(&self.uid)
                || inner.state.cells.contains_key(&self.uid);
            let idle = inner.live.get(&self.uid).is_some_and(|live| live.phase == Phase::Down);
            if !known && idle {
                inner.live.remove(&self.uid);
            }
        });
        self.core.released.notify_waiters();
    }
}

/// A worker's failure as the control plane hears it.
pub(crate) fn problem(failure: Failure) -> Problem {
    Problem::new(failure.kind, failure.message)
}

/// Whether the control plane is connected now.
pub(crate) fn is_connected(core: &Core) -> bool {
    core.connected.load(Ordering::Acquire)
}
