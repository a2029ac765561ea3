//! The record protocol: how a service cell reads requests and writes answers.
//!
//! `docs/protocol/record.md` describes it; the C side is `cloudskin/record.h`. Lengths are
//! little-endian. A request's frame is made once, by the ingress, and handed to the guest as it
//! is; an answer's frame is checked once, when the guest has written it.

use bytes::{BufMut, Bytes, BytesMut};

/// Version of the protocol; stands in every frame.
pub const RECORD_VERSION: u8 = 1;

/// The header that names a request for ever.
pub const REQUEST_ID: &str = "cloudskin-request-id";

/// Longest method name.
const METHOD_MAX_BYTES: usize = u8::MAX as usize;

/// Longest path, header name, header value; most headers.
const FIELD_MAX: usize = u16::MAX as usize;

/// A request cannot be written, or an answer's frame is malformed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// A part is longer than its length field can say.
    #[error("the request's {part} is {size} long: the record protocol allows {limit}")]
    TooLong {
        /// Which part.
        part: &'static str,
        /// Its length.
        size: usize,
        /// What is allowed.
        limit: usize,
    },
    /// The guest's answer is larger than the service allows.
    #[error("the answer declares {size_bytes} bytes: the service's limit is {limit_bytes}")]
    AnswerTooLarge {
        /// What its length field says.
        size_bytes: u64,
        /// What the service allows.
        limit_bytes: u64,
    },
    /// The guest's answer has another version.
    #[error("the answer has record version {found}: this runtime speaks {RECORD_VERSION}")]
    Version {
        /// What stands there.
        found: u8,
    },
    /// The answer's inner lengths do not fit its outer one, or its status is not one.
    #[error("the answer's frame is malformed: {0}")]
    Malformed(&'static str),
}

/// Writes a request's frame.
///
/// # Errors
/// [`RecordError::TooLong`] names the part that does not fit.
pub fn encode_request<'a>(
    method: &str,
    path: &str,
    headers: impl ExactSizeIterator<Item = (&'a str, &'a [u8])> + Clone,
    body: &[u8],
) -> Result<Bytes, RecordError> {
    let limit = |part, size, limit| {
        if size > limit { Err(RecordError::TooLong { part, size, limit }) } else { Ok(()) }
    };
    limit("method", method.len(), METHOD_MAX_BYTES)?;
    limit("path", path.len(), FIELD_MAX)?;
    limit("number of headers", headers.len(), FIELD_MAX)?;
    let mut size = 1 + 1 + method.len() + 2 + path.len() + 2 + body.len();
    for (name, value) in headers.clone() {
        limit("header name", name.len(), FIELD_MAX)?;
        limit("header value", value.len(), FIELD_MAX)?;
        size += 4 + name.len() + value.len();
    }
    limit("frame", size, u32::MAX as usize)?;

    let mut frame = BytesMut::with_capacity(4 + size);
    frame.put_u32_le(size as u32);
    frame.put_u8(RECORD_VERSION);
    frame.put_u8(method.len() as u8);
    frame.put_slice(method.as_bytes());
    put_field(&mut frame, path.as_bytes());
    frame.put_u16_le(headers.len() as u16);
    for (name, value) in headers {
        put_field(&mut frame, name.as_bytes());
        put_field(&mut frame, value);
    }
    frame.put_slice(body);
    Ok(frame.freeze())
}

/// Callers have checked the length.
fn put_field(frame: &mut BytesMut, bytes: &[u8]) {
    frame.put_u16_le(bytes.len() as u16);
    frame.put_slice(bytes);
}

/// What a guest answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status, 100–999.
    pub status: u16,
    /// The body's media type; may be empty.
    pub content_type: Bytes,
    /// The body.
    pub body: Bytes,
}

/// Length of the frame at the front of `written`, its length field included; `None` while the
/// length field itself is incomplete.
///
/// # Errors
/// [`RecordError::AnswerTooLarge`] if it is over `limit_bytes`.
pub fn answer_frame_size(written: &[u8], limit_bytes: u64) -> Result<Option<usize>, RecordError> {
    let Some(length) = written.first_chunk::<4>() else { return Ok(None) };
    let size_bytes = u64::from(u32::from_le_bytes(*length));
    if size_bytes > limit_bytes {
        return Err(RecordError::AnswerTooLarge { size_bytes, limit_bytes });
    }
    Ok(Some(4 + size_bytes as usize))
}

/// Reads a whole answer's frame, its length field included, without copying the body.
///
/// # Errors
/// [`RecordError`] says what is malformed.
pub fn decode_answer(frame: &Bytes) -> Result<Answer, RecordError> {
    let short = RecordError::Malformed("it is shorter than its fields");
    let declared = frame.first_chunk::<4>().map(|length| u32::from_le_bytes(*length) as usize);
    if declared.and_then(|size| size.checked_add(4)) != Some(frame.len()) {
        return Err(RecordError::Malformed("its length field does not fit"));
    }
    let version = *frame.get(4).ok_or(short.clone())?;
    if version != RECORD_VERSION {
        return Err(RecordError::Version { found: version });
    }
    let field = |at: usize| -> Result<u16, RecordError> {
        let bytes = frame.get(at..at + 2).and_then(|bytes| bytes.first_chunk::<2>());
        bytes.map(|bytes| u16::from_le_bytes(*bytes)).ok_or(short.clone())
    };
    let status = field(5)?;
    if !(100..=999).contains(&status) {
        return Err(RecordError::Malformed("its status is not from 100 to 999"));
    }
    let body_at = 9 + usize::from(field(7)?);
    if body_at > frame.len() {
        return Err(short);
    }
    Ok(Answer { status, content_type: frame.slice(9..body_at), body: frame.slice(body_at..) })
}

/// Writes an answer's frame, as a guest would.
///
/// # Panics
/// If the content type is longer than 65,535 bytes or the body than 4 GiB.
pub fn encode_answer(status: u16, content_type: &str, body: &[u8]) -> Bytes {
    let type_size = u16::try_from(content_type.len()).expect("a content type is short");
    let size = u32::try_from(5 + content_type.len() + body.len()).expect("a body is below 4 GiB");
    let mut frame = BytesMut::with_capacity(4 + size as usize);
    frame.put_u32_le(size);
    frame.put_u8(RECORD_VERSION);
    frame.put_u16_le(status);
    frame.put_u16_le(type_size);
    frame.put_slice(content_type.as_bytes());
    frame.put_slice(body);
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_request_has_the_documented_bytes() {
        let headers = [("a", b"1".as_slice())];

        let frame = encode_request("GET", "/x", headers.into_iter(), b"hi").unwrap();

        assert_eq!(&frame[..], b"\x13\0\0\0\x01\x03GET\x02\0/x\x01\0\x01\0a\x01\x001hi".as_slice());
    }

    #[test]
    fn oversized_parts_are_named() {
        let long = "x".repeat(65_536);

        let error = encode_request("GET", &long, [].into_iter(), b"").unwrap_err();

        assert_eq!(error, RecordError::TooLong { part: "path", size: 65_536, limit: 65_535 });
    }

    proptest! {
        #[test]
        fn answers_come_back(status in 100_u16..=999, kind in "[a-z/]{0,20}", body: Vec<u8>) {
            let frame = encode_answer(status, &kind, &body);
            prop_assert_eq!(answer_frame_size(&frame, 1 << 20), Ok(Some(frame.len())));
            let answer = decode_answer(&frame).unwrap();
            prop_assert_eq!(answer, Answer { status, content_type: kind.into(), body: body.into() });
        }

        #[test]
        fn any_bytes_are_an_answer_or_an_error(bytes: Vec<u8>) {
            let _ = decode_answer(&Bytes::from(bytes));
        }
    }
}
