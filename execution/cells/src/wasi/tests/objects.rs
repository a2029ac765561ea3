//! Objects of a store as files.

mod model;
mod saved;
mod transforms;

use super::support::{
    GuestMemory, bucket, objects, objects_within, open, put, read, with_path, write,
};
use crate::wasi::{Config, Errno, FileKey, Rights, Wasi};
use geds::{Geds, Put};

pub(super) const RW: Rights = Rights(Rights::FD_READ.0 | Rights::FD_WRITE.0);
pub(super) const CREATE: u32 = 1;
pub(super) const EXCLUSIVE: u32 = 1 << 2;
pub(super) const TRUNCATE: u32 = 1 << 3;

/// A program's view of the system with the bucket at descriptor 3.
pub(super) fn cell(store: &Geds) -> Wasi {
    let config = Config { grants: vec![bucket(store, "/data")], ..Config::default() };
    config.build().expect("config is valid")
}

pub(super) fn secret(byte: u8) -> FileKey {
    FileKey::parse(&[byte; 32]).expect("it has 32 bytes")
}

pub(super) fn close(wasi: &mut Wasi, fd: u32) -> Result<(), Errno> {
    wasi.fd_close(&mut [], fd)
}

/// What an object holds, as others see it.
pub(super) fn object(store: &Geds, key: &str) -> Option<Vec<u8>> {
    store.view("lab", key).ok().map(|view| view.to_vec())
}

fn seek(wasi: &mut Wasi, fd: u32, to: i64) {
    wasi.fd_seek(&mut GuestMemory::new().0, fd, to, 0, 0).expect("it seeks");
}

/// Makes a file of these bytes.
pub(super) fn make(wasi: &mut Wasi, path: &str, bytes: &[u8]) {
    let fd = open(wasi, path, CREATE | TRUNCATE, RW).expect("it opens");
    write(wasi, fd, bytes).expect("it writes");
    close(wasi, fd).expect("it closes");
}

fn names(wasi: &mut Wasi, fd: u32) -> Vec<String> {
    let mut memory = GuestMemory::new();
    wasi.fd_readdir(&mut memory.0, fd, 64, 8192, 0, 0).expect("it lists");
    let (mut at, end, mut names) = (64, 64 + memory.u32(0) as usize, Vec::new());
    while at < end {
        let length = memory.u32(at + 16) as usize;
        let name = memory.0[at + 24..at + 24 + length].to_vec();
        names.push(String::from_utf8(name).expect("a name is text"));
        at += 24 + length;
    }
    names.split_off(2)
}

#[test]
fn a_file_is_an_object_when_it_is_closed() {
    let (_folder, store) = objects();
    let mut one = cell(&store);
    let fd = open(&mut one, "run/1", CREATE, RW);
    assert_eq!(fd, Err(Errno::Noent), "its folder is not there");
    with_path("run", |memory, path, length| one.path_create_directory(memory, 3, path, length))
        .expect("it is made");
    let fd = open(&mut one, "run/1", CREATE, RW).expect("it opens");
    write(&mut one, fd, b"not yet").expect("it writes");
    assert_eq!(object(&store, "run/1"), None);
    let again = open(&mut one, "run/1", 0, RW).expect("the cell itself sees it");
    assert_eq!(read(&mut one, again).as_deref(), Ok(&b"not yet"[..]));
    close(&mut one, fd).expect("it closes");
    assert_eq!(object(&store, "run/1"), None, "it is open to be written to still");
    close(&mut one, again).expect("it closes");
    assert_eq!(object(&store, "run/1").as_deref(), Some(&b"not yet"[..]));

    // Another cell adds to it, and makes it anew.
    let mut two = cell(&store);
    let fd = open(&mut two, "run/1", 0, RW).expect("it opens");
    seek(&mut two, fd, 4);
    write(&mut two, fd, b"now!").expect("it writes");
    assert_eq!(object(&store, "run/1").as_deref(), Some(&b"not yet"[..]));
    close(&mut two, fd).expect("it closes");
    assert_eq!(object(&store, "run/1").as_deref(), Some(&b"not now!"[..]));
    let before = store.stat("lab", "run/1").expect("it is there").version;
    let fd = open(&mut two, "run/1", 0, RW).expect("it opens");
    close(&mut two, fd).expect("it closes");
    assert_eq!(store.stat("lab", "run/1").expect("it is there").version, before);
    let fd = open(&mut two, "run/1", TRUNCATE, RW).expect("it opens");
    close(&mut two, fd).expect("it closes");
    assert_eq!(object(&store, "run/1").as_deref(), Some(&b""[..]));
}

#[test]
fn who_has_a_file_open_reads_on_in_its_version() {
    let (_folder, store) = objects();
    let (mut one, mut two) = (cell(&store), cell(&store));
    make(&mut one, "a", b"first");
    let held = open(&mut one, "a", 0, Rights::FD_READ).expect("it opens");

    make(&mut two, "a", b"second");
    assert_eq!(read(&mut one, held).as_deref(), Ok(&b"first"[..]));
    let new = open(&mut one, "a", 0, Rights::FD_READ).expect("it opens");
    assert_eq!(read(&mut one, new).as_deref(), Ok(&b"second"[..]));

    with_path("a", |memory, path, length| two.path_unlink_file(memory, 3, path, length))
        .expect("it is removed");
    seek(&mut one, new, 0);
    assert_eq!(read(&mut one, new).as_deref(), Ok(&b"second"[..]));
    assert_eq!(open(&mut one, "a", 0, Rights::FD_READ), Err(Errno::Noent));
    one.close_files().expect("they close");
    assert_eq!(object(&store, "a"), None);
}

#[test]
fn a_program_that_ends_in_order_seals_and_one_that_is_dropped_leaves_no_trace() {
    let (_folder, store) = objects();
    let mut wasi = cell(&store);
    make(&mut wasi, "log", b"old");
    let fd = open(&mut wasi, "log", 0, RW).expect("it opens");
    write(&mut wasi, fd, b"new and large").expect("it writes");
    open(&mut wasi, "fresh", CREATE, RW).expect("it opens");
    drop(wasi);
    assert_eq!(object(&store, "log").as_deref(), Some(&b"old"[..]));
    assert_eq!(object(&store, "fresh"), None);

    let mut wasi = cell(&store);
    let fd = open(&mut wasi, "log", 0, RW).expect("it opens");
    write(&mut wasi, fd, b"new").expect("it writes");
    wasi.close_files().expect("they close");
    assert_eq!(object(&store, "log").as_deref(), Some(&b"new"[..]));
}

#[test]
fn of_two_who_make_a_file_exclusively_one_is_refused() {
    let (_folder, store) = objects();
    let (mut one, mut two) = (cell(&store), cell(&store));
    let first = open(&mut one, "lock", CREATE | EXCLUSIVE, RW).expect("it opens");
    assert_eq!(open(&mut one, "lock", CREATE | EXCLUSIVE, RW), Err(Errno::Exist));
    let second = open(&mut two, "lock", CREATE | EXCLUSIVE, RW).expect("it is not sealed yet");
    write(&mut one, first, b"one").expect("it writes");
    write(&mut two, second, b"two").expect("it writes");
    close(&mut one, first).expect("it closes");
    assert_eq!(close(&mut two, second), Err(Errno::Exist));
    assert_eq!(object(&store, "lock").as_deref(), Some(&b"one"[..]));
    assert_eq!(open(&mut two, "lock", CREATE | EXCLUSIVE, RW), Err(Errno::Exist));

    // At the end of a program there is nobody else to tell it to.
    let third = open(&mut two, "other", CREATE | EXCLUSIVE, RW).expect("it opens");
    make(&mut one, "other", b"mine");
    let error = two.close_files().expect_err("it is refused");
    assert_eq!((error.fd, error.path.as_str(), error.source), (third, "other", Errno::Exist));
}

#[test]
fn a_name_that_is_not_sealed_yet_is_renamed_replaced_and_removed_as_any() {
    let (_folder, store) = objects();
    let mut wasi = cell(&store);
    let rename = |wasi: &mut Wasi, from: &str, to: &str| {
        let mut memory = GuestMemory::new();
        memory.0[..from.len()].copy_from_slice(from.as_bytes());
        memory.0[256..256 + to.len()].copy_from_slice(to.as_bytes());
        wasi.path_rename(&mut memory.0, 3, 0, from.len() as u32, 3, 256, to.len() as u32)
    };
    make(&mut wasi, "target", b"replaced");
    let held = open(&mut wasi, "target", 0, Rights::FD_READ).expect("it opens");
    let fd = open(&mut wasi, "draft", CREATE, RW).expect("it opens");
    write(&mut wasi, fd, b"whole").expect("it writes");
    assert_eq!(names(&mut wasi, 3), ["draft", "target"]);
    rename(&mut wasi, "draft", "target").expect("it is renamed");
    assert_eq!(names(&mut wasi, 3), ["target"]);
    assert_eq!(object(&store, "target").as_deref(), Some(&b"replaced"[..]));
    close(&mut wasi, fd).expect("it closes");
    assert_eq!(object(&store, "target").as_deref(), Some(&b"whole"[..]));
    assert_eq!(read(&mut wasi, held).as_deref(), Ok(&b"replaced"[..]));

    // With all that is open in it, a folder takes its files along.
    for path in ["a", "a/deep"] {
        with_path(path, |memory, path, length| wasi.path_create_directory(memory, 3, path, length))
            .expect("it is made");
    }
    make(&mut wasi, "a/deep/sealed", b"sealed");
    let fd = open(&mut wasi, "a/deep/open", CREATE, RW).expect("it opens");
    write(&mut wasi, fd, b"open").expect("it writes");
    assert_eq!(rename(&mut wasi, "a", "a/deep/b"), Err(Errno::Inval));
    rename(&mut wasi, "a", "b").expect("it is renamed");
    close(&mut wasi, fd).expect("it closes");
    assert_eq!(object(&store, "b/deep/open").as_deref(), Some(&b"open"[..]));
    assert_eq!(object(&store, "b/deep/sealed").as_deref(), Some(&b"sealed"[..]));
    assert_eq!((object(&store, "a/deep/open"), object(&store, "a/")), (None, None));

    let fd = open(&mut wasi, "gone", CREATE, RW).expect("it opens");
    write(&mut wasi, fd, b"gone").expect("it writes");
    with_path("gone", |memory, path, length| wasi.path_unlink_file(memory, 3, path, length))
        .expect("it is removed");
    seek(&mut wasi, fd, 0);
    assert_eq!(read(&mut wasi, fd).as_deref(), Ok(&b"gone"[..]));
    close(&mut wasi, fd).expect("it closes");
    assert_eq!(object(&store, "gone"), None);
}

#[test]
fn a_folder_that_only_its_objects_make_stays_when_they_go() {
    let (_folder, store) = objects();
    store.put("lab", "run/1/a", b"a", Put::default()).expect("it is put");
    // What no path can spell.
    for key in ["run//x", "run/../x", "run/.", "/x"] {
        store.put("lab", key, b"x", Put::default()).expect("it is put");
    }
    let mut wasi = cell(&store);
    let folder = open(&mut wasi, "run", 2, Rights::NONE).expect("it opens");
    assert_eq!(names(&mut wasi, folder), ["1"]);
    assert_eq!(names(&mut wasi, 3), ["run"]);
    with_path("run/1/a", |memory, path, length| wasi.path_unlink_file(memory, 3, path, length))
        .expect("it is removed");
    assert_eq!(object(&store, "run/1/").as_deref(), Some(&b""[..]));
    with_path("run/1", |memory, path, length| wasi.path_remove_directory(memory, 3, path, length))
        .expect("it is removed");
    assert_eq!(names(&mut wasi, folder), [""; 0]);
}

#[test]
fn what_is_synced_is_sealed_and_on_disk() {
    let (_folder, store) = objects();
    let mut wasi = cell(&store);
    let fd = open(&mut wasi, "db", CREATE, RW).expect("it opens");
    write(&mut wasi, fd, &[7; 4000]).expect("it writes");
    assert_eq!(store.usage().expect("it says").disk_bytes, 0);
    wasi.fd_datasync(&mut [], fd).expect("it syncs");
    assert_eq!(object(&store, "db").as_deref(), Some(&[7; 4000][..]));
    assert!(store.usage().expect("it says").disk_bytes >= 4000);
    write(&mut wasi, fd, b"more").expect("it writes");
    assert_eq!(object(&store, "db").expect("it is there").len(), 4000);
    close(&mut wasi, fd).expect("it closes");
    assert_eq!(object(&store, "db").expect("it is there").len(), 4004);
}

#[test]
fn a_full_store_is_said_and_what_was_written_stays() {
    let folder = testkit::Folder::in_memory();
    let limits = geds::Limits {
        memory_bytes: 4 << 20,
        disk_bytes: 0,
        wait_ms: 10,
        ..geds::Limits::default()
    };
    let store = Geds::open(geds::Config::alone(folder.path()).limits(limits)).expect("it opens");
    store.create_bucket("lab").expect("it is made");
    let mut wasi = cell(&store);
    let fd = open(&mut wasi, "big", CREATE, RW).expect("it opens");
    let mut memory = GuestMemory(vec![5; 1 << 20]);
    put(&mut memory.0, 0, 64);
    put(&mut memory.0, 4, (1 << 20) - 64);
    let mut written = 0;
    let refused = loop {
        assert!(written < 16 << 20, "a store of 4 MiB takes no end");
        match wasi.fd_write(&mut memory.0, fd, 0, 1, 8) {
            Ok(()) => written += u64::from(memory.u32(8)),
            Err(errno) => break errno,
        }
    };
    assert_eq!(refused, Errno::Nospc);
    close(&mut wasi, fd).expect("it closes");
    assert_eq!(store.stat("lab", "big").expect("it is there").size, written);
    let far = open(&mut wasi, "far", CREATE, RW).expect("it opens");
    assert_eq!(wasi.fd_filestat_set_size(&mut [], far, i64::MAX as u64), Err(Errno::Fbig));
}

#[test]
fn many_cells_read_one_object_without_copies_of_it() {
    let (_folder, store) = objects();
    store.put("lab", "model", &vec![9; 8 << 20], Put::default()).expect("it is put");
    let used = store.usage().expect("it says").memory_bytes;
    let mut cells: Vec<_> = (0..20).map(|_| cell(&store)).collect();
    for wasi in &mut cells {
        let fd = open(wasi, "model", 0, Rights::FD_READ).expect("it opens");
        assert_eq!(read(wasi, fd).as_deref(), Ok(&[9; 4096][..]));
    }
    assert_eq!(store.usage().expect("it says").memory_bytes, used);
}

#[test]
fn times_that_were_set_stay_with_the_object() {
    let (_folder, store) = objects();
    let mut wasi = cell(&store);
    make(&mut wasi, "a", b"a");
    with_path("a", |memory, path, length| {
        wasi.path_filestat_set_times(memory, 3, 0, path, length, 5, 7, 0b101)
    })
    .expect("they are set");
    let modified = |wasi: &mut Wasi| {
        with_path("a", |memory, path, length| {
            wasi.path_filestat_get(memory, 3, 0, path, length, 0).expect("it is there");
            u64::from_le_bytes(memory[48..56].try_into().expect("eight bytes"))
        })
    };
    assert_eq!(modified(&mut cell(&store)), 7);
    // Bytes that are written afterwards have a time of their own.
    make(&mut wasi, "a", b"b");
    assert!(modified(&mut cell(&store)) > 1_000_000_000_000_000_000);
}
