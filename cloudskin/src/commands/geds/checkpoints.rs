//! Prefixes as they were.

use super::{address::Address, look::size};
use crate::{
    exit::Failure,
    output::{self, FormatArgs, Style},
    table::Table,
    when::moment,
};
use clap::Args;
use geds::{Checkpoint, Geds};
use std::time::{SystemTime, UNIX_EPOCH};
use types::ErrorKind;

/// Keep what lies below a prefix as it is now, on disk
///
/// The objects share their bytes with the checkpoint. Each is kept as it is at some moment while the
/// command runs.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin geds checkpoint lab/run1
  cloudskin geds checkpoint lab/run1 --name before-tuning")]
pub(super) struct Make {
    /// A bucket, or what keys begin with
    #[arg(value_parser = Address::lenient)]
    address: Address,
    /// What it is called [default: the prefix and the time]
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    format: FormatArgs,
}

/// List the checkpoints of a bucket, or delete one
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin geds checkpoints lab
  cloudskin geds checkpoints lab --delete before-tuning")]
pub(super) struct List {
    /// The bucket
    #[arg(value_parser = Address::lenient)]
    bucket: Address,
    /// Delete this one
    #[arg(long, value_name = "NAME")]
    delete: Option<String>,
    #[command(flatten)]
    format: FormatArgs,
}

/// Make a prefix what it was at a checkpoint
///
/// What was written there since is replaced or deleted.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin geds restore lab/run1                            the last checkpoint of this prefix
  cloudskin geds restore lab --name before-tuning            the one of this name, whatever its prefix")]
pub(super) struct Restore {
    /// A bucket, or what keys begin with
    #[arg(value_parser = Address::lenient)]
    address: Address,
    /// Which checkpoint [default: the last one of this prefix]
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    format: FormatArgs,
}

pub(super) fn make(store: &Geds, args: &Make) -> anyhow::Result<()> {
    let folder = args.address.folder();
    let name = args.name.clone().unwrap_or_else(|| default_name(&folder));
    let made = store.checkpoint(&folder.bucket, &folder.key, &name)?;
    let text = format!("{}  {} objects, {}\n", made.name, made.objects, size(made.bytes));
    args.format.print(&made, &text)
}

/// The prefix with dashes, and the time.
fn default_name(folder: &Address) -> String {
    let millis = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis());
    let time = moment(u64::try_from(millis).unwrap_or(0)).replace(':', "");
    let plain = |byte: char| if byte.is_ascii_alphanumeric() { byte } else { '-' };
    let prefix: String = folder.key.trim_end_matches('/').chars().map(plain).take(40).collect();
    if prefix.is_empty() { time } else { format!("{prefix}-{time}") }
}

pub(super) fn list(store: &Geds, args: &List) -> anyhow::Result<()> {
    let bucket = super::bucket(&args.bucket)?;
    if let Some(name) = &args.delete {
        store.delete_checkpoint(bucket, name)?;
        output::complain(&format!("checkpoint `{name}` was deleted"));
        return Ok(());
    }
    let all = store.checkpoints(bucket)?;
    let mut table = Table::new(&["NAME", "CREATED", "OBJECTS", "SIZE", "OF"]);
    for one in &all {
        table.row(vec![
            one.name.clone(),
            moment(one.created),
            one.objects.to_string(),
            size(one.bytes),
            format!("geds://{}/{}", one.bucket, one.prefix),
        ]);
    }
    args.format.print(&all, &table.render(Style::for_stdout()))
}

pub(super) fn restore(store: &Geds, args: &Restore) -> anyhow::Result<()> {
    let folder = args.address.folder();
    let name = match &args.name {
        Some(name) => name.clone(),
        None => last(store, &folder)?.name,
    };
    let restored = store.restore(&folder.bucket, &name)?;
    let place = folder.with(restored.prefix.clone());
    let text = format!(
        "{place} is as it was at {}: {} objects, {}\n",
        moment(restored.created),
        restored.objects,
        size(restored.bytes)
    );
    args.format.print(&restored, &text)
}

fn last(store: &Geds, folder: &Address) -> anyhow::Result<Checkpoint> {
    let all = store.checkpoints(&folder.bucket)?;
    all.into_iter().rfind(|one| one.prefix == folder.key).ok_or_else(|| {
        let message = format!(
            "there is no checkpoint of `{folder}`: see `cloudskin geds checkpoints {}`",
            folder.bucket
        );
        Failure::error(ErrorKind::NotFound, message)
    })
}
