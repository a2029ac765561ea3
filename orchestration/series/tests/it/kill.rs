//! A process that stores series is killed while it writes; what it was told is stored is there.

use series::{Labels, Limits, Matcher, NAME, Sample, Store};
use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};
use types::Period;

const FOLDER: &str = "CLOUDSKIN_SERIES_FOLDER";

/// Of one batch.
const SERIES: i64 = 20;

/// Blocks are short, so that kills hit their making, too.
fn limits() -> Limits {
    Limits { block: Period(Duration::from_secs(30)), ..Limits::default() }
}

fn labels(of: i64) -> Labels {
    Labels::new([(NAME, "steps".to_owned()), ("of", of.to_string())]).unwrap()
}

/// Steps are ten seconds apart.
fn time(step: i64) -> i64 {
    1_700_000_000_000 + step * 10_000
}

/// The last step that is there, by way of a query of everything.
fn check(store: &Store) -> i64 {
    let all = store.select(&[Matcher::is(NAME, "steps")], 0, i64::MAX, usize::MAX).unwrap();
    let mut counts = Vec::new();
    for series in &all {
        for (step, sample) in series.samples.iter().enumerate() {
            let step = i64::try_from(step).unwrap();
            assert_eq!(*sample, Sample::new(time(step), step as f64), "{}", series.labels);
        }
        counts.push(i64::try_from(series.samples.len()).unwrap());
    }
    let (most, least) = (counts.iter().max().unwrap_or(&0), counts.iter().min().unwrap_or(&0));
    assert_eq!(most, least, "a batch is there whole or not at all");
    assert!(all.is_empty() || all.len() as i64 == SERIES);
    *most
}

#[test]
#[ignore = "needs to be started by another test, which kills it"]
fn writer() {
    let folder = env::var(FOLDER).unwrap();
    let store = Store::open(Path::new(&folder), limits()).unwrap();
    let mut step = check(&store);
    loop {
        let batch: Vec<_> =
            (0..SERIES).map(|of| (labels(of), Sample::new(time(step), step as f64))).collect();
        assert_eq!(store.append(&batch, time(step)).unwrap().stored, SERIES as u64);
        // Standard output of a test is not ours alone. In one piece: it may be killed between two.
        std::io::stderr().write_all(format!("stored {step}\n").as_bytes()).unwrap();
        if step % 3 == 0 {
            store.maintain(time(step)).unwrap();
        }
        step += 1;
    }
}

#[test]
fn whatever_was_acknowledged_is_there_after_kill_9() {
    let folder = testkit::Folder::new();
    let mut random = testkit::Random::printed("series::kill");
    let mut acknowledged = 0;
    for round in 0..testkit::soak_rounds(12) {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["kill::writer", "--exact", "--ignored", "--nocapture"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let wanted = 1 + random.below(60);
        let mut seen = 0;
        while seen < wanted {
            let line = lines
                .next()
                .unwrap_or_else(|| panic!("the writer ended in round {round}"))
                .unwrap();
            if let Some(step) = line.strip_prefix("stored ") {
                acknowledged = step.parse::<i64>().unwrap() + 1;
                seen += 1;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        for line in lines.map_while(Result::ok) {
            if let Some(step) = line.strip_prefix("stored ") {
                acknowledged = step.parse::<i64>().unwrap() + 1;
            }
        }

        let store = Store::open(folder.path(), limits()).unwrap();
        let there = check(&store);
        assert!((acknowledged..=acknowledged + 1).contains(&there), "{there} of {acknowledged}");
    }
    let store = Store::open(folder.path(), limits()).unwrap();
    assert!(store.stats().blocks > 0);
}

/// `ulimit` stands for a disk that is full: both end a write in its midst.
#[test]
#[ignore = "needs to be started by another test, which limits its files"]
fn writer_on_a_full_disk() {
    let folder = env::var(FOLDER).unwrap();
    let store = Store::open(Path::new(&folder), Limits::default()).unwrap();
    let batch = |step: i64| -> Vec<(Labels, Sample)> {
        (0..SERIES).map(|of| (labels(of), Sample::new(time(step), step as f64))).collect()
    };
    let mut step = 0;
    let error = loop {
        match store.append(&batch(step), time(step)) {
            Ok(_) => step += 1,
            Err(error) => break error,
        }
        assert!(step < 10_000, "the disk is never full");
    };
    assert!(error.to_string().contains("were not stored"), "{error}");
    assert_eq!(error.kind(), types::ErrorKind::Exhausted);
    // It goes on: what was stored is there, and a smaller batch still fits or is refused likewise.
    assert_eq!(check(&store), step);
    assert!(store.append(&batch(step), time(step)).is_err());
    assert_eq!((check(&store), store.stats().failed_batches), (step, 2));
    drop(store);
    assert_eq!(check(&Store::open(Path::new(&folder), Limits::default()).unwrap()), step);
}

#[test]
fn a_full_disk_refuses_samples_and_loses_none() {
    let folder = testkit::Folder::new();
    let script = format!(
        "trap '' XFSZ; ulimit -f 64; exec '{}' kill::writer_on_a_full_disk --exact --ignored --nocapture",
        env::current_exe().unwrap().display()
    );
    let ended =
        Command::new("bash").args(["-c", &script]).env(FOLDER, folder.path()).output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    assert!(String::from_utf8_lossy(&ended.stdout).contains("1 passed"));

    // With room again, it takes more.
    let store = Store::open(folder.path(), Limits::default()).unwrap();
    let there = check(&store);
    let sample = Sample::new(time(there), there as f64);
    let batch: Vec<_> = (0..SERIES).map(|of| (labels(of), sample)).collect();
    assert_eq!(store.append(&batch, time(there)).unwrap().stored, SERIES as u64);
}
