//! The few things that are done with the files of control groups.

use std::{
    fmt, fs,
    io::{self, Read, Write},
    path::Path,
    time::Duration,
};

/// More than this is in none of the kernel's files that are read here.
const FILE_MAX_BYTES: u64 = 16 << 20;

/// The files of control groups: the kernel's, or those of a test that plays the kernel.
pub(crate) trait Files: fmt::Debug + Send + Sync {
    /// The file's text.
    fn read(&self, path: &Path) -> io::Result<String>;
    /// Writes to a file that is there; the kernel takes or refuses the value as a whole.
    fn write(&self, path: &Path, value: &str) -> io::Result<()>;
    /// Makes a group; one that is there already will do.
    fn make(&self, folder: &Path) -> io::Result<()>;
    /// Removes a group without processes and groups below it; one that is gone will do.
    fn remove(&self, folder: &Path) -> io::Result<()>;
    /// The names of the groups below this one, and for how long at least each has been there.
    fn groups(&self, folder: &Path) -> io::Result<Vec<(String, Duration)>>;
    /// Whether this process may write there.
    fn may_write(&self, path: &Path) -> io::Result<()>;
}

/// The kernel's own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kernel;

impl Files for Kernel {
    fn read(&self, path: &Path) -> io::Result<String> {
        let mut bytes = Vec::new();
        fs::File::open(path)?.take(FILE_MAX_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn write(&self, path: &Path, value: &str) -> io::Result<()> {
        // One call, as the kernel wants it.
        fs::OpenOptions::new().write(true).open(path)?.write(value.as_bytes()).map(drop)
    }

    fn make(&self, folder: &Path) -> io::Result<()> {
        match fs::create_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => made,
        }
    }

    fn remove(&self, folder: &Path) -> io::Result<()> {
        match fs::remove_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    fn groups(&self, folder: &Path) -> io::Result<Vec<(String, Duration)>> {
        let folders = fs::read_dir(folder)?.flatten();
        let folders = folders.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let named = folders.filter_map(|entry| {
            // The kernel forgets when a group was made, and then gives a later time.
            let made = entry.metadata().and_then(|metadata| metadata.modified()).ok();
            let age = made.and_then(|made| made.elapsed().ok()).unwrap_or_default();
            Some((entry.file_name().into_string().ok()?, age))
        });
        Ok(named.collect())
    }

    fn may_write(&self, path: &Path) -> io::Result<()> {
        Ok(rustix::fs::access(path, rustix::fs::Access::WRITE_OK)?)
    }
}
