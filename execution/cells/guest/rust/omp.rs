//! OpenMP for Rust programs in cells: regions and loops on the threads that the cell has now.
//!
//! `cloudskin build --openmp` gives this crate to every program under the name `omp`:
//!
//! ```text
//! let squares = omp::reduce(0..1000, omp::Schedule::Static, || 0, |sum, i| *sum += i * i, |a, b| *a += b);
//! ```
//!
//! Start at [`parallel_for`], [`parallel_for_mut`] and [`reduce`]; [`parallel`] is the region below
//! them. How many threads a region has is decided when it begins. What the threads share is
//! checked by the compiler as for `std::thread::scope`: closures are `Sync`, and what one thread makes
//! and another one gets is `Send`. A panic in any thread ends the program.
//!
//! The threads are kept between regions, and so are their thread-local variables, which are never
//! dropped. `std::sync` works among them; `std::thread::spawn` does not exist in a cell.
#![no_std]
#![warn(missing_docs)]

use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::ops::Range;

/// What the runtime offers. Its pointers are of this program's own memory.
mod runtime {
    use super::{Place, Word};

    /// A region's function: the numbers of the thread, and what the region shares.
    pub(crate) type Microtask = unsafe extern "C" fn(*const i32, *const i32, *const ());
    /// Combines what two threads have; each is a list of pointers.
    pub(crate) type Combine = unsafe extern "C" fn(*const *mut (), *const *mut ());

    unsafe extern "C" {
        pub(crate) fn __kmpc_fork_call(
            place: &'static Place,
            count: i32,
            task: Microtask,
            shared: *const *const (),
        );
        pub(crate) safe fn __kmpc_barrier(place: &'static Place, thread: i32);
        pub(crate) safe fn __kmpc_single(place: &'static Place, thread: i32) -> i32;
        pub(crate) safe fn __kmpc_end_single(place: &'static Place, thread: i32);
        pub(crate) fn __kmpc_for_static_init_4u(
            place: &'static Place,
            thread: i32,
            schedule: i32,
            last: *mut i32,
            lower: *mut u32,
            upper: *mut u32,
            stride: *mut i32,
            step: i32,
            chunk: i32,
        );
        pub(crate) safe fn __kmpc_for_static_fini(place: &'static Place, thread: i32);
        pub(crate) safe fn __kmpc_dispatch_init_4u(
            place: &'static Place,
            thread: i32,
            schedule: i32,
            lower: u32,
            upper: u32,
            step: i32,
            chunk: i32,
        );
        pub(crate) fn __kmpc_dispatch_next_4u(
            place: &'static Place,
            thread: i32,
            last: *mut i32,
            lower: *mut u32,
            upper: *mut u32,
            stride: *mut i32,
        ) -> i32;
        pub(crate) fn __kmpc_reduce_nowait(
            place: &'static Place,
            thread: i32,
            count: i32,
            bytes: usize,
            parts: *const *mut (),
            combine: Combine,
            lock: *const Word,
        ) -> i32;
        pub(crate) fn __kmpc_end_reduce_nowait(
            place: &'static Place,
            thread: i32,
            lock: *const Word,
        );
        pub(crate) safe fn omp_get_thread_num() -> i32;
        pub(crate) safe fn omp_get_num_threads() -> i32;
        pub(crate) safe fn omp_get_max_threads() -> i32;
        pub(crate) safe fn omp_get_num_procs() -> i32;
        pub(crate) safe fn omp_set_num_threads(threads: i32);
        pub(crate) safe fn omp_in_parallel() -> i32;
        pub(crate) safe fn omp_get_wtime() -> f64;
    }
}

/// Where in a program something is asked for, as the runtime expects it.
#[repr(C)]
pub(crate) struct Place {
    reserved: i32,
    flags: i32,
    others: [i32; 2],
    source: &'static [u8; 23],
}

/// Says who describes the place, and nothing of atomic reductions, which a generic type has not.
const DESCRIBED: i32 = 2;
static PLACE: Place =
    Place { reserved: 0, flags: DESCRIBED, others: [0; 2], source: b";unknown;unknown;0;0;;\0" };

/// What the runtime locks by.
#[repr(transparent)]
pub(crate) struct Word(UnsafeCell<[u32; 8]>);

// SAFETY: only the runtime touches it, by atomic operations.
unsafe impl Sync for Word {}

/// How the iterations of a loop are dealt to threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Schedule {
    /// One block for each thread, all of about one size.
    #[default]
    Static,
    /// Blocks of this size, in turns.
    StaticChunks(u32),
    /// Blocks of this size, to whichever thread is free.
    Dynamic(u32),
    /// Blocks that get smaller, this size at least, to whichever thread is free.
    Guided(u32),
    /// As the variable `OMP_SCHEDULE` says.
    Runtime,
}

impl Schedule {
    /// How compilers number it, and its chunk.
    fn code(self) -> (i32, i32) {
        let chunk = |chunk: u32| i32::try_from(chunk.max(1)).unwrap_or(i32::MAX);
        match self {
            Self::StaticChunks(size) => (33, chunk(size)),
            Self::Static => (34, 1),
            Self::Dynamic(size) => (35, chunk(size)),
            Self::Guided(size) => (36, chunk(size)),
            Self::Runtime => (37, 1),
        }
    }
}

/// The threads of a region, as one of them sees them. It stays on its thread, within its region.
#[derive(Debug)]
pub struct Team {
    thread: i32,
    stays: PhantomData<*const ()>,
}

impl Team {
    /// This thread's number among them, from 0.
    pub fn thread_num(&self) -> usize {
        thread_num()
    }

    /// How many there are.
    pub fn num_threads(&self) -> usize {
        num_threads()
    }

    /// Waits until all of them are here. All must come.
    pub fn barrier(&self) {
        runtime::__kmpc_barrier(&PLACE, self.thread);
    }

    /// Runs `work` on the thread that comes first; the others go on at once.
    pub fn single<R>(&self, work: impl FnOnce() -> R) -> Option<R> {
        if runtime::__kmpc_single(&PLACE, self.thread) == 0 {
            return None;
        }
        let made = work();
        runtime::__kmpc_end_single(&PLACE, self.thread);
        Some(made)
    }

    /// Runs `body` for this thread's share of the iterations, and goes on without waiting for the
    /// others. All threads must come, with the same loop.
    pub fn for_each(&self, range: Range<usize>, schedule: Schedule, mut body: impl FnMut(usize)) {
        self.blocks(range, schedule, |block| block.for_each(&mut body));
    }

    /// This thread's share, in blocks that lie within the range whatever the runtime says.
    fn blocks(&self, range: Range<usize>, schedule: Schedule, body: impl FnMut(Range<usize>)) {
        // A pointer has 32 bits here, and so has what counts iterations.
        let (Ok(first), Ok(end)) = (u32::try_from(range.start), u32::try_from(range.end)) else {
            return;
        };
        if first >= end {
            return;
        }
        match schedule {
            Schedule::Static | Schedule::StaticChunks(_) => {
                self.static_blocks(first, end - 1, schedule, body)
            }
            _ => self.dispatched_blocks(first, end - 1, schedule, body),
        }
    }

    fn static_blocks(
        &self,
        first: u32,
        last: u32,
        schedule: Schedule,
        mut body: impl FnMut(Range<usize>),
    ) {
        let (code, chunk) = schedule.code();
        let (mut is_last, mut lower, mut upper, mut stride) = (0, first, last, 1);
        // SAFETY: all pointers are of variables that live until it returns.
        unsafe {
            runtime::__kmpc_for_static_init_4u(
                &PLACE,
                self.thread,
                code,
                &mut is_last,
                &mut lower,
                &mut upper,
                &mut stride,
                1,
                chunk,
            );
        }
        let stride = stride.unsigned_abs().max(1);
        while first <= lower && lower <= upper && lower <= last {
            body(within(lower, upper.min(last)));
            if schedule == Schedule::Static {
                break;
            }
            let Some(next) = lower.checked_add(stride) else { break };
            (lower, upper) = (next, upper.saturating_add(stride));
        }
        runtime::__kmpc_for_static_fini(&PLACE, self.thread);
    }

    fn dispatched_blocks(
        &self,
        first: u32,
        last: u32,
        schedule: Schedule,
        mut body: impl FnMut(Range<usize>),
    ) {
        let (code, chunk) = schedule.code();
        runtime::__kmpc_dispatch_init_4u(&PLACE, self.thread, code, first, last, 1, chunk);
        let (mut is_last, mut lower, mut upper, mut stride) = (0, 0, 0, 0);
        // SAFETY: as above.
        while unsafe {
            runtime::__kmpc_dispatch_next_4u(
                &PLACE,
                self.thread,
                &mut is_last,
                &mut lower,
                &mut upper,
                &mut stride,
            )
        } != 0
        {
            body(within(lower.max(first), upper.min(last)));
        }
    }
}

/// A block as ranges are written; it is empty if it has no first iteration.
fn within(lower: u32, upper: u32) -> Range<usize> {
    lower as usize..upper as usize + 1
}

/// Runs `body` on every thread of a new team, and returns when all are done. Within a region the
/// new team has one thread, unless nested regions are allowed.
pub fn parallel<F: Fn(&Team) + Sync>(body: F) {
    unsafe extern "C" fn enter<F: Fn(&Team) + Sync>(
        thread: *const i32,
        _: *const i32,
        body: *const (),
    ) {
        // SAFETY: the runtime gives each thread its number and the pointer below. What that
        // points to is `Sync`, and lives until all threads have returned from here.
        let (thread, body) = unsafe { (*thread, &*body.cast::<F>()) };
        body(&Team { thread, stays: PhantomData });
    }
    let shared = [(&raw const body).cast::<()>()];
    // SAFETY: the function takes as many pointers as are given, and the call returns when all
    // threads have returned from it.
    unsafe { runtime::__kmpc_fork_call(&PLACE, 1, enter::<F>, shared.as_ptr()) };
}

/// Runs `body` for every number in the range, on all threads.
pub fn parallel_for(range: Range<usize>, schedule: Schedule, body: impl Fn(usize) + Sync) {
    parallel(|team| team.for_each(range.clone(), schedule, &body));
}

/// Runs `body` for every element, with its index, on all threads.
pub fn parallel_for_mut<T: Send>(
    items: &mut [T],
    schedule: Schedule,
    body: impl Fn(usize, &mut T) + Sync,
) {
    struct Start<T>(*mut T);
    // SAFETY: each thread gets elements of its own from it, which may be sent to it.
    unsafe impl<T: Send> Sync for Start<T> {}
    impl<T> Start<T> {
        fn get(&self) -> *mut T {
            self.0
        }
    }
    let (start, count) = (Start(items.as_mut_ptr()), items.len());
    parallel(|team| {
        team.for_each(0..count, schedule, |index| {
            // SAFETY: the index is below the count, and a loop in a region of its own deals every
            // index to one thread, once.
            body(index, unsafe { &mut *start.get().add(index) });
        });
    });
}

/// Folds every number in the range into one value: each thread `fold`s its share into what `identity`
/// gives, and `combine` puts these together in any order.
pub fn reduce<T: Send>(
    range: Range<usize>,
    schedule: Schedule,
    identity: impl Fn() -> T + Sync,
    fold: impl Fn(&mut T, usize) + Sync,
    combine: impl Fn(&mut T, T) + Sync,
) -> T {
    let total = Total { value: UnsafeCell::new(identity()), lock: Word(UnsafeCell::new([0; 8])) };
    parallel(|team| {
        let mut mine = identity();
        team.for_each(range.clone(), schedule, |index| fold(&mut mine, index));
        total.add(team, mine, &combine);
    });
    total.value.into_inner()
}

/// What the threads of a reduction add to.
struct Total<T> {
    value: UnsafeCell<T>,
    lock: Word,
}

// SAFETY: the value is touched under the lock alone, where each thread puts what it may send.
unsafe impl<T: Send> Sync for Total<T> {}

/// What one thread brings to a reduction, for whichever thread takes it.
struct Part<'a, T, C> {
    value: Option<T>,
    combine: &'a C,
}

impl<T: Send> Total<T> {
    fn add<C: Fn(&mut T, T) + Sync>(&self, team: &Team, value: T, combine: &C) {
        unsafe extern "C" fn merge<T, C: Fn(&mut T, T)>(
            into: *const *mut (),
            from: *const *mut (),
        ) {
            // SAFETY: the runtime passes two of the lists below, of threads that wait meanwhile.
            let (into, from) =
                unsafe { (&mut *(*into).cast::<Part<T, C>>(), &mut *(*from).cast::<Part<T, C>>()) };
            if let (Some(into_value), Some(value)) = (&mut into.value, from.value.take()) {
                (into.combine)(into_value, value);
            }
        }
        let mut part = Part { value: Some(value), combine };
        let own = &raw mut part;
        let parts = [own.cast::<()>()];
        let lock = &raw const self.lock;
        let bytes = size_of_val(&parts);
        // SAFETY: the runtime reads the list and calls the function while this thread waits here.
        // Where it answers 1, this thread alone is at the total until it says that it has ended.
        unsafe {
            let parts = parts.as_ptr();
            let merge = merge::<T, C>;
            if runtime::__kmpc_reduce_nowait(&PLACE, team.thread, 1, bytes, parts, merge, lock) == 1
            {
                if let Some(value) = (*own).value.take() {
                    combine(&mut *self.value.get(), value);
                }
                runtime::__kmpc_end_reduce_nowait(&PLACE, team.thread, lock);
            }
        }
    }
}

/// The most threads that a region may ever have here: sizes for what each thread has.
pub fn max_threads() -> usize {
    count(runtime::omp_get_max_threads())
}

/// How many processors there are now.
pub fn num_procs() -> usize {
    count(runtime::omp_get_num_procs())
}

/// How many threads the region has that this thread is in; 1 outside of regions.
pub fn num_threads() -> usize {
    count(runtime::omp_get_num_threads())
}

/// This thread's number in its region, from 0.
pub fn thread_num() -> usize {
    count(runtime::omp_get_thread_num())
}

/// Whether this thread is in a region with others.
pub fn in_parallel() -> bool {
    runtime::omp_in_parallel() != 0
}

/// Asks for so many threads in regions that begin later on this thread.
pub fn set_num_threads(threads: usize) {
    runtime::omp_set_num_threads(i32::try_from(threads.max(1)).unwrap_or(i32::MAX));
}

/// Seconds since some moment.
pub fn wtime() -> f64 {
    runtime::omp_get_wtime()
}

fn count(number: i32) -> usize {
    usize::try_from(number).unwrap_or(0)
}
