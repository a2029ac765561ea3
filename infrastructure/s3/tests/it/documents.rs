//! Requests that name nothing, documents that are none, and how errors are told.

use crate::{server::Server, wire::request};

#[test]
fn what_is_no_operation_is_refused() {
    let server = Server::start();
    request("PUT", "/bucket").send(&server).succeeds();

    for (method, target, status, code) in [
        ("PUT", "/", 405, "MethodNotAllowed"),
        ("DELETE", "/", 405, "MethodNotAllowed"),
        ("PATCH", "/bucket/k", 405, "MethodNotAllowed"),
        ("POST", "/bucket/k", 405, "MethodNotAllowed"),
        ("POST", "/bucket", 412, "PreconditionFailed"),
        ("GET", "/bucket/%ff", 400, "InvalidURI"),
        ("GET", "/bucket?prefix=%zz", 400, "InvalidURI"),
        ("GET", "/Bucket_", 400, "InvalidBucketName"),
        ("GET", "/s3.cloudskin.internal", 404, "NoSuchBucket"),
        ("GET", "/s3.cloudskin.internal/k", 404, "NoSuchBucket"),
        ("PUT", "/s3.cloudskin.internal", 400, "InvalidBucketName"),
        ("DELETE", "/s3.cloudskin.internal", 404, "NoSuchBucket"),
        ("GET", "/bucket?list-type=2&max-keys=x", 400, "InvalidArgument"),
        ("GET", "/bucket?versions&max-keys=-1", 400, "InvalidArgument"),
        ("GET", "/bucket?uploads&max-uploads=9999999999", 400, "InvalidArgument"),
        ("GET", "/bucket/k?torrent", 501, "NotImplemented"),
    ] {
        let answer = request(method, target).send(&server);
        answer.fails(status, code);
    }
    let put = request("PUT", "/s3.cloudskin.internal/k").body("x");
    put.send(&server).fails(404, "NoSuchBucket");
}

#[test]
fn documents_that_are_none_are_refused() {
    let server = Server::start();
    request("PUT", "/bucket").send(&server).succeeds();
    request("PUT", "/bucket/k").body("x").send(&server).succeeds();

    for (method, target) in [
        ("POST", "/bucket?delete"),
        ("PUT", "/bucket?tagging"),
        ("PUT", "/bucket?cors"),
        ("PUT", "/bucket/k?tagging"),
    ] {
        request(method, target).send(&server).fails(400, "MissingRequestBodyError");
        for body in ["no document", "<Wrong/>", "<Delete><Object></Delete>", "<a>\u{0}</a>"] {
            let answer = request(method, target).body(body).send(&server);
            assert_eq!(answer.status, 400, "{target} {body}: {}", answer.text());
            assert_eq!(answer.element("Code").as_deref(), Some("MalformedXML"), "{target} {body}");
        }
    }
    let large = request("POST", "/bucket?delete").header("content-length", 9 << 20);
    large.send(&server).fails(400, "MaxMessageLengthExceeded");
    let wrong = request("POST", "/bucket?delete").body("<Delete/>");
    wrong.header("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==").send(&server).fails(400, "BadDigest");
}

#[test]
fn errors_say_what_was_asked_for_and_by_which_request() {
    let server = Server::start();
    request("PUT", "/bucket").send(&server).succeeds();

    let answer = request("GET", "/bucket/a%26b").send(&server);

    answer.fails(404, "NoSuchKey");
    assert_eq!(answer.element("Resource").as_deref(), Some("/bucket/a%26b"));
    assert_eq!(answer.element("RequestId").as_ref(), answer.headers.get("x-amz-request-id"));
    assert_eq!(answer.headers["content-type"], "application/xml");
    assert!(answer.element("Message").is_some_and(|text| !text.is_empty()));
}

#[test]
fn what_did_not_change_is_told_without_a_body() {
    let server = Server::start();
    request("PUT", "/bucket").send(&server).succeeds();
    let etag =
        request("PUT", "/bucket/k").body("x").send(&server).succeeds().headers["etag"].clone();

    let answer = request("GET", "/bucket/k").header("if-none-match", &etag).send(&server);

    assert_eq!(answer.status, 304);
    assert_eq!(answer.headers["etag"], etag);
    assert!(answer.headers.contains_key("last-modified"));
    assert_eq!(answer.headers.get("content-type"), None);
}

#[test]
fn the_owner_that_is_expected_must_be_the_owner() {
    let server = Server::start();
    request("PUT", "/bucket").send(&server).succeeds();
    let get = |owner: &str| request("GET", "/bucket").header("x-amz-expected-bucket-owner", owner);

    get("lab").send(&server).succeeds();
    get("field").send(&server).fails(403, "AccessDenied");
}
