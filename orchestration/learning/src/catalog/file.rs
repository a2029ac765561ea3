//! Files with a version and a checksum, written whole.
//!
//! The first line is `cloudskin-model 1 <BLAKE3 of the rest>`, and the rest is the content.

use crate::{Error, Result};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    fs::{self, File},
    io::{Read, Write},
    path::Path,
};

const MAGIC: &str = "cloudskin-model";
const VERSION: &str = "1";
/// Magic, version and 64 digits.
const LINE_MAX: usize = 128;

fn damaged(path: &Path, reason: impl Into<String>) -> Error {
    Error::Damaged { path: path.to_owned(), reason: reason.into() }
}

fn unwritten(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Write { path: path.to_owned(), source }
}

/// The content of a file.
///
/// # Errors
/// A file that cannot be read, is too large, of another version, or not as it was written.
pub(super) fn read(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    if size > limit + LINE_MAX as u64 {
        let what = format!("`{}`, {size} bytes,", path.display());
        return Err(Error::TooMuch { what, limit });
    }
    let mut bytes = Vec::with_capacity(size as usize);
    // It may grow while it is read.
    file.take(limit + LINE_MAX as u64).read_to_end(&mut bytes).map_err(failed)?;
    opened(bytes, path)
}

/// The content of what [`sealed`] made; `path` is where it lay.
///
/// # Errors
/// It has another version, or is not as it was written.
pub(super) fn opened(mut bytes: Vec<u8>, path: &Path) -> Result<Vec<u8>> {
    let end = bytes.iter().take(LINE_MAX).position(|byte| *byte == b'\n');
    let end = end.ok_or_else(|| damaged(path, "it does not begin as a file of a catalog"))?;
    let line = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let content = bytes.split_off(end + 1);
    match line.split(' ').collect::<Vec<_>>()[..] {
        [MAGIC, VERSION, sum] if sum == blake3::hash(&content).to_hex().as_str() => Ok(content),
        [MAGIC, VERSION, _] => Err(damaged(path, "its content is not what was written")),
        [MAGIC, other, _] => Err(damaged(
            path,
            format!("it has version `{other}`, this program knows {VERSION}: use a newer one"),
        )),
        _ => Err(damaged(path, "it does not begin as a file of a catalog")),
    }
}

pub(super) fn read_json<T: DeserializeOwned>(path: &Path, limit: u64) -> Result<T> {
    let content = read(path, limit)?;
    serde_json::from_slice(&content).map_err(|error| damaged(path, error.to_string()))
}

/// A content with its version and checksum.
pub(super) fn sealed(content: &[u8]) -> Vec<u8> {
    [line(content).as_bytes(), content].concat()
}

fn line(content: &[u8]) -> String {
    format!("{MAGIC} {VERSION} {}\n", blake3::hash(content).to_hex())
}

/// Writes a file in a folder that nobody else reads yet.
pub(super) fn write_new(path: &Path, content: &[u8]) -> Result<()> {
    let mut file = File::create(path).map_err(unwritten(path))?;
    let written = file.write_all(line(content).as_bytes()).and_then(|()| file.write_all(content));
    written.and_then(|()| file.sync_all()).map_err(unwritten(path))
}

/// Replaces a file; whoever reads sees the old one or the new one.
pub(super) fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let content = serde_json::to_vec_pretty(value).map_err(|error| {
        Error::Unfit(format!("`{}` cannot be written: {error}", path.display()))
    })?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    write_new(&new, &content)?;
    rename(&new, path)
}

/// Renames, so that it lasts.
pub(super) fn rename(from: &Path, to: &Path) -> Result<()> {
    if from.is_dir() {
        sync(from)?;
    }
    fs::rename(from, to).map_err(unwritten(to))?;
    to.parent().map_or(Ok(()), sync)
}

fn sync(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(unwritten(folder))
}

/// An empty folder, whatever was there before.
pub(super) fn clear(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(unwritten(folder)(error));
        }
        _ => {}
    }
    fs::create_dir_all(folder).map_err(unwritten(folder))
}

/// One process at a time changes a model; the lock ends with the file.
pub(super) fn lock(folder: &Path) -> Result<File> {
    fs::create_dir_all(folder).map_err(unwritten(folder))?;
    let path = folder.join(".lock");
    let file = File::create(&path).map_err(unwritten(&path))?;
    file.lock().map_err(unwritten(&path))?;
    Ok(file)
}
