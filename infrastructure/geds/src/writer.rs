//! Objects that are being written.

use crate::{Error, Geds, Put, Result, Stat};
use std::io;

/// An object that is not sealed yet: nobody else sees it, and dropped unsealed it never was.
#[derive(Debug)]
pub struct Writer {
    store: Geds,
    bucket: String,
    key: String,
    put: Put,
    bytes: Vec<u8>,
}

impl Writer {
    pub(crate) fn new(store: Geds, bucket: &str, key: &str, put: Put) -> Self {
        Self { store, bucket: bucket.to_owned(), key: key.to_owned(), put, bytes: Vec::new() }
    }

    /// How many bytes there are so far.
    #[expect(clippy::len_without_is_empty, reason = "a size, as of a file")]
    pub fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Writes at a place, also behind the end: what lies between is zeros.
    ///
    /// # Errors
    /// [`Error::Exhausted`] when neither memory nor disk has room, [`Error::Io`].
    pub fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        let end = offset.checked_add(bytes.len() as u64).and_then(|end| usize::try_from(end).ok());
        let end = end.ok_or_else(|| Error::Invalid("the place is too far away".to_owned()))?;
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[offset as usize..end].copy_from_slice(bytes);
        Ok(())
    }

    /// Reads what was written so far, as [`Object::read_at`](crate::Object::read_at).
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX).min(self.bytes.len());
        let count = buffer.len().min(self.bytes.len() - offset);
        buffer[..count].copy_from_slice(&self.bytes[offset..offset + count]);
        Ok(count)
    }

    /// Cuts or extends with zeros to this size.
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at).
    pub fn truncate(&mut self, size: u64) -> Result<()> {
        let size = usize::try_from(size).map_err(|_| Error::Invalid("too large".to_owned()))?;
        self.bytes.resize(size, 0);
        Ok(())
    }

    /// Sets the attributes that the object will have.
    ///
    /// # Errors
    /// [`Error::AttributesSize`].
    pub fn set_attributes(&mut self, attributes: crate::Attributes) -> Result<()> {
        attributes.encode()?;
        self.put.attributes = Some(attributes);
        Ok(())
    }

    /// Makes it an object, visible to everybody when this returns.
    ///
    /// # Errors
    /// [`Error::Exists`] and [`Error::Changed`], decided now and not before; [`Error::Exhausted`].
    pub fn seal(self) -> Result<Stat> {
        self.store.put(&self.bucket, &self.key, &self.bytes, self.put)
    }
}

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_at(self.len(), bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
