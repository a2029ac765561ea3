//! Servers of the API, and series to ask about.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, StatusCode};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use prost::Message;
use series::{Labels, Limits, NAME, Sample, Store, http::Api, query::QueryLimits};
use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};
use types::ManualClock;

/// When the series begin.
pub(crate) const START_MS: i64 = 1_700_000_000_000;

/// Our API on a port of its own; it ends with the test's runtime.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) store: Arc<Store>,
}

/// A clock at a time.
pub(crate) fn clock(now_ms: i64) -> Arc<ManualClock> {
    let clock = ManualClock::default();
    clock.advance(Duration::from_millis(now_ms.unsigned_abs()));
    Arc::new(clock)
}

impl Server {
    pub(crate) async fn start(folder: &Path, now_ms: i64) -> Self {
        let store = Arc::new(Store::open(folder, Limits::default()).unwrap());
        let api = Api::new(store.clone(), clock(now_ms), QueryLimits::default());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, api.router()).await });
        Self { address, store }
    }
}

/// One request; gives status and body.
pub(crate) async fn send(
    address: SocketAddr,
    method: Method,
    path: &str,
    content_type: &str,
    body: impl Into<Bytes>,
) -> (StatusCode, Bytes) {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let request = Request::builder()
        .method(method)
        .uri(format!("http://{address}{path}"))
        .header("content-type", content_type)
        .header("content-encoding", if path.ends_with("write") { "snappy" } else { "identity" })
        .header("x-prometheus-remote-write-version", "0.1.0")
        .body(Full::new(body.into()))
        .unwrap();
    let answer = client.request(request).await.unwrap();
    let status = answer.status();
    (status, answer.into_body().collect().await.unwrap().to_bytes())
}

/// A form is posted; gives status and JSON.
pub(crate) async fn ask(
    address: SocketAddr,
    path: &str,
    form: &[(&str, &str)],
) -> (StatusCode, serde_json::Value) {
    let pairs: Vec<String> =
        form.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
    let body = pairs.join("&");
    let (status, body) =
        send(address, Method::POST, path, "application/x-www-form-urlencoded", body).await;
    let text = String::from_utf8_lossy(&body).into_owned();
    (status, serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text)))
}

pub(crate) fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[derive(Clone, PartialEq, prost::Message)]
struct Write {
    #[prost(message, repeated, tag = "1")]
    series: Vec<Told>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Told {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Pair>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Point>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Pair {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Point {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    time_ms: i64,
}

/// A series with its samples.
pub(crate) type Whole = (Labels, Vec<Sample>);

/// A request of remote write.
pub(crate) fn remote_write(series: &[Whole]) -> Vec<u8> {
    let told = |(labels, samples): &Whole| Told {
        labels: labels
            .iter()
            .map(|(name, value)| Pair { name: name.into(), value: value.into() })
            .collect(),
        samples: samples
            .iter()
            .map(|sample| Point { value: sample.value, time_ms: sample.time_ms })
            .collect(),
    };
    let write = Write { series: series.iter().map(told).collect() };
    snap::raw::Encoder::new().compress_vec(&write.encode_to_vec()).unwrap()
}

pub(crate) fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::new(pairs.iter().copied()).unwrap()
}

/// Two hours of counters with resets and gaps, gauges with odd values, histograms, and series that end.
pub(crate) fn series() -> Vec<Whole> {
    let mut all = Vec::new();
    for (place, site) in ["edge", "cloud", "attic"].into_iter().enumerate() {
        let seed = place as i64 + 1;
        for code in ["200", "404", "500"] {
            let pace = seed as f64 * code.parse::<f64>().unwrap() / 100.0;
            let counted =
                steps(seed).filter(|(n, _)| !(n % 97 > 80 && seed == 2)).map(|(n, time)| {
                    // It begins again at zero now and then.
                    Sample::new(time, ((n % 150) as f64 * pace).floor())
                });
            all.push((
                labels(&[(NAME, "requests_total"), ("site", site), ("code", code)]),
                counted.collect(),
            ));
        }
        let gauge = steps(seed).map(|(n, time)| Sample::new(time, odd(n, seed)));
        all.push((
            labels(&[(NAME, "temperature"), ("site", site), ("room", "a")]),
            gauge.collect(),
        ));
        let wave =
            steps(seed).map(|(n, time)| Sample::new(time, (n as f64 / 7.0).sin() * 20.0 - 3.5));
        all.push((labels(&[(NAME, "wave"), ("site", site)]), wave.collect()));
        for (class, end) in ["0.1", "0.5", "1", "+Inf"].into_iter().enumerate() {
            let share = [0.3, 0.7, 0.95, 1.0][class];
            let counted =
                steps(seed).map(|(n, time)| Sample::new(time, (n as f64 * 10.0 * share).floor()));
            all.push((
                labels(&[(NAME, "latency_seconds_bucket"), ("site", site), ("le", end)]),
                counted.collect(),
            ));
        }
        let version = format!("v{}", seed % 2);
        let info = steps(seed).map(|(_, time)| Sample::new(time, 1.0));
        all.push((
            labels(&[(NAME, "site_info"), ("site", site), ("version", &version)]),
            info.collect(),
        ));
    }
    let lonely = (0..24).map(|n| Sample::new(START_MS + n * 300_000, n as f64));
    all.push((labels(&[(NAME, "lonely")]), lonely.collect()));
    let ended = (0..40).map(|n| Sample::new(START_MS + n * 15_000, 5.0));
    let ended = ended.chain([Sample::stale(START_MS + 600_000)]);
    let again = (100..200).map(|n| Sample::new(START_MS + n * 15_000, n as f64));
    all.push((labels(&[(NAME, "gone"), ("site", "edge")]), ended.chain(again).collect()));
    let constant = (0..480).map(|n| Sample::new(START_MS + n * 15_000, 7.25));
    all.push((labels(&[(NAME, "constant"), ("path", "/a/b-c")]), constant.collect()));
    all
}

/// Numbers and times of two hours, 15 s apart, a little beside the whole seconds.
fn steps(seed: i64) -> impl Iterator<Item = (i64, i64)> {
    (0..480).map(move |n| (n, START_MS + n * 15_000 + (n * n * seed) % 700))
}

fn odd(n: i64, seed: i64) -> f64 {
    match n % 101 {
        50 => f64::NAN,
        60 => f64::INFINITY,
        70 => f64::NEG_INFINITY,
        80 => -0.0,
        rest => (rest * seed % 37) as f64 / 3.0 - 4.0,
    }
}
