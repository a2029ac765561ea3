//! Programs of random parts, which give the same results however often they are stopped, saved and
//! restored.

use crate::{call, disturbed, guest::*, ok};
use mpi::Config;
use proptest::prelude::*;
use std::sync::Mutex;

/// One part of a program; all ranks do the same parts in the same order.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Part {
    /// Each sends to the next, in a mode, and waits in a way.
    Ring { mode: u8, bytes: usize, wait: u8 },
    /// All send to one, which takes what comes.
    ToOne { bytes: usize, probe: u8 },
    /// A small program with persistent requests.
    Persistent { bytes: usize, times: u8 },
    /// A collective, now or under a request.
    Collective { which: u8, count: usize, later: bool },
    /// An operation of the program's own.
    UserOp { which: u8, count: usize, later: bool },
    /// Communicators come and go.
    Communicators { colours: i32 },
    /// Communicators that are made without waiting, or by some.
    Made { which: u8 },
    /// Columns of a matrix go into rows.
    Columns { side: i32 },
    /// Windows, by a kind of synchronisation.
    Window { which: u8 },
    /// Something begins here that ends with the program.
    Open { which: u8, bytes: usize },
}

fn parts() -> impl Strategy<Value = Part> {
    let bytes = || prop::sample::select(vec![0, 8, 40, 240, 241, 2048, 2056, 9000, 60_000]);
    let count = || prop::sample::select(vec![1_usize, 2, 30, 31, 700]);
    prop_oneof![
        3 => (0..5_u8, bytes(), 0..6_u8).prop_map(|(mode, bytes, wait)| Part::Ring { mode, bytes, wait }),
        2 => (bytes(), 0..4_u8).prop_map(|(bytes, probe)| Part::ToOne { bytes, probe }),
        1 => (bytes(), 1..4_u8).prop_map(|(bytes, times)| Part::Persistent { bytes, times }),
        4 => (0..10_u8, count(), any::<bool>()).prop_map(|(which, count, later)| Part::Collective { which, count, later }),
        2 => (0..4_u8, count(), any::<bool>()).prop_map(|(which, count, later)| Part::UserOp { which, count, later }),
        1 => (1..3_i32).prop_map(|colours| Part::Communicators { colours }),
        1 => (0..3_u8).prop_map(|which| Part::Made { which }),
        1 => (2..12_i32).prop_map(|side| Part::Columns { side }),
        2 => (0..4_u8).prop_map(|which| Part::Window { which }),
        2 => (0..4_u8, bytes()).prop_map(|(which, bytes)| Part::Open { which, bytes }),
    ]
}

/// What a rank saw.
struct Seen(u64);

impl Seen {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn ints(&mut self, ints: &[i32]) {
        ints.iter().for_each(|int| self.add(&int.to_le_bytes()));
    }
}

/// What is under way until the end of the program.
struct Pending {
    requests: Vec<i32>,
    buffers: Vec<(u32, usize)>,
}

fn filled(guest: &mut Guest, bytes: usize, salt: i32) -> u32 {
    let addr = guest.room(bytes.max(1));
    let me = guest.me();
    let row: Vec<u8> = (0..bytes).map(|byte| (byte as i32 * 7 + me * 31 + salt) as u8).collect();
    guest.set(addr, &row);
    addr
}

fn doubles(guest: &mut Guest, count: usize, salt: i32) -> u32 {
    let me = guest.me();
    let values: Vec<f64> = (0..count)
        .map(|place| 0.1 * f64::from(me + 1) + place as f64 / 3.0 + f64::from(salt))
        .collect();
    guest.doubles_in(&values)
}

fn wait_in_a_way(guest: &mut Guest, way: u8, requests: u32, count: i32, seen: &mut Seen) {
    let words = guest.room(64);
    match way {
        0 => ok!(guest.waitall(count, requests, 0)),
        1 => {
            for place in 0..count as u32 {
                ok!(guest.wait(requests + 4 * place, 0));
            }
        }
        2 => loop {
            ok!(guest.testall(count, requests, words, 0));
            if guest.int(words) != 0 {
                break;
            }
        },
        3 => {
            for _ in 0..count {
                ok!(guest.waitany(count, requests, words, 0));
            }
        }
        4 => {
            let mut left = count;
            while left > 0 {
                ok!(guest.waitsome(count, requests, words, words + 4, 0));
                left -= guest.int(words);
            }
        }
        _ => {
            for place in 0..count as u32 {
                loop {
                    ok!(guest.test(requests + 4 * place, words, 0));
                    if guest.int(words) != 0 {
                        break;
                    }
                }
            }
        }
    }
    let requests = guest.ints_at(requests, count as usize);
    seen.ints(&requests);
}

fn ring(guest: &mut Guest, (mode, bytes, way): (u8, usize, u8), salt: i32, seen: &mut Seen) {
    let (me, size) = (guest.me(), guest.size());
    let (next, previous) = ((me + 1) % size, (me + size - 1) % size);
    let (own, into) = (filled(guest, bytes, salt), guest.room(bytes.max(1)));
    let (requests, status) = (guest.ints_in(&[0, 0]), guest.room(24));
    let count = bytes as i32;
    match mode {
        3 => ok!(guest.sendrecv(
            own, count, BYTE, next, salt, into, count, BYTE, previous, salt, WORLD, status
        )),
        4 => {
            let row = guest.bytes_at(own, bytes);
            guest.set(into, &row);
            ok!(guest
                .sendrecv_replace(into, count, BYTE, next, salt, previous, salt, WORLD, status));
        }
        _ => {
            ok!(guest.irecv(into, count, BYTE, previous, salt, WORLD, requests));
            match mode {
                0 => ok!(guest.isend(own, count, BYTE, next, salt, WORLD, requests + 4)),
                1 => ok!(guest.issend(own, count, BYTE, next, salt, WORLD, requests + 4)),
                _ => {
                    let room = guest.room(bytes + 64);
                    ok!(guest.buffer_attach(room, bytes as i32 + 64));
                    ok!(guest.bsend(own, count, BYTE, next, salt, WORLD));
                    let words = guest.room(8);
                    ok!(guest.buffer_detach(words, words + 4));
                    seen.ints(&[guest.int(words + 4)]);
                }
            }
            wait_in_a_way(guest, way, requests, if mode == 2 { 1 } else { 2 }, seen);
        }
    }
    let row = guest.bytes_at(into, bytes);
    seen.add(&row);
}

fn to_one(guest: &mut Guest, bytes: usize, probe: u8, salt: i32, seen: &mut Seen) {
    let (me, size) = (guest.me(), guest.size());
    let root = salt % size;
    if me != root {
        let own = filled(guest, bytes, salt);
        match probe {
            0 => ok!(guest.ssend(own, bytes as i32, BYTE, root, salt, WORLD)),
            _ => ok!(guest.send(own, bytes as i32, BYTE, root, salt, WORLD)),
        }
        return;
    }
    let (into, status, words) = (guest.room(bytes.max(1)), guest.room(24), guest.room(16));
    let mut rows = vec![Vec::new(); size as usize];
    for _ in 1..size {
        match probe {
            0 => ok!(guest.recv(into, bytes as i32, BYTE, ANY, salt, WORLD, status)),
            1 => {
                ok!(guest.probe(ANY, salt, WORLD, status));
                let source = guest.int(status);
                ok!(guest.recv(into, bytes as i32, BYTE, source, salt, WORLD, status));
            }
            2 => {
                while guest.int(words) == 0 {
                    ok!(guest.iprobe(ANY, salt, WORLD, words, status));
                }
                guest.set_ints(words, &[0]);
                let source = guest.int(status);
                ok!(guest.recv(into, bytes as i32, BYTE, source, salt, WORLD, status));
            }
            _ => {
                ok!(guest.mprobe(ANY, salt, WORLD, words + 4, status));
                // Whoever sent it may have to wait over a stop.
                ok!(guest.barrier(SELF));
                ok!(guest.iprobe(ANY, salt, WORLD, words + 8, 0));
                ok!(guest.mrecv(into, bytes as i32, BYTE, words + 4, status));
            }
        }
        rows[guest.int(status) as usize] = guest.bytes_at(into, bytes);
    }
    rows.iter().for_each(|row| seen.add(row));
}

fn persistent(guest: &mut Guest, bytes: usize, times: u8, salt: i32, seen: &mut Seen) {
    let (me, size) = (guest.me(), guest.size());
    let (next, previous) = ((me + 1) % size, (me + size - 1) % size);
    let (own, into) = (filled(guest, bytes, salt), guest.room(bytes.max(1)));
    let requests = guest.ints_in(&[0, 0]);
    ok!(guest.send_init(own, bytes as i32, BYTE, next, salt, WORLD, requests));
    ok!(guest.recv_init(into, bytes as i32, BYTE, previous, salt, WORLD, requests + 4));
    for time in 0..times {
        let row = vec![time.wrapping_mul(11).wrapping_add(me as u8); bytes];
        guest.set(own, &row);
        ok!(guest.startall(2, requests));
        ok!(guest.waitall(2, requests, 0));
        let row = guest.bytes_at(into, bytes);
        seen.add(&row);
    }
    ok!(guest.request_free(requests));
    ok!(guest.request_free(requests + 4));
}

fn collective(guest: &mut Guest, which: u8, count: usize, later: bool, salt: i32, seen: &mut Seen) {
    let size = guest.size() as usize;
    let root = salt % guest.size();
    let (own, into) = (doubles(guest, count * size, salt), guest.room(8 * count * size));
    let (n, request) = (count as i32, guest.ints_in(&[0]));
    match (which, later) {
        (0, false) => ok!(guest.barrier(WORLD)),
        (0, true) => ok!(guest.ibarrier(WORLD, request)),
        (1, false) => ok!(guest.bcast(own, n, DOUBLE, root, WORLD)),
        (1, true) => ok!(guest.ibcast(own, n, DOUBLE, root, WORLD, request)),
        (2, false) => ok!(guest.allreduce(own, into, n, DOUBLE, SUM, WORLD)),
        (2, true) => ok!(guest.iallreduce(own, into, n, DOUBLE, SUM, WORLD, request)),
        (3, false) => ok!(guest.reduce(own, into, n, DOUBLE, SUM, root, WORLD)),
        (3, true) => ok!(guest.ireduce(own, into, n, DOUBLE, SUM, root, WORLD, request)),
        (4, false) => ok!(guest.gather(own, n, DOUBLE, into, n, DOUBLE, root, WORLD)),
        (4, true) => ok!(guest.igather(own, n, DOUBLE, into, n, DOUBLE, root, WORLD, request)),
        (5, false) => ok!(guest.scatter(own, n, DOUBLE, into, n, DOUBLE, root, WORLD)),
        (5, true) => ok!(guest.iscatter(own, n, DOUBLE, into, n, DOUBLE, root, WORLD, request)),
        (6, false) => ok!(guest.allgather(own, n, DOUBLE, into, n, DOUBLE, WORLD)),
        (6, true) => ok!(guest.iallgather(own, n, DOUBLE, into, n, DOUBLE, WORLD, request)),
        (7, false) => ok!(guest.alltoall(own, n, DOUBLE, into, n, DOUBLE, WORLD)),
        (7, true) => ok!(guest.ialltoall(own, n, DOUBLE, into, n, DOUBLE, WORLD, request)),
        (8, false) => ok!(guest.reduce_scatter_block(own, into, n, DOUBLE, SUM, WORLD)),
        (8, true) => {
            ok!(guest.ireduce_scatter_block(IN_PLACE, own, n, DOUBLE, SUM, WORLD, request))
        }
        (_, false) => ok!(guest.scan(own, into, n, DOUBLE, SUM, WORLD)),
        (_, true) => ok!(guest.iexscan(own, into, n, DOUBLE, SUM, WORLD, request)),
    }
    if later {
        let words = guest.room(8);
        while guest.int(words) == 0 {
            ok!(guest.test(request, words, 0));
        }
    }
    for buffer in [own, into] {
        let row = guest.bytes_at(buffer, 8 * count * size);
        seen.add(&row);
    }
}

fn user_op(guest: &mut Guest, which: u8, count: usize, later: bool, salt: i32, seen: &mut Seen) {
    let (me, words) = (guest.me(), guest.room(16));
    ok!(guest.op_create(OP_AFFINE, 0, words));
    ok!(guest.type_contiguous(2, INT, words + 4));
    ok!(guest.type_commit(words + 4));
    let (op, pair) = (guest.int(words), guest.int(words + 4));
    let values: Vec<i32> = (0..2 * count as i32).map(|place| place % 5 + me + salt + 1).collect();
    let (own, into) = (guest.ints_in(&values), guest.room(8 * count));
    let (n, request) = (count as i32, guest.ints_in(&[0]));
    match (which, later) {
        (0, false) => ok!(guest.allreduce(own, into, n, pair, op, WORLD)),
        (0, true) => ok!(guest.iallreduce(own, into, n, pair, op, WORLD, request)),
        (1, false) => ok!(guest.scan(own, into, n, pair, op, WORLD)),
        (1, true) => ok!(guest.iscan(own, into, n, pair, op, WORLD, request)),
        (2, false) => ok!(guest.reduce(own, into, n, pair, op, 0, WORLD)),
        (2, true) => ok!(guest.ireduce(own, into, n, pair, op, 0, WORLD, request)),
        (_, false) => ok!(guest.exscan(own, into, n, pair, op, WORLD)),
        (_, true) => ok!(guest.iexscan(own, into, n, pair, op, WORLD, request)),
    }
    if later {
        ok!(guest.op_free(words));
        ok!(guest.wait(request, 0));
    }
    ok!(guest.type_free(words + 4));
    let result = guest.ints_at(into, 2 * count);
    seen.ints(&result);
}

fn communicators(guest: &mut Guest, colours: i32, salt: i32, seen: &mut Seen) {
    let (me, words) = (guest.me(), guest.room(32));
    ok!(guest.comm_split(WORLD, me % colours, -me, words));
    let part = guest.int(words);
    ok!(guest.comm_dup(part, words + 4));
    let copy = guest.int(words + 4);
    let own = guest.ints_in(&[me + salt, 1]);
    ok!(guest.allreduce(IN_PLACE, own, 2, INT, SUM, copy));
    ok!(guest.comm_rank(copy, words + 8));
    ok!(guest.barrier(part));
    let request = guest.ints_in(&[0]);
    ok!(guest.ibarrier(copy, request));
    ok!(guest.comm_free(words + 4));
    ok!(guest.wait(request, 0));
    ok!(guest.comm_disconnect(words));
    let dims = guest.ints_in(&[guest.size(), 0]);
    ok!(guest.cart_create(WORLD, 1, dims, dims, 0, words + 12));
    let grid = guest.int(words + 12);
    ok!(guest.cart_shift(grid, 0, 1, words + 16, words + 20));
    ok!(guest.barrier(grid));
    ok!(guest.comm_free(words + 12));
    let (sums, words) = (guest.ints_at(own, 2), guest.ints_at(words + 8, 6));
    seen.ints(&[sums[0], sums[1], words[0], words[2], words[3]]);
}

fn made(guest: &mut Guest, which: u8, salt: i32, seen: &mut Seen) {
    let (me, size, words) = (guest.me(), guest.size(), guest.room(32));
    let request = guest.ints_in(&[0]);
    match which {
        0 => {
            ok!(guest.comm_idup(WORLD, words, request));
            ok!(guest.barrier(WORLD));
            ok!(guest.wait(request, 0));
        }
        _ => {
            // All but the last make one, by a group.
            let members: Vec<i32> = (0..size.max(2) - 1).rev().collect();
            let members = guest.ints_in(&members);
            ok!(guest.comm_group(WORLD, words + 4));
            let all = guest.int(words + 4);
            ok!(guest.group_incl(all, size.max(2) - 1, members, words + 8));
            let group = guest.int(words + 8);
            match which {
                1 if me < size.max(2) - 1 => {
                    ok!(guest.comm_create_group(WORLD, group, salt, words));
                }
                1 => guest.set_ints(words, &[0]),
                _ => ok!(guest.comm_create(WORLD, group, words)),
            }
            ok!(guest.group_free(words + 4));
            ok!(guest.group_free(words + 8));
        }
    }
    let new = guest.int(words);
    if new == 0 {
        return;
    }
    // Its root may be through and gone before the others have it.
    let row = guest.ints_in(&[if me == 0 { salt } else { -1 }]);
    let root = if which == 0 { 0 } else { size.max(2) - 2 };
    ok!(guest.bcast(row, 1, INT, root, new));
    ok!(guest.allreduce(IN_PLACE, row, 1, INT, SUM, new));
    ok!(guest.comm_free(words));
    let result = guest.ints_at(row, 1);
    seen.ints(&result);
}

fn columns(guest: &mut Guest, side: i32, salt: i32, seen: &mut Seen) {
    let (me, size, words) = (guest.me(), guest.size(), guest.room(16));
    ok!(guest.type_vector(side, 1, side, INT, words));
    let vector = guest.int(words);
    ok!(guest.type_create_resized(vector, 0, 4, words + 4));
    ok!(guest.type_commit(words + 4));
    let column = guest.int(words + 4);
    let cells = (side * side) as usize;
    let values: Vec<i32> = (0..cells as i32).map(|cell| cell + 1000 * me + salt).collect();
    let (own, into, request) = (guest.ints_in(&values), guest.room(4 * cells), guest.ints_in(&[0]));
    let (next, previous) = ((me + 1) % size, (me + size - 1) % size);
    ok!(guest.issend(own, side, column, next, salt, WORLD, request));
    // The datatypes live on in what is under way.
    ok!(guest.type_free(words));
    ok!(guest.recv(into, side * side, INT, previous, salt, WORLD, 0));
    ok!(guest.wait(request, 0));
    let result = guest.ints_at(into, cells);
    seen.ints(&result);
}

fn window(guest: &mut Guest, which: u8, salt: i32, seen: &mut Seen) {
    let (me, size) = (guest.me(), guest.size());
    let (base, win) = (guest.room(4 * 64), guest.room(4));
    match which {
        0 => ok!(guest.win_create(base, 4 * 64, 4, 0, WORLD, win)),
        _ => ok!(guest.win_allocate(4 * 64, 4, 0, WORLD, base, win)),
    }
    let at = if which == 0 { base } else { guest.int(base) as u32 };
    let handle = guest.int(win);
    guest.set_ints(at, &[0; 64]);
    ok!(guest.barrier(WORLD));
    let (own, old) = (guest.ints_in(&[me + salt, 1]), guest.room(4));
    match which {
        0 => {
            ok!(guest.win_fence(0, handle));
            for target in 0..size {
                ok!(guest.put(own, 1, INT, target, me, 1, INT, handle));
                ok!(guest.accumulate(own + 4, 1, INT, target, 32, 1, INT, SUM, handle));
            }
            ok!(guest.win_fence(0, handle));
        }
        1 => {
            for turn in 0..6 {
                // An exclusive lock of another, read and written.
                ok!(guest.win_lock(1, turn % size, 0, handle));
                ok!(guest.get(old, 1, INT, turn % size, 3, 1, INT, handle));
                let new = guest.int(old) + me + 1;
                guest.set_ints(old, &[new]);
                ok!(guest.win_flush(turn % size, handle));
                ok!(guest.put(old, 1, INT, turn % size, 3, 1, INT, handle));
                ok!(guest.win_unlock(turn % size, handle));
            }
        }
        2 => {
            ok!(guest.win_lock_all(0, handle));
            for turn in 0..6 {
                ok!(guest.fetch_and_op(own + 4, old, INT, turn % size, 5, SUM, handle));
            }
            ok!(guest.win_unlock_all(handle));
        }
        _ => {
            let group = guest.room(4);
            ok!(guest.win_get_group(handle, group));
            let group = guest.int(group);
            ok!(guest.win_post(group, 0, handle));
            ok!(guest.win_start(group, 0, handle));
            for target in 0..size {
                ok!(guest.put(own, 1, INT, target, 40 + me, 1, INT, handle));
            }
            ok!(guest.win_complete(handle));
            if salt % 2 == 0 {
                ok!(guest.win_wait(handle));
            } else {
                guest.set_ints(old, &[0]);
                while guest.int(old) == 0 {
                    ok!(guest.win_test(handle, old));
                }
            }
        }
    }
    ok!(guest.barrier(WORLD));
    let result = guest.ints_at(at, 64);
    seen.ints(&result);
    ok!(guest.win_free(win));
}

fn open(guest: &mut Guest, which: u8, bytes: usize, salt: i32, pending: &mut Pending) {
    let (me, size) = (guest.me(), guest.size());
    let (next, previous) = ((me + 1) % size, (me + size - 1) % size);
    let (own, into) = (filled(guest, bytes, salt), guest.room(bytes.max(1)));
    let requests = guest.ints_in(&[0, 0]);
    match which {
        0 => {
            // Received only at the end.
            ok!(guest.isend(own, bytes as i32, BYTE, next, 1000 + salt, WORLD, requests));
            ok!(guest.irecv(into, bytes as i32, BYTE, previous, 1000 + salt, WORLD, requests + 4));
        }
        1 => {
            ok!(guest.irecv(into, bytes as i32, BYTE, previous, 1000 + salt, WORLD, requests));
            ok!(guest.issend(own, bytes as i32, BYTE, next, 1000 + salt, WORLD, requests + 4));
        }
        2 => {
            ok!(guest.iallreduce(own, into, (bytes / 4) as i32, INT, SUM, WORLD, requests));
            // Its handle is given up while it waits.
            let empty = guest.room(8);
            ok!(guest.isend(own, bytes as i32, BYTE, me, 2000 + salt, WORLD, empty));
            ok!(guest.request_free(empty));
        }
        _ => ok!(guest.ibcast(own, bytes as i32, BYTE, salt % size, WORLD, requests)),
    }
    pending.requests.extend(guest.ints_at(requests, 2));
    pending.buffers.push((own, bytes));
    pending.buffers.push((into, bytes));
}

/// Takes what `open` sent to this rank itself without a handle.
fn take_loose(guest: &mut Guest, parts: &[Part], seen: &mut Seen) {
    for (salt, part) in parts.iter().enumerate() {
        if let Part::Open { which: 2, bytes } = *part {
            let into = guest.room(bytes.max(1));
            let (me, tag) = (guest.me(), 2000 + salt as i32);
            ok!(guest.recv(into, bytes as i32, BYTE, me, tag, WORLD, 0));
            let row = guest.bytes_at(into, bytes);
            seen.add(&row);
        }
    }
}

pub(crate) fn program(guest: &mut Guest, parts: &[Part]) -> u64 {
    let mut seen = Seen(0xcbf2_9ce4_8422_2325);
    let mut pending = Pending { requests: Vec::new(), buffers: Vec::new() };
    ok!(guest.init(0, 0));
    for (salt, part) in parts.iter().enumerate() {
        let salt = salt as i32;
        match *part {
            Part::Ring { mode, bytes, wait } => ring(guest, (mode, bytes, wait), salt, &mut seen),
            Part::ToOne { bytes, probe } => to_one(guest, bytes, probe, salt, &mut seen),
            Part::Persistent { bytes, times } => persistent(guest, bytes, times, salt, &mut seen),
            Part::Collective { which, count, later } => {
                collective(guest, which, count, later, salt, &mut seen);
            }
            Part::UserOp { which, count, later } => {
                user_op(guest, which, count, later, salt, &mut seen);
            }
            Part::Communicators { colours } => communicators(guest, colours, salt, &mut seen),
            Part::Made { which } => made(guest, which, salt, &mut seen),
            Part::Columns { side } => columns(guest, side, salt, &mut seen),
            Part::Window { which } => window(guest, which, salt, &mut seen),
            Part::Open { which, bytes } => open(guest, which, bytes, salt, &mut pending),
        }
    }
    let requests = guest.ints_in(&pending.requests);
    ok!(guest.waitall(pending.requests.len() as i32, requests, 0));
    take_loose(guest, parts, &mut seen);
    for (buffer, bytes) in pending.buffers {
        let row = guest.bytes_at(buffer, bytes);
        seen.add(&row);
    }
    assert_eq!(call!(guest.finalize()), Ok(0));
    seen.0
}

fn config() -> Config {
    Config { processors: 1, ..Config::default() }
}

/// The results of all ranks, undisturbed or stopped at moments that a seed chooses.
fn results(ranks: u32, parts: &[Part], seed: Option<u64>) -> (Vec<u64>, u32) {
    let results = Mutex::new(vec![0; ranks as usize]);
    let body = |guest: &mut Guest| {
        let me = guest.me() as usize;
        let result = program(guest, parts);
        results.lock().expect("results")[me] = result;
    };
    let stops = match seed {
        Some(seed) => disturbed::run(ranks, 8 << 20, config(), seed, &body).stops,
        None => {
            run_alone(ranks, 8 << 20, config(), &body);
            0
        }
    };
    (results.into_inner().expect("results"), stops)
}

/// More of them are tried where `PROPTEST_CASES` asks for it.
pub(crate) fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(40)
}

/// The results of ranks at several sites, stopped at moments that a seed chooses.
fn spread_results(sites: &[u32], parts: &[Part], seed: u64) -> (Vec<u64>, u32) {
    let results = Mutex::new(vec![0; sites.len()]);
    let body = |guest: &mut Guest| {
        let me = guest.me() as usize;
        let result = program(guest, parts);
        results.lock().expect("results")[me] = result;
    };
    let stops = disturbed::run_spread(sites, 8 << 20, &config(), seed, &body);
    (results.into_inner().expect("results"), stops)
}

/// The results of ranks that are moved between sites, as a seed chooses.
fn moved_results(ranks: u32, parts: &[Part], seed: u64) -> (Vec<u64>, u32) {
    let results = Mutex::new(vec![0; ranks as usize]);
    let body = |guest: &mut Guest| {
        let me = guest.me() as usize;
        let result = program(guest, parts);
        results.lock().expect("results")[me] = result;
    };
    let stops = disturbed::run_moved(ranks, 2 << 20, &config(), seed, &body).stops;
    (results.into_inner().expect("results"), stops)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn programs_that_are_stopped_and_restored_give_the_same_results(
        ranks in prop::sample::select(vec![1_u32, 2, 3, 4, 5]),
        parts in prop::collection::vec(parts(), 1..24),
        seed in any::<u64>(),
    ) {
        let (expected, _) = results(ranks, &parts, None);
        let (found, stops) = results(ranks, &parts, Some(seed));
        prop_assert_eq!(found, expected, "after {} stops", stops);
    }

    #[test]
    fn programs_whose_ranks_move_between_sites_give_the_same_results(
        ranks in prop::sample::select(vec![1_u32, 2, 3, 4, 5]),
        parts in prop::collection::vec(parts(), 1..16),
        seed in any::<u64>(),
    ) {
        let (expected, _) = results(ranks, &parts, None);
        let (found, stops) = moved_results(ranks, &parts, seed);
        prop_assert_eq!(found, expected, "after {} stops", stops);
    }

    #[test]
    fn programs_at_several_sites_stop_and_go_on(
        sites in prop::sample::select(vec![vec![0_u32, 1], vec![0, 1, 0], vec![2, 0, 0, 5]]),
        parts in prop::collection::vec(parts(), 1..16),
        seed in any::<u64>(),
    ) {
        let (expected, _) = results(sites.len() as u32, &parts, None);
        let (found, stops) = spread_results(&sites, &parts, seed);
        prop_assert_eq!(found, expected, "after {} stops", stops);
    }
}
