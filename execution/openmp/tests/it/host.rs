//! A program made of closures, with as many threads of the host as its regions ask for.

use openmp::{
    Advice, Config, Error, Guest, LinearMemory, Memory, Result, Runtime, Thread, Threads, Whole,
    Worker,
};
use std::{
    cell::UnsafeCell,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

type Body = Arc<dyn Fn(&mut Native, &[u32]) -> Result<u32> + Send + Sync>;

/// Bytes of a program's memory.
pub(crate) const BYTES: usize = 8 << 20;
/// Where its allocator begins; what is below belongs to the tests.
pub(crate) const HEAP: u32 = 64 << 10;

struct Bytes(Box<[AtomicU64]>);

impl LinearMemory for Bytes {
    #[expect(unsafe_code, reason = "a view of the same bytes")]
    fn bytes(&self) -> &[UnsafeCell<u8>] {
        // SAFETY: the words live as long as `self` and allow changes through shared references.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len() * 8) }
    }
}

/// What all threads share.
#[derive(Clone)]
pub(crate) struct Program {
    functions: Arc<Vec<Body>>,
    pub(crate) memory: Memory,
    heap: Arc<AtomicU32>,
}

/// One thread of it.
pub(crate) struct Native {
    pub(crate) program: Program,
    pub(crate) thread: Rc<Thread>,
}

impl Guest for Native {
    fn call(&mut self, function: u32, args: &[u32], _: bool) -> Result<u32> {
        let body = self.program.functions.get(function as usize).cloned();
        let trap = |source: &str| Error::Guest { thread: 0, source: source.into() };
        let body = body.ok_or_else(|| trap("no such function"))?;
        // As a guest's trap does, it ends the program: the others would wait for this thread.
        catch_unwind(AssertUnwindSafe(|| body(self, args)))
            .unwrap_or_else(|_| Err(trap("a function panicked")))
    }

    fn malloc(&mut self, bytes: u32) -> Result<u32> {
        Ok(self.program.heap.fetch_add(bytes.next_multiple_of(16), Ordering::Relaxed))
    }

    fn free(&mut self, _: u32) -> Result<()> {
        Ok(())
    }
}

struct Host(Program);

impl Threads for Host {
    fn start(&self, _: &mut dyn Guest, worker: Worker) -> Result<()> {
        let program = self.0.clone();
        std::thread::spawn(move || {
            let thread = worker.thread();
            let mut guest = Native { program, thread: thread.clone() };
            worker.serve(&thread, &mut guest);
        });
        Ok(())
    }
}

/// The functions of a program, by the index that names them.
#[derive(Default)]
pub(crate) struct Functions(Vec<Body>);

impl Functions {
    pub(crate) fn add(
        &mut self,
        body: impl Fn(&mut Native, &[u32]) -> Result<u32> + Send + Sync + 'static,
    ) -> u32 {
        self.0.push(Arc::new(body));
        self.0.len() as u32 - 1
    }
}

impl Native {
    /// Bytes that were ever allocated: what is given back is lost.
    pub(crate) fn heap_bytes(&self) -> u32 {
        self.program.heap.load(Ordering::Relaxed) - HEAP
    }

    pub(crate) fn word(&self, at: u32) -> u32 {
        self.program.memory.u32(at).unwrap()
    }

    pub(crate) fn put(&self, at: u32, value: u32) {
        self.program.memory.put_u32(at, value).unwrap();
    }

    pub(crate) fn put_words(&self, at: u32, values: &[u32]) {
        for (value, index) in values.iter().zip(0..) {
            self.put(at + index * 4, *value);
        }
    }

    pub(crate) fn barrier(&mut self) -> Result<()> {
        let thread = self.thread.clone();
        thread.barrier(self)
    }

    /// Runs a region without arguments.
    pub(crate) fn fork(&mut self, microtask: u32) -> Result<()> {
        let thread = self.thread.clone();
        thread.fork_call(self, 0, microtask, 0)
    }

    /// Makes a task that runs `entry` with this word after its header.
    pub(crate) fn make(&mut self, flags: u32, entry: u32, word: u32) -> Result<u32> {
        let thread = self.thread.clone();
        let task = thread.task_alloc(self, flags, 40, 0, entry)?;
        self.put(task + 20, word);
        Ok(task)
    }

    pub(crate) fn task(&mut self, entry: u32, word: u32) -> Result<()> {
        let task = self.make(1, entry, word)?;
        let thread = self.thread.clone();
        thread.task(self, task)
    }
}

pub(crate) fn config(threads: u32) -> Config {
    Config { cancellation: true, ..Config::new(threads, 2) }
}

/// A program with these functions that has not begun.
pub(crate) fn program(functions: Functions) -> Program {
    let words = (0..BYTES / 8).map(|_| AtomicU64::new(0)).collect();
    let memory = Memory::new(Arc::new(Bytes(words)));
    let heap = Arc::new(AtomicU32::new(HEAP));
    Program { functions: Arc::new(functions.0), memory, heap }
}

/// Where the program gets its threads.
pub(crate) fn threads(program: &Program) -> Arc<dyn Threads> {
    Arc::new(Host(program.clone()))
}

/// Runs `main` on the program's first thread, to the end of all.
pub(crate) fn drive(
    program: Program,
    runtime: &Runtime,
    main: impl FnOnce(&mut Native) -> Result<()>,
) -> Result<()> {
    let mut guest = Native { program, thread: runtime.initial_thread() };
    let ended = main(&mut guest);
    runtime.stop();
    match ended {
        Err(Error::Stopped) => Err(runtime.take_failure().unwrap_or(Error::Stopped)),
        ended => ended,
    }
}

/// Runs `main` as a program with these functions.
pub(crate) fn run_with(
    config: Config,
    advice: Arc<dyn Advice>,
    functions: Functions,
    main: impl FnOnce(&mut Native) -> Result<()>,
) -> Result<()> {
    let program = program(functions);
    let runtime = Runtime::new(config, program.memory.clone(), threads(&program), advice);
    drive(program, &runtime, main)
}

pub(crate) fn run(
    threads: u32,
    functions: Functions,
    main: impl FnOnce(&mut Native) -> Result<()>,
) {
    run_with(config(threads), Arc::new(Whole), functions, main).unwrap();
}

/// The numbers of threads that everything is tried with.
pub(crate) const SIZES: [u32; 5] = [1, 2, 3, 4, 8];

/// Counters that closures share.
pub(crate) fn counters(count: usize) -> Arc<Vec<AtomicU32>> {
    Arc::new((0..count).map(|_| AtomicU32::new(0)).collect())
}

pub(crate) fn values(counters: &[AtomicU32]) -> Vec<u32> {
    counters.iter().map(|counter| counter.load(Ordering::SeqCst)).collect()
}
