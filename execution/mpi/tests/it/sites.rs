//! Worlds whose ranks are at several sites. Nearly all other tests run in such worlds as well.

mod connections;
pub(crate) mod frames;

use crate::{guest::*, ok};
use frames::Recorder;
use mpi::{Config, Link, Placement, World};
use proptest::prelude::*;
use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

const BIG: usize = 6 << 20;

/// Runs a program whose ranks are in turns at two sites, with much memory.
fn run_big(ranks: u32, program: impl Fn(&mut Guest) + Sync) {
    let sites: Vec<u32> = (0..ranks).map(|rank| rank % 2).collect();
    run_spread_with(&sites, 128 << 20, Config::default(), |guest| {
        ok!(guest.init(0, 0));
        program(guest);
        ok!(guest.finalize());
    });
}

/// Bytes that are different at other places and for other seeds.
fn pattern(len: usize, seed: usize) -> Vec<u8> {
    let row: Vec<u8> = (0..1021_usize).map(|place| (place * 31 + seed * 101) as u8).collect();
    row.repeat(len.div_ceil(row.len()))[..len].to_vec()
}

#[test]
fn messages_and_collectives_of_many_chunks_arrive_whole() {
    run_big(2, |guest| {
        let (me, buffer) = (guest.me(), guest.room(BIG));
        let count = BIG as i32;
        if me == 0 {
            guest.set(buffer, &pattern(BIG, 1));
            ok!(guest.send(buffer, count, BYTE, 1, 3, WORLD));
            guest.set(buffer, &pattern(BIG, 2));
        } else {
            ok!(guest.recv(buffer, count, BYTE, ANY, ANY, WORLD, 0));
            assert!(guest.bytes_at(buffer, BIG) == pattern(BIG, 1));
        }
        ok!(guest.bcast(buffer, count, BYTE, 0, WORLD));
        assert!(guest.bytes_at(buffer, BIG) == pattern(BIG, 2));
    });
}

#[test]
fn a_root_may_be_rounds_ahead_without_waiting_for_those_elsewhere() {
    run_big(3, |guest| {
        const EACH: usize = 3 << 20;
        const ROUNDS: usize = 12;
        let (me, buffer) = (guest.me(), guest.room(EACH * ROUNDS));
        let (requests, word) = (guest.room(4 * ROUNDS), guest.room(4));
        if me == 0 {
            guest.set(buffer, &pattern(EACH * ROUNDS, 3));
            for round in 0..ROUNDS as u32 {
                let at = buffer + round * EACH as u32;
                ok!(guest.ibcast(at, EACH as i32, BYTE, 0, WORLD, requests + 4 * round));
            }
            // The others enter the rounds only after this, which comes after more bytes than may
            // be under way.
            ok!(guest.send(word, 1, INT, 1, 0, WORLD));
            ok!(guest.send(word, 1, INT, 2, 0, WORLD));
        } else {
            ok!(guest.recv(word, 1, INT, 0, 0, WORLD, 0));
            for round in 0..ROUNDS as u32 {
                let at = buffer + round * EACH as u32;
                ok!(guest.ibcast(at, EACH as i32, BYTE, 0, WORLD, requests + 4 * round));
            }
        }
        ok!(guest.waitall(ROUNDS as i32, requests, 0));
        assert!(guest.bytes_at(buffer, EACH * ROUNDS) == pattern(EACH * ROUNDS, 3));
    });
}

#[test]
fn communicators_come_and_go_faster_than_other_sites_hear_of_them() {
    for sites in [vec![0, 1, 0], vec![0, 0, 1, 2]] {
        run_spread_with(&sites, 1 << 20, Config::default(), |guest| {
            ok!(guest.init(0, 0));
            let (me, comm, word) = (guest.me(), guest.room(4), guest.room(8));
            let (group, part, ranks) = (guest.room(4), guest.room(4), guest.ints_in(&[0, 1, 2]));
            ok!(guest.comm_group(WORLD, group));
            let all = guest.int(group);
            ok!(guest.group_incl(all, 3, ranks, part));
            let three = guest.int(part);
            for round in 0..100 {
                ok!(guest.comm_dup(WORLD, comm));
                let dup = guest.int(comm);
                // Its root needs nobody else.
                guest.set_ints(word, &[if me == 0 { round } else { -1 }]);
                ok!(guest.bcast(word, 1, INT, 0, dup));
                assert_eq!(guest.int(word), round);
                ok!(guest.comm_free(comm));
                if me < 3 {
                    ok!(guest.comm_create_group(WORLD, three, round, comm));
                    let created = guest.int(comm);
                    guest.set_ints(word, &[me, -1]);
                    ok!(guest.allreduce(word, word + 4, 1, INT, SUM, created));
                    assert_eq!(guest.int(word + 4), 3);
                    ok!(guest.comm_free(comm));
                }
                ok!(guest.comm_create(WORLD, three, comm));
                if me < 3 {
                    ok!(guest.comm_free(comm));
                }
            }
            ok!(guest.finalize());
        });
    }
}

#[test]
fn a_communicator_is_duplicated_without_waiting() {
    run(4, |guest| {
        let (me, comm, request, word) =
            (guest.me(), guest.room(4), guest.room(4), guest.ints_in(&[5]));
        if me > 0 {
            // Nobody has begun with it here when the others send and receive.
            ok!(guest.comm_idup(WORLD, comm, request));
            ok!(guest.send(word, 1, INT, 0, 1, WORLD));
        } else {
            for from in 1..4 {
                ok!(guest.recv(word, 1, INT, from, 1, WORLD, 0));
            }
            ok!(guest.comm_idup(WORLD, comm, request));
        }
        ok!(guest.wait(request, 0));
        let (dup, sum) = (guest.int(comm), guest.room(4));
        guest.set_ints(word, &[me]);
        ok!(guest.allreduce(word, sum, 1, INT, SUM, dup));
        assert_eq!(guest.int(sum), 6);
    });
}

#[test]
fn a_flood_of_messages_waits_at_its_sender() {
    run(3, |guest| {
        const NUMBER: i32 = 4000;
        let (me, row, status) = (guest.me(), guest.room(2048), guest.room(24));
        if me > 0 {
            let requests = guest.room(4 * NUMBER as usize);
            for number in 0..NUMBER {
                let len = number % 513;
                guest.set_ints(row, &[number]);
                let request = requests + 4 * number as u32;
                if len < 100 {
                    ok!(guest.send(row, 4 + len, BYTE, 0, me, WORLD));
                    guest.set_ints(request, &[0]);
                } else {
                    // What is sent may not change before it is sent.
                    ok!(guest.send(row, 100 + len, BYTE, 0, me, WORLD));
                    guest.set_ints(request, &[0]);
                }
            }
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
        for number in 0..NUMBER {
            for from in [2, 1] {
                ok!(guest.recv(row, 2048, BYTE, from, from, WORLD, status));
                assert_eq!(guest.int(row), number);
            }
        }
    });
}

#[test]
fn messages_that_nobody_asked_for_are_kept_within_bounds() {
    const NUMBER: u32 = 3000;
    let config = Config { backlog_bytes_max: 1 << 20, ..Config::default() };
    run_spread_with(&[0, 1], 4 << 20, config, |guest| {
        ok!(guest.init(0, 0));
        let (me, row, requests) = (guest.me(), guest.room(2000), guest.room(4 * NUMBER as usize));
        if me == 0 {
            for number in 0..NUMBER {
                ok!(guest.isend(row, 2000, BYTE, 1, 0, WORLD, requests + 4 * number));
            }
            ok!(guest.send(row, 1, BYTE, 1, 1, WORLD));
            // Those for which there was no room wait here.
            let flag = guest.room(4);
            ok!(guest.testall(NUMBER as i32, requests, flag, 0));
            assert_eq!(guest.int(flag), 0);
            ok!(guest.send(row, 1, BYTE, 1, 2, WORLD));
            ok!(guest.waitall(NUMBER as i32, requests, 0));
        } else {
            // It takes in all of them to come to these.
            ok!(guest.recv(row, 1, BYTE, 0, 1, WORLD, 0));
            ok!(guest.recv(row, 1, BYTE, 0, 2, WORLD, 0));
            for _ in 0..NUMBER {
                ok!(guest.recv(row, 2000, BYTE, 0, 0, WORLD, 0));
            }
        }
        ok!(guest.finalize());
    });
}

#[test]
fn windows_elsewhere_take_scattered_data_of_many_frames() {
    run_big(2, |guest| {
        const COUNT: i32 = 50_000;
        let (me, bytes) = (guest.me(), COUNT as usize * 12);
        let (base, win, ty) = (guest.room(bytes), guest.room(4), guest.room(4));
        let (own, into) = (guest.room(4 * COUNT as usize), guest.room(4 * COUNT as usize));
        ok!(guest.win_create(base, bytes as i32, 1, 0, WORLD, win));
        ok!(guest.type_vector(COUNT, 1, 3, INT, ty));
        ok!(guest.type_commit(ty));
        let (win, ty, other) = (guest.int(win), guest.int(ty), 1 - me);
        let values: Vec<i32> = (0..COUNT).map(|value| value * 3 + me).collect();
        guest.set_ints(own, &values);
        ok!(guest.win_fence(0, win));
        ok!(guest.put(own, COUNT, INT, other, 0, 1, ty, win));
        ok!(guest.win_fence(0, win));
        ok!(guest.accumulate(own, COUNT, INT, other, 0, 1, ty, SUM, win));
        ok!(guest.win_fence(0, win));
        ok!(guest.get_accumulate(own, COUNT, INT, into, COUNT, INT, other, 0, 1, ty, SUM, win));
        let twice: Vec<i32> = values.iter().map(|value| 2 * value).collect();
        assert_eq!(guest.ints_at(into, COUNT as usize), twice);
        ok!(guest.win_fence(0, win));
        ok!(guest.get(into, COUNT, INT, other, 0, 1, ty, win));
        let thrice: Vec<i32> = values.iter().map(|value| 3 * value).collect();
        assert_eq!(guest.ints_at(into, COUNT as usize), thrice);
        ok!(guest.win_fence(0, win));
        let gaps = guest.ints_at(base, 3 * COUNT as usize);
        assert!(gaps.chunks(3).all(|part| part[1..] == [0, 0]));
    });
}

/// What unlocks tell a third rank, which is told by a message that overtakes them.
#[test]
fn what_was_written_before_an_unlock_is_there_for_who_hears_of_it() {
    run_spread_with(&[0, 1, 2], 1 << 20, Config::default(), |guest| {
        ok!(guest.init(0, 0));
        let (me, base, win, word) = (guest.me(), guest.ints_in(&[0]), guest.room(4), guest.room(4));
        ok!(guest.win_create(base, 4, 4, 0, WORLD, win));
        let win = guest.int(win);
        for round in 1..200 {
            if me == 0 {
                guest.set_ints(word, &[round]);
                ok!(guest.win_lock(2, 1, 0, win));
                ok!(guest.put(word, 1, INT, 1, 0, 1, INT, win));
                ok!(guest.win_unlock(1, win));
                ok!(guest.send(word, 1, INT, 2, 0, WORLD));
                ok!(guest.recv(word, 1, INT, 2, 0, WORLD, 0));
            } else if me == 2 {
                ok!(guest.recv(word, 1, INT, 0, 0, WORLD, 0));
                ok!(guest.win_lock(2, 1, 0, win));
                ok!(guest.get(word, 1, INT, 1, 0, 1, INT, win));
                ok!(guest.win_unlock(1, win));
                assert_eq!(guest.int(word), round);
                ok!(guest.send(word, 1, INT, 0, 0, WORLD));
            }
        }
        ok!(guest.finalize());
    });
}

#[test]
fn what_was_sent_before_a_flush_has_been_delivered_after_it() {
    let parts = spread(&[0, 1], &Config::default());
    std::thread::scope(|scope| {
        for (number, (world, _)) in parts.iter().enumerate() {
            scope.spawn(move || {
                let mut guest = Guest::new(world, number as u32, 1 << 20);
                ok!(guest.init(0, 0));
                let (row, flag, request) = (guest.room(4096), guest.room(8), guest.room(4));
                if number == 0 {
                    ok!(guest.isend(row, 1000, BYTE, 1, 0, WORLD, request));
                    world.flush_links(Duration::from_secs(10)).expect("answers");
                } else {
                    world.flush_links(Duration::from_secs(10)).expect("answers");
                }
                ok!(guest.barrier(WORLD));
                if number == 1 {
                    ok!(guest.iprobe(0, 0, WORLD, flag, 0));
                    assert_eq!(guest.int(flag), 1);
                    ok!(guest.recv(row, 1000, BYTE, 0, 0, WORLD, 0));
                } else {
                    ok!(guest.wait(request, 0));
                }
                ok!(guest.finalize());
            });
        }
    });
}

#[test]
fn ranks_and_placements_that_do_not_fit_are_refused() {
    let link = || Arc::new(Recorder::default()) as Arc<dyn Link>;
    let refused = |size, here, sites: &[u32]| {
        let placement = Placement { here, sites: sites.to_vec() };
        World::spread(size, Config::default(), placement, link()).expect_err("refused").to_string()
    };
    assert_eq!(refused(3, 0, &[0, 1]), "a world of 3 ranks was given 2 places");
    assert_eq!(refused(1, 0, &[9999]), "sites are numbered below 4096: there is no 9999");
    let world =
        World::spread(2, Config::default(), Placement { here: 0, sites: vec![0, 7] }, link())
            .expect("a part");
    let error = world.rank(1, Arc::new(NoMemory)).expect_err("elsewhere").to_string();
    assert_eq!(error, "rank 1 is at site 7");
    let error = world.deliver(3, &[1]).expect_err("nobody is there").to_string();
    assert_eq!(error, "a frame from site 3 comes to a world that is not spread there");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn random_exchanges_give_the_same_wherever_the_ranks_are(
        sends in prop::collection::vec((0..4_u32, 0..4_u32, 0..3_i32, 0..9000_usize, 0..4_u8), 1..60),
        sites in prop::collection::vec(0..3_u32, 4),
    ) {
        let here = exchange(&[0; 4], &sends);
        let there = exchange(&sites, &sends);
        prop_assert_eq!(here, there);
    }
}

/// A message: sender, receiver, tag, length, and how it is sent.
type Send = (u32, u32, i32, usize, u8);

/// Sends messages and tells what each rank got: by tag and source, in their order.
fn exchange(sites: &[u32], sends: &[Send]) -> Vec<Vec<(i32, i32, Vec<u8>)>> {
    let results: Vec<_> = sites.iter().map(|_| Mutex::new(Vec::new())).collect();
    run_spread_with(sites, 4 << 20, Config::default(), |guest| {
        ok!(guest.init(0, 0));
        let me = guest.me() as u32;
        let status = guest.room(24);
        let mut requests = Vec::new();
        for (number, (from, to, tag, len, mode)) in sends.iter().enumerate() {
            if *from != me {
                continue;
            }
            let (row, request) = (guest.room(*len), guest.room(4));
            guest.set(row, &pattern(*len, number));
            let (len, to) = (*len as i32, *to as i32);
            match mode {
                0 => ok!(guest.issend(row, len, BYTE, to, *tag, WORLD, request)),
                _ => ok!(guest.isend(row, len, BYTE, to, *tag, WORLD, request)),
            }
            requests.push(request);
        }
        let row = guest.room(9000);
        let mut got = Vec::new();
        for tag in 0..3 {
            for source in 0..sites.len() as u32 {
                let mine = |send: &&Send| (send.0, send.1, send.2) == (source, me, tag);
                for (_, _, _, len, mode) in sends.iter().filter(mine) {
                    if mode % 2 == 0 {
                        ok!(guest.probe(source as i32, tag, WORLD, status));
                    }
                    ok!(guest.recv(row, 9000, BYTE, source as i32, tag, WORLD, status));
                    got.push((tag, source as i32, guest.bytes_at(row, *len)));
                }
            }
        }
        for request in requests {
            ok!(guest.wait(request, 0));
        }
        *results[me as usize].lock().expect("a result") = got;
        ok!(guest.finalize());
    });
    results.into_iter().map(|result| result.into_inner().expect("a result")).collect()
}

#[test]
#[ignore = "measures: needs a quiet machine"]
fn how_fast_two_sites_exchange() {
    run_spread_with(&[0, 1], 8 << 20, Config::default(), |guest| {
        ok!(guest.init(0, 0));
        let (me, other) = (guest.me(), 1 - guest.me());
        let row = guest.room(1 << 20);
        for (bytes, rounds) in [(8, 20_000), (64 << 10, 2000), (1 << 20, 300)] {
            ok!(guest.barrier(WORLD));
            let began = Instant::now();
            for _ in 0..rounds {
                if me == 0 {
                    ok!(guest.send(row, bytes, BYTE, other, 0, WORLD));
                    ok!(guest.recv(row, bytes, BYTE, other, 0, WORLD, 0));
                } else {
                    ok!(guest.recv(row, bytes, BYTE, other, 0, WORLD, 0));
                    ok!(guest.send(row, bytes, BYTE, other, 0, WORLD));
                }
            }
            if me == 0 {
                let each = began.elapsed().as_secs_f64() / f64::from(rounds) / 2.0;
                let rate = f64::from(bytes) / each / 1e6;
                println!("{bytes} bytes: {:.2} µs one way, {rate:.1} MB/s", each * 1e6);
            }
        }
        let word = guest.room(16);
        let began = Instant::now();
        for _ in 0..5000 {
            ok!(guest.allreduce(word, word + 8, 1, DOUBLE, SUM, WORLD));
        }
        if me == 0 {
            println!(
                "allreduce of 8 bytes: {:.2} µs",
                began.elapsed().as_secs_f64() / 5000.0 * 1e6
            );
        }
        ok!(guest.finalize());
    });
}
