//! One-sided communication.

use crate::{call, guest::*, ok};

#[test]
fn puts_and_gets_reach_other_memories_between_fences() {
    for ranks in SIZES {
        run(ranks, |guest| {
            let (me, size) = (guest.me(), guest.size());
            let (base, win) = (guest.room(4 * 64), guest.room(4));
            ok!(guest.win_create(base, 4 * 64, 4, 0, WORLD, win));
            let win_handle = guest.int(win);
            let own = guest.ints_in(&[me + 100]);
            ok!(guest.win_fence(0, win_handle));
            for target in 0..size {
                ok!(guest.put(own, 1, INT, target, me, 1, INT, win_handle));
            }
            ok!(guest.win_fence(0, win_handle));
            let expected: Vec<i32> = (0..size).map(|rank| rank + 100).collect();
            assert_eq!(guest.ints_at(base, size as usize), expected);
            let into = guest.room(4 * 64);
            ok!(guest.get(into, size, INT, (me + 1) % size, 0, size, INT, win_handle));
            ok!(guest.win_fence(0, win_handle));
            assert_eq!(guest.ints_at(into, size as usize), expected);
            ok!(guest.win_set_errhandler(win_handle, ERRORS_RETURN));
            let range = 34;
            assert_eq!(call!(guest.put(own, 1, INT, 0, 64, 1, INT, win_handle)), Ok(range));
            ok!(guest.win_free(win));
            assert_eq!(guest.int(win), 0);
        });
    }
}

#[test]
fn atomic_updates_lose_nothing() {
    for ranks in SIZES {
        run(ranks, |guest| {
            let size = guest.size();
            let (pointer, win) = (guest.room(4), guest.room(4));
            ok!(guest.win_allocate(16, 4, 0, WORLD, pointer, win));
            let (base, win_handle) = (guest.int(pointer) as u32, guest.int(win));
            guest.set_ints(base, &[0; 4]);
            ok!(guest.barrier(WORLD));
            let (one, old, zero) = (guest.ints_in(&[1]), guest.room(4), guest.ints_in(&[0]));
            let mut last = -1;
            for _ in 0..200 {
                ok!(guest.win_lock(2, 0, 0, win_handle));
                ok!(guest.fetch_and_op(one, old, INT, 0, 0, SUM, win_handle));
                ok!(guest.accumulate(one, 1, INT, 0, 1, 1, INT, SUM, win_handle));
                ok!(guest.win_unlock(0, win_handle));
                assert!(guest.int(old) > last);
                last = guest.int(old);
                // An exclusive lock makes more than one call atomic.
                ok!(guest.win_lock(1, 0, 0, win_handle));
                ok!(guest.get(old, 1, INT, 0, 2, 1, INT, win_handle));
                let next = guest.int(old) + 1;
                guest.set_ints(old, &[next]);
                ok!(guest.put(old, 1, INT, 0, 2, 1, INT, win_handle));
                ok!(guest.win_unlock(0, win_handle));
            }
            // A lock of the program's own, by compare and swap.
            ok!(guest.win_lock_all(0, win_handle));
            loop {
                ok!(guest.compare_and_swap(one, zero, old, INT, 0, 3, win_handle));
                ok!(guest.win_flush(0, win_handle));
                if guest.int(old) == 0 {
                    break;
                }
            }
            let replace = 13;
            ok!(guest.accumulate(zero, 1, INT, 0, 3, 1, INT, replace, win_handle));
            ok!(guest.win_unlock_all(win_handle));
            ok!(guest.barrier(WORLD));
            if guest.me() == 0 {
                assert_eq!(guest.ints_at(base, 4), [200 * size, 200 * size, 200 * size, 0]);
            }
            ok!(guest.win_free(win));
            assert_eq!(guest.allocated, 0);
        });
    }
}

#[test]
fn a_target_lets_in_the_origins_that_it_names() {
    run(3, |guest| {
        let me = guest.me();
        let (base, win, groups) = (guest.ints_in(&[0, 0, 0]), guest.room(4), guest.room(16));
        ok!(guest.win_create(base, 12, 4, 0, WORLD, win));
        let win_handle = guest.int(win);
        ok!(guest.win_get_group(win_handle, groups));
        let all = guest.int(groups);
        let zero = guest.ints_in(&[0]);
        ok!(guest.group_incl(all, 1, zero, groups + 4));
        ok!(guest.group_excl(all, 1, zero, groups + 8));
        let (target, origins) = (guest.int(groups + 4), guest.int(groups + 8));
        for round in 1..20 {
            if me == 0 {
                ok!(guest.win_post(origins, 0, win_handle));
                ok!(guest.win_wait(win_handle));
                assert_eq!(guest.ints_at(base, 3), [0, round, 2 * round]);
            } else {
                let own = guest.ints_in(&[me * round]);
                ok!(guest.win_start(target, 0, win_handle));
                ok!(guest.put(own, 1, INT, 0, me, 1, INT, win_handle));
                ok!(guest.win_complete(win_handle));
            }
        }
        ok!(guest.win_free(win));
    });
}

#[test]
fn nothing_can_be_accumulated_and_only_integers_swapped() {
    run(1, |guest| {
        let words = guest.room(128);
        ok!(guest.win_create(words, 64, 1, 0, WORLD, words + 64));
        let win = guest.int(words + 64);
        ok!(guest.type_contiguous(0, INT, words + 68));
        ok!(guest.type_commit(words + 68));
        let nothing = guest.int(words + 68);
        ok!(guest.win_fence(0, win));
        ok!(guest.accumulate(0, 1, nothing, 0, 0, 1, nothing, SUM, win));
        guest.set_ints(words, &[5]);
        guest.set_ints(words + 72, &[4]);
        ok!(guest.rget_accumulate(
            words + 72,
            1,
            INT,
            words + 76,
            1,
            INT,
            0,
            0,
            1,
            INT,
            SUM,
            win,
            words + 80
        ));
        ok!(guest.wait(words + 80, 0));
        assert_eq!([guest.int(words), guest.int(words + 76)], [9, 5]);
        ok!(guest.win_set_errhandler(win, ERRORS_RETURN));
        let swapped = call!(guest.compare_and_swap(words, words, words + 96, DOUBLE, 0, 0, win));
        assert_eq!(swapped, Ok(3), "MPI_ERR_TYPE");
        ok!(guest.win_fence(0, win));
        ok!(guest.win_free(words + 64));
    });
}

#[test]
fn a_dynamic_window_reaches_memory_by_its_address() {
    run(2, |guest| {
        let (me, words) = (guest.me(), guest.room(256));
        ok!(guest.win_create_dynamic(0, WORLD, words));
        let win = guest.int(words);
        let (size, flavor) = (9, 11);
        for (key, expected) in [(size, 0), (flavor, 3)] {
            ok!(guest.win_get_attr(win, key, words + 4, words + 8));
            assert_eq!(guest.int(guest.int(words + 4) as u32), expected);
        }
        // Each has what it attaches at another address, and tells it.
        let target = words + 128 + 16 * me as u32;
        ok!(guest.win_attach(win, target, 16));
        let own = guest.ints_in(&[target as i32]);
        ok!(guest.allgather(own, 1, INT, words + 16, 1, INT, WORLD));
        let other = guest.int(words + 16 + 4 * (1 - me) as u32);
        let value = guest.ints_in(&[70 + me]);
        ok!(guest.win_lock_all(0, win));
        ok!(guest.put(value, 1, INT, 1 - me, other + 4, 1, INT, win));
        ok!(guest.accumulate(value, 1, INT, 1 - me, other + 8, 1, INT, SUM, win));
        ok!(guest.win_unlock_all(win));
        ok!(guest.barrier(WORLD));
        assert_eq!(guest.ints_at(target, 4), [0, 71 - me, 71 - me, 0]);
        ok!(guest.win_detach(win, target));
        ok!(guest.win_set_errhandler(win, ERRORS_RETURN));
        assert_eq!(call!(guest.win_attach(win, u32::MAX - 8, 16)), Ok(38));
        ok!(guest.win_free(words));
        ok!(guest.win_create(words + 64, 16, 1, 0, WORLD, words));
        let fixed = guest.int(words);
        ok!(guest.win_set_errhandler(fixed, ERRORS_RETURN));
        assert_eq!(call!(guest.win_attach(fixed, target, 16)), Ok(39));
        ok!(guest.win_free(words));
    });
}

#[test]
fn calls_outside_of_epochs_and_epochs_within_others_are_errors() {
    run(2, |guest| {
        let (words, sync) = (guest.room(128), Ok(33));
        ok!(guest.win_create(words, 64, 4, 0, WORLD, words + 64));
        let win = guest.int(words + 64);
        ok!(guest.win_set_errhandler(win, ERRORS_RETURN));
        let (value, other) = (guest.ints_in(&[3]), 1 - guest.me());
        assert_eq!(call!(guest.put(value, 1, INT, other, 0, 1, INT, win)), sync);
        ok!(guest.win_lock(2, 0, 0, win));
        assert_eq!(call!(guest.put(value, 1, INT, 1, 0, 1, INT, win)), sync, "rank 0 is locked");
        assert_eq!(call!(guest.win_fence(0, win)), sync);
        assert_eq!(call!(guest.win_free(words + 64)), sync);
        ok!(guest.win_unlock(0, win));
        // Nobody is a target too.
        ok!(guest.win_lock(1, PROC_NULL, 0, win));
        ok!(guest.put(value, 1, INT, PROC_NULL, 0, 1, INT, win));
        ok!(guest.win_flush(PROC_NULL, win));
        ok!(guest.win_unlock(PROC_NULL, win));
        assert_eq!(call!(guest.win_unlock(7, win)), Ok(6));
        // A fence after which nothing was called may be followed by locks.
        ok!(guest.win_fence(0, win));
        ok!(guest.win_lock(2, other, 0, win));
        ok!(guest.win_unlock(other, win));
        ok!(guest.win_fence(0, win));
        ok!(guest.put(value, 1, INT, other, 0, 1, INT, win));
        assert_eq!(call!(guest.win_lock(2, other, 0, win)), sync);
        let no_succeed = 16;
        ok!(guest.win_fence(no_succeed, win));
        assert_eq!(guest.int(words), 3);
        assert_eq!(call!(guest.put(value, 1, INT, other, 0, 1, INT, win)), sync);
        ok!(guest.win_free(words + 64));
    });
}
