//! Bodies that are not what they say, and bodies in chunks.

use crate::{
    server::Server,
    wire::{ChunkSigner, Connection, Request, request, sha256},
};
use std::time::{Duration, SystemTime};

const SIGNED: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
const SIGNED_TRAILER: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER";
const UNSIGNED_TRAILER: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";

fn served() -> Server {
    let server = Server::start();
    request("PUT", "/bucket").send(&server).succeeds();
    server
}

#[track_caller]
fn nothing_is_stored(server: &Server) {
    request("GET", "/bucket/k").send(server).fails(404, "NoSuchKey");
}

#[test]
fn a_body_is_what_was_signed_or_it_is_refused() {
    let server = served();
    let put = request("PUT", "/bucket/k").body("hello");

    put.clone().payload(sha256(b"hullo")).send(&server).fails(400, "XAmzContentSHA256Mismatch");
    put.clone().payload("short").send(&server).fails(400, "InvalidArgument");
    put.clone()
        .header("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==")
        .send(&server)
        .fails(400, "BadDigest");
    nothing_is_stored(&server);
    put.payload(sha256(b"hello")).send(&server).succeeds();
    assert_eq!(request("GET", "/bucket/k").send(&server).succeeds().body, b"hello");
}

#[test]
fn a_body_that_ends_early_stores_nothing() {
    let server = served();
    for size in [10, 1 << 20] {
        let mut connection = Connection::open(&server);
        let put = request("PUT", "/bucket/k").header("content-length", size).body("short");
        connection.send(&put);
        connection.close_writing();

        connection.answer().fails(400, "IncompleteBody");
        nothing_is_stored(&server);
    }
}

#[test]
fn a_body_needs_a_length_that_is_allowed() {
    let server = Server::with(|config| config.put_max_bytes = 4);
    request("PUT", "/bucket").send(&server).succeeds();

    request("PUT", "/bucket/k").send(&server).fails(411, "MissingContentLength");
    request("PUT", "/bucket/k").body("12345").send(&server).fails(400, "EntityTooLarge");
    request("PUT", "/bucket/k").body("1234").send(&server).succeeds();
    let chunked = request("PUT", "/bucket/c").body("0\r\n\r\n").payload(UNSIGNED_TRAILER);
    chunked.send(&server).fails(411, "MissingContentLength");
}

#[test]
fn a_body_that_stalls_is_given_up() {
    let server = Server::with(|config| config.stall_timeout_ms = 100);
    request("PUT", "/bucket").send(&server).succeeds();
    let mut connection = Connection::open(&server);
    connection.send(&request("PUT", "/bucket/k").header("content-length", 10).body("short"));

    connection.answer().fails(400, "RequestTimeout");
    nothing_is_stored(&server);
}

/// A request whose body comes in chunks.
fn chunked(payload: &str, length: u64) -> Request {
    request("PUT", "/bucket/k")
        .header("content-encoding", "aws-chunked")
        .header("x-amz-decoded-content-length", length)
        .payload(payload)
}

#[test]
fn signed_chunks_are_checked_one_by_one() {
    let server = served();
    let data = vec![b'a'; 300_000];
    let length = 3 * ChunkSigner::length(100_000) + ChunkSigner::length(0) + 2;
    for damaged in [true, false] {
        let mut connection = Connection::open(&server);
        let put = chunked(SIGNED, 300_000).header("content-length", length);
        let mut signer = connection.send_head(&put);
        let mut body = Vec::new();
        for piece in data.chunks(100_000) {
            body.extend(signer.chunk(piece));
        }
        body.extend(signer.chunk(b""));
        body.extend(b"\r\n");
        assert_eq!(body.len(), length);
        if damaged {
            body[250_000] ^= 1;
        }
        connection.write(&body);
        let answer = connection.answer();
        if damaged {
            answer.fails(403, "SignatureDoesNotMatch");
            nothing_is_stored(&server);
        } else {
            answer.succeeds();
        }
    }
    let answer = request("GET", "/bucket/k").send(&server).succeeds();
    assert_eq!(answer.body, data);
    assert_eq!(answer.headers.get("content-encoding"), None);
}

#[test]
fn signed_trailers_are_checked() {
    let server = served();
    for (value, code) in [("NhCmhg==", None), ("AAAAAA==", Some("BadDigest"))] {
        let mut connection = Connection::open(&server);
        let trailer =
            "x-amz-checksum-crc32:NhCmhg==\r\nx-amz-trailer-signature:\r\n\r\n".len() + 64;
        let length = ChunkSigner::length(5) + ChunkSigner::length(0) + trailer;
        let put = chunked(SIGNED_TRAILER, 5)
            .header("x-amz-trailer", "x-amz-checksum-crc32")
            .header("content-length", length);
        let mut signer = connection.send_head(&put);
        let mut body = signer.chunk(b"hello");
        body.extend(signer.chunk(b""));
        body.extend(signer.trailer("x-amz-checksum-crc32", value));
        assert_eq!(body.len(), length);
        connection.write(&body);
        match code {
            None => {
                let answer = connection.answer().succeeds();
                assert_eq!(answer.headers["x-amz-checksum-crc32"], value);
            }
            Some(code) => connection.answer().fails(400, code),
        }
    }
}

#[test]
fn chunks_that_lie_about_their_sizes_are_refused() {
    let server = served();
    let trailed = || chunked(UNSIGNED_TRAILER, 5).header("x-amz-trailer", "x-amz-checksum-crc32");
    for (body, code) in [
        ("ffffffffff\r\nhello", "IncompleteBody"),
        ("4\r\nhell\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n", "IncompleteBody"),
        ("5\r\nhello\r\n", "IncompleteBody"),
        ("5\r\nhello\r\n0\r\n\r\n", "MalformedTrailerError"),
        ("nonsense\r\n", "InvalidRequest"),
    ] {
        trailed().body(body).send(&server).fails(400, code);
        nothing_is_stored(&server);
    }
    trailed()
        .body("5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n")
        .send(&server)
        .succeeds();
}

#[test]
fn requests_of_another_time_are_refused() {
    let server = served();
    let now = SystemTime::now();
    let get = request("GET", "/bucket");

    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    get.clone().at(now - minutes(14)).send(&server).succeeds();
    get.clone().at(now + minutes(14)).send(&server).succeeds();
    get.clone().at(now - minutes(16)).send(&server).fails(403, "RequestTimeTooSkewed");
    get.clone().at(now + minutes(16)).send(&server).fails(403, "RequestTimeTooSkewed");
    get.send_unsigned(&server).fails(403, "AccessDenied");
}
