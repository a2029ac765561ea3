//! Threads and processes that change the same names at once.

use crate::rig::{Host, sleeps};
use geds::{Error, Geds, Limits, Part, Put, Scope};
use std::{thread, time::Duration};
use testkit::wait_until;

const THREADS: usize = 6;

/// Runs `act` in threads of which each has its own way into the store.
fn at_once<R: Send>(host: &Host, act: impl Fn(usize, &Geds) -> R + Sync) -> Vec<R> {
    let stores: Vec<Geds> = (0..THREADS).map(|_| host.join()).collect();
    thread::scope(|scope| {
        let threads: Vec<_> = stores
            .iter()
            .enumerate()
            .map(|(number, geds)| {
                scope.spawn({
                    let act = &act;
                    move || act(number, geds)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn of_many_first_seals_one_wins() {
    let host = Host::new(Limits::default());
    let geds = host.geds();
    geds.create_bucket("lab").unwrap();
    for round in 0..300 {
        let key = format!("k{round}");
        let wins = at_once_once(&host, &key);
        assert_eq!(wins.len(), 1, "{wins:?}");
        assert_eq!(*geds.view("lab", &key).unwrap(), [wins[0]; 100]);
        if round % 100 == 99 {
            geds.delete_prefix("lab", "").unwrap();
        }
    }
}

fn at_once_once(host: &Host, key: &str) -> Vec<u8> {
    let geds = host.geds();
    thread::scope(|scope| {
        let puts: Vec<_> = (0..4_u8)
            .map(|number| {
                let geds = geds.clone();
                scope.spawn(move || {
                    geds.put("lab", key, &[number; 100], Put::default()).map(|_| number)
                })
            })
            .collect();
        puts.into_iter().filter_map(|put| put.join().unwrap().ok()).collect()
    })
}

#[test]
fn a_counter_that_is_replaced_by_version_loses_nothing() {
    let host = Host::new(Limits::default());
    let geds = host.geds();
    geds.create_bucket("lab").unwrap();
    geds.put("lab", "counter", &0_u64.to_le_bytes(), Put::default()).unwrap();
    at_once(&host, |_, geds| {
        for _ in 0..300 {
            increment(geds);
        }
    });
    assert_eq!(*geds.view("lab", "counter").unwrap(), (THREADS as u64 * 300).to_le_bytes());
}

#[test]
fn the_versions_of_a_name_ascend_whoever_writes_it() {
    let host = Host::new(Limits::default());
    let geds = host.geds();
    geds.create_bucket("lab").unwrap();
    geds.put("lab", "k", b"", Put::default()).unwrap();
    let seen = at_once(&host, |number, geds| {
        let mut versions = vec![geds.stat("lab", "k").unwrap().version];
        for _ in 0..2000 {
            if number % 2 == 0 {
                geds.put("lab", "k", b"", Put::overwrite()).unwrap();
            }
            versions.push(geds.stat("lab", "k").unwrap().version);
        }
        versions
    });
    for versions in seen {
        assert!(versions.is_sorted(), "a later state has an earlier version");
    }
}

fn increment(geds: &Geds) {
    loop {
        let object = geds.object("lab", "counter").unwrap();
        let mut bytes = [0; 8];
        object.read_at(0, &mut bytes).unwrap();
        let next = u64::from_le_bytes(bytes) + 1;
        let put = Put::if_version(object.stat().version);
        match geds.put("lab", "counter", &next.to_le_bytes(), put) {
            Ok(_) => return,
            Err(Error::Changed { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn names_that_all_change_at_once_end_as_they_should() {
    let limits = Limits { memory_bytes: 8 << 20, ..Limits::default() };
    let host = Host::new(limits);
    let geds = host.geds();
    geds.create_bucket("lab").unwrap();
    let events = geds.subscribe(Scope::Bucket("lab".into())).unwrap();
    at_once(&host, |number, geds| {
        for round in 0..400_usize {
            let key = format!("k{}", (number + round) % 7);
            let bytes = vec![round as u8; 10 + round * 50];
            match round % 5 {
                0 => _ = geds.delete("lab", &key, None).unwrap(),
                1 => _ = geds.rename("lab", &key, "renamed", Put::overwrite()),
                2 => _ = geds.set_attributes("lab", &key, geds::Attributes::new(), None),
                3 => _ = geds.persist("lab", &key),
                _ => _ = geds.put("lab", &key, &bytes, Put::overwrite()).unwrap(),
            }
            if let Ok(view) = geds.view("lab", "renamed") {
                assert!(view.windows(2).all(|pair| pair[0] == pair[1]));
            }
        }
    });
    let last = geds.put("lab", "last", b"", Put::default()).unwrap().version;
    let limit = Duration::from_secs(20);
    wait_until("the last event comes", limit, || {
        let event = events.next(limit).unwrap().unwrap();
        event.key == "last" && event.what == geds::Happening::Sealed { version: last, size: 0 }
    });
    geds.delete_prefix("lab", "").unwrap();
    wait_until("nothing is left", limit, || {
        let usage = geds.usage().unwrap();
        (usage.objects, usage.files, usage.disk_bytes, usage.slabs) == (0, 0, 0, 0)
    });
}

#[test]
fn an_idle_node_sleeps() {
    let host = Host::new(Limits::default());
    let geds = host.geds();
    geds.create_bucket("lab").unwrap();
    geds.put("lab", "a", b"x", Put::default()).unwrap();
    sleeps("geds-lab");
    // And wakes for a record.
    let events = geds.subscribe(Scope::Bucket("lab".into())).unwrap();
    host.join().put("lab", "b", b"x", Put::default()).unwrap();
    assert!(events.next(Duration::from_secs(20)).unwrap().is_some());
}

#[test]
fn what_is_composed_is_no_older_than_what_was_seen_before() {
    let host = Host::new(Limits::default());
    let geds = host.join();
    geds.create_bucket("lab").unwrap();
    let write = |n: u64| geds.put("lab", "source", &n.to_le_bytes(), Put::overwrite()).unwrap();
    write(0);
    let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
    thread::scope(|scope| {
        let writer = scope.spawn(|| (1..3000).for_each(|n| _ = write(n)));
        let other = host.join();
        while !writer.is_finished() {
            let seen = other.object("lab", "source").unwrap();
            let of_this =
                Part { if_version: Some(seen.stat().version), ..Part::all("lab", "source") };
            let all = [Part::all("lab", "source")];
            other.compose("lab", "any", &all, Put::overwrite()).unwrap();
            let any = number(&other.view("lab", "any").unwrap());
            let seen = number(&seen.bytes().unwrap());
            assert!(any >= seen, "{any} is older than {seen}");
            match other.compose("lab", "same", &[of_this], Put::overwrite()) {
                Ok(_) => assert_eq!(number(&other.view("lab", "same").unwrap()), seen),
                Err(error) => assert!(matches!(error, Error::Changed { .. }), "{error}"),
            }
        }
    });
}
