//! Connections: kept, limited, left, and closed in order.

use crate::{
    server::Server,
    wire::{Connection, request},
};

#[test]
fn a_client_that_waits_for_leave_gets_it_or_the_refusal() {
    let server = Server::start();
    request("PUT", "/bucket").send(&server).succeeds();
    let put = |path: &str| {
        request("PUT", path).header("content-length", 5).header("expect", "100-continue")
    };

    let mut connection = Connection::open(&server);
    connection.send_head(&put("/bucket/k"));
    assert_eq!(connection.line(), "HTTP/1.1 100 Continue");
    assert_eq!(connection.line(), "");
    connection.write(b"hello");
    connection.answer().succeeds();

    let mut connection = Connection::open(&server);
    connection.send_head(&put("/absent/k"));
    connection.answer().fails(404, "NoSuchBucket");
}

#[test]
fn a_connection_is_kept_after_a_refusal() {
    let server = Server::start();
    request("PUT", "/bucket").send(&server).succeeds();
    let mut connection = Connection::open(&server);

    // The body is still on its way when the request is refused.
    connection.send(&request("PUT", "/absent/k").body(vec![0; 1 << 20]));
    connection.answer().fails(404, "NoSuchBucket");
    connection.send(&request("GET", "/bucket/absent"));
    connection.answer().fails(404, "NoSuchKey");
    connection.send(&request("HEAD", "/bucket/absent"));
    let head = connection.answer();
    assert_eq!((head.status, head.body.len()), (404, 0));
    connection.send(&request("GET", "/bucket"));
    connection.answer().succeeds();
}

#[test]
fn an_idle_client_gives_its_place_up() {
    let server = Server::with(|config| {
        config.connections_max = 1;
        config.head_timeout_ms = 100;
    });
    let mut idle = Connection::open(&server);
    idle.write(b"GET / HTTP/1.1\r\nhost: ");

    // There is one place: this waits until it is free.
    request("GET", "/").send(&server).succeeds();
}

#[test]
fn a_client_that_asks_nothing_more_gives_its_place_up() {
    let server = Server::with(|config| {
        config.connections_max = 1;
        config.head_timeout_ms = 100;
    });
    let mut kept = Connection::open(&server);
    kept.send(&request("GET", "/"));
    kept.answer().succeeds();

    request("GET", "/").send(&server).succeeds();
    assert!(kept.is_closed());
}

#[test]
fn a_client_that_reads_nothing_gives_its_place_up() {
    let server = Server::with(|config| {
        config.connections_max = 1;
        config.stall_timeout_ms = 100;
    });
    request("PUT", "/bucket").header("connection", "close").send(&server).succeeds();
    let large = vec![7; 32 << 20];
    let put = request("PUT", "/bucket/k").header("connection", "close");
    put.body(large).send(&server).succeeds();
    let mut lazy = Connection::open(&server);
    lazy.send(&request("GET", "/bucket/k"));

    request("GET", "/").send(&server).succeeds();
    drop(lazy);
}

#[test]
fn an_endpoint_that_stops_answers_what_is_under_way() {
    let mut server = Server::start();
    request("PUT", "/bucket").send(&server).succeeds();
    let mut busy = Connection::open(&server);
    busy.send_head(
        &request("PUT", "/bucket/k").header("content-length", 5).header("expect", "100-continue"),
    );
    // It has begun to read the body.
    assert_eq!(busy.line(), "HTTP/1.1 100 Continue");
    assert_eq!(busy.line(), "");

    server.stop();
    busy.write(b"hello");
    busy.answer().succeeds();
    assert!(busy.is_closed());
    server.ended();
}
