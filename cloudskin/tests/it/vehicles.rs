//! The vehicle in short: a bus drives, and a service is told where it will be.

use super::moves::street;
use learning::trajectory::Traffic;
use mobility_demo::vehicle::{Setup, Summary, render, run};
use std::path::Path;

#[tokio::test]
async fn a_service_goes_where_a_vehicle_will_be_and_no_frame_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let Some(clip) = street(folder.path()) else { return };
    let cloudskin = Path::new(env!("CARGO_BIN_EXE_cloudskin"));
    let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/mobility/vehicle");
    let full = Setup::full(cloudskin, &clip, &manifests, &folder.path().join("work"));
    let traffic = Traffic { speed_m_s: (20.0, 25.0), red: 0, wait_s: 1 };
    let setup = Setup { stands_s: 4, drive_s: 14, traffic, quiet_wait_s: 0, ..full };

    let record = run(&setup, |text| println!("{text}")).await.unwrap();

    let summary = Summary::of(&record);
    println!("{}", serde_json::to_string_pretty(&summary).unwrap());
    for (name, figures) in &summary.runs {
        assert!(figures.frames_sent > 100, "{name}: {figures:?}");
        assert_eq!(figures.frames_answered, figures.frames_sent, "{name}");
        assert_eq!(figures.duplicates, 0, "{name}");
    }
    assert_eq!(summary.runs["stay"].migrations, 0);
    let ahead = record.runs.iter().find(|run| run.name == "ahead").unwrap();
    let first = ahead.moves.first().expect("it moves while the bus drives away");
    assert_eq!((first.from.as_str(), first.to.as_str()), ("harbour", "market"), "{first:?}");
    assert!(first.reason.contains("the nearest place in 4s is `market`"), "{}", first.reason);
    assert!(ahead.frames.iter().any(|frame| frame.site == "market" && frame.answered));
    let foresight = summary.runs["ahead"].foresight;
    assert!(foresight.said > 3 && foresight.noted > 0, "{foresight:?}");
    let said =
        ahead.ticks.iter().find(|tick| tick.prediction["next"]["passages"].as_u64() > Some(0));
    assert!(said.is_some(), "tracks of buses before were learned from");
    assert!(render(&record, &summary).contains("the nearest place in 4s"));
    assert!(!folder.path().join("work/data").exists(), "the continuum's data is removed");
}
