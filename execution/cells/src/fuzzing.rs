//! Entry points for `fuzz/`: each takes any bytes, and neither panics nor runs long.
//!
//! Where bytes carry checksums, a second entry writes them around the given payloads: a fuzzer
//! would hardly ever get past them.

use crate::{
    record,
    service::journal,
    snapshot::{Reader, Writer, committed_bytes},
    toolchain,
    wasi::{self, Wasi, WasiImage},
};
use bytes::Bytes;

/// Most bytes of an answer that a service may give.
const ANSWER_MAX_BYTES: u64 = 1 << 20;

/// Reads a snapshot.
pub fn snapshot(bytes: &[u8]) {
    // Both are tried on their own: a torn tail is an error for one and none for the other.
    let committed = committed_bytes(bytes);
    let read = sections(bytes);
    assert!(committed.is_ok() || read.is_err() || !has_commit(bytes));
}

/// Reads a snapshot of sections with these kinds and payloads.
pub fn snapshot_sections(parts: &[(u8, Vec<u8>)]) {
    let Ok(mut writer) = Writer::new(Vec::new()) else { return };
    for (kind, payload) in parts {
        // One that is too large is not written.
        let _ = writer.raw_section(u16::from(kind % 9), payload);
    }
    let bytes = std::mem::take(writer.sink());
    snapshot(&bytes);
}

fn sections(bytes: &[u8]) -> Result<u64, crate::snapshot::SnapshotError> {
    let mut reader = Reader::new(bytes)?;
    while reader.next()?.is_some() {}
    Ok(reader.read())
}

fn has_commit(bytes: &[u8]) -> bool {
    let Ok(mut reader) = Reader::new(bytes) else { return false };
    while let Ok(Some(section)) = reader.next() {
        if matches!(section, crate::snapshot::Section::Commit { .. }) {
            return true;
        }
    }
    false
}

/// Restores a descriptor table that claims anything, under no grants at all.
pub fn descriptors(bytes: &[u8]) {
    let Ok(image) = WasiImage::decode(bytes) else { return };
    let (streams, limits) = (wasi::Streams::host(), wasi::Limits::default());
    let sources = Box::new(wasi::SystemSources);
    if let Ok(mut restored) = Wasi::restore(image, Vec::new(), Vec::new(), streams, sources, limits)
    {
        // What was restored can be saved again.
        let _ = restored.save();
    }
}

/// Reads what a guest answered.
pub fn answer(bytes: &[u8]) {
    let size = record::answer_frame_size(bytes, ANSWER_MAX_BYTES);
    let frame = Bytes::copy_from_slice(bytes);
    if let Ok(answer) = record::decode_answer(&frame) {
        // A status, a content type and a body are all there is.
        assert_eq!(frame.len(), 9 + answer.content_type.len() + answer.body.len());
        assert!(size.is_err() || size == Ok(Some(frame.len())));
    }
}

/// Reads a journal's file.
pub fn journal(bytes: &[u8]) {
    let mut entries = Vec::new();
    // Reading from memory does not fail: damage ends a journal.
    assert!(journal::read_entries(&mut &bytes[..], &mut entries).is_ok());
}

/// Reads a journal of records with these payloads.
pub fn journal_records(payloads: &[Vec<u8>]) {
    let mut bytes = journal::MAGIC.to_vec();
    for payload in payloads {
        bytes.extend(journal::record(payload));
    }
    journal(&bytes);
}

/// Looks at a module from a stranger.
pub fn module(bytes: &[u8]) {
    if let Ok(inspection) = toolchain::inspect(bytes) {
        // What was found lies in the module.
        assert!(inspection.functions <= bytes.len());
        assert!(!toolchain::is_component(bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_read_to_some_end(bytes: Vec<u8>, kind: u8) {
            for entry in [snapshot, descriptors, answer, journal, module] {
                entry(&bytes);
            }
            snapshot_sections(&[(kind, bytes.clone()), (7, vec![0; 4])]);
            journal_records(&[bytes.clone(), bytes]);
        }
    }
}
