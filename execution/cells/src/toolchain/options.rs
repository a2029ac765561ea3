//! What is asked of a build.

use super::Error;
use std::ffi::OsString;
use std::path::PathBuf;

/// The most bytes of call stack that a suspended program may need, unless asked otherwise.
pub const UNWIND_AREA_BYTES_DEFAULT: u32 = 64 << 10;

/// A frame of any use, and more stack than a program can have.
const UNWIND_AREA_BYTES: std::ops::RangeInclusive<u32> = 1 << 10..=64 << 20;

/// What to build, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// C and C++ sources, objects and archives; or one Rust source, package folder or module.
    pub inputs: Vec<PathBuf>,
    /// The module to write; by default the first input's name with `.wasm`, in this folder.
    pub output: Option<PathBuf>,
    /// Whether the program can be snapshotted and moved while it runs.
    pub migratable: bool,
    /// Whether the program may use MPI.
    pub mpi: bool,
    /// Whether the program uses OpenMP, on threads.
    pub openmp: bool,
    /// Flags in the compiler's own spelling: `-I -D -U -O -l -L -std= -g -W -f -m`.
    pub flags: Vec<String>,
    /// Room for the call stack of a suspended program.
    pub unwind_area_bytes: u32,
    /// Where things are on this machine.
    pub environment: Environment,
}

/// Where things are on this machine.
#[derive(Debug, Clone)]
pub struct Environment {
    /// Folders with programs, as in `PATH`.
    pub search_path: OsString,
    /// The folder that relative paths start from.
    pub current_dir: PathBuf,
    /// Where our headers and intermediate files go; safe to delete.
    pub cache_dir: PathBuf,
    /// The folder that holds `include/wasm32-wasi` and `lib/wasm32-wasi`.
    pub prefix: PathBuf,
}

impl Environment {
    /// This process's environment.
    pub fn from_process() -> Self {
        let var = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let cache = var("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| var("HOME").map(|home| PathBuf::from(home).join(".cache")))
            .unwrap_or_else(std::env::temp_dir);
        Self {
            search_path: var("PATH").unwrap_or_default(),
            current_dir: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
            cache_dir: cache.join("cloudskin"),
            prefix: PathBuf::from("/usr"),
        }
    }
}

impl Options {
    /// Refuses what cannot work.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.openmp && self.mpi {
            let reason = "ranks run on one thread each: leave it out, or `--mpi`";
            return Err(flag("--openmp", reason));
        }
        if UNWIND_AREA_BYTES.contains(&self.unwind_area_bytes) {
            return Ok(());
        }
        let given = format!("--unwind-area={}", self.unwind_area_bytes);
        Err(flag(&given, "give between 1024 and 67108864 bytes"))
    }

    /// Builds these inputs with default settings.
    pub fn new(inputs: Vec<PathBuf>, environment: Environment) -> Self {
        Self {
            inputs,
            output: None,
            migratable: false,
            mpi: false,
            openmp: false,
            flags: Vec::new(),
            unwind_area_bytes: UNWIND_AREA_BYTES_DEFAULT,
            environment,
        }
    }

    /// Reads a command line in the manner of a C compiler: inputs and flags in any order, with
    /// `-o FILE`, `--migratable`, `--mpi`, `--openmp` (or `-fopenmp`) and `--unwind-area=BYTES`.
    pub fn from_args<I>(args: I, environment: Environment) -> Result<Self, Error>
    where
        I: IntoIterator<Item = String>,
    {
        let mut options = Self::new(Vec::new(), environment);
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            if arg == "--migratable" {
                options.migratable = true;
            } else if arg == "--mpi" {
                options.mpi = true;
            } else if arg == "--openmp" || super::flags::is_openmp(&arg) {
                options.openmp = true;
            } else if let Some(file) = arg.strip_prefix("-o") {
                let file = if file.is_empty() { args.next() } else { Some(file.to_owned()) };
                let file = file.ok_or(flag(&arg, "name the file to write after it"))?;
                options.output = Some(PathBuf::from(file));
            } else if let Some(bytes) = arg.strip_prefix("--unwind-area=") {
                options.unwind_area_bytes =
                    bytes.parse().map_err(|_| flag(&arg, "write a number of bytes"))?;
            } else if arg.starts_with('-') {
                options.flags.push(arg.clone());
                if super::flags::takes_value(&arg) {
                    let value = args.next().ok_or(flag(&arg, "a value must follow it"))?;
                    options.flags.push(value);
                }
            } else {
                options.inputs.push(PathBuf::from(arg));
            }
        }
        Ok(options)
    }
}

fn flag(flag: &str, reason: &'static str) -> Error {
    Error::Flag { flag: flag.to_owned(), reason }
}
