//! Copying a cell's memory while it works.
//!
//! Pre-copy, as for virtual machines (Clark et al., "Live Migration of Virtual Machines", NSDI
//! 2005): all pages while the cell runs, then what changed meanwhile, until little is left; the
//! cell stands still only for the rest. Checkpoints, services that move and ranks that move share
//! it.

use crate::{
    cell::{Cell, write_running_pages},
    dirty::{self, PAGE_BYTES, Runs, Tracker},
    error::{Error, Result},
    memory::read_pages,
    snapshot::{SnapshotError, Writer},
};
use std::{io::Write, ops::Range};

/// So little is left to copy that the cell may stand still for it: 1 MiB, about 0.3 ms.
const LAST_ROUND_PAGES: u64 = 256;

/// Most rounds while the cell runs: a cell that writes faster than it is copied must stand still.
const ROUNDS_MAX: u32 = 8;

/// What is known of a memory's changes since the base was copied.
pub(crate) enum Changes {
    /// The kernel notes them, in this memory; what was added since counts as changed.
    Tracked(Range<usize>),
    /// To be compared with this copy of what was sent.
    Compared(Vec<u8>),
    /// Nothing was copied before.
    Everything,
}

/// Begins to have the kernel note what is written, if it `tracks` this memory, and gives the pages
/// to begin with.
pub(crate) fn begin(memory: &Range<usize>, tracks: bool) -> Result<Option<Runs>> {
    let Some(tracker) = Tracker::get().filter(|_| tracks) else { return Ok(None) };
    // From here on only what is written anew is noted.
    tracker.take_written(memory).map_err(SnapshotError::from)?;
    Ok(Some(tracker.own_pages(memory).map_err(SnapshotError::from)?))
}

/// Copies a memory while its cell runs; gives how many rounds it took. `base` is what [`begin`]
/// gave. `settle` follows each pass: it may wait until the pass has arrived.
pub(crate) fn copy<W: Write>(
    writer: &mut Writer<W>,
    memory: &Range<usize>,
    base: Option<Runs>,
    mut settle: impl FnMut(&mut Writer<W>) -> Result<()>,
) -> Result<(u32, Changes)> {
    let Some(mut runs) = base else {
        let changes = copy_whole(writer, memory)?;
        settle(writer)?;
        return Ok((1, changes));
    };
    let mut rounds = 0;
    let mut left = dirty::count(&runs);
    loop {
        write_running_pages(writer, memory, &runs)?;
        settle(writer)?;
        rounds += 1;
        let before = left;
        runs = written(memory)?;
        left = dirty::count(&runs);
        if left <= LAST_ROUND_PAGES || rounds >= ROUNDS_MAX || left * 2 > before {
            break;
        }
    }
    // These notes are used up: the last pages before the cell stands still are sent here.
    write_running_pages(writer, memory, &runs)?;
    settle(writer)?;
    Ok((rounds, Changes::Tracked(memory.clone())))
}

/// Without the kernel's notes: keeps what was sent, to find the difference later.
fn copy_whole(writer: &mut Writer<impl Write>, memory: &Range<usize>) -> Result<Changes> {
    let all = 0..(memory.len() / PAGE_BYTES) as u32;
    let mut shadow = Vec::new();
    read_pages(memory, &all, &mut shadow).map_err(SnapshotError::from)?;
    for (first, piece) in (0_u32..).step_by(256).zip(shadow.chunks(256 * PAGE_BYTES)) {
        writer.pages(first, piece, false).map_err(SnapshotError::from)?;
    }
    Ok(Changes::Compared(shadow))
}

impl Changes {
    /// The pages that are left to copy from a cell that stands still.
    pub(crate) fn left(&self, cell: &Cell) -> Result<Runs> {
        let memory = cell.memory_range();
        Ok(match self {
            Self::Tracked(tracked) if tracked.len() < memory.len() => {
                dirty::union(&written(tracked)?, &cell.own_pages())
            }
            Self::Tracked(tracked) => written(tracked)?,
            Self::Compared(shadow) => cell.pages_unlike(shadow),
            Self::Everything => cell.own_pages(),
        })
    }
}

fn written(memory: &Range<usize>) -> Result<Runs> {
    let tracker = Tracker::get().ok_or(Error::Ended { code: 0 })?;
    Ok(tracker.take_written(memory).map_err(SnapshotError::from)?)
}
