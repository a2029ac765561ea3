//! Modules that are run for what happens to objects.

mod add;
pub(crate) mod execute;
mod job;

use super::{address::Address, look::size, store::StoreArgs};
use crate::{
    output::{self, FormatArgs, Style, tame},
    table::Table,
    when::moment,
};
use clap::{Args, Subcommand};
use execute::Here;
use geds::trigger::{Counts, Runner, Stop, Trigger, Triggers};
use serde::Serialize;
use std::{process::ExitCode, time::Duration};
use types::Period;

/// Run a module for each object that is created, sealed or deleted below a prefix
///
/// `cloudskin serve geds` runs them; `trigger work` is one more runner, which shares the work.
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Examples:
  cloudskin geds trigger add lab/frames/ --on sealed --run resize.wasm --dir geds://lab/small::/out --dir geds://lab/frames::/in:ro
  cloudskin geds trigger ls
  cloudskin geds trigger dead resize"
)]
pub(crate) struct TriggerArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Add(add::Add),
    Ls(List),
    Show(Show),
    Rm(Remove),
    Dead(Dead),
    Retry(Retry),
    Work(Work),
    #[command(hide = true)]
    Job(job::JobArgs),
}

/// List the triggers
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin geds trigger ls
  cloudskin geds trigger ls -o json")]
struct List {
    #[command(flatten)]
    format: FormatArgs,
}

/// Show a trigger, and how many objects it has done
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin geds trigger show resize")]
struct Show {
    /// Its name
    name: String,
    #[command(flatten)]
    format: FormatArgs,
}

/// Remove a trigger, and what is known of the objects that it has done
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin geds trigger rm resize")]
struct Remove {
    /// Its name
    name: String,
}

/// List the objects for which a trigger's module has failed as often as it may
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin geds trigger dead resize
  cloudskin geds trigger dead resize -o json")]
struct Dead {
    /// The trigger's name
    name: String,
    #[command(flatten)]
    format: FormatArgs,
}

/// Let a trigger try again what has failed as often as it may
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin geds trigger retry resize
  cloudskin geds trigger retry resize frames/0007.jpg")]
struct Retry {
    /// The trigger's name
    name: String,
    /// The key of one object [default: all]
    key: Option<String>,
}

/// Run modules for triggers, beside `cloudskin serve geds` and other runners, until interrupted
///
/// Each object is run by one of them. What a runner has begun and does not end, another one takes
/// over after the lease.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin geds trigger work
  cloudskin geds trigger work --lease 1m")]
struct Work {
    /// How long others wait for this runner when it does nothing any more
    #[arg(long, value_name = "PERIOD", default_value = "15s")]
    lease: Period,
}

pub(crate) fn run(args: &TriggerArgs, store: &StoreArgs, tenant: &str) -> anyhow::Result<ExitCode> {
    if let Command::Job(args) = &args.command {
        return job::run(args);
    }
    let triggers = Triggers::of(store.open(tenant)?);
    match &args.command {
        Command::Add(args) => add::add(&triggers, args)?,
        Command::Ls(args) => list(&triggers, args)?,
        Command::Show(args) => show(&triggers, args)?,
        Command::Rm(args) => triggers.remove(&args.name)?,
        Command::Dead(args) => dead(&triggers, args)?,
        Command::Retry(args) => retry(&triggers, args)?,
        Command::Work(args) => work(triggers, args, store, tenant)?,
        Command::Job(_) => {}
    }
    Ok(ExitCode::SUCCESS)
}

fn list(triggers: &Triggers, args: &List) -> anyhow::Result<()> {
    let all = triggers.list()?;
    let mut table = Table::new(&["NAME", "ON", "BELOW", "MODULE", "CREATED"]);
    for one in &all {
        let definition = &one.definition;
        table.row(vec![
            definition.name.clone(),
            definition.on.names(),
            below(one),
            definition.module_name.clone(),
            moment(one.created),
        ]);
    }
    args.format.print(&all, &table.render(Style::for_stdout()))
}

fn below(trigger: &Trigger) -> String {
    let (bucket, key) = (trigger.definition.bucket.clone(), tame(&trigger.definition.prefix));
    Address { bucket, key }.to_string()
}

#[derive(Debug, Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    trigger: &'a Trigger,
    objects: Counts,
}

fn show(triggers: &Triggers, args: &Show) -> anyhow::Result<()> {
    let trigger = triggers.named(&args.name)?;
    let objects = triggers.counts(&trigger)?;
    let definition = &trigger.definition;
    let period = |millis| Period(Duration::from_millis(millis));
    let mut text = format!(
        "{}\n  on        {} below {}\n  module    {} ({})\n",
        definition.name,
        definition.on.names(),
        below(&trigger),
        definition.module_name,
        definition.module,
    );
    for dir in &definition.dirs {
        text.push_str(&format!("  dir       {}\n", tame(dir)));
    }
    for argument in &definition.args {
        text.push_str(&format!("  argument  {}\n", tame(argument)));
    }
    text.push_str(&format!(
        "  limits    {}, {}, {} at once, {} attempts\n  objects   {} pending, {} running, {} waiting, {} dead, {} done\n",
        size(definition.memory_bytes),
        period(definition.timeout_ms),
        definition.at_once,
        definition.attempts,
        objects.pending,
        objects.running,
        objects.waiting,
        objects.dead,
        objects.done,
    ));
    args.format.print(&Shown { trigger: &trigger, objects }, &text)
}

fn dead(triggers: &Triggers, args: &Dead) -> anyhow::Result<()> {
    let trigger = triggers.named(&args.name)?;
    let letters = triggers.dead(&trigger)?;
    let mut text = String::new();
    for letter in &letters {
        let address = Address { bucket: trigger.definition.bucket.clone(), key: tame(&letter.key) };
        text.push_str(&format!(
            "{address}  {}, version {}, {} attempts, since {}\n",
            letter.event.name(),
            letter.version,
            letter.attempts,
            moment(letter.since),
        ));
        for line in tame(&letter.said).lines() {
            text.push_str(&format!("    {line}\n"));
        }
    }
    args.format.print(&letters, &text)
}

fn retry(triggers: &Triggers, args: &Retry) -> anyhow::Result<()> {
    let trigger = triggers.named(&args.name)?;
    let count = triggers.retry(&trigger, args.key.as_deref())?;
    output::complain(&format!("{count} objects are tried again"));
    Ok(())
}

fn work(triggers: Triggers, args: &Work, store: &StoreArgs, tenant: &str) -> anyhow::Result<()> {
    let here = Here::new(store.socket(tenant)?, triggers.clone())?;
    let stop = Stop::default();
    stop_on_signals(&stop)?;
    output::complain("modules are run for triggers");
    Runner::new(triggers, here, args.lease.0).run(&stop);
    Ok(())
}

/// SIGTERM and SIGINT stop it.
fn stop_on_signals(stop: &Stop) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut term, mut interrupt) = {
        let _inside = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    let stop = stop.clone();
    let wait = move || {
        runtime.block_on(async {
            tokio::select! { _ = term.recv() => {}, _ = interrupt.recv() => {} }
        });
        stop.stop();
    };
    std::thread::Builder::new().name("signals".into()).spawn(wait)?;
    Ok(())
}
