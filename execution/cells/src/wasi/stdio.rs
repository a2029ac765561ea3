//! Standard input, output and error.

use super::FileType;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::{AsFd, BorrowedFd},
};
use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

/// What a read of an input found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputState {
    /// This many bytes, at least one, were read.
    Bytes(usize),
    /// There will never be more.
    End,
    /// There is nothing now; nothing was taken.
    Wait,
}

/// Where a cell's standard input comes from.
pub trait Input: Send {
    /// Reads what is there without waiting; `into` is not empty.
    fn read(&mut self, into: &mut [u8]) -> io::Result<InputState>;

    /// Bytes that a read would find now, at least: `Some(0)` at the end, `None` if it would wait.
    fn ready(&mut self) -> Option<usize>;

    /// Blocks this thread until a read might find something, or the time is over; it may return
    /// early. An input that has no way to tell is looked at every millisecond.
    fn block(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        const STEP: Duration = Duration::from_millis(1);
        std::thread::sleep(timeout.map_or(STEP, |timeout| timeout.min(STEP)));
        Ok(())
    }

    /// What the guest sees it as.
    fn file_type(&self) -> FileType {
        FileType::Unknown
    }
}

/// Where a cell's standard output or standard error goes.
pub trait Output: Send {
    /// Takes some of the bytes and says how many; waits if it must.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Takes some of the bytes of several parts at once.
    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut total = 0;
        for part in parts.iter().filter(|part| !part.is_empty()) {
            let taken = self.write(part)?;
            total += taken;
            if taken < part.len() {
                break;
            }
        }
        Ok(total)
    }

    /// What the guest sees it as.
    fn file_type(&self) -> FileType {
        FileType::Unknown
    }
}

/// Nothing to read, and whatever is written is gone.
#[derive(Debug, Clone, Copy, Default)]
pub struct Null;

impl Input for Null {
    fn read(&mut self, _into: &mut [u8]) -> io::Result<InputState> {
        Ok(InputState::End)
    }

    fn ready(&mut self) -> Option<usize> {
        Some(0)
    }

    fn file_type(&self) -> FileType {
        FileType::CharacterDevice
    }
}

impl Output for Null {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn file_type(&self) -> FileType {
        FileType::CharacterDevice
    }
}

/// This process's standard input.
#[derive(Debug, Clone, Copy, Default)]
pub struct HostInput;

impl Input for HostInput {
    fn read(&mut self, into: &mut [u8]) -> io::Result<InputState> {
        if !readable(rustix::stdio::stdin()) {
            return Ok(InputState::Wait);
        }
        match rustix::io::read(rustix::stdio::stdin(), into) {
            Ok(0) => Ok(InputState::End),
            Ok(read) => Ok(InputState::Bytes(read)),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(InputState::Wait),
            Err(error) => Err(error.into()),
        }
    }

    fn ready(&mut self) -> Option<usize> {
        let stdin = rustix::stdio::stdin();
        readable(stdin).then(|| {
            // A file that cannot count what it holds, such as a device, holds something.
            rustix::io::ioctl_fionread(stdin).map_or(1, |bytes| bytes as usize)
        })
    }

    fn block(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let stdin = rustix::stdio::stdin();
        let mut wanted = [PollFd::from_borrowed_fd(stdin, PollFlags::IN)];
        // Longer than the kernel can wait is for ever.
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        match poll(&mut wanted, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn file_type(&self) -> FileType {
        terminal_or_unknown(rustix::stdio::stdin())
    }
}

/// This process's standard output or standard error.
#[derive(Debug, Clone, Copy)]
pub enum HostOutput {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl HostOutput {
    fn fd(&self) -> BorrowedFd<'static> {
        match self {
            Self::Stdout => rustix::stdio::stdout(),
            Self::Stderr => rustix::stdio::stderr(),
        }
    }

    /// Repeats `write` until it can: the stream may have been made non-blocking by its owner.
    fn patiently(
        &self,
        mut write: impl FnMut(BorrowedFd<'static>) -> rustix::io::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            match write(self.fd()) {
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => {
                    let mut wanted = [PollFd::from_borrowed_fd(self.fd(), PollFlags::OUT)];
                    match poll(&mut wanted, None) {
                        Ok(_) | Err(rustix::io::Errno::INTR) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                done => return Ok(done?),
            }
        }
    }
}

impl Output for HostOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.patiently(|fd| rustix::io::write(fd, bytes))
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.patiently(|fd| rustix::io::writev(fd, parts))
    }

    fn file_type(&self) -> FileType {
        terminal_or_unknown(self.fd())
    }
}

fn readable(fd: impl AsFd) -> bool {
    let mut wanted = [PollFd::new(&fd, PollFlags::IN)];
    // An error of poll is left to the read that follows.
    poll(&mut wanted, Some(&Timespec::default())).map_or(true, |ready| ready > 0)
}

fn terminal_or_unknown(fd: BorrowedFd<'_>) -> FileType {
    if rustix::termios::isatty(fd) { FileType::CharacterDevice } else { FileType::Unknown }
}

/// Bytes in memory that one side writes and the other reads; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Buffer {
    shared: Arc<(Mutex<Shared>, Condvar)>,
}

#[derive(Debug, Default)]
struct Shared {
    bytes: VecDeque<u8>,
    ended: bool,
}

impl Buffer {
    fn with<T>(&self, work: impl FnOnce(&mut Shared) -> T) -> T {
        work(&mut self.shared.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds bytes for the reader.
    pub fn push(&self, bytes: &[u8]) {
        self.with(|shared| shared.bytes.extend(bytes));
        self.shared.1.notify_all();
    }

    /// Says that no more will come.
    pub fn end(&self) {
        self.with(|shared| shared.ended = true);
        self.shared.1.notify_all();
    }

    /// Takes out everything that was written.
    pub fn take(&self) -> Vec<u8> {
        self.with(|shared| shared.bytes.drain(..).collect())
    }
}

impl Input for Buffer {
    fn read(&mut self, into: &mut [u8]) -> io::Result<InputState> {
        Ok(self.with(|shared| {
            let count = into.len().min(shared.bytes.len());
            for (place, byte) in into.iter_mut().zip(shared.bytes.drain(..count)) {
                *place = byte;
            }
            match (count, shared.ended) {
                (0, true) => InputState::End,
                (0, false) => InputState::Wait,
                _ => InputState::Bytes(count),
            }
        }))
    }

    fn ready(&mut self) -> Option<usize> {
        self.with(|shared| (shared.ended || !shared.bytes.is_empty()).then_some(shared.bytes.len()))
    }
}

impl Output for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes);
        Ok(bytes.len())
    }
}
