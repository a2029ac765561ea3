//! Objects that somebody wants in a tier below memory, and waits until they are there.

use super::{spill, state::State, tenant::Tenant, writeback};
use crate::{
    Destination, Error, Result,
    shared::record::{Header, Place},
    wire::Refusal,
};
use std::{
    collections::BTreeMap,
    sync::atomic::Ordering::SeqCst,
    thread,
    time::{Duration, Instant},
};

/// Most objects that are asked for at once.
const KEYS_MAX: usize = 1024;
/// How often it is looked whether what somebody else writes outside has come there, and how long.
const PAUSE: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(60);

/// Objects that were not moved.
type Failed = Vec<(String, Refusal)>;

impl Tenant {
    /// Moves objects down; gives those that were not moved.
    pub(super) fn relocate(
        &self,
        bucket: &str,
        keys: &[String],
        to: Destination,
    ) -> Result<Failed> {
        if keys.len() > KEYS_MAX {
            let (what, limit) = ("objects that are moved at once".to_owned(), KEYS_MAX as u64);
            return Err(Error::TooMany { what, limit });
        }
        match to {
            Destination::Memory => {
                Err(Error::Invalid("a process brings objects to memory by itself".to_owned()))
            }
            Destination::Disk => self.relocate_to_disk(bucket, keys),
            Destination::Outside => self.relocate_outside(bucket, keys),
        }
    }

    fn relocate_to_disk(&self, bucket: &str, keys: &[String]) -> Result<Failed> {
        let mut plan = spill::Plan::default();
        {
            let mut state = self.state();
            state.consume();
            state.names.number(bucket)?;
            for key in keys {
                if let Ok(unit) = state.current_unit(bucket, key) {
                    plan.add_name(&mut state, unit);
                }
            }
        }
        let failure = self.move_out(plan, true).err();
        let left = |state: &State, header: &Header| state.is_in_memory(header);
        Ok(self.unmoved(bucket, keys, failure, left))
    }

    fn relocate_outside(&self, bucket: &str, keys: &[String]) -> Result<Failed> {
        let targets = BTreeMap::from([(bucket.to_owned(), self.outlets.target(bucket)?)]);
        let mut moved = Instant::now();
        let mut failure = None;
        // Each round ends with some that are moved, unless they change all the time.
        let mut rounds = 2 * keys.len();
        loop {
            let mut plan = writeback::Plan::unbounded();
            let (mut left, mut under_way) = (0, 0);
            {
                let mut state = self.state();
                state.consume();
                for key in keys {
                    let Ok(unit) = state.current_unit(bucket, key) else { continue };
                    let place = state.index.slot(unit).header().place;
                    if plan.is_full() {
                        left += 1;
                    } else if state.remotes.is_pending(bucket, key) {
                        under_way += 1;
                    } else {
                        let wanted = writeback::Wanted::all(&targets);
                        state.plan_name(&mut plan, &wanted, unit, place.anchor());
                    }
                }
            }
            let (any, failed) = self.write_out(&plan, &targets);
            self.drop_backed(bucket, keys)?;
            if any {
                moved = Instant::now();
            }
            failure = failed.or(failure);
            let waits = under_way > 0 && moved.elapsed() < PATIENCE;
            let goes_on = if left > 0 { rounds > 0 } else { waits };
            if self.stopping.load(SeqCst) || failure.is_some() || !goes_on {
                break;
            }
            if left == 0 {
                thread::sleep(PAUSE);
            } else {
                rounds -= 1;
            }
        }
        let left = |_: &State, header: &Header| {
            !matches!(header.place, Place::Nowhere | Place::Outside { .. })
        };
        Ok(self.unmoved(bucket, keys, failure, left))
    }

    /// Frees the memory of objects that lie below as well.
    fn drop_backed(&self, bucket: &str, keys: &[String]) -> Result<()> {
        let mut plan = spill::Plan::default();
        {
            let mut state = self.state();
            for key in keys {
                if let Ok(unit) = state.current_unit(bucket, key) {
                    plan.add_backed(&state, unit);
                }
            }
        }
        self.move_out(plan, false)
    }

    /// Those that are not where they should be, each with the reason.
    fn unmoved(
        &self,
        bucket: &str,
        keys: &[String],
        failure: Option<Error>,
        is_left: impl Fn(&State, &Header) -> bool,
    ) -> Failed {
        let failure = failure.map(Refusal::from);
        let mut state = self.state();
        let mut look = |key: &String| {
            match state.current(bucket, key) {
            Ok(header) if is_left(&state, &header) => Some(failure.clone().unwrap_or_else(|| {
                Refusal::Invalid(
                    "it changed meanwhile, its key can be no name outside, or a copy needs what the \
                     name has there"
                        .to_owned(),
                )
            })),
            Ok(_) => None,
            Err(error) => Some(error.into()),
        }
        };
        keys.iter().filter_map(|key| Some((key.clone(), look(key)?))).collect()
    }
}

impl State {
    /// The record of a name as the index has it now.
    fn current_unit(&mut self, bucket: &str, key: &str) -> Result<u32> {
        self.current(bucket, key)?;
        Ok(self.stat(bucket, key)?.0)
    }

    /// Whether some of an object's bytes lie in memory.
    pub(super) fn is_in_memory(&self, header: &Header) -> bool {
        let pieces = self.pieces_of(header).unwrap_or_default();
        pieces.iter().any(|piece| matches!(piece.place, Place::Slab { .. }))
    }
}
