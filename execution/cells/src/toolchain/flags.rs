//! Which compiler flags are passed on, and to which step.

use super::Error;
use std::path::{Path, PathBuf};

/// Flags whose value may be the next argument.
const WITH_VALUE: [&str; 8] = ["-I", "-D", "-U", "-l", "-L", "-include", "-isystem", "-idirafter"];
/// Those of them that name a folder of headers.
const FOLDERS: [&str; 3] = ["-I", "-isystem", "-idirafter"];

const NO_THREADS: &str = "threads are not available to a program built this way: leave it out, \
                          the code then runs on one thread";
const WHOLE_PROGRAM: &str = "a build makes a whole program: list the sources instead";
const NO_MACHINE: &str = "a module runs on every machine: leave it out";

/// Flags that would be misunderstood, and why.
const REFUSED: [(&str, &str); 15] = [
    ("-pthread", NO_THREADS),
    ("-matomics", NO_THREADS),
    ("-c", WHOLE_PROGRAM),
    ("-S", WHOLE_PROGRAM),
    ("-E", WHOLE_PROGRAM),
    ("-shared", WHOLE_PROGRAM),
    ("-march=", NO_MACHINE),
    ("-mtune=", NO_MACHINE),
    ("-mcpu=", NO_MACHINE),
    ("-fPIC", NO_MACHINE),
    ("-fpic", NO_MACHINE),
    ("-fPIE", NO_MACHINE),
    ("-s", "function names are kept, because errors show them"),
    ("-M", "dependency files are not written: leave it out"),
    ("-fwasm-exceptions", "a throw ends the cell: leave it out"),
];

/// What the MPI engine calls in the guest.
const MPI_EXPORTS: [&str; 3] = ["--export-table", "--export=malloc", "--export=free"];

/// How sources with OpenMP are compiled: without atomics, clang would make plain operations of
/// theirs and globals of their threads' variables.
const OPENMP: [&str; 3] = ["-fopenmp", "-matomics", "-mbulk-memory"];

/// How a program on threads is linked. The C library is not told of threads, hence the unchecked
/// features; what is wrapped is made safe by `guest/rt/threads.c`.
const THREADS_LINK: [&str; 8] = [
    "--shared-memory",
    "--import-memory",
    "--max-memory=4294967296",
    "--no-check-features",
    "--export-table",
    "--export=__tls_base",
    "--export=__tls_size",
    "--export=cloudskin_threads",
];

/// The functions of the C library that `guest/rt/threads.c` wraps.
const THREADS_WRAPPED: [&str; 12] = [
    "malloc",
    "free",
    "calloc",
    "realloc",
    "posix_memalign",
    "aligned_alloc",
    "vfprintf",
    "fwrite",
    "fputs",
    "puts",
    "putchar",
    "fflush",
];

/// Whether a compiler would take it for OpenMP with threads.
pub(super) fn is_openmp(flag: &str) -> bool {
    flag == "-fopenmp" || flag.starts_with("-fopenmp=")
}

/// Flags by the step that uses them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Flags {
    /// For the compiler, in order, folders made absolute.
    pub(super) compile: Vec<String>,
    /// For the linker, in order.
    pub(super) link: Vec<String>,
    /// The folders of headers, absolute.
    pub(super) folders: Vec<PathBuf>,
    /// Whether debug information is wanted.
    pub(super) debug: bool,
    /// Whether it runs on threads.
    pub(super) threads: bool,
}

/// Whether the flag, as written, is followed by its value.
pub(super) fn takes_value(flag: &str) -> bool {
    WITH_VALUE.contains(&flag)
}

/// Sorts flags by step; relative folders start from `current_dir`.
pub(super) fn sort(flags: &[String], current_dir: &Path) -> Result<Flags, Error> {
    let mut sorted = Flags::default();
    let mut rest = flags.iter();
    while let Some(flag) = rest.next() {
        if takes_value(flag) {
            let value = rest.next().ok_or_else(|| refuse(flag, "a value must follow it"))?;
            sorted.take_pair(flag, value, current_dir);
        } else if let Some(name) = joined(flag) {
            sorted.take_pair(name, &flag[name.len()..], current_dir);
        } else {
            sorted.take(flag)?;
        }
    }
    Ok(sorted)
}

/// The flag at the start of `-Ifolder`, `-DX=1`, `-lm`.
fn joined(flag: &str) -> Option<&'static str> {
    WITH_VALUE.into_iter().find(|name| name.len() == 2 && flag.starts_with(name))
}

impl Flags {
    /// For a program that uses the MPI whose header is in this folder: the engine calls its
    /// operations and handlers, and needs memory for them.
    pub(super) fn use_mpi(&mut self, folder: &Path) {
        self.compile.extend(["-isystem".to_owned(), folder.display().to_string()]);
        self.link.extend(MPI_EXPORTS.map(|flag| format!("-Wl,{flag}")));
    }

    /// For a program on threads; `resources` has OpenMP's header and the list of its functions,
    /// which the program imports.
    pub(super) fn use_openmp(&mut self, resources: &Path) {
        self.threads = true;
        self.compile.extend(OPENMP.map(str::to_owned));
        let folder = resources.join("openmp");
        self.compile.extend(["-isystem".to_owned(), folder.display().to_string()]);
        self.link.extend(THREADS_LINK.map(|flag| format!("-Wl,{flag}")));
        self.link.extend(THREADS_WRAPPED.map(|name| format!("-Wl,--wrap={name}")));
        // The linker does not look into libraries for what is only wrapped, and would then call
        // whatever function comes first.
        self.link.extend(THREADS_WRAPPED.map(|name| format!("-Wl,--undefined={name}")));
        let imports = folder.join("imports").display().to_string();
        self.link.push(format!("-Wl,--allow-undefined-file={imports}"));
    }

    fn take_pair(&mut self, name: &str, value: &str, current_dir: &Path) {
        match name {
            // There is one C++ library; the other name is what native builds say.
            "-l" if value == "stdc++" => self.link.push("-lc++".to_owned()),
            "-l" => self.link.push(format!("-l{value}")),
            "-L" => self.link.push(format!("-L{}", absolute(value, current_dir).display())),
            name if FOLDERS.contains(&name) => {
                let folder = absolute(value, current_dir);
                self.compile.extend([name.to_owned(), folder.display().to_string()]);
                self.folders.push(folder);
            }
            name => self.compile.extend([name.to_owned(), value.to_owned()]),
        }
    }

    fn take(&mut self, flag: &str) -> Result<(), Error> {
        let refused = REFUSED.iter().find(|(name, _)| match *name {
            "-c" | "-S" | "-E" | "-s" => flag == *name,
            name => flag.starts_with(name),
        });
        if let Some((_, reason)) = refused {
            return Err(refuse(flag, reason));
        }
        if flag.starts_with("-Wl,") {
            self.link.push(flag.to_owned());
        } else if flag.starts_with("-g") {
            self.debug = flag != "-g0";
            self.compile.push(flag.to_owned());
        } else if ["-O", "-std=", "-W", "-f", "-m", "-w", "-pedantic", "-ansi"]
            .iter()
            .any(|known| flag.starts_with(known))
        {
            self.compile.push(flag.to_owned());
        } else if flag != "-static" {
            return Err(refuse(
                flag,
                "the flags are -I -D -U -O -l -L -std= -g -W -f -m -include -isystem",
            ));
        }
        Ok(())
    }
}

fn refuse(flag: &str, reason: &'static str) -> Error {
    Error::Flag { flag: flag.to_owned(), reason }
}

/// The path without `.` and `..`, taken by its letters alone.
pub(super) fn absolute(path: impl AsRef<Path>, current_dir: &Path) -> PathBuf {
    use std::path::Component;
    let mut result = PathBuf::new();
    for component in current_dir.join(path).components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                result.pop();
            }
            other => result.push(other),
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(flags: &[&str]) -> Result<Flags, Error> {
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        sort(&flags, Path::new("/work"))
    }

    #[test]
    fn sends_each_flag_to_its_step_in_order() {
        let flags =
            sorted(&["-O2", "-DX=1", "-D", "Y", "-Iinc", "-I", "../up", "-lm", "-std=c99", "-g"])
                .unwrap();

        assert_eq!(
            flags.compile,
            ["-O2", "-D", "X=1", "-D", "Y", "-I", "/work/inc", "-I", "/up", "-std=c99", "-g"]
        );
        assert_eq!(flags.link, ["-lm"]);
        assert_eq!(flags.folders, [Path::new("/work/inc"), Path::new("/up")]);
        assert!(flags.debug);
    }

    #[test]
    fn refuses_what_cannot_be_honoured_by_name() {
        for flag in ["-pthread", "-matomics", "-c", "-march=native", "-s", "--target=x", "-D"] {
            let error = sorted(&[flag]).unwrap_err();

            assert!(error.to_string().contains(&format!("`{flag}`")), "{error}");
        }
    }
}
