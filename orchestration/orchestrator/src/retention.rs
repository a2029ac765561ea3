//! Files that are named by what they hold, and how long they stay without use.
//!
//! Mark and sweep: a digest that any stored document mentions, in whatever field, keeps its file;
//! so does a use within the retention. A document that is about to mention a file has asked for
//! it just before, so the retention covers the time between.

use std::{
    collections::HashSet,
    fs, io,
    path::Path,
    time::{Duration, SystemTime},
};

/// Hexadecimal digits of a digest.
const DIGITS: usize = 64;

/// What a sweep removed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Swept {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

/// Notes that a file is in use now.
pub(crate) fn mark_used(path: &Path) {
    let marked = fs::File::open(path).and_then(|file| file.set_modified(SystemTime::now()));
    if let Err(error) = marked
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::debug!(path = %path.display(), %error, "a use is not noted");
    }
}

/// The digests, in hexadecimal, that a document mentions.
pub(crate) fn mentioned(document: &[u8], into: &mut HashSet<String>) {
    for word in document.split(|byte| !byte.is_ascii_hexdigit()) {
        if word.len() == DIGITS {
            into.insert(String::from_utf8_lossy(word).to_ascii_lowercase());
        }
    }
}

/// Removes the files of `folder` whose names begin with a digest that is not `in_use` and that
/// were not used for `retention`. Other files, and folders, stay.
pub(crate) fn sweep(
    folder: &Path,
    retention: Duration,
    in_use: &HashSet<String>,
) -> io::Result<Swept> {
    let mut swept = Swept::default();
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(swept),
        entries => entries?,
    };
    let now = SystemTime::now();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let digest = name.to_str().and_then(|name| name.get(..DIGITS));
        let is_digest = digest.is_some_and(|name| name.bytes().all(|b| b.is_ascii_hexdigit()));
        if !is_digest || digest.is_some_and(|digest| in_use.contains(digest)) {
            continue;
        }
        let metadata = match entry.metadata() {
            // Somebody else removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            metadata => metadata?,
        };
        let unused = now.duration_since(metadata.modified()?).unwrap_or_default();
        if metadata.is_file() && unused >= retention {
            fs::remove_file(entry.path())?;
            swept.files += 1;
            swept.bytes += metadata.len();
        }
    }
    Ok(swept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_mentions_or_uses_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let name = |letter: char| letter.to_string().repeat(DIGITS);
        let old = SystemTime::now() - Duration::from_secs(3600);
        for file in [name('a'), name('b'), format!("{}.wasm", name('c')), "key".into(), name('d')] {
            let path = folder.path().join(file);
            fs::write(&path, "12345").unwrap();
            fs::File::open(&path).unwrap().set_modified(old).unwrap();
        }
        mark_used(&folder.path().join(name('d')));
        let mut in_use = HashSet::new();
        let document = format!("{{\"module\":\"a.wasm@sha256:{}\",\"x\":1}}", name('a'));
        mentioned(document.as_bytes(), &mut in_use);

        let swept = sweep(folder.path(), Duration::from_secs(60), &in_use).unwrap();

        assert_eq!(swept, Swept { files: 2, bytes: 10 });
        let mut left: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, [name('a'), name('d'), "key".into()]);
        assert_eq!(
            sweep(&folder.path().join("none"), Duration::ZERO, &in_use).unwrap(),
            Swept::default()
        );
    }
}
