//! From sources to modules: what `cloudskin build` does.
//!
//! [`build`] compiles C and C++ with the machine's clang, or a Rust program with Debian's
//! `rustc-web` (on threads, with rustup's library for them), links our runtime and, where asked,
//! instruments the module so that it can be suspended. The compilers are found, never fetched: [`doctor`] says what is there, and a build
//! that lacks something names the packages. The same sources give the same bytes in every folder.
//!
//! [`inspect`] says what a module is without running it; the loader uses it on strangers' bytes.

mod driver;
mod error;
mod flags;
mod inspect;
mod migratable;
mod offsets;
mod options;
mod plan;
mod resources;
mod run;
mod rust;
pub(crate) mod sections;
mod tools;
mod wrappers;

pub use driver::{Driven, Driver};
pub use error::{Error, install_line};
pub use inspect::{
    Export, ExternKind, GlobalType, Import, InspectError, Inspection, MODULE_BYTES_MAX, Memory,
    MutableGlobal, inspect, is_component,
};
pub use migratable::{NotMigratable, UnwindArea};
pub use options::{Environment, Options, UNWIND_AREA_BYTES_DEFAULT};
pub use tools::{Goal, ToolStatus};
pub use wrappers::write_wrappers;

use error::file;
use plan::{Places, Program};
use resources::WorkFolder;
use std::fs;
use std::path::{Path, PathBuf};
use tools::Survey;

/// A finished build.
#[derive(Debug, Clone)]
pub struct Built {
    /// The module that was written.
    pub output: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// What it is.
    pub inspection: Inspection,
    /// What the tools said although they succeeded; empty if nothing.
    pub warnings: String,
}

/// Every part of the toolchain, present or not, in the order of use.
pub fn doctor(environment: &Environment) -> Vec<ToolStatus> {
    Survey::with_rust(environment).tools
}

/// Builds a module. Nothing is written to the output unless all of it succeeds.
pub fn build(options: &Options) -> Result<Built, Error> {
    options.check()?;
    let environment = &options.environment;
    let program = Program::classify(&options.inputs, &environment.current_dir)?;
    check_readable(options)?;
    let work = WorkFolder::new(&environment.cache_dir)?;
    let resources = resources::materialise(&environment.cache_dir)?;
    let places =
        Places { current_dir: &environment.current_dir, resources: &resources, work: work.path() };
    let made = match &program {
        Program::Native(parts) => native(options, parts, &places)?,
        Program::RustFile(path) => rust::build_file(options, path, &places)?,
        Program::CargoPackage(path) => rust::build_package(options, path, &places)?,
        Program::Module(path) => module(options, path)?,
    };
    finish(options, made, &places)
}

/// A module before instrumentation.
struct Made {
    wasm: Vec<u8>,
    warnings: String,
}

/// Says which input cannot be read, before any compiler says so in its own words.
fn check_readable(options: &Options) -> Result<(), Error> {
    for input in &options.inputs {
        let path = options.environment.current_dir.join(input);
        fs::metadata(path).map_err(file("read", input))?;
    }
    Ok(())
}

fn native(options: &Options, parts: &[plan::Part], places: &Places<'_>) -> Result<Made, Error> {
    let environment = &options.environment;
    let mut flags = flags::sort(&options.flags, &environment.current_dir)?;
    if options.mpi {
        flags.use_mpi(&places.resources.join("mpi"));
    }
    if options.openmp {
        flags.use_openmp(places.resources);
    }
    let goal = if plan::needs_cxx(parts, &flags) { Goal::Cxx } else { Goal::C };
    let survey = survey(options, goal)?;
    let clang = survey.clang(&environment.prefix)?;
    let plan = plan::native(parts, &flags, options.unwind_area_bytes, &clang, places);
    let (current_dir, search_path) = (&environment.current_dir, &environment.search_path);
    let compiled = run::all(&plan.compile, current_dir, search_path)?;
    let linked = run::step(&plan.link, current_dir, search_path)?.said;
    let wasm = tidied(&plan.output, &read(&plan.output)?)?;
    Ok(Made { wasm, warnings: joined(&[&compiled, &linked]) })
}

/// Looks for what this build needs, and refuses at once if anything is missing.
fn survey(options: &Options, goal: Goal) -> Result<Survey, Error> {
    // Every program links a piece of our own, which is C.
    let mut goals = vec![goal, Goal::C];
    let survey = match goal {
        Goal::Rust => Survey::with_rust(&options.environment),
        _ => Survey::new(&options.environment),
    };
    if options.migratable {
        goals.push(Goal::Migratable);
    }
    survey.require(&goals)?;
    Ok(survey)
}

fn module(options: &Options, path: &Path) -> Result<Made, Error> {
    if !options.migratable {
        return Err(Error::NothingToDo { path: path.to_owned() });
    }
    if let Some(flag) = options.flags.first() {
        let reason = "a module is compiled already";
        return Err(Error::Flag { flag: flag.clone(), reason });
    }
    Ok(Made { wasm: read(&options.environment.current_dir.join(path))?, warnings: String::new() })
}

/// Instruments where asked, checks, and writes the output.
fn finish(options: &Options, made: Made, places: &Places<'_>) -> Result<Built, Error> {
    let subject = &options.inputs[0];
    let (wasm, inspection, said) = match options.migratable {
        true => migratable(subject, made.wasm, &options.environment, places)?,
        false => {
            let inspection = inspected(subject, &made.wasm)?;
            (made.wasm, inspection, String::new())
        }
    };
    let warnings = joined(&[&made.warnings, &said]);
    let output = output(options);
    resources::write_atomically(&options.environment.current_dir.join(&output), &wasm)?;
    Ok(Built { output, bytes: wasm.len() as u64, inspection, warnings })
}

/// What a linker wrote, as it runs best.
fn tidied(subject: &Path, wasm: &[u8]) -> Result<Vec<u8>, Error> {
    offsets::fold(wasm).map_err(|source| Error::Module { path: subject.to_owned(), source })
}

fn inspected(subject: &Path, wasm: &[u8]) -> Result<Inspection, Error> {
    inspect(wasm).map_err(|source| Error::Module { path: subject.to_owned(), source })
}

/// The module as one that can be suspended, what it is then, and what the optimiser said.
fn migratable(
    subject: &Path,
    wasm: Vec<u8>,
    environment: &Environment,
    places: &Places<'_>,
) -> Result<(Vec<u8>, Inspection, String), Error> {
    let inspection = inspected(subject, &wasm)?;
    if inspection.migratable.is_ok() {
        return Ok((wasm, inspection, String::new()));
    }
    check_instrumentable(subject, &inspection)?;
    let threads = inspection.uses_threads;
    let (wasm, said) = instrument(subject, environment, &wasm, threads, places)?;
    let inspection = inspected(subject, &wasm)?;
    match inspection.migratable.clone() {
        Ok(_) => Ok((wasm, inspection, said)),
        Err(source) => Err(Error::NotMigratable { path: subject.to_owned(), source }),
    }
}

/// Refuses what instrumentation cannot mend, in the words of what is wrong.
fn check_instrumentable(path: &Path, inspection: &Inspection) -> Result<(), Error> {
    let refuse = |source| Err(Error::NotMigratable { path: path.to_owned(), source });
    if let Err(
        source @ (NotMigratable::SharedMemory
        | NotMigratable::Memory64
        | NotMigratable::WrongExport(_)),
    ) = &inspection.migratable
    {
        return refuse(source.clone());
    }
    for name in [migratable::AREA, migratable::AREA_SIZE] {
        if inspection.export(name).is_none() {
            return refuse(NotMigratable::NoUnwindArea(name));
        }
    }
    Ok(())
}

fn instrument(
    subject: &Path,
    environment: &Environment,
    wasm: &[u8],
    threads: bool,
    places: &Places<'_>,
) -> Result<(Vec<u8>, String), Error> {
    let survey = Survey::new(environment);
    survey.require(&[Goal::Migratable])?;
    let wasm_opt = survey.program(tools::OPTIMISER)?;
    let input = places.work.join("plain.wasm");
    let output = places.work.join("migratable.wasm");
    // Newer compilers list features there that an older Binaryen refuses; our flags say it all.
    let stripped = sections::without_custom(wasm, "target_features")
        .map_err(|source| Error::Module { path: subject.to_owned(), source })?;
    fs::write(&input, stripped).map_err(file("write", &input))?;
    let step = plan::instrument(&wasm_opt, &input, &output, threads);
    let ran = run::step(&step, &environment.current_dir, &environment.search_path)?;
    Ok((read(&output)?, ran.said))
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(file("read", path))
}

/// The output as asked for, or the first input's name in the current folder.
fn output(options: &Options) -> PathBuf {
    if let Some(output) = &options.output {
        return output.clone();
    }
    let input = options.environment.current_dir.join(&options.inputs[0]);
    let input = input.canonicalize().unwrap_or(input);
    let stem = input.file_stem().unwrap_or("cell".as_ref()).to_owned();
    let mut name = stem;
    let is_module = input.extension().is_some_and(|extension| extension == "wasm");
    name.push(if is_module { ".migratable.wasm" } else { ".wasm" });
    PathBuf::from(name)
}

fn joined(said: &[&str]) -> String {
    said.iter().filter(|said| !said.is_empty()).copied().collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod builds;
#[cfg(test)]
mod tests;
