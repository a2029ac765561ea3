//! Steps on one service: started, fenced, replaced, dropped.

use super::{
    core::Core,
    folder, losses,
    plan::{Action, Phase, Up, may_serve},
    state::{Record, Role},
    store,
    workers::{self, WorkerId, breathe},
};
use api::{link::Assignment, onnx::OnnxModel, service::OnSiteLost};
use cells::{
    ModelFile,
    limits::Limits,
    worker::{
        Client, Objects,
        protocol::{
            Command, Event, Failure, Reply, ServiceStart, ServiceState, ServiceStatus, WorkerStatus,
        },
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use types::{Clock, ErrorKind};

/// Bytes of a service's output that are kept.
const OUTPUT_BYTES: u64 = 1 << 20;

/// Takes one step; the caller holds the claim on the service or cell.
pub(crate) async fn act(core: &Arc<Core>, action: Action) {
    tracing::debug!(?action, "acting");
    match action {
        Action::Begin(assignment) => begin(core, *assignment).await,
        Action::Start(uid) => start(core, &uid).await,
        Action::Supersede(assignment) => supersede(core, *assignment).await,
        Action::Fence(uid, fenced) => fence(core, &uid, fenced).await,
        Action::Activate(uid) => {
            let migration = core.read(|inner| {
                let record = inner.state.records.get(&uid)?;
                let known = record.role.migration().map(str::to_owned);
                known.or_else(|| inner.live.get(&uid)?.up()?.migration.clone())
            });
            if let Err(failure) = activate(core, &uid, migration.unwrap_or_default()).await {
                tracing::warn!(uid, %failure, "cannot activate what was prepared");
                breathe().await;
            }
        }
        Action::Resume(uid) => {
            let known = core.read(|inner| inner.live.get(&uid)?.up()?.migration.clone());
            if let Err(failure) = resume(core, &uid, known.unwrap_or_default()).await {
                tracing::warn!(uid, %failure, "cannot serve on what was handed over");
                breathe().await;
            }
        }
        Action::Drop(uid) => drop_service(core, &uid).await,
        Action::Evict(uid) => evict(core, &uid).await,
        Action::Grant(uid) => super::runs::grant(core, &uid).await,
        Action::Run(uid) => super::runs::run(core, &uid).await,
        Action::End(uid) => super::runs::end(core, &uid).await,
    }
}

/// The tenant's worker, if it can be asked now.
pub(crate) fn client_of(core: &Core, tenant: &str) -> Option<Client> {
    core.read(|inner| inner.clients.get(tenant).cloned())
}

pub(crate) fn record_of(core: &Core, uid: &str) -> Option<Record> {
    core.read(|inner| inner.state.records.get(uid).cloned())
}

/// Changes a service's record, if there is one.
pub(crate) fn change(core: &Core, uid: &str, change: impl FnOnce(&mut Record)) {
    core.update(uid, |inner| inner.state.records.get_mut(uid).map(change));
}

async fn begin(core: &Arc<Core>, assignment: Assignment) {
    let uid = assignment.uid.clone();
    core.update(&uid, |inner| {
        inner.state.records.insert(uid.clone(), Record::new(assignment, Role::Serve));
    });
    start(core, &uid).await;
}

async fn start(core: &Arc<Core>, uid: &str) {
    match try_start(core, uid).await {
        Ok(()) => {}
        Err(Stopped::Worker) => {
            tracing::debug!(uid, "a worker died while a service was started");
            core.update(uid, |inner| inner.live(uid).phase = Phase::Down);
        }
        Err(Stopped::By(failure)) => {
            tracing::warn!(uid, %failure, "a service cannot start");
            let in_worker =
                core.read(|inner| inner.live.get(uid).is_some_and(|live| live.phase.in_worker()));
            core.failed(uid, failure.message, in_worker);
        }
    }
}

/// Why a service was not started.
enum Stopped {
    /// Its worker died; that is not the service's failure.
    Worker,
    By(Failure),
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Self::By(failure)
    }
}

async fn try_start(core: &Arc<Core>, uid: &str) -> Result<(), Stopped> {
    let Some(record) = record_of(core, uid) else { return Ok(()) };
    if !may_serve(&record, core.lease_holds()) {
        // It is started once the lease is renewed.
        return Ok(());
    }
    // Never closed.
    let _place = core.starts.acquire().await;
    let assignment = &record.assignment;
    let module = core.modules.get(&assignment.module).await.map_err(failure)?;
    let objects = store::objects(core, &assignment.tenant, &assignment.spec.mounts).await;
    let objects = objects.map_err(failure)?;
    let models = core.modules.models(&assignment.spec.models).await.map_err(failure)?;
    let client = workers::ensure(core, &WorkerId::Tenant(assignment.tenant.clone())).await?;
    // The worker may have been adopted meanwhile, the service in it.
    let phase = core.read(|inner| inner.live.get(uid).map(|live| live.phase.clone()));
    let failed = |phase: &Up| phase.state == ServiceState::Failed;
    match phase {
        Some(Phase::Up(up)) if !failed(&up) => return Ok(()),
        Some(phase) if phase.in_worker() => stop(&client, uid, false).await?,
        _ => {}
    }
    let from = match record.fresh {
        true => folder::prepare(core, &record).await.map_err(failure)?,
        false => record.started_from,
    };
    let restart = assignment.spec.on_site_lost == OnSiteLost::Restart;
    folder::let_journals_stay(&core.state_folder(uid), restart);
    change(core, uid, |record| {
        record.started_from = from;
        record.fresh = false;
        record.previous = None;
        record.incarnation += 1;
    });
    core.persist().await?;
    if let Some(snapshot) = assignment.snapshot.filter(|_| record.fresh) {
        // The folder has its state now; the control plane keeps it.
        core.modules.forget(&snapshot.digest);
    }
    let Some(record) = record_of(core, uid) else { return Ok(()) };
    let start = service_start(core, &record, module, objects, models);
    let started = match client.command(&Command::Start(Box::new(start))).await {
        Ok(Reply::Started(started)) => started,
        Ok(other) => return Err(Stopped::By(unexpected(&other))),
        Err(_) if client.is_closed() => return Err(Stopped::Worker),
        Err(failure) => {
            if failure.kind == ErrorKind::Corrupt {
                core.modules.forget(&record.assignment.module);
                record.assignment.spec.models.iter().filter_map(OnnxModel::digest).for_each(|it| {
                    core.modules.forget(&it);
                });
            }
            return Err(Stopped::By(failure));
        }
    };
    tracing::info!(
        service = %format_args!("{}/{}", record.assignment.tenant, record.assignment.name),
        uid, epoch = %record.epoch(), incarnation = record.incarnation,
        restored = started.restored, "serving"
    );
    let up = Up {
        handle: started.handle,
        epoch: record.epoch(),
        incarnation: record.incarnation,
        state: ServiceState::Serving,
        migration: None,
    };
    core.is_up(uid, &record.assignment.tenant, up);
    if !started.lost.is_empty() {
        for lost in started.lost.into_iter().rev() {
            change(core, uid, |record| record.add_lost(lost));
        }
        core.persist().await?;
        folder::forget_lost(&core.state_folder(uid));
    }
    Ok(())
}

/// What the worker is told.
pub(crate) fn service_start(
    core: &Core,
    record: &Record,
    module: std::path::PathBuf,
    objects: Option<Objects>,
    models: Vec<ModelFile>,
) -> ServiceStart {
    let Assignment { tenant, name, uid, epoch, module: digest, spec, .. } = &record.assignment;
    ServiceStart {
        uid: uid.clone(),
        name: format!("{tenant}/{name}"),
        epoch: *epoch,
        incarnation: record.incarnation,
        module,
        digest: *digest,
        args: spec.args.clone(),
        env: spec.env.clone(),
        engine: spec.engine,
        limits: Limits {
            memory_bytes: spec.resources.memory.0,
            output_bytes: OUTPUT_BYTES,
            body_bytes: spec.max_body.0,
            ..Limits::default()
        },
        request_timeout: spec.request_timeout.0,
        durability: spec.durability,
        checkpoint_every: spec.checkpoint_every.0,
        state_folder: core.state_folder(uid),
        objects,
        models,
    }
}

/// Ends a service in the worker; one that is not there has ended.
async fn stop(client: &Client, uid: &str, checkpoint: bool) -> Result<(), Failure> {
    let stop = Command::Stop { uid: uid.to_owned(), checkpoint };
    match client.command(&stop).await {
        Err(failure) if failure.kind != ErrorKind::NotFound && !client.is_closed() => Err(failure),
        _ => Ok(()),
    }
}

/// Stops what is held and goes on under another epoch or with another spec.
async fn supersede(core: &Arc<Core>, assignment: Assignment) {
    let uid = assignment.uid.clone();
    let Some(record) = record_of(core, &uid) else { return };
    let live = core.read(|inner| inner.live.get(&uid).cloned()).unwrap_or_default();
    let put_back = assignment.snapshot.filter(|snapshot| snapshot.epoch > record.epoch());
    if let Some(snapshot) = put_back
        && let Err(problem) = core.modules.snapshot(&snapshot.digest).await
    {
        // What is held goes on until the snapshot is here.
        tracing::warn!(uid, %problem, "the snapshot that a service shall go on from is not here");
        return breathe().await;
    }
    // No request may reach the old cell any more.
    core.update(&uid, |inner| inner.live(&uid).phase = Phase::Down);
    if live.phase.in_worker()
        && let Some(client) = client_of(core, &record.assignment.tenant)
    {
        if let Some(migration) = record.role.migration() {
            let abort = Command::Abort { migration: migration.to_owned() };
            if let Err(failure) = client.command(&abort).await {
                tracing::warn!(uid, %failure, "a migration cannot be aborted");
            }
        }
        let newer_module = record.assignment.module != assignment.module;
        let prepared = matches!(record.role, Role::Prepared { .. });
        // What nobody will start from need not be saved.
        let wanted = !newer_module && !prepared && put_back.is_none();
        let checkpoint = live.up().is_some() && wanted;
        let stopped = match stop(&client, &uid, checkpoint).await {
            // What cannot be saved must not keep the old cell alive.
            Err(failure) if checkpoint => {
                tracing::warn!(uid, %failure, "a last checkpoint failed");
                stop(&client, &uid, false).await
            }
            other => other,
        };
        if let Err(failure) = stopped {
            return core.failed(&uid, failure.message, true);
        }
    }
    change(core, &uid, |record| replace(record, assignment));
    start(core, &uid).await;
}

/// The record as the newer assignment wants it.
fn replace(record: &mut Record, assignment: Assignment) {
    let newer = assignment.epoch > record.epoch();
    let other_module = assignment.module != record.assignment.module;
    if newer {
        // While it is fresh the folder still holds what it held before.
        let state_of = if record.fresh { record.previous } else { Some(record.epoch()) };
        let state_of = state_of.filter(|_| !other_module);
        let lost = std::mem::take(&mut record.lost);
        *record = Record { previous: state_of, lost, ..Record::new(assignment, Role::Serve) };
        return;
    }
    // Another module cannot read the state of this one.
    if other_module {
        record.fresh = true;
        record.previous = None;
    }
    // One that has not begun under this epoch still begins with what was restored to it.
    let restore = assignment.restore && !other_module;
    record.assignment = Assignment { restore, ..assignment };
    record.role = Role::Serve;
}

async fn fence(core: &Arc<Core>, uid: &str, fenced: bool) {
    let Some(record) = record_of(core, uid) else { return };
    let Some(client) = client_of(core, &record.assignment.tenant) else { return };
    match client.command(&Command::Fence { uid: uid.to_owned(), fenced }).await {
        Ok(_) => core.update(uid, |inner| {
            let live = inner.live(uid);
            live.lapsed |= fenced;
            if let Phase::Up(up) = &mut live.phase {
                up.state = if fenced { ServiceState::Fenced } else { ServiceState::Serving };
            }
        }),
        Err(failure) => {
            // Its requests are refused in any case: the ingress asks the lease itself.
            tracing::warn!(uid, fenced, %failure, "a worker does not fence a service");
            breathe().await;
        }
    }
}

/// The target's side of a committed migration.
pub(crate) async fn activate(
    core: &Arc<Core>,
    uid: &str,
    migration: String,
) -> Result<(), Failure> {
    let lost = |why| Failure::new(ErrorKind::Unavailable, why);
    let Some(record) = record_of(core, uid) else {
        return Err(Failure::new(ErrorKind::NotFound, "nothing was prepared"));
    };
    let tenant = &record.assignment.tenant;
    let client = client_of(core, tenant).filter(|client| !client.is_closed());
    let prepared = core.read(|inner| inner.live.get(uid).is_some_and(|l| l.phase.in_worker()));
    let saved = folder::has_checkpoint(&core.state_folder(uid));
    if !saved && (client.is_none() || !prepared) {
        return Err(lost("the prepared state was lost with its worker"));
    }
    // Remembered first: whatever crashes now, this site serves it from here on.
    change(core, uid, |record| {
        record.role = Role::Serve;
        record.confirmed = false;
        record.arrived_by = Some(migration.clone());
    });
    core.persist().await?;
    let Some(client) = client.filter(|_| prepared) else {
        core.update(uid, |inner| inner.live(uid).phase = Phase::Down);
        return Ok(());
    };
    match client.command(&Command::Activate { migration }).await {
        Ok(Reply::Activated { handle }) => {
            let up = Up {
                handle,
                epoch: record.epoch(),
                incarnation: record.incarnation,
                state: ServiceState::Serving,
                migration: None,
            };
            core.is_up(uid, tenant, up);
            Ok(())
        }
        Ok(other) => Err(unexpected(&other)),
        Err(failure) if client.is_closed() && folder::has_checkpoint(&core.state_folder(uid)) => {
            tracing::warn!(uid, %failure, "a worker died at its activation: started again");
            core.update(uid, |inner| inner.live(uid).phase = Phase::Down);
            Ok(())
        }
        Err(failure) => Err(failure),
    }
}

/// The source's side of a migration that failed.
pub(crate) async fn resume(core: &Arc<Core>, uid: &str, migration: String) -> Result<(), Failure> {
    change(core, uid, |record| record.role = Role::Serve);
    core.persist().await?;
    let Some(record) = record_of(core, uid) else { return Ok(()) };
    let Some(client) = client_of(core, &record.assignment.tenant) else { return Ok(()) };
    match client.command(&Command::Abort { migration }).await {
        Ok(_) => core.update(uid, |inner| {
            if let Phase::Up(up) = &mut inner.live(uid).phase {
                up.state = ServiceState::Serving;
                up.migration = None;
            }
        }),
        // Without its worker it is started again from its state folder.
        Err(_) if client.is_closed() => {}
        Err(failure) => return Err(failure),
    }
    Ok(())
}

async fn drop_service(core: &Arc<Core>, uid: &str) {
    let Some(record) = record_of(core, uid) else { return };
    let live = core.read(|inner| inner.live.get(uid).cloned()).unwrap_or_default();
    core.update(uid, |inner| inner.live(uid).phase = Phase::Down);
    if live.phase.in_worker()
        && let Some(client) = client_of(core, &record.assignment.tenant)
    {
        if let Some(migration) = record.role.migration() {
            // What it refuses here, it is asked again below.
            let _ = client.command(&Command::Abort { migration: migration.to_owned() }).await;
        }
        if let Err(failure) = stop(&client, uid, false).await {
            tracing::warn!(uid, %failure, "a worker does not stop a service");
            core.update(uid, |inner| inner.live(uid).phase = live.phase.clone());
            return breathe().await;
        }
    }
    // Elsewhere it may have been started from these checkpoints, unless our lease held all along.
    let deleted = !live.lapsed && core.lease_holds() && !is_listed(core, &record);
    if !deleted && !matches!(record.role, Role::Prepared { .. }) {
        losses::keep_tail(core, &record).await;
    }
    if record.role == Role::Serve {
        // Where it moved once, and came back from, is of no interest any more.
        core.update(uid, |inner| inner.state.moved.remove(uid));
    }
    forget(core, uid).await;
    core.checkpoints.shelf.remove(uid, record.epoch(), None);
    if deleted && record.assignment.spec.on_site_lost == OnSiteLost::Restart {
        let peers = core.read(|inner| inner.state.desired.peers.clone());
        core.checkpoints.remove_at(&peers, uid, record.epoch()).await;
    }
}

/// Whether the control plane names the record among what shall be dropped.
fn is_listed(core: &Core, record: &Record) -> bool {
    let uid = &record.assignment.uid;
    core.read(|inner| inner.state.desired.drop.iter().any(|(drop, _)| drop == uid))
}

/// Forgets a service and its state.
pub(crate) async fn forget(core: &Arc<Core>, uid: &str) {
    core.update(uid, |inner| inner.state.records.remove(uid));
    if let Err(failure) = core.persist().await {
        tracing::warn!(uid, %failure, "a service's end is not yet remembered");
    }
    folder::remove(&core.state_folder(uid));
}

async fn evict(core: &Arc<Core>, uid: &str) {
    let live = core.read(|inner| inner.live.get(uid).cloned()).unwrap_or_default();
    let Some(client) = client_of(core, &live.tenant) else {
        core.update(uid, |inner| inner.live(uid).phase = Phase::Down);
        return;
    };
    if let Some(migration) = live.up().and_then(|up| up.migration.clone()) {
        // Only what was never activated can still belong to a migration.
        let _ = client.command(&Command::Abort { migration }).await;
    }
    match stop(&client, uid, false).await {
        Ok(()) => {
            core.update(uid, |inner| inner.live(uid).phase = Phase::Down);
            folder::remove(&core.state_folder(uid));
        }
        Err(failure) => {
            tracing::warn!(uid, %failure, "a worker does not stop what nobody wants");
            breathe().await;
        }
    }
}

/// Who worked on what before a worker was asked: claims so far, and whether somebody did.
pub(crate) type Claims = BTreeMap<String, (u64, bool)>;

/// Takes in what a tenant's worker says that it holds. What somebody worked on since `before` is
/// left alone, for the worker's word is older. Without `before` the worker was just connected.
pub(crate) fn adopt_status(
    core: &Arc<Core>,
    tenant: &str,
    status: &WorkerStatus,
    before: Option<&Claims>,
) {
    for service in &status.services {
        core.note(|inner| {
            let live = inner.live(&service.uid);
            live.requests_answered = service.requests_answered;
            live.cpu_us = service.cpu_us;
            live.memory_bytes = service.memory_bytes;
            live.last_checkpoint = service.last_checkpoint.clone();
        });
        if is_older(core, &service.uid, before) {
            continue;
        }
        adopt_service(core, tenant, service);
    }
    if before.is_none() {
        core.copies_due.notify_one();
    }
    let held: BTreeSet<&str> = status.services.iter().map(|held| held.uid.as_str()).collect();
    let missing: Vec<String> = core.read(|inner| {
        let here = inner.live.iter().filter(|(uid, live)| {
            live.tenant == tenant && live.phase.in_worker() && !held.contains(uid.as_str())
        });
        here.map(|(uid, _)| uid.clone()).collect()
    });
    for uid in missing {
        if !is_older(core, &uid, before) {
            core.update(&uid, |inner| inner.live(&uid).phase = Phase::Down);
        }
    }
}

fn is_older(core: &Core, uid: &str, before: Option<&Claims>) -> bool {
    let Some(before) = before else { return false };
    let now = core.read(|inner| inner.live.get(uid).map(|live| (live.claims, live.busy)));
    let idle = (0, false);
    now.is_some_and(|(_, busy)| busy)
        || before.get(uid).copied().unwrap_or(idle) != now.unwrap_or(idle)
}

fn adopt_service(core: &Arc<Core>, tenant: &str, service: &ServiceStatus) {
    let uid = &service.uid;
    let up = Up {
        handle: service.handle,
        epoch: service.epoch,
        incarnation: service.incarnation,
        state: service.state,
        migration: service.migration.clone(),
    };
    let (known, record) = core.read(|inner| {
        let live = inner.live.get(uid);
        let known = live.is_some_and(|live| match &live.phase {
            Phase::Up(known) => *known == up,
            Phase::Failed { in_worker, .. } => *in_worker && up.state == ServiceState::Failed,
            Phase::Down => false,
        });
        (known, inner.state.records.get(uid).cloned())
    });
    if known {
        return;
    }
    core.is_up(uid, tenant, up.clone());
    if let Some(record) = record.filter(|record| record.epoch() == up.epoch) {
        change(core, uid, |record| {
            record.incarnation = record.incarnation.max(up.incarnation);
            for lost in service.lost.iter().rev() {
                record.add_lost(lost.clone());
            }
        });
        let handed_over = matches!(record.role, Role::HandedOver { .. });
        if handed_over && up.state == ServiceState::Serving && up.migration.is_none() {
            // The transfer failed while nobody listened.
            change(core, uid, |record| record.role = Role::Serve);
        }
    }
    if up.state == ServiceState::Failed {
        core.failed(uid, service.message.clone(), true);
    }
}

/// A tenant's worker is gone: its services wait for the next one.
pub(crate) fn worker_gone(core: &Arc<Core>, tenant: &str) {
    core.update_all(|inner| {
        inner.clients.remove(tenant);
        for live in inner.live.values_mut().filter(|live| live.tenant == tenant) {
            if live.phase.in_worker() {
                live.phase = Phase::Down;
            }
        }
    });
}

/// A worker says something unasked.
pub(crate) fn on_event(core: &Arc<Core>, event: Event) {
    match event {
        Event::Checkpointed(written) => {
            core.note(|inner| inner.live(&written.uid).last_checkpoint = Some(written.clone()));
            let wanted = core.read(|inner| {
                let record = inner.state.records.get(&written.uid)?;
                let restart = record.assignment.spec.on_site_lost == OnSiteLost::Restart;
                (restart && record.epoch() == written.epoch)
                    .then(|| inner.state.desired.peers.clone())
            });
            if let Some(peers) = wanted {
                folder::let_journals_stay(&core.state_folder(&written.uid), true);
                super::copies::push(core, written, peers);
            }
        }
        Event::Failed { uid, message } => {
            let busy = core.read(|inner| inner.live.get(&uid).is_some_and(|live| live.busy));
            // Whoever works on it finds out.
            if !busy {
                tracing::warn!(uid, message, "a service failed");
                core.failed(&uid, message, true);
            }
        }
        Event::Exited(status) => super::runs::exited(core, status),
    }
}

/// When the lease runs out, what it guarded may be started elsewhere.
pub(crate) fn lease_ran_out(core: &Arc<Core>) {
    let now = core.clock.monotonic();
    tracing::warn!("the site's lease has run out");
    core.update_all(|inner| {
        if !core.lease.holds(now) {
            inner.live.values_mut().for_each(|live| live.lapsed = true);
        }
    });
}

pub(crate) fn unexpected(reply: &Reply) -> Failure {
    let message = format!("the worker gave an unexpected reply: {reply:?}");
    Failure::new(ErrorKind::Internal, message)
}

fn failure(problem: api::Problem) -> Failure {
    Failure::new(problem.kind, problem.message)
}
