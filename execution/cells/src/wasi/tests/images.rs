//! Saving and restoring, and images that claim what they should not.

use super::support::{GuestMemory, Still, granted, open, read, with_path, write};
use crate::wasi::{
    Buffer, Config, Errno, Grant, Limits, Outcome, RestoreError, Rights, SaveError, Streams, Wait,
    Wasi, WasiImage,
    image::{Bytes, Content, KindImage},
};
use proptest::prelude::*;
use std::{fs, path::Path};
use types::ErrorKind;

const RW: Rights = Rights(Rights::FD_READ.0 | Rights::FD_WRITE.0);

fn start(folder: &Path) -> Wasi {
    let config = Config {
        arguments: vec!["program".to_owned()],
        variables: vec![("NAME".to_owned(), "value".to_owned())],
        grants: vec![granted(folder, "/data")],
        ..Config::default()
    };
    config.build().expect("config is valid")
}

fn restore_with(
    image: WasiImage,
    grants: Vec<Grant>,
    limits: Limits,
) -> Result<Wasi, RestoreError> {
    Wasi::restore(image, grants, Vec::new(), Streams::null(), Box::new(Still::at(5)), limits)
}

fn restore(image: WasiImage, folder: &Path) -> Result<Wasi, RestoreError> {
    restore_with(image, vec![granted(folder, "/data")], Limits::default())
}

/// Through bytes, as a snapshot travels.
fn travel(image: &WasiImage) -> WasiImage {
    let bytes = postcard::to_allocvec(image).expect("it encodes");
    postcard::from_bytes(&bytes).expect("it decodes")
}

#[test]
fn descriptors_continue_where_they_were() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("input"), "0123456789").expect("a file is written");
    fs::create_dir_all(folder.path().join("sub/deep")).expect("folders are made");
    let mut wasi = start(folder.path());
    let input = open(&mut wasi, "input", 0, Rights::FD_READ).expect("it opens");
    let log = open(&mut wasi, "sub/log", 1, RW).expect("it opens");
    let gone = open(&mut wasi, "gone", 1, RW).expect("it opens");
    open(&mut wasi, "sub", 2, Rights::NONE).expect("it opens");
    let mut memory = GuestMemory::new();
    wasi.fd_seek(&mut memory.0, input, 4, 0, 0).expect("it seeks");
    write(&mut wasi, log, b"before").expect("it writes");
    write(&mut wasi, gone, b"nameless").expect("it writes");
    fs::remove_file(folder.path().join("gone")).expect("it is removed");
    fs::rename(folder.path().join("sub"), folder.path().join("moved")).expect("it moves");

    let image = travel(&wasi.save().expect("it saves"));
    let other = tempfile::tempdir().expect("a temporary folder");
    fs::write(other.path().join("input"), "0123456789").expect("a file is written");
    fs::create_dir(other.path().join("moved")).expect("a folder is made");
    let mut wasi = restore(image.clone(), other.path()).expect("it restores");

    assert_eq!(read(&mut wasi, input).expect("it reads"), b"456789");
    write(&mut wasi, log, b" after").expect("it writes");
    let log = fs::read_to_string(other.path().join("moved/log")).expect("it is there");
    assert_eq!(log, "before after");
    wasi.fd_seek(&mut memory.0, gone, 0, 0, 0).expect("it seeks");
    assert_eq!(read(&mut wasi, gone).expect("it reads"), b"nameless");
    assert!(!other.path().join("gone").exists());
    assert_eq!(wasi.arguments(), ["program"]);
    let image = wasi.save().expect("it saves again");
    assert_eq!(image.descriptors.len(), 8);
}

#[test]
fn what_was_written_after_the_image_is_undone() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut wasi = start(folder.path());
    let fd = open(&mut wasi, "log", 1, RW).expect("it opens");
    write(&mut wasi, fd, b"one").expect("it writes");
    let image = wasi.save().expect("it saves");
    write(&mut wasi, fd, b"two").expect("it writes");

    let mut wasi = restore(image, folder.path()).expect("it restores");
    write(&mut wasi, fd, b"!").expect("it writes");

    assert_eq!(fs::read_to_string(folder.path().join("log")).expect("it is there"), "one!");
}

#[test]
fn a_listing_continues_though_its_files_go() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for name in ["a", "b", "c"] {
        fs::write(folder.path().join(name), "").expect("a file is written");
    }
    let mut wasi = start(folder.path());
    let mut memory = GuestMemory::new();
    wasi.fd_readdir(&mut memory.0, 3, 64, 4096, 0, 0).expect("it lists");
    let image = wasi.save().expect("it saves");
    fs::remove_file(folder.path().join("a")).expect("it is removed");

    let mut wasi = restore(image, folder.path()).expect("it restores");

    // After `.`, `..` and `a`.
    wasi.fd_readdir(&mut memory.0, 3, 64, 4096, 3, 0).expect("it lists");
    assert_eq!((memory.u32(0), memory.0[64 + 24], memory.0[64 + 49]), (50, b'b', b'c'));
}

#[test]
fn time_goes_on_and_timers_keep_their_rest() {
    let (input, sources) = (Buffer::default(), Still::at(1_000_000));
    let config = Config {
        streams: Streams { stdin: Box::new(input), ..Streams::null() },
        sources: Box::new(sources.clone()),
        ..Config::default()
    };
    let mut wasi = config.build().expect("config is valid");
    let mut memory = GuestMemory::new();
    memory.clock_subscription(0, 500, false);
    let waits =
        |wasi: &mut Wasi, memory: &mut GuestMemory| wasi.poll_oneoff(&mut memory.0, 0, 128, 1, 256);
    let wait = waits(&mut wasi, &mut memory);
    assert_eq!(wait, Outcome::Wait(Wait::Until(1_000_500)));
    sources.advance(100);
    let image = travel(&wasi.save().expect("it saves"));

    // A machine that was started only now.
    let sources = Still::at(7);
    let mut wasi = Wasi::restore(
        image,
        Vec::new(),
        Vec::new(),
        Streams::null(),
        Box::new(sources.clone()),
        Limits::default(),
    )
    .expect("it restores");

    assert_eq!(waits(&mut wasi, &mut memory), Outcome::Wait(Wait::Until(1_000_500)));
    assert_eq!(wasi.until(Wait::Until(1_000_500)).map(|left| left.as_nanos()), Some(400));
    sources.advance(400);
    assert_eq!(waits(&mut wasi, &mut memory), Outcome::Return(Errno::Success));
}

#[test]
fn files_that_are_absent_or_differ_are_refused_by_name() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("model"), "weights").expect("a file is written");
    let mut wasi = start(folder.path());
    open(&mut wasi, "model", 0, Rights::FD_READ).expect("it opens");
    let image = wasi.save().expect("it saves");
    let refusal = |image: &WasiImage| {
        let error = restore(image.clone(), folder.path()).expect_err("it is refused");
        (error.kind(), error.to_string())
    };

    fs::write(folder.path().join("model"), "Weights").expect("a file is written");
    let (kind, text) = refusal(&image);
    assert_eq!(kind, ErrorKind::Conflict);
    assert!(text.contains("`model` in `/data`") && text.contains("content"), "{text}");
    fs::write(folder.path().join("model"), "longer weights").expect("a file is written");
    assert!(refusal(&image).1.contains("size"));
    fs::remove_file(folder.path().join("model")).expect("it is removed");
    let (kind, text) = refusal(&image);
    assert_eq!(kind, ErrorKind::NotFound);
    assert!(text.contains("`model`"), "{text}");
    fs::create_dir(folder.path().join("model")).expect("a folder is made");
    assert!(refusal(&image).1.contains("directory"));
}

#[test]
fn what_cannot_travel_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let grants = vec![granted(folder.path(), "/data")];
    let limits = Limits { carried_bytes: 4, ..Limits::default() };
    let config = Config { grants, limits, ..Config::default() };
    let mut wasi = config.build().expect("config is valid");
    let fd = open(&mut wasi, "big", 1, RW).expect("it opens");
    write(&mut wasi, fd, b"12345").expect("it writes");

    let error = wasi.save().expect_err("it is too large");
    assert!(matches!(&error, SaveError::TooLarge { path, size_bytes: 5, .. } if path == "big"));

    with_path("", |m, _, _| wasi.fd_close(m, fd)).expect("it closes");
    fs::create_dir(folder.path().join("sub")).expect("a folder is made");
    open(&mut wasi, "sub", 2, Rights::NONE).expect("it opens");
    fs::remove_dir(folder.path().join("sub")).expect("it is removed");
    assert!(matches!(wasi.save(), Err(SaveError::RemovedDirectory { .. })));
}

/// An image with one folder, one file to read and one to write.
fn honest(folder: &Path) -> WasiImage {
    fs::write(folder.join("input"), "0123").expect("a file is written");
    let mut wasi = start(folder);
    open(&mut wasi, "input", 0, Rights::FD_READ).expect("it opens");
    let fd = open(&mut wasi, "output", 1, RW).expect("it opens");
    write(&mut wasi, fd, b"out").expect("it writes");
    wasi.save().expect("it saves")
}

#[test]
fn a_forged_descriptor_is_refused() {
    let outer = tempfile::tempdir().expect("a temporary folder");
    let folder = outer.path().join("granted");
    fs::create_dir(&folder).expect("a folder is made");
    fs::write(outer.path().join("secret"), "secret").expect("a file is written");
    let image = honest(&folder);
    let (directory, input, output) = (3, 4, 5);
    let refused = |what: &str, forge: &dyn Fn(&mut WasiImage)| {
        let mut forged = image.clone();
        forge(&mut forged);
        let error = restore(forged, &folder).expect_err(what);
        format!("{:?}: {error}", error.kind())
    };
    let told = |what: &str, text: &str, forge: &dyn Fn(&mut WasiImage)| {
        let refusal = refused(what, forge);
        assert!(refusal.contains(text), "{what}: {refusal}");
    };

    told("a mount", "descriptor 4 claims the folder `/etc`", &|image| {
        image.files[0].mount = "/etc".to_owned();
    });
    for path in ["../secret", "/etc/passwd", "", "input/"] {
        refused(path, &|image| image.files[0].path = Some(path.to_owned()));
        refused(path, &|image| image.files[1].path = Some(path.to_owned()));
        let KindImage::Directory { mount, .. } = image.descriptors[directory].kind.clone() else {
            panic!("not a directory");
        };
        refused(path, &|image| {
            image.descriptors[directory].kind = KindImage::Directory {
                mount: mount.clone(),
                path: path.to_owned(),
                preopen: false,
                listing: None,
            };
        });
    }
    told("rights", "the rights 0x80000000", &|image| {
        image.descriptors[directory].base.0 |= 1 << 31;
    });
    told("write by rights", "contradicts", &|image| {
        image.descriptors[input].base = RW;
    });
    told("write without bytes", "contradicts", &|image| {
        if let KindImage::File { writable, .. } = &mut image.descriptors[input].kind {
            *writable = true;
        }
    });
    told("a number", "not below the limit of 1024", &|image| image.descriptors[output].fd = 4096);
    told("a number twice", "there twice", &|image| image.descriptors[output].fd = 4);
    told("an offset", "behind every file", &|image| {
        if let KindImage::File { offset, .. } = &mut image.descriptors[output].kind {
            *offset = u64::MAX;
        }
    });
    told("no file", "refers to no file", &|image| {
        image.files.pop();
    });
    told("a file of nobody", "held by no descriptor", &|image| {
        image.descriptors.pop();
    });
    told("flags", "unknown flags", &|image| image.descriptors[0].flags = 1 << 9);
    told("standard input to write", "the rights", &|image| {
        image.descriptors[0].base = Rights::FD_WRITE;
    });
    told("a version", "format version 4", &|image| image.version = 4);
    told("a variable", "has no name", &|image| image.variables.push("=x".to_owned()));
    told("an argument", "does not fit", &|image| image.arguments.push("\0".to_owned()));
    assert_eq!(fs::read_to_string(outer.path().join("secret")).expect("it is there"), "secret");
}

#[test]
fn less_is_granted_than_was() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let image = honest(folder.path());

    let read_only = Grant { read_only: true, ..granted(folder.path(), "/data") };
    let error = restore_with(image.clone(), vec![read_only], Limits::default());
    assert_eq!(error.expect_err("it writes").kind(), ErrorKind::Forbidden);
    let error = restore_with(image.clone(), Vec::new(), Limits::default());
    assert_eq!(error.expect_err("it has no folder").kind(), ErrorKind::Forbidden);
    let limits = Limits { open_files: 5, ..Limits::default() };
    let error = restore_with(image.clone(), vec![granted(folder.path(), "/data")], limits);
    assert_eq!(error.expect_err("it has six files").kind(), ErrorKind::Exhausted);
    let limits = Limits { carried_bytes: 2, ..Limits::default() };
    let error = restore_with(image, vec![granted(folder.path(), "/data")], limits);
    assert_eq!(error.expect_err("it carries three bytes").kind(), ErrorKind::Corrupt);
}

#[test]
fn a_refused_image_changes_no_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut image = honest(folder.path());
    fs::write(folder.path().join("output"), "mine").expect("a file is written");
    image.files[1].content = Content::Bytes(Bytes(b"theirs".to_vec()));
    image.files[0].content = Content::Hash { blake3: [0; 32], size_bytes: 4 };

    restore(image, folder.path()).expect_err("the input differs");

    assert_eq!(fs::read_to_string(folder.path().join("output")).expect("it is there"), "mine");
}

proptest! {
    #[test]
    fn any_bytes_are_an_image_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        if let Ok(image) = postcard::from_bytes::<WasiImage>(&bytes) {
            let _ = restore(image, folder.path());
        }
    }

    #[test]
    fn a_damaged_image_is_an_image_or_an_error(
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let outer = tempfile::tempdir().expect("a temporary folder");
        let folder = outer.path().join("granted");
        fs::create_dir(&folder).expect("a folder is made");
        let mut bytes = postcard::to_allocvec(&honest(&folder)).expect("it encodes");
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Ok(image) = postcard::from_bytes::<WasiImage>(&bytes) {
            let _ = restore(image, &folder);
        }
        prop_assert_eq!(fs::read_dir(outer.path()).expect("it lists").count(), 1);
    }
}
