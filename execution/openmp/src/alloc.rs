//! Memory by allocators: all of it comes from the program's own.
//!
//! Sixteen bytes before each block say what `malloc` gave, how long the block is, and whose it is.

use crate::{Error, Guest, Result, Thread, shared::lock};

/// `omp_default_mem_alloc`.
pub(crate) const DEFAULT_ALLOCATOR: u32 = 1;
/// `omp_thread_mem_alloc`, the last of those that are always there.
const LAST_PREDEFINED: u32 = 8;
/// The first that a program makes.
const FIRST_OWN: u32 = 16;
/// Most that it makes.
const OWN_MAX: usize = 1024;

/// Before each block: where `malloc`'s begins, the length, the allocator, and a mark.
const HEADER_BYTES: u32 = 16;
/// Marks a block, together with its address.
const MARK: u32 = 0x0a11_0c8d;

/// Alignment where nothing else is asked for: that of the largest types.
const ALIGNMENT: u32 = 16;
const ALIGNMENT_MAX: u32 = 1 << 20;

/// Length of a trait: two words.
const TRAIT_BYTES: u32 = 8;
const TRAITS_MAX: u32 = 64;

/// Traits as `omp.h` numbers them; the others mean nothing where all memory is the same.
const TRAIT_ALIGNMENT: u32 = 2;
const TRAIT_POOL_SIZE: u32 = 4;
const TRAIT_FALLBACK: u32 = 5;
const TRAIT_FALLBACK_ALLOCATOR: u32 = 6;
/// Values of the fallback.
const NULL_FALLBACK: u32 = 12;
const ABORT_FALLBACK: u32 = 13;
const ALLOCATOR_FALLBACK: u32 = 14;

/// An allocator that the program has made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allocator {
    pub(crate) alignment: u32,
    pub(crate) pool_bytes: u32,
    pub(crate) used_bytes: u32,
    pub(crate) fallback: Fallback,
}

/// What happens when a pool is empty.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fallback {
    Null,
    Abort,
    Other(u32),
}

/// A block of memory.
struct Block {
    base: u32,
    bytes: u32,
    allocator: u32,
}

impl Thread {
    /// `omp_init_allocator`; 0 if a trait makes no sense.
    ///
    /// # Errors
    /// If the traits do not exist, or there are too many allocators.
    pub fn init_allocator(&self, count: u32, traits: u32) -> Result<u32> {
        if count > TRAITS_MAX {
            return Ok(0);
        }
        let (pool_bytes, used_bytes) = (u32::MAX, 0);
        let fallback = Fallback::Other(DEFAULT_ALLOCATOR);
        let mut made = Allocator { alignment: ALIGNMENT, pool_bytes, used_bytes, fallback };
        let (mut fallback, mut other) = (0, DEFAULT_ALLOCATOR);
        for index in 0..count {
            let at = traits.saturating_add(index * TRAIT_BYTES);
            let value = self.memory().u32(at.saturating_add(4))?;
            match self.memory().u32(at)? {
                TRAIT_ALIGNMENT if !value.is_power_of_two() || value > ALIGNMENT_MAX => {
                    return Ok(0);
                }
                TRAIT_ALIGNMENT => made.alignment = value.max(ALIGNMENT),
                TRAIT_POOL_SIZE => made.pool_bytes = value,
                TRAIT_FALLBACK => fallback = value,
                TRAIT_FALLBACK_ALLOCATOR => other = value,
                _ => {}
            }
        }
        made.fallback = match fallback {
            NULL_FALLBACK => Fallback::Null,
            ABORT_FALLBACK => Fallback::Abort,
            ALLOCATOR_FALLBACK => Fallback::Other(other),
            _ => Fallback::Other(DEFAULT_ALLOCATOR),
        };
        self.add_allocator(made)
    }

    fn add_allocator(&self, made: Allocator) -> Result<u32> {
        let mut all = lock(&self.shared.allocators);
        let free = all.iter().position(Option::is_none).unwrap_or(all.len());
        if free == OWN_MAX {
            return Err(Error::Limit { what: "allocators", limit: OWN_MAX as u64 });
        }
        match all.get_mut(free) {
            Some(place) => *place = Some(made),
            None => all.push(Some(made)),
        }
        Ok(FIRST_OWN + free as u32)
    }

    /// `omp_destroy_allocator`.
    pub fn destroy_allocator(&self, allocator: u32) {
        self.own_allocator(allocator, |own| *own = None);
    }

    /// `omp_set_default_allocator`; one that does not exist changes nothing.
    pub fn set_default_allocator(&self, allocator: u32) {
        let exists = (1..=LAST_PREDEFINED).contains(&allocator)
            || self.own_allocator(allocator, |own| own.is_some()).unwrap_or(false);
        if exists {
            self.set_icvs(|icvs| icvs.allocator = allocator);
        }
    }

    /// `omp_get_default_allocator`.
    pub fn default_allocator(&self) -> u32 {
        self.icvs().allocator
    }

    /// Looks at an allocator of the program's own.
    fn own_allocator<R>(
        &self,
        allocator: u32,
        look: impl FnOnce(&mut Option<Allocator>) -> R,
    ) -> Option<R> {
        let index = allocator.checked_sub(FIRST_OWN)?;
        lock(&self.shared.allocators).get_mut(index as usize).map(look)
    }

    /// `omp_alloc`, `omp_aligned_alloc`, `__kmpc_alloc` and `__kmpc_aligned_alloc`: a block; 0 if
    /// there is none to be had.
    ///
    /// # Errors
    /// If the allocator does not exist, or is to end the program when it is empty.
    pub fn allocate(
        &self,
        guest: &mut dyn Guest,
        bytes: u32,
        alignment: u32,
        allocator: u32,
    ) -> Result<u32> {
        if bytes == 0 || alignment > ALIGNMENT_MAX {
            return Ok(0);
        }
        let mut allocator = if allocator == 0 { self.default_allocator() } else { allocator };
        let mut alignment = alignment.max(1).next_power_of_two().max(ALIGNMENT);
        // Each of them falls back to another one once, at most.
        for _ in 0..=OWN_MAX {
            let Some(own) = self.take_room(allocator, bytes)? else {
                return self.block(guest, Block { base: 0, bytes, allocator }, alignment);
            };
            alignment = alignment.max(own.alignment);
            if own.used_bytes <= own.pool_bytes {
                return self.block(guest, Block { base: 0, bytes, allocator }, alignment);
            }
            match own.fallback {
                Fallback::Null => return Ok(0),
                Fallback::Abort => return Err(Error::Memory { bytes }),
                Fallback::Other(other) => allocator = other,
            }
        }
        Ok(0)
    }

    /// Takes so much from an allocator's pool, if there is; gives it as it then is, or would be.
    /// `None` for one that is always there and has no bounds.
    fn take_room(&self, allocator: u32, bytes: u32) -> Result<Option<Allocator>> {
        if (1..=LAST_PREDEFINED).contains(&allocator) {
            return Ok(None);
        }
        let taken = self.own_allocator(allocator, |own| {
            let own = own.as_mut()?;
            let used_bytes = own.used_bytes.saturating_add(bytes);
            if used_bytes <= own.pool_bytes {
                own.used_bytes = used_bytes;
            }
            Some(Allocator { used_bytes, ..*own })
        });
        let unknown = Error::Misuse("it uses an allocator that does not exist");
        taken.flatten().map(Some).ok_or(unknown)
    }

    fn give_room(&self, allocator: u32, bytes: u32) {
        self.own_allocator(allocator, |own| {
            if let Some(own) = own {
                own.used_bytes = own.used_bytes.saturating_sub(bytes);
            }
        });
    }

    fn block(&self, guest: &mut dyn Guest, block: Block, alignment: u32) -> Result<u32> {
        let all = block.bytes.checked_add(HEADER_BYTES + alignment);
        let base = match all {
            Some(all) => guest.malloc(all)?,
            None => 0,
        };
        if base == 0 {
            self.give_room(block.allocator, block.bytes);
            return Ok(0);
        }
        let address = base.saturating_add(HEADER_BYTES).checked_next_multiple_of(alignment);
        let address = address.ok_or(Error::Address { address: base, length: block.bytes })?;
        let header = [base, block.bytes, block.allocator, address ^ MARK];
        for (word, at) in header.iter().zip((address - HEADER_BYTES..).step_by(4)) {
            self.memory().put_u32(at, *word)?;
        }
        Ok(address)
    }

    fn known(&self, address: u32) -> Result<Block> {
        let unknown = Error::Misuse("it frees what OpenMP has not allocated");
        let word = |before: u32| match address.checked_sub(before) {
            Some(at) => self.memory().u32(at),
            None => Err(Error::Address { address, length: 4 }),
        };
        if word(4)? != address ^ MARK {
            return Err(unknown);
        }
        Ok(Block { base: word(16)?, bytes: word(12)?, allocator: word(8)? })
    }

    /// `omp_free` and `__kmpc_free`; the block itself says whose it is.
    ///
    /// # Errors
    /// If it is no block.
    pub fn free(&self, guest: &mut dyn Guest, address: u32) -> Result<()> {
        if address == 0 {
            return Ok(());
        }
        let block = self.known(address)?;
        self.memory().put_u32(address - 4, 0)?;
        self.give_room(block.allocator, block.bytes);
        guest.free(block.base)
    }

    /// `omp_calloc` and `omp_aligned_calloc`.
    ///
    /// # Errors
    /// As for [`Self::allocate`].
    pub fn allocate_zeroed(
        &self,
        guest: &mut dyn Guest,
        (count, bytes): (u32, u32),
        alignment: u32,
        allocator: u32,
    ) -> Result<u32> {
        let Some(bytes) = count.checked_mul(bytes) else { return Ok(0) };
        let address = self.allocate(guest, bytes, alignment, allocator)?;
        if address != 0 {
            self.memory().clear(address, bytes)?;
        }
        Ok(address)
    }

    /// `omp_realloc`.
    ///
    /// # Errors
    /// As for [`Self::allocate`] and [`Self::free`].
    pub fn reallocate(
        &self,
        guest: &mut dyn Guest,
        address: u32,
        bytes: u32,
        allocator: u32,
    ) -> Result<u32> {
        if address == 0 {
            return self.allocate(guest, bytes, 0, allocator);
        }
        if bytes == 0 {
            return self.free(guest, address).map(|()| 0);
        }
        let old = self.known(address)?;
        let allocator = if allocator == 0 { old.allocator } else { allocator };
        let new = self.allocate(guest, bytes, 0, allocator)?;
        if new != 0 {
            self.memory().copy(address, new, bytes.min(old.bytes))?;
            self.free(guest, address)?;
        }
        Ok(new)
    }
}
