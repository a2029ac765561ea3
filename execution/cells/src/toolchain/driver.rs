//! The compiler as `make`, CMake and configure scripts know compilers: one command that
//! preprocesses, compiles and links, with the flags of clang and GCC.
//!
//! [`Driver::drive`] runs clang with what a guest needs added: our headers when it compiles, our
//! runtime when it links. Flags that name this machine's processor or its libraries of threads
//! are left out, so that unmodified makefiles build.

mod arguments;

use super::{
    Environment, Error,
    error::file,
    flags::Flags,
    plan::{self, Places},
    resources::{self, WorkFolder},
    run,
    tools::{Clang, Goal, Survey},
};
use arguments::{Arguments, Stage};
use std::{
    ffi::OsString,
    fs,
    io::IsTerminal,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A compiler driver for one language.
#[derive(Debug, Clone)]
pub struct Driver {
    /// Whether it is for C++.
    pub cxx: bool,
    /// Whether it is MPI's wrapper: its header is found, and what the ranks need is linked.
    pub mpi: bool,
    /// Where things are on this machine.
    pub environment: Environment,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Driven {
    /// It was a question to the wrapper itself: the answer.
    Answered(String),
    /// The compiler ran.
    Ran {
        /// Its exit code.
        code: u8,
        /// What it said on standard error.
        said: String,
        /// What to do about it, where that is known.
        hint: Option<&'static str>,
    },
}

/// The answer to a question of build systems: which flags MPI needs.
const SHOW_COMPILE: [&str; 2] = ["-showme:compile", "-compile_info"];
const SHOW_LINK: [&str; 2] = ["-showme:link", "-link_info"];

impl Driver {
    /// Does what the arguments say. The compiler's output goes to this process's, as its input
    /// comes from there.
    ///
    /// # Errors
    /// [`Error`] if a tool is missing, or a flag asks for what no cell has.
    pub fn drive(&self, args: Vec<OsString>) -> Result<Driven, Error> {
        let resources = resources::materialise(&self.environment.cache_dir)?;
        if let Some(answer) = self.answer(&args, &resources) {
            return Ok(Driven::Answered(answer));
        }
        let mut arguments = Arguments::read(args)?;
        let survey = Survey::new(&self.environment);
        let goal = if self.cxx { Goal::Cxx } else { Goal::C };
        survey.require(&[goal, Goal::C])?;
        let clang = survey.clang(&self.environment.prefix)?;
        let work = WorkFolder::new(&self.environment.cache_dir)?;
        let places = Places {
            current_dir: &self.environment.current_dir,
            resources: &resources,
            work: work.path(),
        };
        let (mut code, mut said) = self.attempt(&arguments, &clang, &places)?;
        if code != 0 && !arguments.openmp && needs_openmp(&said) {
            // Build systems that know libraries of OpenMP by name give none to the link.
            arguments.openmp = true;
            (code, said) = self.attempt(&arguments, &clang, &places)?;
        }
        if code == 0 && arguments.stage == Stage::Link {
            self.finish(&arguments, &places)?;
        }
        let hint = if code == 0 { None } else { run::hint(&said) };
        Ok(Driven::Ran { code, said, hint })
    }

    /// Does with a program that was just linked what `cloudskin build` does too.
    fn finish(&self, arguments: &Arguments, places: &Places<'_>) -> Result<(), Error> {
        let output = &arguments.output;
        let path = self.environment.current_dir.join(output);
        let mut wasm = super::tidied(output, &super::read(&path)?)?;
        if arguments.migratable {
            (wasm, _, _) = super::migratable(output, wasm, &self.environment, places)?;
        }
        // In its place: build systems look at the permissions that the linker gave it.
        fs::write(&path, &wasm).map_err(file("write", &path))
    }

    /// Runs clang once: its exit code, and what it said.
    fn attempt(
        &self,
        arguments: &Arguments,
        clang: &Clang,
        places: &Places<'_>,
    ) -> Result<(u8, String), Error> {
        let mut command = self.command(arguments, clang, places)?;
        if arguments.stage == Stage::Link {
            command.args(self.link_args(arguments, clang, places)?);
            // With an -O of the user's it would run whatever wasm-opt it finds.
            command.env("PATH", places.work);
        }
        run_shown(&mut command)
    }

    /// What build systems ask wrappers of MPI.
    fn answer(&self, args: &[OsString], resources: &Path) -> Option<String> {
        let [one] = args else { return None };
        let one = one.to_str()?.replace("--show", "-show");
        if !self.mpi {
            return None;
        }
        let folder = resources.join("mpi").display().to_string();
        let compile = format!("-I{folder}");
        let link = self.flags(resources, false).link.join(" ") + &format!(" -L{folder} -lmpi");
        match one.as_str() {
            flag if SHOW_COMPILE.contains(&flag) => Some(compile),
            flag if SHOW_LINK.contains(&flag) => Some(link),
            "-show" | "-showme" => {
                let name = if self.cxx { "cloudskin-c++" } else { "cloudskin-cc" };
                Some(format!("{name} {compile} {link}"))
            }
            _ => None,
        }
    }

    /// What MPI and OpenMP add.
    fn flags(&self, resources: &Path, openmp: bool) -> Flags {
        let mut flags = Flags::default();
        if self.mpi {
            flags.use_mpi(&resources.join("mpi"));
        }
        if openmp {
            flags.use_openmp(resources);
        }
        flags
    }

    /// Clang with our defaults, which the user's flags follow and so override.
    fn command(
        &self,
        arguments: &Arguments,
        clang: &Clang,
        places: &Places<'_>,
    ) -> Result<Command, Error> {
        if self.mpi && arguments.openmp {
            let reason = "ranks run on one thread each: leave it out";
            return Err(Error::Flag { flag: "-fopenmp".to_owned(), reason });
        }
        let (program, defaults) = plan::driver(self.cxx, clang, places);
        let mut command = Command::new(program);
        command.current_dir(places.current_dir).env("PATH", &self.environment.search_path);
        run::remove_native_variables(&mut command);
        command.args(defaults);
        command.args(self.flags(places.resources, arguments.openmp).compile);
        command.args(&arguments.passed);
        if std::io::stderr().is_terminal() {
            command.arg("-fdiagnostics-color=always");
        }
        Ok(command)
    }

    /// What the link of a program is given beside the user's objects.
    fn link_args(
        &self,
        arguments: &Arguments,
        clang: &Clang,
        places: &Places<'_>,
    ) -> Result<Vec<OsString>, Error> {
        let mut flags = self.flags(places.resources, arguments.openmp);
        flags.debug = arguments.debug;
        let compiled = Compiled { clang, places, environment: &self.environment };
        let mut runtime = plan::Runtime { cxx: self.cxx, ..plan::Runtime::default() };
        runtime.objects.push(compiled.object("unwind_area", false)?);
        if flags.threads {
            runtime.objects.push(compiled.object("threads", false)?);
        }
        runtime.members.push(compiled.object("memory", false)?);
        if self.cxx {
            runtime.members.push(compiled.object("exceptions", true)?);
        }
        let mut args = plan::link_args(&runtime, &flags);
        args.push(format!("-fuse-ld={}", clang.linker.display()).into());
        Ok(args)
    }
}

/// The pieces of our own that programs are linked with, compiled once per compiler.
struct Compiled<'a> {
    clang: &'a Clang,
    places: &'a Places<'a>,
    environment: &'a Environment,
}

impl Compiled<'_> {
    fn object(&self, name: &str, cxx: bool) -> Result<PathBuf, Error> {
        let compiler = if cxx { self.clang.cxx.as_ref() } else { None };
        let compiler = compiler.unwrap_or(&self.clang.c);
        let stamp = fs::metadata(compiler).and_then(|meta| Ok((meta.len(), meta.modified()?)));
        let key = format!("{}{stamp:?}", compiler.display());
        let key = &blake3::hash(key.as_bytes()).to_hex()[..16];
        let made = self.places.resources.join(format!("objects-{key}/{name}.o"));
        if made.is_file() {
            return Ok(made);
        }
        let (step, object) = plan::runtime_object(name, self.clang, self.places);
        run::step(&step, &self.environment.current_dir, &self.environment.search_path)?;
        let bytes = fs::read(&object).map_err(file("read", &object))?;
        resources::write_atomically(&made, &bytes)?;
        Ok(made)
    }
}

/// Whether a link failed for want of what `-fopenmp` brings.
fn needs_openmp(said: &str) -> bool {
    ["undefined symbol: __kmpc_", "undefined symbol: omp_"].iter().any(|sign| said.contains(sign))
}

/// Runs the compiler: its exit code, and what it said on standard error.
fn run_shown(command: &mut Command) -> Result<(u8, String), Error> {
    let program = PathBuf::from(command.get_program());
    let child = command
        .stdin(Stdio::inherit())
        .stdout(Stdio::inherit())
        .stderr(Stdio::piped())
        .spawn()
        .and_then(std::process::Child::wait_with_output);
    let output = child.map_err(|source| Error::Start { program, source })?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok((output.status.code().map_or(1, |code| code as u8), said))
}
