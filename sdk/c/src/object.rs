//! The store, and whole objects: `geds.h` says what each function does.
#![expect(unsafe_code, reason = "what C passes are addresses")]

use crate::{
    border::{bytes, check_out, optional_text, room, text, write_out},
    failure::{Failure, Result, guarded},
    handles::Handles,
};
use geds::{Config, Geds, Listing, Put, Tier, View};
use std::{
    env,
    ffi::{c_char, c_int, c_void},
    fs,
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Names the node of a program that does not say where it is.
const VARIABLE: &str = "CLOUDSKIN_GEDS";

/// `GEDS_OVERWRITE`.
const OVERWRITE: u32 = 1;
/// `GEDS_DURABLE`.
const DURABLE: u32 = 2;

static STORES: Handles<Geds> = Handles::new("store");
static VIEWS: Handles<View> = Handles::new("view");

/// `struct geds_stat`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Stat {
    size: u64,
    version: u64,
    modified_ms: u64,
    crc32c: u32,
    has_crc32c: u8,
    tier: u8,
    reserved: [u8; 2],
}

impl From<&geds::Stat> for Stat {
    fn from(stat: &geds::Stat) -> Self {
        Self {
            size: stat.size,
            version: stat.version,
            modified_ms: stat.modified,
            crc32c: stat.crc32c.unwrap_or(0),
            has_crc32c: u8::from(stat.crc32c.is_some()),
            tier: match stat.tier {
                Tier::Memory => 1,
                Tier::Disk => 2,
                Tier::Mixed => 3,
                Tier::Outside => 4,
            },
            reserved: [0; 2],
        }
    }
}

/// What `geds_list` calls for each object.
pub type Each = unsafe extern "C" fn(
    key: *const c_char,
    len: usize,
    stat: *const Stat,
    context: *mut c_void,
) -> c_int;

pub(crate) fn store(handle: u64) -> Result<Arc<Geds>> {
    STORES.get(handle)
}

/// What the flags of a call say about how an object is written.
pub(crate) fn put(flags: u32) -> Result<Put> {
    if flags & !(OVERWRITE | DURABLE) != 0 {
        return Err(Failure::invalid(format!("there are no flags {flags:#x}")));
    }
    let (overwrite, durable) = (flags & OVERWRITE != 0, flags & DURABLE != 0);
    Ok(Put { overwrite, durable, ..Put::default() })
}

/// How the store at a place is reached: as Python's `cloudskin.geds.open` does.
fn reach(place: &Path) -> Result<Config> {
    let named_socket = place.extension().is_some_and(|extension| extension == "sock");
    match fs::metadata(place) {
        Ok(found) if found.file_type().is_socket() => Ok(Config::join(place)),
        Ok(found) if found.is_dir() => Ok(Config::alone(place)),
        Ok(_) => Err(Failure::invalid(format!(
            "`{}` is neither a node's socket nor a folder for a store of this process",
            place.display()
        ))),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::invalid(format!("cannot look at `{}`: {error}", place.display())))
        }
        Err(_) if named_socket => Ok(Config::join(place)),
        Err(_) => Ok(Config::alone(place)),
    }
}

fn named_place() -> Result<PathBuf> {
    env::var_os(VARIABLE).filter(|place| !place.is_empty()).map(PathBuf::from).ok_or_else(|| {
        Failure::invalid(format!(
            "no store is named: give geds_open the path of a node's socket, or of a folder for a store of this process alone, or set {VARIABLE} to one of them"
        ))
    })
}

/// Opens the store at a place.
///
/// # Safety
/// As `geds.h` says of its pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn geds_open(place: *const c_char, out: *mut u64) -> i32 {
    guarded(|| {
        check_out(out, "store")?;
        // SAFETY: the caller's.
        let place = match unsafe { optional_text(place, "place") }? {
            Some(place) => PathBuf::from(place),
            None => named_place()?,
        };
        let geds = Geds::open(reach(&place)?)?;
        // SAFETY: checked above.
        unsafe { write_out(out, STORES.insert(geds)) };
        Ok(0)
    })
}

/// Closes a store; files and views of it stay open.
#[unsafe(no_mangle)]
pub extern "C" fn geds_close(store: u64) -> i32 {
    guarded(|| STORES.remove(store).map(|_| 0))
}

/// Makes a bucket.
///
/// # Safety
/// As `geds.h` says of its pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn geds_create_bucket(handle: u64, bucket: *const c_char) -> i32 {
    guarded(|| {
        // SAFETY: the caller's.
        let bucket = unsafe { text(bucket, "bucket") }?;
        store(handle)?.create_bucket(bucket)?;
        Ok(0)
    })
}

/// Removes an empty bucket.
///
/// # Safety
/// As `geds.h` says of its pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn geds_delete_bucket(handle: u64, bucket: *const c_char) -> i32 {
    guarded(|| {
        // SAFETY: the caller's.
        let bucket = unsafe { text(bucket, "bucket") }?;
        store(handle)?.delete_bucket(bucket)?;
        Ok(0)
    })
}

/// Makes an object of bytes.
///
/// # Safety
/// As `geds.h` says of its pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn putObject(
    handle: u64,
    bucket: *const c_char,
    key: *const c_char,
    data: *const c_void,
    len: usize,
    flags: u32,
) -> i32 {
    guarded(|| {
        // SAFETY: the caller's.
        let (bucket, key) = unsafe { (text(bucket, "bucket")?, text(key, "key")?) };
        // SAFETY: the caller's.
        let data = unsafe { bytes(data, len) }?;
        store(handle)?.put(bucket, key, data, put(flags)?)?;
        Ok(0)
    })
}

/// Copies bytes of an object.
///
/// # Safety
/// As `geds.h` says of its pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn readBytes(
    handle: u64,
    bucket: *const c_char,
    key: *const c_char,
    offset: u64,
    buffer: *mut c_void,
    len: usize,
) -> i64 {
    guarded(|| {
        // SAFETY: the caller's.
        let (bucket, key) = unsafe { (text(bucket, "bucket")?, text(key, "key")?) };
        // SAFETY: the caller's.
        let buffer = unsafe { room(buffer, len) }?;
        let count = store(handle)?.object(bucket, key)?.read_at(offset, buffer)?;
        Ok(count as i64)
    })
}

/// Borrows all bytes of an object.
///
/// # Safety
/// As `geds.h` says of its pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn geds_view(
    handle: u64,
    bucket: *const c_char,
    key: *const c_char,
    out: *mut u64,
    data: *mut *const c_void,
    len: *mut usize,
) -> i32 {
    guarded(|| {
        check_out(out, "view")?;
        check_out(data, "address")?;
        check_out(len, "length")?;
        // SAFETY: the caller's.
        let (bucket, key) = unsafe { (text(bucket, "bucket")?, text(key, "key")?) };
        let view = store(handle)?.view(bucket, key)?;
        let lent: &[u8] = &view;
        let (address, count) = (lent.as_ptr().cast(), lent.len());
        // The bytes do not move with the view: they lie in a slab, or in memory of their own.
        let view = VIEWS.insert(view);
        // SAFETY: checked above.
        unsafe {
            write_out(data, address);
            write_out(len, count);
            write_out(out, view);
        }
        Ok(0)
    })
}

/// Gives a view back.
#[unsafe(no_mangle)]
pub extern "C" fn geds_view_release(view: u64) -> i32 {
    guarded(|| VIEWS.remove(view).map(|_| 0))
}

/// Says what is known about an object.
///
/// # Safety
/// As `geds.h` says of its pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn geds_stat(
    handle: u64,
    bucket: *const c_char,
    key: *const c_char,
    out: *mut Stat,
) -> i32 {
    guarded(|| {
        check_out(out, "figures")?;
        // SAFETY: the caller's.
        let (bucket, key) = unsafe { (text(bucket, "bucket")?, text(key, "key")?) };
        let stat = store(handle)?.stat(bucket, key)?;
        // SAFETY: checked above.
        unsafe { write_out(out, Stat::from(&stat)) };
        Ok(0)
    })
}

/// Removes an object: 1 if there was one, else 0.
///
/// # Safety
/// As `geds.h` says of its pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn geds_delete(
    handle: u64,
    bucket: *const c_char,
    key: *const c_char,
) -> i32 {
    guarded(|| {
        // SAFETY: the caller's.
        let (bucket, key) = unsafe { (text(bucket, "bucket")?, text(key, "key")?) };
        Ok(i32::from(store(handle)?.delete(bucket, key, None)?))
    })
}

/// Makes another object of the same bytes.
///
/// # Safety
/// As `geds.h` says of its pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn geds_copy(
    handle: u64,
    bucket: *const c_char,
    key: *const c_char,
    to_bucket: *const c_char,
    to_key: *const c_char,
    flags: u32,
) -> i32 {
    guarded(|| {
        // SAFETY: the caller's.
        let from = unsafe { (text(bucket, "bucket")?, text(key, "key")?) };
        // SAFETY: the caller's.
        let to = unsafe { (text(to_bucket, "other bucket")?, text(to_key, "other key")?) };
        store(handle)?.copy(from, to, put(flags)?)?;
        Ok(0)
    })
}

/// Gives an object another key.
///
/// # Safety
/// As `geds.h` says of its pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn geds_rename(
    handle: u64,
    bucket: *const c_char,
    key: *const c_char,
    to_key: *const c_char,
    flags: u32,
) -> i32 {
    guarded(|| {
        // SAFETY: the caller's.
        let (bucket, key) = unsafe { (text(bucket, "bucket")?, text(key, "key")?) };
        // SAFETY: the caller's.
        let to_key = unsafe { text(to_key, "other key") }?;
        store(handle)?.rename(bucket, key, to_key, put(flags)?)?;
        Ok(0)
    })
}

/// Calls `each` for the objects whose keys begin so.
///
/// # Safety
/// As `geds.h` says of its pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn geds_list(
    handle: u64,
    bucket: *const c_char,
    prefix: *const c_char,
    each: Option<Each>,
    context: *mut c_void,
) -> i32 {
    guarded(|| {
        let each = each.ok_or_else(|| Failure::invalid("the function is a null pointer"))?;
        // SAFETY: the caller's.
        let (bucket, prefix) =
            unsafe { (text(bucket, "bucket")?, optional_text(prefix, "prefix")?) };
        let (geds, mut listing) = (store(handle)?, Listing::prefix(prefix.unwrap_or("")));
        loop {
            let page = geds.list(bucket, &listing)?;
            for entry in page.entries {
                let (len, stat) = (entry.key.len(), Stat::from(&entry.stat));
                let mut key = entry.key.into_bytes();
                key.push(0);
                // SAFETY: the function is the caller's, and what it gets lives until it returns.
                let stop = unsafe { each(key.as_ptr().cast(), len, &stat, context) };
                if stop != 0 {
                    return Ok(stop.max(1));
                }
            }
            match page.next {
                Some(next) => listing.after = Some(next),
                None => return Ok(0),
            }
        }
    })
}
