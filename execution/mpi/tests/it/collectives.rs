//! Collectives, against what a single process computes.

use crate::{call, guest::*, ok};
use mpi::{Abort, Config};

/// Counts on both sides of what goes through slots, and of the blocks of reductions.
const COUNTS: [usize; 5] = [0, 1, 30, 31, 5000];

fn value(rank: i32, place: usize) -> i32 {
    rank * 1000 + place as i32 * 7 + 1
}

fn values(rank: i32, count: usize) -> Vec<i32> {
    (0..count).map(|place| value(rank, place)).collect()
}

#[test]
fn data_goes_where_each_call_says() {
    for ranks in SIZES {
        run_with(ranks, 4 << 20, Config::default(), |guest| {
            ok!(guest.init(0, 0));
            let (me, size) = (guest.me(), guest.size());
            let all = size as usize * 5000;
            let (out, into) = (guest.room(4 * all), guest.room(4 * all));
            for count in COUNTS {
                let n = count as i32;
                let every: Vec<i32> = (0..size).flat_map(|rank| values(rank, count)).collect();
                for root in 0..size {
                    guest.set_ints(
                        out,
                        &if me == root { values(root, count) } else { vec![0; count] },
                    );
                    ok!(guest.bcast(out, n, INT, root, WORLD));
                    assert_eq!(guest.ints_at(out, count), values(root, count));

                    guest.set_ints(out, &values(me, count));
                    ok!(guest.gather(out, n, INT, into, n, INT, root, WORLD));
                    if me == root {
                        assert_eq!(guest.ints_at(into, every.len()), every);
                        // In place, the root's part is there already.
                        guest.set_ints(into, &vec![0; every.len()]);
                        guest.set_ints(into + 4 * (me * n) as u32, &values(me, count));
                    }
                    let from = if me == root { IN_PLACE } else { out };
                    ok!(guest.gather(from, n, INT, into, n, INT, root, WORLD));
                    if me == root {
                        assert_eq!(guest.ints_at(into, every.len()), every);
                    }

                    guest.set_ints(out, &every);
                    ok!(guest.scatter(out, n, INT, into, n, INT, root, WORLD));
                    assert_eq!(guest.ints_at(into, count), values(me, count));
                }

                guest.set_ints(out, &values(me, count));
                ok!(guest.allgather(out, n, INT, into, n, INT, WORLD));
                assert_eq!(guest.ints_at(into, every.len()), every);
                guest.set_ints(into, &vec![-1; every.len()]);
                guest.set_ints(into + 4 * (me * n) as u32, &values(me, count));
                ok!(guest.allgather(IN_PLACE, 0, 0, into, n, INT, WORLD));
                assert_eq!(guest.ints_at(into, every.len()), every);

                let to: Vec<i32> =
                    (0..size).flat_map(|rank| values(me * 10 + rank, count)).collect();
                let from: Vec<i32> =
                    (0..size).flat_map(|rank| values(rank * 10 + me, count)).collect();
                guest.set_ints(out, &to);
                ok!(guest.alltoall(out, n, INT, into, n, INT, WORLD));
                assert_eq!(guest.ints_at(into, from.len()), from);
                guest.set_ints(into, &to);
                ok!(guest.alltoall(IN_PLACE, 0, 0, into, n, INT, WORLD));
                assert_eq!(guest.ints_at(into, from.len()), from);
            }
            ok!(guest.finalize());
        });
    }
}

#[test]
fn parts_of_different_lengths_go_to_their_places() {
    for ranks in SIZES {
        run(ranks, |guest| {
            let (me, size) = (guest.me(), guest.size());
            // Rank r has r + 1 elements; there is a gap of one before each part.
            let counts: Vec<i32> = (1..=size).collect();
            let places: Vec<i32> = (0..size).map(|rank| rank * (rank + 1) / 2 + rank + 1).collect();
            let whole = (places[size as usize - 1] + size) as usize;
            let mut expected = vec![-5; whole];
            for rank in 0..size {
                let place = places[rank as usize] as usize;
                expected[place..=place + rank as usize]
                    .copy_from_slice(&values(rank, rank as usize + 1));
            }
            let (counts_at, places_at) = (guest.ints_in(&counts), guest.ints_in(&places));
            let own = guest.ints_in(&values(me, me as usize + 1));
            let into = guest.ints_in(&vec![-5; whole]);

            ok!(guest.gatherv(own, me + 1, INT, into, counts_at, places_at, INT, size - 1, WORLD));
            if me == size - 1 {
                assert_eq!(guest.ints_at(into, whole), expected);
            }
            guest.set_ints(into, &vec![-5; whole]);
            ok!(guest.allgatherv(own, me + 1, INT, into, counts_at, places_at, INT, WORLD));
            assert_eq!(guest.ints_at(into, whole), expected);

            let part = guest.room(400);
            ok!(guest.scatterv(into, counts_at, places_at, INT, part, me + 1, INT, 0, WORLD));
            assert_eq!(guest.ints_at(part, me as usize + 1), values(me, me as usize + 1));

            // Each sends its first me + 1 elements to everyone.
            let mine = guest.ints_in(&vec![me + 1; size as usize]);
            let zeros = guest.ints_in(&vec![0; size as usize]);
            guest.set_ints(into, &vec![-5; whole]);
            ok!(guest.alltoallv(own, mine, zeros, INT, into, counts_at, places_at, INT, WORLD));
            assert_eq!(guest.ints_at(into, whole), expected);

            let bytes: Vec<i32> = places.iter().map(|place| 4 * place).collect();
            let (bytes, types) = (guest.ints_in(&bytes), guest.ints_in(&vec![INT; size as usize]));
            guest.set_ints(into, &vec![-5; whole]);
            ok!(guest.alltoallw(own, mine, zeros, types, into, counts_at, bytes, types, WORLD));
            assert_eq!(guest.ints_at(into, whole), expected);
        });
    }
}

#[test]
fn reductions_combine_in_rank_order_bit_by_bit() {
    for ranks in SIZES {
        run_with(ranks, 4 << 20, Config::default(), |guest| {
            ok!(guest.init(0, 0));
            let (me, size) = (guest.me(), guest.size());
            let own =
                |rank: i32, place: usize| 0.1 * f64::from(rank + 1) + 1e10 / (place as f64 + 0.7);
            let upto = |last: i32, place: usize| {
                (1..=last).fold(own(0, place), |sum, rank| sum + own(rank, place))
            };
            for count in [1, 30, 31, 1111, 7001] {
                let n = count as i32;
                let mine: Vec<f64> = (0..count).map(|place| own(me, place)).collect();
                let total: Vec<f64> = (0..count).map(|place| upto(size - 1, place)).collect();
                let out = guest.doubles_in(&mine);
                let into = guest.room(8 * count);

                ok!(guest.allreduce(out, into, n, DOUBLE, SUM, WORLD));
                assert_eq!(guest.doubles_at(into, count), total);
                let place = guest.doubles_in(&mine);
                ok!(guest.allreduce(IN_PLACE, place, n, DOUBLE, SUM, WORLD));
                assert_eq!(guest.doubles_at(place, count), total);

                for root in [0, size - 1] {
                    ok!(guest.reduce(out, into, n, DOUBLE, SUM, root, WORLD));
                    let place = guest.doubles_in(&mine);
                    let from = if me == root { IN_PLACE } else { out };
                    ok!(guest.reduce(from, place, n, DOUBLE, SUM, root, WORLD));
                    if me == root {
                        assert_eq!(guest.doubles_at(into, count), total);
                        assert_eq!(guest.doubles_at(place, count), total);
                    }
                }

                let before: Vec<f64> = (0..count).map(|place| upto(me, place)).collect();
                ok!(guest.scan(out, into, n, DOUBLE, SUM, WORLD));
                assert_eq!(guest.doubles_at(into, count), before);
                let place = guest.doubles_in(&mine);
                ok!(guest.exscan(IN_PLACE, place, n, DOUBLE, SUM, WORLD));
                if me > 0 {
                    let before: Vec<f64> = (0..count).map(|place| upto(me - 1, place)).collect();
                    assert_eq!(guest.doubles_at(place, count), before);
                }
            }
            ok!(guest.finalize());
        });
    }
}

#[test]
fn scattered_reductions_give_each_its_part() {
    for ranks in SIZES {
        run(ranks, |guest| {
            let (me, size) = (guest.me(), guest.size());
            let total = |place: usize| (0..size).map(|rank| value(rank, place)).sum::<i32>();
            let whole = size as usize * 100;
            let own = guest.ints_in(&values(me, whole));
            let into = guest.room(4 * whole);
            let first = me as usize * 100;
            let expected: Vec<i32> = (first..first + 100).map(total).collect();
            ok!(guest.reduce_scatter_block(own, into, 100, INT, SUM, WORLD));
            assert_eq!(guest.ints_at(into, 100), expected);
            ok!(guest.reduce_scatter_block(IN_PLACE, own, 100, INT, SUM, WORLD));
            assert_eq!(guest.ints_at(own, 100), expected);

            let counts: Vec<i32> = (0..size).collect();
            let first = (me * (me - 1) / 2) as usize;
            let own = guest.ints_in(&values(me, whole));
            let counts = guest.ints_in(&counts);
            ok!(guest.reduce_scatter(own, into, counts, INT, SUM, WORLD));
            let expected: Vec<i32> = (first..first + me as usize).map(total).collect();
            assert_eq!(guest.ints_at(into, me as usize), expected);
        });
    }
}

#[test]
fn operations_of_the_program_combine_in_rank_order() {
    for ranks in SIZES {
        run(ranks, |guest| {
            let (me, size) = (guest.me(), guest.size());
            let handles = guest.room(16);
            ok!(guest.op_create(OP_AFFINE, 0, handles));
            let op = guest.int(handles);
            ok!(guest.type_contiguous(2, INT, handles + 4));
            ok!(guest.type_commit(handles + 4));
            let pair = guest.int(handles + 4);
            let own = |rank: i32| vec![rank + 2, rank * 3 + 1, rank - 7, 5];
            let upto = |last: i32| {
                (1..=last).fold(own(0), |left, rank| {
                    let right = own(rank);
                    let one = |at: usize| {
                        [
                            left[at].wrapping_mul(right[at]),
                            left[at + 1].wrapping_mul(right[at]).wrapping_add(right[at + 1]),
                        ]
                    };
                    [one(0), one(2)].concat()
                })
            };
            let (out, into) = (guest.ints_in(&own(me)), guest.room(16));
            ok!(guest.allreduce(out, into, 2, pair, op, WORLD));
            assert_eq!(guest.ints_at(into, 4), upto(size - 1));
            ok!(guest.scan(out, into, 2, pair, op, WORLD));
            assert_eq!(guest.ints_at(into, 4), upto(me));
            ok!(guest.reduce(out, into, 2, pair, op, size - 1, WORLD));
            if me == size - 1 {
                assert_eq!(guest.ints_at(into, 4), upto(size - 1));
            }
            let request = guest.room(4);
            ok!(guest.iallreduce(out, into, 2, pair, op, WORLD, request));
            ok!(guest.wait(request, 0));
            assert_eq!(guest.ints_at(into, 4), upto(size - 1));
            assert_eq!(guest.allocated, 0, "scratch memory is given back");
            ok!(guest.op_free(handles));
            ok!(guest.type_free(handles + 4));
        });
    }
}

#[test]
fn non_blocking_collectives_overlap_with_others() {
    for ranks in SIZES {
        run_with(ranks, 4 << 20, Config::default(), |guest| {
            ok!(guest.init(0, 0));
            let (me, size) = (guest.me(), guest.size());
            let count = 3000;
            let n = count as i32;
            let sums: Vec<i32> =
                (0..count).map(|place| (0..size).map(|rank| value(rank, place)).sum()).collect();
            let requests = guest.room(64);
            let own = guest.ints_in(&values(me, count));
            let (sum, all) = (guest.room(4 * count), guest.room(4 * count * size as usize));
            let shared = guest.ints_in(&values(me, count));
            ok!(guest.iallreduce(own, sum, n, INT, SUM, WORLD, requests));
            ok!(guest.ibcast(shared, n, INT, size - 1, WORLD, requests + 4));
            ok!(guest.ibarrier(WORLD, requests + 8));
            ok!(guest.iallgather(own, n, INT, all, n, INT, WORLD, requests + 12));
            ok!(guest.barrier(WORLD));
            let small = guest.ints_in(&[me]);
            ok!(guest.allreduce(IN_PLACE, small, 1, INT, SUM, WORLD));
            assert_eq!(guest.int(small), size * (size - 1) / 2);
            // Later ones may be waited for first.
            ok!(guest.wait(requests + 12, 0));
            ok!(guest.waitall(4, requests, 0));
            assert_eq!(guest.ints_at(sum, count), sums);
            assert_eq!(guest.ints_at(shared, count), values(size - 1, count));
            let every: Vec<i32> = (0..size).flat_map(|rank| values(rank, count)).collect();
            assert_eq!(guest.ints_at(all, every.len()), every);
            ok!(guest.finalize());
        });
    }
}

#[test]
fn slots_are_not_written_before_all_have_read_them() {
    run(4, |guest| {
        let me = guest.me();
        let word = guest.room(8);
        for round in 0..3000 {
            let root = round % 4;
            guest.set_ints(word, &[if me == root { round } else { -1 }]);
            ok!(guest.bcast(word, 1, INT, root, WORLD));
            assert_eq!(guest.int(word), round);
            let sum = guest.ints_in_at(word + 4, me + round);
            ok!(guest.reduce(
                if me == root { IN_PLACE } else { sum },
                sum,
                1,
                INT,
                SUM,
                root,
                WORLD
            ));
            if me == root {
                assert_eq!(guest.int(sum), 6 + 4 * round);
            }
        }
    });
}

#[test]
fn a_wrong_collective_is_told_by_name() {
    run_with(2, 1 << 16, Config::default(), |guest| {
        ok!(guest.init(0, 0));
        let outcome = match guest.me() {
            0 => call!(guest.gather(64, 1, INT, 128, 1, INT, 0, WORLD)),
            _ => call!(guest.scan(64, 128, 1, INT, SUM, WORLD)),
        };
        let Err(Abort::Fatal { detail, .. }) = outcome else { panic!("{outcome:?}") };
        assert!(detail.contains("MPI_Gather") && detail.contains("MPI_Scan"), "{detail}");
    });
}

#[test]
fn long_doubles_add_and_multiply() {
    // 1 + rank as binary128: two to the exponent, for ranks that make powers of two.
    let power = |exponent: u128| (16383 + exponent) << 112;
    let (sum, product, long_double, complex) = (3, 4, 16, 31);
    run(2, |guest| {
        let own = guest.room(64);
        let values = [power(guest.me() as u128), power(3)];
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        guest.set(own, &bytes);
        ok!(guest.allreduce(own, own + 32, 2, long_double, sum, WORLD));
        // 1 + 2 = 3 and 8 + 8 = 16.
        let three = power(1) | 1 << 111;
        let at = |guest: &Guest, place: u32| {
            let bytes = guest.bytes_at(own + 32 + place, 16);
            u128::from_le_bytes(bytes.try_into().expect("16 bytes"))
        };
        assert_eq!([at(guest, 0), at(guest, 16)], [three, power(4)]);
        // (1 + 8i)(2 + 8i) = 2 - 64 + (8 + 16)i.
        ok!(guest.allreduce(own, own + 32, 1, complex, product, WORLD));
        let minus_62 = 1 << 127 | power(5) | 0b1111 << 108;
        assert_eq!([at(guest, 0), at(guest, 16)], [minus_62, power(4) | 1 << 111]);
    });
}
