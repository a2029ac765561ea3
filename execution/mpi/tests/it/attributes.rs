//! Attributes of communicators, datatypes and windows; hints; and arguments that are missing.

use crate::{call, guest::*, ok};

#[test]
fn attributes_of_datatypes_are_copied_and_deleted_with_them() {
    run(1, |guest| {
        let words = guest.room(64);
        ok!(guest.type_create_keyval(COPY_PLUS_ONE, DELETE_COUNTS, words, 0));
        let key = guest.int(words);
        ok!(guest.type_contiguous(2, INT, words + 4));
        let pair = guest.int(words + 4);
        ok!(guest.type_set_attr(pair, key, 40));
        ok!(guest.type_dup(pair, words + 8));
        let copy = guest.int(words + 8);
        ok!(guest.type_get_attr(copy, key, words + 12, words + 16));
        assert_eq!(guest.ints_at(words + 12, 2), [41, 1]);
        ok!(guest.type_get_attr(INT, key, words + 12, words + 16));
        assert_eq!(guest.int(words + 16), 0);
        ok!(guest.type_delete_attr(pair, key));
        ok!(guest.type_free(words + 4));
        ok!(guest.type_free(words + 8));
        assert_eq!(guest.deleted, [[pair, key, 40], [copy, key, 41]]);

        // A key belongs to one kind of object.
        ok!(guest.comm_set_errhandler(WORLD, ERRORS_RETURN));
        let keyval = 20;
        assert_eq!(call!(guest.comm_set_attr(WORLD, key, 1)), Ok(keyval));
        ok!(guest.type_free_keyval(words));
        assert_eq!(call!(guest.type_set_attr(INT, key, 1)), Ok(keyval));
    });
}

#[test]
fn attributes_of_windows_are_deleted_with_them() {
    run(2, |guest| {
        let words = guest.room(64);
        ok!(guest.win_create_keyval(0, DELETE_COUNTS, words, 0));
        let key = guest.int(words);
        ok!(guest.win_create(words + 32, 16, 4, 0, WORLD, words + 4));
        let win = guest.int(words + 4);
        ok!(guest.win_set_attr(win, key, 7));
        ok!(guest.win_set_attr(win, key, 8));
        ok!(guest.win_get_attr(win, key, words + 8, words + 12));
        assert_eq!(guest.ints_at(words + 8, 2), [8, 1]);
        let size = 9;
        ok!(guest.win_get_attr(win, size, words + 8, words + 12));
        let at = guest.int(words + 8) as u32;
        assert_eq!([guest.int(at), guest.int(words + 12)], [16, 1]);
        ok!(guest.win_free(words + 4));
        assert_eq!(guest.deleted, [[win, key, 7], [win, key, 8]]);
    });
}

#[test]
fn what_was_set_last_is_deleted_first() {
    run(1, |guest| {
        let words = guest.room(64);
        let mut keys = Vec::new();
        for _ in 0..3 {
            ok!(guest.comm_create_keyval(0, DELETE_COUNTS, words, 0));
            keys.push(guest.int(words));
        }
        ok!(guest.comm_dup(WORLD, words));
        let comm = guest.int(words);
        for key in [1, 2, 0] {
            ok!(guest.comm_set_attr(comm, keys[key], key as u32));
        }
        ok!(guest.comm_free(words));
        let order: Vec<i32> = guest.deleted.iter().map(|call| call[2]).collect();
        assert_eq!(order, [0, 2, 1]);
    });
}

#[test]
fn hints_are_taken_and_none_is_in_use() {
    run(2, |guest| {
        let words = guest.room(64);
        ok!(guest.info_create(words));
        let info = guest.int(words);
        ok!(guest.comm_set_info(WORLD, info));
        ok!(guest.comm_get_info(WORLD, words + 4));
        let hints = guest.int(words + 4);
        ok!(guest.info_get_nkeys(hints, words + 8));
        assert_eq!(guest.int(words + 8), 0);
        ok!(guest.win_create(words + 32, 16, 4, 0, WORLD, words + 12));
        let win = guest.int(words + 12);
        ok!(guest.win_set_info(win, info));
        ok!(guest.win_get_info(win, words + 16));
        ok!(guest.info_free(words + 16));
        ok!(guest.win_free(words + 12));
    });
}

#[test]
fn a_place_for_a_result_that_is_null_is_an_error() {
    run(1, |guest| {
        ok!(guest.comm_set_errhandler(WORLD, ERRORS_RETURN));
        let argument = Ok(12);
        assert_eq!(call!(guest.comm_rank(WORLD, 0)), argument);
        assert_eq!(call!(guest.type_size_x(INT, 0)), argument);
        assert_eq!(call!(guest.comm_group(WORLD, 0)), argument);
        assert_eq!(call!(guest.type_contiguous(2, INT, 0)), argument);
        assert_eq!(call!(guest.type_indexed(1, 0, 0, INT, 64)), argument);
        assert_eq!(call!(guest.comm_split(WORLD, 0, 0, 0)), argument);
        let buffer = Ok(1);
        assert_eq!(call!(guest.reduce_local(64, 64, 1, INT, SUM)), buffer, "they are the same");
    });
}
