//! Parquet files, which strangers make: read as a trace.
#![no_main]

use learning::Trace;
use libfuzzer_sys::fuzz_target;
use std::{fs, path::PathBuf, sync::LazyLock};

/// They are read in pieces from where they lie: a folder in memory is best (`TMPDIR=/dev/shm`).
static PATH: LazyLock<PathBuf> =
    LazyLock::new(|| std::env::temp_dir().join(format!("{}.parquet", std::process::id())));

fuzz_target!(|bytes: &[u8]| {
    fs::write(&*PATH, bytes).expect("the folder for temporary files can be written");
    let _ = Trace::read(&PATH);
});
