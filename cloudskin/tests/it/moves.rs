//! The demo in short: a service moves there and back while a camera plays to it.

use mobility_demo::{Options, Summary};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// A street of two walkers before a wall, 60 frames long; none, with a message, without ffmpeg.
pub(super) fn street(folder: &Path) -> Option<PathBuf> {
    if Command::new("ffmpeg").arg("-version").output().is_err() {
        eprintln!("skipped: ffmpeg is missing (apt-get install ffmpeg)");
        return None;
    }
    let path = folder.join("street.avi");
    let colour = |colour: &str, size: &str| format!("color=c={colour}:s={size}:r=10:d=7");
    let places = "[0][1]overlay=x='t*55':y=60[a];[a][2]overlay=x='350-t*50':y=180";
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-nostdin", "-loglevel", "error"]);
    for source in [colour("gray", "384x288"), colour("white", "24x48"), colour("black", "30x60")] {
        ffmpeg.args(["-f", "lavfi", "-i", &source]);
    }
    ffmpeg.args(["-filter_complex", places, "-frames:v", "60", "-c:v", "mjpeg", "-q:v", "3"]);
    let output = ffmpeg.arg(&path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(path)
}

#[tokio::test]
async fn a_service_moves_there_and_back_and_every_frame_is_answered_once() {
    let folder = tempfile::tempdir().unwrap();
    let Some(clip) = street(folder.path()) else { return };
    let cloudskin = Path::new(env!("CARGO_BIN_EXE_cloudskin"));
    let manifest =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/mobility/street-counter.yaml");
    let options = Options::short(cloudskin, &clip, &manifest, &folder.path().join("work"));

    let record = mobility_demo::run(&options, |text| println!("{text}")).await.unwrap();

    let summary = Summary::of(&record);
    let broken: Vec<_> = summary.promises.iter().filter(|one| one.met != true.into()).collect();
    assert!(broken.is_empty(), "{broken:#?}");
    assert_eq!((summary.frames_sent, summary.frames_answered, summary.migrations), (60, 60, 2));
    assert_eq!(summary.cell_counter, Some(60));
    let route: Vec<_> =
        summary.runs[0].migrations.iter().map(|one| (one.from.as_str(), one.to.as_str())).collect();
    assert_eq!(route, [("edge", "cloud"), ("cloud", "edge")]);
    let last = record.played[0].answers[59].body.as_deref().unwrap();
    assert!(!last.contains("\"count\":0"), "equal answers would say little: {last}");
    assert!(!folder.path().join("work/data").exists(), "the continuum's data is removed");
}
