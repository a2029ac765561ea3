//! Files that only their owner reads, each written whole or not at all.

use super::{Error, Result};
use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::Path,
};

pub(super) fn failed(path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| Error::File { path, source }
}

/// A folder of mode 0700, made if it is absent.
pub(super) fn folder(path: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed(path))
}

/// What the file holds; nothing if it does not exist.
pub(super) fn read(path: &Path) -> Result<Option<String>> {
    let mut file = match OpenOptions::new().read(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(path)(error)),
    };
    let mode = file.metadata().map_err(failed(path))?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(Error::Exposed { path: path.to_owned(), mode });
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(failed(path))?;
    Ok(Some(text))
}

/// Puts this in the place of what was there.
pub(super) fn replace(path: &Path, text: &str) -> Result<()> {
    let draft = draft(path, text, 0o600)?;
    fs::rename(&draft, path).map_err(failed(path))?;
    sync_folder_of(path)
}

/// The same for what everybody may read.
pub(super) fn publish(path: &Path, text: &str) -> Result<()> {
    let draft = draft(path, text, 0o644)?;
    fs::rename(&draft, path).map_err(failed(path))?;
    sync_folder_of(path)
}

/// Removes the file, also after a failure of power: what it allowed must not come back.
///
/// # Errors
/// [`io::ErrorKind::NotFound`] if somebody else was faster.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    fs::remove_file(path)?;
    path.parent().map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
}

fn sync_folder_of(path: &Path) -> Result<()> {
    let synced = path.parent().map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all());
    synced.map_err(failed(path))
}

/// Makes the file unless it exists: false if another process was faster.
pub(super) fn create(path: &Path, text: &str) -> Result<bool> {
    let draft = draft(path, text, 0o600)?;
    let linked = fs::hard_link(&draft, path);
    // The draft has served; if it cannot be removed, it is only a stray file.
    let _ = fs::remove_file(&draft);
    match linked {
        Ok(()) => sync_folder_of(path).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(failed(path)(error)),
    }
}

fn draft(path: &Path, text: &str, mode: u32) -> Result<std::path::PathBuf> {
    let draft = path.with_extension(format!("draft-{}", types::random_id()));
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&draft)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .map_err(failed(&draft))?;
    Ok(draft)
}
