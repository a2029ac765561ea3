//! `cloudskin snapshot`: a suspended cell as a file.

use crate::{
    exit::Failure,
    output::FormatArgs,
    progress::Progress,
    session::{Session, Target},
};
use anyhow::Context;
use clap::Args;
use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
};
use types::ErrorKind;

/// Take a snapshot of a running service or cell into a file
///
/// Suspends it for a moment at its next barrier point, and writes its memory, stack and open
/// files. The file holds whatever the program held, secrets too; only you can read it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin snapshot service/street-counter -f counter.snapshot
  cloudskin snapshot cell/hello -f - | sha256sum")]
pub(crate) struct Snapshot {
    /// Which
    #[arg(value_name = "KIND/NAME")]
    target: Target,
    /// Where it is written; `-` is standard output
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Replace an existing file
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    format: FormatArgs,
}

pub(crate) async fn run(args: Snapshot, session: &Session) -> anyhow::Result<ExitCode> {
    let client = session.client()?;
    let to_stdout = args.file == Path::new("-");
    if !to_stdout && !args.force && args.file.exists() {
        let message = format!("`{}` exists: give --force to replace it", args.file.display());
        return Err(Failure::error(ErrorKind::AlreadyExists, message));
    }
    let progress = Progress::new(&format!("taking a snapshot of {}", args.target));
    let taken = client.snapshot(args.target.kind, &args.target.name).await?;
    progress.set(&format!("fetching {} KiB", taken.size_bytes >> 10));
    let bytes = client.download(&taken.digest).await?;
    drop(progress);
    if to_stdout {
        std::io::stdout().lock().write_all(&bytes)?;
        return Ok(ExitCode::SUCCESS);
    }
    write(&args.file, &bytes).with_context(|| format!("cannot write `{}`", args.file.display()))?;
    let text = format!(
        "{} → {} ({} KiB, {})\n",
        args.target,
        args.file.display(),
        bytes.len() >> 10,
        taken.digest
    );
    args.format.print(&taken, &text)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes the file whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let draft = path.with_extension(format!("draft-{}", types::random_id()));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        // The draft is of no use to anyone; if it stays, it is only a stray file.
        let _ = fs::remove_file(&draft);
    }
    written
}
