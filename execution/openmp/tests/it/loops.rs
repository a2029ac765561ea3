//! Every iteration of every loop is run once, in order where there is one.

use crate::host::{Functions, SIZES, counters, run, values};
use openmp::{Bounds, DispatchOut, Kind, StaticLoop};
use proptest::prelude::*;
use std::sync::{Arc, Mutex, atomic::Ordering};

/// A loop as a program writes it.
#[derive(Debug, Clone, Copy)]
struct Loop {
    kind: Kind,
    schedule: u32,
    lower: i64,
    trip: i64,
    step: i64,
    chunk: u64,
}

impl Loop {
    fn upper(&self) -> i64 {
        self.lower + (self.trip - 1) * self.step
    }
}

fn put(guest: &crate::host::Native, kind: Kind, at: u32, value: i64) {
    match kind {
        Kind::I32 | Kind::U32 => guest.put(at, value as u32),
        Kind::I64 | Kind::U64 => guest.program.memory.put_u64(at, value as u64).unwrap(),
    }
}

fn get(guest: &crate::host::Native, kind: Kind, at: u32) -> i64 {
    match kind {
        Kind::I32 => i64::from(guest.word(at) as i32),
        Kind::U32 => i64::from(guest.word(at)),
        Kind::I64 | Kind::U64 => guest.program.memory.u64(at).unwrap() as i64,
    }
}

/// How often each iteration was run, and how often a thread was told that it had the last.
fn dynamic(threads: u32, of: Loop) -> (Vec<u32>, u32) {
    let seen = counters(of.trip as usize + 1);
    let shared = seen.clone();
    let mut functions = Functions::default();
    let body = functions.add(move |guest, _| {
        let at = 4096 + guest.thread.thread_num() * 64;
        let thread = guest.thread.clone();
        for _ in 0..3 {
            thread.dispatch_init(&Bounds {
                kind: of.kind,
                schedule: of.schedule,
                lower: of.lower as u64,
                upper: of.upper() as u64,
                step: of.step as u64,
                chunk: of.chunk,
            })?;
            let out = DispatchOut { last: at, lower: at + 8, upper: at + 16, stride: at + 24 };
            while thread.dispatch_next(&out)? {
                let (first, last) = (get(guest, of.kind, at + 8), get(guest, of.kind, at + 16));
                for iteration in 0..=(last - first) / of.step {
                    let index = (first + iteration * of.step - of.lower) / of.step;
                    shared[index as usize].fetch_add(1, Ordering::Relaxed);
                }
                if guest.word(at) != 0 {
                    shared[of.trip as usize].fetch_add(1, Ordering::Relaxed);
                }
            }
            thread.dispatch_deinit()?;
        }
        Ok(0)
    });
    run(threads, functions, |guest| guest.fork(body));
    let mut seen = values(&seen);
    let last = seen.pop().unwrap();
    (seen, last)
}

fn fixed(threads: u32, of: Loop) -> (Vec<u32>, u32) {
    let seen = counters(of.trip as usize + 1);
    let shared = seen.clone();
    let mut functions = Functions::default();
    let body = functions.add(move |guest, _| {
        let at = 4096 + guest.thread.thread_num() * 64;
        put(guest, of.kind, at + 8, of.lower);
        put(guest, of.kind, at + 16, of.upper());
        guest.thread.for_static_init(&StaticLoop {
            kind: of.kind,
            schedule: of.schedule,
            last: at,
            lower: at + 8,
            upper: at + 16,
            stride: at + 24,
            step: of.step as u64,
            chunk: of.chunk,
        })?;
        let number = |at| get(guest, of.kind, at);
        let (mut lower, mut upper) = (number(at + 8), number(at + 16));
        // Strides are signed whatever the variable is.
        let signed = if of.kind == Kind::U32 { Kind::I32 } else { of.kind };
        let stride = get(guest, signed, at + 24);
        let within = |value: i64| (of.upper() - value) * of.step.signum() >= 0;
        let chunks = matches!(of.schedule, 33 | 91);
        while within(lower) && (upper - lower) * of.step.signum() >= 0 {
            let end = if within(upper) { upper } else { of.upper() };
            for iteration in 0..=(end - lower) / of.step {
                let index = (lower + iteration * of.step - of.lower) / of.step;
                shared[index as usize].fetch_add(1, Ordering::Relaxed);
            }
            if !chunks {
                break;
            }
            lower += stride;
            upper += stride;
        }
        if guest.word(at) != 0 {
            shared[of.trip as usize].fetch_add(1, Ordering::Relaxed);
        }
        Ok(0)
    });
    run(threads, functions, |guest| guest.fork(body));
    let mut seen = values(&seen);
    let last = seen.pop().unwrap();
    (seen, last)
}

fn any_loop(schedules: &'static [u32]) -> impl Strategy<Value = Loop> {
    let kinds = prop::sample::select(vec![Kind::I32, Kind::U32, Kind::I64, Kind::U64]);
    let steps = prop::sample::select(vec![1, 1, 1, 3, -1, -2]);
    (kinds, prop::sample::select(schedules), 0..300_i64, 1000..2000_i64, steps, 0..9_u64).prop_map(
        |(kind, schedule, trip, lower, step, chunk)| Loop {
            kind,
            schedule,
            lower,
            trip,
            step,
            chunk,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn loops_dealt_out_while_they_run_run_each_iteration_once(
        of in any_loop(&[33, 34, 35, 36, 37, 38, 39, 44, 1073741859, 536870948, 65, 66, 163, 164]),
        threads in prop::sample::select(&SIZES[..]),
    ) {
        let (seen, last) = dynamic(threads, of);

        prop_assert!(seen.iter().all(|times| *times == 3), "{seen:?}");
        prop_assert_eq!(last, if of.trip == 0 { 0 } else { 3 });
    }

    #[test]
    fn loops_dealt_out_before_run_each_iteration_once(
        of in any_loop(&[33, 34, 45]),
        threads in prop::sample::select(&SIZES[..]),
    ) {
        let of = if of.schedule == 45 { Loop { chunk: 4, ..of } } else { of };
        let (seen, last) = fixed(threads, of);

        prop_assert!(seen.iter().all(|times| *times == 1), "{seen:?}");
        prop_assert_eq!(last, u32::from(of.trip > 0));
    }
}

#[test]
fn loops_at_the_ends_of_their_types_run_each_iteration_once() {
    for (kind, lower, trip, step) in [
        (Kind::I32, i64::from(i32::MAX) - 6, 7, 1),
        (Kind::I32, i64::from(i32::MIN) + 6, 7, -1),
        (Kind::U32, 0, 1, 1),
        (Kind::U32, 3, 4, -1),
        (Kind::U64, 0, 1, 1),
    ] {
        for threads in SIZES {
            let of = Loop { kind, schedule: 34, lower, trip, step, chunk: 0 };
            let (seen, last) = fixed(threads, of);
            assert!(seen.iter().all(|times| *times == 1), "{of:?} at {threads}: {seen:?}");
            assert_eq!(last, 1);
            for schedule in [33, 34, 35, 36] {
                let (seen, last) = dynamic(threads, Loop { schedule, ..of });
                assert!(seen.iter().all(|times| *times == 3), "{of:?} at {threads}: {seen:?}");
                assert_eq!(last, 3);
            }
        }
    }
}

#[test]
fn ordered_regions_come_in_order() {
    for threads in SIZES {
        for (schedule, chunk) in [(65, 3), (66, 1), (67, 1), (67, 5), (68, 2), (69, 1)] {
            let order = Arc::new(Mutex::new(Vec::new()));
            let seen = order.clone();
            let mut functions = Functions::default();
            let body = functions.add(move |guest, _| {
                let at = 4096 + guest.thread.thread_num() * 64;
                let thread = guest.thread.clone();
                let (lower, upper, step) = (0, 99, 1);
                let kind = Kind::I32;
                thread.dispatch_init(&Bounds { kind, schedule, lower, upper, step, chunk })?;
                let out = DispatchOut { last: at, lower: at + 8, upper: at + 16, stride: at + 24 };
                while thread.dispatch_next(&out)? {
                    for iteration in guest.word(at + 8)..=guest.word(at + 16) {
                        // Some iterations have no ordered region.
                        if iteration % 7 != 3 {
                            thread.ordered()?;
                            seen.lock().unwrap().push(iteration);
                            thread.end_ordered()?;
                        }
                        thread.dispatch_fini()?;
                    }
                }
                Ok(0)
            });
            run(threads, functions, |guest| guest.fork(body));

            let expected: Vec<u32> = (0..100).filter(|iteration| iteration % 7 != 3).collect();
            assert_eq!(*order.lock().unwrap(), expected, "schedule {schedule} at {threads}");
        }
    }
}

#[test]
fn iterations_wait_for_those_they_name() {
    const SIDE: u32 = 12;
    for threads in SIZES {
        let cells = counters((SIDE * SIDE) as usize);
        let seen = cells.clone();
        let mut functions = Functions::default();
        let body = functions.add(move |guest, _| {
            let thread = guest.thread.clone();
            let tid = thread.thread_num();
            let at = 4096 + tid * 256;
            let long = |at, value: i64| guest.program.memory.put_u64(at, value as u64).unwrap();
            for dimension in 0..2 {
                for (value, index) in [0, i64::from(SIDE) - 1, 1].into_iter().zip(0..) {
                    long(at + dimension * 24 + index * 8, value);
                }
            }
            thread.doacross_init(2, at)?;
            let vector = |i: i64, j: i64| {
                long(at + 64, i);
                long(at + 72, j);
                at + 64
            };
            for i in (tid..SIDE).step_by(thread.num_threads() as usize) {
                for j in 0..SIDE {
                    thread.doacross_wait(vector(i64::from(i) - 1, i64::from(j)))?;
                    thread.doacross_wait(vector(i64::from(i), i64::from(j) - 1))?;
                    let value =
                        |i: u32, j: u32| seen[(i * SIDE + j) as usize].load(Ordering::Relaxed);
                    let above = if i == 0 { 1 } else { value(i - 1, j) };
                    let left = if j == 0 { 0 } else { value(i, j - 1) };
                    let sum = (above + left) % 1_000_003;
                    seen[(i * SIDE + j) as usize].store(sum, Ordering::Relaxed);
                    thread.doacross_post(vector(i64::from(i), i64::from(j)))?;
                }
            }
            thread.doacross_fini()?;
            Ok(0)
        });
        run(threads, functions, |guest| guest.fork(body));

        let mut expected = vec![0; (SIDE * SIDE) as usize];
        for i in 0..SIDE as usize {
            for j in 0..SIDE as usize {
                let above = if i == 0 { 1 } else { expected[(i - 1) * SIDE as usize + j] };
                let left = if j == 0 { 0 } else { expected[i * SIDE as usize + j - 1] };
                expected[i * SIDE as usize + j] = (above + left) % 1_000_003;
            }
        }
        assert_eq!(values(&cells), expected, "at {threads}");
    }
}
