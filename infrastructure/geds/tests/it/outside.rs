//! Storage outside: a folder, and servers of S3 that refuse or lie.

use crate::rig::bytes_of;
use geds::{Backend, Config, ErrorKind, Geds, Limits, Put, Tier};
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    thread,
};
use testkit::Folder;

fn store() -> (Folder, Geds) {
    let folder = Folder::in_memory();
    let limits = Limits { memory_bytes: 8 << 20, ..Limits::default() };
    let geds = Geds::open(Config::alone(folder.join("node")).limits(limits)).unwrap();
    geds.create_bucket("lab").unwrap();
    fs::create_dir(folder.join("outside")).unwrap();
    (folder, geds)
}

fn register(folder: &Folder, geds: &Geds) {
    let url = format!("file://{}", folder.join("outside").display());
    geds.register("lab", Backend::open(&url, []).unwrap()).unwrap();
}

#[test]
fn what_is_missing_here_is_read_outside_and_what_is_new_is_written_there() {
    let (folder, geds) = store();
    assert_eq!(geds.import("lab", "").unwrap_err().kind(), ErrorKind::Invalid);
    register(&folder, &geds);
    let sizes = [("in/small", 100), ("in/empty", 0), ("in/deep/large", 20 << 20), ("top", 5000)];
    for (key, len) in sizes {
        let path = folder.join("outside").join(key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes_of(key, len)).unwrap();
    }
    assert_eq!(geds.list("lab", &geds::Listing::default()).unwrap().entries, []);
    assert!(*geds.view("lab", "top").unwrap() == bytes_of("top", 5000));
    assert_eq!(geds.stat("lab", "in/empty").unwrap().size, 0);
    assert_eq!(geds.stat("lab", "none").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(geds.stat("lab", "../none").unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(geds.import("lab", "in/").unwrap(), 2);
    for (key, len) in sizes {
        assert!(*geds.view("lab", key).unwrap() == bytes_of(key, len), "{key}");
    }
    assert_eq!(geds.stat("lab", "in/deep/large").unwrap().tier, Tier::Disk);

    geds.put("lab", "out/1", b"new", Put::default()).unwrap();
    geds.put("lab", "out/large", &bytes_of("l", 18_000_001), Put::default()).unwrap();
    geds.put("lab", "top", b"replaced here", Put::overwrite()).unwrap();
    geds.make_folder("lab", "out").unwrap();
    assert_eq!(geds.export("lab", "", false).unwrap(), 2);
    assert!(fs::read(folder.join("outside/out/large")).unwrap() == bytes_of("l", 18_000_001));
    assert!(fs::read(folder.join("outside/top")).unwrap() == bytes_of("top", 5000));
    assert_eq!(geds.export("lab", "top", true).unwrap(), 1);
    assert_eq!(fs::read(folder.join("outside/top")).unwrap(), b"replaced here");

    geds.delete("lab", "out/1", None).unwrap();
    assert_eq!(*geds.view("lab", "out/1").unwrap(), *b"new");
    geds.delete("lab", "out/1", None).unwrap();
    geds.unregister("lab");
    assert_eq!(geds.view("lab", "out/1").unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn addresses_that_lead_nowhere_are_refused() {
    for url in ["lab", "ftp://x", "file:///there/is/no/such/folder"] {
        assert!(Backend::open(url, []).is_err(), "{url}");
    }
    let unknown = Backend::open("s3://lab", [("colour", "red")]);
    assert_eq!(unknown.unwrap_err().kind(), ErrorKind::Invalid);
}

/// A server that gives each request the same answer.
fn server(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.and_then(|stream| serve(stream, answer));
        }
    });
    format!("http://{address}")
}

fn serve(stream: TcpStream, answer: &str) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    (&stream).write_all(answer.as_bytes())
}

fn s3(endpoint: &str) -> Backend {
    let options = [
        ("endpoint", endpoint),
        ("access_key_id", "key"),
        ("secret_access_key", "secret"),
        ("allow_http", "true"),
    ];
    Backend::open("s3://lab", options).unwrap()
}

#[test]
fn a_server_that_refuses_or_lies_makes_an_error_and_no_object() {
    let (_folder, geds) = store();
    let head =
        "Last-Modified: Sun, 22 Nov 2026 02:00:00 GMT\r\nETag: \"e\"\r\nConnection: close\r\n";
    let cut: &'static str =
        format!("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n{head}\r\ntoo short").leak();
    let refused = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let absent = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let cases = [
        (refused, &[ErrorKind::Forbidden][..]),
        (absent, &[ErrorKind::NotFound]),
        (cut, &[ErrorKind::Corrupt, ErrorKind::Unavailable]),
    ];
    for (answer, kinds) in cases {
        geds.register("lab", s3(&server(answer))).unwrap();
        let error = geds.view("lab", "a").unwrap_err();
        assert!(kinds.contains(&error.kind()), "{error:?}");
    }
    assert_eq!(geds.usage().unwrap().objects, 0);
    let whole: &'static str =
        format!("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n{head}\r\ntrue").leak();
    geds.register("lab", s3(&server(whole))).unwrap();
    assert_eq!(*geds.view("lab", "a").unwrap(), *b"true");
    assert_eq!(geds.stat("lab", "a").unwrap().attributes.text("backend-etag"), Some("\"e\""));
}
