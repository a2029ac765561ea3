//! vehicle-detector: what it says of frames, with a model of the test's own and with FastestDet.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use cells::{
    Cache, Compiler, ModelFile, Runtime, Use,
    limits::Limits,
    record::{decode_answer, encode_request},
    run::{End, Run, THREAD_STACK_BYTES},
    wasi::{self, Buffer},
};
use inference::write::{self, floats, graph, node, settings, value};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
};

fn example(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// What the committed module answers to pictures, with this model; a status, and JSON or text.
fn ask(model: Option<&Path>, pictures: &[&[u8]]) -> Vec<(u16, String)> {
    let folder = tempfile::tempdir().unwrap();
    let runtime = Runtime::new(Cache::open(folder.path()).unwrap(), Compiler::Here);
    let module = example("vehicle-detector/vehicle-detector.wasm");
    let program = runtime.load(&module, None, Use::Program, Default::default()).unwrap();
    let file = |path: &Path| ModelFile { name: "detector".into(), path: path.into(), digest: None };
    let files: Vec<_> = model.map(file).into_iter().collect();
    let (stdin, stdout) = (Buffer::default(), Buffer::default());
    for picture in pictures {
        stdin.push(&encode_request("POST", "/", [].into_iter(), picture).unwrap());
    }
    stdin.end();
    let config = wasi::Config {
        models: cells::open_models(&files, 256 << 20).unwrap(),
        streams: wasi::Streams {
            stdin: Box::new(stdin),
            stdout: Box::new(stdout.clone()),
            ..wasi::Streams::null()
        },
        ..wasi::Config::default()
    };
    let run = Run::new(&program, config, &Limits::default()).unwrap();
    let thread = std::thread::Builder::new().stack_size(THREAD_STACK_BYTES);
    let ended = thread.spawn(move || run.run()).unwrap().join().unwrap();
    assert_eq!(ended.unwrap(), End::Exited(0));
    answers(stdout.take())
}

/// Answers one behind the other, each behind its length.
fn answers(bytes: Vec<u8>) -> Vec<(u16, String)> {
    let mut rest = bytes::Bytes::from(bytes);
    let mut all = Vec::new();
    while !rest.is_empty() {
        let length = u32::from_le_bytes(*rest.first_chunk().unwrap()) as usize;
        let answer = decode_answer(&rest.split_to(4 + length)).unwrap();
        all.push((answer.status, String::from_utf8(answer.body.to_vec()).unwrap()));
    }
    all
}

/// A box: left, top, right, bottom, in parts of the picture; and its class.
type Seen = ([f64; 4], String);

fn seen(answer: &str, (width, height): (f64, f64)) -> Vec<Seen> {
    let answer: Value = serde_json::from_str(answer).unwrap();
    let boxes = answer["boxes"].as_array().unwrap().iter();
    boxes
        .map(|one| {
            let side = |at: usize| one["box"][at].as_f64().unwrap();
            let (x, y) = (side(0) / width, side(1) / height);
            let corners = [x, y, x + side(2) / width, y + side(3) / height];
            (corners, one["class"].as_str().unwrap().to_owned())
        })
        .collect()
}

/// A model of FastestDet's form that calls what is red a car and what is blue a person.
fn colours(folder: &Path) -> PathBuf {
    const CHANNELS: usize = 85;
    const FIRST_KIND: usize = 5;
    let (mut weights, mut more) = (vec![0.0; CHANNELS * 3], vec![0.0; CHANNELS]);
    // Blue comes first.
    let mut says = |channel: usize, blue: f64, red: f64| {
        (weights[channel * 3], weights[channel * 3 + 2]) = (blue, red);
    };
    says(0, 1.0, 1.0);
    says(FIRST_KIND, 1.0, 0.0);
    says(FIRST_KIND + 2, 0.0, 1.0);
    // Four fifths of the picture, after the logistic function: fields of one block overlap.
    (more[3], more[4]) = (1.4, 1.4);
    let mut pool = node("AveragePool", &["x"], "fields");
    pool.attribute = vec![settings("kernel_shape", &[16, 16]), settings("strides", &[16, 16])];
    let nodes = vec![pool, node("Conv", &["fields", "weights", "more"], "y")];
    let constants =
        vec![floats("weights", &[CHANNELS, 3, 1, 1], &weights), floats("more", &[CHANNELS], &more)];
    let x = value("x", &[Some(1), Some(3), Some(352), Some(352)]);
    let path = folder.join("colours.onnx");
    let graph = graph(vec![x], nodes, constants, vec![value("y", &[])]);
    fs::write(&path, write::file(graph, &[])).unwrap();
    path
}

#[test]
fn objects_are_told_where_they_are_and_what_by_whatever_model_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let picture = fs::read(example("vehicle-detector/tests/red-and-blue.jpg")).unwrap();

    let said = ask(Some(&colours(folder.path())), &[&picture, &picture[..200], b"", &picture]);

    assert_eq!(said.iter().map(|one| one.0).collect::<Vec<_>>(), [200, 400, 400, 200]);
    assert!(said[0].1.starts_with(r#"{"frame":1,"counts":{"person":1,"car":1},"#), "{}", said[0].1);
    assert!(said[3].1.starts_with(r#"{"frame":2,"#), "what is refused changes nothing");
    // The red block is from 32, 48 to 63, 79 of 176, the blue one from 112 to 143.
    for (corners, class) in seen(&said[0].1, (176.0, 176.0)) {
        let centre = [(corners[0] + corners[2]) * 88.0, (corners[1] + corners[3]) * 88.0];
        let (x, y) = if class == "car" { (48.0, 64.0) } else { (128.0, 128.0) };
        let off = (centre[0] - x).abs().max((centre[1] - y).abs());
        assert!(off <= 16.0, "{class} at {centre:?}");
    }
    let (status, why) = &ask(None, &[&picture])[0];
    assert!(*status == 503 && why.contains("--nn"), "{why}");
}

/// Frames of a video that is JPEG pictures one behind the other, in an AVI file.
fn frames(video: &[u8]) -> Vec<&[u8]> {
    let start = video.windows(4).position(|four| four == b"movi").unwrap() + 4;
    let (mut rest, mut all) = (&video[start..], Vec::new());
    while let Some((head, body)) = rest.split_first_chunk::<8>() {
        let size = u32::from_le_bytes(*head.last_chunk().unwrap()) as usize;
        let Some((frame, behind)) = body.split_at_checked(size + size % 2) else { break };
        if head.starts_with(b"00dc") {
            all.push(&frame[..size]);
        } else if head.starts_with(b"idx1") {
            break;
        }
        rest = behind;
    }
    all
}

fn overlap(one: &[f64; 4], other: &[f64; 4]) -> f64 {
    let side = |low: usize| one[low + 2].min(other[low + 2]) - one[low].max(other[low]);
    let (width, height) = (side(0).max(0.0), side(1).max(0.0));
    let area = |it: &[f64; 4]| (it[2] - it[0]) * (it[3] - it[1]);
    width * height / (area(one) + area(other) - width * height)
}

/// The boxes are those that another runtime finds with the same model.
#[test]
fn fastestdet_sees_what_it_sees_elsewhere() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/mobility");
    let (model, expected) = (
        data.join("models/fastestdet/FastestDet.onnx"),
        data.join("expected/vtest_mjpeg_fastestdet.json"),
    );
    let Ok(expected) = fs::read(expected) else {
        println!("skipped: no shared data");
        return;
    };
    let expected: Value = serde_json::from_slice(&expected).unwrap();
    let video = fs::read(data.join("video/vtest_20s_384x288_mjpeg.avi")).unwrap();
    let frames = frames(&video);
    let expected = expected["videos"]["vtest_20s_384x288_mjpeg.avi"].as_array().unwrap();
    let some: Vec<&Value> = expected.iter().step_by(7).take(3).collect();
    let number = |one: &Value| one["frame"].as_u64().unwrap() as usize;
    let pictures: Vec<&[u8]> = some.iter().map(|one| frames[number(one)]).collect();

    let said = ask(Some(&model), &pictures);

    let (mut ours, mut theirs, mut agreed, mut overlaps) = (0, 0, 0, 0.0);
    for (one, (status, answer)) in some.iter().zip(&said) {
        assert_eq!(*status, 200, "{answer}");
        let seen = seen(answer, (384.0, 288.0));
        let boxes = one["boxes"].as_array().unwrap();
        (ours, theirs) = (ours + seen.len(), theirs + boxes.len());
        for theirs in boxes {
            let corners = [0, 1, 2, 3].map(|at| theirs[at].as_f64().unwrap());
            let same = seen.iter().filter(|(_, class)| Some(class.as_str()) == theirs[5].as_str());
            let best = same.map(|(at, _)| overlap(at, &corners)).fold(0.0, f64::max);
            agreed += usize::from(best >= 0.75);
            overlaps += best;
        }
    }
    println!("{agreed} of {theirs} agree, of ours {ours}; sum of overlaps {overlaps:.2}");
    assert!(theirs >= 10, "the frames that were chosen have too few objects: {theirs}");
    assert!(agreed * 10 >= theirs * 9 && agreed * 10 >= ours * 9, "{agreed} of {theirs}, {ours}");
}
