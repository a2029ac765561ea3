//! The error numbers of WASI preview 1.

use std::fmt;

/// Why a call failed, with the number that the guest sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Errno {
    /// No error occurred.
    Success = 0,
    /// Argument list too long.
    TooBig = 1,
    /// Permission denied.
    Acces = 2,
    /// Address in use.
    Addrinuse = 3,
    /// Address not available.
    Addrnotavail = 4,
    /// Address family not supported.
    Afnosupport = 5,
    /// Resource unavailable, or operation would block.
    Again = 6,
    /// Connection already in progress.
    Already = 7,
    /// Bad file descriptor.
    Badf = 8,
    /// Bad message.
    Badmsg = 9,
    /// Device or resource busy.
    Busy = 10,
    /// Operation cancelled.
    Canceled = 11,
    /// No child processes.
    Child = 12,
    /// Connection aborted.
    Connaborted = 13,
    /// Connection refused.
    Connrefused = 14,
    /// Connection reset.
    Connreset = 15,
    /// Resource deadlock would occur.
    Deadlk = 16,
    /// Destination address required.
    Destaddrreq = 17,
    /// Argument out of domain of function.
    Dom = 18,
    /// Quota exceeded.
    Dquot = 19,
    /// File exists.
    Exist = 20,
    /// Bad address.
    Fault = 21,
    /// File too large.
    Fbig = 22,
    /// Host is unreachable.
    Hostunreach = 23,
    /// Identifier removed.
    Idrm = 24,
    /// Illegal byte sequence.
    Ilseq = 25,
    /// Operation in progress.
    Inprogress = 26,
    /// Interrupted.
    Intr = 27,
    /// Invalid argument.
    Inval = 28,
    /// Input or output error.
    Io = 29,
    /// Socket is connected.
    Isconn = 30,
    /// Is a directory.
    Isdir = 31,
    /// Too many levels of symbolic links.
    Loop = 32,
    /// File descriptor table is full.
    Mfile = 33,
    /// Too many links.
    Mlink = 34,
    /// Message too large.
    Msgsize = 35,
    /// Multihop attempted.
    Multihop = 36,
    /// Name too long.
    Nametoolong = 37,
    /// Network is down.
    Netdown = 38,
    /// Connection aborted by network.
    Netreset = 39,
    /// Network unreachable.
    Netunreach = 40,
    /// Too many files open in the system.
    Nfile = 41,
    /// No buffer space available.
    Nobufs = 42,
    /// No such device.
    Nodev = 43,
    /// No such file or directory.
    Noent = 44,
    /// Executable format error.
    Noexec = 45,
    /// No locks available.
    Nolck = 46,
    /// Link severed.
    Nolink = 47,
    /// Not enough space in memory.
    Nomem = 48,
    /// No message of the desired type.
    Nomsg = 49,
    /// Protocol not available.
    Noprotoopt = 50,
    /// No space left on device.
    Nospc = 51,
    /// Function not supported.
    Nosys = 52,
    /// Socket is not connected.
    Notconn = 53,
    /// Not a directory, nor a link to one.
    Notdir = 54,
    /// Directory not empty.
    Notempty = 55,
    /// State not recoverable.
    Notrecoverable = 56,
    /// Not a socket.
    Notsock = 57,
    /// Not supported.
    Notsup = 58,
    /// Inappropriate I/O control operation.
    Notty = 59,
    /// No such device or address.
    Nxio = 60,
    /// Value too large.
    Overflow = 61,
    /// Previous owner died.
    Ownerdead = 62,
    /// Operation not permitted.
    Perm = 63,
    /// Broken pipe.
    Pipe = 64,
    /// Protocol error.
    Proto = 65,
    /// Protocol not supported.
    Protonosupport = 66,
    /// Wrong type of protocol for the socket.
    Prototype = 67,
    /// Result too large.
    Range = 68,
    /// Read-only file system.
    Rofs = 69,
    /// Invalid seek.
    Spipe = 70,
    /// No such process.
    Srch = 71,
    /// Stale file handle.
    Stale = 72,
    /// Connection timed out.
    Timedout = 73,
    /// Text file busy.
    Txtbsy = 74,
    /// Cross-device link.
    Xdev = 75,
    /// The descriptor lacks the right.
    Notcapable = 76,
}

impl Errno {
    /// A path that leads out of the directory it was resolved in.
    ///
    /// Preview 1 does not name the number. The committee is retiring `NOTCAPABLE` for paths and
    /// preview 2 says `not-permitted`, which preview 1 hosts report as `PERM`.
    pub const ESCAPE: Self = Self::Perm;

    /// The number on the wire.
    pub const fn raw(self) -> u16 {
        self as u16
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?} (errno {})", self.raw())
    }
}

impl std::error::Error for Errno {}

impl From<rustix::io::Errno> for Errno {
    fn from(errno: rustix::io::Errno) -> Self {
        use rustix::io::Errno as Os;
        match errno {
            Os::TOOBIG => Self::TooBig,
            Os::ACCESS => Self::Acces,
            Os::AGAIN => Self::Again,
            Os::BADF => Self::Badf,
            Os::BUSY => Self::Busy,
            Os::DQUOT => Self::Dquot,
            Os::EXIST => Self::Exist,
            Os::FBIG => Self::Fbig,
            Os::ILSEQ => Self::Ilseq,
            Os::INTR => Self::Intr,
            Os::INVAL => Self::Inval,
            Os::ISDIR => Self::Isdir,
            Os::LOOP => Self::Loop,
            Os::MFILE => Self::Mfile,
            Os::MLINK => Self::Mlink,
            Os::NAMETOOLONG => Self::Nametoolong,
            Os::NFILE => Self::Nfile,
            Os::NODEV => Self::Nodev,
            Os::NOENT => Self::Noent,
            Os::NOLCK => Self::Nolck,
            Os::NOMEM => Self::Nomem,
            Os::NOSPC => Self::Nospc,
            Os::NOSYS => Self::Nosys,
            Os::NOTDIR => Self::Notdir,
            Os::NOTEMPTY => Self::Notempty,
            Os::OPNOTSUPP => Self::Notsup,
            Os::NOTTY => Self::Notty,
            Os::NXIO => Self::Nxio,
            Os::OVERFLOW => Self::Overflow,
            Os::PERM => Self::Perm,
            Os::PIPE => Self::Pipe,
            Os::RANGE => Self::Range,
            Os::ROFS => Self::Rofs,
            Os::SPIPE => Self::Spipe,
            Os::STALE => Self::Stale,
            Os::TIMEDOUT => Self::Timedout,
            Os::TXTBSY => Self::Txtbsy,
            Os::XDEV => Self::Xdev,
            _ => Self::Io,
        }
    }
}

impl From<std::io::Error> for Errno {
    fn from(error: std::io::Error) -> Self {
        match error.raw_os_error() {
            Some(raw) => rustix::io::Errno::from_raw_os_error(raw).into(),
            // The path resolver reports an escape as a refusal that no system call made.
            None if error.kind() == std::io::ErrorKind::PermissionDenied => Self::ESCAPE,
            None if error.kind() == std::io::ErrorKind::InvalidInput => Self::Inval,
            None => Self::Io,
        }
    }
}
