//! The same program, as a cell and natively.

use crate::{Context, pairs::Side};
use anyhow::Context as _;
use cells::toolchain::{Environment, Options, build};
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Ranks or threads of a parallel program: one for each processor of the smallest machine.
const TWO: &str = "2";

/// What a program is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Serial,
    /// Two threads of OpenMP.
    Threads,
    /// Two ranks of MPI.
    Ranks,
}

/// One source, built both ways.
#[derive(Debug)]
pub(super) struct Both {
    cloudskin: PathBuf,
    module: PathBuf,
    native: PathBuf,
    copy: PathBuf,
    form: Form,
}

impl Both {
    /// Builds the source in this form.
    ///
    /// # Errors
    /// If a compiler is missing or refuses it.
    pub(super) fn build(context: &Context, source: &str, form: Form) -> anyhow::Result<Self> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
        let stem = source.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let folder = context.folder(&stem)?;
        let module = folder.join("cell.wasm");
        let flags = match form {
            Form::Ranks => vec!["-O3", "-DUSE_MPI"],
            Form::Serial | Form::Threads => vec!["-O3"],
        };
        let mut options = Options::new(vec![source.clone()], Environment::from_process());
        options.output = Some(module.clone());
        options.mpi = form == Form::Ranks;
        options.openmp = form == Form::Threads;
        options.flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        build(&options)?;
        let native = folder.join("native");
        compile(&source, &native, &flags, form)?;
        let copy = folder.join("copy");
        std::fs::copy(&native, &copy)?;
        Ok(Self { cloudskin: context.cloudskin()?.to_owned(), module, native, copy, form })
    }

    /// Runs one side with these arguments; what it says.
    ///
    /// # Errors
    /// If it fails.
    pub(super) fn run(&self, side: Side, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = match side {
            Side::Ours => self.cell(),
            Side::Peer => self.natively(&self.native),
            Side::Control => self.natively(&self.copy),
        };
        let ran = command.args(arguments).stdin(Stdio::null()).output()?;
        let (said, complained) =
            (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        anyhow::ensure!(ran.status.success(), "{command:?}: {said}{complained}");
        Ok(said.into_owned())
    }

    fn cell(&self) -> Command {
        let mut command = Command::new(&self.cloudskin);
        match self.form {
            Form::Serial => command.arg("run"),
            Form::Threads => command.args(["run", "--cpus", TWO]),
            Form::Ranks => command.args(["mpirun", "-n", TWO]),
        };
        command.arg(&self.module);
        command
    }

    fn natively(&self, program: &Path) -> Command {
        if self.form != Form::Ranks {
            let mut command = Command::new(program);
            command.env("OMP_NUM_THREADS", TWO);
            return command;
        }
        let mut command = Command::new("mpirun.openmpi");
        command
            .args(["--bind-to", "core", "-n", TWO])
            .arg(program)
            // It refuses to run as root unless it is told twice.
            .envs([("OMPI_ALLOW_RUN_AS_ROOT", "1"), ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")]);
        command
    }
}

fn compile(source: &Path, output: &Path, flags: &[&str], form: Form) -> anyhow::Result<()> {
    let mut command = match form {
        Form::Ranks => Command::new("mpicc.openmpi"),
        Form::Serial | Form::Threads => Command::new("clang-19"),
    };
    if form == Form::Threads {
        command.arg("-fopenmp");
    }
    command.env("OMPI_CC", "clang-19").args(flags).arg(source).arg("-o").arg(output).arg("-lm");
    let built = command.output().with_context(|| {
        format!("cannot start {command:?}: install clang-19, libomp-19-dev, openmpi-bin and libopenmpi-dev")
    })?;
    let said = String::from_utf8_lossy(&built.stderr);
    anyhow::ensure!(built.status.success(), "{command:?}: {said}");
    Ok(())
}
