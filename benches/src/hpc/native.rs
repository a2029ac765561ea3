//! The same program, as a cell and natively.

use crate::{Context, pairs::Side};
use anyhow::Context as _;
use cells::toolchain::{Environment, Options, build};
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Ranks of a parallel program: one for each processor of the smallest machine.
const RANKS: &str = "2";

/// One source, built both ways.
#[derive(Debug)]
pub(super) struct Both {
    cloudskin: PathBuf,
    module: PathBuf,
    native: PathBuf,
    copy: PathBuf,
    ranks: bool,
}

impl Both {
    /// Builds the source; with MPI if it shall have ranks.
    ///
    /// # Errors
    /// If a compiler is missing or refuses it.
    pub(super) fn build(context: &Context, source: &str, ranks: bool) -> anyhow::Result<Self> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
        let stem = source.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let folder = context.folder(&stem)?;
        let module = folder.join("cell.wasm");
        let flags = if ranks { vec!["-O3", "-DUSE_MPI"] } else { vec!["-O3"] };
        let mut options = Options::new(vec![source.clone()], Environment::from_process());
        options.output = Some(module.clone());
        options.mpi = ranks;
        options.flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        build(&options)?;
        let native = folder.join("native");
        compile(&source, &native, &flags, ranks)?;
        let copy = folder.join("copy");
        std::fs::copy(&native, &copy)?;
        Ok(Self { cloudskin: context.cloudskin()?.to_owned(), module, native, copy, ranks })
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
        match self.ranks {
            true => command.args(["mpirun", "-n", RANKS]),
            false => command.arg("run"),
        };
        command.arg(&self.module);
        command
    }

    fn natively(&self, program: &Path) -> Command {
        if !self.ranks {
            return Command::new(program);
        }
        let mut command = Command::new("mpirun.openmpi");
        command
            .args(["--bind-to", "core", "-n", RANKS])
            .arg(program)
            // It refuses to run as root unless it is told twice.
            .envs([("OMPI_ALLOW_RUN_AS_ROOT", "1"), ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")]);
        command
    }
}

fn compile(source: &Path, output: &Path, flags: &[&str], ranks: bool) -> anyhow::Result<()> {
    let mut command = match ranks {
        true => Command::new("mpicc.openmpi"),
        false => Command::new("clang-19"),
    };
    command.env("OMPI_CC", "clang-19").args(flags).arg(source).arg("-o").arg(output).arg("-lm");
    let built = command.output().with_context(|| {
        format!("cannot start {command:?}: install clang-19, openmpi-bin and libopenmpi-dev")
    })?;
    let said = String::from_utf8_lossy(&built.stderr);
    anyhow::ensure!(built.status.success(), "{command:?}: {said}");
    Ok(())
}
