//! Single, master, critical, and data that one thread hands to all.

use crate::{Error, Guest, Result, Thread};
use std::sync::atomic::Ordering;

impl Thread {
    /// `__kmpc_single`: whether this thread is the one.
    pub fn single(&self) -> bool {
        self.frame(|frame| {
            let mine = frame.singles;
            frame.singles += 1;
            frame.team.take_single(mine)
        })
    }

    /// `__kmpc_copyprivate`: `function(own data, the single thread's data)` in all the others.
    ///
    /// # Errors
    /// As for a barrier, and if the function fails.
    pub fn copyprivate(
        &self,
        guest: &mut dyn Guest,
        data: u32,
        function: u32,
        did_it: bool,
    ) -> Result<()> {
        let team = self.team();
        if did_it {
            team.copied.store(data, Ordering::Release);
        }
        self.barrier(guest)?;
        if !did_it && !team.is_cancelled() {
            guest.call(function, &[data, team.copied.load(Ordering::Acquire)], false)?;
        }
        // The data lies on the other thread's stack.
        self.barrier(guest)
    }

    /// `__kmpc_master`, and `__kmpc_masked` with another thread than the first.
    pub fn masked(&self, filter: u32) -> bool {
        self.tid() == filter
    }

    /// `__kmpc_critical` and `__kmpc_critical_with_hint`: enters the section whose lock this is.
    ///
    /// # Errors
    /// If the thread is already in it, or the program ends.
    pub fn critical(&self, lock: u32) -> Result<()> {
        let word = self.memory().word(lock)?;
        let mine = self.gtid + 1;
        if word.load(Ordering::Relaxed) == mine {
            return Err(Error::Lock {
                address: lock,
                reason: "guards a critical section that this thread is already in",
            });
        }
        self.acquire(lock, 0, mine)
    }

    /// `__kmpc_end_critical`.
    ///
    /// # Errors
    /// If the thread is not in the section.
    pub fn end_critical(&self, lock: u32) -> Result<()> {
        self.release(lock, self.gtid + 1, 0)
    }

    /// Waits until the word at `lock` is `free` and makes it `taken`.
    pub(crate) fn acquire(&self, lock: u32, free: u32, taken: u32) -> Result<()> {
        let word = self.memory().word(lock)?;
        let take = || {
            word.load(Ordering::Relaxed) == free
                && word.compare_exchange(free, taken, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        };
        if take() {
            return Ok(());
        }
        let spins = self.frame(|frame| frame.team.spins());
        self.shared.wait(self.shared.lock_gate(lock), spins, take)
    }

    /// Makes the word at `lock` `free` again.
    pub(crate) fn release(&self, lock: u32, taken: u32, free: u32) -> Result<()> {
        let word = self.memory().word(lock)?;
        word.compare_exchange(taken, free, Ordering::AcqRel, Ordering::Relaxed).map_err(|_| {
            Error::Lock { address: lock, reason: "is left by a thread that does not hold it" }
        })?;
        self.shared.lock_gate(lock).ring();
        Ok(())
    }

    /// `__kmpc_flush`: all that was written before is seen by who synchronises after.
    pub fn flush(&self) {
        std::sync::atomic::fence(Ordering::SeqCst);
    }

    /// `__kmpc_threadprivate_cached`: this thread's copy of a variable, a copy of the original at
    /// first.
    ///
    /// # Errors
    /// If the variable does not exist, or there is no memory for the copy.
    pub fn threadprivate_cached(&self, guest: &mut dyn Guest, data: u32, size: u32) -> Result<u32> {
        if self.gtid == 0 {
            return Ok(data);
        }
        let known = self.private.borrow().get(&data).copied();
        if let Some(copy) = known {
            return Ok(copy);
        }
        let copy = self.alloc(guest, size.max(1))?;
        self.memory().copy(data, copy, size)?;
        self.private.borrow_mut().insert(data, copy);
        self.shared.kept.private(self.gtid, data, copy);
        Ok(copy)
    }
}
