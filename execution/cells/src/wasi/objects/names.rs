//! What is open in a mount.

use super::inode::Inode;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

/// Open files by name and by number, and open folders.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Those that have a name.
    files: HashMap<String, Arc<Inode>>,
    /// All, those without a name among them.
    openings: HashMap<u64, Openings>,
    folders: Vec<Weak<Folder>>,
}

/// How often a file is open.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Openings {
    pub(super) all: u32,
    /// Those that may write.
    pub(super) writing: u32,
}

/// An open folder's name from the mount's root on; none once it was removed.
#[derive(Debug)]
pub(super) struct Folder(Mutex<Option<String>>);

impl Folder {
    pub(super) fn name(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, name: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = name;
    }
}

impl Names {
    /// The open file of a name.
    pub(super) fn get(&self, name: &str) -> Option<&Arc<Inode>> {
        self.files.get(name)
    }

    /// Open files whose names begin with `inside`, with what follows.
    pub(super) fn below<'n>(
        &'n self,
        inside: &'n str,
    ) -> impl Iterator<Item = (&'n str, &'n Arc<Inode>)> {
        let files = self.files.iter();
        files.filter_map(move |(name, inode)| Some((name.strip_prefix(inside)?, inode)))
    }

    /// The same of those that this mount alone sees, for they are not sealed.
    pub(super) fn unsealed_below<'n>(&'n self, inside: &'n str) -> impl Iterator<Item = &'n str> {
        let unsealed = self.below(inside).filter(|(_, inode)| inode.version().is_none());
        unsealed.map(|(rest, _)| rest)
    }

    /// Whether a name is that of a file which this mount alone sees, or sees so.
    pub(super) fn is_unsealed(&self, name: &str) -> bool {
        self.get(name).is_some_and(|inode| inode.version().is_none())
    }

    /// This number, or the next that no open file has.
    pub(super) fn free_number(&self, mut number: u64) -> u64 {
        while self.openings.contains_key(&number) {
            number = number.wrapping_add(1).max(1);
        }
        number
    }

    /// Counts an opening, and gives the file its name in the table.
    pub(super) fn opened(&mut self, inode: &Arc<Inode>, writes: bool) {
        let openings = self.openings.entry(inode.number()).or_default();
        openings.all += 1;
        openings.writing += u32::from(writes);
        if let Some(name) = inode.name() {
            self.files.insert(name, inode.clone());
        }
    }

    /// Counts an opening out; how many are left.
    pub(super) fn closed(&mut self, inode: &Inode, writes: bool) -> Openings {
        let Some(openings) = self.openings.get_mut(&inode.number()) else {
            return Openings::default();
        };
        openings.all = openings.all.saturating_sub(1);
        openings.writing = openings.writing.saturating_sub(u32::from(writes));
        *openings
    }

    /// Forgets a file that is open no more.
    pub(super) fn forget(&mut self, inode: &Inode) {
        self.openings.remove(&inode.number());
        if let Some(name) = inode.name()
            && self.files.get(&name).is_some_and(|held| held.number() == inode.number())
        {
            self.files.remove(&name);
        }
    }

    /// Takes an open file's name from it.
    pub(super) fn unlink(&mut self, name: &str) -> Option<Arc<Inode>> {
        let inode = self.files.remove(name)?;
        inode.set_name(None);
        Some(inode)
    }

    /// Gives an open file another name, which is taken from whoever had it.
    pub(super) fn rename(&mut self, from: &str, to: &str) -> Option<Arc<Inode>> {
        self.unlink(to);
        let inode = self.files.remove(from)?;
        inode.set_name(Some(to.to_owned()));
        self.files.insert(to.to_owned(), inode.clone());
        Some(inode)
    }

    /// An opening of a folder.
    pub(super) fn folder(&mut self, name: &str) -> Arc<Folder> {
        let folder = Arc::new(Folder(Mutex::new(Some(name.to_owned()))));
        self.folders.retain(|folder| folder.strong_count() > 0);
        self.folders.push(Arc::downgrade(&folder));
        folder
    }

    /// Takes a removed folder's name from its openings.
    pub(super) fn unlink_folder(&mut self, name: &str) {
        for folder in self.folders.iter().filter_map(Weak::upgrade) {
            if folder.name().as_deref() == Some(name) {
                folder.change(None);
            }
        }
    }

    /// Gives a folder's openings, and those of folders in it, their new names.
    pub(super) fn rename_folder(&mut self, from: &str, to: &str) {
        self.unlink_folder(to);
        for folder in self.folders.iter().filter_map(Weak::upgrade) {
            let Some(name) = folder.name() else { continue };
            if let Some(rest) = name.strip_prefix(from)
                && (rest.is_empty() || rest.starts_with('/'))
            {
                folder.change(Some(format!("{to}{rest}")));
            }
        }
    }
}
