//! `make bench-cells`, `bench-hpc`, `bench-isolation`, `bench-geds`, `bench-learning`: what the layers promise.

use benches::{Options, Suite, cells, echo, geds, hpc, isolation, learning};
use clap::{Parser, ValueEnum};
use std::{path::PathBuf, process::ExitCode};

/// Measure what the layers promise
#[derive(Debug, Parser)]
struct Args {
    /// Which rows there are
    area: Area,
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Area {
    /// Starts, requests, density, migration
    Cells,
    /// Parallel programs beside native ones
    Hpc,
    /// A service beside guests that mean no good
    Isolation,
    /// The ephemeral store beside memory, files, Redis and another S3 server
    Geds,
    /// Models beside scikit-learn, XGBoost and LightGBM
    Learning,
    /// The native peer of requests; serves until it is killed
    #[value(name = echo::SUBCOMMAND, hide = true)]
    EchoServer,
    /// The peer of S3; serves until it is killed
    #[value(name = geds::FILES_SUBCOMMAND, hide = true)]
    FileServer,
    /// The peer of reads from other sites; serves until it is killed
    #[value(name = geds::TCP_SUBCOMMAND, hide = true)]
    TcpServer,
}

impl Area {
    fn suite(self) -> Option<Suite> {
        match self {
            Self::Cells => Some(cells::SUITE),
            Self::Hpc => Some(hpc::SUITE),
            Self::Isolation => Some(isolation::SUITE),
            Self::Geds => Some(geds::SUITE),
            Self::Learning => Some(learning::SUITE),
            Self::EchoServer | Self::FileServer | Self::TcpServer => None,
        }
    }
}

fn main() -> anyhow::Result<ExitCode> {
    let Args { area, rows: filters, quick, out, cloudskin } = Args::parse();
    match area.suite() {
        Some(suite) => drop(suite.run(&Options { filters, quick, out, cloudskin })?),
        None if area == Area::FileServer => geds::serve_files()?,
        None if area == Area::TcpServer => geds::serve_tcp()?,
        None => echo::serve()?,
    }
    Ok(ExitCode::SUCCESS)
}
