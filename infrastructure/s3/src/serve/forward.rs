//! Requests as s3s sees them: enough to find the operation and to read its document. Everything else
//! the operations read themselves, to tell more precisely what is wrong.

use crate::{
    fault::Fault,
    sign::{Query, encode},
    target::Target,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use s3s::S3Result;

/// The parameters that tell operations from each other.
const TELLING: [&str; 37] = [
    "accelerate",
    "acl",
    "analytics",
    "attributes",
    "cors",
    "delete",
    "encryption",
    "id",
    "intelligent-tiering",
    "inventory",
    "legal-hold",
    "lifecycle",
    "list-type",
    "location",
    "logging",
    "metadataTable",
    "metrics",
    "notification",
    "object-lock",
    "ownershipControls",
    "partNumber",
    "policy",
    "policyStatus",
    "publicAccessBlock",
    "replication",
    "requestPayment",
    "restore",
    "retention",
    "select",
    "select-type",
    "tagging",
    "torrent",
    "uploadId",
    "uploads",
    "versioning",
    "versions",
    "website",
];

pub(super) fn forwarded(
    method: &Method,
    target: &Target,
    query: &Query,
    headers: &HeaderMap,
    document: Bytes,
) -> S3Result<Request<s3s::Body>> {
    let mut request = Request::new(s3s::Body::from(document));
    *request.method_mut() = method.clone();
    let uri = format!("{}{}", path(target), parameters(query));
    *request.uri_mut() = uri.parse().map_err(|_| Fault::InvalidURI)?;
    let forwarded = request.headers_mut();
    if headers.contains_key("x-amz-copy-source") {
        let name = HeaderName::from_static("x-amz-copy-source");
        forwarded.insert(name, HeaderValue::from_static("bucket/key"));
    }
    if query.has("attributes") {
        let name = HeaderName::from_static("x-amz-object-attributes");
        forwarded.insert(name, HeaderValue::from_static("ETag"));
    }
    Ok(request)
}

fn path(target: &Target) -> String {
    let part =
        |part: &Option<String>| part.as_deref().map(|text| format!("/{}", encode(text, true)));
    let path = format!(
        "{}{}",
        part(&target.bucket).unwrap_or_default(),
        part(&target.key).unwrap_or_default()
    );
    if path.is_empty() { "/".to_owned() } else { path }
}

fn parameters(query: &Query) -> String {
    let told =
        query.iter().filter(|(name, _)| TELLING.contains(name)).filter_map(|(name, value)| {
            match name {
                // The operations read the number themselves.
                "partNumber" => Some("partNumber=1".to_owned()),
                "list-type" if value != "2" => None,
                _ => Some(format!("{name}={}", encode(value, false))),
            }
        });
    let told: Vec<_> = told.collect();
    if told.is_empty() { String::new() } else { format!("?{}", told.join("&")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(bucket: Option<&str>, key: Option<&str>, query: &str) -> String {
        let target = Target {
            bucket: bucket.map(str::to_owned),
            key: key.map(str::to_owned),
            is_by_host: false,
        };
        let query = Query::parse(Some(query)).expect("a query");
        let headers = HeaderMap::new();
        let request = forwarded(&Method::GET, &target, &query, &headers, Bytes::new());
        request.expect("a request").uri().to_string()
    }

    #[test]
    fn names_stay_what_they_are() {
        assert_eq!(uri(None, None, ""), "/");
        assert_eq!(uri(Some("lab"), None, ""), "/lab");
        assert_eq!(uri(Some("lab"), Some("/a/../b c/+ü/"), ""), "/lab//a/../b%20c/%2B%C3%BC/");
    }

    #[test]
    fn only_what_tells_operations_apart_is_passed_on() {
        let query = "list-type=2&max-keys=x&X-Amz-Signature=00&partNumber=zero&uploadId=a%2Fb";

        assert_eq!(uri(Some("lab"), None, query), "/lab?list-type=2&partNumber=1&uploadId=a%2Fb");
        assert_eq!(uri(Some("lab"), None, "list-type=3"), "/lab");
    }
}
