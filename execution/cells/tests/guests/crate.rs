//! Each construct of the crate `omp`, and the parts of the standard library that threads share.
use omp::Schedule;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

const SCHEDULES: [Schedule; 7] = [
    Schedule::Static,
    Schedule::StaticChunks(1),
    Schedule::StaticChunks(7),
    Schedule::Dynamic(0),
    Schedule::Dynamic(5),
    Schedule::Guided(2),
    Schedule::Runtime,
];

/// Every iteration runs once, whatever the schedule and wherever the range lies.
fn loops() {
    for schedule in SCHEDULES {
        for range in [0..0, 5..5, 3..4, 0..1000, 17..58] {
            let counts: Vec<AtomicUsize> = (0..1000).map(|_| AtomicUsize::new(0)).collect();
            omp::parallel_for(range.clone(), schedule, |i| {
                counts[i].fetch_add(1, Ordering::Relaxed);
            });
            for (i, count) in counts.iter().enumerate() {
                let expected = usize::from(range.contains(&i));
                assert_eq!(count.load(Ordering::Relaxed), expected, "{schedule:?} {range:?} {i}");
            }
        }
        let end = usize::MAX;
        let sum = AtomicU64::new(0);
        omp::parallel_for(end - 10..end, schedule, |i| {
            sum.fetch_add((end - i) as u64, Ordering::Relaxed);
        });
        assert_eq!(sum.into_inner(), 55, "{schedule:?} at the end of all numbers");
    }
}

fn elements() {
    for schedule in SCHEDULES {
        let mut words = vec![String::new(); 500];
        omp::parallel_for_mut(&mut words, schedule, |i, word| word.push_str(&i.to_string()));
        assert!(words.iter().enumerate().all(|(i, word)| *word == i.to_string()), "{schedule:?}");
    }
    omp::parallel_for_mut(&mut [(); 0], Schedule::Static, |_, ()| unreachable!());
}

/// Values on the heap, so that one that is taken twice or lost is noticed.
fn reductions() {
    for schedule in SCHEDULES {
        let mut all = omp::reduce(
            0..300,
            schedule,
            Vec::new,
            |mine, i| mine.push(i.to_string()),
            |all, mut mine| all.append(&mut mine),
        );
        all.sort_by_key(|word| word.parse::<usize>().unwrap());
        assert_eq!(all, (0..300).map(|i| i.to_string()).collect::<Vec<_>>(), "{schedule:?}");
    }
    assert_eq!(omp::reduce(0..0, Schedule::Static, || 7, |_, _| (), |a, b| *a = (*a).max(b)), 7);
}

fn teams() -> usize {
    let widest = AtomicUsize::new(0);
    for round in 0..50 {
        let (here, once) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let seen = Mutex::new(Vec::new());
        omp::parallel(|team| {
            assert!(team.num_threads() <= omp::max_threads());
            widest.fetch_max(team.num_threads(), Ordering::Relaxed);
            here.fetch_add(1, Ordering::Relaxed);
            team.barrier();
            assert_eq!(here.load(Ordering::Relaxed), team.num_threads(), "round {round}");
            team.single(|| once.fetch_add(1, Ordering::Relaxed));
            seen.lock().unwrap().push(team.thread_num());
        });
        let mut seen = seen.into_inner().unwrap();
        seen.sort();
        assert_eq!(seen, (0..seen.len()).collect::<Vec<_>>());
        assert_eq!(once.into_inner(), 1);
    }
    widest.into_inner()
}

/// The allocator, locks, thread-local variables with destructors and lazy values bear threads.
fn library() {
    thread_local!(static MINE: std::cell::RefCell<Vec<usize>> = std::cell::RefCell::new(vec![1]));
    static LAZY: OnceLock<usize> = OnceLock::new();
    let shared = Mutex::new(HashMap::new());
    for round in 0..500 {
        omp::parallel(|team| {
            MINE.with_borrow_mut(|mine| mine.push(round));
            LAZY.get_or_init(|| 3);
            *shared.lock().unwrap().entry(team.thread_num()).or_insert(0) += 1;
        });
    }
    omp::parallel(|team| {
        let rounds = shared.lock().unwrap()[&team.thread_num()];
        MINE.with_borrow(|mine| assert_eq!(mine.len(), rounds + 1));
    });
}

fn nested() {
    let inner = AtomicUsize::new(0);
    omp::parallel_for(0..8, Schedule::Dynamic(1), |_| {
        let sum =
            omp::reduce(0..10, Schedule::Dynamic(1), || 0, |sum, i| *sum += i, |a, b| *a += b);
        inner.fetch_add(sum, Ordering::Relaxed);
    });
    assert_eq!(inner.into_inner(), 8 * 45);
}

fn main() {
    assert!(!omp::in_parallel() && omp::num_threads() == 1 && omp::thread_num() == 0);
    loops();
    elements();
    reductions();
    library();
    nested();
    assert_eq!(teams(), omp::max_threads());
    println!("ok rust");
}
