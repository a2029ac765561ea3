//! What every engine must do, as facts that can be run against it.
//!
//! Each fact gets an empty store of its own. A fact that does not hold panics with its words, so
//! an engine's test is one call of [`all`].

use crate::{
    Change, Compare, Error, Event, Item, Lease, LeaseId, MetaStore, Op, OpResponse, Result, Txn,
    TxnOutcome, Watch,
};
use std::{fmt::Debug, sync::Arc, time::Duration};
use tokio::time::timeout;

/// An empty store to be examined.
#[derive(Debug)]
pub struct Subject {
    /// The store.
    pub store: Arc<dyn MetaStore>,
    /// A short lease that it grants; the suite waits for the end of a few.
    pub ttl: Duration,
}

/// Longest wait for something that must come, beyond a lease's time.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs every fact against a store of its own, which `make` makes.
///
/// # Panics
/// If a fact does not hold.
pub async fn all<F: Future<Output = Subject>>(make: impl Fn() -> F) {
    revisions_and_versions_count_writes(make().await).await;
    a_transaction_takes_one_branch_at_one_revision(make().await).await;
    each_compare_holds_exactly_when_it_should(make().await).await;
    steps_see_the_ones_before_them(make().await).await;
    what_changes_nothing_takes_no_revision(make().await).await;
    a_refused_transaction_leaves_no_trace(make().await).await;
    ranges_page_through_a_prefix(make().await).await;
    concurrent_increments_all_count(make().await).await;
    a_watch_delivers_history_then_changes(make().await).await;
    a_watch_sees_only_its_prefix_and_moves_on(make().await).await;
    a_compacted_revision_says_so(make().await).await;
    leased_keys_vanish_at_one_revision(make().await).await;
    a_lease_expires_unless_kept_alive(make().await).await;
    a_fencing_revision_outlives_its_lease(make().await).await;
    a_key_belongs_to_its_last_lease(make().await).await;
}

fn must<T>(result: Result<T>) -> T {
    result.unwrap_or_else(|error| panic!("the store failed: {}", types::chain(&error)))
}

async fn soon<T>(what: &str, within: Duration, future: impl Future<Output = T>) -> T {
    timeout(within, future).await.unwrap_or_else(|_| panic!("{what}: not within {within:?}"))
}

async fn run(subject: &Subject, txn: Txn) -> TxnOutcome {
    must(subject.store.txn(txn).await)
}

async fn put(subject: &Subject, key: &'static str, value: &'static str) -> u64 {
    run(subject, Txn::new().then(Op::put(key, value))).await.revision
}

async fn get(subject: &Subject, key: &str) -> Option<Item> {
    must(subject.store.get(key.as_bytes()).await).item
}

async fn revision(subject: &Subject) -> u64 {
    must(subject.store.get(b"any").await).revision
}

async fn watch(subject: &Subject, prefix: &str, from: u64) -> Watch {
    must(subject.store.watch(prefix.as_bytes(), from).await)
}

/// The next `count` events.
async fn events(watch: &mut Watch, count: usize) -> Vec<Event> {
    let mut events = Vec::new();
    while events.len() < count {
        let batch = must(soon("the next events", PATIENCE, watch.next()).await);
        assert!(!batch.events.is_empty(), "a batch has events");
        assert!(batch.events.iter().all(|event| event.revision <= batch.revision));
        events.extend(batch.events);
    }
    assert_eq!(events.len(), count, "no more events than there were changes: {events:?}");
    assert!(events.is_sorted_by_key(|event| event.revision), "in order: {events:?}");
    events
}

/// An event in short: `+key=value@revision` or `-key@revision`.
fn short(event: &Event) -> String {
    let key = String::from_utf8_lossy(&event.key);
    match &event.change {
        Change::Put(item) => {
            assert_eq!((&item.key, item.mod_revision), (&event.key, event.revision));
            format!("+{key}={}@{}", String::from_utf8_lossy(&item.value), event.revision)
        }
        Change::Delete { .. } => format!("-{key}@{}", event.revision),
    }
}

fn refused<T: Debug>(what: &str, result: Result<T>, expected: impl Fn(&Error) -> bool) {
    match result {
        Err(error) if expected(&error) => {}
        other => panic!("{what}: got {other:?}"),
    }
}

async fn revisions_and_versions_count_writes(subject: Subject) {
    let empty = must(subject.store.get(b"k").await);
    assert_eq!(empty.item, None);

    let first = put(&subject, "k", "one").await;
    let second = put(&subject, "k", "two").await;
    assert_eq!((first, second), (empty.revision + 1, empty.revision + 2), "one for each write");
    let item = get(&subject, "k").await.expect("it was put");
    assert_eq!((item.create_revision, item.mod_revision, item.version), (first, second, 2));
    assert_eq!((&item.value[..], item.lease), (&b"two"[..], None));

    run(&subject, Txn::new().then(Op::delete("k"))).await;
    let third = put(&subject, "k", "three").await;
    let item = get(&subject, "k").await.expect("it was put again");
    assert_eq!((item.create_revision, item.mod_revision, item.version), (third, third, 1));
}

async fn a_transaction_takes_one_branch_at_one_revision(subject: Subject) {
    let txn = || {
        Txn::new()
            .when(Compare::absent("a"))
            .then(Op::put("a", "1"))
            .then(Op::put("b", "1"))
            .otherwise(Op::delete("a"))
            .otherwise(Op::put("c", "1"))
    };
    let before = revision(&subject).await;

    let first = run(&subject, txn()).await;
    assert!(first.succeeded);
    assert_eq!(first.revision, before + 1);
    assert_eq!(first.responses, [OpResponse::Put, OpResponse::Put]);
    for key in ["a", "b"] {
        assert_eq!(get(&subject, key).await.map(|item| item.mod_revision), Some(first.revision));
    }

    let second = run(&subject, txn()).await;
    assert!(!second.succeeded);
    assert_eq!(second.responses, [OpResponse::Delete { existed: true }, OpResponse::Put]);
    assert_eq!(get(&subject, "a").await, None);
    assert_eq!(get(&subject, "c").await.map(|item| item.mod_revision), Some(before + 2));
}

async fn each_compare_holds_exactly_when_it_should(subject: Subject) {
    let at = put(&subject, "k", "v").await;
    let lease = must(subject.store.lease_grant(Duration::from_secs(60)).await);
    let stranger = Lease { id: LeaseId(lease.id.0 + 1_000_000), ..lease };
    let elder = Lease { revision: lease.revision - 1, ..lease };
    let cases = [
        (Compare::exists("k"), true),
        (Compare::exists("x"), false),
        (Compare::absent("k"), false),
        (Compare::absent("x"), true),
        (Compare::mod_revision("k", at), true),
        (Compare::mod_revision("k", at + 1), false),
        (Compare::mod_revision("k", 0), false),
        (Compare::mod_revision("x", 0), true),
        (Compare::value("k", "v"), true),
        (Compare::value("k", "w"), false),
        (Compare::value("x", ""), false),
        (Compare::lease_held(&lease), true),
        (Compare::lease_held(&stranger), false),
        (Compare::lease_held(&elder), false),
    ];
    for (compare, expected) in &cases {
        let outcome = run(&subject, Txn::new().when(compare.clone())).await;
        assert_eq!(outcome.succeeded, *expected, "{compare:?}");
    }
    let all = cases.iter().filter(|(_, holds)| *holds);
    let all = all.fold(Txn::new(), |txn, (compare, _)| txn.when(compare.clone()));
    assert!(run(&subject, all.clone()).await.succeeded, "all of them together");
    let spoilt = run(&subject, all.when(Compare::exists("x"))).await;
    assert!(!spoilt.succeeded, "one that does not hold is enough");
}

async fn steps_see_the_ones_before_them(subject: Subject) {
    put(&subject, "k", "old").await;
    let txn = Txn::new()
        .then(Op::get("k"))
        .then(Op::put("k", "new"))
        .then(Op::get("k"))
        .then(Op::delete("x"))
        .then(Op::get("x"));

    let outcome = run(&subject, txn).await;

    let values: Vec<_> = outcome
        .responses
        .iter()
        .map(|response| match response {
            OpResponse::Get(Some(item)) => String::from_utf8_lossy(&item.value).into_owned(),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(values, ["old", "Put", "new", "Delete { existed: false }", "Get(None)"]);
}

async fn what_changes_nothing_takes_no_revision(subject: Subject) {
    let before = put(&subject, "k", "v").await;

    for txn in [
        Txn::new(),
        Txn::new().then(Op::get("k")),
        Txn::new().then(Op::delete("absent")),
        Txn::new().when(Compare::absent("k")).then(Op::delete("k")),
    ] {
        assert_eq!(run(&subject, txn.clone()).await.revision, before, "{txn:?}");
    }
    assert_eq!(revision(&subject).await, before);
    assert_eq!(put(&subject, "k", "v").await, before + 1, "the same value again is a write");
}

async fn a_refused_transaction_leaves_no_trace(subject: Subject) {
    let before = put(&subject, "k", "v").await;
    let txn = |op| Txn::new().then(Op::put("k", "w")).then(op);
    let store = &subject.store;

    let twice = store.txn(txn(Op::delete("k"))).await;
    refused("a key changed twice", twice, |error| matches!(error, Error::DuplicateKey { .. }));
    let nobody = LeaseId(1 << 40);
    let lost = store.txn(txn(Op::put_leased("l", "v", nobody))).await;
    let names_it =
        |error: &Error| matches!(error, Error::LeaseNotFound { lease } if *lease == nobody);
    refused("a put under no lease", lost, names_it);
    let empty = store.txn(txn(Op::put("", "v"))).await;
    refused("an empty key", empty, |error| matches!(error, Error::EmptyKey));
    let long = store.txn(txn(Op::put(vec![b'k'; 1 << 20], "v"))).await;
    refused("a long key", long, |error| matches!(error, Error::KeyTooLong { .. }));
    let large = store.txn(txn(Op::put("l", vec![0; 64 << 20]))).await;
    refused("a large value", large, |error| matches!(error, Error::ValueTooLarge { .. }));
    let many = (0..100_000).fold(Txn::new(), |txn, _| txn.then(Op::get("k")));
    let many = store.txn(many).await;
    refused("many steps", many, |error| matches!(error, Error::TooManyOps { .. }));

    assert_eq!(revision(&subject).await, before);
    assert_eq!(get(&subject, "k").await.map(|item| item.mod_revision), Some(before));
}

async fn ranges_page_through_a_prefix(subject: Subject) {
    for key in ["a", "p", "p/1", "p/2", "p/3", "p0", "q"] {
        put(&subject, key, "v").await;
    }
    let edge = [0xff_u8, 0xff];
    run(&subject, Txn::new().then(Op::put(edge.to_vec(), "v"))).await;

    let page = async |prefix: &str, limit, after: Option<&str>| {
        let after = after.map(str::as_bytes);
        let page = must(subject.store.range(prefix.as_bytes(), limit, after).await);
        let keys = page.items.iter().map(|item| String::from_utf8_lossy(&item.key).into_owned());
        (keys.collect::<Vec<_>>().join(" "), page.more)
    };
    assert_eq!(page("p/", 0, None).await, ("p/1 p/2 p/3".into(), false));
    assert_eq!(page("p/", 2, None).await, ("p/1 p/2".into(), true));
    assert_eq!(page("p/", 2, Some("p/2")).await, ("p/3".into(), false));
    assert_eq!(page("p/", 3, None).await, ("p/1 p/2 p/3".into(), false), "exactly full");
    assert_eq!(page("p/", 9, Some("a")).await, ("p/1 p/2 p/3".into(), false), "from before");
    assert_eq!(page("p/", 9, Some("z")).await, (String::new(), false), "from behind");
    assert_eq!(page("p", 9, None).await, ("p p/1 p/2 p/3 p0".into(), false));
    assert_eq!(page("x", 9, None).await, (String::new(), false));

    let everything = must(subject.store.range(b"", 0, None).await);
    assert_eq!(everything.items.len(), 8);
    assert_eq!(everything.revision, revision(&subject).await);
    let edge = must(subject.store.range(&edge[..1], 0, None).await);
    assert_eq!(edge.items.len(), 1, "a prefix without a successor");
}

async fn concurrent_increments_all_count(subject: Subject) {
    const EACH: u64 = 10;
    let before = revision(&subject).await;
    let increment = async |store: Arc<dyn MetaStore>| loop {
        let item = must(store.get(b"n").await).item;
        let (at, n) = item.map_or((0, 0), |item| {
            let text = String::from_utf8_lossy(&item.value).into_owned();
            (item.mod_revision, text.parse::<u64>().expect("a number was written"))
        });
        let txn =
            Txn::new().when(Compare::mod_revision("n", at)).then(Op::put("n", (n + 1).to_string()));
        if must(store.txn(txn).await).succeeded {
            break;
        }
    };
    let count = async |store: Arc<dyn MetaStore>| {
        for _ in 0..EACH {
            increment(Arc::clone(&store)).await;
        }
    };
    let store = || Arc::clone(&subject.store);

    tokio::join!(count(store()), count(store()), count(store()), count(store()));

    let item = get(&subject, "n").await.expect("it was counted");
    assert_eq!(item.value, (4 * EACH).to_string(), "no increment is lost");
    assert_eq!((item.version, item.mod_revision), (4 * EACH, before + 4 * EACH));
}

async fn a_watch_delivers_history_then_changes(subject: Subject) {
    let first = put(&subject, "a", "1").await;
    let second =
        run(&subject, Txn::new().then(Op::put("a", "2")).then(Op::put("b", "1"))).await.revision;

    let mut all = watch(&subject, "", first).await;
    let mut later = watch(&subject, "", second).await;
    let mut fresh = watch(&subject, "", 0).await;
    let mut ahead = watch(&subject, "", second + 2).await;
    let third = run(&subject, Txn::new().then(Op::delete("a"))).await.revision;
    let fourth = put(&subject, "b", "2").await;

    let shorts = |events: Vec<Event>| events.iter().map(short).collect::<Vec<_>>();
    let expected = [
        format!("+a=1@{first}"),
        format!("+a=2@{second}"),
        format!("+b=1@{second}"),
        format!("-a@{third}"),
        format!("+b=2@{fourth}"),
    ];
    let got = events(&mut all, 5).await;
    if let Change::Delete { previous: Some(item) } = &got[3].change {
        assert_eq!((&item.value[..], item.mod_revision), (&b"2"[..], second), "what it was");
    }
    assert_eq!(shorts(got), expected);
    assert_eq!(shorts(events(&mut later, 4).await), expected[1..], "from its revision on");
    assert_eq!(shorts(events(&mut fresh, 2).await), expected[3..], "0 is the next revision");
    assert_eq!(shorts(events(&mut ahead, 1).await), expected[4..], "one ahead is waited for");
    assert_eq!(all.resume_revision(), fourth + 1);
}

async fn a_watch_sees_only_its_prefix_and_moves_on(subject: Subject) {
    let mut watch = watch(&subject, "p/", 0).await;
    put(&subject, "p", "no").await;
    put(&subject, "p0", "no").await;
    let quiet = put(&subject, "q/1", "no").await;

    let nothing = timeout(Duration::from_millis(50), watch.next()).await;
    assert!(nothing.is_err(), "nothing matched: {nothing:?}");
    assert!(watch.resume_revision() <= quiet + 1, "it does not run ahead");

    let at = put(&subject, "p/1", "yes").await;
    let got = events(&mut watch, 1).await;
    assert_eq!(short(&got[0]), format!("+p/1=yes@{at}"), "a dropped wait lost nothing");
}

async fn a_compacted_revision_says_so(subject: Subject) {
    let first = put(&subject, "k", "1").await;
    let second = put(&subject, "k", "2").await;
    let third = put(&subject, "k", "3").await;

    must(subject.store.compact(second).await);
    must(subject.store.compact(first).await);
    must(subject.store.compact(second).await);

    let gone = subject.store.watch(b"k", first).await;
    refused("a watch from before", gone, |error| {
        matches!(error, Error::Compacted { requested, oldest }
            if (*requested, *oldest) == (first, second))
    });
    let mut kept = watch(&subject, "k", second).await;
    let got = events(&mut kept, 2).await;
    assert_eq!(
        [short(&got[0]), short(&got[1])],
        [format!("+k=2@{second}"), format!("+k=3@{third}"),]
    );
    let ahead = subject.store.compact(third + 1).await;
    refused("a revision ahead", ahead, |error| {
        matches!(error, Error::FutureRevision { requested, current }
            if (*requested, *current) == (third + 1, third))
    });
    assert_eq!(get(&subject, "k").await.map(|item| item.version), Some(3), "values stay");
    assert_eq!(revision(&subject).await, third, "a compaction takes no revision");
}

async fn leased_keys_vanish_at_one_revision(subject: Subject) {
    let lease = must(subject.store.lease_grant(Duration::from_secs(60)).await);
    let mut watch = watch(&subject, "", 0).await;
    let txn = Txn::new()
        .then(Op::put_leased("a", "1", lease.id))
        .then(Op::put_leased("b", "1", lease.id))
        .then(Op::put("c", "1"));
    run(&subject, txn).await;
    events(&mut watch, 3).await;
    assert_eq!(get(&subject, "a").await.and_then(|item| item.lease), Some(lease.id));

    let at = must(subject.store.lease_revoke(lease.id).await);

    let mut got: Vec<_> = events(&mut watch, 2).await.iter().map(short).collect();
    got.sort();
    assert_eq!(got, [format!("-a@{at}"), format!("-b@{at}")]);
    assert_eq!(get(&subject, "a").await, None);
    assert!(get(&subject, "c").await.is_some(), "only its own keys");
    let lost = |error: &Error| matches!(error, Error::LeaseNotFound { .. });
    refused("revoked twice", subject.store.lease_revoke(lease.id).await, lost);
    refused("kept alive after", subject.store.lease_keep_alive(lease.id).await, lost);
}

async fn a_lease_expires_unless_kept_alive(subject: Subject) {
    let ttl = subject.ttl;
    let kept = must(subject.store.lease_grant(Duration::from_secs(60)).await);
    let lost = must(subject.store.lease_grant(ttl).await);
    assert!(lost.ttl >= ttl, "at least what was asked for");
    let mut watch = watch(&subject, "", 0).await;
    let txn = Txn::new()
        .then(Op::put_leased("kept", "1", kept.id))
        .then(Op::put_leased("lost/1", "1", lost.id))
        .then(Op::put_leased("lost/2", "1", lost.id));
    run(&subject, txn).await;
    events(&mut watch, 3).await;
    assert_eq!(must(subject.store.lease_keep_alive(kept.id).await), kept.ttl);

    let batch = must(soon("a lease's end", lost.ttl * 4 + PATIENCE, watch.next()).await);

    let keys: Vec<_> = batch.events.iter().map(|event| &event.key[..]).collect();
    assert_eq!(keys.len(), 2, "both at once: {batch:?}");
    assert!(keys.contains(&&b"lost/1"[..]) && keys.contains(&&b"lost/2"[..]));
    assert_eq!(batch.events[0].revision, batch.events[1].revision);
    assert!(get(&subject, "kept").await.is_some());
    let alive = subject.store.lease_keep_alive(lost.id).await;
    refused("kept alive too late", alive, |error| matches!(error, Error::LeaseNotFound { .. }));
}

async fn a_fencing_revision_outlives_its_lease(subject: Subject) {
    let long = Duration::from_secs(60);
    let before = revision(&subject).await;
    let first = must(subject.store.lease_grant(long).await);
    let write = |lease: &Lease, value: &'static str| {
        Txn::new().when(Compare::lease_held(lease)).then(Op::put("k", value))
    };
    assert!(first.revision > before, "a grant takes a revision");
    assert!(run(&subject, write(&first, "first")).await.succeeded);

    must(subject.store.lease_revoke(first.id).await);
    let second = must(subject.store.lease_grant(long).await);
    assert!(second.revision > first.revision, "a later holder's is higher");
    assert!(run(&subject, write(&second, "second")).await.succeeded);

    let late = run(&subject, write(&first, "late")).await;
    assert!(!late.succeeded, "the former holder is fenced off");
    assert_eq!(get(&subject, "k").await.map(|item| item.value), Some("second".into()));
}

async fn a_key_belongs_to_its_last_lease(subject: Subject) {
    let long = Duration::from_secs(60);
    let first = must(subject.store.lease_grant(long).await);
    let second = must(subject.store.lease_grant(long).await);
    let both = |lease: &Lease| {
        Txn::new().then(Op::put_leased("a", "1", lease.id)).then(Op::put_leased("b", "1", lease.id))
    };
    run(&subject, both(&first)).await;
    run(&subject, both(&second)).await;
    put(&subject, "b", "free").await;

    must(subject.store.lease_revoke(first.id).await);
    assert!(get(&subject, "a").await.is_some(), "it moved to the second lease");
    must(subject.store.lease_revoke(second.id).await);
    assert_eq!(get(&subject, "a").await, None);
    assert!(get(&subject, "b").await.is_some(), "a put without a lease freed it");
}
