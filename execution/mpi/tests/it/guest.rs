//! Ranks of a test: threads with a memory of their own and a few functions that MPI may call.

#![expect(unsafe_code, reason = "lends memory to the engine as a Wasm host would")]

use crate::disturbed::{self, Desk};
use mpi::{Abort, Callback, Config, Link, Memory, Placement, Rank, World, connection::Connections};
use std::{
    cell::UnsafeCell,
    net::{TcpListener, TcpStream},
    ops::{Deref, DerefMut},
    sync::Arc,
    time::Duration,
};

pub(crate) const WORLD: i32 = 1;
pub(crate) const SELF: i32 = 2;
pub(crate) const BYTE: i32 = 4;
pub(crate) const INT: i32 = 8;
pub(crate) const DOUBLE: i32 = 15;
pub(crate) const SUM: i32 = 3;
pub(crate) const ANY: i32 = -1;
pub(crate) const PROC_NULL: i32 = -2;
pub(crate) const UNDEFINED: i32 = -32766;
pub(crate) const IN_PLACE: u32 = u32::MAX;
pub(crate) const ERRORS_RETURN: i32 = 2;

/// A memory that never moves.
pub(crate) struct Linear(Box<[UnsafeCell<u8>]>);

// SAFETY: only raw pointers to it are ever followed.
unsafe impl Sync for Linear {}

impl Linear {
    /// A memory with these bytes.
    pub(crate) fn of(bytes: Vec<u8>) -> Self {
        let bytes = Box::into_raw(bytes.into_boxed_slice());
        // SAFETY: the box was just given up, and a cell of a byte lies in memory like the byte.
        Self(unsafe { Box::from_raw(bytes as *mut [UnsafeCell<u8>]) })
    }

    /// Another memory with the same bytes.
    pub(crate) fn copied(&self) -> Self {
        // SAFETY: the bytes are ours, and nobody writes to them while all ranks have stopped.
        Self::of(unsafe { std::slice::from_raw_parts(self.base(), self.len()) }.to_vec())
    }
}

// SAFETY: the box is neither moved nor shrunk while it lives.
unsafe impl Memory for Linear {
    fn base(&self) -> *mut u8 {
        self.0.as_ptr().cast_mut().cast()
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

/// A memory without a byte.
pub(crate) struct NoMemory;

// SAFETY: there is nothing to read or write.
unsafe impl Memory for NoMemory {
    fn base(&self) -> *mut u8 {
        std::ptr::NonNull::dangling().as_ptr()
    }

    fn len(&self) -> usize {
        0
    }
}

/// Functions of the guest by their pointers.
pub(crate) const OP_AFFINE: u32 = 1;
pub(crate) const COPY_PLUS_ONE: u32 = 2;
pub(crate) const DELETE_COUNTS: u32 = 3;
pub(crate) const HANDLER: u32 = 4;

/// What MPI may call in the guest.
pub(crate) struct Host {
    memory: Arc<Linear>,
    heap: u32,
    pub(crate) allocated: i32,
    pub(crate) deleted: Vec<[i32; 3]>,
    pub(crate) handled: Vec<i32>,
}

impl Host {
    fn ints(&self, addr: i32, count: usize) -> Vec<i32> {
        (0..count).map(|place| i32::from_le_bytes(self.bytes(addr as usize + 4 * place))).collect()
    }

    fn bytes<const N: usize>(&self, addr: usize) -> [u8; N] {
        assert!(addr + N <= self.memory.len());
        // SAFETY: the range was checked; no other thread writes there meanwhile.
        unsafe { self.memory.base().add(addr).cast::<[u8; N]>().read_unaligned() }
    }

    fn put(&self, addr: usize, bytes: &[u8]) {
        assert!(addr + bytes.len() <= self.memory.len());
        // SAFETY: as above.
        unsafe {
            std::ptr::copy_nonoverlapping(
                bytes.as_ptr(),
                self.memory.base().add(addr),
                bytes.len(),
            );
        }
    }
}

impl Callback for Host {
    fn call(
        &mut self,
        rank: &mut Rank,
        function: u32,
        arguments: &[i32],
        _: bool,
    ) -> Result<i32, Abort> {
        match function {
            OP_AFFINE => {
                // Composition of x ↦ ax + b, which does not commute, in pairs of int.
                let [count, datatype] =
                    [self.ints(arguments[2], 1)[0], self.ints(arguments[3], 1)[0]];
                // The guest calls MPI from within.
                let size_at = 8;
                let failed = rank.type_size(self, datatype, size_at)?;
                // What it calls never stops, whatever is asked meanwhile; but it fails in a damaged world.
                let failed = failed.max(rank.barrier(self, SELF)?);
                if failed != 0 {
                    return Ok(failed);
                }
                let pairs = count as usize * self.ints(size_at as i32, 1)[0] as usize / 8;
                for pair in 0..pairs as i32 {
                    let left = self.ints(arguments[0] + 8 * pair, 2);
                    let right = self.ints(arguments[1] + 8 * pair, 2);
                    let a = left[0].wrapping_mul(right[0]);
                    let b = left[1].wrapping_mul(right[0]).wrapping_add(right[1]);
                    let at = (arguments[1] + 8 * pair) as usize;
                    self.put(at, &a.to_le_bytes());
                    self.put(at + 4, &b.to_le_bytes());
                }
                Ok(0)
            }
            COPY_PLUS_ONE => {
                self.put(arguments[4] as usize, &(arguments[3] + 1).to_le_bytes());
                self.put(arguments[5] as usize, &1_i32.to_le_bytes());
                Ok(0)
            }
            DELETE_COUNTS => {
                self.deleted.push([arguments[0], arguments[1], arguments[2]]);
                Ok(0)
            }
            HANDLER => {
                let code = self.ints(arguments[1], 1)[0];
                self.handled.push(code);
                Ok(0)
            }
            other => panic!("the guest has no function {other}"),
        }
    }

    fn alloc(&mut self, bytes: u32) -> Result<u32, Abort> {
        let addr = self.heap.next_multiple_of(16);
        if (addr + bytes) as usize > self.memory.len() {
            return Ok(0);
        }
        self.heap = addr + bytes;
        self.allocated += 1;
        Ok(addr)
    }

    fn free(&mut self, _: u32) -> Result<(), Abort> {
        self.allocated -= 1;
        Ok(())
    }
}

/// A rank with its memory, as a guest's program sees them.
pub(crate) struct Guest {
    pub(crate) rank: Rank,
    pub(crate) host: Host,
    /// Where it waits when it is stopped.
    pub(crate) desk: Option<Arc<Desk>>,
    next: u32,
}

impl Deref for Guest {
    type Target = Host;
    fn deref(&self) -> &Host {
        &self.host
    }
}

impl DerefMut for Guest {
    fn deref_mut(&mut self) -> &mut Host {
        &mut self.host
    }
}

/// Calls a function and expects success.
#[macro_export]
macro_rules! ok {
    ($guest:ident.$method:ident($($argument:expr),* $(,)?)) => {{
        let arguments = ($($argument,)*);
        assert_eq!($crate::call!(@ $guest, $method, arguments, ($($argument),*)), Ok(0), stringify!($method));
    }};
}

/// Calls a function and gives its outcome.
#[macro_export]
macro_rules! call {
    (@ $guest:ident, $method:ident, $values:ident, ($($argument:expr),*)) => {{
        let _ = $values;
        $crate::call!($guest.$method($($argument),*))
    }};
    ($guest:ident.$method:ident($($argument:expr),* $(,)?)) => {
        loop {
            match $guest.rank.$method(&mut $guest.host, $($argument),*) {
                Err(mpi::Abort::Stopped) => $guest.pause(),
                outcome => break outcome,
            }
        }
    };
}

impl Guest {
    pub(crate) fn new(world: &Arc<World>, number: u32, bytes: usize) -> Self {
        let memory = Arc::new(Linear::of(vec![0; bytes]));
        let rank = world.rank(number, Arc::clone(&memory) as Arc<dyn Memory>).expect("a seat");
        // The upper half is the heap that MPI allocates from.
        let (heap, deleted, handled) = (bytes as u32 / 2, Vec::new(), Vec::new());
        Self {
            rank,
            host: Host { memory, heap, allocated: 0, deleted, handled },
            desk: None,
            next: 64,
        }
    }

    /// A rank that was restored over a memory.
    pub(crate) fn over(rank: Rank, memory: Arc<Linear>) -> Self {
        let (heap, deleted, handled) = (memory.len() as u32 / 2, Vec::new(), Vec::new());
        Self {
            rank,
            host: Host { memory, heap, allocated: 0, deleted, handled },
            desk: None,
            next: 64,
        }
    }

    /// Waits until it may make again the call that it was stopped in.
    pub(crate) fn pause(&mut self) {
        let desk = self.desk.clone().expect("a desk for a rank that is stopped");
        let rank = std::mem::take(&mut self.rank);
        (self.rank, self.host.memory) = desk.park(rank, Arc::clone(&self.host.memory));
    }

    pub(crate) fn me(&self) -> i32 {
        self.rank.number() as i32
    }

    pub(crate) fn size(&self) -> i32 {
        self.rank.world().size() as i32
    }

    /// Space in memory.
    pub(crate) fn room(&mut self, bytes: usize) -> u32 {
        let addr = self.next.next_multiple_of(16);
        self.next = addr + bytes as u32;
        assert!(self.next as usize <= self.memory.len() / 2, "the test needs more memory");
        addr
    }

    pub(crate) fn set(&mut self, addr: u32, bytes: &[u8]) {
        self.put(addr as usize, bytes);
    }

    pub(crate) fn bytes_at(&self, addr: u32, len: usize) -> Vec<u8> {
        assert!(addr as usize + len <= self.memory.len());
        let mut bytes = vec![0; len];
        // SAFETY: the range was checked; no other thread writes there meanwhile.
        unsafe {
            let from = self.memory.base().add(addr as usize);
            std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), len);
        }
        bytes
    }

    /// Puts an array of int into memory.
    pub(crate) fn ints_in(&mut self, values: &[i32]) -> u32 {
        let addr = self.room(4 * values.len().max(1));
        self.set_ints(addr, values);
        addr
    }

    pub(crate) fn set_ints(&mut self, addr: u32, values: &[i32]) {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.set(addr, &bytes);
    }

    pub(crate) fn ints_at(&self, addr: u32, count: usize) -> Vec<i32> {
        self.ints(addr as i32, count)
    }

    pub(crate) fn int(&self, addr: u32) -> i32 {
        self.ints_at(addr, 1)[0]
    }

    pub(crate) fn doubles_in(&mut self, values: &[f64]) -> u32 {
        let addr = self.room(8 * values.len());
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.set(addr, &bytes);
        addr
    }

    pub(crate) fn doubles_at(&self, addr: u32, count: usize) -> Vec<f64> {
        (0..count).map(|place| f64::from_le_bytes(self.bytes(addr as usize + 8 * place))).collect()
    }
}

/// Runs a program on so many ranks, each of which begins and ends as it should.
pub(crate) fn run(ranks: u32, program: impl Fn(&mut Guest) + Sync) {
    run_with(ranks, 1 << 20, Config::default(), |guest| {
        ok!(guest.init(0, 0));
        program(guest);
        ok!(guest.finalize());
    });
}

/// Runs a program that begins and ends by itself, at one site and at several; and then stopped now
/// and then.
pub(crate) fn run_with(
    ranks: u32,
    bytes: usize,
    config: Config,
    program: impl Fn(&mut Guest) + Sync,
) {
    run_alone(ranks, bytes, config.clone(), &program);
    for sites in placements(ranks) {
        run_spread_with(&sites, bytes, config.clone(), &program);
    }
    disturbed::run(ranks, bytes, config, 0x9e37_79b9_7f4a_7c15, &program);
}

/// Runs a program at one site, undisturbed.
pub(crate) fn run_alone(
    ranks: u32,
    bytes: usize,
    config: Config,
    program: &(impl Fn(&mut Guest) + Sync),
) {
    let world = World::new(ranks, config).expect("a world");
    std::thread::scope(|scope| {
        for number in 0..ranks {
            let world = Arc::clone(&world);
            scope.spawn(move || program(&mut Guest::new(&world, number, bytes)));
        }
    });
}

/// Where ranks may be: in turns at two sites, and with neighbours at three.
pub(crate) fn placements(ranks: u32) -> Vec<Vec<u32>> {
    let turns = (0..ranks).map(|rank| rank % 2).collect();
    let mixed = (0..ranks).map(|rank| [2, 0, 0, 5][rank as usize % 4]).collect();
    match ranks {
        1 => Vec::new(),
        2 => vec![turns],
        _ => vec![turns, mixed],
    }
}

/// The parts of a world at the sites of its ranks, connected by sockets.
pub(crate) fn spread(sites: &[u32], config: &Config) -> Vec<Part> {
    let size = sites.len() as u32;
    spread_by(sites, |placement, link| World::spread(size, config.clone(), placement, link))
}

/// A part of a world, with its connections to the others.
pub(crate) type Part = (Arc<World>, Arc<Connections>);

/// The same, where somebody else makes the parts.
pub(crate) fn spread_by(
    sites: &[u32],
    make: impl Fn(Placement, Arc<dyn Link>) -> Result<Arc<World>, Abort>,
) -> Vec<Part> {
    let mut numbers = sites.to_vec();
    numbers.sort_unstable();
    numbers.dedup();
    let parts: Vec<_> = numbers.iter().map(|site| (*site, Connections::new(*site))).collect();
    for (place, (first, one)) in parts.iter().enumerate() {
        for (second, other) in &parts[place + 1..] {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            let here = TcpStream::connect(listener.local_addr().expect("its number"));
            let here = here.expect("a connection");
            let there = listener.accept().expect("the same").0;
            let halves = |stream: TcpStream| {
                stream.set_nodelay(true).expect("an option");
                (stream.try_clone().expect("the other half"), stream)
            };
            let ((here_in, here_out), (there_in, there_out)) = (halves(here), halves(there));
            std::thread::scope(|scope| {
                scope.spawn(|| one.connect(*second, here_in, here_out).expect("a greeting"));
                other.connect(*first, there_in, there_out).expect("a greeting");
            });
        }
    }
    let part = |(here, connections): (u32, Arc<Connections>)| {
        let placement = Placement { here, sites: sites.to_vec() };
        let link = Arc::clone(&connections) as Arc<dyn Link>;
        (make(placement, link).expect("a part"), connections)
    };
    let parts: Vec<_> = parts.into_iter().map(part).collect();
    for (world, connections) in &parts {
        connections.attend(world).expect("readers");
    }
    parts
}

/// Runs a program whose ranks are at these sites.
pub(crate) fn run_spread_with(
    sites: &[u32],
    bytes: usize,
    config: Config,
    program: impl Fn(&mut Guest) + Sync,
) {
    let parts = spread(sites, &config);
    std::thread::scope(|scope| {
        for (number, site) in sites.iter().enumerate() {
            let (world, _) = parts.iter().find(|(world, _)| world.site() == *site).expect("a part");
            let (world, program) = (Arc::clone(world), &program);
            scope.spawn(move || program(&mut Guest::new(&world, number as u32, bytes)));
        }
    });
    std::thread::scope(|scope| {
        for (_, connections) in &parts {
            scope.spawn(|| connections.close(Duration::from_secs(20)).expect("an orderly end"));
        }
    });
}

/// The sizes of world that semantics are tested at.
pub(crate) const SIZES: [u32; 5] = [1, 2, 3, 4, 8];

impl Guest {
    /// Puts an int at an address and gives that.
    pub(crate) fn ints_in_at(&mut self, addr: u32, value: i32) -> u32 {
        self.set_ints(addr, &[value]);
        addr
    }
}

impl Guest {
    /// Forgets what was placed in memory.
    pub(crate) fn rewind(&mut self) {
        self.next = 64;
    }
}
