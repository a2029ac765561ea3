//! Frames that are not what they should be: out of place, changed, or no frames at all.

use crate::{call, guest::*, ok};
use mpi::{Abort, Config, Link, Placement, World};
use proptest::prelude::*;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// Keeps what is sent.
#[derive(Debug, Default)]
pub(super) struct Recorder(Mutex<Vec<Vec<u8>>>);

impl Link for Recorder {
    fn send(&self, _: u32, frame: Vec<u8>) -> Result<(), Abort> {
        self.0.lock().expect("frames").push(frame);
        Ok(())
    }
}

/// Gives frames to the other part, and keeps them.
#[derive(Debug, Default)]
struct Direct {
    here: u32,
    peer: Mutex<Option<std::sync::Weak<World>>>,
    frames: Mutex<Vec<Vec<u8>>>,
    /// False ones come before this one and a few more, and so many of these were refused.
    garbles: Option<usize>,
    refused: AtomicUsize,
    panicked: AtomicBool,
}

impl Direct {
    fn deliver(&self, peer: &World, frame: &[u8]) {
        // Frames are sent by threads of the world's own as well, which no test waits for.
        let delivery = AssertUnwindSafe(|| peer.deliver(self.here, frame));
        match catch_unwind(delivery) {
            Ok(outcome) => {
                self.refused.fetch_add(usize::from(outcome.is_err()), Ordering::Relaxed);
            }
            Err(_) => self.panicked.store(true, Ordering::Relaxed),
        }
    }

    /// The frame with a byte changed, for each of some bytes, and cut short.
    fn garble(&self, peer: &World, number: usize, frame: &[u8]) {
        for place in 0..frame.len().min(64) {
            let mut other = frame.to_vec();
            other[place] ^= 1 << ((number + place) % 8);
            // An end of the world is a frame as well.
            if other[0] != 14 {
                self.deliver(peer, &other);
            }
            self.deliver(peer, &frame[..place]);
        }
    }
}

impl Link for Direct {
    fn send(&self, _: u32, frame: Vec<u8>) -> Result<(), Abort> {
        let peer = self.peer.lock().expect("a peer").clone();
        if let Some(peer) = peer.and_then(|peer| peer.upgrade()) {
            let number = self.frames.lock().expect("frames").len();
            if self.garbles.is_some_and(|first| (first..first + 3).contains(&number)) {
                self.garble(&peer, number, &frame);
            }
            let delivered = peer.deliver(self.here, &frame);
            assert!(self.garbles.is_some() || delivered.is_ok(), "{delivered:?}");
        }
        self.frames.lock().expect("frames").push(frame);
        Ok(())
    }
}

/// Runs a program with a little of everything; gives its links, and whether both ranks got
/// through. One that does not is ended.
fn run_direct(garbles: Option<usize>) -> ([Arc<Direct>; 2], bool) {
    let links = [0, 1].map(|here| Arc::new(Direct { here, garbles, ..Direct::default() }));
    let worlds = [0, 1].map(|here| {
        let placement = Placement { here, sites: vec![0, 1] };
        let link = Arc::clone(&links[here as usize]) as Arc<dyn Link>;
        World::spread(2, Config::default(), placement, link).expect("a part")
    });
    for here in [0, 1] {
        *links[here].peer.lock().expect("a peer") = Some(Arc::downgrade(&worlds[1 - here]));
    }
    let through = AtomicUsize::new(0);
    let over = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for (number, world) in worlds.iter().enumerate() {
            let (through, over) = (&through, &over);
            scope.spawn(move || {
                let mut guest = Guest::new(world, number as u32, 1 << 20);
                if little_of_everything(&mut guest).is_some() {
                    through.fetch_add(1, Ordering::SeqCst);
                }
                over.fetch_add(1, Ordering::SeqCst);
                drop(guest);
            });
        }
        // What was garbled may be what a rank waits for.
        let deadline =
            Instant::now() + Duration::from_millis(if garbles.is_some() { 200 } else { 60_000 });
        while over.load(Ordering::SeqCst) < 2 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        worlds.iter().for_each(|world| world.end("the test is over"));
    });
    (links, through.into_inner() == 2)
}

/// Goes on only where a call succeeds.
macro_rules! go {
    ($guest:ident.$method:ident($($argument:expr),* $(,)?)) => {
        let outcome = call!($guest.$method($($argument),*));
        if outcome != Ok(0) {
            return None;
        }
    };
}

fn little_of_everything(guest: &mut Guest) -> Option<()> {
    go!(guest.init(0, 0));
    go!(guest.comm_set_errhandler(WORLD, ERRORS_RETURN));
    let (me, other) = (guest.me(), 1 - guest.me());
    let (row, into, words) = (guest.room(10_000), guest.room(20_000), guest.room(64));
    for bytes in [8, 500, 10_000] {
        go!(guest.sendrecv(row, bytes, BYTE, other, 1, into, bytes, BYTE, other, 1, WORLD, 0));
    }
    go!(guest.issend(row, 4, BYTE, other, 9, WORLD, words));
    go!(guest.cancel(words));
    go!(guest.wait(words, 0));
    go!(guest.allgather(row, 5000, BYTE, into, 5000, BYTE, WORLD));
    go!(guest.alltoall(row, 1000, BYTE, into, 1000, BYTE, WORLD));
    go!(guest.allreduce(row, into, 2000, INT, SUM, WORLD));
    go!(guest.comm_split(WORLD, 0, me, words));
    go!(guest.win_create(row, 4000, 1, 0, WORLD, words));
    let win = guest.int(words);
    let one = guest.ints_in(&[1]);
    go!(guest.win_fence(0, win));
    go!(guest.put(one, 1, INT, other, 0, 1, INT, win));
    go!(guest.win_fence(0, win));
    go!(guest.win_lock(1, other, 0, win));
    go!(guest.get(into, 10, INT, other, 0, 10, INT, win));
    go!(guest.fetch_and_op(one, into, INT, other, 0, SUM, win));
    go!(guest.compare_and_swap(one, one, into, INT, other, 0, win));
    go!(guest.win_unlock(other, win));
    go!(guest.win_get_group(win, words));
    let group = guest.int(words);
    go!(guest.win_post(group, 0, win));
    go!(guest.win_start(group, 0, win));
    go!(guest.win_complete(win));
    go!(guest.win_wait(win));
    go!(guest.finalize());
    Some(())
}

/// A part whose only rank is seated, and waits for nothing.
fn part_alone() -> (Arc<World>, Guest) {
    let placement = Placement { here: 0, sites: vec![0, 1] };
    let link = Arc::new(Recorder::default()) as Arc<dyn Link>;
    let world = World::spread(2, Config::default(), placement, link).expect("a part");
    let mut guest = Guest::new(&world, 0, 1 << 16);
    ok!(guest.init(0, 0));
    (world, guest)
}

/// Lets a rank take in what came.
fn look(guest: &mut Guest) {
    let _ = call!(guest.comm_set_errhandler(WORLD, ERRORS_RETURN));
    let _ = call!(guest.iprobe(ANY, ANY, WORLD, 64, 0));
    let _ = call!(guest.recv(128, 4, INT, PROC_NULL, 0, WORLD, 0));
}

#[test]
fn communicators_that_are_no_windows_are_not_reached_into() {
    let (world, _guest) = part_alone();
    // Puts four bytes, and asks for a lock, of rank 0 in MPI_COMM_WORLD.
    let put = [&[16][..], &[0; 8], &row(1), &row(64), &row(4), &row(4), &[7; 4]].concat();
    let lock = [&[20][..], &[0; 8], &row(2), &row(1)].concat();
    for frame in [put, lock] {
        let refused = world.deliver(1, &frame).expect_err("no window").to_string();
        assert_eq!(refused, "a frame from site 1 reaches for a window that is not here");
    }
}

fn row(number: u32) -> [u8; 4] {
    number.to_le_bytes()
}

#[test]
fn frames_out_of_place_are_refused_or_do_no_harm() {
    let (links, through) = run_direct(None);
    assert!(through);
    let frames: Vec<_> =
        links.iter().flat_map(|link| link.frames.lock().expect("frames").clone()).collect();
    let mut kinds: Vec<u8> = frames.iter().map(|frame| frame[0]).collect();
    kinds.sort_unstable();
    kinds.dedup();
    assert!(kinds.len() >= 18, "{kinds:?}");
    // To a part that expects none of them.
    let (world, mut guest) = part_alone();
    for frame in &frames {
        let _ = world.deliver(1, frame);
        look(&mut guest);
    }
}

/// What site 1 sends in a program with a little of everything.
pub(crate) fn frames_of_the_other_site() -> Vec<Vec<u8>> {
    let (links, _) = run_direct(None);
    links[1].frames.lock().expect("frames").clone()
}

#[test]
fn false_frames_among_true_ones_never_panic() {
    let refused: usize = (0..48)
        .step_by(3)
        .map(|first| {
            let (links, _) = run_direct(Some(first));
            assert!(links.iter().all(|link| !link.panicked.load(Ordering::Relaxed)));
            links.iter().map(|link| link.refused.load(Ordering::Relaxed)).sum::<usize>()
        })
        .sum();
    assert!(refused > 1000, "{refused}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn bytes_that_are_no_frames_never_panic(
        rows in prop::collection::vec(
            (1..=24_u8, prop::collection::vec(prop_oneof![Just(0), Just(1), any::<u8>()], 0..96)),
            1..64,
        )
    ) {
        let (world, mut guest) = part_alone();
        for (kind, row) in rows {
            let _ = world.deliver(1, &[&[kind], &row[..]].concat());
            look(&mut guest);
        }
    }
}
