//! Tasks run once, after those they wait for, and are waited for.

use crate::host::{Functions, Native, SIZES, counters, run, values};
use openmp::{Guest, Result, Taskloop};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU32, Ordering},
};

/// A region whose first thread makes tasks while the others help.
fn producer(
    functions: &mut Functions,
    body: impl Fn(&mut Native) -> Result<()> + Send + Sync + 'static,
) -> u32 {
    functions.add(move |guest, _| {
        if guest.thread.single() {
            body(guest)?;
        }
        guest.barrier()?;
        Ok(0)
    })
}

#[test]
fn tasks_run_once_and_waits_see_them_done() {
    for threads in SIZES {
        let seen = counters(2000);
        let (shared, waited) = (seen.clone(), seen.clone());
        let mut functions = Functions::default();
        let entry = functions.add(move |guest, args| {
            shared[guest.word(args[1] + 20) as usize].fetch_add(1, Ordering::Relaxed);
            Ok(0)
        });
        let body = producer(&mut functions, move |guest| {
            for number in 0..1000 {
                guest.task(entry, number)?;
            }
            let thread = guest.thread.clone();
            thread.taskwait(guest)?;
            assert!(values(&waited)[..1000].iter().all(|times| *times == 1));
            for number in 1000..2000 {
                guest.task(entry, number)?;
                thread.taskyield(guest)?;
            }
            Ok(())
        });
        run(threads, functions, |guest| guest.fork(body));
        assert!(values(&seen).iter().all(|times| *times == 1), "at {threads}");
    }
}

#[test]
fn tasks_within_tasks_compute_a_recursion() {
    for threads in SIZES {
        let mut functions = Functions::default();
        // fib(n) into the word at `out`: the task's words are n and out.
        let entry = functions.add(move |guest, args| {
            let (number, out) = (guest.word(args[1] + 20), guest.word(args[1] + 24));
            if number < 2 {
                guest.put(out, number);
                return Ok(0);
            }
            let thread = guest.thread.clone();
            let parts = thread.task_alloc(guest, 1, 24, 8, 0)? + 24;
            for part in 0..2 {
                let task = guest.make(1, 0, number - 1 - part)?;
                guest.put(task + 24, parts + part * 4);
                thread.task(guest, task)?;
            }
            thread.taskwait(guest)?;
            guest.put(out, guest.word(parts) + guest.word(parts + 4));
            Ok(0)
        });
        assert_eq!(entry, 0);
        let body = producer(&mut functions, move |guest| {
            let task = guest.make(1, entry, 15)?;
            guest.put(task + 24, 2048);
            let thread = guest.thread.clone();
            thread.task(guest, task)
        });
        run(threads, functions, |guest| {
            guest.fork(body)?;
            assert_eq!(guest.word(2048), 610);
            Ok(())
        });
    }
}

#[test]
fn dependences_order_tasks() {
    for threads in SIZES {
        let log = Arc::new(Mutex::new(Vec::new()));
        let (shared, late) = (log.clone(), log.clone());
        let mut functions = Functions::default();
        let entry = functions.add(move |guest, args| {
            shared.lock().unwrap().push(guest.word(args[1] + 20));
            Ok(0)
        });
        // Rounds of a writer, three readers, a writer again; on two addresses.
        let body = producer(&mut functions, move |guest| {
            let thread = guest.thread.clone();
            for number in 0..200 {
                let flags = if number % 4 == 0 { 3 } else { 1 };
                let task = guest.make(1, entry, number)?;
                let list = 1024 + number * 12;
                guest.put_words(list, &[0x5000 + number / 4 % 2, 4, flags]);
                thread.task_with_deps(guest, task, [(1, list), (0, 0)])?;
            }
            guest.put_words(1000, &[0x5001, 4, 1]);
            thread.wait_deps(guest, [(1, 1000), (0, 0)])?;
            assert!(late.lock().unwrap().contains(&196));
            Ok(())
        });
        run(threads, functions, |guest| guest.fork(body));

        let log = log.lock().unwrap();
        assert_eq!(log.len(), 200);
        let when: Vec<usize> =
            (0..200).map(|task| log.iter().position(|seen| *seen == task).unwrap()).collect();
        for (task, place) in when.iter().enumerate() {
            let writer = task / 4 * 4;
            assert!(when[writer] <= *place, "{task} before its writer at {threads}");
            if task % 4 == 0 && task >= 8 {
                // The same address was used two rounds before.
                assert!(when[task - 8..task - 4].iter().all(|earlier| earlier < place));
            }
        }
    }
}

#[test]
fn groups_wait_for_what_their_tasks_make_and_can_be_cancelled() {
    for threads in SIZES {
        let count = Arc::new(AtomicU32::new(0));
        let (shared, seen) = (count.clone(), count.clone());
        let mut functions = Functions::default();
        let inner = functions.add(move |_, _| {
            shared.fetch_add(1, Ordering::Relaxed);
            Ok(0)
        });
        let outer = functions.add(move |guest, _| {
            for _ in 0..5 {
                guest.task(inner, 0)?;
            }
            Ok(0)
        });
        let cancelling = functions.add(move |guest, _| {
            assert!(guest.thread.cancel(4)?);
            assert!(guest.thread.cancellation_point(4)?);
            Ok(0)
        });
        let body = producer(&mut functions, move |guest| {
            let thread = guest.thread.clone();
            thread.taskgroup();
            for _ in 0..20 {
                guest.task(outer, 0)?;
            }
            thread.end_taskgroup(guest)?;
            assert_eq!(seen.load(Ordering::Relaxed), 100);
            thread.taskgroup();
            guest.task(cancelling, 0)?;
            thread.taskwait(guest)?;
            guest.task(outer, 0)?;
            thread.end_taskgroup(guest)?;
            assert_eq!(seen.load(Ordering::Relaxed), 100);
            Ok(())
        });
        run(threads, functions, |guest| guest.fork(body));
        assert_eq!(count.load(Ordering::Relaxed), 100);
    }
}

#[test]
fn undeferred_and_final_tasks_run_in_place() {
    for threads in SIZES {
        let mut functions = Functions::default();
        let leaf = functions.add(|guest, _| {
            assert!(guest.thread.in_final());
            guest.put(2048, guest.word(2048) + 1);
            Ok(0)
        });
        let last = functions.add(move |guest, _| {
            guest.task(leaf, 0)?;
            guest.task(leaf, 0)?;
            Ok(0)
        });
        let body = producer(&mut functions, move |guest| {
            let thread = guest.thread.clone();
            let task = guest.make(3, last, 0)?;
            thread.task(guest, task)?;
            assert_eq!(guest.word(2048), 2);
            let task = guest.make(1, leaf, 0)?;
            thread.task_begin_if0(task)?;
            assert!(!thread.in_final());
            thread.task_complete_if0(guest, task)
        });
        run(threads, functions, |guest| guest.fork(body));
    }
}

#[test]
fn taskloops_run_each_iteration_once() {
    for threads in SIZES {
        for (schedule, size, step, trip) in [
            (0, 0, 1, 100),
            (1, 7, 1, 100),
            (2, 9, 3, 50),
            (2, 9, 1, 3),
            (1, 4, -2, 31),
            (0, 0, 1, 0),
        ] {
            for (deferred, no_group) in [(true, false), (false, false), (true, true)] {
                let seen = counters(trip as usize + 1);
                let shared = seen.clone();
                let mut functions = Functions::default();
                let entry = functions.add(move |guest, args| {
                    let long = |at| guest.program.memory.u64(args[1] + at).unwrap() as i64;
                    let (lower, upper) = (long(24), long(32));
                    assert_eq!(guest.word(guest.word(args[1])), 77);
                    for iteration in 0..=(upper - lower) / step {
                        let index = (lower + iteration * step - 500) / step;
                        shared[index as usize].fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(0)
                });
                let body = producer(&mut functions, move |guest| {
                    let thread = guest.thread.clone();
                    let task = thread.task_alloc(guest, 1, 64, 4, entry)?;
                    guest.put(guest.word(task), 77);
                    let long = |at, value: i64| {
                        guest.program.memory.put_u64(task + at, value as u64).unwrap();
                    };
                    long(24, 500);
                    long(32, 500 + (trip - 1) * step);
                    let (lower, upper) = (task + 24, task + 32);
                    let step = step as u64;
                    thread.taskloop(
                        guest,
                        &Taskloop {
                            task,
                            deferred,
                            lower,
                            upper,
                            step,
                            no_group,
                            schedule,
                            size,
                            duplicate: 0,
                        },
                    )
                });
                run(threads, functions, |guest| guest.fork(body));
                assert!(values(&seen)[..trip as usize].iter().all(|times| *times == 1));
            }
        }
    }
}

#[test]
fn task_reductions_add_up() {
    for threads in SIZES {
        let mut functions = Functions::default();
        let init = functions.add(|guest, args| {
            guest.put(args[0], 0);
            Ok(0)
        });
        let combine = functions.add(|guest, args| {
            guest.put(args[0], guest.word(args[0]) + guest.word(args[1]));
            Ok(0)
        });
        let entry = functions.add(|guest, args| {
            let handle = guest.word(args[1] + 20);
            let copy = guest.thread.task_reduction_data(handle, 2048)?;
            guest.put(copy, guest.word(copy) + 1);
            Ok(0)
        });
        let group = producer(&mut functions, move |guest| {
            let thread = guest.thread.clone();
            guest.put_words(1024, &[2048, 2048, 4, init, 0, combine, 0]);
            thread.taskgroup();
            let handle = thread.taskred_init(guest, 1, 1024)?;
            for number in 0..100 {
                guest.task(entry, if number % 2 == 0 { handle } else { 0 })?;
            }
            thread.end_taskgroup(guest)
        });
        let region = functions.add(move |guest, _| {
            let thread = guest.thread.clone();
            let at = 4096 + thread.thread_num() * 64;
            guest.put_words(at, &[2048, 2048, 4, init, 0, combine, 0]);
            let handle = thread.taskred_modifier_init(guest, false, 1, at)?;
            for _ in 0..10 {
                guest.task(entry, handle)?;
            }
            thread.end_taskgroup(guest)?;
            Ok(0)
        });
        run(threads, functions, |guest| {
            guest.put(2048, 1000);
            guest.fork(group)?;
            assert_eq!(guest.word(2048), 1100);
            guest.fork(region)?;
            assert_eq!(guest.word(2048), 1100 + 10 * threads);
            Ok(())
        });
    }
}

#[test]
fn a_long_chain_of_tasks_needs_no_stack() {
    let mut functions = Functions::default();
    let entry = functions.add(|guest, args| {
        let left = guest.word(args[1] + 20);
        if left > 0 && guest.thread.num_threads() > 1 {
            guest.task(0, left - 1)?;
        }
        Ok(0)
    });
    let body = producer(&mut functions, move |guest| guest.task(entry, 100_000));
    run(2, functions, |guest| guest.fork(body));
}

#[test]
fn an_untied_task_is_called_for_each_of_its_parts() {
    for threads in SIZES {
        let parts = counters(4);
        let shared = parts.clone();
        let mut functions = Functions::default();
        let entry = functions.add(move |guest, args| {
            let (task, thread) = (args[1], guest.thread.clone());
            let part = guest.word(task + 8);
            shared[part as usize].fetch_add(1, Ordering::Relaxed);
            if part < 3 {
                guest.put(task + 8, part + 1);
                thread.task(guest, task)?;
            }
            Ok(0)
        });
        let body = functions.add(move |guest, _| {
            let thread = guest.thread.clone();
            if thread.single() {
                for _ in 0..10 {
                    let task = guest.make(0, entry, 0)?;
                    thread.task(guest, task)?;
                }
                thread.taskwait(guest)?;
                // The compiler calls one that is not deferred for its first part.
                let task = guest.make(0, entry, 0)?;
                thread.task_begin_if0(task)?;
                guest.call(entry, &[0, task], true)?;
                thread.task_complete_if0(guest, task)?;
            }
            Ok(0)
        });
        run(threads, functions, |guest| guest.fork(body));
        assert_eq!(values(&parts), [11; 4]);
    }
}

#[test]
fn a_detached_task_is_done_when_its_event_has_come() {
    for threads in SIZES {
        let after = counters(2);
        let shared = after.clone();
        let mut functions = Functions::default();
        let nothing = functions.add(|_, _| Ok(0));
        let fulfill = functions.add(|guest, args| {
            let event = guest.word(args[1] + 20);
            guest.thread.fulfill_event(event).map(|()| 0)
        });
        let successor = functions.add(move |_, _| {
            shared[0].fetch_add(1, Ordering::Relaxed);
            Ok(0)
        });
        let seen = after.clone();
        let body = functions.add(move |guest, _| {
            let thread = guest.thread.clone();
            if !thread.single() {
                return Ok(0);
            }
            for round in 0..20 {
                guest.put_words(4096, &[64, 4, 3]);
                let detached = guest.make(0x41, nothing, 0)?;
                let event = thread.allow_completion_event(detached)?;
                thread.task_with_deps(guest, detached, [(1, 4096), (0, 0)])?;
                let next = guest.make(1, successor, 0)?;
                thread.task_with_deps(guest, next, [(1, 4096), (0, 0)])?;
                assert_eq!(seen[0].load(Ordering::Relaxed), round);
                guest.task(fulfill, event)?;
                thread.taskwait(guest)?;
                assert_eq!(seen[0].load(Ordering::Relaxed), round + 1);
                assert!(thread.fulfill_event(event).is_err());
            }
            // The event comes first, and nobody waits but the region's end.
            let detached = guest.make(0x41, nothing, 0)?;
            let event = thread.allow_completion_event(detached)?;
            thread.fulfill_event(event)?;
            thread.task(guest, detached)?;
            let last = guest.make(0x41, nothing, 0)?;
            let event = thread.allow_completion_event(last)?;
            thread.task(guest, last)?;
            guest.task(fulfill, event)?;
            Ok(0)
        });
        run(threads, functions, |guest| guest.fork(body));
        assert_eq!(values(&after)[0], 20);
    }
}
