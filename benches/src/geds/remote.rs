//! Reads from the node of another site over loopback, beside a request and reply over TCP.

use super::{
    SIZES, TCP_SUBCOMMAND, bytes,
    node::{BUCKET, Node, free_address},
};
use crate::{
    Context,
    pairs::{PAIRS_MIN, Pairs, Side},
    report::{Goal, Row},
    stats,
};
use anyhow::Context as _;
use geds::{Geds, Limits, Node as Local, Put, Site};
use std::{
    hint::black_box,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

pub(super) const ROWS: &[&str] = &[
    "geds/remote-64KiB",
    "geds/remote-1MiB",
    "geds/remote-16MiB",
    "geds/remote-kept-64KiB",
    "geds/remote-kept-1MiB",
    "geds/remote-kept-16MiB",
    "geds/remote-change-p99",
];

/// How many times as long as a raw request and reply a read may take.
const RATIO: f64 = 1.4;

/// Most milliseconds until a change is seen at another site.
const CHANGE_MS: f64 = 50.0;
const SEEN: Duration = Duration::from_secs(10);

/// What changes; each size has an object of its own, for copies are kept.
const KEY: &str = "change";

/// The tenant of `cloudskin serve`.
const TENANT: &str = "default";

pub(super) fn measure(context: &Context) -> anyhow::Result<Vec<Row>> {
    let (at, own) = (free_address()?, free_address()?);
    let (_cloud, cloud) = Node::of_cloud(context, at, own)?;
    let node = Local::start(context.folder("edge")?)?;
    node.join_sites(Site::plain("edge").listen(own).peer("cloud", at))?;
    let edge = node.geds(TENANT, &Limits::default())?;
    let (server, copy) = (TcpServer::start()?, TcpServer::start()?);
    let (mut raw, mut copy) = (server.connect()?, copy.connect()?);
    let (mut reads, mut kept) = (Vec::new(), Vec::new());
    for (size, [read, keep]) in SIZES[1..].iter().zip([[0, 3], [1, 4], [2, 5]]) {
        let key = size.name;
        cloud.put(BUCKET, key, &bytes(size.bytes), Put::overwrite())?;
        let mut buffer = vec![1; size.bytes];
        let times = context.count((size.times / 20).clamp(2, 50), 2);
        let goal = Goal::AtMost(RATIO);
        let mut object = None;
        let pairs = Pairs::measure(context.count(PAIRS_MIN, 1), |side| match side {
            Side::Ours => {
                let object = match &object {
                    Some(object) => object,
                    None => object.insert(edge.object_uncached(BUCKET, key)?),
                };
                repeat(times, || {
                    let count = object.read_at(0, black_box(&mut buffer))?;
                    anyhow::ensure!(count == size.bytes, "{count} bytes were read");
                    Ok(())
                })
            }
            Side::Peer => repeat(times, || ask(&mut raw, &mut buffer)),
            Side::Control => repeat(times, || ask(&mut copy, &mut buffer)),
        })?;
        reads.extend(pairs.rows(ROWS[read], "us", "TCP", goal));
        let pairs = Pairs::measure(context.count(PAIRS_MIN, 1), |side| match side {
            Side::Ours => views(&edge, key, times, size.bytes),
            Side::Peer => repeat(times, || ask(&mut raw, &mut buffer)),
            Side::Control => repeat(times, || ask(&mut copy, &mut buffer)),
        })?;
        kept.extend(pairs.rows(ROWS[keep], "us", "TCP", goal));
    }
    reads.extend(kept);
    reads.push(changes(context, &cloud, &edge)?);
    Ok(reads)
}

/// How long it takes until a change at an object's home is seen where a copy is kept.
fn changes(context: &Context, cloud: &Geds, edge: &Geds) -> anyhow::Result<Row> {
    let mut taken = Vec::new();
    for size in 1..=context.count(500, 5) {
        cloud.put(BUCKET, KEY, &vec![1; size], Put::overwrite())?;
        let started = Instant::now();
        while edge.view(BUCKET, KEY)?.len() != size {
            anyhow::ensure!(started.elapsed() < SEEN, "a change is never seen");
        }
        taken.push(started.elapsed().as_secs_f64() * 1e3);
    }
    let note = format!("median {:.2} ms, {} changes", stats::median(&taken), taken.len());
    let p99 = stats::percentile(&taken, 0.99);
    Ok(Row::value(ROWS[6], "ms", p99, Goal::AtMost(CHANGE_MS)).with_note(note))
}

/// Views an object that is not here yet and then is; the median of so many, in microseconds.
fn views(edge: &Geds, key: &str, times: usize, bytes: usize) -> anyhow::Result<f64> {
    let mut taken = Vec::with_capacity(times);
    for _ in 0..times {
        // The copies of a bucket have a bucket of their own.
        edge.delete(&format!("@{BUCKET}"), key, None).unwrap_or_default();
        edge.usage()?;
        let started = Instant::now();
        let found = black_box(edge.view(BUCKET, key)?.len());
        taken.push(started.elapsed().as_secs_f64() * 1e6);
        anyhow::ensure!(found == bytes, "{found} bytes were viewed");
    }
    Ok(stats::median(&taken))
}

/// The median of so many, in microseconds.
fn repeat(times: usize, mut act: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let mut taken = Vec::with_capacity(times);
    for _ in 0..times {
        let started = Instant::now();
        act()?;
        taken.push(started.elapsed().as_secs_f64() * 1e6);
    }
    Ok(stats::median(&taken))
}

/// Asks for as many bytes as there is room for.
fn ask(server: &mut TcpStream, into: &mut [u8]) -> anyhow::Result<()> {
    server.write_all(&(into.len() as u64).to_le_bytes())?;
    Ok(server.read_exact(black_box(into))?)
}

/// The peer as a process; killed on drop.
struct TcpServer {
    child: Child,
    address: std::net::SocketAddr,
}

impl TcpServer {
    fn start() -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(TCP_SUBCOMMAND)
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let output = child.stdout.take().context("no output")?;
        BufReader::new(output).read_line(&mut line)?;
        match line.trim().parse() {
            Ok(address) => Ok(Self { child, address }),
            Err(error) => {
                let _ = child.kill();
                Err(error).context("the peer said no address")
            }
        }
    }

    fn connect(&self) -> anyhow::Result<TcpStream> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        // Once it has made its bytes.
        ask(&mut stream, &mut [0])?;
        Ok(stream)
    }
}

impl Drop for TcpServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Answers each request, a number of eight bytes, with as many bytes, until killed; prints its address first.
///
/// # Errors
/// If it cannot listen.
pub fn serve_tcp() -> anyhow::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("{}", listener.local_addr()?);
    let bytes = bytes(16 << 20);
    loop {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let mut wanted = [0; 8];
        while stream.read_exact(&mut wanted).is_ok() {
            let wanted = usize::try_from(u64::from_le_bytes(wanted))?;
            stream.write_all(bytes.get(..wanted).context("too many bytes are wanted")?)?;
        }
    }
}
