//! What the endpoint does by itself, and tells of itself.

use crate::{server::Server, wire::request};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};
use testkit::wait_until;

const LONG: Duration = Duration::from_secs(20);

#[test]
fn uploads_that_nobody_finishes_are_removed_with_their_parts() {
    let server = Server::with(|config| config.upload_age_max_s = 1);
    request("PUT", "/bucket").send(&server).succeeds();
    let begun = request("POST", "/bucket/k?uploads").send(&server).succeeds();
    let id = begun.element("UploadId").expect("an id");
    let part = request("PUT", &format!("/bucket/k?partNumber=1&uploadId={id}"));
    part.body(vec![7; 1 << 20]).send(&server).succeeds();
    let uploads = || request("GET", "/bucket?uploads").send(&server).succeeds().element("UploadId");
    assert_eq!(uploads().as_ref(), Some(&id));
    let objects = || server.geds("lab").usage().expect("told").objects;
    assert_eq!(objects(), 2);

    wait_until("it is removed", LONG, || uploads().is_none());
    wait_until("its parts are", LONG, || objects() == 0);
    let listed = request("GET", &format!("/bucket/k?uploadId={id}")).send(&server);
    listed.fails(404, "NoSuchUpload");
    assert!(server.metrics().contains("cloudskin_s3_abandoned_uploads_total 1\n"));
}

fn ask(address: SocketAddr, path: &str, token: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("a connection");
    let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn requests_are_counted_and_told_to_who_has_the_token() {
    let server = Server::start();
    request("PUT", "/bucket").send(&server).succeeds();
    request("PUT", "/bucket/k").body(vec![1; 1000]).send(&server).succeeds();
    assert_eq!(request("GET", "/bucket/k").send(&server).succeeds().body.len(), 1000);
    request("GET", "/bucket/absent").send(&server).fails(404, "NoSuchKey");
    request("GET", "/bucket").send_unsigned(&server).fails(403, "AccessDenied");

    let address = server.serve_metrics("secret");
    let text = ask(address, "/metrics", "secret");
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("# EOF\n"), "{text}");
    for line in [
        "cloudskin_s3_requests_total{operation=\"put_object\",code=\"200\"} 1\n",
        "cloudskin_s3_requests_total{operation=\"get_object\",code=\"200\"} 1\n",
        "cloudskin_s3_requests_total{operation=\"get_object\",code=\"404\"} 1\n",
        "cloudskin_s3_requests_total{operation=\"none\",code=\"403\"} 1\n",
        "cloudskin_s3_request_seconds_count{operation=\"get_object\"} 2\n",
        "cloudskin_s3_received_bytes_total 1000\n",
    ] {
        assert!(text.contains(line), "{line}{text}");
    }
    assert!(ask(address, "/metrics", "wrong").starts_with("HTTP/1.1 401 "));
    assert!(ask(address, "/healthz", "").ends_with("ok\n"));
    assert!(ask(address, "/", "secret").starts_with("HTTP/1.1 404 "));
}
