//! What crashes have lost of a service, kept until its agent has taken note.
//!
//! The journal that names what was lost goes with the first checkpoint after the crash. Whoever
//! dies between that checkpoint and the agent's note would leave it unnamed: so it is on disk
//! before that checkpoint, and the agent removes it.

use super::journal::sync_folder;
use crate::{
    cache::replace_file,
    error::{Error, Result},
};
use api::service::Lost;
use std::{fs, path::Path};

/// The file's name in a service's folder.
const LOST_FILE: &str = "lost";

/// Most crashes that are remembered.
const CRASHES_MAX: usize = 16;

/// What is not yet noted, latest first.
pub(crate) fn read(folder: &Path) -> Vec<Lost> {
    // It appears whole or not at all; what cannot be read names nothing.
    let bytes = fs::read(folder.join(LOST_FILE)).unwrap_or_default();
    postcard::from_bytes(&bytes).unwrap_or_default()
}

/// Adds what one crash lost; on disk when this returns. The same crash is found again if the
/// checkpoint after it never came to be.
pub(crate) fn add(folder: &Path, lost: Lost) -> Result<Vec<Lost>> {
    let mut all = read(folder);
    all.retain(|old| (old.epoch, old.incarnation) != (lost.epoch, lost.incarnation));
    all.insert(0, lost);
    all.truncate(CRASHES_MAX);
    let path = folder.join(LOST_FILE);
    let bytes = postcard::to_stdvec(&all)
        .map_err(|error| Error::runtime("cannot encode what was lost", error))?;
    replace_file(&path, &[&bytes])
        .and_then(|()| fs::File::open(&path)?.sync_all())
        .and_then(|()| sync_folder(folder))
        .map_err(|source| Error::Write { path, source })?;
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::Epoch;

    #[test]
    fn crashes_are_kept_once_and_the_latest_stands_first() {
        let folder = tempfile::tempdir().unwrap();
        let lost = |incarnation, count| Lost {
            epoch: Epoch(1),
            incarnation,
            at: 7,
            count,
            request_ids: vec!["a".into()],
        };
        assert_eq!(read(folder.path()), []);

        add(folder.path(), lost(1, 3)).unwrap();
        add(folder.path(), lost(2, 4)).unwrap();
        add(folder.path(), lost(2, 5)).unwrap();

        assert_eq!(read(folder.path()), [lost(2, 5), lost(1, 3)]);
        fs::write(folder.path().join(LOST_FILE), [0xff; 9]).unwrap();
        assert_eq!(read(folder.path()), []);
    }
}
