//! Measured series: what lies on a damaged disk, and what strangers send. The first byte says what it is.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    match kind % 3 {
        0 => series::fuzzing::stored(bytes),
        1 => series::fuzzing::page(bytes),
        _ => series::fuzzing::pushed(bytes),
    }
});
