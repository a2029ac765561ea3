//! How fast a node writes objects back to an S3 endpoint, beside how fast plain clients put the same bytes there.

use super::{
    bytes,
    files::{FileServer, KEY, SECRET, Serving},
    node::{Node, free_address},
    plain::{Endpoint, Load},
    s3::first_key,
};
use crate::{
    Context,
    pairs::{PAIRS_MIN, Pairs, Side},
    report::{Goal, Row},
};
use anyhow::Context as _;
use geds::{BackendConfig, Class, Geds, Put};
use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

pub(super) const ROWS: &[&str] =
    &["geds/spill-s3s-fs", "geds/spill-s3s-fs-64KiB", "geds/spill-cloudskin"];

/// Of what the endpoint takes from plain clients.
const SHARE: f64 = 0.85;

/// What is timed of each side. Of the store it is what comes after the first ones, when its connections are made, as the
/// others' are; and it has some more, for objects leave when their slab is full.
const TIMED_BYTES: usize = 32 << 20;
const FIRST_BYTES: u64 = 4 << 20;
const MORE_BYTES: usize = 28 << 20;

const STALL: Duration = Duration::from_secs(20);
/// How long nothing more may have come until nothing more is expected.
const CALM: Duration = Duration::from_millis(50);
const LOOK: Duration = Duration::from_millis(1);
/// How long what is under way may take.
const LATE: Duration = Duration::from_secs(5);

/// Where objects go.
trait Target {
    fn endpoint(&self) -> Endpoint;
    fn make(&self, bucket: &str) -> anyhow::Result<()>;
    fn remove(&self, bucket: &str) -> anyhow::Result<()>;
}

impl Target for FileServer {
    fn endpoint(&self) -> Endpoint {
        Endpoint { address: self.address, key: KEY.to_owned(), secret: SECRET.to_owned() }
    }

    fn make(&self, bucket: &str) -> anyhow::Result<()> {
        Ok(fs::create_dir(self.folder.join(bucket))?)
    }

    fn remove(&self, bucket: &str) -> anyhow::Result<()> {
        remove(&self.folder.join(bucket))
    }
}

/// Our own endpoint, and the way to its objects.
struct Ours {
    endpoint: Endpoint,
    geds: Geds,
    _node: Node,
}

impl Ours {
    fn start(context: &Context) -> anyhow::Result<Self> {
        let address = free_address()?;
        let (node, geds) = Node::with_s3(context, address)?;
        drop(super::http::connect(address)?);
        let (key, secret) = first_key(&node.keys())?;
        Ok(Self { endpoint: Endpoint { address, key, secret }, geds, _node: node })
    }
}

impl Target for Ours {
    fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    fn make(&self, bucket: &str) -> anyhow::Result<()> {
        self.geds.create_bucket(bucket)?;
        Ok(())
    }

    fn remove(&self, bucket: &str) -> anyhow::Result<()> {
        clear(&self.geds, bucket)
    }
}

pub(super) fn measure(context: &Context) -> anyhow::Result<Vec<Row>> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (_node, geds) = Node::start(context)?;
    let files = FileServer::start(context, Serving::default())?;
    let mut rows = Vec::new();
    for (row, object_bytes) in [(ROWS[0], 1 << 20), (ROWS[1], 64 << 10)] {
        rows.extend(compare(context, row, &geds, &files, "s3s-fs", object_bytes)?);
    }
    drop(files);
    let ours = Ours::start(context)?;
    rows.extend(compare(context, ROWS[2], &geds, &ours, "cloudskin serve s3", 1 << 20)?);
    Ok(rows)
}

fn compare(
    context: &Context,
    row: &str,
    geds: &Geds,
    target: &impl Target,
    name: &str,
    object_bytes: usize,
) -> anyhow::Result<[Row; 2]> {
    let mut rounds = Rounds { geds, target, number: 0 };
    let objects = TIMED_BYTES / object_bytes;
    let load = Load { objects, bytes: bytes(object_bytes).into() };
    let endpoint = target.endpoint();
    let (connections, rate) = rounds.best(&endpoint, &load)?;
    let pairs = Pairs::measure(context.count(PAIRS_MIN, 1), |side| match side {
        Side::Ours => rounds.written_back(&endpoint, &load),
        Side::Peer | Side::Control => rounds.put(&endpoint, &load, connections),
    })?;
    let peer = format!("plain puts to {name}");
    let [row, control] = pairs.rows(row, "ms", &peer, Goal::AtLeast(SHARE));
    let note = format!(
        "{}; {} MiB in objects of {} KiB; plain: {connections} connections, {:.0} MB/s at best",
        row.note,
        TIMED_BYTES >> 20,
        object_bytes >> 10,
        rate / 1e6
    );
    Ok([row.with_note(note), control])
}

/// Buckets that are used once: nothing is there to be replaced.
struct Rounds<'a, T> {
    geds: &'a Geds,
    target: &'a T,
    number: usize,
}

impl<T: Target> Rounds<'_, T> {
    fn fresh(&mut self) -> anyhow::Result<String> {
        self.number += 1;
        let bucket = format!("spill-{}", self.number);
        self.target.make(&bucket)?;
        Ok(bucket)
    }

    fn best(&mut self, endpoint: &Endpoint, load: &Load) -> anyhow::Result<(usize, f64)> {
        // What is touched for the first time is no measure.
        let warm = self.fresh()?;
        endpoint.put(&warm, load, 2)?;
        self.target.remove(&warm)?;
        let mut used = Vec::new();
        let best = endpoint.best(load, || {
            let bucket = self.fresh()?;
            used.push(bucket.clone());
            Ok(bucket)
        })?;
        used.iter().try_for_each(|bucket| self.target.remove(bucket))?;
        Ok(best)
    }

    /// How many milliseconds plain clients take.
    fn put(&mut self, endpoint: &Endpoint, load: &Load, connections: usize) -> anyhow::Result<f64> {
        let bucket = self.fresh()?;
        let seconds = endpoint.put(&bucket, load, connections)?;
        self.target.remove(&bucket)?;
        Ok(seconds * 1e3)
    }

    /// How many milliseconds the store takes for as much.
    fn written_back(&mut self, endpoint: &Endpoint, load: &Load) -> anyhow::Result<f64> {
        let (bucket, geds) = (self.fresh()?, self.geds);
        geds.create_bucket(&bucket)?;
        for number in 0..load.objects + MORE_BYTES / load.bytes.len() {
            geds.put(&bucket, &format!("k/{number}"), &load.bytes, Put::default())?;
        }
        let wanted = (load.objects * load.bytes.len()) as u64;
        let options = endpoint.options();
        let options = options.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let backend = BackendConfig::new(&format!("s3://{bucket}"), options).class(Class::Cold);
        geds.attach(&bucket, backend)?;
        let (begun, first) = until(geds, FIRST_BYTES)?;
        let (ended, all) = until(geds, first + wanted)?;
        let seconds = (ended - begun).as_secs_f64() * wanted as f64 / (all - first) as f64;
        settle(geds)?;
        geds.detach(&bucket)?;
        clear(geds, &bucket)?;
        self.target.remove(&bucket)?;
        Ok(seconds * 1e3)
    }
}

/// Waits until so many bytes were written back; when that was, and how many they are.
fn until(geds: &Geds, enough: u64) -> anyhow::Result<(Instant, u64)> {
    let started = Instant::now();
    loop {
        let (now, bytes) = (Instant::now(), written(geds)?);
        if bytes >= enough {
            return Ok((now, bytes));
        }
        anyhow::ensure!(started.elapsed() < STALL, "writing back stalls at {bytes} bytes");
        thread::sleep(LOOK);
    }
}

/// Waits until nothing more is written back.
fn settle(geds: &Geds) -> anyhow::Result<()> {
    let (mut bytes, mut since) = (written(geds)?, Instant::now());
    while since.elapsed() < CALM {
        thread::sleep(CALM / 5);
        let now = written(geds)?;
        if now != bytes {
            (bytes, since) = (now, Instant::now());
        }
    }
    Ok(())
}

/// Removes a folder into which something may still be on its way.
pub(super) fn remove(folder: &Path) -> anyhow::Result<()> {
    in_time(|| Ok(fs::remove_dir_all(folder)?))
}

/// Removes a bucket in the same way.
pub(super) fn clear(geds: &Geds, bucket: &str) -> anyhow::Result<()> {
    in_time(|| {
        geds.delete_prefix(bucket, "")?;
        Ok(geds.delete_bucket(bucket)?)
    })
}

/// Tries until it succeeds, for a while.
fn in_time(act: impl Fn() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let deadline = Instant::now() + LATE;
    loop {
        match act() {
            Err(_) if Instant::now() < deadline => thread::sleep(LATE / 50),
            done => return done,
        }
    }
}

/// Bytes that the only back end has acknowledged.
fn written(geds: &Geds) -> anyhow::Result<u64> {
    let states = geds.backends()?;
    let state = states.first().context("no back end is attached")?;
    anyhow::ensure!(state.failures == 0, "writing back failed: {:?}", state.last_failure);
    Ok(state.bytes)
}
