//! Reductions over the tasks of a group.

use crate::{Error, Guest, Result, Thread, shared::lock, task::Group, team::Team};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU32, Ordering},
};

/// Length of a variable's description: seven words.
const ITEM_BYTES: u32 = 28;

/// Most variables of one clause.
const ITEMS_MAX: u32 = 1 << 12;

/// Most bytes of all threads' copies of one variable.
const COPIES_BYTES_MAX: u64 = 1 << 30;

/// The variables of one clause.
#[derive(Debug)]
pub(crate) struct Reductions {
    items: Vec<Item>,
    /// What the program knows it by.
    handle: u32,
}

#[derive(Debug, Clone, Copy)]
struct Item {
    shared: u32,
    /// Where the original is, for the function that makes copies.
    original: u32,
    size: u32,
    /// Distance between the threads' copies.
    stride: u32,
    fini: u32,
    combine: u32,
    /// The first thread's copy.
    copies: u32,
    threads: u32,
}

/// Reductions over all tasks of a region or a loop, of which each thread has its own group.
#[derive(Debug)]
pub(crate) struct Modifier {
    reductions: Arc<Reductions>,
    /// Threads that have ended it.
    ended: AtomicU32,
}

impl Thread {
    /// `__kmpc_taskred_init`: the current group reduces these variables; gives a handle.
    ///
    /// # Errors
    /// If there is no group, or the variables are wrong.
    pub fn taskred_init(&self, guest: &mut dyn Guest, count: u32, items: u32) -> Result<u32> {
        let none = Error::Misuse("it reduces over tasks outside a task group");
        let group = self.group().ok_or(none)?;
        let reductions = Arc::new(self.reductions(guest, count, items)?);
        lock(&self.shared.handles).insert(reductions.handle, Arc::downgrade(&group));
        let handle = reductions.handle;
        lock(&group.reductions).push(reductions);
        Ok(handle)
    }

    fn reductions(&self, guest: &mut dyn Guest, count: u32, items: u32) -> Result<Reductions> {
        if count == 0 || count > ITEMS_MAX {
            return Err(Error::Misuse("a task reduction has an impossible number of variables"));
        }
        let size = self.team().size;
        let mut made = Vec::new();
        for index in 0..count {
            let at = items.saturating_add(index * ITEM_BYTES);
            made.push(self.item(guest, at, size)?);
        }
        let handle = made.first().map_or(0, |item| item.copies);
        Ok(Reductions { items: made, handle })
    }

    fn item(&self, guest: &mut dyn Guest, at: u32, threads: u32) -> Result<Item> {
        let word = |index: u32| self.memory().u32(at.saturating_add(index * 4));
        let ((shared, original), size) = (self.addresses(at)?, word(2)?);
        let (init, fini, combine) = (word(3)?, word(4)?, word(5)?);
        // Copies of different threads share no cache line.
        let stride = u64::from(size.max(1)).next_multiple_of(64);
        let bytes = stride * u64::from(threads);
        if bytes > COPIES_BYTES_MAX {
            return Err(Error::Limit {
                what: "bytes of copies of a variable",
                limit: COPIES_BYTES_MAX,
            });
        }
        let copies = self.alloc(guest, bytes as u32)?;
        let stride = stride as u32;
        for thread in 0..threads {
            let copy = copies + thread * stride;
            self.memory().clear(copy, size)?;
            if init != 0 {
                guest.call(init, &[copy, original], false)?;
            }
        }
        Ok(Item { shared, original, size, stride, fini, combine, copies, threads })
    }

    /// `__kmpc_task_reduction_get_th_data`: this thread's copy of a variable.
    ///
    /// # Errors
    /// If no group around reduces it.
    pub fn task_reduction_data(&self, handle: u32, variable: u32) -> Result<u32> {
        let tid = self.tid();
        let named = lock(&self.shared.handles).get(&handle).and_then(|group| group.upgrade());
        let mut group = match named {
            Some(group) if handle != 0 => Some(group),
            _ => self.group(),
        };
        while let Some(current) = group {
            let found = lock(&current.reductions).iter().rev().find_map(|reductions| {
                reductions.items.iter().find(|item| item.is(variable)).copied()
            });
            if let Some(item) = found {
                return Ok(item.copies + tid * item.stride);
            }
            group = current.outer.clone();
        }
        Err(Error::Misuse("a task takes part in a reduction that no group around it has"))
    }

    /// Adds all copies of a group's variables to the originals, in the threads' order.
    pub(crate) fn combine(&self, guest: &mut dyn Guest, team: &Team, group: &Group) -> Result<()> {
        let all = std::mem::take(&mut *lock(&group.reductions));
        for reductions in all {
            let modifier = team.modifiers().iter().find_map(|modifier| {
                let modifier = lock(modifier).clone()?;
                (modifier.reductions.handle == reductions.handle).then_some(modifier)
            });
            if let Some(modifier) = modifier {
                let ended = modifier.ended.fetch_add(1, Ordering::AcqRel) + 1;
                if ended < team.size {
                    continue;
                }
                for slot in team.modifiers() {
                    let mut slot = lock(slot);
                    if slot.as_ref().is_some_and(|other| Arc::ptr_eq(other, &modifier)) {
                        *slot = None;
                    }
                }
            }
            lock(&self.shared.handles).remove(&reductions.handle);
            for item in &reductions.items {
                item.combine(guest)?;
            }
        }
        Ok(())
    }

    /// `__kmpc_taskred_modifier_init`: all threads of the team reduce these variables together.
    ///
    /// # Errors
    /// As for [`Self::taskred_init`].
    pub fn taskred_modifier_init(
        &self,
        guest: &mut dyn Guest,
        of_loop: bool,
        count: u32,
        items: u32,
    ) -> Result<u32> {
        let team = self.team();
        self.taskgroup();
        let none = Error::Misuse("it reduces over tasks outside a task group");
        let group = self.group().ok_or(none)?;
        let slot = &team.modifiers()[usize::from(of_loop)];
        let known = lock(slot).clone();
        let modifier = match known {
            Some(modifier) => modifier,
            None => {
                let own = Arc::new(self.reductions(guest, count, items)?);
                self.first_modifier(guest, slot, own)?
            }
        };
        let reductions = self.aliases(&modifier.reductions, count, items)?;
        let handle = reductions.handle;
        lock(&group.reductions).push(Arc::new(reductions));
        Ok(handle)
    }
}

impl Thread {
    /// The same variables as this thread has them: the last to end adds all copies to its own.
    fn aliases(&self, all: &Reductions, count: u32, items: u32) -> Result<Reductions> {
        if all.items.len() != count as usize {
            return Err(Error::Misuse("threads of one team reduce different variables"));
        }
        let alias = |(item, index): (&Item, u32)| {
            let at = items.saturating_add(index * ITEM_BYTES);
            let (shared, original) = self.addresses(at)?;
            Ok(Item { shared, original, ..*item })
        };
        let items: Result<_> = all.items.iter().zip(0..).map(alias).collect();
        Ok(Reductions { items: items?, handle: all.handle })
    }

    /// Where a variable is, and where its original, as a description says.
    fn addresses(&self, at: u32) -> Result<(u32, u32)> {
        let shared = self.memory().u32(at)?;
        let original = self.memory().u32(at.saturating_add(4))?;
        Ok((shared, if original == 0 { shared } else { original }))
    }

    /// What all threads use: of those that make copies at the same time, the first one's.
    fn first_modifier(
        &self,
        guest: &mut dyn Guest,
        slot: &Mutex<Option<Arc<Modifier>>>,
        own: Arc<Reductions>,
    ) -> Result<Arc<Modifier>> {
        let modifier = lock(slot)
            .get_or_insert_with(|| {
                Arc::new(Modifier { reductions: own.clone(), ended: AtomicU32::new(0) })
            })
            .clone();
        if !Arc::ptr_eq(&modifier.reductions, &own) {
            for item in &own.items {
                guest.free(item.copies)?;
            }
        }
        Ok(modifier)
    }
}

impl Item {
    /// Whether this is an address of it: the original's, or that of a thread's copy.
    fn is(&self, address: u32) -> bool {
        let within = |start: u32, length: u32| address.wrapping_sub(start) < length;
        let length = self.size.max(1);
        within(self.shared, length)
            || within(self.original, length)
            || within(self.copies, self.stride * self.threads)
    }

    fn combine(&self, guest: &mut dyn Guest) -> Result<()> {
        for thread in 0..self.threads {
            let copy = self.copies + thread * self.stride;
            guest.call(self.combine, &[self.shared, copy], false)?;
            if self.fini != 0 {
                guest.call(self.fini, &[copy], false)?;
            }
        }
        guest.free(self.copies)
    }
}
