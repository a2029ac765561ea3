//! Units that transform images into an encrypted bucket, beside the same with plain files.

use super::{
    guest::{Guest, joined, objects},
    node::{BUCKET, Node},
};
use crate::{
    Context,
    pairs::{PAIRS_MIN, Pairs, Side},
    report::{Goal, Row},
};
use anyhow::Context as _;
use cells::{
    wasi::{FileKey, Grant, Transform},
    worker,
};
use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::Instant,
};

pub(super) const ROWS: &[&str] =
    &["geds/units-1", "geds/units-10", "geds/units-25", "geds/units-50", "geds/units-100"];
const UNITS: [usize; 5] = [1, 10, 25, 50, 100];

/// How many times as long as with files.
const RATIO: f64 = 1.10;

/// How many images all units of a measurement transform together.
const IMAGES: usize = 100;
/// How many there are to choose from.
const FRAMES: usize = 10;
const WIDTH: usize = 640;
const HEIGHT: usize = 480;

pub(super) fn measure(context: &Context) -> anyhow::Result<Vec<Row>> {
    let (_node, geds) = Node::start(context)?;
    let guest = Guest::of(context, "guests/images.c")?;
    let frames = context.folder("frames")?;
    make_frames(&frames)?;
    let frames = worker::grant(&frames, "/in", true)?;
    let key = FileKey::parse(&[7; 32]).context("a key has 32 bytes")?;
    let ours = objects(&geds, BUCKET, "/out", Transform::Encrypt(key))?;
    let folders = [context.folder("images")?, context.folder("images")?];
    let files = |folder: &PathBuf| worker::grant(folder, "/out", false);
    let (theirs, copy) = (files(&folders[0])?, files(&folders[1])?);
    let cores = thread::available_parallelism()?.get();
    let mut rows = Vec::new();
    for (name, units) in ROWS.iter().zip(UNITS) {
        let images = context.count(IMAGES, units);
        let pairs = Pairs::measure(context.count(PAIRS_MIN, 1), |side| {
            let out = match side {
                Side::Ours => &ours,
                Side::Peer => &theirs,
                Side::Control => &copy,
            };
            let seconds = transform(&guest, &frames, out, units, images / units)?;
            // Images are new each time: writing a file anew is slower than making one.
            geds.delete_prefix(BUCKET, "")?;
            folders.iter().try_for_each(|folder| empty(folder))?;
            Ok(seconds * 1e6 * units.min(cores) as f64 / images as f64)
        })?;
        let [row, control] = pairs.rows(name, "us", "plain files", Goal::AtMost(RATIO));
        let (us, _) = pairs.medians();
        let note = format!("{}; {:.0} images a second and core", row.note, 1e6 / us);
        rows.extend([row.with_note(note), control]);
    }
    Ok(rows)
}

/// How many seconds so many units take, each for so many images.
fn transform(
    guest: &Guest,
    frames: &Grant,
    out: &Grant,
    units: usize,
    images: usize,
) -> anyhow::Result<f64> {
    let started = Instant::now();
    thread::scope(|scope| {
        let start = |unit: usize| {
            let arguments = [unit, images, FRAMES].map(|number| number.to_string());
            let arguments = std::iter::once("images".to_owned()).chain(arguments).collect();
            guest.start(scope, arguments, vec![frames.clone(), out.clone()])
        };
        let running: Vec<_> = (0..units).map(start).collect::<anyhow::Result<_>>()?;
        running.into_iter().try_for_each(|unit| joined(unit).map(drop))
    })?;
    Ok(started.elapsed().as_secs_f64())
}

fn empty(folder: &Path) -> anyhow::Result<()> {
    for file in fs::read_dir(folder)? {
        fs::remove_file(file?.path())?;
    }
    Ok(())
}

/// Grey images with something to be seen on them.
fn make_frames(folder: &Path) -> anyhow::Result<()> {
    for frame in 0..FRAMES {
        let mut image = format!("P5\n{WIDTH} {HEIGHT}\n255\n").into_bytes();
        let point = |at: usize| {
            let (x, y) = (at % WIDTH, at / WIDTH);
            ((x * (frame + 3)) ^ (y * 5)) as u8
        };
        image.extend((0..WIDTH * HEIGHT).map(point));
        fs::write(folder.join(format!("{frame}.pgm")), image)?;
    }
    Ok(())
}
