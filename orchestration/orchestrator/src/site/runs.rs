//! Cells of `run`: each runs at most once, in a worker of its own.

use super::{
    core::{Core, problem},
    state::{CellRecord, Progress},
    store, tissues,
    workers::{self, WorkerId},
};
use api::Problem;
use cells::{
    limits::Limits,
    worker::protocol::{CellStart, CellStatus, Command, WorkerStatus},
};
use std::{fs, path::PathBuf, sync::Arc};
use types::ErrorKind;

/// Most that one cell may write to its log.
const OUTPUT_MAX_BYTES: u64 = 256 << 20;

/// Logs of ended cells that are kept.
const ENDED_LOGS_MAX: usize = 256;

/// Starts a cell.
pub(crate) async fn run(core: &Arc<Core>, uid: &str) {
    let cell = core.read(|inner| inner.state.cells.get(uid).cloned());
    let Some(cell) = cell else { return };
    if let Err(problem) = try_run(core, uid, &cell).await {
        tracing::warn!(uid, error = %problem, "a cell cannot run");
        let lost = problem.kind == ErrorKind::Unavailable;
        let end = Progress::Ended { exit_code: None, error: Some(problem.message), lost };
        ended(core, uid, end);
    }
}

async fn try_run(core: &Arc<Core>, uid: &str, cell: &CellRecord) -> Result<(), Problem> {
    let start = cell_start(core, uid, cell).await?;
    let client = workers::ensure(core, &WorkerId::Cell(uid.to_owned())).await.map_err(problem)?;
    let wants = cell.wants();
    // From here on nobody knows whether it ran, so that it never runs again.
    core.update(uid, |inner| {
        if let Some(cell) = inner.state.cells.get_mut(uid) {
            cell.progress = Progress::Started;
            cell.granted = wants;
        }
    });
    core.persist().await.map_err(problem)?;
    client.command(&Command::Run(Box::new(start))).await.map_err(problem).map(|_| ())
}

async fn cell_start(core: &Core, uid: &str, cell: &CellRecord) -> Result<CellStart, Problem> {
    let spec = &cell.assignment.spec;
    let module = core.modules.get(&cell.assignment.module).await?;
    let restore = match &spec.restore {
        // Ranks are restored where they are placed.
        Some(digest) if !tissues::is_part(cell) => Some(core.modules.snapshot(digest).await?),
        _ => None,
    };
    let log = log_path(core, uid);
    if let Some(folder) = log.parent() {
        fs::create_dir_all(folder).map_err(|error| {
            let message = format!("cannot make `{}`: {error}", folder.display());
            Problem::new(ErrorKind::Internal, message)
        })?;
    }
    let name = spec.module.rsplit_once('@').map_or(spec.module.as_str(), |(name, _)| name);
    let mut args = vec![name.to_owned()];
    args.extend(spec.args.iter().cloned());
    let objects = store::objects(core, &cell.assignment.tenant, &spec.mounts).await?;
    let models = core.modules.models(&spec.models).await?;
    Ok(CellStart {
        uid: uid.to_owned(),
        module,
        digest: cell.assignment.module,
        args,
        env: spec.env.clone(),
        dirs: spec.dirs.iter().map(|(host, guest)| (PathBuf::from(host), guest.clone())).collect(),
        objects,
        models,
        engine: spec.engine,
        limits: Limits {
            memory_bytes: spec.memory.0,
            output_bytes: OUTPUT_MAX_BYTES,
            ..Limits::default()
        },
        deadline: spec.deadline.map(|deadline| deadline.0),
        restore,
        form: spec.form.clone(),
        log,
    })
}

/// Tells a program on threads how many processors it has now.
pub(crate) async fn grant(core: &Arc<Core>, uid: &str) {
    let wants = core.read(|inner| inner.state.cells.get(uid).and_then(CellRecord::wants));
    let Some(cpus) = wants else { return };
    let told = async {
        let id = WorkerId::Cell(uid.to_owned());
        let client = workers::ensure(core, &id).await.map_err(problem)?;
        let grant = Command::Grant { uid: uid.to_owned(), cpus };
        client.command(&grant).await.map_err(problem)
    };
    if let Err(problem) = told.await {
        tracing::warn!(uid, error = %problem, "a program was not told of its processors");
        // It may be ending; if not, it is told again.
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        return;
    }
    core.update(uid, |inner| {
        if let Some(cell) = inner.state.cells.get_mut(uid) {
            cell.granted = Some(cpus);
        }
    });
}

/// Where a cell's output is.
pub(crate) fn log_path(core: &Core, uid: &str) -> PathBuf {
    core.config.data_dir.join("cells").join(uid).join("log")
}

/// Ends a cell, if it runs, and forgets it. What it wrote stays a while if it ended by itself:
/// whoever follows it reads the last of it after the control plane has heard of its end.
pub(crate) async fn end(core: &Arc<Core>, uid: &str) {
    let by_itself = core.read(|inner| {
        let cell = inner.state.cells.get(uid);
        // Ranks may have left, or begin anew: what they wrote here was still theirs.
        cell.is_some_and(|cell| {
            matches!(cell.progress, Progress::Ended { .. }) || tissues::is_part(cell)
        })
    });
    workers::stop(core, &WorkerId::Cell(uid.to_owned()), false, || false).await;
    core.update(uid, |inner| {
        inner.state.cells.remove(uid);
        // One that begins anew.
        let wanted = inner.state.desired.cells.iter().find(|wanted| wanted.uid == uid).cloned();
        inner.state.cells.extend(wanted.map(|wanted| (uid.to_owned(), CellRecord::new(wanted))));
    });
    if let Err(failure) = core.persist().await {
        tracing::warn!(uid, %failure, "a cell's end is not yet remembered");
    }
    if by_itself {
        forget_oldest_logs(core);
    } else {
        // A cell that never began has none.
        let _ = fs::remove_dir_all(core.config.data_dir.join("cells").join(uid));
    }
}

/// Removes the logs of cells that ended longest ago, beyond [`ENDED_LOGS_MAX`].
fn forget_oldest_logs(core: &Core) {
    let folders = fs::read_dir(core.config.data_dir.join("cells")).into_iter().flatten().flatten();
    let mut ended: Vec<_> = folders
        .filter(|folder| {
            let name = folder.file_name();
            !core.read(|inner| name.to_str().is_some_and(|uid| inner.state.cells.contains_key(uid)))
        })
        .map(|folder| folder.path())
        .map(|path| (fs::metadata(path.join("log")).and_then(|log| log.modified()).ok(), path))
        .collect();
    ended.sort();
    let surplus = ended.len().saturating_sub(ENDED_LOGS_MAX);
    for (_, path) in &ended[..surplus] {
        // One that stays is removed next time.
        let _ = fs::remove_dir_all(path);
    }
}

/// A cell ended, for whatever reason; the first that is heard counts.
fn ended(core: &Arc<Core>, uid: &str, end: Progress) {
    let first = core.update(uid, |inner| {
        let cell = inner.state.cells.get_mut(uid)?;
        let open = !matches!(cell.progress, Progress::Ended { .. });
        open.then(|| cell.progress = end)?;
        Some(tissues::is_part(cell))
    });
    let Some(is_part) = first else { return };
    let (ending, id) = (core.clone(), WorkerId::Cell(uid.to_owned()));
    core.spawn(async move {
        if let Err(failure) = ending.persist().await {
            tracing::warn!(%failure, "a cell's end is not yet remembered");
        }
        if !is_part {
            workers::stop(&ending, &id, false, || false).await;
        }
    });
}

/// The worker of a cell says that it ended.
pub(crate) fn exited(core: &Arc<Core>, status: CellStatus) {
    let CellStatus { uid, exit_code, error, lost } = status;
    ended(core, &uid, Progress::Ended { exit_code, error, lost });
}

/// The worker of a cell was adopted.
pub(crate) fn adopt_status(core: &Arc<Core>, uid: &str, status: &WorkerStatus) {
    let Some(cell) = &status.cell else {
        // The last agent noted that it starts, and died before it told the worker.
        return lost(core, uid, "the agent died before it could start it");
    };
    if cell.uid == uid && (cell.exit_code.is_some() || cell.error.is_some()) {
        exited(core, cell.clone());
    }
}

/// The worker of a cell is gone.
pub(crate) fn worker_gone(core: &Arc<Core>, uid: &str) {
    lost(core, uid, "its worker died: killed, or out of memory");
}

fn lost(core: &Arc<Core>, uid: &str, why: &str) {
    let running = core.read(|inner| {
        let cell = inner.state.cells.get(uid);
        cell.is_some_and(|cell| cell.progress == Progress::Started)
    });
    if running {
        ended(
            core,
            uid,
            Progress::Ended { exit_code: None, error: Some(why.to_owned()), lost: true },
        );
    }
}

/// After the agent's restart: cells that were running and whose worker left no trace.
pub(crate) fn settle(core: &Arc<Core>) {
    let ids = core.workers.ids();
    let lost: Vec<String> = core.read(|inner| {
        let started = |cell: &CellRecord| cell.progress == Progress::Started;
        let cells = inner.state.cells.iter().filter(|(_, cell)| started(cell));
        cells
            .map(|(uid, _)| uid.clone())
            .filter(|uid| !ids.contains(&WorkerId::Cell(uid.clone())))
            .collect()
    });
    for uid in lost {
        worker_gone(core, &uid);
    }
}
