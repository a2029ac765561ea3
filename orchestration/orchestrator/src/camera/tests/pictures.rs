use crate::camera::{jpeg, pgm};
use bytes::Bytes;
use proptest::prelude::*;

/// A picture as small as its markers allow; `inside` is the content of a comment, `data` of the
/// scan.
fn picture(inside: &[u8], data: &[u8]) -> Vec<u8> {
    let mut all = vec![0xff, 0xd8, 0xff, 0xfe];
    all.extend((inside.len() as u16 + 2).to_be_bytes());
    all.extend(inside);
    all.extend([0xff, 0xda, 0, 3, 0]);
    for byte in data {
        all.push(*byte);
        if *byte == 0xff {
            all.push(0);
        }
    }
    all.extend([0xff, 0xd9]);
    all
}

fn split(stream: &[u8], step: usize) -> Vec<Bytes> {
    let mut splitter = jpeg::Splitter::default();
    let mut pictures = Vec::new();
    for part in stream.chunks(step) {
        splitter.push(part);
        while let Some(picture) = splitter.next().unwrap() {
            pictures.push(picture);
        }
    }
    pictures
}

#[test]
fn a_thumbnail_does_not_end_a_picture() {
    let thumbnail = picture(b"small", &[1, 2, 3]);
    let whole = picture(&thumbnail, &[0xff, 0xd9, 0xff]);
    for step in 1..whole.len() {
        assert_eq!(split(&whole, step), std::slice::from_ref(&whole));
    }
}

#[test]
fn what_is_no_picture_is_left_out() {
    let good = picture(b"", &[9; 40]);
    let stream = [b"garbage \xff".as_slice(), &good, b"\0\0", b"\xff\xd8\x12", &good].concat();
    assert_eq!(split(&stream, 7), [good.clone(), good]);
    assert!(jpeg::has_tables(&[0xff, 0xd8, 0xff, 0xc4, 0, 2]));
    assert!(!jpeg::has_tables(&picture(b"\xff\xc4", &[])));
}

#[test]
fn a_picture_without_end_is_an_error() {
    let mut splitter = jpeg::Splitter::default();
    splitter.push(&[0xff, 0xd8, 0xff, 0xda, 0, 2]);
    let error = (0..34).find_map(|_| {
        splitter.push(&vec![7; 1 << 20]);
        splitter.next().err()
    });
    assert!(error.is_some());
}

#[test]
fn graymaps_tell_their_size() {
    let mut splitter = pgm::Splitter::default();
    for byte in b"P5\n3 2\n255\nabcdefP5\n1 1\n255\n\n" {
        splitter.push(&[*byte]);
    }
    let first = splitter.next().unwrap().unwrap();
    assert_eq!((first.width, first.height, first.pixels.as_ref()), (3, 2, b"abcdef".as_slice()));
    assert_eq!(splitter.next().unwrap().unwrap().pixels.as_ref(), b"\n");
    assert_eq!(splitter.next().unwrap(), None);
    for bad in ["P6\n1 1\n255\nx", "P5\n1 1\n65535\nx", "P5\n0 1\n255\nx", "P5\n99999 99999\n255\n"]
    {
        let mut splitter = pgm::Splitter::default();
        splitter.push(bad.as_bytes());
        splitter.push(&[b' '; 64]);
        assert!(splitter.next().is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn pictures_come_out_as_they_went_in(
        all in prop::collection::vec(
            (prop::collection::vec(any::<u8>(), 0..40), prop::collection::vec(any::<u8>(), 0..80)),
            1..6
        ),
        step in 1_usize..50
    ) {
        let pictures: Vec<_> = all.iter().map(|(inside, data)| picture(inside, data)).collect();
        prop_assert_eq!(split(&pictures.concat(), step), pictures);
    }

    #[test]
    fn any_bytes_are_taken_without_a_panic(
        bytes in prop::collection::vec(prop_oneof![Just(0xff_u8), 0xc0_u8..=0xff, any::<u8>()], 0..300),
        step in 1_usize..20
    ) {
        let taken: usize = split(&bytes, step).iter().map(Bytes::len).sum();
        prop_assert!(taken <= bytes.len());
        let mut splitter = pgm::Splitter::default();
        splitter.push(&bytes);
        let _ = splitter.next();
    }
}
