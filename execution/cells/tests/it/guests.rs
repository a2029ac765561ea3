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

/// The same, whose ranks can be saved.
pub(crate) fn migratable_ranks(name: &str, flags: &[&str]) -> Option<PathBuf> {
    made(name, |options| {
        options.mpi = true;
        options.migratable = true;
        options.flags = flags.iter().map(|&flag| flag.to_owned()).collect();
    })
}

/// The guest of this name as a program with OpenMP.
pub(crate) fn openmp(name: &str) -> Option<PathBuf> {
    made(name, |options| options.openmp = true)
}

/// The same, which can be saved, with these flags.
pub(crate) fn migratable_openmp(name: &str, flags: &[&str]) -> Option<PathBuf> {
    made(name, |options| {
        options.openmp = true;
        options.migratable = true;
        options.flags = flags.iter().map(|&flag| flag.to_owned()).collect();
    })
}

/// The same, with room for so much of its call stack; each guest with one such number.
pub(crate) fn shallow_openmp(name: &str, unwind_area_bytes: u32) -> Option<PathBuf> {
    made(name, |options| {
        options.openmp = true;
        options.migratable = true;
        options.unwind_area_bytes = unwind_area_bytes;
    })
}

/// What the build of a program with OpenMP says, of this text under this name.
pub(crate) fn openmp_of(name: &str, text: &str) -> Option<Result<PathBuf, String>> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sources");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(name), text).unwrap();
    openmp_in(&folder.join(name))
}

/// The same, of this file or Cargo package; the module lies beside it.
pub(crate) fn openmp_in(source: &Path) -> Option<Result<PathBuf, String>> {
    let mut options = Options::new(vec![source.to_owned()], Environment::from_process());
    options.output = Some(source.with_extension("wasm"));
    options.openmp = true;
    match build(&options) {
        Ok(built) => Some(Ok(built.output)),
        Err(error) if error.kind() == types::ErrorKind::Unsupported => {
            println!("skipped: {}", types::chain(&error));
            None
        }
        Err(error) => Some(Err(types::chain(&error))),
    }
}

fn made(name: &str, set: impl FnOnce(&mut Options)) -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests").join(name);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guests");
    std::fs::create_dir_all(&folder).unwrap();
    let key = key(&source);
    let stem = source.file_stem().unwrap().to_string_lossy().into_owned();
    let mut options = Options::new(vec![source], Environment::from_process());
    set(&mut options);
    let forms = [(options.mpi, "-mpi"), (options.openmp, "-omp"), (options.migratable, "-moves")];
    let form: String = forms.iter().filter(|(set, _)| *set).map(|(_, name)| *name).collect();
    let built = folder.join(format!("{stem}{form}-{key}.wasm"));
    if built.exists() {
        return Some(built);
    }
    let draft = folder.join(format!("{}.wasm", types::random_id()));
    options.output = Some(draft.clone());
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
    let files_in = |folder: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect()
    };
    let mut files = files_in(source.parent().unwrap());
    files.retain(|file| file == source || file.extension().is_some_and(|kind| kind == "h"));
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("guest");
    for folder in ["rt", "rust", "include/cloudskin", "openmp"] {
        files.extend(files_in(&ours.join(folder)));
    }
    files.sort();
    for file in &files {
        hasher.update(&std::fs::read(file).unwrap());
    }
    hasher.update(mpi::HEADER.as_bytes());
    hasher.finalize().to_hex()[..16].to_owned()
}
