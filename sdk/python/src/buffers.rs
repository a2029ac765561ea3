//! Bytes that pass between the interpreter and the store; all unsafe code is here.
#![expect(unsafe_code, reason = "the buffer protocol hands out and takes addresses")]

use crate::{
    errors::{Result, invalid},
    here::Here,
};
use geds::View;
use pyo3::{buffer::PyUntypedBuffer, exceptions::PyBufferError, ffi, prelude::*, types::PyBytes};
use std::{
    ffi::c_int,
    slice,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
};

/// From here on it is worth letting other threads run while bytes are copied.
const LARGE_BYTES: usize = 256 << 10;

/// Lets `act` have the bytes of any object with the buffer protocol, the interpreter's lock released.
///
/// Python code of other threads could write into a `bytearray` meanwhile; as with a write to a file,
/// what is stored then is some mixture.
///
/// # Errors
/// A `BufferError` if the bytes do not lie together, `TypeError` if there are none.
pub(crate) fn with_bytes<R: Send>(
    data: &Bound<'_, PyAny>,
    act: impl FnOnce(&[u8]) -> R + Send,
) -> Result<R> {
    let py = data.py();
    if let Ok(bytes) = data.cast::<PyBytes>() {
        let bytes = bytes.as_bytes();
        return Ok(py.detach(|| act(bytes)));
    }
    let buffer = contiguous(data)?;
    let len = buffer.len_bytes();
    if len == 0 {
        return Ok(act(&[]));
    }
    // SAFETY: the buffer is held until this function ends, and its exporter promises that `len` bytes
    // lie at this address as long.
    let bytes = unsafe { slice::from_raw_parts(buffer.buf_ptr().cast::<u8>().cast_const(), len) };
    Ok(py.detach(|| act(bytes)))
}

/// Lets `act` fill any object with the buffer protocol that can be written, the interpreter's lock
/// released.
///
/// # Errors
/// A `BufferError` if it is read-only or its bytes do not lie together.
pub(crate) fn with_room<R: Send>(
    room: &Bound<'_, PyAny>,
    act: impl FnOnce(&mut [u8]) -> R + Send,
) -> Result<R> {
    let buffer = contiguous(room)?;
    if buffer.readonly() {
        return Err(PyBufferError::new_err("the buffer is read-only").into());
    }
    let len = buffer.len_bytes();
    if len == 0 {
        return Ok(act(&mut []));
    }
    // SAFETY: as above; it may be written, and whoever else looks into it sees bytes as they come, which
    // is what `readinto` of a file does as well.
    let bytes = unsafe { slice::from_raw_parts_mut(buffer.buf_ptr().cast::<u8>(), len) };
    Ok(room.py().detach(|| act(bytes)))
}

fn contiguous(object: &Bound<'_, PyAny>) -> Result<PyUntypedBuffer> {
    let buffer = PyUntypedBuffer::get(object)?;
    if buffer.is_c_contiguous() {
        return Ok(buffer);
    }
    Err(PyBufferError::new_err("the bytes do not lie together: copy the array first").into())
}

/// New `bytes` of this length that `fill` makes, with the interpreter's lock released.
///
/// # Errors
/// `MemoryError`, and those of `fill`.
pub(crate) fn new_bytes(
    py: Python<'_>,
    len: usize,
    fill: impl FnOnce(&mut [u8]) -> geds::Result<usize> + Send,
) -> Result<Bound<'_, PyBytes>> {
    let mut filled = Ok(0);
    let bytes = PyBytes::new_with(py, len, |room| {
        filled = py.detach(|| fill(room));
        Ok(())
    })?;
    match filled? {
        count if count == len => Ok(bytes),
        count => Ok(PyBytes::new(py, bytes.as_bytes().get(..count).unwrap_or_default())),
    }
}

/// A copy of bytes.
///
/// # Errors
/// `MemoryError`.
pub(crate) fn copied<'py>(py: Python<'py>, bytes: &[u8]) -> Result<Bound<'py, PyBytes>> {
    if bytes.len() < LARGE_BYTES {
        return Ok(PyBytes::new(py, bytes));
    }
    new_bytes(py, bytes.len(), |room| {
        room.copy_from_slice(bytes);
        Ok(bytes.len())
    })
}

/// A view, and how many buffers of the interpreter look into it.
pub(crate) struct Exported {
    view: Here<Option<View>>,
    buffers: AtomicUsize,
}

impl Exported {
    pub(crate) fn new(view: View) -> Self {
        Self { view: Here::new(Some(view)), buffers: AtomicUsize::new(0) }
    }

    /// The bytes.
    ///
    /// # Errors
    /// Those of a view that was released.
    pub(crate) fn view(&self) -> Result<&View> {
        self.view.get()?.as_ref().ok_or_else(|| invalid("the view was released"))
    }

    /// Lets the store use the memory again.
    ///
    /// # Errors
    /// A `BufferError` while buffers look into it.
    pub(crate) fn release(&mut self) -> Result<()> {
        match self.buffers.load(SeqCst) {
            0 => {
                *self.view.get_mut()? = None;
                Ok(())
            }
            count => {
                let why = format!("{count} buffers look into the view: release them first");
                Err(PyBufferError::new_err(why).into())
            }
        }
    }

    /// Fills in a request of the buffer protocol for `owner`, which holds this.
    ///
    /// # Errors
    /// A `BufferError` if it is to be written, and those of a view that was released.
    ///
    /// # Safety
    /// `request` is null or what the interpreter gave to `__getbuffer__`; `owner` holds `self`.
    pub(crate) unsafe fn lend(
        &self,
        owner: &Bound<'_, PyAny>,
        request: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> Result<()> {
        let bytes: &[u8] = self.view()?;
        let (address, len) = (bytes.as_ptr().cast_mut().cast(), bytes.len() as ffi::Py_ssize_t);
        // SAFETY: the request is the interpreter's. The bytes stay where they are as long as `owner`
        // lives, which the filled request holds, because `release` refuses while buffers are counted.
        let filled =
            unsafe { ffi::PyBuffer_FillInfo(request, owner.as_ptr(), address, len, 1, flags) };
        if filled == 0 {
            self.buffers.fetch_add(1, SeqCst);
            return Ok(());
        }
        Err(PyErr::fetch(owner.py()).into())
    }

    /// Counts a buffer that looks into the view no more.
    pub(crate) fn given_back(&self) {
        self.buffers.fetch_sub(1, SeqCst);
    }
}
