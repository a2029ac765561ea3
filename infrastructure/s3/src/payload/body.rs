//! A body as it arrives: decoded, measured, and never waited for longer than allowed.

use super::chunks::{ChunkError, Decoder, Trailers};
use crate::{
    fault::{Fault, fail},
    patience::{Pace, Patience},
    sign::Payload,
};
use bytes::Bytes;
use http_body_util::BodyExt;
use s3s::{S3Error, S3Result, StdError};
use std::{fmt, ops::RangeInclusive, pin::Pin, time::Instant};

type Incoming = Pin<Box<dyn http_body::Body<Data = Bytes, Error = StdError> + Send>>;

/// The data of a request's body.
pub(crate) struct Body {
    incoming: Incoming,
    decoder: Option<Decoder>,
    sha256: Option<[u8; 32]>,
    /// How many bytes of data there may be.
    size: RangeInclusive<u64>,
    /// How many came.
    received: u64,
    /// What other numbers are refused with.
    too_few: Fault,
    too_many: Fault,
    /// What arrived and was not decoded yet.
    arrived: Bytes,
    trailers: Trailers,
    patience: Patience,
    is_over: bool,
}

impl Body {
    /// A body of `length` bytes of data, checked as its head's signature says.
    pub(crate) fn new<B>(incoming: B, payload: Payload, length: u64, pace: Pace) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<StdError>,
    {
        let (decoder, sha256) = match payload {
            Payload::Unsigned => (None, None),
            Payload::Exact(digest) => (None, Some(digest)),
            Payload::Chunks { signer, trailers } => {
                (Some(Decoder::new(signer, trailers, length)), None)
            }
        };
        Self {
            incoming: Box::pin(incoming.map_err(Into::into)),
            decoder,
            sha256,
            size: length..=length,
            received: 0,
            too_few: Fault::IncompleteBody,
            too_many: Fault::IncompleteBody,
            arrived: Bytes::new(),
            trailers: Trailers::new(),
            patience: Patience::new(pace),
            is_over: false,
        }
    }

    /// A file of a form, whose size is known when it has come.
    pub(crate) fn of_file<B>(incoming: B, size: RangeInclusive<u64>, pace: Pace) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<StdError>,
    {
        Self {
            size,
            too_few: Fault::EntityTooSmall,
            too_many: Fault::EntityTooLarge,
            ..Self::new(incoming, Payload::Unsigned, 0, pace)
        }
    }

    /// How many bytes of data there are at most: what was announced, if anything was.
    pub(crate) fn length(&self) -> u64 {
        *self.size.end()
    }

    /// The SHA-256 that was signed.
    pub(crate) fn sha256(&self) -> Option<[u8; 32]> {
        self.sha256
    }

    /// A header that came behind the data; none before [`next`](Self::next) has told its end.
    pub(crate) fn trailer(&self, name: &str) -> Option<&str> {
        self.trailers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The next bytes of data; none at the end, which is told only if all came as announced.
    pub(crate) async fn next(&mut self) -> S3Result<Option<Bytes>> {
        loop {
            if let Some(decoder) = &mut self.decoder
                && let Some(data) = decoder.next(&mut self.arrived).map_err(of_chunks)?
            {
                self.count(&data)?;
                return Ok(Some(data));
            }
            if self.is_over {
                return Ok(None);
            }
            let Some(arrived) = self.receive().await? else {
                self.end()?;
                return Ok(None);
            };
            if self.decoder.is_some() {
                self.arrived = arrived;
            } else if !arrived.is_empty() {
                self.count(&arrived)?;
                return Ok(Some(arrived));
            }
        }
    }

    /// All data, which must be few enough.
    pub(crate) async fn all(&mut self) -> S3Result<Bytes> {
        let Some(first) = self.next().await? else { return Ok(Bytes::new()) };
        let Some(second) = self.next().await? else { return Ok(first) };
        let mut all = Vec::with_capacity(usize::try_from(self.length()).unwrap_or_default());
        all.extend_from_slice(&first);
        all.extend_from_slice(&second);
        while let Some(more) = self.next().await? {
            all.extend_from_slice(&more);
        }
        Ok(all.into())
    }

    async fn receive(&mut self) -> S3Result<Option<Bytes>> {
        self.patience.waits(Instant::now());
        let frame = tokio::time::timeout(self.patience.pace.stall_max, self.incoming.frame())
            .await
            .map_err(|_| S3Error::from(Fault::RequestTimeout))?;
        match frame {
            None => Ok(None),
            Some(Ok(frame)) => {
                // Headers of HTTP behind the body mean nothing to S3.
                let data = frame.into_data().unwrap_or_default();
                if !self.patience.moved(Instant::now(), data.len()) {
                    return fail(Fault::RequestTimeout);
                }
                Ok(Some(data))
            }
            Some(Err(error)) => {
                tracing::debug!(error = &*error as &dyn std::error::Error, "a body ended early");
                fail(Fault::IncompleteBody)
            }
        }
    }

    fn end(&mut self) -> S3Result<()> {
        self.is_over = true;
        if let Some(decoder) = self.decoder.take() {
            self.trailers = decoder.finish().map_err(of_chunks)?;
        }
        if self.received >= *self.size.start() {
            return Ok(());
        }
        fail(self.too_few)
    }

    fn count(&mut self, data: &[u8]) -> S3Result<()> {
        self.received = self.received.saturating_add(data.len() as u64);
        if self.received <= *self.size.end() {
            return Ok(());
        }
        fail(self.too_many)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("size", &self.size).finish_non_exhaustive()
    }
}

fn of_chunks(error: ChunkError) -> S3Error {
    match error {
        ChunkError::Signature => Fault::SignatureDoesNotMatch.into(),
        ChunkError::Trailers => Fault::MalformedTrailerError.into(),
        ChunkError::Length => Fault::IncompleteBody.into(),
        ChunkError::Malformed => {
            Fault::InvalidRequest.because("The body is not well-formed aws-chunked data.")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use http_body_util::{Full, StreamBody};

    fn body(data: &'static str, payload: Payload, length: u64) -> Body {
        Body::new(Full::new(Bytes::from(data)), payload, length, Pace::of(&Config::default()))
    }

    fn unsigned_chunks() -> Payload {
        Payload::Chunks { signer: None, trailers: true }
    }

    #[tokio::test]
    async fn plain_and_chunked_bodies_give_their_data() {
        let mut plain = body("hello", Payload::Unsigned, 5);
        assert_eq!(plain.all().await.expect("data"), "hello");

        let text = "3\r\nhel\r\n2\r\nlo\r\n0\r\nx-amz-checksum-crc32:abc\r\n\r\n";
        let mut chunked = body(text, unsigned_chunks(), 5);
        assert_eq!(chunked.all().await.expect("data"), "hello");
        assert_eq!(chunked.trailer("x-amz-checksum-crc32"), Some("abc"));
    }

    #[tokio::test]
    async fn bodies_that_lie_about_their_length_are_refused() {
        for (data, payload, length) in [
            ("hello", Payload::Unsigned, 6),
            ("hello", Payload::Unsigned, 4),
            ("3\r\nhel\r\n0\r\n\r\n", unsigned_chunks(), 4),
            ("3\r\nhel\r\n", unsigned_chunks(), 3),
        ] {
            let error = body(data, payload, length).all().await.expect_err("a refusal");
            assert_eq!(error.code().as_str(), "IncompleteBody", "{data}");
        }
    }

    #[tokio::test]
    async fn a_body_that_stalls_is_given_up() {
        let nothing = futures_util::stream::pending::<Result<http_body::Frame<Bytes>, StdError>>();
        let pace = Pace::of(&Config { stall_timeout_ms: 10, ..Config::default() });
        let mut body = Body::new(StreamBody::new(nothing), Payload::Unsigned, 5, pace);

        let error = body.next().await.expect_err("a refusal");

        assert_eq!(error.code().as_str(), "RequestTimeout");
    }
}
