use super::*;
use crate::{
    Stretch,
    model::{Examples, Method, Question, Target, testing, train},
};
use std::{fs, ops::ControlFlow};

fn trained(kind: &str) -> (Record, Trained) {
    let trace = testing::trace(1500, 1);
    let (learn, test) = trace.split(0.7);
    let question = Question::new(Target::Latency, (0, 300));
    let examples = |stretch: &Stretch<'_>| Stretch { trace: &trace, span: stretch.span.clone() };
    let (learned, tested) = (examples(&learn), examples(&test));
    let method = Method::named(kind).unwrap();
    let model = train(&Examples::new(&learned, &question).unwrap(), method, 1, &|_| {
        ControlFlow::Continue(())
    });
    let model = model.unwrap();
    let score = model.tried(&Examples::new(&tested, &question).unwrap()).unwrap();
    let made = Made {
        at_s: 1_715_762_700,
        seconds: 1.5,
        peak_bytes: 1,
        rows: 1000,
        searched: 1,
        seed: 1,
        imported: String::new(),
        because: String::new(),
    };
    let record = Record {
        name: "latency".into(),
        id: 0,
        stage: Stage::Candidate,
        method,
        target: question.target,
        ahead: question.ahead,
        every_s: question.every_s,
        trained: Data::of(&learn),
        tested: Data::of(&test),
        score,
        naive_rmse: Some(2.0 * score.rmse),
        beside: None,
        parent: None,
        made,
        model_bytes: 0,
        federated: None,
    };
    (record, model)
}

fn catalog() -> (tempfile::TempDir, Catalog) {
    let folder = tempfile::tempdir().unwrap();
    let catalog = Catalog::at(folder.path().join("models"));
    (folder, catalog)
}

mod shared;

const GATE: Gate = Gate::Recorded { margin: MARGIN };

#[test]
fn versions_are_promoted_rolled_back_and_removed() {
    let (_folder, catalog) = catalog();
    let (record, model) = trained("ridge");
    assert!(catalog.names().unwrap().is_empty());
    assert!(catalog.production("latency").is_err());

    let first = catalog.add(record.clone(), &model).unwrap();
    assert_eq!((first.id, first.parent, first.stage), (1, None, Stage::Candidate));
    catalog.promote("latency", 1, &GATE).unwrap();
    let second = catalog.add(record.clone(), &model).unwrap();
    assert_eq!((second.id, second.parent), (2, Some(1)));
    catalog.promote("latency", 2, &GATE).unwrap();

    assert_eq!(catalog.record("latency", 1).unwrap().stage, Stage::Retired);
    let production = catalog.production("latency").unwrap();
    assert_eq!((production.record.id, production.model), (2, model.clone()));
    assert!(catalog.remove("latency", 2).unwrap_err().to_string().contains("in production"));
    assert_eq!(catalog.rollback("latency").unwrap(), (2, 1));
    assert!(catalog.rollback("latency").is_err());
    catalog.remove("latency", 2).unwrap();
    assert_eq!(catalog.versions("latency").unwrap(), [1]);
    // A number is given once.
    assert_eq!(catalog.add(record, &model).unwrap().id, 3);
    assert_eq!(catalog.names().unwrap(), ["latency"]);
}

#[test]
fn a_worse_version_or_one_of_other_data_is_not_promoted() {
    let (_folder, catalog) = catalog();
    let (record, model) = trained("ridge");
    catalog.add(record.clone(), &model).unwrap();
    catalog.promote("latency", 1, &GATE).unwrap();
    let mut worse = record.clone();
    worse.score.rmse *= 1.0 + 2.0 * MARGIN;
    let mut elsewhere = record.clone();
    elsewhere.tested.digest = "other".into();
    let mut unknown = record.clone();
    unknown.score.rmse = f64::MAX;
    for record in [worse, elsewhere, unknown] {
        catalog.add(record, &model).unwrap();
    }
    let refused =
        |id: u32, gate: &Gate| catalog.promote("latency", id, gate).unwrap_err().to_string();

    assert!(refused(2, &GATE).contains("worse by more than 2.0 %"), "{}", refused(2, &GATE));
    assert!(refused(3, &GATE).contains("different data"), "{}", refused(3, &GATE));
    assert!(refused(4, &GATE).contains("worse"), "{}", refused(4, &GATE));
    assert_eq!(catalog.production("latency").unwrap().record.id, 1);
    let (candidate, current) = (record.score.rmse, record.score.rmse);
    catalog
        .promote("latency", 3, &Gate::Tested { margin: 0.0, candidate, current, against: 1 })
        .unwrap();
    catalog.promote("latency", 2, &Gate::Forced).unwrap();
    assert_eq!(catalog.production("latency").unwrap().record.id, 2);
}

#[test]
fn the_gate_compares_with_what_is_used_past_a_damaged_version() {
    let (_folder, catalog) = catalog();
    let (record, model) = trained("ridge");
    for id in 1..=2 {
        catalog.add(record.clone(), &model).unwrap();
        catalog.promote("latency", id, &GATE).unwrap();
    }
    let mut worse = record.clone();
    worse.score.rmse *= 1.0 + 2.0 * MARGIN;
    catalog.add(worse, &model).unwrap();
    fs::write(catalog.folder().join("latency/v2/version"), "damaged").unwrap();

    let refused = |gate: &Gate| catalog.promote("latency", 3, gate).unwrap_err().to_string();
    assert!(refused(&GATE).contains("worse"), "{}", refused(&GATE));
    let tested = Gate::Tested { margin: 0.0, candidate: 1.0, current: 2.0, against: 2 };
    assert!(refused(&tested).contains("test again"), "{}", refused(&tested));
    assert_eq!(catalog.production("latency").unwrap().record.id, 1);
}

/// Whatever happens to the newest files, the last good version is used, and what was passed by is said.
#[test]
fn a_damaged_version_costs_itself_alone() {
    let (_folder, catalog) = catalog();
    let (record, model) = trained("gbm");
    for id in 1..=3 {
        catalog.add(record.clone(), &model).unwrap();
        catalog.promote("latency", id, &GATE).unwrap();
    }
    let path = |part: &str| catalog.folder().join("latency").join(part);
    let whole = fs::read(path("v3/model")).unwrap();
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    // A file with the right sum whose content is no model.
    let sum = blake3::hash(b"no model").to_hex();
    let wrong = format!("cloudskin-model 1 {sum}\nno model").into_bytes();
    let newer = [b"cloudskin-model 2 ".to_vec(), whole[18..].to_vec()].concat();
    let damages = [Vec::new(), whole[..whole.len() / 2].to_vec(), flipped, wrong, newer];

    for damaged in damages {
        fs::write(path("v3/model"), damaged).unwrap();
        let production = catalog.production("latency").unwrap();
        assert_eq!((production.record.id, production.passed_by.len()), (2, 1));
        assert!(production.passed_by[0].contains("v3/model"), "{:?}", production.passed_by);
    }
    fs::write(path("v2/version"), "{}").unwrap();
    assert_eq!(catalog.production("latency").unwrap().record.id, 1);
    fs::write(path("v3/model"), &whole).unwrap();
    assert_eq!(catalog.production("latency").unwrap().record.id, 3);
    // The list of what is used is damaged: the one before the last change is read.
    fs::write(path("stages"), "x").unwrap();
    let production = catalog.production("latency").unwrap();
    assert_eq!(production.passed_by.len(), 2, "{:?}", production.passed_by);
    fs::remove_dir_all(path("v1")).unwrap();
    fs::remove_dir_all(path("v3")).unwrap();
    let error = catalog.production("latency").unwrap_err().to_string();
    assert!(error.contains("no version of `latency` can be used"), "{error}");
}

#[test]
fn a_model_of_impossible_parts_and_a_huge_file_are_refused() {
    let (_folder, catalog) = catalog();
    let (record, mut model) = trained("ridge");
    model.features.each.pop();
    catalog.add(record.clone(), &model).unwrap();
    let error = catalog.model("latency", 1).unwrap_err().to_string();
    assert!(error.contains("do not fit together"), "{error}");

    let path = catalog.folder().join("latency/v1/model");
    fs::File::create(&path).unwrap().set_len(MODEL_MAX_BYTES + 4096).unwrap();
    let error = catalog.model("latency", 1).unwrap_err();
    assert_eq!(error.kind(), types::ErrorKind::Exhausted, "{error}");
    for name in ["", "../x", "a/b", "A", "-a", &"a".repeat(64)] {
        let record = Record { name: name.into(), ..record.clone() };
        assert!(catalog.add(record, &model).is_err(), "{name}");
    }
}

/// What a killed process leaves: a half-written version is none, and the next one takes its place.
#[test]
fn what_was_being_written_is_nothing() {
    let (_folder, catalog) = catalog();
    let (record, model) = trained("naive");
    let name = catalog.folder().join("latency");
    fs::create_dir_all(name.join(".draft")).unwrap();
    fs::write(name.join(".draft/model"), "half").unwrap();
    fs::create_dir_all(name.join(".removed/version")).unwrap();
    fs::write(name.join("stages.new"), "half").unwrap();

    assert!(catalog.versions("latency").unwrap().is_empty());
    assert_eq!(catalog.add(record, &model).unwrap().id, 1);
    catalog.promote("latency", 1, &GATE).unwrap();
    assert_eq!(catalog.production("latency").unwrap().model, model);
}

#[test]
fn versions_go_through_mlflows_layout_and_strangers_paths_are_not_followed() {
    let (folder, catalog) = catalog();
    for kind in ["gbm", "ewma"] {
        let (record, model) = trained(kind);
        let record = catalog.add(Record { name: kind.into(), ..record }, &model).unwrap();
        let exported = catalog.export_mlflow(kind, 1, &folder.path().join("mlruns")).unwrap();

        assert_eq!(exported.join("model.onnx").exists(), kind == "gbm");
        let run = exported.parent().unwrap().parent().unwrap();
        assert!(run.join("metrics/rmse").exists() && run.join("meta.yaml").exists());
        let mlflow::Found::Version(found) = mlflow::read(run).unwrap() else { panic!("{kind}") };
        assert_eq!(found.1, model);
        assert_eq!((found.0.name, found.0.tested), (record.name, record.tested));
        let mlmodel = fs::read_to_string(exported.join("MLmodel")).unwrap();
        fs::write(exported.join("MLmodel"), mlmodel.replace("data: model", "data: ../../x"))
            .unwrap();
        assert!(mlflow::read(&exported).unwrap_err().to_string().contains("not beside it"));
    }
}
