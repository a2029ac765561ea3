//! A connection's two halves, with TLS or on loopback without.
//!
//! Both block. With TLS they share the state of the connection and hold its lock only while they compute,
//! never while they wait for the other side.

use rustix::net::{RecvFlags, recv};
use rustls::Connection;
use std::{
    hint::spin_loop,
    io::{self, IoSlice, Read, Write},
    net::{Shutdown, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How long the other side may send nothing in the middle of a frame, or take nothing.
pub(super) const STALL: Duration = Duration::from_millis(if cfg!(test) { 300 } else { 10_000 });
/// How long it is looked for bytes before the thread sleeps: a thread that sleeps on loopback wakes after
/// four times as long as the bytes take.
const SPIN: Duration = Duration::from_micros(40);
/// After how many waits it is looked again at the latest, where that was in vain.
const SPIN_REST_MAX: u32 = 127;
/// What is read ahead: a header and a small message come with one call.
const AHEAD_BYTES: usize = 4 << 10;
/// What is encrypted at once, less than rustls holds.
const SECURED_BYTES: usize = 32 << 10;

type Tls = Arc<Mutex<Connection>>;

fn lock(tls: &Tls) -> MutexGuard<'_, Connection> {
    tls.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The half that reads.
#[derive(Debug)]
pub(super) struct Reader {
    stream: Arc<TcpStream>,
    tls: Option<Tls>,
    /// Bytes that came ahead; those of TLS as they came.
    ahead: Vec<u8>,
    taken: usize,
    spin: Spin,
}

/// The half that writes.
#[derive(Debug)]
pub(super) struct Writer {
    stream: Arc<TcpStream>,
    tls: Option<Tls>,
    out: Vec<u8>,
}

/// Ends a connection from any thread.
#[derive(Debug, Clone)]
pub(super) struct Stop(Arc<TcpStream>);

impl Stop {
    pub(super) fn stop(&self) {
        let _ = self.0.shutdown(Shutdown::Both);
    }

    /// Whether the other side has ended it, as far as this one knows by now.
    pub(super) fn has_ended(&self) -> bool {
        let mut byte = [0];
        let look = recv(&*self.0, &mut byte, RecvFlags::DONTWAIT | RecvFlags::PEEK);
        !matches!(look, Ok((1.., _)) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR))
    }
}

/// The halves of a connection whose handshake is done.
pub(super) fn split(
    stream: TcpStream,
    tls: Option<Connection>,
) -> io::Result<(Reader, Writer, Stop)> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(STALL))?;
    stream.set_write_timeout(Some(STALL))?;
    let stream = Arc::new(stream);
    let tls = tls.map(|connection| Arc::new(Mutex::new(connection)));
    let reader = Reader {
        stream: Arc::clone(&stream),
        tls: tls.clone(),
        ahead: Vec::with_capacity(AHEAD_BYTES),
        taken: 0,
        spin: Spin::default(),
    };
    let writer = Writer { stream: Arc::clone(&stream), tls, out: Vec::new() };
    Ok((reader, writer, Stop(stream)))
}

/// What a wait for bytes does when none come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// Fails after [`STALL`].
    Stall,
    /// Waits as long as the connection lasts.
    Endless,
}

impl Reader {
    /// Fills the buffer; false when the other side ended the connection before its first byte.
    ///
    /// # Errors
    /// Those of the connection; [`io::ErrorKind::TimedOut`] when the other side stalls, or takes longer than
    /// [`STALL`] from the first byte on.
    pub(super) fn fill(&mut self, buffer: &mut [u8], patience: Patience) -> io::Result<bool> {
        self.fill_and(buffer, patience, |_| ())
    }

    /// The same; `came` is shown the bytes as they come, while the next are on their way.
    pub(super) fn fill_and(
        &mut self,
        buffer: &mut [u8],
        patience: Patience,
        mut came: impl FnMut(&[u8]),
    ) -> io::Result<bool> {
        let mut done = 0;
        let mut begun = None;
        while done < buffer.len() {
            let patience = if done == 0 { patience } else { Patience::Stall };
            match self.some(&mut buffer[done..], patience)? {
                0 if done == 0 => return Ok(false),
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => {
                    came(&buffer[done..done + count]);
                    done += count;
                }
            }
            let begun = *begun.get_or_insert_with(Instant::now);
            if done < buffer.len() && begun.elapsed() > STALL {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        Ok(true)
    }

    fn some(&mut self, buffer: &mut [u8], patience: Patience) -> io::Result<usize> {
        match self.tls.clone() {
            Some(tls) => self.some_secured(&tls, buffer, patience),
            None => self.some_plain(buffer, patience),
        }
    }

    fn some_plain(&mut self, buffer: &mut [u8], patience: Patience) -> io::Result<usize> {
        if self.taken == self.ahead.len() {
            if buffer.len() >= AHEAD_BYTES {
                // What is large goes where it belongs at once.
                return receive(&self.stream, &mut self.spin, buffer, patience);
            }
            self.read_ahead(AHEAD_BYTES, patience)?;
        }
        let waiting = &self.ahead[self.taken..];
        let count = waiting.len().min(buffer.len());
        buffer[..count].copy_from_slice(&waiting[..count]);
        self.taken += count;
        Ok(count)
    }

    fn read_ahead(&mut self, bytes: usize, patience: Patience) -> io::Result<()> {
        self.taken = 0;
        self.ahead.resize(bytes, 0);
        let received = receive(&self.stream, &mut self.spin, &mut self.ahead, patience);
        self.ahead.truncate(*received.as_ref().unwrap_or(&0));
        received.map(|_| ())
    }

    fn some_secured(
        &mut self,
        tls: &Tls,
        buffer: &mut [u8],
        patience: Patience,
    ) -> io::Result<usize> {
        loop {
            {
                let mut connection = lock(tls);
                match connection.reader().read(buffer) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    read => return read,
                }
                if self.taken < self.ahead.len() {
                    let mut waiting = &self.ahead[self.taken..];
                    self.taken += connection.read_tls(&mut waiting)?;
                    connection.process_new_packets().map_err(io::Error::other)?;
                    continue;
                }
            }
            self.read_ahead(SECURED_BYTES, patience)?;
            if self.ahead.is_empty() {
                // Cut off, perhaps by somebody in between: no clean end.
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// Whether it is worth to look for bytes before the thread sleeps: not where the other side needs the same processor to send
/// them.
#[derive(Debug, Default)]
struct Spin {
    /// How many waits are to pass without.
    rest: u32,
    /// The same after the last time that it was in vain.
    penalty: u32,
}

impl Spin {
    /// Looks for bytes for a while, if that has been worth it; none if none came.
    fn look(&mut self, stream: &TcpStream, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let limit = if self.rest == 0 { SPIN } else { Duration::ZERO };
        self.rest = self.rest.saturating_sub(1);
        let started = Instant::now();
        loop {
            match recv(stream, &mut *buffer, RecvFlags::DONTWAIT) {
                Err(rustix::io::Errno::AGAIN) if started.elapsed() < limit => spin_loop(),
                Err(rustix::io::Errno::AGAIN) => break,
                Err(rustix::io::Errno::INTR) => {}
                received => {
                    if !limit.is_zero() {
                        self.penalty = 0;
                    }
                    return Ok(Some(received?.0));
                }
            }
        }
        if !limit.is_zero() {
            self.penalty = (self.penalty * 2 + 1).min(SPIN_REST_MAX);
            self.rest = self.penalty;
        }
        Ok(None)
    }
}

/// Receives what is there, or waits for it: awake at first.
fn receive(
    stream: &TcpStream,
    spin: &mut Spin,
    buffer: &mut [u8],
    patience: Patience,
) -> io::Result<usize> {
    if let Some(count) = spin.look(stream, buffer)? {
        return Ok(count);
    }
    loop {
        match recv(stream, &mut *buffer, RecvFlags::empty()) {
            Err(rustix::io::Errno::AGAIN) if patience == Patience::Endless => {}
            Err(rustix::io::Errno::AGAIN) => return Err(io::ErrorKind::TimedOut.into()),
            Err(rustix::io::Errno::INTR) => {}
            received => return Ok(received?.0),
        }
    }
}

impl Writer {
    /// Sends these bytes behind each other: without TLS from where they are.
    ///
    /// # Errors
    /// Those of the connection.
    pub(super) fn send(&mut self, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        match self.tls.clone() {
            Some(tls) => self.send_secured(&tls, parts),
            None => self.send_plain(parts),
        }
    }

    fn send_plain(&mut self, mut parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        let mut stream = &*self.stream;
        IoSlice::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            match stream.write_vectored(parts) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => IoSlice::advance_slices(&mut parts, count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn send_secured(&mut self, tls: &Tls, parts: &[IoSlice<'_>]) -> io::Result<()> {
        // Together: each would be a record of its own.
        let whole: Vec<u8>;
        let bytes = match parts {
            [only] => only,
            parts => {
                whole = parts.iter().flat_map(|part| part.iter().copied()).collect();
                whole.as_slice()
            }
        };
        for some in bytes.chunks(SECURED_BYTES) {
            self.out.clear();
            {
                let mut connection = lock(tls);
                connection.writer().write_all(some)?;
                while connection.wants_write() {
                    connection.write_tls(&mut self.out)?;
                }
            }
            (&*self.stream).write_all(&self.out)?;
        }
        Ok(())
    }
}
