//! A service's state folder: what a worker reads at a start, and nothing else of ours.

use super::{core::Core, state::Record};
use api::Problem;
use std::{fs, io, os::unix::fs::DirBuilderExt, path::Path};
use types::ErrorKind;

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

/// Makes the folder as a new epoch wants it: with the newest state that can be found, or empty.
pub(crate) async fn prepare(core: &Core, record: &Record) -> Result<(), Problem> {
    let uid = &record.assignment.uid;
    let folder = core.state_folder(uid);
    let own = record.previous.filter(|_| has_checkpoint(&folder));
    if !record.assignment.restore {
        return empty(&folder);
    }
    let peers = core.read(|inner| inner.state.desired.peers.clone());
    let found = core.checkpoints.newest(uid, &peers).await?;
    match found {
        // A checkpoint of our own epoch came from this folder, which is at least as new.
        Some(found) if own.is_none_or(|own| found.stamp.epoch > own) => {
            tracing::info!(uid, stamp = ?found.stamp, "restoring from a checkpoint");
            empty(&folder)?;
            core.checkpoints.place(uid, &found, &folder.join(CHECKPOINT)).await
        }
        _ if own.is_some() => Ok(()),
        _ => {
            tracing::warn!(uid, "no checkpoint was found: starting from the beginning");
            empty(&folder)
        }
    }
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
