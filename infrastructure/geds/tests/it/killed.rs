//! Processes and nodes that are killed at any moment.

use crate::rig::{Host, LONG, Process, bytes_of};
use geds::{Config, ErrorKind, Geds, Limits, Listing, Put};
use std::{thread, time::Duration};
use testkit::{Folder, Random, soak_rounds, wait_until};

/// Checks all objects; while others write some may be deleted meanwhile.
fn check_while_others_write(geds: &Geds) {
    for entry in geds.list("lab", &Listing::default()).unwrap().entries {
        match geds.view("lab", &entry.key) {
            Ok(view) => assert_eq!(*view, bytes_of(&entry.key, view.len()), "{}", entry.key),
            Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{error}"),
        }
    }
}

fn check_all(geds: &Geds) -> usize {
    check_all_but(geds, "")
}

fn check_all_but(geds: &Geds, other: &str) -> usize {
    let page = geds.list("lab", &Listing::default()).unwrap();
    for entry in page.entries.iter().filter(|entry| entry.key != other) {
        let view = geds.view("lab", &entry.key).unwrap();
        assert_eq!(*view, bytes_of(&entry.key, view.len()), "{}", entry.key);
        assert_eq!(geds.stat("lab", &entry.key).unwrap().size, entry.stat.size);
    }
    page.entries.len()
}

#[test]
fn writers_and_viewers_are_killed_at_any_moment() {
    let limits = Limits { memory_bytes: 24 << 20, ..Limits::default() };
    let host = Host::new(limits);
    let geds = host.geds();
    geds.create_bucket("lab").unwrap();
    let before = geds.usage().unwrap();
    let mut random = Random::printed("kill");
    for _ in 0..soak_rounds(10) {
        let mut children: Vec<Process> = ["write", "view", "write"]
            .map(|role| Process::start(role, host.socket()))
            .into_iter()
            .collect();
        wait_until("all have joined", LONG, || geds.usage().unwrap().processes == 4);
        thread::sleep(Duration::from_micros(random.below(200_000)));
        let first = random.below(3) as usize;
        children.swap_remove(first).kill();
        check_while_others_write(&host.join());
        drop(children);
        wait_until("all have gone", LONG, || geds.usage().unwrap().processes == 1);
        check_all(&host.join());
    }
    geds.delete_prefix("lab", "").unwrap();
    wait_until("nothing is left", LONG, || {
        let now = geds.usage().unwrap();
        (now.objects, now.slabs, now.memory_bytes, now.files, now.disk_bytes)
            == (0, before.slabs, before.memory_bytes, 0, 0)
    });
    let files = std::fs::read_dir(host.folder.join("node/tenants/lab/objects")).unwrap();
    assert_eq!(files.count(), 0);
}

#[test]
fn a_killed_node_loses_what_was_in_memory_alone() {
    let folder = Folder::in_memory();
    let mut node = Process::start("node", folder.path());
    let mut geds = None;
    wait_until("the node is there", LONG, || {
        geds = Geds::open(Config::join(folder.join("lab.sock"))).ok();
        geds.is_some()
    });
    let geds = geds.unwrap();
    geds.create_bucket("lab").unwrap();
    let put = |key: &str, len, put| geds.put("lab", key, &bytes_of(key, len), put).unwrap();
    let durable = put("durable", 100_000, Put::default().durable());
    put("memory", 100_000, Put::default());
    put("later", 1000, Put::default());
    let later = geds.persist("lab", "later").unwrap();
    put("gone", 10, Put::default().durable());
    geds.delete("lab", "gone", None).unwrap();
    put("empty/", 0, Put::default().durable());
    geds.persist_all().unwrap();
    put("before", 5000, Put::default().durable());
    geds.rename("lab", "before", "renamed", Put::default()).unwrap();
    geds.copy(("lab", "renamed"), ("lab", "copied"), Put::default()).unwrap();
    geds.delete("lab", "renamed", None).unwrap();
    put("new", 5, Put::default());
    // All that was left is seen when a list was asked for.
    assert_eq!(geds.list("lab", &Listing::default()).unwrap().entries.len(), 6);
    let held = geds.view("lab", "new").unwrap();
    let mut begun = geds.create("lab", "begun", Put::default()).unwrap();
    begun.write_at(0, &bytes_of("begun", 200_000)).unwrap();
    node.kill();

    wait_until("the process notices", LONG, || geds.stat("lab", "new").is_err());
    assert_eq!(geds.stat("lab", "new").unwrap_err().kind(), ErrorKind::Unavailable);
    let refused = geds.put("lab", "x", b"", Put::default());
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(*held, bytes_of("new", 5), "what is held stays");

    let _node = Process::start("node", folder.path());
    // The same handle finds the new node; what was begun with the former one is lost.
    wait_until("the node is there again", LONG, || geds.buckets().is_ok());
    assert_eq!(begun.seal().unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(*held, bytes_of("new", 5));
    assert_eq!(check_all_but(&geds, "copied"), 5, "durable, memory, later, empty/ and copied");
    assert_eq!(*geds.view("lab", "copied").unwrap(), bytes_of("before", 5000));
    assert_eq!(geds.stat("lab", "durable").unwrap().version, durable.version);
    assert_eq!(geds.stat("lab", "later").unwrap(), later);
    assert_eq!(geds.stat("lab", "new").unwrap_err().kind(), ErrorKind::NotFound);
    let newer = geds.put("lab", "new", b"", Put::default()).unwrap();
    assert!(newer.version > durable.version.max(later.version));
}

/// A node in another process, and a way into it.
fn other_node(folder: &Folder) -> (Process, Geds) {
    let node = Process::start("node", folder.path());
    let mut geds = None;
    wait_until("the node is there", LONG, || {
        geds = Geds::open(Config::join(folder.join("lab.sock"))).ok();
        geds.is_some()
    });
    (node, geds.unwrap())
}

#[test]
fn what_was_replaced_in_memory_does_not_come_back_and_is_named() {
    let folder = Folder::in_memory();
    let (mut node, geds) = other_node(&folder);
    geds.create_bucket("lab").unwrap();
    for round in 0..soak_rounds(6) {
        let name = |key: &str| format!("{key}{round}");
        let durable = ["over", "gone", "again", "kept", "attributes"];
        for key in durable {
            let old = Put::default().durable();
            geds.put("lab", &name(key), b"old", old).unwrap();
        }
        geds.put("lab", &name("memory"), b"new", Put::default()).unwrap();
        if round % 2 == 0 {
            // Those that come back to memory are in the journal as well.
            assert!(geds.view("lab", &name("over")).unwrap().is_shared());
        } else {
            thread::sleep(Duration::from_millis(250));
        }
        geds.delete("lab", &name("gone"), None).unwrap();
        geds.delete("lab", &name("again"), None).unwrap();
        geds.put("lab", &name("again"), b"new", Put::default()).unwrap();
        let more = geds::Attributes::new().with("k", "new");
        geds.set_attributes("lab", &name("attributes"), more.clone(), None).unwrap();
        geds.put("lab", &name("over"), b"new", Put::overwrite()).unwrap();
        node.kill();
        wait_until("the process notices", LONG, || geds.stat("lab", "x").is_err());
        node = Process::start("node", folder.path());
        wait_until("the node is there again", LONG, || geds.buckets().is_ok());
        let lost: Vec<String> = geds.lost().unwrap().into_iter().map(|lost| lost.key).collect();
        for key in ["over", "again"] {
            let error = geds.view("lab", &name(key)).map(|view| view.to_vec()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound, "{key}");
        }
        assert!(lost.contains(&name("over")), "{lost:?}");
        // What lived for a while is named though nothing of it was durable.
        assert!(round % 2 == 0 || lost.contains(&name("memory")), "{lost:?}");
        assert!(!lost.contains(&name("gone")) && geds.stat("lab", &name("gone")).is_err());
        assert_eq!(*geds.view("lab", &name("kept")).unwrap(), *b"old");
        assert_eq!(geds.stat("lab", &name("attributes")).unwrap().attributes, more);
    }
    let before = geds.lost().unwrap().len();
    assert_eq!(geds.usage().unwrap().lost, before as u64);
    geds.put("lab", "over0", b"found", Put::default()).unwrap();
    assert_eq!(geds.bucket("lab").unwrap().name, "lab");
    assert_eq!(geds.lost().unwrap().len(), before - 1, "what is there is not lost");
    geds.forget_lost().unwrap();
    assert_eq!(geds.lost().unwrap(), []);
}
