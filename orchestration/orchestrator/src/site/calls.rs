//! What the control plane asks for once: the steps of a migration, logs, snapshots.

use super::{
    core::{Core, problem},
    folder,
    plan::{Phase, Up, check_names},
    runs,
    services::{activate, change, client_of, forget, record_of, resume, service_start, unexpected},
    state::{Moved, Progress, Record, Role},
    states, store, tissues,
    workers::{self, WorkerId},
};
use api::{
    Problem,
    link::{Assignment, Call, Reply, StoreChange},
};
use cells::{
    ModelFile,
    worker::{
        Client,
        protocol::{self, Command, Failure, ServiceState},
    },
};
use std::{
    io::{Read, Seek, SeekFrom},
    net::SocketAddr,
    sync::Arc,
};
use types::{Epoch, ErrorKind};

/// Most bytes of a log in one piece.
const LOG_MAX_BYTES: u64 = 1 << 20;

/// Does what is asked.
pub(crate) async fn answer(core: &Arc<Core>, call: Call) -> Result<Reply, Problem> {
    match call {
        Call::Prepare { migration, assignment } => prepare(core, migration, *assignment).await,
        Call::Transfer { migration, uid, epoch, address, secret } => {
            transfer(core, Transfer { migration, uid, epoch, address, secret }).await
        }
        Call::Activate { migration } => activated(core, migration).await,
        Call::Release { migration, to, forward_ms } => {
            release(core, migration, to, forward_ms).await
        }
        Call::Abort { migration } => abort(core, migration).await,
        Call::Tissue { uid, number, step } => tissues::step(core, &uid, number, step).await,
        Call::Metrics => metrics(core),
        Call::Logs { uid, offset, limit } => logs(core, &uid, offset, limit).await,
        Call::Snapshot { uid } => snapshot(core, &uid).await,
        Call::StoreLimits { tenant, change } => store_limits(core, &tenant, change).await,
    }
}

/// Most bytes of the metrics: the message that carries them is bounded, and a longer one ends the link.
const METRICS_MAX_BYTES: usize = 6 << 20;

fn metrics(core: &Core) -> Result<Reply, Problem> {
    let text = super::metrics::render_for_control(core);
    if text.len() > METRICS_MAX_BYTES {
        let message = format!("the metrics have {} bytes: at most {METRICS_MAX_BYTES}", text.len());
        return Err(Problem::new(ErrorKind::Exhausted, message));
    }
    Ok(Reply::Metrics { text })
}

async fn store_limits(
    core: &Core,
    tenant: &str,
    change: Option<StoreChange>,
) -> Result<Reply, Problem> {
    types::check_name(tenant)
        .map_err(|error| Problem::new(ErrorKind::Invalid, error.to_string()))?;
    let Some(store) = &core.store else {
        return Err(Problem::new(ErrorKind::Unsupported, "the site has no store"));
    };
    store.limits(tenant, change).await.map(Reply::StoreLimits)
}

fn unknown(migration: &str) -> Problem {
    let message = format!("this site takes no part in the migration `{migration}`");
    Problem::new(ErrorKind::NotFound, message)
}

fn conflict(message: String) -> Problem {
    Problem::new(ErrorKind::Conflict, message)
}

/// The service whose verdict the migration is.
fn uid_of(core: &Core, migration: &str) -> Option<String> {
    core.read(|inner| {
        let mut records = inner.state.records.iter();
        records
            .find(|(_, record)| record.role.migration() == Some(migration))
            .map(|(uid, _)| uid.clone())
    })
}

async fn activated(core: &Arc<Core>, migration: String) -> Result<Reply, Problem> {
    let arrived = core.read(|inner| {
        let mut records = inner.state.records.iter();
        records
            .find(|(_, record)| record.arrived_by.as_ref() == Some(&migration))
            .map(|(uid, _)| uid.clone())
    });
    let uid = uid_of(core, &migration).or(arrived).ok_or_else(|| unknown(&migration))?;
    let _claim = core.claim(&uid).await;
    let prepared = core.read(|inner| {
        let up = inner.live.get(&uid).and_then(|live| live.up());
        up.is_some_and(|up| up.state == ServiceState::Prepared)
    });
    match record_of(core, &uid) {
        Some(record) if matches!(record.role, Role::Prepared { .. }) => {}
        // `Desired` named it first; what was done then is not done again.
        Some(record) if record.arrived_by.as_ref() == Some(&migration) => {
            if !prepared {
                return Ok(Reply::Done);
            }
        }
        _ => return Err(unknown(&migration)),
    }
    activate(core, &uid, migration).await.map_err(problem).map(|()| Reply::Done)
}

async fn prepare(
    core: &Arc<Core>,
    migration: String,
    assignment: Assignment,
) -> Result<Reply, Problem> {
    let uid = assignment.uid.clone();
    check_names(&uid, &assignment.tenant, &assignment.name)
        .and_then(|()| types::check_name(&migration).map_err(|error| error.to_string()))
        .map_err(|message| Problem::new(ErrorKind::Invalid, message))?;
    // What takes long and changes nothing comes first.
    let module = core.modules.get(&assignment.module).await?;
    let models = core.modules.models(&assignment.spec.models).await?;
    let _claim = core.claim(&uid).await;
    clear_way(core, &assignment).await?;
    let record = Record {
        incarnation: 1,
        fresh: false,
        ..Record::new(assignment, Role::Prepared { migration: migration.clone() })
    };
    core.update(&uid, |inner| {
        inner.live(&uid).phase = Phase::Down;
        inner.state.records.insert(uid.clone(), record.clone());
    });
    let prepared = try_prepare(core, &record, &migration, module, models).await;
    if prepared.is_err() {
        // Nobody sends a state to what is not ready: nothing is lost with it.
        forget(core, &uid).await;
    }
    prepared
}

/// A service that is held here already, or was later than this, is not prepared.
async fn clear_way(core: &Arc<Core>, assignment: &Assignment) -> Result<(), Problem> {
    let uid = &assignment.uid;
    let over = core.read(|inner| inner.state.moved.get(uid).map(|moved| moved.assignment.epoch));
    if over.is_some_and(|over| over >= assignment.epoch) {
        let message = format!("epoch {} of the service is over at this site", assignment.epoch);
        return Err(Problem::new(ErrorKind::Fenced, message));
    }
    let Some(record) = record_of(core, uid) else { return Ok(()) };
    match &record.role {
        // The control plane begins a new migration only once the last one is over.
        Role::Prepared { migration } if record.epoch() <= assignment.epoch => {
            if let Some(client) = client_of(core, &record.assignment.tenant) {
                let abort = Command::Abort { migration: migration.clone() };
                client.command(&abort).await.map_err(problem)?;
            }
            Ok(())
        }
        _ => Err(conflict(format!("the site holds the service under epoch {}", record.epoch()))),
    }
}

async fn try_prepare(
    core: &Arc<Core>,
    record: &Record,
    migration: &str,
    module: std::path::PathBuf,
    models: Vec<ModelFile>,
) -> Result<Reply, Problem> {
    let Assignment { uid, tenant, .. } = &record.assignment;
    core.persist().await.map_err(problem)?;
    folder::empty(&core.state_folder(uid))?;
    let client = workers::ensure(core, &WorkerId::Tenant(tenant.clone())).await.map_err(problem)?;
    let objects = store::objects(core, tenant, &record.assignment.spec.mounts).await?;
    let prepare = Command::Prepare {
        migration: migration.to_owned(),
        start: Box::new(service_start(core, record, module, objects, models)),
        listen: match core.reach.identity() {
            // The agent leads states to it.
            Some(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            None => core.config.address,
        },
    };
    match client.command(&prepare).await.map_err(problem)? {
        protocol::Reply::Prepared { address, secret } => {
            let up = Up {
                handle: 0,
                epoch: record.epoch(),
                incarnation: record.incarnation,
                state: ServiceState::Prepared,
                migration: Some(migration.to_owned()),
            };
            core.is_up(uid, tenant, up);
            core.reach.expect(migration, address);
            let address = core.reach.identity().map_or(address, |_| core.peers);
            Ok(Reply::Prepared { address, secret })
        }
        other => Err(problem(unexpected(&other))),
    }
}

struct Transfer {
    migration: String,
    uid: String,
    epoch: Epoch,
    address: SocketAddr,
    secret: String,
}

async fn transfer(core: &Arc<Core>, transfer: Transfer) -> Result<Reply, Problem> {
    let Transfer { migration, uid, epoch, address, secret } = transfer;
    let _claim = core.claim(&uid).await;
    let client = sender(core, &uid, epoch)?;
    let address = states::way(core, &migration, address).await?;
    // Remembered first: whatever crashes from here on, only the verdict lets it be served again.
    let role = Role::HandedOver { migration: migration.clone() };
    change(core, &uid, |record| record.role = role);
    if let Err(failure) = core.persist().await {
        change(core, &uid, |record| record.role = Role::Serve);
        return Err(problem(failure));
    }
    let command =
        Command::Transfer { migration: migration.clone(), uid: uid.clone(), address, secret };
    let outcome = client.command(&command).await;
    match outcome {
        Ok(protocol::Reply::Transferred(transferred)) => {
            core.update(&uid, |inner| {
                if let Phase::Up(up) = &mut inner.live(&uid).phase {
                    up.state = ServiceState::HandedOver;
                    up.migration = Some(migration);
                }
            });
            Ok(Reply::Transferred(transferred))
        }
        // The last bytes may have arrived: the verdict stays open.
        Err(failure) if client.is_closed() => Err(problem(failure)),
        other => {
            change(core, &uid, |record| record.role = Role::Serve);
            let persisted = core.persist().await;
            let failure: Failure = match other {
                Ok(other) => unexpected(&other),
                Err(failure) => failure,
            };
            persisted.map_err(problem).and(Err(problem(failure)))
        }
    }
}

/// The worker that serves what shall be moved.
fn sender(core: &Core, uid: &str, epoch: Epoch) -> Result<Client, Problem> {
    let record = record_of(core, uid)
        .ok_or_else(|| Problem::new(ErrorKind::NotFound, "the site does not hold the service"))?;
    if record.epoch() != epoch {
        let message = format!("the site holds the service under epoch {}", record.epoch());
        return Err(Problem::new(ErrorKind::Fenced, message));
    }
    let serving = core.read(|inner| {
        let up = inner.live.get(uid).and_then(|live| live.up());
        up.is_some_and(|up| matches!(up.state, ServiceState::Serving | ServiceState::Fenced))
    });
    let client = client_of(core, &record.assignment.tenant);
    client
        .filter(|_| serving && matches!(record.role, Role::Serve | Role::HandedOver { .. }))
        .ok_or_else(|| {
            conflict("the service does not run at this site: there is no state to move".into())
        })
}

async fn release(
    core: &Arc<Core>,
    migration: String,
    to: SocketAddr,
    forward_ms: u64,
) -> Result<Reply, Problem> {
    let Some(uid) = uid_of(core, &migration) else {
        let done =
            core.read(|inner| inner.state.moved.values().any(|moved| moved.migration == migration));
        return if done { Ok(Reply::Done) } else { Err(unknown(&migration)) };
    };
    let _claim = core.claim(&uid).await;
    let Some(record) = record_of(core, &uid) else { return Ok(Reply::Done) };
    if !matches!(record.role, Role::HandedOver { .. }) {
        return Err(conflict("the site is the migration's target, not its source".into()));
    }
    let tenant = record.assignment.tenant.clone();
    let forward_until_ms = core.wall_ms().saturating_add(forward_ms);
    let moved = Moved {
        assignment: record.assignment,
        migration: migration.clone(),
        to,
        forward_until_ms,
        lost: record.lost,
    };
    // In one step: there is no moment at which a request would find nothing.
    core.update(&uid, |inner| {
        inner.state.records.remove(&uid);
        inner.state.add_moved(moved);
    });
    core.persist().await.map_err(problem)?;
    if let Some(client) = client_of(core, &tenant) {
        match client.command(&Command::Release { migration }).await {
            Ok(_) => core.update(&uid, |inner| inner.live(&uid).phase = Phase::Down),
            // What stays there is found, and evicted, at the worker's next status.
            Err(failure) => tracing::warn!(uid, %failure, "a worker keeps what was released"),
        }
    }
    folder::remove(&core.state_folder(&uid));
    Ok(Reply::Done)
}

async fn abort(core: &Arc<Core>, migration: String) -> Result<Reply, Problem> {
    core.reach.arrival(&migration);
    let Some(uid) = uid_of(core, &migration) else { return Ok(Reply::Done) };
    if core.try_claim(&uid).is_none()
        && let Some(record) = record_of(core, &uid)
        && let Some(client) = client_of(core, &record.assignment.tenant)
    {
        // A transfer may be on its way: only this ends it before its time.
        let _ = client.command(&Command::Abort { migration: migration.clone() }).await;
    }
    let _claim = core.claim(&uid).await;
    let Some(record) = record_of(core, &uid) else { return Ok(Reply::Done) };
    if record.role.migration() != Some(&migration) {
        return Ok(Reply::Done);
    }
    if matches!(record.role, Role::HandedOver { .. }) {
        resume(core, &uid, migration).await.map_err(problem)?;
        return Ok(Reply::Done);
    }
    if let Some(client) = client_of(core, &record.assignment.tenant) {
        let aborted = client.command(&Command::Abort { migration }).await;
        if !client.is_closed() {
            aborted.map_err(problem)?;
        }
    }
    core.update(&uid, |inner| inner.live(&uid).phase = Phase::Down);
    forget(core, &uid).await;
    Ok(Reply::Done)
}

async fn logs(core: &Arc<Core>, uid: &str, offset: u64, limit: u64) -> Result<Reply, Problem> {
    let limit = limit.min(LOG_MAX_BYTES);
    types::check_name(uid).map_err(|error| Problem::new(ErrorKind::Invalid, error.to_string()))?;
    let cell = core.read(|inner| inner.state.cells.get(uid).cloned());
    if cell.is_some() || runs::log_path(core, uid).exists() {
        let ended = cell.is_none_or(|cell| matches!(cell.progress, Progress::Ended { .. }));
        let bytes = read_log(&runs::log_path(core, uid), offset, limit)?;
        let ended = ended && (bytes.len() as u64) < limit;
        return Ok(Reply::Logs { offset, text: text(bytes, ended), ended });
    }
    let client = service_client(core, uid)?;
    let command = Command::Logs { uid: uid.to_owned(), offset, limit };
    match client.command(&command).await.map_err(problem)? {
        protocol::Reply::Logs { offset, bytes, ended } => {
            Ok(Reply::Logs { offset, text: text(bytes, ended), ended })
        }
        other => Err(problem(unexpected(&other))),
    }
}

fn service_client(core: &Core, uid: &str) -> Result<Client, Problem> {
    let record = record_of(core, uid).ok_or_else(|| {
        Problem::new(ErrorKind::NotFound, format!("the site does not hold `{uid}`"))
    })?;
    client_of(core, &record.assignment.tenant)
        .ok_or_else(|| Problem::new(ErrorKind::Unavailable, "the service's worker is not running"))
}

fn read_log(path: &std::path::Path, offset: u64, limit: u64) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|mut file| {
        file.seek(SeekFrom::Start(offset))?;
        file.take(limit).read_to_end(&mut bytes)
    });
    match read {
        Ok(_) => Ok(bytes),
        // It has not begun yet.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(super::checkpoints::disk(path, &error)),
    }
}

/// The bytes as text of the same length, so that whoever reads on can count: a byte that is no
/// UTF-8 becomes `?`, and a character that is cut off at the end comes with the next piece.
fn text(mut bytes: Vec<u8>, ended: bool) -> String {
    let mut from = 0;
    while let Err(error) = std::str::from_utf8(&bytes[from..]) {
        let bad = from + error.valid_up_to();
        match error.error_len() {
            Some(length) => {
                bytes[bad..bad + length].fill(b'?');
                from = bad + length;
            }
            None if bad > 0 && !ended => bytes.truncate(bad),
            None => bytes[bad..].fill(b'?'),
        }
    }
    String::from_utf8(bytes).unwrap_or_default()
}

async fn snapshot(core: &Arc<Core>, uid: &str) -> Result<Reply, Problem> {
    let folder = core.config.data_dir.join("snapshots");
    std::fs::create_dir_all(&folder).map_err(|e| super::checkpoints::disk(&folder, &e))?;
    let path = folder.join(format!("{uid}-{}", types::random_id()));
    let cell = core.read(|inner| inner.state.cells.contains_key(uid));
    let client = if cell {
        workers::running(core, &WorkerId::Cell(uid.to_owned()))
            .await
            .ok_or_else(|| Problem::new(ErrorKind::Unavailable, "the cell does not run"))?
    } else {
        service_client(core, uid)?
    };
    let command = Command::Snapshot { uid: uid.to_owned(), path: path.clone() };
    let stored = match client.command(&command).await {
        Ok(protocol::Reply::Written(_)) => core.modules.store(&path).await,
        Ok(other) => Err(problem(unexpected(&other))),
        Err(failure) => Err(problem(failure)),
    };
    // The control plane has it, or nobody will ask for it again.
    let _ = std::fs::remove_file(&path);
    stored.map(|(digest, size_bytes)| Reply::Snapshot { digest, size_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_log_is_text_of_the_same_length() {
        assert_eq!(text(b"a\xffb".to_vec(), false), "a?b");
        assert_eq!(text("né".as_bytes()[..2].to_vec(), false), "n");
        assert_eq!(text("né".as_bytes()[..2].to_vec(), true), "n?");
        assert_eq!(text(vec![0xc3], false), "?");
    }

    proptest! {
        #[test]
        fn whoever_reads_piece_by_piece_reads_all(bytes: Vec<u8>, limit in 4_usize..16) {
            let mut offset = 0;
            while offset < bytes.len() {
                let piece = &bytes[offset..bytes.len().min(offset + limit)];
                let read = text(piece.to_vec(), offset + piece.len() == bytes.len());
                prop_assert!(!read.is_empty());
                offset += read.len();
            }
            prop_assert_eq!(offset, bytes.len());
        }
    }
}
