//! Objects to another tier.

use super::{address::Address, look::size};
use crate::output::{self, FormatArgs};
use clap::{Args, ValueEnum};
use geds::{Destination, Geds, Relocated};
use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

/// How often a long move says how far it is.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// Move the bytes of objects to another tier now
///
/// What is moved down leaves memory free. Names, versions and attributes stay as they are.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin geds relocate geds://lab                        to its back end if it has one, else to disk
  cloudskin geds relocate geds://lab/run1/ --to disk
  cloudskin geds relocate geds://lab/models/ --to memory    before they are read")]
pub(super) struct Relocate {
    /// A bucket, or what keys begin with
    #[arg(required = true)]
    addresses: Vec<Address>,
    /// Where to [default: outside, of buckets without a back end disk]
    #[arg(long, value_enum)]
    to: Option<To>,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum To {
    /// As far as there is room below the high-water mark
    Memory,
    /// Synced; what lies in the back end as well is left there alone
    Disk,
    /// To the back end that the bucket was given by `attach`
    Outside,
}

pub(super) fn relocate(store: &Geds, args: &Relocate) -> anyhow::Result<()> {
    let mut all = Relocated::default();
    for address in &args.addresses {
        let to = destination(store, args.to, &address.bucket)?;
        let mut shown = Shown::new();
        let done =
            store.relocate(&address.bucket, &address.key, to, |so_far| shown.tell(so_far))?;
        drop(shown);
        for one in &done.failures {
            let place = address.with(output::tame(&one.key));
            output::complain(&format!("`{place}` was not moved: {}", one.why));
        }
        all.objects += done.objects;
        all.bytes += done.bytes;
        all.failed += done.failed;
        all.failures.extend(done.failures);
    }
    let text = format!("{} objects were moved, {}\n", all.objects, size(all.bytes));
    args.format.print(&all, &text)?;
    anyhow::ensure!(all.failed == 0, "{} objects were not moved", all.failed);
    Ok(())
}

fn destination(store: &Geds, to: Option<To>, bucket: &str) -> anyhow::Result<Destination> {
    Ok(match to {
        Some(To::Memory) => Destination::Memory,
        Some(To::Disk) => Destination::Disk,
        Some(To::Outside) => Destination::Outside,
        None if store.backends()?.iter().any(|one| one.bucket == bucket) => Destination::Outside,
        None => Destination::Disk,
    })
}

/// What a terminal is shown meanwhile.
struct Shown {
    on_terminal: bool,
    last: Instant,
    any: bool,
}

impl Shown {
    fn new() -> Self {
        Self { on_terminal: io::stderr().is_terminal(), last: Instant::now(), any: false }
    }

    fn tell(&mut self, done: &Relocated) {
        if self.on_terminal && self.last.elapsed() >= TOLD_EVERY {
            let (objects, bytes) = (done.objects, size(done.bytes));
            // Nobody need read it.
            let _ = write!(io::stderr(), "\r\x1b[K{objects} objects, {bytes}");
            (self.last, self.any) = (Instant::now(), true);
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if self.any {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
