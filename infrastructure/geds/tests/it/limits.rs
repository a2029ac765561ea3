//! Memory and disk that run out, and disks that fail.

use crate::rig::bytes_of;
use geds::{Attributes, Config, Error, ErrorKind, Geds, Limits, Listing, Part, Put, Stat, Tier};
use std::{fs, io::Write, thread, time::Duration};
use testkit::{Folder, wait_until};

const MIB: u64 = 1 << 20;

fn store(limits: Limits) -> (Folder, Geds) {
    let folder = Folder::in_memory();
    let geds = Geds::open(Config::alone(folder.path()).limits(limits)).unwrap();
    geds.create_bucket("lab").unwrap();
    (folder, geds)
}

fn put(geds: &Geds, key: &str, len: usize) -> Result<(), Error> {
    geds.put("lab", key, &bytes_of(key, len), Put::overwrite()).map(|_| ())
}

fn no_disk() -> Limits {
    Limits { memory_bytes: 4 * MIB, disk_bytes: 0, wait_ms: 100, ..Limits::default() }
}

#[test]
fn what_has_no_room_is_refused_with_figures_and_room_is_found_again() {
    let (_folder, geds) = store(no_disk());
    let mut written = 0;
    let refused = loop {
        match put(&geds, &format!("k{written}"), 100_000) {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(written >= 30, "only {written} objects of 100 kB in 4 MiB");
    let Error::Exhausted { used_bytes, limit_bytes, waited_ms, .. } = &refused else {
        panic!("{refused:?}");
    };
    assert!(*used_bytes > 3 * MIB && *limit_bytes == 4 * MIB && *waited_ms >= 100);
    for n in 0..written {
        assert_eq!(
            *geds.view("lab", &format!("k{n}")).unwrap(),
            bytes_of(&format!("k{n}"), 100_000)
        );
    }
    geds.delete_prefix("lab", "k").unwrap();
    put(&geds, "again", 100_000).unwrap();
}

#[test]
fn a_writer_waits_for_room() {
    let (_folder, geds) = store(Limits { wait_ms: 30_000, ..no_disk() });
    for n in 0..30 {
        put(&geds, &format!("k{n}"), 100_000).unwrap();
    }
    let writer = geds.clone();
    let waiting = thread::spawn(move || put(&writer, "large", 2 * MIB as usize));
    thread::sleep(Duration::from_millis(50));
    assert!(!waiting.is_finished());
    geds.delete_prefix("lab", "k").unwrap();
    waiting.join().unwrap().unwrap();
}

#[test]
fn objects_go_to_disk_and_are_read_from_there() {
    let limits = Limits { memory_bytes: 8 * MIB, high_water_percent: 50, ..Limits::default() };
    let (_folder, geds) = store(limits);
    for n in 0..300 {
        put(&geds, &format!("k{n}"), 100_000 + n).unwrap();
    }
    let usage = geds.usage().unwrap();
    assert!(usage.disk_bytes > 20 * MIB && usage.memory_bytes <= 8 * MIB, "{usage:?}");
    for n in 0..300 {
        let key = format!("k{n}");
        assert_eq!(*geds.view("lab", &key).unwrap(), bytes_of(&key, 100_000 + n));
        let stat = geds.stat("lab", &key).unwrap();
        let crc = crc32c::crc32c(&bytes_of(&key, 100_000 + n));
        assert!(stat.tier == Tier::Memory || stat.crc32c == Some(crc), "{stat:?}");
    }
    let page = geds.list("lab", &Listing::default()).unwrap();
    let on_disk = page.entries.iter().find(|entry| entry.stat.tier == Tier::Disk).unwrap();
    let object = geds.object("lab", &on_disk.key).unwrap();
    geds.delete_prefix("lab", "").unwrap();
    let mut buffer = [0; 100];
    assert_eq!(object.read_at(70_000, &mut buffer).unwrap(), 100);
    let bytes = bytes_of(&on_disk.key, on_disk.stat.size as usize);
    assert_eq!(buffer[..], bytes[70_000..70_100]);
    drop(object);
    let gone = || geds.usage().unwrap().files == 0;
    wait_until("the files are gone", Duration::from_secs(20), gone);
}

#[test]
fn what_is_viewed_comes_back_to_memory_and_stays_on_disk() {
    let limits = Limits { memory_bytes: 8 * MIB, ..Limits::default() };
    let (folder, geds) = store(limits.clone());
    put(&geds, "a", 100_000).unwrap();
    let stat = geds.persist("lab", "a").unwrap();
    assert_eq!(stat.crc32c, Some(crc32c::crc32c(&bytes_of("a", 100_000))));
    assert!(geds.view("lab", "a").unwrap().is_shared(), "it stays in memory");
    drop(geds);
    let again = || Geds::open(Config::alone(folder.path()).limits(limits.clone())).unwrap();
    let geds = again();
    assert_eq!(geds.stat("lab", "a").unwrap(), Stat { tier: Tier::Disk, ..stat.clone() });
    let view = geds.view("lab", "a").unwrap();
    assert!(view.is_shared() && *view == bytes_of("a", 100_000));
    assert_eq!(geds.stat("lab", "a").unwrap(), stat);
    drop((geds, view));
    let geds = again();
    assert_eq!(geds.stat("lab", "a").unwrap().version, stat.version);
    // Memory is needed: nothing has to be written for what lies on disk already.
    geds.view("lab", "a").unwrap();
    let before = geds.usage().unwrap();
    geds.set_attributes("lab", "a", Attributes::new().with("k", "v"), None).unwrap();
    let small = Limits { high_water_percent: 1, ..limits.clone() };
    geds.set_limits(small).unwrap();
    let on_disk = || geds.stat("lab", "a").unwrap().tier == Tier::Disk;
    wait_until("it is on disk alone", Duration::from_secs(20), || {
        // Small ones share a slab with it, until that is full.
        put(&geds, "b", 100_000).unwrap();
        on_disk()
    });
    assert_eq!(geds.stat("lab", "a").unwrap().attributes.text("k"), Some("v"));
    geds.delete("lab", "b", None).unwrap();
    wait_until("no copy is left", Duration::from_secs(20), || {
        geds.usage().unwrap().disk_bytes == before.disk_bytes
    });
    geds.delete("lab", "a", None).unwrap();
    wait_until("no file is left", Duration::from_secs(20), || geds.usage().unwrap().files == 0);
}

#[test]
fn files_of_which_most_is_waste_are_written_anew() {
    let limits = Limits { memory_bytes: 4 * MIB, high_water_percent: 30, ..Limits::default() };
    let (folder, geds) = store(limits.clone());
    for n in 0..600 {
        put(&geds, &format!("k{n}"), 100_000).unwrap();
    }
    geds.persist_all().unwrap();
    let parts = ["k0", "k10"].map(|key| Part::all("lab", key));
    geds.compose("lab", "both", &parts, Put::default()).unwrap();
    let kept = |n: usize| n.is_multiple_of(10);
    let before = geds.usage().unwrap().disk_bytes;
    for n in (0..600).filter(|n| !kept(*n)) {
        geds.delete("lab", &format!("k{n}"), None).unwrap();
    }
    wait_until("the disk is freed", Duration::from_secs(30), || {
        put(&geds, "awake", 10).unwrap();
        geds.usage().unwrap().disk_bytes < before / 2
    });
    let check = |geds: &Geds| {
        for n in (0..600).filter(|n| kept(*n)) {
            let key = format!("k{n}");
            assert!(*geds.view("lab", &key).unwrap() == bytes_of(&key, 100_000));
        }
        let both = [bytes_of("k0", 100_000), bytes_of("k10", 100_000)].concat();
        assert!(*geds.view("lab", "both").unwrap() == both);
    };
    check(&geds);
    drop(geds);
    let geds = Geds::open(Config::alone(folder.path()).limits(limits)).unwrap();
    check(&geds);
    geds.delete_prefix("lab", "").unwrap();
    wait_until("no file is left", Duration::from_secs(20), || geds.usage().unwrap().files == 0);
}

#[test]
fn an_object_may_be_larger_than_memory() {
    let limits = Limits { memory_bytes: 2 * MIB, ..Limits::default() };
    let (_folder, geds) = store(limits);
    let bytes = bytes_of("large", 9_000_001);
    let mut writer = geds.create("lab", "large", Put::default()).unwrap();
    for part in bytes.chunks(12_345) {
        writer.write_all(part).unwrap();
    }
    writer.write_at(5, &bytes[5..10]).unwrap();
    let stat = writer.seal().unwrap();
    assert_eq!((stat.tier, stat.size), (Tier::Disk, 9_000_001));
    assert_eq!(stat.crc32c, Some(crc32c::crc32c(&bytes)));
    assert!(*geds.view("lab", "large").unwrap() == bytes);
    drop(geds.create("lab", "dropped", Put::default().size_hint(5 * MIB)).unwrap());
    assert_eq!(geds.usage().unwrap().files, 1);
    geds.put("lab", "put", &bytes, Put::default()).unwrap();
    assert!(*geds.view("lab", "put").unwrap() == bytes);
}

#[test]
fn a_full_disk_is_said_and_nothing_is_lost() {
    let limits =
        Limits { memory_bytes: 4 * MIB, disk_bytes: 2 * MIB, wait_ms: 300, ..Limits::default() };
    let (_folder, geds) = store(limits.clone());
    let mut written = 0;
    while put(&geds, &format!("k{written}"), 100_000).is_ok() {
        written += 1;
        assert!(written < 200, "the limits do not hold");
    }
    for n in 0..written {
        let key = format!("k{n}");
        assert_eq!(*geds.view("lab", &key).unwrap(), bytes_of(&key, 100_000));
    }
    let mut writer = geds.create("lab", "large", Put::default()).unwrap();
    let refused = writer.write_at(0, &bytes_of("large", 5 << 20)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Exhausted);
    geds.set_limits(Limits { disk_bytes: 100 * MIB, wait_ms: 20_000, ..limits }).unwrap();
    put(&geds, "more", 100_000).unwrap();
}

#[test]
fn a_disk_that_fails_is_said_and_nothing_in_memory_is_lost() {
    let (folder, geds) = store(Limits { memory_bytes: 4 * MIB, wait_ms: 300, ..Limits::default() });
    put(&geds, "kept", 1000).unwrap();
    fs::remove_dir_all(folder.join("tenants/default/objects")).unwrap();
    let durable = geds.put("lab", "d", b"x", Put::default().durable());
    assert!(matches!(durable, Err(Error::Io { .. })), "{durable:?}");
    let mut written = 0;
    while put(&geds, &format!("k{written}"), 100_000).is_ok() {
        written += 1;
        assert!(written < 200, "the limits do not hold");
    }
    assert_eq!(*geds.view("lab", "kept").unwrap(), bytes_of("kept", 1000));
    fs::create_dir(folder.join("tenants/default/objects")).unwrap();
    wait_until("the disk is used again", Duration::from_secs(20), || {
        put(&geds, "more", 100_000).is_ok()
    });
}

#[test]
fn limits_that_cannot_be_are_refused() {
    let (_folder, geds) = store(Limits::default());
    let limits = geds.limits().unwrap();
    for bad in [
        Limits { memory_bytes: 1, ..limits.clone() },
        Limits { high_water_percent: 101, ..limits.clone() },
    ] {
        assert_eq!(geds.set_limits(bad).unwrap_err().kind(), ErrorKind::Invalid);
    }
    assert_eq!(geds.limits().unwrap(), limits);
}
