//! The descriptor table.

use super::{Directory, DirectoryEntry, Errno, File, Rights};
use std::{fmt, sync::Arc};

/// The bits of `fdflags`.
pub(crate) mod flags {
    pub(crate) const APPEND: u16 = 1;
    pub(crate) const DSYNC: u16 = 1 << 1;
    pub(crate) const NONBLOCK: u16 = 1 << 2;
    pub(crate) const RSYNC: u16 = 1 << 3;
    pub(crate) const SYNC: u16 = 1 << 4;
    pub(crate) const ALL: u16 = APPEND | DSYNC | NONBLOCK | RSYNC | SYNC;

    /// Takes what a guest passed; unknown bits are `INVAL`.
    pub(crate) fn check(raw: u32) -> Result<u16, super::Errno> {
        match u16::try_from(raw) {
            Ok(raw) if raw & !ALL == 0 => Ok(raw),
            _ => Err(super::Errno::Inval),
        }
    }
}

/// One open descriptor.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    /// What may be done with it.
    pub(crate) base: Rights,
    /// What may be done with what is opened through it.
    pub(crate) inheriting: Rights,
    pub(crate) flags: u16,
}

/// What a descriptor refers to.
#[derive(Debug)]
pub(crate) enum Kind {
    Input,
    Stdout,
    Stderr,
    File(OpenFile),
    Directory(OpenDirectory),
}

/// A file with its offset and access mode.
pub(crate) struct OpenFile {
    pub(crate) node: Arc<dyn File>,
    /// Which grant it came from.
    pub(crate) mount: usize,
    pub(crate) offset: u64,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
}

/// A directory, with its listing while that is being read.
pub(crate) struct OpenDirectory {
    pub(crate) node: Arc<dyn Directory>,
    /// Which grant it came from.
    pub(crate) mount: usize,
    /// Whether the program was started with it.
    pub(crate) preopen: bool,
    /// Kept from the first entry on, so that places in it stay true while files come and go.
    pub(crate) listing: Option<Vec<DirectoryEntry>>,
}

impl fmt::Debug for OpenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenFile")
            .field("mount", &self.mount)
            .field("offset", &self.offset)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for OpenDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenDirectory")
            .field("mount", &self.mount)
            .field("preopen", &self.preopen)
            .finish_non_exhaustive()
    }
}

impl Entry {
    /// A standard stream.
    pub(crate) fn stream(kind: Kind, base: Rights) -> Self {
        Self { kind, base, inheriting: Rights::NONE, flags: 0 }
    }

    /// Ends what it refers to in order.
    pub(crate) fn close(self) -> Result<(), Errno> {
        match self.kind {
            Kind::File(file) => file.node.close(),
            Kind::Input | Kind::Stdout | Kind::Stderr | Kind::Directory(_) => Ok(()),
        }
    }

    /// Refuses if a right is missing.
    pub(crate) fn need(&self, rights: Rights) -> Result<(), Errno> {
        if self.base.contains(rights) { Ok(()) } else { Err(Errno::Notcapable) }
    }
}

/// Descriptors by number; the lowest free number is given out first.
#[derive(Debug)]
pub(crate) struct Table {
    entries: Vec<Option<Entry>>,
    limit: u32,
}

impl Table {
    pub(crate) fn new(limit: u32) -> Self {
        Self { entries: Vec::new(), limit }
    }

    pub(crate) fn get(&self, fd: u32) -> Result<&Entry, Errno> {
        self.entries.get(fd as usize).and_then(Option::as_ref).ok_or(Errno::Badf)
    }

    pub(crate) fn get_mut(&mut self, fd: u32) -> Result<&mut Entry, Errno> {
        self.entries.get_mut(fd as usize).and_then(Option::as_mut).ok_or(Errno::Badf)
    }

    /// Refuses if no number is free.
    pub(crate) fn room(&self) -> Result<(), Errno> {
        let full =
            self.entries.len() >= self.limit as usize && self.entries.iter().all(Option::is_some);
        if full { Err(Errno::Mfile) } else { Ok(()) }
    }

    pub(crate) fn insert(&mut self, entry: Entry) -> Result<u32, Errno> {
        self.room()?;
        let free = self.entries.iter().position(Option::is_none);
        let fd = free.unwrap_or_else(|| {
            self.entries.push(None);
            self.entries.len() - 1
        });
        self.entries[fd] = Some(entry);
        Ok(fd as u32)
    }

    /// Puts an entry at a free number below the limit.
    pub(crate) fn insert_at(&mut self, fd: u32, entry: Entry) -> Result<(), Errno> {
        if fd >= self.limit {
            return Err(Errno::Mfile);
        }
        let place = fd as usize;
        if self.entries.len() <= place {
            self.entries.resize_with(place + 1, || None);
        }
        match &mut self.entries[place] {
            Some(_) => Err(Errno::Exist),
            free => {
                *free = Some(entry);
                Ok(())
            }
        }
    }

    pub(crate) fn remove(&mut self, fd: u32) -> Result<Entry, Errno> {
        self.entries.get_mut(fd as usize).and_then(Option::take).ok_or(Errno::Badf)
    }

    /// Moves `from` over `to`, and gives what was there; both must be open.
    pub(crate) fn renumber(&mut self, from: u32, to: u32) -> Result<Option<Entry>, Errno> {
        self.get(from)?;
        self.get(to)?;
        if from == to {
            return Ok(None);
        }
        let moved = self.entries[from as usize].take();
        Ok(std::mem::replace(&mut self.entries[to as usize], moved))
    }

    /// Takes all out, in order.
    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = (u32, Entry)> {
        let entries = std::mem::take(&mut self.entries).into_iter().enumerate();
        entries.filter_map(|(fd, entry)| entry.map(|entry| (fd as u32, entry)))
    }

    /// Every open descriptor in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Entry)> {
        self.entries
            .iter()
            .enumerate()
            .filter_map(|(fd, entry)| entry.as_ref().map(|entry| (fd as u32, entry)))
    }

    /// An open file, whatever its rights.
    pub(crate) fn file(&mut self, fd: u32) -> Result<(&mut OpenFile, Rights, u16), Errno> {
        let entry = self.get_mut(fd)?;
        match &mut entry.kind {
            Kind::File(file) => Ok((file, entry.base, entry.flags)),
            Kind::Directory(_) => Err(Errno::Badf),
            Kind::Input | Kind::Stdout | Kind::Stderr => Err(Errno::Spipe),
        }
    }

    /// An open directory that has these rights.
    pub(crate) fn directory(&self, fd: u32, rights: Rights) -> Result<&OpenDirectory, Errno> {
        let entry = self.get(fd)?;
        match &entry.kind {
            Kind::Directory(directory) => entry.need(rights).map(|()| directory),
            _ => Err(Errno::Notdir),
        }
    }
}
