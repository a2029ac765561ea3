//! One connection to each other site of a world, over whatever carries bytes both ways.
//!
//! Whoever connects has made sure who is at the other end. Each connection has a thread that
//! writes and one that reads. Frames wait in a queue of bounded length until they are written,
//! many at once if there are many; whoever finds it full waits. The reader gives each frame to
//! [`World::deliver`] and waits for nothing else, so that two sites that both have much to say
//! never wait for each other.
//!
//! On the wire each side first says `CSKMPI`, a version and its number, and then sends frames,
//! each after its length in 32 bits. A length of zero says that no more will come.

use crate::{Link, World, error::Abort, world::lock};
use std::{
    collections::{HashMap, VecDeque},
    io::{self, Read, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    time::{Duration, Instant},
};

const MAGIC: &[u8; 6] = b"CSKMPI";
const VERSION: u16 = 1;
/// Bytes of frames that wait to be written to one site.
const QUEUE_BYTES: usize = 4 << 20;
/// The longest frame: one chunk of data, and the places where it belongs.
const FRAME_BYTES_MAX: usize = 1 << 20;
/// Frames of so many bytes are written from where they are.
const LONG_BYTES: usize = 16 << 10;
/// What is written at once of the others.
const BATCH_BYTES: usize = 128 << 10;
/// How often whoever waits for room looks whether the world still goes on.
const LOOK: Duration = Duration::from_millis(50);

/// The connections of one site's part of a world.
#[derive(Debug)]
pub struct Connections {
    here: u32,
    lines: Mutex<HashMap<u32, Arc<Line>>>,
    readers: Mutex<Vec<Reader>>,
    world: Arc<OnceLock<Weak<World>>>,
}

/// Who reads from a site once there is a world.
struct Reader(Arc<Line>, Box<dyn Read + Send>);

impl std::fmt::Debug for Reader {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Reader({})", self.0.site)
    }
}

/// A connection to one site.
#[derive(Debug)]
struct Line {
    site: u32,
    state: Mutex<State>,
    /// Rings when there is something to write, or nothing more.
    work: Condvar,
    /// Rings when there is room again, and at every end.
    room: Condvar,
    world: Arc<OnceLock<Weak<World>>>,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Vec<u8>>,
    bytes: usize,
    /// No more is to be sent.
    closing: bool,
    /// All that is to be sent has been written.
    written: bool,
    /// The other side will send no more.
    ended: bool,
    broken: Option<Arc<str>>,
}

impl Line {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn world(&self) -> Option<Arc<World>> {
        self.world.get()?.upgrade()
    }

    /// The connection is of no use any more.
    fn fail(&self, reason: &str) {
        let mut state = self.state();
        // Once both sides have said that they are through, nothing is missed.
        let through = state.closing && state.ended;
        state.broken.get_or_insert_with(|| reason.into());
        state.frames.clear();
        state.bytes = 0;
        drop(state);
        self.work.notify_all();
        self.room.notify_all();
        if let Some(world) = self.world().filter(|_| !through) {
            world.lost(self.site, reason);
        }
    }

    fn send(&self, frame: Vec<u8>) -> Result<(), Abort> {
        let mut state = self.state();
        while state.bytes > 0 && state.bytes + frame.len() > QUEUE_BYTES && state.broken.is_none() {
            if let Some(abort) = self.world().and_then(|world| world.ended().cloned()) {
                // What tells of the end goes beyond the limit.
                if state.bytes >= 2 * QUEUE_BYTES {
                    return Err(abort);
                }
                break;
            }
            let woken = self.room.wait_timeout(state, LOOK);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        if let Some(reason) = &state.broken {
            return Err(Abort::Lost { site: self.site, reason: Arc::clone(reason) });
        }
        if state.closing {
            let reason = "it was closed at this side".into();
            return Err(Abort::Lost { site: self.site, reason });
        }
        state.bytes += frame.len();
        state.frames.push_back(frame);
        drop(state);
        self.work.notify_one();
        Ok(())
    }

    /// The next frames as one row of bytes, after which a long one may come that was not copied;
    /// nothing when there are no more.
    fn batch(&self, row: &mut Vec<u8>, long: &mut Vec<u8>) -> bool {
        row.clear();
        long.clear();
        let mut state = self.state();
        while state.frames.is_empty() && !state.closing && state.broken.is_none() {
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.frames.is_empty() || state.broken.is_some() {
            return false;
        }
        while row.len() < BATCH_BYTES
            && long.is_empty()
            && let Some(frame) = state.frames.pop_front()
        {
            state.bytes -= frame.len();
            row.extend_from_slice(&(frame.len() as u32).to_le_bytes());
            match frame.len() < LONG_BYTES {
                true => row.extend_from_slice(&frame),
                false => *long = frame,
            }
        }
        drop(state);
        self.room.notify_all();
        true
    }

    fn write_all(&self, writer: &mut dyn Write) {
        let (mut row, mut long) = (Vec::new(), Vec::new());
        while self.batch(&mut row, &mut long) {
            let written = writer.write_all(&row).and_then(|()| writer.write_all(&long));
            if let Err(error) = written.and_then(|()| writer.flush()) {
                return self.fail(&format!("it can not be written to: {error}"));
            }
        }
        if self.state().broken.is_none() {
            // The other side may be gone already if it is through as well.
            let _ = writer.write_all(&0_u32.to_le_bytes()).and_then(|()| writer.flush());
        }
        self.state().written = true;
        self.room.notify_all();
    }

    fn read_all(&self, reader: &mut dyn Read) {
        let mut reader = io::BufReader::with_capacity(BATCH_BYTES, reader);
        let mut frame = Vec::new();
        loop {
            match next_frame(&mut reader, &mut frame) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => return self.fail(&format!("it can not be read from: {error}")),
            }
            // Without a world nobody is left to tell.
            let Some(world) = self.world() else { continue };
            if let Err(abort) = world.deliver(self.site, &frame) {
                return self.fail(&abort.to_string());
            }
        }
        self.state().ended = true;
        self.room.notify_all();
    }
}

/// Reads a frame; false if there will be no more.
fn next_frame(reader: &mut impl Read, frame: &mut Vec<u8>) -> io::Result<bool> {
    let mut len = [0; 4];
    reader.read_exact(&mut len)?;
    let len = u32::from_le_bytes(len) as usize;
    if len > FRAME_BYTES_MAX {
        let text = format!("a frame of {len} bytes is longer than {FRAME_BYTES_MAX}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    frame.resize(len, 0);
    reader.read_exact(frame)?;
    Ok(len > 0)
}

impl Connections {
    /// No connections yet, of the site with this number.
    pub fn new(here: u32) -> Arc<Self> {
        let (lines, readers, world) = Default::default();
        Arc::new(Self { here, lines, readers, world })
    }

    /// Greets another site and connects to it. Both sides do so; what is read and written is read
    /// and written by no one else, and the greeting is waited for as long as `reader` does. What
    /// the other side sends is read from [`Connections::attend`] on.
    ///
    /// # Errors
    ///
    /// When the other side is not that site, or speaks another version.
    pub fn connect(
        &self,
        site: u32,
        mut reader: impl Read + Send + 'static,
        mut writer: impl Write + Send + 'static,
    ) -> Result<(), Abort> {
        let lost = |reason: String| Abort::Lost { site, reason: reason.into() };
        self.greet(site, &mut reader, &mut writer).map_err(lost)?;
        let line = Arc::new(Line {
            site,
            state: Mutex::default(),
            work: Condvar::new(),
            room: Condvar::new(),
            world: Arc::clone(&self.world),
        });
        let writing = Arc::clone(&line);
        let thread = std::thread::Builder::new().name(format!("mpi-writer-{site}"));
        thread
            .spawn(move || writing.write_all(&mut writer))
            .map_err(|error| lost(format!("there is no thread to write to it: {error}")))?;
        lock(&self.lines).insert(site, Arc::clone(&line));
        lock(&self.readers).push(Reader(line, Box::new(reader)));
        Ok(())
    }

    fn greet(
        &self,
        site: u32,
        reader: &mut impl Read,
        writer: &mut impl Write,
    ) -> Result<(), String> {
        let mut hello = [0; 12];
        hello[..6].copy_from_slice(MAGIC);
        hello[6..8].copy_from_slice(&VERSION.to_le_bytes());
        hello[8..].copy_from_slice(&self.here.to_le_bytes());
        let sent = writer.write_all(&hello).and_then(|()| writer.flush());
        let heard = sent.and_then(|()| reader.read_exact(&mut hello));
        heard.map_err(|error| format!("it was not greeted: {error}"))?;
        let [version_low, version_high, number @ ..] = &hello[6..] else {
            return Err("it was not greeted".to_owned());
        };
        let version = u16::from_le_bytes([*version_low, *version_high]);
        let other = number.first_chunk().map_or(0, |number| u32::from_le_bytes(*number));
        if hello[..6] != *MAGIC {
            return Err("the other side does not speak this protocol".to_owned());
        }
        if version != VERSION {
            return Err(format!("the other side speaks version {version}, this one {VERSION}"));
        }
        if other != site {
            return Err(format!("site {other} is at the other end"));
        }
        Ok(())
    }

    /// Begins to read from all connections, for a world that was made with these as its link.
    ///
    /// # Errors
    ///
    /// When there are no threads to read.
    pub fn attend(&self, world: &Arc<World>) -> Result<(), Abort> {
        let _ = self.world.set(Arc::downgrade(world));
        for Reader(line, mut reader) in std::mem::take(&mut *lock(&self.readers)) {
            let site = line.site;
            let thread = std::thread::Builder::new().name(format!("mpi-reader-{site}"));
            thread.spawn(move || line.read_all(&mut *reader)).map_err(|error| {
                let reason = format!("there is no thread to read from it: {error}");
                Abort::Lost { site, reason: reason.into() }
            })?;
        }
        Ok(())
    }

    /// Says to all sites that no more will come, and waits until they have said so as well: to be
    /// called once all ranks here are through.
    ///
    /// # Errors
    ///
    /// When a site does not do so for as long as `patience` lasts, or its connection breaks.
    pub fn close(&self, patience: Duration) -> Result<(), Abort> {
        let deadline = Instant::now() + patience;
        // Answers that are on their way to the queues go first.
        if let Some(world) = self.world.get().and_then(Weak::upgrade) {
            world.rest(deadline);
        }
        let lines: Vec<_> = lock(&self.lines).values().map(Arc::clone).collect();
        for line in &lines {
            line.state().closing = true;
            line.work.notify_all();
            line.room.notify_all();
        }
        for line in lines {
            let mut state = line.state();
            while !(state.written && state.ended) {
                let lost =
                    |reason: &Arc<str>| Abort::Lost { site: line.site, reason: Arc::clone(reason) };
                if let Some(reason) = &state.broken {
                    return Err(lost(reason));
                }
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(lost(&format!("it was not through within {patience:?}").into()));
                }
                let woken = line.room.wait_timeout(state, left);
                state = woken.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
        Ok(())
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        for line in lock(&self.lines).values() {
            line.state().closing = true;
            line.work.notify_all();
        }
    }
}

impl Link for Connections {
    fn send(&self, site: u32, frame: Vec<u8>) -> Result<(), Abort> {
        let line = lock(&self.lines).get(&site).map(Arc::clone);
        let reason = || Abort::Lost { site, reason: "there is none".into() };
        line.ok_or_else(reason)?.send(frame)
    }
}
