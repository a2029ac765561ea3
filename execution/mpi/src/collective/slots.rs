//! Small collectives: each member writes into a slot and reads those of the others.

use super::{Fast, Needs};
use crate::{
    abi,
    communicator::{Communicator, Shared},
    engine::{Cb, Engine},
    error::{Result, ensure, fault},
    underway::Step,
};
use std::sync::{Arc, atomic::Ordering};

impl Engine {
    /// Puts a contribution into a slot and waits for those of others. Gives the round in which to
    /// read them from the [`Engine::slots`].
    #[inline]
    pub(crate) fn meet(
        &mut self,
        cb: Cb<'_>,
        communicator: i32,
        code: u64,
        bytes: &[u8],
        needs: Needs,
    ) -> Result<u64> {
        let (counted, mut written) = match self.replayed() {
            Some(Step::Counted { round, written }) => (Some(round), written),
            Some(_) => return Err(self.other_step()),
            None => (None, false),
        };
        let known = self.communicator_mut(communicator)?;
        let round = counted.unwrap_or(known.fast_rounds + 1);
        known.fast_rounds = round;
        written = written || self.contribute(communicator, round, code, bytes);
        if !(written && self.meet_soon(communicator, round, needs)?) {
            let Communicator { shared, rank, .. } = self.communicator(communicator)?;
            let (shared, me) = (Arc::clone(shared), *rank as usize);
            let met = self.meet_in(cb, (&shared, me, round), code, bytes, needs, &mut written);
            if let Err(fault) = met {
                return Err(self.interrupted(fault, Step::Counted { round, written }));
            }
        }
        let fast = self.slots(communicator)?;
        for member in needs.range(fast.members()) {
            let other = fast.slot(member, round).code.load(Ordering::Relaxed);
            ensure(other == code, abi::ERR_OTHER, || {
                format!("member {member} calls another collective or gives another count or root")
            })?;
        }
        Ok(round)
    }

    /// The slots of a communicator. Small collectives do without a counted reference to what its
    /// members share, for the count is written to by all of them.
    #[inline]
    pub(crate) fn slots(&self, communicator: i32) -> Result<&Fast> {
        let known = self.communicators.get(communicator);
        let gone = || fault(abi::ERR_COMM, format!("there is no communicator {communicator}"));
        Ok(known.ok_or_else(gone)?.shared.fast())
    }

    /// Puts a contribution into its slot, if that is free now and all members are here.
    #[inline]
    fn contribute(&self, communicator: i32, round: u64, code: u64, bytes: &[u8]) -> bool {
        let Some(known) = self.communicators.get(communicator) else { return false };
        let (shared, fast) = (&known.shared, known.shared.fast());
        if shared.spread.is_some() || !fast.is_free(round) {
            return false;
        }
        fast.write(known.rank as usize, round, code, bytes);
        self.world.wake_all(&shared.members);
        true
    }

    /// Looks for a while whether the others have come. Nothing else is looked at meanwhile, so
    /// that they are seen at once.
    #[inline]
    fn meet_soon(&self, communicator: i32, round: u64, needs: Needs) -> Result<bool> {
        // Who comes at about the same time is here by then; for others the rank polls as for all.
        let polls = if self.world.is_crowded() { 16 } else { 64 };
        let fast = self.slots(communicator)?;
        let mut missing = needs.range(fast.members());
        for _ in 0..polls {
            while missing.start < missing.end && fast.entered(missing.start, round) {
                missing.start += 1;
            }
            if missing.is_empty() {
                return Ok(true);
            }
            if self.world.check()? {
                break;
            }
            std::hint::spin_loop();
        }
        Ok(false)
    }

    /// Waits until a slot is free, writes into it, and waits for the others.
    #[inline]
    fn meet_in(
        &mut self,
        cb: Cb<'_>,
        (shared, me, round): (&Shared, usize, u64),
        code: u64,
        bytes: &[u8],
        needs: Needs,
        written: &mut bool,
    ) -> Result {
        let (size, fast) = (shared.members.len(), shared.fast());
        let waits = |engine: &Self| engine.function.to_owned();
        if !*written {
            if let Some(spread) = shared.spread.as_deref().filter(|spread| !spread.is_ready()) {
                self.block(cb, waits, |_, _| Ok(spread.is_ready().then_some(())))?;
            }
            if !fast.is_free(round) {
                self.block(cb, waits, |_, _| Ok(fast.is_free(round).then_some(())))?;
            }
            fast.write(me, round, code, bytes);
            *written = true;
            self.world.wake_all(&shared.members);
            if shared.spread.is_some() {
                self.meet_beyond(shared, (me, round), code, bytes);
            }
        }
        let mut missing = needs.range(size);
        self.block(cb, waits, |_, _| {
            while missing.start < missing.end {
                if !fast.entered(missing.start, round) {
                    return Ok(None);
                }
                missing.start += 1;
            }
            Ok(Some(()))
        })
    }
}
