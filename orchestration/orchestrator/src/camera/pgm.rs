//! Cuts a stream of portable graymaps (`P5`), ffmpeg's form of luminance that tells its size.

use super::{Error, Result, jpeg::PICTURE_MAX_BYTES};
use bytes::{Buf, Bytes, BytesMut};

/// Longest header that we wait for: `P5`, two sizes and the largest value.
const HEADER_MAX_BYTES: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Splitter {
    buffer: BytesMut,
}

/// One picture: a byte for each pixel.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Graymap {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) pixels: Bytes,
}

impl Splitter {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole picture; none until more is pushed.
    ///
    /// # Errors
    /// [`Error::Picture`] if the stream is something else.
    pub(super) fn next(&mut self) -> Result<Option<Graymap>> {
        let Some((header_bytes, width, height)) = self.header()? else {
            return Ok(None);
        };
        let pixels = width
            .checked_mul(height)
            .filter(|size| (1..=PICTURE_MAX_BYTES).contains(size))
            .ok_or(Error::Picture("a graymap that is empty or of more than 32 MiB"))?;
        if self.buffer.len() < header_bytes + pixels {
            return Ok(None);
        }
        self.buffer.advance(header_bytes);
        let pixels = self.buffer.split_to(pixels).freeze();
        Ok(Some(Graymap { width, height, pixels }))
    }

    /// The header's length, and the width and height that it tells.
    fn header(&self) -> Result<Option<(usize, usize, usize)>> {
        let head = &self.buffer[..self.buffer.len().min(HEADER_MAX_BYTES)];
        let mut numbers = [0_usize; 3];
        let mut at = 2;
        for number in &mut numbers {
            at += head.iter().skip(at).take_while(|byte| byte.is_ascii_whitespace()).count();
            let digits = head.iter().skip(at).take_while(|byte| byte.is_ascii_digit()).count();
            *number = std::str::from_utf8(head.get(at..at + digits).unwrap_or_default())
                .ok()
                .and_then(|text| text.parse().ok())
                .unwrap_or(0);
            at += digits;
        }
        let whole = at < head.len();
        if !whole && head.len() < HEADER_MAX_BYTES {
            return Ok(None);
        }
        let [width, height, largest] = numbers;
        if !whole || !head.starts_with(b"P5") || largest != 255 || !head[at].is_ascii_whitespace() {
            return Err(Error::Picture("not a graymap of 8 bits"));
        }
        Ok(Some((at + 1, width, height)))
    }
}
