//! Objects over S3, beside `s3s-fs`, the file server of the library that both speak S3 with.
//!
//! Both are asked by one client with presigned requests of the same form, for an object at a time,
//! over a connection that stays open.

use super::{
    SIZES, Size, bytes,
    files::{FileServer, KEY, SECRET, Serving},
    http::{Client, connect},
    node::{BUCKET, Node, free_address},
};
use crate::{
    Context,
    pairs::{PAIRS_MIN, Pairs, Side},
    report::{Goal, Row},
    stats,
};
use anyhow::Context as _;
use object_store::{
    aws::{AmazonS3, AmazonS3Builder},
    path::Path as Key,
    signer::Signer,
};
use std::{
    fs,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

pub(super) const ROWS: &[&str] = &[
    "geds/s3-get-1KiB",
    "geds/s3-get-64KiB",
    "geds/s3-get-1MiB",
    "geds/s3-get-16MiB",
    "geds/s3-put-1KiB",
    "geds/s3-put-64KiB",
    "geds/s3-put-1MiB",
    "geds/s3-put-16MiB",
    "geds/s3-worst-get",
];

/// How many times as fast as the peer each of the sizes is read at least.
const GET_RATIO: [f64; 4] = [2.0, 2.0, 5.0, 5.0];

/// No answer that waits for a delayed acknowledgement.
const WORST_MS: f64 = 40.0;

/// A server that is asked.
struct Server {
    client: Client,
    host: String,
    signer: AmazonS3,
    runtime: tokio::runtime::Runtime,
}

impl Server {
    fn at(address: SocketAddr, key: &str, secret: &str) -> anyhow::Result<Self> {
        let signer = AmazonS3Builder::new()
            .with_endpoint(format!("http://{address}"))
            .with_allow_http(true)
            .with_region("us-east-1")
            .with_bucket_name(BUCKET)
            .with_access_key_id(key)
            .with_secret_access_key(secret)
            .build()?;
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        Ok(Self { client: connect(address)?, host: address.to_string(), signer, runtime })
    }

    /// The request line of a presigned request.
    fn signed(&self, method: http::Method, object: &str) -> anyhow::Result<String> {
        let name = method.to_string();
        let valid = Duration::from_secs(3600);
        let object = Key::from(object);
        let url = self.runtime.block_on(self.signer.signed_url(method, &object, valid))?;
        Ok(format!("{name} {}?{}", url.path(), url.query().unwrap_or_default()))
    }

    /// How long one request takes, in microseconds: the median and the longest of so many.
    fn times(
        &mut self,
        times: usize,
        request: &str,
        body: &[u8],
        into: &mut [u8],
    ) -> anyhow::Result<(f64, f64)> {
        let mut taken = Vec::with_capacity(times);
        for _ in 0..times {
            let started = Instant::now();
            self.client.ask(request, &self.host, body, into)?;
            taken.push(started.elapsed().as_secs_f64() * 1e6);
        }
        Ok((stats::median(&taken), stats::maximum(&taken)))
    }
}

pub(super) fn measure(context: &Context) -> anyhow::Result<Vec<Row>> {
    // Requests are signed by a library that could also send them, over TLS.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let at = free_address()?;
    let (node, _geds) = Node::with_s3(context, at)?;
    let connected = connect(at)?;
    drop(connected);
    let (key, secret) = first_key(&node.keys())?;
    let mut ours = Server::at(at, &key, &secret)?;
    let files = FileServer::start(context, Serving::default())?;
    let mut theirs = Server::at(files.address, KEY, SECRET)?;

    let (mut gets, mut puts, mut worst) = (Vec::new(), Vec::new(), 0.0_f64);
    for (size, ratio) in SIZES.into_iter().zip(GET_RATIO) {
        let name = format!("object-{}", size.name);
        let put = pairs(context, size, http::Method::PUT, &name, &mut ours, &mut theirs)?;
        puts.extend(put.0.rows(
            &format!("geds/s3-put-{}", size.name),
            "us",
            "s3s-fs",
            Goal::Nothing,
        ));
        let get = pairs(context, size, http::Method::GET, &name, &mut ours, &mut theirs)?;
        let goal = Goal::AtLeast(ratio);
        gets.extend(get.0.rows(&format!("geds/s3-get-{}", size.name), "us", "s3s-fs", goal));
        worst = worst.max(get.1);
    }
    gets.extend(puts);
    gets.push(Row::value(ROWS[8], "ms", worst / 1e3, Goal::AtMost(WORST_MS)));
    Ok(gets)
}

/// Both servers' times, and the longest of ours.
fn pairs(
    context: &Context,
    size: Size,
    method: http::Method,
    name: &str,
    ours: &mut Server,
    theirs: &mut Server,
) -> anyhow::Result<(Pairs, f64)> {
    let (body, mut into) = match method {
        http::Method::PUT => (bytes(size.bytes), Vec::new()),
        _ => (Vec::new(), vec![0; size.bytes]),
    };
    let (our_request, their_request) =
        (ours.signed(method.clone(), name)?, theirs.signed(method, name)?);
    let times = context.count((size.times / 100).clamp(2, 50), 2);
    let mut worst = 0.0_f64;
    let pairs = Pairs::measure(context.count(PAIRS_MIN, 1), |side| match side {
        Side::Ours => {
            let (median, longest) = ours.times(times, &our_request, &body, &mut into)?;
            worst = worst.max(longest);
            Ok(median)
        }
        Side::Peer | Side::Control => Ok(theirs.times(times, &their_request, &body, &mut into)?.0),
    })?;
    Ok((pairs, worst))
}

/// The first key of an endpoint's file, and its secret.
pub(super) fn first_key(file: &Path) -> anyhow::Result<(String, String)> {
    let text = fs::read_to_string(file)?;
    let value = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(&format!("{name} = ")));
        line.and_then(|line| Some(line.split('"').nth(1)?.to_owned()))
    };
    value("access_key").zip(value("secret")).context("the endpoint has no key")
}
