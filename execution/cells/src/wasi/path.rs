//! Functions that take a path.

use super::{
    Errno, Node, OpenHow, Rights, Wasi,
    descriptor::{put_stat, set_times},
    memory::Guest,
    table::{Entry, Kind, OpenDirectory, OpenFile, flags},
};

/// The bits of `oflags`.
mod oflags {
    pub(super) const CREATE: u32 = 1;
    pub(super) const DIRECTORY: u32 = 1 << 1;
    pub(super) const EXCLUSIVE: u32 = 1 << 2;
    pub(super) const TRUNCATE: u32 = 1 << 3;
    pub(super) const ALL: u32 = CREATE | DIRECTORY | EXCLUSIVE | TRUNCATE;
}

/// Reads `lookupflags`: whether to follow a link in the last place.
fn follow(raw: u32) -> Result<bool, Errno> {
    match raw {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Errno::Inval),
    }
}

impl Wasi {
    /// `path_open`.
    #[expect(clippy::too_many_arguments, reason = "the specification's parameters")]
    pub fn path_open(
        &mut self,
        memory: &mut [u8],
        fd: u32,
        lookup: u32,
        path: u32,
        length: u32,
        oflags: u32,
        base: u64,
        inheriting: u64,
        fdflags: u32,
        result: u32,
    ) -> Result<(), Errno> {
        let mut memory = Guest(memory);
        memory.range(result, 4)?;
        let path = memory.path(path, length, self.limits.path_bytes)?;
        let asked = Asked {
            follow: follow(lookup)?,
            oflags,
            base: Rights(base),
            inheriting: Rights(inheriting),
            flags: flags::check(fdflags)?,
        };
        asked.check()?;
        self.table.room()?;
        let entry = self.open(fd, path, &asked)?;
        let opened = self.table.insert(entry)?;
        memory.put_u32(result, opened)
    }

    fn open(&self, fd: u32, path: &str, asked: &Asked) -> Result<Entry, Errno> {
        let directory = self.table.directory(fd, asked.needed())?;
        let passed_on = self.table.get(fd)?.inheriting;
        asked.granted(passed_on)?;
        let mount = directory.mount;
        let read_only = self.writable(mount).is_err();
        let (node, how) = open_node(&*directory.node, path, asked, read_only)?;
        match node {
            Node::File(node) => {
                let readable = how.read && asked.base.contains(Rights::FD_READ);
                let file = OpenFile { node, mount, offset: 0, readable, writable: how.write };
                Ok(Entry {
                    kind: Kind::File(file),
                    base: asked.file_rights(passed_on, how.write),
                    inheriting: Rights::NONE,
                    flags: asked.flags,
                })
            }
            Node::Directory(node) => {
                let (base, inheriting) = asked.directory_rights(passed_on)?;
                let opened = OpenDirectory { node, mount, preopen: false, listing: None };
                let kind = Kind::Directory(opened);
                Ok(Entry { kind, base, inheriting, flags: asked.flags })
            }
        }
    }

    /// `path_create_directory`.
    pub fn path_create_directory(
        &mut self,
        memory: &mut [u8],
        fd: u32,
        path: u32,
        length: u32,
    ) -> Result<(), Errno> {
        let memory = Guest(memory);
        let path = memory.path(path, length, self.limits.path_bytes)?;
        let directory = self.table.directory(fd, Rights::PATH_CREATE_DIRECTORY)?;
        self.writable(directory.mount)?;
        directory.node.create_directory(path)
    }

    /// `path_filestat_get`.
    pub fn path_filestat_get(
        &mut self,
        memory: &mut [u8],
        fd: u32,
        lookup: u32,
        path: u32,
        length: u32,
        result: u32,
    ) -> Result<(), Errno> {
        let mut memory = Guest(memory);
        let follow = follow(lookup)?;
        let path = memory.path(path, length, self.limits.path_bytes)?;
        let directory = self.table.directory(fd, Rights::PATH_FILESTAT_GET)?;
        let stat = directory.node.stat_path(path, follow)?;
        put_stat(&mut memory, result, &stat)
    }

    /// `path_filestat_set_times`.
    #[expect(clippy::too_many_arguments, reason = "the specification's parameters")]
    pub fn path_filestat_set_times(
        &mut self,
        memory: &mut [u8],
        fd: u32,
        lookup: u32,
        path: u32,
        length: u32,
        accessed: u64,
        modified: u64,
        which: u32,
    ) -> Result<(), Errno> {
        let memory = Guest(memory);
        let follow = follow(lookup)?;
        let (accessed, modified) = set_times(accessed, modified, which)?;
        let path = memory.path(path, length, self.limits.path_bytes)?;
        let directory = self.table.directory(fd, Rights::PATH_FILESTAT_SET_TIMES)?;
        self.writable(directory.mount)?;
        directory.node.set_times_path(path, follow, accessed, modified)
    }

    /// `path_link`.
    #[expect(clippy::too_many_arguments, reason = "the specification's parameters")]
    pub fn path_link(
        &mut self,
        memory: &mut [u8],
        old_fd: u32,
        old_lookup: u32,
        old_path: u32,
        old_length: u32,
        new_fd: u32,
        new_path: u32,
        new_length: u32,
    ) -> Result<(), Errno> {
        let memory = Guest(memory);
        let follow = follow(old_lookup)?;
        let from = memory.path(old_path, old_length, self.limits.path_bytes)?;
        let to = memory.path(new_path, new_length, self.limits.path_bytes)?;
        let source = self.table.directory(old_fd, Rights::PATH_LINK_SOURCE)?;
        let target = self.table.directory(new_fd, Rights::PATH_LINK_TARGET)?;
        self.pair(source, target)?;
        source.node.link(from, follow, &*target.node, to)
    }

    /// `path_readlink`: what does not fit the buffer is cut off, as POSIX says.
    #[expect(clippy::too_many_arguments, reason = "the specification's parameters")]
    pub fn path_readlink(
        &mut self,
        memory: &mut [u8],
        fd: u32,
        path: u32,
        length: u32,
        buffer: u32,
        buffer_length: u32,
        result: u32,
    ) -> Result<(), Errno> {
        let mut memory = Guest(memory);
        memory.range(buffer, buffer_length)?;
        memory.range(result, 4)?;
        let path = memory.path(path, length, self.limits.path_bytes)?;
        let directory = self.table.directory(fd, Rights::PATH_READLINK)?;
        let contents = directory.node.read_link(path)?;
        let fits = contents.len().min(buffer_length as usize);
        memory.write(buffer, &contents.as_bytes()[..fits])?;
        memory.put_u32(result, fits as u32)
    }

    /// `path_remove_directory`.
    pub fn path_remove_directory(
        &mut self,
        memory: &mut [u8],
        fd: u32,
        path: u32,
        length: u32,
    ) -> Result<(), Errno> {
        let memory = Guest(memory);
        let path = memory.path(path, length, self.limits.path_bytes)?;
        let directory = self.table.directory(fd, Rights::PATH_REMOVE_DIRECTORY)?;
        self.writable(directory.mount)?;
        directory.node.remove_directory(path)
    }

    /// `path_rename`.
    #[expect(clippy::too_many_arguments, reason = "the specification's parameters")]
    pub fn path_rename(
        &mut self,
        memory: &mut [u8],
        fd: u32,
        old_path: u32,
        old_length: u32,
        new_fd: u32,
        new_path: u32,
        new_length: u32,
    ) -> Result<(), Errno> {
        let memory = Guest(memory);
        let from = memory.path(old_path, old_length, self.limits.path_bytes)?;
        let to = memory.path(new_path, new_length, self.limits.path_bytes)?;
        let source = self.table.directory(fd, Rights::PATH_RENAME_SOURCE)?;
        let target = self.table.directory(new_fd, Rights::PATH_RENAME_TARGET)?;
        self.pair(source, target)?;
        source.node.rename(from, &*target.node, to)
    }

    /// Refuses to work across mounts or to change one that is for reading.
    fn pair(&self, source: &OpenDirectory, target: &OpenDirectory) -> Result<(), Errno> {
        self.writable(source.mount)?;
        self.writable(target.mount)?;
        if source.mount == target.mount { Ok(()) } else { Err(Errno::Xdev) }
    }

    /// `path_symlink`.
    pub fn path_symlink(
        &mut self,
        memory: &mut [u8],
        contents: u32,
        contents_length: u32,
        fd: u32,
        path: u32,
        length: u32,
    ) -> Result<(), Errno> {
        let memory = Guest(memory);
        let contents = memory.path(contents, contents_length, self.limits.path_bytes)?;
        let path = memory.path(path, length, self.limits.path_bytes)?;
        let directory = self.table.directory(fd, Rights::PATH_SYMLINK)?;
        self.writable(directory.mount)?;
        directory.node.symlink(contents, path)
    }

    /// `path_unlink_file`.
    pub fn path_unlink_file(
        &mut self,
        memory: &mut [u8],
        fd: u32,
        path: u32,
        length: u32,
    ) -> Result<(), Errno> {
        let memory = Guest(memory);
        let path = memory.path(path, length, self.limits.path_bytes)?;
        let directory = self.table.directory(fd, Rights::PATH_UNLINK_FILE)?;
        self.writable(directory.mount)?;
        directory.node.remove_file(path)
    }
}

/// What a `path_open` asks for.
struct Asked {
    follow: bool,
    oflags: u32,
    base: Rights,
    inheriting: Rights,
    flags: u16,
}

impl Asked {
    fn has(&self, oflag: u32) -> bool {
        self.oflags & oflag != 0
    }

    fn check(&self) -> Result<(), Errno> {
        if self.oflags & !oflags::ALL != 0 {
            return Err(Errno::Inval);
        }
        // A directory is neither made nor emptied by opening it.
        if self.has(oflags::DIRECTORY) && self.oflags != oflags::DIRECTORY {
            return Err(Errno::Inval);
        }
        Ok(())
    }

    /// What the directory's descriptor must allow.
    fn needed(&self) -> Rights {
        let mut needed = Rights::PATH_OPEN;
        if self.has(oflags::CREATE) {
            needed = needed | Rights::PATH_CREATE_FILE;
        }
        if self.has(oflags::TRUNCATE) {
            needed = needed | Rights::PATH_FILESTAT_SET_SIZE;
        }
        if self.flags & flags::DSYNC != 0 {
            needed = needed | Rights::FD_DATASYNC;
        }
        if self.flags & (flags::SYNC | flags::RSYNC) != 0 {
            needed = needed | Rights::FD_SYNC;
        }
        needed
    }

    /// Refuses, before anything is opened, rights of a file that the directory does not pass on.
    /// Those that do not apply to what is opened are left out silently.
    fn granted(&self, passed_on: Rights) -> Result<(), Errno> {
        let applicable = if self.has(oflags::DIRECTORY) { Rights::DIRECTORY } else { Rights::FILE };
        if passed_on.contains(self.base & applicable) { Ok(()) } else { Err(Errno::Notcapable) }
    }

    fn how(&self) -> OpenHow {
        let directory = self.has(oflags::DIRECTORY);
        OpenHow {
            follow: self.follow,
            read: directory
                || self.base.intersects(Rights::FD_READ)
                || !self.base.intersects(Rights::WRITING),
            write: !directory && self.base.intersects(Rights::WRITING),
            create: self.has(oflags::CREATE),
            exclusive: self.has(oflags::EXCLUSIVE),
            truncate: self.has(oflags::TRUNCATE),
            directory,
        }
    }

    fn file_rights(&self, passed_on: Rights, write: bool) -> Rights {
        let implied = if write && self.base.contains(Rights::FD_WRITE) {
            Rights::FILE_IMPLIED | Rights::WRITING
        } else {
            Rights::FILE_IMPLIED
        };
        let unusable = if write { Rights::NONE } else { Rights::WRITING };
        let rights = (self.base & Rights::FILE | implied) & passed_on;
        Rights(rights.0 & !unusable.0)
    }

    fn directory_rights(&self, passed_on: Rights) -> Result<(Rights, Rights), Errno> {
        let base = self.base & Rights::DIRECTORY;
        let inheriting = self.inheriting & (Rights::DIRECTORY | Rights::FILE);
        if !passed_on.contains(base) || !passed_on.contains(inheriting) {
            return Err(Errno::Notcapable);
        }
        // Programs that know of no rights ask for none and mean what they have.
        let base = if base == Rights::NONE { passed_on & Rights::DIRECTORY } else { base };
        let inheriting = if inheriting == Rights::NONE { passed_on } else { inheriting };
        Ok((base, inheriting))
    }
}

/// Opens what was asked for, as far as the grant allows changes.
fn open_node(
    directory: &dyn super::Directory,
    path: &str,
    asked: &Asked,
    read_only: bool,
) -> Result<(Node, OpenHow), Errno> {
    let mut how = asked.how();
    if !read_only {
        let opened = directory.open(path, how);
        // Rights to a size alone do not apply to a directory; the right to write shows that a
        // file was meant.
        if opened.as_ref().err() == Some(&Errno::Isdir)
            && !asked.base.contains(Rights::FD_WRITE)
            && !how.create
            && !how.truncate
        {
            (how.read, how.write) = (true, false);
            return Ok((directory.open(path, how)?, how));
        }
        return Ok((opened?, how));
    }
    if how.write || how.truncate {
        return Err(Errno::Rofs);
    }
    let create = std::mem::take(&mut how.create);
    match directory.open(path, how) {
        Err(Errno::Noent) if create => Err(Errno::Rofs),
        Ok(_) if create && how.exclusive => Err(Errno::Exist),
        opened => Ok((opened?, how)),
    }
}
