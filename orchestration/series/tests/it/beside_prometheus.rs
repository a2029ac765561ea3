//! The same series and the same questions go to Debian's Prometheus and to us; the answers are compared value by value.

use crate::world::{START_MS, Server, ask, remote_write, send, series};
use hyper::{Method, StatusCode};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

/// Asked at several moments and over a range.
const QUERIES: &[&str] = &[
    "temperature",
    "requests_total{site=\"edge\"}",
    "requests_total{site!=\"edge\",code=~\"[45].*\"}",
    "{__name__=~\"wave|lonely\",site!~\"c.*\"}",
    "wave offset 7m",
    "wave offset -3m",
    "wave @ 1700001234.5",
    "wave @ end() offset 1m",
    "lonely",
    "gone",
    "requests_total{site=\"nowhere\"}",
    "rate(requests_total[5m])",
    "rate(requests_total[40s])",
    "rate(requests_total[1m] offset 2m)",
    "increase(requests_total[10m])",
    "increase(lonely[11m])",
    "irate(requests_total[2m])",
    "delta(wave[7m])",
    "idelta(wave[5m])",
    "deriv(wave[6m])",
    "deriv(constant[6m])",
    "predict_linear(wave[10m], 600)",
    "changes(temperature[20m])",
    "resets(requests_total[90m])",
    "avg_over_time(wave[9m])",
    "avg_over_time(temperature[20m])",
    "min_over_time(temperature[13m])",
    "max_over_time(temperature[13m])",
    "sum_over_time(wave[1h])",
    "count_over_time({site=\"cloud\"}[3m])",
    "last_over_time(gone[20m])",
    "present_over_time(gone[1m])",
    "absent_over_time(gone{site=\"edge\"}[1m])",
    "quantile_over_time(0.3, wave[17m])",
    "quantile_over_time(2, wave[17m])",
    "stddev_over_time(wave[30m])",
    "stdvar_over_time(wave[30m])",
    "sum(rate(requests_total[5m])) by (site)",
    "sum without (code) (requests_total)",
    "avg(wave)",
    "avg by (site) (temperature)",
    "min(temperature)",
    "max(temperature)",
    "count(requests_total) by (code)",
    "count(nothing)",
    "group by (site) (requests_total)",
    "stddev(requests_total) by (code)",
    "stdvar(wave)",
    "topk(2, requests_total > 0)",
    "topk(1, requests_total) by (site)",
    "bottomk(3, wave)",
    "quantile(0.9, requests_total)",
    "quantile by (site) (0.25, requests_total)",
    "count_values(\"value\", constant)",
    "count_values by (site) (\"reading\", site_info)",
    "histogram_quantile(0.9, rate(latency_seconds_bucket[5m]))",
    "histogram_quantile(0.5, sum by (le) (rate(latency_seconds_bucket[5m])))",
    "histogram_quantile(1.5, latency_seconds_bucket)",
    "histogram_quantile(0.99, latency_seconds_bucket{le!=\"+Inf\"})",
    "1 + 2 * 3 ^ 2 % 5",
    "wave * 2 + 1",
    "100 / wave",
    "-wave",
    "wave % 3",
    "wave ^ 2",
    "wave atan2 2",
    "wave > 0",
    "0 < wave",
    "wave >= bool 1",
    "1 == bool 1",
    "temperature != temperature",
    "wave - on(site) temperature",
    "wave / ignoring(room) temperature",
    "requests_total * on(site) group_left(version) site_info",
    "site_info * on(site) group_right(version) requests_total",
    "requests_total / ignoring(code) group_left sum without (code) (requests_total)",
    "requests_total{code=\"200\"} > ignoring(code) requests_total{code=\"404\"}",
    "wave > on(site) temperature",
    "wave == bool on(site) wave",
    "wave and on(site) requests_total{code=\"500\"} > 300",
    "requests_total unless requests_total{code=\"200\"}",
    "wave > 10 or wave < -10",
    "wave or temperature",
    "vector(1) or wave",
    "label_replace(wave, \"place\", \"$1-${1}\", \"site\", \"(.).*\")",
    "label_replace(wave, \"site\", \"\", \"site\", \"edge\")",
    "label_replace(constant, \"dir\", \"$2\", \"path\", \"/(.*)/(?P<last>.*)\")",
    "label_join(requests_total, \"all\", \"/\", \"site\", \"code\")",
    "scalar(lonely)",
    "scalar(wave)",
    "vector(time())",
    "time()",
    "timestamp(wave)",
    "timestamp(wave offset 5m)",
    "timestamp(wave + 1)",
    "abs(wave)",
    "ceil(wave)",
    "floor(wave)",
    "round(wave)",
    "round(wave, 0.25)",
    "clamp(wave, -3, 4)",
    "clamp(wave, 4, -3)",
    "clamp_min(temperature, 0)",
    "clamp_max(temperature, scalar(lonely))",
    "exp(wave)",
    "ln(wave)",
    "log2(abs(wave))",
    "log10(abs(wave))",
    "sqrt(wave)",
    "sgn(temperature)",
    "sin(wave)",
    "atanh(wave)",
    "deg(wave)",
    "rad(wave)",
    "pi() * 2",
    "sort(requests_total)",
    "sort_desc(wave)",
    "absent(wave)",
    "absent(nothing{site=\"edge\",code=~\"2.*\",a=\"b\"})",
    "absent(sum(nothing))",
    "hour()",
    "minute(vector(1700000000))",
    "day_of_week()",
    "day_of_month(vector(1709210096))",
    "day_of_year(vector(1709210096))",
    "days_in_month(vector(1709210096))",
    "month()",
    "year()",
    "max_over_time(rate(requests_total[5m])[30m:1m])",
    "avg_over_time(wave[20m:])",
    "sum_over_time(vector(1)[10m:37s] offset 2m)",
    "rate(sum(requests_total)[15m:30s] @ 1700004000)",
    "min_over_time((wave > 0)[10m:20s])",
    "wave[2m]",
    "requests_total{code=\"200\"}[3m] offset 1m",
    "wave[5m:1m]",
    "\"a text\"",
    "42",
    "-1.5e3",
    "Inf",
    "sum(rate(requests_total{code=~\"5..\"}[5m])) / sum(rate(requests_total[5m]))",
];

/// Refused by both.
const REFUSED: &[&str] = &[
    "wave + on(site) requests_total",
    "requests_total + ignoring(code) wave",
    "requests_total * on(site) requests_total",
    "label_replace(requests_total, \"code\", \"x\", \"code\", \".*\")",
    "label_replace(wave, \"1\", \"x\", \"site\", \".*\")",
    "sum(",
    "rate(wave)",
    "wave[5m",
    "{}",
    "nonsense(wave)",
    "wave{site=~\"(\"}",
    "1 == 1",
    "",
];

/// Debian's Prometheus, ended with the test.
struct Prometheus {
    process: Child,
    address: SocketAddr,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Prometheus {
    async fn start(folder: &Path) -> Self {
        let config = folder.join("prometheus.yml");
        std::fs::write(&config, "").unwrap();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--web.enable-remote-write-receiver")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Debian's `prometheus` is installed: run scripts/setup.sh");
        let prometheus = Self { process, address };
        for _ in 0..200 {
            if tokio::net::TcpStream::connect(address).await.is_ok() {
                let (status, _) = send(address, Method::GET, "/-/ready", "", "").await;
                if status == StatusCode::OK {
                    return prometheus;
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("prometheus does not become ready");
    }
}

/// Metric and moment in milliseconds, to value.
type Points = BTreeMap<(String, i64), f64>;

fn points(answer: &Value) -> Points {
    let data = &answer["data"];
    let mut points = Points::new();
    let mut put = |metric: &Value, point: &Value| {
        let value = point[1].as_str().unwrap_or_default();
        let value = value.trim_start_matches('+').parse().unwrap_or(f64::MAX);
        let time_ms = (point[0].as_f64().unwrap() * 1000.0).round() as i64;
        let former = points.insert((metric.to_string(), time_ms), value);
        assert!(former.is_none(), "twice: {metric} {point}");
    };
    match data["resultType"].as_str() {
        Some("vector") => {
            data["result"]
                .as_array()
                .unwrap()
                .iter()
                .for_each(|one| put(&one["metric"], &one["value"]));
        }
        Some("matrix") => {
            for one in data["result"].as_array().unwrap() {
                one["values"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .for_each(|point| put(&one["metric"], point));
            }
        }
        Some("scalar") => put(&Value::Null, &data["result"]),
        Some("string") => {
            put(&data["result"][1], &Value::Array(vec![data["result"][0].clone(), "0".into()]))
        }
        _ => panic!("{answer}"),
    }
    points
}

fn same(ours: f64, theirs: f64) -> bool {
    let apart = (ours - theirs).abs();
    ours == theirs
        || (ours.is_nan() && theirs.is_nan())
        || apart <= 1e-9 * ours.abs().max(theirs.abs())
}

/// What differs, if anything.
fn difference(ours: &Value, theirs: &Value) -> Option<String> {
    if ours["status"] != "success" || theirs["status"] != "success" {
        return Some(format!("ours {ours}, theirs {theirs}"));
    }
    let (own, other) = (points(ours), points(theirs));
    let missing = other.iter().find(|(key, _)| !own.contains_key(key));
    let extra = own.iter().find(|(key, _)| !other.contains_key(key));
    let apart =
        own.iter().find(|(key, value)| other.get(key).is_some_and(|one| !same(**value, *one)));
    let apart = apart.map(|(key, value)| format!("{key:?}: ours {value}, theirs {}", other[key]));
    let only = missing.map(|one| format!("only theirs: {one:?}"));
    only.or(extra.map(|one| format!("only ours: {one:?}"))).or(apart)
}

/// Evaluated at one moment alone: they give no vector.
fn is_instant_only(query: &str) -> bool {
    query.ends_with(']') || query.starts_with('"') || query.ends_with("[3m] offset 1m")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_those_of_prometheus() {
    let folder = testkit::Folder::new();
    let end_ms = START_MS + 2 * 3_600_000;
    let ours = Server::start(&folder.path().join("ours"), end_ms).await;
    let theirs = Prometheus::start(folder.path()).await;
    let body = remote_write(&series());
    for address in [ours.address, theirs.address] {
        let (status, text) =
            send(address, Method::POST, "/api/v1/write", "application/x-protobuf", body.clone())
                .await;
        assert_eq!(status, StatusCode::NO_CONTENT, "{address}: {text:?}");
    }
    // One half of it is asked of a block.
    ours.store.maintain(end_ms + 3_600_000).unwrap();
    assert_eq!(ours.store.stats().blocks, 1);

    let mut wrong = Vec::new();
    let mut compare = |what: String, ours: &Value, theirs: &Value| {
        if let Some(difference) = difference(ours, theirs) {
            wrong.push(format!("{what}: {difference}"));
        }
    };
    let (start, end) = ((START_MS / 1000 + 30).to_string(), (START_MS / 1000 + 6900).to_string());
    for query in QUERIES {
        // At whole steps, where samples lie exactly at the ends of windows, and between them.
        for seconds in ["1700000000", "1700000600", "1700001500", "1700003300.25", "1700007499"] {
            let form = [("query", *query), ("time", seconds)];
            let own = ask(ours.address, "/api/v1/query", &form).await.1;
            let other = ask(theirs.address, "/api/v1/query", &form).await.1;
            compare(format!("{query} at {seconds}"), &own, &other);
        }
        if is_instant_only(query) {
            continue;
        }
        let form = [("query", *query), ("start", &start), ("end", &end), ("step", "45")];
        let own = ask(ours.address, "/api/v1/query_range", &form).await.1;
        let other = ask(theirs.address, "/api/v1/query_range", &form).await.1;
        compare(format!("{query} over a range"), &own, &other);
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(QUERIES.len() >= 60);

    for query in REFUSED {
        let form = [("query", *query), ("time", "1700001500")];
        let own = ask(ours.address, "/api/v1/query", &form).await;
        let other = ask(theirs.address, "/api/v1/query", &form).await;
        assert_eq!(own.0, other.0, "{query}: ours {}, theirs {}", own.1, other.1);
        assert_eq!(own.1["errorType"], other.1["errorType"], "{query}: {}", own.1);
    }
}
