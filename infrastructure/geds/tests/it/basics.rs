//! One process, one node: what each operation does.

use geds::{
    Attributes, Config, Error, ErrorKind, Event, Geds, Happening, Listing, Part, Put, Scope,
};
use std::{io::Write, time::Duration};
use testkit::Folder;

fn store() -> (Folder, Geds) {
    let folder = Folder::in_memory();
    let geds = Geds::open(Config::alone(folder.path())).unwrap();
    geds.create_bucket("lab").unwrap();
    (folder, geds)
}

fn keys(geds: &Geds, listing: &Listing) -> (Vec<String>, Vec<String>, Option<String>) {
    let page = geds.list("lab", listing).unwrap();
    (page.entries.into_iter().map(|entry| entry.key).collect(), page.prefixes, page.next)
}

#[test]
fn bytes_come_back_and_the_first_seal_of_a_name_wins() {
    let (_folder, geds) = store();
    let attributes = Attributes::new().with("content-type", "text/plain");
    let put = Put::default().attributes(attributes.clone());
    let stat = geds.put("lab", "a", b"first", put).unwrap();
    assert_eq!((stat.size, &stat.attributes), (5, &attributes));
    assert_eq!(&*geds.view("lab", "a").unwrap(), b"first");
    assert_eq!(geds.stat("lab", "a").unwrap(), stat);

    let again = geds.put("lab", "a", b"second", Put::default());
    assert_eq!(again.unwrap_err().kind(), ErrorKind::AlreadyExists);
    let held = geds.view("lab", "a").unwrap();
    let newer = geds.put("lab", "a", b"second", Put::overwrite()).unwrap();
    assert!(newer.version > stat.version);
    assert_eq!(&*geds.view("lab", "a").unwrap(), b"second");
    assert_eq!(&*held, b"first");

    let old = geds.put("lab", "a", b"third", Put::if_version(stat.version));
    assert!(
        matches!(old.unwrap_err(), Error::Changed { found, .. } if found == Some(newer.version))
    );
    geds.put("lab", "a", b"third", Put::if_version(newer.version)).unwrap();
    assert!(geds.put("lab", "new", b"", Put::if_version(1)).is_err());
}

#[test]
fn what_is_not_there_is_said_so() {
    let (_folder, geds) = store();
    assert!(matches!(geds.view("lab", "x"), Err(Error::NoObject { .. })));
    assert!(matches!(geds.view("none", "x"), Err(Error::NoBucket { .. })));
    assert!(matches!(geds.put("none", "x", b"", Put::default()), Err(Error::NoBucket { .. })));
    assert!(!geds.delete("lab", "x", None).unwrap());
    assert_eq!(geds.put("lab", "", b"", Put::default()).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(geds.create_bucket("LAB").unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(geds.create_bucket("lab").unwrap_err().kind(), ErrorKind::AlreadyExists);
}

#[test]
fn a_bucket_is_removed_when_it_is_empty() {
    let (_folder, geds) = store();
    geds.put("lab", "a", b"x", Put::default()).unwrap();
    assert_eq!(geds.delete_bucket("lab").unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(geds.bucket("lab").unwrap().objects, 1);
    assert!(geds.delete("lab", "a", None).unwrap());
    geds.set_bucket_attributes("lab", Attributes::new().with("cors", "*")).unwrap();
    assert_eq!(geds.bucket("lab").unwrap().attributes.text("cors"), Some("*"));
    geds.delete_bucket("lab").unwrap();
    assert!(matches!(geds.put("lab", "a", b"x", Put::default()), Err(Error::NoBucket { .. })));
    geds.create_bucket("lab").unwrap();
    assert!(matches!(geds.stat("lab", "a"), Err(Error::NoObject { .. })));
    assert_eq!(geds.buckets().unwrap().len(), 1);
}

#[test]
fn a_writer_writes_anywhere_and_is_seen_when_it_seals() {
    let (_folder, geds) = store();
    let mut writer = geds.create("lab", "w", Put::default()).unwrap();
    writer.write_all(b"hello world").unwrap();
    writer.write_at(20, b"far").unwrap();
    writer.write_at(0, b"J").unwrap();
    writer.truncate(21).unwrap();
    let mut buffer = [1; 30];
    assert_eq!(writer.read_at(6, &mut buffer).unwrap(), 15);
    assert_eq!(&buffer[..15], b"world\0\0\0\0\0\0\0\0\0f");
    assert!(geds.stat("lab", "w").is_err());
    assert_eq!(writer.seal().unwrap().size, 21);
    assert_eq!(&*geds.view("lab", "w").unwrap(), b"Jello world\0\0\0\0\0\0\0\0\0f");
    drop(geds.create("lab", "dropped", Put::default()).unwrap());
    assert!(geds.stat("lab", "dropped").is_err());
}

#[test]
fn an_object_is_read_by_ranges_whatever_becomes_of_its_name() {
    let (_folder, geds) = store();
    geds.put("lab", "a", b"0123456789", Put::default()).unwrap();
    let object = geds.object("lab", "a").unwrap();
    geds.delete("lab", "a", None).unwrap();
    let mut buffer = [0; 4];
    assert_eq!(object.read_at(8, &mut buffer).unwrap(), 2);
    assert_eq!(&buffer[..2], b"89");
    assert_eq!(object.read_at(10, &mut buffer).unwrap(), 0);
    assert_eq!(&*object.view_range(2..5).unwrap().unwrap(), b"234");
    assert_eq!(object.view_range(9..11).unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn lists_are_ordered_grouped_and_paged() {
    let (_folder, geds) = store();
    for key in ["b/2", "a", "b/1", "c", "b/1/x", "d/", "d/e", "\u{e9}"] {
        geds.put("lab", key, b"x", Put::default()).unwrap();
    }
    let all = ["a", "b/1", "b/1/x", "b/2", "c", "d/", "d/e", "\u{e9}"];
    assert_eq!(keys(&geds, &Listing::default()).0, all);
    let (entries, prefixes, next) = keys(&geds, &Listing::default().delimiter("/"));
    assert_eq!(
        (entries, prefixes, next),
        (vec!["a".into(), "c".into(), "\u{e9}".into()], vec!["b/".into(), "d/".into()], None)
    );
    let (entries, prefixes, _) = keys(&geds, &Listing::prefix("b/").delimiter("/"));
    assert_eq!((entries, prefixes), (vec!["b/1".into(), "b/2".into()], vec!["b/1/".into()]));
    assert_eq!(keys(&geds, &Listing::default().after("b/1/x")).0, all[3..]);

    let (mut paged, mut listing) = (Vec::new(), Listing::default().delimiter("/").limit(1));
    loop {
        let (entries, prefixes, next) = keys(&geds, &listing);
        assert!(entries.len() + prefixes.len() == 1);
        paged.extend(entries.into_iter().chain(prefixes));
        let Some(next) = next else { break };
        listing.after = Some(next);
    }
    assert_eq!(paged, ["a", "b/", "c", "d/", "\u{e9}"]);
}

#[test]
fn a_folder_with_nothing_in_it_is_known_without_a_list() {
    let folder = Folder::in_memory();
    let geds = Geds::open(Config::alone(folder.path())).unwrap();
    geds.create_bucket("lab").unwrap();
    let has = |geds: &Geds, folder: &str| geds.may_have_below("lab", folder).unwrap();
    geds.put("lab", "flat", b"", Put::default()).unwrap();
    geds.put("lab", "run/", b"", Put::default()).unwrap();
    assert!(!has(&geds, "flat/") && !has(&geds, "run/"));
    geds.put("lab", "run/1/model", b"", Put { durable: true, ..Put::default() }).unwrap();
    assert!(has(&geds, "run/") && has(&geds, "run/1/") && !has(&geds, "run/1/model/"));
    geds.rename_prefix("lab", "run/", "old/", &Put::default()).unwrap();
    assert!(has(&geds, "old/1/"));
    assert!(geds.may_have_below("elsewhere", "a/").unwrap(), "another site may have it");
    drop(geds);
    let geds = Geds::open(Config::alone(folder.path())).unwrap();
    assert_eq!(geds.list("lab", &Listing::prefix("old/1/")).unwrap().entries.len(), 1);
    assert!(has(&geds, "old/1/") && !has(&geds, "flat/"));
}

#[test]
fn copies_renames_and_compositions_keep_bytes() {
    let (_folder, geds) = store();
    let attributes = Attributes::new().with("k", "v");
    geds.put("lab", "a", b"aaa", Put::default().attributes(attributes.clone())).unwrap();
    geds.create_bucket("other").unwrap();
    geds.copy(("lab", "a"), ("other", "b"), Put::default()).unwrap();
    assert_eq!(geds.stat("other", "b").unwrap().attributes, attributes);
    geds.put("lab", "c", b"ccc", Put::default()).unwrap();
    assert!(geds.rename("lab", "a", "c", Put::default()).is_err());
    geds.rename("lab", "a", "c", Put::overwrite()).unwrap();
    assert!(geds.stat("lab", "a").is_err());
    assert_eq!(&*geds.view("lab", "c").unwrap(), b"aaa");

    geds.put("lab", "d", b"0123456789", Put::default()).unwrap();
    let parts = [
        Part::all("other", "b"),
        Part { range: Some(2..4), ..Part::all("lab", "d") },
        Part::all("lab", "d"),
    ];
    assert_eq!(geds.compose("lab", "whole", &parts, Put::default()).unwrap().size, 15);
    geds.delete("lab", "d", None).unwrap();
    assert_eq!(&*geds.view("lab", "whole").unwrap(), b"aaa230123456789");
    let object = geds.object("lab", "whole").unwrap();
    let mut buffer = [0; 6];
    assert_eq!(object.read_at(2, &mut buffer).unwrap(), 6);
    assert_eq!(&buffer, b"a23012");
    assert_eq!(geds.set_attributes("lab", "whole", attributes.clone(), None).unwrap().size, 15);
    assert_eq!(geds.stat("lab", "whole").unwrap().attributes, attributes);
}

#[test]
fn prefixes_are_copied_renamed_and_deleted() {
    let (_folder, geds) = store();
    for key in ["p/1", "p/2", "p/q/3", "r"] {
        geds.put("lab", key, key.as_bytes(), Put::default()).unwrap();
    }
    assert_eq!(geds.copy_prefix(("lab", "p/"), ("lab", "copy/"), &Put::default()).unwrap(), 3);
    // The new names begin with the old prefix, too: each is renamed once.
    assert_eq!(geds.rename_prefix("lab", "p/", "p/p/", &Put::default()).unwrap(), 3);
    let all = ["copy/1", "copy/2", "copy/q/3", "p/p/1", "p/p/2", "p/p/q/3", "r"];
    assert_eq!(keys(&geds, &Listing::default()).0, all);
    assert_eq!(&*geds.view("lab", "p/p/q/3").unwrap(), b"p/q/3");
    assert_eq!(geds.delete_prefix("lab", "p").unwrap(), 3);
    geds.make_folder("lab", "folder").unwrap();
    geds.make_folder("lab", "folder/").unwrap();
    assert_eq!(keys(&geds, &Listing::default().delimiter("/")).1, ["copy/", "folder/"]);
}

#[test]
fn subscribers_are_told_what_happens_in_their_scope() {
    let (_folder, geds) = store();
    let events = geds.subscribe(Scope::Prefix("lab".into(), "in/".into())).unwrap();
    geds.put("lab", "out", b"x", Put::default()).unwrap();
    let version = geds.put("lab", "in/1", b"xy", Put::default()).unwrap().version;
    geds.set_attributes("lab", "in/1", Attributes::new().with("a", "b"), None).unwrap();
    geds.rename("lab", "in/1", "in/2", Put::default()).unwrap();
    let mut told = Vec::new();
    while told.len() < 5 {
        let Event { key, what, .. } = events.next(Duration::from_secs(10)).unwrap().unwrap();
        told.push((key, what));
    }
    let of = |key: &str| {
        let mine = told.iter().filter(|(told, _)| told == key);
        mine.map(|(_, what)| what.clone()).collect::<Vec<_>>()
    };
    assert_eq!(
        of("in/1"),
        [
            Happening::Created,
            Happening::Sealed { version, size: 2 },
            Happening::Attributes,
            Happening::Deleted,
        ]
    );
    assert!(of("in/2").contains(&Happening::Renamed { from: "in/1".into() }));
    assert_eq!(events.take_missed(), 0);
    assert!(matches!(geds.subscribe(Scope::Bucket("none".into())), Err(Error::NoBucket { .. })));
}
