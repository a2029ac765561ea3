//! Snapshots: their bytes, their sections behind right checksums, their descriptor tables.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((how, rest)) = bytes.split_first() else { return };
    match how % 3 {
        0 => cells::fuzzing::snapshot(rest),
        1 => cells::fuzzing::descriptors(rest),
        _ => cells::fuzzing::snapshot_sections(&sections(rest)),
    }
});

/// Cuts the bytes into kind, length, payload and so on.
fn sections(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut sections = Vec::new();
    while let [kind, length, rest @ ..] = bytes {
        let (payload, following) = rest.split_at(usize::from(*length).min(rest.len()));
        sections.push((*kind, payload.to_vec()));
        bytes = following;
    }
    sections
}
