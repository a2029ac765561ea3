//! Regions, and what their threads do together.

use crate::host::{Functions, SIZES, config, counters, run, run_with, values};
use openmp::{Advice, Config, Kind, Region, StaticLoop, Whole};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU32, Ordering},
};

#[test]
fn every_thread_runs_a_region_once_with_its_arguments() {
    for threads in SIZES {
        let seen = counters(8);
        let shared = seen.clone();
        let mut functions = Functions::default();
        let body = functions.add(move |guest, args| {
            assert_eq!(args[2..], [7, 9]);
            assert_eq!(guest.word(args[0]), guest.thread.global_number());
            let tid = guest.word(args[1]);
            assert_eq!(tid, guest.thread.thread_num());
            // Between regions the first thread keeps its threads in their order.
            assert_eq!(tid, guest.thread.global_number());
            assert!(guest.thread.in_parallel() || guest.thread.num_threads() == 1);
            shared[tid as usize].fetch_add(1, Ordering::Relaxed);
            Ok(0)
        });
        run(threads, functions, |guest| {
            guest.put_words(1024, &[7, 9]);
            let thread = guest.thread.clone();
            for _ in 0..100 {
                thread.fork_call(guest, 2, body, 1024)?;
                assert!(!thread.in_parallel());
            }
            assert_eq!(thread.max_threads(), threads);
            thread.push_num_threads(1);
            thread.fork_call(guest, 2, body, 1024)
        });

        let mut expected = [0; 8];
        expected[..threads as usize].fill(100);
        expected[0] += 1;
        assert_eq!(values(&seen), expected);
    }
}

#[test]
fn barriers_part_phases() {
    for threads in SIZES {
        let count = Arc::new(AtomicU32::new(0));
        let shared = count.clone();
        let mut functions = Functions::default();
        let body = functions.add(move |guest, _| {
            for phase in 1..=200 {
                shared.fetch_add(1, Ordering::Relaxed);
                guest.barrier()?;
                assert_eq!(shared.load(Ordering::Relaxed), phase * guest.thread.num_threads());
                guest.barrier()?;
            }
            Ok(0)
        });
        run(threads, functions, |guest| guest.fork(body));
        assert_eq!(count.load(Ordering::Relaxed), 200 * threads);
    }
}

#[test]
fn one_thread_runs_a_single_region_and_all_get_its_data() {
    for threads in SIZES {
        let singles = Arc::new(AtomicU32::new(0));
        let shared = singles.clone();
        let mut functions = Functions::default();
        let copy = functions.add(|guest, args| {
            let value = guest.word(args[1]);
            guest.put(args[0], value);
            Ok(0)
        });
        let body = functions.add(move |guest, _| {
            let thread = guest.thread.clone();
            let mine = 4096 + thread.thread_num() * 64;
            for round in 1..=100 {
                let is_single = thread.single();
                if is_single {
                    shared.fetch_add(1, Ordering::Relaxed);
                    guest.put(mine, round * 10);
                }
                thread.copyprivate(guest, mine, copy, is_single)?;
                assert_eq!(guest.word(mine), round * 10);
            }
            // Without waiting in between.
            for _ in 0..50 {
                if thread.single() {
                    shared.fetch_add(1, Ordering::Relaxed);
                }
            }
            assert_eq!(thread.masked(0), thread.thread_num() == 0);
            Ok(0)
        });
        run(threads, functions, |guest| guest.fork(body));
        assert_eq!(singles.load(Ordering::Relaxed), 150, "at {threads}");
    }
}

#[test]
fn critical_sections_and_locks_exclude() {
    for threads in SIZES {
        let mut functions = Functions::default();
        let body = functions.add(|guest, _| {
            let thread = guest.thread.clone();
            let increase = |at| {
                let value = guest.word(at);
                std::hint::spin_loop();
                guest.put(at, value + 1);
            };
            for _ in 0..500 {
                thread.critical(1024)?;
                increase(2048);
                thread.end_critical(1024)?;
                thread.set_lock(1028)?;
                increase(2052);
                thread.unset_lock(1028)?;
                thread.set_nest_lock(1032)?;
                thread.set_nest_lock(1032)?;
                assert_eq!(thread.test_nest_lock(1032)?, 3);
                increase(2056);
                for _ in 0..3 {
                    thread.unset_nest_lock(1032)?;
                }
                while !thread.test_lock(1036)? {
                    std::hint::spin_loop();
                }
                increase(2060);
                thread.unset_lock(1036)?;
            }
            Ok(0)
        });
        run(threads, functions, |guest| {
            guest.thread.init_lock(1028)?;
            guest.thread.init_nest_lock(1032)?;
            guest.thread.init_lock(1036)?;
            guest.fork(body)?;
            for at in [2048, 2052, 2056, 2060] {
                assert_eq!(guest.word(at), 500 * threads);
            }
            Ok(())
        });
    }
}

#[test]
fn reductions_count_every_thread_once_by_every_method() {
    for threads in SIZES {
        // Flags of a place, variables: atomic, critical, gathered.
        for (flags, variables) in [(0x12, 1), (0x12, 3), (2, 1)] {
            for waits in [false, true] {
                let mut functions = Functions::default();
                let add = functions.add(|guest, args| {
                    guest.put(args[0], guest.word(args[0]) + guest.word(args[1]));
                    Ok(0)
                });
                let body = functions.add(move |guest, _| {
                    let thread = guest.thread.clone();
                    let mine = 4096 + thread.thread_num() * 64;
                    for round in 1..=50 {
                        guest.put(mine, thread.thread_num() + 1);
                        let size = (variables, variables * 4);
                        match thread.reduce(guest, 1024, size, mine, add, (1056, waits))? {
                            0 => {}
                            1 => {
                                guest.put(2048, guest.word(2048) + guest.word(mine));
                                end(guest, waits)?;
                            }
                            _ => {
                                thread.critical(1060)?;
                                guest.put(2048, guest.word(2048) + guest.word(mine));
                                thread.end_critical(1060)?;
                                end(guest, waits)?;
                            }
                        }
                        if !waits {
                            guest.barrier()?;
                        }
                        let all: u32 = (1..=thread.num_threads()).sum();
                        assert_eq!(guest.word(2048), all * round);
                        guest.barrier()?;
                    }
                    Ok(0)
                });
                run(threads, functions, |guest| {
                    guest.put(1028, flags);
                    guest.fork(body)
                });
            }
        }
    }
}

fn end(guest: &mut crate::host::Native, waits: bool) -> openmp::Result<()> {
    let thread = guest.thread.clone();
    if waits { thread.end_reduce(guest, 1056) } else { thread.end_reduce_nowait(1056) }
}

#[test]
fn regions_within_regions_are_serial_beyond_the_limit() {
    let sizes = Arc::new(Mutex::new(Vec::new()));
    let shared = sizes.clone();
    let mut functions = Functions::default();
    let inner = functions.add(move |guest, _| {
        let thread = &guest.thread;
        assert_eq!(thread.level(), 2);
        assert_eq!(thread.ancestor_thread_num(2), thread.thread_num() as i32);
        assert_eq!(thread.team_size(1), 2);
        assert_eq!(thread.team_size(3), -1);
        shared.lock().unwrap().push(thread.num_threads());
        Ok(0)
    });
    let outer = functions.add(move |guest, _| {
        guest.thread.push_num_threads(2);
        guest.fork(inner).map(|()| 0)
    });
    run(4, functions, |guest| {
        for levels in [1, 2] {
            guest.thread.set_max_active_levels(levels);
            guest.thread.push_num_threads(2);
            guest.fork(outer)?;
            let seen = std::mem::take(&mut *sizes.lock().unwrap());
            assert_eq!(seen, if levels == 1 { vec![1, 1] } else { vec![2; 4] });
        }
        guest.thread.serialized_parallel()?;
        assert_eq!((guest.thread.level(), guest.thread.num_threads()), (1, 1));
        guest.thread.clone().end_serialized_parallel(guest)
    });
}

struct Varying(AtomicU32);

impl Advice for Varying {
    fn threads(&self, region: &Region) -> u32 {
        assert_eq!(region.ceiling, 4);
        self.0.fetch_add(1, Ordering::Relaxed) % 6
    }
}

#[test]
fn elastic_regions_follow_the_advice_and_others_do_not() {
    for (elastic, dynamic) in [(true, false), (false, true), (false, false)] {
        let config = Config { elastic, dynamic, ..config(4) };
        let sizes = Arc::new(Mutex::new(Vec::new()));
        let shared = sizes.clone();
        let mut functions = Functions::default();
        let body = functions.add(move |guest, _| {
            if guest.thread.masked(0) {
                shared.lock().unwrap().push(guest.thread.num_threads());
            }
            guest.barrier().map(|()| 0)
        });
        run_with(config, Arc::new(Varying(AtomicU32::new(0))), functions, |guest| {
            for _ in 0..6 {
                guest.fork(body)?;
                assert_eq!(guest.thread.max_threads(), 4);
            }
            Ok(())
        })
        .unwrap();
        let expected = if elastic || dynamic { [1, 1, 2, 3, 4, 4] } else { [4; 6] };
        assert_eq!(*sizes.lock().unwrap(), expected);
    }
}

#[test]
fn cancelled_loops_and_regions_end_early_and_the_next_do_not() {
    for threads in SIZES {
        let mut functions = Functions::default();
        let body = functions.add(|guest, _| {
            let thread = guest.thread.clone();
            for (round, kind) in [2, 3, 2].into_iter().enumerate() {
                assert!(!thread.cancellation_point(kind)?);
                guest.barrier()?;
                if thread.masked(0) {
                    assert!(thread.cancel(kind)?);
                } else {
                    while !thread.cancellation_point(kind)? {
                        std::hint::spin_loop();
                    }
                }
                // The region goes on.
                assert!(!thread.cancel_barrier(guest)?);
                assert!(!thread.cancellation_point(kind)?);
                // The first thread may be through and cancel the region before others leave.
                let is_over = thread.cancel_barrier(guest)?;
                assert!(!is_over || round == 2);
            }
            if thread.masked(0) {
                thread.cancel(1)?;
            }
            assert!(thread.cancel_barrier(guest)?);
            Ok(0)
        });
        run(threads, functions, |guest| {
            guest.fork(body)?;
            guest.fork(body)
        });
    }
    let mut functions = Functions::default();
    let body = functions.add(|guest, _| {
        assert!(!guest.thread.cancel(2)?);
        Ok(0)
    });
    let config = Config { cancellation: false, ..config(2) };
    run_with(config, Arc::new(Whole), functions, |guest| guest.fork(body)).unwrap();
}

#[test]
fn threads_of_a_cancelled_region_wait_for_one_another_at_its_end_alone() {
    for threads in SIZES {
        let reached = counters(4);
        let shared = reached.clone();
        let mut functions = Functions::default();
        let body = functions.add(move |guest, _| {
            let thread = guest.thread.clone();
            match thread.thread_num() % 4 {
                // Cancels, and waits as the compiler has it.
                0 => {
                    assert!(thread.cancel(1)?);
                    assert!(thread.cancel_barrier(guest)?);
                }
                // Waits in a barrier that never fills, or goes straight to the end.
                1 => assert!(thread.cancel_barrier(guest)?),
                2 => {
                    thread.barrier(guest)?;
                    thread.copyprivate(guest, 0, 0, false)?;
                }
                _ => {}
            }
            shared[thread.thread_num() as usize % 4].fetch_add(1, Ordering::Relaxed);
            Ok(0)
        });
        run(threads, functions, |guest| {
            for _ in 0..20 {
                guest.fork(body)?;
            }
            Ok(())
        });
        let all: u32 = values(&reached).iter().sum();
        assert_eq!(all, 20 * threads);
    }
}

#[test]
fn teams_run_in_turn_and_share_a_distributed_loop() {
    let counts = counters(30);
    let shared = counts.clone();
    let mut functions = Functions::default();
    let inner = functions.add(|guest, _| {
        assert!(guest.thread.num_threads() <= 2);
        assert_eq!((guest.thread.level(), guest.thread.num_teams()), (1, 3));
        Ok(0)
    });
    let body = functions.add(move |guest, args| {
        let thread = guest.thread.clone();
        assert_eq!((args[2], thread.level(), thread.num_threads()), (7, 0, 1));
        assert_eq!((thread.num_teams(), thread.thread_limit()), (3, 2));
        guest.put_words(2048, &[0, 0, 29, 0]);
        thread.for_static_init(&StaticLoop {
            kind: Kind::I32,
            schedule: 92,
            last: 2048,
            lower: 2052,
            upper: 2056,
            stride: 2060,
            step: 1,
            chunk: 1,
        })?;
        assert_eq!(guest.word(2048), u32::from(thread.team_num() == 2));
        for iteration in guest.word(2052)..=guest.word(2056) {
            shared[iteration as usize].fetch_add(1, Ordering::Relaxed);
        }
        guest.fork(inner).map(|()| 0)
    });
    run(4, functions, |guest| {
        let thread = guest.thread.clone();
        guest.put(1024, 7);
        thread.push_num_teams(3, 2);
        thread.fork_teams(guest, 1, body, 1024)?;
        assert_eq!((thread.num_teams(), thread.team_num(), thread.max_teams()), (1, 0, 0));
        assert!(thread.thread_limit() > 2);
        Ok(())
    });
    assert_eq!(values(&counts), [1; 30]);
}

#[test]
fn settings_belong_to_the_task_that_sets_them() {
    let mut functions = Functions::default();
    let body = functions.add(|guest, _| {
        let thread = &guest.thread;
        assert_eq!(thread.max_threads(), 3);
        thread.set_num_threads(7);
        thread.set_schedule(0x8000_0002, 5);
        assert_eq!(thread.schedule(), (2, 5));
        Ok(0)
    });
    run(4, functions, |guest| {
        let thread = guest.thread.clone();
        thread.set_num_threads(3);
        thread.set_num_threads(-1);
        thread.set_dynamic(false);
        guest.fork(body)?;
        assert_eq!((thread.max_threads(), thread.schedule()), (3, (1, 0)));
        assert!(!thread.nested());
        thread.set_nested(true);
        assert!(thread.nested());
        Ok(())
    });
}

#[test]
fn thread_private_copies_begin_as_the_original_and_stay() {
    let mut functions = Functions::default();
    let copy = functions.add(|guest, _| {
        let thread = guest.thread.clone();
        let copy = thread.threadprivate_cached(guest, 2048, 4)?;
        assert_eq!(guest.word(copy), 50);
        guest.barrier()?;
        guest.put(copy, 50 + thread.thread_num());
        Ok(0)
    });
    let check = functions.add(|guest, _| {
        let thread = guest.thread.clone();
        let copy = thread.threadprivate_cached(guest, 2048, 4)?;
        assert_eq!(guest.word(copy), 50 + thread.thread_num());
        Ok(0)
    });
    run(4, functions, |guest| {
        guest.put(2048, 50);
        guest.fork(copy)?;
        guest.fork(check)
    });
}
