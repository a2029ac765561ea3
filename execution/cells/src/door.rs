//! How workers find each other: one listens, the other dials and shows what lets it in.
//!
//! ```text
//! magic of 8 bytes | u16 length | what it is about | u16 length | secret
//! ```

use std::{
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};
use types::Token;

/// How long the other side may keep silent.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Longest of the two fields.
const FIELD_MAX: usize = 256;

/// Says which protocol follows.
pub(crate) type Magic = [u8; 8];

/// A listener for those who know its secret.
#[derive(Debug)]
pub(crate) struct Door {
    /// Where to dial.
    pub(crate) address: SocketAddr,
    /// What to show.
    pub(crate) secret: Token,
    magic: Magic,
    about: String,
    listener: TcpListener,
}

impl Door {
    /// Listens on a port of the system's choice.
    pub(crate) fn open(magic: Magic, about: &str, listen: IpAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((listen, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let about = about.to_owned();
        Ok(Self { address, secret: Token::random(), magic, about, listener })
    }

    /// The next connection that shows the secret; others are closed. `over` ends the wait.
    pub(crate) fn accept(
        &self,
        deadline: Instant,
        over: &dyn Fn() -> bool,
    ) -> io::Result<TcpStream> {
        while Instant::now() < deadline && !over() {
            match self.listener.accept() {
                Ok((stream, peer)) => match self.admit(&stream) {
                    Ok(true) => return Ok(stream),
                    other => tracing::warn!(%peer, ?other, "a stranger at a migration's door"),
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait_for_knock()?,
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "it never came"))
    }

    fn wait_for_knock(&self) -> io::Result<()> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut wanted = [PollFd::new(&self.listener, PollFlags::IN)];
        let patience = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
        match poll(&mut wanted, Some(&patience)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn admit(&self, mut stream: &TcpStream) -> io::Result<bool> {
        stream.set_nonblocking(false)?;
        settle(stream)?;
        let mut magic = Magic::default();
        stream.read_exact(&mut magic)?;
        let about = read_field(stream)?;
        let secret = read_field(stream)?;
        Ok(magic == self.magic && about == self.about && self.secret.admits(&secret))
    }
}

/// Dials a door and shows what lets in.
pub(crate) fn dial(
    magic: Magic,
    address: SocketAddr,
    about: &str,
    secret: &str,
) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&address, SILENCE_MAX)?;
    settle(&stream)?;
    let mut hello = magic.to_vec();
    for field in [about, secret] {
        let size = u16::try_from(field.len()).map_err(io::Error::other)?;
        hello.extend_from_slice(&size.to_le_bytes());
        hello.extend_from_slice(field.as_bytes());
    }
    stream.write_all(&hello)?;
    Ok(stream)
}

fn settle(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    stream.set_write_timeout(Some(SILENCE_MAX))
}

fn read_field(mut stream: &TcpStream) -> io::Result<String> {
    let mut size = [0; 2];
    stream.read_exact(&mut size)?;
    let size = usize::from(u16::from_le_bytes(size));
    if size > FIELD_MAX {
        return Err(io::Error::other("a field is too long"));
    }
    let mut field = vec![0; size];
    stream.read_exact(&mut field)?;
    String::from_utf8(field).map_err(io::Error::other)
}
