//! The bytes between nodes: a greeting, then frames.
//!
//! ```text
//! greeting  magic "CSKGEDSN" | u16 version | 6 zero bytes
//! frame     u32 length of the payload | u8 kind | u8 flags | u16 zero | u64 id | u32 CRC-32C of the payload | the payload
//! ```

use crate::{Error, Result};
use crc_fast::{CrcAlgorithm, Digest};

/// The size of a greeting.
pub(super) const GREETING_BYTES: usize = 16;
/// The size of a frame's header.
pub(super) const HEADER_BYTES: usize = 20;
/// Longest request: two keys with all the attributes that they may have, and some more.
pub(super) const REQUEST_MAX_BYTES: u32 = 64 << 10;
/// Longest answer: a page of objects with all the attributes that they may have.
pub(super) const ANSWER_MAX_BYTES: u32 = 32 << 20;
/// Most bytes of an object in one frame: other answers come in between.
pub(super) const DATA_MAX_BYTES: u32 = 256 << 10;
/// Longest notice: an event of a renamed object.
pub(super) const NOTICE_MAX_BYTES: u32 = 8 << 10;

/// From here on bytes are summed by wide registers.
const LARGE_BYTES: usize = 4 << 10;
const MAGIC: [u8; 8] = *b"CSKGEDSN";
const VERSION: u16 = 3;
/// No more frames of this answer follow.
const LAST: u8 = 1;

/// What a side sends first.
pub(super) fn greeting() -> [u8; GREETING_BYTES] {
    let mut greeting = [0; GREETING_BYTES];
    greeting[..8].copy_from_slice(&MAGIC);
    greeting[8..10].copy_from_slice(&VERSION.to_le_bytes());
    greeting
}

/// Checks what the other side sent first.
///
/// # Errors
/// [`Error::Corrupt`] for something else, [`Error::Unavailable`] for another version.
pub(super) fn check_greeting(found: &[u8; GREETING_BYTES]) -> Result<()> {
    if found[..8] != MAGIC || found[10..] != [0; 6] {
        return Err(malformed("it does not begin as this protocol does"));
    }
    match u16::from_le_bytes([found[8], found[9]]) {
        VERSION => Ok(()),
        other => Err(Error::Unavailable(format!(
            "the other site's node speaks version {other}, this one {VERSION}: run the same release"
        ))),
    }
}

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A [`Request`](super::message::Request).
    Request,
    /// An [`Answer`](super::message::Answer).
    Answer,
    /// Bytes of an object, behind the answer of the same id.
    Data,
    /// A [`Notice`](super::message::Notice).
    Notice,
}

impl Kind {
    fn max(self) -> u32 {
        match self {
            Self::Request => REQUEST_MAX_BYTES,
            Self::Answer => ANSWER_MAX_BYTES,
            Self::Data => DATA_MAX_BYTES,
            Self::Notice => NOTICE_MAX_BYTES,
        }
    }

    fn of(byte: u8) -> Option<Self> {
        [Self::Request, Self::Answer, Self::Data, Self::Notice].get(usize::from(byte)).copied()
    }
}

/// What stands before a frame's payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    /// Whether no more frames of this answer follow.
    pub(super) last: bool,
    /// Which request it belongs to, chosen by who asks.
    pub(super) id: u64,
    pub(super) len: u32,
    pub(super) crc: u32,
}

impl Header {
    /// The header of these bytes.
    ///
    /// # Errors
    /// [`Error::Invalid`] for more than a frame of the kind may have.
    pub(super) fn of(kind: Kind, id: u64, last: bool, payload: &[u8]) -> Result<Self> {
        Self::summed(kind, id, last, payload.len(), sum(payload))
    }

    /// The header of bytes whose sum is known.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub(super) fn summed(kind: Kind, id: u64, last: bool, size: usize, crc: u32) -> Result<Self> {
        let len = u32::try_from(size).ok().filter(|len| *len <= kind.max());
        let len = len.ok_or_else(|| {
            let max = kind.max();
            Error::Invalid(format!("a message between nodes has at most {max} bytes, not {size}"))
        })?;
        Ok(Self { kind, last, id, len, crc })
    }

    pub(super) fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&self.len.to_le_bytes());
        bytes[4] = self.kind as u8;
        bytes[5] = if self.last { LAST } else { 0 };
        bytes[8..16].copy_from_slice(&self.id.to_le_bytes());
        bytes[16..].copy_from_slice(&self.crc.to_le_bytes());
        bytes
    }

    /// Reads a header.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for what none is.
    pub(super) fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Self> {
        let word = |at: usize| bytes[at..at + 4].try_into().map_or(0, u32::from_le_bytes);
        let kind = Kind::of(bytes[4]).ok_or_else(|| malformed("there is no such kind of frame"))?;
        if bytes[5] & !LAST != 0 || bytes[6..8] != [0, 0] {
            return Err(malformed("it has flags that there are not"));
        }
        let (len, crc) = (word(0), word(16));
        if len > kind.max() {
            return Err(malformed("a frame is longer than one of its kind may be"));
        }
        let id = bytes[8..16].try_into().map_or(0, u64::from_le_bytes);
        Ok(Self { kind, last: bytes[5] & LAST != 0, id, len, crc })
    }

    /// Checks a payload that has come.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub(super) fn check(&self, payload: &[u8]) -> Result<()> {
        let mut sum = Sum::default();
        sum.add(payload);
        self.check_sum(payload.len(), sum)
    }

    /// The same of one that was summed as it came.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub(super) fn check_sum(&self, len: usize, sum: Sum) -> Result<()> {
        if len == self.len as usize && sum.0 == self.crc {
            return Ok(());
        }
        Err(malformed("its bytes do not match their checksum"))
    }
}

/// The CRC-32C of bytes that come one after the other.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sum(u32);

impl Sum {
    /// Of many bytes it is computed by the crate that uses the widest registers, which takes a fraction of the time of the
    /// processor's own instruction.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        if bytes.len() < LARGE_BYTES {
            self.0 = crc32c::crc32c_append(self.0, bytes);
            return;
        }
        let state = u64::from(!self.0);
        let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc32Iscsi, state);
        digest.update(bytes);
        self.0 = digest.finalize() as u32;
    }
}

pub(super) fn sum(bytes: &[u8]) -> u32 {
    let mut sum = Sum::default();
    sum.add(bytes);
    sum.0
}

/// What another node may not send.
pub(super) fn malformed(why: &str) -> Error {
    Error::Corrupt { what: "what another site's node sent".to_owned(), why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_comes_back_and_no_other_bytes_are_one() {
        for kind in [Kind::Request, Kind::Answer, Kind::Data, Kind::Notice] {
            for last in [true, false] {
                let header = Header::of(kind, u64::MAX - 3, last, b"bytes").unwrap();
                assert_eq!(Header::parse(&header.to_bytes()).unwrap(), header);
                assert!(header.check(b"bytes").is_ok());
                assert!(header.check(b"bytex").is_err() && header.check(b"byte").is_err());
            }
        }
        let good = Header::of(Kind::Data, 1, true, b"x").unwrap().to_bytes();
        for (at, value) in [(3, 1), (4, 4), (5, 2), (6, 1), (7, 1)] {
            let mut bad = good;
            bad[at] = value;
            assert!(Header::parse(&bad).is_err(), "{at}");
        }
        let long = vec![0; DATA_MAX_BYTES as usize + 1];
        assert!(Header::of(Kind::Data, 1, true, &long).is_err());
    }

    #[test]
    fn sums_are_the_same_by_whatever_registers() {
        let bytes: Vec<u8> = (0..3 * LARGE_BYTES).map(|n| (n * 7 / 3) as u8).collect();
        for len in [0, 1, LARGE_BYTES - 1, LARGE_BYTES, LARGE_BYTES + 1, 3 * LARGE_BYTES] {
            assert_eq!(sum(&bytes[..len]), crc32c::crc32c(&bytes[..len]), "{len}");
            let mut parts = Sum::default();
            bytes[..len]
                .split_at(len / 3)
                .0
                .chunks(LARGE_BYTES / 3)
                .for_each(|part| parts.add(part));
            parts.add(&bytes[len / 3..len]);
            assert_eq!(parts.0, crc32c::crc32c(&bytes[..len]), "{len}");
        }
    }

    #[test]
    fn only_this_protocol_and_version_are_greeted() {
        check_greeting(&greeting()).unwrap();
        let mut other = greeting();
        other[8] += 1;
        assert_eq!(check_greeting(&other).unwrap_err().kind(), crate::ErrorKind::Unavailable);
        let mut other = greeting();
        other[15] = 1;
        assert_eq!(check_greeting(&other).unwrap_err().kind(), crate::ErrorKind::Corrupt);
    }
}
