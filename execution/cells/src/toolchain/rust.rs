//! Rust programs, by Debian's `rustc-web`.
//!
//! Debian packages no compiled standard library for WebAssembly, but its sources. They are compiled
//! once for each compiler into the cache; programs are then built against that as usual. A compiler
//! that brings a compiled `wasm32-wasip1` library is used as it is. Programs on threads are built for
//! another target: see `threads`.

mod threads;

use super::error::file;
use super::flags::absolute;
use super::plan::{self, Places, Step};
use super::resources::write_atomically;
use super::tools::{CARGO, Goal, LINKER, RUSTC, Search, Survey, ToolStatus, status};
use super::{Error, Made, Options, read, run, survey};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "wasm32-wasip1";
/// Instructions that are part of every current engine.
const FEATURES: &str = "-Ctarget-feature=+simd128,+nontrapping-fptoint";
/// The name under which the library's sources stand among the tools.
const SOURCES: &str = "the Rust standard library's sources";
/// The newest edition: a single file has no manifest that says otherwise.
const EDITION: &str = "2024";
/// What `Cargo.toml` says of the empty program that makes Cargo compile the library.
const SEED_MANIFEST: &str =
    "[package]\nname = \"seed\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n";
/// Cargo separates the flags in its variable by this.
const FLAG_SEPARATOR: &str = "\u{1f}";

/// A compiler and where its library for a target is to come from.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Compiler {
    rustc: PathBuf,
    sysroot: PathBuf,
}

impl Compiler {
    /// Asks a compiler where its libraries are.
    fn ask(rustc: PathBuf, current_dir: &Path) -> Option<Self> {
        // Which compiler rustup starts may depend on the folder.
        let mut command = Command::new(&rustc);
        let output = command.args(["--print", "sysroot"]).current_dir(current_dir).output().ok()?;
        let sysroot = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| Self { rustc, sysroot: PathBuf::from(sysroot.trim_end()) })
    }

    fn has_library(&self, target: &str) -> bool {
        self.sysroot.join("lib/rustlib").join(target).join("lib").is_dir()
    }

    fn sources(&self) -> PathBuf {
        self.sysroot.join("lib/rustlib/src/rust/library")
    }

    fn has_sources(&self) -> bool {
        self.sources().join("vendor").is_dir()
    }
}

/// Every compiler in the search path.
fn compilers(search: &Search<'_>) -> impl Iterator<Item = Compiler> {
    let current_dir = search.environment.current_dir.clone();
    search.programs(RUSTC).into_iter().filter_map(move |path| Compiler::ask(path, &current_dir))
}

/// The first compiler that can build for our target, else the first at all.
fn choose(search: &Search<'_>) -> Option<Compiler> {
    let compilers: Vec<Compiler> = compilers(search).collect();
    let able =
        compilers.iter().find(|compiler| compiler.has_library(TARGET) || compiler.has_sources());
    able.or(compilers.first()).cloned()
}

/// The parts that Rust programs need.
pub(super) fn parts(search: &Search<'_>) -> Vec<ToolStatus> {
    let compiler = choose(search);
    let rustc = compiler.as_ref().map(|compiler| compiler.rustc.clone());
    let sources = compiler.as_ref().and_then(|compiler| {
        let able = compiler.has_library(TARGET) || compiler.has_sources();
        able.then(|| compiler.sources())
    });
    // A compiler from elsewhere does not fit Debian's sources, so its own package is needed too.
    let package = "rustc-web rust-web-src";
    vec![
        status(RUSTC, "rustc-web", &[Goal::Rust], rustc),
        search.part(CARGO, CARGO, "cargo-web", &[Goal::Rust]),
        status(SOURCES, package, &[Goal::Rust], sources),
    ]
}

/// What a Rust build works with.
struct Builder<'a> {
    options: &'a Options,
    places: &'a Places<'a>,
    survey: Survey,
    compiler: Compiler,
    target: &'static str,
    /// Where the compiled library is, if not with the compiler.
    library: Option<PathBuf>,
}

/// Builds a program of one file.
pub(super) fn build_file(
    options: &Options,
    source: &Path,
    places: &Places<'_>,
) -> Result<Made, Error> {
    let builder = Builder::new(options, places)?;
    let source = absolute(source, places.current_dir);
    let folder = source.parent().unwrap_or(Path::new("/"));
    let output = places.work.join("cell.wasm");
    let mut args: Vec<OsString> = Vec::new();
    args.extend(
        ["--edition", EDITION, "--crate-name", "cell", "--crate-type", "bin"].map(Into::into),
    );
    let target = builder.target;
    args.extend(["--target", target, "-Copt-level=3", "-Ccodegen-units=1"].map(Into::into));
    args.extend(builder.flags(folder)?.into_iter().map(Into::into));
    args.extend([source.clone().into(), "-o".into(), output.clone().into()]);
    let step = Step {
        program: builder.compiler.rustc.clone(),
        args,
        env: Vec::new(),
        what: format!("`{}`", source.display()),
    };
    let said = builder.run(&step)?.said;
    builder.made(&output, said)
}

/// Builds the one program of a Cargo package.
pub(super) fn build_package(
    options: &Options,
    folder: &Path,
    places: &Places<'_>,
) -> Result<Made, Error> {
    let builder = Builder::new(options, places)?;
    let folder = absolute(folder, places.current_dir);
    let manifest = folder.join("Cargo.toml");
    let mut step = builder.cargo(&builder.flags(&folder)?, &format!("`{}`", manifest.display()))?;
    step.args
        .extend(["--message-format=json-render-diagnostics", "--manifest-path"].map(Into::into));
    step.args.push(manifest.clone().into());
    let ran = builder.run(&step)?;
    let programs = executables(&ran.stdout);
    let [program] = programs.as_slice() else {
        return Err(Error::Programs { path: folder, count: programs.len() });
    };
    // Cargo reports its progress where warnings go; only those are worth showing.
    let warnings = if ran.said.contains("warning:") { ran.said } else { String::new() };
    builder.made(program, warnings)
}

/// The programs in Cargo's messages, one JSON object a line.
fn executables(messages: &str) -> Vec<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str(line).ok());
    messages
        .filter_map(|message: serde_json::Value| {
            message.get("executable")?.as_str().map(PathBuf::from)
        })
        .collect()
}

impl<'a> Builder<'a> {
    fn new(options: &'a Options, places: &'a Places<'a>) -> Result<Self, Error> {
        if let Some(flag) = options.flags.first() {
            let reason = "Rust programs take their settings from Cargo.toml";
            return Err(Error::Flag { flag: flag.clone(), reason });
        }
        let search = Search { environment: &options.environment };
        if options.openmp && options.migratable {
            let reason = "a Rust program that runs on threads cannot be saved: leave it out, or build \
                          a C or C++ program";
            return Err(Error::Flag { flag: "--migratable".to_owned(), reason });
        }
        if options.openmp {
            let compiler = threads::choose(&search)?;
            let survey = Survey::with_rust(&options.environment);
            let target = threads::TARGET;
            return Ok(Self { options, places, survey, compiler, target, library: None });
        }
        let survey = survey(options, Goal::Rust)?;
        let compiler = choose(&search).ok_or_else(|| Error::MissingTools {
            goal: "a Rust program",
            missing: vec![format!("`{RUSTC}`")],
            packages: vec!["rustc-web".to_owned()],
        })?;
        let mut builder = Self { options, places, survey, compiler, target: TARGET, library: None };
        if !builder.compiler.has_library(TARGET) {
            builder.library = Some(builder.compiled_library()?);
        }
        Ok(builder)
    }

    /// The library in the cache, compiled first if it is not there.
    fn compiled_library(&self) -> Result<PathBuf, Error> {
        let version = Step {
            program: self.compiler.rustc.clone(),
            args: vec!["-vV".into()],
            env: Vec::new(),
            what: "its own version".to_owned(),
        };
        let key = blake3::hash(self.run(&version)?.stdout.as_bytes()).to_hex();
        let cache = self.options.environment.cache_dir.join("rust").join(&key.as_str()[..16]);
        let library = cache.join("lib/rustlib").join(TARGET).join("lib");
        if library.is_dir() {
            return Ok(cache);
        }
        let made = self.compile_library()?;
        let parent = library.parent().unwrap_or(&cache);
        fs::create_dir_all(parent).map_err(file("create", parent))?;
        match fs::rename(&made, &library) {
            // Another build was faster; what it made is the same.
            Err(_) if library.is_dir() => Ok(cache),
            result => result.map(|()| cache).map_err(file("write", library)),
        }
    }

    /// Compiles the library by building an empty program with it; gives a folder of its parts.
    fn compile_library(&self) -> Result<PathBuf, Error> {
        let seed = self.places.work.join("seed");
        let source = seed.join("src");
        fs::create_dir_all(&source).map_err(file("create", &source))?;
        for (path, text) in [("Cargo.toml", SEED_MANIFEST), ("src/lib.rs", "")] {
            fs::write(seed.join(path), text).map_err(file("write", seed.join(path)))?;
        }
        let sources = self.compiler.sources();
        let vendor = serde_json::Value::from(sources.join("vendor").display().to_string());
        let remap = format!("--remap-path-prefix={}=library", sources.display());
        let mut step = self.cargo(&[remap, "-Cpanic=abort".to_owned()], SOURCES)?;
        step.env.push(("RUSTC_BOOTSTRAP".into(), "1".into()));
        step.env.push(("CARGO_TARGET_DIR".into(), seed.join("target").into()));
        step.args.extend(
            ["--offline", "-Zbuild-std=std,panic_abort", "--manifest-path"].map(Into::into),
        );
        step.args.push(seed.join("Cargo.toml").into());
        for setting in [
            "source.crates-io.replace-with=\"std-vendor\"".to_owned(),
            format!("source.std-vendor.directory={vendor}"),
        ] {
            step.args.extend(["--config".into(), setting.into()]);
        }
        self.run(&step)?;
        collect_libraries(&seed.join("target").join(TARGET).join("release/deps"), &seed.join("lib"))
    }

    /// `cargo build` for our target with these compiler flags.
    fn cargo(&self, flags: &[String], what: &str) -> Result<Step, Error> {
        let args = ["build", "--release", "--quiet", "--target", self.target];
        let args = args.map(Into::into).to_vec();
        Ok(Step {
            program: self.survey.program(CARGO)?,
            args,
            env: vec![
                ("RUSTC".into(), self.compiler.rustc.clone().into()),
                ("CARGO_ENCODED_RUSTFLAGS".into(), flags.join(FLAG_SEPARATOR).into()),
            ],
            what: what.to_owned(),
        })
    }

    /// How a program is compiled and linked, whichever tool starts the compiler.
    fn flags(&self, folder: &Path) -> Result<Vec<String>, Error> {
        let mut flags = vec![
            "-Cpanic=abort".to_owned(),
            "-Cstrip=debuginfo".to_owned(),
            FEATURES.to_owned(),
            format!("-Cllvm-args={}", super::plan::INTERLEAVED),
            format!("-Cllvm-args={}", super::plan::REGISTERS),
            format!("--remap-path-prefix={}/=", folder.display()),
        ];
        flags.extend(match self.options.openmp {
            true => self.threads_flags()?,
            false => self.one_thread_flags()?,
        });
        Ok(flags)
    }

    /// The linker, the C library and our runtime for a program of one thread.
    fn one_thread_flags(&self) -> Result<Vec<String>, Error> {
        let environment = &self.options.environment;
        let clang = self.survey.clang(&environment.prefix)?;
        let (step, area) = plan::unwind_area(self.options.unwind_area_bytes, &clang, self.places);
        self.run(&step)?;
        let area = self.lasting(&area, ".o")?;
        let (step, memory) = plan::memory(&clang, self.places);
        self.run(&step)?;
        let memory = self.lasting(&memory, ".o")?;
        let lib = environment.prefix.join("lib/wasm32-wasi");
        let mut flags = vec![
            format!("-Clinker={}", self.survey.program(LINKER)?.display()),
            "-Clinker-flavor=wasm-ld".to_owned(),
            "-Clink-self-contained=no".to_owned(),
            format!("-Clink-arg=-L{}", lib.display()),
            format!("-Clink-arg={}", lib.join("crt1-command.o").display()),
            format!("-Clink-arg={}", area.display()),
            "-Clink-arg=--start-lib".to_owned(),
            format!("-Clink-arg={}", memory.display()),
            "-Clink-arg=--end-lib".to_owned(),
        ];
        flags.extend(plan::linker_args().map(|arg| format!("-Clink-arg={arg}")));
        flags.extend(self.library.iter().map(|path| format!("--sysroot={}", path.display())));
        Ok(flags)
    }

    /// Keeps the object under a name of its own: Cargo builds everything anew when a flag changes.
    fn lasting(&self, object: &Path, suffix: &str) -> Result<PathBuf, Error> {
        let content = read(object)?;
        let name = format!("{}{suffix}", &blake3::hash(&content).to_hex()[..16]);
        let path = self.options.environment.cache_dir.join("rust/objects").join(name);
        if !path.is_file() {
            write_atomically(&path, &content)?;
        }
        Ok(path)
    }

    /// What was built, if a cell can run it.
    fn made(&self, output: &Path, warnings: String) -> Result<Made, Error> {
        let wasm = super::tidied(output, &read(output)?)?;
        if self.options.openmp {
            threads::check(&self.options.inputs[0], &wasm)?;
        }
        Ok(Made { wasm, warnings })
    }

    fn run(&self, step: &Step) -> Result<run::Ran, Error> {
        run::step(step, self.places.current_dir, &self.options.environment.search_path)
    }
}

/// Moves the compiled libraries out of Cargo's folder into one of their own.
fn collect_libraries(from: &Path, to: &Path) -> Result<PathBuf, Error> {
    fs::create_dir_all(to).map_err(file("create", to))?;
    for entry in fs::read_dir(from).map_err(file("read", from))? {
        let path = entry.map_err(file("read", from))?.path();
        let (Some(name), Some("rlib")) =
            (path.file_name(), path.extension().and_then(|extension| extension.to_str()))
        else {
            continue;
        };
        if name.to_string_lossy().starts_with("libseed-") {
            continue;
        }
        fs::rename(&path, to.join(name)).map_err(file("write", to))?;
    }
    Ok(to.to_owned())
}
