//! How long messages and small collectives take between two ranks of this process.

#![expect(unsafe_code, reason = "lends memory to the engine as a Wasm host would")]
#![expect(clippy::print_stdout, reason = "that is what it is for")]

use mpi::{Abort, Callback, Config, Memory, Rank, World};
use std::{cell::UnsafeCell, sync::Arc, time::Instant};

const WORLD: i32 = 1;
const BYTE: i32 = 4;
const DOUBLE: i32 = 15;
const SUM: i32 = 3;

struct Linear(Box<[UnsafeCell<u8>]>);

// SAFETY: only raw pointers to it are ever followed.
unsafe impl Sync for Linear {}

// SAFETY: the box is neither moved nor shrunk while it lives.
unsafe impl Memory for Linear {
    fn base(&self) -> *mut u8 {
        self.0.as_ptr().cast_mut().cast()
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

/// A guest whose functions nobody calls.
struct Nothing;

impl Callback for Nothing {
    fn call(&mut self, _: &mut Rank, _: u32, _: &[i32], _: bool) -> Result<i32, Abort> {
        Ok(0)
    }

    fn alloc(&mut self, _: u32) -> Result<u32, Abort> {
        Ok(0)
    }

    fn free(&mut self, _: u32) -> Result<(), Abort> {
        Ok(())
    }
}

fn microseconds(rounds: u32, mut each: impl FnMut() -> Result<(), Abort>) -> Result<f64, Abort> {
    let mut best = f64::INFINITY;
    // The best of many short batches is what an idle machine would show. A busy one needs fewer and
    // shorter ones, to come to an end: the second argument is by how much.
    let less = std::env::args().nth(2).and_then(|text| text.parse().ok()).unwrap_or(1).max(1);
    let rounds = (rounds / less).max(1);
    for _ in 0..100 {
        let began = Instant::now();
        for _ in 0..rounds {
            each()?;
        }
        best = best.min(began.elapsed().as_secs_f64() * 1e6 / f64::from(rounds));
    }
    Ok(best)
}

fn program(rank: &mut Rank) -> Result<(), Abort> {
    let cb = &mut Nothing;
    let me = rank.number() as i32;
    let other = 1 - me;
    let mut lines = Vec::new();
    rank.init(cb, 0, 0)?;
    for (bytes, rounds) in
        [(8, 2000), (256, 2000), (1024, 2000), (4096, 1000), (65_536, 200), (1 << 20, 20)]
    {
        let time = microseconds(rounds, || {
            if me == 0 {
                rank.send(cb, 64, bytes, BYTE, other, 1, WORLD)?;
            }
            rank.recv(cb, 4 << 20, bytes, BYTE, other, 1, WORLD, 0)?;
            if me == 1 {
                rank.send(cb, 64, bytes, BYTE, other, 1, WORLD)?;
            }
            Ok(())
        })?;
        lines.push(format!("{bytes:>8} B one way  {:8.3} us", time / 2.0));
    }
    let time = microseconds(2000, || rank.barrier(cb, WORLD).map(|_| ()))?;
    lines.push(format!("barrier             {time:8.3} us"));
    for (count, rounds) in [(1, 2000), (4096, 200), (1 << 17, 20)] {
        let time = microseconds(rounds, || {
            rank.allreduce(cb, 64, 4 << 20, count, DOUBLE, SUM, WORLD).map(|_| ())
        })?;
        lines.push(format!("allreduce {:>8} B {time:8.3} us", 8 * count));
    }
    rank.finalize(cb)?;
    if me == 0 {
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        println!("load {load}{}", lines.join("\n"));
    }
    Ok(())
}

fn main() -> Result<(), Abort> {
    let world = {
        let mut config = Config::default();
        if let Some(bytes) = std::env::args().nth(1).and_then(|text| text.parse().ok()) {
            config.eager_bytes = bytes;
        }
        World::new(2, config)?
    };
    std::thread::scope(|scope| {
        let threads = [0, 1].map(|number| {
            let world = &world;
            scope.spawn(move || {
                let memory = Linear((0..8 << 20).map(|_| UnsafeCell::new(0)).collect());
                program(&mut world.rank(number, Arc::new(memory))?)
            })
        });
        threads.into_iter().try_for_each(|thread| thread.join().expect("no rank panics"))
    })
}
