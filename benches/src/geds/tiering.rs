//! What who puts objects notices of others being written back: the endpoint has a processor of its own and takes half of
//! what it could.

use super::{
    bytes,
    files::{FileServer, KEY, SECRET, Serving, pin},
    node::{BUCKET, Node},
    plain::{Endpoint, Load},
    spill::{clear, remove},
};
use crate::{
    Context,
    pairs::{PAIRS_MIN, Pairs, Side},
    report::{Goal, Met, Row},
    stats,
};
use anyhow::Context as _;
use geds::{BackendConfig, Class, Geds, Put};
use std::{
    fs, thread,
    time::{Duration, Instant},
};

pub(super) const ROWS: &[&str] = &["geds/tiering-put-64KiB-p50", "geds/tiering-put-64KiB-p99"];

/// How many times as long a put may take.
const P50_RATIO: f64 = 1.01;
const P99_RATIO: f64 = 1.10;

const OBJECT_BYTES: usize = 64 << 10;
/// A thousand puts a second.
const PERIOD: Duration = Duration::from_millis(1);
/// How many a round has.
const PUTS: usize = 400;
/// What there is to be written back in the background.
const STOCK: usize = 2048;
/// Between rounds.
const PAUSE: Duration = Duration::from_millis(100);
/// Two processors: one for who puts, the other for the endpoint.
const FOREGROUND: usize = 0;
const ENDPOINT: usize = 1;

pub(super) fn measure(context: &Context) -> anyhow::Result<Vec<Row>> {
    // On a thread of its own: a processor that is chosen stays chosen.
    thread::scope(|scope| {
        let measured = scope.spawn(|| measure_pinned(context)).join();
        measured.map_err(|_| anyhow::anyhow!("measuring panicked"))?
    })
}

fn measure_pinned(context: &Context) -> anyhow::Result<Vec<Row>> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let alone = Serving { cpu: Some(ENDPOINT), bytes_per_second: 0 };
    let most = most(&FileServer::start(context, alone)?)?;
    let half = Serving { bytes_per_second: (most / 2.0) as u64, ..alone };
    let files = FileServer::start(context, half)?;
    let (_node, geds) = Node::start(context)?;
    pin(FOREGROUND)?;
    let mut rounds = Rounds { geds, files, number: 0, moved: Vec::new() };
    // The first ones touch what later ones find.
    rounds.run(false)?;
    rounds.run(true)?;
    rounds.moved.clear();
    let mut tails = [Vec::new(), Vec::new(), Vec::new()];
    let middles = Pairs::measure(context.count(PAIRS_MIN, 1), |side| {
        let (p50, p99) = rounds.run(side == Side::Ours)?;
        tails[side as usize].push(p99);
        Ok(p50)
    })?;
    let mut at = [0; 3];
    let tails = Pairs::measure(context.count(PAIRS_MIN, 1), |side| {
        at[side as usize] += 1;
        let tail = tails[side as usize].get(at[side as usize] - 1);
        tail.copied().context("a round is missing")
    })?;
    let moved = stats::median(&rounds.moved);
    let note = format!(
        "{:.0} MB/s written back meanwhile, of {:.0} that the endpoint takes",
        moved / 1e6,
        most / 2e6
    );
    let peer = "without writing back";
    let rows = [(ROWS[0], middles, P50_RATIO), (ROWS[1], tails, P99_RATIO)];
    let rows = rows.map(|(name, pairs, ratio)| {
        let [row, control] = pairs.rows(name, "us", peer, Goal::AtMost(ratio));
        let mut row = Row { note: format!("{}; {note}", row.note), ..row };
        if moved <= 0.0 {
            row.met = Met::No;
        }
        [row, control]
    });
    Ok(rows.into_iter().flatten().collect())
}

/// How many bytes a second the endpoint takes from plain clients.
fn most(files: &FileServer) -> anyhow::Result<f64> {
    let load = Load { objects: 1024, bytes: bytes(OBJECT_BYTES).into() };
    let (_, rate) = endpoint(files).best(&load, || Ok(BUCKET.to_owned()))?;
    Ok(rate)
}

fn endpoint(files: &FileServer) -> Endpoint {
    Endpoint { address: files.address, key: KEY.to_owned(), secret: SECRET.to_owned() }
}

/// Rounds of puts, each of objects that were not there before.
struct Rounds {
    geds: Geds,
    files: FileServer,
    number: usize,
    /// Bytes a second that were written back in each of the rounds.
    moved: Vec<f64>,
}

impl Rounds {
    /// The median and the 99th percentile of a round's puts, in microseconds.
    fn run(&mut self, written_back: bool) -> anyhow::Result<(f64, f64)> {
        self.number += 1;
        let (bucket, geds) = (format!("round-{}", self.number), self.geds.clone());
        let folder = self.files.folder.join(&bucket);
        fs::create_dir(&folder)?;
        geds.create_bucket(&bucket)?;
        let bytes = bytes(OBJECT_BYTES);
        for number in 0..STOCK {
            geds.put(&bucket, &format!("stock/{number}"), &bytes, Put::default())?;
        }
        if written_back {
            let options = endpoint(&self.files).options();
            let options = options.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            let backend = BackendConfig::new(&format!("s3://{bucket}"), options);
            geds.attach(&bucket, backend.class(Class::Cold))?;
        }
        // Until connections are made and the processor is as fast as it gets.
        self.puts(&bucket, "warm", PUTS / 5, &bytes)?;
        let (begun, before) = (Instant::now(), self.written()?);
        let times = self.puts(&bucket, "put", PUTS, &bytes)?;
        let moved = (self.written()? - before) as f64 / begun.elapsed().as_secs_f64();
        if written_back {
            self.moved.push(moved);
            geds.detach(&bucket)?;
        }
        clear(&geds, &bucket)?;
        // What was under way comes to nothing.
        thread::sleep(PAUSE);
        remove(&folder)?;
        Ok((stats::median(&times), stats::percentile(&times, 0.99)))
    }

    fn written(&self) -> anyhow::Result<u64> {
        Ok(self.geds.backends()?.first().map_or(0, |state| state.bytes))
    }

    /// Puts one object each millisecond; how many microseconds each took.
    fn puts(
        &self,
        bucket: &str,
        folder: &str,
        count: usize,
        bytes: &[u8],
    ) -> anyhow::Result<Vec<f64>> {
        let mut times = Vec::with_capacity(count);
        let mut due = Instant::now();
        for number in 0..count {
            let key = format!("{folder}/{number}");
            let begun = Instant::now();
            self.geds.put(bucket, &key, bytes, Put::default())?;
            times.push(begun.elapsed().as_secs_f64() * 1e6);
            due += PERIOD;
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        Ok(times)
    }
}
