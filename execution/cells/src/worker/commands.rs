//! What a worker does for its agent.

use super::{
    program::ProgramCell,
    protocol::{
        Checkpointed, Command, Event, Failure, FrameKind, Reply, ServiceStart, ServiceState,
        Started, WorkerStatus,
    },
    server::Connection,
};
use crate::{
    engine::Use,
    error::Error,
    program::{Program, Runtime},
    service::{Arrival, Service, room},
    tissue::{Means, Stepped},
};
use api::tissue::Step;
use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::Thread,
    time::{Duration, Instant},
};
use types::ErrorKind;

/// Between two looks at what is due, at most.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// Between a service's arrival and its first checkpoint here, which needs the cell for some
/// milliseconds: requests that waited for the migration come first. The state that arrived is on
/// disk already.
const FIRST_CHECKPOINT_DELAY: Duration = Duration::from_millis(200);

/// How long a snapshot may wait for a program's barrier point.
const SNAPSHOT_PATIENCE: Duration = Duration::from_secs(20);

/// What a worker holds and does.
pub(crate) struct Worker {
    runtime: Runtime,
    services: RwLock<HashMap<u32, Arc<Service>>>,
    handles: Mutex<HashMap<String, u32>>,
    /// Services that are being made.
    making: Mutex<HashSet<String>>,
    made: Condvar,
    next_handle: AtomicU32,
    /// Services on their way here, by migration.
    arrivals: Mutex<HashMap<String, Arc<Incoming>>>,
    programs: Mutex<HashMap<(types::Digest, bool), Weak<Program>>>,
    cell: Mutex<Option<Arc<ProgramCell>>>,
    agent: Mutex<Option<Arc<Connection>>>,
    orphaned_at: Mutex<Option<Instant>>,
    /// The thread that checkpoints what is due.
    house: OnceLock<Thread>,
    exiting: AtomicBool,
}

/// Somebody makes a service; others wait.
struct Making<'a> {
    worker: &'a Worker,
    uid: String,
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        lock(&self.worker.making).remove(&self.uid);
        self.worker.made.notify_all();
    }
}

/// A service on its way here.
struct Incoming {
    arrival: Arrival,
    aborted: AtomicBool,
    arrived: Mutex<Option<Result<(), Failure>>>,
}

impl Worker {
    pub(super) fn new(runtime: Runtime) -> Self {
        Self {
            runtime,
            services: RwLock::default(),
            handles: Mutex::default(),
            making: Mutex::default(),
            made: Condvar::new(),
            next_handle: AtomicU32::new(1),
            arrivals: Mutex::default(),
            programs: Mutex::default(),
            cell: Mutex::default(),
            agent: Mutex::default(),
            orphaned_at: Mutex::new(Some(Instant::now())),
            house: OnceLock::new(),
            exiting: AtomicBool::new(false),
        }
    }

    /// The service of this handle.
    pub(super) fn service(&self, handle: u32) -> Option<Arc<Service>> {
        self.services.read().unwrap_or_else(PoisonError::into_inner).get(&handle).cloned()
    }

    fn by_uid(&self, uid: &str) -> Result<Arc<Service>, Failure> {
        let handle = lock(&self.handles).get(uid).copied();
        handle.and_then(|handle| self.service(handle)).ok_or_else(|| {
            Failure::new(ErrorKind::NotFound, format!("this worker holds no service `{uid}`"))
        })
    }

    fn all(&self) -> Vec<Arc<Service>> {
        self.services.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Holds a service from now on.
    fn insert(&self, service: &Arc<Service>) {
        lock(&self.handles).insert(service.start.uid.clone(), service.handle);
        let mut services = self.services.write().unwrap_or_else(PoisonError::into_inner);
        services.insert(service.handle, service.clone());
        drop(services);
        room::enter(service);
    }

    fn remove(&self, service: &Service) {
        let mut handles = lock(&self.handles);
        if handles.get(&service.start.uid) == Some(&service.handle) {
            handles.remove(&service.start.uid);
        }
        drop(handles);
        let mut services = self.services.write().unwrap_or_else(PoisonError::into_inner);
        services.remove(&service.handle);
    }

    /// Does what the agent asks.
    pub(super) fn execute(self: &Arc<Self>, command: Command) -> Result<Reply, Failure> {
        match command {
            Command::Hello { .. } | Command::Lane { .. } => {
                Err(Failure::new(ErrorKind::Invalid, "said twice"))
            }
            Command::Start(start) => self.start(*start),
            Command::Stop { uid, checkpoint } => self.stop(&uid, checkpoint),
            Command::Checkpoint { uid } => {
                let written = self.by_uid(&uid)?.checkpoint().map_err(failure)?;
                Ok(Reply::Written(written))
            }
            Command::Prepare { migration, start, listen } => {
                self.prepare(migration, *start, listen)
            }
            Command::Transfer { migration, uid, address, secret } => {
                self.transfer(&migration, &uid, address, &secret)
            }
            Command::Activate { migration } => self.activate(&migration),
            Command::Abort { migration } => self.abort(&migration),
            Command::Release { migration } => self.release(&migration),
            Command::Fence { uid, fenced } => {
                self.by_uid(&uid)?.fence(fenced);
                Ok(Reply::Done)
            }
            Command::Status => Ok(Reply::Status(self.status())),
            Command::Logs { uid, offset, limit } => self.logs(&uid, offset, limit),
            Command::Snapshot { uid, path } => self.snapshot(&uid, &path),
            Command::Run(start) => {
                let cell = ProgramCell::start(self, *start).map_err(failure)?;
                *lock(&self.cell) = Some(cell);
                Ok(Reply::Done)
            }
            Command::Tissue { uid, number, step, listen, files } => {
                let means = Means { uid: &uid, number, listen, files: &files };
                self.tissue(step, &means)
            }
            Command::Grant { uid, cpus } => {
                let cell = lock(&self.cell).clone().filter(|cell| cell.uid() == uid);
                let cell = cell.ok_or_else(|| {
                    let message = format!("this worker runs no program `{uid}`");
                    Failure::new(ErrorKind::NotFound, message)
                })?;
                cell.grant(cpus);
                Ok(Reply::Done)
            }
            Command::Shutdown { checkpoint } => {
                self.shut_down(checkpoint);
                Ok(Reply::Done)
            }
        }
    }

    /// The program of a module; services of one module share it.
    fn program(&self, start: &ServiceStart) -> Result<Arc<Program>, Failure> {
        let pulley = start.engine == api::service::Engine::Pulley;
        let key = (start.digest, pulley);
        if let Some(program) = lock(&self.programs).get(&key).and_then(Weak::upgrade) {
            return Ok(program);
        }
        let program = self
            .runtime
            .load(&start.module, Some(start.digest), Use::Service, start.engine)
            .map_err(failure)?;
        lock(&self.programs).insert(key, Arc::downgrade(&program));
        Ok(program)
    }

    fn next_handle(&self) -> u32 {
        self.next_handle.fetch_add(1, Ordering::Relaxed)
    }

    /// Waits until nobody else makes a service of this name: an agent that died may have begun what
    /// its successor asks for again, and two would write into one folder.
    fn make(&self, uid: &str) -> Making<'_> {
        let mut making = lock(&self.making);
        while !making.insert(uid.to_owned()) {
            making = self.made.wait(making).unwrap_or_else(PoisonError::into_inner);
        }
        Making { worker: self, uid: uid.to_owned() }
    }

    fn start(&self, start: ServiceStart) -> Result<Reply, Failure> {
        let _making = self.make(&start.uid);
        if let Ok(held) = self.by_uid(&start.uid) {
            let life = |start: &ServiceStart| (start.epoch, start.incarnation);
            if !held.has_failed() && life(&held.start) >= life(&start) {
                let text = format!("`{}` is held already", start.name);
                return Err(Failure::new(ErrorKind::AlreadyExists, text));
            }
            lock(&self.arrivals).retain(|_, incoming| {
                let replaced = Arc::ptr_eq(incoming.arrival.service(), &held);
                incoming.aborted.fetch_or(replaced, Ordering::AcqRel);
                !replaced
            });
            held.stop();
            self.remove(&held);
        }
        let program = self.program(&start)?;
        let restored = start.state_folder.join("checkpoint").exists();
        let service =
            Service::open(self.next_handle(), start, program).map_err(failure)?.into_shared();
        self.insert(&service);
        service.serve();
        self.is_due_anew();
        // For the peers: until they have one, they could only begin from the beginning.
        if let Some(written) = service.status().last_checkpoint {
            self.tell(&Event::Checkpointed(written));
        }
        let lost = service.lost().clone();
        Ok(Reply::Started(Started { handle: service.handle, lost, restored }))
    }

    fn stop(&self, uid: &str, checkpoint: bool) -> Result<Reply, Failure> {
        let service = self.by_uid(uid)?;
        let written = if checkpoint && service.is_alive() {
            // No request may be answered behind the checkpoint's back.
            service.fence(true);
            Some(service.checkpoint().map_err(failure)?)
        } else {
            None
        };
        service.stop();
        self.remove(&service);
        Ok(written.map_or(Reply::Done, Reply::Written))
    }

    fn prepare(
        self: &Arc<Self>,
        migration: String,
        start: ServiceStart,
        listen: IpAddr,
    ) -> Result<Reply, Failure> {
        let _making = self.make(&start.uid);
        if self.by_uid(&start.uid).is_ok() {
            let text = format!("`{}` is held already", start.name);
            return Err(Failure::new(ErrorKind::AlreadyExists, text));
        }
        let program = self.program(&start)?;
        let arrival = Arrival::prepare(self.next_handle(), start, program, &migration, listen)
            .map_err(failure)?;
        let door = &arrival.door;
        let (address, secret) = (door.address, door.secret.reveal().to_owned());
        self.insert(arrival.service());
        let incoming = Arc::new(Incoming {
            arrival,
            aborted: AtomicBool::new(false),
            arrived: Mutex::default(),
        });
        lock(&self.arrivals).insert(migration, incoming.clone());
        let worker = self.clone();
        let receive = move || {
            let aborted = || incoming.aborted.load(Ordering::Acquire);
            match incoming.arrival.receive(&aborted) {
                Ok(arrived) => {
                    // Whoever hears of it may activate it at once.
                    *lock(&incoming.arrived) = Some(Ok(()));
                    arrived.acknowledge();
                }
                Err(error) => {
                    let failure = failure(error);
                    tracing::info!(%failure, "a migration did not arrive");
                    worker.remove(incoming.arrival.service());
                    *lock(&incoming.arrived) = Some(Err(failure));
                }
            }
        };
        std::thread::Builder::new()
            .name("arrival".into())
            .spawn(receive)
            .map_err(|error| Failure::new(ErrorKind::Internal, error.to_string()))?;
        Ok(Reply::Prepared { address, secret })
    }

    fn transfer(
        &self,
        migration: &str,
        uid: &str,
        address: SocketAddr,
        secret: &str,
    ) -> Result<Reply, Failure> {
        let service = self.by_uid(uid)?;
        if service.status().state != ServiceState::Serving {
            let text = format!("`{}` is not serving: it cannot be moved now", service.start.name);
            return Err(Failure::new(ErrorKind::Conflict, text));
        }
        service.hand_over(migration, address, secret).map(Reply::Transferred).map_err(failure)
    }

    fn activate(self: &Arc<Self>, migration: &str) -> Result<Reply, Failure> {
        let incoming = lock(&self.arrivals).remove(migration);
        let Some(incoming) = incoming else {
            // Said again after the answer was lost?
            return self
                .in_migration(migration)
                .filter(|service| service.status().state == ServiceState::Serving)
                .map(|service| Reply::Activated { handle: service.handle })
                .ok_or_else(|| unknown(migration));
        };
        let arrived = lock(&incoming.arrived).clone();
        match arrived {
            Some(Ok(())) => {}
            Some(Err(failure)) => return Err(failure),
            None => {
                lock(&self.arrivals).insert(migration.to_owned(), incoming);
                let text = "the state has not arrived whole yet";
                return Err(Failure::new(ErrorKind::Conflict, text));
            }
        }
        let service = incoming.arrival.service().clone();
        service.serve();
        self.is_due_anew();
        let handle = service.handle;
        // Under its own epoch, and for the peers.
        let worker = self.clone();
        let started = std::thread::Builder::new().name("checkpoint".into()).spawn(move || {
            std::thread::sleep(FIRST_CHECKPOINT_DELAY);
            if worker.service(handle).is_some() {
                worker.checkpoint(&service);
            }
        });
        if let Err(error) = started {
            tracing::warn!(%error, "the first checkpoint waits for its turn");
        }
        Ok(Reply::Activated { handle })
    }

    fn in_migration(&self, migration: &str) -> Option<Arc<Service>> {
        self.all().into_iter().find(|service| service.migration().as_deref() == Some(migration))
    }

    fn abort(&self, migration: &str) -> Result<Reply, Failure> {
        if let Some(incoming) = lock(&self.arrivals).remove(migration) {
            incoming.aborted.store(true, Ordering::Release);
            let service = incoming.arrival.service();
            self.remove(service);
            service.leave();
        } else if let Some(service) = self.in_migration(migration) {
            service.resume_here();
        }
        Ok(Reply::Done)
    }

    fn release(&self, migration: &str) -> Result<Reply, Failure> {
        if let Some(service) = self.in_migration(migration) {
            if service.status().state != ServiceState::HandedOver {
                let text = "the service did not leave: it cannot be released";
                return Err(Failure::new(ErrorKind::Conflict, text));
            }
            self.remove(&service);
            service.leave();
        }
        Ok(Reply::Done)
    }

    fn logs(&self, uid: &str, offset: u64, limit: u64) -> Result<Reply, Failure> {
        let limit = limit.min(1 << 20);
        if let Some(cell) = lock(&self.cell).clone().filter(|cell| cell.uid() == uid) {
            let (offset, bytes, ended) = cell.read_log(offset, limit).map_err(failure)?;
            return Ok(Reply::Logs { offset, bytes, ended });
        }
        let service = self.by_uid(uid)?;
        let (offset, bytes) = service.log.read(offset, limit);
        Ok(Reply::Logs { offset, bytes, ended: service.has_failed() })
    }

    fn tissue(&self, step: Step, means: &Means<'_>) -> Result<Reply, Failure> {
        let cell = lock(&self.cell).clone().filter(|cell| cell.uid() == means.uid);
        let unknown = || {
            let text = format!("this worker runs no ranks of `{}`", means.uid);
            Failure::new(ErrorKind::NotFound, text)
        };
        Ok(match cell.ok_or_else(unknown)?.step(step, means).map_err(failure)? {
            Stepped::Done => Reply::Done,
            Stepped::Open { address, secret } => Reply::Prepared { address, secret },
            Stepped::Sent(told) => Reply::Transferred(told),
            Stepped::Written(size_bytes) => {
                let path = means.files.first().cloned().unwrap_or_default();
                Reply::Written(written(means.uid, &path, size_bytes))
            }
        })
    }

    fn snapshot(&self, uid: &str, path: &Path) -> Result<Reply, Failure> {
        if let Some(cell) = lock(&self.cell).clone().filter(|cell| cell.uid() == uid) {
            let size = cell.snapshot(path, SNAPSHOT_PATIENCE).map_err(failure)?;
            return Ok(Reply::Written(written(uid, path, size)));
        }
        let size = self.by_uid(uid)?.snapshot_to(path).map_err(failure)?;
        Ok(Reply::Written(written(uid, path, size)))
    }

    /// What it holds.
    pub(super) fn status(&self) -> WorkerStatus {
        WorkerStatus {
            pid: std::process::id(),
            services: self.all().iter().map(|service| service.status()).collect(),
            cell: lock(&self.cell).as_ref().map(|cell| cell.status()),
        }
    }

    /// An agent has shown the token; an earlier one is heard no longer.
    pub(super) fn adopted(&self, connection: &Arc<Connection>) {
        *lock(&self.agent) = Some(connection.clone());
        *lock(&self.orphaned_at) = None;
    }

    /// A connection ended.
    pub(super) fn orphaned(&self, connection: &Arc<Connection>) {
        let mut agent = lock(&self.agent);
        if agent.as_ref().is_some_and(|agent| Arc::ptr_eq(agent, connection)) {
            *agent = None;
            *lock(&self.orphaned_at) = Some(Instant::now());
        }
    }

    /// Tells the agent, if there is one.
    pub(super) fn tell(&self, event: &Event) {
        let agent = lock(&self.agent).clone();
        if let Some(agent) = agent {
            agent.send(FrameKind::Event, 0, event);
        }
    }

    fn checkpoint(&self, service: &Arc<Service>) {
        let before = service.status().last_checkpoint;
        match service.checkpoint() {
            Ok(written) if before.as_ref() != Some(&written) => {
                self.tell(&Event::Checkpointed(written));
            }
            Ok(_) => {}
            Err(_) if !service.is_alive() => {}
            Err(error) => {
                let error = types::chain(&error);
                tracing::warn!(service = service.start.name, error, "a checkpoint failed");
            }
        }
    }

    /// Checkpoints what is due, reports failures, and ends a worker without an agent.
    pub(super) fn keep_house(self: Arc<Self>, exit_without_agent_after: Duration) {
        let worker = self.clone();
        let keep = move || {
            let mut due: HashMap<u32, Instant> = HashMap::new();
            let mut failed: HashMap<u32, ()> = HashMap::new();
            loop {
                std::thread::park_timeout(self.round(&mut due, &mut failed));
                let orphaned = *lock(&self.orphaned_at);
                if orphaned.is_some_and(|since| since.elapsed() > exit_without_agent_after) {
                    tracing::warn!("no agent has come back: checkpointing and exiting");
                    self.shut_down(true);
                    self.exit_if_asked();
                }
            }
        };
        let started = std::thread::Builder::new().name("house".into()).spawn(keep);
        let thread = started.expect("the system gives a thread at start").thread().clone();
        // Nobody else sets it.
        let _ = worker.house.set(thread);
    }

    /// A service began: its checkpoints are due from now on, not from the next look.
    fn is_due_anew(&self) {
        if let Some(house) = self.house.get() {
            house.unpark();
        }
    }

    /// Does what is due; how long nothing will be.
    fn round(
        self: &Arc<Self>,
        due: &mut HashMap<u32, Instant>,
        failed: &mut HashMap<u32, ()>,
    ) -> Duration {
        let now = Instant::now();
        let mut next = now + HOUSEKEEPING;
        let services = self.all();
        due.retain(|handle, _| services.iter().any(|service| service.handle == *handle));
        for service in services {
            let status = service.status();
            if status.state == ServiceState::Failed && failed.insert(service.handle, ()).is_none() {
                self.tell(&Event::Failed { uid: status.uid, message: status.message });
            }
            if status.state != ServiceState::Serving {
                continue;
            }
            let every = service.start.checkpoint_every;
            let at = due.entry(service.handle).or_insert(now + every);
            if *at <= now {
                self.checkpoint(&service);
                *at = Instant::now() + every;
            }
            next = next.min(*at);
        }
        next.saturating_duration_since(Instant::now()).max(Duration::from_millis(5))
    }

    /// Ends everything; the process ends once the reply is out.
    fn shut_down(&self, checkpoint: bool) {
        for service in self.all() {
            let uid = service.start.uid.clone();
            // A service between two workers is not ours to save.
            let checkpoint = checkpoint && service.status().state == ServiceState::Serving;
            if let Err(failure) = self.stop(&uid, checkpoint) {
                tracing::warn!(service = service.start.name, %failure, "not stopped cleanly");
            }
        }
        self.exiting.store(true, Ordering::Release);
    }

    pub(super) fn exit_if_asked(&self) {
        if self.exiting.load(Ordering::Acquire) {
            std::process::exit(0);
        }
    }

    /// How this worker makes modules ready.
    pub(super) fn runtime(&self) -> &Runtime {
        &self.runtime
    }
}

/// A snapshot that was written.
fn written(uid: &str, path: &Path, size_bytes: u64) -> Checkpointed {
    Checkpointed {
        uid: uid.to_owned(),
        epoch: types::Epoch(0),
        incarnation: 0,
        sequence: 0,
        path: path.to_owned(),
        size_bytes,
        at: 0,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The error as the agent gets it.
pub(super) fn failure(error: Error) -> Failure {
    Failure::new(error.kind(), types::chain(&error))
}

fn unknown(migration: &str) -> Failure {
    Failure::new(ErrorKind::NotFound, format!("this worker knows no migration `{migration}`"))
}
