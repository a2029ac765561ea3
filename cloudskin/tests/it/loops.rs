//! The whole loop in short: load rises, a policy expects it, and the service is elsewhere in time.

use super::moves::street;
use mobility_demo::{
    Error,
    qos::{Load, Setup, Summary, render, run},
};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The demo's manifests, with policies that are run three times as often.
fn manifests(folder: &Path) -> PathBuf {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/mobility");
    let to = folder.join("manifests");
    fs::create_dir_all(to.join("policies")).unwrap();
    let module = from.join("street-counter/street-counter.wasm");
    let module = fs::canonicalize(module).unwrap();
    for name in ["street-counter-qos.yaml", "policies/reactive.yaml", "policies/proactive.yaml"] {
        let text = fs::read_to_string(from.join(name)).unwrap();
        let text = text.replace("street-counter/street-counter.wasm", &module.to_string_lossy());
        let text =
            text.replace("every: 15s", "every: 5s").replace("coolDown: 45s", "coolDown: 10s");
        fs::write(to.join(name), text).unwrap();
    }
    to
}

/// Twelve hours in which load rises and falls twice an hour, and the next rise.
fn load() -> Load {
    let wave = |at: usize| 13.0 - 6.0 * (at as f64 / 360.0 * std::f64::consts::TAU).cos();
    let history = (0..8640).map(wave).collect();
    // Five seconds here of 20 steps each.
    let mut played = vec![7.0; 20];
    played.extend((0..16).map(|at| 7.0 + f64::from(at)));
    // Long enough for an edge that looks larger than it is to be known for what it can do.
    played.extend([23.0; 64]);
    Load::new("a test", history, played, 8)
}

#[tokio::test]
async fn a_policy_moves_its_service_by_a_model_of_what_will_be_asked() {
    let folder = tempfile::tempdir().unwrap();
    let Some(clip) = street(folder.path()) else { return };
    let setup = Setup {
        cloudskin: env!("CARGO_BIN_EXE_cloudskin").into(),
        clip,
        manifests: manifests(folder.path()),
        work: folder.path().join("work"),
        load: load(),
        quiet_wait_s: 0,
    };

    let record = match run(&setup, |text| println!("{text}")).await {
        Err(error @ Error::NoQuota) => return eprintln!("skipped: {error}"),
        record => record.unwrap(),
    };

    let summary = Summary::of(&record);
    println!("{}", serde_json::to_string_pretty(&summary).unwrap());
    for (policy, figures) in &summary.policies {
        assert!(figures.frames_sent > 150, "{policy}: {figures:?}");
        assert_eq!(figures.frames_answered, figures.frames_sent, "{policy}");
    }
    let proactive = &record.played[1];
    let first = proactive.moves.first().expect("it moves while the edge is flooded");
    assert_eq!((first.from.as_str(), first.to.as_str()), ("edge", "cloud"), "{first:?}");
    assert!(first.reason.contains("requests each second are forecast"), "{}", first.reason);
    assert!(proactive.frames.iter().any(|frame| frame.cloud && frame.answered));
    let said = proactive.ticks.iter().filter(|tick| tick.fallback.is_none());
    assert!(said.filter(|tick| tick.prediction["requests"]["value"].is_f64()).count() >= 1);
    assert!(render(&record, &summary).contains("requests each second are forecast"));
    assert!(!folder.path().join("work/data").exists(), "the continuum's data is removed");
}
