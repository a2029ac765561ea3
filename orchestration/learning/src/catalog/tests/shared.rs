//! Catalogs of several places on one shelf.

use super::*;
use crate::{
    Error,
    catalog::{Came, Shelf, conformance},
};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

/// Bytes and the number of their state by key, and the last number that was given.
type Keys = (BTreeMap<String, (Vec<u8>, u64)>, u64);

/// A shelf in memory, which can be away.
#[derive(Debug, Default)]
struct Table {
    keys: Mutex<Keys>,
    away: AtomicBool,
}

impl Table {
    fn keys(&self) -> Result<MutexGuard<'_, Keys>> {
        if self.away.load(Relaxed) {
            return Err(Error::Away { place: "a table".into(), source: "it is dark".into() });
        }
        Ok(self.keys.lock().unwrap())
    }

    fn set(&self, key: &str, bytes: Vec<u8>) {
        let mut keys = self.keys.lock().unwrap();
        keys.1 += 1;
        let state = keys.1;
        keys.0.insert(key.into(), (bytes, state));
    }
}

impl Shelf for Table {
    fn address(&self) -> &str {
        "table://models"
    }

    fn list(&self, prefix: &str) -> Result<BTreeMap<String, u64>> {
        let keys = self.keys()?;
        let begin = keys.0.iter().filter(|(key, _)| key.starts_with(prefix));
        Ok(begin.map(|(key, (_, state))| (key.clone(), *state)).collect())
    }

    fn get(&self, key: &str, limit: u64) -> Result<Option<(Vec<u8>, u64)>> {
        match self.keys()?.0.get(key) {
            Some((bytes, _)) if bytes.len() as u64 > limit => {
                Err(Error::TooMuch { what: key.into(), limit })
            }
            found => Ok(found.cloned()),
        }
    }

    fn put(&self, key: &str, bytes: &[u8], over: Option<u64>) -> Result<Option<u64>> {
        if self.keys()?.0.get(key).map(|(_, state)| *state) != over {
            return Ok(None);
        }
        self.set(key, bytes.to_vec());
        Ok(Some(self.keys()?.1))
    }

    fn delete(&self, key: &str) -> Result<()> {
        self.keys()?.0.remove(key);
        Ok(())
    }
}

/// Places with copies of one catalog.
struct Rig {
    folder: tempfile::TempDir,
    table: Arc<Table>,
}

impl Rig {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), table: Arc::default() }
    }

    fn place(&self, name: &str) -> Catalog {
        Catalog::shared(self.folder.path().join(name), self.table.clone())
    }
}

fn used(catalog: &Catalog) -> u32 {
    catalog.production("latency").unwrap().record.id
}

#[test]
fn a_table_is_a_shelf() {
    conformance::all(&Table::default());
}

#[test]
fn what_one_place_adds_and_promotes_is_used_at_the_others() {
    let rig = Rig::new();
    let (edge, cloud) = (rig.place("edge"), rig.place("cloud"));
    let (record, model) = trained("ridge");

    assert_eq!(edge.add(record.clone(), &model).unwrap().id, 1);
    edge.promote("latency", 1, &GATE).unwrap();
    let came = cloud.refresh().unwrap();

    assert_eq!(came, Came { versions: vec![("latency".into(), 1)], passed_by: Vec::new() });
    assert_eq!(cloud.production("latency").unwrap().model, model);
    // The other one's number and parent go on from there, without a look before.
    let second = rig.place("far").add(record, &model).unwrap();
    assert_eq!((second.id, second.parent), (2, Some(1)));
    cloud.promote("latency", 2, &GATE).unwrap();
    edge.refresh().unwrap();
    assert_eq!(used(&edge), 2);
    assert_eq!(edge.rollback("latency").unwrap(), (2, 1));
    cloud.remove("latency", 2).unwrap();
    edge.refresh().unwrap();
    assert_eq!((used(&edge), edge.versions("latency").unwrap()), (1, vec![1]));
    assert_eq!(edge.refresh().unwrap(), Came::default());
    // Numbers are given once, wherever.
    assert_eq!(edge.add(trained("ridge").0, &model).unwrap().id, 3);
}

#[test]
fn of_two_that_change_at_once_none_is_lost() {
    let rig = Rig::new();
    let (record, model) = trained("naive");
    let names = ["a", "b", "c", "d"];
    std::thread::scope(|scope| {
        for name in names {
            let (place, record, model) = (rig.place(name), &record, &model);
            scope.spawn(move || {
                let added = place.add(record.clone(), model).unwrap();
                place.promote("latency", added.id, &GATE).unwrap();
            });
        }
    });

    let place = rig.place("a");
    place.refresh().unwrap();
    assert_eq!(place.versions("latency").unwrap(), [1, 2, 3, 4]);
    // Each was in production in its turn.
    for left in (1..4).rev() {
        place.rollback("latency").unwrap();
        assert_eq!(place.stages("latency").unwrap().0.history.len(), left);
    }
}

#[test]
fn a_gate_judges_by_what_another_place_promoted_just_now() {
    let rig = Rig::new();
    let (edge, cloud) = (rig.place("edge"), rig.place("cloud"));
    let (record, model) = trained("ridge");
    let mut worse = record.clone();
    worse.score.rmse *= 1.0 + 2.0 * MARGIN;
    edge.add(worse, &model).unwrap();
    cloud.add(record, &model).unwrap();
    cloud.promote("latency", 2, &GATE).unwrap();

    let refused = edge.promote("latency", 1, &GATE).unwrap_err().to_string();

    assert!(refused.contains("worse by more than"), "{refused}");
}

#[test]
fn while_the_shelf_is_away_the_last_good_model_is_used_and_nothing_is_changed() {
    let rig = Rig::new();
    let (edge, cloud) = (rig.place("edge"), rig.place("cloud"));
    let (record, model) = trained("ridge");
    edge.add(record.clone(), &model).unwrap();
    edge.promote("latency", 1, &GATE).unwrap();
    cloud.add(record.clone(), &model).unwrap();
    cloud.refresh().unwrap();

    rig.table.away.store(true, Relaxed);
    let says = |error: Error| {
        assert_eq!(error.kind(), types::ErrorKind::Unavailable, "{error}");
        types::chain(&error)
    };
    assert!(says(cloud.refresh().unwrap_err()).contains("it is dark"));
    says(cloud.promote("latency", 2, &Gate::Forced).unwrap_err());
    says(cloud.rollback("latency").unwrap_err());
    says(cloud.add(record.clone(), &model).unwrap_err());
    says(cloud.remove("latency", 2).unwrap_err());
    assert_eq!((used(&cloud), cloud.versions("latency").unwrap()), (1, vec![1, 2]));

    rig.table.away.store(false, Relaxed);
    cloud.promote("latency", 2, &GATE).unwrap();
    edge.refresh().unwrap();
    assert_eq!(used(&edge), 2);
}

/// Whoever is killed leaves a whole version on the shelf, or none, and no copy that is half.
#[test]
fn whoever_is_killed_leaves_nothing_half() {
    let rig = Rig::new();
    let (edge, cloud) = (rig.place("edge"), rig.place("cloud"));
    let (record, model) = trained("ridge");
    edge.add(record.clone(), &model).unwrap();
    edge.promote("latency", 1, &GATE).unwrap();
    edge.add(record.clone(), &model).unwrap();
    let copy = edge.folder().join("latency");
    // Before the version that was put was renamed, and what was put was noted.
    fs::rename(copy.join("v2"), copy.join(".draft")).unwrap();
    fs::remove_file(copy.join(".known")).unwrap();
    edge.refresh().unwrap();
    assert_eq!(edge.versions("latency").unwrap(), [1, 2]);
    assert_eq!(edge.model("latency", 2).unwrap(), model);
    // Between the stages on the shelf and those here; and in the middle of a fetch.
    cloud.promote("latency", 2, &GATE).unwrap();
    fs::write(copy.join("stages"), "half").unwrap();
    fs::write(copy.join(".draft"), "half").unwrap();
    fs::remove_file(copy.join(".draft")).unwrap();
    fs::create_dir_all(copy.join(".draft")).unwrap();
    fs::write(copy.join(".draft/model"), "half").unwrap();
    edge.refresh().unwrap();
    assert_eq!((used(&edge), edge.production("latency").unwrap().passed_by.len()), (2, 0));
}

#[test]
fn what_is_damaged_or_somebody_elses_on_the_shelf_costs_itself_alone() {
    let rig = Rig::new();
    let (edge, cloud) = (rig.place("edge"), rig.place("cloud"));
    let (record, model) = trained("ridge");
    for id in 1..=2 {
        edge.add(record.clone(), &model).unwrap();
        edge.promote("latency", id, &GATE).unwrap();
    }
    let whole = rig.table.get("latency/v2", u64::MAX).unwrap().unwrap().0;
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    for damaged in [Vec::new(), b"half".to_vec(), flipped, file::sealed(b"no version")] {
        rig.table.set("latency/v2", damaged);
        let came = cloud.refresh().unwrap();
        assert!(came.passed_by[0].contains("table://models/latency/v2"), "{:?}", came.passed_by);
        assert_eq!(used(&cloud), 1);
    }
    // Another version's bytes under this number, and keys that are none of ours.
    rig.table.set("latency/v2", rig.table.get("latency/v1", u64::MAX).unwrap().unwrap().0);
    for key in ["notes", "../x/v1", "Latency/v1", "latency/v1/model", "latency/vx"] {
        rig.table.set(key, b"x".to_vec());
    }
    assert!(cloud.refresh().unwrap().passed_by[0].contains("it is version 1"));
    // The next one takes a number behind it, and what is mended is taken.
    assert_eq!(cloud.add(record, &model).unwrap().id, 3);
    rig.table.set("latency/v2", whole);
    cloud.refresh().unwrap();
    assert_eq!(used(&cloud), 2);
}

#[test]
fn a_shelf_that_was_emptied_takes_nothing_away_and_a_folder_of_ones_own_is_no_copy() {
    let rig = Rig::new();
    let edge = rig.place("edge");
    let (record, model) = trained("ridge");
    edge.add(record.clone(), &model).unwrap();
    edge.promote("latency", 1, &GATE).unwrap();
    rig.table.keys.lock().unwrap().0.clear();

    let came = edge.refresh().unwrap();

    assert!(came.passed_by[0].contains("what is here stays"), "{:?}", came.passed_by);
    assert_eq!(used(&edge), 1);
    let own: PathBuf = rig.folder.path().join("own");
    Catalog::at(&own).add(record.clone(), &model).unwrap();
    let shared = Catalog::shared(&own, rig.table.clone());
    let refused = shared.refresh().unwrap_err();
    assert!(refused.to_string().contains("has models of its own"), "{refused}");
    assert!(shared.add(record, &model).is_err());
    assert_eq!(Catalog::at(&own).versions("latency").unwrap(), [1]);
}
