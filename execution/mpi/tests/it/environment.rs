//! Communicators, groups, topologies, attributes, errors and the rest.

use crate::{call, guest::*, ok};
use mpi::{Abort, Config};

#[test]
fn splits_order_by_key_and_keep_messages_apart() {
    for ranks in SIZES {
        run(ranks, |guest| {
            let (me, size, words) = (guest.me(), guest.size(), guest.room(64));
            ok!(guest.comm_split(WORLD, me % 2, -me, words));
            let half = guest.int(words);
            ok!(guest.comm_rank(half, words + 4));
            ok!(guest.comm_size(half, words + 8));
            let members = (size - me % 2 + 1) / 2;
            assert_eq!(guest.ints_at(words + 4, 2), [members - 1 - me / 2, members]);
            let sum = guest.ints_in(&[me]);
            ok!(guest.allreduce(IN_PLACE, sum, 1, INT, SUM, half));
            assert_eq!(guest.int(sum), (0..size).filter(|rank| rank % 2 == me % 2).sum::<i32>());

            // The same tag in two communicators.
            ok!(guest.comm_dup(WORLD, words + 12));
            let copy = guest.int(words + 12);
            let (next, previous) = ((me + 1) % size, (me + size - 1) % size);
            let (one, two) = (guest.ints_in(&[1]), guest.ints_in(&[2]));
            ok!(guest.isend(one, 1, INT, next, 0, WORLD, words + 16));
            ok!(guest.isend(two, 1, INT, next, 0, copy, words + 20));
            ok!(guest.recv(words + 24, 1, INT, previous, 0, copy, 0));
            ok!(guest.recv(words + 28, 1, INT, previous, 0, WORLD, 0));
            assert_eq!(guest.ints_at(words + 24, 2), [2, 1]);
            ok!(guest.waitall(2, words + 16, 0));
            ok!(guest.comm_compare(copy, WORLD, words + 32));
            ok!(guest.comm_compare(WORLD, WORLD, words + 36));
            assert_eq!(guest.ints_at(words + 32, 2), [1, 0]);
            ok!(guest.comm_free(words + 12));
            ok!(guest.comm_free(words));
            assert_eq!(guest.int(words), 0);
        });
    }
}

#[test]
fn groups_combine_and_make_communicators() {
    run(4, |guest| {
        let (me, words) = (guest.me(), guest.room(64));
        ok!(guest.comm_group(WORLD, words));
        let all = guest.int(words);
        let range = guest.ints_in(&[3, 0, -2]);
        ok!(guest.group_range_incl(all, 1, range, words + 4));
        let odd = guest.int(words + 4);
        ok!(guest.group_difference(all, odd, words + 8));
        let even = guest.int(words + 8);
        ok!(guest.group_union(odd, even, words + 12));
        ok!(guest.group_intersection(odd, even, words + 16));
        assert_eq!(guest.int(words + 16), 1, "MPI_GROUP_EMPTY");
        let union = guest.int(words + 12);
        ok!(guest.group_compare(union, all, words + 16));
        assert_eq!(guest.int(words + 16), 2, "MPI_SIMILAR");
        let ranks = guest.ints_in(&[0, 1, 2, 3, PROC_NULL]);
        ok!(guest.group_translate_ranks(union, 5, ranks, odd, words + 20));
        assert_eq!(guest.ints_at(words + 20, 5), [0, 1, UNDEFINED, UNDEFINED, PROC_NULL]);

        // Each half makes its own communicator in one call, and then once more on its own.
        let mine = if me % 2 == 1 { odd } else { even };
        ok!(guest.comm_create(WORLD, mine, words + 40));
        ok!(guest.comm_create_group(WORLD, mine, 3, words + 44));
        for place in [40, 44] {
            let half = guest.int(words + place);
            let sum = guest.ints_in(&[me]);
            ok!(guest.allreduce(IN_PLACE, sum, 1, INT, SUM, half));
            assert_eq!(guest.int(sum), if me % 2 == 1 { 4 } else { 2 });
        }
        ok!(guest.comm_create(WORLD, odd, words + 48));
        assert_eq!(guest.int(words + 48) == 0, me % 2 == 0);
    });
}

#[test]
fn grids_have_neighbours_and_parts() {
    run(8, |guest| {
        let (me, words) = (guest.me(), guest.room(128));
        guest.set_ints(words, &[0, 0, 0]);
        ok!(guest.dims_create(8, 3, words));
        assert_eq!(guest.ints_at(words, 3), [2, 2, 2]);
        for (nodes, dims) in
            [(30, [5, 3, 2]), (936, [13, 9, 8]), (19008, [33, 24, 24]), (1, [1; 3])]
        {
            guest.set_ints(words, &[0, 0, 0]);
            ok!(guest.dims_create(nodes, 3, words));
            assert_eq!(guest.ints_at(words, 3), dims);
        }
        guest.set_ints(words, &[0, 0, 11, 0, 0]);
        ok!(guest.dims_create(385, 5, words));
        assert_eq!(guest.ints_at(words, 5), [7, 5, 11, 1, 1]);
        for (nodes, dims) in [(12, [4, 3]), (7, [7, 1]), (36, [6, 6]), (6, [3, 2])] {
            guest.set_ints(words, &[0, 0]);
            ok!(guest.dims_create(nodes, 2, words));
            assert_eq!(guest.ints_at(words, 2), dims);
        }
        let (dims, periods) = (guest.ints_in(&[2, 3]), guest.ints_in(&[0, 1]));
        ok!(guest.cart_create(WORLD, 2, dims, periods, 1, words));
        let grid = guest.int(words);
        assert_eq!(grid == 0, me >= 6);
        if me >= 6 {
            return;
        }
        ok!(guest.cart_coords(grid, me, 2, words));
        assert_eq!(guest.ints_at(words, 2), [me / 3, me % 3]);
        ok!(guest.cart_rank(grid, words, words + 8));
        assert_eq!(guest.int(words + 8), me);
        ok!(guest.cart_shift(grid, 0, 1, words, words + 4));
        let expected = if me < 3 { [PROC_NULL, me + 3] } else { [me - 3, PROC_NULL] };
        assert_eq!(guest.ints_at(words, 2), expected);
        ok!(guest.cart_shift(grid, 1, -1, words, words + 4));
        let row = me / 3 * 3;
        assert_eq!(guest.ints_at(words, 2), [row + (me + 1) % 3, row + (me + 2) % 3]);
        let keep = guest.ints_in(&[0, 1]);
        ok!(guest.cart_sub(grid, keep, words));
        let line = guest.int(words);
        ok!(guest.comm_rank(line, words + 4));
        ok!(guest.cartdim_get(line, words + 8));
        assert_eq!(guest.ints_at(words + 4, 2), [me % 3, 1]);
    });
}

#[test]
fn attributes_are_copied_and_deleted_as_their_keys_say() {
    run(2, |guest| {
        let words = guest.room(64);
        ok!(guest.comm_get_attr(WORLD, 1, words, words + 4));
        let (pointer, flag) = (guest.int(words) as u32, guest.int(words + 4));
        assert_eq!([flag, guest.int(pointer)], [1, i32::MAX], "MPI_TAG_UB");
        guest.allocated = 0;
        ok!(guest.comm_create_keyval(COPY_PLUS_ONE, DELETE_COUNTS, words, 0));
        ok!(guest.comm_create_keyval(0, DELETE_COUNTS, words + 4, 0));
        let (copied, kept) = (guest.int(words), guest.int(words + 4));
        ok!(guest.comm_set_attr(WORLD, copied, 40));
        ok!(guest.comm_set_attr(WORLD, kept, 50));
        ok!(guest.comm_dup(WORLD, words + 8));
        let dup = guest.int(words + 8);
        ok!(guest.comm_get_attr(dup, copied, words + 12, words + 16));
        assert_eq!(guest.ints_at(words + 12, 2), [41, 1]);
        ok!(guest.comm_get_attr(dup, kept, words + 12, words + 16));
        assert_eq!(guest.int(words + 16), 0);
        ok!(guest.comm_free(words + 8));
        ok!(guest.comm_delete_attr(WORLD, kept));
        assert_eq!(guest.deleted, [[dup, copied, 41], [WORLD, kept, 50]]);
        assert_eq!(guest.allocated, 0);
    });
}

#[test]
fn error_handlers_of_the_program_are_called() {
    run(1, |guest| {
        let words = guest.room(300);
        ok!(guest.comm_create_errhandler(HANDLER, words));
        let handler = guest.int(words);
        ok!(guest.comm_set_errhandler(WORLD, handler));
        let rank = 6;
        assert_eq!(call!(guest.send(64, 1, INT, 5, 0, WORLD)), Ok(rank));
        assert_eq!(guest.handled, [rank]);
        ok!(guest.error_string(rank, words, words + 256));
        let text = guest.bytes_at(words, guest.int(words + 256) as usize);
        assert_eq!(text, b"MPI_ERR_RANK: invalid rank");
    });
}

#[test]
fn aborts_and_calls_out_of_turn_end_the_world() {
    run_with(2, 1 << 16, Config::default(), |guest| {
        // Who comes late learns it from its first call.
        let outcome = call!(guest.init(0, 0)).and_then(|_| match guest.me() {
            0 => call!(guest.abort(WORLD, 3)),
            _ => call!(guest.barrier(WORLD)),
        });
        let text = outcome.unwrap_err().to_string();
        assert_eq!(text, "rank 0 called MPI_Abort on `MPI_COMM_WORLD` with code 3");
    });
    run_with(1, 1 << 16, Config::default(), |guest| {
        let outcome = call!(guest.barrier(WORLD));
        assert!(
            matches!(outcome, Err(Abort::OutOfTurn { function: "MPI_Barrier", .. })),
            "{outcome:?}"
        );
    });
}

#[test]
fn info_objects_keep_their_keys() {
    run(1, |guest| {
        let (words, text) = (guest.room(16), guest.room(64));
        guest.set(text, b"cb_nodes\0");
        guest.set(text + 16, b"four\0");
        ok!(guest.info_create(words));
        let info = guest.int(words);
        ok!(guest.info_set(info, text, text + 16));
        ok!(guest.info_get(info, text, 2, text + 32, words + 4));
        assert_eq!((guest.int(words + 4), guest.bytes_at(text + 32, 3)), (1, b"fo\0".to_vec()));
        ok!(guest.info_delete(info, text));
        ok!(guest.info_get_nkeys(info, words + 4));
        assert_eq!(guest.int(words + 4), 0);
        ok!(guest.info_free(words));
    });
}

#[test]
fn more_ranks_than_processors_still_go_on() {
    run_with(8, 1 << 16, Config { processors: 1, ..Config::default() }, |guest| {
        ok!(guest.init(0, 0));
        let (me, word) = (guest.me(), guest.room(8));
        let (next, previous) = ((me + 1) % 8, (me + 7) % 8);
        for round in 0..300 {
            guest.set_ints(word, &[round]);
            ok!(guest.sendrecv(word, 1, INT, next, 0, word + 4, 1, INT, previous, 0, WORLD, 0));
            assert_eq!(guest.int(word + 4), round);
            ok!(guest.barrier(SELF));
            ok!(guest.barrier(WORLD));
        }
        ok!(guest.finalize());
    });
}

#[test]
fn hostile_numbers_are_errors_and_no_more() {
    run(1, |guest| {
        ok!(guest.comm_set_errhandler(WORLD, ERRORS_RETURN));
        let words = guest.room(1024);
        let huge = guest.ints_in(&[i32::MAX; 8]);
        let flags = guest.ints_in(&[1; 8]);
        for outcome in [
            call!(guest.cart_create(WORLD, 8, huge, flags, 0, words)),
            call!(guest.dims_create(i32::MAX, 8, huge)),
            call!(guest.type_create_subarray(8, huge, flags, flags, 0, DOUBLE, words)),
            call!(guest.type_vector(i32::MAX, i32::MAX, i32::MIN, DOUBLE, words)),
            call!(guest.type_indexed(8, huge, huge, DOUBLE, words)),
            call!(guest.group_range_incl(1, 2, huge, words)),
            call!(guest.send(64, i32::MIN, INT, 0, 0, WORLD)),
            call!(guest.comm_split(i32::MIN, i32::MIN, 0, words)),
            call!(guest.wait(huge, 0)),
            call!(guest.op_free(huge)),
            call!(guest.put(64, 1, INT, 0, i32::MIN, 1, INT, i32::MAX)),
            call!(guest.error_string(i32::MIN, words, words)),
            call!(guest.error_class(0, u32::MAX)),
            call!(guest.info_get(i32::MAX, words, i32::MIN, words, words)),
        ] {
            assert!(outcome.as_ref().is_ok_and(|code| *code != 0), "{outcome:?}");
        }
        // A type that names its bounds far out is of use only where it is not followed.
        ok!(guest.type_create_resized(INT, i32::MIN, i32::MAX, words));
        ok!(guest.type_commit(words));
        let far = guest.int(words);
        assert_ne!(call!(guest.send(64, i32::MAX, far, 0, 0, WORLD)), Ok(0));
        ok!(guest.sendrecv(64, 1, far, 0, 0, 128, 1, far, 0, 0, WORLD, 0));
    });
}
