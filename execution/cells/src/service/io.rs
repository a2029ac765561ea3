//! A service's standard streams.

use crate::{
    record::{RecordError, answer_frame_size},
    wasi::{FileType, Input, InputState, Output},
};
use bytes::{Buf, Bytes};
use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The streams of one service; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Streams {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug)]
struct Shared {
    input: Bytes,
    output: Vec<u8>,
    answer_max_bytes: u64,
}

impl Streams {
    pub(crate) fn new(answer_max_bytes: u64) -> Self {
        let shared = Shared { input: Bytes::new(), output: Vec::new(), answer_max_bytes };
        Self { shared: Arc::new(Mutex::new(shared)) }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the guest a request to read, behind what it has not read of the last one.
    pub(crate) fn feed(&self, record: &Bytes) {
        let mut shared = self.lock();
        if shared.input.is_empty() {
            shared.input = record.clone();
        } else {
            shared.input = [&shared.input[..], &record[..]].concat().into();
        }
    }

    /// The answer's frame, if the guest has written it whole.
    pub(crate) fn take_answer(&self) -> Result<Option<Bytes>, RecordError> {
        let mut shared = self.lock();
        match answer_frame_size(&shared.output, shared.answer_max_bytes)? {
            Some(size) if shared.output.len() == size => {
                Ok(Some(std::mem::take(&mut shared.output).into()))
            }
            Some(size) if shared.output.len() > size => {
                Err(RecordError::Malformed("more was written after it, without a request"))
            }
            _ => Ok(None),
        }
    }

    /// What the guest has not read, and what it has written of an unfinished answer.
    pub(crate) fn pending(&self) -> (Vec<u8>, Vec<u8>) {
        let shared = self.lock();
        (shared.input.to_vec(), shared.output.clone())
    }

    pub(crate) fn restore(&self, (input, output): (Vec<u8>, Vec<u8>)) {
        let mut shared = self.lock();
        shared.input = input.into();
        shared.output = output;
    }
}

impl Input for Streams {
    fn read(&mut self, into: &mut [u8]) -> io::Result<InputState> {
        let mut shared = self.lock();
        let size = into.len().min(shared.input.len());
        if size == 0 {
            return Ok(InputState::Wait);
        }
        shared.input.copy_to_slice(&mut into[..size]);
        if shared.input.is_empty() {
            // An empty view would keep the whole buffer that the request came in, 16 KiB or more,
            // for as long as the cell waits for the next one.
            shared.input = Bytes::new();
        }
        Ok(InputState::Bytes(size))
    }

    fn ready(&mut self) -> Option<usize> {
        Some(self.lock().input.len()).filter(|size| *size > 0)
    }

    fn file_type(&self) -> FileType {
        FileType::Unknown
    }
}

impl Output for Streams {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut shared = self.lock();
        let limit = shared.answer_max_bytes.saturating_add(4);
        if shared.output.len() as u64 + bytes.len() as u64 > limit {
            // What is there by now tells why, when the guest next waits.
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        shared.output.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn file_type(&self) -> FileType {
        FileType::Unknown
    }
}

/// The last bytes of what was written to a log; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct LogRing {
    shared: Arc<Mutex<Ring>>,
}

#[derive(Debug)]
struct Ring {
    bytes: VecDeque<u8>,
    limit_bytes: usize,
    /// Offset of the first byte that is kept.
    start: u64,
}

impl LogRing {
    pub(crate) fn new(limit_bytes: usize) -> Self {
        let ring = Ring { bytes: VecDeque::new(), limit_bytes, start: 0 };
        Self { shared: Arc::new(Mutex::new(ring)) }
    }

    /// At most `limit` bytes from `offset` on, and the offset at which they really begin.
    pub(crate) fn read(&self, offset: u64, limit: u64) -> (u64, Vec<u8>) {
        let ring = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let skip = usize::try_from(offset.saturating_sub(ring.start)).unwrap_or(usize::MAX);
        let take = usize::try_from(limit).unwrap_or(usize::MAX);
        let bytes = ring.bytes.iter().skip(skip).take(take).copied().collect();
        (offset.max(ring.start).min(ring.start + ring.bytes.len() as u64), bytes)
    }
}

impl Output for LogRing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut ring = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        ring.bytes.extend(bytes);
        let excess = ring.bytes.len().saturating_sub(ring.limit_bytes);
        ring.bytes.drain(..excess);
        ring.start += excess as u64;
        Ok(bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::encode_answer;

    #[test]
    fn an_answer_is_taken_when_it_is_whole() {
        let mut streams = Streams::new(100);
        let frame = encode_answer(200, "text/plain", b"hi");

        streams.write(&frame[..5]).unwrap();
        assert_eq!(streams.take_answer(), Ok(None));
        streams.write(&frame[5..]).unwrap();
        assert_eq!(streams.take_answer(), Ok(Some(frame)));
        assert_eq!(streams.take_answer(), Ok(None));
    }

    #[test]
    fn a_flood_and_an_oversized_answer_are_refused() {
        let mut streams = Streams::new(10);

        streams.write(&200_u32.to_le_bytes()).unwrap();

        assert!(matches!(streams.take_answer(), Err(RecordError::AnswerTooLarge { .. })));
        assert!(streams.write(&[0; 100]).is_err());
    }

    #[test]
    fn a_log_keeps_its_last_bytes() {
        let mut log = LogRing::new(4);
        log.write(b"abcdef").unwrap();

        assert_eq!(log.read(0, 100), (2, b"cdef".to_vec()));
        assert_eq!(log.read(4, 1), (4, b"e".to_vec()));
        assert_eq!(log.read(9, 1), (6, vec![]));
    }
}
