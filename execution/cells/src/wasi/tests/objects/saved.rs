//! Objects that are open when a cell is saved.

use super::{CREATE, RW, bucket, cell, close, make, object, objects, open, read, with_path, write};
use crate::wasi::{
    Errno, Grant, Limits, LocalFolder, RestoreError, Rights, Streams, SystemSources, Wasi,
    WasiImage,
    image::{Bytes, Content, KindImage},
};
use geds::{Geds, Put};
use std::sync::Arc;
use types::ErrorKind;

fn restore_in(image: &WasiImage, grant: Grant) -> Result<Wasi, RestoreError> {
    // Through bytes, as a snapshot travels.
    let bytes = postcard::to_allocvec(image).expect("it encodes");
    let image = postcard::from_bytes(&bytes).expect("it decodes");
    let sources = Box::new(SystemSources);
    Wasi::restore(image, vec![grant], Vec::new(), Streams::null(), sources, Limits::default())
}

fn restore(image: &WasiImage, store: &Geds) -> Result<Wasi, RestoreError> {
    restore_in(image, bucket(store, "/data"))
}

/// A cell with a sealed file that it reads and one that it writes to.
fn saved(store: &Geds) -> (Wasi, u32, u32) {
    let mut wasi = cell(store);
    make(&mut wasi, "input", b"0123456789");
    let input = open(&mut wasi, "input", 0, Rights::FD_READ).expect("it opens");
    let mut memory = super::GuestMemory::new();
    wasi.fd_seek(&mut memory.0, input, 4, 0, 0).expect("it seeks");
    let log = open(&mut wasi, "log", CREATE, RW).expect("it opens");
    write(&mut wasi, log, b"before").expect("it writes");
    (wasi, input, log)
}

#[test]
fn what_is_not_sealed_travels_and_what_is_sealed_is_bound_again() {
    let (_folder, store) = objects();
    let (mut wasi, input, log) = saved(&store);
    let gone = open(&mut wasi, "gone", CREATE, RW).expect("it opens");
    write(&mut wasi, gone, b"nameless").expect("it writes");
    with_path("gone", |memory, path, length| wasi.path_unlink_file(memory, 3, path, length))
        .expect("it is removed");
    let image = wasi.save().expect("it saves");
    assert_eq!(image.version, 2);
    let contents: Vec<_> = image.files.iter().map(|file| file.content.clone()).collect();
    let version = store.stat("lab", "input").expect("it is there").version;
    let carried = |bytes: &[u8]| Content::Bytes(Bytes(bytes.to_vec()));
    let expected = [Content::Version(version), carried(b"before"), carried(b"nameless")];
    assert_eq!(contents, expected);
    drop(wasi);
    assert_eq!(object(&store, "log"), None);

    let mut wasi = restore(&image, &store).expect("it restores");
    assert_eq!(read(&mut wasi, input).as_deref(), Ok(&b"456789"[..]));
    write(&mut wasi, log, b" after").expect("it writes");
    assert_eq!(object(&store, "log"), None);
    wasi.fd_seek(&mut super::GuestMemory::new().0, gone, 0, 0, 0).expect("it seeks");
    assert_eq!(read(&mut wasi, gone).as_deref(), Ok(&b"nameless"[..]));
    wasi.close_files().expect("they close");
    assert_eq!(object(&store, "log").as_deref(), Some(&b"before after"[..]));
    assert_eq!(object(&store, "gone"), None);
}

#[test]
fn another_version_is_refused_by_number() {
    let (_folder, store) = objects();
    let (mut wasi, ..) = saved(&store);
    let image = wasi.save().expect("it saves");
    let held = store.stat("lab", "input").expect("it is there").version;

    let now = store.put("lab", "input", b"0123456789", Put::overwrite()).expect("it is put");
    let error = restore(&image, &store).expect_err("it is another version");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let (held, now) = (held.to_string(), now.version.to_string());
    let told = error.to_string();
    assert!(told.contains("`input` in `/data`") && told.contains(&held), "{told}");
    assert!(told.contains(&now), "{told}");

    store.delete("lab", "input", None).expect("it is deleted");
    assert_eq!(restore(&image, &store).expect_err("it is gone").kind(), ErrorKind::NotFound);

    // A folder of the host has no versions.
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("input"), "0123456789").expect("it is written");
    let mount = Arc::new(LocalFolder::open(folder.path()).expect("the folder opens"));
    let grant = Grant { guest_path: "/data".to_owned(), mount, read_only: false };
    let error = restore_in(&image, grant).expect_err("it is no bucket").to_string();
    assert!(error.contains("without versions"), "{error}");
}

#[test]
fn a_sealed_file_that_may_be_written_is_bound_again_and_written() {
    let (_folder, store) = objects();
    let mut wasi = cell(&store);
    make(&mut wasi, "a", b"abc");
    let fd = open(&mut wasi, "a", 0, RW).expect("it opens");
    let image = wasi.save().expect("it saves");
    assert!(matches!(image.files[0].content, Content::Version(_)));
    drop(wasi);

    let mut wasi = restore(&image, &store).expect("it restores");
    write(&mut wasi, fd, b"X").expect("it writes");
    close(&mut wasi, fd).expect("it closes");
    assert_eq!(object(&store, "a").as_deref(), Some(&b"Xbc"[..]));
    let read_only = Grant { read_only: true, ..bucket(&store, "/data") };
    assert_eq!(restore_in(&image, read_only).expect_err("it writes").kind(), ErrorKind::Forbidden);
}

#[test]
fn what_a_snapshot_that_went_on_wrote_is_undone() {
    let (_folder, store) = objects();
    let (mut wasi, _, log) = saved(&store);
    let image = wasi.save().expect("it saves");
    write(&mut wasi, log, b" and more").expect("it writes");
    close(&mut wasi, log).expect("it closes");
    assert_eq!(object(&store, "log").as_deref(), Some(&b"before and more"[..]));

    let mut wasi = restore(&image, &store).expect("it restores");
    write(&mut wasi, log, b"!").expect("it writes");
    close(&mut wasi, log).expect("it closes");
    assert_eq!(object(&store, "log").as_deref(), Some(&b"before!"[..]));
}

#[test]
fn a_forged_image_is_refused_and_changes_no_object() {
    let (_folder, store) = objects();
    store.put("lab", "log", b"mine", Put::default()).expect("it is put");
    let (mut wasi, ..) = saved(&store);
    let image = wasi.save().expect("it saves");
    drop(wasi);
    let refused = |text: &str, forge: &dyn Fn(&mut WasiImage)| {
        let mut forged = image.clone();
        forge(&mut forged);
        let error = restore(&forged, &store).expect_err(text).to_string();
        assert!(error.contains(text), "{error}");
    };
    refused("carries no bytes", &|image| image.files[0].path = None);
    refused("held version", &|image| image.files[0].content = Content::Version(1));
    refused("format version 4", &|image| image.version = 4);
    for path in ["../input", "/input", "none", "input/", ""] {
        let mut forged = image.clone();
        forged.files[0].path = Some(path.to_owned());
        restore(&forged, &store).expect_err(path);
    }
    refused("behind every file", &|image| {
        for descriptor in &mut image.descriptors {
            if let KindImage::File { offset, .. } = &mut descriptor.kind {
                *offset = u64::MAX;
            }
        }
    });
    assert_eq!(object(&store, "log").as_deref(), Some(&b"mine"[..]));
    assert_eq!(open(&mut cell(&store), "none", 0, RW), Err(Errno::Noent));
}
