//! Ranks that leave for one other site.
//!
//! ```text
//! source  a door's hello | u32 number of the source | u32 0 | a snapshot's bytes:
//!         identity, then for each rank that comes: rank (running), pages; again until little is left
//!         identity, tissue, then for each: rank (stopped or ended), pages and the rest; commit
//! target  u8 1 for each identity section after the first: all before it is taken in
//!         u8 2 when all is
//! ```
//!
//! Every site of the old layout sends to every site of the new one, be it only what MPI knows of
//! its part of the world.

use super::{Shared, gate::Gate, lock};
use crate::{
    cell::Cell,
    dirty::Tracker,
    door,
    error::{Error, Result},
    precopy::{self, Changes},
    ranks::Lent,
    run::identity,
    snapshot::{RankImage, RankState, SnapshotError, TissueImage, Writer},
};
use api::{
    link::Transferred,
    tissue::{Door, Layout, Purpose},
};
use std::{
    io::{self, BufWriter, Read, Write},
    net::TcpStream,
    ops::Range,
    sync::{Arc, Mutex},
};

/// Begins a connection between workers of one tissue.
pub(super) const MAGIC: door::Magic = *b"CSKRANK1";

/// Acknowledges that all before an identity section is taken in.
pub(super) const TAKEN: u8 = 1;

/// Acknowledges that all has come.
pub(super) const COMPLETE: u8 = 2;

type Sink = Writer<BufWriter<TcpStream>>;

/// Dials a site for states or for messages.
pub(super) fn dial(about: &str, door: &Door, purpose: Purpose, here: u32) -> io::Result<TcpStream> {
    let (address, kind) = match purpose {
        Purpose::States => (door.states, 0_u32),
        Purpose::Messages => (door.messages, 1),
    };
    let address = address.ok_or_else(|| io::Error::other("there is no way to it"))?;
    let mut stream = door::dial(MAGIC, address, about, &door.secret)?;
    stream.write_all(&[here.to_le_bytes(), kind.to_le_bytes()].concat())?;
    Ok(stream)
}

/// Reads who dialled, and for what.
pub(super) fn who(mut stream: &TcpStream) -> io::Result<(u32, Purpose)> {
    let mut words = [0; 8];
    stream.read_exact(&mut words)?;
    let [a, b, c, d, kind @ ..] = words;
    let purpose = match u32::from_le_bytes(kind) {
        0 => Purpose::States,
        1 => Purpose::Messages,
        other => return Err(io::Error::other(format!("a connection for {other}"))),
    };
    Ok((u32::from_le_bytes([a, b, c, d]), purpose))
}

/// A memory whose writes the kernel notes, until it is let go.
#[derive(Debug)]
struct Watched(Range<usize>);

impl Watched {
    fn begin(memory: Range<usize>) -> Option<Self> {
        let tracker = Tracker::get().filter(|_| !memory.is_empty())?;
        tracker.register(&memory).ok().map(|()| Self(memory))
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(tracker) = Tracker::get() {
            tracker.unregister(&self.0);
        }
    }
}

/// A rank that leaves.
struct Leaver {
    number: u32,
    changes: Option<Changes>,
    /// After the changes: they are read while it is watched.
    watched: Option<Watched>,
}

/// The way to one site.
pub(super) struct Outgoing {
    pub(super) site: u32,
    stream: TcpStream,
    sink: Arc<Mutex<Sink>>,
    leavers: Vec<Leaver>,
}

impl std::fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Outgoing({})", self.site)
    }
}

impl Outgoing {
    /// Dials a site of the new layout.
    pub(super) fn open(
        shared: &Shared,
        about: &str,
        door: &Door,
        here: u32,
        (before, layout): (&Layout, &Layout),
    ) -> Result<Self> {
        let failed = |error| lost(door.site, &error);
        let stream = dial(about, door, Purpose::States, here).map_err(failed)?;
        let sink = BufWriter::with_capacity(256 << 10, stream.try_clone().map_err(failed)?);
        let mut sink = Writer::new(sink).map_err(SnapshotError::from)?;
        sink.identity(&identity(&shared.program, 0)).map_err(SnapshotError::from)?;
        let stays = |rank: &u32| layout.places.get(*rank as usize) != Some(&door.site);
        let leavers = before.ranks(here).filter(|rank| !stays(rank));
        let leaver = |number| Leaver { number, changes: None, watched: None };
        Ok(Self {
            site: door.site,
            stream,
            sink: Arc::new(Mutex::new(sink)),
            leavers: leavers.map(leaver).collect(),
        })
    }

    /// Sends what the ranks that leave have in memory, while they run.
    pub(super) fn copy(&mut self, shared: &Shared, told: &mut Transferred) -> Result<()> {
        let (stream, site) = (&self.stream, self.site);
        let mut sink = lock(&self.sink);
        for leaver in &mut self.leavers {
            // Who has ended meanwhile has nothing to copy.
            let Some(lent) = memory_of(shared, leaver.number) else { continue };
            let memory = lent.range();
            leaver.watched = Watched::begin(memory.clone());
            let base = precopy::begin(&memory, leaver.watched.is_some())?;
            let (number, state) = (leaver.number, RankState::Running);
            sink.rank(&RankImage { number, state }).map_err(SnapshotError::from)?;
            let settle = |sink: &mut Sink| {
                sink.identity(&identity(&shared.program, 0)).map_err(SnapshotError::from)?;
                sink.sink().flush().map_err(|error| lost(site, &error))?;
                acknowledged(stream, TAKEN).map_err(|error| lost(site, &error))
            };
            let (rounds, changes) = precopy::copy(&mut sink, &memory, base, settle)?;
            told.rounds = told.rounds.max(rounds);
            leaver.changes = Some(changes);
        }
        told.precopy_bytes += sink.written();
        Ok(())
    }

    /// Sends what is left of ranks that stand, and what the world knows.
    pub(super) fn finish(
        &mut self,
        shared: &Shared,
        world: Vec<u8>,
        told: &mut Transferred,
    ) -> Result<()> {
        let failed = |error| lost(self.site, &error);
        let before = {
            let mut sink = lock(&self.sink);
            let before = sink.written();
            sink.identity(&identity(&shared.program, 0)).map_err(SnapshotError::from)?;
            let image = TissueImage { size: shared.size(), world };
            sink.tissue(&image).map_err(SnapshotError::from)?;
            before
        };
        let ends = shared.ends();
        for leaver in &mut self.leavers {
            let number = leaver.number;
            if let Some(code) = ends.get(number as usize).copied().flatten() {
                let image = RankImage { number, state: RankState::Ended(code) };
                lock(&self.sink).rank(&image).map_err(SnapshotError::from)?;
                continue;
            }
            let changes = leaver.changes.take().unwrap_or(Changes::Everything);
            send_rank(&shared.gate, &self.sink, number, changes)?;
            leaver.watched = None;
        }
        let mut sink = lock(&self.sink);
        sink.commit().map_err(SnapshotError::from)?;
        told.final_bytes += sink.written() - before;
        acknowledged(&self.stream, COMPLETE).map_err(failed)
    }
}

/// Has a rank that stands send what is left of it.
fn send_rank(gate: &Gate, sink: &Arc<Mutex<Sink>>, number: u32, changes: Changes) -> Result<()> {
    let sink = sink.clone();
    gate.with(number, move |cell: &mut Cell| {
        let mut sink = lock(&sink);
        let state = RankState::Stopped(cell.save_seat()?);
        sink.rank(&RankImage { number, state }).map_err(SnapshotError::from)?;
        let runs = changes.left(cell)?;
        cell.write_pages(&mut sink, &runs, false)?;
        cell.write_rest(&mut sink)
    })
}

fn memory_of(shared: &Shared, rank: u32) -> Option<Arc<Lent>> {
    lock(&shared.crew).memories.get(rank as usize).cloned().flatten()
}

/// Reads acknowledgements up to this one.
fn acknowledged(mut stream: &TcpStream, wanted: u8) -> io::Result<()> {
    let mut acknowledgement = [0];
    loop {
        stream.read_exact(&mut acknowledgement)?;
        match acknowledgement {
            [found] if found == wanted => return Ok(()),
            [TAKEN] => {}
            _ => return Err(io::Error::other("it refused the ranks")),
        }
    }
}

/// That the way to a site broke.
pub(super) fn lost(site: u32, error: &io::Error) -> Error {
    Error::Handover(format!("site {site} of the program: {error}"))
}
