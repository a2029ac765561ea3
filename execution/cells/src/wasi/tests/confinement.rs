//! Nothing outside of a grant can be reached, and nothing in a read-only one changed.

use super::support::{granted, open, read, with_path, write};
use crate::wasi::{Config, Errno, Grant, Rights, Wasi};
use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

/// A folder `inside` to grant, beside a file `secret`.
fn scene() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::create_dir_all(folder.path().join("inside/deep")).expect("folders are made");
    fs::write(folder.path().join("secret"), "secret").expect("a file is written");
    fs::write(folder.path().join("inside/file"), "file").expect("a file is written");
    folder
}

fn wasi(folder: &Path) -> Wasi {
    let grants = vec![granted(&folder.join("inside"), "/")];
    Config { grants, ..Config::default() }.build().expect("config is valid")
}

#[test]
fn every_way_out_is_refused() {
    let folder = scene();
    let inside = folder.path().join("inside");
    let links = [
        ("absolute", folder.path().join("secret")),
        ("parent", "../secret".into()),
        ("deep/parent", "../../secret".into()),
        ("folder", "..".into()),
        ("root", "/".into()),
        ("chain", "folder/secret".into()),
        ("process", "/proc/self/root".into()),
    ];
    for (name, target) in &links {
        symlink(target, inside.join(name)).expect("a link is made");
    }
    let mut wasi = wasi(folder.path());
    let paths = links.iter().map(|(name, _)| (*name).to_owned()).chain(
        [
            "..",
            "../secret",
            "deep/../../secret",
            "/etc/passwd",
            "folder/secret",
            "./../secret",
            "root/etc",
            "process/etc",
        ]
        .map(str::to_owned),
    );
    for path in paths {
        let refused = |what: &str, result: Result<(), Errno>| {
            assert_eq!(result, Err(Errno::ESCAPE), "{what} {path}");
        };
        refused("open", open(&mut wasi, &path, 0, Rights::FD_READ).map(drop));
        refused("create", open(&mut wasi, &path, 1, Rights::FD_WRITE).map(drop));
        refused("stat", with_path(&path, |m, at, n| wasi.path_filestat_get(m, 3, 1, at, n, 0)));
        refused("link", with_path(&path, |m, at, n| wasi.path_link(m, 3, 1, at, n, 3, at, n)));
        refused(
            "times",
            with_path(&path, |m, at, n| wasi.path_filestat_set_times(m, 3, 1, at, n, 0, 0, 5)),
        );
        let below = format!("{path}/new");
        if !path.ends_with("secret") && path != "absolute" && !path.ends_with("parent") {
            refused("mkdir", with_path(&below, |m, at, n| wasi.path_create_directory(m, 3, at, n)));
            refused("unlink", with_path(&below, |m, at, n| wasi.path_unlink_file(m, 3, at, n)));
            refused(
                "rename",
                with_path(&below, |m, at, n| wasi.path_rename(m, 3, at, n, 3, at, n)),
            );
        }
    }
    assert_eq!(fs::read_to_string(folder.path().join("secret")).expect("it is there"), "secret");
    assert_eq!(fs::read_dir(folder.path()).expect("it lists").count(), 2);
}

#[test]
fn ways_that_stay_inside_are_open() {
    let folder = scene();
    symlink("../file", folder.path().join("inside/deep/up")).expect("a link is made");
    let mut wasi = wasi(folder.path());

    for path in ["file", "deep/../file", "./deep/./..//file", "deep/up"] {
        let fd =
            open(&mut wasi, path, 0, Rights::FD_READ).unwrap_or_else(|e| panic!("{path}: {e}"));
        assert_eq!(read(&mut wasi, fd).expect("it reads"), b"file");
    }
}

#[test]
fn a_link_swapped_meanwhile_leads_nowhere_else() {
    let folder = scene();
    let inside = folder.path().join("inside");
    fs::create_dir(inside.join("real")).expect("a folder is made");
    fs::write(inside.join("real/secret"), "decoy").expect("a file is written");
    struct Stop<'s>(&'s AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Even if an assertion fails, for the scope waits for its threads.
        let _stop = Stop(&done);
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let _ = fs::remove_file(inside.join("swap"));
                let _ = symlink("..", inside.join("swap"));
                let _ = fs::remove_file(inside.join("swap"));
                let _ = symlink("real", inside.join("swap"));
            }
        });
        let mut wasi = wasi(folder.path());
        let (mut opened, mut refused) = (0, 0);
        while opened < 500 || refused < 500 {
            match open(&mut wasi, "swap/secret", 0, Rights::FD_READ) {
                Ok(fd) => {
                    assert_eq!(read(&mut wasi, fd).expect("it reads"), b"decoy");
                    with_path("", |m, _, _| wasi.fd_close(m, fd)).expect("it closes");
                    opened += 1;
                }
                Err(_) => refused += 1,
            }
        }
    });
}

#[test]
fn a_read_only_folder_does_not_change() {
    let folder = scene();
    let grant = Grant { read_only: true, ..granted(&folder.path().join("inside"), "/") };
    let config = Config { grants: vec![grant], ..Config::default() };
    let mut wasi = config.build().expect("config is valid");

    let refused = |result: Result<(), Errno>| assert_eq!(result, Err(Errno::Rofs));
    refused(open(&mut wasi, "file", 0, Rights::FD_WRITE).map(drop));
    refused(open(&mut wasi, "file", 8, Rights::FD_READ).map(drop));
    refused(open(&mut wasi, "new", 1, Rights::FD_READ).map(drop));
    refused(with_path("new", |m, at, n| wasi.path_create_directory(m, 3, at, n)));
    refused(with_path("file", |m, at, n| wasi.path_unlink_file(m, 3, at, n)));
    refused(with_path("deep", |m, at, n| wasi.path_remove_directory(m, 3, at, n)));
    refused(with_path("file", |m, at, n| wasi.path_rename(m, 3, at, n, 3, at, n)));
    refused(with_path("file", |m, at, n| wasi.path_link(m, 3, 0, at, n, 3, at, n)));
    refused(with_path("file", |m, at, n| wasi.path_symlink(m, at, n, 3, at, n)));
    refused(with_path("file", |m, at, n| wasi.path_filestat_set_times(m, 3, 0, at, n, 0, 0, 5)));
    let fd = open(&mut wasi, "file", 1, Rights::FD_READ).expect("what exists is not created");
    assert_eq!(read(&mut wasi, fd).expect("it reads"), b"file");
    refused(with_path("", |m, _, _| wasi.fd_filestat_set_times(m, fd, 0, 0, 5)));
    assert_eq!(open(&mut wasi, "file", 1 | 4, Rights::FD_READ), Err(Errno::Exist));
}

#[test]
fn nothing_moves_between_folders() {
    let (one, two) = (scene(), scene());
    let grants = vec![granted(one.path(), "/one"), granted(two.path(), "/two")];
    let mut wasi = Config { grants, ..Config::default() }.build().expect("config is valid");

    let moved = with_path("secret", |m, at, n| wasi.path_rename(m, 3, at, n, 4, at, n));

    assert_eq!(moved, Err(Errno::Xdev));
}

#[test]
fn fifos_do_not_stop_the_host() {
    let folder = scene();
    let fifo = folder.path().join("inside/fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().expect("mkfifo runs");
    assert!(made.success());
    let mut wasi = wasi(folder.path());

    assert_eq!(open(&mut wasi, "fifo", 0, Rights::FD_READ), Err(Errno::Notsup));
}

#[test]
fn a_file_that_was_removed_still_takes_bytes() {
    let folder = scene();
    let mut wasi = wasi(folder.path());
    let fd = open(&mut wasi, "file", 0, Rights::FD_READ | Rights::FD_WRITE).expect("it opens");

    fs::remove_file(folder.path().join("inside/file")).expect("it is removed");

    assert_eq!(write(&mut wasi, fd, b"more"), Ok(()));
}
