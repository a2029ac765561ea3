//! Nodes of several sites that are killed.

use crate::{
    rig::{LONG, Process, bytes_of},
    sites::{At, acquaint, at},
};
use geds::{Config, ErrorKind, Geds, Limits, Put, Site};
use std::{fs, net::SocketAddr, path::Path, thread, time::Duration};
use testkit::{Folder, Random, soak_rounds, wait_until};

/// A node of a site in a child process: see `children`.
struct Child {
    process: Process,
    address: SocketAddr,
    geds: Geds,
}

/// Starts the node of a site that knows others.
fn start(folder: &Path, name: &str, others: &[(&str, &At)]) -> Child {
    let mut text = format!("{name}\n");
    for (other, at) in others {
        text += &format!("{other} {}\n", at.address);
    }
    fs::write(folder.join("site"), text).unwrap();
    let _ = fs::remove_file(folder.join("address"));
    let process = Process::start("site", folder);
    wait_until("the node listens", LONG, || folder.join("address").exists());
    let address: SocketAddr = fs::read_to_string(folder.join("address")).unwrap().parse().unwrap();
    for (_, at) in others {
        at.node.set_peer(name, Some(address)).unwrap();
    }
    let geds = Geds::open(Config::join(folder.join("lab.sock"))).unwrap();
    Child { process, address, geds }
}

fn put(geds: &Geds, key: &str, put: Put) -> geds::Stat {
    geds.put("frames", key, &bytes_of(key, 70_000), put).unwrap()
}

fn sees(geds: &Geds, key: &str) -> bool {
    geds.view("frames", key).is_ok_and(|view| *view == bytes_of(key, 70_000))
}

#[test]
fn a_killed_home_comes_back_with_what_was_durable_and_copies_are_read_meanwhile() {
    let folder = Folder::in_memory();
    let edge = at(Site::plain("edge"));
    let mut cloud = start(folder.path(), "cloud", &[("edge", &edge)]);
    cloud.geds.create_bucket("frames").unwrap();
    let durable = put(&cloud.geds, "durable", Put::default().durable());
    put(&cloud.geds, "memory", Put::default());
    put(&cloud.geds, "read", Put::default());
    let replica = put(&cloud.geds, "replica", Put::default().replicas(1));
    assert!(sees(&edge.geds, "read"));
    put(&edge.geds, "mine", Put::default());
    edge.geds.create_bucket("own").unwrap();
    cloud.process.kill();

    assert!(sees(&edge.geds, "read") && sees(&edge.geds, "mine"), "copies are here");
    let error = edge.geds.view("frames", "memory").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let refused = edge.geds.put("frames", "new", b"", Put::default());
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unavailable);
    edge.geds.put("own", "new", b"", Put::default()).unwrap();

    let cloud = start(folder.path(), "cloud", &[("edge", &edge)]);
    wait_until("the home answers", LONG, || sees(&edge.geds, "durable"));
    assert_eq!(edge.geds.stat("frames", "durable").unwrap().version, durable.version);
    assert_eq!(edge.geds.view("frames", "memory").unwrap_err().kind(), ErrorKind::NotFound);
    wait_until("what the home lost is dropped", LONG, || !sees(&edge.geds, "read"));
    put(&edge.geds, "new", Put::default());
    assert!(sees(&cloud.geds, "new") && sees(&edge.geds, "mine"));
    wait_until("the replica comes back", LONG, || sees(&cloud.geds, "replica"));
    assert!(cloud.geds.stat("frames", "replica").unwrap().version > replica.version);
    assert!(sees(&edge.geds, "replica"));
    assert!(cloud.address.port() != 0);
}

#[test]
fn what_a_killed_writer_had_is_read_from_copies_or_said_to_be_lost() {
    let folder = Folder::in_memory();
    let (cloud, far) = (at(Site::plain("cloud")), at(Site::plain("far")));
    acquaint(&[("cloud", &cloud), ("far", &far)]);
    cloud.geds.create_bucket("frames").unwrap();
    let mut edge = start(folder.path(), "edge", &[("cloud", &cloud), ("far", &far)]);
    put(&edge.geds, "alone", Put::default());
    put(&edge.geds, "read", Put::default());
    put(&edge.geds, "durable", Put::default().durable());
    assert!(sees(&far.geds, "read"));
    assert_eq!(cloud.geds.stat("frames", "alone").unwrap().site.as_deref(), Some("edge"));
    edge.process.kill();

    assert!(sees(&cloud.geds, "read"), "from the copy at the third site");
    for reader in [&cloud.geds, &far.geds] {
        let error = reader.view("frames", "alone").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.to_string().contains("`alone`"), "{error}");
    }
    let _edge = start(folder.path(), "edge", &[("cloud", &cloud), ("far", &far)]);
    wait_until("it is said to be lost", LONG, || {
        let error = cloud.geds.view("frames", "alone").unwrap_err();
        error.kind() == ErrorKind::Corrupt && error.to_string().contains("`edge`")
    });
    wait_until("what was durable is there", LONG, || sees(&far.geds, "durable"));
    assert!(sees(&cloud.geds, "durable"));
    put(&cloud.geds, "alone", Put::overwrite());
    assert!(sees(&far.geds, "alone"), "its name can be written again");
}

#[test]
fn readers_and_writers_at_another_site_are_killed_at_any_moment() {
    let (cloud, edge) = (at(Site::plain("cloud")), at(Site::plain("edge")));
    acquaint(&[("cloud", &cloud), ("edge", &edge)]);
    cloud.geds.create_bucket("lab").unwrap();
    let folder = Folder::in_memory();
    let socket = folder.join("lab.sock");
    edge.node.listen("lab", &Limits::default(), &socket).unwrap();
    let before = edge.geds.usage().unwrap().processes;
    let mut random = Random::printed("kill");
    for _ in 0..soak_rounds(3) {
        let children = ["write", "view"].map(|role| Process::start(role, &socket));
        wait_until("all have joined", LONG, || edge.geds.usage().unwrap().processes == before + 2);
        thread::sleep(Duration::from_micros(random.below(200_000)));
        drop(children);
        wait_until("all have gone", LONG, || edge.geds.usage().unwrap().processes == before);
        for geds in [&cloud.geds, &edge.geds] {
            for entry in geds.list("lab", &Default::default()).unwrap().entries {
                match geds.view("lab", &entry.key) {
                    Ok(view) => {
                        assert_eq!(*view, bytes_of(&entry.key, view.len()), "{}", entry.key)
                    }
                    // Killed between the seal at the home and its own: that is said by name.
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}"),
                }
            }
        }
    }
    cloud.geds.delete_prefix("lab", "").unwrap();
    wait_until("no copies are left", LONG, || edge.geds.usage().unwrap().objects == 0);
}
