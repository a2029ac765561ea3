//! Requests that are signed by parameters of their URL.

use super::{
    ALGORITHM, Announced, Head, Keys, Moment, Scope, UNSIGNED, Verified, canonical, date, header,
    header_text,
};
use crate::fault::Fault;
use s3s::{S3Error, S3Result};
use std::sync::Arc;

/// The parameters that sign a URL.
pub(super) const PARAMETERS: [&str; 6] = [
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Signature",
    "X-Amz-Date",
    "X-Amz-SignedHeaders",
    "X-Amz-Expires",
];

/// The longest that a URL may be valid: a week.
const EXPIRES_MAX_S: u64 = 7 * 24 * 60 * 60;

/// The parameters' values.
struct Parameters<'a> {
    credential: &'a str,
    signature: &'a str,
    date: &'a str,
    signed_headers: &'a str,
    expires: u64,
}

impl<'a> Parameters<'a> {
    fn read(head: Head<'a>) -> S3Result<Self> {
        let [algorithm, credential, signature, date, signed_headers, expires] = PARAMETERS
            .map(|name| head.query.get(name).ok_or(Fault::AuthorizationQueryParametersError));
        if algorithm? != ALGORITHM {
            return Err(malformed("X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\""));
        }
        let (credential, signature) = (credential?, signature?);
        let (date, signed_headers) = (date?, signed_headers?);
        Ok(Self { credential, signature, date, signed_headers, expires: expires_of(expires?)? })
    }
}

fn expires_of(text: &str) -> S3Result<u64> {
    let seconds: i64 = text.parse().map_err(|_| malformed("X-Amz-Expires should be a number"))?;
    let seconds =
        u64::try_from(seconds).map_err(|_| malformed("X-Amz-Expires must be non-negative"))?;
    if seconds > EXPIRES_MAX_S {
        return Err(malformed(
            "X-Amz-Expires must be less than a week (in seconds); that is, the given \
             X-Amz-Expires must be less than 604800 seconds",
        ));
    }
    Ok(seconds)
}

fn malformed(text: &'static str) -> S3Error {
    Fault::AuthorizationQueryParametersError.because(text)
}

pub(super) fn verify(head: Head<'_>, keys: &Keys, moment: Moment) -> S3Result<Verified> {
    let parameters = Parameters::read(head)?;
    let seconds = date::parse(parameters.date).ok_or_else(|| {
        malformed("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")
    })?;
    let scope = Scope::parse(
        parameters.credential,
        parameters.date,
        Fault::AuthorizationQueryParametersError,
    )?;
    let key = keys.find(scope.access_key).ok_or(Fault::InvalidAccessKeyId)?;
    let announced = header_text(head.headers, "x-amz-content-sha256")
        .or_else(|| head.query.get("X-Amz-Content-Sha256"))
        .unwrap_or(UNSIGNED);
    let payload = Announced::parse(announced)?;
    header::check_form(parameters.signature)?;

    let signed = header::signed_headers(parameters.signed_headers);
    let canonical = canonical::request(head, &signed, "X-Amz-Signature", announced)?;
    let signer = scope.check(&key.secret, parameters.date, &canonical, parameters.signature)?;
    check_time(seconds, parameters.expires, moment)?;
    check_signed(head, &signed)?;
    Ok(Verified { key: Arc::clone(key), payload: payload.payload(|| signer) })
}

fn check_time(date: u64, expires: u64, moment: Moment) -> S3Result<()> {
    let now = moment.now.as_secs();
    if date > now.saturating_add(moment.skew_max.as_secs()) {
        return Err(Fault::AccessDenied.because("Request is not valid yet"));
    }
    if now >= date.saturating_add(expires) {
        return Err(Fault::AccessDenied.because("Request has expired"));
    }
    Ok(())
}

/// As for signed headers, but the digest of the payload stands in the signed text by itself.
fn check_signed(head: Head<'_>, signed: &[&str]) -> S3Result<()> {
    let mut signed = signed.to_vec();
    signed.push("x-amz-content-sha256");
    signed.sort_unstable();
    header::check_signed(head, &signed)
}
