//! Objects that are being written.

use crate::{
    buffers::{new_bytes, with_bytes, with_room},
    errors::{Failed, Result, invalid},
    here::Here,
    values::{Stat, attributes},
};
use pyo3::{
    prelude::*,
    types::{PyBytes, PyDict},
};

/// An object that is not sealed yet: nobody else sees it, and dropped unsealed it never was.
#[pyclass(module = "cloudskin.geds", weakref)]
pub(crate) struct Writer {
    writer: Here<Option<geds::Writer>>,
    /// Keeps the store open.
    _store: Py<PyAny>,
}

impl Writer {
    pub(crate) fn new(writer: geds::Writer, store: Py<PyAny>) -> Self {
        Self { writer: Here::new(Some(writer)), _store: store }
    }

    fn open(&self) -> Result<&geds::Writer> {
        self.writer.get()?.as_ref().ok_or_else(done)
    }

    fn open_mut(&mut self) -> Result<&mut geds::Writer> {
        self.writer.get_mut()?.as_mut().ok_or_else(done)
    }
}

#[pymethods]
impl Writer {
    /// How many bytes there are so far.
    #[getter]
    fn size(&self) -> Result<u64> {
        Ok(self.open()?.len())
    }

    /// Whether it was sealed or given up.
    #[getter]
    fn closed(&self) -> bool {
        self.open().is_err()
    }

    /// Writes at a place, also behind the end: what lies between is zeros. Says how many bytes.
    fn write_at(&mut self, offset: u64, data: &Bound<'_, PyAny>) -> Result<usize> {
        let writer = self.open_mut()?;
        let write = |bytes: &[u8]| writer.write_at(offset, bytes).map(|()| bytes.len());
        Ok(with_bytes(data, write)??)
    }

    /// Reads what was written so far: up to `size` bytes from `offset` on.
    fn read_at<'py>(&self, py: Python<'py>, offset: u64, size: u64) -> Result<Bound<'py, PyBytes>> {
        let writer = self.open()?;
        let len = writer.len().saturating_sub(offset).min(size);
        new_bytes(py, len as usize, |room| writer.read_at(offset, room))
    }

    /// Reads from `offset` on into a buffer, and says how many bytes.
    fn read_into(&self, offset: u64, buffer: &Bound<'_, PyAny>) -> Result<usize> {
        let writer = self.open()?;
        Ok(with_room(buffer, |room| writer.read_at(offset, room))??)
    }

    /// Cuts or extends with zeros to this size.
    fn truncate(&mut self, py: Python<'_>, size: u64) -> Result<()> {
        let writer = self.open_mut()?;
        Ok(py.detach(|| writer.truncate(size))?)
    }

    /// Sets the attributes that the object will have.
    fn set_attributes(&mut self, given: &Bound<'_, PyDict>) -> Result<()> {
        let attributes = attributes(given)?;
        Ok(self.open_mut()?.set_attributes(attributes)?)
    }

    /// Makes it an object, visible to everybody when this returns.
    fn seal(&mut self, py: Python<'_>) -> Result<Stat> {
        let writer = self.writer.get_mut()?.take().ok_or_else(done)?;
        Ok(py.detach(|| writer.seal())?.into())
    }

    /// Gives it up: it never was.
    fn abort(&mut self, py: Python<'_>) -> Result<()> {
        let writer = self.writer.get_mut()?.take();
        py.detach(|| drop(writer));
        Ok(())
    }
}

fn done() -> Failed {
    invalid("the object is sealed, or was given up")
}
