//! The bodies of responses: bytes of objects go from memory to the socket without a copy.

use crate::{
    fault::Fault,
    store::{self, of_geds},
};
use bytes::Bytes;
use geds::Object;
use http_body::{Frame, SizeHint};
use s3s::{S3Result, StdError};
use std::{
    fmt,
    future::Future,
    ops::Range,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::task::JoinHandle;

/// How much of an object that does not lie together in memory is read at a time.
const PIECE_BYTES: u64 = 512 << 10;

/// The body of a response.
pub(crate) enum Reply {
    /// Nothing.
    Empty,
    /// The length that a body would have.
    HeadOnly(u64),
    /// Bytes that lie together.
    Whole(Bytes),
    /// Bytes that are read as they are sent.
    Pieces(Pieces),
}

impl Reply {
    /// Bytes of an object. What could not be read is told now, not in the midst of the response.
    pub(crate) async fn of_object(object: Object, range: Range<u64>) -> S3Result<Self> {
        if range.is_empty() {
            return Ok(Self::Empty);
        }
        if let Some(view) = object.view_range(range.clone()).map_err(of_geds)? {
            return Ok(Self::Whole(Bytes::from_owner(view)));
        }
        let mut pieces = Pieces { object, left: range, reading: None, first: None };
        pieces.first = Some(pieces.read().await?);
        Ok(Self::Pieces(pieces))
    }

    /// How many bytes there are, as the head tells it.
    pub(super) fn length(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::HeadOnly(length) => *length,
            Self::Whole(bytes) => bytes.len() as u64,
            Self::Pieces(pieces) => pieces.length(),
        }
    }
}

impl From<Bytes> for Reply {
    fn from(bytes: Bytes) -> Self {
        if bytes.is_empty() { Self::Empty } else { Self::Whole(bytes) }
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reply({} bytes)", self.length())
    }
}

/// Bytes of an object that are read as they are sent.
pub(crate) struct Pieces {
    object: Object,
    /// What was not read yet.
    left: Range<u64>,
    /// Read, and not sent yet.
    first: Option<Bytes>,
    reading: Option<JoinHandle<geds::Result<Bytes>>>,
}

impl Pieces {
    fn length(&self) -> u64 {
        self.left.end - self.left.start + self.first.as_ref().map_or(0, |piece| piece.len() as u64)
    }

    /// The next piece, borrowed if it lies together in memory, else read on a thread that may block.
    fn begin(&mut self) -> geds::Result<Result<Bytes, JoinHandle<geds::Result<Bytes>>>> {
        let end = self.left.end.min(self.left.start.saturating_add(PIECE_BYTES));
        let range = self.left.start..end;
        if let Some(view) = self.object.view_range(range.clone())? {
            self.left.start = end;
            return Ok(Ok(Bytes::from_owner(view)));
        }
        let object = self.object.clone();
        Ok(Err(tokio::task::spawn_blocking(move || read(&object, range))))
    }

    async fn read(&mut self) -> S3Result<Bytes> {
        match self.begin().map_err(of_geds)? {
            Ok(piece) => Ok(piece),
            Err(reading) => {
                let piece = store::joined(reading.await)?.map_err(of_geds)?;
                self.left.start += piece.len() as u64;
                Ok(piece)
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, StdError>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        if self.left.is_empty() && self.reading.is_none() {
            return Poll::Ready(None);
        }
        if self.reading.is_none() {
            match self.begin() {
                Ok(Ok(piece)) => return Poll::Ready(Some(Ok(piece))),
                Ok(Err(reading)) => self.reading = Some(reading),
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
        }
        let Some(reading) = &mut self.reading else { return Poll::Ready(None) };
        let result = ready!(Pin::new(reading).poll(cx));
        self.reading = None;
        Poll::Ready(Some(match result {
            Ok(Ok(piece)) => {
                self.left.start += piece.len() as u64;
                Ok(piece)
            }
            Ok(Err(error)) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "an object cannot be read to its end"
                );
                Err(error.into())
            }
            Err(error) => Err(error.into()),
        }))
    }
}

/// Reads some bytes, at least one: the head has promised them.
fn read(object: &Object, range: Range<u64>) -> geds::Result<Bytes> {
    let size = usize::try_from(range.end - range.start).unwrap_or_default();
    let mut buffer = vec![0; size];
    let mut filled = 0;
    while filled < size {
        let read = object.read_at(range.start + filled as u64, &mut buffer[filled..])?;
        if read == 0 {
            return Err(geds::Error::Corrupt {
                what: "a stored object".to_owned(),
                why: Fault::IncompleteBody.text().to_owned(),
            });
        }
        filled += read;
    }
    Ok(buffer.into())
}

impl http_body::Body for Reply {
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        match &mut *self {
            Self::Empty | Self::HeadOnly(_) => Poll::Ready(None),
            Self::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Pieces(pieces) => {
                let piece = ready!(pieces.poll(cx));
                Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Empty | Self::HeadOnly(_))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::HeadOnly(_) => SizeHint::with_exact(0),
            reply => SizeHint::with_exact(reply.length()),
        }
    }
}
