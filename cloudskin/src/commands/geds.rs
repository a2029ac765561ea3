//! `cloudskin geds`: objects of the ephemeral store.

pub(crate) mod address;
mod checkpoints;
mod copy;
mod look;
mod relocate;
pub(crate) mod store;
mod tiers;
pub(crate) mod triggers;

use crate::{output, session::Session};
use address::Address;
use clap::{Args, Subcommand};
use geds::{Geds, Listing, Page, Put};
use std::process::ExitCode;
use store::StoreArgs;

/// Work with the objects of the ephemeral store
///
/// Objects are named `geds://bucket/key`. The store is that of `cloudskin serve geds`, unless
/// `--store` or CLOUDSKIN_GEDS says otherwise.
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Examples:
  cloudskin serve geds &
  cloudskin geds cp ./frames geds://lab/frames --recursive
  cloudskin geds ls geds://lab/frames/
  cloudskin geds cat geds://lab/frames/0001.jpg > first.jpg"
)]
pub(crate) struct GedsArgs {
    #[command(flatten)]
    store: StoreArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Ls(look::Ls),
    Cp(copy::Cp),
    Cat(copy::Cat),
    Mv(Mv),
    Rm(Rm),
    Stat(look::Stat),
    Du(look::Du),
    Watch(look::Watch),
    Mb(Mb),
    Rb(Rb),
    Usage(look::Usage),
    Checkpoint(checkpoints::Make),
    Checkpoints(checkpoints::List),
    Restore(checkpoints::Restore),
    Import(tiers::Import),
    Export(tiers::Export),
    Attach(tiers::Attach),
    Relocate(relocate::Relocate),
    Lost(tiers::LostArgs),
    Set(tiers::Set),
    Trigger(triggers::TriggerArgs),
}

/// Rename an object, or everything below a prefix, within a bucket
///
/// No byte is copied.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin geds mv geds://lab/draft geds://lab/final
  cloudskin geds mv --recursive geds://lab/run1 geds://lab/archive/run1")]
struct Mv {
    /// What is renamed
    from: Address,
    /// Its new name
    to: Address,
    /// Everything below it
    #[arg(short, long)]
    recursive: bool,
    /// Leave what has the new name already, and say so
    #[arg(long)]
    no_clobber: bool,
}

/// Delete objects
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin geds rm geds://lab/frames/0001.jpg
  cloudskin geds rm --recursive geds://lab/frames")]
struct Rm {
    /// What is deleted
    #[arg(required = true)]
    addresses: Vec<Address>,
    /// Everything below it
    #[arg(short, long)]
    recursive: bool,
}

/// Make buckets
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin geds mb geds://lab")]
struct Mb {
    /// Their addresses
    #[arg(required = true)]
    buckets: Vec<Address>,
}

/// Remove empty buckets
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin geds rb geds://lab
  cloudskin geds rb --force geds://lab        with all objects in it")]
struct Rb {
    /// Their addresses
    #[arg(required = true)]
    buckets: Vec<Address>,
    /// Delete the objects too
    #[arg(long)]
    force: bool,
}

pub(crate) fn run(args: &GedsArgs, session: &Session) -> anyhow::Result<ExitCode> {
    if let Command::Trigger(triggers) = &args.command {
        return triggers::run(triggers, &args.store, session.tenant());
    }
    let store = args.store.open(session.tenant())?;
    match &args.command {
        Command::Ls(args) => look::list(&store, args)?,
        Command::Cp(args) => copy::copy(&store, args)?,
        Command::Cat(args) => copy::cat(&store, args)?,
        Command::Mv(args) => rename(&store, args)?,
        Command::Rm(args) => remove(&store, args)?,
        Command::Stat(args) => look::stat(&store, args)?,
        Command::Du(args) => look::sizes(&store, args)?,
        Command::Watch(args) => look::watch(&store, args)?,
        Command::Mb(args) => make_buckets(&store, args)?,
        Command::Rb(args) => remove_buckets(&store, args)?,
        Command::Usage(args) => look::usage(&store, args)?,
        Command::Checkpoint(args) => checkpoints::make(&store, args)?,
        Command::Checkpoints(args) => checkpoints::list(&store, args)?,
        Command::Restore(args) => checkpoints::restore(&store, args)?,
        Command::Import(args) => tiers::import(&store, args)?,
        Command::Export(args) => tiers::export(&store, args)?,
        Command::Attach(args) => tiers::attach(&store, args)?,
        Command::Relocate(args) => relocate::relocate(&store, args)?,
        Command::Lost(args) => tiers::lost(&store, args)?,
        Command::Set(args) => tiers::set(&store, args)?,
        Command::Trigger(_) => {}
    }
    Ok(ExitCode::SUCCESS)
}

fn rename(store: &Geds, args: &Mv) -> anyhow::Result<()> {
    anyhow::ensure!(
        args.from.bucket == args.to.bucket,
        "objects are renamed within a bucket: copy them with `cloudskin geds cp`, then delete them"
    );
    let put = if args.no_clobber { Put::default() } else { Put::overwrite() };
    if !args.recursive {
        let (bucket, from) = args.from.object()?;
        store.rename(bucket, from, args.to.object()?.1, put)?;
        return Ok(());
    }
    let (from, to) = (args.from.folder(), args.to.folder());
    let renamed = store.rename_prefix(&from.bucket, &from.key, &to.key, &put)?;
    output::complain(&format!("{renamed} objects were renamed"));
    Ok(())
}

fn remove(store: &Geds, args: &Rm) -> anyhow::Result<()> {
    for address in &args.addresses {
        if args.recursive {
            let folder = address.folder();
            let removed = store.delete_prefix(&folder.bucket, &folder.key)?;
            output::complain(&format!("{removed} objects were deleted from `{folder}`"));
            continue;
        }
        let (bucket, key) = address.object()?;
        if !store.delete(bucket, key, None)? {
            return Err(geds::Error::NoObject { bucket: bucket.into(), key: key.into() }.into());
        }
    }
    Ok(())
}

fn make_buckets(store: &Geds, args: &Mb) -> anyhow::Result<()> {
    for address in &args.buckets {
        store.create_bucket(bucket(address)?)?;
    }
    Ok(())
}

fn remove_buckets(store: &Geds, args: &Rb) -> anyhow::Result<()> {
    for address in &args.buckets {
        let bucket = bucket(address)?;
        if args.force {
            store.delete_prefix(bucket, "")?;
        }
        store.delete_bucket(bucket)?;
    }
    Ok(())
}

/// Of a bucket, and of nothing in it.
fn bucket(address: &Address) -> anyhow::Result<&str> {
    anyhow::ensure!(address.key.is_empty(), "`{address}` names an object, not a bucket");
    Ok(&address.bucket)
}

/// All pages of a list, one after the other.
fn pages(
    store: &Geds,
    bucket: &str,
    mut listing: Listing,
    mut each: impl FnMut(Page) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    loop {
        let page = store.list(bucket, &listing)?;
        let next = page.next.clone();
        each(page)?;
        match next {
            Some(next) => listing.after = Some(next),
            None => return Ok(()),
        }
    }
}
