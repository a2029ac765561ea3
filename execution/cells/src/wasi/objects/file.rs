//! One opening of a file.

use super::{Shared, inode::Inode, names::Names};
use crate::wasi::{Errno, File, SetTime, Stat};
use std::sync::Arc;

/// An opening, which is counted until it ends.
#[derive(Debug)]
pub(super) struct ObjectFile {
    shared: Arc<Shared>,
    inode: Arc<Inode>,
    writes: bool,
    ended: bool,
}

impl ObjectFile {
    pub(super) fn open(
        shared: &Arc<Shared>,
        names: &mut Names,
        inode: Arc<Inode>,
        writes: bool,
    ) -> Arc<Self> {
        names.opened(&inode, writes);
        Arc::new(Self { shared: shared.clone(), inode, writes, ended: false })
    }

    /// Counts it out. In order, the last opening that may write seals the file; out of order nobody
    /// does.
    fn end(&mut self, in_order: bool) -> Result<(), Errno> {
        self.ended = true;
        let mut names = self.shared.names();
        let left = names.closed(&self.inode, self.writes);
        if self.writes && !in_order && left.writing == 0 {
            self.inode.abandon();
        }
        let sealed = match in_order && left.writing == 0 {
            true => self.inode.seal(&self.shared, left.all > 0),
            false => Ok(()),
        };
        if left.all == 0 {
            names.forget(&self.inode);
        }
        sealed
    }
}

impl File for ObjectFile {
    fn read_at(&self, into: &mut [u8], offset: u64) -> Result<usize, Errno> {
        self.inode.read_at(into, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<usize, Errno> {
        self.inode.write_at(&self.shared, bytes, offset)
    }

    fn append(&self, bytes: &[u8]) -> Result<(usize, u64), Errno> {
        self.inode.append(&self.shared, bytes)
    }

    fn stat(&self) -> Result<Stat, Errno> {
        self.inode.stat(&self.shared)
    }

    fn set_size(&self, size: u64) -> Result<(), Errno> {
        self.inode.set_size(&self.shared, size)
    }

    fn allocate(&self, offset: u64, length: u64) -> Result<(), Errno> {
        let end = offset.checked_add(length).ok_or(Errno::Fbig)?;
        self.inode.extend(&self.shared, end)
    }

    fn sync(&self, _data_only: bool) -> Result<(), Errno> {
        self.inode.sync(&self.shared)
    }

    fn set_times(&self, accessed: SetTime, modified: SetTime) -> Result<(), Errno> {
        self.inode.set_times(&self.shared, accessed, modified)
    }

    fn locate(&self) -> Option<String> {
        let name = self.inode.name()?;
        let Some(version) = self.inode.version() else { return Some(name) };
        // Somebody else may have sealed the name again, or removed it.
        let stat = self.shared.stat(&name).ok()??;
        (stat.version == version).then_some(name)
    }

    fn version(&self) -> Option<u64> {
        self.inode.version()
    }

    fn close(self: Arc<Self>) -> Result<(), Errno> {
        Arc::into_inner(self).map_or(Ok(()), |mut opening| opening.end(true))
    }
}

impl Drop for ObjectFile {
    fn drop(&mut self) {
        if !self.ended {
            // Nothing is sealed, so nothing can be refused.
            let _ = self.end(false);
        }
    }
}
