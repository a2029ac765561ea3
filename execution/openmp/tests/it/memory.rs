//! Memory by allocators.

use crate::host::{Functions, config, run, run_with};
use openmp::{Error, Whole};
use std::sync::Arc;

/// Traits as `omp.h` numbers them.
const ALIGNMENT: u32 = 2;
const POOL_SIZE: u32 = 4;
const FALLBACK: u32 = 5;
const FALLBACK_ALLOCATOR: u32 = 6;

#[test]
fn blocks_are_aligned_zeroed_and_keep_what_is_in_them() {
    run(2, Functions::default(), |guest| {
        let thread = guest.thread.clone();
        for alignment in [0, 1, 24, 64, 4096] {
            let block = thread.allocate(guest, 100, alignment, 1)?;
            assert!(block.is_multiple_of(alignment.max(16).next_power_of_two()));
            guest.put(block + 96, 7);
            let larger = thread.reallocate(guest, block, 1000, 0)?;
            assert_eq!(guest.word(larger + 96), 7);
            let smaller = thread.reallocate(guest, larger, 4, 0)?;
            thread.free(guest, smaller)?;
        }
        let zeroed = thread.allocate_zeroed(guest, (10, 12), 0, 0)?;
        assert!((0..120).step_by(4).all(|at| guest.word(zeroed + at) == 0));
        assert_eq!(thread.reallocate(guest, zeroed, 0, 0)?, 0);
        assert_eq!(thread.allocate(guest, 0, 0, 0)?, 0);
        assert_eq!(thread.allocate_zeroed(guest, (1 << 17, 1 << 17), 0, 0)?, 0);
        assert_eq!(thread.allocate(guest, 8, 1 << 30, 0)?, 0);
        thread.free(guest, 0)
    });
}

#[test]
fn a_pool_is_bounded_and_falls_back() {
    run(1, Functions::default(), |guest| {
        let thread = guest.thread.clone();
        guest.put_words(1024, &[POOL_SIZE, 100, FALLBACK, 12, ALIGNMENT, 64]);
        let bounded = thread.init_allocator(3, 1024)?;
        let first = thread.allocate(guest, 60, 0, bounded)?;
        assert!(first != 0 && first.is_multiple_of(64));
        assert_eq!(thread.allocate(guest, 60, 0, bounded)?, 0);
        thread.free(guest, first)?;
        assert_ne!(thread.allocate(guest, 60, 0, bounded)?, 0);
        guest.put_words(1024, &[POOL_SIZE, 10, FALLBACK, 14, FALLBACK_ALLOCATOR, bounded]);
        let small = thread.init_allocator(3, 1024)?;
        assert_ne!(thread.allocate(guest, 30, 0, small)?, 0);
        assert_eq!(thread.allocate(guest, 60, 0, small)?, 0);
        thread.set_default_allocator(small);
        assert_eq!(thread.default_allocator(), small);
        thread.destroy_allocator(small);
        thread.set_default_allocator(small + 1);
        assert_eq!(thread.default_allocator(), small);
        assert!(thread.allocate(guest, 4, 0, 0).is_err(), "it was destroyed");
        guest.put_words(1024, &[ALIGNMENT, 3]);
        assert_eq!(thread.init_allocator(1, 1024)?, 0);
        Ok(())
    });
}

#[test]
fn what_is_no_block_is_not_freed() {
    for address in [1, 8, 1024, 1025, u32::MAX] {
        let ended = run_with(config(1), Arc::new(Whole), Functions::default(), |guest| {
            guest.thread.clone().free(guest, address)
        });
        assert!(ended.is_err(), "{address}");
    }
    let ended = run_with(config(1), Arc::new(Whole), Functions::default(), |guest| {
        let thread = guest.thread.clone();
        let block = thread.allocate(guest, 8, 0, 0)?;
        thread.free(guest, block)?;
        thread.free(guest, block)
    });
    assert!(matches!(ended, Err(Error::Misuse(_))));
}
