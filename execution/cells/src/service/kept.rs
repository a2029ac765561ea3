//! What an agent does in a service's state folder besides its worker.

use super::journal;
use crate::error::Result;
use api::link::Segment;
use std::{io, path::Path};

/// What was answered after each checkpoint whose journal is still in the folder, oldest first;
/// at most `ids_max` ids.
///
/// # Errors
/// [`crate::Error::Read`] if the folder or a journal cannot be read.
pub fn answered(folder: &Path, ids_max: usize) -> Result<Vec<Segment>> {
    journal::segments(folder, ids_max)
}

/// Whether journals stay longer than their checkpoints.
pub fn journals_kept(folder: &Path) -> bool {
    journal::kept_from(folder).is_some()
}

/// Lets journals stay from the checkpoint of this sequence on, for other sites have that one;
/// without a sequence each goes with the next checkpoint.
///
/// # Errors
/// If the folder cannot be written.
pub fn keep_journals(folder: &Path, from: Option<u64>) -> io::Result<()> {
    journal::keep_from(folder, from)
}
