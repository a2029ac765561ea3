//! Classes that objects have of their own.

use crate::{
    rig::{LONG, bytes_of},
    s3::Server,
};
use geds::{BackendConfig, Class, Config, Error, Geds, Limits, Put, Stat};
use testkit::{Folder, wait_until};

const SIZE: usize = 200_000;

fn open(folder: &Folder) -> Geds {
    let limits = Limits { memory_bytes: 64 << 20, high_water_percent: 80, ..Limits::default() };
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

fn put(geds: &Geds, key: &str, put: Put) -> Stat {
    geds.put("lab", key, &bytes_of(key, SIZE), put).unwrap()
}

#[test]
fn an_objects_class_overrides_that_of_its_bucket() {
    let server = Server::start();
    let folder = Folder::in_memory();
    let geds = open(&folder);
    geds.create_bucket("lab").unwrap();
    geds.attach("lab", backend(&server, Class::Hot)).unwrap();
    for n in 0..20 {
        assert_eq!(put(&geds, &format!("hot/{n}"), Put::default()).class, None);
        put(&geds, &format!("cold/{n}"), Put::default().class(Class::Cold));
    }
    // Those of the last slab stay until it is full.
    wait_until("cold ones are outside", LONG, || server.count() >= 15);
    assert!(server.object("cold/3").is_some() && server.object("hot/3").is_none());
    geds.set_class("lab", "hot/4", Some(Class::Cold), None).unwrap();
    wait_until("it is cold now", LONG, || server.object("hot/4").is_some());
    assert!(server.object("hot/5").is_none());

    geds.attach("lab", backend(&server, Class::Cold)).unwrap();
    wait_until("the bucket is cold", LONG, || server.object("hot/8").is_some());
    for n in 0..10 {
        put(&geds, &format!("warm/{n}"), Put::default().class(Class::Hot));
        put(&geds, &format!("last/{n}"), Put::default());
    }
    wait_until("its objects go", LONG, || server.object("last/2").is_some());
    assert!(server.object("warm/2").is_none());
}

#[test]
fn a_class_stays_with_its_object() {
    let folder = Folder::in_memory();
    let geds = open(&folder);
    geds.create_bucket("lab").unwrap();
    let class = |geds: &Geds, key: &str| geds.stat("lab", key).unwrap().class;
    put(&geds, "a", Put::default().class(Class::Cold));
    geds.copy(("lab", "a"), ("lab", "copy"), Put::default()).unwrap();
    geds.copy(("lab", "a"), ("lab", "hot"), Put::default().class(Class::Hot)).unwrap();
    geds.rename("lab", "copy", "moved", Put::default()).unwrap();
    let kept = geds::Attributes::new().with("k", "v");
    let before = geds.set_attributes("lab", "moved", kept.clone(), None).unwrap();
    let refused = geds.set_class("lab", "moved", None, Some(before.version + 1)).unwrap_err();
    assert!(matches!(refused, Error::Changed { .. }), "{refused}");
    let stat = geds.set_class("lab", "moved", Some(Class::Cold), Some(before.version)).unwrap();
    assert_eq!((stat.version, &stat.attributes), (before.version, &kept));
    put(&geds, "plain", Put::default().class(Class::Cold));
    put(&geds, "plain", Put::overwrite());
    geds.persist_all().unwrap();
    drop(geds);

    let geds = open(&folder);
    assert_eq!(class(&geds, "moved"), Some(Class::Cold));
    assert_eq!(class(&geds, "hot"), Some(Class::Hot));
    assert_eq!(class(&geds, "plain"), None);
    assert_eq!(geds.stat("lab", "moved").unwrap().attributes, kept);
    geds.view("lab", "moved").unwrap();
    assert_eq!(class(&geds, "moved"), Some(Class::Cold), "bytes that come to memory keep it");
    geds.set_class("lab", "moved", None, None).unwrap();
    assert_eq!(class(&geds, "moved"), None);
}
