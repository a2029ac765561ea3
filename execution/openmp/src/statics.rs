//! Loops whose iterations are dealt out before they begin.

use crate::{Error, Memory, Result, Thread};

/// The type of a loop's variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `_4`.
    I32,
    /// `_4u`.
    U32,
    /// `_8`.
    I64,
    /// `_8u`.
    U64,
}

impl Kind {
    /// Length of the variable.
    pub(crate) fn bytes(self) -> u32 {
        match self {
            Self::I32 | Self::U32 => 4,
            Self::I64 | Self::U64 => 8,
        }
    }

    /// The number that these bits are.
    pub(crate) fn number(self, bits: u64) -> i128 {
        match self {
            Self::I32 => i128::from(bits as u32 as i32),
            Self::U32 => i128::from(bits as u32),
            Self::I64 => i128::from(bits as i64),
            Self::U64 => i128::from(bits),
        }
    }

    /// Steps and chunks are signed whatever the variable is.
    pub(crate) fn step(self, bits: u64) -> i128 {
        match self {
            Self::I32 | Self::U32 => i128::from(bits as u32 as i32),
            Self::I64 | Self::U64 => i128::from(bits as i64),
        }
    }

    fn fits(self, number: i128) -> bool {
        self.number(number as u64) == number
    }

    pub(crate) fn load(self, memory: &Memory, at: u32) -> Result<i128> {
        let bits = if self.bytes() == 4 { u64::from(memory.u32(at)?) } else { memory.u64(at)? };
        Ok(self.number(bits))
    }

    pub(crate) fn store(self, memory: &Memory, at: u32, number: i128) -> Result<()> {
        if self.bytes() == 4 {
            memory.put_u32(at, number as u32)
        } else {
            memory.put_u64(at, number as u64)
        }
    }
}

/// The arguments of `__kmpc_for_static_init_*`.
#[derive(Debug, Clone, Copy)]
pub struct StaticLoop {
    /// The variable's type.
    pub kind: Kind,
    /// The schedule, as the compiler numbers them.
    pub schedule: u32,
    /// Where to say whether the thread has the last iteration; 0 for nowhere.
    pub last: u32,
    /// Where the first iteration is, and goes.
    pub lower: u32,
    /// Where the last iteration is, and goes.
    pub upper: u32,
    /// Where the distance between chunks goes.
    pub stride: u32,
    /// The step.
    pub step: u64,
    /// Iterations in a chunk.
    pub chunk: u64,
}

/// One thread's share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) lower: i128,
    pub(crate) upper: i128,
    pub(crate) stride: i128,
    pub(crate) last: bool,
}

/// How iterations are dealt out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deal {
    /// One block each.
    Block,
    /// Chunks in turn.
    Chunks(i128),
    /// One block each, of a multiple of the chunk.
    Balanced(i128),
}

/// Schedules that `__kmpc_for_static_init` knows, and whether teams share the loop.
fn deal(code: u32, chunk: i128) -> Result<(Deal, bool)> {
    let chunk = chunk.max(1);
    match code & !MODIFIERS {
        33 | 65 | 161 | 40 => Ok((Deal::Chunks(chunk), false)),
        34 | 66 | 162 | 41 => Ok((Deal::Block, false)),
        45 | 173 => Ok((Deal::Balanced(chunk), false)),
        91 => Ok((Deal::Chunks(chunk), true)),
        92 => Ok((Deal::Block, true)),
        _ => Err(Error::Schedule { code }),
    }
}

/// The bits for `monotonic` and `nonmonotonic`.
pub(crate) const MODIFIERS: u32 = 3 << 29;

/// Iterations of a loop; 0 if it is empty.
pub(crate) fn trip_count(lower: i128, upper: i128, step: i128) -> Result<i128> {
    match step {
        0 => Err(Error::Loop { reason: "its step is 0" }),
        1.. => Ok(if upper < lower { 0 } else { (upper - lower) / step + 1 }),
        _ => Ok(if lower < upper { 0 } else { (lower - upper) / -step + 1 }),
    }
}

/// The share of thread `tid` of `size` in a loop that is not empty; `None` if that is nothing.
pub(crate) fn share(
    (lower, step): (i128, i128),
    trip: i128,
    deal: Deal,
    (tid, size): (i128, i128),
) -> Option<Share> {
    let at = |iteration: i128| lower + iteration * step;
    let block = |first: i128, end: i128| {
        let (last, stride) = (end == trip, trip * step);
        (first < end).then(|| Share { lower: at(first), upper: at(end - 1), stride, last })
    };
    match deal {
        Deal::Block => {
            let (small, extra) = (trip / size, trip % size);
            let first = tid * small + tid.min(extra);
            block(first, first + small + i128::from(tid < extra))
        }
        Deal::Balanced(chunk) => {
            let length = ((trip + size - 1) / size + chunk - 1) / chunk * chunk;
            block(tid * length, ((tid + 1) * length).min(trip))
        }
        Deal::Chunks(chunk) => {
            let chunk = chunk.min(trip);
            // No longer than the loop, so that adding it does not wrap around needlessly.
            let stride = (chunk * size).min(trip) * step;
            let last = tid == (trip - 1) / chunk % size;
            let first = at(tid * chunk);
            let upper = first + (chunk - 1) * step;
            (tid * chunk < trip).then_some(Share { lower: first, upper, stride, last })
        }
    }
}

impl Thread {
    /// `__kmpc_for_static_init_4`, `_4u`, `_8` and `_8u`.
    ///
    /// # Errors
    /// If the schedule, the step or an address is wrong.
    pub fn for_static_init(&self, asked: &StaticLoop) -> Result<()> {
        let StaticLoop { kind, .. } = *asked;
        let memory = self.memory();
        let lower = kind.load(memory, asked.lower)?;
        let upper = kind.load(memory, asked.upper)?;
        let step = kind.step(asked.step);
        let (deal, among_teams) = deal(asked.schedule, kind.step(asked.chunk))?;
        let trip = trip_count(lower, upper, step)?;
        let put_last = |last: bool| {
            if asked.last == 0 { Ok(()) } else { memory.put_u32(asked.last, u32::from(last)) }
        };
        if trip == 0 {
            put_last(false)?;
            return kind.store(memory, asked.stride, step);
        }
        let place = if among_teams {
            self.frame(|frame| {
                let (number, teams) = frame.team.league;
                (i128::from(number), i128::from(teams))
            })
        } else {
            self.frame(|frame| (i128::from(frame.tid), i128::from(frame.team.size)))
        };
        let share = share((lower, step), trip, deal, place).unwrap_or_else(|| {
            // Beyond the end, or, where there is nothing beyond, before it.
            let beyond = upper + step;
            let (lower, upper) =
                if kind.fits(beyond) { (beyond, upper) } else { (upper, upper - step) };
            Share { lower, upper, stride: trip * step, last: false }
        });
        put_last(share.last)?;
        kind.store(memory, asked.lower, share.lower)?;
        // A last chunk may end beyond the loop: the compiler cuts it off, if it can be written.
        let end = if kind.fits(share.upper) { share.upper } else { upper };
        kind.store(memory, asked.upper, end)?;
        kind.store(memory, asked.stride, share.stride)
    }
}
