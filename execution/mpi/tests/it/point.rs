//! Point-to-point communication.

use crate::{call, guest::*, ok};
use mpi::{Abort, Config};

#[test]
fn a_ring_of_messages_of_all_sizes_arrives_whole() {
    for ranks in SIZES {
        run(ranks, |guest| {
            let (me, size) = (guest.me(), guest.size());
            let (next, previous) = ((me + 1) % size, (me + size - 1) % size);
            let (out, into, status) = (guest.room(140_000), guest.room(140_000), guest.room(24));
            for bytes in [0, 1, 8, 40, 41, 64, 65, 1000, 4096, 4097, 65_537, 140_000] {
                let pattern = |rank: i32| -> Vec<u8> {
                    (0..bytes).map(|byte| (byte * 7 + rank as usize * 31) as u8).collect()
                };
                guest.set(out, &pattern(me));
                let count = bytes as i32;
                ok!(guest.sendrecv(
                    out, count, BYTE, next, 5, into, count, BYTE, previous, 5, WORLD, status
                ));
                assert_eq!(guest.bytes_at(into, bytes), pattern(previous));
                assert_eq!(guest.ints_at(status, 2), [previous, 5]);
            }
        });
    }
}

#[test]
fn wildcards_take_messages_in_the_order_in_which_they_came() {
    run(4, |guest| {
        let (me, word, status) = (guest.me(), guest.room(16), guest.room(24));
        const EACH: i32 = 50;
        if me > 0 {
            for number in 0..EACH {
                guest.set_ints(word, &[me * 1000 + number]);
                ok!(guest.send(word, 1, INT, 0, number % 3, WORLD));
            }
            return;
        }
        let mut next = [0; 4];
        for _ in 0..3 * EACH {
            ok!(guest.recv(word, 1, INT, ANY, ANY, WORLD, status));
            let [source, tag] = guest.ints_at(status, 2)[..] else { unreachable!() };
            assert_eq!(guest.int(word), source * 1000 + next[source as usize]);
            assert_eq!(tag, next[source as usize] % 3);
            next[source as usize] += 1;
        }
    });
}

#[test]
fn a_longer_message_is_cut_and_reported() {
    run(2, |guest| {
        ok!(guest.comm_set_errhandler(WORLD, ERRORS_RETURN));
        let (buffer, status) = (guest.room(40_000), guest.room(24));
        for count in [10, 10_000] {
            if guest.me() == 0 {
                guest.set_ints(buffer, &vec![7; count as usize]);
                ok!(guest.send(buffer, count, INT, 1, 0, WORLD));
            } else {
                guest.set_ints(buffer, &[0; 12]);
                let truncated = 14;
                assert_eq!(call!(guest.recv(buffer, 4, INT, 0, 0, WORLD, status)), Ok(truncated));
                assert_eq!(guest.ints_at(buffer, 5), [7, 7, 7, 7, 0]);
            }
        }
    });
}

#[test]
fn errors_that_are_fatal_end_every_rank_with_a_sentence() {
    run_with(3, 1 << 16, Config::default(), |guest| {
        // Who comes late learns it from its first call.
        let outcome = call!(guest.init(0, 0)).and_then(|_| match guest.me() {
            1 => call!(guest.send(0, 1, INT, 9, 0, WORLD)),
            _ => call!(guest.recv(64, 1, INT, ANY, 3, WORLD, 0)),
        });
        let text = outcome.unwrap_err().to_string();
        assert_eq!(
            text,
            "MPI_Send failed at rank 1 on `MPI_COMM_WORLD`: there is no rank 9 among 3 \
             (MPI_ERR_RANK); errors there are fatal"
        );
    });
}

#[test]
fn addresses_outside_of_memory_are_errors() {
    run(1, |guest| {
        ok!(guest.comm_set_errhandler(WORLD, ERRORS_RETURN));
        let bad = u32::MAX - 8;
        for outcome in [
            call!(guest.send(bad, 100, INT, 0, 0, WORLD)),
            call!(guest.recv(1 << 20, 1, INT, 0, 0, WORLD, 0)),
            call!(guest.comm_rank(WORLD, bad + 6)),
            call!(guest.bcast(bad, 1 << 20, DOUBLE, 0, WORLD)),
            call!(guest.waitall(1 << 30, 8, 0)),
            call!(guest.type_indexed(1 << 29, 8, 8, INT, 8)),
            call!(guest.allreduce(64, bad, 1, INT, SUM, WORLD)),
        ] {
            assert_eq!(outcome, Ok(1), "MPI_ERR_BUFFER");
        }
    });
}

#[test]
fn ranks_that_wait_for_each_other_are_told_so() {
    run_alone(2, 1 << 16, Config::default(), &|guest: &mut Guest| {
        ok!(guest.init(0, 0));
        let other = 1 - guest.me();
        let outcome = call!(guest.recv(64, 1, INT, other, 7, WORLD, 0));
        let Err(Abort::Deadlock { waits }) = outcome else { panic!("{outcome:?}") };
        assert_eq!(
            &*waits,
            "rank 0 waits in MPI_Recv(source 1, tag 7), rank 1 waits in MPI_Recv(source 0, tag 7)"
        );
    });
}

#[test]
fn a_rank_that_leaves_or_dies_ends_the_others() {
    run_with(2, 1 << 16, Config::default(), |guest| {
        let began = call!(guest.init(0, 0));
        if guest.me() == 0 {
            let outcome = began.and_then(|_| call!(guest.recv(64, 1, INT, 1, 0, WORLD, 0)));
            assert_eq!(outcome, Err(Abort::Left { rank: 1 }));
        }
    });
    run_with(2, 1 << 16, Config::default(), |guest| {
        if guest.me() == 0 {
            let outcome = call!(guest.init(0, 0)).and_then(|_| call!(guest.barrier(WORLD)));
            let text = outcome.unwrap_err().to_string();
            assert_eq!(text, "rank 1 died: out of bounds memory access");
        } else {
            guest.rank.fail("out of bounds memory access");
        }
    });
}

#[test]
fn synchronous_sends_wait_for_their_receiver_and_buffered_ones_do_not() {
    run(2, |guest| {
        let (word, flag, request) = (guest.ints_in(&[5]), guest.room(4), guest.room(4));
        let buffer = guest.room(100_000);
        if guest.me() == 0 {
            ok!(guest.issend(word, 1, INT, 1, 1, WORLD, request));
            ok!(guest.test(request, flag, 0));
            assert_eq!(guest.int(flag), 0, "nobody asked for it");
            ok!(guest.barrier(WORLD));
            ok!(guest.wait(request, 0));

            ok!(guest.buffer_attach(buffer, 100_000));
            let large = guest.ints_in(&vec![3; 20_000]);
            ok!(guest.bsend(large, 20_000, INT, 1, 2, WORLD));
            guest.set_ints(large, &[0; 20_000]);
            ok!(guest.comm_set_errhandler(WORLD, ERRORS_RETURN));
            assert_eq!(call!(guest.bsend(large, 20_000, INT, 1, 2, WORLD)), Ok(1), "no room");
            ok!(guest.barrier(WORLD));
            ok!(guest.buffer_detach(word, flag));
            assert_eq!([guest.int(word), guest.int(flag)], [buffer as i32, 100_000]);
        } else {
            ok!(guest.barrier(WORLD));
            ok!(guest.recv(word, 1, INT, 0, 1, WORLD, 0));
            ok!(guest.barrier(WORLD));
            ok!(guest.recv(buffer, 20_000, INT, 0, 2, WORLD, 0));
            assert_eq!(guest.ints_at(buffer, 20_000), vec![3; 20_000]);
        }
    });
}

#[test]
fn persistent_requests_start_again() {
    run(2, |guest| {
        let other = 1 - guest.me();
        let (out, into, requests) = (guest.room(8), guest.room(8), guest.room(8));
        ok!(guest.recv_init(into, 1, INT, other, 4, WORLD, requests));
        ok!(guest.send_init(out, 1, INT, other, 4, WORLD, requests + 4));
        ok!(guest.waitall(2, requests, 0));
        for round in 0..20 {
            guest.set_ints(out, &[round * 10 + guest.me()]);
            ok!(guest.startall(2, requests));
            ok!(guest.waitall(2, requests, 0));
            assert_eq!(guest.int(into), round * 10 + other);
        }
        let handle = guest.int(requests);
        assert_ne!(handle, 0);
        ok!(guest.request_free(requests));
        ok!(guest.request_free(requests + 4));
        assert_eq!(guest.ints_at(requests, 2), [0, 0]);
    });
}

#[test]
fn probes_tell_of_messages_and_matched_ones_are_ours() {
    run(2, |guest| {
        let (buffer, status, words) = (guest.room(80_000), guest.room(24), guest.room(16));
        if guest.me() == 0 {
            guest.set_ints(buffer, &vec![9; 20_000]);
            for (place, count) in [3, 20_000, 5].into_iter().enumerate() {
                let request = words + 4 * place as u32;
                ok!(guest.isend(buffer, count, INT, 1, 6, WORLD, request));
            }
            ok!(guest.waitall(3, words, 0));
            return;
        }
        ok!(guest.probe(ANY, ANY, WORLD, status));
        ok!(guest.get_count(status, INT, words));
        assert_eq!([guest.int(status), guest.int(status + 4), guest.int(words)], [0, 6, 3]);
        ok!(guest.mprobe(0, 6, WORLD, words, status));
        let first = guest.int(words);
        ok!(guest.mprobe(0, 6, WORLD, words + 4, status));
        // The third overtakes those that were taken out.
        ok!(guest.recv(buffer, 20_000, INT, 0, 6, WORLD, status));
        ok!(guest.get_count(status, INT, words + 8));
        assert_eq!(guest.int(words + 8), 5);
        ok!(guest.mrecv(buffer, 20_000, INT, words + 4, status));
        assert_eq!(guest.ints_at(buffer, 20_000), vec![9; 20_000]);
        assert_eq!(guest.int(words), first);
        ok!(guest.mrecv(buffer, 20_000, INT, words, status));
        ok!(guest.get_count(status, INT, words + 8));
        assert_eq!([guest.int(words), guest.int(words + 8)], [0, 3]);
        ok!(guest.iprobe(0, ANY, WORLD, words, 0));
        assert_eq!(guest.int(words), 0);
    });
}

#[test]
fn receives_and_sends_that_nobody_matched_can_be_cancelled() {
    run(2, |guest| {
        let (words, status) = (guest.room(16), guest.room(24));
        let large = guest.room(40_000);
        if guest.me() == 0 {
            ok!(guest.irecv(words + 8, 1, INT, 1, 99, WORLD, words));
            ok!(guest.cancel(words));
            ok!(guest.wait(words, status));
            ok!(guest.test_cancelled(status, words + 4));
            assert_eq!(guest.int(words + 4), 1);
            ok!(guest.isend(large, 10_000, INT, 1, 3, WORLD, words));
            ok!(guest.cancel(words));
            ok!(guest.wait(words, status));
            ok!(guest.test_cancelled(status, words + 4));
            assert_eq!(guest.int(words + 4), 1);
            ok!(guest.barrier(WORLD));
            ok!(guest.send(words, 1, INT, 1, 3, WORLD));
        } else {
            ok!(guest.barrier(WORLD));
            ok!(guest.recv(large, 10_000, INT, 0, 3, WORLD, status));
            ok!(guest.get_count(status, INT, words));
            assert_eq!(guest.int(words), 1, "the cancelled one is not received");
        }
    });
}

#[test]
fn waits_for_some_and_any_tell_which() {
    run(2, |guest| {
        let (requests, words) = (guest.room(16), guest.room(64));
        let (status, into) = (guest.room(100), guest.room(16));
        if guest.me() == 0 {
            for tag in 0..3 {
                ok!(guest.irecv(into + 4 * tag, 1, INT, 1, tag as i32, WORLD, requests + 4 * tag));
            }
            ok!(guest.testany(3, requests, words, words + 4, 0));
            assert_eq!(guest.ints_at(words, 2), [UNDEFINED, 0]);
            ok!(guest.barrier(WORLD));
            ok!(guest.waitany(3, requests, words, status));
            assert_eq!([guest.int(words), guest.int(status + 4)], [1, 1]);
            ok!(guest.barrier(WORLD));
            let mut left = 2;
            while left > 0 {
                ok!(guest.waitsome(3, requests, words, words + 4, status));
                left -= guest.int(words);
            }
            ok!(guest.waitsome(3, requests, words, words + 4, status));
            assert_eq!(guest.int(words), UNDEFINED);
            assert_eq!(guest.ints_at(into, 3), [10, 11, 12]);
        } else {
            ok!(guest.barrier(WORLD));
            for tag in [1, 0, 2] {
                guest.set_ints(into, &[10 + tag]);
                ok!(guest.send(into, 1, INT, 0, tag, WORLD));
                if tag == 1 {
                    ok!(guest.barrier(WORLD));
                }
            }
        }
    });
}

/// A generator whose numbers are the same on all machines.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

#[test]
fn thousands_of_random_messages_keep_order_and_contents() {
    let seed = 0x5eed_0000 + u64::from(std::process::id());
    println!("seed {seed}");
    // Everyone computes all messages: (from, to, tag, bytes), in the order of sending.
    let mut random = Random(seed);
    let sizes = [0, 1, 8, 100, 4000, 5000, 20_000];
    let messages: Vec<(i32, i32, i32, usize)> = (0..4000)
        .map(|_| {
            let mut below = |limit| random.below(limit) as i32;
            (below(4), below(4), below(3), sizes[below(7) as usize])
        })
        .collect();
    let byte = |number: usize, place: usize| (number * 13 + place * 7) as u8;
    run_with(4, 8 << 20, Config::default(), |guest| {
        ok!(guest.init(0, 0));
        let me = guest.me();
        let mine: Vec<usize> = (0..messages.len()).filter(|n| messages[*n].0 == me).collect();
        let (requests, out) = (guest.room(4 * mine.len()), guest.room(20_100));
        let into = guest.room(20_100);
        let large: Vec<u32> = (0..8).map(|_| guest.room(20_100)).collect();
        let status = guest.room(24);
        // Expected, by source and tag.
        let mut expected: std::collections::HashMap<(i32, i32), std::collections::VecDeque<usize>> =
            Default::default();
        for (number, (from, to, tag, _)) in messages.iter().enumerate() {
            if *to == me {
                expected.entry((*from, *tag)).or_default().push_back(number);
            }
        }
        let mut random = Random(seed + 1 + me as u64);
        let (mut sent, mut waiting) = (0, Vec::<u32>::new());
        let mut left: usize = expected.values().map(|queue| queue.len()).sum();
        while left > 0 || sent < mine.len() {
            if sent < mine.len() && random.below(2) == 0 {
                let number = mine[sent];
                let (_, to, tag, bytes) = messages[number];
                if waiting.len() == large.len() {
                    // Some large ones must have been received first: go on receiving.
                    let at = requests;
                    ok!(guest.testall(8, at, status, 0));
                    if guest.int(status) == 1 {
                        waiting.clear();
                    }
                } else {
                    let buffer = if bytes > 1000 { large[waiting.len()] } else { out };
                    let body: Vec<u8> = (0..bytes).map(|place| byte(number, place)).collect();
                    guest.set(buffer, &body);
                    if bytes > 1000 {
                        let at = requests + 4 * waiting.len() as u32;
                        ok!(guest.isend(buffer, bytes as i32, BYTE, to, tag, WORLD, at));
                        waiting.push(at);
                    } else {
                        ok!(guest.send(buffer, bytes as i32, BYTE, to, tag, WORLD));
                    }
                    sent += 1;
                }
            }
            ok!(guest.iprobe(ANY, ANY, WORLD, status, 0));
            if guest.int(status) == 1 {
                let tag = if random.below(2) == 0 { ANY } else { random.below(3) as i32 };
                ok!(guest.iprobe(ANY, tag, WORLD, status, 0));
                if guest.int(status) == 1 {
                    ok!(guest.recv(into, 20_000, BYTE, ANY, tag, WORLD, status));
                    let [source, tag] = guest.ints_at(status, 2)[..] else { unreachable!() };
                    let queue = expected.get_mut(&(source, tag)).expect("such messages");
                    let number = queue.pop_front().expect("one more message");
                    let bytes = messages[number].3;
                    assert_eq!(guest.int(status + 16), bytes as i32, "seed {seed}");
                    let body: Vec<u8> = (0..bytes).map(|place| byte(number, place)).collect();
                    assert!(guest.bytes_at(into, bytes) == body, "seed {seed}, message {number}");
                    left -= 1;
                }
            }
        }
        ok!(guest.waitall(waiting.len() as i32, requests, 0));
        ok!(guest.finalize());
    });
}

#[test]
fn nobody_is_another_partner() {
    run(1, |guest| {
        let (status, words) = (guest.room(24), guest.room(8));
        ok!(guest.send(0, 5, INT, PROC_NULL, 0, WORLD));
        ok!(guest.recv(64, 5, INT, PROC_NULL, 0, WORLD, status));
        ok!(guest.get_count(status, INT, words));
        assert_eq!([guest.int(status), guest.int(words)], [PROC_NULL, 0]);
    });
}
