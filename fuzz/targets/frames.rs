//! Frames of another site, to a part of an MPI world whose rank makes calls between them.
//!
//! The bytes are rows, each after its length in 16 bits: a frame, or a call if its first byte is
//! 128 or more. The first row has one byte: whether the other site goes on to mirror this one.
#![no_main]

mod mpi;

use self::mpi::{ANY, Nothing, WORLD, cut, memory, within};
use ::mpi::{Abort, Config, Link, Placement, Rank, World};
use libfuzzer_sys::fuzz_target;
use std::{
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

const ERRORS_RETURN: i32 = 2;
const BYTE: i32 = 4;
const INT: i32 = 8;
const SUM: i32 = 3;

/// Another site that does whatever this one does: its frames come back with the ranks exchanged.
#[derive(Debug, Default)]
struct Mirror {
    world: Mutex<Weak<World>>,
    idle: AtomicBool,
}

impl Link for Mirror {
    fn send(&self, _: u32, mut frame: Vec<u8>) -> Result<(), Abort> {
        let world = self.world.lock().map(|world| world.upgrade()).ok().flatten();
        let Some(world) = world.filter(|_| !self.idle.load(Ordering::Relaxed)) else {
            return Ok(());
        };
        let ranks: &[usize] = match frame[0] {
            1..=3 => &[1, 5],
            4 | 7 | 8 => &[1],
            9 | 10 | 13 => &[13],
            14 => return Ok(()),
            16..=21 | 23 => &[5],
            22 => &[5, 9],
            _ => &[],
        };
        ranks.iter().for_each(|place| frame[*place] ^= 1);
        let _ = world.deliver(1, &frame);
        Ok(())
    }
}

fuzz_target!(|bytes: &[u8]| within(bytes.len(), 8 << 20, 8 << 10, || trial(bytes)));

fn trial(mut bytes: &[u8]) {
    let Some(how) = cut::<2>(&mut bytes) else { return };
    let mirror = Arc::new(Mirror::default());
    let link = Arc::clone(&mirror) as Arc<dyn Link>;
    let placement = Placement { here: 0, sites: vec![0, 1] };
    let world = World::spread(2, Config::default(), placement, link).expect("a part");
    *mirror.world.lock().expect("a world") = Arc::downgrade(&world);
    let mut rank = world.rank(0, memory()).expect("a rank");
    begin(&mut rank).expect("the mirror answers");
    mirror.idle.store(how.first().is_none_or(|how| how % 2 == 0), Ordering::Relaxed);
    while let Some(row) = cut::<2>(&mut bytes) {
        match row {
            [call, rest @ ..] if *call >= 128 => call_of(&world, &mut rank, call - 128, rest),
            frame => {
                let _ = world.deliver(1, frame);
            }
        }
        let _ = rank.iprobe(&mut Nothing, ANY, 99, WORLD, 64, 0);
    }
    world.end("the trial is over");
    drop(rank);
    mirror.idle.store(true, Ordering::Relaxed);
}

/// A second communicator, and then a window, as in what the target begins with. The mirror answers at once, so that
/// no call has to wait.
fn begin(rank: &mut Rank) -> Result<i32, Abort> {
    let cb = &mut Nothing;
    rank.init(cb, 0, 0)?;
    rank.comm_set_errhandler(cb, WORLD, ERRORS_RETURN)?;
    rank.comm_dup(cb, WORLD, 80)?;
    rank.win_create(cb, 4096, 32 << 10, 1, 0, WORLD, 72)?;
    rank.win_set_errhandler(cb, 1, ERRORS_RETURN)?;
    rank.win_fence(cb, 0, 1)?;
    rank.win_get_group(cb, 1, 76)
}

/// A call that never waits. Its arguments lie where others may reach them.
fn call_of(world: &World, rank: &mut Rank, call: u8, arguments: &[u8]) {
    let argument = |place: usize| i32::from(arguments.get(place).copied().unwrap_or(0));
    let (first, second) = (argument(0), argument(1));
    let (addr, bytes) = (4096 + 16 * first as u32, 40 * second);
    // Requests are kept in a row of places.
    let request = 1024 + 4 * argument(2) as u32;
    let (cb, tag) = (&mut Nothing, argument(3) % 4);
    let communicator = [WORLD, WORLD, 3, 4][argument(4) as usize % 4];
    let _ = match call % 22 {
        0 => rank.isend(cb, addr, bytes, BYTE, 1, tag, communicator, request),
        1 => rank.issend(cb, addr, bytes, BYTE, 1, tag, communicator, request),
        2 => rank.irecv(cb, addr, bytes, BYTE, ANY, ANY, communicator, request),
        3 => rank.irecv(cb, addr, bytes, BYTE, 1, tag, communicator, request),
        4 => rank.ibarrier(cb, communicator, request),
        5 => rank.ibcast(cb, addr, bytes, BYTE, tag % 2, communicator, request),
        6 => rank.iallreduce(cb, addr, 8192, second * 10, INT, SUM, communicator, request),
        7 => rank.ialltoall(cb, addr, bytes, BYTE, 8192, bytes, BYTE, communicator, request),
        8 => rank.iallgather(cb, addr, bytes, BYTE, 8192, bytes, BYTE, communicator, request),
        9 => rank.comm_idup(cb, communicator, request + 2048, request),
        10 => rank.improbe(cb, ANY, ANY, communicator, 64, request + 2048, 0),
        11 => rank.imrecv(cb, addr, bytes, BYTE, request + 2048, request),
        12 => rank.test(cb, request, 64, 0),
        13 => rank.cancel(cb, request),
        14 => rank.request_free(cb, request),
        15 => rank.put(cb, addr, bytes, BYTE, 1, first, bytes, BYTE, 1),
        16 => rank.accumulate(cb, addr, second, INT, 1, first, second, INT, SUM, 1),
        17 => rank.win_post(cb, 2, 0, 1),
        18 => rank.win_test(cb, 1, 64),
        19 => rank.igather(cb, addr, bytes, BYTE, 8192, bytes, BYTE, tag % 2, communicator, request),
        20 => rank.iscan(cb, addr, 8192, second * 10, INT, SUM, communicator, request),
        _ => stop(world, rank),
    };
}

/// Stops the rank, saves it if all that was sent has been answered, and lets it go on.
fn stop(world: &World, rank: &mut Rank) -> Result<i32, Abort> {
    world.ask_to_stop();
    let stopped = rank.barrier(&mut Nothing, WORLD);
    if world.flush_links(Duration::ZERO).is_ok() {
        let _ = rank.save().and_then(|_| world.save());
    }
    world.resume()?;
    stopped
}
