//! Reading, writing and the offset.

use super::{
    Errno, InputState, Outcome, Rights, Wait, Wasi,
    memory::{Buffers, GROUP, Group, Guest},
    table::{Kind, OpenFile, flags},
};
use std::io::IoSlice;

impl Wasi {
    /// `fd_read`: waits for standard input unless the descriptor is non-blocking.
    pub fn fd_read(
        &mut self,
        memory: &mut [u8],
        fd: u32,
        buffers: u32,
        count: u32,
        result: u32,
    ) -> Outcome {
        let mut memory = Guest(memory);
        let group = match self.buffers(&memory, buffers, count, result) {
            Ok(group) => group,
            Err(error) => return Outcome::Return(error),
        };
        match self.read(&mut memory, fd, &group) {
            Ok(Some(read)) => memory.put_u32(result, read).into(),
            Ok(None) => Outcome::Wait(Wait::Input),
            Err(error) => Outcome::Return(error),
        }
    }

    /// `fd_pread`.
    pub fn fd_pread(
        &mut self,
        memory: &mut [u8],
        fd: u32,
        buffers: u32,
        count: u32,
        offset: u64,
        result: u32,
    ) -> Result<(), Errno> {
        let mut memory = Guest(memory);
        let group = self.buffers(&memory, buffers, count, result)?;
        let (file, rights, _) = self.table.file(fd)?;
        need_readable(file, rights, Rights::FD_READ | Rights::FD_SEEK)?;
        let read = read_file(file, &mut memory, &group, offset)?;
        memory.put_u32(result, read)
    }

    /// `fd_write`.
    pub fn fd_write(
        &mut self,
        memory: &mut [u8],
        fd: u32,
        buffers: u32,
        count: u32,
        result: u32,
    ) -> Result<(), Errno> {
        let mut memory = Guest(memory);
        let group = self.buffers(&memory, buffers, count, result)?;
        let entry = self.table.get_mut(fd)?;
        let (rights, flags) = (entry.base, entry.flags);
        let written = match &mut entry.kind {
            Kind::Stdout | Kind::Stderr => {
                entry.need(Rights::FD_WRITE)?;
                let stderr = matches!(entry.kind, Kind::Stderr);
                self.print(stderr, &memory, &group)?
            }
            Kind::File(file) => {
                need_writable(file, rights, Rights::FD_WRITE)?;
                let place = if flags & flags::APPEND != 0 { None } else { Some(file.offset) };
                let (written, end) = write_file(file, &memory, &group, place, flags)?;
                file.offset = end;
                written
            }
            Kind::Input | Kind::Directory(_) => return Err(Errno::Badf),
        };
        memory.put_u32(result, written)
    }

    /// `fd_pwrite`.
    pub fn fd_pwrite(
        &mut self,
        memory: &mut [u8],
        fd: u32,
        buffers: u32,
        count: u32,
        offset: u64,
        result: u32,
    ) -> Result<(), Errno> {
        let mut memory = Guest(memory);
        let group = self.buffers(&memory, buffers, count, result)?;
        let (file, rights, flags) = self.table.file(fd)?;
        need_writable(file, rights, Rights::FD_WRITE | Rights::FD_SEEK)?;
        let (written, _) = write_file(file, &memory, &group, Some(offset), flags)?;
        memory.put_u32(result, written)
    }

    /// `fd_seek`.
    pub fn fd_seek(
        &mut self,
        memory: &mut [u8],
        fd: u32,
        delta: i64,
        whence: u32,
        result: u32,
    ) -> Result<(), Errno> {
        const SET: u32 = 0;
        const CURRENT: u32 = 1;
        const END: u32 = 2;
        let mut memory = Guest(memory);
        memory.range(result, 8)?;
        let (file, rights, _) = self.table.file(fd)?;
        let asks = whence == CURRENT && delta == 0;
        let needed = if asks { Rights::FD_TELL } else { Rights::FD_SEEK };
        // The right to move includes the right to ask.
        if !rights.contains(needed) && !rights.contains(Rights::FD_SEEK) {
            return Err(Errno::Notcapable);
        }
        let from = match whence {
            SET => 0,
            CURRENT => file.offset,
            END => file.node.stat()?.size,
            _ => return Err(Errno::Inval),
        };
        let to = from.checked_add_signed(delta).filter(|to| i64::try_from(*to).is_ok());
        file.offset = to.ok_or(Errno::Inval)?;
        memory.put_u64(result, file.offset)
    }

    /// `fd_tell`.
    pub fn fd_tell(&mut self, memory: &mut [u8], fd: u32, result: u32) -> Result<(), Errno> {
        let (file, rights, _) = self.table.file(fd)?;
        if !rights.intersects(Rights::FD_TELL | Rights::FD_SEEK) {
            return Err(Errno::Notcapable);
        }
        Guest(memory).put_u64(result, file.offset)
    }

    /// Checks everything that a call's pointers name, before anything is done.
    fn buffers(
        &self,
        memory: &Guest<'_>,
        at: u32,
        count: u32,
        result: u32,
    ) -> Result<Group, Errno> {
        memory.range(result, 4)?;
        Buffers::check(memory, at, count, self.limits.buffers)?.group(memory)
    }

    /// Reads, or says with `None` that the call must wait.
    fn read(
        &mut self,
        memory: &mut Guest<'_>,
        fd: u32,
        group: &Group,
    ) -> Result<Option<u32>, Errno> {
        let entry = self.table.get_mut(fd)?;
        let rights = entry.base;
        match &mut entry.kind {
            Kind::Input => {
                entry.need(Rights::FD_READ)?;
                let patient = entry.flags & flags::NONBLOCK == 0;
                match self.read_input(memory, group)? {
                    None if !patient => Err(Errno::Again),
                    read => Ok(read),
                }
            }
            Kind::File(file) => {
                need_readable(file, rights, Rights::FD_READ)?;
                let read = read_file(file, memory, group, file.offset)?;
                file.offset += u64::from(read);
                Ok(Some(read))
            }
            Kind::Stdout | Kind::Stderr | Kind::Directory(_) => Err(Errno::Badf),
        }
    }

    fn read_input(&mut self, memory: &mut Guest<'_>, group: &Group) -> Result<Option<u32>, Errno> {
        let input = &mut self.streams.stdin;
        let mut total = 0;
        for &(start, length) in group.places() {
            // Once there is something to return, only what is there already is added.
            if total > 0 && matches!(input.ready(), None | Some(0)) {
                break;
            }
            match input.read(memory.slice_mut(start, length)?) {
                Ok(InputState::Bytes(read)) => {
                    total += read as u32;
                    if read < length as usize {
                        break;
                    }
                }
                Ok(InputState::End) => break,
                Ok(InputState::Wait) if total == 0 => return Ok(None),
                Ok(InputState::Wait) => break,
                Err(_) if total > 0 => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Some(total))
    }

    fn print(&mut self, stderr: bool, memory: &Guest<'_>, group: &Group) -> Result<u32, Errno> {
        let mut parts = [IoSlice::new(&[]); GROUP];
        let mut room = self.limits.output_bytes.saturating_sub(self.output_bytes);
        let mut count = 0;
        for &(start, length) in group.places() {
            // Cut to what may still be printed, which then is less than was asked.
            let length = u64::from(length).min(room) as u32;
            room -= u64::from(length);
            parts[count] = IoSlice::new(memory.slice(start, length)?);
            count += 1;
            if room == 0 {
                break;
            }
        }
        if count == 0 {
            return Ok(0);
        }
        if parts[0].is_empty() {
            return Err(Errno::Nospc);
        }
        let stream = if stderr { &mut self.streams.stderr } else { &mut self.streams.stdout };
        let written = match &parts[..count] {
            [one] => stream.write(one)?,
            parts => stream.write_vectored(parts)?,
        };
        self.output_bytes += written as u64;
        Ok(written as u32)
    }
}

fn need_readable(file: &OpenFile, held: Rights, rights: Rights) -> Result<(), Errno> {
    match (file.readable, held.contains(rights)) {
        (false, _) => Err(Errno::Badf),
        (true, false) => Err(Errno::Notcapable),
        (true, true) => Ok(()),
    }
}

fn need_writable(file: &OpenFile, held: Rights, rights: Rights) -> Result<(), Errno> {
    match (file.writable, held.contains(rights)) {
        (false, _) => Err(Errno::Badf),
        (true, false) => Err(Errno::Notcapable),
        (true, true) => Ok(()),
    }
}

fn read_file(
    file: &OpenFile,
    memory: &mut Guest<'_>,
    group: &Group,
    offset: u64,
) -> Result<u32, Errno> {
    let mut total: u32 = 0;
    for &(start, length) in group.places() {
        let place = offset.checked_add(u64::from(total)).ok_or(Errno::Inval)?;
        match file.node.read_at(memory.slice_mut(start, length)?, place) {
            Ok(read) => {
                total += read as u32;
                if read < length as usize {
                    break;
                }
            }
            Err(_) if total > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(total)
}

/// Writes at a place, or at the end; answers the bytes written and the place behind them.
fn write_file(
    file: &OpenFile,
    memory: &Guest<'_>,
    group: &Group,
    place: Option<u64>,
    flags: u16,
) -> Result<(u32, u64), Errno> {
    let mut total: u32 = 0;
    let mut end = place.unwrap_or(file.offset);
    for &(start, length) in group.places() {
        let bytes = memory.slice(start, length)?;
        let done = match place {
            Some(_) => file.node.write_at(bytes, end).map(|wrote| (wrote, end + wrote as u64)),
            None => file.node.append(bytes),
        };
        match done {
            Ok((written, behind)) => {
                total += written as u32;
                end = behind;
                if written < length as usize {
                    break;
                }
            }
            Err(_) if total > 0 => break,
            Err(error) => return Err(error),
        }
    }
    if total > 0 && flags & (flags::SYNC | flags::DSYNC) != 0 {
        file.node.sync(flags & flags::SYNC == 0)?;
    }
    Ok((total, end))
}
