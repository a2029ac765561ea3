//! The committed module is what its sources build.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use cells::toolchain::{self, Environment, Options};
use std::{
    fs,
    path::{Path, PathBuf},
};
use types::ErrorKind;

#[test]
fn the_committed_module_is_what_its_sources_build() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("street-counter");
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("street-counter.wasm");
    let mut environment = Environment::from_process();
    environment.current_dir.clone_from(&sources);
    let mut options = Options::new(inputs(&sources), environment);
    options.migratable = true;
    options.output = Some(output.clone());

    match toolchain::build(&options) {
        // The toolchain is no part of Rust: without it only its own tests can say more.
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            println!("skipped: {error}");
            return;
        }
        built => drop(built.unwrap()),
    }

    let (built, committed) = (fs::read(&output), fs::read(sources.join("street-counter.wasm")));
    assert!(
        built.unwrap() == committed.unwrap(),
        "street-counter.wasm is not what the sources build: run `cloudskin build *.c -o \
         street-counter.wasm --migratable` in examples/mobility/street-counter and commit it"
    );
}

/// `*.c` as a shell gives it: in order of name.
fn inputs(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let is_source = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "c");
    let mut names: Vec<PathBuf> =
        entries.filter(is_source).map(|path| path.file_name().unwrap().into()).collect();
    names.sort();
    names
}
