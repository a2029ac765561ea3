//! Power failures and full disks: a disk in memory that may lose what was not synced.

use super::{Embedded, open};
use crate::{Config, Error, MetaStore, Op, Txn};
use redb::StorageBackend;
use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};
use testkit::{Random, soak_rounds};
use types::SystemClock;

#[derive(Debug, Clone, Default)]
struct Disk(Arc<Mutex<Content>>);

#[derive(Debug, Default)]
struct Content {
    /// What a program reads.
    seen: Vec<u8>,
    /// What survives a power failure for certain.
    durable: Vec<u8>,
    /// What may survive or not, each by itself.
    unsynced: Vec<Change>,
    syncs: u64,
    full: bool,
}

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

const SECTOR_BYTES: usize = 512;

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(offset, data) => {
                let end = offset + data.len();
                bytes.resize(bytes.len().max(end), 0);
                bytes[*offset..end].copy_from_slice(data);
            }
            Self::Length(length) => bytes.resize(*length, 0),
        }
    }

    /// Its sectors, which a disk writes in any order.
    fn torn(&self) -> Vec<Self> {
        match self {
            Self::Write(offset, data) => data
                .chunks(SECTOR_BYTES)
                .enumerate()
                .map(|(n, data)| Self::Write(offset + n * SECTOR_BYTES, data.to_vec()))
                .collect(),
            Self::Length(_) => vec![self.clone()],
        }
    }
}

impl Disk {
    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap()
    }

    /// What the disk would hold if the power failed now.
    fn after_power_failure(&self, random: &mut Random) -> Self {
        let content = self.content();
        let mut bytes = content.durable.clone();
        let lost_share = 1 + random.below(4);
        for change in content.unsynced.iter().flat_map(Change::torn) {
            if !random.one_in(lost_share) {
                change.apply(&mut bytes);
            }
        }
        let content = Content { seen: bytes.clone(), durable: bytes, ..Content::default() };
        Self(Arc::new(Mutex::new(content)))
    }

    fn change(&self, change: Change) -> io::Result<()> {
        let mut content = self.content();
        if content.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        change.apply(&mut content.seen);
        content.unsynced.push(change);
        Ok(())
    }

    fn open(&self) -> crate::Result<Embedded> {
        let config = Config { history_max_revisions: 300, ..Config::default() };
        let path = Path::new("disk");
        let database = open::verified(self.clone(), &config)
            .map_err(|error| open::storage_error(path, error.into()))?;
        Embedded::start(path, database, config, Arc::new(SystemClock::new()))
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.content().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let offset = offset as usize;
        let content = self.content();
        let bytes = content.seen.get(offset..offset + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(Change::Length(len as usize))
    }

    fn sync_data(&self) -> io::Result<()> {
        let content = &mut *self.content();
        content.unsynced.drain(..).for_each(|change| change.apply(&mut content.durable));
        content.syncs += 1;
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(Change::Write(offset as usize, data.to_vec()))
    }
}

/// The count that each writer was last answered.
type Acks = Arc<Mutex<BTreeMap<u64, u64>>>;

const WRITERS: u64 = 8;

async fn write(store: Arc<Embedded>, writer: u64, acks: Acks) {
    for n in 1_u64.. {
        let value = n.to_string();
        let txn = (0..4).fold(Txn::new(), |txn, part| {
            txn.then(Op::put(format!("{writer}/{part}"), value.clone()))
        });
        store.txn(txn).await.unwrap();
        acks.lock().unwrap().insert(writer, n);
    }
}

async fn check(disk: &Disk, acked: &BTreeMap<u64, u64>) {
    let store = disk.open().unwrap_or_else(|error| panic!("{}", types::chain(&error)));
    for writer in 0..WRITERS {
        let page = store.range(format!("{writer}/").as_bytes(), 0, None).await.unwrap();
        let values: Vec<_> = page.items.iter().map(|item| &item.value).collect();
        assert!(values.iter().all(|value| value == &values[0]), "a torn transaction: {values:?}");
        assert!([0, 4].contains(&values.len()), "a torn transaction: {values:?}");
        let n = values.first().map_or(0, |value| String::from_utf8_lossy(value).parse().unwrap());
        let acked = acked.get(&writer).copied().unwrap_or(0);
        assert!(n >= acked, "writer {writer} was answered {acked}, the disk has {n}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_survives_a_power_failure() {
    let mut random = Random::printed("power failure");
    let disk = Disk::default();
    let store = Arc::new(disk.open().unwrap());
    let acks = Acks::default();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| tokio::spawn(write(Arc::clone(&store), writer, Arc::clone(&acks))))
        .collect();
    for _ in 0..soak_rounds(40) {
        tokio::time::sleep(Duration::from_micros(random.below(3_000))).await;
        // First what was answered, then the failure: between the two more may be answered.
        let acked = acks.lock().unwrap().clone();
        check(&disk.after_power_failure(&mut random), &acked).await;
    }
    for writer in writers {
        assert!(!writer.is_finished(), "a writer failed");
        writer.abort();
    }
    let answered: u64 = acks.lock().unwrap().values().sum();
    assert!(answered > 0, "nothing was written, so nothing was tested");
}

#[tokio::test]
async fn requests_that_wait_share_a_sync() {
    let disk = Disk::default();
    let store = Arc::new(disk.open().unwrap());
    let before = disk.content().syncs;
    let tasks: Vec<_> = (0..256_u64)
        .map(|n| {
            let store = Arc::clone(&store);
            tokio::spawn(
                async move { store.txn(Txn::new().then(Op::put(n.to_string(), "v"))).await },
            )
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }

    let syncs = disk.content().syncs - before;

    assert!((1..128).contains(&syncs), "{syncs} syncs for 256 transactions");
    assert_eq!(store.get(b"0").await.unwrap().revision, 257, "a revision each");
}

#[tokio::test]
async fn a_full_disk_stops_the_store_and_loses_nothing() {
    let disk = Disk::default();
    let store = disk.open().unwrap();
    let put = |key: &'static str| Txn::new().then(Op::put(key, "v"));
    let answered = store.txn(put("before")).await.unwrap().revision;
    disk.content().full = true;

    let error = store.txn(put("during")).await.unwrap_err();
    disk.content().full = false;
    let after = store.txn(put("after")).await.unwrap_err();

    assert!(matches!(error, Error::Storage { .. }), "{error:?}");
    assert_eq!(after.to_string(), error.to_string(), "nothing is built on an uncertain commit");
    drop(store);
    let store = disk.open().unwrap();
    let reading = store.get(b"before").await.unwrap();
    assert_eq!(reading.item.map(|item| item.mod_revision), Some(answered));
    assert_eq!(store.get(b"after").await.unwrap().item, None);
    store.txn(put("again")).await.unwrap();
}
