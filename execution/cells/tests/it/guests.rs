//! Guests, built once per machine.

use cells::toolchain::{Environment, Options, build};
use std::path::{Path, PathBuf};

/// The guest of this name from `tests/guests`, built so that it can be suspended. `None`, with a
/// line that says so, where the guest toolchain is not installed.
pub(crate) fn migratable(name: &str) -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests").join(name);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guests");
    std::fs::create_dir_all(&folder).unwrap();
    let key = blake3::hash(&std::fs::read(&source).unwrap()).to_hex();
    let built = folder.join(format!("{}-{}.wasm", name.trim_end_matches(".c"), &key[..16]));
    if built.exists() {
        return Some(built);
    }
    let draft = folder.join(format!("{}.wasm", types::random_id()));
    let mut options = Options::new(vec![source], Environment::from_process());
    options.output = Some(draft.clone());
    options.migratable = true;
    match build(&options) {
        Ok(_) => std::fs::rename(&draft, &built).unwrap(),
        Err(error) if error.kind() == types::ErrorKind::Unsupported => {
            println!("skipped: {}", types::chain(&error));
            return None;
        }
        Err(error) => panic!("{}", types::chain(&error)),
    }
    Some(built)
}
