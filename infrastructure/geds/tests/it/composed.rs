//! Objects that are composed of others, as uploads in parts are, and go outside whole.

use crate::{
    rig::{LONG, bytes_of},
    s3::{Manner, Server},
};
use geds::{BackendConfig, Class, Config, Destination, Geds, Limits, Part, Put, Tier};
use testkit::{Folder, wait_until};

const MIB: usize = 1 << 20;

fn open(folder: &Folder) -> Geds {
    let limits = Limits { memory_bytes: 32 << 20, high_water_percent: 60, ..Limits::default() };
    Geds::open(Config::alone(folder.join("node")).limits(limits)).unwrap()
}

fn backend(server: &Server, class: Class) -> BackendConfig {
    let options = [
        ("endpoint", server.address.as_str()),
        ("access_key_id", "key"),
        ("secret_access_key", "secret"),
        ("allow_http", "true"),
    ];
    BackendConfig::new("s3://lab", options).class(class)
}

fn store() -> (Folder, Geds) {
    let folder = Folder::in_memory();
    let geds = open(&folder);
    geds.create_bucket("lab").unwrap();
    geds.create_bucket("parts").unwrap();
    (folder, geds)
}

/// An object of parts of these sizes, which have no names of their own any more.
fn compose(geds: &Geds, key: &str, sizes: &[usize]) -> Vec<u8> {
    let names: Vec<String> = (0..sizes.len()).map(|n| format!("{key}/{n}")).collect();
    let bytes: Vec<Vec<u8>> =
        names.iter().zip(sizes).map(|(name, size)| bytes_of(name, *size)).collect();
    for (name, bytes) in names.iter().zip(&bytes) {
        geds.put("parts", name, bytes, Put::default()).unwrap();
    }
    let parts: Vec<Part> = names.iter().map(|name| Part::all("parts", name)).collect();
    geds.compose("lab", key, &parts, Put::overwrite()).unwrap();
    geds.delete_prefix("parts", &format!("{key}/")).unwrap();
    bytes.concat()
}

fn read(geds: &Geds, key: &str) -> Vec<u8> {
    let object = geds.object("lab", key).unwrap();
    let mut bytes = vec![0; object.len() as usize];
    assert_eq!(object.read_at(0, &mut bytes).unwrap(), bytes.len());
    bytes
}

#[test]
fn what_is_composed_goes_outside_whole_and_comes_back_also_after_a_restart() {
    let server = Server::start();
    let (folder, geds) = store();
    geds.attach("lab", backend(&server, Class::Cold)).unwrap();
    // In one request and in several; of blocks that end elsewhere than the parts; one part on disk.
    let small = compose(&geds, "small", &[5 * MIB, 1000]);
    let large = compose(&geds, "large", &[5 * MIB + 7, 17 * MIB, 2 * MIB - 1, 3]);
    for (key, bytes) in [("small", &small), ("large", &large)] {
        wait_until("it is outside", LONG, || server.object(key).as_ref() == Some(bytes));
        wait_until("that is known", LONG, || geds.stat("lab", key).unwrap().crc32c.is_some());
        assert_eq!(geds.stat("lab", key).unwrap().crc32c, Some(crc32c::crc32c(bytes)));
        assert!(read(&geds, key) == *bytes, "{key}");
    }
    geds.copy(("lab", "large"), ("lab", "copy"), Put::default()).unwrap();
    geds.delete("lab", "large", None).unwrap();
    drop(geds);

    let geds = open(&folder);
    geds.attach("lab", backend(&server, Class::Cold)).unwrap();
    assert_eq!(geds.stat("lab", "small").unwrap().tier, Tier::Outside);
    assert!(read(&geds, "small") == small && read(&geds, "copy") == large);
    assert_eq!(geds.lost().unwrap(), []);
    let again = compose(&geds, "small", &[MIB, 3]);
    wait_until("it is replaced", LONG, || server.object("small").as_ref() == Some(&again));
}

#[test]
fn what_is_composed_leaves_memory_by_way_of_the_back_end() {
    let server = Server::start();
    let (_folder, geds) = store();
    geds.attach("lab", backend(&server, Class::Hot)).unwrap();
    let mut all = Vec::new();
    for n in 0..6 {
        let key = format!("k{n}");
        let bytes = compose(&geds, &key, &[3 * MIB, 2 * MIB + n]);
        all.push((key, bytes));
        // As fast as the back end, so that nothing needs to go to disk.
        wait_until("memory is free", LONG, || geds.usage().unwrap().memory_bytes < 22 << 20);
    }
    assert_eq!(geds.stat("lab", "k0").unwrap().tier, Tier::Outside);
    assert_eq!(geds.usage().unwrap().disk_bytes, 0, "{:?}", geds.backends());
    for (key, bytes) in &all {
        assert!(read(&geds, key) == *bytes, "{key}");
    }

    server.behave(Manner::Closed);
    let kept = compose(&geds, "kept", &[5 * MIB, 5 * MIB]);
    geds.relocate("lab", "kept", Destination::Outside, |_| {}).unwrap_err();
    assert!(read(&geds, "kept") == kept);
    assert_eq!(geds.relocate("lab", "kept", Destination::Disk, |_| {}).unwrap().objects, 1);
    server.behave(Manner::Honest);
    assert_eq!(geds.relocate("lab", "kept", Destination::Outside, |_| {}).unwrap().objects, 1);
    assert!(server.object("kept") == Some(kept.clone()) && read(&geds, "kept") == kept);
}
