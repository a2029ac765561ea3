//! Where C's pointers are looked at, and nowhere else. All of them may be null.
#![expect(unsafe_code, reason = "what C passes are addresses")]

use crate::failure::{self, Failure, Result};
use std::{
    ffi::{c_char, c_void},
    ptr, slice,
};

/// The longest text that is looked at: the longest path of Linux. Keys are shorter.
const TEXT_MAX_BYTES: usize = 4096;

/// The message of this thread's last failure; empty if there was none.
#[unsafe(no_mangle)]
pub extern "C" fn geds_error() -> *const c_char {
    failure::message()
}

/// The name of a code.
#[unsafe(no_mangle)]
pub extern "C" fn geds_status_name(status: i32) -> *const c_char {
    failure::name(status).as_ptr()
}

/// A text that ends with a zero byte; none for null.
///
/// # Safety
/// `text` is null, or can be read up to a zero byte, for as long as the result is used.
pub(crate) unsafe fn optional_text<'a>(text: *const c_char, what: &str) -> Result<Option<&'a str>> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: no byte behind the first zero is read.
    let len = (0..=TEXT_MAX_BYTES).find(|index| unsafe { *text.add(*index) } == 0);
    let Some(len) = len else {
        return Err(Failure::invalid(format!("the {what} is longer than {TEXT_MAX_BYTES} bytes")));
    };
    // SAFETY: these bytes were just read.
    let bytes = unsafe { slice::from_raw_parts(text.cast::<u8>(), len) };
    match str::from_utf8(bytes) {
        Ok(text) => Ok(Some(text)),
        Err(_) => Err(Failure::invalid(format!("the {what} is not UTF-8"))),
    }
}

/// A text that must be there.
///
/// # Safety
/// As [`optional_text`].
pub(crate) unsafe fn text<'a>(text: *const c_char, what: &str) -> Result<&'a str> {
    // SAFETY: the caller's.
    let text = unsafe { optional_text(text, what) }?;
    text.ok_or_else(|| Failure::invalid(format!("the {what} is a null pointer")))
}

/// Bytes that C has; null stands for none.
///
/// # Safety
/// `len` bytes can be read at `bytes`, and are not written, for as long as the result is used.
pub(crate) unsafe fn bytes<'a>(bytes: *const c_void, len: usize) -> Result<&'a [u8]> {
    check(bytes.is_null(), len)?;
    if len == 0 {
        return Ok(&[]);
    }
    // SAFETY: the caller's, and the length is one that a slice may have.
    Ok(unsafe { slice::from_raw_parts(bytes.cast(), len) })
}

/// Room that C has.
///
/// # Safety
/// `len` bytes can be written at `room`, and nobody else uses them, for as long as the result is used.
pub(crate) unsafe fn room<'a>(room: *mut c_void, len: usize) -> Result<&'a mut [u8]> {
    check(room.is_null(), len)?;
    if len == 0 {
        return Ok(&mut []);
    }
    // SAFETY: the caller's. The bytes may hold anything; they are only written.
    Ok(unsafe { slice::from_raw_parts_mut(room.cast(), len) })
}

fn check(null: bool, len: usize) -> Result<()> {
    if null && len > 0 {
        return Err(Failure::invalid(format!("{len} bytes at a null pointer")));
    }
    if len > isize::MAX as usize {
        return Err(Failure::invalid(format!("no memory has {len} bytes")));
    }
    Ok(())
}

/// Refuses a place for a result that is none, before anything is done for it.
pub(crate) fn check_out<T>(out: *const T, what: &str) -> Result<()> {
    if out.is_null() {
        return Err(Failure::invalid(format!("the place for the {what} is a null pointer")));
    }
    if !out.is_aligned() {
        return Err(Failure::invalid(format!("the place for the {what} is not aligned")));
    }
    Ok(())
}

/// Writes a result to a place that [`check_out`] accepted.
///
/// # Safety
/// `out` can be written.
pub(crate) unsafe fn write_out<T>(out: *mut T, value: T) {
    // SAFETY: the caller's.
    unsafe { ptr::write(out, value) };
}
