//! `cloudskin down`: the end of what `up` started.

use super::up;
use crate::{output::FormatArgs, progress::Progress, session::Session};
use clap::Args;
use orchestrator::{
    client::{Context, Contexts},
    supervisor::{DataFolder, down},
};
use std::{path::PathBuf, process::ExitCode};

/// End what `cloudskin up` started
///
/// Ends the supervisor, the agents with their workers, and the control plane, whether or not the
/// supervisor still lives. Services are taken up again by the next `up`, unless `--purge` removes
/// the data folder.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin down                                  end everything, keep the data
  cloudskin down --purge                          and remove the data folder
  cloudskin down --data-dir /tmp/second           end another continuum")]
pub(crate) struct Down {
    /// Remove the data folder afterwards
    #[arg(long)]
    purge: bool,
    /// The folder that was given to `up`
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    format: FormatArgs,
}

pub(crate) async fn run(args: Down) -> anyhow::Result<ExitCode> {
    let folder = up::folder(args.data_dir.as_ref())?;
    let progress = Progress::new("ending everything");
    let report = down::down(&folder).await?;
    drop(progress);
    if args.purge {
        folder.purge()?;
        forget_contexts(&folder)?;
    }
    let mut text = match report.supervisor {
        Some(pid) => format!("everything under pid {pid} was ended\n"),
        None if report.children.is_empty() && report.workers.is_empty() => {
            format!("nothing ran in `{}`\n", folder.root().display())
        }
        None => String::new(),
    };
    if !report.children.is_empty() {
        text += &format!("ended what had lost its supervisor: {}\n", report.children.join(", "));
    }
    if !report.workers.is_empty() {
        text += &format!("ended {} workers that had lost their agent\n", report.workers.len());
    }
    if args.purge {
        text += &format!("removed `{}`\n", folder.root().display());
    }
    let value = serde_json::json!({
        "supervisor": report.supervisor,
        "children": report.children,
        "workers": report.workers,
        "purged": args.purge,
    });
    args.format.print(&value, &text)?;
    Ok(ExitCode::SUCCESS)
}

/// Forgets the contexts whose token was in the folder.
fn forget_contexts(folder: &DataFolder) -> anyhow::Result<()> {
    let path = Session::contexts_path()?;
    let mut contexts = Contexts::load(&path)?;
    let token_file = Some(folder.token_file());
    let is_ours = |(_, context): &(&String, &Context)| context.token_file == token_file;
    let ours: Vec<_> =
        contexts.contexts.iter().filter(is_ours).map(|(name, _)| name.clone()).collect();
    for name in &ours {
        contexts.delete(name)?;
    }
    if !ours.is_empty() {
        contexts.save(&path)?;
    }
    Ok(())
}
