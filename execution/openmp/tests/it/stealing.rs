//! Which thread runs a task, how deep in others, and what waiting costs.

use crate::host::{Functions, Native, SIZES, config, counters, run, run_with, values};
use openmp::{Config, Result, Whole};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

/// Waits without doing tasks.
fn spin_until(done: impl Fn() -> bool) {
    while !done() {
        std::thread::yield_now();
    }
}

/// A region in which the first thread does this and the others help at the end.
fn first(
    functions: &mut Functions,
    body: impl Fn(&mut Native) -> Result<()> + Send + Sync + 'static,
) -> u32 {
    functions.add(move |guest, _| {
        if guest.thread.masked(0) {
            body(guest)?;
        }
        guest.barrier().map(|()| 0)
    })
}

#[test]
fn tasks_of_a_thread_that_is_busy_are_run_by_others() {
    for threads in SIZES.into_iter().filter(|threads| *threads > 1) {
        let by = counters(8);
        let (ran, seen) = (by.clone(), by.clone());
        let mut functions = Functions::default();
        let entry = functions.add(move |guest, _| {
            ran[guest.thread.thread_num() as usize].fetch_add(1, Ordering::SeqCst);
            Ok(0)
        });
        let body = first(&mut functions, move |guest| {
            for _ in 0..100 {
                guest.task(entry, 0)?;
            }
            spin_until(|| values(&seen).iter().sum::<u32>() == 100);
            Ok(())
        });
        run(threads, functions, |guest| guest.fork(body));
        assert_eq!(values(&by)[0], 0, "at {threads}");
    }
}

#[test]
fn threads_at_a_regions_end_help_until_it_is_over() {
    for threads in SIZES.into_iter().filter(|threads| *threads > 1) {
        let ran = counters(1);
        let (shared, seen) = (ran.clone(), ran.clone());
        let mut functions = Functions::default();
        let entry = functions.add(move |_, _| {
            shared[0].fetch_add(1, Ordering::SeqCst);
            Ok(0)
        });
        let body = functions.add(move |guest, _| {
            if !guest.thread.masked(0) {
                return Ok(0);
            }
            // The others spin at first, and sleep later.
            for (millis, all) in [(0, 10), (1, 20), (30, 30)] {
                std::thread::sleep(std::time::Duration::from_millis(millis));
                for _ in 0..10 {
                    guest.task(entry, 0)?;
                }
                spin_until(|| seen[0].load(Ordering::SeqCst) % 30 == all % 30);
            }
            Ok(0)
        });
        run(threads, functions, |guest| (0..3).try_for_each(|_| guest.fork(body)));
        assert_eq!(values(&ran), [90]);
    }
}

/// Which tasks each thread is in, and which one made which.
#[derive(Default)]
struct Family {
    parents: Mutex<Vec<u32>>,
    within: [Mutex<Vec<u32>>; 8],
}

impl Family {
    fn born(&self, parent: u32) -> u32 {
        let mut parents = self.parents.lock().unwrap();
        parents.push(parent);
        parents.len() as u32
    }

    fn descends(&self, mut task: u32, ancestor: u32) -> bool {
        let parents = self.parents.lock().unwrap();
        while task != ancestor && task != 0 {
            task = parents[task as usize - 1];
        }
        task == ancestor
    }
}

#[test]
fn a_thread_that_waits_in_a_task_runs_only_tasks_within_it() {
    for threads in SIZES {
        let family = Arc::new(Family::default());
        let (shared, born) = (family.clone(), family.clone());
        let mut functions = Functions::default();
        let entry = functions.add(move |guest, args| {
            let (own, depth) = (guest.word(args[1] + 20), guest.word(args[1] + 24));
            let thread = guest.thread.clone();
            let within = &shared.within[thread.thread_num() as usize];
            if let Some(around) = within.lock().unwrap().last() {
                assert!(shared.descends(own, *around), "{own} within {around} at {threads}");
            }
            within.lock().unwrap().push(own);
            for child in 0..if depth == 0 { 0 } else { 4 } {
                let task = guest.make(1, 0, shared.born(own))?;
                guest.put(task + 24, depth - 1);
                thread.task(guest, task)?;
                if child == own % 4 {
                    thread.taskyield(guest)?;
                }
            }
            // Some leave their children to whoever waits for the region's end.
            if own % 3 > 0 {
                thread.taskwait(guest)?;
            }
            assert_eq!(within.lock().unwrap().pop(), Some(own));
            Ok(0)
        });
        assert_eq!(entry, 0);
        let body = first(&mut functions, move |guest| {
            let thread = guest.thread.clone();
            for _ in 0..4 {
                let task = guest.make(1, entry, born.born(0))?;
                guest.put(task + 24, 4);
                thread.task(guest, task)?;
            }
            Ok(())
        });
        run(threads, functions, |guest| guest.fork(body));
        let all = family.parents.lock().unwrap().len();
        assert_eq!(all, 4 * (1 + 4 + 16 + 64 + 256));
    }
}

/// Runs a region at 2 threads whose tasks make each other `links` times; gives how many ran, and
/// the most that a thread was in at once.
fn chains(begin: u32, links: u32, yields: bool) -> (u32, u32) {
    // Tasks that ran, the most at once, and those of either thread now.
    let seen = counters(4);
    let shared = seen.clone();
    let mut functions = Functions::default();
    let entry = functions.add(move |guest, args| {
        let thread = guest.thread.clone();
        let within = &shared[2 + thread.thread_num() as usize];
        let depth = within.fetch_add(1, Ordering::Relaxed) + 1;
        shared[0].fetch_add(1, Ordering::Relaxed);
        shared[1].fetch_max(depth, Ordering::Relaxed);
        let left = guest.word(args[1] + 20);
        if left > 0 {
            guest.task(0, left - 1)?;
        }
        if yields {
            thread.taskyield(guest)?;
        }
        within.fetch_sub(1, Ordering::Relaxed);
        Ok(0)
    });
    let body = first(&mut functions, move |guest| {
        for _ in 0..begin {
            guest.task(entry, links)?;
        }
        Ok(())
    });
    run(2, functions, |guest| guest.fork(body));
    (seen[0].load(Ordering::Relaxed), seen[1].load(Ordering::Relaxed))
}

#[test]
fn tasks_that_nobody_waits_for_do_not_pile_up_on_a_stack() {
    // One that yields to the one it made, and so on; and more than queues have room for.
    for (begin, links, yields) in [(1, 20_000, true), (1000, 100, false), (300, 50, true)] {
        let (ran, deepest) = chains(begin, links, yields);

        assert_eq!(ran, begin * (links + 1));
        assert!(deepest <= 100, "{deepest} tasks within one another");
    }
}

#[test]
fn tasks_that_wait_for_one_another_nest_as_deep_as_the_program_does() {
    for threads in SIZES {
        let mut functions = Functions::default();
        let entry = functions.add(|guest, args| {
            let (thread, left) = (guest.thread.clone(), guest.word(args[1] + 20));
            if left > 0 {
                guest.task(0, left - 1)?;
                thread.taskwait(guest)?;
            }
            guest.put(2048 + left * 4, 1);
            Ok(0)
        });
        let body = first(&mut functions, move |guest| guest.task(entry, 200));
        run(threads, functions, |guest| {
            guest.fork(body)?;
            assert!((0..=200).all(|left| guest.word(2048 + left * 4) == 1));
            Ok(())
        });
    }
}

/// Has all other threads wait in tasks until the answer is set.
fn occupy(guest: &mut Native, blocker: u32, blocked: &AtomicU32) -> Result<()> {
    let others = guest.thread.num_threads() - 1;
    for _ in 0..others {
        guest.task(blocker, 0)?;
    }
    spin_until(|| blocked.load(Ordering::SeqCst) == others);
    Ok(())
}

/// What `occupy` needs: the task, how many run, and what ends them.
fn blocker(functions: &mut Functions) -> (u32, Arc<AtomicU32>, Arc<AtomicBool>) {
    let (blocked, over) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    let (count, flag) = (blocked.clone(), over.clone());
    let entry = functions.add(move |_, _| {
        count.fetch_add(1, Ordering::SeqCst);
        spin_until(|| flag.load(Ordering::SeqCst));
        Ok(0)
    });
    (entry, blocked, over)
}

#[test]
fn queued_tasks_of_a_cancelled_group_or_region_do_not_run_and_are_waited_for() {
    for threads in SIZES.into_iter().filter(|threads| *threads > 1) {
        // A task group, and the region itself.
        for kind in [4, 1] {
            let ran = counters(1);
            let shared = ran.clone();
            let mut functions = Functions::default();
            let (block, blocked, over) = blocker(&mut functions);
            let entry = functions.add(move |_, _| {
                shared[0].fetch_add(1, Ordering::Relaxed);
                Ok(0)
            });
            let body = first(&mut functions, move |guest| {
                let thread = guest.thread.clone();
                occupy(guest, block, &blocked)?;
                thread.taskgroup();
                for _ in 0..100 {
                    guest.task(entry, 0)?;
                }
                assert!(thread.cancel(kind)?);
                over.store(true, Ordering::SeqCst);
                thread.end_taskgroup(guest)
            });
            run(threads, functions, |guest| guest.fork(body));
            assert_eq!(values(&ran), [0], "kind {kind} at {threads}");
        }
    }
}

#[test]
fn more_urgent_tasks_come_first() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let log = order.clone();
    let mut functions = Functions::default();
    let (block, blocked, over) = blocker(&mut functions);
    let entry = functions.add(move |guest, args| {
        log.lock().unwrap().push(guest.word(args[1] + 20));
        Ok(0)
    });
    let body = first(&mut functions, move |guest| {
        let thread = guest.thread.clone();
        occupy(guest, block, &blocked)?;
        for number in 0..40 {
            let priority = number * 7 % 5;
            let task = guest.make(33, entry, priority)?;
            guest.put(task + 16, priority);
            thread.task(guest, task)?;
        }
        thread.taskyield(guest)?;
        over.store(true, Ordering::SeqCst);
        spin_until(|| blocked.load(Ordering::SeqCst) == 1);
        thread.taskwait(guest)
    });
    let config = Config { max_task_priority: 4, ..config(2) };
    run_with(config, Arc::new(Whole), functions, |guest| guest.fork(body)).unwrap();
    let order = order.lock().unwrap();
    // Both threads take from the end at the same time; what each begins with is the most urgent.
    assert_eq!((order.len(), order[0]), (40, 4));
    let early = order[..20].iter().sum::<u32>();
    assert!(early > order[20..].iter().sum(), "{order:?}");
}

#[test]
fn more_threads_than_processors_share_them() {
    let sum = counters(1);
    let shared = sum.clone();
    let mut functions = Functions::default();
    let entry = functions.add(move |_, _| {
        shared[0].fetch_add(1, Ordering::Relaxed);
        Ok(0)
    });
    let body = functions.add(move |guest, _| {
        for _ in 0..5 {
            for _ in 0..10 {
                guest.task(entry, 0)?;
            }
            guest.barrier()?;
        }
        Ok(0)
    });
    run(8, functions, |guest| (0..50).try_for_each(|_| guest.fork(body)));
    assert_eq!(values(&sum), [50 * 8 * 5 * 10]);
}

#[test]
fn tasks_take_the_memory_of_earlier_ones_whoever_ran_those() {
    const TASKS: u32 = 2000;
    for threads in SIZES {
        let mut functions = Functions::default();
        let entry = functions.add(|_, _| Ok(0));
        // Others run most of what the first thread makes.
        let body =
            first(&mut functions, move |guest| (0..TASKS).try_for_each(|_| guest.task(entry, 0)));
        run(threads, functions, |guest| {
            for _ in 0..20 {
                guest.fork(body)?;
            }
            let each = guest.heap_bytes() / 48;
            assert!(each < 2 * TASKS, "{each} of {} tasks at {threads}", 20 * TASKS);
            Ok(())
        });
    }
}

/// How often the other threads of this process have gone to sleep; `None` if one does not sleep.
#[cfg(target_os = "linux")]
fn naps_of_others() -> Option<u64> {
    let own = std::fs::read_link("/proc/thread-self").unwrap();
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let others = tasks.map(|task| task.unwrap()).filter(|task| !own.ends_with(task.file_name()));
    let field = |status: &str, name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim().to_owned()
    };
    others
        .map(|task| {
            let status = std::fs::read_to_string(task.path().join("status")).unwrap();
            let naps = field(&status, "voluntary_ctxt_switches:").parse::<u64>().unwrap();
            field(&status, "State:").starts_with('S').then_some(naps)
        })
        .sum()
}

#[test]
#[cfg(target_os = "linux")]
fn threads_between_regions_sleep_and_stay_asleep() {
    let mut functions = Functions::default();
    let body = functions.add(|guest, _| guest.barrier().map(|()| 0));
    run(8, functions, |guest| {
        guest.fork(body)?;
        spin_until(|| naps_of_others().is_some());
        let before = naps_of_others();
        // Much longer than any of them sleeps while it waits within a region.
        std::thread::sleep(std::time::Duration::from_millis(200));
        assert_eq!(naps_of_others(), before);
        guest.fork(body)
    });
}

#[test]
fn regions_of_different_kinds_take_turns() {
    let mut functions = Functions::default();
    let ran = counters(2);
    let shared = ran.clone();
    let body = functions.add(move |guest, args| {
        let (thread, count) = (guest.thread.clone(), args.len() as u32 - 2);
        let expected: Vec<u32> = (0..count).map(|arg| arg * 3 + count).collect();
        assert_eq!(args[2..], expected);
        assert!(!thread.cancellation_point(1)?);
        if thread.single() {
            shared[0].fetch_add(1, Ordering::Relaxed);
        }
        shared[1].fetch_add(1, Ordering::Relaxed);
        guest.barrier()?;
        if count % 2 == 1 && thread.masked(0) {
            thread.cancel(1)?;
        }
        Ok(0)
    });
    run(4, functions, |guest| {
        let thread = guest.thread.clone();
        let mut threads = 0;
        for round in 0..200 {
            let (size, count) = (round % 4 + 1, [0, 5, 12, 13, 100][round as usize % 5]);
            let words: Vec<u32> = (0..count).map(|arg| arg * 3 + count).collect();
            guest.put_words(1024, &words);
            thread.set_schedule(2, (round as i32) / 50 + 1);
            thread.push_num_threads(size);
            thread.fork_call(guest, count, body, 1024)?;
            threads += size;
            assert_eq!(values(&ran), [round + 1, threads]);
        }
        Ok(())
    });
}
