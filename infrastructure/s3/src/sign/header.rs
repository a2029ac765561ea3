//! Requests that are signed by their `Authorization` header.

use super::{
    ALGORITHM, Announced, Head, Keys, Moment, NOT_VERSION_4, Scope, Verified, canonical, date,
    header_text, scope,
};
use crate::fault::{Fault, fail};
use http::HeaderValue;
use s3s::S3Result;
use std::sync::Arc;

/// What the header says.
struct Authorization<'a> {
    credential: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
}

impl<'a> Authorization<'a> {
    fn parse(value: &'a HeaderValue) -> S3Result<Self> {
        let text = value.to_str().map_err(|_| unsupported())?.trim();
        if text.is_empty() {
            return fail(Fault::AccessDenied);
        }
        let (algorithm, rest) = text.split_once(' ').unwrap_or((text, ""));
        match algorithm {
            ALGORITHM => {}
            "AWS" if rest.contains(':') => {
                return Err(Fault::InvalidRequest.because(NOT_VERSION_4));
            }
            _ => return Err(unsupported()),
        }
        let field = |name: &str| {
            rest.split(',').find_map(|field| field.trim().strip_prefix(name)?.strip_prefix('='))
        };
        let missing = |name: &str| {
            Fault::AuthorizationHeaderMalformed
                .because(format!("The authorization header is malformed; missing {name}."))
        };
        Ok(Self {
            credential: field("Credential").ok_or_else(|| missing("Credential"))?,
            signed_headers: field("SignedHeaders").ok_or_else(|| missing("SignedHeaders"))?,
            signature: field("Signature").ok_or_else(|| missing("Signature"))?,
        })
    }
}

fn unsupported() -> s3s::S3Error {
    Fault::InvalidArgument.because("Unsupported Authorization Type")
}

pub(super) fn verify(
    head: Head<'_>,
    value: &HeaderValue,
    keys: &Keys,
    moment: Moment,
) -> S3Result<Verified> {
    let authorization = Authorization::parse(value)?;
    let timestamp = timestamp(head)?;
    let scope =
        Scope::parse(authorization.credential, &timestamp, Fault::AuthorizationHeaderMalformed)?;
    let key = keys.find(scope.access_key).ok_or(Fault::InvalidAccessKeyId)?;
    let announced = header_text(head.headers, "x-amz-content-sha256").ok_or_else(|| {
        Fault::InvalidRequest
            .because("Missing required header for this request: x-amz-content-sha256")
    })?;
    let payload = Announced::parse(announced)?;

    let signed = signed_headers(authorization.signed_headers);
    let canonical = canonical::request(head, &signed, "", announced)?;
    let signer = scope.check(&key.secret, &timestamp, &canonical, authorization.signature)?;
    // Only now: a stranger learns nothing of our clock.
    check_time(&timestamp, moment)?;
    check_signed(head, &signed)?;
    Ok(Verified { key: Arc::clone(key), payload: payload.payload(|| signer) })
}

/// The request's date, from `x-amz-date` or else `Date`.
fn timestamp(head: Head<'_>) -> S3Result<String> {
    let none = || {
        Fault::AccessDenied.because("AWS authentication requires a valid Date or x-amz-date header")
    };
    if let Some(text) = header_text(head.headers, "x-amz-date") {
        return date::parse(text).map(|_| text.to_owned()).ok_or_else(none);
    }
    let text = header_text(head.headers, "date").ok_or_else(none)?;
    if date::parse(text).is_some() {
        return Ok(text.to_owned());
    }
    let time = httpdate::parse_http_date(text).map_err(|_| none())?;
    let seconds = time.duration_since(std::time::UNIX_EPOCH).map_err(|_| none())?.as_secs();
    Ok(date::from_seconds(seconds))
}

fn check_time(timestamp: &str, moment: Moment) -> S3Result<()> {
    match date::parse(timestamp) {
        Some(seconds) if !moment.is_skewed(seconds) => Ok(()),
        _ => fail(Fault::RequestTimeTooSkewed),
    }
}

/// The names of the signed headers, sorted.
pub(super) fn signed_headers(text: &str) -> Vec<&str> {
    let mut names: Vec<_> =
        text.split(';').map(str::trim).filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    names
}

/// What changes a request's meaning must be signed: the host, and all headers of Amazon's.
pub(super) fn check_signed(head: Head<'_>, signed: &[&str]) -> S3Result<()> {
    let is_signed = |name: &str| signed.binary_search(&name).is_ok();
    let all = is_signed("host")
        && head
            .headers
            .keys()
            .map(http::HeaderName::as_str)
            .all(|name| !name.starts_with("x-amz-") || is_signed(name));
    if all {
        return Ok(());
    }
    Err(Fault::AccessDenied
        .because("There were headers present in the request which were not signed"))
}

/// Whether a signature could be one at all.
pub(super) fn check_form(signature: &str) -> S3Result<()> {
    scope::unhex(signature).map(|_| ()).ok_or_else(scope::mismatch)
}
