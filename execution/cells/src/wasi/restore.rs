//! Continuing from an image: what was granted decides, never what the image says.
//!
//! First everything is checked and opened without a change to any file; only then are carried
//! bytes written back.

use super::{
    Directory, Errno, File, FileType, Grant, Limits, Node, OpenHow, RestoreError, Rights, Sources,
    Streams, Wasi,
    config::{check_grants, check_texts},
    image::{Content, DescriptorImage, FileImage, KindImage, VERSION, WasiImage, hash, read_all},
    process::Clocks,
    table::{Entry, Kind, OpenDirectory, OpenFile, Table, flags},
};
use crate::neural::{Given, Neural};
use std::{collections::HashSet, sync::Arc};

impl Wasi {
    /// Continues a saved program under new grants.
    ///
    /// A descriptor that is not covered by the grants and limits is refused. A file that was
    /// only read must be there and unchanged. A file that was open for writing gets the bytes it
    /// had when the image was made: if it is missing it is created (its directory must exist),
    /// if it holds other bytes they are replaced, for they were written after the image and are
    /// undone with the rest of the program's state. A file of a mount with versions that was not
    /// written to must be there in the same version. A removed file continues without a name.
    /// Graphs that were loaded by name are those of the models that are given now.
    pub fn restore(
        image: WasiImage,
        grants: Vec<Grant>,
        models: Vec<Given>,
        streams: Streams,
        sources: Box<dyn Sources>,
        limits: Limits,
    ) -> Result<Self, RestoreError> {
        if !(1..=VERSION).contains(&image.version) {
            return Err(RestoreError::Version { found: image.version, known: VERSION });
        }
        check_variables(&image.variables)?;
        check_texts(&image.arguments, &image.variables, &limits)?;
        check_grants(&grants, &limits)?;
        let check = Check { image: &image, grants: &grants, limits: &limits };
        check.descriptors()?;
        check.files()?;
        let neural = match image.graphs.clone() {
            Some(graphs) => Neural::restore(graphs, models, limits.model_bytes)?,
            None => Neural::new(models, limits.model_bytes),
        };
        let opened = open_files(&image, &grants)?;
        let directories = open_directories(&image, &grants)?;
        let files = write_back(&image, opened)?;
        let table = build_table(&image, &grants, &limits, &files, directories)?;
        let mut sources = sources;
        Ok(Self {
            clock: Clocks::continuing(&mut *sources, image.monotonic_ns, image.cpu_ns),
            arguments: image.arguments,
            variables: image.variables,
            table,
            grants,
            streams,
            sources,
            limits,
            output_bytes: image.output_bytes,
            poll: image.poll,
            neural,
        })
    }
}

fn check_variables(variables: &[String]) -> Result<(), RestoreError> {
    // What comes before the first `=` is the name.
    let named = |variable: &String| variable.find('=').is_some_and(|end| end > 0);
    match variables.iter().find(|variable| !named(variable)) {
        None => Ok(()),
        Some(variable) => Err(malformed(format!("variable {variable:?} has no name"))),
    }
}

fn malformed(what: impl Into<String>) -> RestoreError {
    RestoreError::Malformed { what: what.into() }
}

/// The image against what is granted.
struct Check<'i> {
    image: &'i WasiImage,
    grants: &'i [Grant],
    limits: &'i Limits,
}

impl Check<'_> {
    fn descriptors(&self) -> Result<(), RestoreError> {
        let mut seen = HashSet::new();
        for descriptor in &self.image.descriptors {
            if !seen.insert(descriptor.fd) {
                return Err(twice(descriptor.fd));
            }
            if descriptor.fd >= self.limits.open_files {
                let limit = self.limits.open_files;
                return Err(RestoreError::TooManyFiles { fd: descriptor.fd, limit });
            }
            if descriptor.flags & !flags::ALL != 0 {
                return Err(malformed(format!("descriptor {} has unknown flags", descriptor.fd)));
            }
            self.rights(descriptor)?;
            self.kind(descriptor)?;
        }
        Ok(())
    }

    fn rights(&self, descriptor: &DescriptorImage) -> Result<(), RestoreError> {
        let both = Rights::DIRECTORY | Rights::FILE;
        let (base, inheriting) = match descriptor.kind {
            KindImage::Stdin => (Rights::INPUT, Rights::NONE),
            KindImage::Stdout | KindImage::Stderr => (Rights::OUTPUT, Rights::NONE),
            KindImage::Directory { .. } => (Rights::DIRECTORY, both),
            KindImage::File { .. } => (Rights::FILE, Rights::NONE),
        };
        if base.contains(descriptor.base) && inheriting.contains(descriptor.inheriting) {
            return Ok(());
        }
        let extra = descriptor.base.0 & !base.0 | descriptor.inheriting.0 & !inheriting.0;
        Err(not_granted(descriptor.fd, format!("the rights {extra:#x}")))
    }

    fn kind(&self, descriptor: &DescriptorImage) -> Result<(), RestoreError> {
        let fd = descriptor.fd;
        match &descriptor.kind {
            KindImage::Stdin | KindImage::Stdout | KindImage::Stderr => Ok(()),
            KindImage::Directory { mount, path, preopen, listing } => {
                self.grant(fd, mount)?;
                if *preopen && path != "." {
                    return Err(not_granted(fd, format!("`{path}` of `{mount}` as granted")));
                }
                self.listing(fd, listing.as_deref().unwrap_or_default())
            }
            KindImage::File { file, offset, writable, .. } => {
                let Some(file) = self.image.files.get(*file as usize) else {
                    return Err(malformed(format!("descriptor {fd} refers to no file")));
                };
                if i64::try_from(*offset).is_err() {
                    return Err(malformed(format!("descriptor {fd} stands behind every file")));
                }
                let grant = self.grant(fd, &file.mount)?;
                let writes = *writable || descriptor.base.intersects(Rights::WRITING);
                if writes && grant.read_only {
                    return Err(not_granted(fd, format!("to write in `{}`", file.mount)));
                }
                if writes != *writable || writes && matches!(file.content, Content::Hash { .. }) {
                    return Err(malformed(format!("descriptor {fd} contradicts its file")));
                }
                Ok(())
            }
        }
    }

    fn grant(&self, fd: u32, mount: &str) -> Result<&Grant, RestoreError> {
        self.grants
            .iter()
            .find(|grant| grant.guest_path == mount)
            .ok_or_else(|| not_granted(fd, format!("the folder `{mount}`")))
    }

    fn listing(&self, fd: u32, listing: &[super::DirectoryEntry]) -> Result<(), RestoreError> {
        // `.` and `..` come on top.
        if listing.len() > self.limits.directory_entries as usize + 2 {
            return Err(malformed(format!("descriptor {fd} lists too many names")));
        }
        let wrong = |name: &str| name.is_empty() || name.contains(['/', '\0']);
        match listing.iter().find(|entry| wrong(&entry.name)) {
            None => Ok(()),
            Some(entry) => {
                Err(malformed(format!("descriptor {fd} lists the name {:?}", entry.name)))
            }
        }
    }

    /// Every file has a descriptor, and what is written back may be.
    fn files(&self) -> Result<(), RestoreError> {
        let mut holders = vec![None; self.image.files.len()];
        for descriptor in &self.image.descriptors {
            if let KindImage::File { file, .. } = descriptor.kind {
                holders[file as usize] = Some(descriptor.fd);
            }
        }
        let mut carried_bytes = 0;
        for (file, holder) in self.image.files.iter().zip(holders) {
            let Some(fd) = holder else {
                return Err(malformed("a file is held by no descriptor"));
            };
            if file.path.is_none() && !matches!(file.content, Content::Bytes(_)) {
                return Err(malformed("a file without a name carries no bytes"));
            }
            let Content::Bytes(bytes) = &file.content else { continue };
            carried_bytes += bytes.0.len() as u64;
            if file.path.is_some() && self.grant(fd, &file.mount)?.read_only {
                return Err(not_granted(fd, format!("to write in `{}`", file.mount)));
            }
        }
        if carried_bytes > self.limits.carried_bytes {
            let limit = self.limits.carried_bytes;
            return Err(malformed(format!(
                "it carries {carried_bytes} bytes: the limit is {limit}"
            )));
        }
        Ok(())
    }
}

fn not_granted(fd: u32, what: String) -> RestoreError {
    RestoreError::NotGranted { fd, what }
}

/// A directory that a restored descriptor refers to.
type DirectoryHandle = Arc<dyn Directory>;

/// A file that is open, or known to be missing where it will be created.
enum Opened {
    Open(Arc<dyn File>),
    Missing(DirectoryHandle),
}

fn root(grants: &[Grant], mount: &str, path: &str) -> Result<DirectoryHandle, RestoreError> {
    let grant = grants.iter().find(|grant| grant.guest_path == mount);
    let root = grant.ok_or(Errno::Notcapable).and_then(|grant| grant.mount.root());
    root.map_err(|source| open_error(mount, path, source))
}

fn open_error(mount: &str, path: &str, source: Errno) -> RestoreError {
    RestoreError::Open { mount: mount.to_owned(), path: path.to_owned(), source }
}

fn open_files(image: &WasiImage, grants: &[Grant]) -> Result<Vec<Opened>, RestoreError> {
    let written = |place: usize| {
        image.descriptors.iter().any(|descriptor| match descriptor.kind {
            KindImage::File { file, writable, .. } => writable && file as usize == place,
            _ => false,
        })
    };
    let files = image.files.iter().enumerate();
    files.map(|(place, file)| open_file(file, written(place), grants)).collect()
}

fn open_file(file: &FileImage, written: bool, grants: &[Grant]) -> Result<Opened, RestoreError> {
    let Some(path) = &file.path else {
        let grant = grants.iter().find(|grant| grant.guest_path == file.mount);
        let scratch = grant.ok_or(Errno::Notcapable).and_then(|grant| grant.mount.scratch());
        let scratch = scratch.map_err(|source| open_error(&file.mount, "removed file", source));
        return Ok(Opened::Open(scratch?));
    };
    let root = root(grants, &file.mount, path)?;
    let differs = |difference| RestoreError::Differs {
        mount: file.mount.clone(),
        path: path.clone(),
        difference,
    };
    let carried = matches!(file.content, Content::Bytes(_));
    let write = carried || written;
    let node = match root.open(path, OpenHow { read: true, write, ..OpenHow::default() }) {
        Err(Errno::Noent) if carried => {
            let parent = path.rsplit_once('/').map_or(".", |(parent, _)| parent);
            let parent = root.stat_path(parent, true);
            parent.map_err(|source| open_error(&file.mount, path, source))?;
            return Ok(Opened::Missing(root));
        }
        Err(Errno::Isdir) => return Err(differs("it is a directory")),
        opened => opened.map_err(|source| open_error(&file.mount, path, source))?,
    };
    let Node::File(node) = node else { return Err(differs("it is a directory")) };
    let failed = |source| open_error(&file.mount, path, source);
    let stat = node.stat().map_err(failed)?;
    if stat.file_type != FileType::RegularFile {
        return Err(differs("it is a device"));
    }
    if let Content::Version(version) = file.content
        && node.version() != Some(version)
    {
        return Err(RestoreError::OtherVersion {
            mount: file.mount.clone(),
            path: path.clone(),
            expected: version,
            found: node.version(),
        });
    }
    if let Content::Hash { blake3, size_bytes } = file.content {
        if stat.size != size_bytes {
            return Err(differs("its size changed"));
        }
        if hash(&*node).map_err(failed)? != (blake3, size_bytes) {
            return Err(differs("its content changed"));
        }
    }
    Ok(Opened::Open(node))
}

fn open_directories(
    image: &WasiImage,
    grants: &[Grant],
) -> Result<Vec<Option<DirectoryHandle>>, RestoreError> {
    let open = |descriptor: &DescriptorImage| match &descriptor.kind {
        KindImage::Directory { mount, path, .. } => open_directory(grants, mount, path).map(Some),
        _ => Ok(None),
    };
    image.descriptors.iter().map(open).collect()
}

fn open_directory(
    grants: &[Grant],
    mount: &str,
    path: &str,
) -> Result<DirectoryHandle, RestoreError> {
    let how = OpenHow { read: true, directory: true, ..OpenHow::default() };
    match root(grants, mount, path)?.open(path, how) {
        Ok(Node::Directory(node)) => Ok(node),
        Ok(Node::File(_)) => Err(open_error(mount, path, Errno::Notdir)),
        Err(source) => Err(open_error(mount, path, source)),
    }
}

/// Gives every carried file its bytes.
fn write_back(image: &WasiImage, opened: Vec<Opened>) -> Result<Vec<Arc<dyn File>>, RestoreError> {
    let write = |(file, opened): (&FileImage, Opened)| {
        let Content::Bytes(bytes) = &file.content else {
            return match opened {
                Opened::Open(node) => Ok(node),
                Opened::Missing(_) => Err(malformed("a file that was read is missing")),
            };
        };
        write_one(file, opened, &bytes.0).map_err(|source| RestoreError::WriteBack {
            mount: file.mount.clone(),
            path: file.path.clone().unwrap_or_else(|| "removed file".to_owned()),
            source,
        })
    };
    image.files.iter().zip(opened).map(write).collect()
}

fn write_one(file: &FileImage, opened: Opened, bytes: &[u8]) -> Result<Arc<dyn File>, Errno> {
    let node = match opened {
        Opened::Open(node) => node,
        Opened::Missing(root) => {
            let path = file.path.as_deref().unwrap_or_default();
            let how = OpenHow {
                read: true,
                write: true,
                create: true,
                exclusive: true,
                ..OpenHow::default()
            };
            match root.open(path, how)? {
                Node::File(node) => node,
                Node::Directory(_) => return Err(Errno::Isdir),
            }
        }
    };
    let size = bytes.len() as u64;
    // What is right already keeps its times.
    if node.stat()?.size == size && read_all(&*node, size)? == bytes {
        return Ok(node);
    }
    node.set_size(size)?;
    let mut done = 0;
    while done < bytes.len() {
        match node.write_at(&bytes[done..], done as u64)? {
            0 => return Err(Errno::Io),
            written => done += written,
        }
    }
    Ok(node)
}

/// The table, from what is checked and open.
fn build_table(
    image: &WasiImage,
    grants: &[Grant],
    limits: &Limits,
    files: &[Arc<dyn File>],
    directories: Vec<Option<DirectoryHandle>>,
) -> Result<Table, RestoreError> {
    let mut table = Table::new(limits.open_files);
    let position = |mount: &str| {
        let position = grants.iter().position(|grant| grant.guest_path == mount);
        position.ok_or_else(|| malformed(format!("no mount `{mount}`")))
    };
    for (descriptor, directory) in image.descriptors.iter().zip(directories) {
        let kind = match (&descriptor.kind, directory) {
            (KindImage::Stdin, _) => Kind::Input,
            (KindImage::Stdout, _) => Kind::Stdout,
            (KindImage::Stderr, _) => Kind::Stderr,
            (KindImage::Directory { mount, preopen, listing, .. }, Some(node)) => {
                let (mount, preopen, listing) = (position(mount)?, *preopen, listing.clone());
                Kind::Directory(OpenDirectory { node, mount, preopen, listing })
            }
            (KindImage::Directory { .. }, None) => return Err(malformed("a directory is lost")),
            (KindImage::File { file, offset, readable, writable }, _) => {
                let place = *file as usize;
                let (node, mount) = (files[place].clone(), position(&image.files[place].mount)?);
                let (offset, readable, writable) = (*offset, *readable, *writable);
                Kind::File(OpenFile { node, mount, offset, readable, writable })
            }
        };
        let (base, inheriting, flags) = (descriptor.base, descriptor.inheriting, descriptor.flags);
        let entry = Entry { kind, base, inheriting, flags };
        table.insert_at(descriptor.fd, entry).map_err(|_| twice(descriptor.fd))?;
    }
    Ok(table)
}

fn twice(fd: u32) -> RestoreError {
    malformed(format!("descriptor {fd} is there twice"))
}
