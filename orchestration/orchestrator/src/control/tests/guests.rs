//! Who is let in, and what a hostile request gets.

use super::{
    super::{Config, Control},
    world::World,
};
use api::{Kind, paths};
use hyper::Method;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::io::AsyncReadExt;

#[tokio::test]
async fn the_first_site_that_asks_is_a_buckets_home_and_speaks_for_itself() {
    let world = World::new().await;
    let site = format!("Bearer {}", world.site_token);
    let user = format!("Bearer {}", world.token);
    let ask = async |method: Method, path: &str, by: &str, name: &str| {
        let body = serde_json::to_vec(&json!({ "site": name })).unwrap();
        world.ask_raw(method, path, &[("authorization", by)], body).await
    };
    let lab = paths::home("default", "lab");
    assert_eq!(ask(Method::GET, &lab, &site, "edge").await.0, 404);
    let edge = (200, json!({"site": "edge"}));
    assert_eq!(ask(Method::PUT, &lab, &site, "edge").await, edge);
    assert_eq!(ask(Method::PUT, &lab, &site, "cloud").await, edge, "the first one");
    assert_eq!(ask(Method::GET, &lab, &site, "cloud").await, edge);
    assert_eq!(ask(Method::GET, &paths::home("other", "lab"), &site, "cloud").await.0, 404);
    assert_eq!(ask(Method::DELETE, &lab, &site, "cloud").await.0, 204);
    assert_eq!(ask(Method::GET, &lab, &site, "cloud").await, edge, "it was not its own");
    assert_eq!(ask(Method::PUT, &lab, &user, "cloud").await.0, 403, "a user is no site");
    for wrong in ["/apis/v1/homes/default/A", "/apis/v1/homes/-/lab", "/apis/v1/homes/a/%2e%2e%2f"]
    {
        assert_eq!(ask(Method::PUT, wrong, &site, "edge").await.0, 400, "{wrong}");
    }
    assert_eq!(ask(Method::PUT, &lab, &site, "no site").await.0, 403);
    assert_eq!(ask(Method::DELETE, &lab, &site, "edge").await.0, 204);
    assert_eq!(ask(Method::PUT, &lab, &site, "cloud").await.1, json!({"site": "cloud"}));
}

#[tokio::test]
async fn only_the_right_token_from_the_right_place_is_let_in() {
    let world = World::new().await;
    let user = format!("Bearer {}", world.token);
    let site = format!("Bearer {}", world.site_token);
    let list = paths::list("default", Kind::Service);
    type Headers<'a> = &'a [(&'a str, &'a str)];
    let cases: &[(&str, Headers, u16)] = &[
        ("/healthz", &[], 200),
        ("/", &[], 200),
        (&list, &[], 401),
        (&list, &[("authorization", "Bearer wrong")], 401),
        (&list, &[("authorization", "Basic eDp5")], 401),
        (&list, &[("authorization", &site)], 403),
        (&list, &[("authorization", &user)], 200),
        (&list, &[("authorization", &user), ("host", "evil.example")], 403),
        (&list, &[("authorization", &user), ("host", "localhost:1")], 200),
        (&list, &[("authorization", &user), ("origin", "http://evil.example")], 403),
        (&list, &[("authorization", &user), ("origin", "null")], 403),
        (&list, &[("authorization", &user), ("origin", "http://127.0.0.1:9")], 200),
        ("/healthz", &[("host", "evil.example")], 403),
        ("/metrics", &[], 401),
        ("/metrics", &[("authorization", &user)], 200),
        (paths::STATUS, &[("authorization", &user)], 200),
        (paths::LINK, &[("authorization", &user)], 403),
        (paths::LINK, &[("authorization", &site)], 400),
        ("/nowhere", &[("authorization", &user)], 404),
    ];
    for (path, headers, expected) in cases {
        let (status, body) = world.ask_raw(Method::GET, path, headers, Vec::new()).await;
        assert_eq!(status, *expected, "{path} {headers:?}: {body}");
        if status >= 400 {
            assert!(body["kind"].is_string() && body["message"].is_string(), "{path}: {body}");
        }
    }
    let (status, body) = world.ask(Method::POST, &list, Value::Null).await;
    assert_eq!((status, body["kind"].as_str()), (405, Some("invalid")));
}

#[tokio::test]
async fn malformed_requests_are_refused_with_reasons() {
    let world = World::new().await;
    let item = paths::item("default", Kind::Service, "a");
    let good = world.document("a", json!({})).await;
    let mut wrong_name = good.clone();
    wrong_name["metadata"]["name"] = "b".into();
    let mut unknown = good.clone();
    unknown["spec"]["replica"] = 2.into();
    let mut no_digest = good.clone();
    no_digest["spec"]["module"] = "a.wasm".into();
    let mut absent = good.clone();
    absent["spec"]["module"] = format!("a.wasm@sha256:{}", "0".repeat(64)).into();
    for (document, words) in [
        (json!({"kind": "Service"}), "cannot be read"),
        (wrong_name, "the path says"),
        (unknown, "replica"),
        (no_digest, "upload the file"),
        (absent, "was not uploaded"),
    ] {
        let (status, body) = world.ask(Method::PUT, &item, document).await;
        assert_eq!(status, 400, "{body}");
        assert!(body["message"].as_str().unwrap().contains(words), "{words}: {body}");
    }
    let bulk = json!({"metadata": {"name": "x".repeat(200_000)}});
    let (status, body) = world.ask(Method::PUT, &item, bulk).await;
    assert_eq!(status, 413, "{body}");
    for path in ["/apis/v1/tenants/default/pod", "/apis/v1/tenants/De/service"] {
        let (status, body) = world.ask(Method::GET, path, Value::Null).await;
        assert_eq!(status, 400, "{path}: {body}");
    }
    let (status, body) = world
        .ask(
            Method::GET,
            &format!("{}?labelSelector=!x", paths::list("default", Kind::Site)),
            Value::Null,
        )
        .await;
    assert_eq!(status, 400, "{body}");
}

#[tokio::test]
async fn blobs_are_what_their_name_says_or_are_not_kept() {
    let world = World::new().await;
    let user = format!("Bearer {}", world.token);
    let site = format!("Bearer {}", world.site_token);
    let digest = world.upload(b"hello").await;
    let path = paths::blob(&digest);

    let (status, body) =
        world.ask_raw(Method::GET, &path, &[("authorization", &site)], Vec::new()).await;
    assert_eq!((status, body), (200, Value::String("hello".into())));
    let head = world.ask_raw(Method::HEAD, &path, &[("authorization", &user)], Vec::new()).await;
    assert_eq!(head.0, 200);

    let other = paths::blob(&types::Digest::from_sha256([1; 32]));
    for (bytes, expected) in [(b"hello".to_vec(), 400), (vec![0; 2000], 429)] {
        let headers = [("authorization", user.as_str())];
        let (status, body) = world.ask_raw(Method::PUT, &other, &headers, bytes).await;
        assert_eq!(status, expected, "{body}");
        let (status, _) = world.ask_raw(Method::GET, &other, &headers, Vec::new()).await;
        assert_eq!(status, 404);
    }
    let (status, _) = world.ask(Method::GET, "/apis/v1/blobs/..%2f..%2ftoken", Value::Null).await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn blobs_that_nothing_mentions_are_removed_in_the_end() {
    let world = World::new().await;
    let unused = paths::blob(&world.upload(b"an upload that nobody applied").await);
    world.serve("counter", "restart").await;

    assert_eq!(world.sweep(Duration::from_secs(60)).await, 0, "somebody may be about to apply it");
    assert_eq!(world.sweep(Duration::ZERO).await, 1);

    assert_eq!(world.ask(Method::GET, &unused, Value::Null).await.0, 404);
    world.migrate("counter", "cloud", "").await;
    world.ready("counter", "cloud").await;
    assert_eq!(world.sweep(Duration::ZERO).await, 0, "the service's module stays");
}

#[tokio::test]
async fn shutting_down_ends_every_connection_and_the_call() {
    let world = World::new().await;
    let folder = tempfile::TempDir::new().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = Config::new(folder.path().into(), listener.local_addr().unwrap());
    let clock = Arc::new(types::SystemClock::new());
    let store =
        meta::Embedded::open(folder.path().join("s"), meta::Config::default(), clock.clone());
    let control =
        Control::open(config, Arc::new(store.unwrap()), world.noted(), clock).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(control.run(listener, async move { stopped.await.unwrap() }));
    let mut idle = tokio::net::TcpStream::connect(address).await.unwrap();

    stop.send(()).unwrap();

    running.await.unwrap().unwrap();
    let mut rest = Vec::new();
    // An end or a reset, but no waiting.
    let _ = idle.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
}
