//! `cloudskin build`: sources to modules.

use crate::{
    exit::Failure,
    output::{complain, print},
};
use cells::toolchain::{self, Environment, Options};
use clap::Args;
use std::process::ExitCode;

/// Build a WebAssembly module from C, C++ or Rust, or make an existing one migratable
///
/// Uses the machine's clang, our headers and, with --migratable, Binaryen's Asyncify, so that the
/// program can be suspended, moved and restored while it runs. All other options are the
/// compiler's own. The same sources give the same bytes on every machine with the same tools.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin build hello.c -o hello.wasm
  cloudskin build counter.c tracker.c -O2 -lm -o counter.wasm --migratable
  cloudskin build main.cpp -std=c++20 -o main.wasm
  cloudskin build --mpi cg.c -o cg.wasm
  cloudskin build --openmp stencil.c -o stencil.wasm
  cloudskin build app.rs -o app.wasm
  cloudskin build --openmp search.rs -o search.wasm
  cloudskin build app.wasm --migratable -o app-migratable.wasm

`cloudskin doctor` says which tools are missing, and how to install them.")]
pub(crate) struct Build {
    /// Sources and compiler flags; `-o FILE`, `--migratable`, `--mpi`, `--openmp`, `--unwind-area=BYTES`
    #[arg(
        value_name = "INPUTS AND FLAGS",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    args: Vec<String>,
}

pub(crate) fn run(args: Build) -> anyhow::Result<ExitCode> {
    let options = Options::from_args(args.args, Environment::from_process())?;
    let built = toolchain::build(&options).map_err(|error| {
        let kind = error.kind();
        anyhow::Error::from(error).context(Failure::error(kind, "the module was not built"))
    })?;
    if !built.warnings.is_empty() {
        complain(built.warnings.trim_end());
    }
    let migratable = match &built.inspection.migratable {
        Ok(_) => "migratable",
        Err(_) => "not migratable",
    };
    let text =
        format!("{} ({} KiB, {migratable})\n", built.output.display(), built.bytes.div_ceil(1024));
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}
