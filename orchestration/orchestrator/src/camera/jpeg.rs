//! Finds where each picture ends in a stream of JPEG pictures.

use super::{Error, Result};
use bytes::{Buf, Bytes, BytesMut};

/// Largest picture: an 8K frame of good quality is half of it.
pub(super) const PICTURE_MAX_BYTES: usize = 32 << 20;

const MARKER: u8 = 0xff;
const START_OF_IMAGE: u8 = 0xd8;
const END_OF_IMAGE: u8 = 0xd9;
const START_OF_SCAN: u8 = 0xda;
const HUFFMAN_TABLES: u8 = 0xc4;

/// Cuts a stream into pictures by walking their markers: a picture may hold another as its
/// thumbnail, and image data may hold what looks like an end.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    buffer: BytesMut,
    /// Everything before is parsed; 0 before a start of image was found.
    parsed: usize,
    in_scan: bool,
}

impl Splitter {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole picture; none until more is pushed.
    ///
    /// # Errors
    /// [`Error::Picture`] if a picture is larger than any should be.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>> {
        if self.parsed == 0 && !self.find_start() {
            return Ok(None);
        }
        while let Some(step) = self.step() {
            match step {
                Step::On => {}
                Step::End => {
                    let picture = self.buffer.split_to(self.parsed).freeze();
                    self.parsed = 0;
                    return Ok(Some(picture));
                }
                Step::Broken => {
                    // Look for another start behind this one.
                    self.buffer.advance(2);
                    self.parsed = 0;
                    self.in_scan = false;
                    if !self.find_start() {
                        return Ok(None);
                    }
                }
            }
        }
        if self.buffer.len() > PICTURE_MAX_BYTES {
            return Err(Error::Picture("a JPEG picture of more than 32 MiB"));
        }
        Ok(None)
    }

    /// Drops what stands before the next start of image.
    fn find_start(&mut self) -> bool {
        let found = self.buffer.windows(2).position(|pair| pair == [MARKER, START_OF_IMAGE]);
        match found {
            Some(at) => {
                self.buffer.advance(at);
                self.parsed = 2;
                true
            }
            None => {
                // The last byte may be the first half of one.
                self.buffer.advance(self.buffer.len().saturating_sub(1));
                false
            }
        }
    }

    /// Parses one segment or a run of image data; none if it is not all here.
    fn step(&mut self) -> Option<Step> {
        if self.in_scan {
            return self.step_scan();
        }
        let rest = self.buffer.get(self.parsed..)?;
        if *rest.first()? != MARKER {
            return Some(Step::Broken);
        }
        let segment = match *rest.get(1)? {
            // Any number of these may stand before a marker.
            MARKER => 1,
            END_OF_IMAGE => {
                self.parsed += 2;
                return Some(Step::End);
            }
            0x00 | START_OF_IMAGE => return Some(Step::Broken),
            0x01 | 0xd0..=0xd7 => 2,
            code => {
                let size = usize::from(u16::from_be_bytes([*rest.get(2)?, *rest.get(3)?]));
                if size < 2 {
                    return Some(Step::Broken);
                }
                if rest.len() < 2 + size {
                    return None;
                }
                self.in_scan = code == START_OF_SCAN;
                2 + size
            }
        };
        self.parsed += segment;
        Some(Step::On)
    }

    /// Goes on to the marker that ends the image data.
    fn step_scan(&mut self) -> Option<Step> {
        let rest = &self.buffer[self.parsed..];
        // In image data a zero follows what is no marker, and restart markers belong to it.
        let end = rest
            .windows(2)
            .position(|pair| pair[0] == MARKER && !matches!(pair[1], 0x00 | 0xd0..=0xd7 | MARKER));
        match end {
            Some(at) => {
                self.parsed += at;
                self.in_scan = false;
                Some(Step::On)
            }
            None => {
                self.parsed += rest.len().saturating_sub(1);
                None
            }
        }
    }
}

enum Step {
    On,
    End,
    Broken,
}

/// Whether the picture brings its Huffman tables; some cameras leave the usual ones out.
pub(super) fn has_tables(picture: &[u8]) -> bool {
    let mut rest = picture.get(2..).unwrap_or_default();
    while let [MARKER, code, high, low, ..] = rest {
        match *code {
            HUFFMAN_TABLES => return true,
            START_OF_SCAN => return false,
            _ => {}
        }
        let size = usize::from(u16::from_be_bytes([*high, *low]));
        rest = rest.get(2 + size..).unwrap_or_default();
    }
    false
}
