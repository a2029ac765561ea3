//! `cloudskin restore`: a cell goes on where a snapshot left it.

use super::{cells::CellArgs, follow};
use crate::session::Session;
use anyhow::Context;
use api::{Kind, Resource, cell::CellSpec};
use cells::run::{Run as Cell, identify};
use clap::Args;
use std::{path::PathBuf, process::ExitCode};
use types::Period;

/// Continue a program from its snapshot, here or at a site
///
/// The snapshot may come from another process, site or engine. Arguments and environment are the
/// snapshot's; folders must be granted again under the same guest paths, and the files in them
/// that the program has open for reading must be unchanged.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin restore app.snap app.wasm
  cloudskin restore --dir data::/data app.snap app.wasm
  cloudskin restore --engine pulley app.snap app.wasm     under the interpreter
  cloudskin restore --site cloud app.snap app.wasm")]
pub(crate) struct Restore {
    #[command(flatten)]
    cell: CellArgs,
    /// Continue at this site instead of here
    #[arg(long, value_name = "SITE")]
    site: Option<String>,
    /// The snapshot
    #[arg(value_name = "SNAPSHOT")]
    snapshot: PathBuf,
    /// The module that the snapshot is of
    #[arg(value_name = "MODULE")]
    module: PathBuf,
}

impl Restore {
    /// Whether it runs in this process.
    pub(crate) fn is_local(&self) -> bool {
        self.site.is_none()
    }
}

/// Continues in this process.
pub(crate) fn restore_here(args: &Restore) -> anyhow::Result<ExitCode> {
    let program = args.cell.load(&args.module)?;
    // Checked once here, so that the closure below cannot fail.
    args.cell.config(&[])?;
    let config = || args.cell.config(&[]).expect("the folders could be opened a moment ago");
    let run = Cell::restore(&program, &args.snapshot, config, &args.cell.limits())
        .with_context(|| format!("cannot restore `{}`", args.snapshot.display()))?;
    args.cell.drive(run)
}

/// Continues at a site and shows its log until it ends.
pub(crate) async fn restore_there(args: Restore, session: &Session) -> anyhow::Result<ExitCode> {
    let client = session.client()?;
    // A file that is no snapshot is told here, not by the site.
    identify(&args.snapshot)
        .with_context(|| format!("cannot restore `{}`", args.snapshot.display()))?;
    let module = follow::upload(&client, &args.module).await?;
    let snapshot = tokio::fs::read(&args.snapshot)
        .await
        .with_context(|| format!("cannot read `{}`", args.snapshot.display()))?;
    let (digest, _) = client.upload(snapshot.into()).await?;
    let spec = CellSpec {
        module,
        site: args.site.unwrap_or_default(),
        args: Vec::new(),
        env: args.cell.environment().into_iter().collect(),
        dirs: args.cell.folders(),
        memory: args.cell.memory,
        deadline: args.cell.deadline.map(|deadline| Period(deadline.0)),
        engine: args.cell.engine.into(),
        restore: Some(digest),
    };
    let name = follow::name_for(&args.module.to_string_lossy());
    let cell = Resource::new(Kind::Cell, client.tenant(), &name, &spec);
    follow::start_and_follow(&client, &cell).await
}
