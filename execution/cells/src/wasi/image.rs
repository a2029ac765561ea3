//! A program's view of the system as a value, to be encoded, sent and restored.

use super::{
    DirectoryEntry, File, FileType, Rights, SaveError, Wasi,
    poll::Pending,
    process::ClockId,
    table::{Entry, Kind, OpenFile},
};
use crate::neural::NeuralImage;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{collections::HashMap, fmt};

/// The newest format of [`WasiImage`]: from 3 on graphs may follow it.
pub(crate) const VERSION: u16 = 3;

/// The format of an image without graphs: from 2 on files may be told by their version.
const VERSION_WITHOUT_GRAPHS: u16 = 2;

/// The format of an image in which no file is told by its version, either.
const VERSION_WITHOUT: u16 = 1;

/// A saved [`Wasi`], without its streams, sources and grants, which are given anew.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WasiImage {
    pub(crate) version: u16,
    pub(crate) arguments: Vec<String>,
    pub(crate) variables: Vec<String>,
    pub(crate) monotonic_ns: u64,
    pub(crate) cpu_ns: u64,
    pub(crate) output_bytes: u64,
    pub(crate) poll: Option<Pending>,
    pub(crate) files: Vec<FileImage>,
    pub(crate) descriptors: Vec<DescriptorImage>,
    /// Graphs of models, which follow the rest.
    #[serde(skip)]
    pub(crate) graphs: Option<NeuralImage>,
}

impl WasiImage {
    /// As bytes.
    ///
    /// # Errors
    /// As of the encoder.
    pub(crate) fn encode(&self) -> postcard::Result<Vec<u8>> {
        let mut bytes = postcard::to_stdvec(self)?;
        if let Some(graphs) = &self.graphs {
            bytes.extend(postcard::to_stdvec(graphs)?);
        }
        Ok(bytes)
    }

    /// Reads what [`WasiImage::encode`] wrote, which may be anything.
    ///
    /// # Errors
    /// As of the decoder.
    pub(crate) fn decode(bytes: &[u8]) -> postcard::Result<Self> {
        let (mut image, rest) = postcard::take_from_bytes::<Self>(bytes)?;
        if image.version > VERSION_WITHOUT_GRAPHS {
            image.graphs = Some(postcard::from_bytes(rest)?);
        }
        Ok(image)
    }
}

/// An open file; several descriptors may share one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct FileImage {
    pub(crate) mount: String,
    /// `None` if it was removed while open.
    pub(crate) path: Option<String>,
    pub(crate) content: Content,
}

/// What a file must hold when the program continues.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Content {
    /// It was only read: the same file must be there.
    Hash { blake3: [u8; 32], size_bytes: u64 },
    /// It was open for writing, or has no name: its bytes travel.
    Bytes(Bytes),
    /// It is sealed: the same version must be there.
    Version(u64),
}

/// One descriptor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct DescriptorImage {
    pub(crate) fd: u32,
    pub(crate) base: Rights,
    pub(crate) inheriting: Rights,
    pub(crate) flags: u16,
    pub(crate) kind: KindImage,
}

/// What a descriptor refers to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum KindImage {
    Stdin,
    Stdout,
    Stderr,
    Directory {
        mount: String,
        path: String,
        preopen: bool,
        listing: Option<Vec<DirectoryEntry>>,
    },
    File {
        /// Its place in [`WasiImage::files`].
        file: u32,
        offset: u64,
        readable: bool,
        writable: bool,
    },
}

/// Bytes that are encoded as one piece.
#[derive(Clone, PartialEq)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Bytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }

            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
                Ok(Bytes(bytes))
            }
        }
        deserializer.deserialize_byte_buf(Visitor)
    }
}

impl Wasi {
    /// The state as an image; nothing is closed or changed.
    ///
    /// Files that are only read travel as path and hash, those that their mount gives versions and that
    /// were not written to since, as path and version. Other files open for writing, and files
    /// without a name, travel with their bytes, up to [`Limits::carried_bytes`] together.
    ///
    /// [`Limits::carried_bytes`]: super::Limits::carried_bytes
    pub fn save(&mut self) -> Result<WasiImage, SaveError> {
        let (monotonic_ns, cpu_ns) = (self.now(ClockId::Monotonic), self.now(ClockId::Cpu));
        let mut files = Files::new(self);
        let mut descriptors = Vec::new();
        for (fd, entry) in self.table.iter() {
            let kind = self.kind_image(fd, entry, &mut files)?;
            let (base, inheriting, flags) = (entry.base, entry.inheriting, entry.flags);
            descriptors.push(DescriptorImage { fd, base, inheriting, flags, kind });
        }
        let told = |file: &FileImage| matches!(file.content, Content::Version(_));
        let graphs = self.neural.image();
        let version = match files.images.iter().any(told) {
            _ if graphs.is_some() => VERSION,
            true => VERSION_WITHOUT_GRAPHS,
            false => VERSION_WITHOUT,
        };
        Ok(WasiImage {
            version,
            arguments: self.arguments.clone(),
            variables: self.variables.clone(),
            monotonic_ns,
            cpu_ns,
            output_bytes: self.output_bytes,
            poll: self.poll,
            files: files.images,
            descriptors,
            graphs,
        })
    }

    fn kind_image(
        &self,
        fd: u32,
        entry: &Entry,
        files: &mut Files,
    ) -> Result<KindImage, SaveError> {
        Ok(match &entry.kind {
            Kind::Input => KindImage::Stdin,
            Kind::Stdout => KindImage::Stdout,
            Kind::Stderr => KindImage::Stderr,
            Kind::Directory(directory) => {
                let mount = self.grants[directory.mount].guest_path.clone();
                let Some(path) = directory.node.locate() else {
                    return Err(SaveError::RemovedDirectory { fd, mount });
                };
                let (preopen, listing) = (directory.preopen, directory.listing.clone());
                KindImage::Directory { mount, path, preopen, listing }
            }
            Kind::File(file) => KindImage::File {
                file: files.add(fd, file, &self.grants[file.mount].guest_path)?,
                offset: file.offset,
                readable: file.readable,
                writable: file.writable,
            },
        })
    }
}

/// The files of an image under construction; a file open several times is in it once.
struct Files {
    images: Vec<FileImage>,
    known: HashMap<(usize, u64, u64), u32>,
    /// Files that some descriptor may write to.
    written: Vec<(usize, u64, u64)>,
    carried_bytes: u64,
    limit_bytes: u64,
}

impl Files {
    fn new(wasi: &Wasi) -> Self {
        let mut written = Vec::new();
        for (_, entry) in wasi.table.iter() {
            if let Kind::File(file) = &entry.kind
                && file.writable
                && let Ok(stat) = file.node.stat()
            {
                written.push((file.mount, stat.device, stat.inode));
            }
        }
        let limit_bytes = wasi.limits.carried_bytes;
        Self { images: Vec::new(), known: HashMap::new(), written, carried_bytes: 0, limit_bytes }
    }

    fn add(&mut self, fd: u32, file: &OpenFile, mount: &str) -> Result<u32, SaveError> {
        let read = |source| SaveError::Read { fd, mount: mount.to_owned(), source };
        let stat = file.node.stat().map_err(read)?;
        if stat.file_type != FileType::RegularFile {
            return Err(SaveError::Device { fd, mount: mount.to_owned() });
        }
        let key = (file.mount, stat.device, stat.inode);
        if let Some(index) = self.known.get(&key) {
            return Ok(*index);
        }
        let path = file.node.locate();
        let content = if let (Some(_), Some(version)) = (&path, file.node.version()) {
            Content::Version(version)
        } else if path.is_none() || self.written.contains(&key) {
            self.carried_bytes = self.carried_bytes.saturating_add(stat.size);
            if self.carried_bytes > self.limit_bytes {
                return Err(SaveError::TooLarge {
                    fd,
                    mount: mount.to_owned(),
                    path: path.unwrap_or_else(|| "removed file".to_owned()),
                    size_bytes: self.carried_bytes,
                    limit_bytes: self.limit_bytes,
                });
            }
            Content::Bytes(Bytes(read_all(&*file.node, stat.size).map_err(read)?))
        } else {
            let (blake3, size_bytes) = hash(&*file.node).map_err(read)?;
            Content::Hash { blake3, size_bytes }
        };
        let index = self.images.len() as u32;
        self.images.push(FileImage { mount: mount.to_owned(), path, content });
        self.known.insert(key, index);
        Ok(index)
    }
}

/// The first `size` bytes, or fewer if the file shrinks meanwhile.
pub(crate) fn read_all(file: &dyn File, size: u64) -> Result<Vec<u8>, super::Errno> {
    let size = usize::try_from(size).map_err(|_| super::Errno::Fbig)?;
    let mut bytes = vec![0; size];
    let mut done = 0;
    while done < size {
        match file.read_at(&mut bytes[done..], done as u64)? {
            0 => break,
            read => done += read,
        }
    }
    bytes.truncate(done);
    Ok(bytes)
}

/// The file's hash and the number of bytes that went into it.
pub(crate) fn hash(file: &dyn File) -> Result<([u8; 32], u64), super::Errno> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 128 << 10];
    let mut offset = 0;
    loop {
        match file.read_at(&mut buffer, offset)? {
            0 => return Ok((hasher.finalize().into(), offset)),
            read => {
                hasher.update(&buffer[..read]);
                offset += read as u64;
            }
        }
    }
}
