//! `cloudskin toolchain` and `cloudskin cc`: compilers for build systems.

use crate::output::{complain, print};
use cells::toolchain::{Driven, Driver, Environment, write_wrappers};
use clap::{Args, Subcommand};
use std::{ffi::OsString, fmt::Write as _, path::PathBuf, process::ExitCode};

/// Compilers for make, CMake and configure scripts
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin toolchain link ~/cells")]
pub(crate) struct Toolchain {
    #[command(subcommand)]
    command: ToolchainCommand,
}

#[derive(Debug, Subcommand)]
enum ToolchainCommand {
    Link(Link),
}

/// Put compilers and a CMake toolchain file into a folder
///
/// The files are cloudskin-cc, cloudskin-c++, cloudskin-mpicc and cloudskin-mpicxx, which take the
/// flags of clang and GCC, cloudskin-mpirun, and cloudskin.cmake. Flags that name this machine's
/// processor are left out; -fopenmp makes a program on threads, --migratable at the link one that
/// can be moved while it runs.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin toolchain link ~/cells
  make CC=~/cells/cloudskin-cc
  make CC=~/cells/cloudskin-mpicc CXX=~/cells/cloudskin-mpicxx
  cmake -B build -DCMAKE_TOOLCHAIN_FILE=~/cells/cloudskin.cmake
  ./configure --host=wasm32-wasi CC=~/cells/cloudskin-cc")]
struct Link {
    /// The folder; made if it is not there
    folder: PathBuf,
}

/// Compile or link C or C++, with the flags of clang and GCC
///
/// What cloudskin-cc and its like call; see `cloudskin toolchain link`.
#[derive(Debug, Args)]
#[command(
    hide = true,
    after_help = "\
Examples:
  cloudskin cc -- -O2 -c a.c
  cloudskin cc --mpi --cxx -- a.cpp -o a.wasm"
)]
pub(crate) struct Cc {
    /// For C++
    #[arg(long)]
    cxx: bool,
    /// For ranks of MPI
    #[arg(long)]
    mpi: bool,
    /// Sources, objects and the compiler's flags
    #[arg(value_name = "ARGS", trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

pub(crate) fn run(args: Toolchain) -> anyhow::Result<ExitCode> {
    let ToolchainCommand::Link(Link { folder }) = args.command;
    let written = write_wrappers(&folder, &std::env::current_exe()?, &Environment::from_process())?;
    let lines = written.iter().fold(String::new(), |mut lines, path| {
        let _ = writeln!(lines, "{}", path.display());
        lines
    });
    print(&lines)?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn compile(args: Cc) -> anyhow::Result<ExitCode> {
    let driver = Driver { cxx: args.cxx, mpi: args.mpi, environment: Environment::from_process() };
    match driver.drive(args.args)? {
        Driven::Answered(answer) => {
            print(&format!("{answer}\n"))?;
            Ok(ExitCode::SUCCESS)
        }
        Driven::Ran { code, said, hint } => {
            if !said.is_empty() {
                complain(said.trim_end());
            }
            if let Some(hint) = hint {
                complain(&format!("cloudskin: {hint}"));
            }
            Ok(ExitCode::from(code))
        }
    }
}
