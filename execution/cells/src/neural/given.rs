//! Models that a cell is given.

use super::NAME_MAX_BYTES;
use crate::{
    error::{Error, Result},
    program::digest_file,
};
use inference::{File, Limits, Model};
use serde::{Deserialize, Serialize};
use std::{
    collections::HashSet,
    io::Read,
    path::{Path, PathBuf},
};
use types::Digest;

/// A file of a model, and how a cell calls it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelFile {
    /// What the cell loads it by.
    pub name: String,
    /// An ONNX file.
    pub path: PathBuf,
    /// The file's digest, if it must have this one.
    pub digest: Option<Digest>,
}

/// A model that is ready for a cell.
#[derive(Debug, Clone)]
pub struct Given {
    pub(crate) name: String,
    pub(crate) digest: Digest,
    pub(crate) model: Model,
}

/// Makes models ready for a cell that is granted so much memory, of which they take no part: they
/// may take as much beside it.
///
/// # Errors
/// [`Error::Model`] says what is wrong with a file, or that it takes too much; [`Error::Digest`]
/// that it is another one.
pub fn open(files: &[ModelFile], memory_bytes: u64) -> Result<Vec<Given>> {
    let mut names = HashSet::new();
    let mut left = memory_bytes;
    let mut all = Vec::new();
    for file in files {
        let unfit = |text: &str| Error::Model {
            name: file.name.clone(),
            source: inference::Error::Unfit(text.into()),
        };
        if file.name.is_empty() || file.name.len() > NAME_MAX_BYTES {
            return Err(unfit(&format!("its name has not 1 to {NAME_MAX_BYTES} bytes")));
        }
        if !names.insert(&file.name) {
            return Err(unfit("another one has the same name"));
        }
        let given = one(file, left)?;
        left = left.saturating_sub(given.model.memory_bytes());
        all.push(given);
    }
    Ok(all)
}

fn one(file: &ModelFile, memory_bytes: u64) -> Result<Given> {
    let limits = Limits::for_programs(memory_bytes);
    let digest = digest_file(&file.path)?;
    if let Some(expected) = file.digest.filter(|expected| *expected != digest) {
        return Err(Error::Digest { module: file.name.clone(), expected, found: digest });
    }
    let bytes = read(&file.path, limits.file_bytes)?;
    let model = File::read(&bytes, &limits).and_then(|read| read.model(&limits));
    let model = model.map_err(|source| Error::Model { name: file.name.clone(), source })?;
    Ok(Given { name: file.name.clone(), digest, model })
}

/// One byte more than is taken, so that what is larger is refused, not cut.
fn read(path: &Path, limit_bytes: u64) -> Result<Vec<u8>> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(limit_bytes + 1).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}
