//! The files of the disk tier that a tenant has.

use crate::{Error, Limits, Result, disk};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
};

/// Less waste than this is left.
const WASTE_MIN_BYTES: u64 = 32 << 20;
/// Most bytes that are written anew at once.
const COMPACT_MAX_BYTES: u64 = 256 << 20;

/// One file.
#[derive(Debug, Default)]
pub(super) struct Stored {
    /// How many records lie in it.
    pub(super) live: u32,
    /// How many records ever came to lie in it.
    pub(super) holds: u64,
    /// How many times the node itself reads or writes it at the moment.
    pub(super) busy: u32,
    /// The session that writes it, or has not published it yet.
    pub(super) lent: Option<u32>,
    pub(super) bytes: u64,
    /// How many of them something refers to; those that several share count for each.
    pub(super) live_bytes: u64,
}

/// The files of a tenant, by number.
#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
    files: BTreeMap<u64, Stored>,
    last: u64,
}

impl Files {
    /// Takes over the folder: all files that lie there.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).map_err(Error::io("make the folder for objects"))?;
        let mut files = BTreeMap::new();
        let entries = fs::read_dir(folder).map_err(Error::io("read the folder for objects"))?;
        for entry in entries {
            let entry = entry.map_err(Error::io("read the folder for objects"))?;
            let number = entry.file_name().to_str().and_then(disk::number);
            let Some(number) = number else { continue };
            let bytes = entry.metadata().map_or(0, |metadata| metadata.len());
            files.insert(number, Stored { bytes, ..Stored::default() });
        }
        let last = files.last_key_value().map_or(0, |(number, _)| *number);
        Ok(Self { folder: folder.to_owned(), files, last })
    }

    /// Makes a file, for a session or for the node itself.
    pub(super) fn create(&mut self, session: Option<u32>, limits: &Limits) -> Result<(u64, File)> {
        let used = self.bytes();
        if used >= limits.disk_bytes {
            return Err(Error::Exhausted {
                what: "disk".to_owned(),
                wanted_bytes: 1,
                used_bytes: used,
                limit_bytes: limits.disk_bytes,
                waited_ms: 0,
            });
        }
        self.last += 1;
        let number = self.last;
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(disk::path(&self.folder, number))
            .map_err(Error::io("make a file for objects"))?;
        let busy = u32::from(session.is_none());
        self.files.insert(number, Stored { lent: session, busy, ..Stored::default() });
        if let Err(error) = disk::begin(&file, number) {
            self.remove(number);
            return Err(Error::io("write a file for objects")(error));
        }
        Ok((number, file))
    }

    pub(super) fn get(&mut self, file: u64) -> Option<&mut Stored> {
        self.files.get_mut(&file)
    }

    /// The names of all files are on disk when this returns.
    pub(super) fn sync_names(&self) -> Result<()> {
        let synced = File::open(&self.folder).and_then(|folder| folder.sync_all());
        synced.map_err(Error::io("sync the folder for objects"))
    }

    /// Opens a file to read it.
    pub(super) fn open_one(&self, file: u64) -> Result<Option<File>> {
        if !self.files.contains_key(&file) {
            return Ok(None);
        }
        let opened = File::open(disk::path(&self.folder, file));
        opened.map(Some).map_err(Error::io("open a file with objects"))
    }

    /// How often records came to lie in a file, if nothing lies in it now.
    pub(super) fn idle(&self, file: u64) -> Option<u64> {
        let stored = self.files.get(&file)?;
        let idle = stored.live == 0 && stored.busy == 0 && stored.lent.is_none();
        idle.then_some(stored.holds)
    }

    /// Removes a file. Who has it open reads on.
    pub(super) fn remove(&mut self, file: u64) {
        if self.files.remove(&file).is_none() {
            return;
        }
        if let Err(error) = fs::remove_file(disk::path(&self.folder, file)) {
            tracing::warn!(file, %error, "cannot remove a file with objects; it goes at the next start");
        }
    }

    /// Files without an object.
    pub(super) fn empty(&self) -> Vec<u64> {
        self.files.keys().copied().filter(|file| self.idle(*file).is_some()).collect()
    }

    /// Files of which most is referred to no more, if that is most of all files: then they are
    /// worth writing anew.
    pub(super) fn sparse(&self) -> Vec<u64> {
        let wasted = |stored: &Stored| stored.bytes.saturating_sub(stored.live_bytes);
        let settled = |stored: &Stored| stored.lent.is_none() && stored.busy == 0;
        let sparse = |stored: &Stored| settled(stored) && wasted(stored) * 2 > stored.bytes;
        let waste: u64 = self.files.values().filter(|stored| sparse(stored)).map(wasted).sum();
        if waste < WASTE_MIN_BYTES || waste * 2 < self.bytes() {
            return Vec::new();
        }
        let mut files: Vec<_> = self.files.iter().filter(|(_, stored)| sparse(stored)).collect();
        files.sort_unstable_by_key(|(_, stored)| stored.live_bytes);
        let mut room = COMPACT_MAX_BYTES;
        let fits = |(_, stored): &(&u64, &Stored)| {
            let fits = stored.live_bytes <= room;
            room = room.saturating_sub(stored.live_bytes);
            fits
        };
        files.into_iter().take_while(fits).map(|(file, _)| *file).collect()
    }

    /// The files that a session writes.
    pub(super) fn lent_to(&self, session: u32) -> Vec<u64> {
        let mine = self.files.iter().filter(|(_, stored)| stored.lent == Some(session));
        mine.map(|(file, _)| *file).collect()
    }

    /// All of them.
    pub(super) fn numbers(&self) -> Vec<u64> {
        self.files.keys().copied().collect()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.files.values().map(|stored| stored.bytes).sum()
    }

    pub(super) fn count(&self) -> u64 {
        self.files.len() as u64
    }
}
