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

#[test]
#[ignore = "writes seeds for fuzz/, see its README"]
fn seeds_of_the_fuzz_targets() {
    let frames = frames_of_the_other_site();
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
