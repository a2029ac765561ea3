//! The HTTP API beside queries: what there is, errors, what is pushed.

use crate::world::{START_MS, Server, ask, escaped, labels, remote_write, send, series};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use series::{Description, NAME, Sample};

async fn get(server: &Server, path: &str) -> (StatusCode, Value) {
    let (status, body) = send(server.address, Method::GET, path, "", "").await;
    (status, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn what_there_is_can_be_asked() {
    let folder = testkit::Folder::new();
    let server = Server::start(folder.path(), START_MS + 7_200_000).await;
    for (labels, samples) in series() {
        let batch: Vec<_> = samples.into_iter().map(|sample| (labels.clone(), sample)).collect();
        server.store.append(&batch, START_MS + 7_200_000).unwrap();
    }
    let help = Description { kind: "gauge".into(), help: "A wave".into(), unit: String::new() };
    server.store.describe("wave", help);

    let names = get(&server, "/api/v1/labels").await.1;
    assert_eq!(names["data"], json!(["__name__", "code", "le", "path", "room", "site", "version"]));
    let selector = escaped("requests_total{code=\"200\"}");
    let found = get(&server, &format!("/api/v1/labels?match[]={selector}")).await.1;
    assert_eq!(found["data"], json!(["__name__", "code", "site"]));
    let sites = get(&server, &format!("/api/v1/label/site/values?match[]={selector}")).await.1;
    assert_eq!(sites["data"], json!(["attic", "cloud", "edge"]));
    let all = get(&server, &format!("/api/v1/series?match[]=lonely&match[]={selector}")).await.1;
    assert_eq!(all["data"].as_array().unwrap().len(), 4);
    assert_eq!(all["data"][0], json!({"__name__": "lonely"}));
    let none = get(&server, "/api/v1/series?match[]=lonely&start=1").await.1;
    assert_eq!(none["data"].as_array().unwrap().len(), 1);
    let none = get(&server, "/api/v1/series?match[]=lonely&end=1").await.1;
    assert_eq!(none["data"], json!([]));
    let described = get(&server, "/api/v1/metadata").await.1;
    assert_eq!(
        described["data"]["wave"][0],
        json!({"type": "gauge", "help": "A wave", "unit": ""})
    );
    assert_eq!(get(&server, "/api/v1/status/buildinfo").await.1["data"]["version"], "2.42.0");
}

#[tokio::test]
async fn errors_have_prometheus_kinds() {
    let folder = testkit::Folder::new();
    let server = Server::start(folder.path(), START_MS).await;
    for (path, form, status, kind) in [
        ("query", vec![], 400, "bad_data"),
        ("query", vec![("query", "sum("), ("time", "1")], 400, "bad_data"),
        ("query", vec![("query", "up"), ("time", "soon")], 400, "bad_data"),
        ("query", vec![("query", "limitk(1, up)")], 422, "execution"),
        (
            "query_range",
            vec![("query", "up"), ("start", "1"), ("end", "2"), ("step", "0")],
            400,
            "bad_data",
        ),
        (
            "query_range",
            vec![("query", "up"), ("start", "2"), ("end", "1"), ("step", "1")],
            400,
            "bad_data",
        ),
        (
            "query_range",
            vec![("query", "up"), ("start", "1"), ("end", "11002"), ("step", "1")],
            400,
            "bad_data",
        ),
        (
            "query_range",
            vec![("query", "up[5m]"), ("start", "1"), ("end", "2"), ("step", "1")],
            400,
            "bad_data",
        ),
        ("query", vec![("query", "1"), ("timeout", "0")], 503, "timeout"),
        ("series", vec![], 400, "bad_data"),
        ("series", vec![("match[]", "rate(up[5m])")], 400, "bad_data"),
        ("query", vec![("query", "count_over_time(vector(1)[900y:1ms])")], 422, "execution"),
    ] {
        let (got, answer) = ask(server.address, &format!("/api/v1/{path}"), &form).await;
        assert_eq!(
            (got.as_u16(), answer["errorType"].as_str()),
            (status, Some(kind)),
            "{form:?}: {answer}"
        );
        assert_eq!(answer["status"], "error");
    }
}

#[tokio::test]
async fn pushes_are_stored_or_refused_with_the_reason() {
    let folder = testkit::Folder::new();
    let server = Server::start(folder.path(), START_MS).await;
    let write = |body: Vec<u8>| {
        send(server.address, Method::POST, "/api/v1/write", "application/x-protobuf", body)
    };
    let up = |value: f64| vec![(labels(&[(NAME, "up")]), vec![Sample::new(START_MS, value)])];

    assert_eq!(write(remote_write(&up(1.0))).await.0, StatusCode::NO_CONTENT);
    assert_eq!(write(remote_write(&up(1.0))).await.0, StatusCode::NO_CONTENT);
    let (status, why) = write(remote_write(&up(2.0))).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(String::from_utf8_lossy(&why).contains("1 with another value"), "{why:?}");
    assert_eq!(write(b"nonsense".to_vec()).await.0, StatusCode::BAD_REQUEST);
    let (status, _) =
        send(server.address, Method::POST, "/v1/metrics", "application/json", "{}").await;
    assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let (status, _) =
        send(server.address, Method::POST, "/v1/metrics", "application/x-protobuf", "").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(server.store.stats().samples.stored, 1);
}
