//! Back ends that buckets have again when the node is started again: with their keys, where whoever attached them asked
//! for that.
//!
//! ```text
//! header   magic "CSGEDSK1" | u16 version | 6 zero bytes
//! body     u32 length | u32 CRC-32C of the rest | a map from buckets to back ends in postcard's encoding
//! ```
//!
//! The file is its user's alone (mode 0600), as the folder is. Nothing of it is ever logged.

use crate::{BackendConfig, Error, Result};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

const HEADER: [u8; 16] = *b"CSGEDSK1\x01\0\0\0\0\0\0\0";
/// Longest file: all buckets that there can be, with long tokens.
const BYTES_MAX: u64 = 16 << 20;

type Backends = BTreeMap<String, BackendConfig>;

/// The file and what it has.
#[derive(Debug)]
pub(super) struct Keys {
    folder: PathBuf,
    all: Mutex<Backends>,
}

impl Keys {
    /// Reads a tenant's file. One that is damaged is left alone, and told of: its back ends are attached again by hand.
    pub(super) fn open(folder: &Path) -> Self {
        let all = read(&folder.join("backends")).unwrap_or_else(|error| {
            let error = types::chain(&error);
            tracing::error!(error, "back ends that were to be kept are not: attach them again");
            Backends::new()
        });
        Self { folder: folder.to_owned(), all: Mutex::new(all) }
    }

    /// What is kept.
    pub(super) fn all(&self) -> Backends {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps the back end of a bucket, or forgets it; synced.
    pub(super) fn set(&self, bucket: &str, backend: Option<&BackendConfig>) -> Result<()> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if all.get(bucket) == backend {
            return Ok(());
        }
        let mut new = all.clone();
        match backend {
            Some(backend) => _ = new.insert(bucket.to_owned(), backend.clone()),
            None => _ = new.remove(bucket),
        }
        write(&self.folder, &new).map_err(Error::io("keep a back end's keys"))?;
        *all = new;
        Ok(())
    }
}

fn write(folder: &Path, all: &Backends) -> io::Result<()> {
    let (path, new) = (folder.join("backends"), folder.join("backends.new"));
    let body = postcard::to_allocvec(all).map_err(io::Error::other)?;
    // One of a former attempt may have another mode.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(&HEADER)?;
    file.write_all(&(body.len() as u32).to_le_bytes())?;
    file.write_all(&crc32c::crc32c(&body).to_le_bytes())?;
    file.write_all(&body)?;
    file.sync_all()?;
    fs::rename(&new, &path)?;
    File::open(folder)?.sync_all()
}

fn read(path: &Path) -> Result<Backends> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Backends::new()),
        Err(error) => return Err(Error::io("read back ends")(error)),
    };
    let mut bytes = Vec::new();
    file.take(BYTES_MAX).read_to_end(&mut bytes).map_err(Error::io("read back ends"))?;
    parse(&bytes).ok_or_else(|| Error::Corrupt {
        what: format!("the file `{}`", path.display()),
        why: "it is not one of version 1, or not whole".to_owned(),
    })
}

fn parse(bytes: &[u8]) -> Option<Backends> {
    let (lengths, body) = bytes.strip_prefix(&HEADER)?.split_at_checked(8)?;
    let word = |at: usize| lengths[at..at + 4].try_into().map(u32::from_le_bytes).ok();
    if word(0)? as usize != body.len() || word(4)? != crc32c::crc32c(body) {
        return None;
    }
    postcard::from_bytes(body).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use testkit::Folder;

    #[test]
    fn what_is_kept_is_this_users_alone_and_a_damaged_file_keeps_nothing() {
        let folder = Folder::in_memory();
        let backend = BackendConfig::new("s3://lab", [("secret_access_key", "hidden")]).keep();
        let keys = Keys::open(folder.path());
        keys.set("lab", Some(&backend)).unwrap();
        keys.set("other", Some(&backend)).unwrap();
        keys.set("other", None).unwrap();
        let path = folder.join("backends");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let kept = Keys::open(folder.path()).all();
        assert_eq!(kept, Backends::from([("lab".to_owned(), backend)]));
        assert!(!format!("{keys:?}").contains("hidden"));

        let whole = fs::read(&path).unwrap();
        for end in 0..whole.len() {
            assert_eq!(parse(&whole[..end]), None);
            let mut bytes = whole.clone();
            bytes[end] ^= 0x55;
            assert_eq!(parse(&bytes), None);
        }
        fs::write(&path, &whole[1..]).unwrap();
        assert_eq!(Keys::open(folder.path()).all(), Backends::new());
    }
}
