//! What a client says of the bytes it sends, and whether they are so.

use super::Body;
use crate::{
    digest::{Algorithm, Checksum, Digests},
    fault::Fault,
};
use data_encoding::BASE64;
use http::HeaderMap;
use s3s::{S3Error, S3Result};

/// What headers promise of a body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Expected {
    md5: Option<[u8; 16]>,
    checksum: Option<Promise>,
}

/// A checksum that is to be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Promise {
    Given(Checksum),
    /// It comes behind the body.
    Trailer(Algorithm),
}

impl Expected {
    /// Reads `Content-MD5`, `x-amz-checksum-…`, `x-amz-trailer` and `x-amz-sdk-checksum-algorithm`.
    pub(crate) fn of(headers: &HeaderMap) -> S3Result<Self> {
        let md5 = text(headers, "content-md5").map(parse_md5).transpose()?;
        let given = given(headers)?;
        let trailer = trailer(headers)?;
        let checksum = match (given, trailer) {
            (Some(_), Some(_)) => return Err(several()),
            (Some(checksum), None) => Some(Promise::Given(checksum)),
            (None, Some(algorithm)) => Some(Promise::Trailer(algorithm)),
            (None, None) => None,
        };
        let expected = Self { md5, checksum };
        expected.check_named(text(headers, "x-amz-sdk-checksum-algorithm"))?;
        Ok(expected)
    }

    /// Reads `Content-MD5` alone.
    pub(crate) fn of_md5(headers: &HeaderMap) -> S3Result<Self> {
        let md5 = text(headers, "content-md5").map(parse_md5).transpose()?;
        Ok(Self { md5, checksum: None })
    }

    /// The algorithm that the client computes, if it does.
    pub(crate) fn algorithm(&self) -> Option<Algorithm> {
        self.checksum.as_ref().map(|promise| match promise {
            Promise::Given(checksum) => checksum.algorithm,
            Promise::Trailer(algorithm) => *algorithm,
        })
    }

    fn check_named(&self, name: Option<&str>) -> S3Result<()> {
        let Some(name) = name else { return Ok(()) };
        let named = Algorithm::of_name(name).ok_or_else(|| unsupported("algorithm"))?;
        match self.algorithm() {
            Some(algorithm) if algorithm == named => Ok(()),
            Some(_) => Err(Fault::InvalidRequest
                .because("Value for x-amz-sdk-checksum-algorithm header is invalid.")),
            None => Err(Fault::InvalidRequest.because(
                "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or \
                 x-amz-trailer headers were found.",
            )),
        }
    }

    /// Compares what came, which is over, with what was promised.
    pub(crate) fn check(&self, body: &Body, digests: &Digests) -> S3Result<()> {
        if body.sha256().is_some() && body.sha256() != digests.sha256 {
            return Err(Fault::XAmzContentSHA256Mismatch.into());
        }
        self.check_md5(&digests.md5)?;
        let Some(promise) = &self.checksum else { return Ok(()) };
        let promised = match promise {
            Promise::Given(checksum) => checksum.clone(),
            Promise::Trailer(algorithm) => {
                let value = body.trailer(algorithm.header()).ok_or(Fault::MalformedTrailerError)?;
                Checksum::parse(*algorithm, value).ok_or_else(|| invalid(*algorithm))?
            }
        };
        if digests.checksum.as_ref() == Some(&promised) { Ok(()) } else { Err(bad(&promised)) }
    }

    fn check_md5(&self, found: &[u8; 16]) -> S3Result<()> {
        if self.md5.is_none_or(|promised| promised == *found) {
            return Ok(());
        }
        Err(Fault::BadDigest
            .because("The Content-MD5 you specified did not match what we received."))
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap_or_default().trim())
}

fn parse_md5(text: &str) -> S3Result<[u8; 16]> {
    let bytes = BASE64.decode(text.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| Fault::InvalidDigest.because("The Content-MD5 you specified is not valid."))
}

/// The checksum that a header gives, of which there may be one.
pub(crate) fn given(headers: &HeaderMap) -> S3Result<Option<Checksum>> {
    let mut found = None;
    for algorithm in Algorithm::ALL {
        let Some(value) = text(headers, algorithm.header()) else { continue };
        let checksum = Checksum::parse(algorithm, value).ok_or_else(|| invalid(algorithm))?;
        if found.replace(checksum).is_some() {
            return Err(several());
        }
    }
    let known = ["x-amz-checksum-algorithm", "x-amz-checksum-mode", "x-amz-checksum-type"];
    let stranger = headers.keys().map(http::HeaderName::as_str).find(|name| {
        name.starts_with("x-amz-checksum-")
            && !known.contains(name)
            && Algorithm::of_header(name).is_none()
    });
    if stranger.is_some() { Err(unsupported("header")) } else { Ok(found) }
}

fn trailer(headers: &HeaderMap) -> S3Result<Option<Algorithm>> {
    let Some(names) = text(headers, "x-amz-trailer") else { return Ok(None) };
    let algorithm = Algorithm::of_header(names);
    algorithm.map(Some).ok_or_else(|| {
        Fault::InvalidRequest
            .because("The value specified in the x-amz-trailer header is not supported")
    })
}

fn invalid(algorithm: Algorithm) -> S3Error {
    Fault::InvalidRequest.because(format!("Value for {} header is invalid.", algorithm.header()))
}

fn several() -> S3Error {
    Fault::InvalidRequest.because(
        "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
    )
}

fn unsupported(what: &str) -> S3Error {
    Fault::InvalidRequest.because(format!(
        "Checksum {what} provided is unsupported. Please try again with any of the valid types: \
         [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]"
    ))
}

fn bad(promised: &Checksum) -> S3Error {
    Fault::BadDigest.because(format!(
        "The {} you specified did not match the calculated checksum.",
        promised.algorithm.name()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Config, digest::Hasher, patience::Pace, sign::Payload};
    use bytes::Bytes;
    use http_body_util::Full;

    fn expected(pairs: &[(&'static str, &str)]) -> S3Result<Expected> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, value.parse().expect("a header's value"));
        }
        Expected::of(&headers)
    }

    /// Compares a body of these bytes.
    async fn check(promised: &Expected, bytes: &'static str) -> Result<(), String> {
        let incoming = Full::new(Bytes::from(bytes));
        let length = bytes.len() as u64;
        let mut body = Body::new(incoming, Payload::Unsigned, length, Pace::of(&Config::default()));
        let mut hasher = Hasher::new(false, promised.algorithm());
        hasher.update(&body.all().await.expect("data"));
        let checked = promised.check(&body, &hasher.finish());
        checked.map_err(|error| error.code().as_str().to_owned())
    }

    fn refusal(pairs: &[(&'static str, &str)]) -> String {
        expected(pairs).expect_err("a refusal").code().as_str().to_owned()
    }

    #[tokio::test]
    async fn bytes_are_compared_with_what_is_promised() {
        let promised = expected(&[
            ("content-md5", "XUFAKrxLKna5cZ2REBfFkg=="),
            ("x-amz-checksum-crc32", "NhCmhg=="),
            ("x-amz-sdk-checksum-algorithm", "CRC32"),
        ])
        .expect("promises");

        assert_eq!(check(&promised, "hello").await, Ok(()));
        assert_eq!(check(&promised, "hellO").await, Err("BadDigest".to_owned()));
        assert_eq!(check(&expected(&[]).expect("nothing"), "any").await, Ok(()));
    }

    #[test]
    fn promises_that_cannot_be_kept_are_refused() {
        assert_eq!(refusal(&[("content-md5", "short")]), "InvalidDigest");
        assert_eq!(refusal(&[("content-md5", "")]), "InvalidDigest");
        assert_eq!(refusal(&[("x-amz-checksum-crc32", "bad")]), "InvalidRequest");
        assert_eq!(refusal(&[("x-amz-checksum-md4", "bad")]), "InvalidRequest");
        assert_eq!(refusal(&[("x-amz-trailer", "x-amz-meta-a")]), "InvalidRequest");
        assert_eq!(refusal(&[("x-amz-sdk-checksum-algorithm", "MD4")]), "InvalidRequest");
        assert_eq!(refusal(&[("x-amz-sdk-checksum-algorithm", "CRC32")]), "InvalidRequest");
        assert_eq!(
            refusal(&[("x-amz-checksum-crc32", "NhCmhg=="), ("x-amz-checksum-crc32c", "NhCmhg==")]),
            "InvalidRequest"
        );
    }
}
