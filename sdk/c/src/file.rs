//! Objects as files: `geds.h` says what each function does.
#![expect(unsafe_code, reason = "what C passes are addresses")]

use crate::{
    border::{bytes, check_out, room, text, write_out},
    failure::{Failure, Result, guarded},
    handles::Handles,
    object::{put, store},
};
use geds::{Geds, Object, Put, Writer};
use std::{
    ffi::{c_char, c_int, c_void},
    sync::{Mutex, PoisonError},
};

static FILES: Handles<Mutex<File>> = Handles::new("file");

/// What is copied at once when an object is written again from a former one.
const COPY_BYTES: usize = 1 << 20;

/// An open file.
struct File {
    content: Content,
    at: u64,
}

enum Content {
    Sealed(Object),
    Unsealed(Unsealed),
    /// Closed, by another thread meanwhile.
    Gone,
}

/// An object that comes to be when the file is closed.
struct Unsealed {
    writer: Writer,
    reads: bool,
    appends: bool,
    /// Whether there is anything to seal.
    changed: bool,
    /// Whether a write failed: what comes behind the gap is worth nothing.
    failed: bool,
}

/// How a file is opened, as `fopen` does.
#[derive(Clone, Copy)]
struct Mode {
    letter: u8,
    both: bool,
}

impl Mode {
    fn parse(text: &str) -> Result<Self> {
        let plain: String = text.chars().filter(|letter| *letter != 'b').collect();
        let (letter, both) = match plain.as_bytes() {
            [letter] => (*letter, false),
            [letter, b'+'] => (*letter, true),
            _ => (0, false),
        };
        if !b"rwax".contains(&letter) || text.len() > plain.len() + 1 {
            return Err(Failure::invalid(format!(
                "`{text}` is no mode: r, w, a or x, with + and b"
            )));
        }
        Ok(Self { letter, both })
    }
}

impl File {
    fn open(geds: &Geds, bucket: &str, key: &str, mode: Mode, flags: u32) -> Result<Self> {
        if mode.letter == b'r' && !mode.both {
            put(flags)?;
            return Ok(Self { content: Content::Sealed(geds.object(bucket, key)?), at: 0 });
        }
        let (writer, changed) = begin(geds, bucket, key, mode, put(flags)?)?;
        let appends = mode.letter == b'a';
        let at = if appends { writer.len() } else { 0 };
        let unsealed = Unsealed { writer, reads: mode.both, appends, changed, failed: false };
        Ok(Self { content: Content::Unsealed(unsealed), at })
    }

    fn size(&self) -> Result<u64> {
        match &self.content {
            Content::Sealed(object) => Ok(object.len()),
            Content::Unsealed(unsealed) => Ok(unsealed.writer.len()),
            Content::Gone => Err(closed()),
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let count = match &self.content {
            Content::Sealed(object) => object.read_at(self.at, buffer)?,
            Content::Unsealed(unsealed) if unsealed.reads => {
                unsealed.writer.read_at(self.at, buffer)?
            }
            Content::Unsealed(_) => {
                return Err(Failure::invalid("the file is open for writing only"));
            }
            Content::Gone => return Err(closed()),
        };
        self.at += count as u64;
        Ok(count)
    }

    fn unsealed(&mut self) -> Result<&mut Unsealed> {
        match &mut self.content {
            Content::Unsealed(unsealed) => Ok(unsealed),
            Content::Sealed(_) => Err(Failure::invalid("the file is open for reading only")),
            Content::Gone => Err(closed()),
        }
    }

    fn write(&mut self, data: &[u8]) -> Result<usize> {
        let at = self.at;
        let unsealed = self.unsealed()?;
        let at = if unsealed.appends { unsealed.writer.len() } else { at };
        if let Err(error) = unsealed.writer.write_at(at, data) {
            unsealed.failed = true;
            return Err(error.into());
        }
        unsealed.changed = true;
        self.at = at + data.len() as u64;
        Ok(data.len())
    }

    fn truncate(&mut self, size: u64) -> Result<()> {
        let unsealed = self.unsealed()?;
        unsealed.writer.truncate(size)?;
        unsealed.changed = true;
        Ok(())
    }

    /// Goes to a place, and says which.
    fn seek(&mut self, offset: i64, whence: c_int) -> Result<u64> {
        let base = match whence {
            0 => 0,
            1 => self.at,
            2 => self.size()?,
            _ => {
                return Err(Failure::invalid(format!(
                    "{whence} is none of SEEK_SET, SEEK_CUR, SEEK_END"
                )));
            }
        };
        let at = base.checked_add_signed(offset).filter(|at| i64::try_from(*at).is_ok());
        self.at =
            at.ok_or_else(|| Failure::invalid(format!("there is no byte {base}{offset:+}")))?;
        Ok(self.at)
    }

    fn close(&mut self) -> Result<()> {
        match std::mem::replace(&mut self.content, Content::Gone) {
            Content::Unsealed(unsealed) if unsealed.failed => {
                Err(Failure::invalid("a write failed before: no object was made"))
            }
            Content::Unsealed(unsealed) if unsealed.changed => {
                unsealed.writer.seal()?;
                Ok(())
            }
            Content::Sealed(_) | Content::Unsealed(_) => Ok(()),
            Content::Gone => Err(closed()),
        }
    }
}

fn closed() -> Failure {
    Failure::invalid("the file was closed by another thread")
}

/// A writer with what the file begins with, and whether closing it at once makes an object.
fn begin(geds: &Geds, bucket: &str, key: &str, mode: Mode, put: Put) -> Result<(Writer, bool)> {
    let before = match mode.letter {
        b'r' => Some(geds.object(bucket, key)?),
        b'a' => match geds.object(bucket, key) {
            Ok(object) => Some(object),
            Err(geds::Error::NoObject { .. }) => None,
            Err(error) => return Err(error.into()),
        },
        b'x' if geds.stat(bucket, key).is_ok() => {
            // Decided when it is sealed; said now where it is known already.
            let (bucket, key) = (bucket.to_owned(), key.to_owned());
            return Err(geds::Error::Exists { bucket, key }.into());
        }
        _ => None,
    };
    let Some(before) = before else {
        let put = Put { overwrite: mode.letter == b'w', ..put };
        return Ok((geds.create(bucket, key, put)?, true));
    };
    // What others put there meanwhile is not replaced by what was made without knowing it.
    let put = Put { if_version: Some(before.stat().version), size_hint: Some(before.len()), ..put };
    let put = put.attributes(before.stat().attributes.clone());
    let mut writer = geds.create(bucket, key, put)?;
    let mut buffer = vec![0; COPY_BYTES.min(before.len() as usize)];
    let mut at = 0;
    while at < before.len() {
        let count = before.read_at(at, &mut buffer)?;
        writer.write_at(at, &buffer[..count])?;
        at += count as u64;
    }
    Ok((writer, false))
}

fn with<R>(handle: u64, act: impl FnOnce(&mut File) -> Result<R>) -> Result<R> {
    let file = FILES.get(handle)?;
    act(&mut file.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Opens an object as a file.
///
/// # Safety
/// As `geds.h` says of its pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn geds_file_open(
    handle: u64,
    bucket: *const c_char,
    key: *const c_char,
    mode: *const c_char,
    flags: u32,
    out: *mut u64,
) -> i32 {
    guarded(|| {
        check_out(out, "file")?;
        // SAFETY: the caller's.
        let (bucket, key) = unsafe { (text(bucket, "bucket")?, text(key, "key")?) };
        // SAFETY: the caller's.
        let mode = Mode::parse(unsafe { text(mode, "mode") }?)?;
        let file = File::open(&*store(handle)?, bucket, key, mode, flags)?;
        // SAFETY: checked above.
        unsafe { write_out(out, FILES.insert(Mutex::new(file))) };
        Ok(0)
    })
}

/// Reads from where the file stands.
///
/// # Safety
/// As `geds.h` says of its pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn geds_read(file: u64, buffer: *mut c_void, len: usize) -> i64 {
    guarded(|| {
        // SAFETY: the caller's.
        let buffer = unsafe { room(buffer, len) }?;
        with(file, |file| file.read(buffer)).map(|count| count as i64)
    })
}

/// Writes where the file stands.
///
/// # Safety
/// As `geds.h` says of its pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn geds_write(file: u64, data: *const c_void, len: usize) -> i64 {
    guarded(|| {
        // SAFETY: the caller's.
        let data = unsafe { bytes(data, len) }?;
        with(file, |file| file.write(data)).map(|count| count as i64)
    })
}

/// Goes to a place in the file.
#[unsafe(no_mangle)]
pub extern "C" fn geds_seek(file: u64, offset: i64, whence: c_int) -> i64 {
    guarded(|| with(file, |file| file.seek(offset, whence)).map(|at| at as i64))
}

/// How many bytes the file has.
#[unsafe(no_mangle)]
pub extern "C" fn geds_size(file: u64) -> i64 {
    guarded(|| with(file, |file| file.size()).map(|size| i64::try_from(size).unwrap_or(i64::MAX)))
}

/// Cuts the file, or extends it with zeros.
#[unsafe(no_mangle)]
pub extern "C" fn geds_truncate(file: u64, size: u64) -> i32 {
    guarded(|| with(file, |file| file.truncate(size)).map(|()| 0))
}

/// Closes a file; one that was written becomes an object.
#[unsafe(no_mangle)]
pub extern "C" fn geds_file_close(file: u64) -> i32 {
    guarded(|| {
        let file = FILES.remove(file)?;
        file.lock().unwrap_or_else(PoisonError::into_inner).close().map(|()| 0)
    })
}

/// Closes a file and makes no object.
#[unsafe(no_mangle)]
pub extern "C" fn geds_file_discard(file: u64) -> i32 {
    guarded(|| {
        let file = FILES.remove(file)?;
        file.lock().unwrap_or_else(PoisonError::into_inner).content = Content::Gone;
        Ok(0)
    })
}
