//! How many commits a second the disk gives.

use crate::open;
use meta::{Config, MetaStore, Op, Txn};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use testkit::Folder;

/// Commits per second of `writers` tasks that each wait for their answer.
async fn rate(writers: u64, time: Duration) -> f64 {
    let folder = Folder::new();
    let store = Arc::new(open(&folder.join("store"), Config::default()).unwrap());
    let started = Instant::now();
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut count = 0_u64;
                while started.elapsed() < time {
                    let key = format!("key/{writer}/{}", count % 100);
                    store.txn(Txn::new().then(Op::put(key, vec![7; 512]))).await.unwrap();
                    count += 1;
                }
                count
            })
        })
        .collect();
    let mut total = 0;
    for task in tasks {
        total += task.await.unwrap();
    }
    total as f64 / started.elapsed().as_secs_f64()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a quiet machine: it measures"]
async fn measures_commits_per_second() {
    let load = || std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("load before: {}", load().trim());
    for writers in [1, 64] {
        let rate = rate(writers, Duration::from_secs(3)).await;
        println!("{writers} writers of 512 bytes: {rate:.0} commits/s");
    }
    println!("load after: {}", load().trim());
}
