//! The engine's own behaviour, beyond the conformance suite.

use crate::open;
use meta::{
    Compare, Config, Embedded, Error, MetaStore, Op, Txn,
    conformance::{self, Subject},
};
use std::{sync::Arc, time::Duration};
use testkit::Folder;
use types::{ErrorKind, ManualClock};

fn put(key: &'static str, value: &'static str) -> Txn {
    Txn::new().then(Op::put(key, value))
}

#[tokio::test]
async fn conforms() {
    let folder = Folder::in_memory();
    let made = std::sync::atomic::AtomicU64::new(0);
    conformance::all(async || {
        let n = made.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let store = Arc::new(open(&folder.join(n.to_string()), Config::default()).unwrap());
        Subject { store, ttl: Duration::from_millis(60) }
    })
    .await;
}

#[tokio::test]
async fn a_watcher_that_falls_behind_the_history_is_told() {
    let folder = Folder::in_memory();
    let config = Config {
        history_max_revisions: 16,
        commit_batch_max: 4,
        watch_recent_max_bytes: 0,
        ..Config::default()
    };
    let store = open(&folder.join("store"), config).unwrap();
    let mut lagging = store.watch(b"", 0).await.unwrap();
    let mut within = store.watch(b"", 40).await.unwrap();
    for _ in 0..48 {
        store.txn(put("k", "v")).await.unwrap();
    }

    let error = lagging.next().await.unwrap_err();

    let Error::Compacted { requested: 2, oldest } = error else { panic!("{error:?}") };
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!((49 - 16..=49 - 8).contains(&oldest), "bounded, yet not emptied: {oldest}");
    assert!(store.watch(b"", oldest - 1).await.is_err());
    assert_eq!(within.next().await.unwrap().events.len(), 49 - 40 + 1, "from disk, in one batch");
}

#[tokio::test]
async fn the_history_is_bounded_by_bytes_too() {
    let folder = Folder::in_memory();
    let config = Config { history_max_bytes: 100_000, ..Config::default() };
    let store = open(&folder.join("store"), config.clone()).unwrap();
    for _ in 0..40 {
        store.txn(Txn::new().then(Op::put("k", vec![7; 10_000]))).await.unwrap();
    }
    let Err(Error::Compacted { oldest, .. }) = store.watch(b"", 2).await else {
        panic!("40 × 10 kB do not fit into 100 kB")
    };
    assert!((41 - 9..=41 - 7).contains(&oldest), "{oldest}");

    // A revision beyond the limit stays while it is the last.
    store.txn(Txn::new().then(Op::put("k", vec![7; 200_000]))).await.unwrap();
    let mut watch = store.watch(b"", 42).await.unwrap();
    assert_eq!(watch.next().await.unwrap().revision, 42);
}

#[tokio::test]
async fn a_batch_ends_at_a_whole_revision() {
    let folder = Folder::in_memory();
    for watch_recent_max_bytes in [0, 1 << 20] {
        let config =
            Config { watch_batch_max_events: 3, watch_recent_max_bytes, ..Config::default() };
        let store = open(&folder.join(watch_recent_max_bytes.to_string()), config).unwrap();
        for _ in 0..4 {
            store.txn(put("a", "1").then(Op::put("b", "1"))).await.unwrap();
        }
        let mut watch = store.watch(b"", 1).await.unwrap();
        let mut seen = Vec::new();
        while watch.resume_revision() <= 5 {
            let batch = watch.next().await.unwrap();
            seen.push((batch.revision, batch.events.len()));
        }
        assert_eq!(seen, [(3, 4), (5, 4)], "with {watch_recent_max_bytes} bytes in memory");
    }
}

#[tokio::test]
async fn time_ends_a_lease_and_a_restart_renews_it() {
    let folder = Folder::in_memory();
    let path = folder.join("store");
    let clock = ManualClock::default();
    let open = || Embedded::open(&path, Config::default(), Arc::new(clock.clone())).unwrap();
    let store = open();
    let ttl = Duration::from_secs(10);
    let lease = store.lease_grant(ttl).await.unwrap();
    store.txn(Txn::new().then(Op::put_leased("k", "v", lease.id))).await.unwrap();
    let held = || Txn::new().when(Compare::lease_held(&lease));

    clock.advance(Duration::from_millis(9_999));
    assert!(store.txn(held()).await.unwrap().succeeded);
    assert_eq!(store.lease_keep_alive(lease.id).await.unwrap(), ttl);
    clock.advance(Duration::from_millis(9_999));
    drop(store);
    let store = open();
    clock.advance(Duration::from_millis(9_999));
    assert!(store.txn(held()).await.unwrap().succeeded, "the full time after a restart");

    clock.advance(Duration::from_millis(1));
    let error = store.lease_keep_alive(lease.id).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced, "its time is up, whatever the disk says");
    assert!(!store.txn(held()).await.unwrap().succeeded);
    assert_eq!(store.get(b"k").await.unwrap().item, None);
}

#[tokio::test]
async fn limits_are_kept_and_named() {
    let folder = Folder::in_memory();
    let config = Config {
        watchers_max: 2,
        leases_max: 1,
        lease_ttl_min_ms: 100,
        txn_max_bytes: 1 << 20,
        range_max_items: 3,
        ..Config::default()
    };
    let store = open(&folder.join("store"), config.clone()).unwrap();

    let first = store.watch(b"", 0).await.unwrap();
    let _second = store.watch(b"", 0).await.unwrap();
    let error = store.watch(b"", 0).await.unwrap_err();
    assert!(matches!(error, Error::TooManyWatchers { limit: 2 }), "{error:?}");
    drop(first);
    store.watch(b"", 0).await.unwrap();

    let error = store.lease_grant(Duration::from_millis(99)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "a lease of 99 ms is not allowed: choose between 100 and 86400000 ms"
    );
    let lease = store.lease_grant(Duration::from_secs(9)).await.unwrap();
    let error = store.lease_grant(Duration::from_secs(9)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted);
    store.lease_revoke(lease.id).await.unwrap();
    store.lease_grant(Duration::from_secs(9)).await.unwrap();

    let half = vec![0; 600_000];
    let txn = Txn::new().then(Op::put("a", half.clone())).then(Op::put("b", half));
    let error = store.txn(txn).await.unwrap_err();
    assert!(matches!(error, Error::TxnTooLarge { size_bytes: 1_200_002, .. }), "{error:?}");

    for key in ["1", "2", "3", "4"] {
        store.txn(put(key, "v")).await.unwrap();
    }
    let page = store.range(b"", 100, None).await.unwrap();
    assert_eq!((page.items.len(), page.more), (3, true));

    let error = open(&folder.join("other"), Config { watchers_max: 0, ..config }).unwrap_err();
    assert_eq!(
        types::chain(&error),
        "the store's settings cannot be used: `meta.watchers_max` is 0: it must be between 1 and 1048576"
    );
}

#[tokio::test]
async fn closing_the_store_ends_its_watches() {
    let folder = Folder::in_memory();
    let path = folder.join("store");
    let store = open(&path, Config::default()).unwrap();
    let mut watch = store.watch(b"", 0).await.unwrap();
    let waiting = tokio::spawn(async move { watch.next().await });
    tokio::task::yield_now().await;

    drop(store);

    assert!(matches!(waiting.await.unwrap(), Err(Error::Closed)));
    open(&path, Config::default()).expect("the file is free again at once");
}
