//! Checkpoints that this site keeps for others, in files whose names say all that is known of them.

use super::{
    checkpoints::{Stamp, disk},
    state::sync_parent,
};
use api::Problem;
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};
use types::{Epoch, ErrorKind};

/// A checkpoint that is kept here, and the site that left it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Kept {
    stamp: Stamp,
    by: String,
}

impl Kept {
    fn file_name(&self, uid: &str) -> String {
        let Stamp { epoch, incarnation, sequence } = self.stamp;
        format!("{uid}.{epoch}.{incarnation}.{sequence}.{}", self.by)
    }

    fn from_file_name(name: &str) -> Option<(String, Self)> {
        let parts: Vec<&str> = name.split('.').collect();
        let [uid, epoch, incarnation, sequence, by] = parts[..] else { return None };
        let stamp = Stamp {
            epoch: Epoch(epoch.parse().ok()?),
            incarnation: incarnation.parse().ok()?,
            sequence: sequence.parse().ok()?,
        };
        let known =
            types::check_name(uid).is_ok() && (by == ANYBODY || types::check_name(by).is_ok());
        known.then(|| (uid.to_owned(), Self { stamp, by: by.to_owned() }))
    }
}

/// On one machine all sites show one token: nobody tells them apart.
pub(crate) const ANYBODY: &str = "-";

/// A checkpoint that a site leaves here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Left<'a> {
    pub(crate) stamp: Stamp,
    pub(crate) by: &'a str,
}

/// The newest checkpoint that was left here of each service.
#[derive(Debug)]
pub(crate) struct Shelf {
    folder: PathBuf,
    age_max: Duration,
    stored: Mutex<BTreeMap<String, Kept>>,
}

impl Shelf {
    /// What lies in the folder, which is made if need be.
    ///
    /// # Errors
    /// If the folder cannot be made or read.
    pub(crate) fn open(folder: &Path, age_max: Duration) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let mut stored: BTreeMap<String, Kept> = BTreeMap::new();
        for entry in fs::read_dir(folder)?.flatten() {
            let name = entry.file_name();
            let Some((uid, kept)) = name.to_str().and_then(Kept::from_file_name) else {
                // The rest of a transfer that broke off.
                let _ = fs::remove_file(entry.path());
                continue;
            };
            if stored.get(&uid).is_none_or(|other| other.stamp < kept.stamp) {
                stored.insert(uid, kept);
            }
        }
        Ok(Self { folder: folder.to_owned(), age_max, stored: Mutex::new(stored) })
    }

    fn stored(&self) -> MutexGuard<'_, BTreeMap<String, Kept>> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest that is kept here, and its file.
    pub(crate) fn get(&self, uid: &str) -> Option<(Stamp, PathBuf)> {
        let kept = self.stored().get(uid)?.clone();
        Some((kept.stamp, self.folder.join(kept.file_name(uid))))
    }

    /// The site that left it is still there, and wants it kept.
    pub(crate) fn touch(&self, uid: &str, by: &str) {
        let Some(kept) = self.stored().get(uid).filter(|kept| kept.by == by).cloned() else {
            return;
        };
        let file = fs::File::open(self.folder.join(kept.file_name(uid)));
        if let Err(error) = file.and_then(|file| file.set_modified(SystemTime::now())) {
            tracing::debug!(uid, %error, "a checkpoint's age cannot be changed");
        }
    }

    /// Refuses what is older than what is kept, and a state of an epoch that another site serves.
    pub(crate) fn check(&self, uid: &str, new: &Left<'_>) -> std::result::Result<(), Problem> {
        let stored = self.stored();
        let Some(Kept { stamp, by }) = stored.get(uid) else { return Ok(()) };
        if *stamp > new.stamp {
            let message = format!("a newer checkpoint of `{uid}` is kept: {stamp:?}");
            return Err(Problem::new(ErrorKind::Conflict, message));
        }
        if stamp.epoch == new.stamp.epoch && by != new.by {
            let message = format!("`{by}` serves epoch {} of `{uid}`", stamp.epoch);
            return Err(Problem::new(ErrorKind::Forbidden, message));
        }
        Ok(())
    }

    /// A file that [`Checkpoints::keep`] can take.
    pub(crate) fn incoming(&self) -> PathBuf {
        self.folder.join(format!("incoming-{}", types::random_id()))
    }

    /// Keeps what lies at `incoming`, unless something newer came meanwhile.
    pub(crate) fn keep(
        &self,
        uid: &str,
        new: &Left<'_>,
        incoming: &Path,
    ) -> std::result::Result<(), Problem> {
        let mut stored = self.stored();
        let older = stored.get(uid).cloned();
        if older.as_ref().is_some_and(|older| older.stamp > new.stamp) {
            // Nobody needs it.
            let _ = fs::remove_file(incoming);
            return Ok(());
        }
        let kept = Kept { stamp: new.stamp, by: new.by.to_owned() };
        let path = self.folder.join(kept.file_name(uid));
        fs::rename(incoming, &path)
            .and_then(|()| sync_parent(&path))
            .map_err(|error| disk(&path, &error))?;
        stored.insert(uid.to_owned(), kept.clone());
        if let Some(older) = older.filter(|older| *older != kept) {
            // If it stays, a restart forgets it.
            let _ = fs::remove_file(self.folder.join(older.file_name(uid)));
        }
        Ok(())
    }

    /// Forgets what is kept of a service up to this epoch; for another site only what it left.
    pub(crate) fn remove(&self, uid: &str, epoch: Epoch, by: Option<&str>) {
        let mut stored = self.stored();
        let wanted = |kept: &Kept| kept.stamp.epoch <= epoch && by.is_none_or(|by| kept.by == by);
        if let Some(kept) = stored.get(uid).cloned().filter(wanted) {
            stored.remove(uid);
            let _ = fs::remove_file(self.folder.join(kept.file_name(uid)));
        }
    }

    /// Forgets what nobody replaced for long: its service is gone.
    pub(crate) fn expire(&self) {
        let now = SystemTime::now();
        let mut stored = self.stored();
        stored.retain(|uid, kept| {
            let path = self.folder.join(kept.file_name(uid));
            let written = fs::metadata(&path).and_then(|file| file.modified());
            let age = written.ok().and_then(|written| now.duration_since(written).ok());
            let keep = age.is_none_or(|age| age < self.age_max);
            if !keep {
                let _ = fs::remove_file(path);
            }
            keep
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_kept_survives_its_file_name(epoch: u64, incarnation: u32, sequence: u64) {
            let stamp = Stamp { epoch: Epoch(epoch), incarnation, sequence };
            let kept = Kept { stamp, by: "edge".into() };
            let read = Kept::from_file_name(&kept.file_name("uid-1"));
            prop_assert_eq!(read, Some(("uid-1".to_owned(), kept)));
        }

        #[test]
        fn any_file_name_is_read_or_not(name: String) {
            let _ = Kept::from_file_name(&name);
        }
    }

    #[test]
    fn only_the_site_that_left_it_replaces_it_within_its_epoch_or_removes_it() {
        let folder = testkit::Folder::new();
        let shelf = Shelf::open(folder.path(), Duration::MAX).unwrap();
        let left = |epoch, sequence, by| {
            let stamp = Stamp { epoch: Epoch(epoch), incarnation: 1, sequence };
            let new = Left { stamp, by };
            shelf.check("uid-a", &new)?;
            let incoming = shelf.incoming();
            fs::write(&incoming, by).unwrap();
            shelf.keep("uid-a", &new, &incoming)
        };
        let kept = || shelf.get("uid-a").map(|(_, path)| fs::read_to_string(path).unwrap());

        left(1, 1, "edge").unwrap();
        assert_eq!(left(1, 9, "cloud").unwrap_err().kind, ErrorKind::Forbidden);
        shelf.remove("uid-a", Epoch(1), Some("cloud"));
        assert_eq!(kept().as_deref(), Some("edge"));
        // The next epoch is another site's.
        left(2, 1, "cloud").unwrap();
        assert_eq!(left(1, 10, "edge").unwrap_err().kind, ErrorKind::Conflict);
        shelf.remove("uid-a", Epoch(2), Some("edge"));
        assert_eq!(kept().as_deref(), Some("cloud"));
        shelf.remove("uid-a", Epoch(2), Some("cloud"));
        assert_eq!(kept(), None);
    }
}
