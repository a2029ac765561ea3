//! Nodes of several sites.

use crate::rig::{LONG, bytes_of};
use geds::{Attributes, ErrorKind, Geds, Happening, Limits, Listing, Node, Part, Put, Scope, Site};
use meta::{Embedded, MetaStore};
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use testkit::{Folder, wait_until};
use types::SystemClock;

pub(crate) const FREE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A node of a site, and its store for the tenant `lab`.
pub(crate) struct At {
    pub(crate) node: Node,
    pub(crate) geds: Geds,
    pub(crate) address: SocketAddr,
    _folder: Folder,
}

pub(crate) fn at(site: Site) -> At {
    at_with(site, &Limits::default())
}

pub(crate) fn at_with(site: Site, limits: &Limits) -> At {
    let folder = Folder::in_memory();
    let node = Node::start(folder.join("node")).unwrap();
    let address = node.join_sites(site.listen(FREE)).unwrap().unwrap();
    let geds = node.geds("lab", limits).unwrap();
    At { node, geds, address, _folder: folder }
}

/// Lets nodes know each other.
pub(crate) fn acquaint(all: &[(&str, &At)]) {
    for (name, one) in all {
        for (other, node) in all.iter().filter(|(other, _)| other != name) {
            one.node.set_peer(other, Some(node.address)).unwrap();
        }
    }
}

/// The sites `cloud` and `edge`, and the bucket `frames` whose home is `cloud`.
fn pair() -> (At, At) {
    let (cloud, edge) = (at(Site::plain("cloud")), at(Site::plain("edge")));
    acquaint(&[("cloud", &cloud), ("edge", &edge)]);
    cloud.geds.create_bucket("frames").unwrap();
    (cloud, edge)
}

fn put(geds: &Geds, key: &str, len: usize) -> geds::Stat {
    geds.put("frames", key, &bytes_of(key, len), Put::overwrite()).unwrap()
}

#[test]
fn the_buckets_of_all_sites_are_listed_at_each_but_for_those_of_a_silent_one() {
    let (cloud, edge) = pair();
    edge.geds.create_bucket("local").unwrap();
    let names = |at: &At| {
        let buckets = at.geds.buckets().unwrap().into_iter();
        buckets.map(|bucket| bucket.name).collect::<Vec<_>>()
    };
    assert_eq!(names(&cloud), ["frames", "local"]);
    assert_eq!(names(&edge), ["frames", "local"]);

    drop(cloud);
    assert_eq!(names(&edge), ["local"]);
}

#[test]
fn what_is_sealed_at_its_home_is_read_at_other_sites() {
    let (cloud, edge) = pair();
    let sizes = [("none", 0), ("one", 1), ("page", 4096), ("some", 300_000), ("large", 5_000_001)];
    for (key, len) in sizes {
        let put = Put::default().attributes(Attributes::new().with("of", key));
        let sealed = cloud.geds.put("frames", key, &bytes_of(key, len), put).unwrap();
        let stat = edge.geds.stat("frames", key).unwrap();
        assert_eq!((stat.version, stat.size), (sealed.version, len as u64), "{key}");
        assert_eq!(
            stat.site.as_deref(),
            Some("cloud"),
            "where its bytes are, so that work can go there"
        );
        let apart = edge.geds.object_uncached("frames", key).unwrap();
        let mut part = vec![0; len / 2 + 10];
        let count = apart.read_at(len as u64 / 3, &mut part).unwrap();
        let all = bytes_of(key, len);
        assert_eq!(part[..count], all[len / 3..len.min(len / 3 + part.len())], "{key}");
        assert_eq!(*edge.geds.view("frames", key).unwrap(), all, "{key}");
        let copy = edge.geds.stat("frames", key).unwrap();
        assert_eq!((copy.version, copy.site), (sealed.version, None), "a copy is here now");
        assert_eq!(copy.attributes.text("of"), Some(key));
        let again = edge.geds.object("frames", key).unwrap();
        assert_eq!(*again.bytes().unwrap(), all);
        assert!(len == 0 || again.view().is_some_and(|view| view.is_shared()));
    }
    let page = edge.geds.list("frames", &Listing::default().limit(3)).unwrap();
    assert_eq!(page.entries.len(), 3);
    assert_eq!(page.entries[0].stat.site.as_deref(), Some("cloud"));
    assert_eq!(edge.geds.bucket("frames").unwrap().objects, 5);
    assert_eq!(edge.geds.buckets().unwrap().len(), 1, "copies are no bucket");
    for missing in [edge.geds.view("frames", "no").err(), edge.geds.view("other", "no").err()] {
        assert_eq!(missing.unwrap().kind(), ErrorKind::NotFound);
    }
}

#[test]
fn a_change_reaches_the_copies_at_other_sites() {
    let (cloud, edge) = pair();
    let seen = |key: &str| edge.geds.view("frames", key).map(|view| view.len());
    put(&cloud.geds, "k", 1000);
    assert_eq!(seen("k").unwrap(), 1000);
    put(&cloud.geds, "k", 2000);
    wait_until("the new version is seen", LONG, || seen("k").unwrap() == 2000);
    cloud.geds.set_attributes("frames", "k", Attributes::new().with("a", "1"), None).unwrap();
    wait_until("the attributes are seen", LONG, || {
        edge.geds.stat("frames", "k").unwrap().attributes.text("a") == Some("1")
    });
    assert_eq!(seen("k").unwrap(), 2000);
    cloud.geds.rename("frames", "k", "moved", Put::default()).unwrap();
    wait_until("it is seen to be gone", LONG, || seen("k").is_err());
    assert_eq!(seen("moved").unwrap(), 2000);
    cloud.geds.delete("frames", "moved", None).unwrap();
    wait_until("it is seen to be gone", LONG, || seen("moved").is_err());
    assert_eq!(seen("moved").unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn of_all_sites_that_write_a_name_the_first_seal_wins() {
    let (cloud, edge) = pair();
    let small = edge.geds.put("frames", "k", &bytes_of("edge", 70_000), Put::default()).unwrap();
    assert_eq!(small.site, None, "its bytes stay where they were written");
    let refused = cloud.geds.put("frames", "k", b"late", Put::default());
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::AlreadyExists);
    let refused = edge.geds.put("frames", "k", b"late", Put::default());
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(cloud.geds.stat("frames", "k").unwrap().site.as_deref(), Some("edge"));
    assert_eq!(*edge.geds.view("frames", "k").unwrap(), bytes_of("edge", 70_000));
    assert_eq!(*cloud.geds.view("frames", "k").unwrap(), bytes_of("edge", 70_000));
    assert_eq!(cloud.geds.stat("frames", "k").unwrap().version, small.version);

    put(&cloud.geds, "k", 500);
    wait_until("the other site sees it", LONG, || {
        edge.geds.view("frames", "k").unwrap().len() == 500
    });
    let now = edge.geds.stat("frames", "k").unwrap();
    let stale = edge.geds.put("frames", "k", b"x", Put::if_version(small.version));
    assert_eq!(stale.unwrap_err().kind(), ErrorKind::Conflict);
    edge.geds.put("frames", "k", b"new", Put::if_version(now.version)).unwrap();
    assert_eq!(*cloud.geds.view("frames", "k").unwrap(), *b"new");
    assert_eq!(*edge.geds.view("frames", "k").unwrap(), *b"new", "what this site wrote, it sees");
    let mut writer = edge.geds.create("frames", "long", Put::default()).unwrap();
    for part in bytes_of("long", 3 << 20).chunks(100_000) {
        writer.write_at(writer.len(), part).unwrap();
    }
    writer.seal().unwrap();
    assert_eq!(*cloud.geds.view("frames", "long").unwrap(), bytes_of("long", 3 << 20));
}

#[test]
fn what_a_home_can_do_other_sites_let_it_do() {
    let (cloud, edge) = pair();
    edge.geds.create_bucket("own").unwrap();
    put(&edge.geds, "a", 10_000);
    edge.geds.copy(("frames", "a"), ("frames", "b"), Put::default()).unwrap();
    edge.geds.rename("frames", "b", "c", Put::default()).unwrap();
    edge.geds.copy(("frames", "c"), ("own", "c"), Put::default()).unwrap();
    edge.geds.copy(("own", "c"), ("frames", "d"), Put::default()).unwrap();
    let parts = [Part::all("frames", "a"), Part { range: Some(5..10), ..Part::all("own", "c") }];
    edge.geds.compose("frames", "e", &parts, Put::default()).unwrap();
    let attributes = Attributes::new().with("x", "y");
    edge.geds.set_attributes("frames", "d", attributes.clone(), None).unwrap();
    edge.geds.make_folder("frames", "f").unwrap();
    edge.geds.put("frames", "g", &bytes_of("g", 9), Put::default().durable()).unwrap();
    assert!(edge.geds.delete("frames", "a", None).unwrap());
    assert!(!edge.geds.delete("frames", "a", None).unwrap());
    let all = bytes_of("a", 10_000);
    for key in ["c", "d"] {
        assert_eq!(*cloud.geds.view("frames", key).unwrap(), all, "{key}");
    }
    assert_eq!(*cloud.geds.view("frames", "e").unwrap(), [&all[..], &all[5..10]].concat());
    assert_eq!(cloud.geds.stat("frames", "d").unwrap().attributes, attributes);
    let keys = |geds: &Geds| -> Vec<String> {
        let page = geds.list("frames", &Listing::default()).unwrap();
        page.entries.into_iter().map(|entry| entry.key).collect()
    };
    assert_eq!(keys(&cloud.geds), ["c", "d", "e", "f/", "g"]);
    assert_eq!(keys(&edge.geds), keys(&cloud.geds));
    assert_eq!(edge.geds.delete_prefix("frames", "").unwrap(), 5);
    edge.geds.set_bucket_attributes("frames", attributes.clone()).unwrap();
    assert_eq!(cloud.geds.bucket("frames").unwrap().attributes, attributes);
    edge.geds.delete_bucket("frames").unwrap();
    assert_eq!(cloud.geds.bucket("frames").unwrap_err().kind(), ErrorKind::NotFound);
    wait_until("the bucket is gone", LONG, || edge.geds.bucket("frames").is_err());
    assert_eq!(
        edge.geds.put("frames", "x", b"", Put::default()).unwrap_err().kind(),
        ErrorKind::NotFound
    );
}

#[test]
fn each_site_keeps_its_own_checkpoints_also_of_other_sites_buckets() {
    let (cloud, edge) = pair();
    edge.geds.create_bucket("own").unwrap();
    put(&cloud.geds, "run/a", 10_000);
    edge.geds.put("own", "run/b", b"b", Put::default()).unwrap();
    cloud.geds.checkpoint("frames", "run/", "one").unwrap();
    edge.geds.checkpoint("own", "run/", "two").unwrap();
    assert_eq!(edge.geds.checkpoints("frames").unwrap().len(), 0);
    edge.geds.checkpoint("frames", "run/", "three").unwrap();
    cloud.geds.delete("frames", "run/a", None).unwrap();
    edge.geds.restore("frames", "three").unwrap();
    assert_eq!(*cloud.geds.view("frames", "run/a").unwrap(), bytes_of("run/a", 10_000));
}

#[test]
fn what_happens_at_a_home_is_told_at_other_sites() {
    let (cloud, edge) = pair();
    let scope = Scope::Prefix("frames".to_owned(), "k".to_owned());
    let told = edge.geds.subscribe(scope).unwrap();
    let sealed = put(&cloud.geds, "k1", 10);
    put(&cloud.geds, "other", 10);
    cloud.geds.delete("frames", "k1", None).unwrap();
    let next = || told.next(LONG).unwrap().unwrap().what;
    assert_eq!(next(), Happening::Created);
    assert_eq!(next(), Happening::Sealed { version: sealed.version, size: 10 });
    assert_eq!(next(), Happening::Deleted);
    assert_eq!(told.next(Duration::from_millis(20)).unwrap(), None);
    let none = edge.geds.subscribe(Scope::Bucket("none".to_owned()));
    assert_eq!(none.unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn processes_of_a_site_read_and_write_other_sites_through_their_node() {
    let (cloud, edge) = pair();
    let socket = edge._folder.join("lab.sock");
    edge.node.listen("lab", &Limits::default(), &socket).unwrap();
    let process = Geds::open(geds::Config::join(&socket)).unwrap();
    put(&cloud.geds, "k", 3 << 20);
    let mut part = vec![0; 2 << 20];
    let apart = process.object_uncached("frames", "k").unwrap();
    assert_eq!(apart.read_at(77, &mut part).unwrap(), part.len());
    assert_eq!(part, bytes_of("k", 3 << 20)[77..][..2 << 20]);
    let view = process.view("frames", "k").unwrap();
    assert!(view.is_shared() && *view == bytes_of("k", 3 << 20));
    put(&process, "mine", 50_000);
    assert_eq!(*cloud.geds.view("frames", "mine").unwrap(), bytes_of("mine", 50_000));
    assert_eq!(*process.view("frames", "mine").unwrap(), bytes_of("mine", 50_000));
    let told = process.subscribe(Scope::Object("frames".to_owned(), "k".to_owned())).unwrap();
    cloud.geds.delete("frames", "k", None).unwrap();
    assert_eq!(told.next(LONG).unwrap().unwrap().what, Happening::Deleted);
    wait_until("the copy is gone", LONG, || process.view("frames", "k").is_err());
}

#[test]
fn many_threads_share_the_connections_of_a_node() {
    let (cloud, edge) = pair();
    let keys: Vec<(String, usize)> =
        (0..12).map(|n| (format!("k{n}"), [10, 5000, 100_000, 700_000][n % 4])).collect();
    for (key, len) in &keys {
        put(&cloud.geds, key, *len);
    }
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (geds, keys) = (edge.geds.clone(), &keys);
            scope.spawn(move || {
                for round in 0..12 {
                    let (key, len) = &keys[(thread + round) % keys.len()];
                    let object = geds.object_uncached("frames", key).unwrap();
                    let mut bytes = vec![0; *len];
                    assert_eq!(object.read_at(0, &mut bytes).unwrap(), *len);
                    assert_eq!(bytes, bytes_of(key, *len), "{key}");
                }
            });
        }
    });
}

#[test]
fn copies_of_other_sites_objects_take_no_more_than_their_share() {
    let limits = Limits { memory_bytes: 4 << 20, ..Limits::default() };
    let cloud = at(Site::plain("cloud"));
    let edge = at_with(Site::plain("edge"), &limits);
    acquaint(&[("cloud", &cloud), ("edge", &edge)]);
    cloud.geds.create_bucket("frames").unwrap();
    for n in 0..24 {
        let key = format!("k{n}");
        put(&cloud.geds, &key, 250_000);
        assert_eq!(*edge.geds.view("frames", &key).unwrap(), bytes_of(&key, 250_000));
    }
    assert!(edge.geds.usage().unwrap().objects <= 8);
    put(&cloud.geds, "huge", 3 << 20);
    assert_eq!(*edge.geds.view("frames", "huge").unwrap(), bytes_of("huge", 3 << 20));
}

#[test]
fn a_directory_says_whose_a_bucket_is() {
    let folder = Folder::in_memory();
    let open =
        Embedded::open(folder.join("meta"), meta::Config::default(), Arc::new(SystemClock::new()));
    let store: Arc<dyn MetaStore> = Arc::new(open.unwrap());
    let cloud = at(Site::plain("cloud").directory(Arc::clone(&store)));
    let edge = at(Site::plain("edge").directory_at("cloud"));
    let far = at(Site::plain("far").directory_at("cloud"));
    acquaint(&[("cloud", &cloud), ("edge", &edge), ("far", &far)]);
    edge.geds.create_bucket("frames").unwrap();
    for other in [&cloud.geds, &far.geds] {
        let refused = other.create_bucket("frames");
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::AlreadyExists);
    }
    put(&far.geds, "k", 100_000);
    // From who wrote it, whom the home names.
    assert_eq!(*cloud.geds.view("frames", "k").unwrap(), bytes_of("k", 100_000));
    assert_eq!(edge.geds.stat("frames", "k").unwrap().site.as_deref(), Some("far"));

    drop(cloud);
    assert_eq!(put(&edge.geds, "l", 10).site, None, "a site that is cut off writes to its own");
    assert_eq!(*far.geds.view("frames", "l").unwrap(), bytes_of("l", 10));
    let refused = edge.geds.create_bucket("other");
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unavailable);
    edge.geds.delete_prefix("frames", "").unwrap();
    edge.geds.delete_bucket("frames").unwrap();
}

#[test]
fn replicas_are_read_when_the_home_is_gone() {
    let cloud = at(Site::plain("cloud"));
    let (edge, far) = (at(Site::plain("edge")), at(Site::plain("far")));
    acquaint(&[("cloud", &cloud), ("edge", &edge), ("far", &far)]);
    cloud.geds.create_bucket("frames").unwrap();
    let two = Put::default().replicas(2);
    let stat = cloud.geds.put("frames", "two", &bytes_of("two", 70_000), two).unwrap();
    cloud.geds.put("frames", "alone", &bytes_of("alone", 70_000), Put::default()).unwrap();
    let three = cloud.geds.put("frames", "three", b"x", Put::default().replicas(3));
    assert_eq!(three.unwrap_err().kind(), ErrorKind::Unavailable, "there are two other sites");
    let by_edge = Put::default().replicas(1);
    edge.geds.put("frames", "edge", &bytes_of("edge", 70_000), by_edge).unwrap();
    drop(cloud);
    assert_eq!(*edge.geds.view("frames", "two").unwrap(), bytes_of("two", 70_000));
    assert_eq!(far.geds.stat("frames", "two").unwrap().version, stat.version);
    assert_eq!(*far.geds.view("frames", "edge").unwrap(), bytes_of("edge", 70_000));
    let error = far.geds.view("frames", "alone").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("`alone`"), "{error}");
}
