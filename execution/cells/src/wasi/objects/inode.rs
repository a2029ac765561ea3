//! An open file: its bytes, sealed or not yet, however often it is open.

use super::{
    Shared,
    content::Content,
    errno,
    sealed::Sealed,
    some,
    times::Times,
    transform::{EncryptedWriter, Transform},
};
use crate::wasi::{Errno, FileType, SetTime, Stat};
use geds::{Error, Put, Writer};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Up to this size bytes are copied to be sealed, so that a refusal loses nothing. (A writer that is
/// refused is gone; it is refused late only if it has its memory already.)
const SMALL_BYTES: u64 = 64 << 10;

/// A file that is open.
#[derive(Debug)]
pub(super) struct Inode {
    number: u64,
    body: RwLock<Body>,
}

#[derive(Debug)]
struct Body {
    /// From the mount's root on; none once it was removed or replaced.
    name: Option<String>,
    content: Content,
    times: Times,
    /// Whether the times were set, and not by writing.
    set: bool,
    /// Whether no other may have the name when it is sealed.
    exclusive: bool,
    /// Whether a program asked for its bytes to be on disk: then its next ones have to be too, lest
    /// they replace in memory what would outlive them.
    durable: bool,
    /// The version that is on disk, if that is known.
    persisted: Option<u64>,
    /// Whether who wrote to it ended out of order: then it is never sealed.
    abandoned: bool,
}

impl Inode {
    /// A new file, or one without a name.
    pub(super) fn empty(
        shared: &Shared,
        number: u64,
        name: Option<String>,
        exclusive: bool,
    ) -> Result<Self, Errno> {
        let content = Content::Unsealed(shared.stage(0)?);
        Ok(Self::of(number, name, content, Times::now(), exclusive))
    }

    /// A sealed file.
    pub(super) fn sealed(number: u64, name: &str, sealed: Sealed) -> Self {
        let times = Times::of(sealed.stat());
        Self::of(number, Some(name.to_owned()), Content::Sealed(sealed), times, false)
    }

    fn of(
        number: u64,
        name: Option<String>,
        content: Content,
        times: Times,
        exclusive: bool,
    ) -> Self {
        let body = Body {
            name,
            content,
            times,
            set: false,
            exclusive,
            durable: false,
            persisted: None,
            abandoned: false,
        };
        Self { number, body: RwLock::new(body) }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn name(&self) -> Option<String> {
        self.body().name.clone()
    }

    /// Gives it another name, or none. What was to be the first of its name is that no more.
    pub(super) fn set_name(&self, name: Option<String>) {
        let mut body = self.change();
        body.name = name;
        body.exclusive = false;
    }

    /// The version that it shows, if it has no bytes but those.
    pub(super) fn version(&self) -> Option<u64> {
        match &self.body().content {
            Content::Sealed(sealed) => Some(sealed.stat().version),
            Content::Unsealed(_) | Content::Encrypting(_) | Content::Gone => None,
        }
    }

    fn body(&self) -> RwLockReadGuard<'_, Body> {
        self.body.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) -> RwLockWriteGuard<'_, Body> {
        self.body.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn stat(&self, shared: &Shared) -> Result<Stat, Errno> {
        let body = self.body();
        Ok(Stat {
            device: shared.device,
            inode: self.number,
            file_type: FileType::RegularFile,
            links: u64::from(body.name.is_some()),
            size: body.content.size()?,
            accessed_ns: body.times.accessed_ns,
            modified_ns: body.times.modified_ns,
            changed_ns: body.times.modified_ns,
        })
    }

    pub(super) fn read_at(&self, into: &mut [u8], offset: u64) -> Result<usize, Errno> {
        self.body().content.read_at(into, offset)
    }

    pub(super) fn write_at(
        &self,
        shared: &Shared,
        bytes: &[u8],
        offset: u64,
    ) -> Result<usize, Errno> {
        self.change().write(shared, bytes, offset)
    }

    /// Writes at the end; gives the bytes written and the end after them.
    pub(super) fn append(&self, shared: &Shared, bytes: &[u8]) -> Result<(usize, u64), Errno> {
        let mut body = self.change();
        let end = body.content.size()?;
        let written = body.write(shared, bytes, end)?;
        Ok((written, end + written as u64))
    }

    pub(super) fn set_size(&self, shared: &Shared, size: u64) -> Result<(), Errno> {
        let mut body = self.change();
        if body.content.size()? == size {
            return Ok(());
        }
        body.resize(shared, size)
    }

    /// Empties it, which also makes a new version of one that is empty.
    pub(super) fn empty_out(&self, shared: &Shared) -> Result<(), Errno> {
        self.change().resize(shared, 0)
    }

    /// Makes it at least so large.
    pub(super) fn extend(&self, shared: &Shared, size: u64) -> Result<(), Errno> {
        let mut body = self.change();
        if body.content.size()? >= size {
            return Ok(());
        }
        body.resize(shared, size)
    }

    pub(super) fn set_times(
        &self,
        shared: &Shared,
        accessed: SetTime,
        modified: SetTime,
    ) -> Result<(), Errno> {
        let mut body = self.change();
        let times = body.times.set(accessed, modified);
        if let (Content::Sealed(sealed), Some(name)) = (&body.content, &body.name) {
            keep_times(shared, name, sealed.stat(), times)?;
        }
        body.times = times;
        body.set = true;
        Ok(())
    }

    /// Seals what was written, if anything was. `goes_on` says whether somebody still has it open.
    pub(super) fn seal(&self, shared: &Shared, goes_on: bool) -> Result<(), Errno> {
        self.change().seal(shared, goes_on)
    }

    /// Puts it on disk, where it outlives the store; for that it is sealed.
    pub(super) fn sync(&self, shared: &Shared) -> Result<(), Errno> {
        let mut body = self.change();
        body.durable = true;
        body.seal(shared, true)?;
        let (Content::Sealed(sealed), Some(name)) = (&body.content, &body.name) else {
            return Ok(());
        };
        let version = sealed.stat().version;
        if body.persisted == Some(version) {
            return Ok(());
        }
        // Removed by somebody else: there is nothing to keep.
        some(shared.store.persist(&shared.bucket, &shared.key(name)))?;
        body.persisted = Some(version);
        Ok(())
    }

    /// Shows what its new name has: a rename gives a sealed object another version.
    pub(super) fn renamed(&self, shared: &Shared) -> Result<(), Errno> {
        let mut body = self.change();
        let Content::Sealed(_) = &body.content else { return Ok(()) };
        let Some(name) = &body.name else { return Ok(()) };
        if let Some(sealed) = Sealed::open(shared, name)? {
            body.content = Content::Sealed(sealed);
            body.persisted = None;
        }
        Ok(())
    }

    /// Never seals it: who wrote to it did not end in order.
    pub(super) fn abandon(&self) {
        self.change().abandoned = true;
    }
}

impl Body {
    fn write(&mut self, shared: &Shared, bytes: &[u8], offset: u64) -> Result<usize, Errno> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let end = offset.checked_add(bytes.len() as u64).ok_or(Errno::Fbig)?;
        i64::try_from(end).map_err(|_| Errno::Fbig)?;
        self.begin_encrypting(shared, offset, end)?;
        if matches!(&self.content, Content::Encrypting(writer) if writer.len() == offset) {
            self.encrypt(shared, bytes)?;
        } else {
            // What is written over need not be copied.
            let kept = if offset == 0 && end >= self.content.size()? { 0 } else { u64::MAX };
            self.unsealed(shared, kept, end)?.write_at(offset, bytes).map_err(too_large)?;
        }
        self.written();
        Ok(bytes.len())
    }

    fn resize(&mut self, shared: &Shared, size: u64) -> Result<(), Errno> {
        self.unsealed(shared, size, size)?.truncate(size).map_err(too_large)?;
        self.written();
        Ok(())
    }

    fn written(&mut self) {
        self.times.modified_ns = Times::now().modified_ns;
        self.set = false;
    }

    /// From the write on by which it outgrows being copied, what is appended to a file of an encrypted
    /// mount is encrypted at once.
    fn begin_encrypting(&mut self, shared: &Shared, offset: u64, end: u64) -> Result<(), Errno> {
        let (Content::Unsealed(writer), Transform::Encrypt(key)) =
            (&self.content, &shared.transform)
        else {
            return Ok(());
        };
        if offset != writer.len() || offset > SMALL_BYTES || end <= SMALL_BYTES {
            return Ok(());
        }
        let to = shared.stage(shared.transform.encoded_bytes(end))?;
        let mut encrypting = EncryptedWriter::begin(key, to).map_err(errno)?;
        let mut before = vec![0; offset as usize];
        writer.read_at(0, &mut before).map_err(errno)?;
        encrypting.append(&before).map_err(errno)?;
        self.content = Content::Encrypting(Box::new(encrypting));
        Ok(())
    }

    /// Appends to a file that is encrypted as it comes. If there is no room it goes on as a plain one.
    fn encrypt(&mut self, shared: &Shared, bytes: &[u8]) -> Result<(), Errno> {
        let Content::Encrypting(writer) = &mut self.content else { return Err(Errno::Stale) };
        let Err(error) = writer.append(bytes) else { return Ok(()) };
        let len = writer.len();
        if self.unsealed(shared, len, len).is_err() {
            self.content = Content::Gone;
        }
        Err(too_large(error))
    }

    /// Where it is written: a copy of the sealed or encrypted bytes, of which `kept` matter.
    fn unsealed(
        &mut self,
        shared: &Shared,
        kept: u64,
        expected: u64,
    ) -> Result<&mut Writer, Errno> {
        if let Content::Sealed(_) | Content::Encrypting(_) = &self.content {
            let size = self.content.size()?;
            let kept = kept.min(size);
            let mut writer = shared.stage(kept.max(expected.min(2 * size)))?;
            self.content.copy(kept, &mut writer)?;
            self.content = Content::Unsealed(writer);
        }
        match &mut self.content {
            Content::Unsealed(writer) => Ok(writer),
            _ => Err(Errno::Stale),
        }
    }

    fn seal(&mut self, shared: &Shared, goes_on: bool) -> Result<(), Errno> {
        let (Some(name), false) = (&self.name, self.abandoned) else { return Ok(()) };
        if let Content::Sealed(_) | Content::Gone = &self.content {
            return Ok(());
        }
        let (name, key) = (name.clone(), shared.key(name));
        let put = self.put(shared, self.content.size()?);
        let sealed = match std::mem::replace(&mut self.content, Content::Gone) {
            Content::Unsealed(writer)
                if writer.len() <= SMALL_BYTES || !shared.transform.is_none() =>
            {
                let sealed = seal_copy(shared, &writer, &key, put);
                // Refused, it is as it was.
                self.content = Content::Unsealed(writer);
                sealed
            }
            Content::Unsealed(writer) => writer.seal_as(&key, put),
            Content::Encrypting(writer) => writer.seal_as(&key, put),
            Content::Sealed(_) | Content::Gone => return Ok(()),
        };
        let stat = sealed.map_err(errno)?;
        self.exclusive = false;
        self.content = Content::Gone;
        if goes_on && let Some(sealed) = Sealed::open(shared, &name)? {
            self.times = Times::of(sealed.stat());
            self.persisted = self.durable.then_some(stat.version);
            self.content = Content::Sealed(sealed);
        }
        Ok(())
    }

    fn put(&self, shared: &Shared, size: u64) -> Put {
        let given = &shared.seal;
        let set = || self.times.keep(given.attributes.clone().unwrap_or_default());
        let attributes = if self.set { Some(set()) } else { given.attributes.clone() };
        let attributes = shared.transform.describe(attributes, size);
        let (overwrite, durable) = (!self.exclusive, self.durable || given.durable);
        Put { overwrite, durable, attributes, replicas: given.replicas, ..Put::default() }
    }
}

/// Seals the bytes of a file as the mount keeps them, and leaves the file as it is.
fn seal_copy(shared: &Shared, file: &Writer, key: &str, put: Put) -> geds::Result<geds::Stat> {
    let size = shared.transform.encoded_bytes(file.len());
    if size <= SMALL_BYTES {
        let mut bytes = Vec::with_capacity(size as usize);
        shared.transform.encode(file, &mut bytes)?;
        return shared.store.put(&shared.bucket, key, &bytes, put);
    }
    let mut writer = shared.store.create(&shared.bucket, key, put.size_hint(size))?;
    shared.transform.encode(file, &mut writer)?;
    writer.seal()
}

/// A place that no object has.
fn too_large(error: Error) -> Errno {
    match error {
        Error::Invalid(_) => Errno::Fbig,
        error => errno(error),
    }
}

/// Keeps a sealed object's times with it, if it still is this version.
pub(super) fn keep_times(
    shared: &Shared,
    name: &str,
    stat: &geds::Stat,
    times: Times,
) -> Result<(), Errno> {
    let attributes = times.keep(stat.attributes.clone());
    let version = Some(stat.version);
    match shared.store.set_attributes(&shared.bucket, &shared.key(name), attributes, version) {
        // Replaced or removed by somebody else: this one has no name any more.
        Ok(_) | Err(Error::Changed { .. } | Error::NoObject { .. }) => Ok(()),
        Err(error) => Err(errno(error)),
    }
}
