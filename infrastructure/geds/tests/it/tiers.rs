//! Buckets whose lowest tier is a back end.

use crate::{
    rig::{LONG, Process, bytes_of, sleeps},
    s3::{Manner, Server},
};
use geds::{BackendConfig, Class, Config, Error, ErrorKind, Geds, Limits, Put, Tier};
use std::{
    collections::BTreeMap,
    sync::atomic::Ordering::Relaxed,
    thread,
    time::{Duration, Instant},
};
use testkit::{Folder, Random, soak_rounds, wait_until};

const MIB: u64 = 1 << 20;

fn limits() -> Limits {
    let cache_bytes = 4 * MIB;
    Limits { memory_bytes: 16 * MIB, high_water_percent: 60, cache_bytes, ..Limits::default() }
}

fn backend(server: &Server) -> BackendConfig {
    let options = [
        ("endpoint", server.address.as_str()),
        ("access_key_id", "key"),
        ("secret_access_key", "secret"),
        ("allow_http", "true"),
    ];
    BackendConfig::new("s3://lab", options)
}

fn open(folder: &Folder) -> Geds {
    Geds::open(Config::alone(folder.join("node")).limits(limits())).unwrap()
}

fn store(backend: &BackendConfig) -> (Folder, Geds) {
    let folder = Folder::in_memory();
    let geds = open(&folder);
    geds.create_bucket("lab").unwrap();
    geds.attach("lab", backend.clone()).unwrap();
    (folder, geds)
}

fn key(n: usize) -> String {
    format!("k/{n}")
}

fn put(geds: &Geds, n: usize) {
    let put = Put::overwrite();
    geds.put("lab", &key(n), &bytes_of(&key(n), 100_000 + n), put).unwrap();
}

fn check(geds: &Geds, n: usize) {
    let view = geds.view("lab", &key(n));
    assert!(*view.unwrap() == bytes_of(&key(n), 100_000 + n), "{n}");
}

fn tier(geds: &Geds, key: &str) -> Tier {
    geds.stat("lab", key).unwrap().tier
}

/// Writes until the first objects are in memory no longer.
fn fill(geds: &Geds) -> usize {
    let started = Instant::now();
    let mut n = 0;
    while n < 60 || tier(geds, &key(0)) == Tier::Memory || tier(geds, &key(20)) == Tier::Memory {
        put(geds, n);
        n += 1;
        // As fast as the back end, so that nothing needs to go to disk.
        thread::sleep(Duration::from_millis(2));
        assert!(started.elapsed() < LONG, "nothing leaves memory: {:?}", geds.backends());
    }
    n
}

#[test]
fn objects_go_outside_in_the_background_and_come_back_also_after_a_restart() {
    let server = Server::start();
    let (folder, geds) = store(&backend(&server));
    geds.put("lab", "dots/../none", b"no name outside", Put::default()).unwrap();
    let count = fill(&geds);
    assert_eq!(tier(&geds, &key(0)), Tier::Outside);
    assert!(server.object(&key(0)).unwrap() == bytes_of(&key(0), 100_000));
    (0..count).for_each(|n| check(&geds, n));
    assert_eq!(
        geds.stat("lab", &key(1)).unwrap().crc32c,
        Some(crc32c::crc32c(&bytes_of(&key(1), 100_001)))
    );
    let state = geds.backends().unwrap().remove(0);
    assert!(state.objects >= 20 && state.failures == 0, "{state:?}");

    geds.copy(("lab", &key(2)), ("lab", "copy"), Put::default()).unwrap();
    geds.delete("lab", &key(2), None).unwrap();
    geds.delete("lab", &key(3), None).unwrap();
    wait_until("it is removed outside", LONG, || server.object(&key(3)).is_none());
    assert!(server.object(&key(2)).is_some(), "the copy needs it");
    assert_eq!(geds.view("lab", &key(2)).unwrap_err().kind(), ErrorKind::NotFound);

    geds.persist_all().unwrap();
    let stat = geds.stat("lab", &key(0)).unwrap();
    drop(geds);
    let geds = open(&folder);
    assert_eq!(geds.stat("lab", &key(0)).unwrap().version, stat.version);
    let outside = (0..count).find(|n| *n != 2 && *n != 3 && tier(&geds, &key(*n)) == Tier::Outside);
    let refused = geds.view("lab", &key(outside.unwrap())).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable, "{refused}");
    geds.attach("lab", backend(&server)).unwrap();
    (0..count).filter(|n| *n != 2 && *n != 3).for_each(|n| check(&geds, n));
    assert!(*geds.view("lab", "copy").unwrap() == bytes_of(&key(2), 100_002));
    assert_eq!(*geds.view("lab", "dots/../none").unwrap(), *b"no name outside");
    assert_eq!(geds.lost().unwrap(), []);
}

#[test]
fn a_back_end_that_is_kept_is_there_again() {
    let server = Server::start();
    let (folder, geds) = store(&backend(&server).class(Class::Cold).keep());
    geds.create_bucket("other").unwrap();
    geds.attach("other", backend(&server)).unwrap();
    put(&geds, 1);
    geds.relocate("lab", "", geds::Destination::Outside, |_| {}).unwrap();
    drop(geds);

    let geds = open(&folder);
    let states = geds.backends().unwrap();
    assert_eq!(states.len(), 1, "the other one was not to be kept");
    assert!(states[0].bucket == "lab" && states[0].class == Class::Cold && states[0].kept);
    check(&geds, 1);
    server.put("new", bytes_of("new", 9));
    assert_eq!(*geds.view("lab", "new").unwrap(), *bytes_of("new", 9));
    geds.attach("lab", backend(&server)).unwrap();
    drop(geds);

    let geds = open(&folder);
    assert_eq!(geds.backends().unwrap(), [], "it was attached again without");
    geds.attach("lab", backend(&server).keep()).unwrap();
    geds.detach("lab").unwrap();
    drop(geds);
    assert_eq!(open(&folder).backends().unwrap(), []);
}

#[test]
fn a_small_read_of_a_large_object_reads_its_blocks_alone() {
    let server = Server::start();
    let bytes = bytes_of("large", 20_000_000);
    server.put("large", bytes.clone());
    let (_folder, geds) = store(&backend(&server));
    assert_eq!(geds.view("lab", "none").unwrap_err().kind(), ErrorKind::NotFound);
    let object = geds.object("lab", "large").unwrap();
    assert_eq!((object.len(), object.stat().tier), (20_000_000, Tier::Outside));
    let mut buffer = [0; 1000];
    let before = server.sent.load(Relaxed);
    for _ in 0..3 {
        let object = geds.object("lab", "large").unwrap();
        assert_eq!(object.read_at(7_339_532, &mut buffer).unwrap(), 1000);
        assert!(buffer[..] == bytes[7_339_532..7_340_532], "over the end of a block");
    }
    assert_eq!(server.sent.load(Relaxed) - before, 2 * MIB, "two blocks, once");

    let mut whole = vec![0; bytes.len()];
    assert_eq!(object.read_at(0, &mut whole).unwrap(), bytes.len());
    assert!(whole == bytes);
    let used = geds.usage().unwrap().cache_bytes;
    assert!(used > 0 && used <= 4 * MIB, "{used}");
    assert!(*geds.view("lab", "large").unwrap() == bytes);

    server.put("large", bytes_of("another", 20_000_000));
    let replaced = object.read_at(0, &mut whole).unwrap_err();
    assert!(matches!(replaced, Error::Lost { .. }), "{replaced}");
    assert!(geds.delete("lab", "large", None).unwrap());
    drop(object);
    server.put("only-there", b"x".to_vec());
    assert!(geds.delete("lab", "only-there", None).unwrap());
    wait_until("it is gone there", LONG, || server.object("only-there").is_none());
    assert!(server.object("large").is_some(), "it is no longer what was deleted here");
}

#[test]
fn a_back_end_that_fails_loses_nothing_and_is_used_again() {
    let server = Server::start();
    let manners = [Manner::Expired, Manner::SlowDown];
    for (round, manner) in manners.into_iter().enumerate() {
        let (_folder, geds) = store(&backend(&server));
        server.behave(manner);
        // All of it has room, in memory and on disk.
        let started = Instant::now();
        (round * 1000..round * 1000 + 200).for_each(|n| put(&geds, n));
        assert!(started.elapsed() < Duration::from_secs(10), "writers wait for {manner:?}");
        wait_until("it is noticed", LONG, || geds.backends().unwrap()[0].failures > 0);
        let state = geds.backends().unwrap().remove(0);
        assert_eq!(state.objects, 0, "{state:?}");
        let why = state.last_failure.unwrap();
        assert!(manner != Manner::Expired || why.contains("refuses its keys"), "{why}");
        (round * 1000..round * 1000 + 200).for_each(|n| check(&geds, n));
        server.behave(Manner::Honest);
        wait_until("it is used again", LONG, || {
            put(&geds, round * 1000);
            geds.backends().unwrap()[0].objects > 0
        });
        (round * 1000..round * 1000 + 200).for_each(|n| check(&geds, n));
    }
}

#[test]
fn a_back_end_that_lies_is_found_out() {
    let server = Server::start();
    let (_folder, geds) = store(&backend(&server));
    fill(&geds);
    server.put("adopted", bytes_of("adopted", 3000));
    assert_eq!(tier(&geds, "adopted"), Tier::Outside);
    let outside: Vec<usize> =
        (0..20).filter(|n| tier(&geds, &key(*n)) == Tier::Outside).take(5).collect();
    let cases = [
        (Manner::Truncated, &[ErrorKind::Unavailable, ErrorKind::Corrupt][..]),
        (Manner::Short, &[ErrorKind::Corrupt, ErrorKind::Unavailable]),
        (Manner::Changed, &[ErrorKind::Corrupt]),
        (Manner::Closed, &[ErrorKind::Unavailable]),
        (Manner::Expired, &[ErrorKind::Forbidden]),
    ];
    for (n, (manner, kinds)) in outside.iter().zip(cases) {
        server.behave(manner);
        let started = Instant::now();
        let error = geds.view("lab", &key(*n)).map(|view| view.len()).unwrap_err();
        assert!(kinds.contains(&error.kind()), "{manner:?}: {error:?}");
        assert!(started.elapsed() < Duration::from_secs(20), "{manner:?} takes too long");
        server.behave(Manner::Honest);
        check(&geds, *n);
    }
    server.behave(Manner::Slow(Duration::from_millis(100)));
    assert!(*geds.view("lab", "adopted").unwrap() == bytes_of("adopted", 3000));
}

#[test]
fn cold_objects_go_outside_before_room_is_needed_and_replace_what_is_there() {
    let server = Server::start();
    server.put(&key(1), b"somebody's".to_vec());
    let (_folder, geds) = store(&backend(&server).class(Class::Cold));
    (0..10).for_each(|n| put(&geds, n));
    wait_until("they are outside", LONG, || server.count() >= 8);
    wait_until("it is replaced", LONG, || server.object(&key(1)).unwrap().len() == 100_001);
    assert_eq!(tier(&geds, &key(1)), Tier::Memory, "and in memory as well");
    sleeps("geds-default");
    sleeps("geds-write-back");
    // What is durable there is durable.
    let requests = server.requests.load(Relaxed);
    geds.persist("lab", &key(1)).unwrap();
    assert_eq!(geds.usage().unwrap().disk_bytes, 0);
    assert_eq!(server.requests.load(Relaxed), requests);

    geds.put("lab", &key(1), b"newer", Put::overwrite()).unwrap();
    (10..40).for_each(|n| put(&geds, n));
    wait_until("the newer one is outside", LONG, || {
        put(&geds, 99);
        server.object(&key(1)).as_deref() == Some(b"newer")
    });
    let large = bytes_of("large", 12_000_000);
    geds.put("lab", "large", &large, Put::default()).unwrap();
    wait_until("so is one of several parts", LONG, || server.object("large").is_some());
    assert!(server.object("large").unwrap() == large);
    geds.detach("lab").unwrap();
    assert_eq!(geds.backends().unwrap(), []);
}

#[test]
fn what_was_replaced_and_lost_with_the_node_is_not_read_outside() {
    let server = Server::start();
    let folder = Folder::in_memory();
    let mut node = Process::start("node", folder.path());
    let mut joined = None;
    wait_until("the node is there", LONG, || {
        joined = Geds::open(Config::join(folder.join("lab.sock"))).ok();
        joined.is_some()
    });
    let geds = joined.unwrap();
    geds.create_bucket("lab").unwrap();
    server.put("over", b"old".to_vec());
    server.put("gone", b"old".to_vec());
    server.put("kept", b"old".to_vec());
    geds.attach("lab", backend(&server)).unwrap();
    for key in ["over", "gone", "kept"] {
        assert_eq!(*geds.view("lab", key).unwrap(), *b"old");
    }
    server.behave(Manner::SlowDown);
    geds.put("lab", "over", b"new", Put::overwrite()).unwrap();
    assert!(geds.delete("lab", "gone", None).unwrap());
    node.kill();
    wait_until("the process notices", LONG, || geds.buckets().is_err());
    let _node = Process::start("node", folder.path());
    wait_until("the node is there again", LONG, || geds.buckets().is_ok());
    geds.attach("lab", backend(&server)).unwrap();
    let error = geds.view("lab", "over").unwrap_err();
    assert!(matches!(error, Error::Lost { .. }), "{error:?}");
    assert_eq!(geds.view("lab", "gone").unwrap_err().kind(), ErrorKind::NotFound);
    server.behave(Manner::Honest);
    assert_eq!(*geds.view("lab", "kept").unwrap(), *b"old");
    wait_until("what was deleted goes outside as well", LONG, || server.object("gone").is_none());
    let lost: Vec<String> = geds.lost().unwrap().into_iter().map(|lost| lost.key).collect();
    assert_eq!(lost, ["over"]);
}

/// Changes objects of its own at random, and says what there has to be in the end.
fn change(geds: &Geds, own: usize) -> BTreeMap<String, u64> {
    let mut random = Random::printed("tiers");
    let mut there: BTreeMap<String, u64> = BTreeMap::new();
    let seeded = |seed: u64| bytes_of(&seed.to_string(), 500 + (seed % 97) as usize * 3000);
    for _ in 0..soak_rounds(300) {
        let pick = |random: &mut Random| format!("{own}/{}", random.below(12));
        let (one, other) = (pick(&mut random), pick(&mut random));
        match random.below(10) {
            0 => {
                let deleted = geds.delete("lab", &one, None).unwrap();
                assert_eq!(deleted, there.remove(&one).is_some(), "{one}");
            }
            1 if one != other && there.contains_key(&one) => {
                geds.rename("lab", &one, &other, Put::overwrite()).unwrap();
                let seed = there.remove(&one).unwrap();
                there.insert(other, seed);
            }
            2 if one != other && there.contains_key(&one) => {
                geds.copy(("lab", &one), ("lab", &other), Put::overwrite()).unwrap();
                there.insert(other, there[&one]);
            }
            3..=6 => {
                let seed = random.next_u64();
                geds.put("lab", &one, &seeded(seed), Put::overwrite()).unwrap();
                there.insert(one, seed);
            }
            _ => match geds.view("lab", &one) {
                Ok(view) => assert!(*view == seeded(there[&one]), "{one}"),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::NotFound, "{one}: {error}");
                    assert!(!there.contains_key(&one), "{one}");
                }
            },
        }
    }
    check_there(geds, &there);
    there
}

fn check_there(geds: &Geds, there: &BTreeMap<String, u64>) {
    for (key, seed) in there {
        let bytes = bytes_of(&seed.to_string(), 500 + (seed % 97) as usize * 3000);
        assert!(*geds.view("lab", key).unwrap() == bytes, "{key}");
    }
}

#[test]
fn names_that_change_while_they_are_written_outside_have_their_last_bytes() {
    let server = Server::start();
    let config = backend(&server).class(Class::Cold);
    let (folder, geds) = store(&config);
    let there: Vec<_> = thread::scope(|scope| {
        let geds = &geds;
        let threads: Vec<_> = (0..3).map(|own| scope.spawn(move || change(geds, own))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(geds.backends().unwrap()[0].objects > 20, "{:?}", geds.backends());
    geds.persist_all().unwrap();
    drop(geds);
    let geds = open(&folder);
    geds.attach("lab", config).unwrap();
    there.iter().for_each(|there| check_there(&geds, there));
    assert_eq!(geds.lost().unwrap(), []);
    geds.delete_prefix("lab", "").unwrap();
    // What was under way when the node ended may be left outside.
    wait_until("nothing is left", LONG, || {
        let usage = geds.usage().unwrap();
        (usage.objects, usage.files, usage.cache_bytes) == (0, 0, 0)
    });
}

#[test]
fn a_bucket_whose_objects_are_deleted_while_they_go_outside_is_empty() {
    let server = Server::start();
    let (_folder, geds) = store(&backend(&server));
    let joined = geds.clone();
    for round in 0..soak_rounds(5) {
        let bucket = format!("round-{round}");
        geds.create_bucket(&bucket).unwrap();
        geds.attach(&bucket, backend(&server)).unwrap();
        let bytes = bytes_of("bytes", 100_000);
        for n in 0..200 {
            joined.put(&bucket, &key(n as usize), &bytes, Put::overwrite()).unwrap();
        }
        geds.delete_prefix(&bucket, "").unwrap();
        let left = geds.list(&bucket, &geds::Listing::prefix("")).unwrap();
        let deleted = geds.delete_bucket(&bucket);
        assert!(deleted.is_ok(), "{round}: {deleted:?}, {left:?}");
    }
}
