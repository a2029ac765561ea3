//! What the fuzz targets begin with: frames and images that are as they should be.

use crate::{sites::frames::frames_of_the_other_site, stopping::images_of};
use std::{fs, path::Path};

/// Bytes after their length, in so many bytes.
fn row(bytes: &[u8], width: usize) -> Vec<u8> {
    [&bytes.len().to_le_bytes()[..width], bytes].concat()
}

fn write(target: &str, number: usize, bytes: &[u8]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join(format!("seed-{number}")), bytes).expect("a seed");
}

/// An entry in two parts, and an end of the world.
fn frames_that_are_rare(frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut rare = Vec::new();
    // Its kind is data: what comes before its bytes has one length of theirs.
    if let Some(entry) = frames.iter().find(|frame| frame[0] == 9 && frame[23] == 1) {
        let (head, bytes) = (&entry[..36], &entry[40..]);
        let (first, rest) = bytes.split_at(bytes.len() / 2);
        rare.push([head, &row(first, 4)].concat());
        rare.push([&[10], &entry[1..17], &row(rest, 4)].concat());
    }
    let texts = [&b"MPI_Recv"[..], b"MPI_COMM_WORLD", b"MPI_ERR_TRUNCATE", b"too long"];
    let texts = texts.map(|text| row(text, 4)).concat();
    rare.push([&[14, 2, 1, 0, 0, 0, 15, 0, 0, 0], &texts[..]].concat());
    rare
}

#[test]
#[ignore = "writes seeds for fuzz/, see its README"]
fn seeds_of_the_fuzz_targets() {
    let mut frames = frames_of_the_other_site();
    frames.extend(frames_that_are_rare(&frames));
    for (number, frames) in frames.chunks(6).enumerate() {
        // A call goes before each frame, whose bytes say which.
        let call = |place: usize| row(&[128 + (place * 7 + number) as u8 % 22, 1, 3, 2, 1, 0], 2);
        let rows = frames.iter().enumerate().map(|(place, frame)| {
            let len = frame.len().min(usize::from(u16::MAX));
            [call(place), row(&frame[..len], 2)].concat()
        });
        let rows = rows.collect::<Vec<_>>().concat();
        write("frames", number, &[row(&[number as u8 % 2], 2), rows].concat());
    }
    let snapshots = [images_of(false, 100), images_of(true, 100)].concat();
    for (number, snapshot) in snapshots.iter().enumerate() {
        let how = (snapshot.size - 1) as u8 | (snapshot.parts.len() as u8 - 1) << 2;
        let mut ranks = snapshot.ranks.clone();
        ranks.sort_unstable();
        let images = snapshot.parts.iter().chain(ranks.iter().map(|(_, image)| image));
        let images: Vec<u8> = images.flat_map(|image| row(image, 4)).collect();
        write("images", number, &[&[how | (number as u8 % 2) << 4, 0], &images[..]].concat());
    }
}
