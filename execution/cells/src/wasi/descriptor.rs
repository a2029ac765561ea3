//! Descriptors themselves: what they are, their flags and rights, sizes and times; and the
//! functions of sockets, which no descriptor here is.

use super::{
    Advice, Errno, FileType, Rights, SetTime, Stat, Wasi,
    memory::Guest,
    table::{Entry, Kind, flags},
};

impl Wasi {
    /// `fd_advise`.
    pub fn fd_advise(
        &mut self,
        _memory: &mut [u8],
        fd: u32,
        offset: u64,
        length: u64,
        advice: u32,
    ) -> Result<(), Errno> {
        let (file, rights, _) = self.table.file(fd)?;
        need(rights, Rights::FD_ADVISE)?;
        let advice = match advice {
            0 => Advice::Normal,
            1 => Advice::Sequential,
            2 => Advice::Random,
            3 => Advice::WillNeed,
            4 => Advice::DontNeed,
            5 => Advice::NoReuse,
            _ => return Err(Errno::Inval),
        };
        signed(offset)?;
        signed(length)?;
        file.node.advise(offset, length, advice)
    }

    /// `fd_allocate`.
    pub fn fd_allocate(
        &mut self,
        _memory: &mut [u8],
        fd: u32,
        offset: u64,
        length: u64,
    ) -> Result<(), Errno> {
        let (file, rights, _) = self.table.file(fd)?;
        if !file.writable {
            return Err(Errno::Badf);
        }
        need(rights, Rights::FD_ALLOCATE)?;
        if length == 0 {
            return Err(Errno::Inval);
        }
        let end = offset.checked_add(length).ok_or(Errno::Fbig)?;
        i64::try_from(end).map_err(|_| Errno::Fbig)?;
        file.node.allocate(offset, length)
    }

    /// `fd_close`.
    pub fn fd_close(&mut self, _memory: &mut [u8], fd: u32) -> Result<(), Errno> {
        self.table.remove(fd)?.close()
    }

    /// `fd_renumber`.
    pub fn fd_renumber(&mut self, _memory: &mut [u8], fd: u32, to: u32) -> Result<(), Errno> {
        match self.table.renumber(fd, to)? {
            Some(replaced) => replaced.close(),
            None => Ok(()),
        }
    }

    /// `fd_datasync`.
    pub fn fd_datasync(&mut self, _memory: &mut [u8], fd: u32) -> Result<(), Errno> {
        self.sync(fd, Rights::FD_DATASYNC, true)
    }

    /// `fd_sync`.
    pub fn fd_sync(&mut self, _memory: &mut [u8], fd: u32) -> Result<(), Errno> {
        self.sync(fd, Rights::FD_SYNC, false)
    }

    fn sync(&mut self, fd: u32, rights: Rights, data_only: bool) -> Result<(), Errno> {
        let entry = self.table.get(fd)?;
        match &entry.kind {
            Kind::File(file) => {
                entry.need(rights)?;
                file.node.sync(data_only)
            }
            Kind::Directory(directory) => {
                entry.need(rights)?;
                directory.node.sync()
            }
            // What POSIX says of a pipe.
            Kind::Input | Kind::Stdout | Kind::Stderr => Err(Errno::Inval),
        }
    }

    /// `fd_fdstat_get`.
    pub fn fd_fdstat_get(&mut self, memory: &mut [u8], fd: u32, result: u32) -> Result<(), Errno> {
        let entry = self.table.get(fd)?;
        let file_type = match &entry.kind {
            Kind::File(file) => file.node.stat()?.file_type,
            _ => self.stream_type(entry),
        };
        let mut record = [0; 24];
        record[0] = file_type as u8;
        record[2..4].copy_from_slice(&entry.flags.to_le_bytes());
        record[8..16].copy_from_slice(&entry.base.0.to_le_bytes());
        record[16..24].copy_from_slice(&entry.inheriting.0.to_le_bytes());
        Guest(memory).write(result, &record)
    }

    /// The type of what is not a file.
    fn stream_type(&self, entry: &Entry) -> FileType {
        match &entry.kind {
            Kind::Input => self.streams.stdin.file_type(),
            Kind::Stdout => self.streams.stdout.file_type(),
            Kind::Stderr => self.streams.stderr.file_type(),
            Kind::Directory(_) => FileType::Directory,
            Kind::File(_) => FileType::RegularFile,
        }
    }

    /// `fd_fdstat_set_flags`.
    pub fn fd_fdstat_set_flags(
        &mut self,
        _memory: &mut [u8],
        fd: u32,
        flags: u32,
    ) -> Result<(), Errno> {
        let entry = self.table.get_mut(fd)?;
        entry.need(Rights::FD_FDSTAT_SET_FLAGS)?;
        entry.flags = flags::check(flags)?;
        Ok(())
    }

    /// `fd_fdstat_set_rights`: rights can only be given up.
    pub fn fd_fdstat_set_rights(
        &mut self,
        _memory: &mut [u8],
        fd: u32,
        base: u64,
        inheriting: u64,
    ) -> Result<(), Errno> {
        let entry = self.table.get_mut(fd)?;
        let (base, inheriting) = (Rights(base), Rights(inheriting));
        if !entry.base.contains(base) || !entry.inheriting.contains(inheriting) {
            return Err(Errno::Notcapable);
        }
        entry.base = base;
        entry.inheriting = inheriting;
        Ok(())
    }

    /// `fd_filestat_get`.
    pub fn fd_filestat_get(
        &mut self,
        memory: &mut [u8],
        fd: u32,
        result: u32,
    ) -> Result<(), Errno> {
        let entry = self.table.get(fd)?;
        entry.need(Rights::FD_FILESTAT_GET)?;
        let stat = match &entry.kind {
            Kind::File(file) => file.node.stat()?,
            Kind::Directory(directory) => directory.node.stat()?,
            _ => Stat {
                device: 0,
                inode: 0,
                file_type: self.stream_type(entry),
                links: 0,
                size: 0,
                accessed_ns: 0,
                modified_ns: 0,
                changed_ns: 0,
            },
        };
        put_stat(&mut Guest(memory), result, &stat)
    }

    /// `fd_filestat_set_size`.
    pub fn fd_filestat_set_size(
        &mut self,
        _memory: &mut [u8],
        fd: u32,
        size: u64,
    ) -> Result<(), Errno> {
        let (file, rights, _) = match self.table.file(fd) {
            // A stream has no size to set, whichever way it is looked at.
            Err(Errno::Spipe) => return Err(Errno::Inval),
            found => found?,
        };
        if !file.writable {
            return Err(Errno::Badf);
        }
        need(rights, Rights::FD_FILESTAT_SET_SIZE)?;
        signed(size)?;
        file.node.set_size(size)
    }

    /// `fd_filestat_set_times`.
    pub fn fd_filestat_set_times(
        &mut self,
        _memory: &mut [u8],
        fd: u32,
        accessed: u64,
        modified: u64,
        which: u32,
    ) -> Result<(), Errno> {
        let (accessed, modified) = set_times(accessed, modified, which)?;
        let entry = self.table.get(fd)?;
        entry.need(Rights::FD_FILESTAT_SET_TIMES)?;
        let mount = match &entry.kind {
            Kind::File(file) => file.mount,
            Kind::Directory(directory) => directory.mount,
            Kind::Input | Kind::Stdout | Kind::Stderr => return Err(Errno::Inval),
        };
        self.writable(mount)?;
        match &entry.kind {
            Kind::File(file) => file.node.set_times(accessed, modified),
            Kind::Directory(directory) => directory.node.set_times(accessed, modified),
            Kind::Input | Kind::Stdout | Kind::Stderr => Err(Errno::Inval),
        }
    }

    /// Refuses a change under a grant that is for reading.
    pub(crate) fn writable(&self, mount: usize) -> Result<(), Errno> {
        match self.grants.get(mount) {
            Some(grant) if !grant.read_only => Ok(()),
            _ => Err(Errno::Rofs),
        }
    }

    /// `fd_prestat_get`.
    pub fn fd_prestat_get(&mut self, memory: &mut [u8], fd: u32, result: u32) -> Result<(), Errno> {
        const DIRECTORY: u32 = 0;
        let length = self.preopen(fd)?.len() as u32;
        let mut memory = Guest(memory);
        memory.range(result, 8)?;
        memory.put_u32(result, DIRECTORY)?;
        memory.put_u32(result + 4, length)
    }

    /// `fd_prestat_dir_name`.
    pub fn fd_prestat_dir_name(
        &mut self,
        memory: &mut [u8],
        fd: u32,
        path: u32,
        length: u32,
    ) -> Result<(), Errno> {
        let name = self.preopen(fd)?;
        if (length as usize) < name.len() {
            return Err(Errno::Nametoolong);
        }
        Guest(memory).write(path, name.as_bytes())
    }

    fn preopen(&self, fd: u32) -> Result<&str, Errno> {
        match &self.table.get(fd)?.kind {
            Kind::Directory(directory) if directory.preopen => {
                let grant = self.grants.get(directory.mount).ok_or(Errno::Badf)?;
                Ok(&grant.guest_path)
            }
            _ => Err(Errno::Badf),
        }
    }

    /// `sock_accept`: `NOTSOCK`, for no descriptor is a socket.
    pub fn sock_accept(
        &mut self,
        _memory: &mut [u8],
        fd: u32,
        flags: u32,
        _result: u32,
    ) -> Result<(), Errno> {
        flags::check(flags)?;
        self.not_a_socket(fd)
    }

    /// `sock_recv`: `NOTSOCK`.
    #[expect(clippy::too_many_arguments, reason = "the specification's parameters")]
    pub fn sock_recv(
        &mut self,
        _memory: &mut [u8],
        fd: u32,
        _buffers: u32,
        _count: u32,
        _flags: u32,
        _result: u32,
        _result_flags: u32,
    ) -> Result<(), Errno> {
        self.not_a_socket(fd)
    }

    /// `sock_send`: `NOTSOCK`.
    pub fn sock_send(
        &mut self,
        _memory: &mut [u8],
        fd: u32,
        _buffers: u32,
        _count: u32,
        _flags: u32,
        _result: u32,
    ) -> Result<(), Errno> {
        self.not_a_socket(fd)
    }

    /// `sock_shutdown`: `NOTSOCK`.
    pub fn sock_shutdown(&mut self, _memory: &mut [u8], fd: u32, _how: u32) -> Result<(), Errno> {
        self.not_a_socket(fd)
    }

    fn not_a_socket(&self, fd: u32) -> Result<(), Errno> {
        self.table.get(fd)?;
        Err(Errno::Notsock)
    }
}

fn need(held: Rights, rights: Rights) -> Result<(), Errno> {
    if held.contains(rights) { Ok(()) } else { Err(Errno::Notcapable) }
}

/// Files end where a signed number does.
fn signed(number: u64) -> Result<(), Errno> {
    i64::try_from(number).map(|_| ()).map_err(|_| Errno::Inval)
}

/// Reads `fstflags`: each time is kept, set, or set to now, never two of these.
pub(crate) fn set_times(
    accessed: u64,
    modified: u64,
    which: u32,
) -> Result<(SetTime, SetTime), Errno> {
    const BITS: u32 = 0b1111;
    let one = |bits: u32, ns: u64| match bits & 0b11 {
        0b00 => Ok(SetTime::Keep),
        0b01 => Ok(SetTime::To(ns)),
        0b10 => Ok(SetTime::Now),
        _ => Err(Errno::Inval),
    };
    if which & !BITS != 0 {
        return Err(Errno::Inval);
    }
    Ok((one(which, accessed)?, one(which >> 2, modified)?))
}

/// Writes a `filestat`.
pub(crate) fn put_stat(memory: &mut Guest<'_>, at: u32, stat: &Stat) -> Result<(), Errno> {
    let mut record = [0; 64];
    let mut put = |place: usize, value: u64| {
        record[place..place + 8].copy_from_slice(&value.to_le_bytes());
    };
    put(0, stat.device);
    put(8, stat.inode);
    put(16, u64::from(stat.file_type as u8));
    put(24, stat.links);
    put(32, stat.size);
    put(40, stat.accessed_ns);
    put(48, stat.modified_ns);
    put(56, stat.changed_ns);
    memory.write(at, &record)
}
