//! Cancellation.

use crate::{Error, Guest, Result, Thread};
use std::sync::atomic::Ordering;

/// Kinds as the compiler numbers them.
pub(crate) const PARALLEL: u32 = 1;
const LOOP: u32 = 2;
const SECTIONS: u32 = 3;
const TASKGROUP: u32 = 4;

impl Thread {
    /// `__kmpc_cancel`: whether the thread is to leave the construct.
    ///
    /// # Errors
    /// If there is no such construct.
    pub fn cancel(&self, kind: u32) -> Result<bool> {
        known(kind)?;
        if !self.shared.config.cancellation {
            return Ok(false);
        }
        if kind == TASKGROUP {
            let group = self.group();
            if let Some(group) = &group {
                group.cancelled.store(true, Ordering::Release);
            }
            return Ok(group.is_some());
        }
        Ok(self.team().cancel(kind))
    }

    /// `__kmpc_cancellationpoint`: whether the construct was cancelled.
    ///
    /// # Errors
    /// If there is no such construct.
    pub fn cancellation_point(&self, kind: u32) -> Result<bool> {
        known(kind)?;
        if !self.shared.config.cancellation {
            return Ok(false);
        }
        if kind == TASKGROUP {
            return Ok(self.group().is_some_and(|group| group.is_cancelled()));
        }
        Ok(self.team().cancelled() == kind)
    }

    /// `__kmpc_cancel_barrier`: a barrier; whether the region was cancelled, and the thread is to
    /// go to its end. After a cancelled loop the region goes on.
    ///
    /// # Errors
    /// As for a barrier.
    pub fn cancel_barrier(&self, guest: &mut dyn Guest) -> Result<bool> {
        self.barrier(guest)?;
        let team = self.team();
        if team.is_cancelled() {
            return Ok(true);
        }
        if team.verdict() != 0 {
            team.forget_cancelled();
            // Nobody cancels the next construct before all have forgotten this.
            self.barrier(guest)?;
        }
        Ok(team.is_cancelled())
    }

    /// Whether the loop or the whole region was cancelled.
    pub(crate) fn cancelled_loop(&self) -> bool {
        self.shared.config.cancellation
            && matches!(self.frame(|frame| frame.team.cancelled()), PARALLEL | LOOP | SECTIONS)
    }
}

fn known(kind: u32) -> Result<()> {
    match kind {
        PARALLEL | LOOP | SECTIONS | TASKGROUP => Ok(()),
        _ => Err(Error::Misuse("it cancels a construct that does not exist")),
    }
}
