//! Stopping ranks and letting them go on, and images that are not what they should be.

use crate::{
    disturbed::{self, Snapshot},
    guest::*,
    ok,
    patterns::{Part, cases, program},
};
use mpi::{Abort, BLOCKING, Config, Link, Memory, NotStopped, Placement, Rank, World};
use std::{
    sync::{Arc, Barrier},
    time::Duration,
};

const LONG: Duration = Duration::from_secs(20);

fn guest(world: &Arc<World>, number: u32) -> Guest {
    let mut guest = Guest::new(world, number, 1 << 16);
    assert_eq!(guest.rank.init(&mut guest.host, 0, 0), Ok(0));
    guest
}

#[test]
fn ranks_stop_where_they_wait_and_make_the_same_call_again() {
    let world = World::new(3, Config::default()).expect("a world");
    let (begun, stopped_again, resumed) = (Barrier::new(4), Barrier::new(2), Barrier::new(4));
    std::thread::scope(|scope| {
        let (begun, stopped_again, resumed) = (&begun, &stopped_again, &resumed);
        let [mut receiver, mut prober, mut sender] = [0, 1, 2].map(|rank| guest(&world, rank));
        scope.spawn(move || {
            let into = receiver.ints_in(&[0]);
            begun.wait();
            let recv =
                |guest: &mut Guest| guest.rank.recv(&mut guest.host, into, 1, INT, 1, 7, WORLD, 0);
            assert_eq!(recv(&mut receiver), Err(Abort::Stopped));
            // Made again too early, it stops again.
            assert_eq!(recv(&mut receiver), Err(Abort::Stopped));
            stopped_again.wait();
            resumed.wait();
            assert_eq!(recv(&mut receiver), Ok(0));
            assert_eq!(receiver.int(into), 55);
            ok!(receiver.finalize());
        });
        scope.spawn(move || {
            let (flag, own) = (prober.ints_in(&[0]), prober.ints_in(&[55]));
            begun.wait();
            let stopped = loop {
                let outcome = prober.rank.iprobe(&mut prober.host, 0, 1, WORLD, flag, 0);
                if outcome != Ok(0) {
                    break outcome;
                }
            };
            assert_eq!(stopped, Err(Abort::Stopped));
            resumed.wait();
            ok!(prober.iprobe(0, 1, WORLD, flag, 0));
            ok!(prober.send(own, 1, INT, 0, 7, WORLD));
            ok!(prober.finalize());
        });
        scope.spawn(move || {
            begun.wait();
            assert_eq!(sender.rank.finalize(&mut sender.host), Err(Abort::Stopped));
            resumed.wait();
            ok!(sender.finalize());
        });
        begun.wait();
        world.ask_to_stop();
        let stopped = world.wait_for_stop(LONG).expect("a world at rest");
        let expected = ["MPI_Recv", "MPI_Iprobe", "MPI_Finalize"].map(Some);
        assert_eq!(stopped.functions, expected);
        stopped_again.wait();
        world.resume().expect("all are there");
        resumed.wait();
    });
    assert!(expected_names().all(|name| BLOCKING.contains(&name)));
}

/// Whatever may wait for others can be stopped; whatever only begins something can not.
fn expected_names() -> impl Iterator<Item = &'static str> {
    ["MPI_Recv", "MPI_Wait", "MPI_Test", "MPI_Barrier", "MPI_Win_lock", "MPI_Comm_split"]
        .into_iter()
}

#[test]
fn whoever_does_not_stop_is_named() {
    let world = World::new(2, Config::default()).expect("a world");
    let mut first = guest(&world, 0);
    let second = guest(&world, 1);
    assert_eq!(world.wait_for_stop(LONG), Err(NotStopped::NotAsked));
    world.ask_to_stop();
    assert_eq!(first.rank.barrier(&mut first.host, WORLD), Err(Abort::Stopped));
    let late = world.wait_for_stop(Duration::from_millis(1)).expect_err("rank 1 goes on");
    assert!(matches!(&late, NotStopped::Late { ranks, .. } if *ranks == [1]), "{late}");
    assert!(late.to_string().contains("rank 1 computes"), "{late}");
    let refused = first.rank.save().expect_err("rank 1 may change what is saved");
    assert!(refused.to_string().contains("have all stopped"), "{refused}");
    assert!(world.save().is_err());
    world.end("enough");
    assert!(matches!(world.wait_for_stop(LONG), Err(NotStopped::Ended(_))));
    drop((first, second));
}

#[test]
fn another_call_than_the_one_that_was_stopped_is_refused() {
    let world = World::new(2, Config::default()).expect("a world");
    let [mut sender, mut receiver] = [0, 1].map(|rank| guest(&world, rank));
    std::thread::scope(|scope| {
        let world = &world;
        scope.spawn(move || {
            let own = sender.ints_in(&[1]);
            let outcome = sender.rank.ssend(&mut sender.host, own, 1, INT, 1, 7, WORLD);
            assert_eq!(outcome, Err(Abort::Stopped));
            while world.resume().is_err() {}
            let refused = sender.rank.barrier(&mut sender.host, WORLD).expect_err("another call");
            assert!(matches!(refused, Abort::OutOfTurn { function: "MPI_Barrier", .. }));
        });
        // Once its message is seen, the sender waits.
        let flag = receiver.ints_in(&[0]);
        while receiver.int(flag) == 0 {
            ok!(receiver.iprobe(0, 7, WORLD, flag, 0));
        }
        world.ask_to_stop();
    });
}

#[test]
fn a_rank_that_was_dropped_ends_those_that_go_on() {
    let world = World::new(2, Config::default()).expect("a world");
    let [mut first, mut second] = [0, 1].map(|rank| guest(&world, rank));
    world.ask_to_stop();
    assert_eq!(first.rank.barrier(&mut first.host, WORLD), Err(Abort::Stopped));
    assert_eq!(second.rank.barrier(&mut second.host, WORLD), Err(Abort::Stopped));
    assert!(first.rank.save().is_ok());
    drop(first);
    // The others can still be saved.
    assert!(second.rank.save().is_ok());
    assert_eq!(world.resume(), Err(Abort::Left { rank: 0 }));
    let outcome = second.rank.barrier(&mut second.host, WORLD);
    assert_eq!(outcome, Err(Abort::Left { rank: 0 }));
}

/// Two ranks that have stopped in a barrier, as bytes.
fn two_at_a_barrier() -> (Vec<u8>, [Vec<u8>; 2]) {
    let world = World::new(2, Config::default()).expect("a world");
    let mut guests = [0, 1].map(|rank| guest(&world, rank));
    world.ask_to_stop();
    for guest in &mut guests {
        assert_eq!(guest.rank.barrier(&mut guest.host, WORLD), Err(Abort::Stopped));
    }
    let images = guests.each_mut().map(|guest| guest.rank.save().expect("an image"));
    (world.save().expect("an image"), images)
}

fn memory() -> Arc<dyn Memory> {
    Arc::new(Linear::of(vec![0; 1 << 20]))
}

#[test]
fn images_are_restored_where_they_belong_or_not_at_all() {
    let (world_image, [first, second]) = two_at_a_barrier();
    let (other_world, _) = two_at_a_barrier();
    let restored = |size, image: &[u8]| World::restored(size, Config::default(), image);
    let refusal = |outcome: Result<Rank, Abort>| outcome.expect_err("a refusal").to_string();

    let size = restored(3, &world_image).expect_err("two are not three").to_string();
    assert!(size.contains("another number of ranks"), "{size}");
    assert!(restored(2, &first).expect_err("a rank is no world").to_string().contains("no such"));

    let world = restored(2, &world_image).expect("a world");
    let _first = world.restore_rank(0, memory(), &first).expect("rank 0");
    let missing = world.resume().expect_err("rank 1 is not there").to_string();
    assert!(missing.contains("rank 1 is not restored"), "{missing}");
    let twice = refusal(world.restore_rank(0, memory(), &first));
    assert!(twice.contains("seated already"), "{twice}");
    let wrong = refusal(world.restore_rank(1, memory(), &first));
    assert!(wrong.contains("the image of another rank"), "{wrong}");
    // What is not whole does not go on.
    assert!(world.ended().is_some());

    let world = restored(2, &other_world).expect("a world");
    let moment = refusal(world.restore_rank(1, memory(), &second));
    assert!(moment.contains("another moment"), "{moment}");

    let mut newer = first.clone();
    newer[8] = 9;
    let world = restored(2, &world_image).expect("a world");
    let version = refusal(world.restore_rank(0, memory(), &newer));
    assert!(version.contains("version"), "{version}");
}

/// Images of a program that has something of everything under way.
fn rich_images(spread: bool) -> Vec<Snapshot> {
    images_of(spread, 1)
}

/// The same, with so many times less in its messages.
pub(crate) fn images_of(spread: bool, less: usize) -> Vec<Snapshot> {
    let parts = [
        Part::Open { which: 0, bytes: 9000 / less },
        Part::Open { which: 1, bytes: 240 },
        Part::Open { which: 2, bytes: 9000 / less },
        Part::Open { which: 3, bytes: 2056 / less },
        Part::ToOne { bytes: 9000 / less, probe: 3 },
        Part::Window { which: 3 },
        Part::UserOp { which: 1, count: 31, later: true },
        Part::Columns { side: 9 },
        Part::Ring { mode: 4, bytes: 9000 / less, wait: 0 },
        Part::Ring { mode: 2, bytes: 9000 / less, wait: 0 },
        Part::Collective { which: 7, count: 31, later: true },
        Part::Collective { which: 2, count: 700 / less, later: true },
        Part::Persistent { bytes: 40, times: 2 },
        Part::Communicators { colours: 2 },
        Part::Window { which: 1 },
    ];
    let config = Config { processors: 1, ..Config::default() };
    let body = |guest: &mut Guest| {
        program(guest, &parts);
    };
    let mut snapshots = Vec::new();
    for seed in 1.. {
        let seed = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed);
        let report = match spread {
            true => disturbed::run_moved(3, 8 << 20, &config, seed, &body),
            false => disturbed::run(3, 8 << 20, config.clone(), seed, &body),
        };
        snapshots.extend(report.snapshots);
        if snapshots.len() >= 12 {
            break;
        }
    }
    snapshots
}

/// Small random numbers.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides.max(1) as u64) as usize
    }
}

fn damage(image: &mut Vec<u8>, dice: &mut Dice) {
    if image.is_empty() {
        return;
    }
    let at = dice.roll(image.len());
    match dice.roll(6) {
        0 => image.truncate(at),
        1 => image[at] ^= 1 << dice.roll(8),
        2 => image[at] = 0xff,
        3 => image[at..].iter_mut().take(4).for_each(|byte| *byte = 0xff),
        4 => {
            let row: Vec<u8> = image[at..].iter().take(dice.roll(64)).copied().collect();
            let at = dice.roll(image.len());
            image.splice(at..at, row);
        }
        _ => {
            let [from, to] = [dice.roll(image.len()), dice.roll(image.len())];
            image[to] = image[from];
        }
    }
}

/// Calls a function by its name, with small numbers and addresses.
fn call_by_name(rank: &mut Rank, host: &mut Host, name: &str) {
    macro_rules! each {
        ($($function:literal $method:ident($($argument:ident: $type:ty),*);)*) => {
            match name {
                $($function => {
                    $(let $argument: $type = if stringify!($type) == "u32" { 4096 } else { 1 };)*
                    let _ = rank.$method(host $(, $argument)*);
                })*
                _ => {}
            }
        };
    }
    mpi::functions!(each);
}

/// What connects a site to no other.
#[derive(Debug)]
struct NoLink;

impl Link for NoLink {
    fn send(&self, site: u32, _: Vec<u8>) -> Result<(), Abort> {
        Err(Abort::Lost { site, reason: "there is no other site".into() })
    }
}

/// Restores a world from images that may say anything, and lets its ranks go on for a moment.
fn try_out(snapshot: &Snapshot) -> Result<(), Abort> {
    let config = Config { deadlocks: false, ..Config::default() };
    let images: Vec<&[u8]> = snapshot.parts.iter().map(|part| &**part).collect();
    let placement = Placement { here: 0, sites: vec![0; snapshot.size as usize] };
    let world =
        World::restored_spread(snapshot.size, config, placement, Arc::new(NoLink), &images)?;
    let mut guests = Vec::new();
    for (number, image) in &snapshot.ranks {
        let memory = Arc::new(Linear::of(vec![0; 8 << 20]));
        let rank = world.restore_rank(*number, Arc::clone(&memory) as _, image)?;
        guests.push(Guest::over(rank, memory));
    }
    world.resume()?;
    std::thread::scope(|scope| {
        for mut guest in guests {
            let function = snapshot.functions[guest.me() as usize].unwrap_or_default();
            scope.spawn(move || {
                let Guest { rank, host, .. } = &mut guest;
                for name in [function, "MPI_Wait", "MPI_Win_fence", "MPI_Recv", "MPI_Finalize"] {
                    call_by_name(rank, host, name);
                }
            });
        }
        std::thread::sleep(Duration::from_millis(2));
        world.end("the trial is over");
    });
    Ok(())
}

#[test]
fn damaged_images_are_refused_or_do_no_harm() {
    let mut snapshots = rich_images(false);
    snapshots.extend(rich_images(true));
    for snapshot in &snapshots {
        assert_eq!(try_out(snapshot), Ok(()), "what is whole is taken");
    }
    let mut dice = Dice(0x5eed);
    let mut refused = 0;
    for trial in 0..10 * cases() as usize {
        let mut snapshot = snapshots[trial % snapshots.len()].clone();
        for _ in 0..1 + dice.roll(3) {
            let which = dice.roll(snapshot.ranks.len() * 4 + 4);
            match snapshot.ranks.get_mut(which / 4) {
                Some((_, image)) => damage(image, &mut dice),
                None => {
                    let part = dice.roll(snapshot.parts.len());
                    damage(&mut snapshot.parts[part], &mut dice);
                }
            }
        }
        if let Err(abort) = try_out(&snapshot) {
            assert!(matches!(abort, Abort::Refused { .. }), "{abort}");
            refused += 1;
        }
    }
    assert!(refused > 50, "{refused} were refused");
}

#[test]
fn images_that_are_cut_are_refused() {
    let (world_image, [first, _]) = two_at_a_barrier();
    for end in 0..world_image.len() {
        assert!(World::restored(2, Config::default(), &world_image[..end]).is_err(), "{end}");
    }
    for end in 0..first.len() {
        let world = World::restored(2, Config::default(), &world_image).expect("a world");
        let cut = world.restore_rank(0, Arc::new(Linear::of(Vec::new())), &first[..end]);
        assert!(matches!(cut, Err(Abort::Refused { .. })), "{end}");
    }
}
