//! A folder of this machine as a mount.
//!
//! Every path is resolved by the kernel below the directory it starts at (`openat2` with
//! `RESOLVE_BENEATH`; component by component where the kernel lacks it). Operations on names
//! resolve the parent that way and then act on the last name only, which the kernel does not
//! follow for them; operations on files act on what was resolved, never on the path again. So
//! a link swapped meanwhile changes which file inside the folder is meant, nothing more.

use super::{
    Advice, Directory, DirectoryEntry, Errno, File, FileType, Mount, Node, OpenHow, SetTime, Stat,
};
use cap_primitives::{
    ambient_authority,
    fs::{FollowSymlinks, OpenOptions, OpenOptionsExt, open, open_ambient_dir},
};
use rustix::{
    fd::{AsFd, AsRawFd},
    fs::{AtFlags, FallocateFlags, MemfdFlags, Mode, OFlags, Timespec, Timestamps},
    io::ReadWriteFlags,
};
use std::{
    any::Any,
    ffi::OsStr,
    fs, io,
    io::IoSlice,
    num::NonZeroU64,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// A folder of this machine; nothing outside it can be reached through it.
#[derive(Debug, Clone)]
pub struct LocalFolder {
    root: Arc<fs::File>,
}

#[derive(Debug, Clone)]
struct LocalDirectory {
    root: Arc<fs::File>,
    handle: Arc<fs::File>,
}

#[derive(Debug)]
struct LocalFile {
    root: Arc<fs::File>,
    handle: fs::File,
}

impl LocalFolder {
    /// Opens the folder at `path`, following links: whoever grants it has the say.
    pub fn open(path: &Path) -> io::Result<Self> {
        // Opened again below itself, because the ambient handle may be good for lookups only.
        let ambient = open_ambient_dir(path, ambient_authority())?;
        let root = open(&ambient, Path::new("."), &flags(OFlags::DIRECTORY, true))?;
        Ok(Self { root: Arc::new(root) })
    }
}

impl Mount for LocalFolder {
    fn root(&self) -> Result<Arc<dyn Directory>, Errno> {
        let (root, handle) = (self.root.clone(), self.root.clone());
        Ok(Arc::new(LocalDirectory { root, handle }))
    }

    fn scratch(&self) -> Result<Arc<dyn File>, Errno> {
        let on_disk = rustix::fs::openat(
            &self.root,
            ".",
            OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC,
            Mode::RUSR | Mode::WUSR,
        );
        // Not every file system has files without names, and a folder may be read-only.
        let handle = match on_disk {
            Ok(handle) => handle,
            Err(_) => rustix::fs::memfd_create("scratch", MemfdFlags::CLOEXEC)?,
        };
        Ok(Arc::new(LocalFile { root: self.root.clone(), handle: handle.into() }))
    }
}

/// Options of the path resolver that pass `flags` on as they are.
fn flags(flags: OFlags, follow: bool) -> OpenOptions {
    let mut options = OpenOptions::new();
    // A fifo must not stop the host, nor a terminal become the host's own. Lookups open nothing.
    let opens = !flags.contains(OFlags::PATH);
    let flags = if opens { flags | OFlags::NONBLOCK | OFlags::NOCTTY } else { flags };
    options.read(true).custom_flags(flags.bits() as i32);
    options._cap_fs_ext_follow(if follow { FollowSymlinks::Yes } else { FollowSymlinks::No });
    options
}

/// A path split where its last name starts.
struct Split<'p> {
    parent: &'p str,
    /// With the slashes that end the path: the kernel knows what they mean.
    name: &'p str,
}

impl<'p> Split<'p> {
    fn of(path: &'p str) -> Result<Self, Errno> {
        check(path)?;
        let end = path.trim_end_matches('/').len();
        match path[..end].rfind('/') {
            Some(slash) => Ok(Self { parent: &path[..=slash], name: &path[slash + 1..] }),
            None => Ok(Self { parent: ".", name: path }),
        }
    }
}

fn check(path: &str) -> Result<(), Errno> {
    match path.as_bytes().first() {
        None => Err(Errno::Noent),
        Some(b'/') => Err(Errno::ESCAPE),
        Some(_) => Ok(()),
    }
}

impl LocalDirectory {
    /// A handle for lookups of whatever `path` is.
    fn resolve(&self, path: &str, follow: bool) -> Result<fs::File, Errno> {
        check(path)?;
        Ok(open(&self.handle, Path::new(path), &flags(OFlags::PATH, follow))?)
    }

    /// The directory that holds the last name of `path`, and that name.
    fn parent<'p>(&self, path: &'p str) -> Result<(fs::File, &'p str), Errno> {
        let split = Split::of(path)?;
        let how = flags(OFlags::PATH | OFlags::DIRECTORY, true);
        let parent = open(&self.handle, Path::new(split.parent), &how)?;
        if split.name.trim_end_matches('/') == ".." {
            // The kernel refuses `..` as a name, but leading out is what is wrong with it.
            self.resolve(path, true)?;
        }
        Ok((parent, split.name))
    }

    fn peer<'d>(&self, other: &'d dyn Directory) -> Result<&'d Self, Errno> {
        other.as_any().downcast_ref::<Self>().ok_or(Errno::Xdev)
    }

    fn open_raw(&self, path: &str, how: OpenHow) -> Result<fs::File, Errno> {
        let mut extra = OFlags::empty();
        extra.set(OFlags::CREATE, how.create);
        extra.set(OFlags::EXCL, how.exclusive && how.create);
        extra.set(OFlags::TRUNC, how.truncate);
        extra.set(OFlags::DIRECTORY, how.directory);
        let mut options = flags(extra, how.follow);
        // What is written to is opened to be read too, for a snapshot.
        options.read(true).write(how.write);
        match open(&self.handle, Path::new(path), &options) {
            Err(error) if how.write && !how.read && denied(&error) => {
                options.read(false);
                Ok(open(&self.handle, Path::new(path), &options)?)
            }
            opened => Ok(opened?),
        }
    }
}

fn denied(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::ACCESS.raw_os_error())
}

impl Directory for LocalDirectory {
    fn open(&self, path: &str, how: OpenHow) -> Result<Node, Errno> {
        check(path)?;
        let handle = self.open_raw(path, how)?;
        let root = self.root.clone();
        match file_type(rustix::fs::fstat(&handle)?.st_mode) {
            FileType::Directory => {
                Ok(Node::Directory(Arc::new(Self { root, handle: Arc::new(handle) })))
            }
            FileType::RegularFile | FileType::CharacterDevice | FileType::BlockDevice => {
                Ok(Node::File(Arc::new(LocalFile { root, handle })))
            }
            // Fifos and sockets would stop the host or lead out of it.
            _ => Err(Errno::Notsup),
        }
    }

    fn stat(&self) -> Result<Stat, Errno> {
        stat(&self.handle)
    }

    fn stat_path(&self, path: &str, follow: bool) -> Result<Stat, Errno> {
        stat(self.resolve(path, follow)?)
    }

    fn entries(&self, limit: u32) -> Result<Vec<DirectoryEntry>, Errno> {
        let listing = match rustix::fs::Dir::read_from(&self.handle) {
            Ok(listing) => listing,
            // A directory that was removed while open is empty.
            Err(rustix::io::Errno::NOENT) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let mut entries = Vec::new();
        for entry in listing {
            let entry = entry?;
            // A guest can spell only UTF-8.
            let Ok(name) = entry.file_name().to_str() else { continue };
            if name == "." || name == ".." {
                continue;
            }
            if entries.len() >= limit as usize {
                return Err(Errno::Nomem);
            }
            entries.push(DirectoryEntry {
                name: name.to_owned(),
                inode: entry.ino(),
                file_type: self.entry_type(name, entry.file_type()),
            });
        }
        Ok(entries)
    }

    fn create_directory(&self, path: &str) -> Result<(), Errno> {
        let (parent, name) = self.parent(path)?;
        Ok(rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o777))?)
    }

    fn remove_directory(&self, path: &str) -> Result<(), Errno> {
        let (parent, name) = self.parent(path)?;
        Ok(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?)
    }

    fn remove_file(&self, path: &str) -> Result<(), Errno> {
        let (parent, name) = self.parent(path)?;
        Ok(rustix::fs::unlinkat(parent, name, AtFlags::empty())?)
    }

    fn rename(&self, path: &str, target: &dyn Directory, to: &str) -> Result<(), Errno> {
        let (from_parent, from) = self.parent(path)?;
        let (to_parent, to) = self.peer(target)?.parent(to)?;
        Ok(rustix::fs::renameat(from_parent, from, to_parent, to)?)
    }

    fn link(
        &self,
        path: &str,
        follow: bool,
        target: &dyn Directory,
        to: &str,
    ) -> Result<(), Errno> {
        let source = self.resolve(path, follow)?;
        if stat(&source)?.file_type == FileType::Directory {
            return Err(Errno::Perm);
        }
        let (to_parent, to) = self.peer(target)?.parent(to)?;
        if follow {
            // Through the handle's own name, so that it is this file and no other.
            let source = format!("/proc/self/fd/{}", source.as_raw_fd());
            let cwd = rustix::fs::CWD;
            return Ok(rustix::fs::linkat(cwd, source, to_parent, to, AtFlags::SYMLINK_FOLLOW)?);
        }
        let (parent, name) = self.parent(path)?;
        Ok(rustix::fs::linkat(parent, name, to_parent, to, AtFlags::empty())?)
    }

    fn symlink(&self, contents: &str, path: &str) -> Result<(), Errno> {
        // Such a link means something to other programs of the host, and nothing to the guest.
        if contents.starts_with('/') {
            return Err(Errno::ESCAPE);
        }
        let (parent, name) = self.parent(path)?;
        Ok(rustix::fs::symlinkat(contents, parent, name)?)
    }

    fn read_link(&self, path: &str) -> Result<String, Errno> {
        let link = self.resolve(path, false)?;
        let contents = match rustix::fs::readlinkat(&link, "", Vec::new()) {
            Ok(contents) => contents,
            // What the kernel says of a handle that is not a link's.
            Err(rustix::io::Errno::NOENT) => return Err(Errno::Inval),
            Err(error) => return Err(error.into()),
        };
        contents.into_string().map_err(|_| Errno::Ilseq)
    }

    fn set_times(&self, accessed: SetTime, modified: SetTime) -> Result<(), Errno> {
        Ok(rustix::fs::futimens(&self.handle, &timestamps(accessed, modified))?)
    }

    fn set_times_path(
        &self,
        path: &str,
        follow: bool,
        accessed: SetTime,
        modified: SetTime,
    ) -> Result<(), Errno> {
        let handle = self.resolve(path, follow)?;
        let times = timestamps(accessed, modified);
        Ok(rustix::fs::utimensat(handle, "", &times, AtFlags::EMPTY_PATH)?)
    }

    fn sync(&self) -> Result<(), Errno> {
        Ok(rustix::fs::fsync(&self.handle)?)
    }

    fn locate(&self) -> Option<String> {
        locate(&self.root, &self.handle)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl LocalDirectory {
    fn entry_type(&self, name: &str, known: rustix::fs::FileType) -> FileType {
        if known != rustix::fs::FileType::Unknown {
            return kind(known);
        }
        self.stat_path(name, false).map_or(FileType::Unknown, |stat| stat.file_type)
    }
}

impl File for LocalFile {
    fn read_at(&self, into: &mut [u8], offset: u64) -> Result<usize, Errno> {
        retry(|| rustix::io::pread(&self.handle, &mut *into, offset))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<usize, Errno> {
        retry(|| rustix::io::pwrite(&self.handle, bytes, offset))
    }

    fn append(&self, bytes: &[u8]) -> Result<(usize, u64), Errno> {
        let parts = [IoSlice::new(bytes)];
        // With the handle's own offset, which the kernel leaves at the end of what it wrote.
        let own = u64::MAX;
        let append = || rustix::io::pwritev2(&self.handle, &parts, own, ReadWriteFlags::APPEND);
        match retry(append) {
            Ok(written) => Ok((written, rustix::fs::tell(&self.handle)?)),
            Err(Errno::Notsup) => {
                let end = self.stat()?.size;
                let written = self.write_at(bytes, end)?;
                Ok((written, end + written as u64))
            }
            Err(error) => Err(error),
        }
    }

    fn stat(&self) -> Result<Stat, Errno> {
        stat(&self.handle)
    }

    fn set_size(&self, size: u64) -> Result<(), Errno> {
        Ok(rustix::fs::ftruncate(&self.handle, size)?)
    }

    fn allocate(&self, offset: u64, length: u64) -> Result<(), Errno> {
        let end = offset.checked_add(length).ok_or(Errno::Fbig)?;
        let reserve =
            || rustix::fs::fallocate(&self.handle, FallocateFlags::empty(), offset, length);
        match retry(|| reserve().map(|()| 0)) {
            // Where space cannot be reserved, the size is what can be promised.
            Err(Errno::Notsup) if self.stat()?.size < end => self.set_size(end),
            Err(Errno::Notsup) => Ok(()),
            result => result.map(|_| ()),
        }
    }

    fn advise(&self, offset: u64, length: u64, advice: Advice) -> Result<(), Errno> {
        let advice = match advice {
            Advice::Normal => rustix::fs::Advice::Normal,
            Advice::Sequential => rustix::fs::Advice::Sequential,
            Advice::Random => rustix::fs::Advice::Random,
            Advice::WillNeed => rustix::fs::Advice::WillNeed,
            Advice::DontNeed => rustix::fs::Advice::DontNeed,
            Advice::NoReuse => rustix::fs::Advice::NoReuse,
        };
        Ok(rustix::fs::fadvise(&self.handle, offset, NonZeroU64::new(length), advice)?)
    }

    fn sync(&self, data_only: bool) -> Result<(), Errno> {
        let done = if data_only {
            rustix::fs::fdatasync(&self.handle)
        } else {
            rustix::fs::fsync(&self.handle)
        };
        Ok(done?)
    }

    fn set_times(&self, accessed: SetTime, modified: SetTime) -> Result<(), Errno> {
        Ok(rustix::fs::futimens(&self.handle, &timestamps(accessed, modified))?)
    }

    fn locate(&self) -> Option<String> {
        locate(&self.root, &self.handle)
    }
}

fn retry(mut call: impl FnMut() -> rustix::io::Result<usize>) -> Result<usize, Errno> {
    loop {
        match call() {
            Err(rustix::io::Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
}

fn timestamps(accessed: SetTime, modified: SetTime) -> Timestamps {
    let time = |time| match time {
        SetTime::Keep => Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
        SetTime::Now => Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW },
        SetTime::To(ns) => Timespec {
            // At most 2^64 / 10^9 seconds, which fits.
            tv_sec: (ns / 1_000_000_000) as i64,
            tv_nsec: (ns % 1_000_000_000) as i64,
        },
    };
    Timestamps { last_access: time(accessed), last_modification: time(modified) }
}

#[allow(clippy::useless_conversion, reason = "the count of links is narrower on other processors")]
fn stat(handle: impl AsFd) -> Result<Stat, Errno> {
    let stat = rustix::fs::fstat(handle)?;
    Ok(Stat {
        device: stat.st_dev,
        inode: stat.st_ino,
        file_type: file_type(stat.st_mode),
        links: u64::from(stat.st_nlink),
        size: u64::try_from(stat.st_size).unwrap_or_default(),
        accessed_ns: nanoseconds(stat.st_atime, stat.st_atime_nsec),
        modified_ns: nanoseconds(stat.st_mtime, stat.st_mtime_nsec),
        changed_ns: nanoseconds(stat.st_ctime, stat.st_ctime_nsec),
    })
}

/// Times before 1970 do not exist in preview 1.
fn nanoseconds(seconds: i64, fraction: u64) -> u64 {
    let seconds = u64::try_from(seconds).unwrap_or_default();
    seconds.saturating_mul(1_000_000_000).saturating_add(fraction)
}

fn file_type(mode: u32) -> FileType {
    kind(rustix::fs::FileType::from_raw_mode(mode))
}

fn kind(kind: rustix::fs::FileType) -> FileType {
    use rustix::fs::FileType as Os;
    match kind {
        Os::RegularFile => FileType::RegularFile,
        Os::Directory => FileType::Directory,
        Os::Symlink => FileType::SymbolicLink,
        Os::CharacterDevice => FileType::CharacterDevice,
        Os::BlockDevice => FileType::BlockDevice,
        Os::Socket => FileType::SocketStream,
        Os::Fifo | Os::Unknown => FileType::Unknown,
    }
}

/// The path from `root` to what `handle` holds open, proved by opening it again.
fn locate(root: &fs::File, handle: &fs::File) -> Option<String> {
    let here = |handle: &fs::File| -> Option<PathBuf> {
        let link = format!("/proc/self/fd/{}", handle.as_raw_fd());
        let path = rustix::fs::readlink(link, Vec::new()).ok()?;
        Some(PathBuf::from(OsStr::from_bytes(path.to_bytes())))
    };
    let path = here(handle)?.strip_prefix(here(root)?).ok()?.to_str()?.to_owned();
    let path = if path.is_empty() { ".".to_owned() } else { path };
    let found = open(root, Path::new(&path), &flags(OFlags::PATH, false)).ok()?;
    let (found, held) = (stat(found).ok()?, stat(handle).ok()?);
    ((found.device, found.inode) == (held.device, held.inode)).then_some(path)
}
