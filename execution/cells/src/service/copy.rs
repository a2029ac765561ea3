//! Copying a service's state while it works; see [`precopy`].

use super::{Body, Service, Slot, Turn};
use crate::{
    error::{Error, Result},
    precopy::{self, Changes},
    snapshot::{Identity, SnapshotError, Writer},
};
use std::io::Write;

/// How a copy came to be.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Copied {
    /// Bytes written while the cell ran.
    pub(super) running_bytes: u64,
    /// Rounds while the cell ran.
    pub(super) rounds: u32,
}

impl Service {
    /// Copies the memory while the cell runs. The caller holds `copying`, so the memory stays
    /// where it is. `settle` follows each pass: it may wait until the pass has arrived.
    pub(super) fn copy_running<W: Write>(
        &self,
        writer: &mut Writer<W>,
        identity: &Identity,
        settle: impl FnMut(&mut Writer<W>) -> Result<()>,
    ) -> Result<(Copied, Changes)> {
        let (memory, base) = {
            let turn = self.take_turn();
            let mut slot = self.slot();
            self.wake(&mut slot)?;
            let Body::Resident(cell) = &mut slot.body else { return Err(gone()) };
            let tracked = cell.track();
            let memory = cell.memory_range();
            let base = precopy::begin(&memory, tracked)?;
            drop((slot, turn));
            self.go_on();
            (memory, base)
        };
        writer.identity(identity).map_err(SnapshotError::from)?;
        let (rounds, changes) = precopy::copy(writer, &memory, base, settle)?;
        Ok((Copied { running_bytes: writer.written(), rounds }, changes))
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
        let runs = changes.left(cell)?;
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

fn gone() -> Error {
    Error::Ended { code: 0 }
}
