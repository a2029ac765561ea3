//! Entry points for fuzzing: bytes from disks, sockets and shared memory.

use crate::{
    disk::Extent,
    node::journal,
    shared::{Access, Region, index::Index, memory_file, session::Session},
    wire::{Reply, Request},
};
use std::{fs::File, os::unix::fs::FileExt, sync::Arc};

/// Reads bytes as a journal.
pub fn journal(bytes: &[u8]) {
    let _ = journal::parse(&mut &*bytes);
}

/// Reads bytes as a file of the disk tier, of which the first 24 name an extent and a range.
pub fn file(bytes: &[u8]) {
    let Some((head, rest)) = bytes.split_first_chunk::<24>() else { return };
    let number = |at: usize| head[at..at + 8].try_into().map_or(0, u64::from_le_bytes);
    let Ok(memory) = memory_file("fuzz", rest.len().max(1) as u64) else { return };
    let file = File::from(memory);
    if file.write_all_at(rest, 0).is_err() {
        return;
    }
    if let Ok(extent) = Extent::open(Arc::new(file), number(0), number(8)) {
        let _ = extent.read_at(number(16), &mut [0; 100_000]);
    }
}

/// Reads bytes as messages.
pub fn message(bytes: &[u8]) {
    let _ = postcard::from_bytes::<Request>(bytes);
    let _ = postcard::from_bytes::<Reply>(bytes);
}

/// Reads bytes as what another site's node sends.
pub fn node(bytes: &[u8]) {
    crate::remote::fuzz(bytes);
}

/// Lays bytes over an index: pairs of a place and a value, eight bytes each; then looks for names in it.
pub fn index(bytes: &[u8]) {
    let Ok((memory, index)) = Index::create(64, 1) else { return };
    let Ok(region) = Region::map(&memory, Access::Write) else { return };
    for pair in bytes.as_chunks::<16>().0 {
        let [place, value] =
            [0, 8].map(|at| pair[at..at + 8].try_into().map_or(0, u64::from_le_bytes));
        // What is in use lies in the first 64 KiB, and behind them the first chunks.
        if let Some(word) = region.word(place % (256 << 10) / 8 * 8) {
            word.store(value, std::sync::atomic::Ordering::Relaxed);
        }
    }
    for key in ["a", "b/c", &"k".repeat(1024)] {
        let chain = index.chain(1, key.as_bytes());
        let _ = chain.read(key.as_bytes(), |found| {
            let (_, slot) = found?;
            let header = slot.header();
            Some((slot.key(&header), slot.attributes(&header), slot.former(&header)))
        });
        for unit in Index::units(1, 0) {
            let _ = chain.remove(unit);
        }
    }
    let _ = Index::open(&memory);
}

/// Lays bytes over a session's page, and takes what it seems to hold.
pub fn session(bytes: &[u8]) {
    let Ok((memory, session)) = Session::create() else { return };
    let Ok(region) = Region::map(&memory, Access::Write) else { return };
    let len = (bytes.len() as u64).min(region.len()) as usize;
    region.copy_in(0, &bytes[..len]);
    let taken = std::iter::from_fn(|| session.take()).take(1 << 17).count();
    assert!(taken <= 1 << 15, "a ring of 16,384 gave {taken}");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..4000)) {
            super::journal(&bytes);
            super::file(&bytes);
            super::message(&bytes);
            super::node(&bytes);
            super::index(&bytes);
            super::session(&bytes);
        }
    }
}
