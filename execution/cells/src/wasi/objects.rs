//! Objects of GEDS as a mount: a program's files below a prefix of a bucket.
//!
//! A file is an object, a folder what stands before a `/` in keys, marked by an empty object whose key
//! ends with it. Within one mount all is as POSIX says. Others see a file when it is closed: it is then
//! sealed in place of what the name had, all at once. Who opens it later reads that, and who has it
//! open reads on in the version that was there.
//!
//! `names` knows what is open, by name; an [`Inode`](inode::Inode) is an open file with its bytes, sealed
//! or not yet; `file` is one opening of it, `directory` all that is done by path.

mod content;
mod directory;
mod file;
mod inode;
mod names;
mod sealed;
mod target;
mod times;
mod transform;

pub use transform::{FileKey, Transform};

use super::{Directory, Errno, File, Mount};
use file::ObjectFile;
use geds::{Error, Geds, Listing, Put, Writer};
use inode::Inode;
use names::Names;
use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

/// What unsealed bytes are kept under; it is said anew when they are sealed.
const UNSEALED: &str = "unsealed";

/// What stands before a `/` in the keys of a bucket, or a whole bucket; nothing else of the store can
/// be reached through it.
#[derive(Debug, Clone)]
pub struct ObjectFolder {
    shared: Arc<Shared>,
}

/// What everything that is open in a mount shares.
#[derive(Debug)]
struct Shared {
    store: Geds,
    bucket: String,
    /// What all keys begin with: nothing, or something that ends with `/`.
    prefix: String,
    device: u64,
    transform: Transform,
    /// How files are sealed, but for what each file says itself.
    seal: Put,
    /// Taken before what an inode holds, never after.
    names: Mutex<Names>,
}

impl ObjectFolder {
    /// The objects of a bucket whose keys begin with `prefix` as the name of a folder, all if it is
    /// empty; `transform` says how files are kept.
    ///
    /// # Errors
    /// [`Error::NoBucket`]; [`Error::Name`] for a prefix that leaves no room for names.
    pub fn new(
        store: Geds,
        bucket: &str,
        prefix: &str,
        transform: Transform,
    ) -> geds::Result<Self> {
        store.bucket(bucket)?;
        let mut prefix = prefix.to_owned();
        if !prefix.is_empty() && !prefix.ends_with('/') {
            prefix.push('/');
        }
        geds::check_key(&format!("{prefix}/"))?;
        let device = number(bucket, "");
        let (bucket, names) = (bucket.to_owned(), Mutex::default());
        let seal = Put::default();
        let shared = Shared { store, bucket, prefix, device, transform, seal, names };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The same, where each file is sealed with these attributes beside its own, durably if that is asked for, and with so
    /// many replicas; for a mount that nothing uses yet.
    #[must_use]
    pub fn sealing(mut self, put: Put) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.seal = put;
        }
        self
    }
}

impl Mount for ObjectFolder {
    fn root(&self) -> Result<Arc<dyn Directory>, Errno> {
        let folder = self.shared.names().folder("");
        Ok(directory::opened(&self.shared, folder))
    }

    fn scratch(&self) -> Result<Arc<dyn File>, Errno> {
        let shared = &self.shared;
        let mut names = shared.names();
        let number = names.free_number(number(&shared.bucket, UNSEALED));
        let inode = Arc::new(Inode::empty(shared, number, None, false)?);
        Ok(ObjectFile::open(shared, &mut names, inode, true))
    }
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    File,
    Folder,
    Nothing,
}

impl Shared {
    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key of a name in the mount.
    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A number for a name: the same wherever the bucket is mounted.
    fn number(&self, name: &str) -> u64 {
        number(&self.bucket, &self.key(name))
    }

    /// Begins bytes that are not sealed yet.
    fn stage(&self, size_hint: u64) -> Result<Writer, Errno> {
        let put = Put::default().size_hint(size_hint);
        self.store.create(&self.bucket, UNSEALED, put).map_err(errno)
    }

    /// What is known of a sealed object.
    fn stat(&self, name: &str) -> Result<Option<geds::Stat>, Errno> {
        some(self.store.stat(&self.bucket, &self.key(name)))
    }

    fn what(&self, names: &Names, name: &str) -> Result<What, Errno> {
        if names.is_unsealed(name) || !name.is_empty() && self.stat(name)?.is_some() {
            return Ok(What::File);
        }
        let folder = self.is_folder(names, name)?;
        Ok(if folder { What::Folder } else { What::Nothing })
    }

    fn is_folder(&self, names: &Names, name: &str) -> Result<bool, Errno> {
        // The root is there by being mounted.
        if name.is_empty() || self.stat(&format!("{name}/"))?.is_some() {
            return Ok(true);
        }
        self.has_below(names, name)
    }

    /// Whether there is anything in a folder but its marker.
    fn has_below(&self, names: &Names, folder: &str) -> Result<bool, Errno> {
        let inside = inside(folder);
        if names.unsealed_below(&inside).next().is_some() {
            return Ok(true);
        }
        let marker = self.key(&inside);
        // Each new file is asked for: the node need not be.
        if !self.store.may_have_below(&self.bucket, &marker).map_err(errno)? {
            return Ok(false);
        }
        let listing = Listing::prefix(&marker).after(&marker).limit(1);
        let page = self.store.list(&self.bucket, &listing).map_err(errno)?;
        Ok(!page.entries.is_empty())
    }

    /// What is wrong with a name that stands for nothing.
    fn missing(&self, names: &Names, name: &str) -> Errno {
        let mut above = name;
        while let Some((parent, _)) = above.rsplit_once('/') {
            match self.stat(parent) {
                _ if names.is_unsealed(parent) => return Errno::Notdir,
                Ok(Some(_)) => return Errno::Notdir,
                Ok(None) => above = parent,
                Err(error) => return error,
            }
        }
        Errno::Noent
    }

    /// Refuses unless a name can be made: its folder has to be there.
    fn check_parent(&self, names: &Names, name: &str) -> Result<(), Errno> {
        let parent = parent(name);
        match self.what(names, parent)? {
            What::Folder => Ok(()),
            What::File => Err(Errno::Notdir),
            What::Nothing => Err(self.missing(names, parent)),
        }
    }

    /// Marks the folder that a name was taken out of, lest it goes with the last one.
    fn keep_parent(&self, names: &Names, name: &str) -> Result<(), Errno> {
        let parent = parent(name);
        if self.is_folder(names, parent)? {
            return Ok(());
        }
        self.mark(parent)
    }

    fn mark(&self, folder: &str) -> Result<(), Errno> {
        let made = self.store.make_folder(&self.bucket, &self.key(folder));
        made.map(drop).map_err(errno)
    }
}

/// What the names in a folder begin with.
fn inside(folder: &str) -> String {
    if folder.is_empty() { String::new() } else { format!("{folder}/") }
}

fn parent(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// A file's number: the same whenever it is asked for. Zero means none to some programs.
fn number(bucket: &str, key: &str) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(bucket.as_bytes()).update(&[0]).update(key.as_bytes());
    let mut first = [0; 8];
    hasher.finalize_xof().fill(&mut first);
    u64::from_le_bytes(first).max(1)
}

fn some<T>(found: geds::Result<T>) -> Result<Option<T>, Errno> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(Error::NoObject { .. }) => Ok(None),
        Err(error) => Err(errno(error)),
    }
}

/// The number for a refusal. What a program cannot know by the number is logged, a hundred times.
fn errno(error: Error) -> Errno {
    let errno = match &error {
        Error::NoBucket { .. } | Error::NoObject { .. } => Errno::Noent,
        Error::BucketExists { .. } | Error::Exists { .. } => Errno::Exist,
        Error::BucketNotEmpty { .. } => Errno::Notempty,
        Error::Changed { .. } => Errno::Stale,
        Error::Exhausted { .. } | Error::TooMany { .. } => Errno::Nospc,
        Error::Name(_) | Error::KeySize { .. } => Errno::Nametoolong,
        Error::AttributesSize { .. } => Errno::TooBig,
        Error::Range { .. } | Error::Invalid(_) => Errno::Inval,
        Error::Denied(_) => Errno::Acces,
        Error::Io { source, .. } => {
            source.raw_os_error().map_or(Errno::Io, |raw| io::Error::from_raw_os_error(raw).into())
        }
        _ => Errno::Io,
    };
    if matches!(errno, Errno::Nospc | Errno::Io | Errno::Stale) && is_logged() {
        tracing::warn!(error = types::chain(&error), "a program's file could not be used");
    }
    errno
}

/// Whether one more refusal is logged: a program can cause any number of them.
fn is_logged() -> bool {
    static LEFT: AtomicU32 = AtomicU32::new(100);
    LEFT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}
