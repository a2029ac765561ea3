//! Loops whose iterations wait for one another by name.

use crate::{Error, Result, Thread, statics::trip_count};
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

/// Length of a dimension: three 64-bit numbers.
const DIMENSION_BYTES: u32 = 24;

/// Most nested loops.
const DIMENSIONS_MAX: u32 = 64;

/// Most iterations together: a bit for each is kept.
const ITERATIONS_MAX: i128 = 1 << 31;

/// A bit for each iteration that is through.
#[derive(Debug)]
pub(crate) struct Flags(Vec<AtomicU32>);

/// One thread's way through such a loop.
pub(crate) struct Doacross {
    index: u64,
    flags: Arc<Flags>,
    dimensions: Vec<Dimension>,
}

#[derive(Debug, Clone, Copy)]
struct Dimension {
    lower: i128,
    step: i128,
    trip: i128,
}

impl Thread {
    /// `__kmpc_doacross_init`.
    ///
    /// # Errors
    /// If the dimensions are wrong or too many.
    pub fn doacross_init(&self, count: u32, dimensions: u32) -> Result<()> {
        if count > DIMENSIONS_MAX {
            let limit = u64::from(DIMENSIONS_MAX);
            return Err(Error::Limit { what: "nested ordered loops", limit });
        }
        let (dimensions, total) = self.dimensions(count, dimensions)?;
        let words = (total + 31) / 32;
        let team = self.team();
        let index = self.frame(|frame| {
            frame.doacross_loops += 1;
            frame.doacross_loops
        });
        let make = || Ok(Flags((0..words).map(|_| AtomicU32::new(0)).collect()));
        let mut entered = Ok(None);
        self.shared.wait(&team.gate, team.spins(), || {
            entered = team.doacross().enter(index, make);
            !matches!(entered, Ok(None))
        })?;
        let flags = entered?.ok_or(Error::Stopped)?;
        if flags.0.len() as i128 != words {
            return Err(Error::Misuse("threads of one team have different loops"));
        }
        let old = self.frame(|frame| frame.doacross.replace(Doacross { index, flags, dimensions }));
        old.map_or(Ok(()), |old| team.doacross().leave(old.index, team.size).map(drop))
    }

    fn dimensions(&self, count: u32, at: u32) -> Result<(Vec<Dimension>, i128)> {
        let mut dimensions = Vec::new();
        let mut total: i128 = 1;
        for index in 0..count {
            let wrong = Error::Address { address: at, length: count * DIMENSION_BYTES };
            let at = at.checked_add(index * DIMENSION_BYTES).ok_or(wrong)?;
            let number = |offset: u32| {
                let value = self.memory().u64(at.saturating_add(offset));
                value.map(|value| i128::from(value as i64))
            };
            let (lower, upper, step) = (number(0)?, number(8)?, number(16)?);
            let trip = trip_count(lower, upper, step)?;
            total = total.saturating_mul(trip);
            if total > ITERATIONS_MAX {
                return Err(Error::Loop { reason: "it has more than 2^31 ordered iterations" });
            }
            dimensions.push(Dimension { lower, step, trip });
        }
        Ok((dimensions, total))
    }

    /// The number of the iteration in this vector; `None` if the loop has none such.
    fn iteration(&self, vector: u32) -> Result<Option<(Arc<Flags>, usize)>> {
        let none = Error::Misuse("it waits for an iteration outside an ordered loop");
        let (flags, dimensions) = self
            .frame(|frame| {
                frame.doacross.as_ref().map(|loop_| (loop_.flags.clone(), loop_.dimensions.clone()))
            })
            .ok_or(none)?;
        let mut number: i128 = 0;
        for (dimension, index) in dimensions.iter().zip(0..) {
            let at = vector.saturating_add(index * 8);
            let distance = i128::from(self.memory().u64(at)? as i64) - dimension.lower;
            let iteration = distance / dimension.step;
            if iteration < 0 || distance % dimension.step != 0 || iteration >= dimension.trip {
                return Ok(None);
            }
            number = number * dimension.trip + iteration;
        }
        Ok(usize::try_from(number).ok().map(|number| (flags, number)))
    }

    /// `__kmpc_doacross_wait`: waits for an iteration; one that does not exist is through.
    ///
    /// # Errors
    /// If there is no loop, or the program ends.
    pub fn doacross_wait(&self, vector: u32) -> Result<()> {
        let team = self.team();
        if team.size == 1 {
            return Ok(());
        }
        let Some((flags, number)) = self.iteration(vector)? else { return Ok(()) };
        let Some(word) = flags.0.get(number / 32) else { return Ok(()) };
        let through =
            || word.load(Ordering::Acquire) & 1 << (number % 32) != 0 || team.is_cancelled();
        self.shared.wait(&team.gate, team.spins(), through)
    }

    /// `__kmpc_doacross_post`: this iteration is through.
    ///
    /// # Errors
    /// If there is no loop.
    pub fn doacross_post(&self, vector: u32) -> Result<()> {
        if let Some((flags, number)) = self.iteration(vector)?
            && let Some(word) = flags.0.get(number / 32)
        {
            word.fetch_or(1 << (number % 32), Ordering::AcqRel);
            self.team().gate.ring();
        }
        Ok(())
    }

    /// `__kmpc_doacross_fini`.
    ///
    /// # Errors
    /// If the team has lost count of its loops.
    pub fn doacross_fini(&self) -> Result<()> {
        let team = self.team();
        if let Some(doacross) = self.frame(|frame| frame.doacross.take())
            && team.doacross().leave(doacross.index, team.size)?
        {
            team.gate.ring();
        }
        Ok(())
    }
}
