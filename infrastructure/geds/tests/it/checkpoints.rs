//! Prefixes as they were.

use geds::{CHECKPOINTS, Config, Error, Geds, Listing, Put};
use testkit::Folder;

fn store(folder: &Folder) -> Geds {
    let geds = Geds::open(Config::alone(folder.path())).unwrap();
    let _ = geds.create_bucket("lab");
    geds
}

fn put(geds: &Geds, key: &str, bytes: &str) {
    geds.put("lab", key, bytes.as_bytes(), Put::overwrite()).unwrap();
}

/// All keys of the bucket with their bytes.
fn all(geds: &Geds) -> Vec<(String, String)> {
    let page = geds.list("lab", &Listing::default()).unwrap();
    let text = |key: &str| String::from_utf8_lossy(&geds.view("lab", key).unwrap()).into_owned();
    page.entries.iter().map(|entry| (entry.key.clone(), text(&entry.key))).collect()
}

#[test]
fn a_prefix_becomes_what_it_was_and_the_rest_stays() {
    let folder = Folder::in_memory();
    let geds = store(&folder);
    for (key, bytes) in [("run1/a", "1"), ("run1/b/c", "22"), ("run2/a", "other")] {
        put(&geds, key, bytes);
    }
    let before = all(&geds);
    let made = geds.checkpoint("lab", "run1/", "first").unwrap();
    assert_eq!((made.objects, made.bytes, made.prefix.as_str()), (2, 3, "run1/"));

    put(&geds, "run1/a", "changed");
    put(&geds, "run1/new", "new");
    geds.delete("lab", "run1/b/c", None).unwrap();
    put(&geds, "run2/a", "changed as well");
    assert_eq!(geds.restore("lab", "first").unwrap(), made);

    let mut wanted = before;
    wanted[2].1 = "changed as well".to_owned();
    assert_eq!(all(&geds), wanted);
    assert_eq!(geds.checkpoints("lab").unwrap(), [made]);
}

#[test]
fn a_checkpoint_outlives_its_node() {
    let folder = Folder::in_memory();
    let many: Vec<String> = (0..100).map(|number| format!("run/{number:03}")).collect();
    {
        let geds = store(&folder);
        many.iter().for_each(|key| put(&geds, key, key));
        geds.checkpoint("lab", "run/", "many").unwrap();
        put(&geds, "run/000", "later");
    }
    let geds = store(&folder);
    assert_eq!(geds.restore("lab", "many").unwrap().objects, 100);
    assert_eq!(all(&geds), many.iter().map(|key| (key.clone(), key.clone())).collect::<Vec<_>>());
}

#[test]
fn names_are_used_once_and_what_is_not_whole_is_refused() {
    let folder = Folder::in_memory();
    let geds = store(&folder);
    put(&geds, "a", "1");
    assert!(matches!(geds.restore("lab", "x"), Err(Error::NoCheckpoint { .. })));
    assert!(matches!(geds.delete_checkpoint("lab", "x"), Err(Error::NoCheckpoint { .. })));
    assert!(geds.checkpoints("lab").unwrap().is_empty());
    geds.checkpoint("lab", "", "x").unwrap();
    assert!(matches!(geds.checkpoint("lab", "", "x"), Err(Error::CheckpointExists { .. })));
    for name in ["", "a/b", "..\u{0}", &"n".repeat(65)] {
        assert!(matches!(geds.checkpoint("lab", "", name), Err(Error::Invalid(_))), "{name:?}");
    }
    assert!(matches!(geds.checkpoint("none", "", "x"), Err(Error::NoBucket { .. })));

    // An object of it is taken away: nothing is made what it never was.
    let parts = geds.list(CHECKPOINTS, &Listing::prefix("lab/x/")).unwrap().entries;
    geds.delete(CHECKPOINTS, &parts[0].key, None).unwrap();
    put(&geds, "a", "2");
    assert!(matches!(geds.restore("lab", "x"), Err(Error::Corrupt { .. })));
    assert_eq!(all(&geds), [("a".to_owned(), "2".to_owned())]);

    geds.put(CHECKPOINTS, "lab/x", b"\xff\xff\xff", Put::overwrite()).unwrap();
    assert!(matches!(geds.restore("lab", "x"), Err(Error::Corrupt { .. })));
    geds.delete_checkpoint("lab", "x").unwrap();
    assert!(geds.list(CHECKPOINTS, &Listing::default()).unwrap().entries.is_empty());
    geds.checkpoint("lab", "", "x").unwrap();
}
