//! The examples of Amazon's documentation of Signature Version 4, and what must be refused.

use super::*;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const ACCESS_KEY: &str = "AKIAIOSFODNN7EXAMPLE";
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// 2013-05-24T00:00:00Z.
const DAY: u64 = 1_369_353_600;

fn keys() -> Keys {
    Keys::new([Key { access_key: ACCESS_KEY.into(), secret: SECRET.into(), tenant: "lab".into() }])
}

fn at(seconds: u64) -> Moment {
    Moment { now: Duration::from_secs(seconds), skew_max: Duration::from_secs(900) }
}

/// A request of the documentation.
struct Example {
    path: &'static str,
    query: &'static str,
    headers: Vec<(&'static str, String)>,
}

impl Example {
    fn signed(
        path: &'static str,
        query: &'static str,
        more: &[(&'static str, &str)],
        signature: &str,
    ) -> Self {
        let mut headers = vec![
            ("host", "examplebucket.s3.amazonaws.com".to_owned()),
            ("x-amz-content-sha256", EMPTY.to_owned()),
            ("x-amz-date", "20130524T000000Z".to_owned()),
        ];
        headers.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let mut names: Vec<_> = headers.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        headers.push((
            "authorization",
            format!(
                "AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/20130524/us-east-1/s3/aws4_request,\
                 SignedHeaders={},Signature={signature}",
                names.join(";")
            ),
        ));
        Self { path, query, headers }
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.retain(|(found, _)| *found != name);
        self.headers.push((name, value.to_owned()));
        self
    }

    fn verify(&self, moment: Moment) -> S3Result<Verified> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            headers.append(*name, value.parse().expect("a header's value"));
        }
        let query = Query::parse(Some(self.query)).expect("a query");
        let head = Head {
            method: &Method::GET,
            path: self.path,
            query: &query,
            headers: &headers,
            bucket_of_host: None,
        };
        verify(head, &keys(), moment)
    }

    #[track_caller]
    fn is_refused(&self, moment: Moment, code: &str) {
        let error = self.verify(moment).expect_err("a refusal");
        assert_eq!(error.code().as_str(), code, "{:?}", error.message());
    }
}

fn range() -> Example {
    Example::signed(
        "/test.txt",
        "",
        &[("range", "bytes=0-9")],
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    )
}

fn presigned() -> Example {
    Example {
        path: "/test.txt",
        query: "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524\
                %2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&\
                X-Amz-SignedHeaders=host&X-Amz-Signature=\
                aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404",
        headers: vec![("host", "examplebucket.s3.amazonaws.com".to_owned())],
    }
}

#[test]
fn accepts_the_documented_requests() {
    let lifecycle = Example::signed(
        "/",
        "lifecycle",
        &[],
        "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
    );
    let list = Example::signed(
        "/",
        "max-keys=2&prefix=J",
        &[],
        "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
    );

    for example in [range(), lifecycle, list, presigned()] {
        let verified = example.verify(at(DAY)).expect("a right signature");
        assert_eq!(verified.key.tenant, "lab");
    }
}

#[test]
fn refuses_what_was_changed_on_its_way() {
    range().with("range", "bytes=0-8").is_refused(at(DAY), "SignatureDoesNotMatch");
    Example { path: "/other.txt", ..presigned() }.is_refused(at(DAY), "SignatureDoesNotMatch");
    range().with("x-amz-acl", "public-read").is_refused(at(DAY), "AccessDenied");
}

#[test]
fn refuses_what_is_too_old_or_too_new() {
    range().verify(at(DAY + 900)).expect("in time");
    range().is_refused(at(DAY + 901), "RequestTimeTooSkewed");
    range().is_refused(at(DAY - 901), "RequestTimeTooSkewed");
    presigned().verify(at(DAY + 86_399)).expect("in time");
    presigned().is_refused(at(DAY + 86_400), "AccessDenied");
    presigned().is_refused(at(DAY - 901), "AccessDenied");
}

#[test]
fn names_what_is_wrong_with_an_authorization() {
    let with = |value: &str| range().with("authorization", value);
    let credential = "Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request";

    with("").is_refused(at(DAY), "AccessDenied");
    with("AWS HAHAHA").is_refused(at(DAY), "InvalidArgument");
    with("AWS key:signature").is_refused(at(DAY), "InvalidRequest");
    with("Bearer x").is_refused(at(DAY), "InvalidArgument");
    with("AWS4-HMAC-SHA256 Credential=HAHAHA").is_refused(at(DAY), "AuthorizationHeaderMalformed");
    with(&format!("AWS4-HMAC-SHA256 {credential}, Signature=00"))
        .is_refused(at(DAY), "AuthorizationHeaderMalformed");
    with(&format!("AWS4-HMAC-SHA256 {credential}, SignedHeaders=host, Signature=00"))
        .is_refused(at(DAY), "SignatureDoesNotMatch");
    let stranger = credential.replace(ACCESS_KEY, "nobody");
    with(&format!("AWS4-HMAC-SHA256 {stranger}, SignedHeaders=host, Signature=00"))
        .is_refused(at(DAY), "InvalidAccessKeyId");
    let other_day = credential.replace("20130524", "20130525");
    with(&format!("AWS4-HMAC-SHA256 {other_day}, SignedHeaders=host, Signature=00"))
        .is_refused(at(DAY), "AuthorizationHeaderMalformed");
    let other_service = credential.replace("/s3/", "/ec2/");
    with(&format!("AWS4-HMAC-SHA256 {other_service}, SignedHeaders=host, Signature=00"))
        .is_refused(at(DAY), "AuthorizationHeaderMalformed");
}

#[test]
fn names_what_is_wrong_with_other_headers() {
    range().with("x-amz-date", "Bad Date").is_refused(at(DAY), "AccessDenied");
    range().with("x-amz-content-sha256", "short").is_refused(at(DAY), "InvalidArgument");
    let mut unannounced = range();
    unannounced.headers.retain(|(name, _)| *name != "x-amz-content-sha256");
    unannounced.is_refused(at(DAY), "InvalidRequest");
    Example { path: "/", query: "", headers: Vec::new() }.is_refused(at(DAY), "AccessDenied");
    let mut twice = presigned();
    twice.headers.extend(range().headers);
    twice.is_refused(at(DAY), "InvalidArgument");
}

#[test]
fn names_what_is_wrong_with_a_presigned_url() {
    let code = "AuthorizationQueryParametersError";
    for query in [
        "X-Amz-Algorithm=AWS4-HMAC-SHA256",
        "X-Amz-Signature=00",
        "X-Amz-Algorithm=X&X-Amz-Credential=a/20130524/r/s3/aws4_request&X-Amz-Signature=00&\
         X-Amz-Date=20130524T000000Z&X-Amz-SignedHeaders=host&X-Amz-Expires=1",
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=a/20130524/r/s3/aws4_request&\
         X-Amz-Signature=00&X-Amz-Date=20130524T000000Z&X-Amz-SignedHeaders=host&\
         X-Amz-Expires=604801",
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=a/20130524/r/s3/aws4_request&\
         X-Amz-Signature=00&X-Amz-Date=20130524T000000Z&X-Amz-SignedHeaders=host&X-Amz-Expires=-1",
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=a/r/s3/aws4_request&\
         X-Amz-Signature=00&X-Amz-Date=20130524T000000Z&X-Amz-SignedHeaders=host&X-Amz-Expires=1",
    ] {
        Example { query, ..presigned() }.is_refused(at(DAY), code);
    }
}

#[test]
fn queries_are_decoded_and_broken_escapes_are_refused() {
    let query = Query::parse(Some("a=1&b&c=%2F%20+x&a=2")).expect("a query");

    assert_eq!(query.get("a"), Some("1"));
    assert_eq!(query.get("b"), Some(""));
    assert_eq!(query.get("c"), Some("/  x"));
    assert!(!query.has("d"));
    for broken in ["a=%", "a=%2", "a=%zz", "a=%ff"] {
        assert!(Query::parse(Some(broken)).is_err(), "{broken}");
    }
}
