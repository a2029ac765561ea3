//! The ephemeral store: bytes from disks, sockets and shared memory. The first byte says which.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    match kind % 6 {
        0 => geds::fuzzing::journal(bytes),
        1 => geds::fuzzing::file(bytes),
        2 => geds::fuzzing::message(bytes),
        3 => geds::fuzzing::index(bytes),
        4 => geds::fuzzing::node(bytes),
        _ => geds::fuzzing::session(bytes),
    }
});
