//! Our headers and the runtime's sources as files that a compiler can read.

use super::Error;
use super::error::file;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

include!(concat!(env!("OUT_DIR"), "/guest_files.rs"));

/// Digits of the hash in the folder's name: enough that two versions never share one.
const HASH_DIGITS: usize = 16;

/// Names and contents: this crate's own, the header of the MPI engine, and the names of what
/// compilers call for OpenMP.
fn files() -> impl Iterator<Item = (&'static str, &'static [u8])> {
    static IMPORTS: LazyLock<String> =
        LazyLock::new(|| crate::parallel::function_names().join("\n") + "\n");
    let made: [(_, &[u8]); 3] = [
        ("mpi/mpi.h", mpi::HEADER.as_bytes()),
        // The host has the functions; build systems look for a library.
        ("mpi/libmpi.a", b"!<arch>\n"),
        ("openmp/imports", IMPORTS.as_bytes()),
    ];
    FILES.iter().copied().chain(made)
}

/// The folder of this version's files below the cache, written if it is not there or not intact.
pub(super) fn materialise(cache_dir: &Path) -> Result<PathBuf, Error> {
    let folder = cache_dir.join("toolchain").join(version());
    for (name, content) in files() {
        let path = folder.join(name);
        if fs::read(&path).is_ok_and(|found| found == content) {
            continue;
        }
        write_atomically(&path, content)?;
    }
    Ok(folder)
}

/// Writes beside the target and renames, so that no reader sees half a file.
pub(super) fn write_atomically(path: &Path, content: &[u8]) -> Result<(), Error> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(file("create", parent))?;
    let temporary = parent.join(format!(".cloudskin-{}", types::random_id()));
    let written = fs::write(&temporary, content).map_err(file("write", path));
    let renamed = written.and_then(|()| fs::rename(&temporary, path).map_err(file("write", path)));
    if renamed.is_err() {
        // Best effort: the error that is reported is the first one.
        let _ = fs::remove_file(&temporary);
    }
    renamed
}

/// The same for the same files: names and contents, each with its length before it.
fn version() -> String {
    let mut hasher = blake3::Hasher::new();
    for (name, content) in files() {
        for part in [name.as_bytes(), content] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
    }
    hasher.finalize().to_hex().chars().take(HASH_DIGITS).collect()
}

/// A folder for intermediate files that is removed when the build ends.
#[derive(Debug)]
pub(super) struct WorkFolder(PathBuf);

impl WorkFolder {
    pub(super) fn new(cache_dir: &Path) -> Result<Self, Error> {
        let path = cache_dir.join("work").join(types::random_id());
        fs::create_dir_all(&path).map_err(file("create", &path))?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for WorkFolder {
    fn drop(&mut self) {
        // A folder left behind lies in the cache, which is safe to delete.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repairs_a_damaged_file_and_keeps_an_intact_one() {
        let cache = tempfile::tempdir().unwrap();
        let folder = materialise(cache.path()).unwrap();
        let header = folder.join("include/cloudskin/cloudskin.h");
        let intact = fs::read(&header).unwrap();
        fs::write(&header, "half").unwrap();

        assert_eq!(materialise(cache.path()).unwrap(), folder);

        assert_eq!(fs::read(&header).unwrap(), intact);
    }
}
