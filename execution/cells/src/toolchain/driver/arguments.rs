//! What a command line asks a compiler driver for.

use super::super::{Error, flags};
use std::{
    ffi::{OsStr, OsString},
    path::PathBuf,
};

/// How far a source goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// A question, such as `--version`, or preprocessing, or an object.
    Before,
    /// To a program.
    Link,
}

/// A command line, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Arguments {
    pub(super) stage: Stage,
    pub(super) openmp: bool,
    pub(super) migratable: bool,
    /// Whether debug information is kept.
    pub(super) debug: bool,
    /// The program, where one is linked.
    pub(super) output: PathBuf,
    /// What clang gets.
    pub(super) passed: Vec<OsString>,
}

/// Flags with which nothing is linked.
const NOT_LINKED: [&str; 6] = ["-c", "-S", "-E", "-M", "-MM", "-fsyntax-only"];

/// Flags whose value is the next argument and could be taken for an input.
const WITH_VALUE: [&str; 18] = [
    "-I",
    "-D",
    "-U",
    "-l",
    "-L",
    "-x",
    "-MF",
    "-MT",
    "-MQ",
    "-include",
    "-imacros",
    "-isystem",
    "-idirafter",
    "-iquote",
    "-Xlinker",
    "-Xclang",
    "-Xpreprocessor",
    "-u",
];

/// Flags that mean nothing for a module, which runs on every machine and on threads only with
/// OpenMP; left out.
const DROPPED: [&str; 13] = [
    "-pthread",
    "-pthreads",
    "-fPIC",
    "-fpic",
    "-fPIE",
    "-fpie",
    "-pie",
    "-no-pie",
    "-static",
    "-rdynamic",
    "-m64",
    "-m32",
    "-flto",
];

/// Beginnings of the same.
const DROPPED_PREFIXES: [&str; 15] = [
    "-march=",
    "-mtune=",
    "-mcpu=",
    "-mavx",
    "-msse",
    "-mfma",
    "-mbmi",
    "-mprefer-vector-width",
    "-flto=",
    "-fstack-protector",
    "-fcf-protection",
    "-Wl,-rpath",
    "-Wl,--as-needed",
    "-Wl,-z,",
    "-Wl,-soname",
];

/// Libraries whose functions the host has, or that have nothing for a guest.
const LIBRARIES_DROPPED: [&str; 12] = [
    "-lmpi",
    "-lmpi_cxx",
    "-lmpich",
    "-lgomp",
    "-lomp",
    "-liomp5",
    "-lgcc",
    "-lgcc_s",
    "-lpthread",
    "-lquadmath",
    "-latomic",
    "-lmvec",
];

const NO_LIBRARIES: &str = "a cell loads no shared libraries: make static ones, with `ar`";

impl Arguments {
    /// Reads a command line as a compiler's.
    pub(super) fn read(args: Vec<OsString>) -> Result<Self, Error> {
        let mut read = Self {
            stage: Stage::Link,
            openmp: false,
            migratable: std::env::var_os("CLOUDSKIN_MIGRATABLE").is_some_and(|value| value == "1"),
            debug: false,
            output: PathBuf::from("a.out"),
            passed: Vec::new(),
        };
        let mut has_input = false;
        let mut rest = args.into_iter();
        while let Some(arg) = rest.next() {
            let text = arg.to_str().unwrap_or("an input").to_owned();
            if text == "-o" || WITH_VALUE.contains(&text.as_str()) {
                let value = rest.next().ok_or_else(|| Error::Flag {
                    flag: text.clone(),
                    reason: "a value must follow it",
                })?;
                if text == "-o" {
                    read.output = PathBuf::from(&value);
                }
                read.pass_pair(&text, arg, value);
            } else if text == "-" || !text.starts_with('-') {
                has_input = true;
                read.passed.push(arg);
            } else {
                read.take(&text, &arg)?;
            }
        }
        if !has_input {
            read.stage = Stage::Before;
        }
        Ok(read)
    }

    fn pass_pair(&mut self, name: &str, flag: OsString, value: OsString) {
        let library = OsString::from(format!("{name}{}", value.to_string_lossy()));
        match name {
            "-l" => self.library(&library),
            _ => self.passed.extend([flag, value]),
        }
    }

    fn library(&mut self, flag: &OsStr) {
        let text = flag.to_string_lossy();
        if text == "-lstdc++" {
            self.passed.push("-lc++".into());
        } else if !LIBRARIES_DROPPED.contains(&text.as_ref()) {
            self.passed.push(flag.to_owned());
        }
    }

    fn take(&mut self, text: &str, arg: &OsStr) -> Result<(), Error> {
        if text == "-shared" || text == "-dynamiclib" {
            return Err(Error::Flag { flag: text.to_owned(), reason: NO_LIBRARIES });
        }
        if NOT_LINKED.contains(&text) {
            self.stage = Stage::Before;
        }
        if text == "--migratable" {
            self.migratable = true;
        } else if flags::is_openmp(text) {
            self.openmp = true;
        } else if text.starts_with("-l") {
            self.library(arg);
        } else if !is_dropped(text) {
            if text.starts_with("-g") {
                self.debug = text != "-g0";
            }
            if let Some(file) = text.strip_prefix("-o") {
                self.output = PathBuf::from(file);
            }
            self.passed.push(arg.to_owned());
        }
        Ok(())
    }
}

fn is_dropped(flag: &str) -> bool {
    DROPPED.contains(&flag) || DROPPED_PREFIXES.iter().any(|prefix| flag.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Arguments {
        Arguments::read(line.split(' ').map(OsString::from).collect()).unwrap()
    }

    fn passed(line: &str) -> String {
        let passed = read(line).passed;
        passed.iter().map(|arg| arg.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn tells_a_link_from_what_comes_before() {
        for line in
            ["-c a.c", "--version", "-E -", "a.c -MM", "-S a.c -o a.s", "-print-prog-name=ar"]
        {
            assert_eq!(read(line).stage, Stage::Before, "{line}");
        }
        for line in ["a.c", "a.o -o a -lm", "-x c -", "-MMD -MF a.d a.c -o a"] {
            assert_eq!(read(line).stage, Stage::Link, "{line}");
        }
        assert_eq!(read("a.o -o prog").output, PathBuf::from("prog"));
        assert_eq!(read("a.o").output, PathBuf::from("a.out"));
    }

    #[test]
    fn leaves_out_what_names_this_machine() {
        let line =
            "-O3 -march=native -pthread -fPIC -DX=1 -I inc a.c -lm -l stdc++ -lgomp -lpthread";

        assert_eq!(passed(line), "-O3 -DX=1 -I inc a.c -lm -lc++");
        assert!(read("-fopenmp a.c").openmp && passed("-fopenmp=libomp a.c") == "a.c");
        assert_eq!(passed("-fopenmp-simd a.c"), "-fopenmp-simd a.c");
    }

    #[test]
    fn refuses_shared_libraries_by_name() {
        let error = Arguments::read(vec!["-shared".into(), "a.o".into()]).unwrap_err();

        assert!(error.to_string().contains("`-shared`"), "{error}");
    }
}
