//! When a record may take the place of the one that a name has.

use crate::{Error, Put, Result, shared::record::Header};
use std::time::{SystemTime, UNIX_EPOCH};

/// A record that is to be put into the index.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record<'a> {
    pub(crate) header: Header,
    pub(crate) key: &'a str,
    pub(crate) attributes: &'a [u8],
    /// For a rename, what the key was; else empty.
    pub(crate) former: &'a str,
}

/// Checks what a caller asked for against the newest record of the name.
///
/// # Errors
/// [`Error::Exists`] and [`Error::Changed`].
pub(crate) fn check_put(bucket: &str, key: &str, put: &Put, newest: Option<&Header>) -> Result<()> {
    let found = newest.filter(|header| !header.deleted()).map(|header| header.version);
    match (found, put.if_version) {
        (found, Some(expected)) if found != Some(expected) => {
            Err(changed(bucket, key, expected, found))
        }
        (Some(_), None) if !put.overwrite => {
            Err(Error::Exists { bucket: bucket.to_owned(), key: key.to_owned() })
        }
        _ => Ok(()),
    }
}

/// Another version was expected than the one that was found.
pub(crate) fn changed(bucket: &str, key: &str, expected: u64, found: Option<u64>) -> Error {
    Error::Changed { bucket: bucket.to_owned(), key: key.to_owned(), expected, found }
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64)
}
