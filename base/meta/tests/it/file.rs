//! The file: durable, guarded, versioned, and never trusted.

use crate::open;
use meta::{Config, Error, FORMAT_VERSION, MetaStore, Op, Txn};
use redb::{Database, ReadableDatabase, TableDefinition};
use std::os::unix::fs::PermissionsExt;
use testkit::{Folder, Random, soak_rounds};
use types::ErrorKind;

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("cloudskin_meta");

async fn fill(path: &std::path::Path) {
    let store = open(path, Config::default()).unwrap();
    for n in 0..20 {
        let key = format!("key/{n}");
        store.txn(Txn::new().then(Op::put(key, vec![n; 500]))).await.unwrap();
    }
}

#[tokio::test]
async fn a_reopened_store_goes_on_where_it_was() {
    let folder = Folder::new();
    let path = folder.join("store");
    fill(&path).await;

    let store = open(&path, Config::default()).unwrap();

    let page = store.range(b"key/", 0, None).await.unwrap();
    assert_eq!((page.items.len(), page.revision), (20, 21));
    assert_eq!(store.txn(Txn::new().then(Op::put("k", "v"))).await.unwrap().revision, 22);
    let mut watch = store.watch(b"", 1).await.unwrap();
    let batch = watch.next().await.unwrap();
    assert_eq!((batch.events.len(), batch.revision), (21, 22), "the history is still there");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "it holds secrets");
}

#[tokio::test]
async fn a_file_is_opened_once() {
    let folder = Folder::new();
    let path = folder.join("store");
    let store = open(&path, Config::default()).unwrap();

    let error = open(&path, Config::default()).unwrap_err();

    assert!(matches!(&error, Error::AlreadyOpen { path: named } if *named == path), "{error:?}");
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    drop(store);
    open(&path, Config::default()).unwrap();
}

#[tokio::test]
async fn a_newer_format_is_refused_and_left_alone() {
    let folder = Folder::new();
    let path = folder.join("store");
    fill(&path).await;
    let database = Database::open(&path).unwrap();
    let txn = database.begin_write().unwrap();
    txn.open_table(META).unwrap().insert("format", FORMAT_VERSION + 1).unwrap();
    txn.commit().unwrap();
    drop(database);

    let error = open(&path, Config::default()).unwrap_err();

    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("has format 2, this program reads up to 1"), "{error}");
    let database = Database::open(&path).unwrap();
    let table = database.begin_read().unwrap().open_table(META).unwrap();
    assert_eq!(table.get("revision").unwrap().unwrap().value(), 21);
}

#[tokio::test]
async fn what_is_no_store_is_named() {
    let folder = Folder::new();
    let other = folder.join("other");
    let database = Database::create(&other).unwrap();
    let txn = database.begin_write().unwrap();
    txn.open_table(TableDefinition::<u64, u64>::new("theirs")).unwrap();
    txn.commit().unwrap();
    drop(database);
    let text = folder.join("text");
    std::fs::write(&text, "not a database ".repeat(1000)).unwrap();

    let error = open(&other, Config::default()).unwrap_err();
    assert!(matches!(error, Error::Foreign { .. }), "{error:?}");
    let error = open(&text, Config::default()).unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
    let error = open(folder.path(), Config::default()).unwrap_err();
    assert!(matches!(error, Error::Open { .. }), "{error:?}");
    let error = open(&folder.join("no/folder"), Config::default()).unwrap_err();
    assert!(matches!(error, Error::Open { .. }), "{error:?}");
}

/// Damage is found at opening, or it hit bytes that hold nothing.
#[tokio::test]
async fn a_damaged_file_is_corrupt_or_whole_but_never_wrong() {
    let mut random = Random::printed("a_damaged_file");
    let folder = Folder::in_memory();
    let path = folder.join("store");
    fill(&path).await;
    let bytes = std::fs::read(&path).unwrap();
    let mut found = 0;
    let rounds = soak_rounds(120);
    for round in 0..rounds {
        let mut damaged = bytes.clone();
        if round % 4 == 0 {
            damaged.truncate(1 + random.below(bytes.len() as u64 - 1) as usize);
        } else {
            let at = random.below(bytes.len() as u64) as usize;
            damaged[at] ^= 1 << random.below(8);
        }
        let path = folder.join(format!("damaged-{round}"));
        std::fs::write(&path, damaged).unwrap();
        match open(&path, Config::default()) {
            Err(Error::Corrupt { path: named, .. }) => {
                assert_eq!(named, path);
                found += 1;
            }
            Err(error) => panic!("round {round}: {}", types::chain(&error)),
            Ok(store) => {
                let page = store.range(b"key/", 0, None).await.unwrap();
                let whole = |item: &meta::Item| item.value.iter().all(|b| *b == item.value[0]);
                assert_eq!(page.items.len(), 20, "round {round}");
                assert!(page.items.iter().all(whole), "round {round}");
            }
        }
        std::fs::remove_file(&path).unwrap();
    }
    assert!(found > rounds / 10, "only {found} of {rounds} were found");
}
