//! A service's state on its way to another worker.
//!
//! The target listens; the source dials, shows the secret and sends the state in rounds, the last
//! one while the cell stands still. The target keeps all that arrives as its checkpoint, so that
//! it has the whole state on disk when it acknowledges. Neither serves until it is told to.
//!
//! ```text
//! source  "CSKMOVE2" | u16 length | migration | u16 length | secret | a snapshot's bytes
//! target  u8 1 for each identity section after the first: all before it is taken in
//!         u8 2 when a committed round is kept
//! ```
//!
//! The source ends each pass over the running cell's pages with another identity section and waits
//! for its acknowledgement. Otherwise what lies in the sockets' buffers, megabytes, would be worked
//! off while the cell stands still.

use super::{
    Body, Mode, Service, Slot,
    checkpoint::{self, CHECKPOINT_FILE},
    journal::{self, Journal},
    state::Loading,
};
use crate::{
    door::{self, Door, Magic},
    error::{Error, Result},
    program::Program,
    snapshot::{Reader, Section, SnapshotError, Writer},
    worker::protocol::ServiceStart,
};
use api::link::Transferred;
use std::{
    fs::{self, File},
    io::{self, BufReader, BufWriter, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    path::PathBuf,
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

const MAGIC: Magic = *b"CSKMOVE2";

/// Acknowledges that all before an identity section is taken in.
const TAKEN: u8 = 1;

/// Acknowledges a committed round that is kept.
const KEPT: u8 = 2;

/// How long a target waits for its source.
const ARRIVAL_MAX: Duration = Duration::from_secs(60);

impl Service {
    /// Sends the state to the target that listens at `address`. Afterwards the cell stands still
    /// until [`Service::resume_here`] or [`Service::leave`]; after an error it serves on.
    pub(crate) fn hand_over(
        &self,
        migration: &str,
        address: SocketAddr,
        secret: &str,
    ) -> Result<Transferred> {
        let _copying = self.copying.lock().unwrap_or_else(PoisonError::into_inner);
        let started = Instant::now();
        let failed =
            |error: io::Error| Error::Handover(format!("the target at {address}: {error}"));
        let stream = door::dial(MAGIC, address, migration, secret).map_err(failed)?;
        let sink = stream.try_clone().map_err(failed)?;
        let mut writer =
            Writer::new(BufWriter::with_capacity(256 << 10, sink)).map_err(SnapshotError::from)?;
        let sequence = self.slot().sequence + 1;
        let identity = checkpoint::identity(&self.start, &self.program, sequence);
        let (copied, changes) = self.copy_running(&mut writer, &identity, |writer| {
            writer.identity(&identity).map_err(SnapshotError::from)?;
            writer.sink().flush().map_err(failed)?;
            acknowledged(&stream, TAKEN).map_err(failed)
        })?;

        let turn = self.take_turn();
        let stopped = Instant::now();
        let mut slot = self.slot();
        let sent = self
            .copy_rest(&turn, &mut slot, &mut writer, &identity, &changes)
            .and_then(|()| acknowledged(&stream, KEPT).map_err(failed));
        drop(slot);
        if let Err(error) = sent {
            drop(turn);
            self.go_on();
            return Err(error);
        }
        *self.migration() = Some(migration.to_owned());
        self.set_mode(Mode::HandedOver);
        drop(turn);
        // To give a large copy back takes the system as long as the hand-over, and the target waits
        // for the answer. Without a thread it is given back here.
        let _ = std::thread::Builder::new().name("give back".into()).spawn(move || drop(changes));
        Ok(Transferred {
            precopy_bytes: copied.running_bytes,
            rounds: copied.rounds,
            final_bytes: writer.written() - copied.running_bytes,
            total_us: started.elapsed().as_micros() as u64,
            stop_us: stopped.elapsed().as_micros() as u64,
        })
    }

    /// The migration failed: serves on as if nothing had been.
    pub(crate) fn resume_here(&self) {
        *self.migration() = None;
        if self.queue().mode == Mode::HandedOver {
            self.serve();
        }
    }

    /// The migration succeeded: what is here is void. Empties the state folder.
    pub(crate) fn leave(&self) {
        self.stop();
        let folder = &self.start.state_folder;
        if let Err(error) = fs::remove_dir_all(folder) {
            tracing::warn!(folder = %folder.display(), %error, "a state folder stays behind");
        }
    }
}

/// Reads acknowledgements up to this one.
fn acknowledged(mut stream: &TcpStream, wanted: u8) -> io::Result<()> {
    let mut acknowledgement = [0];
    loop {
        stream.read_exact(&mut acknowledgement)?;
        match acknowledgement {
            [found] if found == wanted => return Ok(()),
            [TAKEN] => {}
            _ => return Err(io::Error::other("it refused the state")),
        }
    }
}

/// A state that has arrived; its source waits to hear so.
pub(crate) struct Arrived(TcpStream);

impl Arrived {
    /// Tells the source. One that is gone resumes by itself, and this state is never activated.
    pub(crate) fn acknowledge(mut self) {
        if let Err(error) = self.0.write_all(&[KEPT]) {
            tracing::info!(%error, "the source of a state is gone");
        }
    }
}

/// A service whose state is awaited.
pub(crate) struct Arrival {
    /// Where the source must dial, and what it must show.
    pub(crate) door: Door,
    service: Arc<Service>,
    draft: PathBuf,
}

impl Arrival {
    /// Makes an empty cell and a place for its state, and listens.
    pub(crate) fn prepare(
        handle: u32,
        start: ServiceStart,
        program: Arc<Program>,
        migration: &str,
        listen: IpAddr,
    ) -> Result<Self> {
        program.unwind_area()?;
        let folder = start.state_folder.clone();
        let failed = |source| Error::Write { path: folder.clone(), source };
        // What an earlier stay left behind is void.
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => fs::create_dir_all(&folder).map_err(failed)?,
        }
        let service = Service::empty(handle, start, program)?;
        *service.migration() = Some(migration.to_owned());
        let door = Door::open(MAGIC, migration, listen)
            .map_err(|error| Error::Handover(format!("cannot listen on {listen}: {error}")))?;
        Ok(Self { door, draft: folder.join("checkpoint.draft"), service: service.into_shared() })
    }

    /// The service that will be.
    pub(crate) fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// Takes the state over; returns when it is whole and kept, with what tells the source so.
    /// `aborted` ends the wait.
    pub(crate) fn receive(&self, aborted: &dyn Fn() -> bool) -> Result<Arrived> {
        let failed = |error: io::Error| Error::Handover(format!("the source: {error}"));
        let stream = self.door.accept(Instant::now() + ARRIVAL_MAX, aborted).map_err(failed)?;
        // Whoever aborts waits from here on: the folder may be a successor's afterwards.
        let mut slot = self.service.slot();
        let over = || Error::Handover("the migration was aborted".into());
        if aborted() || matches!(slot.body, Body::Gone) {
            return Err(over());
        }
        let file = File::create(&self.draft)
            .map_err(|source| Error::Write { path: self.draft.clone(), source })?;
        let kept = BufWriter::with_capacity(256 << 10, file);
        let source = BufReader::with_capacity(256 << 10, &stream);
        let mut reader = Reader::new(Tee { source, copy: kept })?;
        let mut loading = Loading::default();
        let mut begun = false;
        while !loading.complete {
            if aborted() {
                return Err(over());
            }
            let section = reader.next()?.ok_or(SnapshotError::Incomplete)?;
            let opens_a_pass = matches!(section, Section::Identity(_));
            loading.take(&mut slot, section)?;
            if opens_a_pass && std::mem::replace(&mut begun, true) {
                (&stream).write_all(&[TAKEN]).map_err(failed)?;
            }
        }
        self.service.finish_loading(&mut slot, loading)?;
        self.keep(&mut slot, reader.into_source().copy)?;
        drop(slot);
        Ok(Arrived(stream))
    }

    /// Makes what has arrived this service's checkpoint.
    fn keep(&self, slot: &mut Slot, mut copy: BufWriter<File>) -> Result<()> {
        let start = &self.service.start;
        let failed = |source| Error::Write { path: self.draft.clone(), source };
        copy.flush().map_err(failed)?;
        if self.service.durable() {
            copy.get_ref().sync_data().map_err(failed)?;
        }
        fs::rename(&self.draft, start.state_folder.join(CHECKPOINT_FILE)).map_err(failed)?;
        if self.service.durable() {
            journal::sync_folder(&start.state_folder).map_err(failed)?;
        }
        slot.journal =
            Some(Journal::create(&start.state_folder, slot.sequence, self.service.durable())?);
        Ok(())
    }
}

/// Keeps a copy of what is read.
#[derive(Debug)]
struct Tee<R, W> {
    source: R,
    copy: W,
}

impl<R: Read, W: Write> Read for Tee<R, W> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let size = self.source.read(into)?;
        self.copy.write_all(&into[..size])?;
        Ok(size)
    }
}
