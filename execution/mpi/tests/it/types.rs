//! Datatypes, against a naive model that lists the place of every byte.

use crate::{call, guest::*, ok};
use proptest::prelude::*;
use std::sync::Mutex;

/// How a type is made, for the engine and for the model.
#[derive(Debug, Clone)]
enum Shape {
    Basic(i32),
    Contiguous(i32, Box<Shape>),
    Vector(i32, i32, i32, Box<Shape>),
    Hvector(i32, i32, i32, Box<Shape>),
    Indexed(Vec<(i32, i32)>, Box<Shape>),
    Struct(Vec<(i32, i32, Shape)>),
    Resized(i32, i32, Box<Shape>),
    Subarray(Vec<(i32, i32, i32)>, bool, Box<Shape>),
}

/// The places of the bytes, the bounds, whether these were set, and the alignment.
#[derive(Debug, Clone, Default)]
struct Model {
    bytes: Vec<i64>,
    lb: i64,
    ub: i64,
    marked: bool,
    align: i64,
}

impl Model {
    fn join(parts: Vec<(i64, Model)>) -> Model {
        let bytes =
            parts.iter().flat_map(|(at, part)| part.bytes.iter().map(move |byte| at + byte));
        let bytes = bytes.collect();
        let marked = parts.iter().any(|(_, part)| part.marked);
        let bounding = || parts.iter().filter(|(_, part)| part.marked || !marked);
        let lb = bounding().map(|(at, part)| at + part.lb).min().unwrap_or(0);
        let ub = bounding().map(|(at, part)| at + part.ub).max().unwrap_or(0);
        let align = parts.iter().map(|(_, part)| part.align).max().unwrap_or(1);
        Model { bytes, lb, ub, marked, align }
    }

    fn blocks(blocks: impl Iterator<Item = (i64, i64)>, old: &Model) -> Model {
        let extent = old.ub - old.lb;
        let parts = blocks.flat_map(|(at, length)| (0..length).map(move |copy| at + copy * extent));
        Model::join(parts.map(|at| (at, old.clone())).collect())
    }

    fn of(shape: &Shape) -> Model {
        let wide = i64::from;
        match shape {
            Shape::Basic(handle) => {
                let size =
                    [(INT, 4), (DOUBLE, 8), (BYTE, 1)].iter().find(|(known, _)| known == handle);
                let size = size.map_or(0, |(_, size)| *size);
                Model { bytes: (0..size).collect(), lb: 0, ub: size, marked: false, align: size }
            }
            Shape::Contiguous(count, old) => {
                Model::blocks([(0, wide(*count))].into_iter(), &Model::of(old))
            }
            Shape::Vector(count, length, stride, old) => {
                let old = Model::of(old);
                let step = wide(*stride) * (old.ub - old.lb);
                Model::blocks((0..wide(*count)).map(|block| (block * step, wide(*length))), &old)
            }
            Shape::Hvector(count, length, stride, old) => {
                let blocks = (0..wide(*count)).map(|block| (block * wide(*stride), wide(*length)));
                Model::blocks(blocks, &Model::of(old))
            }
            Shape::Indexed(blocks, old) => {
                let old = Model::of(old);
                let extent = old.ub - old.lb;
                Model::blocks(
                    blocks.iter().map(|(length, at)| (wide(*at) * extent, wide(*length))),
                    &old,
                )
            }
            Shape::Struct(fields) => {
                let field = |(length, at, old): &(i32, i32, Shape)| {
                    (0, Model::blocks([(wide(*at), wide(*length))].into_iter(), &Model::of(old)))
                };
                let fields = fields.iter().filter(|(length, ..)| *length > 0);
                let mut whole = Model::join(fields.map(field).collect());
                if !whole.marked && whole.ub > whole.lb {
                    let align = whole.align.max(1);
                    whole.ub = whole.lb + (whole.ub - whole.lb + align - 1) / align * align;
                }
                whole
            }
            Shape::Resized(lb, extent, old) => Model {
                lb: wide(*lb),
                ub: wide(*lb) + wide(*extent),
                marked: true,
                ..Model::of(old)
            },
            Shape::Subarray(dims, c, old) => {
                let old = Model::of(old);
                let extent = old.ub - old.lb;
                let mut places = vec![0];
                let mut whole = 1;
                let mut step = |(size, subsize, start): &(i32, i32, i32), places: &mut Vec<i64>| {
                    let new = (0..wide(*subsize)).flat_map(|along| {
                        let offset = (wide(*start) + along) * whole;
                        places.iter().map(move |place| place + offset).collect::<Vec<_>>()
                    });
                    *places = new.collect();
                    whole *= wide(*size);
                };
                match c {
                    true => dims.iter().rev().for_each(|dim| step(dim, &mut places)),
                    false => dims.iter().for_each(|dim| step(dim, &mut places)),
                }
                let parts = places.into_iter().map(|place| (place * extent, old.clone())).collect();
                Model { lb: 0, ub: whole * extent, marked: true, ..Model::join(parts) }
            }
        }
    }
}

/// Makes the type; gives its handle.
fn make(guest: &mut Guest, shape: &Shape) -> i32 {
    let at = guest.room(4);
    match shape {
        Shape::Basic(handle) => return *handle,
        Shape::Contiguous(count, old) => {
            let old = make(guest, old);
            ok!(guest.type_contiguous(*count, old, at));
        }
        Shape::Vector(count, length, stride, old) => {
            let old = make(guest, old);
            ok!(guest.type_vector(*count, *length, *stride, old, at));
        }
        Shape::Hvector(count, length, stride, old) => {
            let old = make(guest, old);
            ok!(guest.type_create_hvector(*count, *length, *stride, old, at));
        }
        Shape::Indexed(blocks, old) => {
            let old = make(guest, old);
            let lengths: Vec<i32> = blocks.iter().map(|(length, _)| *length).collect();
            let places: Vec<i32> = blocks.iter().map(|(_, place)| *place).collect();
            let (lengths, places) = (guest.ints_in(&lengths), guest.ints_in(&places));
            ok!(guest.type_indexed(blocks.len() as i32, lengths, places, old, at));
        }
        Shape::Struct(fields) => {
            let lengths: Vec<i32> = fields.iter().map(|(length, ..)| *length).collect();
            let places: Vec<i32> = fields.iter().map(|(_, place, _)| *place).collect();
            let types: Vec<i32> = fields.iter().map(|(.., old)| make(guest, old)).collect();
            let (lengths, places) = (guest.ints_in(&lengths), guest.ints_in(&places));
            let types = guest.ints_in(&types);
            ok!(guest.type_create_struct(fields.len() as i32, lengths, places, types, at));
        }
        Shape::Resized(lb, extent, old) => {
            let old = make(guest, old);
            ok!(guest.type_create_resized(old, *lb, *extent, at));
        }
        Shape::Subarray(dims, c, old) => {
            let old = make(guest, old);
            let column =
                |pick: fn(&(i32, i32, i32)) -> i32| dims.iter().map(pick).collect::<Vec<_>>();
            let [sizes, subsizes, starts] =
                [column(|dim| dim.0), column(|dim| dim.1), column(|dim| dim.2)];
            let (sizes, subsizes) = (guest.ints_in(&sizes), guest.ints_in(&subsizes));
            let starts = guest.ints_in(&starts);
            let order = if *c { 0 } else { 1 };
            ok!(guest.type_create_subarray(
                dims.len() as i32,
                sizes,
                subsizes,
                starts,
                order,
                old,
                at
            ));
        }
    }
    guest.int(at)
}

fn shapes() -> impl Strategy<Value = Shape> {
    let basic =
        prop_oneof![Just(Shape::Basic(INT)), Just(Shape::Basic(DOUBLE)), Just(Shape::Basic(BYTE))];
    basic.prop_recursive(3, 12, 3, |old| {
        let boxed = old.clone().prop_map(Box::new);
        let dim = (1..4_i32, 0..3_i32, 0..3_i32)
            .prop_map(|(sub, start, more)| (sub + start + more, sub, start));
        prop_oneof![
            (0..4_i32, boxed.clone()).prop_map(|(count, old)| Shape::Contiguous(count, old)),
            (0..4_i32, 0..3_i32, -4..5_i32, boxed.clone())
                .prop_map(|(count, length, stride, old)| Shape::Vector(count, length, stride, old)),
            (0..4_i32, 0..3_i32, -40..41_i32, boxed.clone()).prop_map(
                |(count, length, stride, old)| Shape::Hvector(count, length, stride, old)
            ),
            (prop::collection::vec((0..3_i32, -4..5_i32), 1..4), boxed.clone())
                .prop_map(|(blocks, old)| Shape::Indexed(blocks, old)),
            prop::collection::vec((0..3_i32, -30..31_i32, old), 1..4).prop_map(Shape::Struct),
            (-8..9_i32, 0..60_i32, boxed.clone())
                .prop_map(|(lb, extent, old)| Shape::Resized(lb, extent, old)),
            (prop::collection::vec(dim, 1..4), any::<bool>(), boxed)
                .prop_map(|(dims, c, old)| Shape::Subarray(dims, c, old)),
        ]
    })
}

/// Packs and unpacks with the engine and compares with the model.
fn agrees(guest: &mut Guest, shape: &Shape) {
    const COUNT: i64 = 2;
    const BASE: i64 = 400_000;
    let model = Model::of(shape);
    let extent = model.ub - model.lb;
    let places: Vec<i64> = (0..COUNT)
        .flat_map(|copy| model.bytes.iter().map(move |byte| BASE + copy * extent + byte))
        .collect();
    if places.iter().any(|place| !(300_000..500_000).contains(place)) || places.len() > 20_000 {
        return;
    }
    let ty = make(guest, shape);
    let words = guest.ints_in(&[ty, 0, 0, 0, 0]);
    ok!(guest.type_commit(words));
    ok!(guest.type_size(ty, words + 4));
    ok!(guest.type_get_extent(ty, words + 8, words + 12));
    let sizes = [model.bytes.len() as i64, model.lb, extent].map(|value| value as i32);
    assert_eq!(guest.ints_at(words + 4, 3), sizes, "{shape:?}");
    ok!(guest.type_get_true_extent(ty, words + 8, words + 12));
    let low = model.bytes.iter().min().copied().unwrap_or(0);
    let high = model.bytes.iter().max().map_or(0, |byte| byte + 1);
    assert_eq!(guest.ints_at(words + 8, 2), [low as i32, (high - low) as i32], "{shape:?}");

    for place in &places {
        guest.set(*place as u32, &[(place * 31 % 251) as u8]);
    }
    // Beyond all places of the type.
    let packed = 500_000;
    guest.set_ints(words, &[0]);
    ok!(guest.pack(BASE as u32, COUNT as i32, ty, packed, 100_000, words, WORLD));
    let expected: Vec<u8> = places.iter().map(|place| (place * 31 % 251) as u8).collect();
    assert_eq!(guest.int(words) as usize, expected.len(), "{shape:?}");
    assert_eq!(guest.bytes_at(packed, expected.len()), expected, "{shape:?}");

    for place in &places {
        guest.set(*place as u32, &[0]);
    }
    guest.set_ints(words, &[0]);
    ok!(guest.unpack(packed, 100_000, words, BASE as u32, COUNT as i32, ty, WORLD));
    for place in &places {
        // Places that the type names twice have the last of their bytes, which is the same here.
        assert_eq!(guest.bytes_at(*place as u32, 1)[0], (place * 31 % 251) as u8, "{shape:?}");
    }
}

#[test]
fn packing_agrees_with_a_list_of_all_bytes() {
    let runner = Mutex::new(proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    }));
    let runner = &runner;
    run_with(1, 2 << 20, mpi::Config::default(), |guest| {
        ok!(guest.init(0, 0));
        let guest = std::cell::RefCell::new(guest);
        let result = runner.lock().expect("one thread").run(&shapes(), |shape| {
            let mut guest = guest.borrow_mut();
            let guest: &mut Guest = &mut guest;
            guest.rewind();
            agrees(guest, &shape);
            Ok(())
        });
        result.unwrap_or_else(|failure| panic!("{failure}"));
        let guest = guest.into_inner();
        ok!(guest.finalize());
    });
}

#[test]
fn columns_go_straight_into_rows() {
    for (rows, columns) in [(10, 10), (200, 150)] {
        run_with(2, 4 << 20, mpi::Config::default(), move |guest| {
            ok!(guest.init(0, 0));
            let (count, words) = ((rows * columns) as usize, guest.room(64));
            let matrix = guest.room(4 * count);
            // One column, as far from the next as one element is wide.
            ok!(guest.type_vector(rows, 1, columns, INT, words));
            let column = guest.int(words);
            ok!(guest.type_create_resized(column, 0, 4, words));
            ok!(guest.type_commit(words));
            let column = guest.int(words);
            if guest.me() == 0 {
                guest.set_ints(matrix, &(0..rows * columns).collect::<Vec<_>>());
                ok!(guest.send(matrix, columns, column, 1, 0, WORLD));
                ok!(guest.send(matrix, 1, column, 1, 0, WORLD));
            } else {
                ok!(guest.recv(matrix, rows * columns, INT, 0, 0, WORLD, 0));
                let transposed: Vec<i32> =
                    (0..columns).flat_map(|c| (0..rows).map(move |r| r * columns + c)).collect();
                assert_eq!(guest.ints_at(matrix, count), transposed);
                ok!(guest.recv(matrix, 5, column, 0, 0, WORLD, words + 16));
                ok!(guest.get_count(words + 16, column, words));
                ok!(guest.get_elements(words + 16, column, words + 4));
                ok!(guest.get_elements(words + 16, INT, words + 8));
                assert_eq!(guest.ints_at(words, 3), [1, rows, rows]);
            }
            ok!(guest.finalize());
        });
    }
}

#[test]
fn uncommitted_types_and_wrong_operations_are_refused() {
    run(1, |guest| {
        ok!(guest.comm_set_errhandler(WORLD, ERRORS_RETURN));
        let words = guest.room(64);
        ok!(guest.type_contiguous(3, INT, words));
        let ty = guest.int(words);
        assert_eq!(call!(guest.send(64, 1, ty, 0, 0, WORLD)), Ok(3), "MPI_ERR_TYPE");
        let band = 6;
        assert_eq!(call!(guest.allreduce(64, 128, 1, DOUBLE, band, WORLD)), Ok(9), "MPI_ERR_OP");
    });
}

/// The elements of an array that a process has, by the definition: dimension by dimension.
fn owned(size: i32, distribution: i32, argument: i32, processes: i32, place: i32) -> Vec<i32> {
    let block = match (distribution, argument) {
        (1, -1) => (size + processes - 1) / processes,
        (0, _) => size,
        (_, -1) => 1,
        (_, argument) => argument,
    };
    (0..size).filter(|element| element / block % processes == place).collect()
}

#[test]
fn distributed_arrays_have_the_elements_of_each_process() {
    run(1, |guest| {
        let words = guest.room(4096);
        let whole: Vec<i32> = (0..7 * 10).collect();
        let array = guest.ints_in(&whole);
        let (none, block, cyclic, default) = (0, 1, 2, -1);
        for (rows, columns, processes) in [
            ((block, default), (cyclic, default), [2, 3]),
            ((block, 5), (cyclic, 4), [2, 2]),
            ((none, default), (block, default), [1, 4]),
            ((cyclic, 3), (none, default), [3, 1]),
        ] {
            let all = processes[0] * processes[1];
            for (rank, order) in (0..all).flat_map(|rank| [(rank, 0), (rank, 1)]) {
                // The last dimension runs fastest in C, the first in Fortran.
                let mut dims = [(7, rows), (10, columns)];
                if order == 1 {
                    dims.reverse();
                }
                let grid = if order == 1 { [processes[1], processes[0]] } else { processes };
                let list = |guest: &mut Guest, pick: fn(&(i32, (i32, i32))) -> i32| {
                    guest.ints_in(&[pick(&dims[0]), pick(&dims[1])])
                };
                let sizes = list(guest, |dim| dim.0);
                let (kinds, arguments) = (list(guest, |dim| dim.1.0), list(guest, |dim| dim.1.1));
                let shape = guest.ints_in(&grid);
                let made = call!(guest.type_create_darray(
                    all, rank, 2, sizes, kinds, arguments, shape, order, INT, words
                ));
                assert_eq!(made, Ok(0));
                ok!(guest.type_commit(words));
                let ty = guest.int(words);
                ok!(guest.type_get_extent(ty, words + 4, words + 8));
                assert_eq!(guest.ints_at(words + 4, 2), [0, 4 * 70]);
                let mut places = [rank / grid[1], rank % grid[1]];
                if order == 1 {
                    places.reverse();
                }
                let mine_across = owned(10, columns.0, columns.1, processes[1], places[1]);
                let mine = owned(7, rows.0, rows.1, processes[0], places[0]);
                let expected: Vec<i32> = mine
                    .iter()
                    .flat_map(|row| mine_across.iter().map(move |column| 10 * row + column))
                    .collect();
                guest.set_ints(words + 16, &[0]);
                ok!(guest.pack(array, 1, ty, words + 64, 4000, words + 16, WORLD));
                assert_eq!(guest.int(words + 16), 4 * expected.len() as i32);
                assert_eq!(guest.ints_at(words + 64, expected.len()), expected);
                ok!(guest.type_get_envelope(ty, words, words + 4, words + 8, words + 12));
                assert_eq!(guest.ints_at(words, 4), [12, 0, 1, 12]);
                guest.set_ints(words, &[ty]);
                ok!(guest.type_free(words));
            }
        }
        ok!(guest.comm_set_errhandler(WORLD, ERRORS_RETURN));
        let (sizes, kinds) = (guest.ints_in(&[7]), guest.ints_in(&[block]));
        let (small, shape) = (guest.ints_in(&[3]), guest.ints_in(&[2]));
        let refused =
            call!(guest.type_create_darray(2, 0, 1, sizes, kinds, small, shape, 0, INT, words));
        assert_eq!(refused, Ok(12), "two blocks of three do not hold seven");
    });
}

#[test]
fn a_pair_is_two_elements_and_classes_have_datatypes() {
    run(1, |guest| {
        let (double_int, words) = (34, guest.room(128));
        ok!(guest.sendrecv(
            words,
            3,
            double_int,
            0,
            0,
            words + 64,
            4,
            double_int,
            0,
            0,
            WORLD,
            words + 112
        ));
        ok!(guest.get_count(words + 112, double_int, words));
        ok!(guest.get_elements(words + 112, double_int, words + 4));
        assert_eq!(guest.ints_at(words, 2), [3, 6]);
        for (class, size, handle) in [(1, 8, DOUBLE), (2, 4, 20), (3, 16, 30)] {
            ok!(guest.type_match_size(class, size, words));
            assert_eq!(guest.int(words), handle);
        }
        ok!(guest.comm_set_errhandler(WORLD, ERRORS_RETURN));
        assert_eq!(call!(guest.type_match_size(1, 5, words)), Ok(12));
        ok!(guest.type_get_true_extent_x(double_int, words, words + 8));
        assert_eq!(guest.ints_at(words, 4), [0, 0, 12, 0]);
    });
}
