//! A service's state folder: what a worker reads at a start, and nothing else of ours.

use super::{
    core::{Core, problem},
    losses,
    state::{Record, sync_parent},
};
use api::{
    Problem,
    link::{Assignment, Stamp, StartState},
};
use cells::{
    run::identify,
    snapshot::{self, Expected, Identity},
};
use std::{fs, io, os::unix::fs::DirBuilderExt, path::Path};
use types::{Epoch, ErrorKind};

/// The file that a worker starts from.
pub(crate) const CHECKPOINT: &str = "checkpoint";

/// What a worker has found lost and nobody has noted yet.
const LOST: &str = "lost";

/// What crashes lost is remembered with the site's state: a worker need not say it again.
pub(crate) fn forget_lost(folder: &Path) {
    // If it stays, it is said again and known.
    let _ = fs::remove_file(folder.join(LOST));
}

/// Whether a worker would find a state there.
pub(crate) fn has_checkpoint(folder: &Path) -> bool {
    folder.join(CHECKPOINT).exists()
}

/// Lets journals stay from the checkpoint of this sequence on, until other sites have a later
/// one; without a sequence no journal outlives its checkpoint.
pub(crate) fn keep_journals(folder: &Path, from: Option<u64>) {
    if let Err(error) = cells::worker::keep_journals(folder, from) {
        // At worst ids stay unnamed that no other site has.
        tracing::debug!(folder = %folder.display(), %error, "cannot say which journals stay");
    }
}

/// Lets all journals stay, if the service may go on elsewhere and nobody has said which: no other
/// site has a checkpoint yet.
pub(crate) fn let_journals_stay(folder: &Path, restart: bool) {
    let said = cells::worker::journals_kept(folder);
    if said != restart {
        keep_journals(folder, restart.then_some(0));
    }
}

/// Makes the folder as a new epoch wants it: with the newest state that can be found, or empty.
/// Returns the checkpoint that it goes on from, if that is not what the folder held: the first of
/// all where there is none.
pub(crate) async fn prepare(core: &Core, record: &Record) -> Result<Option<Stamp>, Problem> {
    let uid = &record.assignment.uid;
    let folder = core.state_folder(uid);
    if !record.assignment.restore {
        return empty(&folder).map(|()| None);
    }
    let snapshot = record.assignment.snapshot;
    let since = snapshot.map_or(Epoch(0), |snapshot| snapshot.epoch);
    let own = record.previous.filter(|own| *own >= since && has_checkpoint(&folder));
    let peers = core.read(|inner| inner.state.desired.peers.clone());
    // Nobody has written a checkpoint of an epoch that begins now.
    let begins = record.epoch() <= since;
    let found = match begins {
        true => None,
        false => core.checkpoints.newest(uid, &peers, since..=record.epoch()).await?,
    };
    match found {
        // A checkpoint of our own epoch came from this folder, which is at least as new.
        Some(found) if own.is_none_or(|own| found.stamp.epoch > own) => {
            tracing::info!(uid, stamp = ?found.stamp, "restoring from a checkpoint");
            if own.is_some() {
                losses::keep_tail(core, record).await;
                core.persist().await.map_err(problem)?;
            }
            empty(&folder)?;
            let placed = folder.join(CHECKPOINT);
            core.checkpoints.place(uid, &found, &placed).await?;
            // The file may be newer than the stamp that it was sent with.
            let Ok(identity) = identify(&placed) else { return Ok(Some(found.stamp.into())) };
            let Identity { epoch, incarnation, sequence, .. } = identity;
            Ok(Some(Stamp { epoch, incarnation, sequence }))
        }
        _ if own.is_some() => Ok(None),
        _ => {
            match snapshot {
                Some(snapshot) => adopt(core, record, &snapshot, &folder).await?,
                None => {
                    tracing::warn!(uid, "no checkpoint was found: starting from the beginning");
                    empty(&folder)?;
                }
            }
            // Whoever asked for the snapshot has lost nothing by it.
            Ok((!begins).then(Stamp::default))
        }
    }
}

/// Makes a user's snapshot the service's only checkpoint, whole or not at all. Nothing was
/// answered under this epoch before, so that it may be done again after a crash.
async fn adopt(
    core: &Core,
    record: &Record,
    snapshot: &StartState,
    folder: &Path,
) -> Result<(), Problem> {
    let Assignment { uid, module, spec, .. } = &record.assignment;
    let blob = core.modules.snapshot(&snapshot.digest).await?;
    tracing::info!(uid, digest = %snapshot.digest, "restoring from a user's snapshot");
    empty(folder)?;
    let expected = Expected { module: Some(*module), memory_bytes: spec.resources.memory.0 };
    let (epoch, target) = (record.epoch(), folder.join(CHECKPOINT));
    let adopting = tokio::task::spawn_blocking(move || {
        // Of this attempt alone: another one may not have ended yet.
        let beside = target.with_extension(types::random_id());
        let adopted = snapshot::adopt(&blob, &beside, expected, epoch);
        adopted.map_err(|error| Problem::new(error.kind(), types::chain(&error)))?;
        fs::rename(&beside, &target)
            .and_then(|()| sync_parent(&target))
            .map_err(|error| super::checkpoints::disk(&target, &error))
    });
    let adopted =
        adopting.await.map_err(|error| Problem::new(ErrorKind::Internal, error.to_string()))?;
    adopted.inspect_err(|problem| {
        if problem.kind == ErrorKind::Corrupt {
            // The copy here may be damaged: another is fetched next time.
            core.modules.forget(&snapshot.digest);
        }
    })
}

/// Makes it empty.
pub(crate) fn empty(folder: &Path) -> Result<(), Problem> {
    remove(folder);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| {
        let message = format!("cannot make `{}`: {error}", folder.display());
        Problem::new(ErrorKind::Internal, message)
    })
}

/// Removes it.
pub(crate) fn remove(folder: &Path) {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(folder = %folder.display(), %error, "cannot remove a state folder");
        }
        _ => {}
    }
}
