//! The cache of compiled code.
//!
//! Loading an entry executes it, so an entry is believed only with the right keyed hash: the key
//! lies beside the cache, readable by its owner alone, and only the compiler process writes.
//! An entry that is corrupt, forged or of another version is compiled again.

use crate::error::{Error, Result};
use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};
use types::{Digest, Token, random_id};

/// Version of an entry's layout: magic, keyed hash over the rest, facts' length, facts, code.
const MAGIC: &[u8; 8] = b"CSKCODE1";
const MAC_BYTES: usize = 32;

/// No compiler writes for so long: it was killed, and its draft is nobody's.
const DRAFT_AGE_MAX: Duration = Duration::from_secs(3600);

/// A folder of compiled modules.
#[derive(Debug, Clone)]
pub struct Cache {
    folder: PathBuf,
    key: [u8; 32],
}

/// What an entry holds.
#[derive(Debug)]
pub(crate) struct Entry {
    /// What the compiler found out about the module, encoded.
    pub(crate) facts: Vec<u8>,
    /// Machine code or bytecode.
    pub(crate) code: Vec<u8>,
}

impl Cache {
    /// Opens the cache in `folder`, which is made if it is absent, with a key of its own.
    ///
    /// # Errors
    /// If the folder or its key cannot be made, or others can read the key.
    pub fn open(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)
            .map_err(|source| Error::Write { path: folder.to_owned(), source })?;
        let token = Token::load_or_create(&folder.join("key"))
            .map_err(|error| Error::runtime("cannot use the code cache's key", error))?;
        let key = blake3::derive_key("cloudskin.eu code cache v1", token.reveal().as_bytes());
        Ok(Self { folder: folder.to_owned(), key })
    }

    /// Where the cache is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn path(&self, module: &Digest, fingerprint: u64) -> PathBuf {
        self.folder.join(format!("{}-{fingerprint:016x}", module.to_hex()))
    }

    /// The entry, if there is one and it is authentic.
    pub(crate) fn load(&self, module: &Digest, fingerprint: u64) -> Option<Entry> {
        let path = self.path(module, fingerprint);
        let bytes = fs::read(&path).ok()?;
        let entry = self.open_entry(module, fingerprint, &bytes);
        if entry.is_some() {
            // Tells whoever removes entries that this one is of use; if not, it is made again.
            let _ = File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
        } else {
            tracing::warn!(path = %path.display(), "a code cache entry is not authentic; compiling again");
        }
        entry
    }

    fn open_entry(&self, module: &Digest, fingerprint: u64, bytes: &[u8]) -> Option<Entry> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let (mac, rest) = rest.split_at_checked(MAC_BYTES)?;
        // Constant-time: `blake3::Hash` compares so.
        let found = blake3::Hash::from_bytes(mac.try_into().ok()?);
        if self.mac(module, fingerprint, rest) != found {
            return None;
        }
        let (size, rest) = rest.split_first_chunk::<4>()?;
        let (facts, code) = rest.split_at_checked(u32::from_le_bytes(*size) as usize)?;
        Some(Entry { facts: facts.to_vec(), code: code.to_vec() })
    }

    /// Stores an entry; it appears whole or not at all.
    pub(crate) fn store(&self, module: &Digest, fingerprint: u64, entry: &Entry) -> Result<()> {
        self.remove_drafts_older_than(DRAFT_AGE_MAX);
        let mut rest = Vec::with_capacity(4 + entry.facts.len() + entry.code.len());
        rest.extend_from_slice(&(entry.facts.len() as u32).to_le_bytes());
        rest.extend_from_slice(&entry.facts);
        rest.extend_from_slice(&entry.code);
        let mac = self.mac(module, fingerprint, &rest);
        let path = self.path(module, fingerprint);
        replace_file(&path, &[MAGIC, mac.as_bytes(), &rest])
            .map_err(|source| Error::Write { path, source })
    }

    /// Removes what compilers that were killed while they wrote have left.
    fn remove_drafts_older_than(&self, age_max: Duration) {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        for entry in entries {
            let age = entry.metadata().and_then(|metadata| metadata.modified());
            let age = age.ok().and_then(|modified| modified.elapsed().ok());
            let is_draft = entry.file_name().to_string_lossy().contains(".draft-");
            if is_draft && age.is_some_and(|age| age > age_max) {
                // It only takes room; another compiler may have been faster.
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// The name is part of what is authenticated: an entry cannot be moved to another module.
    fn mac(&self, module: &Digest, fingerprint: u64, rest: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(module.as_bytes()).update(&fingerprint.to_le_bytes()).update(rest);
        hasher.finalize()
    }
}

/// Puts the parts into a file that appears whole or not at all.
pub(crate) fn replace_file(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let draft = path.with_extension(format!("draft-{}", random_id()));
    let written = File::create_new(&draft)
        .and_then(|mut file| parts.iter().try_for_each(|part| file.write_all(part)))
        .and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        // The first error is the one that matters.
        let _ = fs::remove_file(&draft);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_authentic_entries_are_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let module = Digest::from_sha256([7; 32]);
        let entry = Entry { facts: vec![1, 2], code: vec![3; 100] };

        cache.store(&module, 1, &entry).unwrap();
        let path = cache.path(&module, 1);
        let whole = fs::read(&path).unwrap();

        assert_eq!(cache.load(&module, 1).unwrap().code, entry.code);
        assert!(cache.load(&module, 2).is_none());
        for at in 0..whole.len() {
            let mut bent = whole.clone();
            bent[at] ^= 1;
            fs::write(&path, bent).unwrap();
            assert!(cache.load(&module, 1).is_none(), "byte {at}");
        }
        for size in 0..whole.len() {
            fs::write(&path, &whole[..size]).unwrap();
            assert!(cache.load(&module, 1).is_none(), "cut to {size}");
        }
        let moved = Digest::from_sha256([8; 32]);
        fs::write(cache.path(&moved, 1), &whole).unwrap();
        assert!(cache.load(&moved, 1).is_none());
    }
    #[test]
    fn what_a_killed_compiler_left_is_removed_and_what_is_being_written_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let draft = cache.path(&Digest::from_sha256([7; 32]), 1).with_extension("draft-1");
        fs::write(&draft, b"half").unwrap();

        cache.remove_drafts_older_than(DRAFT_AGE_MAX);
        assert!(draft.exists());
        cache.remove_drafts_older_than(Duration::ZERO);

        assert!(!draft.exists() && folder.path().join("key").exists());
    }
}
