//! What is there, and what happens to it.

use super::{address::Address, pages};
use crate::{
    output::{Format, FormatArgs, Style, json_line, print},
    table::Table,
    when::moment,
};
use clap::Args;
use geds::{Event, Geds, Happening, Listing, Scope};
use serde::Serialize;
use std::time::Duration;

/// List buckets, or the objects of one
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin geds ls
  cloudskin geds ls geds://lab/frames/
  cloudskin geds ls --recursive geds://lab -o json")]
pub(super) struct Ls {
    /// A bucket, or what keys begin with
    address: Option<Address>,
    /// All objects, instead of what is behind the next `/` as one
    #[arg(short, long)]
    recursive: bool,
    /// The platform's own buckets too
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    format: FormatArgs,
}

/// Show all that is known about objects
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin geds stat geds://lab/frames/0001.jpg")]
pub(super) struct Stat {
    /// Their addresses
    #[arg(required = true)]
    addresses: Vec<Address>,
    #[command(flatten)]
    format: FormatArgs,
}

/// Add up how much lies below a prefix
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin geds du geds://lab
  cloudskin geds du geds://lab/frames geds://lab/models")]
pub(super) struct Du {
    /// Buckets, or what keys begin with
    #[arg(required = true)]
    addresses: Vec<Address>,
    #[command(flatten)]
    format: FormatArgs,
}

/// Print what happens to objects, until interrupted
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin geds watch geds://lab
  cloudskin geds watch geds://lab/frames/ -o json")]
pub(super) struct Watch {
    /// A bucket, or what keys begin with
    address: Address,
    #[command(flatten)]
    format: FormatArgs,
}

/// Show what the store uses, and what it may
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin geds usage")]
pub(super) struct Usage {
    #[command(flatten)]
    format: FormatArgs,
}

/// How long one look for events takes, between looks for a reader that has left.
const LOOK: Duration = Duration::from_secs(1);

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Row {
    Bucket(geds::Bucket),
    Object {
        address: String,
        #[serde(flatten)]
        stat: geds::Stat,
    },
    Prefix {
        prefix: String,
    },
}

pub(super) fn list(store: &Geds, args: &Ls) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    match &args.address {
        None => {
            let mut buckets = store.buckets()?;
            buckets.retain(|bucket| args.all || !geds::is_internal(&bucket.name));
            rows.extend(buckets.into_iter().map(Row::Bucket));
        }
        Some(address) => {
            let mut listing = Listing::prefix(&address.key);
            if !args.recursive {
                listing = listing.delimiter("/");
            }
            pages(store, &address.bucket, listing, |page| {
                let prefix = |key: String| Row::Prefix { prefix: address.with(key).to_string() };
                rows.extend(page.prefixes.into_iter().map(prefix));
                rows.extend(page.entries.into_iter().map(|entry| Row::Object {
                    address: address.with(entry.key).to_string(),
                    stat: entry.stat,
                }));
                Ok(())
            })?;
        }
    }
    let text = match &args.address {
        None => buckets(&rows),
        Some(_) => objects(&rows),
    };
    args.format.print(&rows, &text)
}

fn buckets(rows: &[Row]) -> String {
    let mut table = Table::new(&["BUCKET", "OBJECTS", "CREATED"]);
    for row in rows {
        if let Row::Bucket(bucket) = row {
            let address = format!("geds://{}", bucket.name);
            table.row(vec![address, bucket.objects.to_string(), moment(bucket.created)]);
        }
    }
    table.render(Style::for_stdout())
}

fn objects(rows: &[Row]) -> String {
    let mut table = Table::new(&["MODIFIED", "SIZE", "TIER", "ADDRESS"]);
    for row in rows {
        match row {
            Row::Object { address, stat } => table.row(vec![
                moment(stat.modified),
                size(stat.size),
                format!("{:?}", stat.tier).to_lowercase(),
                address.clone(),
            ]),
            Row::Prefix { prefix } => {
                table.row(vec![String::new(), String::new(), String::new(), prefix.clone()]);
            }
            Row::Bucket(_) => {}
        }
    }
    table.render(Style::for_stdout())
}

/// A size as people read it.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let power = (bytes.ilog2() / 10).min(UNITS.len() as u32);
    let value = bytes as f64 / f64::from(1024_u32).powi(power as i32);
    format!("{value:.1} {}", UNITS[power as usize - 1])
}

pub(super) fn stat(store: &Geds, args: &Stat) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for address in &args.addresses {
        let (bucket, key) = address.object()?;
        let stat = store.stat(bucket, key)?;
        rows.push((address.to_string(), stat));
    }
    let text: String = rows.iter().map(|(address, stat)| described(address, stat)).collect();
    let rows: Vec<Row> =
        rows.into_iter().map(|(address, stat)| Row::Object { address, stat }).collect();
    args.format.print(&rows, &text)
}

fn described(address: &str, stat: &geds::Stat) -> String {
    let checksum = stat.crc32c.map_or("not computed yet".to_owned(), |sum| format!("{sum:08x}"));
    let mut text = format!(
        "{address}\n  size      {} ({} bytes)\n  version   {}\n  modified  {}\n  tier      {}\n  crc32c    {checksum}\n",
        size(stat.size),
        stat.size,
        stat.version,
        moment(stat.modified),
        format!("{:?}", stat.tier).to_lowercase(),
    );
    if let Some(site) = &stat.site {
        text.push_str(&format!("  site      {}\n", crate::output::tame(site)));
    }
    for (name, value) in stat.attributes.iter() {
        let value = String::from_utf8_lossy(value).into_owned();
        text.push_str(&format!(
            "  {}  {}\n",
            crate::output::tame(name),
            crate::output::tame(&value)
        ));
    }
    text
}

#[derive(Debug, Serialize)]
struct Sum {
    address: String,
    objects: u64,
    bytes: u64,
}

pub(super) fn sizes(store: &Geds, args: &Du) -> anyhow::Result<()> {
    let mut sums = Vec::new();
    for address in &args.addresses {
        let mut sum = Sum { address: address.to_string(), objects: 0, bytes: 0 };
        pages(store, &address.bucket, Listing::prefix(&address.key), |page| {
            sum.objects += page.entries.len() as u64;
            sum.bytes += page.entries.iter().map(|entry| entry.stat.size).sum::<u64>();
            Ok(())
        })?;
        sums.push(sum);
    }
    let mut table = Table::new(&["SIZE", "OBJECTS", "ADDRESS"]);
    for sum in &sums {
        table.row(vec![size(sum.bytes), sum.objects.to_string(), sum.address.clone()]);
    }
    args.format.print(&sums, &table.render(Style::for_stdout()))
}

pub(super) fn watch(store: &Geds, args: &Watch) -> anyhow::Result<()> {
    let Address { bucket, key } = args.address.clone();
    let scope = if key.is_empty() { Scope::Bucket(bucket) } else { Scope::Prefix(bucket, key) };
    let events = store.subscribe(scope)?;
    loop {
        if let Some(event) = events.next(LOOK)? {
            match args.format.output {
                Format::Text => print(&told(&event))?,
                Format::Json | Format::Yaml => print(&json_line(&event))?,
            }
        }
        let missed = events.take_missed();
        if missed > 0 {
            crate::output::complain(&format!("{missed} events were missed"));
        }
    }
}

fn told(event: &Event) -> String {
    let address = format!("geds://{}/{}", event.bucket, crate::output::tame(&event.key));
    match &event.what {
        Happening::Created => format!("created   {address}\n"),
        Happening::Sealed { version, size: bytes } => {
            format!("sealed    {address}  {}, version {version}\n", size(*bytes))
        }
        Happening::Deleted => format!("deleted   {address}\n"),
        Happening::Renamed { from } => {
            format!("renamed   {address}  from {}\n", crate::output::tame(from))
        }
        Happening::Attributes => format!("changed   {address}  its attributes\n"),
    }
}

#[derive(Debug, Serialize)]
struct Used {
    usage: geds::Usage,
    limits: geds::Limits,
}

pub(super) fn usage(store: &Geds, args: &Usage) -> anyhow::Result<()> {
    let used = Used { usage: store.usage()?, limits: store.limits()? };
    let (usage, limits) = (&used.usage, &used.limits);
    let mut table = Table::new(&["WHAT", "USED", "LIMIT"]);
    let mut row =
        |what: &str, used: String, limit: String| table.row(vec![what.into(), used, limit]);
    row("memory", size(usage.memory_bytes), size(limits.memory_bytes));
    row("pool", size(usage.pool_bytes), String::new());
    row("names", size(usage.index_bytes), String::new());
    row("disk", size(usage.disk_bytes), size(limits.disk_bytes));
    row("objects", usage.objects.to_string(), limits.objects.to_string());
    row("slabs", usage.slabs.to_string(), String::new());
    row("files", usage.files.to_string(), String::new());
    row("processes", usage.processes.to_string(), String::new());
    args.format.print(&used, &table.render(Style::for_stdout()))
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_have_the_unit_that_fits() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (5 << 20, "5.0 MiB"),
            (u64::MAX, "16384.0 PiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
