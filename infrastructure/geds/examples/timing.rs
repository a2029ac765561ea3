//! How long the store's operations take here: medians in microseconds, beside a copy of as many bytes.
//!
//! `cargo run --release -p geds --example timing [objects]`

use geds::{Config, Geds, Limits, Listing, Node, Put, Result};
use std::{fs, hint::black_box, io::Write, time::Instant};

const SIZES: [(usize, usize); 4] =
    [(1 << 10, 200_000), (64 << 10, 20_000), (1 << 20, 2000), (16 << 20, 150)];
/// Names that are written in turn: the same memory is used again and again.
const NAMES: usize = 16;

fn main() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("geds-timing-{}", std::process::id()));
    let limits = Limits::default();
    let node = Node::start(&folder)?;
    let geds = node.geds("lab", &limits)?;
    geds.create_bucket("lab")?;
    let socket = folder.join("lab.sock");
    node.listen("lab", &limits, &socket)?;
    let joined = Geds::open(Config::join(&socket))?;
    let mut out = std::io::stdout();
    let _ = writeln!(
        out,
        "{:>9} {:>8} {:>8} {:>8} {:>8} {:>8}",
        "bytes", "memcpy", "put", "put/sock", "view", "read"
    );
    for (size, rounds) in SIZES {
        row(&geds, &joined, size, rounds, &mut out)?;
    }
    let objects = std::env::args().nth(1).and_then(|count| count.parse().ok());
    many(&geds, objects.unwrap_or(200_000), &mut out)?;
    drop((geds, joined, node));
    let _ = fs::remove_dir_all(folder);
    Ok(())
}

fn row(geds: &Geds, joined: &Geds, size: usize, rounds: usize, out: &mut impl Write) -> Result<()> {
    let bytes = vec![7; size];
    let mut target = vec![0; size];
    let copy = median(rounds, |_| {
        target.copy_from_slice(black_box(&bytes));
        black_box(&target);
        Ok(())
    })?;
    let names: Vec<String> = (0..NAMES).map(|name| format!("objects/of/{size}/{name}")).collect();
    let put = |geds: &Geds| {
        median(rounds, |round| {
            geds.put("lab", &names[round % NAMES], &bytes, Put::overwrite()).map(|_| ())
        })
    };
    let (own, over_socket) = (put(geds)?, put(joined)?);
    let view = median(rounds, |round| {
        black_box(joined.view("lab", &names[round % NAMES])?.len());
        Ok(())
    })?;
    let read = median(rounds, |round| {
        let view = joined.view("lab", &names[round % NAMES])?;
        target.copy_from_slice(&view);
        black_box(&target);
        Ok(())
    })?;
    let _ = writeln!(
        out,
        "{size:>9} {copy:>8.2} {own:>8.2} {over_socket:>8.2} {view:>8.2} {read:>8.2}"
    );
    Ok(())
}

/// The median in microseconds. Short operations are timed one by one, too: a reading of the clock takes 30 ns.
fn median(rounds: usize, mut operation: impl FnMut(usize) -> Result<()>) -> Result<f64> {
    let mut times = Vec::with_capacity(rounds);
    for round in 0..rounds {
        let started = Instant::now();
        operation(round)?;
        times.push(started.elapsed().as_nanos());
    }
    times.sort_unstable();
    Ok(times.get(rounds / 2).copied().unwrap_or_default() as f64 / 1000.0)
}

fn many(geds: &Geds, objects: usize, out: &mut impl Write) -> Result<()> {
    geds.create_bucket("many")?;
    let (before, memory) = (geds.usage()?, resident());
    let started = Instant::now();
    for object in 0..objects {
        geds.put("many", &format!("data/part-{object:08}.bin"), &[1; 8], Put::default())?;
    }
    let each = started.elapsed().as_secs_f64() * 1e6 / objects as f64;
    let usage = geds.usage()?;
    let index = usage.index_bytes - before.index_bytes;
    let _ = writeln!(
        out,
        "{objects} objects: {each:.2} us each; index {} bytes each, resident {} bytes each (with 64 of data)",
        index / objects as u64,
        (resident().saturating_sub(memory)) / objects as u64
    );
    let list = median(30, |round| {
        let after = format!("data/part-{:08}", round * objects / 40);
        black_box(geds.list("many", &Listing::default().after(after))?);
        Ok(())
    })?;
    let _ = writeln!(out, "list of 1,000: {list:.0} us");
    Ok(())
}

fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}
