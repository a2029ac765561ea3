//! What strangers' bytes meet, for the fuzzer alone.

use crate::{
    exposition::{self, Format},
    push,
    store::{block, codec, log},
};

/// A log, a chunk or a block's index, of a disk that is damaged.
pub fn stored(bytes: &[u8]) {
    let _ = log::read(bytes);
    let _ = codec::unpack(bytes, u32::MAX);
    let _ = block::read_index(bytes, u64::MAX);
}

/// A page that is scraped.
pub fn page(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for format in [Format::Text, Format::OpenMetrics] {
        let _ = exposition::read(&text, format, 1000);
    }
}

/// What is pushed.
pub fn pushed(bytes: &[u8]) {
    let _ = push::read_remote_write(bytes);
    let _ = push::read_otlp(bytes);
}
