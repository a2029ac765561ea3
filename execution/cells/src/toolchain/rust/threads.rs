//! Rust programs on threads: what `cloudskin build --openmp` makes of them.
//!
//! The library for the target `wasm32-wasip1-threads`, which rustup brings, has atomics, and with it come
//! a C library that bears threads and a linker: nothing else is needed. Programs reach OpenMP
//! through our crate `omp`, and the host their threads through a small object that is linked too.

use super::{Builder, Compiler, EDITION, Search, Step, compilers};
use crate::toolchain::{Error, ExternKind, inspected};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// What programs on threads are built for.
pub(super) const TARGET: &str = "wasm32-wasip1-threads";

/// How they are laid out, beside what the target says: as C programs on threads are.
const LINK: [&str; 6] = [
    "--max-memory=4294967296",
    "--export-table",
    "--export=__tls_base",
    "--export=__tls_size",
    "--export=__stack_pointer",
    "--export=cloudskin_threads",
];

/// What Rust's own threads import.
const SPAWN: (&str, &str) = ("wasi", "thread-spawn");

const NO_SPAWN: &str = "a cell's threads are those of its parallel regions: use \
                        `omp::parallel` or `omp::parallel_for` instead of `std::thread`";
const NOT_FOUND: &str = "no library that is linked has it, and the host offers no such function";

/// The first compiler that has the library.
pub(super) fn choose(search: &Search<'_>) -> Result<Compiler, Error> {
    let able = compilers(search).find(|compiler| compiler.has_library(TARGET));
    able.ok_or(Error::MissingTarget { target: TARGET })
}

/// Refuses a program that could not run: the linker leaves what it does not find to the host.
pub(super) fn check(subject: &Path, wasm: &[u8]) -> Result<(), Error> {
    let openmp = crate::parallel::function_names();
    let refuse = |function: &str, hint| {
        Err(Error::Unavailable { path: subject.to_owned(), function: function.to_owned(), hint })
    };
    for import in &inspected(subject, wasm)?.imports {
        let (module, name) = (import.module.as_str(), import.name.as_str());
        if (module, name) == SPAWN {
            return refuse("std::thread::spawn", NO_SPAWN);
        }
        let is_function = import.kind == ExternKind::Function;
        if is_function && module == "env" && !openmp.contains(&name) {
            return refuse(name, NOT_FOUND);
        }
    }
    Ok(())
}

impl Builder<'_> {
    /// The crate `omp`, for whoever uses it, and what the host calls.
    pub(super) fn threads_flags(&self) -> Result<Vec<String>, Error> {
        let threads = self.threads_part("threads", "obj", "threads.o")?;
        let threads = self.lasting(&threads, ".o")?;
        let omp = self.threads_part("omp", "link", "libomp.rlib")?;
        let omp = self.lasting(&omp, "/libomp.rlib")?;
        let folder = omp.parent().unwrap_or(Path::new("/"));
        let mut flags = vec![
            format!("--extern=omp={}", omp.display()),
            // For a program that does not name it, but has a part that does.
            format!("-Ldependency={}", folder.display()),
            format!("-Clink-arg={}", threads.display()),
        ];
        flags.extend(LINK.map(|arg| format!("-Clink-arg={arg}")));
        Ok(flags)
    }

    /// Compiles one of our own sources.
    fn threads_part(&self, name: &str, emit: &str, output: &str) -> Result<PathBuf, Error> {
        let sources = self.places.resources.join("rust");
        let output = self.places.work.join(output);
        let mut args: Vec<OsString> = Vec::new();
        args.extend(
            ["--edition", EDITION, "--crate-type", "rlib", "--target", TARGET].map(Into::into),
        );
        args.extend(["-Copt-level=3", "-Cpanic=abort", super::FEATURES].map(Into::into));
        args.extend(["--crate-name", name].map(Into::into));
        args.push(format!("--emit={emit}").into());
        args.push(format!("--remap-path-prefix={}=cloudskin", sources.display()).into());
        args.push(sources.join(format!("{name}.rs")).into());
        args.extend(["-o".into(), output.clone().into()]);
        let step = Step {
            program: self.compiler.rustc.clone(),
            args,
            env: Vec::new(),
            what: format!("the runtime's `{name}.rs`"),
        };
        self.run(&step)?;
        Ok(output)
    }
}
