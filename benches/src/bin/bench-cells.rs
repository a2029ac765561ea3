//! `make bench-cells`: what `execution/cells` and the site's agent promise.

use benches::{Options, cells, echo};
use clap::Parser;
use std::{path::PathBuf, process::ExitCode};

/// Measure what the execution layer promises
#[derive(Debug, Parser)]
struct Args {
    /// Only rows whose names contain one of these
    rows: Vec<String>,
    /// As little as possible, to see whether it works; judges nothing
    #[arg(long)]
    quick: bool,
    /// Where the report goes [default: target/bench]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The program under test; built if not given
    #[arg(long, value_name = "FILE")]
    cloudskin: Option<PathBuf>,
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    if args.rows == [echo::SUBCOMMAND] {
        echo::serve()?;
    }
    let Args { rows: filters, quick, out, cloudskin } = args;
    cells::SUITE.run(&Options { filters, quick, out, cloudskin })?;
    Ok(ExitCode::SUCCESS)
}
