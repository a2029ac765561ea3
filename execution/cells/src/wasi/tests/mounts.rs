//! What every [`Mount`] promises; each implementation runs [`all`].

use super::support::objects;
use crate::wasi::{
    Directory, Errno, File, FileType, LocalFolder, Mount, Node, ObjectFolder, OpenHow, SetTime,
    Transform,
};
use std::sync::Arc;

const CREATE: OpenHow = OpenHow {
    follow: false,
    read: true,
    write: true,
    create: true,
    exclusive: false,
    truncate: false,
    directory: false,
};

fn file(directory: &dyn Directory, path: &str) -> Arc<dyn File> {
    match directory.open(path, CREATE).expect("it opens") {
        Node::File(file) => file,
        Node::Directory(_) => panic!("`{path}` is a directory"),
    }
}

fn directory(parent: &dyn Directory, path: &str) -> Arc<dyn Directory> {
    let how = OpenHow { read: true, directory: true, ..OpenHow::default() };
    match parent.open(path, how).expect("it opens") {
        Node::Directory(directory) => directory,
        Node::File(_) => panic!("`{path}` is a file"),
    }
}

/// Checks an empty mount.
fn all(mount: &dyn Mount) {
    let root = mount.root().expect("it has a root");
    assert_eq!(root.locate().as_deref(), Some("."));
    bytes(&*file(&*root, "bytes"));
    bytes(&*mount.scratch().expect("it has scratch files"));
    names(&*root);
    refusals(&*root);
}

fn bytes(file: &dyn File) {
    let mut into = [0; 8];
    assert_eq!(file.write_at(b"abc", 2), Ok(3));
    assert_eq!(file.append(b"de"), Ok((2, 7)));
    assert_eq!(file.read_at(&mut into, 0), Ok(7));
    assert_eq!(&into[..7], b"\0\0abcde");
    assert_eq!(file.read_at(&mut into, 7), Ok(0));
    assert_eq!(file.set_size(3), Ok(()));
    assert_eq!(file.allocate(2, 3), Ok(()));
    assert_eq!(file.stat().map(|stat| (stat.size, stat.file_type)), Ok((5, FileType::RegularFile)));
    assert_eq!(file.set_times(SetTime::To(1_000_000_001), SetTime::Now), Ok(()));
    assert_eq!(file.stat().map(|stat| stat.accessed_ns), Ok(1_000_000_001));
    assert_eq!(file.sync(true), Ok(()));
}

fn names(root: &dyn Directory) {
    root.create_directory("a/").expect("it is made");
    root.create_directory("a/b").expect("it is made");
    let (a, b) = (directory(root, "a"), directory(root, "a/b"));
    let held = file(&*b, "one");
    assert_eq!(held.locate().as_deref(), Some("a/b/one"));
    b.rename("one", &*a, "two").expect("it moves");
    assert_eq!(held.locate().as_deref(), Some("a/two"));
    assert_eq!(a.stat_path("two", true), held.stat());
    let mut names: Vec<_> = a.entries(9).expect("it lists").into_iter().collect();
    names.sort_by(|one, other| one.name.cmp(&other.name));
    let names: Vec<_> = names.iter().map(|entry| (entry.name.as_str(), entry.file_type)).collect();
    assert_eq!(names, [("b", FileType::Directory), ("two", FileType::RegularFile)]);
    assert_eq!(a.entries(1), Err(Errno::Nomem));
    a.remove_file("two").expect("it is removed");
    assert_eq!(held.locate(), None);
    assert_eq!(held.write_at(b"x", 0), Ok(1));
    a.remove_directory("b").expect("it is removed");
    assert_eq!((b.locate(), b.entries(9)), (None, Ok(Vec::new())));
    file(&*a, "three").close().expect("it closes");
}

fn links(root: &dyn Directory) {
    let held = file(root, "two");
    root.symlink("two", "link").expect("it links");
    assert_eq!(root.read_link("link").as_deref(), Ok("two"));
    let link = root.stat_path("link", false).map(|stat| stat.file_type);
    assert_eq!(link, Ok(FileType::SymbolicLink));
    assert_eq!(root.stat_path("link", true), held.stat());
}

fn no_links(root: &dyn Directory) {
    file(root, "two");
    assert_eq!(root.symlink("two", "link"), Err(Errno::Notsup));
    assert_eq!(root.link("two", false, root, "link"), Err(Errno::Notsup));
}

fn refusals(root: &dyn Directory) {
    let read = OpenHow { read: true, ..OpenHow::default() };
    let open = |path, how| root.open(path, how).map(drop);
    assert_eq!(open("", read), Err(Errno::Noent));
    assert_eq!(open("none", read), Err(Errno::Noent));
    assert_eq!(open("bytes/", read), Err(Errno::Notdir));
    assert_eq!(open("a", CREATE), Err(Errno::Isdir));
    assert_eq!(open("bytes", OpenHow { exclusive: true, ..CREATE }), Err(Errno::Exist));
    for path in ["/", "..", "a/../..", "../bytes"] {
        assert_eq!(open(path, read), Err(Errno::ESCAPE), "{path}");
        assert_eq!(root.stat_path(path, false), Err(Errno::ESCAPE), "{path}");
    }
    assert_eq!(root.create_directory("a"), Err(Errno::Exist));
    assert_eq!(root.remove_file("a"), Err(Errno::Isdir));
    assert_eq!(root.remove_directory("bytes"), Err(Errno::Notdir));
    assert_eq!(root.remove_directory("a"), Err(Errno::Notempty));
    assert_eq!(root.read_link("bytes"), Err(Errno::Inval));
}

#[test]
fn a_local_folder_keeps_the_promises_of_a_mount() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mount = LocalFolder::open(folder.path()).expect("the folder opens");
    all(&mount);
    links(&*mount.root().expect("it has a root"));
}

#[test]
fn a_bucket_keeps_the_promises_of_a_mount() {
    let (_folder, store) = objects();
    for prefix in ["", "deep/in/it"] {
        let mount = ObjectFolder::new(store.clone(), "lab", prefix, Transform::None)
            .expect("there is a bucket");
        all(&mount);
        no_links(&*mount.root().expect("it has a root"));
    }
}
