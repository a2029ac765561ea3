//! Files that are kept encrypted or compressed.

use super::{objects, objects_within, secret};
use crate::wasi::{Errno, File, Mount, Node, ObjectFolder, OpenHow, Transform};
use geds::{Geds, Put};
use proptest::prelude::*;
use std::sync::Arc;

const SIZES: [usize; 7] = [0, 1, 100, 65_535, 65_536, 65_537, 300_000];

fn open(
    store: &Geds,
    transform: &Transform,
    path: &str,
    create: bool,
) -> Result<Arc<dyn File>, Errno> {
    let mount = ObjectFolder::new(store.clone(), "lab", "", transform.clone());
    let root = mount.expect("there is a bucket").root()?;
    let how = OpenHow { read: true, write: create, create, ..OpenHow::default() };
    match root.open(path, how)? {
        Node::File(file) => Ok(file),
        Node::Directory(_) => Err(Errno::Isdir),
    }
}

fn make(store: &Geds, transform: &Transform, path: &str, bytes: &[u8]) {
    let file = open(store, transform, path, true).expect("it opens");
    for (number, part) in bytes.chunks(50_000).enumerate() {
        assert_eq!(file.write_at(part, number as u64 * 50_000), Ok(part.len()));
    }
    file.close().expect("it closes");
}

fn read(file: &dyn File) -> Result<Vec<u8>, Errno> {
    let mut bytes = vec![0; 400_000];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Bytes that compress somewhat.
fn sample(size: usize) -> Vec<u8> {
    (0..size).map(|at| if at % 3 == 0 { (at >> 7) as u8 } else { b'x' }).collect()
}

#[test]
fn what_is_encrypted_or_compressed_is_read_as_it_was_written() {
    let (_folder, store) = objects();
    for transform in [Transform::Encrypt(secret(1)), Transform::Compress] {
        store.delete("lab", "file", None).expect("there is a bucket");
        for size in SIZES {
            let bytes = sample(size);
            make(&store, &transform, "file", &bytes);
            let file = open(&store, &transform, "file", false).expect("it opens");
            assert_eq!(file.stat().map(|stat| stat.size), Ok(size as u64));
            assert!(read(&*file).as_ref() == Ok(&bytes), "{transform:?} {size}");
            for (at, count) in [(0, 10), (65_530, 10), (65_536, 1), (131_000, 70_000), (299_999, 5)]
            {
                let mut part = vec![0; count];
                let read = file.read_at(&mut part, at as u64).expect("it reads");
                let expected = bytes.get(at..).unwrap_or_default();
                assert_eq!(part[..read], expected[..expected.len().min(count)], "{size} at {at}");
            }
        }
        // A sealed file is written to in the middle, which makes another.
        let file = open(&store, &transform, "file", true).expect("it opens");
        file.write_at(b"MIDDLE", 100_000).expect("it writes");
        file.close().expect("it closes");
        let mut bytes = sample(300_000);
        bytes[100_000..100_006].copy_from_slice(b"MIDDLE");
        let file = open(&store, &transform, "file", false).expect("it opens");
        assert!(read(&*file) == Ok(bytes));
        let mount = ObjectFolder::new(store.clone(), "lab", "", transform).expect("a bucket");
        let stat = mount.root().and_then(|root| root.stat_path("file", false));
        assert_eq!(stat.map(|stat| stat.size), Ok(300_000));
    }
}

/// What is done to a large file before it is closed; sizes are in bytes.
#[derive(Debug, Clone)]
enum Act {
    Append(usize),
    Write(usize, usize),
    Resize(usize),
    Sync,
    Read(usize, usize),
}

fn act() -> impl Strategy<Value = Act> {
    let size = || prop_oneof![1..100_usize, 60_000..70_000_usize, 1..150_000_usize];
    prop_oneof![
        6 => size().prop_map(Act::Append),
        1 => (size(), size()).prop_map(|(at, count)| Act::Write(at, count)),
        1 => (0..200_000_usize).prop_map(Act::Resize),
        1 => Just(Act::Sync),
        3 => (size(), size()).prop_map(|(at, count)| Act::Read(at, count)),
    ]
}

#[test]
fn a_large_file_is_read_and_changed_while_it_is_encrypted() {
    let (_folder, store) = objects();
    let transform = Transform::Encrypt(secret(1));
    let run = |acts: &[Act]| {
        store.delete("lab", "file", None).expect("there is a bucket");
        let file = open(&store, &transform, "file", true).expect("it opens");
        let mut model = Vec::new();
        for (number, act) in acts.iter().enumerate() {
            let fresh = |count: usize| vec![number as u8 + 1; count];
            match *act {
                Act::Append(count) => {
                    assert_eq!(file.append(&fresh(count)).map(|(count, _)| count), Ok(count));
                    model.extend(fresh(count));
                }
                Act::Write(at, count) => {
                    assert_eq!(file.write_at(&fresh(count), at as u64), Ok(count));
                    model.resize(model.len().max(at + count), 0);
                    model[at..at + count].copy_from_slice(&fresh(count));
                }
                Act::Resize(size) => {
                    file.set_size(size as u64).expect("it is resized");
                    model.resize(size, 0);
                }
                Act::Sync => file.sync(false).expect("it is synced"),
                Act::Read(at, count) => {
                    let mut part = vec![0; count];
                    let read = file.read_at(&mut part, at as u64).expect("it reads");
                    let expected = model.get(at..).unwrap_or_default();
                    assert!(part[..read] == expected[..expected.len().min(count)], "{acts:?}");
                }
            }
            assert_eq!(file.stat().map(|stat| stat.size), Ok(model.len() as u64));
        }
        file.close().expect("it closes");
        let file = open(&store, &transform, "file", false).expect("it opens");
        let mut bytes = vec![0; model.len() + 1];
        assert_eq!(file.read_at(&mut bytes, 0), Ok(model.len()));
        assert!(bytes[..model.len()] == model, "{acts:?}");
    };
    run(&[Act::Append(300_000)]);
    run(&[Act::Append(65_536), Act::Append(65_536), Act::Read(65_535, 2), Act::Append(1)]);
    run(&[Act::Append(200_000), Act::Resize(0), Act::Append(200_000), Act::Write(70_000, 5)]);
    proptest!(ProptestConfig::with_cases(40), |(acts in proptest::collection::vec(act(), 1..10))| {
        run(&acts);
    });
}

#[test]
fn a_large_file_for_which_there_is_no_room_keeps_what_it_has() {
    let sizes =
        geds::Limits { memory_bytes: 4 << 20, disk_bytes: 1 << 20, ..geds::Limits::default() };
    let (_folder, store) = objects_within(geds::Limits { wait_ms: 10, ..sizes });
    let transform = Transform::Encrypt(secret(1));
    let file = open(&store, &transform, "file", true).expect("it opens");
    let mut written = 0;
    while let Ok((count, _)) = file.append(&vec![7; 100_000]) {
        written += count;
        assert!(written < 64 << 20, "there is no limit");
    }
    if let Ok(stat) = file.stat() {
        assert_eq!(stat.size, written as u64);
        assert_eq!(file.read_at(&mut vec![0; written + 1], 0), Ok(written));
    }
    assert!(written > 0);
}

#[test]
fn who_has_no_key_or_another_is_refused() {
    let (_folder, store) = objects();
    let (ours, theirs) = (Transform::Encrypt(secret(1)), Transform::Encrypt(secret(2)));
    make(&store, &ours, "secret", b"the secret text");
    let kept = store.view("lab", "secret").expect("it is there").to_vec();
    assert!(!kept.windows(6).any(|bytes| bytes == b"secret"));
    let refusal = |transform, path| open(&store, transform, path, false).err();
    assert_eq!(refusal(&theirs, "secret"), Some(Errno::Acces));
    assert_eq!(refusal(&Transform::None, "secret"), Some(Errno::Acces));
    assert_eq!(refusal(&Transform::Compress, "secret"), Some(Errno::Acces));

    // Somebody else's plain bytes do not pass for encrypted ones.
    make(&store, &Transform::None, "plain", b"forged");
    make(&store, &Transform::Compress, "small", &sample(1000));
    assert_eq!(refusal(&ours, "plain"), Some(Errno::Notsup));
    assert_eq!(refusal(&ours, "small"), Some(Errno::Notsup));
    let file = open(&store, &Transform::None, "small", false).expect("it needs no key");
    assert!(read(&*file) == Ok(sample(1000)));

    // The same file twice is kept as other bytes.
    make(&store, &ours, "again", b"the secret text");
    assert_ne!(store.view("lab", "again").expect("it is there").to_vec(), kept);
}

/// Puts other bytes in an object's place, with its attributes.
fn forge(store: &Geds, bytes: &[u8]) {
    let attributes = store.stat("lab", "file").expect("it is there").attributes;
    store.put("lab", "file", bytes, Put::overwrite().attributes(attributes)).expect("it is put");
}

#[test]
fn damage_is_noticed_wherever_it_is() {
    let (_folder, store) = objects();
    for transform in [Transform::Encrypt(secret(1)), Transform::Compress] {
        store.delete("lab", "file", None).expect("there is a bucket");
        let bytes = sample(150_000);
        make(&store, &transform, "file", &bytes);
        let kept = store.view("lab", "file").expect("it is there").to_vec();
        let reads = |forged: &[u8]| {
            forge(&store, forged);
            open(&store, &transform, "file", false).and_then(|file| read(&*file))
        };
        assert!(reads(&kept) == Ok(bytes.clone()));
        let step = kept.len() / 400 + 1;
        let places =
            (0..64).chain((64..kept.len() - 64).step_by(step)).chain(kept.len() - 64..kept.len());
        for at in places {
            let mut bent = kept.clone();
            bent[at] ^= 0x20;
            match (reads(&bent), &transform) {
                // Zstandard leaves bits unused.
                (Ok(read), Transform::Compress) => assert!(read == bytes, "byte {at}"),
                (read, _) => assert!(read.is_err(), "{transform:?}: byte {at}"),
            }
        }
        for size in [0, 1, 16, 51, 52, 100, kept.len() / 2, kept.len() - 1] {
            assert!(reads(&kept[..size]).is_err(), "{transform:?}: cut to {size}");
        }
        let mut longer = kept.clone();
        longer.extend([0; 70_000]);
        assert!(reads(&longer).is_err());
    }
}

#[test]
fn encrypted_chunks_stay_where_they_are() {
    let (_folder, store) = objects();
    let transform = Transform::Encrypt(secret(1));
    make(&store, &transform, "file", &sample(3 * 65_536));
    let kept = store.view("lab", "file").expect("it is there").to_vec();
    let (header, chunk) = (52, 65_536 + 16);
    let mut exchanged = kept.clone();
    let (first, second) = exchanged[header..].split_at_mut(chunk);
    first.swap_with_slice(&mut second[..chunk]);
    forge(&store, &exchanged);
    let file = open(&store, &transform, "file", false).expect("its last chunk is in place");
    assert_eq!(read(&*file), Err(Errno::Acces));

    // Cut off at a chunk's end, with a size that fits.
    let attributes = {
        make(&store, &transform, "short", &sample(2 * 65_536));
        store.stat("lab", "short").expect("it is there").attributes
    };
    let put = Put::overwrite().attributes(attributes);
    store.put("lab", "file", &kept[..header + 2 * chunk], put).expect("it is put");
    assert_eq!(open(&store, &transform, "file", false).err(), Some(Errno::Acces));
}
