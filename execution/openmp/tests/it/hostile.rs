//! Wrong programs get errors: all their threads end, none waits for ever.

use crate::host::{Functions, Native, config, run_with};
use openmp::{
    Bounds, DispatchOut, Error, Kind, LinearMemory, Memory, Result, StaticLoop, Taskloop, Whole,
};
use std::{cell::UnsafeCell, sync::Arc};

fn fails(threads: u32, wrong: impl Fn(&mut Native) -> Result<()> + Send + Sync + 'static) -> Error {
    let mut functions = Functions::default();
    let body = functions.add(move |guest, _| {
        if guest.thread.thread_num() == guest.thread.num_threads() - 1 {
            wrong(guest)?;
        }
        guest.barrier().map(|()| 0)
    });
    run_with(config(threads), Arc::new(Whole), functions, |guest| guest.fork(body)).unwrap_err()
}

type Wrong = fn(&mut Native) -> Result<()>;

const BEYOND: u32 = u32::MAX - 2;

#[test]
fn wrong_calls_end_the_team_with_a_reason() {
    let calls: &[(&str, Wrong)] = &[
        ("does not exist", |guest| guest.fork(999)),
        ("do not exist", |guest| guest.thread.clone().fork_call(guest, 4, 0, BEYOND)),
        ("more than 4096", |guest| guest.thread.clone().fork_call(guest, u32::MAX, 0, 0)),
        ("serial region", |guest| guest.thread.clone().end_serialized_parallel(guest)),
        ("do not exist", |guest| guest.thread.critical(BEYOND)),
        ("not aligned", |guest| guest.thread.critical(1025)),
        ("does not hold it", |guest| guest.thread.end_critical(1024)),
        ("already in", |guest| {
            guest.thread.critical(1024)?;
            guest.thread.critical(1024)
        }),
        ("not initialised", |guest| guest.thread.set_lock(1024)),
        ("not initialised", |guest| guest.thread.test_nest_lock(1024).map(drop)),
        ("nobody holds it", |guest| {
            guest.thread.init_lock(1024)?;
            guest.thread.unset_lock(1024)
        }),
        ("does not hold it", |guest| {
            guest.thread.init_nest_lock(1024)?;
            guest.thread.unset_nest_lock(1024)
        }),
        ("schedule 999", |guest| guest.thread.for_static_init(&fixed(999, 1))),
        ("step is 0", |guest| guest.thread.for_static_init(&fixed(34, 0))),
        ("schedule 12", |guest| guest.thread.dispatch_init(&dynamic(12, 1))),
        ("step is 0", |guest| guest.thread.dispatch_init(&dynamic(35, 0))),
        ("outside a loop", |guest| {
            let out = DispatchOut { last: 0, lower: 1024, upper: 1032, stride: 1040 };
            guest.thread.dispatch_next(&out).map(drop)
        }),
        ("outside an ordered loop", |guest| guest.thread.ordered()),
        ("nested ordered loops", |guest| guest.thread.doacross_init(u32::MAX, 0)),
        ("outside an ordered loop", |guest| guest.thread.doacross_wait(0)),
        ("impossible size", |guest| guest.thread.clone().task_alloc(guest, 1, 4, 0, 0).map(drop)),
        ("impossible size", |guest| {
            guest.thread.clone().task_alloc(guest, 1, u32::MAX, u32::MAX, 0).map(drop)
        }),
        ("not allocated", |guest| guest.thread.clone().task(guest, 1024)),
        ("not allocated", |guest| guest.thread.task_begin_if0(1024)),
        ("not begun", |guest| {
            let task = guest.make(1, 0, 0)?;
            guest.thread.clone().task_complete_if0(guest, task)
        }),
        ("not begun", |guest| guest.thread.clone().end_taskgroup(guest)),
        ("within a task", |guest| {
            let task = guest.make(1, 0, 0)?;
            guest.thread.task_begin_if0(task)?;
            guest.barrier()
        }),
        ("not allocated", |guest| guest.thread.allow_completion_event(1024).map(drop)),
        ("does not wait", |guest| guest.thread.fulfill_event(7)),
        ("not allocated", |guest| guest.thread.clone().free(guest, 1024)),
        ("allocator that", |guest| guest.thread.clone().allocate(guest, 8, 0, 999).map(drop)),
        ("do not exist", |guest| guest.thread.init_allocator(1, BEYOND).map(drop)),
        ("do not exist", |guest| guest.thread.set_affinity_format(BEYOND)),
        ("do not exist", |guest| guest.thread.capture_affinity(BEYOND, 9, 0).map(drop)),
        ("do not exist", |guest| guest.thread.clone().fork_teams(guest, 1, 0, BEYOND)),
        ("outside a task group", |guest| {
            guest.thread.clone().taskred_init(guest, 1, 1024).map(drop)
        }),
        ("no group around", |guest| guest.thread.task_reduction_data(5, 5).map(drop)),
        ("does not exist", |guest| guest.thread.cancel(17).map(drop)),
        ("not begun", |guest| guest.thread.end_reduce_nowait(1024)),
        ("dependences of one task", |guest| {
            guest.thread.clone().wait_deps(guest, [(u32::MAX, 0), (0, 0)])
        }),
        ("do not exist", |guest| guest.thread.clone().wait_deps(guest, [(2, BEYOND), (0, 0)])),
        ("do not exist", |guest| {
            let task = guest.make(1, 0, 0)?;
            guest.thread.clone().taskloop(
                guest,
                &Taskloop {
                    task,
                    deferred: true,
                    lower: 0,
                    upper: BEYOND,
                    step: 1,
                    no_group: false,
                    schedule: 0,
                    size: 0,
                    duplicate: 0,
                },
            )
        }),
        ("nested regions", |guest| {
            loop {
                guest.thread.serialized_parallel()?;
            }
        }),
    ];
    for (expected, wrong) in calls {
        for threads in [2, 4] {
            let error = fails(threads, *wrong);
            let text = match &error {
                Error::Guest { source, .. } => format!("{error}: {source}"),
                _ => error.to_string(),
            };
            let expected = expected.replace("does not exist", "");
            assert!(text.contains(&expected), "{text} instead of {expected}");
            assert!(!matches!(error, Error::Stopped), "{expected}");
        }
    }
}

fn fixed(schedule: u32, step: u64) -> StaticLoop {
    let (last, lower, upper, stride) = (1024, 1032, 1040, 1048);
    StaticLoop { kind: Kind::I32, schedule, last, lower, upper, stride, step, chunk: 1 }
}

fn dynamic(schedule: u32, step: u64) -> Bounds {
    Bounds { kind: Kind::U64, schedule, lower: 0, upper: 9, step, chunk: 0 }
}

#[test]
fn a_thread_that_traps_frees_those_that_wait_for_it() {
    let waits: &[Wrong] = &[
        |guest| guest.barrier(),
        |guest| guest.thread.critical(2048),
        |guest| guest.thread.clone().copyprivate(guest, 0, 0, false),
    ];
    for wait in waits {
        for threads in [2, 3, 8] {
            let mut functions = Functions::default();
            let wait = *wait;
            let body = functions.add(move |guest, _| {
                if guest.thread.masked(1) {
                    guest.thread.critical(2048)?;
                    std::thread::sleep(std::time::Duration::from_millis(5));
                    return Err(Error::Guest { thread: 1, source: "unreachable".into() });
                }
                wait(guest)?;
                wait(guest).map(|()| 0)
            });
            let ran =
                run_with(config(threads), Arc::new(Whole), functions, |guest| guest.fork(body));
            assert!(ran.is_err());
        }
    }
}

struct Nothing;

impl LinearMemory for Nothing {
    fn bytes(&self) -> &[UnsafeCell<u8>] {
        &[]
    }
}

#[test]
fn an_empty_memory_has_no_words() {
    let memory = Memory::new(Arc::new(Nothing));

    for address in [0, 4, !7] {
        assert!(matches!(memory.u32(address), Err(Error::Address { .. })));
        assert!(memory.put_u64(address, 1).is_err());
    }
}
