//! What regions, barriers and tasks cost without a sandbox around the program.
//!
//! `regions.c` does the same on libomp. Both print medians of many rounds, in which all kinds take
//! turns: run them in turn as well, since other programs disturb whoever runs at the time.
//!
//! ```text
//! cargo run -p openmp --example regions --config 'profile.dev.opt-level=3' -- [THREADS [ROUNDS]]
//! clang -O3 -fopenmp regions.c -o regions && ./regions [THREADS [ROUNDS]]
//! ```

#![expect(clippy::print_stdout, reason = "it is what a benchmark is for")]

use openmp::{
    Config, Error, Guest, LinearMemory, Memory, Result, Runtime, Thread, Threads, Whole, Worker,
};
use std::{
    cell::UnsafeCell,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Instant,
};

/// Bytes of the program's memory; tasks alone use it.
const BYTES: usize = 256 << 20;
/// Where the allocator begins.
const HEAP: u32 = 64 << 10;
/// Where the tree's sum goes.
const SUM_AT: u32 = 1024;
/// Depth of the tree of tasks that each wait for two others.
const TREE_DEPTH: u32 = 12;
/// Tasks of the flat kind that one thread makes.
const TASKS: u32 = 2000;
/// Regions, and barriers, of one round.
const TIMES: u32 = 1000;

struct Bytes(Box<[AtomicU64]>);

impl LinearMemory for Bytes {
    #[expect(unsafe_code, reason = "a view of the same bytes")]
    fn bytes(&self) -> &[UnsafeCell<u8>] {
        // SAFETY: the words live as long as `self` and allow changes through shared references.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len() * 8) }
    }
}

/// A thread of the program: its functions are those of the host.
struct Native {
    memory: Memory,
    heap: Arc<AtomicU32>,
    /// Blocks that were given back; all tasks have one size.
    freed: Vec<(u32, u32)>,
    thread: Rc<Thread>,
}

type Body = fn(&mut Native, &[u32]) -> Result<u32>;

const FUNCTIONS: [Body; 5] = [nothing, barriers, flat, tree, leaf];
const NOTHING: u32 = 0;
const BARRIERS: u32 = 1;
const FLAT: u32 = 2;
const TREE: u32 = 3;
const LEAF: u32 = 4;
/// Arguments of a task; a region that begins the tree has one more.
const IS_TASK: usize = 2;

impl Guest for Native {
    fn call(&mut self, function: u32, args: &[u32], _: bool) -> Result<u32> {
        let body = FUNCTIONS.get(function as usize);
        let body = body.ok_or(Error::Guest { thread: 0, source: "no such function".into() })?;
        body(self, args)
    }

    fn malloc(&mut self, bytes: u32) -> Result<u32> {
        if let Some(at) = self.freed.iter().rposition(|(size, _)| *size == bytes) {
            return Ok(self.freed.swap_remove(at).1);
        }
        let place = self.heap.fetch_add(bytes.next_multiple_of(16) + 16, Ordering::Relaxed) + 16;
        self.memory.put_u32(place - 16, bytes)?;
        Ok(place)
    }

    fn free(&mut self, address: u32) -> Result<()> {
        self.freed.push((self.memory.u32(address - 16)?, address));
        Ok(())
    }
}

struct Host {
    memory: Memory,
    heap: Arc<AtomicU32>,
}

impl Host {
    fn native(&self, thread: Rc<Thread>) -> Native {
        let (memory, heap) = (self.memory.clone(), self.heap.clone());
        Native { memory, heap, freed: Vec::new(), thread }
    }
}

impl Threads for Host {
    fn start(&self, _: &mut dyn Guest, worker: Worker) -> Result<()> {
        let host = Self { memory: self.memory.clone(), heap: self.heap.clone() };
        std::thread::spawn(move || {
            let thread = worker.thread();
            worker.serve(&thread.clone(), &mut host.native(thread));
        });
        Ok(())
    }
}

fn nothing(_: &mut Native, _: &[u32]) -> Result<u32> {
    Ok(0)
}

fn barriers(guest: &mut Native, _: &[u32]) -> Result<u32> {
    let thread = guest.thread.clone();
    for _ in 0..TIMES {
        thread.barrier(guest)?;
    }
    Ok(0)
}

fn leaf(_: &mut Native, _: &[u32]) -> Result<u32> {
    Ok(0)
}

/// One thread makes tasks, the others help.
fn flat(guest: &mut Native, _: &[u32]) -> Result<u32> {
    let thread = guest.thread.clone();
    if thread.single() {
        for _ in 0..TASKS {
            let task = thread.task_alloc(guest, 1, 40, 0, LEAF)?;
            thread.task(guest, task)?;
        }
    }
    thread.barrier(guest)?;
    Ok(0)
}

/// Each task waits for two of its own: the words after its header are its depth and where its
/// leaves are to be counted.
fn tree(guest: &mut Native, args: &[u32]) -> Result<u32> {
    let thread = guest.thread.clone();
    if args.len() > IS_TASK {
        if thread.single() {
            grow(guest, TREE_DEPTH, SUM_AT)?;
        }
        thread.barrier(guest)?;
        return Ok(0);
    }
    let (depth, out) = (guest.memory.u32(args[1] + 20)?, guest.memory.u32(args[1] + 24)?);
    grow(guest, depth, out).map(|()| 0)
}

fn grow(guest: &mut Native, depth: u32, out: u32) -> Result<()> {
    if depth == 0 {
        return guest.memory.put_u32(out, 1);
    }
    let thread = guest.thread.clone();
    // Stands for the task's stack, where its children write.
    let sums = guest.malloc(48)?;
    for side in [0, 4] {
        let task = thread.task_alloc(guest, 1, 40, 0, TREE)?;
        guest.memory.put_u32(task + 20, depth - 1)?;
        guest.memory.put_u32(task + 24, sums + side)?;
        thread.task(guest, task)?;
    }
    thread.taskwait(guest)?;
    let sum = guest.memory.u32(sums)? + guest.memory.u32(sums + 4)?;
    guest.free(sums)?;
    guest.memory.put_u32(out, sum)
}

/// Nanoseconds of one of `count` things that `work` does.
fn timed(count: u32, work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let begin = Instant::now();
    work()?;
    Ok(begin.elapsed().as_secs_f64() * 1e9 / f64::from(count))
}

fn round(guest: &mut Native) -> Result<[f64; 4]> {
    let thread = guest.thread.clone();
    let fork = timed(TIMES, || {
        for _ in 0..TIMES {
            thread.fork_call(guest, 0, NOTHING, 0)?;
        }
        Ok(())
    })?;
    let barrier = timed(TIMES, || thread.fork_call(guest, 0, BARRIERS, 0))?;
    let flat = timed(TASKS, || thread.fork_call(guest, 0, FLAT, 0))?;
    let tree = timed((2 << TREE_DEPTH) - 2, || thread.fork_call(guest, 1, TREE, SUM_AT))?;
    if guest.memory.u32(SUM_AT)? != 1 << TREE_DEPTH {
        return Err(Error::Misuse("the tree has lost leaves"));
    }
    Ok([fork, barrier, flat, tree])
}

/// The median, and what a tenth of the rounds was faster than: nobody disturbed those.
fn quantiles(mut times: Vec<f64>) -> (f64, f64) {
    times.sort_by(f64::total_cmp);
    (times[times.len() / 2], times[times.len() / 10])
}

fn main() -> Result<()> {
    let mut numbers = std::env::args().skip(1).map(|argument| argument.parse().unwrap_or(2));
    let threads = numbers.next().unwrap_or(2);
    let rounds = numbers.next().unwrap_or(100);
    let words = (0..BYTES / 8).map(|_| AtomicU64::new(0)).collect();
    let memory = Memory::new(Arc::new(Bytes(words)));
    let heap = Arc::new(AtomicU32::new(HEAP));
    let processors = std::thread::available_parallelism().map_or(1, |found| found.get() as u32);
    let threads_of = Arc::new(Host { memory: memory.clone(), heap: heap.clone() });
    let host = Host { memory: memory.clone(), heap };
    let config = Config::new(threads, processors);
    let runtime = Runtime::new(config, memory, threads_of, Arc::new(Whole));
    let mut guest = host.native(runtime.initial_thread());
    let mut times: [Vec<f64>; 4] = Default::default();
    for number in 0..=rounds {
        let round = round(&mut guest)?;
        // The first one makes the threads.
        if number > 0 {
            times.iter_mut().zip(round).for_each(|(times, time)| times.push(time));
        }
    }
    runtime.stop();
    for (kind, times) in ["fork", "barrier", "task", "tree"].into_iter().zip(times) {
        let (median, tenth) = quantiles(times);
        println!("{kind:8}{median:9.1} ns, a tenth below {tenth:9.1} ns");
    }
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("{threads} threads on {processors} processors, load {}", load.trim());
    Ok(())
}
