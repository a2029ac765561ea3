//! Locks of `omp.h`: one word each.
//!
//! A lock's word tells whether it was initialised, so that one that was not is an error rather
//! than a wait without end.

use crate::{Error, Result, Thread};
use std::sync::atomic::Ordering;

/// A free lock; one that is held has its owner's number in the low bits.
const FREE: u32 = 0x10c0_0000;
/// A free lock that can be taken again by its owner; how often it is taken is in the middle bits.
const NEST_FREE: u32 = 0x2000_0000;
/// The owner, one more than its number.
const OWNER: u32 = 0xfff;
const COUNT_SHIFT: u32 = 12;
const COUNT_MAX: u32 = 0xffff;

impl Thread {
    /// `omp_init_lock`.
    ///
    /// # Errors
    /// If the address is wrong.
    pub fn init_lock(&self, lock: u32) -> Result<()> {
        self.memory().word(lock).map(|word| word.store(FREE, Ordering::Release))
    }

    /// `omp_destroy_lock` and `omp_destroy_nest_lock`.
    ///
    /// # Errors
    /// If the address is wrong.
    pub fn destroy_lock(&self, lock: u32) -> Result<()> {
        self.memory().word(lock).map(|word| word.store(0, Ordering::Release))
    }

    fn checked(&self, lock: u32, kind: u32, what: &'static str) -> Result<u32> {
        let value = self.memory().word(lock)?.load(Ordering::Acquire);
        let mask = if kind == FREE { !OWNER } else { !(OWNER | COUNT_MAX << COUNT_SHIFT) };
        if value & mask == kind {
            Ok(value)
        } else {
            Err(Error::Lock { address: lock, reason: what })
        }
    }

    /// `omp_set_lock`.
    ///
    /// # Errors
    /// If it is no lock, or the program ends.
    pub fn set_lock(&self, lock: u32) -> Result<()> {
        self.checked(lock, FREE, "was not initialised")?;
        self.acquire(lock, FREE, FREE | (self.gtid + 1))
    }

    /// `omp_unset_lock`; also of a lock that another thread has set, as some programs do.
    ///
    /// # Errors
    /// If it is no lock, or nobody holds it.
    pub fn unset_lock(&self, lock: u32) -> Result<()> {
        let value = self.checked(lock, FREE, "was not initialised")?;
        if value == FREE {
            return Err(Error::Lock { address: lock, reason: "is released but nobody holds it" });
        }
        self.release(lock, value, FREE)
    }

    /// `omp_test_lock`: whether it was free and is now held.
    ///
    /// # Errors
    /// If it is no lock.
    pub fn test_lock(&self, lock: u32) -> Result<bool> {
        self.checked(lock, FREE, "was not initialised")?;
        let word = self.memory().word(lock)?;
        let taken = FREE | (self.gtid + 1);
        Ok(word.compare_exchange(FREE, taken, Ordering::AcqRel, Ordering::Relaxed).is_ok())
    }

    /// `omp_init_nest_lock`.
    ///
    /// # Errors
    /// If the address is wrong.
    pub fn init_nest_lock(&self, lock: u32) -> Result<()> {
        self.memory().word(lock).map(|word| word.store(NEST_FREE, Ordering::Release))
    }

    /// Takes a lock once more, if this thread holds it: how often it does now.
    fn again(&self, lock: u32) -> Result<Option<u32>> {
        let value = self.checked(lock, NEST_FREE, "was not initialised as a nestable lock")?;
        if value & OWNER != self.gtid + 1 {
            return Ok(None);
        }
        let count = value >> COUNT_SHIFT & COUNT_MAX;
        if count == COUNT_MAX {
            return Err(Error::Lock { address: lock, reason: "is taken more than 65535 times" });
        }
        // Only the owner changes it.
        let word = self.memory().word(lock)?;
        word.store(value + (1 << COUNT_SHIFT), Ordering::Relaxed);
        Ok(Some(count + 1))
    }

    /// `omp_set_nest_lock`.
    ///
    /// # Errors
    /// If it is no such lock, or the program ends.
    pub fn set_nest_lock(&self, lock: u32) -> Result<()> {
        if self.again(lock)?.is_some() {
            return Ok(());
        }
        self.acquire(lock, NEST_FREE, NEST_FREE | (1 << COUNT_SHIFT) | (self.gtid + 1))
    }

    /// `omp_test_nest_lock`: how often it is held now; 0 if another thread holds it.
    ///
    /// # Errors
    /// If it is no such lock.
    pub fn test_nest_lock(&self, lock: u32) -> Result<u32> {
        if let Some(count) = self.again(lock)? {
            return Ok(count);
        }
        let taken = NEST_FREE | (1 << COUNT_SHIFT) | (self.gtid + 1);
        let word = self.memory().word(lock)?;
        let got = word.compare_exchange(NEST_FREE, taken, Ordering::AcqRel, Ordering::Relaxed);
        Ok(u32::from(got.is_ok()))
    }

    /// `omp_unset_nest_lock`.
    ///
    /// # Errors
    /// If it is no such lock, or this thread does not hold it.
    pub fn unset_nest_lock(&self, lock: u32) -> Result<()> {
        let value = self.checked(lock, NEST_FREE, "was not initialised as a nestable lock")?;
        let count = value >> COUNT_SHIFT & COUNT_MAX;
        if value & OWNER != self.gtid + 1 || count == 0 {
            let reason = "is left by a thread that does not hold it";
            return Err(Error::Lock { address: lock, reason });
        }
        if count == 1 {
            return self.release(lock, value, NEST_FREE);
        }
        self.memory().word(lock)?.store(value - (1 << COUNT_SHIFT), Ordering::Relaxed);
        Ok(())
    }
}
