use super::*;
use crate::camera::{Error, Picture};
use types::{Digest, ErrorKind};

#[tokio::test]
async fn every_frame_is_sent_when_due_and_answered_in_order() {
    let Some(bench) = Bench::new(2, Faults::default()).await else { return };
    let mut options = bench.clip(40, "mpeg4").await;
    let (frames, lines) = (bench.folder.path().join("frames"), bench.folder.path().join("a.jsonl"));
    options.save_frames = Some(frames.clone());
    options.save_answers = Some(lines.clone());
    options.fps = 100.0;

    let (report, answers) = play_all(options).await;

    assert_eq!((report.frames_sent, report.frames_answered, report.failures), (40, 40, 0));
    let bodies: Vec<_> = answers.iter().filter_map(|answer| answer.body.clone()).collect();
    assert_eq!(bodies, (1..=40).map(|n: u32| n.to_string()).collect::<Vec<_>>());
    for answer in &answers {
        assert!((answer.due_ms - answer.frame as f64 * 10.0).abs() < 0.01, "{answer:?}");
        assert!(answer.sent_ms >= answer.due_ms && answer.latency_ms >= 0.0, "{answer:?}");
    }
    assert_eq!(report.hashes.len(), 40);
    assert_eq!(report.hashes[0], answers[0].hash);
    let [used] = report.addresses.as_slice() else { panic!("{report:?}") };
    assert_eq!((used.address.ip(), used.frames), (bench.addresses[0], 40));
    for (number, (_, body)) in bench.frames().iter().enumerate() {
        let saved = std::fs::read(frames.join(format!("frame-{number:06}.jpg"))).unwrap();
        assert_eq!(saved, body.to_vec());
        assert!(body.starts_with(&[0xff, 0xd8, 0xff]) && body.ends_with(&[0xff, 0xd9]));
    }
    let text = std::fs::read_to_string(lines).unwrap();
    let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!((last["frame"].as_u64(), last["body"].as_str()), (Some(39), Some("40")));
    assert!(last["hash"].as_str().unwrap().parse::<Digest>().is_ok());
}

#[tokio::test]
async fn a_frame_whose_connection_broke_is_counted_once() {
    let faults = Faults { drop_every: 7, busy_every: 11, ..Faults::default() };
    let Some(bench) = Bench::new(2, faults).await else { return };
    let options = bench.clip(60, "mpeg4").await;

    let (report, answers) = play_all(options).await;

    assert_eq!((report.frames_answered, report.failures), (60, 0));
    assert!(report.retries >= 8, "{report:?}");
    let bodies: Vec<_> = answers.iter().filter_map(|answer| answer.body.clone()).collect();
    assert_eq!(bodies, (1..=60).map(|n: u32| n.to_string()).collect::<Vec<_>>());
    assert_eq!(bench.frames().len(), 60);
}

#[tokio::test]
async fn a_switch_is_followed_within_the_ttl() {
    let Some(bench) = Bench::new(1, Faults::default()).await else { return };
    let mut options = bench.clip(50, "mpeg4").await;
    (options.fps, options.repeat, options.frames) = (100.0, true, Some(250));
    let mut answers = Vec::new();
    let report = play(options, CancellationToken::new(), |answer| {
        answers.push(answer.clone());
        if answer.frame == 60 {
            bench.point(1);
        }
    });

    let report = report.await.unwrap();

    let switched = answers[60].answered_ms;
    assert_eq!((report.frames_answered, report.failures, report.retries), (250, 0, 0));
    let [old, new] = report.addresses.as_slice() else { panic!("{:?}", report.addresses) };
    assert_eq!([old.address.ip(), new.address.ip()], bench.addresses);
    // The old address is kept until the TTL has passed, and hardly longer.
    assert!(new.from_ms < switched + 1500.0, "{new:?} after {switched}");
    assert!(bench.zone.stats().queries() <= 8, "{:?}", bench.zone.stats());
    let bodies: Vec<_> = answers.iter().filter_map(|answer| answer.body.clone()).collect();
    assert_eq!(bodies, (1..=250).map(|n: u32| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn latency_counts_from_when_a_frame_was_due() {
    // Each frame takes longer than the time between two, so all later ones wait.
    let faults = Faults { delay: Duration::from_millis(30), ..Faults::default() };
    let Some(bench) = Bench::new(2, faults).await else { return };
    let mut options = bench.clip(20, "mpeg4").await;
    options.fps = 100.0;

    let (report, answers) = play_all(options).await;

    assert!(answers[19].latency_ms >= 400.0, "{:?}", answers[19]);
    assert!(report.latency_ms.max >= 400.0 && report.latency_ms.p50 > 150.0, "{report:?}");
    assert!(report.longest_gap_ms >= 30.0, "{report:?}");
}

#[tokio::test]
async fn a_service_that_is_gone_costs_frames_not_the_play() {
    let Some(bench) = Bench::new(2, Faults::default()).await else { return };
    let mut options = bench.clip(5, "mpeg4").await;
    (options.port, options.retries_max) = (1, 2);

    let (report, answers) = play_all(options).await;

    assert_eq!((report.frames_sent, report.frames_answered, report.failures), (5, 0, 5));
    assert!(answers.iter().all(|answer| answer.retries == 2 && answer.error.is_some()));
}

#[tokio::test]
async fn luminance_limits_and_start_are_as_asked() {
    let Some(bench) = Bench::new(2, Faults::default()).await else { return };
    let whole = bench.clip(12, "ffv1").await;
    let all = Options { picture: Picture::Luminance, ..whole.clone() };
    let (report, _) = play_all(all.clone()).await;
    assert_eq!(report.frames_sent, 12);
    let every: Vec<_> = bench.frames().into_iter().map(|(_, body)| body).collect();
    {
        let counter = bench.counter.lock().unwrap();
        let (_, _, kind, size, body) = &counter.requests[0];
        assert_eq!((kind.as_str(), size.as_str()), ("application/x-luminance", "96x64"));
        assert_eq!(body.len(), 96 * 64);
    }
    let part = Options { start_frame: 4, frames: Some(3), run: "part".to_owned(), ..all };
    let (report, _) = play_all(part).await;
    assert_eq!(report.frames_sent, 3);
    let part: Vec<_> = bench.frames().into_iter().skip(12).map(|(_, body)| body).collect();
    assert_eq!(part, every[4..7]);

    let beyond = Options { start_frame: 100, ..whole };
    let error = play(beyond, CancellationToken::new(), |_| {}).await.unwrap_err();
    assert!(matches!(error, Error::NoFrames { start_frame: 100, .. }), "{error}");
}

#[tokio::test]
async fn jpeg_frames_pass_unchanged() {
    let Some(bench) = Bench::new(2, Faults::default()).await else { return };
    let options = bench.clip(3, "mjpeg").await;
    let copy = Command::new("ffmpeg")
        .args(["-loglevel", "error", "-i", &options.input, "-c:v", "copy", "-f", "image2pipe", "-"])
        .output()
        .await
        .unwrap();

    play_all(options).await;

    let sent: Vec<u8> = bench.frames().into_iter().flat_map(|(_, body)| body.to_vec()).collect();
    assert_eq!(sent, copy.stdout);
}

#[tokio::test]
async fn stops_when_told() {
    let Some(bench) = Bench::new(2, Faults::default()).await else { return };
    let options = Options { repeat: true, fps: 100.0, ..bench.clip(10, "mpeg4").await };
    let stop = CancellationToken::new();
    let report = play(options, stop.clone(), |answer| {
        if answer.frame == 14 {
            stop.cancel();
        }
    });
    let report = tokio::time::timeout(Duration::from_secs(20), report).await.unwrap().unwrap();

    assert!((15..200).contains(&report.frames_answered), "{report:?}");
    assert_eq!(report.frames_sent, report.frames_answered);
}

#[tokio::test]
async fn says_what_is_missing_or_wrong() {
    let Some(bench) = Bench::new(2, Faults::default()).await else { return };
    let good = bench.clip(3, "mpeg4").await;
    let fail = async |options| play(options, CancellationToken::new(), |_| {}).await.unwrap_err();

    let missing = fail(Options { ffmpeg: "/nowhere/ffmpeg".into(), ..good.clone() }).await;
    assert!(missing.to_string().contains("apt-get install ffmpeg"), "{missing}");
    assert_eq!(missing.kind(), ErrorKind::Unsupported);
    let absent = fail(Options { input: "/nowhere.avi".to_owned(), ..good.clone() }).await;
    assert!(absent.to_string().contains("No such file"), "{absent}");
    let name = "nobody.default.svc.cloudskin.internal.".to_owned();
    let unknown = fail(Options { name, ..good.clone() }).await;
    assert_eq!(unknown.kind(), ErrorKind::NotFound, "{unknown}");
    for fps in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(fail(Options { fps, ..good.clone() }).await, Error::Options(_)));
    }
    assert!(matches!(fail(Options { frames: Some(0), ..good }).await, Error::Options(_)));
}
