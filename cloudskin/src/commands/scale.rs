//! `cloudskin scale`: other processors for a program that runs.

use crate::{
    exit::Failure,
    output::print,
    session::{Session, Target},
};
use api::{
    Kind,
    cell::{CellSpec, Form},
};
use clap::Args;
use std::{num::NonZeroU32, process::ExitCode};
use types::ErrorKind;

/// Give a program on threads more or fewer processors, while it runs
///
/// It has them from its next parallel region on, if it was started with --elastic or has switched
/// dynamic adjustment on itself; without a restart. At most as many as --max-cpus said.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin run --site edge --name knn --cpus 1 --max-cpus 4 --elastic knn.wasm
  cloudskin scale tissue/knn --cpus 3")]
pub(crate) struct Scale {
    /// Which one
    #[arg(value_name = "TISSUE")]
    target: Target,
    /// Processors from now on
    #[arg(long, value_name = "N")]
    cpus: NonZeroU32,
}

pub(crate) async fn run(args: Scale, session: &Session) -> anyhow::Result<ExitCode> {
    let Target { kind, name } = &args.target;
    let refused = |message: String| Err(Failure::error(ErrorKind::Invalid, message));
    if *kind != Kind::Tissue {
        return refused(format!("a {} has no threads: scale a tissue", kind.path()));
    }
    let client = session.client()?;
    let mut tissue = client.get(*kind, name).await?;
    let mut spec: CellSpec = tissue.spec()?;
    let Some(Form::Threads(threads)) = &mut spec.form else {
        return refused(format!("`{}` is made of ranks, whose number stays", args.target));
    };
    let most = threads.ceiling();
    if args.cpus.get() > most {
        return refused(format!(
            "`{}` was started with --max-cpus {most}, which its program relies on",
            args.target
        ));
    }
    let before = std::mem::replace(&mut threads.cpus, args.cpus.get());
    tissue.spec = serde_json::to_value(&spec)?;
    client.apply(&tissue, false).await?;
    print(&format!("{}: {before} → {} CPUs\n", args.target, args.cpus))?;
    Ok(ExitCode::SUCCESS)
}
