//! Objects that are being written.

use crate::{
    Attributes, Error, Geds, Put, Result, Stat, check_key,
    client::{Client, Space, unexpected},
    disk,
    shared::record::Place,
    wire::{Reply, Request},
};
use arc_swap::Guard;
use std::{fs::File, io, os::unix::fs::FileExt, sync::Arc};

/// Up to this size bytes wait in this process's own memory, and are copied when they are sealed.
const HEAP_MAX: u64 = 64 << 10;
/// What is asked of the disk at once.
const DISK_STEP: u64 = 64 << 20;
/// What is copied at once.
const COPY_BYTES: usize = 1 << 20;

/// An object that is not sealed yet: nobody else sees it, and dropped unsealed it never was.
///
/// It lies in memory while there is room and moves to disk when it outgrows that, so it may be
/// larger than memory.
#[derive(Debug)]
pub struct Writer {
    store: Geds,
    /// The session that the bytes are written in.
    client: Arc<Client>,
    bucket: String,
    key: String,
    put: Put,
    stage: Stage,
    len: u64,
}

/// Where the bytes are until they are sealed.
#[derive(Debug)]
enum Stage {
    Heap(Vec<u8>),
    Memory(Space),
    Disk(Staged),
    /// Nowhere: the writer is sealed or dropped.
    Done,
}

/// A file that the node lent.
#[derive(Debug)]
struct Staged {
    client: Arc<Client>,
    number: u64,
    file: File,
    /// What the node knows that it may take.
    granted: u64,
    /// Checksums of all bytes so far, as long as they come in order.
    sums: Option<(disk::Sums, u64)>,
}

impl Writer {
    pub(crate) fn new(store: Geds, bucket: &str, key: &str, put: Put) -> Result<Self> {
        let hint = put.size_hint.unwrap_or(0);
        let client = Guard::into_inner(store.client());
        let stage = if hint <= HEAP_MAX {
            Stage::Heap(Vec::with_capacity(hint as usize))
        } else {
            grown(&client, hint)?
        };
        Ok(Self {
            store,
            client,
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            put,
            stage,
            len: 0,
        })
    }

    /// How many bytes there are so far.
    #[expect(clippy::len_without_is_empty, reason = "a size, as of a file")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Writes at a place, also behind the end: what lies between is zeros.
    ///
    /// # Errors
    /// [`Error::Exhausted`] when neither memory nor disk has room, [`Error::Io`].
    pub fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        let end = offset
            .checked_add(bytes.len() as u64)
            .filter(|end| *end <= i64::MAX as u64 - (1 << 32))
            .ok_or_else(|| Error::Invalid(format!("no object has a byte {offset}")))?;
        self.reserve(end)?;
        if offset > self.len {
            self.zero(self.len, offset - self.len)?;
        }
        match &mut self.stage {
            Stage::Heap(heap) => {
                if heap.len() < end as usize {
                    heap.resize(end as usize, 0);
                }
                heap[offset as usize..end as usize].copy_from_slice(bytes);
            }
            Stage::Memory(space) => space.write(offset, bytes)?,
            Stage::Disk(staged) => staged.write(offset, bytes)?,
            Stage::Done => return Err(done()),
        }
        self.len = self.len.max(end);
        Ok(())
    }

    /// Appends so many bytes, which `fill` writes to where they belong: in the store's memory, without another copy.
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at), and those of `fill`: then nothing was appended.
    pub fn append_with<E: From<Error>>(
        &mut self,
        len: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let (at, len_bytes) = (self.len, len as u64);
        self.reserve(at.saturating_add(len_bytes))?;
        if let Stage::Memory(space) = &mut self.stage {
            space.fill(at, len_bytes, |buffer| Ok(fill(buffer)))??;
            self.len = at + len_bytes;
            return Ok(());
        }
        let mut bytes = vec![0; len];
        fill(&mut bytes)?;
        Ok(self.write_at(at, &bytes)?)
    }

    /// Reads what was written so far, as [`Object::read_at`](crate::Object::read_at).
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let count = self.len.saturating_sub(offset).min(buffer.len() as u64) as usize;
        let part = &mut buffer[..count];
        if count == 0 {
            return Ok(0);
        }
        match &self.stage {
            Stage::Heap(heap) => part.copy_from_slice(&heap[offset as usize..][..count]),
            Stage::Memory(space) => space.read(offset, part)?,
            Stage::Disk(staged) => staged
                .file
                .read_exact_at(part, disk::EXTENTS_AT + offset)
                .map_err(Error::io("read a file with objects"))?,
            Stage::Done => return Err(done()),
        }
        Ok(count)
    }

    /// Cuts or extends with zeros to this size.
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at).
    pub fn truncate(&mut self, size: u64) -> Result<()> {
        if size > self.len {
            return self.write_at(size, &[]);
        }
        match &mut self.stage {
            Stage::Heap(heap) => heap.truncate(size as usize),
            Stage::Disk(staged) if size < self.len => {
                staged.sums = None;
                staged
                    .file
                    .set_len(disk::EXTENTS_AT + size)
                    .map_err(Error::io("cut a file with objects"))?;
            }
            Stage::Memory(_) | Stage::Disk(_) | Stage::Done => {}
        }
        self.len = size;
        Ok(())
    }

    /// Sets the attributes that the object will have.
    ///
    /// # Errors
    /// [`Error::AttributesSize`].
    pub fn set_attributes(&mut self, attributes: Attributes) -> Result<()> {
        attributes.encode()?;
        self.put.attributes = Some(attributes);
        Ok(())
    }

    /// Makes it an object, visible to everybody when this returns.
    ///
    /// # Errors
    /// [`Error::Exists`] and [`Error::Changed`], decided now and not before; [`Error::Exhausted`].
    pub fn seal(mut self) -> Result<Stat> {
        let (store, len) = (self.store.clone(), self.len);
        let put = std::mem::take(&mut self.put);
        match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Heap(heap) => store.put(&self.bucket, &self.key, &heap, put),
            Stage::Memory(mut space) => {
                self.client.shrink(&mut space, len);
                let written = (space, len);
                store.seal_space(&self.client, &self.bucket, &self.key, written, None, put)
            }
            Stage::Disk(staged) => self.seal_file(staged, put),
            Stage::Done => Err(done()),
        }
    }

    /// Makes it an object of another key, and as `put` says, than it was begun with.
    ///
    /// # Errors
    /// [`Error::Name`]; as [`seal`](Self::seal).
    pub fn seal_as(mut self, key: &str, put: Put) -> Result<Stat> {
        check_key(key)?;
        self.key = key.to_owned();
        self.put = put;
        self.seal()
    }

    fn seal_file(&self, mut staged: Staged, put: Put) -> Result<Stat> {
        let (sums, crc) = staged.sums(self.len)?;
        let written = disk::seal(&staged.file, disk::EXTENTS_AT, self.len, &sums);
        written.map_err(Error::io("write a file with objects"))?;
        let end = disk::behind(disk::EXTENTS_AT, self.len).unwrap_or(self.len);
        staged.grow(end)?;
        if put.durable {
            staged.file.sync_all().map_err(Error::io("sync a file with objects"))?;
        }
        let place = Place::File { file: staged.number, offset: disk::EXTENTS_AT };
        // The file is lent until the record is left for the node.
        let written = (place, self.len);
        self.store.seal_place(&self.client, &self.bucket, &self.key, written, Some(crc), put)
    }

    /// Makes room up to a size.
    fn reserve(&mut self, end: u64) -> Result<()> {
        let enough = match &self.stage {
            Stage::Heap(_) => end <= HEAP_MAX,
            Stage::Memory(space) => end <= space.capacity(),
            Stage::Disk(_) | Stage::Done => true,
        };
        if enough {
            return Ok(());
        }
        let next = grown(&self.client, end.max(self.len.saturating_mul(2)))?;
        self.move_to(next)?;
        Ok(())
    }

    fn move_to(&mut self, mut next: Stage) -> Result<()> {
        let mut at = 0;
        let mut buffer = vec![0; COPY_BYTES.min(self.len as usize)];
        while at < self.len {
            let count = self.read_at(at, &mut buffer)?;
            match &mut next {
                Stage::Memory(space) => space.write(at, &buffer[..count])?,
                Stage::Disk(staged) => staged.write(at, &buffer[..count])?,
                Stage::Heap(_) | Stage::Done => return Err(done()),
            }
            at += count as u64;
        }
        if let Stage::Memory(old) = std::mem::replace(&mut self.stage, next) {
            self.client.unused(old);
        }
        Ok(())
    }

    fn zero(&mut self, at: u64, len: u64) -> Result<()> {
        match &mut self.stage {
            Stage::Heap(_) | Stage::Done => Ok(()),
            Stage::Memory(space) => space.zero(at, len),
            Stage::Disk(staged) => {
                // Files read as zeros where nothing was written.
                staged.sums = None;
                let size = disk::EXTENTS_AT + at + len;
                staged.file.set_len(size).map_err(Error::io("extend a file with objects"))
            }
        }
    }
}

/// Where an object goes on that has become this large: to memory if it may and there is room.
fn grown(client: &Arc<Client>, size: u64) -> Result<Stage> {
    if size <= client.memory_object_max() {
        match client.allocate(size) {
            Ok(space) => return Ok(Stage::Memory(space)),
            Err(Error::Exhausted { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Staged::begin(client).map(Stage::Disk)
}

fn done() -> Error {
    Error::Invalid("the object is sealed".to_owned())
}

impl Staged {
    fn begin(client: &Arc<Client>) -> Result<Self> {
        let (Reply::File { file: number }, files) = client.ask(&Request::Stage)? else {
            return Err(unexpected());
        };
        let file = File::from(files.into_iter().next().ok_or_else(unexpected)?);
        let client = Arc::clone(client);
        Ok(Self { client, number, file, granted: 0, sums: Some((disk::Sums::default(), 0)) })
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<()> {
        let begin = disk::EXTENTS_AT + at;
        let end = begin + bytes.len() as u64;
        if end > self.granted {
            self.grow(end.next_multiple_of(DISK_STEP))?;
        }
        self.file.write_all_at(bytes, begin).map_err(Error::io("write a file with objects"))?;
        match &mut self.sums {
            Some((sums, summed)) if *summed == at => {
                sums.add(bytes);
                *summed += bytes.len() as u64;
            }
            sums => *sums = None,
        }
        Ok(())
    }

    /// Tells the node how much the file takes.
    fn grow(&mut self, bytes: u64) -> Result<()> {
        match self.client.ask(&Request::Grow { file: self.number, bytes })?.0 {
            Reply::Done => {
                self.granted = bytes;
                Ok(())
            }
            _ => Err(unexpected()),
        }
    }

    /// The checksums of all bytes: read again if they did not come in order.
    fn sums(&mut self, len: u64) -> Result<(Vec<u32>, u32)> {
        if let Some((sums, _)) = self.sums.take_if(|(_, summed)| *summed == len) {
            return Ok(sums.finish());
        }
        let mut sums = disk::Sums::default();
        let mut buffer = vec![0; COPY_BYTES];
        let mut at = 0;
        while at < len {
            let count = buffer.len().min((len - at) as usize);
            let part = &mut buffer[..count];
            self.file
                .read_exact_at(part, disk::EXTENTS_AT + at)
                .map_err(Error::io("read a file with objects"))?;
            sums.add(part);
            at += count as u64;
        }
        Ok(sums.finish())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // A node that has gone has forgotten it.
        let _ = self.client.ask(&Request::Unstage { file: self.number });
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Stage::Memory(space) = std::mem::replace(&mut self.stage, Stage::Done) {
            self.client.unused(space);
        }
    }
}

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_at(self.len, bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
