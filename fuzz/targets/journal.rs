//! Journals: their bytes, and their records behind right checksums.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    cells::fuzzing::journal(bytes);
    let records: Vec<_> = bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    cells::fuzzing::journal_records(&records);
});
