//! How long the prediction service takes to rank ten sites, against a control plane that runs.
//!
//! One question after the other on one connection, each with an answer of ten places with reasons.
//! A service at the first site is asked meanwhile, so that there is something to predict from.

use crate::{
    Context, Goal, Row,
    continuum::Continuum,
    guests,
    http::{Connection, Request},
    stats,
};
use anyhow::Context as _;
use http_body_util::{BodyExt, Full};
use hyper::{body::Bytes, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

pub(super) const ROWS: &[&str] = &[
    "learning/advice-rest-p50",
    "learning/advice-rest-p99",
    "learning/advice-grpc-p50",
    "learning/advice-grpc-p99",
];

const SITES: [&str; 10] = ["edge", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9"];
const GOAL: Goal = Goal::AtMost(2.0);
/// Until a report and a round of learning have come.
const WARM_UP: Duration = Duration::from_secs(45);

/// Where it is asked, in words of the service's `proto/advice.proto`.
const METHOD: &str = "/cloudskin.advice.v1alpha1.Advice/Rank";

pub(super) fn measure(context: &Context) -> anyhow::Result<Vec<Row>> {
    let module = guests::from_c(context, "guests/ballast.c", true)?;
    let continuum = Continuum::start_sites(context, &SITES, &[])?;
    continuum.apply(&module, &["hello".to_owned()])?;
    let mut asking = Connection::open(continuum.ingress)?;
    let hello = Request::new(continuum.ingress, "hello.localhost");
    let warm = Instant::now();
    let until = if context.count(1, 0) == 1 { WARM_UP } else { Duration::from_secs(2) };
    while warm.elapsed() < until {
        asking.ask(&hello)?;
        std::thread::sleep(Duration::from_millis(20));
    }
    let told: serde_json::Value =
        serde_json::from_str(&continuum.ask(&["rank", "service/hello", "-o", "json"])?)?;
    let places = told["places"].as_array().map_or(0, Vec::len);
    anyhow::ensure!(places == SITES.len(), "{places} places were ranked: {told}");
    let count = context.count(3000, 20);
    let rest = rest(&continuum, count)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let grpc = runtime.block_on(grpc(&continuum, count))?;
    let row = |name: &str, times: &[f64], share: f64| {
        Row::value(name, "ms", stats::percentile(times, share), GOAL)
    };
    Ok(vec![
        row(ROWS[0], &rest, 0.5),
        row(ROWS[1], &rest, 0.99),
        row(ROWS[2], &grpc, 0.5),
        row(ROWS[3], &grpc, 0.99),
    ])
}

/// Milliseconds of each question over REST.
fn rest(continuum: &Continuum, count: usize) -> anyhow::Result<Vec<f64>> {
    let address = continuum.address()?;
    let path = api::paths::rank(api::DEFAULT_TENANT);
    let request = Request::json(address, &path, continuum.token(), r#"{"service":"hello"}"#);
    let mut connection = Connection::open(address)?;
    let one = |_| Ok(connection.ask_whole(&request)?.as_secs_f64() * 1e3);
    (0..count).map(one).collect()
}

/// Milliseconds of each question over gRPC.
async fn grpc(continuum: &Continuum, count: usize) -> anyhow::Result<Vec<f64>> {
    let address = continuum.address()?;
    let stream = tokio::net::TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    let driving = tokio::spawn(connection);
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let request = question(address, continuum.token())?;
        let asked = Instant::now();
        let response = sender.send_request(request).await?;
        let body = response.into_body().collect().await?;
        times.push(asked.elapsed().as_secs_f64() * 1e3);
        let status = body.trailers().and_then(|trailers| trailers.get("grpc-status")).cloned();
        let status = status.context("an answer has no status")?;
        anyhow::ensure!(status == "0", "an answer is of status {status:?}");
    }
    driving.abort();
    Ok(times)
}

/// `RankRequest { service: "hello" }`, framed: field 2, of length 5.
fn question(address: SocketAddr, token: &str) -> anyhow::Result<hyper::Request<Full<Bytes>>> {
    const MESSAGE: &[u8] = b"\x12\x05hello";
    let framed = [&[0][..], &(MESSAGE.len() as u32).to_be_bytes(), MESSAGE].concat();
    Ok(hyper::Request::post(format!("http://{address}{METHOD}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("authorization", format!("Bearer {token}"))
        .body(Full::new(Bytes::from(framed)))?)
}
