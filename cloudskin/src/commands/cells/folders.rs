//! What `--dir` grants: folders of this machine, and objects.

use crate::{
    commands::geds::{address::Address, store::make_bucket},
    exit::Failure,
};
use anyhow::Context;
use api::mount::{self, Mount};
use cells::{
    wasi::{FileKey, Grant, ObjectFolder, Transform},
    worker,
};
use geds::{Geds, Put};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use types::ErrorKind;

/// One `--dir`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Granted {
    source: Source,
    /// Where the program sees it.
    guest: String,
    read_only: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    /// A folder of this machine.
    Folder(String),
    /// Objects below a prefix.
    Objects(Address, Kept),
}

/// How objects are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kept {
    AsTheyAre,
    Compressed,
    /// With the key in this file.
    Encrypted(PathBuf),
}

impl Granted {
    /// Reads `HOST::GUEST`, or one path for both, with `:ro` at the end or not; or
    /// `geds://BUCKET[/PREFIX]::GUEST`, which options may follow.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let (text, options) = match text.split_once(',') {
            Some((text, options)) if Address::is_meant(text) => (text, Some(options)),
            _ => (text, None),
        };
        let (whole, read_only) = match text.strip_suffix(":ro") {
            Some(whole) => (whole, true),
            None => (text, false),
        };
        let (host, guest) = whole.split_once("::").unwrap_or((whole, whole));
        if !Address::is_meant(host) {
            let source = Source::Folder(host.to_owned());
            return Ok(Self { source, guest: guest.to_owned(), read_only });
        }
        anyhow::ensure!(
            whole.contains("::"),
            "say where the program sees `{host}`, as in `--dir {host}::/data`"
        );
        let address = host.parse().map_err(anyhow::Error::msg)?;
        let source = Source::Objects(address, options.map_or(Ok(Kept::AsTheyAre), Kept::parse)?);
        Ok(Self { source, guest: guest.to_owned(), read_only })
    }

    /// The objects that it is about, if it is about any.
    pub(crate) fn objects(&self) -> Option<&Address> {
        match &self.source {
            Source::Folder(_) => None,
            Source::Objects(address, _) => Some(address),
        }
    }

    /// Whether the program may change what it sees.
    pub(crate) fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Whether a file of this machine that it needs is named by its whole path.
    pub(crate) fn is_found_anywhere(&self) -> bool {
        match &self.source {
            Source::Objects(_, Kept::Encrypted(key)) => key.is_absolute(),
            Source::Objects(..) => true,
            Source::Folder(path) => Path::new(path).is_absolute(),
        }
    }

    /// Opens it; `store` is asked for where objects are meant.
    pub(super) fn open(&self, store: impl Fn() -> anyhow::Result<Geds>) -> anyhow::Result<Grant> {
        self.open_sealing(store, Put::default())
    }

    /// The same, where objects that the program writes are sealed so.
    pub(crate) fn open_sealing(
        &self,
        store: impl Fn() -> anyhow::Result<Geds>,
        put: Put,
    ) -> anyhow::Result<Grant> {
        let (address, kept) = match &self.source {
            Source::Folder(host) => {
                return worker::grant(Path::new(host), &self.guest, self.read_only)
                    .with_context(|| format!("cannot grant `{host}`"));
            }
            Source::Objects(address, kept) => (address, kept),
        };
        if geds::is_internal(&address.bucket) {
            let message = format!("bucket `{}` is the platform's own", address.bucket);
            return Err(Failure::error(ErrorKind::Forbidden, message));
        }
        let transform = kept.transform()?;
        let store = store()?;
        if !self.read_only {
            make_bucket(&store, &address.bucket)?;
        }
        let mount = ObjectFolder::new(store, &address.bucket, &address.key, transform)
            .with_context(|| format!("cannot grant `{address}`"))?
            .sealing(put);
        let (guest_path, read_only) = (self.guest.clone(), self.read_only);
        Ok(Grant { guest_path, mount: Arc::new(mount), read_only })
    }
}

impl Granted {
    /// Objects as a site is told of them.
    fn mount(&self) -> anyhow::Result<Mount> {
        let Source::Objects(address, kept) = &self.source else {
            anyhow::bail!("a folder is no mount of objects");
        };
        let transform = match kept {
            Kept::AsTheyAre => mount::Transform::None,
            Kept::Compressed => mount::Transform::Compress,
            Kept::Encrypted(_) => anyhow::bail!(
                "encrypted objects are granted to programs that run here alone, for the key does not \
                 leave this machine: leave out where it shall run"
            ),
        };
        let (source, path) = (address.to_string(), self.guest.clone());
        Ok(Mount { source, path, read_only: self.read_only, transform })
    }
}

impl Kept {
    /// Reads `transform=compress`, or `transform=encrypt,key-file=PATH`.
    fn parse(options: &str) -> anyhow::Result<Self> {
        let (mut transform, mut key_file) = (None, None);
        for option in options.split(',') {
            let value = match option.split_once('=') {
                Some(("transform", value)) if transform.is_none() => transform.insert(value),
                Some(("key-file", value)) if key_file.is_none() => key_file.insert(value),
                _ => anyhow::bail!(
                    "`{option}` is no option of `geds://`: there are transform=compress, and \
                     transform=encrypt,key-file=PATH"
                ),
            };
            anyhow::ensure!(!value.is_empty(), "`{option}` has no value");
        }
        match (transform, key_file) {
            (Some("encrypt"), Some(path)) => Ok(Self::Encrypted(PathBuf::from(path))),
            (Some("encrypt"), None) => {
                anyhow::bail!("name the file of the key: transform=encrypt,key-file=PATH")
            }
            (_, Some(_)) => anyhow::bail!("a key-file is for transform=encrypt"),
            (Some("compress"), None) => Ok(Self::Compressed),
            (Some(other), None) => {
                anyhow::bail!("there is no transform `{other}`: there are encrypt and compress")
            }
            (None, None) => Ok(Self::AsTheyAre),
        }
    }

    fn transform(&self) -> anyhow::Result<Transform> {
        let path = match self {
            Self::AsTheyAre => return Ok(Transform::None),
            Self::Compressed => return Ok(Transform::Compress),
            Self::Encrypted(path) => path,
        };
        let what = || format!("cannot read the key `{}`", path.display());
        let bytes = std::fs::read(path).with_context(what)?;
        let key = FileKey::parse(&bytes).with_context(|| {
            format!("`{}` is no key: it has 32 bytes, or 64 hexadecimal digits", path.display())
        })?;
        Ok(Transform::Encrypt(key))
    }
}

/// Folders of a site as host and guest paths.
pub(crate) type Folders = Vec<(String, String)>;

/// What is granted at a site: folders, and objects.
pub(super) fn for_site(dirs: &[String]) -> anyhow::Result<(Folders, Vec<Mount>)> {
    let (mut folders, mut mounts) = (Vec::new(), Vec::new());
    for dir in dirs {
        if Address::is_meant(dir) {
            mounts.push(Granted::parse(dir)?.mount()?);
        } else {
            let (host, guest) = dir.split_once("::").unwrap_or((dir, dir));
            folders.push((host.to_owned(), guest.to_owned()));
        }
    }
    Ok((folders, mounts))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(text: &str) -> (Source, String, bool) {
        let granted = Granted::parse(text).unwrap();
        (granted.source, granted.guest, granted.read_only)
    }

    #[test]
    fn a_grant_names_a_folder_or_objects() {
        let folder = |path: &str| Source::Folder(path.to_owned());
        let objects = |text: &str| Source::Objects(text.parse().unwrap(), Kept::AsTheyAre);
        assert_eq!(is("data"), (folder("data"), "data".into(), false));
        assert_eq!(is("data:ro"), (folder("data"), "data".into(), true));
        assert_eq!(is("data::/d"), (folder("data"), "/d".into(), false));
        assert_eq!(is("geds://lab::/d"), (objects("geds://lab"), "/d".into(), false));
        let deep = (objects("geds://lab/a b/c"), "/d".into(), true);
        assert_eq!(is("geds://lab/a b/c::/d:ro"), deep);
        let kept = |text: &str| match is(text).0 {
            Source::Objects(_, kept) => kept,
            Source::Folder(_) => panic!("`{text}` is a folder"),
        };
        assert_eq!(kept("geds://lab::/d,transform=compress"), Kept::Compressed);
        let encrypted = kept("geds://lab::/d:ro,transform=encrypt,key-file=a/b");
        assert_eq!(encrypted, Kept::Encrypted("a/b".into()));
        assert_eq!(is("a,b::/d"), (folder("a,b"), "/d".into(), false));
        for wrong in [
            "geds://lab",
            "geds://lab:ro",
            "geds://Lab::/d",
            "geds://::/d",
            "geds://lab::/d,",
            "geds://lab::/d,transform=",
            "geds://lab::/d,transform=gzip",
            "geds://lab::/d,transform=encrypt",
            "geds://lab::/d,key-file=k",
            "geds://lab::/d,transform=compress,transform=compress",
        ] {
            assert!(Granted::parse(wrong).is_err(), "{wrong}");
        }
        let dirs = ["data::/d", "geds://lab/in::/in:ro", "geds://lab::/out,transform=compress"];
        let (folders, mounts) = for_site(&dirs.map(str::to_owned)).unwrap();
        assert_eq!(folders, [("data".to_owned(), "/d".to_owned())]);
        assert!(mounts[0].read_only && mounts[0].objects() == Some(("lab", "in")));
        assert_eq!(mounts[1].transform, mount::Transform::Compress);
        for_site(&["geds://lab::/d,transform=encrypt,key-file=k".into()]).unwrap_err();
    }
}
