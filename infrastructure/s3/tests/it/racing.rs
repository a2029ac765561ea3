//! Requests at the same moment.

use crate::{server::Server, wire::request};
use std::thread;

#[test]
fn of_many_first_writers_one_wins() {
    let server = Server::start();
    request("PUT", "/bucket").send(&server).succeeds();

    for key in 0..5 {
        let put = |writer: usize| {
            let path = format!("/bucket/{key}");
            let body = format!("{writer}");
            request("PUT", &path).header("if-none-match", "*").body(body).send(&server).status
        };
        let statuses: Vec<_> = thread::scope(|scope| {
            let writers: Vec<_> = (0..8).map(|writer| scope.spawn(move || put(writer))).collect();
            writers.into_iter().map(|writer| writer.join().expect("an answer")).collect()
        });

        let won = statuses.iter().filter(|status| **status == 200).count();
        let lost = statuses.iter().filter(|status| **status == 412).count();
        assert_eq!((won, lost), (1, 7), "{statuses:?}");
    }
}

#[test]
fn of_many_who_change_one_version_one_wins() {
    let server = Server::start();
    request("PUT", "/bucket").send(&server).succeeds();
    let first = request("PUT", "/bucket/k").body("first").send(&server).succeeds();
    let etag = &first.headers["etag"];

    let put = |writer: usize| {
        let body = format!("{writer}");
        request("PUT", "/bucket/k").header("if-match", etag).body(body).send(&server).status
    };
    let won = thread::scope(|scope| {
        let writers: Vec<_> = (0..8).map(|writer| scope.spawn(move || put(writer))).collect();
        let statuses = writers.into_iter().map(|writer| writer.join().expect("an answer"));
        statuses.filter(|status| *status == 200).count()
    });

    assert_eq!(won, 1);
}

#[test]
fn a_copy_has_the_bytes_that_its_etag_is_of() {
    let server = Server::start();
    request("PUT", "/bucket").send(&server).succeeds();
    let write = |round: usize| {
        let body = vec![u8::try_from(round % 251).expect("a byte"); 10_000];
        request("PUT", "/bucket/source").body(body).send(&server).succeeds();
    };
    write(0);

    thread::scope(|scope| {
        let writer = scope.spawn(|| (1..200).for_each(write));
        while !writer.is_finished() {
            let copy = request("PUT", "/bucket/copy");
            copy.header("x-amz-copy-source", "bucket/source").send(&server).succeeds();
            let read = request("GET", "/bucket/copy").send(&server).succeeds();
            let sent = request("PUT", "/bucket/again").body(read.body).send(&server).succeeds();
            assert_eq!(sent.headers["etag"], read.headers["etag"]);
        }
    });
}

#[test]
fn what_is_read_while_it_is_written_is_one_state_of_it() {
    let server = Server::start();
    request("PUT", "/bucket").send(&server).succeeds();
    let write = |round: usize| {
        let body = vec![u8::try_from(round % 251).expect("a byte"); 10_000];
        request("PUT", "/bucket/source").body(body).send(&server).succeeds();
    };
    write(0);

    thread::scope(|scope| {
        let writer = scope.spawn(|| (1..200).for_each(write));
        while !writer.is_finished() {
            let read = request("GET", "/bucket/source").send(&server).succeeds();
            let sent = request("PUT", "/bucket/again").body(read.body).send(&server).succeeds();
            assert_eq!(sent.headers["etag"], read.headers["etag"]);
        }
    });
}

#[test]
fn a_part_that_is_copied_has_the_bytes_that_its_etag_is_of() {
    let server = Server::start();
    request("PUT", "/bucket").send(&server).succeeds();
    let write = |round: usize| {
        let body = vec![u8::try_from(round % 251).expect("a byte"); 10_000];
        request("PUT", "/bucket/source").body(body).send(&server).succeeds();
    };
    write(0);

    thread::scope(|scope| {
        let writer = scope.spawn(|| (1..150).for_each(write));
        while !writer.is_finished() {
            let begun = request("POST", "/bucket/parts?uploads").send(&server).succeeds();
            let id = begun.element("UploadId").expect("an upload");
            let part = request("PUT", &format!("/bucket/parts?partNumber=1&uploadId={id}"));
            let part = part.header("x-amz-copy-source", "bucket/source");
            let copied = part.header("x-amz-copy-source-range", "bytes=0-8999").send(&server);
            let etag = copied.succeeds().element("ETag").expect("an ETag").replace("&quot;", "\"");
            let list = format!(
                "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>\
                 </CompleteMultipartUpload>"
            );
            let path = format!("/bucket/parts?uploadId={id}");
            request("POST", &path).body(list).send(&server).succeeds();
            let read = request("GET", "/bucket/parts").send(&server).succeeds();
            assert_eq!(read.body.len(), 9000);
            let sent = request("PUT", "/bucket/again").body(read.body).send(&server).succeeds();
            assert_eq!(sent.headers["etag"], etag);
        }
    });
}
