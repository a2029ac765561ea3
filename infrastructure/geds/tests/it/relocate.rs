//! Objects that are moved because somebody wants it.

use crate::rig::bytes_of;
use geds::{BackendConfig, Config, Destination, ErrorKind, Geds, Limits, Listing, Put, Tier};
use std::{fs, path::Path};
use testkit::Folder;

const SIZES: [usize; 4] = [1, 5_000, 70_000, 3 << 20];

fn open(folder: &Folder) -> Geds {
    let limits = Limits { memory_bytes: 32 << 20, ..Limits::default() };
    Geds::open(Config::alone(folder.join("node")).limits(limits)).unwrap()
}

fn store() -> (Folder, Geds) {
    let folder = Folder::in_memory();
    let geds = open(&folder);
    geds.create_bucket("lab").unwrap();
    for (n, size) in SIZES.into_iter().enumerate() {
        let key = format!("a/{n}");
        geds.put("lab", &key, &bytes_of(&key, size), Put::default()).unwrap();
    }
    geds.put("lab", "b", b"elsewhere", Put::default()).unwrap();
    geds.make_folder("lab", "a/deep").unwrap();
    (folder, geds)
}

fn attach(geds: &Geds, outside: &Path) {
    fs::create_dir_all(outside).unwrap();
    geds.attach("lab", BackendConfig::new(&format!("file://{}", outside.display()), [])).unwrap();
}

fn tiers(geds: &Geds) -> Vec<Tier> {
    let page = geds.list("lab", &Listing::prefix("a/")).unwrap();
    page.entries.iter().filter(|entry| entry.stat.size > 0).map(|entry| entry.stat.tier).collect()
}

/// Without bringing them to memory.
fn check(geds: &Geds) {
    for (n, size) in SIZES.into_iter().enumerate() {
        let (key, mut bytes) = (format!("a/{n}"), vec![0; size]);
        assert_eq!(geds.object("lab", &key).unwrap().read_at(0, &mut bytes).unwrap(), size);
        assert!(bytes == bytes_of(&key, size), "{key}");
    }
}

#[test]
fn a_prefix_goes_to_disk_and_comes_back_and_outlives_the_node() {
    let (folder, geds) = store();
    let (version, mut told) = (geds.stat("lab", "a/2").unwrap().version, 0);
    let held = geds.view("lab", "a/1").unwrap();
    let done = geds.relocate("lab", "a/", Destination::Disk, |so_far| told = so_far.objects);
    let done = done.unwrap();
    let bytes: usize = SIZES.iter().sum();
    assert_eq!((done.objects, done.bytes, done.failed, told), (4, bytes as u64, 0, 4));
    assert_eq!(tiers(&geds), [Tier::Disk; 4]);
    assert_eq!(geds.stat("lab", "b").unwrap().tier, Tier::Memory);
    assert_eq!(geds.stat("lab", "a/2").unwrap().version, version);
    assert!(*held == bytes_of("a/1", 5_000), "who views bytes keeps them");
    check(&geds);
    assert_eq!(geds.relocate("lab", "a/", Destination::Disk, |_| {}).unwrap().objects, 0);

    assert_eq!(geds.relocate("lab", "a/", Destination::Memory, |_| {}).unwrap().objects, 4);
    assert_eq!(tiers(&geds), [Tier::Memory; 4]);
    check(&geds);
    drop((held, geds));
    check(&open(&folder));
}

#[test]
fn a_prefix_goes_outside_and_leaves_memory_free() {
    let (folder, geds) = store();
    let refused = geds.relocate("lab", "", Destination::Outside, |_| {}).unwrap_err();
    assert!(refused.to_string().contains("attach"), "{refused}");
    let absent = geds.relocate("none", "", Destination::Disk, |_| {}).unwrap_err();
    assert_eq!(absent.kind(), ErrorKind::NotFound);

    let outside = folder.join("outside");
    attach(&geds, &outside);
    geds.relocate("lab", "a/3", Destination::Disk, |_| {}).unwrap();
    geds.put("lab", "a/../x", b"no name outside", Put::default()).unwrap();
    let before = geds.usage().unwrap();
    let done = geds.relocate("lab", "a/", Destination::Outside, |_| {}).unwrap();
    assert_eq!((done.objects, done.failed), (4, 1), "{done:?}");
    assert_eq!(done.failures[0].key, "a/../x");
    geds.delete("lab", "a/../x", None).unwrap();
    assert_eq!(tiers(&geds), [Tier::Outside; 4]);
    assert!(fs::read(outside.join("a/3")).unwrap() == bytes_of("a/3", 3 << 20));
    let after = geds.usage().unwrap();
    assert!(after.disk_bytes < before.disk_bytes, "{before:?} {after:?}");
    check(&geds);

    // What lies below as well needs no writing to leave memory.
    geds.relocate("lab", "a/", Destination::Memory, |_| {}).unwrap();
    assert_eq!(tiers(&geds), [Tier::Memory; 4]);
    let written = geds.backends().unwrap()[0].objects;
    geds.relocate("lab", "a/", Destination::Outside, |_| {}).unwrap();
    assert_eq!(
        (tiers(&geds), geds.backends().unwrap()[0].objects),
        (vec![Tier::Outside; 4], written)
    );
}

#[test]
fn a_back_end_or_a_disk_that_fails_is_told_and_nothing_is_lost() {
    let (folder, geds) = store();
    let outside = folder.join("outside");
    attach(&geds, &outside);
    fs::remove_dir_all(&outside).unwrap();
    fs::write(&outside, "no folder").unwrap();
    geds.relocate("lab", "a/", Destination::Outside, |_| {}).unwrap_err();
    check(&geds);

    let limits = geds.limits().unwrap();
    geds.set_limits(Limits { disk_bytes: 1 << 20, ..limits.clone() }).unwrap();
    let full = geds.relocate("lab", "a/", Destination::Disk, |_| {}).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::Exhausted, "{full}");
    geds.set_limits(limits).unwrap();
    assert_eq!(geds.relocate("lab", "a/", Destination::Disk, |_| {}).unwrap().objects, 4);
    check(&geds);
}
