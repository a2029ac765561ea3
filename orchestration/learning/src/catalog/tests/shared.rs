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
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
};

/// Bytes and the number of their state by key, and the last number that was given.
type Keys = (BTreeMap<String, (Vec<u8>, u64)>, u64);

/// A shelf in memory, which can be away.
#[derive(Debug, Default)]
struct Table {
    keys: Mutex<Keys>,
    away: AtomicBool,
    /// Whoever makes this change is killed when it is made; none if it is 0.
    kills: AtomicUsize,
}

impl Table {
    fn keys(&self) -> Result<MutexGuard<'_, Keys>> {
        if self.away.load(Relaxed) {
            return Err(Error::Away { place: "a table".into(), source: "it is dark".into() });
        }
        Ok(self.keys.lock().unwrap())
    }

    fn changed(&self) {
        let left = self.kills.load(Relaxed);
        self.kills.store(left.saturating_sub(1), Relaxed);
        assert_ne!(left, 1, "killed");
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
        self.changed();
        Ok(Some(self.keys()?.1))
    }

    fn delete(&self, key: &str) -> Result<()> {
        self.keys()?.0.remove(key);
        self.changed();
        Ok(())
    }
}

/// What others do while a place lists all models, or just before it deletes a key.
type Others = Mutex<Option<Box<dyn FnOnce() + Send>>>;

/// A table at which others are at work.
struct Busy {
    table: Arc<Table>,
    listed: Others,
    deletes: Others,
}

impl std::fmt::Debug for Busy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Busy")
    }
}

fn act(others: &Others) {
    if let Some(act) = others.lock().unwrap().take() {
        act();
    }
}

impl Shelf for Busy {
    fn address(&self) -> &str {
        self.table.address()
    }

    fn list(&self, prefix: &str) -> Result<BTreeMap<String, u64>> {
        let found = self.table.list(prefix);
        if prefix.is_empty() {
            act(&self.listed);
        }
        found
    }

    fn get(&self, key: &str, limit: u64) -> Result<Option<(Vec<u8>, u64)>> {
        self.table.get(key, limit)
    }

    fn put(&self, key: &str, bytes: &[u8], over: Option<u64>) -> Result<Option<u64>> {
        self.table.put(key, bytes, over)
    }

    fn delete(&self, key: &str) -> Result<()> {
        act(&self.deletes);
        self.table.delete(key)
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

    /// The same place, at which something happens when it lists all or deletes.
    fn busy(&self, name: &str, listed: Others, deletes: Others) -> Catalog {
        let busy = Busy { table: self.table.clone(), listed, deletes };
        Catalog::shared(self.folder.path().join(name), Arc::new(busy))
    }

    /// Kills whoever does something when its nth change is on the shelf, and nothing is noted here.
    fn killed<T>(&self, nth: usize, act: impl FnOnce() -> T) {
        self.table.kills.store(nth, Relaxed);
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act));
        assert!(done.is_err(), "it has made so many changes");
    }
}

/// Others who do this, once.
fn others(act: impl FnOnce() + Send + 'static) -> Others {
    Mutex::new(Some(Box::new(act)))
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

/// Between its change on the shelf and the one here, or between that and its note; also when the disk is full then.
#[test]
fn whoever_is_killed_in_a_promotion_erases_no_other_ones() {
    let rig = Rig::new();
    let (edge, cloud) = (rig.place("edge"), rig.place("cloud"));
    let (record, model) = trained("ridge");
    for _ in 0..4 {
        edge.add(record.clone(), &model).unwrap();
    }
    let copy = edge.folder().join("latency");
    let history = || {
        cloud.refresh().unwrap();
        cloud.stages("latency").unwrap().0.history
    };

    rig.killed(1, || edge.promote("latency", 1, &GATE));
    assert!(edge.production("latency").is_err());
    edge.promote("latency", 2, &GATE).unwrap();
    assert_eq!(history(), [1, 2]);

    let known = fs::read(copy.join(".known")).unwrap();
    edge.promote("latency", 3, &GATE).unwrap();
    fs::write(copy.join(".known"), known).unwrap();
    cloud.rollback("latency").unwrap();
    edge.refresh().unwrap();
    assert_eq!(used(&edge), 2);

    fs::create_dir(copy.join("stages.new")).unwrap();
    let full = edge.promote("latency", 4, &GATE).unwrap_err();
    assert!(matches!(full, Error::Write { .. }), "{full}");
    fs::remove_dir(copy.join("stages.new")).unwrap();
    edge.promote("latency", 3, &GATE).unwrap();
    assert_eq!(history(), [1, 2, 4, 3]);
}

#[test]
fn whoever_is_killed_while_adding_or_removing_has_what_is_on_the_shelf() {
    let rig = Rig::new();
    let edge = rig.place("edge");
    let (record, model) = trained("ridge");
    let copy = edge.folder().join("latency");
    // Before the draft is renamed, and before that is noted.
    rig.killed(1, || edge.add(record.clone(), &model));
    assert!(edge.versions("latency").unwrap().is_empty());
    edge.refresh().unwrap();
    assert_eq!(edge.model("latency", 1).unwrap(), model);
    let known = fs::read(copy.join(".known")).unwrap();
    edge.add(record.clone(), &model).unwrap();
    fs::write(copy.join(".known"), known).unwrap();
    assert_eq!(edge.add(record.clone(), &model).unwrap().id, 3);
    // A version that is noted and not here.
    fs::remove_dir_all(copy.join("v3")).unwrap();
    edge.refresh().unwrap();
    assert_eq!(edge.versions("latency").unwrap(), [1, 2, 3]);
    // After its number is noted, and after its key is deleted.
    rig.killed(1, || edge.remove("latency", 3));
    let refused = edge.promote("latency", 3, &GATE).unwrap_err().to_string();
    assert!(refused.contains("was removed"), "{refused}");
    assert_eq!(edge.record("latency", 3).unwrap().stage, Stage::Retired);
    rig.killed(2, || edge.remove("latency", 3));
    edge.refresh().unwrap();
    assert_eq!(edge.versions("latency").unwrap(), [1, 2]);
    let known = fs::read(copy.join(".known")).unwrap();
    edge.remove("latency", 2).unwrap();
    fs::write(copy.join(".known"), known).unwrap();
    assert_eq!(edge.add(record, &model).unwrap().id, 4);
    assert_eq!(edge.versions("latency").unwrap(), [1, 4]);
}

#[test]
fn damaged_stages_cost_their_models_changes_alone_and_are_told_at_every_look() {
    let rig = Rig::new();
    let (edge, cloud) = (rig.place("edge"), rig.place("cloud"));
    let (record, model) = trained("ridge");
    let other = Record { name: "other".into(), ..record.clone() };
    edge.add(record.clone(), &model).unwrap();
    edge.promote("latency", 1, &GATE).unwrap();
    cloud.refresh().unwrap();
    edge.add(other, &model).unwrap();
    edge.promote("other", 1, &GATE).unwrap();
    let whole = rig.table.get("latency/stages", u64::MAX).unwrap().unwrap().0;
    let huge = vec![b'x'; 2 << 20];
    for damaged in [Vec::new(), b"half".to_vec(), file::sealed(b"{}"), huge] {
        rig.table.set("latency/stages", damaged);
        let came = cloud.refresh().unwrap();
        assert!(came.passed_by[0].contains("latency/stages"), "{:?}", came.passed_by);
        assert_eq!(cloud.refresh().unwrap().passed_by, came.passed_by);
        assert_eq!((used(&cloud), cloud.production("other").unwrap().record.id), (1, 1));
        let refused = cloud.rollback("latency").unwrap_err().to_string();
        assert!(refused.contains("`latency` cannot be changed: "), "{refused}");
    }
    rig.table.set("latency/stages", whole);
    assert_eq!(cloud.refresh().unwrap(), Came::default());
    assert_eq!(cloud.add(record, &model).unwrap().id, 2);
}

#[test]
fn what_cannot_be_used_is_told_at_every_look_and_taken_again_after_a_while() {
    let rig = Rig::new();
    let (edge, cloud) = (rig.place("edge"), rig.place("cloud"));
    let (record, model) = trained("ridge");
    edge.add(record.clone(), &model).unwrap();
    let whole = rig.table.get("latency/v1", u64::MAX).unwrap().unwrap();
    let swap = |bytes: &[u8]| {
        // In the same state, as of an object that cannot be read for a while.
        rig.table.keys.lock().unwrap().0.insert("latency/v1".into(), (bytes.to_vec(), whole.1));
    };
    swap(b"half");
    let first = cloud.refresh().unwrap();
    assert_eq!(first.passed_by.len(), 1);
    swap(&whole.0);
    assert_eq!(cloud.refresh().unwrap(), first);

    let path = cloud.folder().join("latency/.known");
    let mut known: serde_json::Value = file::read_json(&path, 1 << 20).unwrap();
    let at_s = known["failed_versions"]["1"]["at_s"].as_u64().unwrap();
    known["failed_versions"]["1"]["at_s"] = (at_s - 60).into();
    file::write_json(&path, &known).unwrap();
    assert_eq!(cloud.refresh().unwrap().versions, [("latency".into(), 1)]);
    assert_eq!(cloud.refresh().unwrap(), Came::default());
}

#[test]
fn a_version_is_not_promoted_while_another_place_removes_it() {
    let rig = Rig::new();
    let (edge, cloud) = (rig.place("edge"), rig.place("cloud"));
    let (record, model) = trained("ridge");
    for id in 1..=2 {
        edge.add(record.clone(), &model).unwrap();
        edge.promote("latency", id, &GATE).unwrap();
    }
    cloud.refresh().unwrap();
    let refused = Arc::new(Mutex::new(String::new()));
    let (says, other) = (refused.clone(), cloud.clone());
    let promotes = others(move || {
        let error = other.promote("latency", 1, &Gate::Forced).unwrap_err();
        *says.lock().unwrap() = error.to_string();
    });

    rig.busy("edge", Others::default(), promotes).remove("latency", 1).unwrap();

    assert_eq!(*refused.lock().unwrap(), "version 1 of `latency` was removed");
    cloud.refresh().unwrap();
    assert_eq!((used(&cloud), cloud.versions("latency").unwrap()), (2, vec![2]));
}

#[test]
fn a_look_takes_nothing_away_that_came_after_it_had_listed() {
    let rig = Rig::new();
    let edge = rig.place("edge");
    let (record, model) = trained("ridge");
    edge.add(record.clone(), &model).unwrap();
    let other = edge.clone();
    let adds = others(move || assert_eq!(other.add(record, &model).unwrap().id, 2));
    let before = edge.folder().join("latency/v2");

    let came = rig.busy("edge", adds, Others::default()).refresh().unwrap();

    assert_eq!(came, Came::default());
    assert!(before.is_dir());
}

#[test]
fn a_number_has_one_writing_and_a_limit() {
    let rig = Rig::new();
    let edge = rig.place("edge");
    let (record, model) = trained("ridge");
    for key in ["v4294967295", "v1000000001", "v05", "v+5", "v0", "v99999999999999999999"] {
        rig.table.set(&format!("latency/{key}"), b"x".to_vec());
        fs::create_dir_all(edge.folder().join("latency").join(key)).unwrap();
    }
    fs::write(edge.folder().join(".shared"), "table://models").unwrap();

    assert_eq!(edge.add(record.clone(), &model).unwrap().id, 1);

    assert_eq!(edge.versions("latency").unwrap(), [1]);
    let stages = br#"{"history": [1], "retired": [], "lastId": 4294967295}"#;
    rig.table.set("latency/stages", file::sealed(stages));
    let error = edge.add(record, &model).unwrap_err();
    assert_eq!(error.kind(), types::ErrorKind::Exhausted, "{error}");
    assert!(error.to_string().contains("after 4294967295"), "{error}");
}
