//! What is done by path.

use super::{
    ObjectFile, Shared, What, errno,
    inode::{Inode, keep_times},
    inside,
    names::{Folder, Names},
    sealed::Sealed,
    some,
    target::Target,
    times::Times,
    transform,
};
use crate::wasi::{Directory, DirectoryEntry, Errno, FileType, Node, OpenHow, SetTime, Stat};
use geds::{Listing, Put};
use std::{any::Any, collections::BTreeMap, sync::Arc};

/// An opening of a folder.
#[derive(Debug)]
struct ObjectDirectory {
    shared: Arc<Shared>,
    folder: Arc<Folder>,
}

pub(super) fn opened(shared: &Arc<Shared>, folder: Arc<Folder>) -> Arc<dyn Directory> {
    Arc::new(ObjectDirectory { shared: shared.clone(), folder })
}

impl ObjectDirectory {
    /// What a path means, if what it passes is there.
    fn target(&self, names: &Names, path: &str) -> Result<Target, Errno> {
        let target = Target::of(&self.folder.name().ok_or(Errno::Noent)?, path)?;
        for passed in &target.passed {
            match self.shared.what(names, passed)? {
                What::Folder => {}
                What::File => return Err(Errno::Notdir),
                What::Nothing => return Err(self.shared.missing(names, passed)),
            }
        }
        let size = self.shared.prefix.len() + target.name.len();
        if size > geds::KEY_MAX_BYTES { Err(Errno::Nametoolong) } else { Ok(target) }
    }

    fn open_folder(&self, names: &mut Names, name: &str) -> Node {
        Node::Directory(opened(&self.shared, names.folder(name)))
    }

    /// Opens what can only be a folder.
    fn open_directory(&self, names: &mut Names, name: &str, how: OpenHow) -> Result<Node, Errno> {
        match self.shared.what(names, name)? {
            What::File => Err(Errno::Notdir),
            What::Nothing if how.create => Err(Errno::Isdir),
            What::Nothing => Err(self.shared.missing(names, name)),
            What::Folder if how.create && how.exclusive => Err(Errno::Exist),
            What::Folder if how.write || how.create || how.truncate => Err(Errno::Isdir),
            What::Folder => Ok(self.open_folder(names, name)),
        }
    }

    /// The open file of a name, if it is what a new opening has to see: others may have sealed the
    /// name again, or removed it, since it was opened.
    fn shown(&self, names: &mut Names, name: &str) -> Result<Option<Arc<Inode>>, Errno> {
        let Some(inode) = names.get(name).cloned() else { return Ok(None) };
        let Some(version) = inode.version() else { return Ok(Some(inode)) };
        if self.shared.stat(name)?.is_some_and(|stat| stat.version == version) {
            return Ok(Some(inode));
        }
        names.unlink(name);
        Ok(None)
    }

    /// The file of a name, which is opened if it is not; none if there is none.
    fn file(&self, names: &mut Names, name: &str) -> Result<Option<Arc<Inode>>, Errno> {
        if let Some(inode) = self.shown(names, name)? {
            return Ok(Some(inode));
        }
        let Some(sealed) = Sealed::open(&self.shared, name)? else { return Ok(None) };
        let number = names.free_number(self.shared.number(name));
        Ok(Some(Arc::new(Inode::sealed(number, name, sealed))))
    }

    fn create(&self, names: &Names, name: &str, exclusive: bool) -> Result<Arc<Inode>, Errno> {
        self.shared.check_parent(names, name)?;
        let number = names.free_number(self.shared.number(name));
        let inode = Inode::empty(&self.shared, number, Some(name.to_owned()), exclusive)?;
        Ok(Arc::new(inode))
    }

    fn folder_stat(&self, name: &str, links: u64) -> Result<Stat, Errno> {
        let marker = inside(name);
        let marker = if marker.is_empty() { None } else { self.shared.stat(&marker)? };
        // One that is there by what is in it has no times.
        let times = marker.as_ref().map(Times::of);
        let (accessed_ns, modified_ns) =
            times.map_or((0, 0), |times| (times.accessed_ns, times.modified_ns));
        Ok(Stat {
            device: self.shared.device,
            inode: self.shared.number(&inside(name)),
            file_type: FileType::Directory,
            links,
            size: 0,
            accessed_ns,
            modified_ns,
            changed_ns: modified_ns,
        })
    }

    fn file_stat(&self, name: &str, stat: &geds::Stat) -> Stat {
        let times = Times::of(stat);
        Stat {
            device: self.shared.device,
            inode: self.shared.number(name),
            file_type: FileType::RegularFile,
            links: 1,
            size: transform::size_of(stat),
            accessed_ns: times.accessed_ns,
            modified_ns: times.modified_ns,
            changed_ns: times.modified_ns,
        }
    }

    /// Refuses what cannot be renamed so, in the order in which the kernel does; says what is
    /// renamed. The folder that the new name is in has to be there.
    fn check_rename(&self, names: &Names, from: &Target, to: &Target) -> Result<What, Errno> {
        self.shared.check_parent(names, &to.name)?;
        let what = self.shared.what(names, &from.name)?;
        match what {
            What::Nothing => return Err(Errno::Noent),
            What::File if from.directory || to.directory => return Err(Errno::Notdir),
            What::File | What::Folder => {}
        }
        if from.name == to.name {
            return Ok(what);
        }
        if to.name.starts_with(&inside(&from.name)) {
            return Err(Errno::Inval);
        }
        if from.name.starts_with(&inside(&to.name)) {
            return Err(Errno::Notempty);
        }
        match (what, self.shared.what(names, &to.name)?) {
            (What::File, What::Folder) => Err(Errno::Isdir),
            (What::Folder, What::File) => Err(Errno::Notdir),
            (What::Folder, What::Folder) if self.shared.has_below(names, &to.name)? => {
                Err(Errno::Notempty)
            }
            _ => Ok(what),
        }
    }

    fn rename_file(&self, names: &mut Names, from: &Target, to: &Target) -> Result<(), Errno> {
        let (old, new) = (self.shared.key(&from.name), self.shared.key(&to.name));
        let renamed = self.shared.store.rename(&self.shared.bucket, &old, &new, Put::overwrite());
        // One that is not sealed yet has its name here alone.
        let sealed = some(renamed)?.is_some();
        let open = names.rename(&from.name, &to.name);
        if !sealed && open.is_none() {
            return Err(Errno::Noent);
        }
        open.map_or(Ok(()), |inode| inode.renamed(&self.shared))?;
        self.shared.keep_parent(names, &from.name)
    }

    fn rename_folder(&self, names: &mut Names, from: &str, to: &str) -> Result<(), Errno> {
        let (old, new) = (self.shared.key(&inside(from)), self.shared.key(&inside(to)));
        let bucket = &self.shared.bucket;
        // Each by itself: others may see some with the old name and some with the new one.
        self.shared.store.rename_prefix(bucket, &old, &new, &Put::overwrite()).map_err(errno)?;
        let below = inside(from);
        let open: Vec<_> = names.below(&below).map(|(rest, _)| rest.to_owned()).collect();
        for rest in open {
            let renamed = names.rename(&format!("{from}/{rest}"), &format!("{to}/{rest}"));
            renamed.map_or(Ok(()), |inode| inode.renamed(&self.shared))?;
        }
        names.rename_folder(from, to);
        self.shared.keep_parent(names, from)
    }

    /// All names in a folder that the store knows, with their types.
    fn listed(
        &self,
        inside: &str,
        limit: u32,
        found: &mut BTreeMap<String, FileType>,
    ) -> Result<(), Errno> {
        let prefix = self.shared.key(inside);
        let mut listing = Listing::prefix(&prefix).delimiter("/");
        loop {
            let page = self.shared.store.list(&self.shared.bucket, &listing).map_err(errno)?;
            for folder in &page.prefixes {
                add(found, &folder[prefix.len()..folder.len() - 1], FileType::Directory);
            }
            for entry in &page.entries {
                add(found, &entry.key[prefix.len()..], FileType::RegularFile);
            }
            if found.len() > limit as usize {
                return Err(Errno::Nomem);
            }
            match page.next {
                Some(next) => listing.after = Some(next),
                None => return Ok(()),
            }
        }
    }
}

/// Adds a name, if a path can spell it. A file hides the folder beside it, as it does for paths.
fn add(found: &mut BTreeMap<String, FileType>, name: &str, file_type: FileType) {
    if matches!(name, "" | "." | "..") || name.contains(['\0', '/']) {
        return;
    }
    let held = found.entry(name.to_owned()).or_insert(file_type);
    if file_type == FileType::RegularFile {
        *held = file_type;
    }
}

impl Directory for ObjectDirectory {
    fn open(&self, path: &str, how: OpenHow) -> Result<Node, Errno> {
        let mut names = self.shared.names();
        let names = &mut *names;
        let target = self.target(names, path)?;
        let name = target.name;
        if target.directory && how.create {
            self.shared.check_parent(names, &name)?;
            return Err(Errno::Isdir);
        }
        if target.directory || how.directory || name.is_empty() {
            return self.open_directory(names, &name, how);
        }
        let inode = match self.file(names, &name)? {
            Some(_) if how.create && how.exclusive => return Err(Errno::Exist),
            Some(inode) => {
                if how.truncate {
                    inode.empty_out(&self.shared)?;
                }
                inode
            }
            None if self.shared.is_folder(names, &name)? => {
                return self.open_directory(names, &name, how);
            }
            None if how.create => self.create(names, &name, how.exclusive)?,
            None => return Err(self.shared.missing(names, &name)),
        };
        Ok(Node::File(ObjectFile::open(&self.shared, names, inode, how.write)))
    }

    fn stat(&self) -> Result<Stat, Errno> {
        match self.folder.name() {
            Some(name) => self.folder_stat(&name, 1),
            None => self.folder_stat("", 0),
        }
    }

    fn stat_path(&self, path: &str, _follow: bool) -> Result<Stat, Errno> {
        let mut names = self.shared.names();
        let target = self.target(&names, path)?;
        if target.name.is_empty() {
            return self.folder_stat("", 1);
        }
        if let Some(inode) = self.shown(&mut names, &target.name)? {
            return if target.directory { Err(Errno::Notdir) } else { inode.stat(&self.shared) };
        }
        match self.shared.stat(&target.name)? {
            Some(_) if target.directory => Err(Errno::Notdir),
            Some(stat) => Ok(self.file_stat(&target.name, &stat)),
            None if self.shared.is_folder(&names, &target.name)? => {
                self.folder_stat(&target.name, 1)
            }
            None => Err(self.shared.missing(&names, &target.name)),
        }
    }

    fn entries(&self, limit: u32) -> Result<Vec<DirectoryEntry>, Errno> {
        let Some(folder) = self.folder.name() else { return Ok(Vec::new()) };
        let names = self.shared.names();
        let (inside, mut found) = (inside(&folder), BTreeMap::new());
        self.listed(&inside, limit, &mut found)?;
        for rest in names.unsealed_below(&inside) {
            match rest.split_once('/') {
                Some((name, _)) => add(&mut found, name, FileType::Directory),
                None => add(&mut found, rest, FileType::RegularFile),
            }
        }
        if found.len() > limit as usize {
            return Err(Errno::Nomem);
        }
        let entry = |(name, file_type): (String, FileType)| {
            let whole = format!("{inside}{name}");
            let inode = match (names.get(&whole), file_type) {
                (Some(inode), _) => inode.number(),
                (None, FileType::Directory) => self.shared.number(&format!("{whole}/")),
                (None, _) => self.shared.number(&whole),
            };
            DirectoryEntry { name, inode, file_type }
        };
        Ok(found.into_iter().map(entry).collect())
    }

    fn create_directory(&self, path: &str) -> Result<(), Errno> {
        let names = self.shared.names();
        let target = self.target(&names, path)?;
        if self.shared.what(&names, &target.name)? != What::Nothing {
            return Err(Errno::Exist);
        }
        self.shared.check_parent(&names, &target.name)?;
        self.shared.mark(&target.name)
    }

    fn remove_directory(&self, path: &str) -> Result<(), Errno> {
        let mut names = self.shared.names();
        let Target { name, .. } = self.target(&names, path)?;
        match self.shared.what(&names, &name)? {
            What::File => return Err(Errno::Notdir),
            What::Nothing => return Err(self.shared.missing(&names, &name)),
            What::Folder if name.is_empty() => return Err(Errno::Busy),
            What::Folder if self.shared.has_below(&names, &name)? => return Err(Errno::Notempty),
            What::Folder => {}
        }
        let marker = self.shared.key(&inside(&name));
        self.shared.store.delete(&self.shared.bucket, &marker, None).map_err(errno)?;
        names.unlink_folder(&name);
        self.shared.keep_parent(&names, &name)
    }

    fn remove_file(&self, path: &str) -> Result<(), Errno> {
        let mut names = self.shared.names();
        let Target { name, directory, .. } = self.target(&names, path)?;
        match self.shared.what(&names, &name)? {
            What::Folder => return Err(Errno::Isdir),
            What::Nothing => return Err(self.shared.missing(&names, &name)),
            What::File if directory => return Err(Errno::Notdir),
            What::File => {}
        }
        // One that is not sealed yet has its name here alone.
        let key = self.shared.key(&name);
        let deleted = self.shared.store.delete(&self.shared.bucket, &key, None).map_err(errno)?;
        if names.unlink(&name).is_none() && !deleted {
            return Err(Errno::Noent);
        }
        self.shared.keep_parent(&names, &name)
    }

    fn rename(&self, path: &str, target: &dyn Directory, to: &str) -> Result<(), Errno> {
        let peer = target.as_any().downcast_ref::<Self>().ok_or(Errno::Xdev)?;
        if !Arc::ptr_eq(&self.shared, &peer.shared) {
            return Err(Errno::Xdev);
        }
        let mut names = self.shared.names();
        let from = self.target(&names, path)?;
        self.shared.check_parent(&names, &from.name)?;
        let to = peer.target(&names, to)?;
        if from.name.is_empty() || to.name.is_empty() {
            return Err(Errno::Busy);
        }
        match self.check_rename(&names, &from, &to)? {
            _ if from.name == to.name => Ok(()),
            What::File => self.rename_file(&mut names, &from, &to),
            What::Folder | What::Nothing => self.rename_folder(&mut names, &from.name, &to.name),
        }
    }

    /// An object has one name.
    fn link(&self, _: &str, _: bool, _: &dyn Directory, _: &str) -> Result<(), Errno> {
        Err(Errno::Notsup)
    }

    /// Nothing in a bucket is a link.
    fn symlink(&self, _contents: &str, _path: &str) -> Result<(), Errno> {
        Err(Errno::Notsup)
    }

    fn read_link(&self, path: &str) -> Result<String, Errno> {
        self.stat_path(path, false)?;
        Err(Errno::Inval)
    }

    fn set_times(&self, accessed: SetTime, modified: SetTime) -> Result<(), Errno> {
        self.set_times_path(".", false, accessed, modified)
    }

    fn set_times_path(
        &self,
        path: &str,
        _follow: bool,
        accessed: SetTime,
        modified: SetTime,
    ) -> Result<(), Errno> {
        let mut names = self.shared.names();
        let Target { mut name, directory, .. } = self.target(&names, path)?;
        if let Some(inode) = self.shown(&mut names, &name)? {
            return if directory {
                Err(Errno::Notdir)
            } else {
                inode.set_times(&self.shared, accessed, modified)
            };
        }
        match self.shared.what(&names, &name)? {
            What::File if directory => return Err(Errno::Notdir),
            What::File => {}
            What::Nothing => return Err(self.shared.missing(&names, &name)),
            // A whole bucket has no object that could keep them.
            What::Folder if name.is_empty() => return Err(Errno::Notsup),
            What::Folder => {
                self.shared.mark(&name)?;
                name.push('/');
            }
        }
        let stat = self.shared.stat(&name)?.ok_or(Errno::Noent)?;
        keep_times(&self.shared, &name, &stat, Times::of(&stat).set(accessed, modified))
    }

    fn sync(&self) -> Result<(), Errno> {
        // What is renamed and removed is on disk when all that is sealed is.
        self.shared.store.persist_all().map_err(errno)
    }

    fn locate(&self) -> Option<String> {
        let name = self.folder.name()?;
        if name.is_empty() {
            return Some(".".to_owned());
        }
        let names = self.shared.names();
        self.shared.is_folder(&names, &name).ok()?.then_some(name)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
