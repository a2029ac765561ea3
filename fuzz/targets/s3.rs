//! The S3 endpoint: what strangers send. The first byte says what it is.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    match kind % 3 {
        0 => s3::fuzzing::chunks(bytes),
        1 => s3::fuzzing::request(bytes),
        _ => s3::fuzzing::form(bytes),
    }
});
