//! Guests, built once per machine.

use cells::toolchain::{Environment, Options, build};
use std::path::{Path, PathBuf};

/// The guest of this name from `tests/guests`, built so that it can be suspended. `None`, with a
/// line that says so, where the guest toolchain is not installed.
pub(crate) fn migratable(name: &str) -> Option<PathBuf> {
    made(name, |options| options.migratable = true)
}

/// The same, as an MPI program and with these flags.
pub(crate) fn parallel(name: &str, flags: &[&str]) -> Option<PathBuf> {
    made(name, |options| {
        options.mpi = true;
        options.flags = flags.iter().map(|&flag| flag.to_owned()).collect();
    })
}

fn made(name: &str, set: impl FnOnce(&mut Options)) -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests").join(name);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guests");
    std::fs::create_dir_all(&folder).unwrap();
    let key = key(&source);
    let stem = source.file_stem().unwrap().to_string_lossy();
    let built = folder.join(format!("{stem}-{key}.wasm"));
    if built.exists() {
        return Some(built);
    }
    let draft = folder.join(format!("{}.wasm", types::random_id()));
    let mut options = Options::new(vec![source], Environment::from_process());
    options.output = Some(draft.clone());
    set(&mut options);
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

/// Names the source and the headers beside it, and the binary that builds it: it brings our own.
fn key(source: &Path) -> String {
    let mut hasher = blake3::Hasher::new();
    let beside = std::fs::read_dir(source.parent().unwrap()).unwrap();
    let mut files: Vec<_> = beside.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file == source || file.extension().is_some_and(|kind| kind == "h"));
    files.sort();
    for file in &files {
        hasher.update(&std::fs::read(file).unwrap());
    }
    hasher.update(mpi::HEADER.as_bytes());
    hasher.finalize().to_hex()[..16].to_owned()
}
