//! What a file system must be able to do to be granted to a cell.

use super::Errno;
use serde::{Deserialize, Serialize};
use std::{any::Any, sync::Arc};

/// The kinds of file that preview 1 knows, with its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub enum FileType {
    /// Something else, or not known.
    Unknown = 0,
    /// A block device.
    BlockDevice = 1,
    /// A character device, such as a terminal.
    CharacterDevice = 2,
    /// A directory.
    Directory = 3,
    /// A file.
    RegularFile = 4,
    /// A datagram socket.
    SocketDgram = 5,
    /// A stream socket.
    SocketStream = 6,
    /// A symbolic link.
    SymbolicLink = 7,
}

/// What is known of a file without reading it; times are nanoseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// The device or store that holds it.
    pub device: u64,
    /// Its number there: two names with the same number are one file.
    pub inode: u64,
    /// What it is.
    pub file_type: FileType,
    /// How many names it has.
    pub links: u64,
    /// Its length in bytes.
    pub size: u64,
    /// Last read.
    pub accessed_ns: u64,
    /// Last written.
    pub modified_ns: u64,
    /// Last changed in any way.
    pub changed_ns: u64,
}

/// One name in a directory; `.` and `..` are not listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryEntry {
    /// The name.
    pub name: String,
    /// The file's number.
    pub inode: u64,
    /// What it is.
    pub file_type: FileType,
}

/// What to do with one of a file's times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetTime {
    /// Leave it.
    Keep,
    /// The store's present time.
    Now,
    /// Nanoseconds since the Unix epoch.
    To(u64),
}

/// How to open a path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OpenHow {
    /// Follow a symbolic link in the last place.
    pub follow: bool,
    /// To read.
    pub read: bool,
    /// To write.
    pub write: bool,
    /// Make a file if there is none.
    pub create: bool,
    /// Fail if there is one.
    pub exclusive: bool,
    /// Empty it.
    pub truncate: bool,
    /// Fail unless it is a directory.
    pub directory: bool,
}

/// What was opened.
#[derive(Clone)]
pub enum Node {
    /// Anything with bytes.
    File(Arc<dyn File>),
    /// A directory.
    Directory(Arc<dyn Directory>),
}

/// A file system that can be granted to a cell.
///
/// What an implementation cannot do it answers with [`Errno::Notsup`].
pub trait Mount: Send + Sync {
    /// Its topmost directory.
    fn root(&self) -> Result<Arc<dyn Directory>, Errno>;

    /// An empty file without a name, for a restored cell that had removed a file it held open.
    fn scratch(&self) -> Result<Arc<dyn File>, Errno>;
}

/// An open directory. Paths are relative, UTF-8, without NUL, may end in `/`, and must not lead
/// out of this directory, whatever links they pass: [`Errno::ESCAPE`].
pub trait Directory: Send + Sync {
    /// Opens a file or directory under this one.
    fn open(&self, path: &str, how: OpenHow) -> Result<Node, Errno>;

    /// What this directory is.
    fn stat(&self) -> Result<Stat, Errno>;

    /// What `path` is.
    fn stat_path(&self, path: &str, follow: bool) -> Result<Stat, Errno>;

    /// The names in this directory, in no order, at most `limit`; more are [`Errno::Nomem`].
    fn entries(&self, limit: u32) -> Result<Vec<DirectoryEntry>, Errno>;

    /// Makes a directory.
    fn create_directory(&self, path: &str) -> Result<(), Errno>;

    /// Removes an empty directory.
    fn remove_directory(&self, path: &str) -> Result<(), Errno>;

    /// Removes a name that is not a directory's.
    fn remove_file(&self, path: &str) -> Result<(), Errno>;

    /// Gives `path` the name `to` in `target`, replacing what is there.
    fn rename(&self, path: &str, target: &dyn Directory, to: &str) -> Result<(), Errno>;

    /// Gives the file at `path` the further name `to` in `target`.
    fn link(&self, path: &str, follow: bool, target: &dyn Directory, to: &str)
    -> Result<(), Errno>;

    /// Makes a symbolic link that holds `contents`.
    fn symlink(&self, contents: &str, path: &str) -> Result<(), Errno>;

    /// What a symbolic link holds.
    fn read_link(&self, path: &str) -> Result<String, Errno>;

    /// Sets this directory's times.
    fn set_times(&self, accessed: SetTime, modified: SetTime) -> Result<(), Errno>;

    /// Sets the times of `path`.
    fn set_times_path(
        &self,
        path: &str,
        follow: bool,
        accessed: SetTime,
        modified: SetTime,
    ) -> Result<(), Errno>;

    /// Waits until changes of names are on disk.
    fn sync(&self) -> Result<(), Errno>;

    /// Where it is now, from the mount's root (`.` for the root), if it still has a name there.
    fn locate(&self) -> Option<String>;

    /// For an operation on two directories to see that both are of its kind.
    fn as_any(&self) -> &dyn Any;
}

/// An open file. The offset is the descriptor's, so every access names its own.
pub trait File: Send + Sync {
    /// Reads at `offset`; 0 bytes mean the end.
    fn read_at(&self, into: &mut [u8], offset: u64) -> Result<usize, Errno>;

    /// Writes at `offset`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<usize, Errno>;

    /// Writes at the end, whoever else does so; answers the bytes written and the end after them.
    fn append(&self, bytes: &[u8]) -> Result<(usize, u64), Errno>;

    /// What this file is.
    fn stat(&self) -> Result<Stat, Errno>;

    /// Cuts it or fills it up with zeros.
    fn set_size(&self, size: u64) -> Result<(), Errno>;

    /// Reserves space, growing the file if the range ends behind its end.
    fn allocate(&self, offset: u64, length: u64) -> Result<(), Errno>;

    /// Takes note of how it will be used.
    fn advise(&self, _offset: u64, _length: u64, _advice: Advice) -> Result<(), Errno> {
        Ok(())
    }

    /// Waits until it is on disk; `data_only` leaves out what is not needed to read it back.
    fn sync(&self, data_only: bool) -> Result<(), Errno>;

    /// Sets its times.
    fn set_times(&self, accessed: SetTime, modified: SetTime) -> Result<(), Errno>;

    /// Where it is now, from the mount's root, if it still has a name there.
    fn locate(&self) -> Option<String>;

    /// The number of the state that it shows, where the mount gives each state a number and this
    /// one has no change that is not in it. A snapshot then says the number and carries no bytes.
    fn version(&self) -> Option<u64> {
        None
    }

    /// Ends an opening in order: where files become visible when they are closed, now. Clones are
    /// one opening, which the last of them ends. One that is dropped instead leaves no trace of
    /// what was written through it.
    fn close(self: Arc<Self>) -> Result<(), Errno> {
        Ok(())
    }
}

/// How a file will be used, with preview 1's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// Nothing is known.
    Normal,
    /// From the front to the back.
    Sequential,
    /// In no order.
    Random,
    /// Soon.
    WillNeed,
    /// Not soon.
    DontNeed,
    /// Once.
    NoReuse,
}
