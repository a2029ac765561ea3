//! The record protocol: what a guest answers.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    cells::fuzzing::answer(bytes);
    // With the length that fits, so that what is behind it is read.
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    cells::fuzzing::answer(&[&length.to_le_bytes(), bytes].concat());
});
