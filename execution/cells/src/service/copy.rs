//! Copying a cell's state while it works.
//!
//! Pre-copy, as for virtual machines (Clark et al., "Live Migration of Virtual Machines", NSDI
//! 2005): all pages while the cell runs, then what changed meanwhile, until little is left; the
//! cell stands still only for the rest. The same serves checkpoints and migrations.

use super::{Body, Service, Slot, Turn};
use crate::{
    cell::write_running_pages,
    dirty::{self, PAGE_BYTES, Runs, Tracker},
    error::{Error, Result},
    memory::read_pages,
    snapshot::{Identity, SnapshotError, Writer},
};
use std::{io::Write, ops::Range};

/// So little is left to copy that the cell may stand still for it: 1 MiB, about 0.3 ms.
const LAST_ROUND_PAGES: u64 = 256;

/// Most rounds while the cell runs: a cell that writes faster than it is copied must stand still.
const ROUNDS_MAX: u32 = 8;

/// How a copy came to be.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Copied {
    /// Bytes written while the cell ran.
    pub(super) running_bytes: u64,
    /// Rounds while the cell ran.
    pub(super) rounds: u32,
}

/// What is known of the memory's changes since the base was copied.
pub(super) enum Changes {
    /// The kernel notes them, in this memory; what was added since counts as changed.
    Tracked(Range<usize>),
    /// To be compared with this copy of what was sent.
    Compared(Vec<u8>),
    /// Nothing was copied before.
    Everything,
}

impl Service {
    /// Copies the memory while the cell runs. The caller holds `copying`, so the memory stays
    /// where it is. `settle` follows each pass: it may wait until the pass has arrived.
    pub(super) fn copy_running<W: Write>(
        &self,
        writer: &mut Writer<W>,
        identity: &Identity,
        mut settle: impl FnMut(&mut Writer<W>) -> Result<()>,
    ) -> Result<(Copied, Changes)> {
        let (memory, tracked, base) = {
            let turn = self.take_turn();
            let mut slot = self.slot();
            self.wake(&mut slot)?;
            let Body::Resident(cell) = &mut slot.body else { return Err(gone()) };
            let tracked = cell.track();
            let memory = cell.memory_range();
            if let Some(tracker) = Tracker::get().filter(|_| tracked) {
                // From here on only what is written anew is noted.
                tracker.take_written(&memory).map_err(SnapshotError::from)?;
            }
            let base = (memory, tracked, cell.own_pages());
            drop((slot, turn));
            self.work();
            base
        };
        writer.identity(identity).map_err(SnapshotError::from)?;
        if !tracked {
            let copied = self.copy_compared(writer, &memory)?;
            settle(writer)?;
            return Ok(copied);
        }
        let mut copied = Copied::default();
        let mut runs = base;
        let mut left = dirty::count(&runs);
        loop {
            write_running_pages(writer, &memory, &runs)?;
            settle(writer)?;
            copied.rounds += 1;
            let before = left;
            runs = written(&memory)?;
            left = dirty::count(&runs);
            if left <= LAST_ROUND_PAGES || copied.rounds >= ROUNDS_MAX || left * 2 > before {
                break;
            }
        }
        // These notes are used up: the last pages before the cell stands still are sent here.
        write_running_pages(writer, &memory, &runs)?;
        settle(writer)?;
        copied.running_bytes = writer.written();
        Ok((copied, Changes::Tracked(memory)))
    }

    /// Without the kernel's notes: keeps what was sent, to find the difference later.
    fn copy_compared(
        &self,
        writer: &mut Writer<impl Write>,
        memory: &Range<usize>,
    ) -> Result<(Copied, Changes)> {
        let all = 0..(memory.len() / PAGE_BYTES) as u32;
        let mut shadow = Vec::new();
        read_pages(memory, &all, &mut shadow).map_err(SnapshotError::from)?;
        for (first, piece) in (0_u32..).step_by(256).zip(shadow.chunks(256 * PAGE_BYTES)) {
            writer.pages(first, piece, false).map_err(SnapshotError::from)?;
        }
        Ok((Copied { running_bytes: writer.written(), rounds: 1 }, Changes::Compared(shadow)))
    }

    /// Writes what is left and everything but pages, and ends the round. For the holder of the
    /// turn: the cell stands still.
    pub(super) fn copy_rest(
        &self,
        _turn: &Turn<'_>,
        slot: &mut Slot,
        writer: &mut Writer<impl Write>,
        identity: &Identity,
        changes: &Changes,
    ) -> Result<()> {
        let Body::Resident(cell) = &mut slot.body else { return Err(gone()) };
        cell.check_suspended()?;
        let memory = cell.memory_range();
        let runs = match changes {
            Changes::Tracked(tracked) if tracked.len() < memory.len() => {
                dirty::union(&written(tracked)?, &cell.own_pages())
            }
            Changes::Tracked(tracked) => written(tracked)?,
            Changes::Compared(shadow) => cell.pages_unlike(shadow),
            Changes::Everything => cell.own_pages(),
        };
        writer.identity(&cell.begun(identity)).map_err(SnapshotError::from)?;
        cell.write_pages(writer, &runs, false)?;
        cell.write_rest(writer)?;
        if let Some(tape) = &slot.tape {
            // Saving reads the clocks; that is no part of the next request.
            tape.take();
        }
        let image = self.image(slot)?;
        writer.service(&image).map_err(SnapshotError::from)?;
        writer.commit().map_err(SnapshotError::from)?;
        Ok(())
    }
}

fn written(memory: &Range<usize>) -> Result<Runs> {
    let tracker = Tracker::get().ok_or_else(gone)?;
    Ok(tracker.take_written(memory).map_err(SnapshotError::from)?)
}

fn gone() -> Error {
    Error::Ended { code: 0 }
}
