//! The scope of a signature, and what is derived from it.

use crate::fault::Fault;
use data_encoding::HEXLOWER;
use ring::{digest, hmac};
use s3s::{S3Error, S3Result};
use std::fmt;

/// What a credential says: `<access key>/<date>/<region>/<service>/aws4_request`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub(crate) access_key: &'a str,
    date: &'a str,
    region: &'a str,
    service: &'a str,
}

impl<'a> Scope<'a> {
    /// Reads a credential. `date` is the request's, whose day must be the credential's.
    pub(crate) fn parse(credential: &'a str, date: &str, fault: Fault) -> S3Result<Self> {
        let malformed = |text: &'static str| fault.because(text);
        let mut parts = credential.rsplitn(5, '/');
        let (Some(end), Some(service), Some(region), Some(day), Some(access_key)) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(malformed(
                "The credential is mal-formed; expecting \
                 \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".",
            ));
        };
        if end != "aws4_request" {
            return Err(malformed(
                "The credential is mal-formed; incorrect terminal. This endpoint uses \
                 \"aws4_request\".",
            ));
        }
        if service != "s3" {
            return Err(malformed(
                "The credential is mal-formed; incorrect service. This endpoint belongs to \"s3\".",
            ));
        }
        if region.is_empty() {
            return Err(malformed("The credential is mal-formed; the region must not be empty."));
        }
        if date.get(..8) != Some(day) {
            return Err(malformed(
                "The credential is mal-formed; its date is not the date of the request.",
            ));
        }
        Ok(Self { access_key, date: day, region, service })
    }

    /// The scope as it stands in what is signed.
    fn text(&self) -> String {
        format!("{}/{}/{}/aws4_request", self.date, self.region, self.service)
    }

    /// The key that signs within this scope.
    fn signing_key(&self, secret: &str) -> hmac::Key {
        let first = format!("AWS4{secret}");
        [self.date, self.region, self.service, "aws4_request"].iter().fold(
            hmac::Key::new(hmac::HMAC_SHA256, first.as_bytes()),
            |key, text| {
                let tag = hmac::sign(&key, text.as_bytes());
                hmac::Key::new(hmac::HMAC_SHA256, tag.as_ref())
            },
        )
    }

    /// Checks the signature of any text.
    pub(crate) fn signed(&self, secret: &str, text: &str, signature: &str) -> S3Result<()> {
        let key = self.signing_key(secret);
        let tag = unhex(signature).ok_or_else(mismatch)?;
        hmac::verify(&key, text.as_bytes(), &tag).map_err(|_| mismatch())
    }

    /// Checks the signature of a canonical request; what it returns signs chunks of the body.
    pub(super) fn check(
        &self,
        secret: &str,
        timestamp: &str,
        canonical: &str,
        signature: &str,
    ) -> S3Result<ChunkSigner> {
        let signer = ChunkSigner {
            key: self.signing_key(secret),
            scope: self.text(),
            timestamp: timestamp.to_owned(),
            previous: signature.to_owned(),
        };
        let hash = hex_sha256(canonical.as_bytes());
        let text = format!("AWS4-HMAC-SHA256\n{timestamp}\n{}\n{hash}", signer.scope);
        if !signer.matches(&text, signature) {
            return Err(mismatch());
        }
        Ok(signer)
    }
}

/// Checks the signatures of chunks, each of which covers the one before.
pub(crate) struct ChunkSigner {
    key: hmac::Key,
    scope: String,
    timestamp: String,
    previous: String,
}

impl fmt::Debug for ChunkSigner {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChunkSigner").field("scope", &self.scope).finish_non_exhaustive()
    }
}

impl ChunkSigner {
    /// Checks a chunk of data with this SHA-256.
    pub(crate) fn chunk(&mut self, hash: &digest::Digest, signature: &str) -> bool {
        let empty = hex_sha256(b"");
        let hash = HEXLOWER.encode(hash.as_ref());
        self.next("AWS4-HMAC-SHA256-PAYLOAD", &format!("{empty}\n{hash}"), signature)
    }

    /// Checks the headers behind the last chunk, as `name:value\n` each.
    pub(crate) fn trailers(&mut self, trailers: &str, signature: &str) -> bool {
        self.next("AWS4-HMAC-SHA256-TRAILER", &hex_sha256(trailers.as_bytes()), signature)
    }

    fn next(&mut self, kind: &str, what: &str, signature: &str) -> bool {
        let Self { scope, timestamp, previous, .. } = &*self;
        let text = format!("{kind}\n{timestamp}\n{scope}\n{previous}\n{what}");
        let matches = self.matches(&text, signature);
        signature.clone_into(&mut self.previous);
        matches
    }

    fn matches(&self, text: &str, signature: &str) -> bool {
        // `verify` takes the same time whatever the difference.
        unhex(signature).is_some_and(|tag| hmac::verify(&self.key, text.as_bytes(), &tag).is_ok())
    }

    /// Signs the next chunk.
    #[cfg(test)]
    pub(crate) fn sign_chunk(&mut self, data: &[u8]) -> String {
        let Self { scope, timestamp, previous, .. } = &*self;
        let what = format!("{}\n{}", hex_sha256(b""), hex_sha256(data));
        self.sign(&format!("AWS4-HMAC-SHA256-PAYLOAD\n{timestamp}\n{scope}\n{previous}\n{what}"))
    }

    /// Signs the trailers.
    #[cfg(test)]
    pub(crate) fn sign_trailers(&mut self, trailers: &str) -> String {
        let Self { scope, timestamp, previous, .. } = &*self;
        let what = hex_sha256(trailers.as_bytes());
        self.sign(&format!("AWS4-HMAC-SHA256-TRAILER\n{timestamp}\n{scope}\n{previous}\n{what}"))
    }

    #[cfg(test)]
    fn sign(&mut self, text: &str) -> String {
        self.previous = HEXLOWER.encode(hmac::sign(&self.key, text.as_bytes()).as_ref());
        self.previous.clone()
    }

    /// A signer for tests.
    #[cfg(test)]
    pub(crate) fn of(scope: &Scope<'_>, secret: &str, timestamp: &str, seed: &str) -> Self {
        Self {
            key: scope.signing_key(secret),
            scope: scope.text(),
            timestamp: timestamp.to_owned(),
            previous: seed.to_owned(),
        }
    }
}

/// The refusal of a signature.
pub(super) fn mismatch() -> S3Error {
    Fault::SignatureDoesNotMatch.into()
}

pub(super) fn hex_sha256(data: &[u8]) -> String {
    HEXLOWER.encode(digest::digest(&digest::SHA256, data).as_ref())
}

/// 32 bytes from 64 lower-case hexadecimal digits.
pub(super) fn unhex(text: &str) -> Option<[u8; 32]> {
    HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()
}
