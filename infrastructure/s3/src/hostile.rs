//! Whatever strangers send is read without harm, and in the same way however it arrives.

use crate::{
    conditions::ETags,
    digest::{Algorithm, Checksum},
    fuzzing::{self, decode},
    range,
    record::Record,
    sign::{self, Head, Keys, Moment, Query},
    tags,
    target::Target,
};
use geds::{Attributes, Stat, Tier};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::prelude::*;
use std::time::Duration;

/// Bytes that often look like a body in chunks.
fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"0\r\n".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"5\r\nhello\r\n".to_vec()),
        Just(b"ffffffffffffffff\r\n".to_vec()),
        Just(b"5;chunk-signature=00\r\n".to_vec()),
        Just(b"x-amz-checksum-crc32:AAAAAA==\r\n".to_vec()),
        Just(b"x-amz-trailer-signature:00\r\n".to_vec()),
        prop::collection::vec(any::<u8>(), 0..20),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn chunks_are_read_the_same_however_they_arrive(
        body in bodies(),
        step in 1_usize..40,
    ) {
        let at_once = decode(None, &body, usize::MAX);
        prop_assert_eq!(&at_once, &decode(None, &body, 1));
        prop_assert_eq!(&at_once, &decode(None, &body, step));
    }

    #[test]
    fn texts_are_read_or_refused(text in "\\PC{0,60}", size in any::<u64>()) {
        let _ = Query::parse(Some(&text));
        let _ = tags::of_header(&text);
        let _ = ETags::parse(&text).contains("x");
        let _ = range::of_copy_source(&text);
        if let range::Asked::Part(part) = range::of_header(Some(&text), size) {
            prop_assert!(part.start < part.end && part.end <= size);
        }
        for algorithm in Algorithm::ALL {
            let _ = Checksum::parse(algorithm, &text);
        }
    }

    #[test]
    fn ranges_lie_within_the_object(first in any::<u64>(), last in any::<u64>(), size in any::<u64>()) {
        for text in [format!("bytes={first}-{last}"), format!("bytes={first}-"), format!("bytes=-{last}")] {
            if let range::Asked::Part(part) = range::of_header(Some(&text), size) {
                prop_assert!(part.start < part.end && part.end <= size);
            }
        }
    }

    #[test]
    fn names_survive_their_escapes(bucket in "[a-z]{3,8}", key in "\\PC{1,30}") {
        let path = format!("/{bucket}/{}", sign::encode(&key, false));
        let target = Target::parse(None, &path, &[]).expect("a target");
        prop_assert_eq!(target.key, Some(key));
    }

    #[test]
    fn bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), body in bodies()) {
        for bytes in [&bytes, &body] {
            fuzzing::chunks(bytes);
            fuzzing::request(bytes);
            fuzzing::form(bytes);
        }
    }

    #[test]
    fn signatures_of_strangers_are_refused(
        authorization in "(AWS4-HMAC-SHA256 |AWS |)[ -~]{0,60}",
        date in "([0-9]{8}T[0-9]{6}Z|[ -~]{0,20})",
        query in "(X-Amz-(Algorithm|Credential|Date|Expires|Signature)=[ -~]{0,20}&|Signature=x&AWSAccessKeyId=x&){0,6}",
    ) {
        let mut headers = HeaderMap::new();
        for (name, value) in [("authorization", &authorization), ("x-amz-date", &date)] {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        let Ok(query) = Query::parse(Some(&query)) else { return Ok(()) };
        let head = Head {
            method: &Method::GET,
            path: "/bucket/key",
            query: &query,
            headers: &headers,
            bucket_of_host: None,
        };
        let moment = Moment { now: Duration::from_secs(1), skew_max: Duration::from_secs(900) };
        prop_assert!(sign::verify(head, &Keys::default(), moment).is_err());
    }

    #[test]
    fn records_are_read_or_passed_by(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for version in [0, 1, 2] {
            let mut stored = vec![version];
            stored.extend_from_slice(&bytes);
            let attributes = Attributes::new().with("s3", stored);
            let stat = Stat {
                size: 1,
                version: 1,
                modified: 0,
                crc32c: None,
                tier: Tier::Memory,
                site: None,
                class: None,
                attributes,
            };
            let record = Record::of(&stat);
            let count = record.parts.as_ref().map_or(0, |parts| parts.iter().take(5).count());
            prop_assert!(count <= 5);
        }
    }
}
