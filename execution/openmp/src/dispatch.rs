//! Loops whose iterations are dealt out while they run, and the order within ordered ones.

use crate::{
    Error, Result, ScheduleKind, Thread,
    statics::{Deal, Kind, MODIFIERS, share, trip_count},
    team::Team,
};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// A loop as `__kmpc_dispatch_init_*` describes it.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// The variable's type.
    pub kind: Kind,
    /// The schedule, as the compiler numbers them.
    pub schedule: u32,
    /// The first iteration's value.
    pub lower: u64,
    /// The last one's.
    pub upper: u64,
    /// The step.
    pub step: u64,
    /// Iterations in a chunk.
    pub chunk: u64,
}

/// Where `__kmpc_dispatch_next_*` puts a chunk.
#[derive(Debug, Clone, Copy)]
pub struct DispatchOut {
    /// Whether it has the last iteration; 0 for nowhere.
    pub last: u32,
    /// Its first value.
    pub lower: u32,
    /// Its last value.
    pub upper: u32,
    /// The step.
    pub stride: u32,
}

/// What a loop's threads share.
#[derive(Debug, Default)]
pub(crate) struct SharedLoop {
    /// The first iteration that nobody has.
    next: AtomicU64,
    /// The iteration whose turn is in an ordered loop.
    turn: AtomicU64,
}

/// One thread's way through a loop.
pub(crate) struct Cursor {
    index: u64,
    shared: Arc<SharedLoop>,
    kind: Kind,
    lower: i128,
    step: i128,
    trip: u64,
    how: How,
    /// The iteration that runs now, for ordered loops.
    current: u64,
    /// Whether it has had its turn.
    bumped: bool,
}

#[derive(Debug, Clone, Copy)]
enum How {
    /// One block, or none any more.
    Block(Option<(u64, u64)>),
    /// Every so-manieth chunk, from this one on.
    Turns {
        chunk: u64,
        next: u64,
        size: u64,
    },
    Dynamic {
        chunk: u64,
    },
    Guided {
        chunk: u64,
        size: u64,
    },
}

/// The kind of a schedule; `None` if it is chosen at run time.
fn schedule(code: u32) -> Result<Option<ScheduleKind>> {
    let plain = code & !MODIFIERS;
    // The forms that keep chunks apart are numbered 128 higher.
    let plain = if (160..=200).contains(&plain) { plain - 128 } else { plain };
    match plain {
        33 | 34 | 40 | 41 | 45 | 65 | 66 => Ok(Some(ScheduleKind::Static)),
        35 | 44 | 67 => Ok(Some(ScheduleKind::Dynamic)),
        36 | 39 | 42 | 43 | 46 | 68 | 71 => Ok(Some(ScheduleKind::Guided)),
        38 | 70 => Ok(Some(ScheduleKind::Auto)),
        37 | 47 | 69 | 72 => Ok(None),
        _ => Err(Error::Schedule { code }),
    }
}

/// Whether a static schedule has chunks; the numbers of the others leave it to the argument.
fn has_chunks(code: u32) -> bool {
    let plain = code & !MODIFIERS;
    matches!(if plain >= 160 { plain - 128 } else { plain }, 33 | 40 | 45 | 65)
}

impl Cursor {
    /// The next iterations, `first..end`.
    fn take(&mut self) -> Option<(u64, u64)> {
        let trip = self.trip;
        let taken = |size: &dyn Fn(u64) -> u64| {
            let step = |next: u64| (next < trip).then(|| next + size(trip - next).min(trip - next));
            let next = &self.shared.next;
            let first = next.fetch_update(Ordering::AcqRel, Ordering::Acquire, step).ok()?;
            Some((first, step(first)?))
        };
        match &mut self.how {
            How::Block(block) => block.take(),
            How::Turns { chunk, next, size } => {
                let first = next.checked_mul(*chunk).filter(|first| *first < trip)?;
                *next += *size;
                Some((first, first + (*chunk).min(trip - first)))
            }
            How::Dynamic { chunk } => taken(&|_| *chunk),
            How::Guided { chunk, size } => taken(&|left| left.div_ceil(*size * 2).max(*chunk)),
        }
    }
}

impl Thread {
    /// `__kmpc_dispatch_init_4`, `_4u`, `_8` and `_8u`.
    ///
    /// # Errors
    /// If the schedule or the step is wrong, or the program ends.
    pub fn dispatch_init(&self, bounds: &Bounds) -> Result<()> {
        let kind = bounds.kind;
        let (lower, upper) = (kind.number(bounds.lower), kind.number(bounds.upper));
        let step = kind.step(bounds.step);
        let trip = u64::try_from(trip_count(lower, upper, step)?)
            .map_err(|_| Error::Loop { reason: "it has more than 2^64 - 1 iterations" })?;
        let (team, tid) = self.frame(|frame| (frame.team.clone(), frame.tid));
        let how = self.how(bounds, trip, &team, tid)?;
        self.leave_loop(&team)?;
        let index = self.frame(|frame| {
            frame.loops += 1;
            frame.loops
        });
        let mut entered = Ok(None);
        self.shared.wait(&team.gate, team.spins(), || {
            entered = team.loops().enter(index, || Ok(SharedLoop::default()));
            !matches!(entered, Ok(None))
        })?;
        let shared = entered?.ok_or(Error::Stopped)?;
        let cursor =
            Cursor { index, shared, kind, lower, step, trip, how, current: 0, bumped: false };
        self.frame(|frame| frame.cursor = Some(cursor));
        Ok(())
    }

    fn how(&self, bounds: &Bounds, trip: u64, team: &Team, tid: u32) -> Result<How> {
        let given = u64::try_from(bounds.kind.step(bounds.chunk)).unwrap_or(0);
        let (kind, chunk) = match schedule(bounds.schedule)? {
            Some(ScheduleKind::Static) if !has_chunks(bounds.schedule) => (ScheduleKind::Static, 0),
            Some(kind) => (kind, given.max(1)),
            None => {
                let chosen = self.icvs().schedule;
                (chosen.kind, u64::from(chosen.chunk))
            }
        };
        let size = u64::from(team.size);
        Ok(match kind {
            ScheduleKind::Static if chunk == 0 => {
                let place = (i128::from(tid), i128::from(size));
                let block = if trip == 0 {
                    None
                } else {
                    share((0, 1), i128::from(trip), Deal::Block, place)
                };
                How::Block(block.map(|block| (block.lower as u64, block.upper as u64 + 1)))
            }
            ScheduleKind::Static => How::Turns { chunk, next: u64::from(tid), size },
            ScheduleKind::Dynamic => How::Dynamic { chunk: chunk.max(1) },
            ScheduleKind::Guided | ScheduleKind::Auto => How::Guided { chunk: chunk.max(1), size },
        })
    }

    /// `__kmpc_dispatch_next_*`: whether there is a chunk, which is then in `out`.
    ///
    /// # Errors
    /// If there is no loop, or an address is wrong.
    pub fn dispatch_next(&self, out: &DispatchOut) -> Result<bool> {
        self.shared.check()?;
        let cancelled = self.cancelled_loop();
        let taken = self.frame(|frame| {
            let cursor = frame.cursor.as_mut()?;
            let chunk = if cancelled { None } else { cursor.take() };
            if let Some((first, _)) = chunk {
                cursor.current = first;
                cursor.bumped = false;
            }
            Some((chunk, cursor.kind, cursor.lower, cursor.step, cursor.trip))
        });
        let Some((chunk, kind, lower, step, trip)) = taken else {
            return Err(Error::Misuse("it asks for iterations outside a loop"));
        };
        let Some((first, end)) = chunk else {
            let team = self.team();
            self.leave_loop(&team)?;
            return Ok(false);
        };
        let at = |iteration: u64| lower + i128::from(iteration) * step;
        let memory = self.memory();
        if out.last != 0 {
            memory.put_u32(out.last, u32::from(end == trip))?;
        }
        kind.store(memory, out.lower, at(first))?;
        kind.store(memory, out.upper, at(end - 1))?;
        if out.stride != 0 {
            kind.store(memory, out.stride, step)?;
        }
        Ok(true)
    }

    /// `__kmpc_dispatch_deinit`: the loop is over; what `__kmpc_dispatch_next` has already done.
    ///
    /// # Errors
    /// If the team has lost count of its loops.
    pub fn dispatch_deinit(&self) -> Result<()> {
        let team = self.team();
        self.leave_loop(&team)
    }

    fn leave_loop(&self, team: &Team) -> Result<()> {
        let Some(cursor) = self.frame(|frame| frame.cursor.take()) else { return Ok(()) };
        if team.loops().leave(cursor.index, team.size)? {
            // Who is far ahead may wait for this.
            team.gate.ring();
        }
        Ok(())
    }

    /// `__kmpc_ordered`: waits until all earlier iterations are through.
    ///
    /// # Errors
    /// If there is no loop, or the program ends.
    pub fn ordered(&self) -> Result<()> {
        let team = self.team();
        let Some((shared, current)) = self.turn() else {
            return if team.size == 1 {
                Ok(())
            } else {
                Err(Error::Misuse("an ordered region outside an ordered loop"))
            };
        };
        self.wait_turn(&team, &shared, current)
    }

    fn turn(&self) -> Option<(Arc<SharedLoop>, u64)> {
        self.frame(|frame| {
            frame.cursor.as_ref().map(|cursor| (cursor.shared.clone(), cursor.current))
        })
    }

    fn wait_turn(&self, team: &Team, shared: &SharedLoop, current: u64) -> Result<()> {
        let come = || shared.turn.load(Ordering::Acquire) >= current || team.cancelled() != 0;
        self.shared.wait(&team.gate, team.spins(), come)
    }

    /// `__kmpc_end_ordered`: the next iteration may.
    ///
    /// # Errors
    /// None now; the program is told as for other calls.
    pub fn end_ordered(&self) -> Result<()> {
        self.bump();
        Ok(())
    }

    fn bump(&self) {
        let bumped = self.frame(|frame| {
            let cursor = frame.cursor.as_mut()?;
            cursor.shared.turn.fetch_max(cursor.current + 1, Ordering::AcqRel);
            cursor.bumped = true;
            Some(frame.team.clone())
        });
        if let Some(team) = bumped {
            team.gate.ring();
        }
    }

    /// `__kmpc_dispatch_fini_*`: an iteration of an ordered loop is through.
    ///
    /// # Errors
    /// If the program ends.
    pub fn dispatch_fini(&self) -> Result<()> {
        let team = self.team();
        let bumped = self.frame(|frame| frame.cursor.as_ref().is_none_or(|cursor| cursor.bumped));
        if !bumped {
            self.ordered()?;
            self.bump();
        }
        self.frame(|frame| {
            if let Some(cursor) = &mut frame.cursor {
                cursor.current += 1;
                cursor.bumped = false;
            }
        });
        drop(team);
        Ok(())
    }
}
