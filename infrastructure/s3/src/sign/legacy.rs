//! URLs and forms signed by Signature Version 2. Nothing else is accepted that is signed so; but
//! these are what boto3 makes for every endpoint that is not Amazon's, unless it is told otherwise.

use super::{Head, Keys, Moment, Payload, Verified};
use crate::fault::{Fault, fail};
use data_encoding::BASE64;
use ring::hmac;
use s3s::S3Result;
use std::{fmt::Write as _, sync::Arc};

/// The parameters that are part of what is signed.
const SIGNED: [&str; 27] = [
    "acl",
    "cors",
    "delete",
    "encryption",
    "lifecycle",
    "location",
    "logging",
    "notification",
    "partNumber",
    "policy",
    "requestPayment",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "restore",
    "tagging",
    "torrent",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
    "versions",
    "website",
    "attributes",
];

/// Whether a URL is signed so.
pub(super) fn is_signed(head: Head<'_>) -> bool {
    head.query.has("AWSAccessKeyId") && head.query.has("Signature")
}

pub(super) fn verify(head: Head<'_>, keys: &Keys, moment: Moment) -> S3Result<Verified> {
    let parameter = |name: &str| {
        head.query.get(name).ok_or_else(|| {
            Fault::AccessDenied.because(
                "Query-string authentication requires the Signature, Expires and AWSAccessKeyId \
                 parameters",
            )
        })
    };
    let expires = parameter("Expires")?;
    let key = keys.find(parameter("AWSAccessKeyId")?).ok_or(Fault::InvalidAccessKeyId)?;
    signed(&key.secret, &text(head, expires), parameter("Signature")?)?;
    match expires.parse::<u64>() {
        Ok(expires) if moment.now.as_secs() <= expires => {
            Ok(Verified { key: Arc::clone(key), payload: Payload::Unsigned })
        }
        _ => Err(Fault::AccessDenied.because("Request has expired")),
    }
}

/// Checks the signature of any text.
pub(super) fn signed(secret: &str, text: &str, signature: &str) -> S3Result<()> {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
    let signature = BASE64.decode(signature.as_bytes()).unwrap_or_default();
    match hmac::verify(&key, text.as_bytes(), &signature) {
        Ok(()) => Ok(()),
        Err(_) => fail(Fault::SignatureDoesNotMatch),
    }
}

/// What is signed.
fn text(head: Head<'_>, expires: &str) -> String {
    let header = |name: &str| super::header_text(head.headers, name).unwrap_or_default();
    let (md5, content_type) = (header("content-md5"), header("content-type"));
    let mut text = format!("{}\n{md5}\n{content_type}\n{expires}\n", head.method);
    let mut names: Vec<_> = head
        .headers
        .keys()
        .map(http::HeaderName::as_str)
        .filter(|name| name.starts_with("x-amz-"))
        .collect();
    names.sort_unstable();
    for name in names {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name}:{}", header(name));
    }
    if let Some(bucket) = head.bucket_of_host {
        let _ = write!(text, "/{bucket}");
    }
    text.push_str(head.path);
    let mut signed: Vec<_> = head.query.iter().filter(|(name, _)| SIGNED.contains(name)).collect();
    signed.sort_unstable();
    for (index, (name, value)) in signed.into_iter().enumerate() {
        text.push(if index == 0 { '?' } else { '&' });
        text.push_str(name);
        if !value.is_empty() {
            let _ = write!(text, "={value}");
        }
    }
    text
}
