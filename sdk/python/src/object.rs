//! Sealed objects, and views of their bytes.
#![expect(unsafe_code, reason = "the slots of the buffer protocol are unsafe functions")]

use crate::{
    buffers::{Exported, copied, new_bytes, with_room},
    errors::Result,
    here::Here,
    values::Stat,
};
use pyo3::{ffi, prelude::*, types::PyBytes};
use std::ffi::c_int;

/// Bytes of a sealed object, borrowed from the store: `memoryview(view)` copies nothing. While the
/// view, or anything made of it, lives, the store keeps them in place.
#[pyclass(module = "cloudskin.geds", weakref)]
pub(crate) struct View {
    bytes: Exported,
    /// Keeps the store open.
    _store: Py<PyAny>,
}

impl View {
    pub(crate) fn new(view: geds::View, store: Py<PyAny>) -> Self {
        Self { bytes: Exported::new(view), _store: store }
    }
}

#[pymethods]
impl View {
    /// Whether the bytes are borrowed from shared memory; else they were read into this process's.
    #[getter]
    fn is_shared(&self) -> Result<bool> {
        Ok(self.bytes.view()?.is_shared())
    }

    /// How many bytes there are.
    #[getter]
    fn nbytes(&self) -> Result<usize> {
        Ok(self.bytes.view()?.len())
    }

    /// A copy of the bytes.
    fn tobytes<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyBytes>> {
        copied(py, self.bytes.view()?)
    }

    /// Lets the store use the memory again; raises `BufferError` while something looks into it.
    fn release(&mut self) -> Result<()> {
        self.bytes.release()
    }

    fn __bytes__<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyBytes>> {
        self.tobytes(py)
    }

    fn __len__(&self) -> Result<usize> {
        self.nbytes()
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (*_why))]
    fn __exit__(&mut self, _why: &Bound<'_, PyAny>) -> Result<()> {
        self.release()
    }

    fn __repr__(&self) -> String {
        match self.bytes.view() {
            Ok(view) => format!("<cloudskin.geds.View of {} bytes>", view.len()),
            Err(_) => "<cloudskin.geds.View, released>".to_owned(),
        }
    }

    /// # Safety
    /// The interpreter calls this with a request of its own.
    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        request: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> Result<()> {
        let view = slf.borrow();
        // SAFETY: the request is the interpreter's, and `slf` holds the view.
        unsafe { view.bytes.lend(slf.as_any(), request, flags) }
    }

    /// # Safety
    /// The interpreter calls this once for each request that was filled in.
    unsafe fn __releasebuffer__(&self, _request: *mut ffi::Py_buffer) {
        self.bytes.given_back();
    }
}

/// A sealed object that was opened: it stays readable, with the same bytes, when its name is
/// overwritten, renamed or deleted.
#[pyclass(module = "cloudskin.geds", frozen, weakref)]
pub(crate) struct Object {
    object: Here<geds::Object>,
    store: Py<PyAny>,
}

impl Object {
    pub(crate) fn new(object: geds::Object, store: Py<PyAny>) -> Self {
        Self { object: Here::new(object), store }
    }
}

#[pymethods]
impl Object {
    /// How many bytes it has.
    #[getter]
    fn size(&self) -> Result<u64> {
        Ok(self.object.get()?.len())
    }

    /// What is known about it.
    #[getter]
    fn stat(&self) -> Result<Stat> {
        Ok(self.object.get()?.stat().clone().into())
    }

    /// Up to `size` bytes from `offset` on: fewer only at the end.
    fn read_at<'py>(&self, py: Python<'py>, offset: u64, size: u64) -> Result<Bound<'py, PyBytes>> {
        let object = self.object.get()?;
        let end = offset.saturating_add(size).min(object.len());
        let len = end.saturating_sub(offset);
        if let Ok(Some(view)) = object.view_range(end - len..end) {
            return copied(py, &view);
        }
        new_bytes(py, len as usize, |room| object.read_at(offset, room))
    }

    /// Reads from `offset` on into a buffer, and says how many bytes.
    fn read_into(&self, offset: u64, buffer: &Bound<'_, PyAny>) -> Result<usize> {
        let object = self.object.get()?;
        Ok(with_room(buffer, |room| object.read_at(offset, room))??)
    }

    /// All bytes: borrowed where they lie together in memory, else read.
    fn view(&self, py: Python<'_>) -> Result<View> {
        let object = self.object.get()?;
        let view = py.detach(|| object.bytes())?;
        Ok(View::new(view, self.store.clone_ref(py)))
    }

    /// The bytes from `start` to before `stop` without a copy; None if they do not lie together in
    /// memory.
    fn view_range(&self, py: Python<'_>, start: u64, stop: u64) -> Result<Option<View>> {
        let view = self.object.get()?.view_range(start..stop)?;
        Ok(view.map(|view| View::new(view, self.store.clone_ref(py))))
    }

    fn __len__(&self) -> Result<usize> {
        Ok(self.object.get()?.len() as usize)
    }
}
