//! The committed modules are what their sources build.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use cells::toolchain::{self, Environment, Options};
use std::{
    fs,
    path::{Path, PathBuf},
};
use types::ErrorKind;

#[test]
fn the_committed_modules_are_what_their_sources_build() {
    for name in ["street-counter", "vehicle-detector"] {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join(format!("{name}.wasm"));
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

        let committed = fs::read(sources.join(format!("{name}.wasm"))).unwrap();
        assert!(
            fs::read(&output).unwrap() == committed,
            "{name}.wasm is not what the sources build: run `cloudskin build *.c -o {name}.wasm \
             --migratable` in examples/mobility/{name} and commit it"
        );
    }
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
