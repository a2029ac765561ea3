//! Who asks, and whether they signed what they ask: AWS Signature Version 4.
//!
//! [`verify`] reads the `Authorization` header or the parameters of a presigned URL. It knows the
//! request's head alone; what it returns says how the body is to be checked.

mod canonical;
mod date;
mod header;
mod keys;
mod legacy;
mod presigned;
mod scope;

pub(crate) use canonical::{Query, encode, unescape};
pub(crate) use keys::Keys;
pub(crate) use scope::{ChunkSigner, Scope};

use crate::{
    config::Key,
    fault::{Fault, fail},
};
use http::{HeaderMap, Method, header::AUTHORIZATION};
use s3s::S3Result;
use std::{sync::Arc, time::Duration};

/// What of a request's head is signed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head<'a> {
    pub(crate) method: &'a Method,
    /// The path as it was sent.
    pub(crate) path: &'a str,
    pub(crate) query: &'a Query,
    pub(crate) headers: &'a HeaderMap,
    /// The bucket, if it is the host that names it.
    pub(crate) bucket_of_host: Option<&'a str>,
}

/// How a body is to be checked.
#[derive(Debug)]
pub(crate) enum Payload {
    /// Its bytes are not signed.
    Unsigned,
    /// It has this SHA-256.
    Exact([u8; 32]),
    /// It comes in chunks of `aws-chunked`, signed one by one if there is a signer.
    Chunks {
        /// What signs the chunks.
        signer: Option<Box<ChunkSigner>>,
        /// Whether headers follow the last chunk.
        trailers: bool,
    },
}

/// A request whose signature is right.
#[derive(Debug)]
pub(crate) struct Verified {
    pub(crate) key: Arc<Key>,
    pub(crate) payload: Payload,
}

/// The clock and its tolerance.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    /// Since the Unix epoch.
    pub(crate) now: Duration,
    /// How far a request's date may be away.
    pub(crate) skew_max: Duration,
}

impl Moment {
    /// Whether a date in seconds since the epoch is too far away.
    fn is_skewed(self, date: u64) -> bool {
        self.now.as_secs().abs_diff(date) > self.skew_max.as_secs()
    }
}

/// Finds out who signed the request, and refuses it if nobody did.
pub(crate) fn verify(head: Head<'_>, keys: &Keys, moment: Moment) -> S3Result<Verified> {
    let presigned = presigned::PARAMETERS.iter().any(|name| head.query.has(name));
    match (head.headers.get(AUTHORIZATION), presigned) {
        (Some(_), true) => Err(Fault::InvalidArgument.because(
            "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, \
             Signature query string parameter or the Authorization header should be specified",
        )),
        (Some(value), false) => header::verify(head, value, keys, moment),
        (None, true) => presigned::verify(head, keys, moment),
        (None, false) if legacy::is_signed(head) => legacy::verify(head, keys, moment),
        (None, false) => fail(Fault::AccessDenied),
    }
}

/// Finds out who signed the policy of a form. `field` gives the form's fields.
pub(crate) fn verify_form<'a>(
    policy: &str,
    field: impl Fn(&str) -> Option<&'a str>,
    keys: &Keys,
) -> S3Result<Arc<Key>> {
    let find = |access_key: &str| keys.find(access_key).ok_or(Fault::InvalidAccessKeyId);
    if let (Some(access_key), Some(signature)) = (field("awsaccesskeyid"), field("signature")) {
        let key = find(access_key)?;
        legacy::signed(&key.secret, policy, signature)?;
        return Ok(Arc::clone(key));
    }
    let fields = ["x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature"];
    let [Some(algorithm), Some(credential), Some(date), Some(signature)] = fields.map(field) else {
        return fail(Fault::AccessDenied);
    };
    if algorithm != ALGORITHM {
        return Err(
            Fault::InvalidArgument.because("X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\"")
        );
    }
    let scope = Scope::parse(credential, date, Fault::InvalidArgument)?;
    let key = find(scope.access_key)?;
    scope.signed(&key.secret, policy, signature)?;
    Ok(Arc::clone(key))
}

/// Seconds since the Unix epoch of `2030-01-02T03:04:05.678Z`.
pub(crate) fn parse_time(text: &str) -> Option<u64> {
    let (text, _) = text.split_once('.').unwrap_or((text.strip_suffix('Z')?, ""));
    date::parse(&format!("{}Z", text.replace(['-', ':'], "")))
}

const NOT_VERSION_4: &str = "The authorization mechanism you have provided is not supported. \
                             Please use AWS4-HMAC-SHA256.";
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// What `x-amz-content-sha256` announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Announced {
    Unsigned,
    Exact([u8; 32]),
    Chunks { signed: bool, trailers: bool },
}

impl Announced {
    fn parse(text: &str) -> S3Result<Self> {
        Ok(match text {
            UNSIGNED => Self::Unsigned,
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => Self::Chunks { signed: true, trailers: false },
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => {
                Self::Chunks { signed: true, trailers: true }
            }
            "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => Self::Chunks { signed: false, trailers: true },
            "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"
            | "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER" => {
                return Err(Fault::NotImplemented.because(
                    "Signature Version 4A is not implemented: sign with AWS4-HMAC-SHA256",
                ));
            }
            text => Self::Exact(scope::unhex(text).ok_or_else(|| {
                Fault::InvalidArgument.because(
                    "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, \
                     STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, \
                     STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value.",
                )
            })?),
        })
    }

    /// How the body is checked, once the head's signature is known.
    fn payload(self, signer: impl FnOnce() -> ChunkSigner) -> Payload {
        match self {
            Self::Unsigned => Payload::Unsigned,
            Self::Exact(digest) => Payload::Exact(digest),
            Self::Chunks { signed, trailers } => {
                Payload::Chunks { signer: signed.then(|| Box::new(signer())), trailers }
            }
        }
    }
}

/// The text of a header that may stand once.
fn header_text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| std::str::from_utf8(value.as_bytes()).ok()).map(str::trim)
}

#[cfg(test)]
mod tests;
