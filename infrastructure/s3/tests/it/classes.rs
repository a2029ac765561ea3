//! Storage classes of S3, and those of the store.

use crate::{
    server::Server,
    wire::{Answer, request},
};
use geds::Class;

fn told(answer: &Answer) -> Option<&str> {
    answer.headers.get("x-amz-storage-class").map(String::as_str)
}

#[test]
fn a_storage_class_is_a_class_of_the_store_and_is_told_back() {
    let server = Server::start();
    request("PUT", "/bucket").send(&server).succeeds();
    let geds = server.geds("lab");
    let put = |key: &str, class: &str| {
        let put = request("PUT", &format!("/bucket/{key}")).body("bytes");
        let put = if class.is_empty() { put } else { put.header("x-amz-storage-class", class) };
        put.send(&server)
    };
    let class = |key: &str| geds.stat("bucket", key).expect("there").class;
    let head = |key: &str| request("HEAD", &format!("/bucket/{key}")).send(&server).succeeds();
    for (key, asked, kept, shown) in [
        ("a", "", None, None),
        ("b", "STANDARD", Some(Class::Hot), None),
        ("c", "STANDARD_IA", Some(Class::Cold), Some("STANDARD_IA")),
        ("d", "GLACIER_IR", Some(Class::Cold), Some("GLACIER_IR")),
        ("e", "INTELLIGENT_TIERING", None, Some("INTELLIGENT_TIERING")),
    ] {
        put(key, asked).succeeds();
        assert_eq!(class(key), kept, "{asked}");
        assert_eq!(told(&head(key)), shown, "{asked}");
    }
    put("f", "GLACIER").fails(400, "InvalidStorageClass");
    let list = request("GET", "/bucket?list-type=2").send(&server).succeeds().text();
    let classes: Vec<_> = list.split("<StorageClass>").skip(1).collect();
    assert!(classes[0].starts_with("STANDARD<") && classes[3].starts_with("GLACIER_IR<"), "{list}");

    // What was set elsewhere since.
    geds.set_class("bucket", "a", Some(Class::Cold), None).expect("set");
    geds.set_class("bucket", "d", Some(Class::Hot), None).expect("set");
    assert_eq!((told(&head("a")), told(&head("d"))), (Some("STANDARD_IA"), None));

    let copy =
        |to: &str| request("PUT", &format!("/bucket/{to}")).header("x-amz-copy-source", "bucket/c");
    copy("g").send(&server).succeeds();
    assert_eq!((class("g"), told(&head("g"))), (Some(Class::Hot), None), "not that of the source");
    copy("c").header("x-amz-storage-class", "ONEZONE_IA").send(&server).succeeds();
    assert_eq!((class("c"), told(&head("c"))), (Some(Class::Cold), Some("ONEZONE_IA")));

    let begin =
        request("POST", "/bucket/parts?uploads").header("x-amz-storage-class", "GLACIER_IR");
    let id = begin.send(&server).succeeds().element("UploadId").expect("an id");
    let part = request("PUT", &format!("/bucket/parts?partNumber=1&uploadId={id}")).body("bytes");
    let etag = part.send(&server).succeeds().headers["etag"].clone();
    let list = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    );
    let complete = request("POST", &format!("/bucket/parts?uploadId={id}")).body(list);
    complete.send(&server).succeeds();
    assert_eq!(class("parts"), Some(Class::Cold));
    assert_eq!(told(&head("parts")), Some("GLACIER_IR"));
}
