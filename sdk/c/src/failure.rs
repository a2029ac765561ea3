//! What went wrong, as a number and as the calling thread's message.

use geds::ErrorKind;
use std::{
    any::Any,
    cell::RefCell,
    error::Error as _,
    ffi::{CStr, CString},
    panic::{AssertUnwindSafe, catch_unwind},
};

/// The result of what a function does.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// Why a function failed.
pub(crate) struct Failure {
    status: i32,
    message: String,
}

/// What was passed cannot be.
const INVALID: i32 = -1;
/// A defect of ours or of the machine.
const INTERNAL: i32 = -11;
/// No such handle is open.
const HANDLE: i32 = -12;

/// The names of all codes, from 0 on downwards.
const NAMES: [&CStr; 13] = [
    c"ok",
    c"invalid",
    c"not found",
    c"exists",
    c"conflict",
    c"exhausted",
    c"forbidden",
    c"corrupt",
    c"unavailable",
    c"unsupported",
    c"timeout",
    c"internal",
    c"no such handle",
];

impl Failure {
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self { status: INVALID, message: message.into() }
    }

    pub(crate) fn handle(what: &str, handle: u64) -> Self {
        let message =
            format!("no {what} is open under the handle {handle}: it was closed, or never was");
        Self { status: HANDLE, message }
    }

    fn panicked(payload: &(dyn Any + Send)) -> Self {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
        let message = format!("a defect of the library: {}", text.unwrap_or("it panicked"));
        Self { status: INTERNAL, message }
    }
}

impl From<geds::Error> for Failure {
    fn from(error: geds::Error) -> Self {
        let status = match error.kind() {
            ErrorKind::Invalid => INVALID,
            ErrorKind::NotFound => -2,
            ErrorKind::AlreadyExists => -3,
            ErrorKind::Conflict | ErrorKind::Fenced => -4,
            ErrorKind::Exhausted => -5,
            ErrorKind::Forbidden | ErrorKind::Unauthenticated => -6,
            ErrorKind::Corrupt => -7,
            ErrorKind::Unavailable => -8,
            ErrorKind::Unsupported => -9,
            ErrorKind::Timeout => -10,
            _ => INTERNAL,
        };
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(next) = cause {
            message = format!("{message}: {next}");
            cause = next.source();
        }
        Self { status, message }
    }
}

thread_local! {
    static MESSAGE: RefCell<CString> = RefCell::default();
}

/// The message of this thread's last failure; empty if there was none.
pub(crate) fn message() -> *const std::ffi::c_char {
    MESSAGE.try_with(|message| message.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}

/// The name of a code.
pub(crate) fn name(status: i32) -> &'static CStr {
    let index = status.checked_neg().and_then(|index| usize::try_from(index).ok());
    index.and_then(|index| NAMES.get(index)).copied().unwrap_or(c"unknown")
}

/// Runs what a function does. A failure becomes its code, which is negative, and this thread's
/// message; so does a panic, which C could not survive.
pub(crate) fn guarded<R: From<i32>>(act: impl FnOnce() -> Result<R>) -> R {
    let failure = match catch_unwind(AssertUnwindSafe(act)) {
        Ok(Ok(result)) => return result,
        Ok(Err(failure)) => failure,
        Err(payload) => Failure::panicked(payload.as_ref()),
    };
    let text = failure.message.replace('\0', "\u{fffd}");
    // A thread that is ending has nobody who asks.
    let _ =
        MESSAGE.try_with(|message| *message.borrow_mut() = CString::new(text).unwrap_or_default());
    R::from(failure.status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_a_code_and_a_message() {
        let status: i32 = guarded(|| panic!("broken \0 thing"));

        assert_eq!(status, INTERNAL);
        let said = MESSAGE.with(|message| message.borrow().to_string_lossy().into_owned());
        assert_eq!(said, "a defect of the library: broken \u{fffd} thing");
    }

    #[test]
    fn every_code_has_a_name() {
        assert_eq!(name(0), c"ok");
        assert_eq!(name(HANDLE), c"no such handle");
        for unknown in [1, -13, i32::MIN, i32::MAX] {
            assert_eq!(name(unknown), c"unknown");
        }
    }
}
