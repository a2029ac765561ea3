//! `fd_readdir`.

use super::{
    DirectoryEntry, Errno, FileType, Rights, Wasi,
    memory::Guest,
    table::{Kind, OpenDirectory},
};

/// Bytes of a `dirent` before its name.
const HEADER: usize = 24;

impl Wasi {
    /// `fd_readdir`: a cookie is a place in a listing that is taken when the guest starts at the
    /// front; names are in order, so that two hosts list alike.
    pub fn fd_readdir(
        &mut self,
        memory: &mut [u8],
        fd: u32,
        buffer: u32,
        length: u32,
        cookie: u64,
        result: u32,
    ) -> Result<(), Errno> {
        let mut memory = Guest(memory);
        memory.range(result, 4)?;
        memory.range(buffer, length)?;
        let limit = self.limits.directory_entries;
        let entry = self.table.get_mut(fd)?;
        if matches!(entry.kind, Kind::Directory(_)) {
            entry.need(Rights::FD_READDIR)?;
        }
        let Kind::Directory(directory) = &mut entry.kind else { return Err(Errno::Notdir) };
        let listing = listing(directory, cookie, limit)?;
        let mut into = memory.slice_mut(buffer, length)?;
        let mut cookie = cookie;
        let start = usize::try_from(cookie).unwrap_or(usize::MAX);
        for entry in listing.iter().skip(start) {
            cookie += 1;
            if !put(&mut into, entry, cookie) {
                break;
            }
        }
        let used = length - into.len() as u32;
        memory.put_u32(result, used)
    }
}

fn listing(
    directory: &mut OpenDirectory,
    cookie: u64,
    limit: u32,
) -> Result<&[DirectoryEntry], Errno> {
    if cookie == 0 || directory.listing.is_none() {
        directory.listing = Some(read(directory, limit)?);
    }
    Ok(directory.listing.as_deref().unwrap_or_default())
}

fn read(directory: &OpenDirectory, limit: u32) -> Result<Vec<DirectoryEntry>, Errno> {
    let mut entries = directory.node.entries(limit)?;
    entries.sort_by(|one, other| one.name.cmp(&other.name));
    // The parent may be outside of what was granted, so it has no number of its own here.
    let inode = directory.node.stat()?.inode;
    let own = |name: &str| DirectoryEntry {
        name: name.to_owned(),
        inode,
        file_type: FileType::Directory,
    };
    entries.splice(0..0, [own("."), own("..")]);
    Ok(entries)
}

/// Puts one entry at the front of `into` and moves it on; `false` if it was cut off.
fn put(into: &mut &mut [u8], entry: &DirectoryEntry, next: u64) -> bool {
    let mut header = [0; HEADER];
    header[0..8].copy_from_slice(&next.to_le_bytes());
    header[8..16].copy_from_slice(&entry.inode.to_le_bytes());
    header[16..20].copy_from_slice(&(entry.name.len() as u32).to_le_bytes());
    header[20] = entry.file_type as u8;
    put_bytes(into, &header) && put_bytes(into, entry.name.as_bytes())
}

fn put_bytes(into: &mut &mut [u8], bytes: &[u8]) -> bool {
    let fits = bytes.len().min(into.len());
    let (now, later) = std::mem::take(into).split_at_mut(fits);
    now.copy_from_slice(&bytes[..fits]);
    *into = later;
    fits == bytes.len()
}
