//! A bucket does what a folder does: whatever is asked of both, both answer the same.

use super::{objects, secret};
use crate::wasi::{
    Directory, Errno, File, FileType, LocalFolder, Mount, Node, ObjectFolder, OpenHow, Transform,
};
use proptest::prelude::*;
use std::{
    fmt::Debug,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

const PATHS: [&str; 12] =
    ["a", "b", "d", "e", "d/a", "d/e", "d/e/x", "a/x", "d/", "./a", "d/../b", "d/e/../../e"];

#[derive(Debug, Clone)]
enum Act {
    Open { path: &'static str, create: bool, exclusive: bool, truncate: bool },
    Close(usize),
    Write { file: usize, offset: u64, bytes: Vec<u8> },
    Append { file: usize, bytes: Vec<u8> },
    Resize { file: usize, size: u64 },
    Sync(usize),
    Look(usize),
    Remove(&'static str),
    MakeFolder(&'static str),
    RemoveFolder(&'static str),
    Rename(&'static str, &'static str),
    List(&'static str),
}

fn act() -> impl Strategy<Value = Act> {
    let path = || proptest::sample::select(&PATHS[..]);
    // A write of nothing never comes to a file.
    let bytes = || proptest::collection::vec(any::<u8>(), 1..40);
    prop_oneof![
        4 => (path(), any::<bool>(), proptest::bool::weighted(0.2), proptest::bool::weighted(0.2))
            .prop_map(|(path, create, exclusive, truncate)| Act::Open { path, create, exclusive, truncate }),
        2 => any::<usize>().prop_map(Act::Close),
        3 => (any::<usize>(), 0_u64..100, bytes())
            .prop_map(|(file, offset, bytes)| Act::Write { file, offset, bytes }),
        1 => (any::<usize>(), bytes()).prop_map(|(file, bytes)| Act::Append { file, bytes }),
        1 => (any::<usize>(), 0_u64..100).prop_map(|(file, size)| Act::Resize { file, size }),
        1 => any::<usize>().prop_map(Act::Sync),
        2 => any::<usize>().prop_map(Act::Look),
        2 => path().prop_map(Act::Remove),
        3 => path().prop_map(Act::MakeFolder),
        1 => path().prop_map(Act::RemoveFolder),
        3 => (path(), path()).prop_map(|(from, to)| Act::Rename(from, to)),
        1 => path().prop_map(Act::List),
    ]
}

/// A mount with what is open in it.
struct World {
    root: Arc<dyn Directory>,
    files: Vec<Arc<dyn File>>,
}

impl World {
    fn new(mount: &dyn Mount) -> Self {
        Self { root: mount.root().expect("it has a root"), files: Vec::new() }
    }

    fn file(&self, number: usize) -> Option<&Arc<dyn File>> {
        self.files.get(number % self.files.len().max(1))
    }

    fn open(&mut self, path: &str, how: OpenHow) -> Result<&'static str, Errno> {
        Ok(match self.root.open(path, how)? {
            Node::File(file) => {
                self.files.push(file);
                "a file"
            }
            Node::Directory(_) => "a folder",
        })
    }

    /// What can be seen of an answer.
    fn act(&mut self, act: &Act) -> String {
        match act {
            Act::Open { path, create, exclusive, truncate } => {
                let (create, exclusive, truncate) = (*create, *exclusive && *create, *truncate);
                let how = OpenHow {
                    read: true,
                    write: true,
                    create,
                    exclusive,
                    truncate,
                    ..OpenHow::default()
                };
                seen(self.open(path, how))
            }
            Act::Close(number) if !self.files.is_empty() => {
                let number = number % self.files.len();
                seen(self.files.remove(number).close())
            }
            Act::Write { file, offset, bytes } => {
                seen(self.file(*file).map(|file| file.write_at(bytes, *offset)))
            }
            Act::Append { file, bytes } => seen(self.file(*file).map(|file| file.append(bytes))),
            Act::Resize { file, size } => seen(self.file(*file).map(|file| file.set_size(*size))),
            Act::Sync(file) => seen(self.file(*file).map(|file| file.sync(true))),
            Act::Look(file) => seen(self.file(*file).map(|file| {
                let stat = file.stat().map(|stat| (stat.size, stat.links, stat.file_type));
                (stat, file.locate(), bytes(&**file))
            })),
            Act::Remove(path) => seen(self.root.remove_file(path)),
            Act::MakeFolder(path) => seen(self.root.create_directory(path)),
            Act::RemoveFolder(path) => seen(self.root.remove_directory(path)),
            Act::Rename(from, to) => seen(self.root.rename(from, &*self.root, to)),
            Act::List(path) => {
                let stat = self.root.stat_path(path, false).map(|stat| stat.file_type);
                seen((stat, list(&*self.root, path)))
            }
            Act::Close(_) => String::new(),
        }
    }
}

fn seen(answer: impl Debug) -> String {
    format!("{answer:?}")
}

fn bytes(file: &dyn File) -> Result<Vec<u8>, Errno> {
    let mut into = vec![0; 1000];
    let read = file.read_at(&mut into, 0)?;
    into.truncate(read);
    Ok(into)
}

fn list(root: &dyn Directory, path: &str) -> Result<Vec<(String, FileType)>, Errno> {
    let how = OpenHow { read: true, directory: true, ..OpenHow::default() };
    let Node::Directory(folder) = root.open(path, how)? else { return Err(Errno::Notdir) };
    let mut names: Vec<_> = folder
        .entries(100)?
        .into_iter()
        .map(|entry| {
            let stat = folder.stat_path(&entry.name, false).expect("what is listed is there");
            assert_eq!((entry.inode, entry.file_type), (stat.inode, stat.file_type));
            (entry.name, entry.file_type)
        })
        .collect();
    names.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(names)
}

/// All names below a folder, with what the files hold.
fn tree(root: &dyn Directory, path: &str, all: &mut Vec<(String, Vec<u8>)>) {
    for (name, file_type) in list(root, path).expect("it lists") {
        let whole = format!("{path}/{name}");
        if file_type == FileType::Directory {
            tree(root, &whole, all);
            all.push((whole, Vec::new()));
            continue;
        }
        let how = OpenHow { read: true, ..OpenHow::default() };
        let Ok(Node::File(file)) = root.open(&whole, how) else { panic!("`{whole}` is no file") };
        all.push((whole, bytes(&*file).expect("it reads")));
    }
}

#[test]
fn a_bucket_does_what_a_folder_does() {
    compare(Transform::None, 200);
}

#[test]
fn an_encrypted_or_compressed_bucket_does_what_a_folder_does() {
    compare(Transform::Encrypt(secret(1)), 40);
    compare(Transform::Compress, 40);
}

fn compare(transform: Transform, cases: u32) {
    let (_folder, store) = objects();
    let runs = AtomicU32::new(0);
    let acts = proptest::collection::vec(act(), 1..60);
    proptest!(ProptestConfig::with_cases(cases), |(acts in acts)| {
        let prefix = format!("run{}", runs.fetch_add(1, Ordering::Relaxed));
        let folder = tempfile::tempdir().expect("a temporary folder");
        let local = LocalFolder::open(folder.path()).expect("the folder opens");
        let mount = ObjectFolder::new(store.clone(), "lab", &prefix, transform.clone()).expect("there is a bucket");
        let (mut real, mut ours) = (World::new(&local), World::new(&mount));
        for (number, act) in acts.iter().enumerate() {
            prop_assert_eq!(real.act(act), ours.act(act), "act {}: {:?}", number, act);
        }
        // What others see when all is closed.
        for file in real.files.drain(..).chain(ours.files.drain(..)) {
            prop_assert_eq!(file.close(), Ok(()));
        }
        let other = ObjectFolder::new(store.clone(), "lab", &prefix, transform.clone()).expect("there is a bucket");
        let trees = [real.root, other.root().expect("it has a root")].map(|root| {
            let mut all = Vec::new();
            tree(&*root, ".", &mut all);
            all
        });
        prop_assert_eq!(&trees[0], &trees[1]);
    });
}
