//! Loops that are cut into tasks.

use crate::{
    Error, Guest, Result, Thread,
    statics::trip_count,
    tasks::{Allocated, HEADER_BYTES},
};

/// The arguments of `__kmpc_taskloop`.
#[derive(Debug, Clone, Copy)]
pub struct Taskloop {
    /// The task that all others are copies of.
    pub task: u32,
    /// Whether tasks may be run later.
    pub deferred: bool,
    /// Where in the task the first iteration is.
    pub lower: u32,
    /// Where in the task the last one is.
    pub upper: u32,
    /// The step.
    pub step: u64,
    /// Whether the loop's tasks are not waited for.
    pub no_group: bool,
    /// What `size` is: nothing (0), iterations in a task (1), or tasks (2).
    pub schedule: u32,
    /// See there.
    pub size: u64,
    /// Completes a copy: `(copy, original, whether it is the last)`; 0 for none.
    pub duplicate: u32,
}

/// Tasks for each thread, where the program does not say.
const TASKS_PER_THREAD: i128 = 10;

/// How many tasks, and how many iterations each has at least.
fn cut(trip: i128, schedule: u32, size: u64, threads: u32) -> Result<i128> {
    let size = i128::from(size.max(1));
    match schedule {
        0 => Ok(trip.min(i128::from(threads) * TASKS_PER_THREAD)),
        1 => Ok((trip / size).max(1)),
        2 => Ok(trip.min(size)),
        _ => Err(Error::Schedule { code: schedule }),
    }
}

impl Thread {
    /// `__kmpc_taskloop`.
    ///
    /// # Errors
    /// As for tasks, and if the loop is wrong.
    pub fn taskloop(&self, guest: &mut dyn Guest, asked: &Taskloop) -> Result<()> {
        let pattern = self.claim(asked.task)?;
        if !asked.no_group {
            self.taskgroup();
        }
        self.deal_tasks(guest, asked, pattern)?;
        self.finish(guest, pattern.at(asked.task))?;
        if asked.no_group { Ok(()) } else { self.end_taskgroup(guest) }
    }

    fn deal_tasks(
        &self,
        guest: &mut dyn Guest,
        asked: &Taskloop,
        pattern: Allocated,
    ) -> Result<()> {
        let place = |at: u32| {
            let offset = at.checked_sub(asked.task).filter(|offset| {
                *offset >= HEADER_BYTES && offset.saturating_add(8) <= pattern.bytes
            });
            offset.ok_or(Error::Address { address: at, length: 8 })
        };
        let (lower_at, upper_at) = (place(asked.lower)?, place(asked.upper)?);
        // The bits are the same for unsigned loops, whose ends the compiler widens alike.
        let lower = i128::from(self.memory().u64(asked.lower)? as i64);
        let upper = i128::from(self.memory().u64(asked.upper)? as i64);
        let step = i128::from(asked.step as i64);
        let trip = trip_count(lower, upper, step)?;
        if trip == 0 {
            return Ok(());
        }
        let tasks = cut(trip, asked.schedule, asked.size, self.team().size)?;
        let (small, extra) = (trip / tasks, trip % tasks);
        let mut first = 0;
        for number in 0..tasks {
            let end = first + small + i128::from(number < extra);
            let copy = self.copy_task(guest, asked, pattern, end == trip)?;
            let bits = |iteration: i128| (lower + iteration * step) as u64;
            self.memory().put_u64(copy + lower_at, bits(first))?;
            self.memory().put_u64(copy + upper_at, bits(end - 1))?;
            self.start_copy(guest, copy, asked.deferred)?;
            first = end;
        }
        Ok(())
    }

    fn copy_task(
        &self,
        guest: &mut dyn Guest,
        asked: &Taskloop,
        pattern: Allocated,
        last: bool,
    ) -> Result<u32> {
        let copy = self.place(guest, pattern.bytes)?;
        self.memory().copy(asked.task, copy, pattern.bytes)?;
        if self.memory().u32(copy)? != 0 {
            self.memory().put_u32(copy, copy + pattern.header_bytes)?;
        }
        if asked.duplicate != 0 {
            guest.call(asked.duplicate, &[copy, asked.task, u32::from(last)], false)?;
        }
        self.allocated.borrow_mut().push((copy, pattern));
        Ok(copy)
    }

    fn start_copy(&self, guest: &mut dyn Guest, copy: u32, deferred: bool) -> Result<()> {
        if deferred {
            return self.task(guest, copy);
        }
        self.task_begin_if0(copy)?;
        let entry = self.memory().u32(copy + 4)?;
        guest.call(entry, &[self.gtid, copy], true)?;
        self.task_complete_if0(guest, copy)
    }
}
