//! Images of an MPI world and its ranks: restored, saved again, and let go on for a moment.
//!
//! The bytes are: how many ranks (2 bits), how many parts (2 bits), and what is tried (4 bits); the
//! site of each rank, two bits each; then the images, each after its length in 32 bits.
#![no_main]

mod mpi;

use self::mpi::{ANY, Nothing, WORLD, cut, memory, within};
use ::mpi::{Abort, Config, Link, Placement, Rank, World};
use libfuzzer_sys::fuzz_target;
use std::{sync::Arc, time::Duration};

/// What connects a site to others that never answer.
#[derive(Debug)]
struct Silence;

impl Link for Silence {
    fn send(&self, _: u32, _: Vec<u8>) -> Result<(), Abort> {
        Ok(())
    }
}

// Few bytes may stand for a datatype of millions of blocks.
fuzz_target!(|bytes: &[u8]| within(bytes.len(), 600 << 20, 1 << 10, || {
    let _ = trial(bytes);
}));

fn trial(bytes: &[u8]) -> Result<(), Abort> {
    let [how, places, images @ ..] = bytes else { return Ok(()) };
    let (size, count) = (1 + u32::from(how % 4), 1 + usize::from(how / 4 % 4));
    let sites: Vec<u32> = (0..size).map(|rank| u32::from(places >> (2 * rank) & 3)).collect();
    let mut rest = images;
    let images: Vec<&[u8]> = std::iter::from_fn(|| cut::<4>(&mut rest)).take(8).collect();
    let (parts, ranks) = images.split_at(count.min(images.len()));
    let placement = Placement { here: 0, sites: sites.clone() };
    let config = Config { deadlocks: false, ..Config::default() };
    let world = World::restored_spread(size, config, placement, Arc::new(Silence), parts)?;
    let here = (0..size).filter(|rank| sites[*rank as usize] == 0);
    let mut restored = Vec::new();
    for (rank, image) in here.zip(ranks) {
        restored.push(world.restore_rank(rank, memory(), image)?);
    }
    let functions = world.wait_for_stop(Duration::ZERO).map(|stopped| stopped.functions);
    for rank in &mut restored {
        let _ = rank.save();
    }
    let _ = world.save();
    world.resume()?;
    if how & 16 == 0 {
        for rank in &mut restored {
            let _ = rank.iprobe(&mut Nothing, ANY, ANY, WORLD, 64, 0);
        }
        world.end("the trial is over");
        return Ok(());
    }
    let functions = functions.unwrap_or_default();
    go_on(&world, restored, &functions);
    Ok(())
}

/// Has each rank make the call again that it was stopped in.
fn go_on(world: &World, ranks: Vec<Rank>, functions: &[Option<&str>]) {
    std::thread::scope(|scope| {
        for mut rank in ranks {
            let function = functions.get(rank.number() as usize).copied().flatten();
            scope.spawn(move || {
                for name in [function.unwrap_or_default(), "MPI_Testall", "MPI_Win_fence"] {
                    call_by_name(&mut rank, name);
                }
            });
        }
        std::thread::sleep(Duration::from_micros(500));
        world.end("the trial is over");
    });
}

/// Calls a function by its name, with small numbers and addresses.
fn call_by_name(rank: &mut Rank, name: &str) {
    macro_rules! each {
        ($($function:literal $method:ident($($argument:ident: $type:ty),*);)*) => {
            match name {
                $($function => {
                    $(let $argument: $type = if stringify!($type) == "u32" { 4096 } else { 1 };)*
                    let _ = rank.$method(&mut Nothing $(, $argument)*);
                })*
                _ => {}
            }
        };
    }
    ::mpi::functions!(each);
}
