//! Settings in YAML files.

use crate::{Error, Result};
use serde::de::DeserializeOwned;
use std::{fmt::Display, fs::File, io::Read, path::Path};

/// Settings are short.
const FILE_MAX_BYTES: u64 = 1 << 20;

/// Reads a file, and lets `check` say what its numbers could not be.
///
/// # Errors
/// A file that cannot be read, names that are not known, and what `check` says; all name the file.
pub(crate) fn read<T: DeserializeOwned, E: Display>(
    path: &Path,
    check: impl FnOnce(T) -> std::result::Result<T, E>,
) -> Result<T> {
    let file = File::open(path).and_then(|file| std::io::read_to_string(file.take(FILE_MAX_BYTES)));
    let text = file.map_err(|source| Error::Read { path: path.to_owned(), source })?;
    let unfit = |reason: String| Error::Unfit(format!("`{}`: {reason}", path.display()));
    let options = serde_saphyr::options! { with_snippet: false };
    let read = serde_saphyr::from_str_with_options(&text, options);
    check(read.map_err(|error| unfit(error.to_string()))?).map_err(|error| unfit(error.to_string()))
}
