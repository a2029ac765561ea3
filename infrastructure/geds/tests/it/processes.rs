//! Several processes of one tenant, and several tenants.

use crate::rig::{Host, LONG, Process, bytes_of};
use geds::{Config, ErrorKind, Event, Geds, Happening, Limits, Put, Scope};
use testkit::wait_until;

#[test]
fn what_one_process_seals_all_others_view() {
    let host = Host::new(Limits::default());
    let geds = host.geds();
    geds.create_bucket("lab").unwrap();
    Process::start("put", host.socket()).succeeds();
    for reader in [geds.clone(), host.join()] {
        for (key, len) in [("small", 10), ("page", 4096), ("large", 3 << 20)] {
            let view = reader.view("lab", key).unwrap();
            assert!(view.is_shared() && *view == bytes_of(key, len), "{key}");
        }
    }
    assert_eq!(geds.usage().unwrap().objects, 3);
}

#[test]
fn events_reach_other_processes() {
    let host = Host::new(Limits::default());
    host.geds().create_bucket("lab").unwrap();
    let events = host.join().subscribe(Scope::Object("lab".into(), "large".into())).unwrap();
    Process::start("put", host.socket()).succeeds();
    let mut told = Vec::new();
    while told.len() < 2 {
        let Event { bucket, key, what } = events.next(LONG).unwrap().unwrap();
        assert_eq!((bucket.as_str(), key.as_str()), ("lab", "large"));
        told.push(what);
    }
    assert!(matches!(told[..], [Happening::Created, Happening::Sealed { size: 3_145_728, .. }]));
}

#[test]
fn tenants_have_nothing_in_common() {
    let host = Host::new(Limits::default());
    let (lab, other) = (host.geds(), host.node.geds("other", &Limits::default()).unwrap());
    lab.create_bucket("data").unwrap();
    other.create_bucket("data").unwrap();
    lab.put("data", "secret", b"of lab", Put::default()).unwrap();
    assert_eq!(other.view("data", "secret").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(other.usage().unwrap().objects, 0);
    assert!(host.node.geds("../x", &Limits::default()).is_err());
}

#[test]
fn a_folder_has_one_node() {
    let host = Host::new(Limits::default());
    let second = Geds::open(Config::alone(host.folder.join("node")));
    assert_eq!(second.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(
        Geds::open(Config::join(host.folder.join("nobody"))).unwrap_err().kind(),
        ErrorKind::Unavailable
    );
}

#[test]
fn a_process_that_goes_leaves_nothing_behind() {
    let host = Host::new(Limits::default());
    let geds = host.geds();
    geds.create_bucket("lab").unwrap();
    let before = geds.usage().unwrap();
    Process::start("put", host.socket()).succeeds();
    let mut holder = Process::start("hold", host.socket());
    wait_until("the objects are held", LONG, || geds.stat("lab", "held").is_ok());
    assert_eq!(geds.delete_prefix("lab", "").unwrap(), 4);
    assert!(geds.usage().unwrap().slabs > before.slabs, "views keep what they show");
    holder.kill();
    wait_until("the memory is free", LONG, || {
        let now = geds.usage().unwrap();
        (now.slabs, now.memory_bytes, now.processes) == (before.slabs, before.memory_bytes, 1)
    });
}
