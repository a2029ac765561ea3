//! A service's state on disk.

use super::{
    Body, Service,
    journal::{self, Journal},
};
use crate::{
    error::{Error, Result},
    precopy::Changes,
    program::Program,
    snapshot::{Identity, SnapshotError, Writer},
    worker::protocol::{Checkpointed, ServiceStart},
};
use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::Path,
    sync::{PoisonError, atomic::Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

/// The state's file in a service's folder.
pub(crate) const CHECKPOINT_FILE: &str = "checkpoint";

/// Milliseconds since the Unix epoch.
pub(super) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as u64)
}

/// What a snapshot of this service says it is.
pub(super) fn identity(start: &ServiceStart, program: &Program, sequence: u64) -> Identity {
    Identity {
        module: program.digest(),
        name: program.name().to_owned(),
        epoch: start.epoch,
        incarnation: start.incarnation,
        sequence,
        at: now_ms(),
        begun: true,
    }
}

impl Service {
    /// Writes a checkpoint unless nothing was answered since the last one; requests go on but for
    /// its last moment.
    pub(crate) fn checkpoint(&self) -> Result<Checkpointed> {
        let _copying = self.copying.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = self.unchanged() {
            return Ok(last);
        }
        let folder = &self.start.state_folder;
        let draft = folder.join("checkpoint.draft");
        let failed = |source| Error::Write { path: draft.clone(), source };
        let file = File::create(&draft).map_err(failed)?;
        let mut writer =
            Writer::new(BufWriter::with_capacity(1 << 20, file)).map_err(SnapshotError::from)?;
        let (sequence, at) = self.write_checkpoint(&mut writer)?;
        let size_bytes = writer.written();
        writer.sink().flush().map_err(failed)?;
        writer.sink().get_ref().sync_data().map_err(failed)?;
        let path = folder.join(CHECKPOINT_FILE);
        publish(&draft, &path)?;
        journal::remove_before(folder, sequence);
        let written = Checkpointed {
            uid: self.start.uid.clone(),
            epoch: self.start.epoch,
            incarnation: self.start.incarnation,
            sequence,
            path,
            size_bytes,
            at,
        };
        *self.last_checkpoint.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(written.clone());
        Ok(written)
    }

    /// The last checkpoint, if it still says everything.
    fn unchanged(&self) -> Option<Checkpointed> {
        let last = self.last_checkpoint.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let turn = self.take_turn();
        let same = self.slot().checkpointed_at == self.answered.load(Ordering::Relaxed);
        drop(turn);
        self.go_on();
        same.then_some(last)
    }

    /// Writes the state; from the moment that it shows, requests go to the next journal.
    fn write_checkpoint(&self, writer: &mut Writer<impl Write>) -> Result<(u64, u64)> {
        let next = self.slot().sequence + 1;
        let identity = identity(&self.start, &self.program, next);
        let (_, changes) = self.copy_running(writer, &identity, |_| Ok(()))?;
        let turn = self.take_turn();
        let mut slot = self.slot();
        let done = self
            .copy_rest(&turn, &mut slot, writer, &identity, &changes)
            .and_then(|()| Journal::create(&self.start.state_folder, next, self.durable()));
        if let Ok(journal) = done {
            slot.journal = Some(journal);
            slot.sequence = next;
            slot.checkpointed_at = self.answered.load(Ordering::Relaxed);
            drop((slot, turn));
            self.go_on();
            return Ok((next, identity.at));
        }
        drop((slot, turn));
        self.go_on();
        done.map(|_| (next, identity.at))
    }

    /// Writes a snapshot of the service into a file.
    pub(crate) fn snapshot_to(&self, path: &Path) -> Result<u64> {
        let _copying = self.copying.lock().unwrap_or_else(PoisonError::into_inner);
        let draft = path.with_extension("draft");
        let failed = |source| Error::Write { path: draft.clone(), source };
        let file = File::create(&draft).map_err(failed)?;
        let mut writer = Writer::new(BufWriter::new(file)).map_err(SnapshotError::from)?;
        let turn = self.take_turn();
        let mut slot = self.slot();
        let identity = identity(&self.start, &self.program, slot.sequence);
        let written = self.wake(&mut slot).and_then(|()| {
            self.copy_rest(&turn, &mut slot, &mut writer, &identity, &Changes::Everything)
        });
        drop((slot, turn));
        self.go_on();
        written?;
        writer.sink().get_ref().sync_data().map_err(failed)?;
        publish(&draft, path)?;
        Ok(writer.written())
    }

    /// Whether the cell can still be saved.
    pub(crate) fn is_alive(&self) -> bool {
        !matches!(self.slot().body, Body::Gone) && !self.has_failed()
    }
}

/// Gives a finished file its name, durably.
fn publish(draft: &Path, path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::rename(draft, path)
        .and_then(|()| journal::sync_folder(folder))
        .map_err(|source| Error::Write { path: path.to_owned(), source })
}
