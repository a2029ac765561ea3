//! The store alone: pages are fetched, who shows the token may ask.

use crate::world::labels;
use axum::{Router, http::header, routing::get};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::Value;
use series::{
    Limits, Store,
    http::{Api, serve},
    query::QueryLimits,
    scrape::{Target, fetch, run, upkeep},
};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use types::{Clock, SystemClock, Token};

/// A process that counts how often it was asked; it ends with `stop`.
async fn page(stop: CancellationToken) -> SocketAddr {
    let asked = Arc::new(AtomicU64::new(0));
    let tell = move || async move {
        let count = asked.fetch_add(1, Ordering::Relaxed);
        let kind = "application/openmetrics-text; version=1.0.0";
        let text =
            format!("# TYPE asked counter\n# HELP asked How often.\nasked_total {count}\n# EOF\n");
        ([(header::CONTENT_TYPE, kind)], text)
    };
    let long = || async { "x 1\n".repeat(5 << 20) };
    let router = Router::new().route("/metrics", get(tell)).route("/long", get(long));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        tokio::select! {
            _ = axum::serve(listener, router) => {}
            () = stop.cancelled() => {}
        }
    });
    address
}

async fn ask(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> (u16, Value) {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let mut request = Request::get(format!("http://{address}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = client.request(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_become_series_for_who_shows_the_token() {
    let folder = testkit::Folder::new();
    let store = Arc::new(Store::open(&folder.join("series"), Limits::default()).unwrap());
    let token = Token::load_or_create(&folder.join("token")).unwrap();
    let bearer = format!("Bearer {}", token.reveal());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let (stop, page_ends) = (CancellationToken::new(), CancellationToken::new());
    let page = page(page_ends.clone()).await;
    let target =
        Target::new(&format!("http://{page}/metrics"), "lab", Duration::from_millis(100)).unwrap();
    assert_eq!(target.labels, labels(&[("job", "lab"), ("instance", &page.to_string())]));
    let scraping = tokio::spawn(run(target, store.clone(), clock.clone(), stop.clone()));
    let keeping = tokio::spawn(upkeep(store.clone(), clock.clone(), stop.clone()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let api = Api::new(store, clock, QueryLimits::default());
    let serving = tokio::spawn(serve(listener, api, token, stop.clone()));

    let value = async |query: &str| {
        let path = format!("/prometheus/api/v1/query?query={query}");
        let (status, answer) = ask(address, &path, &[("authorization", &bearer)]).await;
        assert_eq!(status, 200, "{answer}");
        answer["data"]["result"][0]["value"][1].as_str().map(|value| value.parse::<f64>().unwrap())
    };
    let until = async |query: &str, wanted: Option<f64>| {
        for _ in 0..100 {
            let now = value(query).await;
            if now == wanted || wanted.zip(now).is_some_and(|(wanted, now)| now > wanted) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("`{query}` is never {wanted:?}");
    };
    until("asked_total", Some(3.0)).await;
    until("increase(asked_total[1m])", Some(2.0)).await;
    assert_eq!(value("up{job=%22lab%22}").await, Some(1.0));

    page_ends.cancel();
    until("asked_total", None).await;
    assert_eq!(value("up").await, Some(0.0));

    for (headers, expected) in [
        (vec![], 401),
        (vec![("authorization", "Bearer wrong")], 401),
        (vec![("authorization", bearer.as_str()), ("host", "evil.example")], 403),
        (vec![("authorization", bearer.as_str()), ("origin", "http://evil.example")], 403),
        (vec![("authorization", bearer.as_str())], 200),
    ] {
        assert_eq!(ask(address, "/api/v1/labels", &headers).await.0, expected, "{headers:?}");
    }
    assert_eq!(ask(address, "/healthz", &[]).await.0, 200);
    stop.cancel();
    serving.await.unwrap().unwrap();
    scraping.await.unwrap();
    keeping.await.unwrap();
}

#[tokio::test]
async fn a_page_that_is_too_long_or_not_there_is_an_error() {
    let stop = CancellationToken::new();
    let page = page(stop.clone()).await;
    let failed = async |path: &str| {
        let error =
            fetch(&format!("http://{page}{path}"), Duration::from_secs(10)).await.unwrap_err();
        types::chain(&error)
    };

    assert!(failed("/long").await.contains("longer than 16777216 bytes"));
    assert!(failed("/nothing").await.contains("404"));
    stop.cancel();
}
