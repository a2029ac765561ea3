//! Modules: the first look at bytes from a stranger.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    cells::fuzzing::module(bytes);
    // Behind the right magic number and version, where a fuzzer would take long to come.
    cells::fuzzing::module(&[b"\0asm\x01\0\0\0", bytes].concat());
});
